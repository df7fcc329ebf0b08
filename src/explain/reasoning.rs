//! A decision with all that led to it, on its own feet.

use crate::domain::{
    self, Catalogue, Decision, Freshness, LegalBasis, Position, Question, Reason, Record, SignalDetail, Slot,
    SubjectView, Text, Time, Verdict,
};

/// A decision, the rules that led to it, and the record it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reasoning {
    /// Why, which tells the verdict.
    pub reason: Reason,
    /// The ground the purpose rests on, where the purpose is known.
    pub legal_basis: Option<LegalBasis>,
    /// Until when an ALLOW may be relied on.
    pub valid_until: Option<Time>,
    /// The required purpose that failed.
    pub failed_purpose: Option<Box<str>>,
    /// Why that one failed.
    pub failed_reason: Option<Reason>,
    /// The notice to show: id and version.
    pub notice: Option<(Box<str>, u32)>,
    /// From when on the hour permits it.
    pub not_before: Option<Time>,
    /// All rules in order, those that were not reached included.
    pub rules: Vec<RuleOutcome>,
    /// The record that decided.
    pub record: Option<DecidingRecord>,
}

/// How one rule came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleOutcome {
    /// The rule's name.
    pub rule: &'static str,
    /// What it looks at.
    pub description: &'static str,
    /// The required purpose it was looked at for; empty for the question's own.
    pub purpose: Box<str>,
    /// How it came out.
    pub result: RuleResult,
    /// What was found, in a sentence, where it decided.
    pub finding: String,
    /// The terms that apply, where they differ by region.
    pub terms: Vec<AppliedTerms>,
    /// What in a signal denies.
    pub detail: Option<SignalDetail>,
}

/// Terms that apply, all of which must allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedTerms {
    /// The regions they are for; empty for the purpose's own.
    pub regions: Vec<Box<str>>,
    /// The law they come from, as the catalogue names it.
    pub source: Box<str>,
}

/// How a rule came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleResult {
    /// Nothing was found that denies.
    Passed,
    /// It decided to deny.
    Denied,
    /// It decided to allow.
    Allowed,
    /// One before it had decided.
    NotReached,
}

/// The record that decided, with where it applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecidingRecord {
    /// The record's purpose.
    pub purpose: Text,
    /// The record's channel.
    pub channel: Text,
    /// The record's recipient.
    pub recipient: Text,
    /// The record.
    pub record: Record,
    /// Who wrote it into the ledger, where that was looked up.
    pub source: Option<String>,
}

impl Reasoning {
    /// Decides a question, and lists how.
    #[must_use]
    pub fn of(
        question: &Question<'_>,
        subject: SubjectView<'_>,
        catalogue: Option<&Catalogue>,
        freshness: &Freshness,
        now: Time,
    ) -> Self {
        let (decision, outcomes) = domain::explain(question, subject, catalogue, freshness, now);
        Self::new(&decision, &outcomes)
    }

    /// A decision with the rules that were looked at for it.
    #[must_use]
    pub fn new(decision: &Decision<'_>, outcomes: &[domain::RuleOutcome<'_>]) -> Self {
        let mut rules: Vec<RuleOutcome> = outcomes.iter().map(|outcome| told(outcome, decision)).collect();
        let decided = outcomes.last().map_or("", |outcome| outcome.rule);
        let behind = domain::rules().skip_while(|(rule, _)| *rule != decided).skip(1);
        rules.extend(behind.map(|(rule, description)| RuleOutcome {
            rule,
            description,
            purpose: "".into(),
            result: RuleResult::NotReached,
            finding: String::new(),
            terms: Vec::new(),
            detail: None,
        }));
        Self {
            reason: decision.reason,
            legal_basis: decision.legal_basis,
            valid_until: decision.valid_until,
            failed_purpose: decision.failed_purpose.map(Box::from),
            failed_reason: decision.failed_reason,
            notice: decision.notice.map(|(id, version)| (id.into(), version)),
            not_before: decision.not_before,
            rules,
            record: decision.record.map(DecidingRecord::from),
        }
    }

    /// The verdict.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.reason.verdict()
    }

    /// Where the event of the deciding record lies.
    #[must_use]
    pub fn record_position(&self) -> Option<Position> {
        self.record.as_ref().map(|record| record.record.position)
    }
}

fn told(outcome: &domain::RuleOutcome<'_>, decision: &Decision<'_>) -> RuleOutcome {
    let purpose = outcome.purpose.unwrap_or_default();
    // Of the rules of a required purpose it is only told that one decided: which way is what `requires` reports.
    let of_required = outcome.purpose.is_some();
    let reason = match (of_required, decision.failed_purpose) {
        (false, _) => Some(decision.reason),
        (true, Some(failed)) if failed == purpose => decision.failed_reason,
        (true, _) => None,
    };
    let result = match (outcome.decided, reason.map(Reason::verdict)) {
        (false, _) => RuleResult::Passed,
        (true, Some(Verdict::Deny)) => RuleResult::Denied,
        // A required purpose that did not fail was allowed.
        (true, Some(Verdict::Allow) | None) => RuleResult::Allowed,
    };
    let finding = match (outcome.decided, reason) {
        (false, _) => String::new(),
        (true, Some(Reason::RequiredPurposeDenied)) => required_finding(decision),
        (true, Some(reason)) => reason.sentence().to_owned(),
        (true, None) => "the required purpose is allowed".to_owned(),
    };
    let terms =
        outcome.terms.iter().map(|terms| AppliedTerms { regions: terms.regions.to_vec(), source: terms.source.into() });
    // A required purpose passes on what it found: it belongs to the rule that found it.
    let is_its_own = of_required || decision.reason != Reason::RequiredPurposeDenied;
    RuleOutcome {
        rule: outcome.rule,
        description: outcome.description,
        purpose: purpose.into(),
        result,
        finding,
        terms: terms.collect(),
        detail: decision.detail.filter(|_| result == RuleResult::Denied && is_its_own),
    }
}

fn required_finding(decision: &Decision<'_>) -> String {
    let why = decision.failed_reason.map_or("it is denied", Reason::sentence);
    format!("`{}` is required, and denied: {why}", decision.failed_purpose.unwrap_or_default())
}

impl From<(&Slot, &Record)> for DecidingRecord {
    fn from((slot, record): (&Slot, &Record)) -> Self {
        Self {
            purpose: slot.purpose.clone(),
            channel: slot.channel.clone(),
            recipient: slot.recipient.clone(),
            record: record.clone(),
            source: None,
        }
    }
}
