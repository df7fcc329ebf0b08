//! The central reader: gathers the evidence of all sidecars from the stream into a folder, and holds it against itself
//! while it does.
//!
//! ```text
//! <into>/
//!   lock                     empty; the collector holds an exclusive flock on it
//!   collected                how far the stream was read: see `place`
//!   problems                 a line for everything that did not hold, oldest first
//!   set-aside/<n>.message    messages of the stream that did not hold, by their sequence, as they were
//!   <instance>/              an evidence log as `format` documents it, without the keys, which never leave their sidecar
//!     keys/<YYYY-MM>.salt    the salt of the month's key, where that is made of one: the first that was seen
//!     signing.pub            the key that is trusted for this instance: given, or the first that was seen
//!     log/<YYYY-MM>/<first>.gap        says that records before the segment of this name are missing
//!     log/<YYYY-MM>/checkpoint.waiting a signed head that covers records that have not come yet
//! ```
//!
//! Invariants:
//! - A record is taken once, at its index, and only if the chain of its batch continues or ends at what is here.
//! - What is here is never overwritten, whatever comes later.
//! - The stream is read on only from behind what is on the device: after a kill some is read twice and dropped.

mod assembly;
mod folder;
mod head;
mod month;
mod place;
mod reading;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use reading::run;

use super::files::Cause;
use crate::nats;

/// What is collected, and where to.
#[derive(Debug, Clone)]
pub struct Config {
    /// The servers.
    pub nats: nats::Config,
    /// The stream.
    pub stream: String,
    /// The folder; made if missing. One collector at a time.
    pub into: PathBuf,
    /// A folder with the public keys to trust, `<instance>.pub` in PEM. Of an instance without one there the first key
    /// that is seen is trusted from then on.
    pub keys: Option<PathBuf>,
    /// Goes on when the end of the stream is reached.
    pub follow: bool,
}

/// Why collecting ended.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// There is no connection.
    #[error("no evidence can be collected")]
    Connect(#[from] nats::ConnectError),
    /// Nothing is known of the stream.
    #[error(transparent)]
    Stream(#[from] nats::StreamError),
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] Cause),
    /// The stream cannot be read any more.
    #[error("the stream `{stream}` cannot be read: {problem}")]
    Reading {
        /// The stream.
        stream: String,
        /// What happened.
        problem: String,
    },
}

/// What a folder of collected evidence holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Collected {
    /// Messages of the stream that were looked at this time.
    pub messages: u64,
    /// Records that were added this time.
    pub added: u64,
    /// Every origin.
    pub origins: Vec<Origin>,
    /// What did not hold, this time and before, each in a sentence.
    pub problems: Vec<String>,
}

/// A month of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `consentd/<instance>/<YYYY-MM>`.
    pub name: String,
    /// How many records are here.
    pub records: u64,
    /// How many of them a signed head covers that they were held against.
    pub signed: u64,
    /// What is missing, each in a sentence.
    pub missing: Vec<String>,
}

impl Collected {
    /// Whether nothing is missing and nothing was found that does not hold.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.problems.is_empty() && self.origins.iter().all(|origin| origin.missing.is_empty())
    }
}
