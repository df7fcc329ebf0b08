//! How gRPC is served: the settings of a server, the same for the sidecar and for the null server that it is compared
//! with. A difference between the two is then the sidecar's own work.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tonic::service::LayerExt as _;
use tonic::transport::Server;
use tonic_health::pb::health_server::{Health, HealthServer};
use tower::limit::GlobalConcurrencyLimitLayer;

use super::incoming::{self, Incoming};
use super::{ServeError, StartError};
use crate::config;
use crate::grpc::EnforcementServiceServer;
use crate::proto;
use crate::proto::v1::enforcement_service_server::EnforcementService;

/// What may be on its way to us on one stream before we have read it: the largest message in one flight.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// What may be on its way to us on one connection.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// After this long without a sign of life a connection is asked for one; without an answer it is closed.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Time for that answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The listeners of a gRPC server, bound and not yet accepting.
#[derive(Debug)]
pub struct Transport {
    tcp: Option<SocketAddr>,
    uds: Option<PathBuf>,
    incoming: Vec<Incoming>,
    server: config::Server,
}

impl Transport {
    /// Binds what the configuration names.
    ///
    /// # Errors
    /// If an address cannot be listened on.
    pub async fn bind(server: &config::Server) -> Result<Self, StartError> {
        let mut incoming = Vec::new();
        let mut tcp = None;
        if let Some(address) = server.tcp {
            let listener = listen(address).await?;
            tcp = listener.local_addr().ok();
            incoming.push(Incoming::tcp(listener));
        }
        if let Some(path) = &server.uds {
            let listening = incoming::listen_uds(path, server.uds_mode).await;
            let failed = |source| StartError::Listen { address: path.display().to_string(), source };
            incoming.push(Incoming::uds(listening.map_err(failed)?));
        }
        Ok(Self { tcp, uds: server.uds.clone(), incoming, server: server.clone() })
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

    /// Serves a service, health and reflection until `stopped` says so: one server for each listener. A second call
    /// finds no listener left and serves nothing.
    ///
    /// # Errors
    /// If the services cannot be set up.
    pub fn serve<H, S>(
        &mut self,
        health: &HealthServer<H>,
        service: S,
        stopped: &watch::Receiver<bool>,
    ) -> Result<JoinSet<Result<(), ServeError>>, ServeError>
    where
        H: Health,
        S: EnforcementService,
    {
        let server = &self.server;
        let in_flight = GlobalConcurrencyLimitLayer::new(server.max_in_flight);
        let connections = Arc::new(Semaphore::new(server.max_connections));
        let message_bytes = usize::try_from(server.max_message_bytes).unwrap_or(usize::MAX);
        let service = EnforcementServiceServer::new(service).max_decoding_message_size(message_bytes);
        // Questions alone are held back: a probe that waits behind them would have a busy sidecar killed.
        let service = in_flight.named_layer(service);
        let reflect =
            || tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(proto::DESCRIPTORS);
        let mut serving = JoinSet::new();
        for incoming in self.incoming.drain(..) {
            let router = Server::builder()
                .timeout(server.request_timeout)
                .max_concurrent_streams(u32::try_from(server.max_concurrent_streams).unwrap_or(u32::MAX))
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
                .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
                .add_service(health.clone())
                .add_service(reflect().build_v1()?)
                .add_service(reflect().build_v1alpha()?)
                .add_service(service.clone());
            let (stopped, connections) = (until(stopped.clone()), Arc::clone(&connections));
            serving.spawn(async move { Ok(incoming.serve(router, connections, stopped).await?) });
        }
        Ok(serving)
    }
}

/// Listens on a TCP address.
pub(super) async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let failed = |source| StartError::Listen { address: address.to_string(), source };
    TcpListener::bind(address).await.map_err(failed)
}

/// Done once the value is true, or nobody can make it so any more.
pub(super) async fn until(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
