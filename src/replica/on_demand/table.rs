//! The subjects that are loaded, those that are being loaded, and what keeps an old state from being taken for a new one.
//!
//! An event is only a state where everything before it is known. So an event is joined into a subject that is loaded,
//! kept beside a subject that is being loaded until the load is done, and for every other subject forgotten: the load
//! that comes for it will find it in the ledger.
//!
//! For that, each event must meet the load either here or there. The applier says up to which position it is about to
//! apply *before* it touches any subject. A load begins by being entered here, and only then looks up to where it must
//! read. An event that the applier applied before the entry is at or before that position, and one that it applies
//! later finds the entry: both take the lock of the subject's shard.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::domain::{Position, SubjectKey, SubjectState};
use crate::replica::cache::{Cached, ENTRY_OVERHEAD, KeyHasher};
use crate::replica::texts::Texts;

/// Locks that subjects share by their key's first byte.
const SHARDS: usize = 256;

/// What is known of subjects, one entry for each identifier: the state of that identifier alone.
pub(super) struct Table {
    loaded: moka::sync::Cache<SubjectKey, Arc<Cached>, BuildHasherDefault<KeyHasher>>,
    shards: Box<[Mutex<HashMap<SubjectKey, Loading>>; SHARDS]>,
    /// Up to where events may have been applied.
    applying: AtomicU64,
    texts: Texts,
    guarded: bool,
}

/// A load that is under way.
struct Loading {
    /// What was applied since it began.
    since: SubjectState,
    outcome: watch::Sender<Outcome>,
}

/// How a load stands.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    /// It is under way.
    Pending,
    /// It came to its end. The state may be newer by now; the table's is.
    Loaded(Arc<Cached>),
    /// The ledger could not be read.
    Failed,
}

/// What the table has of a subject.
pub(super) enum Found {
    /// Its state.
    Loaded(Arc<Cached>),
    /// Somebody else's load.
    Loading(watch::Receiver<Outcome>),
    /// Nothing: whoever asked loads it.
    Begun(Load, watch::Receiver<Outcome>),
}

/// The duty to load a subject. Dropped without a state, the load has failed.
pub(super) struct Load {
    table: Arc<Table>,
    key: SubjectKey,
    up_to: Position,
    is_over: bool,
}

impl Table {
    /// A table that keeps states of at most about this many bytes.
    pub(super) fn new(bytes: u64) -> Self {
        Self {
            loaded: moka::sync::Cache::builder()
                .max_capacity(bytes)
                .weigher(|_, cached: &Arc<Cached>| {
                    u32::try_from(cached.state().weight() + ENTRY_OVERHEAD).unwrap_or(u32::MAX)
                })
                .build_with_hasher(BuildHasherDefault::default()),
            shards: Box::new(std::array::from_fn(|_| Mutex::default())),
            applying: AtomicU64::new(0),
            texts: Texts::default(),
            guarded: true,
        }
    }

    /// The same table, where events pass by the loads that are under way, to show that the tests notice.
    #[cfg(test)]
    pub(super) fn unguarded(bytes: u64) -> Self {
        Self { guarded: false, ..Self::new(bytes) }
    }

    /// A subject's state, if it is loaded.
    pub(super) fn get(&self, key: SubjectKey) -> Option<Arc<Cached>> {
        self.loaded.get(&key)
    }

    /// A subject's state, or the load that brings it.
    pub(super) fn find(self: &Arc<Self>, key: SubjectKey) -> Found {
        let mut shard = self.shard(key);
        if let Some(cached) = self.loaded.get(&key) {
            return Found::Loaded(cached);
        }
        match shard.entry(key) {
            Entry::Occupied(loading) => Found::Loading(loading.get().outcome.subscribe()),
            Entry::Vacant(vacant) => {
                let (outcome, receiver) = watch::channel(Outcome::Pending);
                vacant.insert(Loading { since: SubjectState::default(), outcome });
                // INVARIANT: read under the lock, after the entry was made: see above.
                let up_to = Position(self.applying.load(Ordering::Acquire));
                Found::Begun(Load { table: Arc::clone(self), key, up_to, is_over: false }, receiver)
            }
        }
    }

    /// Says that events up to a position are about to be applied. To be called before the first of them is.
    pub(super) fn about_to_apply(&self, up_to: Position) {
        self.applying.store(up_to.0, Ordering::Release);
    }

    /// Joins what an event says into what is known of a subject.
    pub(super) fn apply(&self, key: SubjectKey, said: SubjectState) {
        let mut shard = self.shard(key);
        // INVARIANT: a subject is being loaded or loaded, never both.
        if let Some(loading) = shard.get_mut(&key) {
            if self.guarded {
                loading.since.join(said);
            }
        } else if let Some(cached) = self.loaded.get(&key) {
            let mut state = cached.state().clone();
            state.join(said);
            self.loaded.insert(key, self.cached(&state));
        }
    }

    /// How many subjects are loaded, and what they weigh in bytes.
    pub(super) fn size(&self) -> (u64, u64) {
        (self.loaded.entry_count(), self.loaded.weighted_size())
    }

    fn cached(&self, state: &SubjectState) -> Arc<Cached> {
        let mut parts = state.to_parts();
        self.texts.share(&mut parts);
        Arc::new(Cached::new(SubjectState::from_parts(parts)))
    }

    fn shard(&self, key: SubjectKey) -> MutexGuard<'_, HashMap<SubjectKey, Loading>> {
        let [first, ..] = key.0;
        let [zeroth, ..] = &*self.shards;
        // INVARIANT: there are as many shards as a byte has values, so that the default is never taken.
        let shard = self.shards.get(usize::from(first)).unwrap_or(zeroth);
        // Nothing panics while it is held; if something did, every entry would still be whole.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Load {
    /// Whose.
    pub(super) const fn key(&self) -> SubjectKey {
        self.key
    }

    /// Up to where the ledger must be read at least.
    pub(super) const fn up_to(&self) -> Position {
        self.up_to
    }

    /// Ends the load with all that was read, to which what was applied meanwhile is joined.
    pub(super) fn loaded(mut self, mut state: SubjectState) {
        let table = Arc::clone(&self.table);
        let mut shard = table.shard(self.key);
        self.is_over = true;
        let Some(Loading { since, outcome }) = shard.remove(&self.key) else { return };
        state.join(since);
        let cached = table.cached(&state);
        // INVARIANT: under the lock, so that no event comes between this and the removal of the entry.
        table.loaded.insert(self.key, Arc::clone(&cached));
        outcome.send_replace(Outcome::Loaded(cached));
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // What is entered after the end is somebody else's.
        if !self.is_over
            && let Some(Loading { outcome, .. }) = self.table.shard(self.key).remove(&self.key)
        {
            outcome.send_replace(Outcome::Failed);
        }
    }
}

#[cfg(test)]
mod tests;
