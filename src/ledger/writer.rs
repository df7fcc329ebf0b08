//! Writing to a ledger, whichever it is.

use std::fmt;

use super::Token;
use super::file::{self, FileLedger};
use super::nats::{self, NatsWriter};
use crate::proto::v1;

/// A ledger that events are written to, by a thread that waits for it.
pub trait LedgerWriter {
    /// Writes events. When this returns, they are acknowledged: they survive what the ledger survives. Gives the token of
    /// each, behind which it is in force.
    ///
    /// # Errors
    /// As [`AppendError`] says of each.
    fn append(&mut self, events: &[v1::LedgerEvent]) -> Result<Vec<Token>, AppendError>;

    /// As [`LedgerWriter::append`], but they are acknowledged only when [`LedgerWriter::sync`] has returned.
    ///
    /// # Errors
    /// As [`AppendError`] says of each.
    fn append_unsynced(&mut self, events: &[v1::LedgerEvent]) -> Result<usize, AppendError>;

    /// Waits until all that was written is acknowledged.
    ///
    /// # Errors
    /// As [`AppendError`] says of each.
    fn sync(&mut self) -> Result<(), AppendError>;

    /// The marks of what an event is written as: one, or of a link in a central ledger two.
    fn marks(&self, event: &v1::LedgerEvent) -> Vec<Mark>;

    /// Tells what the ledger has. What is not told though it is there is no harm: to write an event again changes nothing.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    fn each_had(&mut self, each: &mut dyn FnMut(Had)) -> Result<(), AppendError>;
}

/// Something that a ledger has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Had {
    /// What an event is written as.
    Mark(Mark),
    /// Half an event, which a writer has left that died. Its subject is denied for it.
    Half(Half),
    /// An event that replaces such a half of itself, by what it is written as.
    Mended(Mark),
}

/// The beginning of an event's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Half {
    /// The event's id, as far as it can be told.
    pub id: Box<str>,
    /// How much of the text there is, in bytes.
    pub len: usize,
    /// The mark of that much.
    pub mark: Mark,
}

/// What something in a ledger is known by: the first 16 bytes of the SHA-256 of its content.
pub type Mark = [u8; 16];

/// Why events were not written.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// To a file.
    #[error(transparent)]
    File(#[from] file::WriteError),
    /// To NATS.
    #[error(transparent)]
    Nats(#[from] nats::WriteError),
    /// What a file has cannot be read.
    #[error("what the ledger `{path}` has cannot be read")]
    FileUnread {
        /// Which.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// What is on NATS cannot be read.
    #[error(transparent)]
    NatsUnread(#[from] nats::TailError),
}

/// `event 3: `, where there are several.
pub(super) struct Nth(pub(super) usize, pub(super) usize);

impl fmt::Display for Nth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.1 > 1 { write!(f, "event {}: ", self.0 + 1) } else { Ok(()) }
    }
}

impl LedgerWriter for FileLedger {
    fn append(&mut self, events: &[v1::LedgerEvent]) -> Result<Vec<Token>, AppendError> {
        Ok(Self::append(self, events)?)
    }

    fn append_unsynced(&mut self, events: &[v1::LedgerEvent]) -> Result<usize, AppendError> {
        Ok(Self::append_unsynced(self, events)?.len())
    }

    fn sync(&mut self) -> Result<(), AppendError> {
        Ok(Self::sync(self)?)
    }

    fn marks(&self, event: &v1::LedgerEvent) -> Vec<Mark> {
        Self::mark(event).into_iter().collect()
    }

    fn each_had(&mut self, each: &mut dyn FnMut(Had)) -> Result<(), AppendError> {
        Self::each_had(self, each)
            .map_err(|source| AppendError::FileUnread { path: self.path().display().to_string(), source })
    }
}

/// The stream acknowledges each message, so that nothing is left to wait for.
impl LedgerWriter for NatsWriter {
    fn append(&mut self, events: &[v1::LedgerEvent]) -> Result<Vec<Token>, AppendError> {
        Ok(Self::append(self, events)?)
    }

    fn append_unsynced(&mut self, events: &[v1::LedgerEvent]) -> Result<usize, AppendError> {
        Ok(Self::append(self, events)?.len())
    }

    fn sync(&mut self) -> Result<(), AppendError> {
        Ok(())
    }

    fn marks(&self, event: &v1::LedgerEvent) -> Vec<Mark> {
        Self::marks(self, event)
    }

    fn each_had(&mut self, each: &mut dyn FnMut(Had)) -> Result<(), AppendError> {
        // A message is there or it is not.
        Ok(Self::each_mark(self, &mut |mark| each(Had::Mark(mark)))?)
    }
}
