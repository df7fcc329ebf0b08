//! The rules that do not judge a consent: what is known, who said no, and what an ALLOW rests on.

use super::Finding;
use super::facts::Facts;
use super::validity::notice_lasts_until;
use crate::domain::catalogue::is_self_or_ancestor;
use crate::domain::question::{LedgerStanding, TokenStanding};
use crate::domain::text::same;
use crate::domain::time::Time;
use crate::domain::words::{LegalBasis, Reason, Status};

pub(super) fn ledger<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    match facts.freshness.ledger {
        LedgerStanding::Following => None,
        LedgerStanding::Building => Some(Finding::of(Reason::ReplicaBuilding)),
        LedgerStanding::Broken => Some(Finding::of(Reason::LedgerBroken)),
    }
}

pub(super) fn catalogue<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    match (facts.catalogue, facts.entry) {
        (None, _) => Some(Finding::of(Reason::NoCatalogue)),
        (Some(_), None) => Some(Finding::of(Reason::UnknownPurpose)),
        (Some(_), Some(_)) => None,
    }
}

pub(super) fn channel<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    let (catalogue, terms) = (facts.catalogue?, facts.terms?);
    if terms.channels.iter().any(|channel| same(channel, facts.question.channel)) {
        None
    } else if catalogue.knows_channel(facts.question.channel) {
        Some(Finding::of(Reason::ChannelNotUsed))
    } else {
        Some(Finding::of(Reason::UnknownChannel))
    }
}

pub(super) fn jurisdiction<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    facts.terms?.prohibited.then(|| Finding::of(Reason::Prohibited))
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
    let marks = facts.state()?.unreadable();
    if marks.is_empty() {
        return None;
    }
    let granted_at = facts.lifting_grant().map(|record| record.event_time);
    let blocking = marks.iter().any(|mark| match (mark.event_time, granted_at) {
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

/// An order about the data, not a word about a purpose: no grant lifts it. Dated in the future it counts at once, and its
/// lifting does not. Source: GDPR Art. 18.
pub(super) fn restriction<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    let restrictions = facts.state()?.restrictions();
    if restrictions.is_empty() || facts.terms?.despite_restriction {
        return None;
    }
    let reaches = |purpose: &str| purpose.is_empty() || is_self_or_ancestor(purpose, facts.question.purpose);
    let in_force =
        restrictions.iter().any(|said| (said.restricted || said.event_time > facts.now) && reaches(&said.purpose));
    in_force.then(|| Finding::of(Reason::Restricted))
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
    let request = facts.touching().filter_map(|slot| slot.request.as_deref().map(|record| (slot, record)));
    Some(Finding::from_record(Reason::NoConsent, request.max_by_key(|(_, record)| record.event_time)))
}

pub(super) fn allow<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    let reason = match facts.terms?.legal_basis {
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
    let by_grant = facts.relied_on().map_or(Time::MAX, |(_, record)| facts.end_of(record));
    let valid_until = by_view
        .min(by_grant)
        .min(facts.covered_in_part_until)
        .min(notice_lasts_until(facts))
        .min(facts.required_until.get())
        .min(facts.open_until.get());
    Some(Finding { valid_until: Some(valid_until), ..Finding::from_record(reason, facts.relied_on()) })
}
