//! What became of reviews, counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::review::Outcome;
use crate::telemetry::{Durations, Metrics};

/// Bounds of the buckets, in seconds: an answer takes well below a millisecond, and the API server waits for seconds.
const BOUNDS: [f64; 13] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// The counts.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    counts: Arc<[AtomicU64; Outcome::ALL.len()]>,
    durations: Durations,
}

impl Tally {
    /// Shows the counts on the metrics.
    pub(super) fn new(metrics: &Metrics) -> Self {
        let counts: Arc<[AtomicU64; Outcome::ALL.len()]> = Arc::default();
        let shown = Arc::clone(&counts);
        let help = "Reviews of pods, by what became of them.";
        metrics.observe_counters("consentd_injector_reviews_total", help, "", "outcome", move || {
            let count = |(outcome, count): (&Outcome, &AtomicU64)| (outcome.as_str(), count.load(Ordering::Relaxed));
            Outcome::ALL.iter().zip(shown.iter()).map(count).collect()
        });
        let help = "Time from having read a review to its answer.";
        let durations = metrics.durations("consentd_injector_review_duration_seconds", help, &BOUNDS);
        Self { counts, durations }
    }

    /// Counts one.
    pub(super) fn add(&self, outcome: Outcome, elapsed: Duration) {
        if let Some((_, count)) = Outcome::ALL.iter().zip(self.counts.iter()).find(|(own, _)| **own == outcome) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.durations.took(elapsed);
    }
}
