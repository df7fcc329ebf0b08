//! The rules for the young: who is too young, and who must have a guardian agree.

use super::Finding;
use super::facts::{Facts, Kept};
use super::validity::is_in_force;
use crate::domain::catalogue::{MinorRule, MinorTreatment, UnknownAge};
use crate::domain::state::Birth;
use crate::domain::time::Time;
use crate::domain::words::Reason;

/// The subject is old enough, or a guardian may speak for it.
pub(super) fn age<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    let terms = facts.terms?;
    if terms.minors.is_empty() {
        return None;
    }
    let birth = facts.state()?.birth();
    terms.minors.iter().find_map(|rule| {
        let reason = match (birth, rule.treatment) {
            (Some(birth), MinorTreatment::Deny) if is_younger(birth, *rule, facts.now) => Reason::Minor,
            (None, MinorTreatment::Deny) if rule.unknown_age == UnknownAge::Deny => Reason::AgeUnknown,
            (None, MinorTreatment::Guardian) if rule.unknown_age == UnknownAge::Deny && !guardian_agreed(facts) => {
                Reason::AgeUnknown
            }
            (Some(_) | None, MinorTreatment::Deny | MinorTreatment::Guardian) => return None,
        };
        Some(Finding::of(reason))
    })
}

/// Where the young need a guardian, one agreed, or whoever agreed was old enough then.
pub(super) fn guardian<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    if let Some(grant) = facts.needed_grant() {
        return guardian_of(facts, grant);
    }
    // The purpose asks for no consent; of the young it does.
    let birth = facts.state()?.birth()?;
    let rules = facts.terms?.minors.iter().filter(|rule| rule.treatment == MinorTreatment::Guardian);
    let young = { rules }.any(|rule| is_younger(birth, *rule, facts.now));
    (young && !guardian_agreed(facts)).then(|| Finding::from_record(Reason::GuardianMissing, facts.grant))
}

/// Whether a needed consent was given by somebody who could give it.
pub(super) fn guardian_of<'a>(facts: &Facts<'a>, grant: Kept<'a>) -> Option<Finding<'a>> {
    if grant.1.collection.by_guardian {
        return None;
    }
    // Of an unknown age the rule `age` has said what is to be taken.
    let birth = facts.state()?.birth()?;
    let rules = facts.terms?.minors.iter().filter(|rule| rule.treatment == MinorTreatment::Guardian);
    let too_young = { rules }.any(|rule| is_younger(birth, *rule, grant.1.event_time));
    too_young.then(|| Finding::from_record(Reason::GuardianMissing, Some(grant)))
}

/// Whether the grant is a guardian's. Where a consent is needed later rules judge it; elsewhere it must be in force.
fn guardian_agreed(facts: &Facts<'_>) -> bool {
    facts.grant.is_some_and(|(_, record)| {
        record.collection.by_guardian && (facts.needs_consent() || is_in_force(facts, record))
    })
}

/// Whether somebody born then was below the age at a time: until the anniversary is over everywhere on earth.
fn is_younger(birth: Birth, rule: MinorRule, at: Time) -> bool {
    birth.born.anniversary(rule.under) >= at.earliest_day_on_earth()
}
