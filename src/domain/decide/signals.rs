//! The rule about signals that travel with the question. They only ever narrow what is allowed.

use super::Finding;
use super::facts::Facts;
use crate::domain::words::Reason;

/// A string that was sent and could not be read denies every purpose: it may have been a refusal.
pub(super) fn signals<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    let (signals, heard) = (facts.question.signals, facts.question.heard);
    if (!signals.tcf.is_empty() && heard.tcf.is_none()) || (!signals.gpp.is_empty() && heard.gpp.is_none()) {
        return Some(Finding::of(Reason::SignalUnreadable));
    }
    // Source: Global Privacy Control, section 3.2: the value is exactly `1`, anything else is no signal.
    let denies = signals.sec_gpc == "1" && facts.honours_gpc();
    denies.then(|| Finding::of(Reason::SignalGpc))
}
