//! The rules that do not judge a consent: what is known, who said no, what else is required.

use super::Finding;
use super::facts::{Facts, touches};
use crate::domain::question::{LedgerStanding, TokenStanding};
use crate::domain::text::same;
use crate::domain::time::Time;
use crate::domain::words::{LegalBasis, Reason, Status, Verdict};

pub(super) fn ledger<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    match facts.freshness.ledger {
        LedgerStanding::Following => None,
        LedgerStanding::Building => Some(Finding::of(Reason::ReplicaBuilding)),
        LedgerStanding::Broken => Some(Finding::of(Reason::LedgerBroken)),
    }
}

pub(super) fn catalogue<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    match (facts.catalogue, facts.purpose) {
        (None, _) => Some(Finding::of(Reason::NoCatalogue)),
        (Some(_), None) => Some(Finding::of(Reason::UnknownPurpose)),
        (Some(_), Some(_)) => None,
    }
}

pub(super) fn channel<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    let (catalogue, purpose) = (facts.catalogue?, facts.purpose?);
    if purpose.terms.channels.iter().any(|channel| same(channel, facts.question.channel)) {
        None
    } else if catalogue.knows_channel(facts.question.channel) {
        Some(Finding::of(Reason::ChannelNotUsed))
    } else {
        Some(Finding::of(Reason::UnknownChannel))
    }
}

pub(super) fn freshness<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    match facts.freshness.token {
        TokenStanding::Foreign => Some(Finding::of(Reason::ForeignToken)),
        TokenStanding::NotReached => Some(Finding::of(Reason::Stale)),
        TokenStanding::Reached => {
            (facts.freshness.staleness > facts.staleness_bound()).then(|| Finding::of(Reason::Stale))
        }
    }
}

pub(super) fn store<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    facts.state().is_none().then(|| Finding::of(Reason::StoreUnavailable))
}

/// What could not be read may have been a refusal: like one, only a later grant for the same question lifts it. Of an
/// event without a readable time nothing can be later; it must be replaced.
pub(super) fn unreadable<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    let granted_at = facts.lifting_grant().map(|record| record.event_time);
    let blocking = facts.state()?.unreadable().iter().any(|mark| match (mark.event_time, granted_at) {
        (Some(unread), Some(granted)) => granted <= unread,
        (None, _) | (_, None) => true,
    });
    blocking.then(|| Finding::of(Reason::UnreadableRecord))
}

/// An erasure denies everything until the subject agrees to this very thing anew: what was dropped may have been a
/// refusal.
pub(super) fn erasure<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    (facts.state()?.erased_at().is_some() && facts.lifting_grant().is_none()).then(|| Finding::of(Reason::Erased))
}

/// P3: a withdrawal wins, also one dated in the future, and also at the grant's own time.
pub(super) fn refusal<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
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

pub(super) fn subject<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    // A refusal alone does not make a subject known: it must never turn a denial into an ALLOW on another basis.
    let known = facts.state()?.slots().iter().any(|slot| slot.grant.is_some() || slot.request.is_some());
    (!known).then(|| Finding::of(Reason::UnknownSubject))
}

pub(super) fn consent<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    if !facts.needs_consent() || facts.grant.is_some() {
        return None;
    }
    let asked = facts.state()?.slots().iter().filter(|slot| touches(slot, &facts.question));
    let request = asked.filter_map(|slot| slot.request.as_deref().map(|record| (slot, record)));
    Some(Finding::from_record(Reason::NoConsent, request.max_by_key(|(_, record)| record.event_time)))
}

pub(super) fn requires<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    facts.required.iter().find_map(|key| {
        let required = facts.of_required(key).decide();
        (required.verdict() == Verdict::Deny).then(|| Finding {
            failed_purpose: Some(key),
            failed_reason: Some(required.reason),
            notice: required.notice,
            not_before: required.not_before,
            detail: required.detail,
            ..Finding::from_record(Reason::RequiredPurposeDenied, required.record)
        })
    })
}

pub(super) fn allow<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
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
