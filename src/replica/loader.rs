//! The thread that reads the store for questions that the cache cannot answer.
//!
//! One thread, so that a burst of questions about one subject reads it once, and so that no answering thread ever waits
//! for a disk.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use tokio::sync::{mpsc, oneshot};

use super::cache::Cached;
use super::engine::Engine;
use super::person::{self, LINKED_MAX};
use super::store::StoreError;
use crate::domain::{SubjectKey, SubjectState};

/// Loads that may wait; beyond, those who ask wait to be let in.
const QUEUE: usize = 1024;

/// One or many subjects to load, and where to send what was found: `None` where the store cannot tell.
struct Request {
    engine: Arc<Engine>,
    keys: Vec<SubjectKey>,
    reply: oneshot::Sender<Vec<Option<Arc<Cached>>>>,
}

/// A handle to the loading thread, which ends when all handles are gone.
#[derive(Debug, Clone)]
pub(super) struct Loader {
    requests: mpsc::Sender<Request>,
}

impl Loader {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(super) fn start() -> std::io::Result<(Self, JoinHandle<()>)> {
        let (requests, mut queue) = mpsc::channel::<Request>(QUEUE);
        let thread = Builder::new().name("consentd-load".to_owned()).spawn(move || {
            while let Some(Request { engine, keys, reply }) = queue.blocking_recv() {
                let states = keys.into_iter().map(|key| engine.load(key)).collect();
                // Who asked may have gone away.
                let _ = reply.send(states);
            }
        })?;
        Ok((Self { requests }, thread))
    }

    /// Loads subjects, in their order; `None` where the store cannot tell.
    ///
    /// # Cancel safety
    /// When dropped the load may still happen and fill the cache; nothing is lost.
    pub(super) async fn load(&self, engine: Arc<Engine>, keys: Vec<SubjectKey>) -> Vec<Option<Arc<Cached>>> {
        let count = keys.len();
        let (reply, loaded) = oneshot::channel();
        let sent = self.requests.send(Request { engine, keys, reply }).await;
        match (sent, loaded.await) {
            (Ok(()), Ok(states)) => states,
            _ => vec![None; count],
        }
    }
}

impl Engine {
    /// The state that decides for an identifier: the join of all that are linked to it. From the cache, else from the
    /// store into the cache.
    fn load(&self, key: SubjectKey) -> Option<Arc<Cached>> {
        if let Some(cached) = self.cache.peek(key) {
            return Some(cached);
        }
        let ticket = self.cache.ticket(key);
        match self.read_person(key) {
            Ok(state) => {
                let state = Arc::new(Cached::new(state));
                self.cache.insert_loaded(ticket, Arc::clone(&state));
                Some(state)
            }
            Err(error) => {
                self.condemn(&error);
                None
            }
        }
    }

    fn read_person(&self, key: SubjectKey) -> Result<SubjectState, StoreError> {
        let own = self.store.get(key)?.unwrap_or_default();
        person::join(key, own, |other| Ok(self.store.get(other)?.unwrap_or_default()))
    }

    /// Every identifier that is or ever was linked to this one, itself included: whose cached states may change with
    /// it. `None` where there are too many to tell.
    pub(super) fn affected(&self, key: SubjectKey) -> Result<Option<BTreeSet<SubjectKey>>, StoreError> {
        let mut seen = BTreeSet::new();
        let mut waiting = vec![key];
        while let Some(next) = waiting.pop() {
            if !seen.insert(next) {
                continue;
            }
            if seen.len() > LINKED_MAX * 4 {
                return Ok(None);
            }
            if let Some(state) = self.store.get(next)? {
                waiting.extend(state.links().iter().map(|link| link.other));
            }
        }
        Ok(Some(seen))
    }
}
