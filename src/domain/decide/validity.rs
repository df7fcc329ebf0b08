//! The rules that judge a consent that is needed: its ground, its time, its collection and its notice.

use super::Finding;
use super::age::guardian_of;
use super::facts::{Facts, Kept};
use crate::domain::catalogue::NoticeRule;
use crate::domain::event::{Defects, Notice};
use crate::domain::state::Record;
use crate::domain::text::same;
use crate::domain::time::Time;
use crate::domain::words::{LegalBasis, Reason, Status};

/// Looks at a grant as if it were needed.
type Judge = for<'f, 'a> fn(&'f Facts<'a>, Kept<'a>) -> Option<Finding<'a>>;

/// All that a needed grant is judged by, in the order of the rules.
const JUDGES: [Judge; 7] = [legal_basis_of, effective_of, expiry_of, max_age_of, collection_of, guardian_of, notice_of];

/// What each fact of collection that voids a consent is called; of several the first is told.
const DEFECTS: [(Defects, Reason); 9] = [
    (Defects::PRE_TICKED, Reason::PreTicked),
    (Defects::PASSIVE, Reason::Passive),
    (Defects::BUNDLED, Reason::Bundled),
    (Defects::DARK_PATTERN, Reason::DarkPattern),
    (Defects::PENALISED, Reason::Penalised),
    (Defects::NOT_SPECIFIC, Reason::NotSpecific),
    (Defects::COERCED, Reason::Coerced),
    (Defects::NOT_INFORMED, Reason::NotInformed),
    (Defects::WITHDRAWAL_UNTOLD, Reason::WithdrawalUntold),
];

/// What is wrong with a grant that were needed.
pub(super) fn judge<'a>(facts: &Facts<'a>, grant: Kept<'a>) -> Option<Finding<'a>> {
    JUDGES.iter().find_map(|judge| judge(facts, grant))
}

/// Whether a grant is neither over, nor ahead, nor void.
pub(super) fn is_in_force(facts: &Facts<'_>, record: &Record) -> bool {
    record.status != Status::Expired
        && record.event_time <= facts.now
        && facts.now < facts.end_of(record)
        && record.collection.defects == Defects::NONE
}

pub(super) fn legal_basis<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    legal_basis_of(facts, facts.needed_grant()?)
}

fn legal_basis_of<'a>(facts: &Facts<'a>, grant: Kept<'a>) -> Option<Finding<'a>> {
    let reason = match (facts.terms?.legal_basis, grant.1.legal_basis) {
        (LegalBasis::Consent, LegalBasis::Consent | LegalBasis::ExplicitConsent)
        | (LegalBasis::ExplicitConsent, LegalBasis::ExplicitConsent) => return None,
        (LegalBasis::ExplicitConsent, LegalBasis::Consent) => Reason::NotExplicit,
        _ => Reason::LegalBasisMismatch,
    };
    Some(Finding::from_record(reason, Some(grant)))
}

pub(super) fn effective<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    effective_of(facts, facts.needed_grant()?)
}

/// An end dated in the future is no consent that is yet to begin: `expiry` names it.
fn effective_of<'a>(facts: &Facts<'a>, grant: Kept<'a>) -> Option<Finding<'a>> {
    let ahead = grant.1.event_time > facts.now && grant.1.status != Status::Expired;
    ahead.then(|| Finding::from_record(Reason::NotYetEffective, Some(grant)))
}

pub(super) fn expiry<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    expiry_of(facts, facts.needed_grant()?)
}

fn expiry_of<'a>(facts: &Facts<'a>, grant: Kept<'a>) -> Option<Finding<'a>> {
    let expired = grant.1.status == Status::Expired || grant.1.expires_at.is_some_and(|at| facts.now >= at);
    expired.then(|| Finding::from_record(Reason::Expired, Some(grant)))
}

pub(super) fn max_age<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    max_age_of(facts, facts.needed_grant()?)
}

fn max_age_of<'a>(facts: &Facts<'a>, grant: Kept<'a>) -> Option<Finding<'a>> {
    let end = grant.1.event_time.plus(facts.terms?.max_age?);
    (facts.now >= end).then(|| Finding::from_record(Reason::TooOld, Some(grant)))
}

pub(super) fn collection<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    collection_of(facts, facts.needed_grant()?)
}

/// How it was obtained must not void it, and must be what the purpose accepts. Only the latter is the catalogue's word.
fn collection_of<'a>(facts: &Facts<'a>, grant: Kept<'a>) -> Option<Finding<'a>> {
    let (terms, record) = (facts.terms?, grant.1);
    let reason = if record.collection.defects != Defects::NONE {
        let told = DEFECTS.into_iter().find(|(defect, _)| record.collection.defects.has(*defect));
        // Bits that this version has no word for were written by one that does.
        told.map_or(Reason::UnreadableRecord, |(_, reason)| reason)
    } else if terms.methods.as_ref().is_some_and(|all| !all.iter().any(|one| same(one, &record.collection.method))) {
        Reason::MethodNotAccepted
    } else if terms.proof_required && record.proof.is_empty() {
        Reason::ProofMissing
    } else {
        return None;
    };
    Some(Finding::from_record(reason, Some(grant)))
}

pub(super) fn notice<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    notice_of(facts, facts.needed_grant()?)
}

fn notice_of<'a>(facts: &Facts<'a>, grant: Kept<'a>) -> Option<Finding<'a>> {
    let shown = grant.1.notice.as_ref();
    facts.terms?.notices.iter().find_map(|rule| {
        let reason = match shown {
            Some(Notice { id, version, .. }) if same(id, &rule.id) && *version >= rule.material_at(facts.now) => {
                return None;
            }
            Some(Notice { id, .. }) if same(id, &rule.id) => Reason::NoticeOutdated,
            Some(_) | None => Reason::NoticeMissing,
        };
        let show = Some((&*rule.id, rule.current_at(facts.now)));
        Some(Finding { notice: show, ..Finding::from_record(reason, Some(grant)) })
    })
}

/// When the notice that was shown will not be enough any more.
pub(super) fn notice_lasts_until(facts: &Facts<'_>) -> Time {
    let (Some(terms), Some((_, record))) = (facts.terms, facts.needed_grant()) else { return Time::MAX };
    let shown = record.notice.as_ref().map_or(0, |notice| notice.version);
    let ends = |rule: &NoticeRule| rule.outdated_at(shown, facts.now);
    terms.notices.iter().filter_map(ends).min().unwrap_or(Time::MAX)
}

impl NoticeRule {
    /// The first version under which a consent is informed.
    fn material_at(&self, now: Time) -> u32 {
        let in_effect = self.versions.iter().filter(|version| version.effective_at.is_none_or(|at| at <= now));
        let by_versions = || in_effect.filter(|version| version.material).map(|version| version.version).max();
        if self.material_since == 0 { by_versions().unwrap_or(0) } else { self.material_since }
    }

    /// The version that is to be shown.
    fn current_at(&self, now: Time) -> u32 {
        let in_effect = self.versions.iter().filter(|version| version.effective_at.is_none_or(|at| at <= now));
        let newest = in_effect.map(|version| version.version).max().unwrap_or(0);
        newest.max(self.material_at(now))
    }

    /// When a material version comes that is newer than the one shown.
    fn outdated_at(&self, shown: u32, now: Time) -> Option<Time> {
        if self.material_since != 0 {
            return None;
        }
        let ahead = self.versions.iter().filter(|version| version.material && version.version > shown);
        ahead.filter_map(|version| version.effective_at).filter(|at| *at > now).min()
    }
}
