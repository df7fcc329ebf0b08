//! The local copy: what the ledger says about every subject, in memory where it was asked for, on disk for a restart.
//!
//! Owns the sled store, the moka cache, the one applier and the freshness of the view. Must not know who asks, what a
//! decision is made of, or which engine the ledger runs on.
//!
//! Invariants:
//! - P4: a state that a reader gets is never older than the position that was published when it asked, and no older
//!   state is cached after a newer one was applied.
//! - P7: whatever happens to the store, the ledger rebuilds it to the same states.
//! - P6: subjects are known by keyed hashes only.

mod applier;
mod cache;
mod codec;
mod engine;
mod loader;
mod progress;
mod standing;
mod store;
mod texts;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwapOption;

pub use applier::SourceFactory;
pub use cache::{CacheStats, Cached};
pub use progress::Progress;
pub use standing::{Published, Trouble};

use crate::clock::Clock;
use crate::domain::{LedgerStanding, SubjectKey, TokenStanding};
use crate::ledger::{SubjectHasher, Token};
use applier::Applier;
use engine::Engine;
use loader::Loader;
use standing::Standing;

/// Where the local copy lies and how much memory it may take.
#[derive(Debug, Clone)]
pub struct Config {
    /// The store's folder; `<folder>.set-aside` and `<folder>.opening` lie beside it.
    pub folder: PathBuf,
    /// The weight of cached subjects, in bytes.
    pub cache_bytes: u64,
    /// sled's own cache, in bytes.
    pub store_cache_bytes: u64,
    /// The secret under which subjects are named.
    pub secret: [u8; 32],
}

/// Handles to the local copy; clones share it.
#[derive(Debug, Clone)]
pub struct Replica {
    shared: Arc<Shared>,
    loader: Loader,
    clock: Clock,
}

/// What keeps the local copy running; stop it at the end of the process.
#[derive(Debug)]
pub struct Running {
    stop: Arc<AtomicBool>,
    applier: JoinHandle<()>,
}

/// What the applier and all readers share.
#[derive(Debug)]
struct Shared {
    standing: Standing,
    /// `None` while there is no usable store.
    engine: ArcSwapOption<Engine>,
    hasher: SubjectHasher,
    cache_bytes: u64,
    rebuilds: AtomicU64,
    replayed: AtomicU64,
}

/// One consistent look at the view as a whole, to be taken before any state is looked at.
#[derive(Debug, Clone)]
pub struct View {
    /// How far the view has come.
    pub published: Arc<Published>,
    /// Whether the ledger can be trusted and was read to its end.
    pub ledger: LedgerStanding,
    /// The time since the view was last known to be complete.
    pub staleness: Duration,
}

/// What is known about one subject.
#[derive(Debug, Clone)]
pub enum Loaded {
    /// All that the ledger says.
    State(Arc<Cached>),
    /// The store cannot be read.
    Unavailable,
}

impl Replica {
    /// Starts following the ledger. Returns at once; until the view is complete, it says so.
    ///
    /// # Errors
    /// If the system gives no threads.
    pub fn start(config: Config, sources: SourceFactory, clock: Clock) -> std::io::Result<(Self, Running)> {
        let shared = Arc::new(Shared {
            standing: Standing::new(),
            engine: ArcSwapOption::empty(),
            hasher: SubjectHasher::new(&config.secret),
            cache_bytes: config.cache_bytes,
            rebuilds: AtomicU64::new(0),
            replayed: AtomicU64::new(0),
        });
        let stop = Arc::new(AtomicBool::new(false));
        let applier = Applier {
            shared: Arc::clone(&shared),
            sources,
            stop: Arc::clone(&stop),
            folder: config.folder,
            store_cache_bytes: config.store_cache_bytes,
        };
        let (loader, _) = Loader::start()?;
        let applier = std::thread::Builder::new().name("consentd-apply".to_owned()).spawn(move || applier.run())?;
        Ok((Self { shared, loader, clock }, Running { stop, applier }))
    }

    /// The view as a whole, as it is now.
    pub fn view(&self) -> View {
        let standing = &self.shared.standing;
        let published = standing.published();
        View {
            ledger: standing.ledger(&published),
            staleness: standing.staleness(&self.clock),
            published: Arc::clone(&published),
        }
    }

    /// The keyed hash of a subject's text `space:id`.
    pub fn key(&self, subject: &str) -> SubjectKey {
        self.shared.hasher.key(subject)
    }

    /// A subject's state under a view, if it is in memory: not older than the view.
    pub fn cached(&self, view: &View, key: SubjectKey) -> Option<Arc<Cached>> {
        view.published.engine.as_ref()?.cache.get(key)
    }

    /// Subjects' states under a view from its store, in their order: not older than the view.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub async fn load(&self, view: &View, keys: Vec<SubjectKey>) -> Vec<Loaded> {
        let Some(engine) = view.published.engine.clone() else {
            return vec![Loaded::Unavailable; keys.len()];
        };
        let states = self.loader.load(engine, keys).await;
        states.into_iter().map(|state| state.map_or(Loaded::Unavailable, Loaded::State)).collect()
    }

    /// Waits until the view has reached a token, at most for `patience`.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub async fn reach(&self, token: Token, patience: Duration) -> TokenStanding {
        self.shared.standing.reach(token, patience).await
    }

    /// Events that were read while the view was built, since the start.
    pub fn replayed(&self) -> u64 {
        self.shared.replayed.load(Ordering::Relaxed)
    }

    /// Why the view cannot be relied on, if it cannot.
    pub fn trouble(&self) -> Option<Trouble> {
        self.shared.standing.trouble()
    }

    /// Counts of the cache; zeros while there is no store.
    pub fn cache_stats(&self) -> CacheStats {
        self.shared.engine.load().as_ref().map(|engine| engine.cache.stats()).unwrap_or_default()
    }

    /// How often the store was set aside and rebuilt since the start.
    pub fn rebuilds(&self) -> u64 {
        self.shared.rebuilds.load(Ordering::Relaxed)
    }
}

impl Running {
    /// Stops following and flushes the store. Blocks until that is done: a second at most.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.applier.join().is_err() {
            tracing::error!("the applying thread panicked");
        }
    }
}
