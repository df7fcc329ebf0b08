//! How answers look on the wire.

use crate::domain::LegalBasis;
use crate::enforcer::{Answer, Answered, EvidenceId, Explained, Seen};
use crate::explain::wire;
use crate::proto::time::{duration, timestamp};
use crate::proto::v1;

/// The response to a single question.
pub(super) fn single(answered: Answered) -> v1::MayProcessResponse {
    let (answers, seen, evidence) = answered.into_parts();
    v1::MayProcessResponse {
        answer: answers.into_iter().next().map(answer),
        view: Some(view(&seen)),
        evidence_id: evidence_id(evidence),
    }
}

/// The parts of a response to many questions.
pub(super) fn batch(answered: Answered) -> (Vec<v1::Answer>, v1::View, String) {
    let (answers, seen, evidence) = answered.into_parts();
    (answers.into_iter().map(answer).collect(), view(&seen), evidence_id(evidence))
}

/// The response to an explanation.
pub(super) fn explained(explained: Explained) -> v1::ExplainResponse {
    let Explained { answered, reasoning, replay } = explained;
    let v1::MayProcessResponse { answer, view, evidence_id } = single(answered);
    v1::ExplainResponse {
        answer,
        view,
        evidence_id,
        rules: wire::rules(&reasoning),
        record: reasoning.record.as_ref().map(wire::deciding_record),
        replay: replay.as_ref().map(wire::replay),
    }
}

fn answer(answer: Answer) -> v1::Answer {
    v1::Answer {
        verdict: v1::Verdict::from(answer.verdict()).into(),
        reason: v1::Reason::from(answer.reason).into(),
        legal_basis: legal_basis(answer.legal_basis),
        status: answer.status.map_or(v1::ConsentStatus::Unspecified, v1::ConsentStatus::from).into(),
        valid_until: answer.valid_until.map(timestamp),
        failed_purpose: answer.failed_purpose.map(String::from).unwrap_or_default(),
        failed_reason: answer.failed_reason.map_or(v1::Reason::Unspecified, v1::Reason::from).into(),
        not_before: answer.not_before.map(timestamp),
        notice: answer.notice.map(|(id, version)| v1::Notice { id: id.into(), version, language: String::new() }),
    }
}

fn view(seen: &Seen) -> v1::View {
    v1::View {
        catalogue_version: seen.catalogue_version,
        ledger_token: seen.token.to_string(),
        staleness: Some(duration(seen.staleness)),
        answered_at: Some(timestamp(seen.answered_at)),
    }
}

fn evidence_id(evidence: Option<EvidenceId>) -> String {
    evidence.map(|id| id.to_string()).unwrap_or_default()
}

fn legal_basis(basis: Option<LegalBasis>) -> i32 {
    basis.map_or(v1::LegalBasis::Unspecified, v1::LegalBasis::from).into()
}
