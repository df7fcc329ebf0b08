//! The event in a message.

use prost::Message as _;

use crate::domain::{Event, Position, Unreadable};
use crate::ledger::validate;
use crate::proto::v1;

/// The event that a message of the ledger says, or as much as can be told of it.
pub(super) fn event(payload: &[u8], position: Position) -> Result<Event, Unreadable> {
    let unreadable = |problem: String| Unreadable {
        event_id: format!("@{}", position.0).into(),
        subjects: Vec::new(),
        event_time: None,
        problem: problem.into(),
    };
    let wire = v1::LedgerEvent::decode(payload).map_err(|_| unreadable("not the bytes of an event".to_owned()))?;
    if wire.encode_to_vec() != payload {
        return Err(unreadable("a field that is not known".to_owned()));
    }
    validate(wire).map_err(|error| unreadable(error.without_values()))
}
