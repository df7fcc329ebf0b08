//! What one decision costs, with the state and the catalogue at hand: no store, no evidence, no wire.
//!
//! `cargo bench --bench decide`
//!
//! Most of it is comparing keys. glibc's `memcmp` for AVX-512 takes a slow path on some AMD processors where a short key
//! lies near the end of a page; `GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX512VL,-AVX512BW` shows the difference.

#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "criterion's macros document nothing; a benchmark may fail loudly"
)]

use std::hint::black_box;
use std::time::Duration;

use consentd::domain::catalogue::{
    Acceptance, MinorRule, MinorTreatment, NoticeVersion, QuietHours, Region, Regional, UnknownAge,
};
use consentd::domain::{
    Birth, Catalogue, CatalogueParts, Collection, Day, Freshness, Heard, LedgerStanding, LegalBasis, Notice,
    NoticeRule, Position, Purpose, Question, Record, Restriction, Signals, Status, SubjectState, SubjectView, Terms,
    Time, TokenStanding, Verdict, Zone, decide,
};
use criterion::{Criterion, criterion_group, criterion_main};

/// That of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const DAY_MS: i64 = 86_400_000;
/// Late in a morning.
const NOW: Time = Time::from_unix_millis(20_000 * DAY_MS + DAY_MS / 2);

fn purpose(key: &str, requires: &[&str]) -> Purpose {
    let terms = Terms {
        channels: ["email", "sms", "push"].map(Into::into).to_vec(),
        max_age: Some(Duration::from_hours(730 * 24)),
        notice: Some(NoticeRule { id: "privacy".into(), material_since: 2, versions: Vec::new() }),
        requires: requires.iter().map(|key| (*key).into()).collect(),
        honours_gpc: true,
        ..Terms::default()
    };
    Purpose::new(key, terms)
}

/// Twelve purposes besides the asked one, as a shop has.
fn catalogue() -> Catalogue {
    let mut purposes: Vec<Purpose> = (0..12).map(|n| purpose(&format!("other.purpose_{n}"), &[])).collect();
    purposes.push(purpose("marketing.newsletter", &[]));
    purposes.push(purpose("marketing.offers", &["marketing.newsletter"]));
    let channels = ["email", "sms", "push"].map(|key| (key.into(), "".into())).to_vec();
    let parts = CatalogueParts { version: 1, channels, purposes, ..CatalogueParts::default() };
    Catalogue::new(parts).expect("a sound catalogue")
}

/// A clock as a real place has it: changed twice a year for sixty years.
fn clock(name: &str) -> &'static Zone {
    let change = |half_year: i64| {
        let at = Time::from_unix_millis((half_year * 182 + 90) * DAY_MS);
        (at, if half_year % 2 == 0 { 7200 } else { 3600 })
    };
    Box::leak(Box::new(Zone::new(name, 3600, (0..120).map(change).collect())))
}

/// The purpose as lawyers of three countries would have it: everything that can be said of it is said.
fn purpose_with_everything(key: &str, requires: &[&str], quiet_clock: &'static Zone) -> Purpose {
    let plain = purpose(key, requires);
    let version = |version: u32, days: i64| NoticeVersion {
        version,
        material: version != 3,
        effective_at: Some(Time::from_unix_millis(NOW.unix_millis() + days * DAY_MS)),
    };
    let quiet =
        |from, until| QuietHours { channels: Vec::new(), from, until, days: [true; 7], zone: Some(quiet_clock) };
    let terms = Terms {
        notice: Some(NoticeRule {
            id: "privacy".into(),
            material_since: 0,
            versions: vec![version(1, -900), version(2, -700), version(3, -100), version(4, 30)],
        }),
        accepts: Acceptance {
            methods: ["web_form", "paper", "call_centre"].map(Into::into).to_vec(),
            proof_required: true,
        },
        minors: Some(MinorRule { under: 16, treatment: MinorTreatment::Guardian, unknown_age: UnknownAge::Deny }),
        quiet_hours: vec![quiet(21 * 60, 8 * 60)],
        ..plain.terms
    };
    let rule = |regions: &[&str], terms: Terms| Regional {
        regions: regions.iter().map(|region| (*region).into()).collect(),
        source: "the law of these places".into(),
        terms,
    };
    let regional = vec![
        rule(&["TR"], Terms { max_age: None, quiet_hours: vec![quiet(22 * 60, 7 * 60)], ..terms.clone() }),
        rule(&["EU"], Terms { max_age: Some(Duration::from_hours(400 * 24)), ..terms.clone() }),
        rule(&["US-CA"], Terms { legal_basis: LegalBasis::LegitimateInterest, ..terms.clone() }),
        rule(&["US-ME"], Terms { legal_basis: LegalBasis::ExplicitConsent, ..terms.clone() }),
    ];
    Purpose { regional, ..Purpose::new(key, terms) }
}

fn catalogue_with_everything() -> Catalogue {
    let clock = clock("Test/Changed");
    let with = |key: &str, requires: &[&str]| purpose_with_everything(key, requires, clock);
    let mut purposes: Vec<Purpose> = (0..12).map(|n| with(&format!("other.purpose_{n}"), &[])).collect();
    purposes.push(with("marketing.newsletter", &[]));
    purposes.push(with("marketing.offers", &["marketing.newsletter"]));
    let region = |key: &str, members: &[&str], zone| Region {
        key: key.into(),
        title: "".into(),
        members: members.iter().map(|member| (*member).into()).collect(),
        zone,
    };
    let members =
        ["AT", "BE", "BG", "CZ", "DE", "DK", "ES", "FI", "FR", "GR", "HU", "IE", "IT", "NL", "PL", "PT", "SE"];
    let channels = ["email", "sms", "push"].map(|key| (key.into(), "".into())).to_vec();
    let regions = vec![region("EU", &members, None), region("TR", &[], Some(clock))];
    let parts = CatalogueParts { version: 1, channels, purposes, regions, ..CatalogueParts::default() };
    Catalogue::new(parts).expect("a sound catalogue")
}

/// The same subject with all that can be known of one: proofs, a birth, and a restriction that was lifted.
fn known(mut state: SubjectState) -> SubjectState {
    let restriction = Restriction { purpose: "".into(), event_time: Time::from_unix_millis(0), restricted: false };
    state.join(SubjectState::of_restriction(restriction));
    let born = Birth { event_time: Time::from_unix_millis(0), born: Day::from_unix_days(5_000) };
    state.join(SubjectState::of_birth(born));
    state
}

fn said(state: &mut SubjectState, purpose: &str, status: Status, days_ago: i64) {
    let record = Record {
        event_time: Time::from_unix_millis(NOW.unix_millis() - days_ago * DAY_MS),
        status,
        legal_basis: LegalBasis::Consent,
        collection: Collection { method: "web_form".into(), ..Collection::default() },
        notice: Some(Notice { version: 3, id: "privacy".into(), language: "tr".into() }),
        expires_at: None,
        jurisdiction: "TR".into(),
        proof: "doc-1".into(),
        position: Position(1),
    };
    state.join(SubjectState::of_record(purpose, "email", "", record));
}

/// A subject with so many records: consent to the newsletter and to the offers, the rest about other purposes.
fn subject(records: usize) -> SubjectState {
    let mut state = SubjectState::default();
    for (purpose, _) in ["marketing.newsletter", "marketing.offers"].iter().zip(0..records) {
        said(&mut state, purpose, Status::Given, 100);
    }
    for n in 2..records {
        said(&mut state, &format!("other.purpose_{n}"), Status::Given, 50);
    }
    state
}

fn decisions(criterion: &mut Criterion) {
    let catalogue = catalogue();
    let withdrawn = {
        let mut state = subject(4);
        said(&mut state, "marketing", Status::Withdrawn, 10);
        state
    };
    let everything = catalogue_with_everything();
    let newsletter = "marketing.newsletter";
    let cases = [
        ("allow/1_record", subject(1), newsletter, Verdict::Allow),
        ("allow/4_records", subject(4), newsletter, Verdict::Allow),
        ("allow/40_records", subject(40), newsletter, Verdict::Allow),
        ("allow/4_records_and_a_required_purpose", subject(4), "marketing.offers", Verdict::Allow),
        ("deny/withdrawn", withdrawn, newsletter, Verdict::Deny),
        ("deny/unknown_subject", SubjectState::default(), newsletter, Verdict::Deny),
        ("deny/unknown_purpose", subject(4), "marketing.fortune_telling", Verdict::Deny),
    ];
    let with_everything = [
        ("everything/1_record", known(subject(1)), newsletter, Verdict::Allow),
        ("everything/4_records", known(subject(4)), newsletter, Verdict::Allow),
        ("everything/40_records", known(subject(40)), newsletter, Verdict::Allow),
        ("everything/4_records_and_a_required_purpose", known(subject(4)), "marketing.offers", Verdict::Allow),
    ];
    let all = cases.iter().map(|case| (&catalogue, case)).chain(with_everything.iter().map(|case| (&everything, case)));
    let freshness = Freshness {
        ledger: LedgerStanding::Following,
        staleness: Duration::from_millis(300),
        token: TokenStanding::Reached,
    };
    for (catalogue, (name, state, purpose, verdict)) in all {
        let question = Question {
            purpose,
            channel: "email",
            recipient: "",
            jurisdiction: "TR",
            signals: Signals::default(),
            heard: Heard::default(),
            max_staleness: None,
            time_zone: None,
        };
        let ask = || {
            let view = SubjectView::State(black_box(state));
            decide(black_box(&question), view, Some(catalogue), &freshness, NOW)
        };
        assert_eq!(ask().verdict(), *verdict, "{name}");
        criterion.bench_function(&format!("decide/{name}"), |bencher| bencher.iter(ask));
    }
}

criterion_group!(benches, decisions);
criterion_main!(benches);
