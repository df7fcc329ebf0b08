//! What the events say, kept as small as the figures allow, and the figures made of it.
//!
//! An identifier takes about a hundred bytes, and 24 for each thing it said: ten million identifiers with one consent each
//! take about one gigabyte. Nothing else grows with the ledger.

mod standing;

use std::collections::{BTreeMap, HashMap};

use super::period::{self, By, PeriodError, Range};
use super::{Figures, Report, Series};
use crate::domain::{ConsentEvent, Defects, Event, EventBody, LegalBasis, Status, SubjectKey, Text, Time, Zone};
use crate::ledger::{Delivery, SubjectHasher};

/// Who is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Each identifier for itself.
    Identifiers,
    /// All that are linked together.
    People,
}

/// Takes events in, in any order.
#[derive(Debug)]
pub struct Counter {
    hasher: SubjectHasher,
    unit: Unit,
    /// What is asked about: a purpose with all below it, and a channel.
    purpose: Option<String>,
    channel: Option<String>,
    cells: HashMap<Cell, u32>,
    known: Vec<Cell>,
    subjects: HashMap<SubjectKey, Said>,
    links: HashMap<(SubjectKey, SubjectKey), (Time, bool)>,
    unreadable: u64,
}

/// What a thing is said about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Cell {
    purpose: Text,
    channel: Text,
    recipient: Text,
}

/// All that was said by one.
#[derive(Debug, Default)]
struct Said {
    /// In order, each once.
    things: Vec<Thing>,
    erased_at: Option<Time>,
}

/// One thing that was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Thing {
    cell: u32,
    at: Time,
    what: What,
    /// When it ends by itself; [`Time::MAX`] is never.
    ends: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Asked,
    Given,
    Renewed,
    /// Given or renewed, and void.
    Void,
    /// Recorded as over.
    Expired,
    Refused,
    Withdrawn,
    Objected,
    Revoked,
}

impl Counter {
    /// One that has counted nothing yet.
    #[must_use]
    pub fn new(unit: Unit, purpose: Option<String>, channel: Option<String>) -> Self {
        Self {
            // Nothing of it is kept: any key will do.
            hasher: SubjectHasher::new(&[0; 32]),
            unit,
            purpose,
            channel,
            cells: HashMap::new(),
            known: Vec::new(),
            subjects: HashMap::new(),
            links: HashMap::new(),
            unreadable: 0,
        }
    }

    /// Takes what a delivery says.
    pub fn take(&mut self, delivery: Delivery) {
        let Ok(Event { event_time, body, .. }) = delivery.event else {
            self.unreadable += 1;
            return;
        };
        match body {
            EventBody::Consent(said) => self.say(*said, event_time),
            EventBody::Erasure { subject } => {
                let said = self.subjects.entry(self.hasher.key(subject.expose())).or_default();
                said.erased_at = said.erased_at.max(Some(event_time));
            }
            EventBody::Link { subject, linked, unlinked } if self.unit == Unit::People => {
                let (one, other) = (self.hasher.key(subject.expose()), self.hasher.key(linked.expose()));
                let have = self.links.entry((one.min(other), one.max(other))).or_insert((event_time, !unlinked));
                // The later decides, at equal times the link.
                *have = (*have).max((event_time, !unlinked));
            }
            EventBody::Link { .. }
            | EventBody::Catalogue(_)
            | EventBody::Restriction { .. }
            | EventBody::Birth { .. } => {}
        }
    }

    fn say(&mut self, said: ConsentEvent, at: Time) {
        let Some(what) = what(&said) else { return };
        let cell = Cell { purpose: said.purpose, channel: said.channel, recipient: said.recipient };
        let next = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
        let known = &mut self.known;
        let number = *self.cells.entry(cell).or_insert_with_key(|cell| {
            known.push(cell.clone());
            next
        });
        let thing = Thing { cell: number, at, what, ends: said.expires_at.unwrap_or(Time::MAX) };
        self.subjects.entry(self.hasher.key(said.subject.expose())).or_default().add(thing);
    }

    /// The figures. `now` bounds what has happened.
    ///
    /// # Errors
    /// If the range has no periods, or too many.
    pub fn report(
        mut self,
        range: Range,
        by: By,
        zone: Option<&'static Zone>,
        min_subjects: u64,
        now: Time,
    ) -> Result<Report, PeriodError> {
        self.join_people();
        self.subjects.values_mut().for_each(Said::drop_erased);
        let things = self.subjects.values().flat_map(|said| &said.things);
        let earliest = things.filter(|thing| self.is_asked_about(thing.cell)).map(|thing| thing.at).min();
        let periods = period::periods(range, by, zone, earliest, now)?;
        let mut sums = Sums::new(&periods);
        for said in self.subjects.values() {
            let one = standing::of(&said.things, &self.known, &periods, now);
            sums.add(&one, |cell| self.is_asked_about(cell), &self.known);
        }
        let (series, totals, suppressed) = sums.into_series(min_subjects);
        Ok(Report {
            made_at: now,
            zone,
            by,
            unit: self.unit,
            periods,
            series,
            totals,
            min_subjects,
            suppressed,
            subjects: self.subjects.len() as u64,
            unreadable: self.unreadable,
        })
    }

    fn is_asked_about(&self, cell: u32) -> bool {
        let Some(cell) = usize::try_from(cell).ok().and_then(|cell| self.known.get(cell)) else { return false };
        let purpose = self.purpose.as_deref();
        purpose.is_none_or(|purpose| crate::domain::catalogue::is_self_or_ancestor(purpose, &cell.purpose))
            && self.channel.as_deref().is_none_or(|channel| *channel == *cell.channel)
    }

    /// Puts together what those said who are linked.
    fn join_people(&mut self) {
        let mut leads: HashMap<SubjectKey, SubjectKey> = HashMap::new();
        for ((one, other), (_, linked)) in std::mem::take(&mut self.links) {
            if linked {
                let (one, other) = (lead(&mut leads, one), lead(&mut leads, other));
                leads.insert(one.max(other), one.min(other));
            }
        }
        let followers: Vec<SubjectKey> = leads.keys().copied().collect();
        for follower in followers {
            let first = lead(&mut leads, follower);
            if first != follower
                && let Some(said) = self.subjects.remove(&follower)
            {
                let joined = self.subjects.entry(first).or_default();
                joined.erased_at = joined.erased_at.max(said.erased_at);
                said.things.into_iter().for_each(|thing| joined.add(thing));
            }
        }
    }
}

/// Who stands for a person; shortens the way for the next one who asks.
fn lead(leads: &mut HashMap<SubjectKey, SubjectKey>, key: SubjectKey) -> SubjectKey {
    let mut first = key;
    while let Some(next) = leads.get(&first).filter(|next| **next != first) {
        first = *next;
    }
    let mut at = key;
    while at != first {
        at = leads.insert(at, first).unwrap_or(first);
    }
    first
}

impl Said {
    fn add(&mut self, thing: Thing) {
        if let Err(place) = self.things.binary_search(&thing) {
            if self.things.is_empty() {
                // Most have said one thing, and a vector would make room for four.
                self.things.reserve_exact(1);
            }
            self.things.insert(place, thing);
        }
    }

    fn drop_erased(&mut self) {
        if let Some(erased_at) = self.erased_at {
            self.things.retain(|thing| thing.at > erased_at);
        }
    }
}

/// What an event says of a consent; nothing where it is about another ground.
fn what(said: &ConsentEvent) -> Option<What> {
    let is_consent = said.legal_basis.needs_consent();
    let is_interest = said.legal_basis == LegalBasis::LegitimateInterest;
    let is_void = said.collection.defects != Defects::NONE;
    match said.status {
        Status::Requested if is_consent => Some(What::Asked),
        Status::Given | Status::Renewed if is_consent && is_void => Some(What::Void),
        Status::Given if is_consent => Some(What::Given),
        Status::Renewed if is_consent => Some(What::Renewed),
        Status::Expired if is_consent => Some(What::Expired),
        Status::Refused | Status::Withdrawn if is_interest => Some(What::Objected),
        // Whatever ground is named, who takes back or refuses says no.
        Status::Refused => Some(What::Refused),
        Status::Withdrawn => Some(What::Withdrawn),
        Status::Revoked | Status::Invalidated => Some(What::Revoked),
        Status::Requested | Status::Given | Status::Renewed | Status::Expired => None,
    }
}

/// The figures as they add up, by purpose and channel and period.
struct Sums {
    periods: usize,
    /// One place more than there are periods, for what was before.
    rows: BTreeMap<(Text, Text), Vec<Sum>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    figures: Figures,
    /// Who spoke of purpose and channel for the first time.
    newcomers: u64,
    /// How many more consents stand at the end than at the beginning.
    change: i64,
}

impl Sums {
    fn new(periods: &[super::Period]) -> Self {
        Self { periods: periods.len(), rows: BTreeMap::new() }
    }

    fn add(&mut self, one: &standing::One, is_asked_about: impl Fn(u32) -> bool, known: &[Cell]) {
        // Two recipients are two consents, and one subject.
        let mut came: BTreeMap<(&Text, &Text), usize> = BTreeMap::new();
        for (cell, happened) in &one.happened {
            let Some(named) = usize::try_from(*cell).ok().and_then(|cell| known.get(cell)) else { continue };
            if !is_asked_about(*cell) {
                continue;
            }
            let row = self.rows.entry((named.purpose.clone(), named.channel.clone()));
            let row = row.or_insert_with(|| vec![Sum::default(); self.periods + 1]);
            for (place, change) in &happened.changes {
                if let Some(sum) = row.get_mut(*place) {
                    sum.change += change;
                }
            }
            for (period, figures) in &happened.figures {
                if let Some(sum) = row.get_mut(period + 1) {
                    sum.figures.add_flows(figures);
                }
            }
            let first = came.entry((&named.purpose, &named.channel)).or_insert(happened.first);
            *first = (*first).min(happened.first);
        }
        for ((purpose, channel), first) in came {
            let row = self.rows.get_mut(&(purpose.clone(), channel.clone()));
            if let Some(sum) = row.and_then(|row| row.get_mut(first)) {
                sum.newcomers += 1;
            }
        }
    }

    /// By purpose and channel, by period, and how many figures are not shown.
    fn into_series(self, min_subjects: u64) -> (Vec<Series>, Vec<Figures>, u64) {
        let mut totals = vec![Figures::default(); self.periods];
        let mut suppressed = 0;
        let mut all = Vec::new();
        for ((purpose, channel), sums) in self.rows {
            let mut sums = sums.into_iter();
            let before = sums.next().unwrap_or_default();
            let (mut subjects, mut standing) = (before.newcomers, before.change);
            let mut periods = Vec::new();
            let mut total: Option<Figures> = None;
            for (sum, beside) in sums.zip(&mut totals) {
                let standing_before = u64::try_from(standing).unwrap_or(0);
                subjects += sum.newcomers;
                standing += sum.change;
                // Who has spoken stays: what is shown once is shown from then on. That nobody has spoken yet looks no other
                // than that few have.
                if subjects < min_subjects {
                    suppressed += u64::from(subjects > 0);
                    periods.push(None);
                    continue;
                }
                let figures =
                    Figures { standing_before, standing: u64::try_from(standing).unwrap_or(0), ..sum.figures };
                beside.add_beside(&figures);
                match &mut total {
                    None => total = Some(figures),
                    Some(total) => total.add_after(&figures),
                }
                periods.push(Some(figures));
            }
            if subjects > 0 {
                let (purpose, channel) = (purpose.into(), channel.into());
                all.push(Series { purpose, channel, periods, total });
            }
        }
        (all, totals, suppressed)
    }
}

#[cfg(test)]
mod tests;
