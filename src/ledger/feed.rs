//! The receiving end of a followed ledger.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::FeedItem;

/// What a ledger says, as it says it. Dropping it ends the following.
///
/// It is a bounded channel, because one source is a thread that reads a file and another a task that reads a network:
/// a slow receiver holds the source back, and never makes it collect.
pub struct Feed {
    // INVARIANT: dropped before `stop`, so that a source that waits for room is let go before it is told to stop.
    items: mpsc::Receiver<FeedItem>,
    _stop: Box<dyn Any + Send>,
}

impl Feed {
    /// A feed from a channel; `stop` is dropped with it and ends the source.
    pub fn new(items: mpsc::Receiver<FeedItem>, stop: impl Send + 'static) -> Self {
        Self { items, _stop: Box::new(stop) }
    }

    /// The next item. `None` after [`FeedItem::Broken`]; `None` without it is a source that ended by a defect, and no
    /// sign of freshness.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn recv(&mut self) -> Option<FeedItem> {
        self.items.recv().await
    }

    /// As [`Feed::recv`], for a thread of its own.
    ///
    /// # Panics
    /// Inside an asynchronous runtime, as the channel's `blocking_recv` does.
    pub fn blocking_recv(&mut self) -> Option<FeedItem> {
        self.items.blocking_recv()
    }

    /// As [`Feed::blocking_recv`], but `Pending` if nothing comes within a span: a ledger that cannot be reached says so
    /// once and is then silent, and whoever listens to it has other things to look at.
    pub fn blocking_recv_within(&mut self, span: Duration) -> Poll<Option<FeedItem>> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let until = Instant::now() + span;
        loop {
            if let Poll::Ready(item) = self.items.poll_recv(&mut Context::from_waker(&waker)) {
                return Poll::Ready(item);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Poll::Pending;
            }
            thread::park_timeout(left);
        }
    }
}

/// Wakes a thread that waits for its feed.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("waiting", &self.items.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_feed_lets_its_listener_go_and_loses_nothing() {
        let (sender, items) = mpsc::channel(1);
        let mut feed = Feed::new(items, ());
        let short = Duration::from_millis(20);
        let began = Instant::now();
        assert_eq!(feed.blocking_recv_within(short), Poll::Pending);
        assert!(began.elapsed() >= short);
        let said = FeedItem::Waiting("a reason".to_owned());
        let saying = said.clone();
        let late = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            sender.blocking_send(saying).expect("somebody listens");
        });
        let long = Duration::from_secs(30);
        assert_eq!(feed.blocking_recv_within(long), Poll::Ready(Some(said)));
        late.join().expect("no panic");
        assert_eq!(feed.blocking_recv_within(long), Poll::Ready(None), "the source has ended");
        assert!(began.elapsed() < long, "it is woken, and does not wait for the span to end");
    }
}
