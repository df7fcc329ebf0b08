//! The local page: what Prometheus, probes and people look at, and where somebody on this machine asks and explains.
//!
//! Owns the admin listener and what is served there. Must not know how questions are answered: what is asked here goes to
//! the service that answers them over gRPC, and comes back as its messages.
//!
//! ```text
//! /              the page: readiness, view, answers over time, evidence, configuration, and a form to ask
//! /live          what of it changes
//! /status.json   the same for programs
//! /reasons.json  every reason in words
//! /ask           POST: a `consent.v1.MayProcessRequest` as JSON; its response
//! /explain       POST: a `consent.v1.ExplainRequest` as JSON; its response
//! /metrics       the metrics, for Prometheus
//! /readyz        200 when ready, else 503 and why, a line each
//! /livez         200 as long as this process can answer at all
//! ```
//!
//! Invariants:
//! - It costs the answers nothing: it is served on a thread of its own that gives way to theirs, and what it shows over time
//!   is read once a second from counters that are there anyway.
//! - P6: no page, address or log line holds a subject. What is asked is in the body of a request, and what is wrong with it
//!   is told without repeating it.
//! - Who asks is on this machine and looks at a page that came from here; the configuration too is shown on this machine alone.

mod asking;
mod facts;
mod history;
mod json;
mod listener;
mod pace;
mod page;
mod probes;
mod seen;
mod text;
mod visitor;

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, Uri};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::clock::Clock;
use crate::lifecycle::Lifecycle;
use crate::proto::v1::enforcement_service_server::EnforcementService;
use crate::telemetry::Metrics;
use history::{History, Range};
use page::MayAsk;
use seen::Window;
use visitor::Visitor;

pub use asking::{Asking, CALLER};
pub use facts::{CacheFacts, ConnectionFacts, EvidenceFacts, Facts, Look, Setting, ShippingFacts, ViewFacts};
pub use listener::serve;
pub use probes::probes;

/// The media types of what is shown.
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
/// What else than the policy keeps other pages away from this one.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// Everything that the page is made of.
pub struct Page<S> {
    /// Why the sidecar is not ready, if it is not.
    pub lifecycle: Lifecycle,
    /// What is counted.
    pub metrics: Metrics,
    /// The time.
    pub clock: Clock,
    /// The rooms.
    pub look: Look,
    /// The configuration in effect.
    pub settings: Vec<Setting>,
    /// Whom the page asks; `None` where nobody may ask on it.
    pub asking: Option<Asking<S>>,
}

/// What requests for the page share.
struct Shown {
    window: Window,
    settings: Vec<Setting>,
    asks: bool,
}

impl<S: EnforcementService> Page<S> {
    /// Serves the page and the probes until `stop` is done and every connection has ended, on a thread of their own.
    ///
    /// # Errors
    /// If the listener or the thread cannot be had.
    ///
    /// # Cancel safety
    /// When it is dropped the thread ends, and its connections with it.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let history = History::new();
        let counting = history.clone().fill(self.metrics.clone(), self.clock.clone());
        // On the page's own thread, for as long as it takes connections.
        let stop = async {
            tokio::select! {
                () = stop => {}
                () = counting => {}
            }
        };
        serve(listener, self.router(history), stop).await
    }

    fn router(self, history: History) -> Router {
        let Self { lifecycle, metrics, clock, look, settings, asking } = self;
        let probes = probes(lifecycle.clone(), metrics.clone(), |_| true);
        let asks = asking.is_some();
        let desk = asking.map_or_else(Router::new, |asking| asking::router(asking, metrics.clone()));
        let began = clock.boot();
        let window = Window { lifecycle, metrics, clock, began, history, look };
        Router::new()
            .route("/", get(show_page))
            .route("/live", get(show_live))
            .route("/status.json", get(show_status))
            .route("/reasons.json", get(async || as_json(&json::reasons())))
            .with_state(Arc::new(Shown { window, settings, asks }))
            .merge(desk)
            .merge(probes)
            .layer(middleware::map_response(async |response: Response| guarded(response)))
    }
}

async fn show_page(State(shown): State<Arc<Shown>>, visitor: Visitor) -> Response {
    let here = visitor.is_here();
    let may_ask = match here {
        _ if !shown.asks => MayAsk::Off,
        Ok(()) => MayAsk::Yes,
        Err(stranger) => MayAsk::Not(stranger),
    };
    let settings = here.is_ok().then_some(&*shown.settings);
    as_html(page::whole(&shown.window.seen(range(visitor.uri())), may_ask, settings))
}

async fn show_live(State(shown): State<Arc<Shown>>, uri: Uri) -> Response {
    as_html(page::changing(&shown.window.seen(range(&uri))))
}

async fn show_status(State(shown): State<Arc<Shown>>, visitor: Visitor) -> Response {
    let settings = visitor.is_here().is_ok().then_some(&*shown.settings);
    as_json(&json::status(&shown.window.seen(range(visitor.uri())), settings))
}

/// How far back a request asks to look.
fn range(uri: &Uri) -> Range {
    let mut parts = uri.query().unwrap_or_default().split('&');
    Range::of_word(parts.find_map(|part| part.strip_prefix("range=")).unwrap_or_default())
}

fn as_html(page: String) -> Response {
    ([(CONTENT_TYPE, HTML)], page).into_response()
}

fn as_json(value: &serde_json::Value) -> Response {
    ([(CONTENT_TYPE, JSON)], value.to_string()).into_response()
}

/// A response with what tells browsers to keep it to this page, and to keep nothing of it.
fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    // A policy that is no header's value would be found out by the first test.
    if let Ok(policy) = HeaderValue::from_str(&page::POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (RESOURCE_POLICY, "same-origin"),
        (OPENER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
