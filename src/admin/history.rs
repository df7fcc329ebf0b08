//! How many answers each reason had over time: a few rings of buckets, filled once a second from the counters that are there
//! anyway. Nothing is done for it where answers are given.
//!
//! What happened before the start, and while nobody counted, is not known, and is not taken for nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use crate::clock::Clock;
use crate::domain::{Reason, Time};
use crate::telemetry::Metrics;

/// How often the counters are read.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// How many seconds the rate is of.
const RATE_SECONDS: usize = 10;
/// The reasons.
const REASONS: usize = Reason::ALL.len();

/// Answers of one bucket, by reason. Four thousand million in twenty minutes are not to be had.
type Counts = [u32; REASONS];

/// How far back is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Range {
    Minute,
    TenMinutes,
    Hour,
    Day,
}

/// Answers over time; clones share them.
#[derive(Debug, Clone)]
pub(super) struct History(Arc<Mutex<Kept>>);

#[derive(Debug)]
struct Kept {
    /// The counters when they were last read.
    last: [u64; REASONS],
    rings: [Ring; Range::ALL.len()],
}

/// Buckets of one length, the newest last.
#[derive(Debug)]
struct Ring {
    step_seconds: u64,
    capacity: usize,
    /// The number of the newest bucket, counted from the start of the machine.
    newest: u64,
    buckets: VecDeque<Option<Counts>>,
}

/// A bucket as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bucket {
    /// Its beginning.
    pub(super) from: Time,
    /// `None` where nobody counted.
    pub(super) counts: Option<Counts>,
    /// Whether it is over.
    pub(super) is_whole: bool,
}

impl Range {
    pub(super) const ALL: [Self; 4] = [Self::Minute, Self::TenMinutes, Self::Hour, Self::Day];

    /// The word in addresses.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::TenMinutes => "10-minutes",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// For people.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::TenMinutes => "10 minutes",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// The range of a word; else ten minutes.
    pub(super) fn of_word(word: &str) -> Self {
        Self::ALL.into_iter().find(|range| range.word() == word).unwrap_or(Self::TenMinutes)
    }

    /// The length of a bucket.
    pub(super) const fn step(self) -> Duration {
        match self {
            Self::Minute => Duration::from_secs(1),
            Self::TenMinutes => Duration::from_secs(10),
            Self::Hour => Duration::from_mins(1),
            Self::Day => Duration::from_mins(20),
        }
    }

    const fn buckets(self) -> usize {
        match self {
            Self::Minute | Self::TenMinutes | Self::Hour => 60,
            Self::Day => 72,
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

impl History {
    pub(super) fn new() -> Self {
        let rings = Range::ALL.map(|range| Ring {
            step_seconds: range.step().as_secs(),
            capacity: range.buckets(),
            newest: 0,
            buckets: VecDeque::with_capacity(range.buckets()),
        });
        Self(Arc::new(Mutex::new(Kept { last: [0; REASONS], rings })))
    }

    /// Reads the counters once a second. Ends never.
    pub(super) async fn fill(self, metrics: Metrics, clock: Clock) {
        // In the middle of each second, also after a look that came late: a little to or fro leaves no second without a look
        // and none with two.
        let first = Instant::now() + until_mid_second(clock.boot().millis());
        let mut tick = tokio::time::interval_at(first, SAMPLE_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tick.tick().await;
            self.add(clock.boot().millis() / 1000, &metrics.by_reason());
        }
    }

    /// Takes the counters as they are at a time.
    fn add(&self, boot_seconds: u64, counters: &[u64; REASONS]) {
        let mut kept = self.kept();
        let mut grown = [0; REASONS];
        for ((grown, now), last) in grown.iter_mut().zip(counters).zip(kept.last) {
            // A catalogue that dropped a purpose took its counts along.
            *grown = u32::try_from(now.saturating_sub(last)).unwrap_or(u32::MAX);
        }
        kept.last = *counters;
        for ring in &mut kept.rings {
            ring.add(boot_seconds, &grown);
        }
    }

    /// The buckets of a range, the newest last.
    pub(super) fn buckets(&self, range: Range, clock: &Clock) -> Vec<Bucket> {
        let (now, boot_ms) = (clock.now(), clock.boot().millis());
        let kept = self.kept();
        let Some(ring) = kept.rings.get(range.index()) else { return Vec::new() };
        let step_ms = ring.step_seconds * 1000;
        let current = boot_ms / step_ms;
        // What is before the machine's start has no number.
        let oldest = current.saturating_sub(ring.capacity as u64 - 1);
        let bucket = |number: u64| {
            let age = Duration::from_millis(boot_ms.saturating_sub(number * step_ms));
            Bucket { from: now.minus(age), counts: ring.at(number).copied(), is_whole: number < current }
        };
        (oldest..=current).map(bucket).collect()
    }

    /// Answers a second, over the last ten seconds that are over: from the oldest look to the newest. What came in between
    /// while nobody looked is in the look after it.
    pub(super) fn rate(&self, clock: &Clock) -> f64 {
        let whole = self.buckets(Range::Minute, clock).into_iter().rev().filter(|bucket| bucket.is_whole);
        let looks: Vec<(u64, u64)> = (0..)
            .zip(whole.take(RATE_SECONDS + 1))
            .filter_map(|(age, bucket)| Some((age, bucket.counts?.iter().map(|count| u64::from(*count)).sum())))
            .collect();
        let (Some((newest, _)), Some((oldest, _))) = (looks.first(), looks.last()) else { return 0.0 };
        // What the oldest found is of the time before it.
        let answers: u64 = looks.iter().filter(|(age, _)| age < oldest).map(|(_, answers)| answers).sum();
        as_f64(answers) / as_f64((oldest - newest).max(1))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn add(&mut self, boot_seconds: u64, grown: &Counts) {
        let number = boot_seconds / self.step_seconds;
        let since = if self.buckets.is_empty() { 1 } else { number.saturating_sub(self.newest) };
        let missed = since.min(self.capacity as u64);
        for _ in 0..missed {
            if self.buckets.len() == self.capacity {
                self.buckets.pop_front();
            }
            self.buckets.push_back(None);
        }
        self.newest = self.newest.max(number);
        if let Some(bucket) = self.buckets.back_mut() {
            let counts = bucket.get_or_insert([0; REASONS]);
            for (count, grown) in counts.iter_mut().zip(grown) {
                *count = count.saturating_add(*grown);
            }
        }
    }

    fn at(&self, number: u64) -> Option<&Counts> {
        let back = usize::try_from(self.newest.checked_sub(number)?).ok()?;
        let place = self.buckets.len().checked_sub(back + 1)?;
        self.buckets.get(place)?.as_ref()
    }
}

/// How long it is until the middle of a second.
fn until_mid_second(boot_ms: u64) -> Duration {
    Duration::from_millis((1500 - boot_ms % 1000) % 1000)
}

#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
const fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(consents: u64) -> [u64; REASONS] {
        let mut counters = [0; REASONS];
        counters[Reason::Consent.index()] = consents;
        counters
    }

    fn consents(history: &History, range: Range, clock: &Clock) -> Vec<Option<u32>> {
        let buckets = history.buckets(range, clock);
        buckets.iter().map(|bucket| bucket.counts.map(|counts| counts[Reason::Consent.index()])).collect()
    }

    #[test]
    fn buckets_hold_what_was_counted_in_them_and_what_was_not_counted_is_not_zero() {
        let clock = Clock::manual(Time::from_unix_millis(1_800_000_000_000));
        clock.advance(Duration::from_hours(1));
        let history = History::new();
        let read = |consents| history.add(clock.boot().millis() / 1000, &counters(consents));
        read(3);
        clock.advance(Duration::from_secs(1));
        read(5);
        read(6);
        // Nobody counts for a while: the process stood still.
        clock.advance(Duration::from_secs(5));
        read(16);
        let seconds = consents(&history, Range::Minute, &clock);
        assert_eq!(seconds.len(), 60);
        assert_eq!(seconds[53..], [Some(3), Some(3), None, None, None, None, Some(10)]);
        assert!(seconds[..53].iter().all(Option::is_none), "{seconds:?}");
        assert_eq!(consents(&history, Range::TenMinutes, &clock)[59], Some(16));
        let newest = history.buckets(Range::Minute, &clock).pop().expect("a bucket");
        // A manual clock has been up for a millisecond when it begins.
        assert_eq!((newest.from, newest.is_whole), (clock.now().minus(Duration::from_millis(1)), false));
        // Longer than the ring: nothing of before is left.
        clock.advance(Duration::from_hours(1));
        assert!(consents(&history, Range::Minute, &clock).iter().all(Option::is_none));
        read(17);
        let seconds = consents(&history, Range::Minute, &clock);
        assert_eq!((seconds[59], seconds.iter().flatten().count()), (Some(1), 1));
    }

    #[test]
    fn a_counter_that_fell_counts_as_nothing_and_goes_on_from_there() {
        let clock = Clock::manual(Time::from_unix_millis(1_800_000_000_000));
        let history = History::new();
        for (total, wanted) in [(10, 10), (4, 10), (6, 12)] {
            history.add(0, &counters(total));
            assert_eq!(consents(&history, Range::Day, &clock).pop().flatten(), Some(wanted), "{total}");
        }
    }

    #[test]
    fn the_rate_is_the_same_across_a_time_in_which_nobody_looked() {
        let clock = Clock::manual(Time::from_unix_millis(1_800_000_000_000));
        let history = History::new();
        for second in 0..40 {
            // Once for some seconds, and once for longer than the rate is of, so that there is none.
            if !(12..16).contains(&second) && !(20..33).contains(&second) {
                history.add(second, &counters(second * 7));
            }
            clock.advance(Duration::from_secs(1));
            let (rate, known) = (history.rate(&clock), if (29..34).contains(&second) { 0.0 } else { 7.0 });
            assert!(second == 0 || (rate - known).abs() < 1e-9, "{rate} after second {second}");
        }
    }

    #[test]
    fn it_is_looked_in_the_middle_of_a_second() {
        for (boot_ms, wanted) in [(0, 500), (499, 1), (500, 0), (501, 999), (999, 501), (7_000_250, 250)] {
            assert_eq!(until_mid_second(boot_ms), Duration::from_millis(wanted), "{boot_ms}");
        }
    }

    #[test]
    fn the_rate_is_of_whole_seconds() {
        let clock = Clock::manual(Time::from_unix_millis(1_800_000_000_000));
        let history = History::new();
        assert!(history.rate(&clock).abs() < f64::EPSILON);
        for second in 0..20 {
            history.add(second, &counters(second * 7));
            clock.advance(Duration::from_secs(1));
        }
        assert!((history.rate(&clock) - 7.0).abs() < 1e-9, "{}", history.rate(&clock));
    }
}
