//! The receiving end of a followed ledger.

use std::any::Any;
use std::fmt;

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
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("waiting", &self.items.len()).finish_non_exhaustive()
    }
}
