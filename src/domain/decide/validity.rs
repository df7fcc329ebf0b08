//! The rules that judge a consent that is needed: its ground, its time, its collection and its notice.

use super::Finding;
use super::facts::Facts;
use crate::domain::event::{Defects, Notice};
use crate::domain::state::Record;
use crate::domain::text::same;
use crate::domain::words::{LegalBasis, Reason, Status};

pub(super) fn legal_basis<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
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
pub(super) fn effective<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    let record = needed_grant(facts)?;
    let ahead = record.event_time > facts.now && record.status != Status::Expired;
    ahead.then(|| Finding::from_record(Reason::NotYetEffective, facts.grant))
}

pub(super) fn expiry<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    let record = needed_grant(facts)?;
    let expired = record.status == Status::Expired || record.expires_at.is_some_and(|at| facts.now >= at);
    expired.then(|| Finding::from_record(Reason::Expired, facts.grant))
}

pub(super) fn max_age<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    let record = needed_grant(facts)?;
    let end = record.event_time.plus(facts.purpose?.terms.max_age?);
    (facts.now >= end).then(|| Finding::from_record(Reason::TooOld, facts.grant))
}

pub(super) fn collection<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
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

pub(super) fn notice<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    let record = needed_grant(facts)?;
    let rule = facts.purpose?.terms.notice.as_ref()?;
    let reason = match &record.notice {
        Some(Notice { id, version, .. }) if same(id, &rule.id) && *version >= rule.material_since => return None,
        Some(Notice { id, .. }) if same(id, &rule.id) => Reason::NoticeOutdated,
        Some(_) | None => Reason::NoticeMissing,
    };
    Some(Finding { notice: Some((&rule.id, rule.material_since)), ..Finding::from_record(reason, facts.grant) })
}
