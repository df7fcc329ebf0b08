//! Evaluations of AuthZEN, as a run asks and reads them.

use prost::bytes::Bytes;
use serde::Deserialize;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service as _;
use tonic::codegen::http::header::CONTENT_TYPE;
use tonic::codegen::http::{self, StatusCode, Uri};
use tonic::transport::Channel;
use tower::ServiceExt as _;

use super::Failure;
use super::load::{Asked, Call};
use super::wire::{Counts, Unreadable};
use crate::config::keys::DEFAULT_AUTHZEN_RESOURCE_TYPE;
use crate::domain::Reason;
use crate::proto::v1;

/// The largest response that is taken: one answer has some hundred bytes.
const RESPONSE_BYTES_MAX: usize = 64 << 10;

/// What is read of a response.
#[derive(Deserialize)]
struct Response<'a> {
    decision: bool,
    #[serde(borrow)]
    context: Context<'a>,
}

#[derive(Deserialize)]
struct Context<'a> {
    reason: &'a str,
    evidence_id: Option<&'a str>,
}

/// The request about a subject.
pub(super) fn request(asked: &Asked, subject: &v1::Subject) -> String {
    let request = serde_json::json!({
        "subject": {"type": subject.space, "id": subject.id},
        "action": {"name": asked.channel},
        "resource": {"type": DEFAULT_AUTHZEN_RESOURCE_TYPE, "id": asked.purpose},
    });
    request.to_string()
}

/// Sends a request over HTTP/2 and gives the body of its response.
///
/// # Errors
/// If there is no connection, or the status is not that of an answer.
pub(super) async fn send(channel: &mut Channel, request: Bytes) -> Result<Bytes, Status> {
    let failed = |error: tonic::transport::Error| Status::unavailable(Failure::from(error).to_string());
    let body = Body::new(axum::body::Body::from(request));
    let post = http::Request::post(Uri::from(Call::Authzen.path())).header(CONTENT_TYPE, "application/json").body(body);
    let post = post.map_err(|error| Status::internal(error.to_string()))?;
    let response = channel.ready().await.map_err(failed)?.call(post).await.map_err(failed)?;
    // Where nobody serves the path, gRPC says so with a status of 200.
    if response.status() != StatusCode::OK || response.headers().contains_key("grpc-status") {
        let told = format!("HTTP status {}, no answer; is `authzen.enabled` set?", response.status());
        return Err(Status::unimplemented(told));
    }
    let body = axum::body::Body::new(response.into_body());
    axum::body::to_bytes(body, RESPONSE_BYTES_MAX).await.map_err(|error| Status::unavailable(error.to_string()))
}

/// Counts the decision of a response.
///
/// # Errors
/// If it has none.
pub(super) fn count(counts: &mut Counts, response: &[u8]) -> Result<u64, Unreadable> {
    let Response { decision, context } = serde_json::from_slice(response).map_err(|_| Unreadable)?;
    let reason = Reason::from_name(context.reason).ok_or(Unreadable)?;
    counts.add_one(reason.into(), decision, context.evidence_id.is_some());
    Ok(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_counted_as_it_says() {
        let mut counts = Counts::default();
        let allowed = br#"{"decision":true,"context":{"reason":"CONSENT","evidence_id":"e","more":[]}}"#;
        assert_eq!(count(&mut counts, allowed), Ok(1));
        assert_eq!(count(&mut counts, br#"{"decision":false,"context":{"reason":"WITHDRAWN"}}"#), Ok(1));
        assert_eq!((counts.answers, counts.allowed, counts.unevidenced), (2, 1, 1));
        for other in [&b"{}"[..], b"", br#"{"decision":true}"#, br#"{"decision":true,"context":{"reason":"FINE"}}"#] {
            assert_eq!(count(&mut Counts::default(), other), Err(Unreadable));
        }
    }
}
