//! What is read, what is refused, and what is told of what is refused.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::catalogue::DEFAULT_MAX_STALENESS;
use crate::domain::{EventBody, Subject, Time};

const CONSENT: &str = r#"{"eventId":"e1","eventTime":"2026-01-05T10:00:00Z","source":"webshop","consent":{
    "subject":{"space":"crm","id":"ayse@example.org"},"purpose":"marketing.newsletter","channel":"email",
    "status":"CONSENT_STATUS_GIVEN","legalBasis":"LEGAL_BASIS_CONSENT","collection":{"method":"web_form"},
    "notice":{"id":"privacy","version":3,"language":"tr"},"jurisdiction":"US-ME",
    "expiresAt":"2027-01-05T10:00:00Z","proof":"doc:9"}}"#;

const CATALOGUE: &str = r#"{"eventId":"e1","eventTime":"2026-01-05T10:00:00Z","catalogue":{"version":1,
    "channels":[{"key":"email"}],"defaultMaxStaleness":"5s","purposes":[
    {"key":"a","legalBasis":"LEGAL_BASIS_CONSENT","channels":["email"],"maxAge":"3600s","maxStaleness":"2s"},
    {"key":"b","legalBasis":"LEGAL_BASIS_CONTRACT","channels":["email"],"requires":["a"]}]}}"#;

const LINK: &str = r#"{"eventId":"e1","eventTime":"2026-01-05T10:00:00Z","link":{
    "subject":{"space":"crm","id":"42"},"linked":{"space":"device","id":"9"}}}"#;

fn read(text: &str) -> Result<Event, Unreadable> {
    decode(text.as_bytes(), Position(7))
}

fn subjects(texts: &[&str]) -> Vec<Subject> {
    texts.iter().map(|text| Subject::parse(text).expect("well-formed")).collect()
}

/// A text with one part replaced, which must be in it.
fn with(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "`{from}` stands once in {text}");
    text.replace(from, to)
}

#[test]
fn the_examples_are_read() {
    let event = read(CONSENT).expect("readable");
    let EventBody::Consent(consent) = &event.body else { panic!("{event:?}") };
    assert_eq!(consent.subject.expose(), "crm:ayse@example.org");
    assert_eq!(consent.expires_at, Some(Time::from_unix_millis(1_799_143_200_000)));
    let snake = with(&with(CONSENT, "eventId", "event_id"), "legalBasis", "legal_basis");
    assert_eq!(read(&snake), Ok(event), "both spellings of a field are the same");
    let event = read(CATALOGUE).expect("readable");
    let EventBody::Catalogue(catalogue) = &event.body else { panic!("{event:?}") };
    let staleness = |key| catalogue.purpose(key).expect("it is there").terms.max_staleness;
    assert_eq!((staleness("a"), staleness("b")), (Duration::from_secs(2), Duration::from_secs(5)));
    let event = read(&with(CATALOGUE, r#""defaultMaxStaleness":"5s","#, "")).expect("readable");
    let EventBody::Catalogue(catalogue) = &event.body else { panic!("{event:?}") };
    assert_eq!(catalogue.purpose("b").expect("it is there").terms.max_staleness, DEFAULT_MAX_STALENESS);
    assert!(matches!(read(LINK).expect("readable").body, EventBody::Link { unlinked: false, .. }));
}

#[test]
fn each_rule_refuses_and_names_its_field() {
    let long = |bytes: usize| "x".repeat(bytes);
    let cases: &[(&str, &str, String, &str)] = &[
        (CONSENT, "e1", String::new(), "event_id: missing"),
        (CONSENT, "e1", "@9".into(), "event_id: must not begin with `@`"),
        (CONSENT, "e1", "a\\u0007".into(), "event_id: control characters"),
        (CONSENT, "e1", long(129), "event_id: longer than 128 bytes"),
        (CONSENT, r#""eventTime":"2026-01-05T10:00:00Z","#, String::new(), "event_time: missing"),
        (CONSENT, "2026-01-05", "1969-01-05".into(), "event_time: must be after 1970"),
        (CONSENT, "webshop", long(129), "source: longer than 128 bytes"),
        (CONSENT, r#""source":"webshop""#, r#""supersedes":[""]"#.into(), "supersedes: missing"),
        (
            CONSENT,
            r#""source":"webshop""#,
            format!(r#""supersedes":[{}"a"]"#, r#""a","#.repeat(16)),
            "supersedes: at most 16",
        ),
        (CONSENT, r#"{"space":"crm","id":"ayse@example.org"}"#, "null".into(), "consent.subject: missing"),
        (CONSENT, "crm", "CRM".into(), "consent.subject: space: "),
        (CONSENT, "ayse@example.org", String::new(), "consent.subject: id: "),
        (CONSENT, "marketing.newsletter", "marketing..newsletter".into(), "consent.purpose: must be words"),
        (CONSENT, "marketing.newsletter", "*".into(), "consent.purpose: must be words"),
        (CONSENT, r#""email""#, r#""""#.into(), "consent.channel: missing"),
        (CONSENT, r#""email""#, r#""e*""#.into(), "consent.channel: must be a word"),
        (CONSENT, r#""proof""#, r#""recipient":"a b","proof""#.into(), "consent.recipient: must be at most"),
        (CONSENT, r#""proof""#, r#""recipient":"*","proof""#.into(), "consent.recipient: `*` is for refusals only"),
        (CONSENT, "CONSENT_STATUS_GIVEN", "CONSENT_STATUS_UNSPECIFIED".into(), "consent.status: missing"),
        (CONSENT, "LEGAL_BASIS_CONSENT", "LEGAL_BASIS_UNSPECIFIED".into(), "consent.legal_basis: missing"),
        (CONSENT, "web_form", long(65), "consent.collection.method: longer than 64"),
        (CONSENT, r#""privacy""#, r#""""#.into(), "consent.notice.id: missing"),
        (CONSENT, r#""version":3"#, r#""version":0"#.into(), "consent.notice.version: must be at least 1"),
        (CONSENT, r#""tr""#, r#""tr TR""#.into(), "consent.notice.language: must be a BCP 47 tag"),
        (CONSENT, "US-ME", "us-me".into(), "consent.jurisdiction: must be an ISO 3166 code"),
        (CONSENT, "US-ME", "USA".into(), "consent.jurisdiction: must be an ISO 3166 code"),
        (CONSENT, "US-ME", "US-".into(), "consent.jurisdiction: must be an ISO 3166 code"),
        (CONSENT, "2027-01-05", "2026-01-05".into(), "consent.expires_at: must be after the event's time"),
        (CONSENT, "doc:9", long(513), "consent.proof: longer than 512"),
        (LINK, r#""device","id":"9""#, r#""crm","id":"42""#.into(), "link.linked: must be another"),
        (LINK, r#""linked":{"space":"device","id":"9"}"#, r#""unlinked":true"#.into(), "link.linked: missing"),
        (CATALOGUE, "e1", "e2".into(), ""),
        (CATALOGUE, r#""version":1"#, r#""version":0"#.into(), "catalogue.version: must be at least 1"),
        (CATALOGUE, "3600s", "0s".into(), "catalogue.purposes[0].max_age: must be longer than zero"),
        (CATALOGUE, "3600s", "-1s".into(), "catalogue.purposes[0].max_age: must be longer than zero"),
        (CATALOGUE, r#""5s""#, r#""0s""#.into(), "catalogue.default_max_staleness: must be longer"),
        (
            CATALOGUE,
            "LEGAL_BASIS_CONTRACT",
            "LEGAL_BASIS_UNSPECIFIED".into(),
            "catalogue.purposes[1].legal_basis: missing",
        ),
        (CATALOGUE, r#"["a"]"#, r#"["c"]"#.into(), "requires a purpose that the catalogue does not name"),
        (CATALOGUE, r#"[{"key":"email"}]"#, r#"[{"key":"E"}]"#.into(), "catalogue.channels[0].key: must be a word"),
    ];
    for (text, from, to, sentence) in cases {
        let read = read(&with(text, from, to));
        let problem = read.map_or_else(|unreadable| unreadable.problem, |_| "".into());
        assert_eq!(problem.is_empty(), sentence.is_empty(), "`{from}` as `{to}`: {problem}");
        assert!(problem.contains(sentence), "`{from}` as `{to}`: {problem}");
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let error = validate(v1::LedgerEvent::default()).expect_err("it is empty");
    let fields: Vec<&str> = error.problems().iter().map(|problem| &*problem.field).collect();
    assert_eq!(fields, ["event_id", "event_time", "event"]);
}

#[test]
fn what_this_version_does_not_know_is_unreadable_and_its_subject_is_known() {
    let whom = subjects(&["crm:ayse@example.org"]);
    for (from, to, problem) in [
        (r#""proof""#, r#""onlyFor":"research","proof""#, "a field that is not known"),
        ("CONSENT_STATUS_GIVEN", "CONSENT_STATUS_PAUSED", "a value that is not known"),
        (r#""proof""#, r#""channel":"sms","proof""#, "a field stands twice"),
        (r#""version":3"#, r#""version":3.5"#, "a value that cannot be read"),
        (r#""version":3"#, r#""version":true"#, "a value that cannot be read"),
        (r#""web_form""#, "7", "a value of the wrong type"),
        (r#""consent""#, r#""restriction""#, "a field that is not known"),
        ("\"doc:9\"}}", "\"doc:9\"}", "the JSON ends early"),
        ("\"doc:9\"}}", "\"doc:9\"}}}", "broken JSON"),
    ] {
        let unreadable = read(&with(CONSENT, from, to)).expect_err(to);
        assert!(unreadable.problem.starts_with(problem), "{to}: {}", unreadable.problem);
        assert_eq!(unreadable.subjects, whom, "{to}");
        assert_eq!(&*unreadable.event_id, "e1");
        assert_eq!(unreadable.event_time, Some(Time::from_unix_millis(1_767_607_200_000)));
    }
}

#[test]
fn subjects_are_told_from_whatever_names_them() {
    for (line, whom) in [
        (LINK.replace("\"link\"", "\"merge\""), &["crm:42", "device:9"][..]),
        // A number, another order, other members between, the wrong case.
        (r#"{"consent":{"subject":{"id":42,"kind":{"a":["}"]},"space":"CRM"}}}"#.into(), &["crm:42"]),
        (r#"{"consent":{"subject":"crm:42"}}"#.into(), &["crm:42"]),
        (r#"{"batch":[{"space":"crm","id":"1"},{"space":"crm","id":"2"}]}"#.into(), &["crm:1", "crm:2"]),
        // A name that JSON escapes.
        (r#"{"subject":{"space":"crm","id":"ay\u015fe"}}"#.into(), &["crm:ayşe"]),
        // Given twice, both count: JSON's readers do not agree on which.
        (r#"{"subject":{"space":"crm","id":"1","id":"2"}}"#.into(), &["crm:1", "crm:2"]),
        // Not JSON: broken before, between and behind.
        (r#"}}{"subject":{"space":"crm","id":"42"}"#.into(), &["crm:42"]),
        (r#"{"subject" : { "space" : "crm" , "id" : "42" , "#.into(), &["crm:42"]),
        (r#"{"subject":{"id":"42","space":"crm"#.into(), &[]),
        // One line cut within a text and another glued to it, so that all its quotes are turned inside out. What the
        // cut left of the first one's identifier is nobody's.
        (format!("{}{LINK}", &CONSENT[..120]), &["crm:42", "crm:ays{", "device:9"]),
        // A cut identifier is somebody else's.
        (r#"{"subject":{"space":"crm","id":"4"#.into(), &[]),
        // A notice has an id and is nobody.
        (r#"{"subject":{"space":"crm"},"notice":{"id":"privacy"}}"#.into(), &[]),
    ] {
        let mut told = read(&line).expect_err(&line).subjects;
        told.sort_unstable_by(|a, b| a.expose().cmp(b.expose()));
        assert_eq!(told, subjects(whom), "{line}");
    }
}

#[test]
fn a_line_that_names_two_events_is_called_by_its_position() {
    let glued = format!("{}{}", &CONSENT[..120], LINK.replace("e1", "e2").replace("01-05", "01-06"));
    let unreadable = read(&glued).expect_err("glued");
    assert_eq!((&*unreadable.event_id, unreadable.event_time), ("@7", None));
    assert_eq!(&*read(r#"{"eventId":"@3"}"#).expect_err("empty").event_id, "@7");
    assert_eq!(&*read("").expect_err("empty").event_id, "@7");
}

#[test]
fn a_value_that_breaks_the_reader_breaks_only_its_line() {
    let unreadable = read(&with(CATALOGUE, "3600s", "--9223372036854775808s")).expect_err("out of range");
    assert!(unreadable.problem.contains("out of every range"), "{}", unreadable.problem);
}

#[test]
fn a_hostile_line_is_given_up_on_in_time() {
    for piece in ["\"", "{\"space\":\"a\",", "{\"id\":{", "[", "\"space\":\"a\",\"x\":[", "\\\"", "\"id\":1,"] {
        let line = piece.repeat(LINE_BYTES_MAX / 8 / piece.len());
        let started = std::time::Instant::now();
        let unreadable = read(&line).expect_err("hostile");
        assert!(started.elapsed() < Duration::from_secs(5), "`{piece}` took {:?}", started.elapsed());
        assert!(unreadable.subjects.len() <= 64);
    }
}

#[test]
fn the_line_of_an_event_reads_back() {
    for text in [CONSENT, LINK, CATALOGUE] {
        let wire = parse(text.as_bytes()).expect("readable");
        let line = encode_line(&wire).expect("encodes");
        assert!(!line.contains('\n'));
        assert_eq!(parse(line.as_bytes()).expect("readable"), wire);
    }
}

proptest! {
    /// However a line is damaged, it is taken for an event or told as a problem, and the problem repeats none of it.
    #[test]
    fn no_problem_repeats_the_line(place: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut line = CONSENT.as_bytes().to_vec();
        *place.get_mut(&mut line) = byte;
        line.truncate(cut.index(line.len() * 2));
        if let Err(unreadable) = decode(&line, Position(7)) {
            for secret in ["ayse", "example", "webshop", "doc:9"] {
                prop_assert!(!unreadable.problem.contains(secret), "{}", unreadable.problem);
            }
        }
    }

    /// Bytes of any kind are told as a problem, and nothing breaks.
    #[test]
    fn any_bytes_are_survived(line: Vec<u8>, json in "[\\[\\]{}\":,a-c0-9 spaceid\\\\]{0,60}") {
        prop_assert!(decode(&line, Position(7)).is_err());
        prop_assert!(decode(json.as_bytes(), Position(7)).is_err());
    }
}
