//! Reviews over HTTPS.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;

use super::body::{BODY_BYTES_MAX, Room, Unread};
use super::review::{self, Answered, Outcome};
use super::settings::Settings;
use super::tally::Tally;

/// Where reviews are answered.
pub const PATH: &str = "/inject";
const JSON: &str = "application/json";

/// What every request is answered from.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    tally: Tally,
    room: Room,
}

/// A review that was asked. One that ends before it is answered, by its deadline or because nobody waits, is counted as that.
#[derive(Debug)]
struct Asked<'t> {
    tally: &'t Tally,
    is_over: bool,
}

/// The webhook.
pub(super) fn router(settings: Settings, tally: Tally) -> Router {
    let not_post = || async { (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "POST")], "reviews are posted\n") };
    let nothing = || async { (StatusCode::NOT_FOUND, format!("reviews are posted to {PATH}\n")) };
    Router::new().route(PATH, post(answer).fallback(not_post)).fallback(nothing).with_state(Arc::new(Shared {
        settings,
        tally,
        room: Room::new(),
    }))
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let asked = Asked { tally: &shared.tally, is_over: false };
    let is_json = is_json(request.headers());
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > BODY_BYTES_MAX as u64) {
        return asked.unread(Unread::TooLarge);
    }
    let body = match shared.room.read(request.into_body()).await {
        Ok(body) => body,
        Err(why) => return asked.unread(why),
    };
    // Only now: over HTTP/2 an answer to what was not read is lost to some clients.
    if !is_json {
        return asked.refused(
            Outcome::Unreadable,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "a review is `application/json`",
        );
    }
    let _answering = match shared.room.answering(&body).await {
        Ok(place) => place,
        Err(why) => return asked.unread(why),
    };
    let began = Instant::now();
    match review::answer(&shared.settings, body.bytes()) {
        Ok(answered) => {
            asked.answered(answered.outcome, began.elapsed());
            tell(&answered);
            ([(CONTENT_TYPE, JSON)], Body::from(answered.body)).into_response()
        }
        Err(error) => asked.refused(Outcome::Unreadable, StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

impl Asked<'_> {
    fn answered(mut self, outcome: Outcome, elapsed: Duration) {
        self.is_over = true;
        self.tally.add(outcome);
        self.tally.took(elapsed);
    }

    fn unread(self, why: Unread) -> Response {
        let (outcome, status) = match why {
            Unread::TooLarge => (Outcome::Unreadable, StatusCode::PAYLOAD_TOO_LARGE),
            Unread::Slow => (Outcome::Unanswered, StatusCode::REQUEST_TIMEOUT),
            Unread::Gone => (Outcome::Unanswered, StatusCode::BAD_REQUEST),
        };
        self.refused(outcome, status, &why.to_string())
    }

    /// Says why nobody knows what becomes of the pod. The API server then does as its `failurePolicy` says.
    fn refused(mut self, outcome: Outcome, status: StatusCode, why: &str) -> Response {
        self.is_over = true;
        self.tally.add(outcome);
        tracing::warn!(%status, why, "a review could not be read");
        (status, format!("{why}\n")).into_response()
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.tally.add(Outcome::Unanswered);
        }
    }
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
        Outcome::Complete | Outcome::NotAsked | Outcome::Unreadable | Outcome::Unanswered => {}
    }
}
