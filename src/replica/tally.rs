//! What subjects have said since the view was complete, counted by purpose, channel and status.
//!
//! What was read while the view was built is not counted: after a start that would be the whole past at once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::domain::catalogue::ANY;
use crate::domain::{Catalogue, EventBody, Status, Text};
use crate::ledger::Delivery;

/// The most combinations of purpose, channel and status that are counted each for itself. What is counted must not grow
/// without bound, whatever a catalogue names.
pub const COUNTED_MAX: usize = 4096;
/// What stands for all that the catalogue does not name, and for what is beyond [`COUNTED_MAX`]. Neither a purpose nor a
/// channel can be called so.
const OTHER: &str = "(other)";

/// How often something was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentCount {
    /// The purpose, of the catalogue, or `(other)`.
    pub purpose: Text,
    /// The channel, of the catalogue, `*`, or `(other)`.
    pub channel: Text,
    /// What was said.
    pub status: Status,
    /// How often.
    pub count: u64,
}

/// The counts.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<HashMap<(Text, Text, Status), u64>>);

impl Tally {
    /// Counts what a delivery says, if it says what became of a consent.
    pub(super) fn count(&self, delivery: &Delivery, catalogue: Option<&Catalogue>) {
        let Ok(event) = &delivery.event else { return };
        let EventBody::Consent(said) = &event.body else { return };
        // Words of whoever writes into the ledger, but for those of the catalogue: they are not shown.
        let is_purpose = catalogue.is_some_and(|known| known.purpose(&said.purpose).is_some());
        let is_channel = &*said.channel == ANY || catalogue.is_some_and(|known| known.knows_channel(&said.channel));
        let word = |is_known, word: &Text| if is_known { word.clone() } else { OTHER.into() };
        let key = (word(is_purpose, &said.purpose), word(is_channel, &said.channel), said.status);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = counts.len() >= COUNTED_MAX && !counts.contains_key(&key);
        let key = if is_full { (OTHER.into(), OTHER.into(), said.status) } else { key };
        *counts.entry(key).or_default() += 1;
    }

    /// All counts; of `(other)` every status, so that there is something to be seen from the start.
    pub(super) fn counts(&self) -> Vec<ConsentCount> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for status in Status::ALL {
            counts.entry((OTHER.into(), OTHER.into(), *status)).or_default();
        }
        let count = |((purpose, channel, status), count)| ConsentCount { purpose, channel, status, count };
        counts.into_iter().map(count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        CatalogueParts, Collection, ConsentEvent, Event, LegalBasis, Position, Purpose, Subject, Terms, Time,
    };

    fn catalogue(purposes: impl Iterator<Item = String>) -> Catalogue {
        let terms = || Terms { channels: vec!["email".into()], ..Terms::default() };
        let purposes = purposes.map(|key| Purpose::new(&key, terms())).collect();
        let channels = vec![("email".into(), "".into())];
        Catalogue::new(CatalogueParts { version: 1, channels, purposes, ..CatalogueParts::default() }).expect("valid")
    }

    fn said(purpose: &str, channel: &str, status: Status) -> Delivery {
        let consent = ConsentEvent {
            subject: Subject::parse("crm:1").expect("well-formed"),
            purpose: purpose.into(),
            channel: channel.into(),
            recipient: "".into(),
            status,
            legal_basis: LegalBasis::Consent,
            collection: Collection::default(),
            notice: None,
            jurisdiction: "".into(),
            expires_at: None,
            proof: "".into(),
        };
        let body = EventBody::Consent(Box::new(consent));
        let event = Event { event_id: "e".into(), event_time: Time::default(), supersedes: Vec::new(), body };
        Delivery { position: Position(1), event: Ok(event) }
    }

    fn shown(tally: &Tally) -> Vec<String> {
        let counted = tally.counts().into_iter().filter(|count| count.count > 0);
        let mut shown: Vec<String> = counted
            .map(|ConsentCount { purpose, channel, status, count }| {
                format!("{} {} {status} {count}", &*purpose, &*channel)
            })
            .collect();
        shown.sort();
        shown
    }

    #[test]
    fn only_words_of_the_catalogue_are_shown() {
        let tally = Tally::default();
        let catalogue = catalogue(["news".to_owned()].into_iter());
        for (purpose, channel) in
            [("news", "email"), ("news", "email"), ("news", "*"), ("news", "ayse"), ("ayse", "email")]
        {
            tally.count(&said(purpose, channel, Status::Given), Some(&catalogue));
        }
        tally.count(&said("news", "email", Status::Withdrawn), None);
        assert_eq!(
            shown(&tally),
            [
                "(other) (other) WITHDRAWN 1",
                "(other) email GIVEN 1",
                "news (other) GIVEN 1",
                "news * GIVEN 1",
                "news email GIVEN 2"
            ]
        );
        assert_eq!(tally.counts().iter().filter(|count| &*count.purpose == OTHER).count(), Status::ALL.len() + 1);
    }

    #[test]
    fn what_is_counted_is_bounded() {
        let tally = Tally::default();
        let names = || (0..=COUNTED_MAX).map(|number| format!("p{number}"));
        let catalogue = catalogue(names());
        for name in names() {
            tally.count(&said(&name, "email", Status::Refused), Some(&catalogue));
        }
        assert_eq!(tally.counts().iter().filter(|count| count.count > 0).count(), COUNTED_MAX + 1);
        assert!(shown(&tally).contains(&"(other) (other) REFUSED 1".to_owned()));
    }
}
