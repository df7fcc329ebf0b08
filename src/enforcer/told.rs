//! What a span says of a call, taken from what was asked and answered.

use super::{Answer, Ask, Call, CallKind, Looked};
use crate::domain::catalogue::Catalogue;
use crate::domain::{Question, Reason};
use crate::evidence::EvidenceId;
use crate::telemetry::{self, Told};

/// What is told of a call. Purpose and channel are words that a caller chose: they are told where the catalogue knows
/// them, and are then words of whoever published it.
pub(super) fn told(
    call: &Call<'_>,
    asks: &[Ask<'_>],
    looked: &Looked,
    answers: &[Answer],
    evidence: Option<EvidenceId>,
) -> Told {
    let published = &looked.view.published;
    let catalogue = published.catalogue.as_deref();
    let purpose = shared(asks, |question| question.purpose);
    let channel = shared(asks, |question| question.channel);
    Told {
        call: kind(call.kind),
        reasons: reasons(answers),
        purpose: purpose.filter(|key| catalogue.is_some_and(|known| known.purpose(key).is_some())).map(Box::from),
        channel: channel.filter(|key| catalogue.is_some_and(|known| known.knows_channel(key))).map(Box::from),
        staleness: looked.view.staleness,
        catalogue_version: catalogue.map_or(0, Catalogue::version),
        token: published.token.clone(),
        evidence: evidence.map(|id| id.to_string()).unwrap_or_default(),
        caller: call.caller.into(),
    }
}

/// What all questions say alike.
fn shared<'a>(asks: &[Ask<'a>], word: impl Fn(&Question<'a>) -> &'a str) -> Option<&'a str> {
    let (first, others) = asks.split_first()?;
    let first = word(&first.question);
    others.iter().all(|ask| word(&ask.question) == first).then_some(first)
}

fn reasons(answers: &[Answer]) -> Vec<(Reason, u64)> {
    let mut reasons: Vec<(Reason, u64)> = Vec::new();
    for answer in answers {
        match reasons.iter_mut().find(|(reason, _)| *reason == answer.reason) {
            Some((_, count)) => *count += 1,
            None => reasons.push((answer.reason, 1)),
        }
    }
    reasons
}

const fn kind(call: CallKind) -> telemetry::Call {
    match call {
        // No wire leaves it out.
        CallKind::Unspecified | CallKind::MayProcess => telemetry::Call::MayProcess,
        CallKind::MayProcessBatch => telemetry::Call::MayProcessBatch,
        CallKind::MayProcessStream => telemetry::Call::MayProcessStream,
        CallKind::Explain => telemetry::Call::Explain,
        CallKind::ExtAuthz => telemetry::Call::ExtAuthz,
        CallKind::Authzen => telemetry::Call::Authzen,
        CallKind::AuthzenBatch => telemetry::Call::AuthzenBatch,
    }
}
