//! How memory is shared out among those whose size nobody has chosen.

use super::{Bound, Memory};

const MIB: u64 = 1 << 20;

/// What the process takes beside what is shared out, in bytes: itself, its threads and buffers, calls in flight, and the
/// pages of files that the kernel needs to get on with.
const OWN_BYTES: u64 = 20 * MIB;
/// What the store takes beside its cache, in bytes. Idle and without subjects a process took 5 MB of its own, and 43 MB at most,
/// while a copy of a hundred thousand was built. Measured (`benches/README.md`, small machines).
const STORE_OWN_BYTES: u64 = 28 * MIB;
/// The least memory in which a sidecar serves with evidence on, and with a copy of some ten thousand subjects. With a hundred
/// thousand 64 MiB were not enough in one run of two (`docs/sizing.md`).
pub const ENOUGH_BYTES: u64 = 56 * MIB;
/// What is shared out at most where no group sets a limit, in bytes: the machine is there for others too.
const UNLIMITED_BYTES: u64 = 128 * MIB;
/// The least of each share, in bytes.
const LEAST_BYTES: u64 = MIB;
/// The most for the store and for strings, in bytes: what is known about subjects makes better use of more.
const BESIDE_BYTES: u64 = 16 * MIB;

/// The shares. Each is what its user may take at most, and what it takes only once it has something to put there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// For what is known about subjects, in bytes.
    pub subjects: u64,
    /// For pages of the store, in bytes.
    pub store: u64,
    /// For strings of signals, in bytes.
    pub strings: u64,
    /// For calls in flight, in bytes; `None` where nobody limits them.
    pub calls: Option<u64>,
}

impl Shares {
    /// The shares of a memory, with a store on disk or without.
    #[must_use]
    pub fn of(memory: Option<&Memory>, has_store: bool) -> Self {
        let taken = OWN_BYTES + if has_store { STORE_OWN_BYTES } else { 0 };
        let bytes = match memory {
            None => UNLIMITED_BYTES,
            Some(Memory { bytes, bound: Bound::Group(_) }) => bytes.saturating_sub(taken),
            Some(Memory { bytes, bound: Bound::Machine }) => bytes.saturating_sub(taken).min(UNLIMITED_BYTES),
        };
        let beside = (bytes / 8).clamp(LEAST_BYTES, BESIDE_BYTES);
        let calls = memory.filter(|memory| matches!(memory.bound, Bound::Group(_))).map(|memory| memory.bytes / 8);
        Self { subjects: (bytes / 2).max(LEAST_BYTES), store: beside, strings: beside, calls }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(mebibytes: u64, bound: Bound, has_store: bool) -> [u64; 3] {
        let Shares { subjects, store, strings, .. } =
            Shares::of(Some(&Memory { bytes: mebibytes * MIB, bound }), has_store);
        [subjects, store, strings].map(|bytes| bytes / MIB)
    }

    #[test]
    fn shares_grow_with_a_limit_that_somebody_set() {
        let group = || Bound::Group("memory.max".into());
        assert_eq!(shares(16, group(), true), [1, 1, 1], "too small to work, and said so");
        assert_eq!(shares(64, group(), true), [8, 2, 2]);
        assert_eq!(shares(96, group(), true), [24, 6, 6]);
        assert_eq!(shares(1024, group(), true), [488, 16, 16]);
        assert_eq!(shares(64, group(), false), [22, 5, 5], "without a store there is more for the others");
    }

    #[test]
    fn a_machine_without_a_limit_is_not_taken_as_a_whole() {
        for large in [1024, 1 << 20] {
            assert_eq!(shares(large, Bound::Machine, true), [64, 16, 16]);
        }
        assert_eq!(shares(128, Bound::Machine, true), [40, 10, 10]);
        let unknown = Shares::of(None, true);
        assert_eq!((unknown.subjects, unknown.store), (64 * MIB, 16 * MIB));
    }

    #[test]
    fn no_limit_that_is_enough_is_shared_out_beyond_itself() {
        for mebibytes in ENOUGH_BYTES / MIB..4096 {
            let sum: u64 = shares(mebibytes, Bound::Group("memory.max".into()), true).iter().sum();
            assert!(sum + (OWN_BYTES + STORE_OWN_BYTES) / MIB <= mebibytes, "{mebibytes} MiB");
        }
    }
}
