//! One connection, from its handshake to its end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tonic::codegen::Service as _;
use tonic::codegen::http::{HeaderMap, Response, StatusCode, header};
use tonic::service::Routes;
use tonic::{Status, body};

use super::peer::{self, Asker};
use super::stream::{Carrier, Patient};
use super::taken::{Answer, Calls};
use super::tls::Renewed;
use super::{Config, until};
use crate::access::{Policy, Proof};
use crate::clock::Clock;
use crate::proto::grpc_timeout;
use crate::telemetry::{Metrics, Refusal, Wire};

/// After this long without a sign of life a connection of HTTP/2 is asked for one; without an answer it is closed.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Time for that answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a handshake of TLS, and for one of HTTP/1.1's requests to have come with its headers.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The headers of a call: a hundred times what callers send.
const HEADERS_BYTES_MAX: u32 = 16 << 10;
/// What is read of a connection of HTTP/1.1 before it is taken up, and held of an answer before it is taken.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// Calls that are reset before they were taken up: more is an attack (CVE-2023-44487), and ends the connection.
const RESETS_MAX: usize = 20;
/// The least time between two lines of the log about connections that were refused.
const REFUSAL_SAID_INTERVAL_MS: u64 = 1000;
/// How far ages differ, as a part of the whole: callers that came at once do not all come back at once.
const AGE_JITTER: f64 = 0.1;

/// What all connections share.
#[derive(Debug)]
pub(super) struct Connections {
    http: auto::Builder<Calls>,
    routes: Routes,
    policy: Policy,
    tls: Option<Arc<Renewed>>,
    metrics: Metrics,
    random: SystemRandom,
    clock: Clock,
    /// On the boot clock; 0 is never.
    refusal_said_ms: AtomicU64,
    request_timeout: Duration,
    max_age: Option<Duration>,
    age_grace: Duration,
}

/// Why a connection was not spoken over.
#[derive(Debug, thiserror::Error)]
enum HandshakeError {
    #[error("the TLS handshake failed: {0}")]
    Tls(#[from] io::Error),
    #[error("the TLS handshake took longer than {HANDSHAKE_TIMEOUT:?}")]
    Slow,
}

impl Connections {
    pub(super) fn new(
        config: &Config,
        routes: Routes,
        tls: Option<Arc<Renewed>>,
        metrics: Metrics,
        clock: Clock,
    ) -> Self {
        let mut http = auto::Builder::new(Calls);
        if !config.http1 {
            http = http.http2_only();
        }
        http.http2()
            .timer(TokioTimer::new())
            .initial_stream_window_size(config.windows.stream_bytes)
            .initial_connection_window_size(config.windows.connection_bytes)
            .max_concurrent_streams(u32::try_from(config.max_concurrent_streams).unwrap_or(u32::MAX))
            .keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .max_header_list_size(HEADERS_BYTES_MAX)
            .max_pending_accept_reset_streams(RESETS_MAX)
            .max_send_buf_size(BUFFER_BYTES_MAX);
        http.http1().timer(TokioTimer::new()).header_read_timeout(HANDSHAKE_TIMEOUT).max_buf_size(BUFFER_BYTES_MAX);
        Self {
            http,
            // Sets up the router for many requests, once for all connections.
            routes: routes.prepare(),
            policy: Policy::new(&config.callers),
            tls,
            metrics,
            random: SystemRandom::new(),
            clock,
            refusal_said_ms: AtomicU64::new(0),
            request_timeout: config.request_timeout,
            max_age: config.max_connection_age,
            age_grace: config.max_connection_age_grace,
        }
    }

    /// Serves one connection until it ends: by the other side, by its age, or because serving stops.
    pub(super) async fn serve(&self, carrier: Carrier, stopped: watch::Receiver<bool>) {
        let peer = carrier.peer();
        let (carrier, proof) = tokio::select! {
            shaken = self.shake_hands(carrier) => match shaken {
                Ok(shaken) => shaken,
                Err(error) => {
                    self.metrics.refused(Wire::Connection, Refusal::Handshake);
                    self.say_refused(peer, &error);
                    return;
                }
            },
            () = until(stopped.clone()) => return,
        };
        let asker = Arc::new(Asker::new(&self.policy, proof.as_ref()));
        let request_timeout = self.request_timeout;
        let service = service_fn(|request| answer(self.routes.clone(), Arc::clone(&asker), request_timeout, request));
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(Patient::new(carrier)), service));
        tokio::select! {
            // However it ended, nobody is there to be told.
            _ = &mut connection => return,
            () = self.grown_old() => {}
            () = until(stopped.clone()) => {}
        }
        // What is in flight is answered; the other side is told to ask no more here.
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            _ = &mut connection => {}
            // When serving stops it is for whoever stops it to say how long that may take.
            () = async { until(stopped).await; std::future::pending().await } => {}
            () = sleep(self.age_grace) => {}
        }
    }

    /// What carries the requests, and what it proves about who is at the other end; nothing where that cannot be believed.
    async fn shake_hands(&self, carrier: Carrier) -> Result<(Carrier, Option<Proof>), HandshakeError> {
        match (carrier, &self.tls) {
            (Carrier::Tcp(stream), Some(tls)) => {
                let accepted = timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(tls.config()).accept(stream)).await;
                let stream = accepted.map_err(|_| HandshakeError::Slow)??;
                let proof = peer::of_certificates(stream.get_ref().1.peer_certificates());
                Ok((Carrier::Tls(Box::new(stream)), proof))
            }
            (Carrier::Uds(stream), _) => {
                let proof = peer::of_socket(&stream);
                Ok((Carrier::Uds(stream), proof))
            }
            (carrier, _) => Ok((carrier, Some(Proof::Nothing))),
        }
    }

    /// Says why a connection was refused, unless that was just said of another.
    fn say_refused(&self, peer: Option<SocketAddr>, error: &HandshakeError) {
        let now_ms = self.clock.boot().millis();
        let said_ms = self.refusal_said_ms.load(Ordering::Relaxed);
        let is_due = said_ms == 0 || now_ms.saturating_sub(said_ms) >= REFUSAL_SAID_INTERVAL_MS;
        let exchanged = self.refusal_said_ms.compare_exchange(said_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed);
        if is_due && exchanged.is_ok() {
            tracing::warn!(peer = peer.map(tracing::field::display), %error, "a connection was refused");
        }
    }

    /// Done when a connection that begins now has grown old.
    async fn grown_old(&self) {
        let Some(age) = self.max_age else { return std::future::pending().await };
        let mut byte = [0; 4];
        // Without randomness all grow equally old.
        let share =
            self.random.fill(&mut byte).map_or(0.5, |()| f64::from(u32::from_le_bytes(byte)) / f64::from(u32::MAX));
        sleep(age.mul_f64(1.0 - AGE_JITTER + 2.0 * AGE_JITTER * share)).await;
    }
}

/// Has one request answered, in whose name it is, within its deadline.
async fn answer(
    mut routes: Routes,
    asker: Arc<Asker>,
    request_timeout: Duration,
    mut request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    if let Some(caller) = asker.of(request.headers()) {
        request.extensions_mut().insert(caller);
    }
    let is_grpc = is_grpc(request.headers());
    let timeout_asked =
        request.headers().get("grpc-timeout").and_then(|value| value.to_str().ok()).and_then(grpc_timeout);
    let deadline = timeout_asked.map_or(request_timeout, |asked| asked.min(request_timeout));
    let response = match timeout(deadline, routes.call(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => late(is_grpc),
    };
    Ok(response.map(Answer::new))
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// What is said where the deadline came first. Whoever set it has mostly gone.
fn late(is_grpc: bool) -> Response<body::Body> {
    if is_grpc {
        return Status::deadline_exceeded("the deadline came before the answer; treat this as DENY").into_http();
    }
    let mut response = Response::new(body::Body::empty());
    *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
    response
}
