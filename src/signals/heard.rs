//! What strings say, remembered by their texts.

use std::sync::Arc;

use moka::sync::Cache;

use super::{Unreadable, read_gpp, read_tcf};
use crate::domain::{Gpp, Heard, Signals, Tcf};

/// What strings are remembered in, in bytes: some ten thousand. Visitors share most of theirs, because a string says
/// who was asked what on which day and not who answered.
const REMEMBERED_BYTES: u64 = 16 * 1024 * 1024;
/// What a place in the cache takes beside text and meaning, in bytes.
const ENTRY_OVERHEAD: usize = 256;

/// Understands strings; clones share what they remember.
///
/// A string that was heard before costs a look into a cache, also one that cannot be read.
#[derive(Debug, Clone)]
pub struct Listener {
    tcf: Memory<Tcf>,
    gpp: Memory<Gpp>,
}

/// By text, what it says; `None` is unreadable.
type Memory<T> = Cache<Arc<str>, Option<Arc<T>>>;

/// What the strings of a question say. It is lent to the question by [`Understood::heard`].
#[derive(Debug, Clone, Default)]
pub struct Understood {
    tcf: Option<Arc<Tcf>>,
    gpp: Option<Arc<Gpp>>,
}

impl Listener {
    /// One that has heard nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { tcf: memory(REMEMBERED_BYTES / 2, Tcf::heap_bytes), gpp: memory(REMEMBERED_BYTES / 2, Gpp::heap_bytes) }
    }

    /// What the strings among these signals say; nothing where none was sent, and nothing of one that is unreadable.
    #[must_use]
    pub fn understand(&self, signals: &Signals<'_>) -> Understood {
        Understood { tcf: recall(&self.tcf, signals.tcf, read_tcf), gpp: recall(&self.gpp, signals.gpp, read_gpp) }
    }

    /// How many strings are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> u64 {
        self.settle();
        self.tcf.entry_count() + self.gpp.entry_count()
    }

    /// What they take, in bytes.
    #[cfg(test)]
    pub(super) fn remembered_bytes(&self) -> u64 {
        self.settle();
        self.tcf.weighted_size() + self.gpp.weighted_size()
    }

    /// Lets the caches do what they put off.
    #[cfg(test)]
    fn settle(&self) {
        self.tcf.run_pending_tasks();
        self.gpp.run_pending_tasks();
    }
}

impl Default for Listener {
    fn default() -> Self {
        Self::new()
    }
}

impl Understood {
    /// As a question carries it.
    #[must_use]
    pub fn heard(&self) -> Heard<'_> {
        Heard { tcf: self.tcf.as_deref(), gpp: self.gpp.as_deref() }
    }
}

fn memory<T: Send + Sync + 'static>(bytes: u64, heap_bytes: fn(&T) -> usize) -> Memory<T> {
    Cache::builder()
        .max_capacity(bytes)
        .weigher(move |text: &Arc<str>, said: &Option<Arc<T>>| weight(text, said.as_deref(), heap_bytes))
        .build()
}

/// What a string takes in memory with what it says.
fn weight<T>(text: &str, said: Option<&T>, heap_bytes: fn(&T) -> usize) -> u32 {
    let meaning = said.map_or(0, |said| size_of::<T>() + heap_bytes(said));
    u32::try_from(text.len() + meaning + ENTRY_OVERHEAD).unwrap_or(u32::MAX)
}

fn recall<T: Send + Sync + 'static>(
    memory: &Memory<T>,
    text: &str,
    read: fn(&str) -> Result<T, Unreadable>,
) -> Option<Arc<T>> {
    if text.is_empty() {
        return None;
    }
    if let Some(said) = memory.get(text) {
        return said;
    }
    let said = read(text).ok().map(Arc::new);
    memory.insert(text.into(), said.clone());
    said
}
