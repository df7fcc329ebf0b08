//! The decision: a pure, total function, one ordered list of rules of which the first that applies decides.
//!
//! No I/O, no clock, no `Result`, no panic. `decide` and `explain` walk the same list, so that an explanation cannot
//! differ from the answer.

use std::time::Duration;

use super::catalogue::{ANY, Catalogue, Purpose, is_self_or_ancestor};
use super::event::{Defects, Notice};
use super::question::{Freshness, LedgerStanding, Question, TokenStanding};
use super::state::{Record, Slot, SubjectState};
use super::text::same;
use super::time::Time;
use super::words::{LegalBasis, Reason, Status, Verdict};

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
        }
    }
}

/// Everything the rules look at, found once.
struct Facts<'a> {
    question: Question<'a>,
    subject: SubjectView<'a>,
    catalogue: Option<&'a Catalogue>,
    purpose: Option<&'a Purpose>,
    /// Every purpose that must be allowed as well, each once. None where these facts are themselves about a required
    /// purpose: whoever asked goes through them all.
    required: &'a [Box<str>],
    freshness: Freshness,
    now: Time,
    /// The latest agreement that covers the question.
    grant: Option<(&'a Slot, &'a Record)>,
    /// The latest refusal that touches the question.
    refusal: Option<(&'a Slot, &'a Record)>,
}

impl<'a> Facts<'a> {
    fn gather(
        question: &Question<'a>,
        subject: SubjectView<'a>,
        catalogue: Option<&'a Catalogue>,
        freshness: &Freshness,
        now: Time,
    ) -> Self {
        let entry = catalogue.and_then(|catalogue| catalogue.entry(question.purpose));
        let mut facts = Self {
            question: *question,
            subject,
            catalogue,
            purpose: entry.map(|entry| &entry.purpose),
            required: entry.map_or(&[], |entry| &entry.required),
            freshness: *freshness,
            now,
            grant: None,
            refusal: None,
        };
        if facts.purpose.is_none() {
            return facts;
        }
        for slot in facts.state().into_iter().flat_map(SubjectState::slots) {
            if !touches(slot, question) {
                continue;
            }
            if let Some(record) = slot.refusal.as_deref() {
                let later = facts.refusal.is_none_or(|(_, have)| record.event_time > have.event_time);
                if later {
                    facts.refusal = Some((slot, record));
                }
            }
            if let Some(record) = slot.grant.as_deref()
                && facts.covers(slot)
                && facts.grant.is_none_or(|have| supersedes_grant((slot, record), have))
            {
                facts.grant = Some((slot, record));
            }
        }
        facts
    }

    const fn state(&self) -> Option<&'a SubjectState> {
        match self.subject {
            SubjectView::State(state) => Some(state),
            SubjectView::Unavailable => None,
        }
    }

    fn grant_record(&self) -> Option<&'a Record> {
        self.grant.map(|(_, record)| record)
    }

    /// Whether a grant in a slot that touches the question covers it. Consent is specific: each recipient by name, and
    /// a consent further up only where the catalogue says so at every step down from it.
    fn covers(&self, slot: &Slot) -> bool {
        let mut key = self.question.purpose;
        // INVARIANT: the slot touches the question, so that its purpose is this key or one above it, and its recipient
        // is the question's or stands for all.
        while key.len() != slot.purpose.len() {
            let covered = self
                .catalogue
                .and_then(|catalogue| catalogue.purpose(key))
                .is_some_and(|step| step.terms.covered_by_parent);
            match key.rsplit_once('.') {
                Some((parent, _)) if covered => key = parent,
                _ => return false,
            }
        }
        !same(&slot.recipient, ANY)
    }

    /// The grant, where it may lift an earlier refusal, an erasure or what could not be read. Where the purpose needs a
    /// consent, later rules judge the grant. Elsewhere none would, and a grant that is dated in the future, over or
    /// void must not open what an objection closed.
    fn lifting_grant(&self) -> Option<&'a Record> {
        let record = self.grant_record()?;
        let in_force = record.status != Status::Expired
            && record.event_time <= self.now
            && self.now < self.end_of(record)
            && record.collection.defects == Defects::NONE;
        (self.needs_consent() || in_force).then_some(record)
    }

    /// When a grant ends: by itself, or because the catalogue lets none be older.
    fn end_of(&self, record: &Record) -> Time {
        let by_age = self.purpose.and_then(|purpose| purpose.terms.max_age).map(|span| record.event_time.plus(span));
        record.expires_at.unwrap_or(Time::MAX).min(by_age.unwrap_or(Time::MAX))
    }

    /// The grant that an ALLOW rests on: the purpose needs a consent, or there is something that only the grant lifts.
    fn relied_on(&self) -> Option<(&'a Slot, &'a Record)> {
        let lifts = self.refusal.is_some()
            || self.state().is_some_and(|state| state.erased_at().is_some() || !state.unreadable().is_empty());
        if self.needs_consent() || lifts { self.grant } else { None }
    }

    /// Whether the purpose needs a consent at all.
    fn needs_consent(&self) -> bool {
        self.purpose.is_some_and(|purpose| purpose.terms.legal_basis.needs_consent())
    }

    /// How old the view may be: what the purpose says, or less if the question does.
    fn staleness_bound(&self) -> Duration {
        let by_purpose = self.purpose.map_or(Duration::ZERO, |purpose| purpose.terms.max_staleness);
        self.question.max_staleness.map_or(by_purpose, |asked| asked.min(by_purpose))
    }

    /// The same facts for a purpose that this one requires.
    fn of_required(&self, key: &'a str) -> Self {
        let question = Question { purpose: key, ..self.question };
        let facts = Self::gather(&question, self.subject, self.catalogue, &self.freshness, self.now);
        Self { required: &[], ..facts }
    }

    fn decide(&self) -> Decision<'a> {
        let decided = RULES.iter().find_map(|rule| (rule.check)(self).map(|finding| (rule.name, finding)));
        // INVARIANT: the last rule applies whenever the purpose is known, and `catalogue` when it is not. Were that
        // broken, the answer is still a denial.
        let (rule, finding) = decided.unwrap_or(("catalogue", Finding::of(Reason::UnknownPurpose)));
        Decision {
            reason: finding.reason,
            rule,
            legal_basis: self.purpose.map(|purpose| purpose.terms.legal_basis),
            record: finding.record,
            valid_until: finding.valid_until,
            failed_purpose: finding.failed_purpose,
            failed_reason: finding.failed_reason,
            notice: finding.notice,
            not_before: finding.not_before,
        }
    }

    fn list_outcomes(&self, purpose: Option<&'a str>, into: &mut Vec<RuleOutcome<'a>>) {
        for rule in RULES {
            let finding = (rule.check)(self);
            if rule.name == "requires" {
                for key in self.required {
                    let required = self.of_required(key);
                    required.list_outcomes(Some(key), into);
                    if required.decide().verdict() == Verdict::Deny {
                        break;
                    }
                }
            }
            let decided = finding.is_some();
            into.push(RuleOutcome { rule: rule.name, description: rule.description, decided, purpose });
            if decided {
                return;
            }
        }
    }
}

/// Whether a slot speaks about the question: this purpose or one above it, this channel or all, this recipient or all.
fn touches(slot: &Slot, question: &Question<'_>) -> bool {
    is_self_or_ancestor(&slot.purpose, question.purpose)
        && (same(&slot.channel, question.channel) || same(&slot.channel, ANY))
        && (same(&slot.recipient, question.recipient) || same(&slot.recipient, ANY))
}

/// Which of two grants that cover the question decides: by precedence, then the more specific purpose.
fn supersedes_grant(new: (&Slot, &Record), have: (&Slot, &Record)) -> bool {
    let rank = |(slot, record): (&Slot, &Record)| (record.precedence(), slot.purpose.len());
    rank(new) > rank(have)
}

fn ledger<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    match facts.freshness.ledger {
        LedgerStanding::Following => None,
        LedgerStanding::Building => Some(Finding::of(Reason::ReplicaBuilding)),
        LedgerStanding::Broken => Some(Finding::of(Reason::LedgerBroken)),
    }
}

fn catalogue<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    match (facts.catalogue, facts.purpose) {
        (None, _) => Some(Finding::of(Reason::NoCatalogue)),
        (Some(_), None) => Some(Finding::of(Reason::UnknownPurpose)),
        (Some(_), Some(_)) => None,
    }
}

fn channel<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    let (catalogue, purpose) = (facts.catalogue?, facts.purpose?);
    if purpose.terms.channels.iter().any(|channel| same(channel, facts.question.channel)) {
        None
    } else if catalogue.knows_channel(facts.question.channel) {
        Some(Finding::of(Reason::ChannelNotUsed))
    } else {
        Some(Finding::of(Reason::UnknownChannel))
    }
}

fn freshness<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    match facts.freshness.token {
        TokenStanding::Foreign => Some(Finding::of(Reason::ForeignToken)),
        TokenStanding::NotReached => Some(Finding::of(Reason::Stale)),
        TokenStanding::Reached => {
            (facts.freshness.staleness > facts.staleness_bound()).then(|| Finding::of(Reason::Stale))
        }
    }
}

fn store<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    facts.state().is_none().then(|| Finding::of(Reason::StoreUnavailable))
}

/// What could not be read may have been a refusal: like one, only a later grant for the same question lifts it. Of an
/// event without a readable time nothing can be later; it must be replaced.
fn unreadable<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    let granted_at = facts.lifting_grant().map(|record| record.event_time);
    let blocking = facts.state()?.unreadable().iter().any(|mark| match (mark.event_time, granted_at) {
        (Some(unread), Some(granted)) => granted <= unread,
        (None, _) | (_, None) => true,
    });
    blocking.then(|| Finding::of(Reason::UnreadableRecord))
}

/// An erasure denies everything until the subject agrees to this very thing anew: what was dropped may have been a
/// refusal.
fn erasure<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    (facts.state()?.erased_at().is_some() && facts.lifting_grant().is_none()).then(|| Finding::of(Reason::Erased))
}

fn signals<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    let signals = facts.question.signals;
    if !signals.tcf.is_empty() || !signals.gpp.is_empty() {
        return Some(Finding::of(Reason::SignalUnreadable));
    }
    // Source: Global Privacy Control, section 3.2: the value is exactly `1`, anything else is no signal.
    let denies = signals.sec_gpc == "1" && facts.purpose?.terms.honours_gpc;
    denies.then(|| Finding::of(Reason::SignalGpc))
}

/// P3: a withdrawal wins, also one dated in the future, and also at the grant's own time.
fn refusal<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    let (_, refused) = facts.refusal?;
    if facts.lifting_grant().is_some_and(|granted| granted.event_time > refused.event_time) {
        return None;
    }
    let reason = if refused.legal_basis == LegalBasis::LegitimateInterest {
        Reason::Objected
    } else {
        match refused.status {
            Status::Withdrawn => Reason::Withdrawn,
            Status::Revoked => Reason::Revoked,
            Status::Invalidated => Reason::Invalidated,
            Status::Refused | Status::Requested | Status::Given | Status::Renewed | Status::Expired => Reason::Refused,
        }
    };
    Some(Finding::from_record(reason, facts.refusal))
}

fn subject<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    // A refusal alone does not make a subject known: it must never turn a denial into an ALLOW on another basis.
    let known = facts.state()?.slots().iter().any(|slot| slot.grant.is_some() || slot.request.is_some());
    (!known).then(|| Finding::of(Reason::UnknownSubject))
}

fn consent<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    if !facts.needs_consent() || facts.grant.is_some() {
        return None;
    }
    let asked = facts.state()?.slots().iter().filter(|slot| touches(slot, &facts.question));
    let request = asked.filter_map(|slot| slot.request.as_deref().map(|record| (slot, record)));
    Some(Finding::from_record(Reason::NoConsent, request.max_by_key(|(_, record)| record.event_time)))
}

fn legal_basis<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    let demanded = facts.purpose?.terms.legal_basis;
    let record = facts.grant_record()?;
    match (demanded, record.legal_basis) {
        (LegalBasis::Consent, LegalBasis::Consent | LegalBasis::ExplicitConsent)
        | (LegalBasis::ExplicitConsent, LegalBasis::ExplicitConsent) => None,
        (LegalBasis::ExplicitConsent, LegalBasis::Consent) => {
            Some(Finding::from_record(Reason::NotExplicit, facts.grant))
        }
        (LegalBasis::Consent | LegalBasis::ExplicitConsent, _) => {
            Some(Finding::from_record(Reason::LegalBasisMismatch, facts.grant))
        }
        _ => None,
    }
}

/// The grant, if the purpose needs one.
fn needed_grant<'a>(facts: &Facts<'a>) -> Option<&'a Record> {
    if facts.needs_consent() { facts.grant_record() } else { None }
}

/// An end dated in the future is no consent that is yet to begin: `expiry` names it.
fn effective<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    let record = needed_grant(facts)?;
    let ahead = record.event_time > facts.now && record.status != Status::Expired;
    ahead.then(|| Finding::from_record(Reason::NotYetEffective, facts.grant))
}

fn expiry<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    let record = needed_grant(facts)?;
    let expired = record.status == Status::Expired || record.expires_at.is_some_and(|at| facts.now >= at);
    expired.then(|| Finding::from_record(Reason::Expired, facts.grant))
}

fn max_age<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    let record = needed_grant(facts)?;
    let end = record.event_time.plus(facts.purpose?.terms.max_age?);
    (facts.now >= end).then(|| Finding::from_record(Reason::TooOld, facts.grant))
}

fn collection<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    let defects = needed_grant(facts)?.collection.defects;
    let voids = [
        (Defects::PRE_TICKED, Reason::PreTicked),
        (Defects::PASSIVE, Reason::Passive),
        (Defects::BUNDLED, Reason::Bundled),
        (Defects::DARK_PATTERN, Reason::DarkPattern),
    ];
    let (_, reason) = voids.into_iter().find(|(defect, _)| defects.has(*defect))?;
    Some(Finding::from_record(reason, facts.grant))
}

fn notice<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    let record = needed_grant(facts)?;
    let rule = facts.purpose?.terms.notice.as_ref()?;
    let reason = match &record.notice {
        Some(Notice { id, version, .. }) if same(id, &rule.id) && *version >= rule.material_since => return None,
        Some(Notice { id, .. }) if same(id, &rule.id) => Reason::NoticeOutdated,
        Some(_) | None => Reason::NoticeMissing,
    };
    Some(Finding { notice: Some((&rule.id, rule.material_since)), ..Finding::from_record(reason, facts.grant) })
}

fn requires<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    facts.required.iter().find_map(|key| {
        let required = facts.of_required(key).decide();
        (required.verdict() == Verdict::Deny).then(|| Finding {
            failed_purpose: Some(key),
            failed_reason: Some(required.reason),
            notice: required.notice,
            not_before: required.not_before,
            ..Finding::from_record(Reason::RequiredPurposeDenied, required.record)
        })
    })
}

fn allow<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    let purpose = facts.purpose?;
    let reason = match purpose.terms.legal_basis {
        LegalBasis::Consent => Reason::Consent,
        LegalBasis::ExplicitConsent => Reason::ExplicitConsent,
        LegalBasis::LegitimateInterest => Reason::LegitimateInterest,
        LegalBasis::Contract => Reason::Contract,
        LegalBasis::LegalObligation => Reason::LegalObligation,
        LegalBasis::VitalInterest => Reason::VitalInterest,
        LegalBasis::PublicTask => Reason::PublicTask,
    };
    // Who relies on the answer until then never acts on a view older than the bound.
    let by_view = facts.now.plus(facts.staleness_bound().saturating_sub(facts.freshness.staleness));
    let by_grant = facts.relied_on().map(|(_, record)| facts.end_of(record));
    let by_required = facts.required.iter().filter_map(|key| facts.of_required(key).decide().valid_until).min();
    let valid_until = [by_grant, by_required].into_iter().flatten().fold(by_view, Time::min);
    Some(Finding { valid_until: Some(valid_until), ..Finding::from_record(reason, facts.relied_on()) })
}
