//! Everything the rules look at, found once.

use std::time::Duration;

use super::{Decision, Finding, RULES, RuleOutcome, SubjectView};
use crate::domain::catalogue::{ANY, Catalogue, GppRule, Purpose, TcfRule, is_self_or_ancestor};
use crate::domain::event::Defects;
use crate::domain::question::{Freshness, Question};
use crate::domain::state::{Record, Slot, SubjectState};
use crate::domain::text::same;
use crate::domain::time::Time;
use crate::domain::words::{LegalBasis, Reason, Status, Verdict};

/// Everything the rules look at, found once.
pub(super) struct Facts<'a> {
    pub(super) question: Question<'a>,
    pub(super) subject: SubjectView<'a>,
    pub(super) catalogue: Option<&'a Catalogue>,
    pub(super) purpose: Option<&'a Purpose>,
    /// Every purpose that must be allowed as well, each once. None where these facts are themselves about a required
    /// purpose: whoever asked goes through them all.
    pub(super) required: &'a [Box<str>],
    pub(super) freshness: Freshness,
    pub(super) now: Time,
    /// The latest agreement that covers the question.
    pub(super) grant: Option<(&'a Slot, &'a Record)>,
    /// The latest refusal that touches the question.
    pub(super) refusal: Option<(&'a Slot, &'a Record)>,
}

impl<'a> Facts<'a> {
    pub(super) fn gather(
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

    pub(super) const fn state(&self) -> Option<&'a SubjectState> {
        match self.subject {
            SubjectView::State(state) => Some(state),
            SubjectView::Unavailable => None,
        }
    }

    pub(super) fn grant_record(&self) -> Option<&'a Record> {
        self.grant.map(|(_, record)| record)
    }

    /// Whether a grant in a slot that touches the question covers it. Consent is specific: each recipient by name, and
    /// a consent further up only where the catalogue says so at every step down from it.
    pub(super) fn covers(&self, slot: &Slot) -> bool {
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
    pub(super) fn lifting_grant(&self) -> Option<&'a Record> {
        let record = self.grant_record()?;
        let in_force = record.status != Status::Expired
            && record.event_time <= self.now
            && self.now < self.end_of(record)
            && record.collection.defects == Defects::NONE;
        (self.needs_consent() || in_force).then_some(record)
    }

    /// When a grant ends: by itself, or because the catalogue lets none be older.
    pub(super) fn end_of(&self, record: &Record) -> Time {
        let by_age = self.purpose.and_then(|purpose| purpose.terms.max_age).map(|span| record.event_time.plus(span));
        record.expires_at.unwrap_or(Time::MAX).min(by_age.unwrap_or(Time::MAX))
    }

    /// The grant that an ALLOW rests on: the purpose needs a consent, or there is something that only the grant lifts.
    pub(super) fn relied_on(&self) -> Option<(&'a Slot, &'a Record)> {
        let lifts = self.refusal.is_some()
            || self.state().is_some_and(|state| state.erased_at().is_some() || !state.unreadable().is_empty());
        if self.needs_consent() || lifts { self.grant } else { None }
    }

    /// Whether the purpose needs a consent at all.
    pub(super) fn needs_consent(&self) -> bool {
        self.purpose.is_some_and(|purpose| purpose.terms.legal_basis.needs_consent())
    }

    /// Whether `Sec-GPC: 1` denies.
    pub(super) fn honours_gpc(&self) -> bool {
        self.purpose.is_some_and(|purpose| purpose.terms.honours_gpc)
    }

    /// What a TCF string must permit, each with the ground that its purposes are pursued on: all must hold.
    pub(super) fn tcf_rules(&self) -> impl Iterator<Item = (LegalBasis, &'a TcfRule)> + use<'a> {
        self.purpose.into_iter().filter_map(|purpose| Some((purpose.terms.legal_basis, purpose.terms.tcf.as_ref()?)))
    }

    /// What a GPP string may opt out of.
    pub(super) fn gpp_rule(&self) -> Option<&'a GppRule> {
        self.purpose?.terms.gpp.as_ref()
    }

    /// The number in the Global Vendor List of the question's recipient, where the catalogue has one.
    pub(super) fn tcf_vendor(&self) -> Option<u16> {
        let recipients = self.catalogue?.recipients();
        recipients.iter().find(|recipient| same(&recipient.key, self.question.recipient))?.tcf_vendor
    }

    /// How old the view may be: what the purpose says, or less if the question does.
    pub(super) fn staleness_bound(&self) -> Duration {
        let by_purpose = self.purpose.map_or(Duration::ZERO, |purpose| purpose.terms.max_staleness);
        self.question.max_staleness.map_or(by_purpose, |asked| asked.min(by_purpose))
    }

    /// The same facts for a purpose that this one requires.
    pub(super) fn of_required(&self, key: &'a str) -> Self {
        let question = Question { purpose: key, ..self.question };
        let facts = Self::gather(&question, self.subject, self.catalogue, &self.freshness, self.now);
        Self { required: &[], ..facts }
    }

    pub(super) fn decide(&self) -> Decision<'a> {
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
            detail: finding.detail,
        }
    }

    pub(super) fn list_outcomes(&self, purpose: Option<&'a str>, into: &mut Vec<RuleOutcome<'a>>) {
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
pub(super) fn touches(slot: &Slot, question: &Question<'_>) -> bool {
    is_self_or_ancestor(&slot.purpose, question.purpose)
        && (same(&slot.channel, question.channel) || same(&slot.channel, ANY))
        && (same(&slot.recipient, question.recipient) || same(&slot.recipient, ANY))
}

/// Which of two grants that cover the question decides: by precedence, then the more specific purpose.
fn supersedes_grant(new: (&Slot, &Record), have: (&Slot, &Record)) -> bool {
    let rank = |(slot, record): (&Slot, &Record)| (record.precedence(), slot.purpose.len());
    rank(new) > rank(have)
}
