//! What one look at the sidecar sees.

use std::time::Duration;

use super::facts::{Facts, Look};
use super::history::{Bucket, History, Range};
use crate::clock::{BootTime, Clock};
use crate::domain::{Reason, Time, Verdict};
use crate::lifecycle::{self, Cause, Lifecycle};
use crate::telemetry::Metrics;

/// The sidecar at a moment.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) at: Time,
    /// How long it has been up.
    pub(super) up: Duration,
    /// Why it is not ready; empty when it is.
    pub(super) causes: Vec<Cause>,
    pub(super) facts: Facts,
    pub(super) range: Range,
    /// Answers over the range, the newest last.
    pub(super) buckets: Vec<Bucket>,
    /// Answers since the start, by reason.
    pub(super) totals: [u64; Reason::ALL.len()],
    /// Answers a second, of late.
    pub(super) rate: f64,
}

/// Where one looks.
pub(super) struct Window {
    pub(super) lifecycle: Lifecycle,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
    /// When it began to be shown.
    pub(super) began: BootTime,
    pub(super) history: History,
    pub(super) look: Look,
}

impl Window {
    pub(super) fn seen(&self, range: Range) -> Seen {
        Seen {
            at: self.clock.now(),
            up: self.clock.boot().since(self.began),
            causes: self.lifecycle.causes(),
            facts: (self.look)(),
            range,
            buckets: self.history.buckets(range, &self.clock),
            totals: self.metrics.by_reason(),
            rate: self.history.rate(&self.clock),
        }
    }
}

/// What one can do about something that keeps the sidecar from being ready, in a sentence or two. As
/// `docs/operations.md` has it.
pub(super) fn todo(what: &str) -> &'static str {
    match what {
        "ledger" => {
            "While the local copy is being built, wait. Otherwise see to it that the ledger's file or servers can be reached; a \
             ledger that was cut, replaced or rewritten has to be whole again before this sidecar is started again or another is \
             made: one that begins with an empty folder would not notice."
        }
        "freshness" => "See whether the ledger's file and its mount, or its servers, can be reached from here.",
        "evidence" => {
            "Nothing is allowed until this is mended. Where it cannot be written, mend the disk and start the sidecar again; where \
             too much waits to be shipped, mend the way to the servers that it is shipped to."
        }
        lifecycle::STOPPING => "Nothing: it finishes what it was asked, and ends. Ask another sidecar.",
        _ => "See the sidecar's log.",
    }
}

impl Seen {
    /// Answers since the start, and those of them that are an ALLOW.
    pub(super) fn answers(&self) -> (u64, u64) {
        let allowed = Reason::ALL.iter().zip(self.totals).filter(|(reason, _)| reason.verdict() == Verdict::Allow);
        (self.totals.iter().sum(), allowed.map(|(_, count)| count).sum())
    }

    /// Every reason with its place and how many answers it had in the range.
    pub(super) fn sums(&self) -> Vec<(usize, Reason, u64)> {
        let sum = |place: usize| {
            let counts = self.buckets.iter().filter_map(|bucket| bucket.counts?.get(place).copied());
            counts.map(u64::from).sum()
        };
        Reason::ALL.iter().enumerate().map(|(place, reason)| (place, *reason, sum(place))).collect()
    }
}
