//! The local page: what Prometheus, probes and people look at. Shows, changes nothing.
//!
//! Must not know how questions are answered, and shows no personal data.
//!
//! ```text
//! /metrics   the metrics, for Prometheus
//! /readyz    200 when ready, else 503 and why, a line each
//! /livez     200 as long as this process can answer at all
//! ```

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::lifecycle::Lifecycle;
use crate::telemetry::Metrics;

/// The media type of the metrics. Source: Prometheus text exposition format 0.0.4.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Debug, Clone)]
struct Shown {
    lifecycle: Lifecycle,
    metrics: Metrics,
}

/// Serves the page until `stop` is done.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    lifecycle: Lifecycle,
    metrics: Metrics,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(show_metrics))
        .route("/readyz", get(show_readiness))
        .route("/livez", get(|| async { "alive\n" }))
        .with_state(Shown { lifecycle, metrics });
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

async fn show_metrics(State(shown): State<Shown>) -> Response {
    match shown.metrics.render() {
        Ok(page) => ([(header::CONTENT_TYPE, METRICS_TYPE)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn show_readiness(State(shown): State<Shown>) -> Response {
    let causes = shown.lifecycle.causes();
    if causes.is_empty() {
        return "ready\n".into_response();
    }
    let mut lines: Vec<String> = causes.iter().map(ToString::to_string).collect();
    lines.push(String::new());
    (StatusCode::SERVICE_UNAVAILABLE, lines.join("\n")).into_response()
}
