//! What a run counts while it runs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::load::Call;
use super::wire::Counts;
use crate::cli::Failure;

/// The longest latency that is told apart, in nanoseconds: a minute.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Digits of a latency that are kept.
const LATENCY_DIGITS: u8 = 3;

/// When calls count: those begun, or due, in the window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// When the run begins, with its warm-up.
    pub(super) start: Instant,
    /// From when calls count.
    pub(super) open: Instant,
    /// From when no call is begun.
    pub(super) end: Instant,
}

impl Window {
    /// A window that opens after the warm-up and is open for the duration.
    pub(super) fn new(start: Instant, warmup: Duration, duration: Duration) -> Self {
        let open = start + warmup;
        Self { start, open, end: open + duration }
    }

    fn holds(&self, begun: Instant) -> bool {
        (self.open..self.end).contains(&begun)
    }
}

/// Counts of the calls in the window.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    window: Window,
    /// Tells how responses are read.
    call: Call,
    /// Calls that were begun, or due.
    pub(super) begun: u64,
    /// Calls that were answered.
    pub(super) answered: u64,
    /// Questions of the calls that were begun.
    pub(super) asked: u64,
    /// What was answered.
    pub(super) counts: Counts,
    /// Calls that failed, by what was said of them.
    pub(super) errors: BTreeMap<String, u64>,
    /// Nanoseconds from when a call was begun, or due, until its answer had been read.
    pub(super) latency: Histogram<u64>,
    last: Instant,
}

impl Tally {
    /// Nothing counted yet, of such calls.
    ///
    /// # Errors
    /// Never: the bounds are constants that the histogram takes.
    pub(super) fn new(window: Window, call: Call) -> Result<Self, Failure> {
        Ok(Self {
            window,
            call,
            begun: 0,
            answered: 0,
            asked: 0,
            counts: Counts::default(),
            errors: BTreeMap::new(),
            latency: Histogram::new_with_bounds(1, LATENCY_NS_MAX, LATENCY_DIGITS)?,
            last: window.end,
        })
    }

    /// A call is begun, or was due at this moment. Each ends with [`answered`](Self::answered) or
    /// [`failed`](Self::failed), or counts as unanswered.
    pub(super) fn begin(&mut self, begun: Instant, questions: u64) {
        if self.window.holds(begun) {
            self.begun += 1;
            self.asked += questions;
        }
    }

    /// A call that was begun then has this response now.
    pub(super) fn answered(&mut self, begun: Instant, questions: u64, response: &[u8]) {
        if !self.window.holds(begun) {
            return;
        }
        let now = Instant::now();
        match self.call.count(&mut self.counts, response) {
            Ok(answers) if answers == questions => {
                self.answered += 1;
                let elapsed = now.saturating_duration_since(begun).as_nanos();
                self.latency.saturating_record(u64::try_from(elapsed).unwrap_or(u64::MAX));
            }
            Ok(_) => self.error("another number of answers than of questions".to_owned()),
            Err(unreadable) => self.error(unreadable.to_string()),
        }
        self.last = self.last.max(now);
    }

    /// A call that was begun then has failed.
    pub(super) fn failed(&mut self, begun: Instant, status: &tonic::Status) {
        if self.window.holds(begun) {
            self.error(format!("{:?}: {}", status.code(), status.message()));
        }
    }

    fn error(&mut self, what: String) {
        *self.errors.entry(what).or_default() += 1;
    }

    /// Calls that neither were answered nor failed.
    pub(super) fn unanswered(&self) -> u64 {
        self.begun.saturating_sub(self.answered).saturating_sub(self.failures())
    }

    /// Calls that failed.
    pub(super) fn failures(&self) -> u64 {
        self.errors.values().sum()
    }

    /// The time over which the calls of the window were answered. Longer than the window where the last answers came
    /// late, so that a server which falls behind does not look as fast as it is asked.
    pub(super) fn elapsed(&self) -> Duration {
        self.last.saturating_duration_since(self.window.open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_calls_of_the_window_count() {
        let start = Instant::now();
        let window = Window::new(start, Duration::from_secs(1), Duration::from_secs(1));
        let mut tally = Tally::new(window, Call::Unary).expect("a tally");
        let status = tonic::Status::unavailable("gone");
        for seconds_tenths in [0, 9, 10, 15, 19, 20, 30] {
            let begun = start + Duration::from_millis(100 * seconds_tenths);
            tally.begin(begun, 2);
            if seconds_tenths != 15 {
                tally.failed(begun, &status);
            }
        }
        assert_eq!((tally.begun, tally.asked, tally.failures(), tally.unanswered()), (3, 6, 2, 1));
        assert_eq!(tally.errors.keys().collect::<Vec<_>>(), ["Unavailable: gone"]);
    }

    #[test]
    fn a_response_with_too_few_answers_is_an_error() {
        let window = Window::new(Instant::now(), Duration::ZERO, Duration::from_mins(1));
        let mut tally = Tally::new(window, Call::Unary).expect("a tally");
        tally.begin(window.open, 2);
        // One empty answer.
        tally.answered(window.open, 2, &[0x0a, 0x00]);
        assert_eq!((tally.answered, tally.failures(), tally.unanswered()), (0, 1, 0));
    }
}
