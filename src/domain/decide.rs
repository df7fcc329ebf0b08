//! The decision: a pure, total function, one ordered list of rules of which the first that applies decides.
//!
//! No I/O, no clock, no `Result`, no panic. `decide` and `explain` walk the same list, so that an explanation cannot
//! differ from the answer.

mod age;
mod facts;
mod quiet_hours;
mod requires;
mod rules;
mod signals;
mod validity;

use std::ops::ControlFlow;

use super::catalogue::Catalogue;
use super::question::{Freshness, Question};
use super::signal::SignalDetail;
use super::state::{Record, Slot, SubjectState};
use super::time::Time;
use super::words::{LegalBasis, Reason, Verdict};
use age::{age, guardian};
use facts::{Facts, Kept};
use quiet_hours::quiet_hours;
use requires::{each_required, requires};
use rules::{
    allow, catalogue, channel, consent, erasure, freshness, jurisdiction, ledger, refusal, restriction, store, subject,
    unreadable,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleOutcome<'a> {
    /// The rule's name.
    pub rule: &'static str,
    /// What it looks at.
    pub description: &'static str,
    /// Whether it decided. Every rule but the last, `allow`, decides by denying: what did not decide has passed.
    pub decided: bool,
    /// What it decided.
    pub reason: Option<Reason>,
    /// The record it looked at: the one that decided, or the grant that it found nothing wrong with.
    pub record: Option<(&'a Slot, &'a Record)>,
    /// Of the rule `jurisdiction`: the terms that apply, where they differ by region.
    pub terms: Vec<AppliedTerms<'a>>,
    /// The required purpose it was looked at for; `None` for the question's own.
    pub purpose: Option<&'a str>,
}

/// Terms that apply to a question, for an explanation. Where there are several, all must allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppliedTerms<'a> {
    /// The regions they are for; empty for the purpose's own, which hold wherever no region says otherwise.
    pub regions: &'a [Box<str>],
    /// The law they come from, as the catalogue names it.
    pub source: &'a str,
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
    let mut facts = Facts::of(question, subject, catalogue, freshness, now);
    facts.find_records();
    facts.decide()
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
    let mut facts = Facts::of(question, subject, catalogue, freshness, now);
    facts.find_records();
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
    /// Whether it judges the grant.
    of_grant: bool,
}

const fn rule(
    name: &'static str,
    description: &'static str,
    check: for<'f, 'a> fn(&'f Facts<'a>) -> Option<Finding<'a>>,
) -> Rule {
    Rule { name, description, check, of_grant: false }
}

const fn rule_of_grant(
    name: &'static str,
    description: &'static str,
    check: for<'f, 'a> fn(&'f Facts<'a>) -> Option<Finding<'a>>,
) -> Rule {
    Rule { name, description, check, of_grant: true }
}

/// The rules in order; the first that applies decides.
const RULES: &[Rule] = &[
    rule("ledger", "the ledger can be trusted and was read to its end", ledger),
    rule("catalogue", "a catalogue is published and names the purpose", catalogue),
    rule("channel", "the catalogue names the channel and the purpose uses it", channel),
    rule("jurisdiction", "the purpose is not forbidden where the subject is or was", jurisdiction),
    rule("freshness", "the view is as fresh as purpose and question demand", freshness),
    rule("store", "the local store can be read", store),
    rule("unreadable", "every event about the subject could be read", unreadable),
    rule("erasure", "the subject was not erased, or has agreed anew since", erasure),
    rule("restriction", "the processing of the subject's data is not restricted", restriction),
    rule("signals", "no signal carried by the question denies", signals),
    rule("refusal", "no refusal, for this purpose or one above it, is as late as the grant", refusal),
    rule("subject", "the ledger holds an agreement with the subject, or a request to it", subject),
    rule("age", "the subject is old enough, or its guardian may agree", age),
    rule_of_grant("consent", "a consent for this purpose, channel and recipient is on record", consent),
    rule_of_grant("legal_basis", "the record rests on the ground that the purpose demands", legal_basis),
    rule_of_grant("effective", "the consent is not dated in the future", effective),
    rule_of_grant("expiry", "the consent has not expired", expiry),
    rule_of_grant("max_age", "the consent is not older than the catalogue lets one be", max_age),
    rule_of_grant(
        "collection",
        "the consent was freely and actively given, and is proved as the purpose demands",
        collection,
    ),
    rule_of_grant("guardian", "whoever agreed was old enough to, or is a guardian", guardian),
    rule_of_grant("notice", "the subject was shown a notice that is still current", notice),
    rule("requires", "every purpose that this one requires is allowed too", requires),
    rule("quiet_hours", "the hour is not one at which the subject is left alone", quiet_hours),
    rule("allow", "nothing denies: the purpose's legal basis allows", allow),
];

/// What a rule found.
struct Finding<'a> {
    reason: Reason,
    record: Option<Kept<'a>>,
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

    const fn from_record(reason: Reason, record: Option<Kept<'a>>) -> Self {
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

impl<'a> Facts<'a> {
    fn decide(&self) -> Decision<'a> {
        let decided = RULES.iter().find_map(|rule| (rule.check)(self).map(|finding| (rule.name, finding)));
        // INVARIANT: the last rule applies whenever the purpose is known, and `catalogue` when it is not. Were that
        // broken, the answer is still a denial.
        let (rule, finding) = decided.unwrap_or(("catalogue", Finding::of(Reason::UnknownPurpose)));
        Decision {
            reason: finding.reason,
            rule,
            legal_basis: self.terms.map(|terms| terms.legal_basis),
            record: finding.record,
            valid_until: finding.valid_until,
            failed_purpose: finding.failed_purpose,
            failed_reason: finding.failed_reason,
            notice: finding.notice,
            not_before: finding.not_before,
            detail: finding.detail,
        }
    }

    fn list_outcomes(&self, purpose: Option<&'a str>, into: &mut Vec<RuleOutcome<'a>>) {
        for rule in RULES {
            let finding = (rule.check)(self);
            if rule.name == "requires" {
                each_required(self, |required| {
                    required.list_outcomes(Some(required.question.purpose), into);
                    match required.decide().verdict() {
                        Verdict::Allow => ControlFlow::Continue(()),
                        Verdict::Deny => ControlFlow::Break(()),
                    }
                });
            }
            let looked_at = if rule.of_grant { self.needed_grant() } else { None };
            into.push(RuleOutcome {
                rule: rule.name,
                description: rule.description,
                decided: finding.is_some(),
                reason: finding.as_ref().map(|finding| finding.reason),
                record: finding.as_ref().map_or(looked_at, |finding| finding.record),
                terms: if rule.name == "jurisdiction" { self.applied_terms() } else { Vec::new() },
                purpose,
            });
            if finding.is_some() {
                return;
            }
        }
    }

    /// The terms that apply, where they differ by region.
    fn applied_terms(&self) -> Vec<AppliedTerms<'a>> {
        let (Some(entry), Some(terms)) = (self.entry, self.terms) else { return Vec::new() };
        if entry.terms_everywhere().is_some() {
            return Vec::new();
        }
        let sources = terms.sources(&entry.purpose);
        sources
            .map(|rule| AppliedTerms {
                regions: rule.map_or(&[], |rule| &rule.regions),
                source: rule.map_or("", |rule| &rule.source),
            })
            .collect()
    }
}
