//! The central ledger for a thread that waits.

use std::io;

use tokio::runtime::Runtime;

use super::{Config, NatsLedger, OpenError, TailError, WriteError};
use crate::ledger::{Mark, Token};
use crate::proto::v1;

/// A [`NatsLedger`] for a thread that waits, with a runtime of its own.
#[derive(Debug)]
pub struct NatsWriter {
    ledger: NatsLedger,
    runtime: Runtime,
}

/// Why a waiting writer cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// The ledger cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The system gives no threads.
    #[error("no runtime can be started")]
    Runtime(#[source] io::Error),
}

impl NatsWriter {
    /// Opens the ledger for writing.
    ///
    /// # Errors
    /// If it cannot be used.
    ///
    /// # Panics
    /// Inside an asynchronous runtime, as every waiting does there.
    pub fn open(config: &Config) -> Result<Self, WriterError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(WriterError::Runtime)?;
        let ledger = runtime.block_on(NatsLedger::open(config))?;
        Ok(Self { ledger, runtime })
    }

    /// As [`NatsLedger::append`].
    ///
    /// # Errors
    /// As [`WriteError`] says of each.
    ///
    /// # Panics
    /// As [`NatsWriter::open`].
    pub fn append(&mut self, events: &[v1::LedgerEvent]) -> Result<Vec<Token>, WriteError> {
        self.runtime.block_on(self.ledger.append(events))
    }

    /// As [`NatsLedger::marks`].
    #[must_use]
    pub fn marks(&self, event: &v1::LedgerEvent) -> Vec<Mark> {
        self.ledger.marks(event)
    }

    /// As [`NatsLedger::each_mark`].
    ///
    /// # Errors
    /// If the stream is not given to this account.
    ///
    /// # Panics
    /// As [`NatsWriter::open`].
    pub fn each_mark(&mut self, each: &mut dyn FnMut(Mark)) -> Result<(), TailError> {
        self.runtime.block_on(self.ledger.each_mark(each))
    }
}
