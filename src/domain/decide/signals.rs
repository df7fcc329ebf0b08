//! The rule about signals that travel with the question. They only ever narrow what is allowed.

use super::Finding;
use super::facts::Facts;
use crate::domain::signal::{SignalDetail, Tcf};
use crate::domain::words::Reason;

/// A string that was sent and could not be read denies every purpose: it may have been a refusal. One that was read
/// denies what the catalogue maps to it and it does not permit.
pub(super) fn signals<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    let (signals, heard) = (facts.question.signals, facts.question.heard);
    if !signals.tcf.is_empty() && heard.tcf.is_none() {
        return Some(deny(Reason::SignalUnreadable, SignalDetail::UnreadableTcf));
    }
    if !signals.gpp.is_empty() && heard.gpp.is_none() {
        return Some(deny(Reason::SignalUnreadable, SignalDetail::UnreadableGpp));
    }
    // Source: Global Privacy Control, section 3.2: the value is exactly `1`, anything else is no signal.
    if signals.sec_gpc == "1" && facts.honours_gpc() {
        return Some(Finding::of(Reason::SignalGpc));
    }
    let in_gpp = heard.gpp.and_then(|gpp| gpp.tcf.as_deref());
    if let Some(detail) = heard.tcf.into_iter().chain(in_gpp).find_map(|tcf| by_tcf(facts, tcf)) {
        return Some(deny(Reason::SignalTcf, detail));
    }
    let detail = heard.gpp?.bars(facts.gpp_rule()?)?;
    Some(deny(Reason::SignalGpp, detail))
}

/// What in a TCF string keeps the recipient from what the catalogue maps; `None` if nothing does.
fn by_tcf(facts: &Facts<'_>, tcf: &Tcf) -> Option<SignalDetail> {
    let mut rules = facts.tcf_rules().peekable();
    rules.peek()?;
    if let Some(flaw) = tcf.flaw(facts.now) {
        return Some(SignalDetail::Flawed(flaw));
    }
    // The controller itself is the publisher, who has no number.
    let vendor = if facts.question.recipient.is_empty() {
        None
    } else {
        let Some(vendor) = facts.tcf_vendor() else { return Some(SignalDetail::NoVendor) };
        Some(vendor)
    };
    rules.find_map(|(basis, rule)| tcf.bars(rule, basis, vendor))
}

fn deny<'a>(reason: Reason, detail: SignalDetail) -> Finding<'a> {
    Finding { detail: Some(detail), ..Finding::of(reason) }
}
