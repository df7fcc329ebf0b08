//! The evidence of a call, filled from what was asked and answered. The subjects' tags are added by the caller, who has
//! the month's key.

use ring::digest;

use super::{Answer, Ask, Call};
use crate::domain::{Question, Signals, Time};
use crate::evidence::record::{EvidenceOverride, EvidenceRecord, EvidenceSignals, duration, reason, timestamp};
use crate::replica::View;

/// Overwrites a record with a call's facts, keeping its buffers.
pub(super) fn fill(
    record: &mut EvidenceRecord,
    call: &Call<'_>,
    asks: &[Ask<'_>],
    answers: &[Answer],
    view: &View,
    now: Time,
) {
    let shared = &call.shared;
    record.answered_at = Some(timestamp(now));
    record.call = call.kind.into();
    set(&mut record.purpose, shared.purpose);
    set(&mut record.channel, shared.channel);
    set(&mut record.recipient, shared.recipient);
    set(&mut record.jurisdiction, shared.jurisdiction);
    record.signals = signals(&shared.signals);
    let published = &view.published;
    record.catalogue_version = published.catalogue.as_ref().map_or(0, |catalogue| catalogue.version());
    record.ledger_id.clear();
    record.ledger_id.extend(published.ledger.into_iter().flat_map(|ledger| ledger.0));
    record.ledger_position = published.position.0;
    record.staleness = Some(duration(view.staleness));
    record.max_staleness = shared.max_staleness.map(duration);
    set(&mut record.at_least_as_fresh, call.at_least_as_fresh.map_or("", |(_, text)| text));
    set(&mut record.software, env!("CARGO_PKG_VERSION"));
    record.trace_id.clear();
    record.trace_id.extend(call.trace_id.into_iter().flatten());

    record.reasons.clear();
    record.record_positions.clear();
    record.valid_for_ms.clear();
    for answer in answers {
        record.reasons.push(reason(answer.reason));
        record.record_positions.push(answer.record_position.map_or(0, |position| position.0.saturating_add(1)));
        let valid_for = answer.valid_until.map_or(0, |until| until.since(now).as_millis());
        record.valid_for_ms.push(u64::try_from(valid_for).unwrap_or(u64::MAX));
    }
    record.overrides.clear();
    for (index, ask) in asks.iter().enumerate() {
        if ask.question != *shared {
            record.overrides.push(differs(index, &ask.question, shared));
        }
    }
}

fn differs(index: usize, question: &Question<'_>, shared: &Question<'_>) -> EvidenceOverride {
    let text = |own: &str, shared: &str| (own != shared).then(|| own.to_owned());
    EvidenceOverride {
        index: u32::try_from(index).unwrap_or(u32::MAX),
        purpose: text(question.purpose, shared.purpose),
        channel: text(question.channel, shared.channel),
        recipient: text(question.recipient, shared.recipient),
        jurisdiction: text(question.jurisdiction, shared.jurisdiction),
        signals: (question.signals != shared.signals).then(|| signals(&question.signals).unwrap_or_default()),
    }
}

fn signals(signals: &Signals<'_>) -> Option<EvidenceSignals> {
    if *signals == Signals::default() {
        return None;
    }
    Some(EvidenceSignals {
        sec_gpc: signals.sec_gpc.to_owned(),
        tcf_digest: fingerprint(signals.tcf),
        gpp_digest: fingerprint(signals.gpp),
    })
}

fn fingerprint(text: &str) -> Vec<u8> {
    if text.is_empty() {
        return Vec::new();
    }
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest.as_ref().iter().take(16).copied().collect()
}

fn set(field: &mut String, value: &str) {
    field.clear();
    field.push_str(value);
}
