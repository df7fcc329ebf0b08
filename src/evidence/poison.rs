//! The one way from a log that works to one that does not.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use tokio::sync::watch;

use super::failed_flush::Note;
use super::files::Cause;

/// Evidence cannot be written; nothing may be allowed on it. The cause stays the same until the process ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("evidence is unavailable: {0}")]
pub struct Unavailable(Arc<str>);

impl Unavailable {
    pub(super) fn new(cause: &Cause) -> Self {
        Self(cause.to_string().into())
    }

    /// Why, as one sentence.
    #[must_use]
    pub fn cause(&self) -> &str {
        &self.0
    }
}

/// Set once and never taken back: after a failed write or flush nothing is known of what the device holds, and a retry
/// that succeeds proves nothing, for the kernel may have dropped the pages that the failed one was about.
#[derive(Debug)]
pub(super) struct Poison {
    cause: OnceLock<Unavailable>,
    /// For the processes after this one, if it was a flush that failed.
    note: Note,
    /// How many records of this process are on the device; waiters look here, and are woken here when none will follow.
    pub(super) progress: watch::Sender<u64>,
}

impl Poison {
    pub(super) fn new(synced: u64, note: Note) -> Self {
        Self { cause: OnceLock::new(), note, progress: watch::Sender::new(synced) }
    }

    pub(super) fn check(&self) -> Result<(), Unavailable> {
        self.cause.get().map_or(Ok(()), |cause| Err(cause.clone()))
    }

    pub(super) fn cause(&self) -> Option<&Unavailable> {
        self.cause.get()
    }

    /// Poisons, unless that has happened already; gives the first cause.
    pub(super) fn set(&self, cause: &Cause) -> Unavailable {
        let mut fresh = false;
        let first = self.cause.get_or_init(|| {
            fresh = true;
            Unavailable::new(cause)
        });
        // Whatever came first: a failed write, say, is forgotten with the process, and this must not be.
        if cause.is_failed_flush() {
            self.note.leave(cause);
        }
        if fresh {
            tracing::error!(
                cause = first.cause(),
                "the evidence log is poisoned; every answer is a DENY until it is mended"
            );
        }
        self.progress.send_modify(|_| {});
        first.clone()
    }

    /// Locks, and treats a lock whose holder panicked as what it is: state that nobody vouches for.
    pub(super) fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> Result<MutexGuard<'a, T>, Unavailable> {
        mutex.lock().map_err(|_| self.set(&Cause::new("a thread panicked while it held the evidence log")))
    }
}
