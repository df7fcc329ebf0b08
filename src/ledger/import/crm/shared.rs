//! Identifiers that stand in rows of several subjects.
//!
//! The rows' subjects then become one person, and the consent of one the consent of all. That is right of one person who has
//! two customer numbers, and wrong of the address of a company, so that it is counted and said.

use std::collections::HashMap;

use ring::digest::{SHA256, digest};

use crate::proto::v1;

/// Identifiers that are kept in mind: a million, in some 40 MiB. Of a longer table the rest is not counted.
const SEEN_MAX: usize = 1 << 20;

/// The first 8 bytes of a digest: enough to count by.
type Brief = [u8; 8];

/// The linked identifiers of a table.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Each with the subject of the first row that it stood in, and whether it stood in another's.
    seen: HashMap<Brief, (Brief, bool)>,
    count: u64,
}

impl Shared {
    /// Notes that an identifier stands in a row of a subject.
    pub(super) fn note(&mut self, subject: &v1::Subject, linked: &v1::Subject) {
        let (subject, linked) = (brief(subject), brief(linked));
        if self.seen.len() >= SEEN_MAX && !self.seen.contains_key(&linked) {
            return;
        }
        let (first, is_shared) = self.seen.entry(linked).or_insert((subject, false));
        if *first != subject && !*is_shared {
            *is_shared = true;
            self.count += 1;
        }
    }

    /// How many stood in rows of several subjects.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }
}

fn brief(subject: &v1::Subject) -> Brief {
    let name = format!("{}:{}", subject.space, subject.id);
    digest(&SHA256, name.as_bytes()).as_ref().first_chunk().copied().unwrap_or_default()
}
