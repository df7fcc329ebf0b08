//! How decisions look. Source: section 5.5; what a context holds is left to us.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::refusal::Refusal;
use crate::domain::{LegalBasis, Reason, Status, Verdict};
use crate::enforcer::wellformed::Malformed;
use crate::enforcer::{Answer, Answered};
use crate::proto::time::{duration, timestamp};

/// The media type of everything that is sent.
pub(super) const JSON: &str = "application/json";
/// What a person may be told of any denial. More would be told about somebody else's data, or say who knows what.
const TOLD_TO_USERS: &str = "This use of the person's data is not permitted now.";

/// One decision.
#[derive(Debug, Serialize)]
pub(super) struct Decision<'a> {
    decision: bool,
    context: Context<'a>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Context<'a> {
    Answered(Box<Explanation<'a>>),
    Unanswered { error: Failure },
}

/// Why, what that rests on, and its evidence.
#[derive(Debug, Serialize)]
struct Explanation<'a> {
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    legal_basis: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_until: Option<pbjson_types::Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_purpose: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<pbjson_types::Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notice: Option<Notice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason_admin: Option<ByStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason_user: Option<ByStatus>,
    #[serde(flatten)]
    seen: &'a Shared<'a>,
}

#[derive(Debug, Serialize)]
struct Notice<'a> {
    id: &'a str,
    version: u32,
}

/// A reason under the status of HTTP that it would be. Source: section 5.5.2.1, an example.
#[derive(Debug, Serialize)]
struct ByStatus {
    #[serde(rename = "403")]
    forbidden: &'static str,
}

/// Why one of several evaluations got no answer. Source: section 7.2.2.
#[derive(Debug, Serialize)]
struct Failure {
    status: u16,
    message: String,
}

/// What the decisions of one request have in common.
#[derive(Debug, Serialize)]
pub(super) struct Shared<'a> {
    catalogue_version: u64,
    ledger_token: &'a str,
    staleness: pbjson_types::Duration,
    answered_at: pbjson_types::Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence_id: Option<String>,
}

#[derive(Debug, Serialize)]
struct Decisions<'a> {
    evaluations: &'a [Decision<'a>],
}

impl<'a> Shared<'a> {
    pub(super) fn of(answered: &'a Answered) -> Self {
        let seen = answered.seen();
        Self {
            catalogue_version: seen.catalogue_version,
            ledger_token: &seen.token,
            staleness: duration(seen.staleness),
            answered_at: timestamp(seen.answered_at),
            evidence_id: answered.evidence().map(|id| id.to_string()),
        }
    }
}

impl<'a> Decision<'a> {
    /// The decision that an answer is.
    pub(super) fn answered(answer: &'a Answer, shared: &'a Shared<'a>) -> Self {
        let verdict = answer.verdict();
        let told = |text| (verdict == Verdict::Deny).then_some(ByStatus { forbidden: text });
        let explanation = Explanation {
            reason: answer.reason.as_str(),
            legal_basis: answer.legal_basis.map(LegalBasis::as_str),
            status: answer.status.map(Status::as_str),
            valid_until: answer.valid_until.map(timestamp),
            failed_purpose: answer.failed_purpose.as_deref(),
            failed_reason: answer.failed_reason.map(Reason::as_str),
            not_before: answer.not_before.map(timestamp),
            notice: answer.notice.as_ref().map(|(id, version)| Notice { id, version: *version }),
            reason_admin: told(answer.reason.as_str()),
            reason_user: told(TOLD_TO_USERS),
            seen: shared,
        };
        // INVARIANT: the one place where a decision can be true.
        Self { decision: verdict == Verdict::Allow, context: Context::Answered(Box::new(explanation)) }
    }

    /// No, because what was asked is no question.
    pub(super) fn malformed(malformed: &Malformed) -> Self {
        Self::unanswered(400, malformed.to_string())
    }

    /// No, because answering ended before this one: the evidence of those before it could not be written.
    pub(super) fn without_evidence() -> Self {
        Self::unanswered(500, Reason::EvidenceUnavailable.as_str().to_owned())
    }

    fn unanswered(status: u16, message: String) -> Self {
        Self { decision: false, context: Context::Unanswered { error: Failure { status, message } } }
    }

    pub(super) const fn verdict(&self) -> Verdict {
        if self.decision { Verdict::Allow } else { Verdict::Deny }
    }
}

/// The response to one evaluation.
pub(super) fn single(answered: &Answered) -> Result<Response, Refusal> {
    let shared = Shared::of(answered);
    let answer = answered.answers().first().ok_or(Refusal::Defect)?;
    response(&Decision::answered(answer, &shared))
}

/// The response to several evaluations.
pub(super) fn several(decisions: &[Decision<'_>]) -> Result<Response, Refusal> {
    response(&Decisions { evaluations: decisions })
}

/// A decision is of now: whoever stands between must not keep it. How long an ALLOW may be relied on stands in it.
fn response(body: &impl Serialize) -> Result<Response, Refusal> {
    Ok(([(CONTENT_TYPE, JSON), (CACHE_CONTROL, "no-store")], written(body)?).into_response())
}

/// JSON as bytes. Nothing that is written here can fail to be.
pub(super) fn written(body: &impl Serialize) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(body).map_err(|_| Refusal::Defect)
}
