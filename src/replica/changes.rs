//! What one delivery of the ledger says about each subject, as states that are joined into what is known.

use std::collections::BTreeSet;

use super::codec::StoredQuarantine;
use crate::domain::{
    Birth, Catalogue, Event, EventBody, Link, Position, Record, Restriction, SubjectKey, SubjectState, Time,
    Unreadable, UnreadableMark,
};
use crate::ledger::{Delivery, SubjectHasher};

/// What a delivery says besides.
pub(super) enum Said {
    /// Nothing that is not about subjects.
    Subjects,
    /// A catalogue, and when it came into being.
    Catalogue(Box<Catalogue>, Time),
    /// An event that cannot be read.
    Unreadable(StoredQuarantine),
}

/// Tells `join` what a delivery says about each subject, and says aloud what cannot be read.
pub(super) fn read(delivery: Delivery, hasher: &SubjectHasher, join: impl FnMut(SubjectKey, SubjectState)) -> Said {
    if let Err(unreadable) = &delivery.event {
        tracing::warn!(
            position = delivery.position.0,
            problem = &*unreadable.problem,
            subjects = whom(unreadable, hasher).len(),
            "an event of the ledger cannot be read; it is quarantined, and whom it is about is denied"
        );
    }
    told(delivery, hasher, join)
}

/// As [`read`], of what was read before: nothing is said aloud a second time.
pub(super) fn told(delivery: Delivery, hasher: &SubjectHasher, mut join: impl FnMut(SubjectKey, SubjectState)) -> Said {
    let Delivery { position, event } = delivery;
    match event {
        Ok(event) => read_event(event, position, hasher, join),
        Err(unreadable) => read_unreadable(&unreadable, position, hasher, &mut join),
    }
}

fn read_event(
    event: Event,
    position: Position,
    hasher: &SubjectHasher,
    mut join: impl FnMut(SubjectKey, SubjectState),
) -> Said {
    let Event { event_time, supersedes, body, .. } = event;
    match body {
        EventBody::Consent(consent) => {
            let record = Record {
                event_time,
                status: consent.status,
                legal_basis: consent.legal_basis,
                collection: consent.collection,
                notice: consent.notice,
                expires_at: consent.expires_at,
                jurisdiction: consent.jurisdiction,
                proof: consent.proof,
                position,
            };
            let state = SubjectState::of_record(&consent.purpose, &consent.channel, &consent.recipient, record);
            join(hasher.key(consent.subject.expose()), state.superseding(&supersedes));
        }
        EventBody::Link { subject, linked, unlinked } => {
            let (one, other) = (hasher.key(subject.expose()), hasher.key(linked.expose()));
            for (key, other) in [(one, other), (other, one)] {
                let link = Link { other, event_time, linked: !unlinked };
                join(key, SubjectState::of_link(link).superseding(&supersedes));
            }
        }
        EventBody::Erasure { subject } => {
            join(hasher.key(subject.expose()), SubjectState::of_erasure(event_time).superseding(&supersedes));
        }
        EventBody::Restriction { subject, purpose, lifted } => {
            let restriction = Restriction { purpose, event_time, restricted: !lifted };
            join(hasher.key(subject.expose()), SubjectState::of_restriction(restriction).superseding(&supersedes));
        }
        EventBody::Birth { subject, born } => {
            let birth = Birth { event_time, born };
            join(hasher.key(subject.expose()), SubjectState::of_birth(birth).superseding(&supersedes));
        }
        EventBody::Catalogue(catalogue) => return Said::Catalogue(catalogue, event_time),
    }
    Said::Subjects
}

fn read_unreadable(
    unreadable: &Unreadable,
    position: Position,
    hasher: &SubjectHasher,
    join: &mut impl FnMut(SubjectKey, SubjectState),
) -> Said {
    for key in whom(unreadable, hasher) {
        let mark =
            UnreadableMark { event_id: unreadable.event_id.clone(), position, event_time: unreadable.event_time };
        join(key, SubjectState::of_unreadable(mark));
    }
    Said::Unreadable(StoredQuarantine {
        event_id: unreadable.event_id.to_string(),
        problem: unreadable.problem.to_string(),
    })
}

/// Whom an event is about that cannot be read, as far as that can be told.
fn whom(unreadable: &Unreadable, hasher: &SubjectHasher) -> BTreeSet<SubjectKey> {
    let named = unreadable.subjects.iter().map(|subject| hasher.key(subject.expose()));
    named.chain(unreadable.keys.iter().copied()).collect()
}
