//! What strings say and what they are called, remembered by their texts.

use std::sync::Arc;

use foldhash::quality::RandomState;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use super::{Unreadable, read_gpp, read_tcf};
use crate::domain::{Gpp, Heard, Signals, Tcf};

/// What strings are remembered in where nobody says otherwise, in bytes: some ten thousand. Visitors share most of theirs,
/// because a string says who was asked what on which day and not who answered.
pub const REMEMBERED_BYTES: u64 = 16 * 1024 * 1024;
/// What a place in the cache takes beside text and meaning, in bytes.
const ENTRY_OVERHEAD: usize = 256;
/// What a string of usual length takes with its meaning, in bytes: how many the cache makes itself ready for.
const USUAL_BYTES: u64 = 1024;

/// The name of a string where its text must not stand.
pub type Fingerprint = [u8; 16];

/// Understands strings; clones share what they remember.
///
/// A string that was heard before costs a look into a cache, also one that cannot be read.
#[derive(Debug, Clone)]
pub struct Listener {
    tcf: Arc<Memory<Tcf>>,
    gpp: Arc<Memory<Gpp>>,
    /// Names a string.
    fingerprint: fn(&str) -> Fingerprint,
}

/// By text, what is known of it. The standard library's hash takes 0.1 µs for the thousand bytes that a string may have.
/// This one's seeds are chosen anew by each process and its results are shown to nobody, so that nobody can choose
/// strings that collide. No string ever goes stale, so that the cache need not keep time nor
/// note each look for later, as the one of subjects does: `cargo bench --bench enforcer -- "one subject"`.
type Memory<T> = Cache<Arc<str>, Arc<Known<T>>, Weigher<T>, RandomState>;

/// Says what a string takes in memory with what is known of it.
#[derive(Debug)]
struct Weigher<T> {
    heap_bytes: fn(&T) -> usize,
}

/// What is known of a string.
#[derive(Debug)]
struct Known<T> {
    /// What it says; `None` is unreadable.
    said: Option<T>,
    fingerprint: Fingerprint,
}

/// What the strings of a question say. It is lent to the question by [`Understood::heard`].
#[derive(Debug, Clone, Default)]
pub struct Understood {
    tcf: Option<Arc<Known<Tcf>>>,
    gpp: Option<Arc<Known<Gpp>>>,
}

impl Listener {
    /// One that has heard nothing yet, and remembers in so many bytes what it hears. `fingerprint` names strings where
    /// that is asked for: it depends on nothing but the text.
    #[must_use]
    pub fn new(remembered_bytes: u64, fingerprint: fn(&str) -> Fingerprint) -> Self {
        let half = remembered_bytes / 2;
        let (tcf, gpp) = (memory(half, Tcf::heap_bytes), memory(half, Gpp::heap_bytes));
        Self { tcf: Arc::new(tcf), gpp: Arc::new(gpp), fingerprint }
    }

    /// What the strings among these signals say; nothing where none was sent, and nothing of one that is unreadable.
    #[must_use]
    pub fn understand(&self, signals: &Signals<'_>) -> Understood {
        Understood {
            tcf: recall(&self.tcf, signals.tcf, read_tcf, self.fingerprint),
            gpp: recall(&self.gpp, signals.gpp, read_gpp, self.fingerprint),
        }
    }

    /// How many strings are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.tcf.len() + self.gpp.len()
    }

    /// What they take, in bytes.
    #[cfg(test)]
    pub(super) fn remembered_bytes(&self) -> u64 {
        self.tcf.weight() + self.gpp.weight()
    }
}

impl Understood {
    /// As a question carries it.
    #[must_use]
    pub fn heard(&self) -> Heard<'_> {
        Heard { tcf: said(self.tcf.as_deref()), gpp: said(self.gpp.as_deref()) }
    }

    /// The name of the TCF string; `None` where none was sent.
    #[must_use]
    pub fn tcf_fingerprint(&self) -> Option<Fingerprint> {
        self.tcf.as_ref().map(|known| known.fingerprint)
    }

    /// The name of the GPP string; `None` where none was sent.
    #[must_use]
    pub fn gpp_fingerprint(&self) -> Option<Fingerprint> {
        self.gpp.as_ref().map(|known| known.fingerprint)
    }
}

fn said<T>(known: Option<&Known<T>>) -> Option<&T> {
    known.and_then(|known| known.said.as_ref())
}

impl<T> Weighter<Arc<str>, Arc<Known<T>>> for Weigher<T> {
    fn weight(&self, text: &Arc<str>, known: &Arc<Known<T>>) -> u64 {
        let known = size_of::<Known<T>>() + known.said.as_ref().map_or(0, self.heap_bytes);
        u64::try_from(text.len() + known + ENTRY_OVERHEAD).unwrap_or(u64::MAX)
    }
}

// A derived one would ask it of what is weighed.
impl<T> Clone for Weigher<T> {
    fn clone(&self) -> Self {
        Self { heap_bytes: self.heap_bytes }
    }
}

fn memory<T>(bytes: u64, heap_bytes: fn(&T) -> usize) -> Memory<T> {
    let usual = usize::try_from(bytes / USUAL_BYTES).unwrap_or(usize::MAX);
    Cache::with(usual, bytes, Weigher { heap_bytes }, RandomState::default(), DefaultLifecycle::default())
}

fn recall<T>(
    memory: &Memory<T>,
    text: &str,
    read: fn(&str) -> Result<T, Unreadable>,
    fingerprint: fn(&str) -> Fingerprint,
) -> Option<Arc<Known<T>>> {
    if text.is_empty() {
        return None;
    }
    if let Some(known) = memory.get(text) {
        return Some(known);
    }
    let known = Arc::new(Known { said: read(text).ok(), fingerprint: fingerprint(text) });
    memory.insert(text.into(), Arc::clone(&known));
    Some(known)
}
