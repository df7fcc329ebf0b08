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

/// A time in which nothing that was begun after `from` can have come to a sidecar, because the test saw to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Darkness {
    pub(crate) sidecar: usize,
    pub(crate) from: Moment,
    pub(crate) until: Moment,
}

/// All that was seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    pub(crate) writes: Vec<Write>,
    pub(crate) answers: Vec<Answer>,
    pub(crate) darkness: Vec<Darkness>,
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
    /// P4: decided though no proof of freshness can have come for longer than the bound.
    DecidedInTheDark(Answer, Darkness),
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
    /// Asked in the dark, after the bound.
    pub(crate) in_the_dark: usize,
    /// Allowed after the acknowledgement of what forbids it, as the bound lets it be.
    pub(crate) allowed_late: usize,
    /// The longest such time.
    pub(crate) latest: Duration,
}

/// An acknowledged write about one person, and what is known of all up to it.
#[derive(Debug, Clone, Copy)]
struct Placed {
    position: u64,
    invoked: Moment,
    /// The latest consent and the latest withdrawal; `None` is less than any.
    given: Option<i64>,
    withdrawn: Option<i64>,
}

/// All that was written about one person.
#[derive(Debug, Default)]
struct Person {
    /// In the order of their positions.
    placed: Vec<Placed>,
    /// In the order of acknowledgement, each with the greatest position so far.
    acked: Vec<(Moment, u64)>,
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
        let mut dark = history.darkness.iter().filter(|darkness| darkness.hides(answer));
        if let Some(darkness) = dark.next() {
            summary.in_the_dark += 1;
            if answer.is_decided() {
                violations.push(Violation::DecidedInTheDark(*answer, *darkness));
            }
        }
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

impl Darkness {
    /// Whether the question began when every proof of freshness that can have come was older than the bound.
    fn hides(&self, answer: &Answer) -> bool {
        answer.sidecar == self.sidecar && answer.must_know(self.from, answer.bound) && answer.answered < self.until
    }
}

impl Book {
    fn of(writes: &[Write]) -> Self {
        let mut book = Self { persons: HashMap::new(), acked: Vec::new(), begun: Vec::new(), catalogues: Vec::new() };
        for write in writes {
            book.note(write);
            match write.event {
                Event::Given { person, .. } | Event::Withdrawn { person, .. } => {
                    book.persons.entry(person).or_default().note(write);
                }
                Event::Catalogue { .. } => book.catalogues.push(*write),
            }
        }
        book.persons.values_mut().for_each(Person::sum_up);
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
            let known = person.acked.partition_point(|(at, _)| answer.must_know(*at, age));
            person.justifies(answer, known, reached)
        })
    }

    /// For how long what forbids an ALLOW had been acknowledged when it was asked for.
    fn lateness(&self, answer: &Answer) -> Option<Duration> {
        let person = self.persons.get(&answer.person).filter(|_| answer.reason == Reason::Consent)?;
        let before = person.acked.partition_point(|(at, _)| *at < answer.asked);
        if person.justifies(answer, before, 0) {
            return None;
        }
        // The more must be known, the less is justified.
        let known: Vec<usize> = (0..=before).collect();
        let justified = known.partition_point(|known| person.justifies(answer, *known, 0));
        let (forbidding, _) = person.acked[..before].get(justified.checked_sub(1)?)?;
        Some(answer.asked.saturating_sub(*forbidding))
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
    fn note(&mut self, write: &Write) {
        let (given, withdrawn) = match write.event {
            Event::Given { time_ms, .. } => (Some(time_ms), None),
            Event::Withdrawn { time_ms, .. } => (None, Some(time_ms)),
            Event::Catalogue { .. } => (None, None),
        };
        match write.fate {
            Fate::Acked { at, position } => {
                self.placed.push(Placed { position, invoked: write.invoked, given, withdrawn });
                self.acked.push((at, position));
            }
            Fate::Unknown => self.unknown.push((write.invoked, write.event)),
            Fate::NotWritten => {}
        }
    }

    /// Makes of each what is known of all up to it.
    fn sum_up(&mut self) {
        self.placed.sort_by_key(|placed| placed.position);
        let (mut given, mut withdrawn, mut invoked) = (None, None, Moment::ZERO);
        for placed in &mut self.placed {
            (given, withdrawn) = (placed.given.max(given), placed.withdrawn.max(withdrawn));
            invoked = placed.invoked.max(invoked);
            (placed.given, placed.withdrawn, placed.invoked) = (given, withdrawn, invoked);
        }
        self.acked.sort_unstable();
        let mut greatest = 0;
        for (_, position) in &mut self.acked {
            greatest = greatest.max(*position);
            *position = greatest;
        }
    }

    /// Whether a prefix of the ledger gives the answer's verdict that holds the first `known` acknowledged and reaches to
    /// `reached`. Events of unknown fate may be in it or not.
    fn justifies(&self, answer: &Answer, known: usize, reached: u64) -> bool {
        let least = known.checked_sub(1).map_or(0, |last| self.acked[last].1).max(reached);
        let maybe = self.unknown.iter().filter(|(since, _)| *since <= answer.answered);
        let (mut maybe_given, mut maybe_withdrawn) = (None, None);
        for (_, event) in maybe {
            match event {
                Event::Given { time_ms, .. } => maybe_given = maybe_given.max(Some(*time_ms)),
                Event::Withdrawn { time_ms, .. } => maybe_withdrawn = maybe_withdrawn.max(Some(*time_ms)),
                Event::Catalogue { .. } => {}
            }
        }
        let gives = |given: Option<i64>, withdrawn: Option<i64>| match answer.reason {
            // P3: at equal times the withdrawal wins.
            Reason::Consent => given.max(maybe_given) > withdrawn,
            Reason::Withdrawn => {
                let latest = withdrawn.max(maybe_withdrawn);
                latest.is_some() && latest >= given
            }
            _ => given.is_none() && withdrawn.is_none(),
        };
        let shortest = self.placed.partition_point(|placed| placed.position <= least);
        let (before, after) = self.placed.split_at(shortest);
        let shortest = before.last().map_or((None, None), |last| (last.given, last.withdrawn));
        // No prefix was there before the last of its events was begun.
        let longer = after.iter().take_while(|placed| placed.invoked <= answer.answered);
        gives(shortest.0, shortest.1) || longer.into_iter().any(|last| gives(last.given, last.withdrawn))
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
