//! Spans and metrics on their way to a collector, by OTLP over gRPC.
//!
//! Owns the thread that sends, with a runtime of its own: answers put spans into a bounded queue and go on, whatever
//! becomes of the collector. Knows what a span says and what a metric is called, and nothing of how either came about.
//!
//! Invariants:
//! - What waits is bounded: the queue, one batch on its way, one push of metrics. What does not fit is dropped and counted.
//! - Nothing of the environment is read: `OTEL_…` variables neither send telemetry elsewhere nor turn it on.

mod figures;
mod headers;
mod link;
mod sender;
mod spans;
mod value;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::sync::{Notify, mpsc, watch};
use tonic::transport::Channel;

pub use headers::HeadersError;
pub use link::LinkError;

use super::metrics::Metrics;
use super::traces::{Sampling, Traces};
use crate::clock::Clock;
use figures::Figures;
use headers::Headers;
use spans::Spans;

/// Spans in one request. At some 500 bytes each a request stays far below the 4 MiB that collectors take.
pub(super) const BATCH_SPANS: usize = 512;
/// Spans that wait while the collector does not take them: some 2 MiB.
pub const QUEUE_SPANS: usize = 4096;
/// How long the last spans and metrics may take when the sidecar stops.
pub const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// Where telemetry is sent to, and how much of it.
#[derive(Debug, Clone)]
pub struct Config {
    /// The collector, `http://host:port` or `https://host:port`.
    pub endpoint: String,
    /// How long the collector may take to take one request.
    pub timeout: Duration,
    /// A file of headers that go with each request, such as a token.
    pub headers_file: Option<PathBuf>,
    /// The authorities of the collector's certificate; those of the system where there is none.
    pub ca_file: Option<PathBuf>,
    /// Which answers leave a span; `None` is no spans at all.
    pub sampling: Option<Sampling>,
    /// How often metrics are sent; `None` is never.
    pub metrics_interval: Option<Duration>,
    /// What tells this sidecar from others: `service.instance.id`.
    pub instance: String,
}

/// Why telemetry cannot be sent at all. That the collector is away is no such reason.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// The way to the collector.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The headers.
    #[error(transparent)]
    Headers(#[from] HeadersError),
    /// The system gives no thread or no runtime.
    #[error("cannot start the thread that sends telemetry")]
    Thread(#[from] std::io::Error),
}

/// The thread that sends. Dropped without [`Exporter::stop`] it ends without sending what is left.
#[derive(Debug)]
pub struct Exporter {
    stopping: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

/// What both signals are sent with.
#[derive(Debug, Clone)]
struct Way {
    channel: Channel,
    timeout: Duration,
    headers: Headers,
    resource: Resource,
    counts: Arc<Counts>,
}

/// What became of spans.
#[derive(Debug, Default)]
pub(super) struct Counts {
    sent: AtomicU64,
    full: AtomicU64,
    over_limit: AtomicU64,
    undelivered: AtomicU64,
    refused: AtomicU64,
    failed_spans: AtomicU64,
    failed_metrics: AtomicU64,
}

/// Starts sending, where there is somewhere to send to, and shows what becomes of it among the metrics.
///
/// # Errors
/// If a file cannot be used, or the system gives no thread.
pub fn start(
    config: Option<Config>,
    metrics: &Metrics,
    clock: &Clock,
) -> Result<(Traces, Option<Exporter>), OtlpError> {
    let counts = Arc::new(Counts::default());
    counts.show(metrics);
    let Some(config) = config else { return Ok((Traces::off(), None)) };
    let endpoint = link::endpoint(&config)?;
    let headers = Headers::read(config.headers_file.clone())?;
    let (mut traces, mut waiting) = (Traces::off(), None);
    if let Some(sampling) = config.sampling {
        let (queue, spans) = mpsc::channel(QUEUE_SPANS);
        let batch = Arc::new(Notify::new());
        traces = Traces::new(sampling, queue, Arc::clone(&batch), Arc::clone(&counts), clock.clone());
        waiting = Some((spans, batch));
    }
    let (stopping, stopped) = watch::channel(false);
    let (metrics, clock) = (metrics.clone(), clock.clone());
    let send = move || {
        // Made on the runtime that its connection is to live on.
        let way = Way {
            channel: endpoint.connect_lazy(),
            headers,
            counts,
            resource: resource(&config.instance),
            timeout: config.timeout,
        };
        let spans = waiting.map(|(spans, batch)| Spans::new(way.clone(), spans, batch));
        let figures = config.metrics_interval.map(|interval| Figures::new(way, metrics, clock, interval));
        run(spans, figures, stopped)
    };
    Ok((traces, Some(Exporter { stopping, thread: spawn(send)? })))
}

/// Starts a thread with a runtime of its own for one piece of work.
fn spawn<F: Future<Output = ()>>(work: impl FnOnce() -> F + Send + 'static) -> Result<JoinHandle<()>, std::io::Error> {
    let (told, began) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("consentd-otlp".to_owned()).spawn(move || {
        let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = match built {
            Ok(runtime) => runtime,
            Err(error) => return drop(told.send(Err(error))),
        };
        let _ = told.send(Ok(()));
        runtime.block_on(async { work().await });
        // A name that is being looked up is not waited for.
        runtime.shutdown_background();
    })?;
    // Gone without a word it has panicked, and said so.
    began.recv().unwrap_or_else(|gone| Err(std::io::Error::other(gone)))?;
    Ok(thread)
}

impl Exporter {
    /// Begins the end: what is left is sent within [`FLUSH_WITHIN`]. Does not wait.
    pub fn stop(&self) {
        let _ = self.stopping.send(true);
    }

    /// Waits for the end after [`Exporter::stop`]; blocks.
    pub fn join(self) {
        self.stop();
        if self.thread.join().is_err() {
            tracing::error!("the thread that sends telemetry panicked");
        }
    }
}

/// Sends until it is told to stop, and then what is left.
async fn run(mut spans: Option<Spans>, mut figures: Option<Figures>, mut stopped: watch::Receiver<bool>) {
    tokio::select! {
        () = async { tokio::join!(each(&mut spans, Spans::run), each(&mut figures, Figures::run)); } => {}
        // Ends as well when nobody can say so any more; then nobody waits for what is left either.
        told = stopped.wait_for(|stopped| *stopped) => if told.is_err() { return },
    }
    let last = async { tokio::join!(each(&mut spans, Spans::flush), each(&mut figures, Figures::push)) };
    let _ = tokio::time::timeout(FLUSH_WITHIN, last).await;
    if let Some(lost) = spans.map(Spans::give_up).filter(|lost| *lost > 0) {
        tracing::warn!(spans = lost, "spans were left when the sidecar stopped, and are lost");
    }
}

async fn each<T>(sender: &mut Option<T>, act: impl AsyncFnOnce(&mut T)) {
    if let Some(sender) = sender {
        act(sender).await;
    }
}

/// Who sends. Source: OpenTelemetry semantic conventions, "service".
fn resource(instance: &str) -> Resource {
    let attributes = vec![
        value::text("service.name", "consentd"),
        value::text("service.version", env!("CARGO_PKG_VERSION")),
        value::text("service.instance.id", instance),
    ];
    Resource { attributes, ..Resource::default() }
}

impl Counts {
    /// A span found no place in the queue.
    pub(super) fn full(&self) {
        self.full.fetch_add(1, Ordering::Relaxed);
    }

    /// A denial or a slow answer left no span, because others had.
    pub(super) fn over_limit(&self) {
        self.over_limit.fetch_add(1, Ordering::Relaxed);
    }

    /// Shows them among the metrics.
    pub(super) fn show(self: &Arc<Self>, metrics: &Metrics) {
        let counts = Arc::clone(self);
        metrics.observe_counter("consentd_spans_sent_total", "Spans that the collector has taken.", "", move || {
            counts.sent.load(Ordering::Relaxed)
        });
        let counts = Arc::clone(self);
        let help = "Spans that should have reached the collector and did not, by why.";
        metrics.observe_counters("consentd_spans_dropped_total", help, "", "why", move || {
            let Self { full, over_limit, undelivered, refused, .. } = &*counts;
            let reasons =
                [("over_limit", over_limit), ("queue_full", full), ("undelivered", undelivered), ("refused", refused)];
            reasons.map(|(why, count)| (why, count.load(Ordering::Relaxed))).to_vec()
        });
        let counts = Arc::clone(self);
        let help = "Requests that the collector did not take, by what was in them.";
        metrics.observe_counters("consentd_otlp_failed_requests_total", help, "", "signal", move || {
            let Self { failed_spans, failed_metrics, .. } = &*counts;
            let signals = [("traces", failed_spans), ("metrics", failed_metrics)];
            signals.map(|(signal, count)| (signal, count.load(Ordering::Relaxed))).to_vec()
        });
    }
}
