//! The webhook that adds consentd to pods as a sidecar: the API server's review in, a JSON Patch out.
//!
//! Owns what a pod gets, how it asks, and why it may not have it. Asks nobody: it has no access to the API server, knows
//! of a pod what the review says, and gives every pod what its settings say. Must not know how questions are answered.
//!
//! Invariants:
//! - Nothing that a pod has is removed or changed; a patch only adds.
//! - The same pod and settings give the same patch, and a pod that has it gets none.
//! - What a pod says of us and is not understood is refused by name, or let through with a warning; never ignored.
//! - A configuration that a sidecar would refuse stops the webhook at its start, and no pod.
//!
//! ```text
//! POST /inject   review ──▶ pod ──▶ wishes, settings ──▶ plan ──▶ patch | refusal | nothing
//! ```

mod body;
mod names;
mod patch;
mod plan;
mod pod;
mod quantity;
mod review;
mod server;
mod settings;
mod sidecar;
mod tally;
mod wishes;
mod words;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use body::BODY_BYTES_MAX;
pub use review::{Answered, Outcome, Unreadable, answer};
pub use server::PATH;
pub use settings::{Loaded, OnError, Settings, Startup};
pub use wishes::ANNOTATIONS;

use crate::admin;
use crate::clock::Clock;
use crate::lifecycle::{Check, Lifecycle};
use crate::telemetry::{Metrics, MetricsError};
use crate::transport::{self, BindError, ListenError, Tls, TlsVersion, Transport, Windows};
use tally::{Tally, is_shown};

/// The longest that a review may take, its body included, which the API server sends at once.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);
/// Reviews at once on one connection. API servers open a second where one is not enough.
const REVIEWS_OF_CONNECTION_MAX: usize = 100;
/// Connections. API servers are few; probes of others must not take all places from them.
const CONNECTIONS_MAX: usize = 256;
/// What may be on its way to us before we have read it, on one review and on one connection; times the connections, 16 MiB.
/// Most reviews are below it.
const WINDOWS: Windows = Windows { stream_bytes: 64 << 10, connection_bytes: 64 << 10 };
/// The age at which a connection is ended: API servers spread over new replicas within it.
const CONNECTION_AGE_MAX: Duration = Duration::from_mins(10);
/// How long what is in flight may take at the end.
const DRAIN_TIMEOUT: Duration = REVIEW_TIMEOUT;

/// Where the webhook listens, and what it gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where reviews come in, over HTTPS.
    pub listen: SocketAddr,
    /// Where metrics and readiness are shown, over plain HTTP.
    pub admin: SocketAddr,
    /// The certificate and those above it, in PEM.
    pub tls_cert_file: PathBuf,
    /// Its key, in PEM.
    pub tls_key_file: PathBuf,
    /// How long it goes on answering once it was told to stop: until every API server knows that it does.
    pub linger: Duration,
    /// What pods get.
    pub settings: Settings,
}

/// Why the webhook cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on, or a file of TLS is missing or wrong.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Metrics cannot be set up.
    #[error("cannot set up the metrics")]
    Metrics(#[from] MetricsError),
}

/// A webhook with everything bound, not yet answering.
#[derive(Debug)]
pub struct Bound {
    /// Where reviews come in.
    pub listen: Option<SocketAddr>,
    /// Where metrics and readiness are shown.
    pub admin: Option<SocketAddr>,
    transport: Transport,
    admin_listener: TcpListener,
    metrics: Metrics,
    lifecycle: Lifecycle,
    linger: Duration,
    settings: Settings,
}

impl From<ListenError> for StartError {
    fn from(error: ListenError) -> Self {
        Self::Bind(BindError::Listen(error))
    }
}

/// Binds the webhook.
///
/// # Errors
/// If the configuration asks for what cannot be had: an address, a file.
pub async fn build(config: Config, clock: Clock) -> Result<Bound, StartError> {
    let metrics = Metrics::new()?;
    let transport = Transport::bind(transport_config(&config), metrics.clone(), &clock).await?;
    let admin_listener = transport::listen(config.admin)?;
    Ok(Bound {
        listen: transport.tcp(),
        admin: admin_listener.local_addr().ok(),
        lifecycle: lifecycle(&transport, clock),
        transport,
        admin_listener,
        metrics,
        linger: config.linger,
        settings: config.settings,
    })
}

/// Ready as long as API servers take the certificate.
fn lifecycle(transport: &Transport, clock: Clock) -> Lifecycle {
    let certificate = transport.certificate();
    let certificate: Check = Box::new(move || {
        let has_ended = certificate.as_ref().is_some_and(|certificate| certificate.ends() <= clock.now());
        has_ended.then(|| "the TLS certificate has ended, and the API server refuses it".to_owned())
    });
    Lifecycle::new(vec![("certificate", certificate)])
}

fn transport_config(config: &Config) -> transport::Config {
    transport::Config {
        tcp: Some(config.listen),
        tls: Some(Tls {
            cert_file: config.tls_cert_file.clone(),
            key_file: config.tls_key_file.clone(),
            // API servers show no certificate unless each was told to; what they could be told here is no secret.
            client_ca_file: None,
            min_version: TlsVersion::V13,
        }),
        http1: true,
        uds: None,
        uds_mode: 0,
        callers: Vec::new(),
        max_concurrent_streams: REVIEWS_OF_CONNECTION_MAX,
        max_connections: CONNECTIONS_MAX,
        // What bounds reviews is how much is held of them, and no count: one that does not come would take a place.
        max_in_flight: usize::MAX,
        windows: WINDOWS,
        request_timeout: REVIEW_TIMEOUT,
        max_connection_age: Some(CONNECTION_AGE_MAX),
        max_connection_age_grace: REVIEW_TIMEOUT,
    }
}

impl Bound {
    /// Answers reviews until `stop` is done, then drains: not ready any more, yet answering until nobody comes who could
    /// not know, then no new connections, and what is in flight is finished.
    ///
    /// # Errors
    /// If a listener failed.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send) -> std::io::Result<()> {
        let (stopping, stopped) = watch::channel(false);
        let tally = Tally::new(&self.metrics);
        let mut serving = JoinSet::new();
        let reviews = self.transport.serve_plainly(server::router(self.settings, tally), stopped.clone());
        serving.spawn(async {
            reviews.await;
            Ok(())
        });
        let mut shown_until = stopped;
        // Ends as well when nobody can say so any more.
        let shown_until = async move { _ = shown_until.wait_for(|stopped| *stopped).await };
        let probes = admin::probes(self.lifecycle.clone(), self.metrics, is_shown);
        serving.spawn(admin::serve(self.admin_listener, probes, shown_until));
        let failed = tokio::select! {
            () = stop => None,
            ended = serving.join_next() => ended,
        };
        self.lifecycle.drain();
        if failed.is_none() {
            tracing::info!(linger = ?self.linger, "stopping: reviews are answered until nobody comes any more");
            tokio::time::sleep(self.linger).await;
        }
        let _ = stopping.send(true);
        let drained = async { while serving.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
            tracing::warn!(timeout = ?DRAIN_TIMEOUT, "reviews were still in flight when the drain timeout ended");
            serving.shutdown().await;
        }
        match failed {
            Some(Ok(ended)) => ended,
            Some(Err(_)) | None => Ok(()),
        }
    }
}
