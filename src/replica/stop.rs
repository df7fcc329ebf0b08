//! Telling the threads of a replica to end, and waiting in a way that lets them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long whoever waits for something may go without looking whether it must stop: 100 ms.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Whether the replica is to end; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Says so. Nothing takes it back.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was said.
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sleeps, but no longer than until it is said.
    pub(super) fn pause(&self, span: Duration) {
        let mut left = span;
        while !self.is_set() && !left.is_zero() {
            let step = LOOK_INTERVAL.min(left);
            std::thread::sleep(step);
            left -= step;
        }
    }

    /// Waits until it is said.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub(super) async fn told(&self) {
        while !self.is_set() {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_pause_ends_when_it_is_told_to() {
        let stop = Stop::default();
        let began = Instant::now();
        stop.pause(Duration::from_millis(120));
        assert!(began.elapsed() >= Duration::from_millis(120));
        let telling = stop.clone();
        let told = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            telling.set();
        });
        stop.pause(Duration::MAX);
        told.join().expect("no panic");
        assert!(stop.is_set());
    }
}
