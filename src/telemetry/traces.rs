//! Which answers leave a span, and what it says.
//!
//! A span is made after its answer, by hand, and only where it is kept: what decides that (the verdict, how long it took)
//! is known only then, and the others pay for two clock readings and a random number. The SDK's own spans would be recorded
//! for each answer and thrown away.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator};
use tokio::sync::{Notify, mpsc};

use super::latency::Call;
use super::otlp::{BATCH_SPANS, Counts};
use super::trace::TraceParent;
use crate::clock::Clock;
use crate::domain::Reason;

/// Which answers leave a span.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// The share of answers, 0 to 1, that leave one where the caller brought no trace. Where it did, its flag decides.
    pub ratio: f64,
    /// Answers that take longer leave one, whatever the flag and the share.
    pub slow: Option<Duration>,
    /// The most spans a second that are left for a denial or for slowness alone: where everything is denied, tracing must
    /// not take what little time there is.
    pub kept_per_second: u32,
}

/// Where answers leave their spans; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Arc<Recorder>>);

struct Recorder {
    queue: mpsc::Sender<Finished>,
    /// Wakes who sends: a batch is there.
    batch: Arc<Notify>,
    counts: Arc<Counts>,
    clock: Clock,
    ids: RandomIdGenerator,
    threshold: u64,
    slow: Duration,
    allowance: Allowance,
}

/// So many a second and no more.
struct Allowance {
    began: Instant,
    per_second: u32,
    /// The second in the upper half, how many were taken in it in the lower.
    taken: AtomicU64,
}

/// A call whose verdict is known, on its way to its evidence.
#[derive(Debug)]
pub struct Span<'a> {
    recorder: Option<&'a Recorder>,
    parent: Option<TraceParent>,
    /// Made here where the caller brought none.
    own_trace: [u8; 16],
    timing: Timing,
    kept: Option<Kept>,
    /// It would have been kept, and others had been kept already.
    passed_over: bool,
}

/// When what happened to a call.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// It was read.
    pub since: Instant,
    /// What it waited for was there, and the view was taken.
    pub seen: Instant,
    /// Its verdict was known.
    pub decided: Instant,
}

/// Why a span was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// The caller records its trace.
    Caller,
    /// It is one of the share.
    Ratio,
    /// There is a denial among its answers.
    Denied,
    /// It took long.
    Slow,
}

/// What a span says of its answers. Nothing in it may name a subject, and no text that a caller chose freely.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Which call.
    pub call: Call,
    /// Why the answers are what they are, and how many are so, in the order of the first of each.
    pub reasons: Vec<(Reason, u64)>,
    /// The purpose that all questions share, if the catalogue knows it.
    pub purpose: Option<Box<str>>,
    /// The channel that all questions share, if the catalogue knows it.
    pub channel: Option<Box<str>>,
    /// The age of the view.
    pub staleness: Duration,
    /// The version of the catalogue; 0 is none.
    pub catalogue_version: u64,
    /// The view's ledger token; empty before the first event.
    pub token: Arc<str>,
    /// The name of the evidence; empty where it could not be written.
    pub evidence: String,
    /// Who asked, by the name that the evidence bears; empty where that is not known.
    pub caller: Box<str>,
}

/// A span that is kept.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) trace_id: [u8; 16],
    pub(super) span_id: [u8; 8],
    pub(super) parent: Option<[u8; 8]>,
    pub(super) kept: Kept,
    /// On the wall clock, in nanoseconds since 1970: what happened when.
    pub(super) since_ns: u64,
    pub(super) seen_ns: u64,
    pub(super) decided_ns: u64,
    pub(super) ended_ns: u64,
    pub(super) told: Told,
}

impl Traces {
    /// No answer leaves a span.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// Spans go into a queue, which is never waited for.
    pub(super) fn new(
        sampling: Sampling,
        queue: mpsc::Sender<Finished>,
        batch: Arc<Notify>,
        counts: Arc<Counts>,
        clock: Clock,
    ) -> Self {
        let threshold = threshold(sampling.ratio);
        let slow = sampling.slow.unwrap_or(Duration::MAX);
        let allowance =
            Allowance { began: Instant::now(), per_second: sampling.kept_per_second, taken: AtomicU64::new(0) };
        Self(Some(Arc::new(Recorder {
            queue,
            batch,
            counts,
            clock,
            ids: RandomIdGenerator::default(),
            threshold,
            slow,
            allowance,
        })))
    }

    /// The time as it is; `otherwise` where nobody will look at it, so that it need not be read.
    #[inline]
    #[must_use]
    pub fn moment(&self, otherwise: Instant) -> Instant {
        if self.0.is_some() { Instant::now() } else { otherwise }
    }

    /// A call whose verdict is known; `denied` says whether any of its answers is a denial. Whether its span is kept is
    /// mostly known now: only how long its evidence takes is not.
    #[must_use]
    pub fn decided(&self, parent: Option<TraceParent>, timing: Timing, denied: impl FnOnce() -> bool) -> Span<'_> {
        let recorder = self.0.as_deref();
        let mut span = Span { recorder, parent, own_trace: [0; 16], timing, kept: None, passed_over: false };
        let Some(recorder) = recorder else { return span };
        let sampled = if let Some(parent) = parent {
            parent.sampled.then_some(Kept::Caller)
        } else {
            span.own_trace = recorder.ids.new_trace_id().to_bytes();
            (randomness(&span.own_trace) < recorder.threshold).then_some(Kept::Ratio)
        };
        span.kept = sampled;
        if sampled.is_none() {
            span.keep_for(recorder, timing.decided, denied);
        }
        span
    }
}

impl Span<'_> {
    /// The trace that evidence and logs name: the caller's, or where there is none our own if the span is kept.
    #[must_use]
    pub fn trace_id(&self) -> Option<[u8; 16]> {
        self.parent.map(|parent| parent.trace_id).or_else(|| self.kept.map(|_| self.own_trace))
    }

    /// [`Span::trace_id`] as W3C Trace Context spells it.
    #[must_use]
    pub fn shown(&self) -> Option<String> {
        self.trace_id().map(|id| data_encoding::HEXLOWER.encode(&id))
    }

    /// Ends it, with its evidence written or not; `denied` says whether any of its answers is a denial now.
    pub fn end(mut self, denied: impl FnOnce() -> bool, told: impl FnOnce() -> Told) {
        let Some(recorder) = self.recorder else { return };
        let ended = Instant::now();
        if self.kept.is_none() && !self.passed_over {
            self.keep_for(recorder, ended, denied);
        }
        if let Some(kept) = self.kept {
            recorder.keep(&self, kept, ended, told);
        }
    }

    /// Keeps it if there is a denial or it was slow, as far as such are kept.
    fn keep_for(&mut self, recorder: &Recorder, now: Instant, denied: impl FnOnce() -> bool) {
        let slow = || (now.saturating_duration_since(self.timing.since) >= recorder.slow).then_some(Kept::Slow);
        let Some(why) = denied().then_some(Kept::Denied).or_else(slow) else { return };
        if recorder.allowance.take(now) {
            self.kept = Some(why);
        } else {
            self.passed_over = true;
            recorder.counts.over_limit();
        }
    }
}

impl Allowance {
    /// Takes one of this second's, if one is left.
    fn take(&self, now: Instant) -> bool {
        let second = now.saturating_duration_since(self.began).as_secs() & u64::from(u32::MAX);
        let take = |taken: u64| {
            let (of, count) = (taken >> 32, taken & u64::from(u32::MAX));
            match count {
                _ if of != second => (self.per_second > 0).then_some(second << 32 | 1),
                count => (count < u64::from(self.per_second)).then_some(taken + 1),
            }
        };
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

impl Recorder {
    #[cold]
    fn keep(&self, span: &Span<'_>, kept: Kept, ended: Instant, told: impl FnOnce() -> Told) {
        // First the place, then what is put there: where nobody takes spans away, making one would be for nothing.
        let Ok(place) = self.queue.try_reserve() else {
            self.counts.full();
            return;
        };
        let ended_ns = self.clock.unix_nanos();
        let at = |moment| ended_ns.saturating_sub(nanos(ended.saturating_duration_since(moment)));
        let Timing { since, seen, decided } = span.timing;
        place.send(Finished {
            trace_id: span.parent.map_or(span.own_trace, |parent| parent.trace_id),
            span_id: self.ids.new_span_id().to_bytes(),
            parent: span.parent.map(|parent| parent.span_id),
            kept,
            since_ns: at(since),
            seen_ns: at(seen),
            decided_ns: at(decided),
            ended_ns,
            told: told(),
        });
        if self.queue.max_capacity() - self.queue.capacity() >= BATCH_SPANS {
            self.batch.notify_one();
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// One more than the greatest randomness.
const RANDOM: u64 = 1 << 56;

/// The bits of a trace id that are random. Source: W3C Trace Context, level 2, "random trace id flag": the right-most 7
/// bytes.
#[allow(clippy::cast_possible_truncation, reason = "the lower half is wanted")]
const fn randomness(trace_id: &[u8; 16]) -> u64 {
    u128::from_be_bytes(*trace_id) as u64 & (RANDOM - 1)
}

/// Trace ids whose randomness is below it are one of the share.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "the share is between 0 and 1, and a power of two loses nothing"
)]
fn threshold(ratio: f64) -> u64 {
    (ratio.clamp(0.0, 1.0) * RANDOM as f64) as u64
}

#[cfg(test)]
mod tests;
