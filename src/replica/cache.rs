//! The in-memory cache, and the guard that keeps an old state from being cached after a newer one was applied.
//!
//! The race every such cache has had: a reader loads the old state, the applier writes the new one and invalidates, the
//! reader then caches the old. Here a reader takes a [`Ticket`] before it loads; the applier, after it has written to the
//! store, moves the epoch of the subject's shard before it touches the cache; and a loaded state is only cached if the
//! epoch is still the ticket's, both under the shard's lock. A load that saw the store before the write holds a ticket
//! from before the move, so that it is either cached before the applier replaces it, or not at all.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::domain::{SubjectKey, SubjectState};

/// Locks and epochs that subjects share by their key's first byte.
const SHARDS: usize = 256;
/// What moka and the key take beside a state, in bytes: measured by filling a cache with absent subjects.
pub(super) const ENTRY_OVERHEAD: usize = 192;

/// A bounded cache of what subjects' states are, absent ones included.
pub(super) struct Cache {
    entries: moka::sync::Cache<SubjectKey, Arc<Cached>, BuildHasherDefault<KeyHasher>>,
    shards: Box<[Mutex<u64>; SHARDS]>,
    hits: AtomicU64,
    misses: AtomicU64,
    refused: AtomicU64,
    guarded: bool,
}

/// A subject as it is kept in memory: its state, and the tag that names it in evidence once that was made.
#[derive(Debug)]
pub struct Cached {
    state: SubjectState,
    tag: OnceLock<(u32, [u8; 16])>,
}

impl Cached {
    pub(super) const fn new(state: SubjectState) -> Self {
        Self { state, tag: OnceLock::new() }
    }

    /// All that the ledger says.
    #[must_use]
    pub const fn state(&self) -> &SubjectState {
        &self.state
    }

    /// The tag of an epoch, made where it is not kept yet. One epoch's is kept: that of whoever asks first. After the end
    /// of that epoch it is made each time, until the subject is read anew.
    pub fn tag(&self, epoch: u32, make: impl FnOnce() -> [u8; 16]) -> [u8; 16] {
        match self.tag.get() {
            Some((kept, tag)) if *kept == epoch => *tag,
            Some(_) => make(),
            None => {
                let tag = make();
                // Somebody else may have been first, with the same.
                let _ = self.tag.set((epoch, tag));
                tag
            }
        }
    }
}

/// Proof of when a load began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    key: SubjectKey,
    epoch: u64,
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct CacheStats {
    /// Questions answered from the cache.
    pub hits: u64,
    /// Questions that went to the store.
    pub misses: u64,
    /// Loaded states that were not cached because a newer one was applied meanwhile.
    pub refused: u64,
    /// Subjects in the cache.
    pub entries: u64,
    /// Their weight in bytes.
    pub bytes: u64,
}

impl Cache {
    /// A cache of at most about this many bytes.
    pub(super) fn new(bytes: u64) -> Self {
        Self {
            entries: moka::sync::Cache::builder()
                .max_capacity(bytes)
                .weigher(|_, cached: &Arc<Cached>| {
                    u32::try_from(cached.state.weight() + ENTRY_OVERHEAD).unwrap_or(u32::MAX)
                })
                .build_with_hasher(BuildHasherDefault::default()),
            shards: Box::new(std::array::from_fn(|_| Mutex::new(0))),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            guarded: true,
        }
    }

    /// The same cache without its guard, to show that the tests notice.
    #[cfg(test)]
    pub(super) fn unguarded(bytes: u64) -> Self {
        Self { guarded: false, ..Self::new(bytes) }
    }

    /// The subject's state, if it is cached.
    pub(super) fn get(&self, key: SubjectKey) -> Option<Arc<Cached>> {
        let found = self.entries.get(&key);
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// The same without counting, for the loader.
    pub(super) fn peek(&self, key: SubjectKey) -> Option<Arc<Cached>> {
        self.entries.get(&key)
    }

    /// Begins a load: to be called before the store is read.
    pub(super) fn ticket(&self, key: SubjectKey) -> Ticket {
        Ticket { key, epoch: *self.shard(key) }
    }

    /// Ends a load: caches what was read, unless something was applied since the ticket.
    pub(super) fn insert_loaded(&self, ticket: Ticket, state: Arc<Cached>) {
        let epoch = self.shard(ticket.key);
        // INVARIANT: P4. The applier moves the epoch under this lock after the store has the new state.
        if *epoch == ticket.epoch || !self.guarded {
            self.entries.insert(ticket.key, state);
        } else {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells the cache that the store has a new state of this subject: replaces a cached one, and condemns loads under
    /// way. Without a state at hand the cached one is dropped.
    pub(super) fn applied(&self, key: SubjectKey, state: Option<Arc<Cached>>) {
        let mut epoch = self.shard(key);
        *epoch = epoch.wrapping_add(1);
        match state.filter(|_| self.entries.contains_key(&key)) {
            Some(state) => self.entries.insert(key, state),
            None => self.entries.invalidate(&key),
        }
    }

    /// The same for every subject, where it cannot be told whose state changed.
    pub(super) fn applied_to_any(&self) {
        for shard in &*self.shards {
            let mut epoch = shard.lock().unwrap_or_else(PoisonError::into_inner);
            *epoch = epoch.wrapping_add(1);
        }
        // Loads that began later have read what is new already.
        self.entries.invalidate_all();
    }

    /// Counts since the start, and what is in the cache.
    pub(super) fn stats(&self) -> CacheStats {
        CacheStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            entries: self.entries.entry_count(),
            bytes: self.entries.weighted_size(),
        }
    }

    fn shard(&self, key: SubjectKey) -> MutexGuard<'_, u64> {
        let [first, ..] = key.0;
        let [zeroth, ..] = &*self.shards;
        // INVARIANT: there are as many shards as a byte has values, so that the default is never taken.
        let shard = self.shards.get(usize::from(first)).unwrap_or(zeroth);
        // What a panic elsewhere left here is still a valid epoch.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Subject keys are uniform already: their first eight bytes are hash enough.
#[derive(Default)]
pub(super) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _length: usize) {}
}

#[cfg(test)]
mod tests;
