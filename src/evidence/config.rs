//! What may be chosen about the evidence.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// When an answer may leave, by default: once the kernel has its evidence, because waiting for the device costs
/// milliseconds where this costs microseconds.
pub const DEFAULT_STAGE: Stage = Stage::Written;
/// Bytes reserved for a segment. At 200 bytes a record 300,000 records: few files, and a start reads at most that much.
pub const DEFAULT_SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// The smallest segment, in bytes.
pub const SEGMENT_BYTES_MIN: u64 = 4096;
/// The longest time for which records that are written are not on the device: what a power loss can take.
pub const DEFAULT_FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// The time between two signed checkpoints while records arrive.
pub const DEFAULT_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5);

/// How far evidence must have got before its answer may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// In the kernel: survives the end of the process, kill -9 included. Does *not* survive a power loss or a kernel
    /// crash, which can take the records of the last flush interval.
    #[default]
    Written,
    /// On the device: survives a power loss, as far as the device honours a flush. Does *not* survive the loss of the
    /// device.
    Synced,
}

/// The evidence room's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the evidence is kept; made if missing. One writer at a time.
    pub dir: PathBuf,
    /// How far evidence must have got before its answer may leave.
    pub stage: Stage,
    /// Bytes reserved for a segment; at least [`SEGMENT_BYTES_MIN`]. A second one is reserved when the first is half full.
    pub segment_bytes: u64,
    /// How often written records are put on the device; in the stage `synced` that happens as soon as somebody waits.
    pub flush_interval: Duration,
    /// How often the tree is extended and its head signed.
    pub checkpoint_interval: Duration,
    /// The file of the secret, 32 bytes, that months' keys are made of together with a salt each, which is shipped; nothing
    /// where each month has a random key of its own, which never leaves. A month keeps the kind that it was begun with.
    pub key_file: Option<PathBuf>,
    /// Where evidence is shipped to, if anywhere.
    pub ship: Option<super::ship::Config>,
}

impl Config {
    /// The defaults, for a directory.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            stage: DEFAULT_STAGE,
            segment_bytes: DEFAULT_SEGMENT_BYTES,
            flush_interval: DEFAULT_FLUSH_INTERVAL,
            checkpoint_interval: DEFAULT_CHECKPOINT_INTERVAL,
            key_file: None,
            ship: None,
        }
    }
}
