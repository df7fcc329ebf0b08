//! What Envoy is answered: made in one place, from what became of the check.
//!
//! Envoy lets a request through where the status has code 0, whatever stands beside it, and a message that nobody filled
//! in has it. INVARIANT: code 0 leaves only with an ALLOW whose evidence has a name; everything else is code 7 with an
//! explicit 403, which no failure mode of a proxy changes (P2).

use std::collections::HashMap;

use chrono::{DateTime, SecondsFormat};
use pbjson_types::value::Kind;
use pbjson_types::{Struct, Value};
use serde::Serialize;

use super::PREFIX;
use crate::domain::{Question, Reason, Time, Verdict};
use crate::enforcer::wellformed::Malformed;
use crate::enforcer::{Answer, EvidenceId, Seen};
use crate::proto::foreign::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use crate::proto::foreign::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use crate::proto::foreign::envoy::service::auth::v3::check_response::HttpResponse;
use crate::proto::foreign::envoy::service::auth::v3::{CheckResponse, DeniedHttpResponse, OkHttpResponse};
use crate::proto::foreign::envoy::r#type::v3::{HttpStatus, StatusCode};
use crate::proto::foreign::google::rpc::Status;

/// `google.rpc.Code`.
const OK: i32 = 0;
const PERMISSION_DENIED: i32 = 7;

/// The headers of an answer, all of which a request that was allowed has from us or not at all.
const VERDICT: &str = "x-consentd-verdict";
const REASON: &str = "x-consentd-reason";
const EVIDENCE_ID: &str = "x-consentd-evidence-id";
const LEDGER_TOKEN: &str = "x-consentd-ledger-token";
const VALID_UNTIL: &str = "x-consentd-valid-until";
const NOT_BEFORE: &str = "x-consentd-not-before";

/// The reasons of checks that were denied without having been answered, beside those of answers.
pub const REFUSALS: [&str; 5] =
    ["NOT_CONFIGURED", "MALFORMED_QUESTION", "CALLER_NOT_PERMITTED", "NOT_IN_TIME", "DEFECT"];

/// Why a check was denied without having been answered. There is no evidence of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The configuration does not say where the question stands.
    NotConfigured,
    /// The request makes no question.
    Malformed(Malformed),
    /// Nobody who may ask, or not about this.
    CallerNotPermitted,
    /// The answer would have come after the proxy's deadline.
    NotInTime,
    /// A defect of this program.
    Defect,
}

impl Refusal {
    /// The reason that is told, beside those of answers.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::NotConfigured => "NOT_CONFIGURED",
            Self::Malformed(_) => "MALFORMED_QUESTION",
            Self::CallerNotPermitted => "CALLER_NOT_PERMITTED",
            Self::NotInTime => "NOT_IN_TIME",
            Self::Defect => "DEFECT",
        }
    }
}

/// What is told, in headers, body and metadata alike.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Told<'a> {
    #[serde(serialize_with = "as_str")]
    verdict: Verdict,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    /// The required purpose that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_purpose: Option<&'a str>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_reason: Option<&'static str>,
    /// From when on the hour permits it.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    /// The part of the question that is malformed, and what is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
    #[serde(skip)]
    ledger_token: Option<&'a str>,
    #[serde(skip)]
    valid_until: Option<String>,
}

impl<'a> Told<'a> {
    /// What the one answer to a question says.
    pub(super) fn answer(
        answers: &'a [Answer],
        seen: &'a Seen,
        evidence: Option<EvidenceId>,
        question: &Question<'a>,
    ) -> Self {
        let answer = match answers {
            [answer] => Some(answer),
            _ => None,
        };
        let evidence_id = evidence.as_ref().map(EvidenceId::to_string);
        let reason = answer.map_or(Reason::EvidenceUnavailable, |answer| answer.reason);
        // P1 says that there is no ALLOW without evidence; here it is not taken on trust.
        let reason = if evidence_id.is_none() { Reason::EvidenceUnavailable } else { reason };
        Self {
            verdict: reason.verdict(),
            reason: reason.as_str(),
            evidence_id,
            purpose: Some(question.purpose),
            channel: Some(question.channel),
            failed_purpose: answer.and_then(|answer| answer.failed_purpose.as_deref()),
            failed_reason: answer.and_then(|answer| answer.failed_reason).map(Reason::as_str),
            not_before: answer.and_then(|answer| answer.not_before).and_then(rfc3339),
            field: None,
            problem: None,
            ledger_token: Some(&*seen.token).filter(|token| !token.is_empty()),
            valid_until: answer.and_then(|answer| answer.valid_until).and_then(rfc3339),
        }
    }

    /// What is said where there is no answer.
    pub(super) fn refusal(refusal: &'a Refusal) -> Self {
        let malformed = match refusal {
            Refusal::Malformed(malformed) => Some(malformed),
            _ => None,
        };
        Self {
            verdict: Verdict::Deny,
            reason: refusal.reason(),
            evidence_id: None,
            purpose: None,
            channel: None,
            failed_purpose: None,
            failed_reason: None,
            not_before: None,
            field: malformed.map(|malformed| &*malformed.field),
            problem: malformed.map(|malformed| &*malformed.problem),
            ledger_token: None,
            valid_until: None,
        }
    }

    /// The response that says it, to a request with headers of these names. The only place where one is made.
    pub(super) fn into_response<'n>(self, names: impl Iterator<Item = &'n str>) -> CheckResponse {
        match self.verdict {
            Verdict::Allow => self.allow(names),
            Verdict::Deny => self.deny(),
        }
    }

    fn allow<'n>(self, names: impl Iterator<Item = &'n str>) -> CheckResponse {
        let headers = self.headers();
        // Envoy removes after it has set: what is set here must not be named.
        let is_set = |name: &str| headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        let is_ours = |name: &str| name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX));
        let forged = names.filter(|name| is_ours(name) && !is_set(name)).map(str::to_owned).collect();
        let ok = OkHttpResponse { headers: options(headers), headers_to_remove: forged };
        CheckResponse {
            status: Some(Status { code: OK, message: String::new() }),
            http_response: Some(HttpResponse::OkResponse(ok)),
            dynamic_metadata: Some(self.metadata()),
        }
    }

    fn deny(self) -> CheckResponse {
        let mut headers = self.headers();
        headers.push(("content-type", "application/json".to_owned()));
        headers.push(("cache-control", "no-store".to_owned()));
        let denied = DeniedHttpResponse {
            status: Some(HttpStatus { code: StatusCode::Forbidden.into() }),
            headers: options(headers),
            // Strings and nothing else: it cannot fail, and an empty body would say the same.
            body: serde_json::to_string(&self).unwrap_or_default(),
        };
        CheckResponse {
            status: Some(Status { code: PERMISSION_DENIED, message: self.reason.to_owned() }),
            http_response: Some(HttpResponse::DeniedResponse(denied)),
            dynamic_metadata: Some(self.metadata()),
        }
    }

    /// The headers that tell it. None of them holds a text that came with the request, so that nothing can be injected.
    fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![(VERDICT, self.verdict.to_string()), (REASON, self.reason.to_owned())];
        headers.extend(self.evidence_id.clone().map(|id| (EVIDENCE_ID, id)));
        headers.extend(self.ledger_token.map(|token| (LEDGER_TOKEN, token.to_owned())));
        headers.extend(self.valid_until.clone().map(|until| (VALID_UNTIL, until)));
        headers.extend(self.not_before.clone().map(|time| (NOT_BEFORE, time)));
        headers
    }

    fn metadata(self) -> Struct {
        let fields = [
            ("verdict", Some(self.verdict.to_string())),
            ("reason", Some(self.reason.to_owned())),
            ("evidence_id", self.evidence_id),
            ("purpose", self.purpose.map(str::to_owned)),
            ("channel", self.channel.map(str::to_owned)),
            ("ledger_token", self.ledger_token.map(str::to_owned)),
            ("valid_until", self.valid_until),
            ("not_before", self.not_before),
        ];
        let field = |(name, text): (&str, Option<String>)| {
            Some((name.to_owned(), Value { kind: Some(Kind::StringValue(text?)) }))
        };
        Struct { fields: fields.into_iter().filter_map(field).collect::<HashMap<_, _>>() }
    }
}

/// Headers that replace what was there. Source: Envoy 1.40: the action is not looked at for headers to upstream, which
/// are replaced; versions that look at it would append where nothing is said.
fn options(headers: Vec<(&'static str, String)>) -> Vec<HeaderValueOption> {
    let option = |(name, value): (&str, String)| HeaderValueOption {
        header: Some(HeaderValue { key: name.to_owned(), value, ..HeaderValue::default() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
    };
    headers.into_iter().map(option).collect()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn as_str<S: serde::Serializer>(verdict: &Verdict, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(verdict.as_str())
}

fn rfc3339(time: Time) -> Option<String> {
    let time = DateTime::from_timestamp_millis(time.unix_millis())?;
    Some(time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

#[cfg(test)]
mod tests;
