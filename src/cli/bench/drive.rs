//! Sends the requests of a run and counts what comes back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prost::bytes::Bytes;
use tokio::sync::mpsc::{self, UnboundedReceiver, unbounded_channel};
use tokio::sync::{Semaphore, mpsc::Sender};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codegen::Service as _;
use tonic::codegen::http::header::CONTENT_TYPE;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::http::{self, StatusCode, Uri};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tower::ServiceExt as _;

use super::load::{Call, Load};
use super::tally::{Tally, Window};
use super::wire::Raw;
use super::{Failure, pace};
use crate::cli::client::{self, Address};

/// The largest response that is taken: ten thousand answers stay below.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// What may be on its way to us on one stream.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// What may be on its way to us on one connection.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// How long answers are waited for after the last call.
const GRACE: Duration = Duration::from_secs(10);
/// A caller that was refused waits this long: a server that is down must not be asked in a tight loop.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

/// How a run is driven.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) address: Address,
    pub(super) call: Call,
    /// The most calls, or messages of streams, that wait for their answers at once.
    pub(super) in_flight: usize,
    pub(super) connections: usize,
    /// Calls a second; without it the next call begins when one has ended.
    pub(super) rate: Option<f64>,
    pub(super) warmup: Duration,
    pub(super) duration: Duration,
}

/// One connection, as both protocols use it.
struct Client {
    grpc: Grpc<Channel>,
    http: Channel,
}

/// What the callers of a run share.
struct Shared {
    load: Arc<Load>,
    call: Call,
    window: Window,
    tally: Mutex<Tally>,
}

/// Runs a plan on the current runtime, which should have one thread: more would take it from the server.
///
/// # Errors
/// If no connection can be made. Calls that fail are counted.
pub(super) async fn drive(plan: &Plan, load: Arc<Load>) -> Result<Tally, Failure> {
    let mut channels = Vec::new();
    for _ in 0..plan.connections.max(1) {
        channels.push(connect(&plan.address).await?);
    }
    let window = Window::new(Instant::now(), plan.warmup, plan.duration);
    let tally = Mutex::new(Tally::new(window, plan.call)?);
    let shared = Arc::new(Shared { load, call: plan.call, window, tally });
    let mut callers = JoinSet::new();
    match (plan.call, plan.rate) {
        (Call::Stream, rate) => {
            let places = plan.in_flight.div_ceil(channels.len()).max(1);
            let mut clocks = Vec::new();
            for channel in channels {
                let due = rate.map(|_| {
                    let (clock, due) = unbounded_channel();
                    clocks.push(clock);
                    due
                });
                callers.spawn(stream(client(channel), Arc::clone(&shared), places, due));
            }
            if let Some(rate) = rate {
                pace::start(window, rate, clocks)?;
            }
        }
        (_, None) => {
            for channel in channels.iter().cycle().take(plan.in_flight.max(1)) {
                callers.spawn(closed(client(channel.clone()), Arc::clone(&shared)));
            }
        }
        (_, Some(rate)) => {
            let (clock, due) = unbounded_channel();
            callers.spawn(open(channels, Arc::clone(&shared), plan.in_flight.max(1), due));
            pace::start(window, rate, vec![clock])?;
        }
    }
    let all = async { while callers.join_next().await.is_some() {} };
    if tokio::time::timeout_at((window.end + GRACE).into(), all).await.is_err() {
        callers.shutdown().await;
    }
    Ok(shared.tally().clone())
}

/// Sends every request of a load once, one after the other, so that a server has seen all its subjects.
///
/// # Errors
/// If the server cannot be reached, or does not answer.
pub(super) async fn once(address: &Address, call: Call, load: &Load) -> Result<(), Failure> {
    let mut client = client(connect(address).await?);
    for _ in 0..load.len() {
        exchange(&mut client, call, load.next()).await.map_err(|status| client::failure(&status))?;
    }
    Ok(())
}

/// One request and its response, both as bytes; a batch for a stream.
///
/// # Errors
/// What the server said, or that it cannot be reached.
pub(super) async fn probe(address: &Address, call: Call, load: &Load) -> Result<Bytes, Failure> {
    let mut client = client(connect(address).await?);
    let call = if call == Call::Stream { Call::Batch } else { call };
    exchange(&mut client, call, load.next()).await.map_err(|status| client::failure(&status))
}

async fn connect(address: &Address) -> Result<Channel, Failure> {
    let settings = |endpoint: Endpoint| {
        endpoint.initial_stream_window_size(STREAM_WINDOW_BYTES).initial_connection_window_size(CONNECTION_WINDOW_BYTES)
    };
    client::channel_with(address, settings).await
}

fn client(channel: Channel) -> Client {
    let grpc = Grpc::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    Client { grpc, http: channel }
}

async fn exchange(client: &mut Client, call: Call, message: Bytes) -> Result<Bytes, Status> {
    if call == Call::Authzen {
        return post(&mut client.http, call.path(), message).await;
    }
    client.grpc.ready().await.map_err(|error| Status::unavailable(Failure::from(error).to_string()))?;
    let codec = Raw::new(!call.is_single());
    Ok(client.grpc.unary(Request::new(message), call.path(), codec).await?.into_inner())
}

/// A POST of JSON, over HTTP/2.
async fn post(http: &mut Channel, path: PathAndQuery, message: Bytes) -> Result<Bytes, Status> {
    let failed = |error: tonic::transport::Error| Status::unavailable(Failure::from(error).to_string());
    let body = Body::new(axum::body::Body::from(message));
    let request = http::Request::post(Uri::from(path)).header(CONTENT_TYPE, "application/json").body(body);
    let request = request.map_err(|error| Status::internal(error.to_string()))?;
    let response = http.ready().await.map_err(failed)?.call(request).await.map_err(failed)?;
    if response.status() != StatusCode::OK || response.headers().contains_key("grpc-status") {
        return Err(Status::unimplemented(format!("HTTP status {}; is `authzen.enabled` set?", response.status())));
    }
    let body = axum::body::Body::new(response.into_body());
    axum::body::to_bytes(body, MESSAGE_BYTES_MAX).await.map_err(|error| Status::unavailable(error.to_string()))
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        // Counts that a panic elsewhere left are still counts.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One call that was begun, or due, at a moment. Tells whether it was answered.
    async fn call(&self, client: &mut Client, begun: Instant) -> bool {
        let questions = self.load.questions();
        match exchange(client, self.call, self.load.next()).await {
            Ok(response) => {
                self.tally().answered(begun, questions, &response);
                true
            }
            Err(status) => {
                self.tally().failed(begun, &status);
                false
            }
        }
    }
}

/// A caller who begins its next call when the last has ended.
async fn closed(mut client: Client, shared: Arc<Shared>) {
    loop {
        let begun = Instant::now();
        if begun >= shared.window.end {
            return;
        }
        shared.tally().begin(begun, shared.load.questions());
        if !shared.call(&mut client, begun).await {
            tokio::time::sleep(PAUSE_AFTER_ERROR).await;
        }
    }
}

/// Begins calls when they are due, as far as there are places. A call that waits for a place has begun for the tally.
async fn open(channels: Vec<Channel>, shared: Arc<Shared>, places: usize, mut due: UnboundedReceiver<Instant>) {
    let places = Arc::new(Semaphore::new(places));
    let mut calls = JoinSet::new();
    let mut waiting = VecDeque::new();
    let mut next = channels.iter().cycle();
    let mut more = true;
    while more || !waiting.is_empty() || !calls.is_empty() {
        tokio::select! {
            biased;
            place = Arc::clone(&places).acquire_owned(), if !waiting.is_empty() => {
                let (Ok(place), Some(begun), Some(channel)) = (place, waiting.pop_front(), next.next()) else { return };
                let (mut client, shared) = (client(channel.clone()), Arc::clone(&shared));
                calls.spawn(async move {
                    shared.call(&mut client, begun).await;
                    drop(place);
                });
            }
            moment = due.recv(), if more => match moment {
                Some(moment) => {
                    shared.tally().begin(moment, shared.load.questions());
                    waiting.push_back(moment);
                }
                None => more = false,
            },
            _ = calls.join_next(), if !calls.is_empty() => {}
        }
    }
}

/// One stream, with so many messages waiting for their answers at most. Without a clock there are always that many.
async fn stream(mut client: Client, shared: Arc<Shared>, places: usize, due: Option<UnboundedReceiver<Instant>>) {
    let opened = open_stream(&mut client, places).await;
    let (requests, responses) = match opened {
        Ok(opened) => opened,
        Err(status) => {
            let mut tally = shared.tally();
            tally.begin(shared.window.open, 0);
            tally.failed(shared.window.open, &status);
            return;
        }
    };
    let mut state = InStream { requests: Some(requests), responses, sent: VecDeque::new(), shared, places };
    let ended = match due {
        None => state.closed().await,
        Some(due) => state.open(due).await,
    };
    if let Err(status) = ended {
        // What was sent on a stream that has failed is not answered any more.
        for begun in std::mem::take(&mut state.sent) {
            state.shared.tally().failed(begun, &status);
        }
    }
}

async fn open_stream(client: &mut Client, places: usize) -> Result<(Sender<Bytes>, Streaming<Bytes>), Status> {
    client.grpc.ready().await.map_err(|error| Status::unavailable(Failure::from(error).to_string()))?;
    let (sender, requests) = mpsc::channel(places);
    let request = Request::new(ReceiverStream::new(requests));
    let responses = client.grpc.streaming(request, Call::Stream.path(), Raw::new(true)).await?;
    Ok((sender, responses.into_inner()))
}

/// A stream and the messages on it that have no answer yet, the eldest first.
struct InStream {
    requests: Option<Sender<Bytes>>,
    responses: Streaming<Bytes>,
    sent: VecDeque<Instant>,
    shared: Arc<Shared>,
    places: usize,
}

impl InStream {
    async fn closed(&mut self) -> Result<(), Status> {
        loop {
            while self.sent.len() < self.places && Instant::now() < self.shared.window.end {
                let begun = Instant::now();
                self.shared.tally().begin(begun, self.shared.load.questions());
                self.send(begun).await?;
            }
            if self.sent.is_empty() {
                return self.end().await;
            }
            self.receive().await?;
        }
    }

    async fn open(&mut self, mut due: UnboundedReceiver<Instant>) -> Result<(), Status> {
        let mut waiting = VecDeque::new();
        let mut more = true;
        while more || !waiting.is_empty() || !self.sent.is_empty() {
            while self.sent.len() < self.places
                && let Some(begun) = waiting.pop_front()
            {
                self.send(begun).await?;
            }
            tokio::select! {
                moment = due.recv(), if more => match moment {
                    Some(moment) => {
                        self.shared.tally().begin(moment, self.shared.load.questions());
                        waiting.push_back(moment);
                    }
                    None => more = false,
                },
                received = self.receive(), if !self.sent.is_empty() => received?,
            }
        }
        self.end().await
    }

    async fn send(&mut self, begun: Instant) -> Result<(), Status> {
        self.sent.push_back(begun);
        let Some(requests) = &self.requests else { return Ok(()) };
        if requests.send(self.shared.load.next()).await.is_err() {
            // The stream has ended; why, its responses tell.
            return self.end().await;
        }
        Ok(())
    }

    /// Takes the next response. Nothing is lost when it is dropped while it waits.
    async fn receive(&mut self) -> Result<(), Status> {
        let Some(response) = self.responses.message().await? else {
            return Err(Status::unavailable("the stream ended early"));
        };
        if let Some(begun) = self.sent.pop_front() {
            self.shared.tally().answered(begun, self.shared.load.questions(), &response);
        }
        Ok(())
    }

    /// Ends the stream in order.
    async fn end(&mut self) -> Result<(), Status> {
        self.requests = None;
        while let Some(response) = self.responses.message().await? {
            if let Some(begun) = self.sent.pop_front() {
                self.shared.tally().answered(begun, self.shared.load.questions(), &response);
            }
        }
        if self.sent.is_empty() { Ok(()) } else { Err(Status::unavailable("the stream ended early")) }
    }
}
