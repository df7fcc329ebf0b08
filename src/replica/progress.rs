//! How far the building of the view has come, and when it will be done.

use std::time::{Duration, Instant};

use crate::domain::Position;

/// Between two lines of the log about it.
const SAY_INTERVAL: Duration = Duration::from_secs(3);

/// How far the building of the view has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Read so far.
    pub position: Position,
    /// Where the ledger ended when following began.
    pub target: Position,
    /// Events read since following began.
    pub events: u64,
    /// Events read in a second, on average.
    pub events_per_second: u64,
    /// The time that the rest will take; unknown at the beginning.
    pub left: Option<Duration>,
}

/// Measures the building of a view.
#[derive(Debug)]
pub(super) struct Pace {
    began: Instant,
    said: Instant,
    from: Position,
    target: Position,
    events: u64,
}

impl Pace {
    pub(super) fn new(from: Position, target: Position, now: Instant) -> Self {
        Self { began: now, said: now, from, target, events: 0 }
    }

    /// Counts events. True if it is time to say how far it has come.
    pub(super) fn count(&mut self, events: usize, now: Instant) -> bool {
        self.events = self.events.saturating_add(events as u64);
        let is_due = now.duration_since(self.said) >= SAY_INTERVAL;
        if is_due {
            self.said = now;
        }
        is_due
    }

    /// How far it has come.
    pub(super) fn progress(&self, position: Position, now: Instant) -> Progress {
        let elapsed = now.duration_since(self.began);
        let done = position.0.saturating_sub(self.from.0);
        let rest = self.target.0.saturating_sub(position.0);
        let millis = elapsed.as_millis().max(1);
        let per_second = u128::from(self.events) * 1000 / millis;
        // As fast as so far.
        let left = (elapsed.as_millis() * u128::from(rest)).checked_div(u128::from(done));
        Progress {
            position,
            target: self.target,
            events: self.events,
            events_per_second: u64::try_from(per_second).unwrap_or(u64::MAX),
            left: left.map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_takes_as_long_as_what_is_done_did() {
        let began = Instant::now();
        let mut pace = Pace::new(Position(100), Position(1100), began);
        assert_eq!(pace.progress(Position(100), began).left, None, "nothing is known yet");
        assert!(!pace.count(300, began + Duration::from_secs(2)));
        let told = pace.progress(Position(350), began + Duration::from_secs(2));
        assert_eq!((told.events, told.events_per_second, told.left), (300, 150, Some(Duration::from_secs(6))));
        assert!(pace.count(1, began + Duration::from_secs(4)), "it is time to say it");
        assert!(!pace.count(1, began + Duration::from_secs(5)), "it was just said");
        let done = pace.progress(Position(1200), began + Duration::from_secs(9));
        assert_eq!(done.left, Some(Duration::ZERO), "past the target nothing is left");
    }
}
