//! What machines look at: metrics, readiness, and whether anybody is there at all.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::lifecycle::Lifecycle;
use crate::telemetry::Metrics;

/// The media type of the metrics. Source: Prometheus text exposition format 0.0.4.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Debug, Clone)]
struct Shown {
    lifecycle: Lifecycle,
    metrics: Metrics,
    /// Which metrics, by name.
    filter: fn(&str) -> bool,
}

/// `/metrics` with those that are to be shown, `/readyz` and `/livez`.
pub fn probes(lifecycle: Lifecycle, metrics: Metrics, is_shown: fn(&str) -> bool) -> Router {
    Router::new()
        .route("/metrics", get(show_metrics))
        .route("/readyz", get(show_readiness))
        .route("/livez", get(|| async { "alive\n" }))
        .with_state(Shown { lifecycle, metrics, filter: is_shown })
}

async fn show_metrics(State(shown): State<Shown>) -> Response {
    match shown.metrics.render_those(shown.filter) {
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
