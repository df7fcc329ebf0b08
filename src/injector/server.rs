//! Reviews over HTTPS.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;

use super::review::{self, Answered, Outcome};
use super::settings::Settings;
use super::tally::Tally;

/// Where reviews are answered.
pub const PATH: &str = "/inject";
/// The largest review, in bytes. The API server takes objects of 3 MiB, and wraps them.
pub const BODY_BYTES_MAX: usize = 4 << 20;
const JSON: &str = "application/json";

/// What every request is answered from.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    tally: Tally,
}

/// The webhook.
pub(super) fn router(settings: Settings, tally: Tally) -> Router {
    let not_post = || async { (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "POST")], "reviews are posted\n") };
    let nothing = || async { (StatusCode::NOT_FOUND, format!("reviews are posted to {PATH}\n")) };
    Router::new()
        .route(PATH, post(answer).fallback(not_post))
        .fallback(nothing)
        .with_state(Arc::new(Shared { settings, tally }))
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let is_json = is_json(request.headers());
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let too_large = || refused(&shared, StatusCode::PAYLOAD_TOO_LARGE, "the review is larger than 4 MiB");
    if announced.is_some_and(|bytes| bytes > BODY_BYTES_MAX as u64) {
        return too_large();
    }
    // It fails by the limit, or with the connection, and then nobody is there to be told.
    let Ok(body) = to_bytes(request.into_body(), BODY_BYTES_MAX).await else { return too_large() };
    // Only now: over HTTP/2 an answer to what was not read is lost to some clients.
    if !is_json {
        return refused(&shared, StatusCode::UNSUPPORTED_MEDIA_TYPE, "a review is `application/json`");
    }
    let began = Instant::now();
    match review::answer(&shared.settings, &body) {
        Ok(answered) => {
            shared.tally.add(answered.outcome, began.elapsed());
            tell(&answered);
            ([(CONTENT_TYPE, JSON)], Body::from(answered.body)).into_response()
        }
        Err(error) => refused(&shared, StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

/// Says why nobody knows what becomes of the pod. The API server then does as its `failurePolicy` says.
fn refused(shared: &Shared, status: StatusCode, why: &str) -> Response {
    shared.tally.add(Outcome::Unreadable, std::time::Duration::ZERO);
    tracing::warn!(%status, why, "a review could not be read");
    (status, format!("{why}\n")).into_response()
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(JSON)))
}

fn tell(answered: &Answered) {
    let Answered { outcome, namespace, pod, why, .. } = answered;
    match outcome {
        Outcome::Injected => tracing::info!(namespace, pod, why, "a pod gets consentd"),
        Outcome::Refused => tracing::warn!(namespace, pod, why, "a pod was refused"),
        Outcome::LetThrough => tracing::warn!(namespace, pod, why, "a pod was let through without consentd"),
        Outcome::Complete | Outcome::NotAsked | Outcome::Unreadable => {}
    }
}
