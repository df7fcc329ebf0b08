//! Store and cache as one unit, which is replaced as a whole when the store must be rebuilt.

use std::sync::{Mutex, PoisonError};

use super::cache::Cache;
use super::store::{Store, StoreError};

/// One store with the cache in front of it.
pub(super) struct Engine {
    pub(super) store: Store,
    pub(super) cache: Cache,
    /// What made the store unusable; the applier looks here and rebuilds.
    condemned: Mutex<Option<String>>,
}

impl Engine {
    pub(super) fn new(store: Store, cache: Cache) -> Self {
        Self { store, cache, condemned: Mutex::new(None) }
    }

    /// Notes that the store failed. The first cause is kept.
    pub(super) fn condemn(&self, error: &StoreError) {
        let mut condemned = self.condemned.lock().unwrap_or_else(PoisonError::into_inner);
        condemned.get_or_insert_with(|| error.to_string());
    }

    /// What made the store unusable, if anything did.
    pub(super) fn condemned(&self) -> Option<String> {
        self.condemned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("condemned", &self.condemned()).finish_non_exhaustive()
    }
}
