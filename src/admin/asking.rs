//! Asking and explaining on the page: the messages of the wire as JSON, answered by the very service that answers them over
//! gRPC, under the caller's name [`CALLER`].

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tonic::{Code, Request, Status};

use super::visitor::{Stranger, Visitor};
use crate::access::Caller;
use crate::proto::v1;
use crate::proto::v1::enforcement_service_server::EnforcementService;
use crate::telemetry::{Metrics, Refusal, Wire};

/// The name that evidence of what was asked here bears. No caller of the configuration can have it.
pub const CALLER: &str = "admin:page";

/// The media type of what is asked and answered.
const JSON: &str = "application/json";
/// The largest question: both strings of signals, at their longest, and all else.
const BODY_BYTES_MAX: usize = 64 << 10;
/// How long a question may take to come in.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// How long an answer may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// How long an explanation may take: deciding an earlier answer again reads the ledger.
const EXPLANATION_PATIENCE: Duration = Duration::from_mins(1);
/// Questions at once: a person has one.
const AT_ONCE_MAX: usize = 4;

/// Whom the page asks.
#[derive(Debug)]
pub struct Asking<S> {
    /// The service that answers over gRPC.
    pub service: S,
    /// Where it answers: what is asked here is worked out where every answer is.
    pub runtime: Handle,
}

#[derive(Debug)]
struct Desk<S> {
    asking: Asking<S>,
    metrics: Metrics,
    turns: Arc<Semaphore>,
}

/// A call of the service.
type Calling<S, M, R> =
    for<'s> fn(&'s S, Request<M>) -> Pin<Box<dyn Future<Output = Result<tonic::Response<R>, Status>> + Send + 's>>;

/// Why nothing was answered. Holds nothing of the question.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error(transparent)]
    Stranger(#[from] Stranger),
    #[error("the header `Content-Type` must say `application/json`")]
    NotJson,
    #[error("the question is larger than {BODY_BYTES_MAX} bytes, or was cut off")]
    TooLarge,
    #[error("the question did not come in time")]
    TooSlow,
    /// What the reader says would repeat the question.
    #[error(
        "the question cannot be read, at line {line}, column {column}: it must be a message of the protocol as JSON"
    )]
    Unreadable { line: usize, column: usize },
    #[error("there are too many questions at once here; ask again")]
    TooMany,
    #[error("there was no answer in time; nothing is permitted, ask again")]
    TooLate,
    #[error("{}", .0.message())]
    Refused(Box<Status>),
}

/// `/ask` and `/explain`.
pub(super) fn router<S: EnforcementService>(asking: Asking<S>, metrics: Metrics) -> Router {
    let desk = Arc::new(Desk { asking, metrics, turns: Arc::new(Semaphore::new(AT_ONCE_MAX)) });
    Router::new().route("/ask", post(ask::<S>)).route("/explain", post(explain::<S>)).with_state(desk)
}

async fn ask<S: EnforcementService>(
    State(desk): State<Arc<Desk<S>>>,
    visitor: Visitor,
    body: Body,
) -> Result<Response, Unanswered> {
    let message: v1::MayProcessRequest = desk.read(&visitor, body).await?;
    desk.answered(ANSWER_PATIENCE, message, |service, request| service.may_process(request)).await
}

async fn explain<S: EnforcementService>(
    State(desk): State<Arc<Desk<S>>>,
    visitor: Visitor,
    body: Body,
) -> Result<Response, Unanswered> {
    let message: v1::ExplainRequest = desk.read(&visitor, body).await?;
    desk.answered(EXPLANATION_PATIENCE, message, |service, request| service.explain(request)).await
}

impl<S: EnforcementService> Desk<S> {
    /// The message that somebody asks with who may ask.
    async fn read<M: DeserializeOwned>(&self, visitor: &Visitor, body: Body) -> Result<M, Unanswered> {
        visitor.may_ask().inspect_err(|_| self.metrics.refused(Wire::Admin, Refusal::UnknownCaller))?;
        if !is_json(visitor.headers()) {
            return Err(Unanswered::NotJson);
        }
        let read = timeout(BODY_PATIENCE, to_bytes(body, BODY_BYTES_MAX)).await.map_err(|_| Unanswered::TooSlow)?;
        let bytes = read.map_err(|_| Unanswered::TooLarge)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Unanswered::Unreadable { line: error.line(), column: error.column() })
    }

    /// Has a message answered as it would be over gRPC.
    async fn answered<M: Send + 'static, R: Serialize + Send + 'static>(
        self: Arc<Self>,
        patience: Duration,
        message: M,
        call: Calling<S, M, R>,
    ) -> Result<Response, Unanswered> {
        let turn = Arc::clone(&self.turns).try_acquire_owned().map_err(|_| Unanswered::TooMany)?;
        let mut request = Request::new(message);
        request.set_timeout(patience);
        request.extensions_mut().insert(Caller::unrestricted(CALLER.to_owned()));
        let runtime = self.asking.runtime.clone();
        // It is worked out to its end also where nobody waits for it any more, as evidence would have it.
        let answering = runtime.spawn(async move {
            let answered = timeout(patience, call(&self.asking.service, request)).await;
            drop(turn);
            answered
        });
        let answered = answering.await.map_err(|_| Unanswered::TooLate)?.map_err(|_| Unanswered::TooLate)?;
        let message = answered.map_err(|status| Unanswered::Refused(Box::new(status)))?.into_inner();
        match serde_json::to_vec(&message) {
            Ok(json) => Ok(([(CONTENT_TYPE, JSON)], json).into_response()),
            Err(_) => Err(Unanswered::Refused(Box::new(Status::internal("the answer cannot be written as JSON")))),
        }
    }
}

impl IntoResponse for Unanswered {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Stranger(_) => StatusCode::FORBIDDEN,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Unreadable { .. } => StatusCode::BAD_REQUEST,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLate => StatusCode::GATEWAY_TIMEOUT,
            Self::Refused(status) => of_code(status.code()),
        };
        let body = json!({ "error": self.to_string() }).to_string();
        let mut response = (status, [(CONTENT_TYPE, JSON)], body).into_response();
        if status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(RETRY_AFTER, axum::http::HeaderValue::from_static("1"));
        }
        response
    }
}

/// How HTTP says what gRPC would have said.
const fn of_code(code: Code) -> StatusCode {
    match code {
        Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::PermissionDenied | Code::Unauthenticated => StatusCode::FORBIDDEN,
        Code::FailedPrecondition | Code::Aborted | Code::AlreadyExists => StatusCode::CONFLICT,
        Code::Unavailable | Code::ResourceExhausted => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded | Code::Cancelled => StatusCode::GATEWAY_TIMEOUT,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Whether a body is said to be JSON, with or without parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(only), None) = (types.next(), types.next()) else { return false };
    let media_type = only.to_str().ok().and_then(|text| text.split(';').next()).unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case(JSON)
}
