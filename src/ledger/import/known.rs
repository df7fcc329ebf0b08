//! Which events of an input the ledger has already, so that importing it again writes nothing.
//!
//! What is compared is the content, not the event's id: ids are given by writers, and of two events that were given one id
//! by mistake, the one that is left out might be the withdrawal. To keep memory bounded an input is compared a part at a
//! time, each part with the whole ledger.

use crate::ledger::Mark;

/// The marks of one part: 2 million, with which of them were found, in 34 MiB.
const MARKS_MAX: usize = 2 << 20;

/// The marks of a part of the input, and which of them the ledger has.
#[derive(Debug, Default)]
pub(super) struct Known {
    marks: Vec<Mark>,
    found: Vec<bool>,
}

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
