//! What is asked, and how it is counted.

use super::*;
use crate::domain::{LegalBasis, Position, Record, Status, Time};
use crate::ledger::codec::read_catalogue;

fn catalogue(version: u64, purpose: &str) -> Catalogue {
    let text = format!(
        r#"{{"version": {version}, "channels": [{{"key": "email"}}, {{"key": "sms"}}], "purposes": [{purpose}]}}"#
    );
    read_catalogue(serde_json::from_str(&text).expect("JSON")).expect("a catalogue")
}

fn newsletter(rest: &str) -> String {
    format!(r#"{{"key": "newsletter", "legalBasis": "LEGAL_BASIS_CONSENT", "channels": ["email"]{rest}}}"#)
}

fn consent(recipient: &str, jurisdiction: &str) -> SubjectState {
    let record = Record {
        event_time: Time::from_unix_millis(1000),
        status: Status::Given,
        legal_basis: LegalBasis::Consent,
        collection: crate::domain::Collection::default(),
        notice: None,
        expires_at: None,
        jurisdiction: jurisdiction.into(),
        proof: "".into(),
        position: Position(1),
    };
    SubjectState::of_record("newsletter", "email", recipient, record)
}

fn key(number: u8) -> SubjectKey {
    SubjectKey([number; 16])
}

fn asked(jurisdictions: &[&str], sample: usize) -> Asked {
    let jurisdictions = jurisdictions.iter().map(|code| (*code).to_owned()).collect();
    Asked { jurisdictions, now: Time::from_unix_millis(2000), sample }
}

#[test]
fn a_catalogue_of_the_same_rules_changes_nothing() {
    let (old, new, asked) = (catalogue(1, &newsletter("")), catalogue(2, &newsletter("")), asked(&["TR"], 9));
    let mut comparison = Comparison::new(Some(&old), &new, &asked);
    comparison.add(key(1), &consent("acme", "DE"));
    let impact = comparison.into_impact();
    assert_eq!((impact.from_version, impact.to_version, impact.subjects), (1, 2, 1));
    // The controller and the recipient; nowhere, the record's place and the one that was asked for.
    assert_eq!(impact.questions, 6);
    assert_eq!((impact.changes, impact.totals), (BTreeMap::new(), BTreeMap::new()));
}

#[test]
fn changes_are_counted_by_answer_and_by_subject_with_some_of_them_named() {
    let informed = newsletter(r#", "notice": {"id": "privacy", "materialSince": 2}"#);
    let (old, new, asked) = (catalogue(1, &informed), catalogue(2, &newsletter("")), asked(&["TR"], 2));
    let mut comparison = Comparison::new(Some(&old), &new, &asked);
    for number in 1..=5 {
        comparison.add(key(number), &consent("", "TR"));
    }
    let impact = comparison.into_impact();
    let change = Change {
        purpose: "newsletter".into(),
        channel: "email".into(),
        from: Reason::NoticeMissing,
        to: Reason::Consent,
    };
    let tally = Tally { answers: 10, subjects: 5, sample: vec![key(1), key(2)] };
    assert_eq!(change.kind(), Kind::Widened);
    assert_eq!(impact.changes, BTreeMap::from([(change, tally.clone())]));
    assert_eq!((impact.total(Kind::Widened), impact.total(Kind::Narrowed)), (tally, Tally::default()));
}

#[test]
fn a_purpose_that_goes_or_comes_is_asked_for_too() {
    let sms = newsletter("").replace("email", "sms");
    let (old, new, asked) = (catalogue(1, &newsletter("")), catalogue(2, &sms), asked(&[], 1));
    let mut comparison = Comparison::new(Some(&old), &new, &asked);
    comparison.add(key(1), &consent("", ""));
    let impact = comparison.into_impact();
    let told: Vec<_> = impact.changes.keys().map(|change| (&*change.channel, change.from, change.to)).collect();
    assert_eq!(
        told,
        [("email", Reason::Consent, Reason::ChannelNotUsed), ("sms", Reason::ChannelNotUsed, Reason::NoConsent)]
    );
    assert_eq!(impact.total(Kind::Narrowed).answers, 1);
    assert_eq!(impact.total(Kind::Reasoned).answers, 1);
    let mut first = Comparison::new(None, &new, &asked);
    first.add(key(1), &consent("", ""));
    assert_eq!(first.into_impact().from_version, 0);
}
