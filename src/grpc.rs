//! Wire to domain and back: service `consent.v1.EnforcementService` over the enforcer.
//!
//! Owns what a well-formed question is, the limits, and how answers look on the wire. Must not know how an answer comes
//! about.
//!
//! Invariants:
//! - P2: a well-formed question gets an answer. The only statuses made here are those of `status`: for malformed ones,
//!   for an earlier answer that is not to be had, for a stream that is idle while the sidecar stops, and for a panic in a
//!   stream.
//! - No text that came with a subject's id is repeated in a status or a log.

mod answer;
mod question;
mod status;

use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use crate::access::Caller;
use crate::domain::Question;
use crate::enforcer::wellformed::{self, Malformed};
use crate::enforcer::{Ask, Call, CallKind, Enforcer, Sight, Token, Turn as HeavyTurn, heavy, patience};
use crate::explain::{FindError, Found};
use crate::proto::v1::enforcement_service_server::EnforcementService;
use crate::proto::{grpc_timeout, v1};
use crate::telemetry::{self, Metrics, Refusal, TraceParent, Wire};
use question::Shared;

pub use crate::proto::v1::enforcement_service_server::EnforcementServiceServer;

/// Questions in one batch or one message of a stream. The protocol promises this many; a sidecar may be set to fewer.
pub const BATCH_QUESTIONS_MAX: usize = 10_000;
/// Messages of a stream that wait for a slow reader beside those that are being answered, one for each processor: one, so
/// that no processor waits while an answer is on its way.
const STREAM_ANSWERED: usize = 1;
/// While the sidecar stops, a stream on which nothing was asked for this long is ended: a caller that has questions left
/// sends the next message within milliseconds, and one that holds a stream open would hold the end up.
const STOPPING_PATIENCE: Duration = Duration::from_millis(500);

/// The service; clones share the enforcer.
#[derive(Debug, Clone)]
pub struct Enforcement {
    enforcer: Enforcer,
    metrics: Metrics,
    batch_max: usize,
    stopping: watch::Receiver<bool>,
    /// Messages of one stream at once.
    stream_window: usize,
}

/// One message of a stream, with what came before it.
#[derive(Debug)]
struct Message {
    came: Instant,
    carried: Carried,
    context: Arc<v1::Context>,
    /// The token of the view at which the stream began; empty for the first message.
    pinned: String,
    questions: Vec<v1::BatchQuestion>,
}

/// A call that may be answered now.
#[derive(Debug)]
struct Begun {
    /// Given back when the call is answered; `None` for a light one.
    turn: Option<HeavyTurn>,
    sight: Sight,
}

/// An answer to a message, in its turn.
#[derive(Debug)]
enum Turn {
    Answered(Result<v1::MayProcessStreamResponse, Status>),
    Coming(JoinHandle<Result<v1::MayProcessStreamResponse, Status>>),
}

/// What a call carries beside its message.
#[derive(Debug, Clone)]
struct Carried {
    /// Who asks.
    caller: Caller,
    /// The caller's; none is for ever.
    deadline: Option<Instant>,
    trace: Option<TraceParent>,
}

impl Enforcement {
    /// The service over an enforcer. `batch_max` is at most [`BATCH_QUESTIONS_MAX`]; once `stopping` is true, streams that
    /// are idle are ended.
    #[must_use]
    pub fn new(enforcer: Enforcer, metrics: Metrics, batch_max: usize, stopping: watch::Receiver<bool>) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let stream_window = processors + STREAM_ANSWERED;
        Self { enforcer, metrics, batch_max: batch_max.min(BATCH_QUESTIONS_MAX), stopping, stream_window }
    }

    /// What a call carries; from nobody who may ask no call is looked at any further.
    fn carried<M>(&self, request: &Request<M>, came: Instant) -> Result<Carried, Status> {
        let text = |name: &str| request.metadata().get(name).and_then(|value| value.to_str().ok());
        let Some(caller) = request.extensions().get::<Caller>() else {
            self.metrics.refused(Wire::Grpc, Refusal::UnknownCaller);
            return Err(status::unknown_caller());
        };
        let deadline = text("grpc-timeout").and_then(grpc_timeout);
        Ok(Carried {
            caller: caller.clone(),
            deadline: deadline.and_then(|deadline| came.checked_add(deadline)),
            trace: TraceParent::of(request.metadata().get_all("traceparent").iter().map(MetadataValue::as_bytes)),
        })
    }

    /// Lets a caller ask about what it may ask about, and about nothing else.
    fn permit(&self, carried: &Carried, asks: &[Ask<'_>]) -> Result<(), Status> {
        let mut permitted: Option<(&str, &str)> = None;
        for Ask { question, .. } in asks {
            let asked = (question.purpose, question.channel);
            // Neighbours mostly ask about the same.
            if permitted == Some(asked) {
                continue;
            }
            if !carried.caller.may_ask(asked.0, asked.1) {
                self.metrics.refused(Wire::Grpc, Refusal::NotPermitted);
                return Err(status::not_permitted(&carried.caller, question));
            }
            permitted = Some(asked);
        }
        Ok(())
    }

    /// The earlier answer that an evidence id names, if it is about the subject of a question and this caller may ask about
    /// its purpose.
    async fn find(&self, carried: &Carried, id: &str, question: Option<&v1::Question>) -> Result<Found, Status> {
        let id = wellformed::evidence_id("evidence_id", id)?;
        let subject = question::subject("question.subject", question.and_then(|question| question.subject.as_ref()))?;
        let text = format!("{}:{}", subject.space, subject.id);
        let caller = carried.caller.clone();
        let found = self.enforcer.find(id, text, move |purpose, channel| caller.may_ask(purpose, channel)).await;
        found.map_err(|error| {
            if error == FindError::NotPermitted {
                self.metrics.refused(Wire::Grpc, Refusal::NotPermitted);
            }
            status::not_found(&error)
        })
    }

    /// Answers the questions of a batch or of one message of a stream, which may have begun before.
    async fn answer_batch(
        &self,
        kind: CallKind,
        came: Instant,
        carried: &Carried,
        shared: &Shared<'_>,
        questions: &[v1::BatchQuestion],
        begun: Option<Begun>,
    ) -> Result<(Vec<v1::Answer>, v1::View, String), Status> {
        if questions.is_empty() {
            return Err(Malformed::new("questions", "is empty").into());
        }
        if questions.len() > self.batch_max {
            return Err(Malformed::new(
                "questions",
                format_args!("has {}, allowed are {}", questions.len(), self.batch_max),
            )
            .into());
        }
        let asks = shared.asks(questions)?;
        self.permit(carried, &asks)?;
        let call = call(kind, came, carried, shared.question, shared.at_least_as_fresh);
        let Begun { turn, sight } = match begun {
            Some(begun) => begun,
            None => self.begin(&call, asks.len()).await,
        };
        let answers = async { answer::batch(self.enforcer.answer_in(sight, &call, &asks).await) };
        Ok(heavy::in_turn(turn, answers).await)
    }

    /// Waits for the token that a call asks for, and where the call is heavy for its turn. The view comes last, so that it
    /// is not older than need be.
    async fn begin(&self, call: &Call<'_>, questions: usize) -> Begun {
        let token = self.enforcer.reach(call).await;
        let turn = self.enforcer.turn(questions).await;
        Begun { turn, sight: self.enforcer.sight(token) }
    }

    /// The next message of a stream; `None` at its end.
    async fn next_message<M>(&self, messages: &mut Streaming<M>) -> Option<Result<M, Status>> {
        let mut stopping = self.stopping.clone();
        let idle = async {
            // An error means that whoever could say so is gone, and the sidecar with it.
            let _ = stopping.wait_for(|stopping| *stopping).await;
            tokio::time::sleep(STOPPING_PATIENCE).await;
        };
        tokio::select! {
            biased;
            message = messages.next() => message,
            () = idle => Some(Err(status::stopping())),
        }
    }

    /// Reads a stream's messages and has several answered at once; their answers leave in the order of the messages.
    async fn read_stream(
        &self,
        carried: Carried,
        mut requests: Streaming<v1::MayProcessStreamRequest>,
        turns: &mpsc::Sender<Turn>,
    ) -> Result<(), Status> {
        let mut context: Option<Arc<v1::Context>> = None;
        let mut pinned = String::new();
        loop {
            // Room first: a slow reader holds the questions back, and not only their answers.
            let Ok(room) = turns.reserve().await else { return Ok(()) };
            let Some(request) = self.next_message(&mut requests).await else { return Ok(()) };
            let came = Instant::now();
            let v1::MayProcessStreamRequest { context: new, questions } = request?;
            if let Some(new) = new {
                context = Some(Arc::new(new));
            }
            let context = context.clone();
            let context = context.ok_or_else(|| Malformed::new("context", "is missing in the first message"))?;
            let message = Message { came, carried: carried.clone(), context, pinned: pinned.clone(), questions };
            // In the order of the messages, so that their views never go back, however long each takes.
            let shared = message.shared()?;
            let asked =
                call(CallKind::MayProcessStream, came, &message.carried, shared.question, shared.at_least_as_fresh);
            let begun = self.begin(&asked, message.questions.len()).await;
            if pinned.is_empty() {
                // The others wait: none of them may rest on less than the view at which the stream began.
                let response = self.answer_message(&message, begun).await?;
                pinned = response.view.as_ref().map_or_else(String::new, |view| view.ledger_token.clone());
                room.send(Turn::Answered(Ok(response)));
            } else {
                let service = self.clone();
                room.send(Turn::Coming(tokio::spawn(async move { service.answer_message(&message, begun).await })));
            }
        }
    }

    async fn answer_message(&self, message: &Message, begun: Begun) -> Result<v1::MayProcessStreamResponse, Status> {
        let Message { came, carried, questions, .. } = message;
        let kind = CallKind::MayProcessStream;
        let answered = self.answer_batch(kind, *came, carried, &message.shared()?, questions, Some(begun)).await?;
        self.metrics.took(telemetry::Call::MayProcessStream, came.elapsed());
        let (answers, view, evidence_id) = answered;
        Ok(v1::MayProcessStreamResponse { answers, view: Some(view), evidence_id })
    }
}

impl Message {
    /// What its questions share, at least as fresh as the view at which the stream began.
    fn shared(&self) -> Result<Shared<'_>, Malformed> {
        let mut shared = Shared::new(&self.context)?;
        let pin = wellformed::token("context.at_least_as_fresh", &self.pinned)?;
        shared.at_least_as_fresh = later(shared.at_least_as_fresh, pin);
        Ok(shared)
    }
}

impl Turn {
    async fn answer(self) -> Result<v1::MayProcessStreamResponse, Status> {
        match self {
            Self::Answered(answer) => answer,
            Self::Coming(answer) => answer.await.unwrap_or_else(|_| Err(status::defect())),
        }
    }
}

#[tonic::async_trait]
impl EnforcementService for Enforcement {
    async fn may_process(
        &self,
        request: Request<v1::MayProcessRequest>,
    ) -> Result<Response<v1::MayProcessResponse>, Status> {
        let began = Instant::now();
        let carried = self.carried(&request, began)?;
        let message = request.into_inner();
        let asked = question::Asked::new(message.question.as_ref())?;
        self.permit(&carried, std::slice::from_ref(&asked.ask))?;
        let call = call(CallKind::MayProcess, began, &carried, asked.ask.question, asked.at_least_as_fresh);
        let answered = self.enforcer.answer(&call, std::slice::from_ref(&asked.ask)).await;
        self.metrics.took(telemetry::Call::MayProcess, began.elapsed());
        Ok(Response::new(answer::single(answered)))
    }

    async fn may_process_batch(
        &self,
        request: Request<v1::MayProcessBatchRequest>,
    ) -> Result<Response<v1::MayProcessBatchResponse>, Status> {
        let began = Instant::now();
        let carried = self.carried(&request, began)?;
        let v1::MayProcessBatchRequest { context, questions } = request.into_inner();
        let context = context.unwrap_or_default();
        let shared = Shared::new(&context)?;
        let kind = CallKind::MayProcessBatch;
        let (answers, view, evidence_id) = self.answer_batch(kind, began, &carried, &shared, &questions, None).await?;
        self.metrics.took(telemetry::Call::MayProcessBatch, began.elapsed());
        Ok(Response::new(v1::MayProcessBatchResponse { answers, view: Some(view), evidence_id }))
    }

    type MayProcessStreamStream = Pin<Box<dyn Stream<Item = Result<v1::MayProcessStreamResponse, Status>> + Send>>;

    async fn may_process_stream(
        &self,
        request: Request<Streaming<v1::MayProcessStreamRequest>>,
    ) -> Result<Response<Self::MayProcessStreamStream>, Status> {
        let carried = self.carried(&request, Instant::now())?;
        let requests = request.into_inner();
        let (turns, stream) = mpsc::channel(self.stream_window);
        let service = self.clone();
        // Ends with the caller: its requests end or fail, or nobody takes the answers.
        tokio::spawn(async move {
            if let Err(status) = service.read_stream(carried, requests, &turns).await {
                let _ = turns.send(Turn::Answered(Err(status))).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream).then(Turn::answer))))
    }

    async fn explain(&self, request: Request<v1::ExplainRequest>) -> Result<Response<v1::ExplainResponse>, Status> {
        let began = Instant::now();
        let carried = self.carried(&request, began)?;
        let v1::ExplainRequest { mut question, evidence_id } = request.into_inner();
        let mut found = None;
        if !evidence_id.is_empty() {
            let earlier = self.find(&carried, &evidence_id, question.as_ref()).await?;
            question = Some(question::again(question.unwrap_or_default(), &earlier.recorded)?);
            found = Some(earlier);
        }
        let asked = question::Asked::new(question.as_ref())?;
        self.permit(&carried, std::slice::from_ref(&asked.ask))?;
        let call = call(CallKind::Explain, began, &carried, asked.ask.question, asked.at_least_as_fresh);
        let explained = self.enforcer.explain(&call, &asked.ask, found).await;
        self.metrics.took(telemetry::Call::Explain, began.elapsed());
        Ok(Response::new(answer::explained(explained)))
    }
}

/// A call that came, or a message of a stream that was taken up, at some time.
fn call<'a>(
    kind: CallKind,
    since: Instant,
    carried: &'a Carried,
    shared: Question<'a>,
    at_least_as_fresh: Option<(Token, &'a str)>,
) -> Call<'a> {
    let patience = patience::until(carried.deadline, since);
    Call { kind, shared, at_least_as_fresh, patience, since, caller: carried.caller.name(), trace: carried.trace }
}

/// Of two tokens of one ledger the later. One of another ledger stands, and is answered as such.
fn later<'a>(asked: Option<(Token, &'a str)>, pin: Option<(Token, &'a str)>) -> Option<(Token, &'a str)> {
    match (asked, pin) {
        (Some((asked, _)), Some((pinned, _))) if asked.ledger == pinned.ledger && asked.position < pinned.position => {
            pin
        }
        (asked, pin) => asked.or(pin),
    }
}

/// An [`Ask`] of a question and its subject.
const fn ask<'a>(subject: &'a v1::Subject, question: Question<'a>) -> Ask<'a> {
    Ask { space: subject.space.as_str(), id: subject.id.as_str(), question }
}
