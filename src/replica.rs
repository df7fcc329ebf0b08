//! The local copy: what the ledger says about every subject, in memory where it was asked for, on disk for a restart; or,
//! on demand, about the subjects that were asked for, in memory only.
//!
//! Owns the sled store, the moka cache, the one applier and the freshness of the view. Must not know who asks, what a
//! decision is made of, or which engine the ledger runs on; but for `on_demand`, which needs one that can be asked for
//! single subjects.
//!
//! Invariants:
//! - P4: a state that a reader gets is never older than the position that was published when it asked, and no older
//!   state is cached after a newer one was applied.
//! - P7: whatever happens to the store, the ledger rebuilds it to the same states.
//! - P6: subjects are known by keyed hashes only.

mod applier;
mod cache;
mod changes;
mod codec;
mod engine;
mod in_force;
mod loader;
mod on_demand;
mod past;
mod person;
mod progress;
mod standing;
mod stop;
mod store;
mod tally;
mod texts;
mod witness;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::runtime::Handle;

pub use applier::SourceFactory;
pub use cache::{CacheStats, Cached};
pub use on_demand::{LoadStats, OnDemandConfig};
pub use past::{Past, TooMuch};
pub use progress::Progress;
pub use standing::{Published, Trouble};
pub use tally::{COUNTED_MAX, ConsentCount};

use crate::clock::Clock;
use crate::domain::{LedgerStanding, SubjectKey, TokenStanding};
use crate::ledger::{SubjectHasher, Token};
use applier::Applier;
use engine::Engine;
use loader::Loader;
use on_demand::OnDemand;
use standing::Standing;
use stop::Stop;
use tally::Tally;
use witness::Witness;

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
    copy: Copy,
    clock: Clock,
}

/// Where subjects' states come from that are not in memory.
#[derive(Debug, Clone)]
enum Copy {
    /// A store that has all of them.
    Full(Loader),
    /// The ledger.
    OnDemand(Arc<OnDemand>),
}

/// What keeps the local copy running; stop it at the end of the process.
#[derive(Debug)]
pub struct Running {
    stop: Stop,
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
    /// What was said since the view was complete.
    tally: Tally,
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
        let shared = Arc::new(Shared::new(&config.secret, config.cache_bytes));
        let stop = Stop::default();
        let applier = Applier {
            shared: Arc::clone(&shared),
            sources,
            stop: stop.clone(),
            witness: Witness::load(&config.folder),
            folder: config.folder,
            store_cache_bytes: config.store_cache_bytes,
        };
        let (loader, _) = Loader::start()?;
        let applier = std::thread::Builder::new().name("consentd-apply".to_owned()).spawn(move || applier.run())?;
        Ok((Self { shared, copy: Copy::Full(loader), clock }, Running { stop, applier }))
    }

    /// Starts following what is new in a central ledger, to load subjects from it when they are asked for. Returns at
    /// once; until the ledger's end is reached, the view says so. Loads run on `runtime`.
    ///
    /// # Errors
    /// If the system gives no threads.
    pub fn start_on_demand(
        config: OnDemandConfig,
        sources: SourceFactory,
        clock: Clock,
        runtime: Handle,
    ) -> std::io::Result<(Self, Running)> {
        let shared = Arc::new(Shared::new(&config.secret, config.cache_bytes));
        let stop = Stop::default();
        let (on_demand, applier) = OnDemand::start(config, Arc::clone(&shared), sources, stop.clone(), runtime)?;
        Ok((Self { shared, copy: Copy::OnDemand(on_demand), clock }, Running { stop, applier }))
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
        match &self.copy {
            Copy::Full(_) => view.published.engine.as_ref()?.cache.get(key),
            Copy::OnDemand(on_demand) => on_demand.cached(key),
        }
    }

    /// Subjects' states under a view from its store, in their order: not older than the view. On demand they come from
    /// the ledger, and what has not come within the configured time is [`Loaded::Unavailable`].
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub async fn load(&self, view: &View, keys: Vec<SubjectKey>) -> Vec<Loaded> {
        self.load_within(view, keys, Duration::MAX).await
    }

    /// As [`Replica::load`], for who has only so much time. A store of our own takes what it takes.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub async fn load_within(&self, view: &View, keys: Vec<SubjectKey>, patience: Duration) -> Vec<Loaded> {
        let states = match (&self.copy, view.published.engine.clone()) {
            (Copy::Full(loader), Some(engine)) => loader.load(engine, keys).await,
            // Before the end of the ledger was reached, and after it broke, no state is looked at.
            (Copy::OnDemand(on_demand), _) if view.ledger == LedgerStanding::Following => {
                on_demand.load(&keys, patience).await
            }
            (Copy::Full(_) | Copy::OnDemand(_), _) => return vec![Loaded::Unavailable; keys.len()],
        };
        states.into_iter().map(|state| state.map_or(Loaded::Unavailable, Loaded::State)).collect()
    }

    /// The subjects that a view's store has something of, in the order of their keys, behind one of them; `None` where
    /// there is no store, or it cannot be read. Blocks for a disk: not for who answers.
    pub fn subjects_after(&self, view: &View, after: Option<SubjectKey>, count_max: usize) -> Option<Vec<SubjectKey>> {
        let engine = view.published.engine.as_ref()?;
        let keys = engine.store.subjects_after(after, count_max);
        keys.map_err(|error| engine.condemn(&error)).ok()
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

    /// What subjects have said since the view was complete: each event of a consent as often as the ledger has it.
    pub fn consent_counts(&self) -> Vec<ConsentCount> {
        self.shared.tally.counts()
    }

    /// Why the view cannot be relied on, if it cannot.
    pub fn trouble(&self) -> Option<Trouble> {
        self.shared.standing.trouble()
    }

    /// Counts of the cache; zeros while there is no store.
    pub fn cache_stats(&self) -> CacheStats {
        match &self.copy {
            Copy::Full(_) => self.shared.engine.load().as_ref().map(|engine| engine.cache.stats()).unwrap_or_default(),
            Copy::OnDemand(on_demand) => on_demand.cache_stats(),
        }
    }

    /// Figures of loads on demand; zeros where there is a full copy.
    pub fn load_stats(&self) -> LoadStats {
        match &self.copy {
            Copy::Full(_) => LoadStats::default(),
            Copy::OnDemand(on_demand) => on_demand.load_stats(),
        }
    }

    /// How often the store was set aside and rebuilt since the start.
    pub fn rebuilds(&self) -> u64 {
        self.shared.rebuilds.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn new(secret: &[u8; 32], cache_bytes: u64) -> Self {
        Self {
            standing: Standing::new(),
            engine: ArcSwapOption::empty(),
            hasher: SubjectHasher::new(secret),
            cache_bytes,
            rebuilds: AtomicU64::new(0),
            replayed: AtomicU64::new(0),
            tally: Tally::default(),
        }
    }
}

impl Running {
    /// Stops following and flushes the store. Blocks until that is done: a second at most.
    pub fn stop(self) {
        self.stop.set();
        if self.applier.join().is_err() {
            tracing::error!("the applying thread panicked");
        }
    }
}
