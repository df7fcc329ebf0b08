//! How memory is shared out among those whose size nobody has chosen.

use super::{Bound, Memory};

const MIB: u64 = 1 << 20;

/// What the process takes beside what is shared out, in bytes: its program, its threads, its buffers, the store's own
/// tables, and the pages of files that the kernel needs to get on with. Measured under load (`benches/README.md`).
const TAKEN_BYTES: u64 = 32 * MIB;
/// The least memory in which a sidecar serves with evidence on and a ledger of a hundred thousand subjects, in bytes.
pub const ENOUGH_BYTES: u64 = 48 * MIB;
/// What is shared out where no group sets a limit, in bytes: the machine is there for others too.
const UNLIMITED_BYTES: u64 = 96 * MIB;
/// The least of each share, in bytes: below it every second question reads the disk.
const LEAST_BYTES: u64 = MIB;

/// The shares. Each is what its user may take at most, and what it takes only once it has something to put there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// For what is known about subjects, in bytes.
    pub subjects: u64,
    /// For pages of the store, in bytes.
    pub store: u64,
    /// For strings of signals, in bytes.
    pub strings: u64,
}

impl Shares {
    /// The shares of a memory. Where no group sets a limit they are those of a group that allows 128 MiB, unless the machine
    /// is smaller.
    #[must_use]
    pub fn of(memory: Option<&Memory>) -> Self {
        let free = memory.map(|memory| memory.bytes.saturating_sub(TAKEN_BYTES));
        let limited = memory.is_some_and(|memory| matches!(memory.bound, Bound::Group(_)));
        let bytes = match free {
            Some(free) if limited => free,
            Some(free) => free.min(UNLIMITED_BYTES),
            None => UNLIMITED_BYTES,
        };
        // What is known about subjects answers questions: it gets most. The others are large enough for most sidecars
        // with what they have on a large machine.
        let part = |of: u64, most: u64| (bytes / of).clamp(LEAST_BYTES, most);
        let (store, strings) = (part(6, 16 * MIB), part(6, 16 * MIB));
        Self { subjects: (bytes / 2).max(LEAST_BYTES), store, strings }
    }
}
