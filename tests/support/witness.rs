//! What clients saw of a ledger and of the sidecars that follow it, and whether P3 and P4 hold over all of it. Pure.
//!
//! Every moment is read by the clients themselves on one clock, just before a call and just after it, so that what a
//! sidecar says of its own time and age is a claim to be tested and never a premise.
//!
//! Two facts make the inequalities below exact, without any allowance for slow machines:
//! - A question that begins at `asked` is answered from a view that was looked at later. If that view is complete up to
//!   `s` before the look, it holds everything that was acknowledged before `asked - s`.
//! - A sidecar reads its clock in whole milliseconds, once when a proof of freshness begins and once at the look: a view
//!   that it calls `s` old is less than `s` + 1 ms old ([`ROUNDING`]).
//!
//! Hence: an event that was acknowledged at `a` must count in every answer with `a + s + ROUNDING < asked`, where `s` is
//! the age that the answer states; and where the answer is an ALLOW, with the bound of the question in its place.

#![allow(dead_code, reason = "each test file takes what it needs")]

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use consentd::proto::v1::Reason;

/// Since the run began, on the clients' clock.
pub(crate) type Moment = Duration;

/// See the head of this file.
pub(crate) const ROUNDING: Duration = Duration::from_millis(1);

/// Something that a client wrote, or tried to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) event: Event,
    /// Just before the first attempt.
    pub(crate) invoked: Moment,
    pub(crate) fate: Fate,
}

/// What an event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A person agreed at that time.
    Given { person: usize, time_ms: i64 },
    /// A person withdrew at that time.
    Withdrawn { person: usize, time_ms: i64 },
    /// A version of the catalogue.
    Catalogue { version: u64 },
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is acknowledged, at this place.
    Acked { at: Moment, position: u64 },
    /// Nobody said. It may be in the ledger at any place, now or later, or never.
    Unknown,
    /// It is certain that it was not written.
    NotWritten,
}

/// An answer that a client received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Which sidecar, counting each start of its process anew.
    pub(crate) sidecar: usize,
    pub(crate) person: usize,
    /// Just before the call.
    pub(crate) asked: Moment,
    /// Just after it.
    pub(crate) answered: Moment,
    /// How old the view may be, for this purpose and this question.
    pub(crate) bound: Duration,
    /// The position of the token that was asked for; 0 is none.
    pub(crate) at_least: u64,
    pub(crate) reason: Reason,
    /// The position of the token in the answer; 0 is none.
    pub(crate) token: u64,
    /// How old the answer says its view is.
    pub(crate) staleness: Duration,
    /// The version of the catalogue.
    pub(crate) catalogue: u64,
}

/// All that was seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    pub(crate) writes: Vec<Write>,
    pub(crate) answers: Vec<Answer>,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Violation {
    /// P4, P3: allowed, though what must be known by the bound or by the token alone forbids it.
    WronglyAllowed(Answer),
    /// P4: decided from a view that is older than allowed, by the sidecar's own word.
    TooOld(Answer),
    /// P4: decided from a view that had not reached the token asked for.
    BehindToken(Answer),
    /// P4: the view is said to be younger than it can be: it lacks what was acknowledged before.
    YoungerThanTrue(Answer, Write),
    /// P3: no prefix of the ledger that the answer may rest on gives this verdict.
    Unjustified(Answer),
    /// Another version of the catalogue than any that the answer may rest on.
    WrongCatalogue(Answer),
    /// One sidecar's view went back: a question that began after this answer got an answer from an older view.
    WentBack(Answer, Answer),
    /// The view is past an event that nobody had begun to write.
    Prophecy(Answer, Write),
    /// A reason that nothing in such a run can have.
    Unexpected(Answer),
    /// The ledger gave two events one place, or an event a place before one that was acknowledged when it began.
    Disordered(Write, Write),
}

/// How much a history put to the test.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) acknowledged: usize,
    pub(crate) unknown: usize,
    pub(crate) allowed: usize,
    pub(crate) withdrawn: usize,
    /// Denied because the view was too old.
    pub(crate) stale: usize,
    /// Denied for another reason that says nothing about the person.
    pub(crate) undecided: usize,
    /// Allowed after the acknowledgement of what forbids it, as the bound lets it be.
    pub(crate) allowed_late: usize,
    /// The longest such time.
    pub(crate) latest: Duration,
}

/// An acknowledged write of one person.
#[derive(Debug, Clone, Copy)]
struct Placed {
    position: u64,
    at: Moment,
    invoked: Moment,
    given: Option<i64>,
    withdrawn: Option<i64>,
}

/// All that was written about one person.
#[derive(Debug, Default)]
struct Person {
    /// In the order of their positions.
    placed: Vec<Placed>,
    /// Of unknown fate: since when, and what.
    unknown: Vec<(Moment, Event)>,
}

/// Everything that the checks look up.
struct Book {
    persons: HashMap<usize, Person>,
    /// In the order of acknowledgement: the write with the greatest position so far.
    acked: Vec<(Moment, u64, Write)>,
    /// In the order of positions: the write that began last so far.
    begun: Vec<(u64, Moment, Write)>,
    catalogues: Vec<Write>,
}

/// What was seen of a history that holds to every promise.
///
/// # Errors
/// Every promise that it breaks.
pub(crate) fn check(history: &History) -> Result<Summary, Vec<Violation>> {
    let book = Book::of(&history.writes);
    let mut violations = disorders(&history.writes);
    violations.extend(backward(&history.answers));
    let mut summary = Summary::default();
    for write in &history.writes {
        match write.fate {
            Fate::Acked { .. } => summary.acknowledged += 1,
            Fate::Unknown => summary.unknown += 1,
            Fate::NotWritten => {}
        }
    }
    for answer in &history.answers {
        match answer.reason {
            Reason::Consent => summary.allowed += 1,
            Reason::Withdrawn => summary.withdrawn += 1,
            Reason::Stale => summary.stale += 1,
            _ => summary.undecided += 1,
        }
        violations.extend(book.violations(answer));
        if let Some(late) = book.lateness(answer) {
            summary.allowed_late += 1;
            summary.latest = summary.latest.max(late);
        }
    }
    if violations.is_empty() { Ok(summary) } else { Err(violations) }
}

impl Answer {
    /// Whether it says something about the person, and not about the sidecar.
    fn is_decided(&self) -> bool {
        matches!(self.reason, Reason::Consent | Reason::Withdrawn | Reason::UnknownSubject)
    }

    /// Whether an event that was acknowledged at `at` must count where the view is no older than `age`.
    fn must_know(&self, at: Moment, age: Duration) -> bool {
        at + age.saturating_add(ROUNDING) < self.asked
    }
}

impl Book {
    fn of(writes: &[Write]) -> Self {
        let mut book = Self { persons: HashMap::new(), acked: Vec::new(), begun: Vec::new(), catalogues: Vec::new() };
        for write in writes {
            let (person, given, withdrawn) = match write.event {
                Event::Given { person, time_ms } => (person, Some(time_ms), None),
                Event::Withdrawn { person, time_ms } => (person, None, Some(time_ms)),
                Event::Catalogue { .. } => {
                    book.catalogues.push(*write);
                    book.note(write);
                    continue;
                }
            };
            let person = book.persons.entry(person).or_default();
            match write.fate {
                Fate::Acked { at, position } => {
                    person.placed.push(Placed { position, at, invoked: write.invoked, given, withdrawn });
                }
                Fate::Unknown => person.unknown.push((write.invoked, write.event)),
                Fate::NotWritten => {}
            }
            book.note(write);
        }
        for person in book.persons.values_mut() {
            person.placed.sort_by_key(|placed| placed.position);
        }
        book.acked.sort_by_key(|(at, ..)| *at);
        book.begun.sort_by_key(|(position, ..)| *position);
        // From here on each knows the greatest of all up to it.
        for place in 1..book.acked.len() {
            let (_, before, write) = book.acked[place - 1];
            if before > book.acked[place].1 {
                (book.acked[place].1, book.acked[place].2) = (before, write);
            }
        }
        for place in 1..book.begun.len() {
            let (_, before, write) = book.begun[place - 1];
            if before > book.begun[place].1 {
                (book.begun[place].1, book.begun[place].2) = (before, write);
            }
        }
        book
    }

    fn note(&mut self, write: &Write) {
        if let Fate::Acked { at, position } = write.fate {
            self.acked.push((at, position, *write));
            self.begun.push((position, write.invoked, *write));
        }
    }

    fn violations(&self, answer: &Answer) -> Vec<Violation> {
        let mut found = Vec::new();
        if !answer.is_decided() {
            let expected =
                [Reason::Stale, Reason::ReplicaBuilding, Reason::EvidenceUnavailable, Reason::StoreUnavailable];
            if !expected.contains(&answer.reason) {
                found.push(Violation::Unexpected(*answer));
            }
            return found;
        }
        if answer.reason == Reason::Consent && !self.justifies(answer, answer.bound, answer.at_least) {
            found.push(Violation::WronglyAllowed(*answer));
        }
        if answer.staleness > answer.bound {
            found.push(Violation::TooOld(*answer));
        }
        if answer.token < answer.at_least {
            found.push(Violation::BehindToken(*answer));
        }
        if let Some(write) = self.acked_long_before(answer).filter(|(position, _)| *position > answer.token) {
            found.push(Violation::YoungerThanTrue(*answer, write.1));
        }
        if !self.justifies(answer, answer.staleness, answer.token) {
            found.push(Violation::Unjustified(*answer));
        }
        if !self.has_catalogue(answer) {
            found.push(Violation::WrongCatalogue(*answer));
        }
        let past = self.begun.partition_point(|(position, ..)| *position <= answer.token);
        if let Some((_, invoked, write)) = past.checked_sub(1).map(|last| self.begun[last])
            && invoked > answer.answered
        {
            found.push(Violation::Prophecy(*answer, write));
        }
        found
    }

    /// The greatest position that was acknowledged so long before the question that the stated age must include it.
    fn acked_long_before(&self, answer: &Answer) -> Option<(u64, Write)> {
        let past = self.acked.partition_point(|(at, ..)| answer.must_know(*at, answer.staleness));
        past.checked_sub(1).map(|last| (self.acked[last].1, self.acked[last].2))
    }

    /// Whether some prefix of the ledger gives this verdict: one that reaches to `reached` at least, holds all that was
    /// acknowledged when a view of this `age` was complete, and nothing that was not begun when the answer came.
    fn justifies(&self, answer: &Answer, age: Duration, reached: u64) -> bool {
        self.persons.get(&answer.person).map_or(answer.reason == Reason::UnknownSubject, |person| {
            let must = person.placed.iter().filter(|placed| answer.must_know(placed.at, age));
            person.allows_for(answer, must.map(|placed| placed.position).fold(reached, u64::max))
        })
    }

    /// For how long what forbids an ALLOW had been acknowledged when it was asked for.
    fn lateness(&self, answer: &Answer) -> Option<Duration> {
        if answer.reason != Reason::Consent {
            return None;
        }
        let person = self.persons.get(&answer.person)?;
        let mut before: Vec<Placed> = person.placed.iter().filter(|placed| placed.at < answer.asked).copied().collect();
        before.sort_by_key(|placed| placed.at);
        let mut reached = 0;
        before.into_iter().find_map(|placed| {
            reached = placed.position.max(reached);
            (!person.allows_for(answer, reached)).then(|| answer.asked - placed.at)
        })
    }

    fn has_catalogue(&self, answer: &Answer) -> bool {
        let known = |write: &&Write| match write.fate {
            Fate::Acked { at, position } => position <= answer.token || answer.must_know(at, answer.staleness),
            Fate::Unknown | Fate::NotWritten => false,
        };
        let possible = |write: &&Write| write.invoked <= answer.answered && write.fate != Fate::NotWritten;
        let version = |write: &Write| match write.event {
            Event::Catalogue { version } => version,
            Event::Given { .. } | Event::Withdrawn { .. } => 0,
        };
        let least = self.catalogues.iter().filter(known).map(version).max().unwrap_or(0);
        answer.catalogue >= least
            && self.catalogues.iter().filter(possible).any(|write| version(write) == answer.catalogue)
    }
}

impl Person {
    /// Whether a prefix of the ledger that ends at `least` or later gives the answer's verdict. Events of unknown fate
    /// may be in it or not.
    fn allows_for(&self, answer: &Answer, least: u64) -> bool {
        let later = self.placed.iter().filter(|placed| placed.position > least && placed.invoked <= answer.answered);
        let mut ends = std::iter::once(least).chain(later.map(|placed| placed.position));
        let maybe: Vec<Event> =
            self.unknown.iter().filter(|(since, _)| *since <= answer.answered).map(|(_, event)| *event).collect();
        let maybe_given = maybe.iter().filter_map(|event| match event {
            Event::Given { time_ms, .. } => Some(*time_ms),
            Event::Withdrawn { .. } | Event::Catalogue { .. } => None,
        });
        let maybe_withdrawn = maybe.iter().filter_map(|event| match event {
            Event::Withdrawn { time_ms, .. } => Some(*time_ms),
            Event::Given { .. } | Event::Catalogue { .. } => None,
        });
        let (maybe_given, maybe_withdrawn) = (maybe_given.max(), maybe_withdrawn.max());
        ends.any(|end| {
            let prefix = || self.placed.iter().filter(|placed| placed.position <= end);
            let given = prefix().filter_map(|placed| placed.given).max();
            let withdrawn = prefix().filter_map(|placed| placed.withdrawn).max();
            // INVARIANT: `None` is less than any time. P3: at equal times the withdrawal wins.
            match answer.reason {
                Reason::Consent => given.max(maybe_given) > withdrawn,
                Reason::Withdrawn => {
                    let latest = withdrawn.max(maybe_withdrawn);
                    latest.is_some() && latest >= given
                }
                _ => given.is_none() && withdrawn.is_none(),
            }
        })
    }
}

/// Places that the ledger must not have given.
fn disorders(writes: &[Write]) -> Vec<Violation> {
    let mut placed: BTreeMap<u64, Write> = BTreeMap::new();
    let mut found = Vec::new();
    for write in writes {
        if let Fate::Acked { position, .. } = write.fate
            && let Some(other) = placed.insert(position, *write)
        {
            found.push(Violation::Disordered(other, *write));
        }
    }
    // From the end: who has a smaller position must not have begun after the acknowledgement of any with a greater one.
    let mut earliest: Option<(Moment, Write)> = None;
    for write in placed.values().rev() {
        if let Some((acked, later)) = earliest
            && write.invoked > acked
        {
            found.push(Violation::Disordered(later, *write));
        }
        if let Fate::Acked { at, .. } = write.fate
            && earliest.is_none_or(|(acked, _)| at < acked)
        {
            earliest = Some((at, *write));
        }
    }
    found
}

/// Answers of one sidecar whose view is older than one that was received before they were asked for.
fn backward(answers: &[Answer]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut of: HashMap<usize, (Vec<Answer>, Vec<Answer>)> = HashMap::new();
    for answer in answers.iter().filter(|answer| answer.is_decided()) {
        let (asked, answered) = of.entry(answer.sidecar).or_default();
        asked.push(*answer);
        answered.push(*answer);
    }
    for (mut asked, mut answered) in of.into_values() {
        asked.sort_by_key(|answer| answer.asked);
        answered.sort_by_key(|answer| answer.answered);
        let mut before = answered.into_iter().peekable();
        let mut furthest: Option<Answer> = None;
        for answer in asked {
            while let Some(earlier) = before.next_if(|earlier| earlier.answered <= answer.asked) {
                if furthest.is_none_or(|furthest| earlier.token > furthest.token) {
                    furthest = Some(earlier);
                }
            }
            if let Some(furthest) = furthest.filter(|furthest| furthest.token > answer.token) {
                found.push(Violation::WentBack(furthest, answer));
            }
        }
    }
    found
}
