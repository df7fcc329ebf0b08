//! The ledger: where consent is written down, once, in order, and read from by every sidecar.
//!
//! Owns positions and tokens, the reading of events ([`codec`]), the keyed hashes of subjects, the file ledger
//! ([`mod@file`]), the central ledger on NATS ([`nats`]), and the import of other records ([`import`]). Must not know who follows it: no replica, no store, no answers.
//!
//! Invariants:
//! - An event reaches a follower whole, valid and in order, or as [`Unreadable`] at its place. None is skipped.
//! - A follower never rewinds. A ledger that is not the one it was is [`FeedItem::Broken`], which is terminal.
//! - [`FeedItem::Current`] is said only of a time at which nothing was after the position, so that freshness is never
//!   claimed for what was not seen.
//! - Nothing here repeats an identifier in an error, a problem or a fault.

pub mod codec;
mod fault;
mod feed;
pub mod file;
pub mod import;
pub mod nats;
mod subject_key;
mod token;
mod writer;

pub use codec::{EventError, FieldProblem, validate};
pub use fault::LedgerFault;
pub use feed::{Feed, Quiet};
pub use subject_key::{SECRET_BYTES, SubjectHasher, load_or_make_secret, load_secret};
pub use token::{LedgerId, Token, TokenError};
pub use writer::{AppendError, Had, Half, LedgerWriter, Mark};

use writer::Nth;

use crate::clock::BootTime;
use crate::domain::{Event, Position, Unreadable};

/// A ledger that can be followed.
pub trait LedgerSource: Send {
    /// Starts following, from the beginning or from where an earlier following had come to. Never blocks: what is slow
    /// or missing is said by the feed.
    fn follow(self: Box<Self>, resume: Option<Resume>) -> Feed;
}

/// Where an earlier following had come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resume {
    /// The ledger that was followed.
    pub ledger: LedgerId,
    /// Up to where all was delivered.
    pub place: Place,
}

/// A position, and a fingerprint of what precedes it, by which a rewritten ledger is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The position.
    pub position: Position,
    /// Of a file: the first 16 bytes of the SHA-256 of the last 4 KiB before the position, or of all if there is less.
    /// On NATS: [`nats::mark`] of the message at the position.
    pub mark: [u8; 16],
}

/// One event at its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The position just after this event. Of a file: the byte offset behind its newline. On NATS: the sequence of its
    /// message in the stream.
    pub position: Position,
    /// The event, or what could be told of it.
    pub event: Result<Event, Unreadable>,
}

/// What a feed says, in the order in which it is so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedItem {
    /// The ledger is not there yet, or cannot be reached, for the reason that the sentence gives. It is tried again;
    /// meanwhile the view ages. Said again when the reason changes.
    Waiting(String),
    /// The ledger is there. Said once, before any event.
    Opened {
        /// Which ledger it is.
        ledger: LedgerId,
        /// The position that was last at that time: when it is reached, the past has been read.
        last: Position,
    },
    /// Events in order, contiguous with those before; at most [`BATCH_EVENTS_MAX`].
    Events {
        /// The events. Empty where only blank lines lie before the place.
        deliveries: Vec<Delivery>,
        /// Behind the last of them.
        place: Place,
    },
    /// At that time nothing was after the position, and all up to it has been delivered before.
    Current {
        /// The position.
        position: Position,
        /// The time, on the clock that only spans are read from.
        at: BootTime,
    },
    /// This is no longer the ledger that was followed. Terminal: the feed ends.
    Broken(LedgerFault),
}

/// The most events in one [`FeedItem::Events`].
pub const BATCH_EVENTS_MAX: usize = 1024;
