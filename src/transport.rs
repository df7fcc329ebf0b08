//! Connections: where they come in, who is at their other end, how many there may be, and how they end.
//!
//! Owns the listeners and the settings of a server, the same for the sidecar and for the null server that it is compared
//! with: a difference between the two is then the sidecar's own work. Must not know what is asked over a connection.
//!
//! Invariants:
//! - Every request bears the [`Caller`](crate::access::Caller) that its connection proves, or none.
//! - Questions are held back at their limit, and a probe never waits behind them.

mod incoming;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_health::pb::health_server::{Health, HealthServer};
use tower::limit::GlobalConcurrencyLimitLayer;

use crate::proto;
use incoming::Incoming;

/// What may be on its way to us on one stream before we have read it: the largest message in one flight.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// What may be on its way to us on one connection.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// After this long without a sign of life a connection is asked for one; without an answer it is closed.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Time for that answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Where connections come in, and their limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The TCP listener; `None` is off.
    pub tcp: Option<SocketAddr>,
    /// The Unix socket; `None` is off.
    pub uds: Option<PathBuf>,
    /// The socket's file mode.
    pub uds_mode: u32,
    /// The most calls at once on one connection.
    pub max_concurrent_streams: usize,
    /// The most connections.
    pub max_connections: usize,
    /// The most calls at once over all connections; health and reflection do not count.
    pub max_in_flight: usize,
    /// The upper bound of a call's deadline.
    pub request_timeout: Duration,
}

/// Why a listener cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on `{address}`")]
pub struct ListenError {
    /// The address or path.
    pub address: String,
    /// Why.
    pub source: std::io::Error,
}

/// Why serving ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A listener failed.
    #[error("serving failed")]
    Transport(#[from] tonic::transport::Error),
    /// Reflection cannot be set up.
    #[error("setting up gRPC reflection failed")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// The listeners, bound and not yet accepting.
#[derive(Debug)]
pub struct Transport {
    tcp: Option<SocketAddr>,
    uds: Option<PathBuf>,
    incoming: Vec<Incoming>,
    config: Config,
}

impl Transport {
    /// Binds what the configuration names.
    ///
    /// # Errors
    /// If an address cannot be listened on.
    pub async fn bind(config: Config) -> Result<Self, ListenError> {
        let mut incoming = Vec::new();
        let mut tcp = None;
        if let Some(address) = config.tcp {
            let listener = listen(address).await?;
            tcp = listener.local_addr().ok();
            incoming.push(Incoming::tcp(listener));
        }
        if let Some(path) = &config.uds {
            let listening = incoming::listen_uds(path, config.uds_mode).await;
            let failed = |source| ListenError { address: path.display().to_string(), source };
            incoming.push(Incoming::uds(listening.map_err(failed)?));
        }
        Ok(Self { tcp, uds: config.uds.clone(), incoming, config })
    }

    /// The TCP address that was really bound.
    #[must_use]
    pub const fn tcp(&self) -> Option<SocketAddr> {
        self.tcp
    }

    /// The Unix socket.
    #[must_use]
    pub fn uds(&self) -> Option<&Path> {
        self.uds.as_deref()
    }

    /// Serves questions, health and reflection until `stopped` says so and every connection has ended: one server for
    /// each listener. What is `unlimited` bounds itself: there a call that waits too long would end with an error, and an
    /// error is no answer.
    ///
    /// # Errors
    /// If the services cannot be set up, or a listener fails.
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
        let Self { incoming, config, .. } = self;
        let connections = Arc::new(Semaphore::new(config.max_connections));
        // Questions alone are held back: a probe that waits behind them would have a busy sidecar killed.
        let in_flight = GlobalConcurrencyLimitLayer::new(config.max_in_flight);
        let questions = Routes::from(questions.into_axum_router().layer(in_flight).merge(unlimited));
        let reflect =
            || tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(proto::DESCRIPTORS);
        let mut serving = JoinSet::new();
        for incoming in incoming {
            let router = Server::builder()
                .timeout(config.request_timeout)
                .max_concurrent_streams(u32::try_from(config.max_concurrent_streams).unwrap_or(u32::MAX))
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
                .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
                .add_routes(questions.clone())
                .add_service(health.clone())
                .add_service(reflect().build_v1()?)
                .add_service(reflect().build_v1alpha()?);
            serving.spawn(incoming.serve(router, Arc::clone(&connections), until(stopped.clone())));
        }
        while let Some(ended) = serving.join_next().await {
            // A panic there has been told by whoever panicked.
            ended.unwrap_or(Ok(()))?;
        }
        Ok(())
    }
}

/// Listens on a TCP address.
///
/// # Errors
/// If that cannot be.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let failed = |source| ListenError { address: address.to_string(), source };
    TcpListener::bind(address).await.map_err(failed)
}

/// Done once the value is true, or nobody can make it so any more.
async fn until(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
