//! Connections: where they come in, who is at their other end, how many there may be, and how they end.
//!
//! Owns the listeners and the settings of a server, the same for the sidecar and for the null server that it is compared
//! with: a difference between the two is then the sidecar's own work. Must not know what is asked over a connection.
//!
//! Invariants:
//! - Every request bears the [`Caller`](crate::access::Caller) that its connection proves, or none.
//! - With TLS, nothing is answered over TCP before the handshake, and no session is resumed.
//! - Questions are held back at their limit, and a probe never waits behind them.
//! - Waiting for the other side has an end, and so has what is kept for it meanwhile.

mod connection;
mod listener;
mod peer;
mod stream;
mod taken;
mod tls;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tonic::service::Routes;
use tonic_health::pb::health_server::{Health, HealthServer};
use tower::limit::GlobalConcurrencyLimitLayer;

use crate::access::Rule;
use crate::clock::Clock;
use crate::domain::Time;
use crate::proto;
use crate::telemetry::Metrics;
use connection::Connections;
use listener::Listener;
pub use listener::listen;
use tls::{Fingerprint, Renewed};
pub use tls::{Tls, TlsError, TlsVersion};

/// Time to wait after accepting failed, as it does while there are no file descriptors left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Where connections come in, and their limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The TCP listener; `None` is off.
    pub tcp: Option<SocketAddr>,
    /// TLS of the TCP listener; `None` is plain text.
    pub tls: Option<Tls>,
    /// Whether HTTP/1.1 is spoken beside HTTP/2.
    pub http1: bool,
    /// The Unix socket; `None` is off.
    pub uds: Option<PathBuf>,
    /// The socket's file mode.
    pub uds_mode: u32,
    /// Who may ask; without any, whoever reaches a listener.
    pub callers: Vec<Rule>,
    /// The most calls at once on one connection.
    pub max_concurrent_streams: usize,
    /// The most connections.
    pub max_connections: usize,
    /// The most calls at once over all connections; health and reflection do not count, and what is served plainly neither.
    pub max_in_flight: usize,
    /// What may be on its way to us before we have read it, over HTTP/2.
    pub windows: Windows,
    /// The upper bound of a call's deadline.
    pub request_timeout: Duration,
    /// The age at which a connection is ended, give or take a tenth; `None` is never.
    pub max_connection_age: Option<Duration>,
    /// How long what is in flight then may take.
    pub max_connection_age_grace: Duration,
}

/// What the other side may send over HTTP/2 before we have read what it sent; it is kept meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// On one stream, in bytes.
    pub stream_bytes: u32,
    /// On one connection, in bytes.
    pub connection_bytes: u32,
}

/// The certificate that connections begin with, as it is renewed.
#[derive(Debug, Clone)]
pub struct Certificate(Arc<Renewed>);

/// Why a listener cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on `{address}`")]
pub struct ListenError {
    /// The address or path.
    pub address: String,
    /// Why.
    pub source: std::io::Error,
}

/// Why connections cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A file of TLS is missing or wrong.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Why serving ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Reflection cannot be set up.
    #[error("setting up gRPC reflection failed")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// The listeners, bound and not yet accepting.
#[derive(Debug)]
pub struct Transport {
    tcp: Option<SocketAddr>,
    listeners: Vec<Listener>,
    tls: Option<(Arc<Renewed>, Fingerprint)>,
    counts: Counts,
    metrics: Metrics,
    clock: Clock,
    config: Config,
}

/// How many connections there are; clones share it.
#[derive(Debug, Clone)]
pub struct Counts {
    places: Arc<Semaphore>,
    open_max: usize,
    accepted: Arc<AtomicU64>,
}

impl Counts {
    fn new(open_max: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(open_max)), open_max, accepted: Arc::default() }
    }

    /// The connections now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open_max.saturating_sub(self.places.available_permits())
    }

    /// The most at once.
    #[must_use]
    pub const fn open_max(&self) -> usize {
        self.open_max
    }

    /// The connections since the start.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Transport {
    /// Binds what the configuration names, and shows how its connections do on the metrics.
    ///
    /// # Errors
    /// If an address cannot be listened on, or a file of TLS is missing or wrong.
    pub async fn bind(config: Config, metrics: Metrics, clock: &Clock) -> Result<Self, BindError> {
        // First, so that nothing listens that could not answer.
        let tls = config.tls.clone().map(|tls| Renewed::load(tls, config.http1, clock.clone())).transpose()?;
        let tls = tls.map(|(renewed, fingerprint)| (Arc::new(renewed), fingerprint));
        let mut listeners = Vec::new();
        let mut tcp = None;
        if let Some(address) = config.tcp {
            let listener = listen(address)?;
            tcp = listener.local_addr().ok();
            listeners.push(Listener::Tcp(listener));
        }
        if let Some(path) = &config.uds {
            let listening = listener::listen_uds(path, config.uds_mode).await;
            let failed = |source| ListenError { address: path.display().to_string(), source };
            listeners.push(Listener::Uds(listening.map_err(failed)?));
        }
        let counts = Counts::new(config.max_connections);
        Ok(Self { tcp, listeners, tls, counts, metrics, clock: clock.clone(), config })
    }

    /// The TCP address that was really bound.
    #[must_use]
    pub const fn tcp(&self) -> Option<SocketAddr> {
        self.tcp
    }

    /// How many connections there are.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts.clone()
    }

    /// The Unix socket.
    #[must_use]
    pub fn uds(&self) -> Option<&Path> {
        self.config.uds.as_deref()
    }

    /// Serves questions, health and reflection over every listener until `stopped` says so and every connection has ended.
    /// What is `unlimited` bounds itself: there a call that waits too long would end with an error, and an error is no
    /// answer.
    ///
    /// # Errors
    /// If the services cannot be set up.
    ///
    /// # Cancel safety
    /// When it is dropped, so are the connections.
    pub async fn serve<H: Health>(
        self,
        health: HealthServer<H>,
        questions: Routes,
        unlimited: Router,
        stopped: watch::Receiver<bool>,
    ) -> Result<(), ServeError> {
        // Questions alone are held back: a probe that waits behind them would have a busy sidecar killed.
        let in_flight = GlobalConcurrencyLimitLayer::new(self.config.max_in_flight);
        let questions = Routes::from(questions.into_axum_router().layer(in_flight).merge(unlimited));
        let reflect =
            || tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(proto::DESCRIPTORS);
        let routes =
            questions.add_service(health).add_service(reflect().build_v1()?).add_service(reflect().build_v1alpha()?);
        self.serve_routes(routes, stopped).await;
        Ok(())
    }

    /// Serves what is no gRPC, like [`serve`](Self::serve), each request within its time. How many there may be at once is for
    /// the router to say: it knows what each costs.
    ///
    /// # Cancel safety
    /// When it is dropped, so are the connections.
    pub async fn serve_plainly(self, router: Router, stopped: watch::Receiver<bool>) {
        self.serve_routes(Routes::from(router), stopped).await;
    }

    /// The certificate that connections begin with; `None` without TLS.
    #[must_use]
    pub fn certificate(&self) -> Option<Certificate> {
        self.tls.as_ref().map(|(renewed, _)| Certificate(Arc::clone(renewed)))
    }

    async fn serve_routes(self, routes: Routes, stopped: watch::Receiver<bool>) {
        let Self { listeners, tls, counts, metrics, clock, config, .. } = self;
        show(&metrics, &counts, tls.as_ref().map(|(renewed, _)| renewed));
        let mut beside = JoinSet::new();
        let tls = tls.map(|(renewed, fingerprint)| {
            beside.spawn(Arc::clone(&renewed).watch(fingerprint));
            renewed
        });
        let connections = Arc::new(Connections::new(&config, routes, tls, metrics, clock));
        let mut accepting = JoinSet::new();
        for listener in listeners {
            accepting.spawn(accept(listener, Arc::clone(&connections), counts.clone(), stopped.clone()));
        }
        // A panic there has been told by whoever panicked.
        while accepting.join_next().await.is_some() {}
    }
}

impl Windows {
    /// Those of questions: the largest message in one flight, and some of them.
    pub const OF_QUESTIONS: Self = Self { stream_bytes: 1 << 20, connection_bytes: 4 << 20 };
}

impl Certificate {
    /// When it ends.
    #[must_use]
    pub fn ends(&self) -> Time {
        self.0.ends()
    }
}

/// Serves the connections of a listener until serving stops, and then until they have ended. While all places are taken
/// one waits, accepted and not yet read from, and the others in the kernel.
///
/// The place is taken after accepting: taken before, a listener to which nobody comes would keep a place of the others.
async fn accept(listener: Listener, connections: Arc<Connections>, counts: Counts, stopped: watch::Receiver<bool>) {
    let mut serving = JoinSet::new();
    let accepting = async {
        loop {
            let carrier = tokio::select! {
                carrier = listener.accept() => carrier,
                Some(_) = serving.join_next() => continue,
            };
            match carrier {
                Ok(carrier) => {
                    counts.accepted.fetch_add(1, Ordering::Relaxed);
                    let Ok(place) = Arc::clone(&counts.places).acquire_owned().await else { return };
                    let (connections, stopped) = (Arc::clone(&connections), stopped.clone());
                    serving.spawn(async move {
                        connections.serve(carrier, stopped).await;
                        drop(place);
                    });
                }
                // Whoever came has gone again.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = until(stopped.clone()) => {}
    }
    // Whoever comes now is refused by the kernel, and goes elsewhere.
    drop(listener);
    while serving.join_next().await.is_some() {}
}

/// Shows how connections do.
fn show(metrics: &Metrics, counts: &Counts, tls: Option<&Arc<Renewed>>) {
    let own = counts.clone();
    let help = "Connections of callers since the start.";
    metrics.observe_counter("consentd_connections_total", help, "", move || own.accepted());
    let own = counts.clone();
    metrics.observe_gauge("consentd_connections", "Connections of callers.", "", move || {
        u32::try_from(own.open()).map_or(f64::INFINITY, f64::from)
    });
    let own = counts.clone();
    let help = "How many connections of callers there may be.";
    metrics.observe_gauge("consentd_connections_max", help, "", move || {
        u32::try_from(own.open_max()).map_or(f64::INFINITY, f64::from)
    });
    let renewed = tls.cloned();
    let help = "When the TLS certificate begins, in Unix time; 0 without TLS.";
    metrics.observe_gauge("consentd_tls_begins_timestamp_seconds", help, "s", move || {
        renewed.as_ref().map_or(0.0, |renewed| unix_seconds(renewed.begins()))
    });
    let renewed = tls.cloned();
    let help = "When the TLS certificate ends, in Unix time; 0 without TLS.";
    metrics.observe_gauge("consentd_tls_ends_timestamp_seconds", help, "s", move || {
        renewed.as_ref().map_or(0.0, |renewed| unix_seconds(renewed.ends()))
    });
    let renewed = tls.cloned();
    let help = "1 when the TLS files as they are now cannot be used, else 0.";
    metrics.observe_gauge("consentd_tls_renewal_failing", help, "", move || {
        f64::from(renewed.as_ref().is_some_and(|renewed| renewed.is_failing()))
    });
}

/// A time as metrics have it; what was before 1970 is 0.
fn unix_seconds(time: Time) -> f64 {
    time.since(Time::from_unix_millis(0)).as_secs_f64()
}

/// Done once the value is true, or nobody can make it so any more.
async fn until(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
