//! What is left to the machine, settled for one: how many threads, and how much memory for what.

use std::num::NonZeroUsize;

use super::units::format_size;
use super::{CacheBytes, Config, ReplicaMode, Workers};
use crate::machine::{ENOUGH_BYTES, Machine, Shares};

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
        let mut settled = Settled {
            workers,
            cache_bytes,
            store_cache_bytes,
            strings_bytes: shares.strings,
            warnings: Vec::new(),
            shown,
        };
        settled.warnings = settled.warnings_on(machine);
        settled
    }
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
            return vec![format!("{memory}: the kernel may end a sidecar that has less than {enough} MiB")];
        }
        if caches >= memory.bytes {
            let (caches, sum) = ("replica.cache_bytes and replica.store_cache_bytes", format_size(caches));
            return vec![format!("{memory}: {caches} may take {sum} together, and the kernel would end the sidecar")];
        }
        Vec::new()
    }
}
