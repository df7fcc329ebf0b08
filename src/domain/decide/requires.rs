//! The rule of the purposes that another requires: each must be allowed by itself, under the terms that apply to it.

use std::ops::ControlFlow;

use super::Finding;
use super::facts::Facts;
use super::quiet_hours::first_open;
use crate::domain::catalogue::Catalogue;
use crate::domain::time::Time;
use crate::domain::words::{Reason, Verdict};

/// All are allowed. Until when is noted in the facts, as an ALLOW must end by then.
pub(super) fn requires<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    let mut until = Time::MAX;
    let mut failed = None;
    each_required(facts, |required| {
        let decision = required.decide();
        if decision.verdict() == Verdict::Deny {
            failed = Some((required.question.purpose, decision));
            return ControlFlow::Break(());
        }
        until = until.min(decision.valid_until.unwrap_or(facts.now));
        ControlFlow::Continue(())
    });
    facts.required_until.set(until);
    let (purpose, decision) = failed?;
    let not_before = if decision.reason == Reason::QuietHours { first_open(facts) } else { None };
    Some(Finding {
        failed_purpose: Some(purpose),
        failed_reason: Some(decision.reason),
        notice: decision.notice,
        not_before,
        detail: decision.detail,
        ..Finding::from_record(Reason::RequiredPurposeDenied, decision.record)
    })
}

/// Visits the facts of every purpose that must be allowed as well, each once, the nearer before what it requires itself.
/// A required purpose has none of its own: whoever requires it goes through them all.
pub(super) fn each_required<'a>(facts: &Facts<'a>, mut visit: impl FnMut(&Facts<'a>) -> ControlFlow<()>) {
    let (Some(catalogue), Some(entry)) = (facts.catalogue, facts.entry) else { return };
    if facts.is_required || entry.reach.is_empty() {
        return;
    }
    let mut walk = Walk { facts, catalogue, reach: &entry.reach, seen: [0; SEEN_WORDS] };
    // A walk by the terms that apply notes what it has seen; for more than it can note, all that is required anywhere
    // is required here, which is never laxer.
    if entry.reach_varies && entry.reach.len() <= SEEN_WORDS * 64 {
        let _ = walk.below(facts, &mut visit);
        return;
    }
    for place in &entry.reach {
        let Some(required) = catalogue.entry_at(*place) else { continue };
        let mut required = facts.of_required(required);
        required.find_records();
        if visit(&required).is_break() {
            return;
        }
    }
}

/// How many purposes a walk can note, in words of 64.
const SEEN_WORDS: usize = 4;

/// A walk through what is required under the terms that apply at each step.
struct Walk<'f, 'a> {
    facts: &'f Facts<'a>,
    catalogue: &'a Catalogue,
    /// Every purpose that can come, each at its place here.
    reach: &'a [usize],
    seen: [u64; SEEN_WORDS],
}

impl<'a> Walk<'_, 'a> {
    /// INVARIANT: the catalogue's check let no circle in, and no chain that is too deep for this.
    fn below(&mut self, above: &Facts<'a>, visit: &mut impl FnMut(&Facts<'a>) -> ControlFlow<()>) -> ControlFlow<()> {
        for place in above.terms.map_or(&[][..], |terms| &terms.requires) {
            if !self.is_new(*place) {
                continue;
            }
            let Some(entry) = self.catalogue.entry_at(*place) else { continue };
            let mut required = self.facts.of_required(entry);
            required.find_records();
            visit(&required)?;
            self.below(&required, visit)?;
        }
        ControlFlow::Continue(())
    }

    fn is_new(&mut self, place: usize) -> bool {
        let Some(at) = self.reach.iter().position(|known| *known == place) else { return true };
        let Some(word) = self.seen.get_mut(at / 64) else { return true };
        let bit = 1_u64 << (at % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}
