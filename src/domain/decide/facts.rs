//! Everything the rules look at, found once.

use std::cell::Cell;
use std::time::Duration;

use super::SubjectView;
use super::validity::{is_in_force, judge};
use crate::domain::catalogue::{ANY, Applied, Catalogue, Coverage, Entry, GppRule, TcfRule, is_self_or_ancestor};
use crate::domain::question::{Freshness, Question};
use crate::domain::state::{Record, Slot, SubjectState};
use crate::domain::text::same;
use crate::domain::time::Time;
use crate::domain::words::LegalBasis;

/// A record with the slot that it is kept in.
pub(super) type Kept<'a> = (&'a Slot, &'a Record);

/// Everything the rules look at.
pub(super) struct Facts<'a> {
    pub(super) question: Question<'a>,
    pub(super) subject: SubjectView<'a>,
    pub(super) catalogue: Option<&'a Catalogue>,
    pub(super) entry: Option<&'a Entry>,
    /// The terms that apply to the question: one region's, or what several have in common.
    pub(super) terms: Option<&'a Applied>,
    pub(super) freshness: Freshness,
    pub(super) now: Time,
    /// The latest agreement that covers the question.
    pub(super) grant: Option<Kept<'a>>,
    /// When a later agreement ends that covers the question in some of its regions only.
    pub(super) covered_in_part_until: Time,
    /// The latest refusal that touches the question.
    pub(super) refusal: Option<Kept<'a>>,
    /// Whether these facts are about a purpose that another requires: whoever asked goes through what follows from it.
    pub(super) is_required: bool,
    /// Until when all required purposes allow, once the rule `requires` has found that they do.
    pub(super) required_until: Cell<Time>,
    /// When the next quiet hours begin, once the rule `quiet_hours` has found that none are running.
    pub(super) open_until: Cell<Time>,
}

impl<'a> Facts<'a> {
    /// The facts of a question, before its records are found. Nothing is moved once they are: that would cost more than
    /// most rules.
    #[inline]
    pub(super) fn of(
        question: &Question<'a>,
        subject: SubjectView<'a>,
        catalogue: Option<&'a Catalogue>,
        freshness: &Freshness,
        now: Time,
    ) -> Self {
        Self {
            question: *question,
            subject,
            catalogue,
            entry: catalogue.and_then(|catalogue| catalogue.entry(question.purpose)),
            terms: None,
            freshness: *freshness,
            now,
            grant: None,
            covered_in_part_until: Time::MAX,
            refusal: None,
            is_required: false,
            required_until: Cell::new(Time::MAX),
            open_until: Cell::new(Time::MAX),
        }
    }

    /// The same for a purpose that this one requires.
    #[inline]
    pub(super) fn of_required(&self, entry: &'a Entry) -> Self {
        Self {
            question: Question { purpose: &entry.purpose.key, ..self.question },
            entry: Some(entry),
            terms: None,
            grant: None,
            covered_in_part_until: Time::MAX,
            refusal: None,
            is_required: true,
            required_until: Cell::new(Time::MAX),
            open_until: Cell::new(Time::MAX),
            ..*self
        }
    }

    /// Finds the terms, the grant and the refusal.
    pub(super) fn find_records(&mut self) {
        let Some(entry) = self.entry else { return };
        let mut is_covered_from_above = false;
        for slot in self.touching() {
            if let Some(record) = slot.refusal.as_deref() {
                let later = self.refusal.is_none_or(|(_, have)| record.event_time > have.event_time);
                if later {
                    self.refusal = Some((slot, record));
                }
            }
            if let Some(record) = slot.grant.as_deref() {
                // Consent is specific: each recipient by name.
                if same(&slot.recipient, ANY) {
                    continue;
                }
                if slot.purpose.len() == self.question.purpose.len() {
                    self.consider_grant((slot, record));
                } else {
                    is_covered_from_above = true;
                }
            }
        }
        self.terms = Some(self.terms_of(entry));
        if is_covered_from_above {
            self.find_grants_above();
        }
    }

    fn consider_grant(&mut self, grant: Kept<'a>) {
        if self.grant.is_none_or(|have| supersedes_grant(grant, have)) {
            self.grant = Some(grant);
        }
    }

    /// Grants for purposes above. Those that cover the question in some regions only are no grants; but where one is
    /// later than the grant and void, the regions that it covers deny, and so must all.
    fn find_grants_above(&mut self) {
        let mut somewhere = false;
        for (slot, record) in self.grants_above() {
            match self.coverage_from(slot) {
                Coverage::Yes => self.consider_grant((slot, record)),
                Coverage::Somewhere => somewhere = true,
                Coverage::No => {}
            }
        }
        let Some(grant) = self.grant.filter(|_| somewhere) else { return };
        for (slot, record) in self.grants_above() {
            if !supersedes_grant((slot, record), grant) || self.coverage_from(slot) != Coverage::Somewhere {
                continue;
            }
            let is_valid =
                if self.needs_consent() { judge(self, (slot, record)).is_none() } else { is_in_force(self, record) };
            if is_valid {
                self.covered_in_part_until = self.covered_in_part_until.min(self.end_of(record));
            } else {
                self.consider_grant((slot, record));
            }
        }
    }

    /// The grants that touch the question at a purpose above it.
    fn grants_above(&self) -> impl Iterator<Item = Kept<'a>> + use<'a> {
        let below = self.question.purpose.len();
        self.touching()
            .filter(move |slot| slot.purpose.len() < below && !same(&slot.recipient, ANY))
            .filter_map(|slot| Some((slot, slot.grant.as_deref()?)))
    }

    /// Whether a grant in a slot above covers the question: only where the catalogue says so at every step down from it.
    fn coverage_from(&self, slot: &Slot) -> Coverage {
        let mut key = self.question.purpose;
        let mut coverage = Coverage::Yes;
        // INVARIANT: the slot touches the question, so that its purpose is this key or one above it.
        while key.len() != slot.purpose.len() {
            let step = self.catalogue.and_then(|catalogue| catalogue.entry(key));
            match step.map_or(Coverage::No, |step| self.terms_of(step).covered_by_parent) {
                Coverage::No => return Coverage::No,
                Coverage::Somewhere => coverage = Coverage::Somewhere,
                Coverage::Yes => {}
            }
            let Some((parent, _)) = key.rsplit_once('.') else { return Coverage::No };
            key = parent;
        }
        coverage
    }

    /// The terms of a purpose that apply to the question: where it says that the subject is, and where the records say
    /// that it was when it was asked and when it agreed.
    fn terms_of(&self, entry: &'a Entry) -> &'a Applied {
        if let Some(terms) = entry.terms_everywhere() {
            return terms;
        }
        let of_slot = |slot: &'a Slot| [&slot.grant, &slot.request].into_iter().filter_map(|kept| kept.as_deref());
        let on_record = self.touching().flat_map(of_slot).map(|record| &*record.jurisdiction);
        entry.terms_in(std::iter::once(self.question.jurisdiction).chain(on_record))
    }

    /// The slots that speak about the question: this purpose or one above it, this channel or all, this recipient or all.
    pub(super) fn touching(&self) -> impl Iterator<Item = &'a Slot> + use<'a> {
        let question = self.question;
        self.state().into_iter().flat_map(SubjectState::slots).filter(move |slot| {
            is_self_or_ancestor(&slot.purpose, question.purpose)
                && (same(&slot.channel, question.channel) || same(&slot.channel, ANY))
                && (same(&slot.recipient, question.recipient) || same(&slot.recipient, ANY))
        })
    }

    pub(super) const fn state(&self) -> Option<&'a SubjectState> {
        match self.subject {
            SubjectView::State(state) => Some(state),
            SubjectView::Unavailable => None,
        }
    }

    /// The grant, if the purpose needs one.
    pub(super) fn needed_grant(&self) -> Option<Kept<'a>> {
        if self.needs_consent() { self.grant } else { None }
    }

    /// The grant, where it may lift an earlier refusal, an erasure or what could not be read. Where the purpose needs a
    /// consent, later rules judge the grant. Elsewhere none would, and a grant that is dated in the future, over or
    /// void must not open what an objection closed.
    pub(super) fn lifting_grant(&self) -> Option<&'a Record> {
        let (_, record) = self.grant?;
        (self.needs_consent() || is_in_force(self, record)).then_some(record)
    }

    /// When a grant ends: by itself, or because the catalogue lets none be older.
    pub(super) fn end_of(&self, record: &Record) -> Time {
        let by_age = self.terms.and_then(|terms| terms.max_age).map(|span| record.event_time.plus(span));
        record.expires_at.unwrap_or(Time::MAX).min(by_age.unwrap_or(Time::MAX))
    }

    /// The grant that an ALLOW rests on: the purpose needs a consent, or there is something that only the grant lifts.
    pub(super) fn relied_on(&self) -> Option<Kept<'a>> {
        let lifts = self.refusal.is_some()
            || self.state().is_some_and(|state| state.erased_at().is_some() || !state.unreadable().is_empty());
        if self.needs_consent() || lifts { self.grant } else { None }
    }

    /// Whether the purpose needs a consent at all.
    pub(super) fn needs_consent(&self) -> bool {
        self.terms.is_some_and(|terms| terms.legal_basis.needs_consent())
    }

    /// How old the view may be: what the purpose says, or less if the question does.
    pub(super) fn staleness_bound(&self) -> Duration {
        let by_purpose = self.terms.map_or(Duration::ZERO, |terms| terms.max_staleness);
        self.question.max_staleness.map_or(by_purpose, |asked| asked.min(by_purpose))
    }

    /// Whether `Sec-GPC: 1` denies.
    pub(super) fn honours_gpc(&self) -> bool {
        self.terms.is_some_and(|terms| terms.honours_gpc)
    }

    /// What a TCF string must permit, each with the ground that its purposes are pursued on: all must hold.
    pub(super) fn tcf_rules(&self) -> impl Iterator<Item = (LegalBasis, &'a TcfRule)> + use<'a> {
        self.terms.into_iter().flat_map(|terms| terms.tcf.iter().map(|(basis, rule)| (*basis, rule)))
    }

    /// What a GPP string may opt out of.
    pub(super) fn gpp_rule(&self) -> Option<&'a GppRule> {
        self.terms?.gpp.as_ref()
    }

    /// The number in the Global Vendor List of the question's recipient, where the catalogue has one.
    pub(super) fn tcf_vendor(&self) -> Option<u16> {
        let recipients = self.catalogue?.recipients();
        recipients.iter().find(|recipient| same(&recipient.key, self.question.recipient))?.tcf_vendor
    }
}

/// Which of two grants that cover the question decides: by precedence, then the more specific purpose.
fn supersedes_grant(new: Kept<'_>, have: Kept<'_>) -> bool {
    let rank = |(slot, record): Kept<'_>| (record.precedence(), slot.purpose.len());
    rank(new) > rank(have)
}
