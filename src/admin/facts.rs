//! What the page shows of the rooms, as plain values: whoever builds the sidecar looks them up.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::{Catalogue, LedgerStanding};

/// Looks at the rooms, each time somebody looks at the page. It must not block, nor hold up an answer.
pub type Look = Arc<dyn Fn() -> Facts + Send + Sync>;

/// The rooms at a moment.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The local copy of the ledger.
    pub view: ViewFacts,
    /// What of it is in memory.
    pub cache: CacheFacts,
    /// The log of answers.
    pub evidence: EvidenceFacts,
    /// The connections of callers.
    pub connections: ConnectionFacts,
}

/// The local copy of the ledger.
#[derive(Debug, Clone)]
pub struct ViewFacts {
    /// Whether the ledger can be trusted and was read to its end.
    pub ledger: LedgerStanding,
    /// The position reached.
    pub position: u64,
    /// Its token; empty before the first event.
    pub token: Arc<str>,
    /// The time since the view was last known to be complete.
    pub staleness: Duration,
    /// The catalogue in force.
    pub catalogue: Option<Arc<Catalogue>>,
    /// Events that could not be read.
    pub quarantined: u64,
}

/// Subjects in memory.
#[derive(Debug, Clone, Copy)]
pub struct CacheFacts {
    /// How many, absent ones included.
    pub subjects: u64,
    /// Their weight.
    pub bytes: u64,
    /// How much that may be.
    pub bytes_max: u64,
    /// Look-ups answered from memory.
    pub hits: u64,
    /// Look-ups that went to the store or the ledger.
    pub misses: u64,
}

/// The log of answers; the counts are since the start.
#[derive(Debug, Clone)]
pub struct EvidenceFacts {
    /// What an ALLOW waits for: `written` or `synced`.
    pub awaited: &'static str,
    /// Records that were given a place.
    pub appended: u64,
    /// Records in the kernel.
    pub written: u64,
    /// Records on the device.
    pub synced: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Records of the month that the last signed checkpoint covers.
    pub checkpoint_size: u64,
    /// Why no evidence can be written, if so.
    pub poisoned: Option<String>,
    /// Why none is taken although it could be written, if so.
    pub withheld: Option<String>,
    /// How shipping stands; `None` where evidence stays here.
    pub shipping: Option<ShippingFacts>,
}

/// Evidence on its way to the central stream.
#[derive(Debug, Clone)]
pub struct ShippingFacts {
    /// Records that the stream has acknowledged since the start.
    pub records: u64,
    /// What waits.
    pub unshipped_bytes: u64,
    /// How much that may be.
    pub unshipped_bytes_max: u64,
    /// How long ago the oldest record that waits was answered; zero where none does.
    pub oldest: Duration,
    /// Why nothing leaves now, if so.
    pub trouble: Option<String>,
}

/// Connections of callers.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionFacts {
    /// Now.
    pub open: u64,
    /// The most at once.
    pub open_max: u64,
    /// Since the start.
    pub accepted: u64,
}

/// A key of the configuration in effect. Keys hold no secrets, only paths to files that do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key, such as `server.tcp`.
    pub key: &'static str,
    /// Its value, as TOML.
    pub value: String,
    /// What it does.
    pub meaning: &'static str,
    /// What set it; `None` is the default.
    pub set_by: Option<String>,
}
