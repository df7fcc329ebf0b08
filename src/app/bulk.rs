//! Calls with many questions, where memory is scarce: only so many are read at once, and the others wait with their
//! questions still on the other side of the connection. A batch of 10,000 takes some 16 MB from being read to being answered.

use std::num::NonZeroUsize;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use tokio::sync::Semaphore;

/// Where calls with many questions go. Messages of a stream are held back by the stream itself.
const BULK: [&str; 2] = ["/consent.v1.EnforcementService/MayProcessBatch", crate::authzen::EVALUATIONS];

/// The routes, with so many calls of many questions at once; without a number, as many as come.
pub(super) fn held_back(routes: Router, at_once: Option<NonZeroUsize>) -> Router {
    match at_once {
        Some(at_once) => routes.layer(from_fn_with_state(Arc::new(Semaphore::new(at_once.get())), in_turn)),
        None => routes,
    }
}

async fn in_turn(State(turns): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let is_bulk = BULK.contains(&request.uri().path());
    // Nobody closes it; were it closed, the call would merely not wait.
    let turn = if is_bulk { turns.acquire_owned().await.ok() } else { None };
    let response = next.run(request).await;
    drop(turn);
    response
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use axum::body::Body;
    use axum::routing::any;
    use tokio::task::JoinSet;
    use tower::ServiceExt as _;

    use super::*;

    /// How many of eight calls to a path are answered at the same time, at most.
    async fn at_the_same_time(path: &'static str, at_once: Option<usize>) -> usize {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&most);
        let answer = move || {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(20)).await;
                now.fetch_sub(1, Ordering::SeqCst);
            }
        };
        let routes = held_back(Router::new().fallback(any(answer)), at_once.and_then(NonZeroUsize::new));
        let mut calls = JoinSet::new();
        for _ in 0..8 {
            let request = Request::builder().uri(path).body(Body::empty()).expect("a request");
            calls.spawn(routes.clone().oneshot(request));
        }
        for response in calls.join_all().await {
            assert!(response.expect("infallible").status().is_success());
        }
        seen.load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn calls_with_many_questions_wait_for_their_turn_and_others_do_not() {
        for path in BULK {
            assert_eq!(at_the_same_time(path, Some(2)).await, 2, "{path}");
            assert_eq!(at_the_same_time(path, None).await, 8, "{path}");
        }
        assert_eq!(at_the_same_time("/consent.v1.EnforcementService/MayProcess", Some(2)).await, 8);
    }
}
