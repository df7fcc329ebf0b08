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
    let mut person = own;
    let mut seen = BTreeSet::from([key]);
    let mut waiting: Vec<SubjectKey> = person.linked().collect();
    while let Some(next) = waiting.pop() {
        if !seen.insert(next) {
            continue;
        }
        if seen.len() > LINKED_MAX {
            person.join(SubjectState::of_unreadable(UnreadableMark {
                event_id: "too many linked identifiers".into(),
                position: Position(0),
                event_time: None,
            }));
            break;
        }
        let other = get(next)?;
        waiting.extend(other.linked());
        person.join(other);
    }
    Ok(person)
}
