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
        with: Sent::Nothing,
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

/// Which signals make a difference between two catalogues of one purpose, and which.
fn differences(old: &str, new: &str) -> Vec<(String, Kind)> {
    let (old, new) = (catalogue(1, &newsletter(old)), catalogue(2, &newsletter(new)));
    // TCF strings are dated, and before 1970 there were none.
    let asked = Asked { now: Time::from_unix_millis(1_780_315_200_000), ..asked(&[], 1) };
    let mut comparison = Comparison::new(Some(&old), &new, &asked);
    comparison.add(key(1), &consent("", ""));
    comparison.into_impact().changes.keys().map(|change| (change.with.to_string(), change.kind())).collect()
}

#[test]
fn a_catalogue_that_looks_less_at_signals_is_wider() {
    let wider = |sent: &str| (sent.to_owned(), Kind::Widened);
    assert_eq!(differences(r#", "honoursGpc": true"#, ""), [wider("`Sec-GPC: 1`")]);
    let tcf = |purposes: &str| format!(r#", "tcf": {{"purposes": {purposes}, "specialFeatures": [1]}}"#);
    assert_eq!(
        differences(&tcf("[1, 3]"), &tcf("[1]")),
        [wider("a TCF string without consent to purpose 3")],
        "of what both look at nothing is told"
    );
    assert_eq!(differences(&tcf("[2]"), "").len(), 2, "consent and feature; the publisher is no vendor");
    let gpp = |rest: &str| format!(r#", "gpp": {{"sale": true{rest}}}"#);
    assert_eq!(
        differences(&gpp(r#", "sensitiveData": ["health"], "gpc": true"#), &gpp("")),
        [
            wider("a GPP string that opts out of health"),
            wider("a GPP string that opts out of what the Global Privacy Control is about")
        ]
    );
    assert_eq!(differences(&gpp(""), "").len(), 2, "the sale, and a known child");
    assert_eq!(differences("", r#", "honoursGpc": true"#), [("`Sec-GPC: 1`".to_owned(), Kind::Narrowed)]);
}

#[test]
fn an_interest_that_becomes_a_consent_is_asked_with_either() {
    let of = |basis: &str| {
        let text = newsletter(r#", "tcf": {"purposes": [7]}"#).replace("LEGAL_BASIS_CONSENT", basis);
        catalogue(1, &text)
    };
    let (old, new) = (of("LEGAL_BASIS_LEGITIMATE_INTEREST"), of("LEGAL_BASIS_CONSENT"));
    let asked = Asked { now: Time::from_unix_millis(1_780_315_200_000), ..asked(&[], 1) };
    let mut comparison = Comparison::new(Some(&old), &new, &asked);
    comparison.add(key(1), &consent("", ""));
    let told: Vec<_> =
        comparison.into_impact().changes.into_keys().map(|change| (change.with, change.kind())).collect();
    assert_eq!(
        told,
        [
            (Sent::Nothing, Kind::Reasoned),
            (Sent::NoTcfConsent(7), Kind::Narrowed),
            (Sent::NoTcfInterest(7), Kind::Widened)
        ]
    );
}
