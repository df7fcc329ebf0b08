//! Envoy's authorization call to the domain and back: `envoy.service.auth.v3.Authorization` over the enforcer.
//!
//! Owns where in a request's attributes the parts of the question stand, and how an answer looks to Envoy. Must not know
//! how an answer comes about.
//!
//! Invariants:
//! - P2: every check ends with RPC status OK and an explicit verdict. Any RPC error would be an allow wherever a proxy is
//!   told to let requests through when it cannot ask (`failure_mode_allow`).
//! - A request is allowed by an ALLOW with evidence and by nothing else: `response` makes all responses.
//! - What could be two things is denied. A source that is there decides, also where it cannot be read.
//! - No text that came with a subject's id is repeated in a response or a log.

mod attributes;
mod mapping;
mod percent;
mod response;
mod service;
mod source;
mod template;

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tonic::{Request, Streaming};

use crate::access::Caller;
use crate::enforcer::wellformed::Malformed;
use crate::enforcer::{Call, CallKind, Enforcer, patience};
use crate::proto::foreign::envoy::service::auth::v3::{CheckRequest, CheckResponse};
use crate::proto::grpc_timeout;
use crate::telemetry::{self, Metrics, TraceParent, Wire};
use attributes::Attributes;
use response::{Refusal, Told};

pub use mapping::Mapping;
pub use response::REFUSALS;
pub use source::{Field, Sources};

/// What the names of headers begin with that answers are told in; whatever a client sends under such a name is removed.
pub const PREFIX: &str = "x-consentd-";
/// The part of the proxy's deadline in which the answer must be on its way.
const ANSWER_SHARE: (u32, u32) = (9, 10);

/// The service; clones share everything.
#[derive(Debug, Clone)]
pub struct Checker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    enforcer: Enforcer,
    metrics: Metrics,
    mapping: Option<Mapping>,
    limits: Limits,
    turns: Semaphore,
}

/// How much is taken, and how long an answer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest message, in bytes.
    pub message_bytes_max: usize,
    /// The most checks that are answered at once; more wait, and are denied when their time is up.
    pub in_flight_max: usize,
    /// The longest that a check may take, whatever its proxy allows.
    pub timeout: Duration,
}

/// What a check carries beside its message.
#[derive(Debug)]
struct Carried {
    caller: Option<Caller>,
    trace: Option<TraceParent>,
    /// What its proxy allows for it.
    allowed: Duration,
}

impl Checker {
    /// The service over an enforcer. Without a mapping every check is denied, and says why.
    #[must_use]
    pub fn new(enforcer: Enforcer, metrics: Metrics, mapping: Option<Mapping>, limits: Limits) -> Self {
        let turns = Semaphore::new(limits.in_flight_max.min(Semaphore::MAX_PERMITS));
        Self(Arc::new(Shared { enforcer, metrics, mapping, limits, turns }))
    }

    /// The service under its path.
    pub fn into_router(self) -> axum::Router {
        axum::Router::new().route_service(service::PATH, self)
    }

    fn message_bytes_max(&self) -> usize {
        self.0.limits.message_bytes_max
    }

    /// Answers a check, whatever it says and whatever happens, in the time that its proxy allows.
    ///
    /// # Cancel safety
    /// As [`Enforcer::answer`].
    async fn check(&self, request: Request<Streaming<CheckRequest>>, came: Instant) -> CheckResponse {
        let carried = self.carried(&request);
        let until = tokio::time::Instant::from_std(carried.answer_until(came));
        let answering = whatever_happens(self.answer(carried, request.into_inner(), came));
        match tokio::time::timeout_at(until, answering).await.unwrap_or(Err(Refusal::NotInTime)) {
            Ok(response) => response,
            Err(refusal) => Told::refusal(&refusal).into_response(std::iter::empty()),
        }
    }

    async fn answer(
        &self,
        carried: Carried,
        mut messages: Streaming<CheckRequest>,
        came: Instant,
    ) -> Result<CheckResponse, Refusal> {
        let Shared { enforcer, metrics, mapping, turns, .. } = &*self.0;
        let message = service::read(&mut messages).await?;
        let mapping = mapping.as_ref().ok_or(Refusal::NotConfigured)?;
        let Some(caller) = &carried.caller else {
            metrics.refused(Wire::ExtAuthz, telemetry::Refusal::UnknownCaller);
            return Err(Refusal::CallerNotPermitted);
        };
        // Nobody closes it; were it closed, the check would merely be answered at once.
        let _turn = turns.acquire().await;
        let context = message.attributes.unwrap_or_default();
        let attributes = Attributes::new(&context);
        let mapped = mapping.read(&attributes)?;
        let asked = mapped.asked()?;
        let question = asked.ask.question;
        if !caller.may_ask(question.purpose, question.channel) {
            metrics.refused(Wire::ExtAuthz, telemetry::Refusal::NotPermitted);
            return Err(Refusal::CallerNotPermitted);
        }
        // Of the time that may be waited, some has gone by.
        let since = Instant::now();
        let patience = patience::waiting(carried.allowed).saturating_sub(since.duration_since(came));
        let call = Call {
            kind: CallKind::ExtAuthz,
            shared: question,
            at_least_as_fresh: asked.at_least_as_fresh,
            patience,
            since,
            caller: caller.name(),
            // The proxy's own span, where it traces; else its client's.
            trace: carried.trace.or_else(|| parent(&attributes)),
        };
        let answered = enforcer.answer(&call, std::slice::from_ref(&asked.ask)).await;
        metrics.took(telemetry::Call::ExtAuthz, came.elapsed());
        let told = Told::answer(answered.answers(), answered.seen(), answered.evidence(), &question);
        Ok(told.into_response(attributes.header_names()))
    }

    fn carried<M>(&self, request: &Request<M>) -> Carried {
        let text = |name: &str| request.metadata().get(name).and_then(|value| value.to_str().ok());
        let timeout = text("grpc-timeout").and_then(grpc_timeout);
        Carried {
            caller: request.extensions().get().cloned(),
            trace: text("traceparent").and_then(TraceParent::parse),
            allowed: timeout.unwrap_or(Duration::MAX).min(self.0.limits.timeout),
        }
    }
}

impl Carried {
    /// When the answer must be on its way.
    fn answer_until(&self, came: Instant) -> Instant {
        let (part, whole) = ANSWER_SHARE;
        came + self.allowed.saturating_mul(part) / whole
    }
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// The span that a request's own headers name, where they name one.
fn parent(attributes: &Attributes<'_>) -> Option<TraceParent> {
    let mut header = None;
    attributes.each_header("traceparent", |value| header = header.or(value.ok()));
    TraceParent::parse(header?)
}

/// Makes of a panic, which would end the call with an error, a refusal. Nothing that the work has touched is used again
/// but the enforcer, whose own state no panic leaves half changed: it is behind locks and atomics.
async fn whatever_happens<T>(work: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    let mut work = pin!(work);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        polled.unwrap_or(Poll::Ready(Err(Refusal::Defect)))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_refusal() {
        assert_eq!(whatever_happens(async { Ok::<_, Refusal>(7) }).await, Ok(7));
        let panics = whatever_happens(async {
            tokio::task::yield_now().await;
            let fields: Vec<u8> = Vec::new();
            Ok(fields[0])
        });
        assert_eq!(panics.await, Err(Refusal::Defect));
    }
}
