//! Wire to domain and back: the Authorization API 1.0 of AuthZEN, JSON over HTTP, over the enforcer.
//!
//! Owns how an evaluation becomes a question, and how answers and refusals look over HTTP. Must not know how an answer
//! comes about, nor which listener a request came over.
//!
//! A subject is the person that the data is about, named by type and id as by space and id elsewhere; an action is the
//! channel, a resource the purpose. Source: Authorization API 1.0, <https://openid.net/specs/authorization-api-1_0.html>.
//!
//! Invariants:
//! - `"decision": true` is written in one place, from an ALLOW of the enforcer for that very evaluation.
//! - P2: a well-formed evaluation gets an answer, and a DENY is HTTP 200. Other statuses say that nobody answered.
//! - No text that came with a subject is repeated in a response or a log.

mod answer;
mod batch;
mod discovery;
mod json;
mod question;
mod refusal;
mod request;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, Version};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{any, get, post};
use serde_json::value::RawValue;
use tokio_stream::StreamExt as _;

use crate::access::Caller;
use crate::domain::Question;
use crate::enforcer::wellformed::Malformed;
use crate::enforcer::{Answer, Ask, Call, CallKind, Enforcer, heavy, patience};
use crate::telemetry::{self, Metrics, TraceParent, Wire};
use answer::Shared;
use batch::{Evaluations, Semantic};
use json::{BODY, elements, members};
use question::{Terms, TwoLedgers, question};
use refusal::Refusal;
use request::{ENTITIES, Evaluation};

/// Where requests with many evaluations go. Source: section 10.1.
pub(crate) const EVALUATIONS: &str = "/access/v1/evaluations";

/// The identifier of a request, which its response bears too. Source: section 10.1.4.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is answered, and how much at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The type of the resources whose id is a purpose.
    pub resource_type: String,
    /// Where clients reach us, for their discovery: an `https` URL without query, fragment and final slash.
    pub url: Option<String>,
    /// The largest request, in bytes.
    pub body_bytes_max: usize,
    /// The most evaluations in one request.
    pub batch_max: usize,
    /// The longest that one request may take.
    pub timeout: Duration,
}

/// What all requests share.
#[derive(Debug)]
struct Service {
    enforcer: Enforcer,
    metrics: Metrics,
    config: Config,
}

/// What a request carries beside its body.
#[derive(Debug)]
struct Carried {
    came: Instant,
    /// Who asks; nobody who may, where it is missing.
    caller: Option<Caller>,
    trace: Option<TraceParent>,
}

/// The paths of the API. Everything below its prefixes is answered here: elsewhere what nobody serves is told in the
/// words of gRPC, whose status is 200.
pub fn router(enforcer: Enforcer, metrics: Metrics, config: Config) -> Router {
    let service = Arc::new(Service { enforcer, metrics, config });
    Router::new()
        .route("/access/v1/evaluation", post(evaluation))
        .route(EVALUATIONS, post(evaluations))
        .route("/access/{*rest}", any(async || Refusal::NotServed))
        .route("/.well-known/authzen-configuration", get(metadata))
        .route("/.well-known/authzen-configuration/{*rest}", get(metadata))
        .layer(middleware::from_fn(finish))
        .with_state(service)
}

/// What every response has, whatever it is: the identifier of its request, and whether the connection is of use after it.
async fn finish(request: Request, next: Next) -> Response {
    let version = request.version();
    let ids: Vec<_> = request.headers().get_all(REQUEST_ID).iter().cloned().collect();
    let mut response = next.run(request).await;
    for id in ids {
        response.headers_mut().append(REQUEST_ID, id);
    }
    // The request may not have been read to its end. The client has to know, or its next request is lost.
    if version <= Version::HTTP_11 && !matches!(response.status(), StatusCode::OK | StatusCode::BAD_REQUEST) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn evaluation(State(service): State<Arc<Service>>, request: Request) -> Result<Response, Refusal> {
    let (carried, body) = Carried::of(request);
    let answering = async {
        let body = service.read(&carried, body).await?;
        service.answer_one(&carried, members(root(&body)?, BODY, ENTITIES)?).await
    };
    service.in_time(answering).await
}

async fn evaluations(State(service): State<Arc<Service>>, request: Request) -> Result<Response, Refusal> {
    let (carried, body) = Carried::of(request);
    let answering = async {
        let body = service.read(&carried, body).await?;
        let names = ["subject", "action", "resource", "context", "evaluations", "options"];
        let [subject, action, resource, context, evaluations, options] = members(root(&body)?, BODY, names)?;
        let semantic = Semantic::read(options)?;
        let entities = [subject, action, resource, context];
        let list = |list| elements(list, "evaluations", service.config.batch_max);
        let list = evaluations.map(list).transpose()?.unwrap_or_default();
        if list.is_empty() {
            return service.answer_one(&carried, entities).await;
        }
        service.answer_many(&carried, entities, &list, semantic).await
    };
    service.in_time(answering).await
}

async fn metadata(State(service): State<Arc<Service>>, uri: Uri) -> Result<Response, Refusal> {
    discovery::metadata(service.config.url.as_deref(), uri.path())
}

impl Service {
    /// The body of a request that its sender says is JSON, from somebody who may ask.
    async fn read(&self, carried: &Carried, (headers, body): (HeaderMap, Body)) -> Result<Vec<u8>, Refusal> {
        let refusal = match &carried.caller {
            None => Some(Refusal::UnknownCaller),
            Some(_) if !is_json(&headers) => Some(Refusal::NotJson),
            Some(_) => None,
        };
        let body_bytes_max = self.config.body_bytes_max;
        let mut bytes = Vec::new();
        let mut length: usize = 0;
        let mut chunks = body.into_data_stream();
        // Also what is not looked at: a connection of HTTP/1.1 whose request was not read to its end has to be closed.
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| Refusal::CutOff)?;
            length = length.saturating_add(chunk.len());
            if length > body_bytes_max {
                return Err(refusal.unwrap_or(Refusal::TooLarge { body_bytes_max }));
            }
            if refusal.is_none() {
                bytes.extend_from_slice(&chunk);
            }
        }
        refusal.map_or(Ok(bytes), Err)
    }

    /// What a request comes to within its time.
    async fn in_time(&self, answering: impl Future<Output = Result<Response, Refusal>>) -> Result<Response, Refusal> {
        let answered = tokio::time::timeout(self.config.timeout, answering).await.unwrap_or(Err(Refusal::TooLate));
        match &answered {
            Err(Refusal::UnknownCaller) => self.metrics.refused(Wire::Authzen, telemetry::Refusal::UnknownCaller),
            Err(Refusal::NotPermitted { .. }) => self.metrics.refused(Wire::Authzen, telemetry::Refusal::NotPermitted),
            _ => {}
        }
        answered
    }

    /// One evaluation, and its decision alone.
    async fn answer_one(&self, carried: &Carried, entities: [Option<&RawValue>; 4]) -> Result<Response, Refusal> {
        let own = Evaluation::read(entities, &self.config.resource_type)?;
        let defaults = Evaluation::default();
        let asked = question(&own, &defaults)?;
        carried.permit(&asked.ask)?;
        let mut ask = asked.ask;
        ask.question.max_staleness = asked.terms.max_staleness;
        let call = self.call(CallKind::Authzen, carried, ask.question, asked.terms);
        let answered = self.enforcer.answer(&call, std::slice::from_ref(&ask)).await;
        self.metrics.took(telemetry::Call::Authzen, carried.came.elapsed());
        answer::single(&answered)
    }

    /// Several evaluations, with what is not theirs from the defaults.
    async fn answer_many(
        &self,
        carried: &Carried,
        defaults: [Option<&RawValue>; 4],
        list: &[&RawValue],
        semantic: Semantic,
    ) -> Result<Response, Refusal> {
        let evaluations = Evaluations::read(defaults, list, &self.config.resource_type)?;
        let batch = evaluations.questions(semantic).map_err(|TwoLedgers| Refusal::TwoLedgers)?;
        for ask in &batch.asks {
            carried.permit(ask)?;
        }
        // What most ask, for the evidence, which lists those that differ.
        let Some(first) = batch.asks.first() else { return answer::several(&batch.decisions(None)) };
        let call = self.call(CallKind::AuthzenBatch, carried, first.question, batch.terms);
        let token = self.enforcer.reach(&call).await;
        let turn = self.enforcer.turn(batch.asks.len()).await;
        let sight = self.enforcer.sight(token);
        let answering = async {
            let answered = match batch.deciding() {
                None => self.enforcer.answer_in(sight, &call, &batch.asks).await,
                Some(deciding) => {
                    let is_last = |answer: &Answer| answer.verdict() == deciding;
                    self.enforcer.answer_until(sight, &call, &batch.asks, is_last).await
                }
            };
            self.metrics.took(telemetry::Call::AuthzenBatch, carried.came.elapsed());
            let shared = Shared::of(&answered);
            answer::several(&batch.decisions(Some((&answered, &shared))))
        };
        heavy::in_turn(turn, answering).await
    }

    fn call<'a>(&self, kind: CallKind, carried: &'a Carried, shared: Question<'a>, terms: Terms<'a>) -> Call<'a> {
        Call {
            kind,
            shared,
            at_least_as_fresh: terms.at_least_as_fresh,
            patience: patience::waiting(self.config.timeout),
            since: carried.came,
            caller: carried.caller.as_ref().map_or("", Caller::name),
            trace: carried.trace,
        }
    }
}

impl Carried {
    /// Takes a request apart.
    fn of(request: Request) -> (Self, (HeaderMap, Body)) {
        let came = Instant::now();
        let (parts, body) = request.into_parts();
        let trace = TraceParent::of(parts.headers.get_all("traceparent").iter().map(HeaderValue::as_bytes));
        let carried = Self { came, caller: parts.extensions.get().cloned(), trace };
        (carried, (parts.headers, body))
    }

    /// Lets a caller ask about what it may ask about, and nobody else about anything.
    fn permit(&self, ask: &Ask<'_>) -> Result<(), Refusal> {
        let caller = self.caller.as_ref().ok_or(Refusal::UnknownCaller)?;
        if caller.may_ask(ask.question.purpose, ask.question.channel) {
            return Ok(());
        }
        Err(Refusal::not_permitted(caller, &ask.question))
    }
}

/// The value that a body is.
fn root(body: &[u8]) -> Result<&RawValue, Malformed> {
    serde_json::from_slice(body)
        .map_err(|_| Malformed::new(BODY, if body.is_empty() { "is empty" } else { "is not JSON" }))
}

/// Whether a body is said to be JSON, by one header with or without parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(only), None) = (types.next(), types.next()) else { return false };
    let media_type = only.to_str().ok().and_then(|text| text.split(';').next()).unwrap_or_default();
    media_type.trim_matches([' ', '\t']).eq_ignore_ascii_case(answer::JSON)
}
