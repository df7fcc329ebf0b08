//! Which events of an input the ledger has already, so that importing it again writes nothing.
//!
//! What is compared is the content, not the event's id: ids are given by writers, and of two events that were given one id
//! by mistake, the one that is left out might be the withdrawal. To keep memory bounded an input is compared a part at a
//! time, each part with the whole ledger.
//!
//! Half of an event, which an import has left that died, denies the event's subject. The event that is written in its place
//! says that it replaces it.

use std::collections::BTreeSet;

use crate::ledger::{Had, Mark};
use crate::proto::v1;

/// The marks of one part: 2 million, with which of them were found, in 34 MiB.
const MARKS_MAX: usize = 2 << 20;

/// The marks of a part of the input, and which of them the ledger has.
#[derive(Debug, Default)]
pub(super) struct Known {
    marks: Vec<Mark>,
    found: Vec<bool>,
    halves: BTreeSet<Box<str>>,
    mended: BTreeSet<Box<str>>,
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
            Had::Half(id) if self.halves.len() < HALVES_MAX => drop(self.halves.insert(id)),
            Had::Mended(id) if self.mended.len() < HALVES_MAX => drop(self.mended.insert(id)),
            Had::Half(_) | Had::Mended(_) => {}
        }
    }

    /// The event as it is to be written, where half of it is in the ledger and was not replaced.
    pub(super) fn mending(&mut self, event: &v1::LedgerEvent) -> Option<v1::LedgerEvent> {
        let id = &*event.event_id;
        if !self.halves.contains(id) || !self.mended.insert(id.into()) {
            return None;
        }
        let mut event = event.clone();
        event.supersedes.push(event.event_id.clone());
        Some(event)
    }

    /// Whether an event replaces half of itself in the ledger.
    pub(super) fn is_mended(&self, event: &v1::LedgerEvent) -> bool {
        self.mended.contains(&*event.event_id) && self.halves.contains(&*event.event_id)
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
