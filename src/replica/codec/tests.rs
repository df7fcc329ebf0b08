//! Round trips, damage, and a fixture of the format.

use proptest::prelude::*;

use super::*;

/// [`state`] under the key `key`, as format 2 has it.
const FORMAT_2: &str = concat!(
    "02e7d61510080a12760a096d61726b6574696e6712012a223208281002180220052a087765625f666f726d320f0a0770",
    "72697661637910031a0274723801420254524a05646f632d3150072a32083c1005180220052a087765625f666f726d32",
    "0f0a077072697661637910031a0274723801420254524a05646f632d315008124e0a0d6d61726b6574696e672e736d73",
    "1203736d731a0461636d65323208501001180220052a087765625f666f726d320f0a077072697661637910031a027472",
    "3801420254524a05646f632d3150091a070a03626164100b220240332a160a1009090909090909090909090909090909",
    "10021801",
);

fn record(event_time: i64, status: Status, position: u64) -> Record {
    Record {
        event_time: Time::from_unix_millis(event_time),
        status,
        legal_basis: LegalBasis::ExplicitConsent,
        collection: Collection {
            defects: Defects::PRE_TICKED.with(Defects::BUNDLED),
            method: "web_form".into(),
            ..Collection::default()
        },
        notice: Some(Notice { version: 3, id: "privacy".into(), language: "tr".into() }),
        expires_at: Some(Time::from_unix_millis(-1)),
        jurisdiction: "TR".into(),
        proof: "doc-1".into(),
        position: Position(position),
    }
}

fn state() -> SubjectState {
    let mut state = SubjectState::of_record("marketing", "*", "", record(20, Status::Given, 7));
    state.join(SubjectState::of_record("marketing", "*", "", record(30, Status::Withdrawn, 8)));
    state.join(SubjectState::of_record("marketing.sms", "sms", "acme", record(40, Status::Requested, 9)));
    state.join(SubjectState::of_erasure(Time::from_unix_millis(5)));
    state.join(SubjectState::of_unreadable(UnreadableMark {
        event_id: "bad".into(),
        position: Position(11),
        event_time: None,
    }));
    let link = Link { other: SubjectKey([9; 16]), event_time: Time::from_unix_millis(1), linked: true };
    state.join(SubjectState::of_link(link).superseding(&["@3".into()]));
    state
}

#[test]
fn a_state_comes_back_as_it_was() {
    let value = encode_state(b"key", &state());
    assert_eq!(decode_state(b"key", &value, &Texts::default()), Ok(state()));
}

#[test]
fn restrictions_a_birth_and_a_guardian_come_back_as_they_were() {
    let mut by_guardian = record(50, Status::Given, 12);
    by_guardian.collection.by_guardian = true;
    let mut kept = SubjectState::of_record("club", "app", "", by_guardian);
    for (purpose, restricted) in [("", false), ("marketing", true)] {
        let event_time = Time::from_unix_millis(60);
        kept.join(SubjectState::of_restriction(Restriction { purpose: purpose.into(), event_time, restricted }));
    }
    let born = Day::from_unix_days(-1);
    kept.join(SubjectState::of_birth(Birth { event_time: Time::from_unix_millis(-7), born }));
    let value = encode_state(b"key", &kept);
    assert_eq!(decode_state(b"key", &value, &Texts::default()), Ok(kept));
}

#[test]
fn the_format_is_read_as_it_was_written() {
    // Written by format 2. If this fails the format changed: give it a new number, so that what is stored is built anew.
    let fixture = data_encoding::HEXLOWER.decode(FORMAT_2.as_bytes()).expect("hexadecimal");
    assert_eq!(decode_state(b"key", &fixture, &Texts::default()), Ok(state()));
    assert_eq!(encode_state(b"key", &state()), fixture, "what is written changed without a new format number");
}

#[test]
fn what_an_older_version_stored_is_not_taken() {
    let mut older = encode_state(b"key", &state());
    older[0] = 1;
    assert_eq!(decode_state(b"key", &older, &Texts::default()), Err(CodecError::Format(1)));
}

#[test]
fn a_catalogue_comes_back_with_its_time_and_only_whole() {
    let text = r#"{"version": "3", "channels": [{"key": "call"}], "purposes": [{"key": "a", "channels": ["call"],
        "legalBasis": "LEGAL_BASIS_CONSENT", "quietHours": [{"from": "21:00", "until": "08:00", "timeZone": "Europe/Istanbul"}],
        "regional": [{"regions": ["TR"], "prohibited": true}]}]}"#;
    let wire = serde_json::from_str(text).expect("JSON");
    let catalogue = crate::ledger::codec::read_catalogue(wire).expect("well-formed");
    let stored = encode_catalogue(b"key", &catalogue, Time::from_unix_millis(-5));
    assert_eq!(decode_catalogue(b"key", &stored), Ok((catalogue, Time::from_unix_millis(-5))));
    for end in 0..stored.len() {
        assert!(decode_catalogue(b"key", &stored[..end]).is_err(), "cut at {end} went unnoticed");
    }
}

#[test]
fn a_value_under_another_key_is_refused() {
    let value = encode_state(b"key", &state());
    assert_eq!(decode_state(b"kex", &value, &Texts::default()), Err(CodecError::Checksum));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let value = encode_state(b"key", &state());
    for bit in 0..value.len() * 8 {
        let mut damaged = value.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(decode_state(b"key", &damaged, &Texts::default()).is_err(), "bit {bit} went unnoticed");
    }
    for end in 0..value.len() {
        assert!(decode_state(b"key", &value[..end], &Texts::default()).is_err(), "cut at {end} went unnoticed");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_state(b"key", &bytes, &Texts::default());
        let _ = decode_catalogue(b"key", &bytes);
        let _ = decode_root(b"key", &bytes);
    }
}
