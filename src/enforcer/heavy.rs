//! Heavy calls: done beside the threads that read and write, so that no single question waits behind a batch, and as many
//! at once as there are processors, whatever wires they came over.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Questions from which a call is heavy: they take as long as a hundred single calls.
const HEAVY_QUESTIONS: usize = 256;

/// The turns of heavy calls; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Turns(Arc<Semaphore>);

/// A heavy call's turn, given back when it is dropped.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "it is held, not looked at")] OwnedSemaphorePermit);

impl Turns {
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self(Arc::new(Semaphore::new(processors)))
    }

    pub(super) async fn take(&self, questions: usize) -> Option<Turn> {
        if questions < HEAVY_QUESTIONS {
            return None;
        }
        // Nobody closes it; were it closed, the work would merely be done in place.
        Arc::clone(&self.0).acquire_owned().await.ok().map(Turn)
    }
}

/// Does work in its turn; in place where it needs none.
///
/// # Cancel safety
/// In its turn it is not cancelled: it blocks its thread, from which others have been moved away.
pub async fn in_turn<T>(turn: Option<Turn>, work: impl Future<Output = T>) -> T {
    let runtime = Handle::current();
    // A runtime of one thread has no other to hand its connections to.
    if turn.is_none() || runtime.runtime_flavor() == RuntimeFlavor::CurrentThread {
        return work.await;
    }
    tokio::task::block_in_place(|| runtime.block_on(work))
}
