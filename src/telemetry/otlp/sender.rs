//! One signal on its way: requests with a bound on their time, and what is said when they fail.

use std::error::Error as _;
use std::time::Duration;

use tonic::metadata::MetadataMap;
use tonic::{Code, Extensions, Request, Response, Status};

/// Sends requests of one kind.
#[derive(Debug)]
pub(super) struct Sender {
    signal: &'static str,
    timeout: Duration,
    failing: bool,
}

/// A request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotTaken {
    /// Whether it may be taken if it is sent again.
    pub(super) is_passing: bool,
}

impl Sender {
    /// A sender of `traces` or `metrics`.
    pub(super) const fn new(signal: &'static str, timeout: Duration) -> Self {
        Self { signal, timeout, failing: false }
    }

    /// Sends one request. That it fails is said once, until one is taken again.
    pub(super) async fn send<M, R>(
        &mut self,
        message: M,
        headers: MetadataMap,
        call: impl AsyncFnOnce(Request<M>) -> Result<Response<R>, Status>,
    ) -> Result<R, NotTaken> {
        let mut request = Request::from_parts(headers, Extensions::default(), message);
        request.set_timeout(self.timeout);
        let (why, is_passing) = match tokio::time::timeout(self.timeout, call(request)).await {
            Ok(Ok(response)) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!(signal = self.signal, "the collector takes again what it is sent");
                }
                return Ok(response.into_inner());
            }
            Ok(Err(status)) => (why(&status), is_passing(status.code())),
            Err(_) => (format!("no answer within {:?}", self.timeout), true),
        };
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(signal = self.signal, why, "the collector does not take what it is sent");
        }
        Err(NotTaken { is_passing })
    }
}

/// Whether what failed so may be sent again. Source: OTLP specification, "OTLP/gRPC response", "failures"; an exhausted
/// resource counts as lasting there where the collector does not say when it ends.
const fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// What may be said of a failure: of our own end all, of the collector's only the code. Its message is not ours, and may
/// repeat what it was sent.
fn why(status: &Status) -> String {
    let mut why = status.code().description().to_owned();
    let mut cause = status.source();
    while let Some(error) = cause {
        why = format!("{why}: {error}");
        cause = error.source();
    }
    why
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_collectors_own_words_are_not_repeated() {
        let status = Status::new(Code::Unauthenticated, "no such token: s3cret");
        assert_eq!(why(&status), Code::Unauthenticated.description());
        assert!(!is_passing(status.code()));
        assert!(is_passing(Code::Unavailable));
        assert!(!is_passing(Code::ResourceExhausted));
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer_is_waited_for_without_end() {
        let mut sender = Sender::new("traces", Duration::from_secs(3));
        let began = tokio::time::Instant::now();
        let sent =
            sender.send((), MetadataMap::new(), async |_| std::future::pending::<Result<Response<()>, _>>().await);
        assert_eq!(sent.await, Err(NotTaken { is_passing: true }));
        assert_eq!(began.elapsed(), Duration::from_secs(3));
    }
}
