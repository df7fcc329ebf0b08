//! Signals that travel as strings: from a text to what it says.
//!
//! Owns how TCF and GPP strings are read, and the memory of those that were read before. Must not know what a string is
//! asked about, nor what becomes of it.
//!
//! Invariants:
//! - A string is read whole and to the last bit, or not at all: what is cut, damaged, ambiguous or of a form that nobody
//!   here knows is unreadable, never half read.
//! - No text leads to a panic, nor to more memory than a small multiple of its length.
//! - Texts tell of people. They stay in memory, in a bounded cache, and are neither logged nor stored.

mod bits;
mod gpp;
mod heard;
mod sections;
mod tcf;

pub use gpp::read as read_gpp;
pub use heard::{Fingerprint, Listener, REMEMBERED_BYTES, Understood};
pub use tcf::read as read_tcf;

/// The longest string that is read, in bytes. Above what wires let through.
pub const STRING_BYTES_MAX: usize = 16 * 1024;

/// Why a string cannot be read. Says nothing of what stands in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unreadable {
    /// It is longer than any that is read.
    #[error("longer than {STRING_BYTES_MAX} bytes")]
    TooLong,
    /// A part of it is empty.
    #[error("a part is empty")]
    Empty,
    /// A character outside the alphabet. Source: RFC 4648, section 5, without padding.
    #[error("a character outside the URL-safe base 64 alphabet")]
    Character,
    /// It ends within a field.
    #[error("ends within a field")]
    Cut,
    /// Bits that are set behind its last field.
    #[error("bits are set behind the last field")]
    Trailing,
    /// A version that nobody here knows.
    #[error("a version that is not known")]
    Version,
    /// A segment that is not known, that is there twice, or one too many.
    #[error("a segment that is not known, or is there twice")]
    Segment,
    /// A range that ends before it begins, or begins at nothing, or goes beyond the greatest number.
    #[error("a range out of bounds")]
    Range,
    /// A value that the standard does not have.
    #[error("a value that the standard does not have")]
    Value,
    /// The header does not name the sections that are there.
    #[error("the header does not name the sections that are there")]
    Sections,
}

#[cfg(test)]
mod tests;
