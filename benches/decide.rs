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

use consentd::domain::{
    Catalogue, CatalogueParts, Collection, Freshness, Heard, LedgerStanding, LegalBasis, Notice, NoticeRule, Position,
    Purpose, Question, Record, Signals, Status, SubjectState, SubjectView, Terms, Time, TokenStanding, Verdict, decide,
};
use criterion::{Criterion, criterion_group, criterion_main};

/// That of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const DAY_MS: i64 = 86_400_000;
const NOW: Time = Time::from_unix_millis(20_000 * DAY_MS);

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

fn said(state: &mut SubjectState, purpose: &str, status: Status, days_ago: i64) {
    let record = Record {
        event_time: Time::from_unix_millis(NOW.unix_millis() - days_ago * DAY_MS),
        status,
        legal_basis: LegalBasis::Consent,
        collection: Collection::default(),
        notice: Some(Notice { version: 3, id: "privacy".into(), language: "tr".into() }),
        expires_at: None,
        jurisdiction: "TR".into(),
        proof: "".into(),
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
    let cases = [
        ("allow/1_record", subject(1), "marketing.newsletter", Verdict::Allow),
        ("allow/4_records", subject(4), "marketing.newsletter", Verdict::Allow),
        ("allow/40_records", subject(40), "marketing.newsletter", Verdict::Allow),
        ("allow/4_records_and_a_required_purpose", subject(4), "marketing.offers", Verdict::Allow),
        ("deny/withdrawn", withdrawn, "marketing.newsletter", Verdict::Deny),
        ("deny/unknown_subject", SubjectState::default(), "marketing.newsletter", Verdict::Deny),
        ("deny/unknown_purpose", subject(4), "marketing.fortune_telling", Verdict::Deny),
    ];
    let freshness = Freshness {
        ledger: LedgerStanding::Following,
        staleness: Duration::from_millis(300),
        token: TokenStanding::Reached,
    };
    for (name, state, purpose, verdict) in &cases {
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
            decide(black_box(&question), view, Some(&catalogue), &freshness, NOW)
        };
        assert_eq!(ask().verdict(), *verdict, "{name}");
        criterion.bench_function(&format!("decide/{name}"), |bencher| bencher.iter(ask));
    }
}

criterion_group!(benches, decisions);
criterion_main!(benches);
