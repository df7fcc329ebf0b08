//! An end to answers that nobody takes.
//!
//! A caller of HTTP/2 opens a window for each call, and one that never does would keep its answer waiting with us for as
//! long as its connection lives. What it costs us is bounded by the number of calls; this bounds for how long.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::rt::Executor;
use tokio::time::{Sleep, sleep};
use tonic::Status;

/// How long a caller may take no byte of an answer. One that reads slowly is waited for from piece to piece.
const TAKE_PATIENCE: Duration = Duration::from_secs(30);

tokio::task_local! {
    /// How far the answer of the call at hand has been taken.
    static TAKEN: Arc<Progress>;
}

/// How far an answer has been taken: twice the pieces that were handed out, and one more while the last is not taken.
#[derive(Debug, Default)]
struct Progress(AtomicU64);

/// Runs each call of a connection of HTTP/2 as a task, and ends those whose answers are not taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Calls;

/// An answer that tells how far it has been taken, where somebody asks.
#[derive(Debug)]
pub(super) struct Answer {
    body: tonic::body::Body,
    progress: Option<Arc<Progress>>,
}

impl Progress {
    /// Tells one state from any other.
    fn state(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    const fn is_waiting(state: u64) -> bool {
        !state.is_multiple_of(2)
    }

    /// The last piece is taken, where there was one.
    fn asked(&self) {
        let state = self.state();
        self.0.store(state + u64::from(Self::is_waiting(state)), Ordering::Relaxed);
    }

    /// A piece goes out.
    fn handed(&self) {
        self.0.store(self.state() | 1, Ordering::Relaxed);
    }
}

impl Answer {
    /// An answer of the call at hand.
    pub(super) fn new(body: tonic::body::Body) -> Self {
        Self { body, progress: TAKEN.try_with(Arc::clone).ok() }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(progress) = &self.progress {
            progress.asked();
        }
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let (Poll::Ready(Some(Ok(_))), Some(progress)) = (&frame, &self.progress) {
            progress.handed();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Calls {
    fn execute(&self, call: F) {
        let progress = Arc::new(Progress::default());
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = TAKEN.scope(Arc::clone(&progress), call) => {}
                () = not_taken(&progress) => {}
            }
        });
    }
}

/// Done once a piece of the answer was not taken for too long.
///
/// INVARIANT: it is polled after the call whenever that is, so that no timer runs for a call that nothing is amiss with.
async fn not_taken(progress: &Progress) {
    let mut waiting: Option<(u64, Pin<Box<Sleep>>)> = None;
    poll_fn(|cx| {
        let state = progress.state();
        if !Progress::is_waiting(state) {
            waiting = None;
            return Poll::Pending;
        }
        match &mut waiting {
            Some((since, until)) if *since == state => until.as_mut().poll(cx),
            _ => waiting.insert((state, Box::pin(sleep(TAKE_PATIENCE)))).1.as_mut().poll(cx),
        }
    })
    .await;
}
