//! What the ledger said of one person at an earlier place: of an identifier, and of all that were linked to it by then.
//!
//! Made of the same joins as the local copy, so that a past answer is decided from the very state that it was decided from.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use super::changes::{self, Said};
use super::person::{self, LINKED_MAX};
use crate::domain::{Catalogue, EventBody, Position, SubjectKey, SubjectState, Time};
use crate::ledger::{Delivery, SubjectHasher};

/// Identifiers whose events are read for one person, links that were taken back included; as many as the local copy
/// looks at when one of them changes.
const READ_MAX: usize = LINKED_MAX * 4;
/// Events that are kept of one person. No person has so many, a mistake does.
const EVENTS_MAX: usize = 100_000;

/// The ledger has more about one person than is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ledger has more than {EVENTS_MAX} events about the subject, or links it to more than {READ_MAX} others")]
pub struct TooMuch;

/// A person's events, each at its place, and the catalogues of the ledger.
///
/// The ledger is read in passes: a pass tells everything about those that are [`wanted`](Self::wanted), and may find
/// others that are linked to them, whom the next pass is about.
#[derive(Debug)]
pub struct Past {
    hasher: SubjectHasher,
    key: SubjectKey,
    /// Whose events the pass is about, with the text where it is known.
    wanted: BTreeMap<SubjectKey, Box<str>>,
    found: BTreeMap<SubjectKey, Box<str>>,
    said: BTreeMap<SubjectKey, Vec<(Position, SubjectState)>>,
    catalogues: Vec<(Position, Time, Arc<Catalogue>)>,
    events: usize,
}

impl Past {
    /// Nothing yet of a subject, given as `space:id`.
    #[must_use]
    pub fn new(hasher: SubjectHasher, subject: &str) -> Self {
        let key = hasher.key(subject);
        Self {
            hasher,
            key,
            wanted: BTreeMap::from([(key, subject.into())]),
            found: BTreeMap::new(),
            said: BTreeMap::new(),
            catalogues: Vec::new(),
            events: 0,
        }
    }

    /// Whose events are to be told next, by key and by text; nobody when all is known.
    pub fn wanted(&self) -> impl Iterator<Item = (SubjectKey, &str)> {
        self.wanted.iter().map(|(key, text)| (*key, &**text))
    }

    /// Takes what a delivery says of those that are wanted, and a catalogue.
    pub fn take(&mut self, delivery: Delivery) {
        let position = delivery.position;
        if let Ok(event) = &delivery.event
            && let EventBody::Link { subject, linked, .. } = &event.body
        {
            for (one, other) in [(subject, linked), (linked, subject)] {
                if self.wanted.contains_key(&self.hasher.key(one.expose())) {
                    self.found.insert(self.hasher.key(other.expose()), other.expose().into());
                }
            }
        }
        let (wanted, said, events) = (&self.wanted, &mut self.said, &mut self.events);
        let told = changes::told(delivery, &self.hasher, |key, state| {
            if wanted.contains_key(&key) && *events < EVENTS_MAX {
                *events += 1;
                said.entry(key).or_default().push((position, state));
            }
        });
        if let Said::Catalogue(catalogue, time) = told
            && !self.catalogues.iter().any(|(known, ..)| *known == position)
        {
            self.catalogues.push((position, time, Arc::from(catalogue)));
        }
    }

    /// Ends a pass.
    ///
    /// # Errors
    /// If there is more than is kept.
    pub fn end_pass(&mut self) -> Result<(), TooMuch> {
        for key in std::mem::take(&mut self.wanted).into_keys() {
            self.said.entry(key).or_default();
        }
        let (said, mut next) = (&self.said, std::mem::take(&mut self.found));
        next.retain(|key, _| !said.contains_key(key));
        self.wanted = next;
        let too_much = self.said.len() + self.wanted.len() > READ_MAX || self.events >= EVENTS_MAX;
        if too_much { Err(TooMuch) } else { Ok(()) }
    }

    /// The state that decided when the ledger had been read to a position.
    #[must_use]
    pub fn state_at(&self, up_to: Position) -> SubjectState {
        let own = |key| {
            let mut state = SubjectState::default();
            let said = self.said.get(&key).into_iter().flatten();
            said.filter(|(position, _)| *position <= up_to).for_each(|(_, said)| state.join(said.clone()));
            state
        };
        let joined: Result<_, Infallible> = person::join(self.key, own(self.key), |other| Ok(own(other)));
        joined.unwrap_or_default()
    }

    /// Behind each event about the person that lies after one position and not after another, in order.
    #[must_use]
    pub fn positions_between(&self, after: Position, up_to: Position) -> Vec<Position> {
        let all = self.said.values().flatten().map(|(position, _)| *position);
        let mut positions: Vec<_> = all.filter(|position| *position > after && *position <= up_to).collect();
        positions.sort_unstable();
        positions.dedup();
        positions
    }

    /// The catalogue that was in force when the ledger had been read to a position.
    #[must_use]
    pub fn in_force_at(&self, up_to: Position) -> Option<Arc<Catalogue>> {
        self.latest(|position, _| position <= up_to)
    }

    /// The catalogue of a version, as it was when the ledger had been read to a position.
    #[must_use]
    pub fn catalogue(&self, version: u64, up_to: Position) -> Option<Arc<Catalogue>> {
        self.latest(|position, catalogue| position <= up_to && catalogue.version() == version)
    }

    /// As the local copy has it: the greatest version, of equal ones the later by event time, of those the first.
    fn latest(&self, which: impl Fn(Position, &Catalogue) -> bool) -> Option<Arc<Catalogue>> {
        let among = self.catalogues.iter().filter(|(position, _, catalogue)| which(*position, catalogue));
        let rank = |(_, time, catalogue): &&(Position, Time, Arc<Catalogue>)| (catalogue.version(), *time);
        let greatest = among.reduce(|have, new| if rank(&new) > rank(&have) { new } else { have });
        greatest.map(|(_, _, catalogue)| Arc::clone(catalogue))
    }
}
