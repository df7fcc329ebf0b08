//! Between the text of an event and the domain's event. Writers check with it before they write, followers after they
//! read, so that both refuse the same.
//!
//! The text is protobuf's JSON mapping of `consent.v1.LedgerEvent`. A field or value that this version does not know
//! makes the event unreadable: a newer writer may mean by it something narrower than the rest says.

mod binary;
mod catalogue;
mod problem;
mod salvage;
mod validate;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::domain::{Event, Position, Unreadable};
use crate::proto::v1;

pub(crate) use binary::{decode_binary, refuse_binary};
pub use catalogue::{StoredCatalogueError, Survey, decode_catalogue, encode_catalogue, read_catalogue, survey};
pub use problem::{EventError, FieldProblem};
pub use validate::{
    EVENT_ID_BYTES_MAX, LANGUAGE_BYTES_MAX, METHOD_BYTES_MAX, NOTICE_ID_BYTES_MAX, PROOF_BYTES_MAX, SOURCE_BYTES_MAX,
    SUPERSEDES_MAX, validate,
};

/// The longest line, in bytes without its newline. A catalogue of thousands of purposes fits; what does not is
/// unreadable, so that a stray file cannot fill the memory.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;

/// The event that a line holds, or as much as can be told of it. `position` is the line's, for naming it where it does
/// not name itself.
///
/// # Errors
/// If the line is not an event that this version understands in full.
pub fn decode(line: &[u8], position: Position) -> Result<Event, Unreadable> {
    let problem = match parse(line) {
        Ok(wire) => match validate(wire) {
            Ok(event) => return Ok(event),
            Err(error) => error.without_values(),
        },
        Err(error) => error.without_values(),
    };
    Err(salvage::salvage(line, position, problem))
}

/// What can be told of a line that is too long to be read, from its beginning.
pub(crate) fn decode_too_long(beginning: &[u8], position: Position) -> Unreadable {
    salvage::salvage(beginning, position, format!("the line is longer than {LINE_BYTES_MAX} bytes"))
}

/// Why a text is not the JSON of an event.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// It is not JSON, or its fields and values are not an event's.
    #[error("not the JSON of an event: {0}")]
    Json(#[from] serde_json::Error),
    /// A value, such as an endless duration, broke the reader.
    #[error("not the JSON of an event: a value is out of every range")]
    Value,
}

impl ParseError {
    /// What is wrong and in which column, without repeating any of the text.
    #[must_use]
    pub fn without_values(&self) -> String {
        let Self::Json(error) = self else { return self.to_string() };
        // The reader's own message quotes the text. Its beginning does not.
        let told = error.to_string();
        let kind = match error.classify() {
            serde_json::error::Category::Eof => "the JSON ends early",
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => "broken JSON",
            serde_json::error::Category::Data if told.starts_with("unknown field") => "a field that is not known",
            serde_json::error::Category::Data if told.starts_with("unknown variant") => "a value that is not known",
            serde_json::error::Category::Data if told.starts_with("duplicate field") => "a field stands twice",
            serde_json::error::Category::Data if told.starts_with("invalid type") => "a value of the wrong type",
            serde_json::error::Category::Data => "a value that cannot be read",
        };
        format!("{kind}, at column {}", error.column())
    }
}

/// The message that a JSON text stands for, not yet checked.
///
/// # Errors
/// If it is not JSON, or not an event's. The error may repeat parts of the text.
pub fn parse(text: &[u8]) -> Result<v1::LedgerEvent, ParseError> {
    // The generated reader can panic: negating `"--9223372036854775808s"` overflows in pbjson-types 0.9. One such line
    // must not end the follower.
    catch_unwind(AssertUnwindSafe(|| serde_json::from_slice(text))).map_err(|_| ParseError::Value)?.map_err(Into::into)
}

/// The line that stands for an event, without its newline.
///
/// # Errors
/// If a time or duration is out of range; never for an event that [`validate()`] takes.
pub fn encode_line(event: &v1::LedgerEvent) -> Result<String, serde_json::Error> {
    serde_json::to_string(event)
}

#[cfg(test)]
mod tests;
