//! What became of reviews, counted, and which metrics the webhook shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::review::Outcome;
use crate::telemetry::{Durations, Metrics};

/// Bounds of the buckets, in seconds: an answer takes well below a millisecond, and the API server waits for seconds.
/// The alarm of slow reviews asks for half a second, and a quantile is exact only at a bound.
const BOUNDS: [f64; 14] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// What is shown of the metrics besides the webhook's own. The others are of questions, which nobody asks here.
const SHARED_METRICS: [&str; 8] = [
    "consentd_build_info",
    "consentd_connections",
    "consentd_connections_max",
    "consentd_connections_total",
    "consentd_refused_total",
    "consentd_tls_begins_timestamp_seconds",
    "consentd_tls_ends_timestamp_seconds",
    "consentd_tls_renewal_failing",
];
const OWN_METRICS: &str = "consentd_injector_";

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
    pub(super) fn add(&self, outcome: Outcome) {
        if let Some((_, count)) = Outcome::ALL.iter().zip(self.counts.iter()).find(|(own, _)| **own == outcome) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes how long an answer took. What was not answered took none, and would make the others look fast.
    pub(super) fn took(&self, elapsed: Duration) {
        self.durations.took(elapsed);
    }
}

/// Whether the webhook shows a metric: its own, and what is true of every listener.
pub(super) fn is_shown(name: &str) -> bool {
    name.starts_with(OWN_METRICS) || SHARED_METRICS.contains(&name)
}
