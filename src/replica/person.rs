//! Who an identifier is: the join of all that are linked to it.

use std::collections::BTreeSet;

use crate::domain::{Position, SubjectKey, SubjectState, UnreadableMark};

/// Identifiers of one person beyond which nothing is allowed any more: no person has so many, a mistake does.
pub(super) const LINKED_MAX: usize = 256;

/// The state that decides for an identifier, from its own state and those that `get` has of others.
pub(super) fn join<E>(
    key: SubjectKey,
    own: SubjectState,
    mut get: impl FnMut(SubjectKey) -> Result<SubjectState, E>,
) -> Result<SubjectState, E> {
    let mut seen = BTreeSet::from([key]);
    let mut waiting: Vec<SubjectKey> = own.linked().collect();
    if waiting.is_empty() {
        return Ok(own);
    }
    let mut identifiers = vec![own];
    while let Some(next) = waiting.pop() {
        if !seen.insert(next) {
            continue;
        }
        if seen.len() > LINKED_MAX {
            return Ok(of_too_many());
        }
        let other = get(next)?;
        waiting.extend(other.linked());
        identifiers.push(other);
    }
    Ok(SubjectState::of_person(identifiers))
}

/// What is known of a person with more identifiers than any has: that part of it cannot be read. Nothing else, since what
/// one of them says to be superseded would lift the mark, and a mark without a time is lifted by no consent.
fn of_too_many() -> SubjectState {
    let event_id = "too many linked identifiers".into();
    SubjectState::of_unreadable(UnreadableMark { event_id, position: Position(0), event_time: None })
}
