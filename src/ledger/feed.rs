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

/// Nothing was said for as long as it was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quiet;

/// Wakes a thread that waits for an item.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
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

    /// As [`Feed::recv`], for a thread of its own that has other things to look after: waits for so long at most.
    ///
    /// # Errors
    /// If nothing was said in that time. A source that cannot reach its ledger may be silent for as long as that lasts.
    pub fn recv_within(&mut self, patience: Duration) -> Result<Option<FeedItem>, Quiet> {
        let until = Instant::now() + patience;
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(item) = self.items.poll_recv(&mut context) {
                return Ok(item);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Quiet);
            }
            thread::park_timeout(left);
        }
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
    fn a_thread_waits_for_an_item_and_no_longer_than_it_wants() {
        let (items, receiver) = mpsc::channel(1);
        let mut feed = Feed::new(receiver, ());
        let began = Instant::now();
        assert_eq!(feed.recv_within(Duration::from_millis(30)), Err(Quiet));
        assert!(began.elapsed() >= Duration::from_millis(30));
        let item = FeedItem::Waiting("for a test".to_owned());
        let said = item.clone();
        let saying = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            items.blocking_send(said).expect("somebody listens");
        });
        let began = Instant::now();
        assert_eq!(feed.recv_within(Duration::from_secs(20)), Ok(Some(item)));
        assert!(began.elapsed() < Duration::from_secs(10), "it was not woken");
        saying.join().expect("no panic");
        assert_eq!(feed.recv_within(Duration::from_secs(20)), Ok(None), "the source is gone");
    }
}
