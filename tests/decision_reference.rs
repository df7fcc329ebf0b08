//! `decide` over the joined state against a slow reading of the rules over all events, for random histories.
//!
//! The histories are the same in every run. `CONSENTD_REFERENCE_SEED=<number>` tries others; a failure says its seed
//! and the smallest history that shows it.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/reference/clocks.rs"]
mod clocks;
#[path = "support/history.rs"]
mod history;
#[path = "support/random.rs"]
#[allow(dead_code, reason = "the properties use what this comparison does not")]
mod random;
#[path = "support/reference.rs"]
mod reference;
#[path = "support/reference/terms.rs"]
mod terms;
#[path = "support/reference/young.rs"]
mod young;

use std::cell::RefCell;
use std::collections::BTreeMap;

use consentd::domain::{Decision, Reason, Verdict};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use reference::Answer;

/// How many histories are compared.
const HISTORIES: u32 = 40_000;
/// The seed where none is given.
const DEFAULT_SEED: u64 = 2_016_679;

/// What the comparison has met, so that it cannot pass by looking at nothing.
#[derive(Default)]
struct Met {
    reasons: BTreeMap<Reason, u32>,
    compared: u32,
    certain: u32,
}

fn compared(decision: &Decision<'_>) -> Answer {
    Answer {
        reason: decision.reason,
        rule: decision.rule,
        status: decision.record.map(|(_, record)| record.status),
        valid_until: decision.valid_until,
        failed_purpose: decision.failed_purpose.map(str::to_owned),
        failed_reason: decision.failed_reason,
        notice: decision.notice.map(|(id, version)| (id.to_owned(), version)),
        not_before: decision.not_before,
    }
}

#[test]
fn decide_agrees_with_the_slow_reading_of_the_rules() {
    let seed = match std::env::var("CONSENTD_REFERENCE_SEED") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("CONSENTD_REFERENCE_SEED: `{text}` is not a number")),
        Err(_) => DEFAULT_SEED,
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&u64::to_le_bytes(seed));
    let config = Config { cases: HISTORIES, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));

    let met = RefCell::new(Met::default());
    let outcome = runner.run(&(random::asked(), random::history()), |(asked, history)| {
        let state = history::state_of(&history);
        let answer = compared(&asked.of(&state));
        let right = reference::answers(&asked, &history);
        let mut met = met.borrow_mut();
        met.compared += 1;
        met.certain += u32::from(right.iter().all(|other| *other == right[0]));
        *met.reasons.entry(answer.reason).or_default() += 1;
        if right.contains(&answer) {
            return Ok(());
        }
        Err(TestCaseError::fail(format!("answered {answer:#?}\nright would be {right:#?}")))
    });
    if let Err(failure) = outcome {
        panic!("seed {seed}: {failure}");
    }

    let met = met.into_inner();
    let allowed: u32 =
        met.reasons.iter().filter(|(reason, _)| reason.verdict() == Verdict::Allow).map(|(_, count)| count).sum();
    assert!(allowed * 20 > met.compared, "{allowed} of {} were allowed: too few to mean much", met.compared);
    assert!(met.certain * 20 > met.compared * 19, "only {} of {} had one right answer", met.certain, met.compared);
    // The view is always at hand here, evidence is the enforcer's, and signals that can be read have tests of their own.
    let elsewhere = [Reason::StoreUnavailable, Reason::EvidenceUnavailable, Reason::SignalTcf, Reason::SignalGpp];
    let missing: Vec<&Reason> =
        Reason::ALL.iter().filter(|reason| !met.reasons.contains_key(reason) && !elsewhere.contains(reason)).collect();
    assert!(missing.is_empty(), "no history led to {missing:?}");
}
