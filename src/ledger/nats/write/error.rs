//! What a writer is told where an event was not written, or may not have been.

use std::fmt;
use std::time::Duration;

use crate::ledger::{EventError, Nth};

/// Why events were not written, or may not have been.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// An event is not as it must be. None of the batch was written.
    #[error("{}{error}", Nth(*.index, *.of))]
    Event {
        /// Which of the batch, from 0.
        index: usize,
        /// How many the batch has.
        of: usize,
        /// What is wrong with it.
        error: EventError,
    },
    /// An event is longer than the server takes. None of the batch was written.
    #[error(
        "{}takes {bytes} bytes, and the server takes {limit}; raise its `max_payload`, or write less",
        Nth(*.index, *.of)
    )]
    TooLong {
        /// Which of the batch, from 0.
        index: usize,
        /// How many the batch has.
        of: usize,
        /// How long it is, headers included.
        bytes: usize,
        /// The server's bound.
        limit: usize,
    },
    /// The server refuses a message. Those that were acknowledged before it stay written.
    #[error("the ledger `{stream}` takes no event: {problem}; {}", Written(*.written, *.of))]
    Refused {
        /// The stream.
        stream: String,
        /// What the server says.
        problem: String,
        /// How many events of the batch are acknowledged.
        written: usize,
        /// How many the batch has.
        of: usize,
    },
    /// Nobody took a message for as long as it was tried. Those that were acknowledged before it stay written.
    #[error(
        "the ledger `{stream}` cannot be reached for {} s: {problem}; {}", .patience.as_secs_f64(), Written(*.written, *.of)
    )]
    Away {
        /// The stream.
        stream: String,
        /// For how long it was tried.
        patience: Duration,
        /// Why, at the last attempt.
        problem: String,
        /// How many events of the batch are acknowledged.
        written: usize,
        /// How many the batch has.
        of: usize,
    },
    /// A message was sent and not answered. It may be in the ledger, and in force, or not.
    #[error(
        "it is not known whether the ledger `{stream}` has all of it: {problem}; {written} of {of} events are acknowledged; \
         write the same events again, with the same ids, which does no harm"
    )]
    Unknown {
        /// The stream.
        stream: String,
        /// What happened instead of an answer.
        problem: String,
        /// How many events of the batch are acknowledged.
        written: usize,
        /// How many the batch has.
        of: usize,
    },
}

/// `nothing was written`, or how much was.
struct Written(usize, usize);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(0, _) => f.write_str("nothing was written"),
            Self(written, of) => write!(f, "{written} of {of} events were written"),
        }
    }
}
