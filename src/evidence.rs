//! The evidence of every answer: a write-ahead log, a Merkle tree over it, signed checkpoints, what ships
//! them, and what reads them.
//!
//! Owns one directory, whose bytes [`format`] documents. Knows the evidence record as protobuf and the words of `domain`;
//! knows nothing of how a decision comes about, of the ledger, the replica, or who asked.
//!
//! Invariants:
//! - A record that [`EvidenceLog::append`] gave a receipt for is in the kernel, and is found after the process ends.
//! - An index is given to one record only, within a boot of the machine and the life of its device.
//! - After a failed write or flush nothing is written any more: the log is poisoned, and says why.
//! - A signed checkpoint covers only records on the device, and every later one continues it.
//! - No subject appears but as a tag under the month's key.
//! - What leaves for the central stream is on the device, and stays here until it was acknowledged.

mod archive;
mod batch;
pub mod central;
mod checkpoint;
pub mod collect;
mod config;
mod device;
mod entries;
mod failed_flush;
mod files;
mod flush;
pub mod format;
mod id;
mod keys;
mod levels;
mod log;
mod mend;
mod merkle;
mod note;
mod open;
mod poison;
pub mod record;
mod recover;
mod scan;
pub mod ship;
#[cfg(test)]
mod tests;
mod tiles;
mod tree;
mod trimmed;
mod verify;
mod writer;

pub use archive::{Archive, folder_of};
pub use batch::{SUBJECT_PREFIX, SUBJECTS};
pub use checkpoint::Checkpoint;
pub use config::{
    Config, DEFAULT_CHECKPOINT_INTERVAL, DEFAULT_FLUSH_INTERVAL, DEFAULT_SEGMENT_BYTES, DEFAULT_STAGE,
    SEGMENT_BYTES_MIN, Stage,
};
pub use files::Cause;
pub use id::{EvidenceId, IdError, Instance, YearMonth};
pub use keys::{KeyPlaces, Month, NoKey, TAG_BYTES};
pub use log::{AppendError, EvidenceLog, Health, Receipt};
pub use open::OpenError;
pub use poison::Unavailable;
pub use recover::Lost;
pub use ship::Shipping;
pub use verify::MonthReport;
