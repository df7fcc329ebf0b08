//! Whether the sidecar, or the webhook, is fit to answer, and its end.
//!
//! Owns the list of what readiness depends on and the fact of draining. Must not know what the checks look at: the
//! composition root hands them over.
//!
//! Invariant: readiness is asked for, not remembered, so that it takes itself back.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Between two looks at readiness by those who are told of changes: 50 ms, well below a probe's second.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The name of the cause that the process is stopping.
pub const STOPPING: &str = "lifecycle";

/// One thing that readiness depends on: `None` when it is well, else why it is not, in a sentence.
pub type Check = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// Whether the sidecar is fit to answer; clones share it.
#[derive(Clone)]
pub struct Lifecycle(Arc<Shared>);

struct Shared {
    checks: Vec<(&'static str, Check)>,
    draining: AtomicBool,
}

/// Why the sidecar is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// What is not well, such as `ledger`.
    pub what: &'static str,
    /// Why, in a sentence.
    pub why: String,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

impl Lifecycle {
    /// A lifecycle over named checks.
    #[must_use]
    pub fn new(checks: Vec<(&'static str, Check)>) -> Self {
        Self(Arc::new(Shared { checks, draining: AtomicBool::new(false) }))
    }

    /// Everything that keeps the sidecar from being ready; empty when it is.
    #[must_use]
    pub fn causes(&self) -> Vec<Cause> {
        let draining = self.0.draining.load(Ordering::Relaxed);
        let draining = draining.then(|| Cause { what: STOPPING, why: "it is stopping".to_owned() });
        let failed = self.0.checks.iter().filter_map(|(what, check)| check().map(|why| Cause { what, why }));
        draining.into_iter().chain(failed).collect()
    }

    /// Whether nothing keeps the sidecar from being ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.causes().is_empty()
    }

    /// Begins the end: never ready again.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifecycle").field("causes", &self.causes()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_takes_itself_back_and_draining_ends_it() {
        let broken = Arc::new(AtomicBool::new(true));
        let look = Arc::clone(&broken);
        let check: Check = Box::new(move || look.load(Ordering::Relaxed).then(|| "it is broken".to_owned()));
        let lifecycle = Lifecycle::new(vec![("ledger", check)]);
        assert_eq!(lifecycle.causes(), [Cause { what: "ledger", why: "it is broken".to_owned() }]);
        broken.store(false, Ordering::Relaxed);
        assert!(lifecycle.is_ready());
        broken.store(true, Ordering::Relaxed);
        assert!(!lifecycle.is_ready());
        broken.store(false, Ordering::Relaxed);
        lifecycle.drain();
        assert_eq!(lifecycle.causes().first().map(|cause| cause.what), Some("lifecycle"));
    }
}
