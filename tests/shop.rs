//! The example shop: its catalogue is one, its customers' records fit it, and the answers that its page promises are
//! the ones that are given.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly; the exemption of clippy.toml does not reach its helpers"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::DateTime;
use consentd::domain::{
    Catalogue, Collection, Defects, EventBody, Freshness, Heard, LedgerStanding, LegalBasis, Notice, Position,
    Question, Reason, Record, Signals, Status, Subject, SubjectState, SubjectView, Time, TokenStanding, decide,
};
use consentd::proto::v1;

const CATALOGUE: &str = include_str!("../examples/shop/catalogue.json");
const CUSTOMERS: &str = include_str!("../examples/shop/customers.csv");
const PAGE: &str = include_str!("../examples/shop/README.md");

/// A day after the last record.
const NOW: &str = "2026-11-02T00:00:00Z";

/// One row, by column.
type Row = BTreeMap<String, String>;

fn catalogue() -> Catalogue {
    let wire = serde_json::from_str(CATALOGUE).expect("a catalogue");
    let event = v1::LedgerEvent {
        event_id: "shop".to_owned(),
        event_time: Some(pbjson_types::Timestamp { seconds: 1, nanos: 0 }),
        event: Some(v1::ledger_event::Event::Catalogue(wire)),
        ..v1::LedgerEvent::default()
    };
    match consentd::ledger::validate(event).expect("a sound catalogue").body {
        EventBody::Catalogue(catalogue) => *catalogue,
        other => panic!("{other:?}"),
    }
}

fn rows() -> Vec<Row> {
    let mut reader = csv::Reader::from_reader(CUSTOMERS.as_bytes());
    let header = reader.headers().expect("a header").clone();
    let row = |record: csv::Result<csv::StringRecord>| {
        let record = record.expect("a row");
        header.iter().zip(&record).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    reader.records().map(row).collect()
}

fn time(text: &str) -> Time {
    let parsed = DateTime::parse_from_rfc3339(text).unwrap_or_else(|error| panic!("`{text}`: {error}"));
    Time::from_unix_millis(parsed.timestamp_millis())
}

/// The state that one row makes; everything in it is read, so that nothing in it can be malformed.
fn state(row: &Row, position: u64) -> SubjectState {
    let text = |column: &str| row.get(column).unwrap_or_else(|| panic!("no column `{column}`")).as_str();
    let filled = |column: &str| Some(text(column)).filter(|text| !text.is_empty());
    let defect = |defects: Defects, (column, defect): (&str, Defects)| match text(column) {
        "" => defects,
        "true" => defects.with(defect),
        other => panic!("{column}: `{other}`"),
    };
    let defects = [
        ("pre_ticked", Defects::PRE_TICKED),
        ("passive", Defects::PASSIVE),
        ("bundled", Defects::BUNDLED),
        ("dark_pattern", Defects::DARK_PATTERN),
    ];
    let record = Record {
        event_time: time(text("event_time")),
        status: Status::from_name(text("status")).expect("a status"),
        legal_basis: LegalBasis::from_name(text("legal_basis")).expect("a legal basis"),
        collection: Collection {
            defects: defects.into_iter().fold(Defects::NONE, defect),
            method: text("method").into(),
            ..Collection::default()
        },
        notice: filled("notice_id").map(|id| Notice {
            id: id.into(),
            version: text("notice_version").parse().expect("a version"),
            language: text("notice_language").into(),
        }),
        expires_at: filled("expires_at").map(time),
        jurisdiction: text("jurisdiction").into(),
        proof: text("proof").into(),
        position: Position(position),
    };
    SubjectState::of_record(text("purpose"), text("channel"), text("recipient"), record)
}

fn states() -> BTreeMap<String, SubjectState> {
    let mut states: BTreeMap<String, SubjectState> = BTreeMap::new();
    for (row, position) in rows().iter().zip(1..) {
        let subject = row.get("subject").expect("a subject");
        states.entry(subject.clone()).or_default().join(state(row, position));
    }
    states
}

fn answer(catalogue: &Catalogue, state: &SubjectState, purpose: &str, channel: &str, sec_gpc: &str) -> Reason {
    let signals = Signals { sec_gpc, ..Signals::default() };
    let question = Question {
        purpose,
        channel,
        recipient: "",
        jurisdiction: "",
        signals,
        heard: Heard::default(),
        max_staleness: None,
        time_zone: None,
    };
    let freshness =
        Freshness { ledger: LedgerStanding::Following, staleness: Duration::ZERO, token: TokenStanding::Reached };
    decide(&question, SubjectView::State(state), Some(catalogue), &freshness, time(NOW)).reason
}

#[test]
fn the_catalogue_has_a_dozen_purposes() {
    assert_eq!(catalogue().purposes().count(), 12);
}

#[test]
fn every_row_fits_the_catalogue() {
    assert!(CUSTOMERS.len() < 150_000, "{} bytes", CUSTOMERS.len());
    let catalogue = catalogue();
    let mut ids = BTreeSet::new();
    for row in rows() {
        let text = |column: &str| row.get(column).map_or("", |text| &**text);
        Subject::parse(text("subject")).expect("a subject");
        let purpose = catalogue.purpose(text("purpose")).unwrap_or_else(|| panic!("{row:?}"));
        let channel = text("channel");
        assert!(channel == "*" || purpose.terms.channels.iter().any(|used| **used == *channel), "{row:?}");
        assert!(["TR", "US-ME", "DE"].contains(&text("jurisdiction")), "{row:?}");
        assert!(time(text("event_time")) < time(NOW), "{row:?}");
        assert!(ids.insert(text("event_id").to_owned()), "twice: {row:?}");
    }
    assert_eq!(states().len(), 300);
}

/// The rows of the page's table of customers are promises: subject, purpose, channel, answer.
#[test]
fn the_named_customers_get_the_answers_that_the_page_promises() {
    let (catalogue, states) = (catalogue(), states());
    let mut promised = BTreeSet::new();
    for line in PAGE.lines().filter(|line| line.starts_with("| `crm:")) {
        let cells: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let [_, subject, purpose, channel, verdict, reason, _story, _] = cells.as_slice() else {
            panic!("not a row of the table: {line}")
        };
        let state = states.get(*subject).unwrap_or_else(|| panic!("no such customer: {line}"));
        let given = answer(&catalogue, state, purpose, channel, "");
        assert_eq!((given.verdict().as_str(), given.as_str()), (*verdict, *reason), "{line}");
        promised.insert((*subject).to_owned());
    }
    let named: BTreeSet<String> = (1001..=1008).map(|id| format!("crm:{id}")).collect();
    assert_eq!(promised, named);
}

/// The shop is worth a demonstration: over all customers, most ways to say yes or no occur.
#[test]
fn the_customers_differ() {
    let catalogue = catalogue();
    let mut reasons: BTreeMap<Reason, usize> = BTreeMap::new();
    for state in states().values() {
        for purpose in catalogue.purposes() {
            for channel in &purpose.terms.channels {
                for sec_gpc in ["", "1"] {
                    *reasons.entry(answer(&catalogue, state, &purpose.key, channel, sec_gpc)).or_default() += 1;
                }
            }
        }
    }
    let occur: Vec<Reason> = reasons.keys().copied().collect();
    assert_eq!(
        occur,
        [
            Reason::Consent,
            Reason::ExplicitConsent,
            Reason::LegitimateInterest,
            Reason::Contract,
            Reason::LegalObligation,
            Reason::UnknownSubject,
            Reason::SignalGpc,
            Reason::Refused,
            Reason::Withdrawn,
            Reason::Revoked,
            Reason::Invalidated,
            Reason::Objected,
            Reason::NoConsent,
            Reason::Expired,
            Reason::TooOld,
            Reason::NotExplicit,
            Reason::PreTicked,
            Reason::Passive,
            Reason::Bundled,
            Reason::DarkPattern,
            Reason::NoticeOutdated,
            Reason::RequiredPurposeDenied,
        ],
        "{reasons:?}"
    );
}
