//! The count of answers by purpose and reason: a table of atomics with a row for each purpose of the catalogue.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::domain::Reason;

/// The most purposes with a row of their own. The others share one: what is counted must not grow without bound.
pub const PURPOSES_MAX: usize = 1024;

/// The label of purposes that the catalogue does not name. No purpose can be called so.
const UNKNOWN: &str = "(unknown)";
/// The label of purposes beyond [`PURPOSES_MAX`].
const OTHER: &str = "(other)";

/// Reasons that are counted aloud before they occur: a series that begins at 1 looks to `increase()` as if nothing had
/// happened, and these are what somebody is woken for.
const WATCHED: [Reason; 5] = [
    Reason::Stale,
    Reason::LedgerBroken,
    Reason::StoreUnavailable,
    Reason::UnreadableRecord,
    Reason::EvidenceUnavailable,
];

/// The counts of one purpose, for adding many at once. A row stays valid when the catalogue changes, but may then be
/// of a purpose that is no longer shown: take a new one with each catalogue.
#[derive(Debug, Clone)]
pub struct Row(Arc<[AtomicU64; Reason::ALL.len()]>);

impl Row {
    fn new() -> Self {
        Self(Arc::new([const { AtomicU64::new(0) }; Reason::ALL.len()]))
    }

    /// Counts answers with the same reason.
    #[inline]
    pub fn add(&self, reason: Reason, count: u64) {
        // INVARIANT: the index is below the length, which is the number of reasons.
        if let Some(counter) = self.0.get(reason.index()) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }
}

/// One line of what is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) purpose: Box<str>,
    pub(super) reason: Reason,
    pub(super) count: u64,
}

/// All counts.
#[derive(Debug)]
pub(super) struct Decisions(ArcSwap<Table>);

#[derive(Debug, Clone)]
struct Table {
    rows: HashMap<Box<str>, Row, BuildHasherDefault<WordHasher>>,
    /// Whether purposes were left without a row.
    full: bool,
    other: Row,
    unknown: Row,
}

impl Decisions {
    pub(super) fn new() -> Self {
        let table = Table { rows: HashMap::default(), full: false, other: Row::new(), unknown: Row::new() };
        Self(ArcSwap::from_pointee(table))
    }

    /// Gives these purposes rows, in this order as far as they reach. Purposes that stay keep their counts.
    pub(super) fn set_purposes(&self, purposes: &[&str]) {
        self.0.rcu(|table| {
            let kept = purposes.iter().take(PURPOSES_MAX);
            let row = |purpose: &&str| {
                let row = table.rows.get(*purpose).cloned().unwrap_or_else(Row::new);
                ((*purpose).into(), row)
            };
            Table { rows: kept.map(row).collect(), full: purposes.len() > PURPOSES_MAX, ..Table::clone(table) }
        });
    }

    /// Counts one answer.
    #[inline]
    pub(super) fn add(&self, purpose: &str, reason: Reason) {
        self.0.load().row(purpose, reason).add(reason, 1);
    }

    /// The row of a purpose.
    pub(super) fn row(&self, purpose: &str) -> Row {
        // Any reason but `UnknownPurpose` will do: the caller asks for a purpose that it knows.
        self.0.load().row(purpose, Reason::Consent).clone()
    }

    /// What has been counted, by reason alone.
    pub(super) fn by_reason(&self) -> [u64; Reason::ALL.len()] {
        let table = self.0.load();
        let mut sums = [0; Reason::ALL.len()];
        for row in table.rows.values().chain([&table.other, &table.unknown]) {
            for (sum, counter) in sums.iter_mut().zip(row.0.iter()) {
                *sum += counter.load(Ordering::Relaxed);
            }
        }
        sums
    }

    /// What has been counted, by purpose and reason: what is not zero, and what is watched.
    pub(super) fn lines(&self) -> Vec<Line> {
        let table = self.0.load();
        let mut rows: Vec<(&str, &Row)> = table.rows.iter().map(|(purpose, row)| (&**purpose, row)).collect();
        rows.sort_unstable_by_key(|(purpose, _)| *purpose);
        let known = rows.len();
        rows.push((OTHER, &table.other));
        rows.push((UNKNOWN, &table.unknown));
        let mut lines = Vec::new();
        for (index, (purpose, row)) in rows.into_iter().enumerate() {
            for (reason, counter) in Reason::ALL.iter().zip(row.0.iter()) {
                let count = counter.load(Ordering::Relaxed);
                if count > 0 || (index < known && WATCHED.contains(reason)) {
                    lines.push(Line { purpose: purpose.into(), reason: *reason, count });
                }
            }
        }
        lines
    }
}

impl Table {
    #[inline]
    fn row(&self, purpose: &str, reason: Reason) -> &Row {
        match self.rows.get(purpose) {
            Some(row) => row,
            // Where the table is full the reason tells a purpose that is known from one that is not.
            None if self.full && reason != Reason::UnknownPurpose => &self.other,
            None => &self.unknown,
        }
    }
}

/// A hash of a key's length, beginning, middle and end. The keys of the table are the catalogue's, so that nobody can
/// make them collide, and two that do are still told apart; the standard hasher would take most of the time that
/// counting takes.
#[derive(Debug, Default)]
struct WordHasher(u64);

impl WordHasher {
    #[inline]
    const fn mix(&mut self, word: u64) {
        // The multiplier of Firefox's and rustc's "FxHash".
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for WordHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let middle = bytes.get(bytes.len() / 2..).unwrap_or_default();
        let words = [bytes.first_chunk(), middle.first_chunk().or(bytes.last_chunk()), bytes.last_chunk()];
        if let [Some(first), Some(middle), Some(last)] = words {
            let [first, middle, last] = [first, middle, last].map(|word| u64::from_le_bytes(*word));
            self.mix(first ^ middle.rotate_left(41) ^ last.rotate_left(23) ^ bytes.len() as u64);
        } else {
            for byte in bytes {
                self.mix(u64::from(*byte));
            }
        }
    }

    #[inline]
    fn write_u8(&mut self, byte: u8) {
        self.mix(u64::from(byte));
    }

    #[inline]
    fn finish(&self) -> u64 {
        // The table takes its place from the low bits, into which multiplication does not carry the high ones.
        self.0 ^ self.0 >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is not zero, as text.
    fn counted(decisions: &Decisions) -> Vec<String> {
        let lines = decisions.lines();
        let nonzero = lines.iter().filter(|line| line.count > 0);
        nonzero.map(|line| format!("{} {} {}", line.purpose, line.reason, line.count)).collect()
    }

    #[test]
    fn answers_are_counted_by_purpose_and_reason() {
        let decisions = Decisions::new();
        decisions.set_purposes(&["b", "a.b"]);
        decisions.add("a.b", Reason::Consent);
        decisions.add("a.b", Reason::Withdrawn);
        decisions.row("b").add(Reason::Consent, 40);
        decisions.row("b").add(Reason::Consent, 2);
        decisions.add("no.such", Reason::UnknownPurpose);
        assert_eq!(
            counted(&decisions),
            ["a.b CONSENT 1", "a.b WITHDRAWN 1", "b CONSENT 42", "(unknown) UNKNOWN_PURPOSE 1"]
        );
        let sums = decisions.by_reason();
        let of = |reason: Reason| sums.get(reason.index()).copied();
        assert_eq!([Reason::Consent, Reason::UnknownPurpose, Reason::Expired].map(of), [Some(43), Some(1), Some(0)]);
        assert_eq!(sums.iter().sum::<u64>(), 45);
    }

    #[test]
    fn a_new_catalogue_keeps_the_counts_of_purposes_that_stay() {
        let decisions = Decisions::new();
        decisions.set_purposes(&["goes", "stays"]);
        let early = decisions.row("stays");
        decisions.add("goes", Reason::Consent);
        decisions.add("stays", Reason::Consent);
        decisions.set_purposes(&["comes", "stays"]);
        early.add(Reason::Consent, 1);
        decisions.add("goes", Reason::UnknownPurpose);
        assert_eq!(counted(&decisions), ["stays CONSENT 2", "(unknown) UNKNOWN_PURPOSE 1"]);
    }

    #[test]
    fn rows_are_bounded() {
        let purposes: Vec<String> = (0..=PURPOSES_MAX).map(|n| format!("p{n}")).collect();
        let purposes: Vec<&str> = purposes.iter().map(|purpose| &**purpose).collect();
        let decisions = Decisions::new();
        decisions.set_purposes(&purposes);
        for purpose in &purposes {
            decisions.add(purpose, Reason::Consent);
        }
        decisions.row("p1024").add(Reason::Consent, 1);
        decisions.add("no.such", Reason::UnknownPurpose);
        let counted = counted(&decisions);
        assert_eq!(counted.len(), PURPOSES_MAX + 2);
        assert_eq!(counted.get(PURPOSES_MAX), Some(&"(other) CONSENT 2".to_owned()));
        assert_eq!(counted.last(), Some(&"(unknown) UNKNOWN_PURPOSE 1".to_owned()));
    }

    #[test]
    fn watched_reasons_are_shown_before_they_occur() {
        let decisions = Decisions::new();
        assert_eq!(decisions.lines(), []);
        decisions.set_purposes(&["a"]);
        let lines = decisions.lines();
        assert_eq!(lines.iter().map(|line| line.reason).collect::<Vec<_>>(), WATCHED);
        assert!(lines.iter().all(|line| line.count == 0 && &*line.purpose == "a"));
    }

    #[test]
    fn nothing_is_lost_between_threads_while_the_catalogue_changes() {
        let decisions = Decisions::new();
        decisions.set_purposes(&["a"]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| decisions.add("a", Reason::Consent)));
            }
            scope.spawn(|| {
                for n in 0..200 {
                    let other = format!("p{n}");
                    decisions.set_purposes(&["a", &other]);
                }
            });
        });
        assert_eq!(counted(&decisions), ["a CONSENT 40000"]);
    }
}
