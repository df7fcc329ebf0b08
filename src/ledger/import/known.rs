//! Which events of an input the ledger has already, so that importing it again writes nothing.
//!
//! What is compared is the content, not the event's id: ids are given by writers, and of two events that were given one id
//! by mistake, the one that is left out might be the withdrawal. To keep memory bounded an input is compared a part at a
//! time, each part with the whole ledger.
//!
//! Half of an event, which an import has left that died, denies the event's subject. The event that is written in its place
//! says that it replaces it; only that very event does, since of another with the same id the half may be a withdrawal.

use std::collections::{BTreeMap, BTreeSet};

use crate::ledger::codec::encode_line;
use crate::ledger::file::FileLedger;
use crate::ledger::{Had, Half, Mark};
use crate::proto::v1;

/// The marks of one part: 2 million, with which of them were found, in 34 MiB.
const MARKS_MAX: usize = 2 << 20;

/// The marks of a part of the input, and which of them the ledger has.
#[derive(Debug, Default)]
pub(super) struct Known {
    marks: Vec<Mark>,
    found: Vec<bool>,
    halves: BTreeMap<Box<str>, Vec<Half>>,
    halves_seen: usize,
    mended: BTreeSet<Mark>,
}

/// What is to be done about half of an event.
#[derive(Debug)]
pub(super) enum Mending {
    /// Nothing: there is none, or none that this event replaces.
    Nothing,
    /// It was replaced before.
    Done,
    /// The event is to be written so.
    Write(Box<v1::LedgerEvent>),
}

/// The most halves that are mended at once: each is of a writer that died.
const HALVES_MAX: usize = 10_000;

impl Known {
    /// Whether there is no room for more.
    pub(super) const fn is_full(&self) -> bool {
        self.marks.len() >= MARKS_MAX
    }

    /// Whether nothing is to be looked for.
    pub(super) const fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Takes marks that are to be looked for.
    pub(super) fn look_for(&mut self, marks: impl IntoIterator<Item = Mark>) {
        self.marks.extend(marks);
    }

    /// Ends the taking.
    pub(super) fn sort(&mut self) {
        self.marks.sort_unstable();
        self.marks.dedup();
        self.found = vec![false; self.marks.len()];
    }

    /// Notes what the ledger has.
    pub(super) fn note(&mut self, had: Had) {
        match had {
            Had::Mark(mark) => self.found(mark),
            Had::Half(half) => {
                self.halves_seen += 1;
                if self.halves_seen <= HALVES_MAX {
                    self.halves.entry(half.id.clone()).or_default().push(half);
                }
            }
            Had::Mended(mark) if self.mended.len() < HALVES_MAX => drop(self.mended.insert(mark)),
            Had::Mended(_) => {}
        }
    }

    /// What is to be done where the ledger has half of an event.
    pub(super) fn mending(&mut self, event: &v1::LedgerEvent) -> Mending {
        let halves = self.halves.get(&*event.event_id).filter(|_| self.halves_seen <= HALVES_MAX);
        let Some(halves) = halves else { return Mending::Nothing };
        let mut whole = event.clone();
        whole.supersedes.push(event.event_id.clone());
        let (Ok(plain), Ok(line)) = (encode_line(event), encode_line(&whole)) else { return Mending::Nothing };
        // To replace one is to replace all of its id: each must be half of this event, or of what replaces it.
        let is_ours = |half: &Half| [&plain, &line].into_iter().any(|text| FileLedger::begins_with(text, half));
        if !halves.iter().all(is_ours) {
            return Mending::Nothing;
        }
        // INVARIANT: a text that can be encoded has a mark.
        match FileLedger::mark(&whole) {
            Some(mark) if !self.mended.insert(mark) => Mending::Done,
            Some(_) | None => Mending::Write(Box::new(whole)),
        }
    }

    /// Notes that the ledger has a mark.
    pub(super) fn found(&mut self, mark: Mark) {
        if let Ok(place) = self.marks.binary_search(&mark)
            && let Some(found) = self.found.get_mut(place)
        {
            *found = true;
        }
    }

    /// Whether the ledger has a mark.
    pub(super) fn has(&self, mark: Mark) -> bool {
        self.marks.binary_search(&mark).ok().and_then(|place| self.found.get(place)).is_some_and(|found| *found)
    }
}
