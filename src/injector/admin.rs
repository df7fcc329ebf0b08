//! What Prometheus and probes look at: `/metrics`, `/readyz`, `/livez`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::clock::Clock;
use crate::telemetry::Metrics;
use crate::transport::Certificate;

/// The media type of the metrics. Source: Prometheus text exposition format 0.0.4.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// What is shown of the metrics besides the webhook's own. The others are of questions, which nobody asks here.
const SHARED_METRICS: [&str; 8] = [
    "consentd_build_info",
    "consentd_connections",
    "consentd_connections_max",
    "consentd_connections_total",
    "consentd_refused_total",
    "consentd_tls_begins_timestamp_seconds",
    "consentd_tls_ends_timestamp_seconds",
    "consentd_tls_renewal_failing",
];
const OWN_METRICS: &str = "consentd_injector_";

/// Whether the webhook is fit to be asked; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Readiness {
    certificate: Option<Certificate>,
    clock: Clock,
    is_stopping: Arc<AtomicBool>,
}

#[derive(Debug, Clone)]
struct Shown {
    readiness: Readiness,
    metrics: Metrics,
}

impl Readiness {
    pub(super) fn new(certificate: Option<Certificate>, clock: Clock) -> Self {
        Self { certificate, clock, is_stopping: Arc::default() }
    }

    /// Begins the end: never ready again.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// Why it is not ready, if it is not.
    pub(super) fn cause(&self) -> Option<&'static str> {
        if self.is_stopping.load(Ordering::Relaxed) {
            return Some("lifecycle: the webhook is stopping");
        }
        let has_ended = self.certificate.as_ref().is_some_and(|certificate| certificate.ends() <= self.clock.now());
        has_ended.then_some("certificate: the TLS certificate has ended, and the API server refuses it")
    }
}

/// Serves the page until `stop` is done.
///
/// # Errors
/// If the listener fails.
pub(super) async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    metrics: Metrics,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(show_metrics))
        .route("/readyz", get(show_readiness))
        .route("/livez", get(|| async { "alive\n" }))
        .with_state(Shown { readiness, metrics });
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

async fn show_metrics(State(shown): State<Shown>) -> Response {
    let is_shown = |name: &str| name.starts_with(OWN_METRICS) || SHARED_METRICS.contains(&name);
    match shown.metrics.render_those(is_shown) {
        Ok(page) => ([(header::CONTENT_TYPE, METRICS_TYPE)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn show_readiness(State(shown): State<Shown>) -> Response {
    match shown.readiness.cause() {
        None => "ready\n".into_response(),
        Some(cause) => (StatusCode::SERVICE_UNAVAILABLE, format!("{cause}\n")).into_response(),
    }
}
