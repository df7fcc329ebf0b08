//! What is left to the machine, settled for one: how many threads, and how much memory for what.

use std::num::NonZeroUsize;

use super::units::format_size;
use super::{CacheBytes, Config, ReplicaMode, Workers};
use crate::machine::{ENOUGH_BYTES, Machine, Shares};

/// The memory for calls from which one connection may have another in flight, in bytes: some 5 KB for each, on a dozen
/// connections.
const STREAM_SHARE_BYTES: u64 = 64 << 10;
/// What a connection may have in flight at least. Source: RFC 9113, section 6.5.2.
const STREAMS_LEAST: u64 = 100;
/// What a call with 10,000 questions takes from being read to being answered, in bytes: its text, and what is known about whom it
/// asks about.
const BULK_BYTES: u64 = 16 << 20;
/// So many at once that they need not be counted.
const BULK_UNBOUNDED: usize = 64;

/// What a configuration comes to on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// How many threads answer.
    pub workers: NonZeroUsize,
    /// Memory for subjects, in bytes.
    pub cache_bytes: u64,
    /// Memory for the store's own pages, in bytes.
    pub store_cache_bytes: u64,
    /// Memory for strings of signals, in bytes.
    pub strings_bytes: u64,
    /// The most calls at once on one connection.
    pub max_concurrent_streams: usize,
    /// The most calls with many questions at once; `None` where memory is no reason to hold any back.
    pub bulk_at_once: Option<NonZeroUsize>,
    /// What deserves a second look; one sentence each, for the log.
    pub warnings: Vec<String>,
    /// By key, what it comes to and why, where it was left to the machine.
    shown: Vec<(&'static str, String)>,
}

impl Config {
    /// Settles what is left to the machine.
    #[must_use]
    pub fn settle(&self, machine: &Machine) -> Settled {
        let shares = Shares::of(machine.memory.as_ref(), self.replica.mode == ReplicaMode::Full);
        let mut shown = Vec::new();
        let workers = match self.server.workers {
            Workers::Fixed(count) => count,
            Workers::Auto => {
                let workers = machine.processors.workers();
                shown.push(("server.workers", format!("{workers}, with {}", machine.processors)));
                workers
            }
        };
        let of = machine.memory.as_ref().map_or_else(|| "memory of unknown size".to_owned(), ToString::to_string);
        let mut bytes = |key, wanted, share| match wanted {
            CacheBytes::Fixed(bytes) => bytes,
            CacheBytes::Auto => {
                shown.push((key, format!("{}, with {of}", format_size(share))));
                share
            }
        };
        let cache_bytes = bytes("replica.cache_bytes", self.replica.cache_bytes, shares.subjects);
        let store_cache_bytes = bytes("replica.store_cache_bytes", self.replica.store_cache_bytes, shares.store);
        let max_concurrent_streams = self.server.max_concurrent_streams.min(streams_max(shares.calls));
        if max_concurrent_streams < self.server.max_concurrent_streams {
            shown.push(("server.max_concurrent_streams", format!("{max_concurrent_streams}, with {of}")));
        }
        let mut settled = Settled {
            workers,
            cache_bytes,
            store_cache_bytes,
            strings_bytes: shares.strings,
            max_concurrent_streams,
            bulk_at_once: shares.calls.and_then(bulk_at_once),
            warnings: Vec::new(),
            shown,
        };
        settled.warnings = settled.warnings_on(machine);
        settled
    }
}

/// How many calls one connection may have in flight, with so much memory for calls. Clients are told, and keep what is more to
/// themselves until others have been answered.
fn streams_max(calls_bytes: Option<u64>) -> usize {
    let streams = calls_bytes.map_or(u64::MAX, |bytes| (bytes / STREAM_SHARE_BYTES).max(STREAMS_LEAST));
    usize::try_from(streams).unwrap_or(usize::MAX)
}

/// How many calls with many questions may be read at once, with so much memory for calls.
fn bulk_at_once(calls_bytes: u64) -> Option<NonZeroUsize> {
    let at_once = usize::try_from(calls_bytes / BULK_BYTES).unwrap_or(usize::MAX).max(1);
    NonZeroUsize::new(at_once).filter(|_| at_once < BULK_UNBOUNDED)
}

impl Settled {
    /// What was left to the machine, by key, with what it comes to and why.
    pub(super) fn shown(&self) -> &[(&'static str, String)] {
        &self.shown
    }

    /// What this machine is too small for.
    fn warnings_on(&self, machine: &Machine) -> Vec<String> {
        let Some(memory) = &machine.memory else { return Vec::new() };
        let (enough, caches) = (ENOUGH_BYTES >> 20, self.cache_bytes.saturating_add(self.store_cache_bytes));
        if memory.bytes < ENOUGH_BYTES {
            return vec![format!(
                "{memory}: the kernel may end a sidecar that has less than {enough} MiB, and one with more than some ten \
                 thousand subjects that has less than 96; raise the limit"
            )];
        }
        if caches >= memory.bytes {
            let (caches, sum) = ("replica.cache_bytes and replica.store_cache_bytes", format_size(caches));
            return vec![format!("{memory}: {caches} may take {sum} together, and the kernel would end the sidecar")];
        }
        Vec::new()
    }
}
