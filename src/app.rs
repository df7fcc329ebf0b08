//! The composition root: builds every room from the configuration, binds every listener, and ends them in order.
//!
//! [`build`] returns [`Bound`] with the addresses that were really bound, so that tests start the real thing on port 0.

mod bulk;
mod page;
mod settings;
mod shown;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::admin;
use crate::authzen;
use crate::clock::Clock;
use crate::config::{self, Config, ReplicaMode, Settled};
use crate::enforcer::{Enforcer, Past};
use crate::evidence::{self, EvidenceLog};
use crate::explain::History;
use crate::ext_authz::{self, Checker};
use crate::grpc::{Enforcement, EnforcementServiceServer};
use crate::ledger;
use crate::lifecycle::{LOOK_INTERVAL, Lifecycle};
use crate::machine::Machine;
use crate::proto::v1::enforcement_service_server::EnforcementService;
use crate::replica::{self, Replica, Running, SourceFactory};
use crate::telemetry::otlp::{self, Exporter, OtlpError};
use crate::telemetry::{Metrics, MetricsError};
use crate::transport::{self, Transport};
use settings::{authzen_config, central_config, evidence_config, message_bytes_max, otlp_config};

pub use settings::transport_config;

/// The names in health checks: the service's own and the empty one mean the same.
const SERVICES: [&str; 2] = ["", "consent.v1.EnforcementService"];

/// Why the sidecar cannot start. Everything else it starts with, denies, and says why it is not ready.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be made.
    #[error("cannot make the data folder `{path}`")]
    DataFolder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The key of the local store cannot be had.
    #[error(
        "cannot read or make the key `{path}` of the local store; let this user write to its folder, or remove a file that \
         is no key: a new one is made, and the store is rebuilt from the ledger"
    )]
    StoreKey {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The key of a central ledger's subjects cannot be had.
    #[error(
        "cannot read the subject key `{path}` of the ledger; copy it from where the ledger was made, for it is never made \
         here: under another key nobody would be found"
    )]
    LedgerKey {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] transport::ListenError),
    /// A file of TLS is missing or wrong.
    #[error(transparent)]
    Tls(#[from] transport::TlsError),
    /// The evidence folder is not ours.
    #[error("cannot open the evidence")]
    Evidence(#[from] evidence::OpenError),
    /// Metrics cannot be set up.
    #[error("cannot set up the metrics")]
    Metrics(#[from] MetricsError),
    /// Telemetry cannot be sent.
    #[error("cannot send telemetry")]
    Telemetry(#[from] OtlpError),
    /// The system gives no threads.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

/// Why the sidecar ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listeners of questions failed.
    #[error(transparent)]
    Questions(#[from] transport::ServeError),
    /// The admin listener failed.
    #[error("serving the local page failed")]
    Admin(#[from] std::io::Error),
}

/// A sidecar with everything bound, not yet answering.
pub struct Bound {
    /// The TCP address that questions are answered on.
    pub tcp: Option<SocketAddr>,
    /// The Unix socket that questions are answered on.
    pub uds: Option<PathBuf>,
    /// The address of the local page.
    pub admin: Option<SocketAddr>,
    enforcer: Enforcer,
    evidence: EvidenceLog,
    lifecycle: Lifecycle,
    metrics: Metrics,
    exporter: Option<Exporter>,
    running: Running,
    look: admin::Look,
    settings: Vec<admin::Setting>,
    page_asks: bool,
    clock: Clock,
    transport: Option<Transport>,
    admin_listener: Option<TcpListener>,
    server: config::Server,
    authzen: Option<authzen::Config>,
    mapping: Option<ext_authz::Mapping>,
    bulk_at_once: Option<NonZeroUsize>,
}

/// Builds a sidecar. It begins to follow the ledger at once.
///
/// # Errors
/// If the configuration asks for what cannot be had: a folder, a key, an address.
pub async fn build(config: &Config, clock: Clock) -> Result<Bound, StartError> {
    build_settled(config, &config.settle(&Machine::look()), clock).await
}

/// As [`build`], with what is left to the machine settled by whoever has looked at it.
///
/// # Errors
/// As [`build`].
pub async fn build_settled(config: &Config, settled: &Settled, clock: Clock) -> Result<Bound, StartError> {
    let folder = &config.data_dir;
    std::fs::create_dir_all(folder).map_err(|source| StartError::DataFolder { path: folder.clone(), source })?;
    let metrics = Metrics::new()?;
    let transport = Transport::bind(transport_config(config, settled), metrics.clone(), &clock).await?;
    let admin_listener = match config.admin.tcp {
        Some(address) => Some(transport::listen(address)?),
        None => None,
    };

    // Last what writes: a second sidecar on the same addresses has failed by now.
    let evidence = EvidenceLog::open(evidence_config(config), &clock)?;
    let (replica, running) = start_replica(config, settled, &clock)?;
    let lifecycle = shown::lifecycle(&replica, &evidence);
    shown::register(&metrics, &replica, &evidence, &lifecycle);
    let (traces, exporter) = otlp::start(otlp_config(config, &evidence), &metrics, &clock)?;
    let look = page::look(config, settled.cache_bytes, &replica, &evidence, transport.counts());
    let max_wait = config.replica.max_wait;
    let enforcer = Enforcer::new(replica, evidence.clone(), metrics.clone(), clock.clone(), max_wait);
    let past = Past::new(evidence_config(config).dir, config.evidence.key_file.clone(), history(config));
    let enforcer = enforcer.traced(traces).remembering(past).remembering_strings_in(settled.strings_bytes);
    Ok(Bound {
        tcp: transport.tcp(),
        uds: config.server.uds.clone(),
        admin: admin_listener.as_ref().and_then(|listener| listener.local_addr().ok()),
        enforcer,
        evidence,
        lifecycle,
        metrics,
        exporter,
        running,
        look,
        settings: Vec::new(),
        page_asks: config.page_asks(),
        clock,
        transport: Some(transport),
        admin_listener,
        server: config.server.clone(),
        authzen: config.authzen.enabled.then(|| authzen_config(config)),
        mapping: config.ext_authz.clone(),
        bulk_at_once: settled.bulk_at_once,
    })
}

/// The gRPC service with the limit of its messages.
#[must_use]
pub fn enforcement_server<S: EnforcementService>(service: S, server: &config::Server) -> EnforcementServiceServer<S> {
    EnforcementServiceServer::new(service).max_decoding_message_size(message_bytes_max(server))
}

fn start_replica(config: &Config, settled: &Settled, clock: &Clock) -> Result<(Replica, Running), StartError> {
    // Subjects are known here by the same name as in the ledger, where that names them.
    let central = config.ledger.central.as_ref();
    let secret = if let Some(central) = central {
        // It is never made here: under a key of our own nothing of theirs would be found.
        let path = &central.subject_key_file;
        ledger::load_secret(path).map_err(|source| StartError::LedgerKey { path: path.clone(), source })?
    } else {
        let path = &config.replica.key_file;
        ledger::load_or_make_secret(path).map_err(|source| StartError::StoreKey { path: path.clone(), source })?
    };
    let sources = sources(config, clock);
    let folder = config.data_dir.join("replica");
    if let (ReplicaMode::OnDemand, Some(central)) = (config.replica.mode, central) {
        let on_demand = replica::OnDemandConfig {
            folder,
            ledger: central_config(central),
            cache_bytes: settled.cache_bytes,
            secret,
            patience: config.replica.load_timeout,
        };
        let started = Replica::start_on_demand(on_demand, sources, clock.clone(), Handle::current());
        return started.map_err(StartError::Thread);
    }
    let replica_config = replica::Config {
        folder,
        cache_bytes: settled.cache_bytes,
        store_cache_bytes: settled.store_cache_bytes,
        secret,
    };
    Replica::start(replica_config, sources, clock.clone()).map_err(StartError::Thread)
}

/// What makes a source of the configured ledger, each time it must be followed from a place.
fn sources(config: &Config, clock: &Clock) -> SourceFactory {
    let clock = clock.clone();
    let Some(central) = &config.ledger.central else {
        let (path, poll_interval) = (config.ledger.file.clone(), config.ledger.poll_interval);
        let source = ledger::file::Config { path, poll_interval };
        return Box::new(move || Box::new(ledger::file::FileSource::new(source.clone(), clock.clone())));
    };
    let source = central_config(central);
    let interval = central.freshness_interval;
    Box::new(move || Box::new(ledger::nats::NatsSource::new(source.clone(), interval, clock.clone())))
}

/// The configured ledger, to be looked into for what it said before.
fn history(config: &Config) -> History {
    match &config.ledger.central {
        Some(central) => {
            let mut ledger = central_config(central);
            "consentd explain".clone_into(&mut ledger.connection.name);
            History::of_nats(ledger)
        }
        None => History::of_file(&config.ledger.file),
    }
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tcp, uds, admin, lifecycle, .. } = self;
        let mut shown = f.debug_struct("Bound");
        shown.field("tcp", tcp).field("uds", uds).field("admin", admin).field("lifecycle", lifecycle);
        shown.finish_non_exhaustive()
    }
}

impl From<transport::BindError> for StartError {
    fn from(error: transport::BindError) -> Self {
        match error {
            transport::BindError::Listen(error) => Self::Listen(error),
            transport::BindError::Tls(error) => Self::Tls(error),
        }
    }
}

impl Bound {
    /// Why the sidecar is not ready, if it is not.
    pub const fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// The metrics, for a test to look at.
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// One whose local page shows the configuration in effect.
    #[must_use]
    pub fn showing(self, effective: &config::Effective) -> Self {
        Self { settings: page::settings(effective), ..self }
    }

    /// Answers until `stop` is done, then drains: not ready any more and, after the drain delay, no new connections; what is
    /// in flight is finished within the drain timeout, the evidence is flushed and the local copy closed.
    ///
    /// # Errors
    /// If a listener failed.
    pub async fn serve(mut self, stop: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
        let (stopping, stopped) = watch::channel(false);
        let (mut reporter, health) = tonic_health::server::health_reporter();
        // The reporter begins with "serving", which nobody has looked at yet.
        report(&reporter, false).await;
        let mut serving = JoinSet::new();
        if let Some(transport) = self.transport.take() {
            let questions = transport.serve(health, self.questions(&stopped), self.checks(), stopped.clone());
            serving.spawn(async { questions.await.map_err(ServeError::from) });
        }
        if let Some(listener) = self.admin_listener.take() {
            let page = self.page(&stopped);
            let mut stopped = stopped.clone();
            // Ends as well when nobody can say so any more.
            let stop = async move { _ = stopped.wait_for(|stopped| *stopped).await };
            let page = page.serve(listener, stop);
            serving.spawn(async { page.await.map_err(ServeError::from) });
        }
        let reporting = reporter.clone();
        let watching = tokio::spawn(shown::watch(self.lifecycle.clone(), move |ready| {
            let reporter = reporting.clone();
            async move { report(&reporter, ready).await }
        }));

        let failed = tokio::select! {
            () = stop => None,
            ended = serving.join_next() => ended,
        };
        tracing::info!(answering = ?self.drain_delay(), "told to stop: not ready any more");
        self.lifecycle.drain();
        // Who watches the health is told before the connections close. `watching` may be about to say otherwise.
        watching.abort();
        let _ = watching.await;
        report(&reporter, false).await;
        // Those who connect now were sent here by somebody who does not know yet, and are answered.
        tokio::time::sleep(self.drain_delay()).await;
        tracing::info!("stopping: no new connections, what is in flight is finished");
        let _ = stopping.send(true);
        // Ends the watches, which would go on for as long as there is something to say.
        for service in SERVICES {
            reporter.clear_service_status(service).await;
        }
        let drained = async { while serving.join_next().await.is_some() {} };
        if tokio::time::timeout(self.server.drain_timeout, drained).await.is_err() {
            tracing::warn!(timeout = ?self.server.drain_timeout, "calls were still in flight when the drain timeout ended");
            serving.shutdown().await;
        }
        self.close().await;
        match failed {
            Some(Ok(Err(error))) => Err(error),
            Some(Ok(Ok(())) | Err(_)) | None => Ok(()),
        }
    }

    /// How long answers go on after the end was asked for: at least until it was said to all who watch.
    fn drain_delay(&self) -> Duration {
        self.server.drain_delay.max(LOOK_INTERVAL * 2)
    }

    /// The service that answers over gRPC.
    fn enforcement(&self, stopped: &watch::Receiver<bool>) -> Enforcement {
        let (enforcer, metrics) = (self.enforcer.clone(), self.metrics.clone());
        Enforcement::new(enforcer, metrics, self.server.max_batch, stopped.clone())
    }

    /// The local page.
    fn page(&self, stopped: &watch::Receiver<bool>) -> admin::Page<Enforcement> {
        let asking = || admin::Asking { service: self.enforcement(stopped), runtime: Handle::current() };
        admin::Page {
            lifecycle: self.lifecycle.clone(),
            metrics: self.metrics.clone(),
            clock: self.clock.clone(),
            look: self.look.clone(),
            settings: self.settings.clone(),
            asking: self.page_asks.then(asking),
        }
    }

    /// Every wire that questions come over.
    fn questions(&self, stopped: &watch::Receiver<bool>) -> Routes {
        let mut routes = Routes::new(enforcement_server(self.enforcement(stopped), &self.server)).into_axum_router();
        if let Some(config) = self.authzen.clone() {
            routes = routes.merge(authzen::router(self.enforcer.clone(), self.metrics.clone(), config));
        }
        Routes::from(bulk::held_back(routes, self.bulk_at_once))
    }

    /// Envoy's checks, each of which is answered, also where there are too many.
    fn checks(&self) -> axum::Router {
        let limits = ext_authz::Limits {
            message_bytes_max: message_bytes_max(&self.server),
            in_flight_max: self.server.max_in_flight,
            timeout: self.server.request_timeout,
        };
        let (enforcer, metrics) = (self.enforcer.clone(), self.metrics.clone());
        Checker::new(enforcer, metrics, self.mapping.clone(), limits).into_router()
    }

    /// Ends what writes: the evidence is on the device and signed, the local copy flushed, telemetry sent if it can be.
    async fn close(self) {
        let Self { evidence, exporter, running, uds, .. } = self;
        let closing = tokio::task::spawn_blocking(move || {
            // Beside the rest: the last evidence may wait for its servers until the process is killed.
            let copy = std::thread::spawn(move || running.stop());
            // The last spans leave while the evidence reaches the device.
            if let Some(exporter) = &exporter {
                exporter.stop();
            }
            if let Err(error) = evidence.close() {
                tracing::error!(%error, "the evidence could not be closed in order");
            }
            if copy.join().is_err() {
                tracing::error!("closing panicked");
            }
            if let Some(exporter) = exporter {
                exporter.join();
            }
        });
        if closing.await.is_err() {
            tracing::error!("closing panicked");
        }
        if let Some(path) = uds
            && let Err(error) = std::fs::remove_file(&path)
        {
            tracing::warn!(%error, path = %path.display(), "the Unix socket could not be removed");
        }
        tracing::info!("stopped");
    }
}

async fn report(reporter: &HealthReporter, ready: bool) {
    let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
}
