//! Requests that nobody answered, as HTTP tells it. A client lets nothing through on any of these.

use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::answer::{JSON, written};
use crate::access::Caller;
use crate::domain::Question;
use crate::enforcer::wellformed::Malformed;

/// Why a request as a whole gets no decision. Holds no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// The other end is nobody who may ask.
    #[error("the sidecar does not know this caller; name it in `callers`")]
    UnknownCaller,
    /// It may ask, but not about this.
    #[error(
        "the caller `{caller}` may not ask about `{purpose}` over `{channel}`; see `callers` in the sidecar's configuration"
    )]
    NotPermitted { caller: String, purpose: String, channel: String },
    /// The body is not said to be JSON.
    #[error("the header `Content-Type` must be there once and say `application/json`")]
    NotJson,
    /// The body ended early.
    #[error("the body could not be read to its end")]
    CutOff,
    /// Something in it is not as it must be.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Its tokens are of two ledgers.
    #[error("`at_least_as_fresh` names places in two ledgers: ask in two requests")]
    TwoLedgers,
    /// The body is larger than the sidecar takes.
    #[error(
        "the body is larger than {body_bytes_max} bytes: ask in several requests, or raise `server.max_message_bytes`"
    )]
    TooLarge { body_bytes_max: usize },
    /// There was no answer in time.
    #[error("there was no answer in time; nothing is permitted, ask again")]
    TooLate,
    /// Nothing is at this path.
    #[error("nothing is served here")]
    NotServed,
    /// A defect of this program.
    #[error("the answer failed by a defect of consentd")]
    Defect,
}

impl Refusal {
    pub(super) fn not_permitted(caller: &Caller, question: &Question<'_>) -> Self {
        let (purpose, channel) = (question.purpose.to_owned(), question.channel.to_owned());
        Self::NotPermitted { caller: caller.name().to_owned(), purpose, channel }
    }

    /// The status. Source: section 10.1.2, which has a list of four; 404, 413 and 503 are HTTP's own.
    const fn status(&self) -> StatusCode {
        match self {
            Self::UnknownCaller | Self::NotPermitted { .. } => StatusCode::FORBIDDEN,
            Self::NotJson | Self::CutOff | Self::Malformed(_) | Self::TwoLedgers => StatusCode::BAD_REQUEST,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooLate => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotServed => StatusCode::NOT_FOUND,
            Self::Defect => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Refusal {
    /// The body is the message, as a text of JSON.
    fn into_response(self) -> Response {
        let body = written(&self.to_string()).unwrap_or_default();
        (self.status(), [(CONTENT_TYPE, JSON), (CACHE_CONTROL, "no-store")], body).into_response()
    }
}
