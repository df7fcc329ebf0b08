//! The decision: a pure, total function, one ordered list of rules of which the first that applies decides.
//!
//! No I/O, no clock, no `Result`, no panic. `decide` and `explain` walk the same list, so that an explanation cannot
//! differ from the answer.

mod facts;
mod rules;
mod signals;
mod validity;

use super::catalogue::Catalogue;
use super::question::{Freshness, Question};
use super::signal::SignalDetail;
use super::state::{Record, Slot, SubjectState};
use super::time::Time;
use super::words::{LegalBasis, Reason, Verdict};
use facts::Facts;
use rules::{
    allow, catalogue, channel, consent, erasure, freshness, ledger, refusal, requires, store, subject, unreadable,
};
use signals::signals;
use validity::{collection, effective, expiry, legal_basis, max_age, notice};

/// What the replica knows about the subject of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectView<'a> {
    /// All that the ledger says; empty where it says nothing.
    State(&'a SubjectState),
    /// The store could not be read.
    Unavailable,
}

/// An answer and what it rests on, borrowed from the state and the catalogue it was decided from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<'a> {
    /// Why, which tells the verdict.
    pub reason: Reason,
    /// The rule that decided.
    pub rule: &'static str,
    /// The ground the purpose rests on, where the purpose is known.
    pub legal_basis: Option<LegalBasis>,
    /// The record that decided, where one did, in its slot.
    pub record: Option<(&'a Slot, &'a Record)>,
    /// Until when an ALLOW may be relied on: never later than the grant lasts, nor than the view's age allows.
    pub valid_until: Option<Time>,
    /// The required purpose that failed: the one whose own rules deny, however many steps away it is required.
    pub failed_purpose: Option<&'a str>,
    /// Why that one failed.
    pub failed_reason: Option<Reason>,
    /// The notice that should have been shown, with the version it should have.
    pub notice: Option<(&'a str, u32)>,
    /// From when on the hour permits it.
    pub not_before: Option<Time>,
    /// What in a signal denied.
    pub detail: Option<SignalDetail>,
}

impl Decision<'_> {
    /// The verdict.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.reason.verdict()
    }
}

/// How one rule came out, for an explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleOutcome<'a> {
    /// The rule's name.
    pub rule: &'static str,
    /// What it looks at.
    pub description: &'static str,
    /// Whether it decided.
    pub decided: bool,
    /// The required purpose it was looked at for; `None` for the question's own.
    pub purpose: Option<&'a str>,
}

/// Answers a question from what is known, at a given time.
#[must_use]
pub fn decide<'a>(
    question: &Question<'a>,
    subject: SubjectView<'a>,
    catalogue: Option<&'a Catalogue>,
    freshness: &Freshness,
    now: Time,
) -> Decision<'a> {
    Facts::gather(question, subject, catalogue, freshness, now).decide()
}

/// Answers a question and lists every rule that was looked at, in order, up to the one that decided. Where a required
/// purpose was looked into, its rules stand before the rule `requires`.
#[must_use]
pub fn explain<'a>(
    question: &Question<'a>,
    subject: SubjectView<'a>,
    catalogue: Option<&'a Catalogue>,
    freshness: &Freshness,
    now: Time,
) -> (Decision<'a>, Vec<RuleOutcome<'a>>) {
    let facts = Facts::gather(question, subject, catalogue, freshness, now);
    let mut outcomes = Vec::new();
    facts.list_outcomes(None, &mut outcomes);
    (facts.decide(), outcomes)
}

/// Every rule in order: its name, and what it looks at.
pub fn rules() -> impl Iterator<Item = (&'static str, &'static str)> {
    RULES.iter().map(|rule| (rule.name, rule.description))
}

/// One rule: looks at the facts, and decides or passes.
struct Rule {
    name: &'static str,
    description: &'static str,
    check: for<'f, 'a> fn(&'f Facts<'a>) -> Option<Finding<'a>>,
}

/// The rules in order; the first that applies decides.
const RULES: &[Rule] = &[
    Rule { name: "ledger", description: "the ledger can be trusted and was read to its end", check: ledger },
    Rule { name: "catalogue", description: "a catalogue is published and names the purpose", check: catalogue },
    Rule { name: "channel", description: "the catalogue names the channel and the purpose uses it", check: channel },
    Rule { name: "freshness", description: "the view is as fresh as purpose and question demand", check: freshness },
    Rule { name: "store", description: "the local store can be read", check: store },
    Rule { name: "unreadable", description: "every event about the subject could be read", check: unreadable },
    Rule { name: "erasure", description: "the subject was not erased, or has agreed anew since", check: erasure },
    Rule { name: "signals", description: "no signal carried by the question denies", check: signals },
    Rule {
        name: "refusal",
        description: "no refusal, for this purpose or one above it, is as late as the grant",
        check: refusal,
    },
    Rule {
        name: "subject",
        description: "the ledger holds an agreement with the subject, or a request to it",
        check: subject,
    },
    Rule {
        name: "consent",
        description: "a consent for this purpose, channel and recipient is on record",
        check: consent,
    },
    Rule {
        name: "legal_basis",
        description: "the record rests on the ground that the purpose demands",
        check: legal_basis,
    },
    Rule { name: "effective", description: "the consent is not dated in the future", check: effective },
    Rule { name: "expiry", description: "the consent has not expired", check: expiry },
    Rule { name: "max_age", description: "the consent is not older than the catalogue lets one be", check: max_age },
    Rule { name: "collection", description: "the consent was freely and actively given", check: collection },
    Rule { name: "notice", description: "the subject was shown a notice that is still current", check: notice },
    Rule { name: "requires", description: "every purpose that this one requires is allowed too", check: requires },
    Rule { name: "allow", description: "nothing denies: the purpose's legal basis allows", check: allow },
];

/// What a rule found.
struct Finding<'a> {
    reason: Reason,
    record: Option<(&'a Slot, &'a Record)>,
    valid_until: Option<Time>,
    failed_purpose: Option<&'a str>,
    failed_reason: Option<Reason>,
    notice: Option<(&'a str, u32)>,
    not_before: Option<Time>,
    detail: Option<SignalDetail>,
}

impl<'a> Finding<'a> {
    const fn of(reason: Reason) -> Self {
        Self::from_record(reason, None)
    }

    const fn from_record(reason: Reason, record: Option<(&'a Slot, &'a Record)>) -> Self {
        Self {
            reason,
            record,
            valid_until: None,
            failed_purpose: None,
            failed_reason: None,
            notice: None,
            not_before: None,
            detail: None,
        }
    }
}
