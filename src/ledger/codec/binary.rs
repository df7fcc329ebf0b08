//! An event in protobuf's binary form, as messages carry it.

use prost::Message as _;

use crate::domain::{Event, Position, Subject, SubjectKey, Time, Unreadable};
use crate::proto::v1;
use crate::proto::v1::ledger_event::Event as Body;

use super::validate;
use super::validate::EVENT_ID_BYTES_MAX;

/// The event that a payload holds, or as much as can be told of it. `position` is the message's, for naming it where it
/// does not name itself; `about` is whom the message is about, as far as that stands outside the payload.
///
/// # Errors
/// If the payload is not an event that this version understands in full.
pub(crate) fn decode_binary(
    payload: &[u8],
    position: Position,
    about: Option<SubjectKey>,
) -> Result<Event, Unreadable> {
    let refused = |problem: &str| refuse_binary(payload, position, about, problem);
    let wire = v1::LedgerEvent::decode(payload).map_err(|_| refused("not the bytes of an event"))?;
    // The decoder drops a field that it does not know, and a newer writer may mean by it something narrower than the
    // rest says. What was dropped is missing when the length is counted again.
    if wire.encoded_len() != payload.len() {
        return Err(refused("a field that is not known, or that stands twice"));
    }
    validate(wire).map_err(|error| refused(&error.without_values()))
}

/// What can be told of a payload that is not to be applied for what `problem` says.
pub(crate) fn refuse_binary(
    payload: &[u8],
    position: Position,
    about: Option<SubjectKey>,
    problem: &str,
) -> Unreadable {
    let wire = v1::LedgerEvent::decode(payload).unwrap_or_default();
    let id = Some(wire.event_id.as_str()).filter(|id| is_usable_id(id));
    let (one, other) = match &wire.event {
        Some(Body::Consent(consent)) => (consent.subject.as_ref(), None),
        Some(Body::Link(link)) => (link.subject.as_ref(), link.linked.as_ref()),
        Some(Body::Erasure(erasure)) => (erasure.subject.as_ref(), None),
        Some(Body::Restriction(restriction)) => (restriction.subject.as_ref(), None),
        Some(Body::Birth(birth)) => (birth.subject.as_ref(), None),
        Some(Body::Catalogue(_)) | None => (None, None),
    };
    let subjects = [one, other].into_iter().flatten();
    Unreadable {
        event_id: id.map_or_else(|| format!("@{}", position.0).into(), Into::into),
        subjects: subjects.filter_map(|subject| Subject::new(&subject.space, &subject.id).ok()).collect(),
        keys: about.into_iter().collect(),
        event_time: wire.event_time.as_ref().and_then(event_time),
        problem: problem.into(),
    }
}

fn is_usable_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= EVENT_ID_BYTES_MAX && !id.starts_with('@') && !id.chars().any(char::is_control)
}

/// A time that can be one; otherwise none is known, which nothing lifts.
fn event_time(time: &pbjson_types::Timestamp) -> Option<Time> {
    let millis = time.seconds.checked_mul(1000)?.checked_add(i64::from(time.nanos) / 1_000_000)?;
    (0..1_000_000_000).contains(&time.nanos).then(|| Time::from_unix_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: SubjectKey = SubjectKey([7; 16]);

    fn grant() -> v1::LedgerEvent {
        let consent = v1::ConsentEvent {
            subject: Some(v1::Subject { space: "crm".to_owned(), id: "42".to_owned() }),
            purpose: "newsletter".to_owned(),
            channel: "email".to_owned(),
            status: v1::ConsentStatus::Given.into(),
            legal_basis: v1::LegalBasis::Consent.into(),
            ..v1::ConsentEvent::default()
        };
        v1::LedgerEvent {
            event_id: "e1".to_owned(),
            event_time: Some(pbjson_types::Timestamp { seconds: 1_700_000_000, nanos: 5_000_000 }),
            event: Some(Body::Consent(consent)),
            ..v1::LedgerEvent::default()
        }
    }

    fn told(payload: &[u8]) -> Unreadable {
        decode_binary(payload, Position(9), Some(KEY)).expect_err("unreadable")
    }

    #[test]
    fn what_was_written_is_read() {
        let event = decode_binary(&grant().encode_to_vec(), Position(9), Some(KEY)).expect("readable");
        assert_eq!(Ok(event), validate(grant()));
    }

    #[test]
    fn bytes_that_are_no_event_are_about_whom_the_message_names() {
        let unreadable = told(&[0xff; 40]);
        assert_eq!((&*unreadable.event_id, unreadable.event_time), ("@9", None));
        assert_eq!((unreadable.keys, unreadable.subjects), (vec![KEY], vec![]));
        // Nothing at all is an event without anything, which no rule takes.
        assert_eq!(told(&[]).keys, [KEY]);
        for len in 0..grant().encoded_len() {
            assert_eq!(told(&grant().encode_to_vec()[..len]).keys, [KEY], "cut at {len}");
        }
    }

    #[test]
    fn a_field_of_a_newer_version_makes_it_unreadable_and_what_is_known_is_told() {
        let mut payload = grant().encode_to_vec();
        // Field 99, a varint.
        payload.extend([0x98, 0x06, 0x01]);
        let unreadable = told(&payload);
        assert_eq!(&*unreadable.event_id, "e1");
        assert_eq!(unreadable.event_time, Some(Time::from_unix_millis(1_700_000_000_005)));
        assert_eq!(unreadable.subjects, [Subject::parse("crm:42").expect("well-formed")]);
        // The same inside the event's body.
        let Some(Body::Consent(consent)) = grant().event else { panic!("a consent") };
        let mut inner = consent.encode_to_vec();
        inner.extend([0x98, 0x06, 0x01]);
        let mut payload = v1::LedgerEvent { event: None, ..grant() }.encode_to_vec();
        payload.extend([0x52, u8::try_from(inner.len()).expect("short")]);
        payload.extend(inner);
        assert!(told(&payload).problem.contains("not known"));
    }

    #[test]
    fn an_event_that_breaks_a_rule_repeats_nothing_of_it() {
        let mut wire = grant();
        wire.event_id = "@3".to_owned();
        wire.source = "secret\u{1}".to_owned();
        let unreadable = told(&wire.encode_to_vec());
        assert_eq!(&*unreadable.event_id, "@9");
        assert!(unreadable.problem.contains("event_id") && !unreadable.problem.contains("secret"));
    }
}
