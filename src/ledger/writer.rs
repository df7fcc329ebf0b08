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
}

/// Why events were not written.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// To a file.
    #[error(transparent)]
    File(#[from] file::WriteError),
    /// To NATS.
    #[error(transparent)]
    Nats(#[from] nats::WriteError),
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
}
