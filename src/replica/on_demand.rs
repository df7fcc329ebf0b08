//! A copy that has only what was asked for: a subject is loaded from the ledger at its first question, kept current like
//! any other from then on, and given up when there is no room for it.
//!
//! Nothing of it is on disk, but how far the ledger was read. What was given up, or was there before a restart, is loaded
//! again.

mod follow;
mod table;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use hdrhistogram::{CreationError, Histogram};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use super::cache::{CacheStats, Cached};
use super::changes;
use super::stop::Stop;
use super::witness::Witness;
use super::{Shared, SourceFactory, person};
use crate::domain::{SubjectKey, SubjectState};
use crate::ledger::nats::{self, SubjectReader};
use follow::Follower;
use table::{Found, Load, Outcome, Table};

/// Subjects that are loaded at once. Enough to keep a server busy over a round trip of some milliseconds; more would only
/// wait there instead of here, where a single question takes its turn between those of a large batch.
const LOADS_MAX: usize = 64;
/// The longest time of a load that is told apart, in microseconds: a minute. Told to a hundredth.
const TOOK_US_MAX: u64 = 60_000_000;
const TOOK_DIGITS: u8 = 2;
/// The least time between two lines of the log about loads that failed.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(1);

/// How a copy on demand is kept.
#[derive(Debug, Clone)]
pub struct OnDemandConfig {
    /// Where it is written down how far the ledger was read, and nothing else.
    pub folder: PathBuf,
    /// The ledger.
    pub ledger: nats::Config,
    /// The weight of kept subjects, in bytes.
    pub cache_bytes: u64,
    /// The secret under which subjects are named: the ledger's.
    pub secret: [u8; 32],
    /// The longest that a question waits for its subjects.
    pub patience: Duration,
}

/// Figures of loads since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadStats {
    /// Subjects that were loaded, absent ones included.
    pub loaded: u64,
    /// Those of them of which the ledger says nothing.
    pub absent: u64,
    /// Loads that did not come to their end, or were not begun in time: whoever waited was denied.
    pub failed: u64,
    /// Questions that waited for another question's load.
    pub shared: u64,
    /// The time within which half of them came to their end.
    pub p50: Duration,
    /// The time within which 99 of 100 came to their end.
    pub p99: Duration,
}

/// The subjects that were asked for, and what loads more of them.
pub(super) struct OnDemand {
    table: Arc<Table>,
    /// `None` until the ledger was reached for the first time.
    reader: ArcSwapOption<SubjectReader>,
    shared: Arc<Shared>,
    patience: Duration,
    runtime: Handle,
    permits: Arc<Semaphore>,
    counts: Counts,
}

#[derive(Debug)]
struct Counts {
    loaded: AtomicU64,
    absent: AtomicU64,
    failed: AtomicU64,
    shared: AtomicU64,
    /// Microseconds that loads took, failed ones included.
    took: Mutex<Histogram<u64>>,
    hits: AtomicU64,
    misses: AtomicU64,
    /// When a load that failed was last complained about, in milliseconds after `since`; 0 is never.
    complained_ms: AtomicU64,
    since: Instant,
}

/// What is known of subjects in the course of one call.
type Known = HashMap<SubjectKey, Arc<Cached>>;

impl OnDemand {
    /// Starts to follow what is new.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(super) fn start(
        config: OnDemandConfig,
        shared: Arc<Shared>,
        sources: SourceFactory,
        stop: Stop,
        runtime: Handle,
    ) -> io::Result<(Arc<Self>, JoinHandle<()>)> {
        let on_demand = Arc::new(Self {
            table: Arc::new(Table::new(config.cache_bytes)),
            reader: ArcSwapOption::empty(),
            shared,
            patience: config.patience,
            runtime,
            permits: Arc::new(Semaphore::new(LOADS_MAX)),
            counts: Counts::new().map_err(io::Error::other)?,
        });
        let witness = Witness::load(&config.folder);
        let follower = Follower { copy: Arc::clone(&on_demand), ledger: config.ledger, sources, stop, witness };
        let thread = std::thread::Builder::new().name("consentd-apply".to_owned()).spawn(move || follower.run())?;
        Ok((on_demand, thread))
    }

    /// The state that decides for an identifier, if all of it is here.
    pub(super) fn cached(&self, key: SubjectKey) -> Option<Arc<Cached>> {
        let found = self.person(key, &Known::new()).ok();
        let counter = if found.is_some() { &self.counts.hits } else { &self.counts.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// The states that decide for identifiers, in their order; `None` where the ledger could not be read in time.
    ///
    /// # Cancel safety
    /// Loads that were begun go on and are kept; nothing is lost.
    pub(super) async fn load(self: &Arc<Self>, keys: &[SubjectKey], patience: Duration) -> Vec<Option<Arc<Cached>>> {
        let until = Instant::now() + self.patience.min(patience);
        let mut known = Known::new();
        let mut failed = BTreeSet::new();
        let mut persons: Vec<Option<Arc<Cached>>> = vec![None; keys.len()];
        // Each round loads whom the last one found to be linked: their number bounds the rounds.
        loop {
            let mut missing = BTreeSet::new();
            for (person, key) in persons.iter_mut().zip(keys).filter(|(person, _)| person.is_none()) {
                match self.person(*key, &known) {
                    Ok(whole) => *person = Some(whole),
                    Err(lacking) if lacking.is_disjoint(&failed) => missing.extend(lacking),
                    // Part of a person decides nothing.
                    Err(_) => {}
                }
            }
            if missing.is_empty() {
                return persons;
            }
            for (key, state) in self.bring(missing, until).await {
                match state {
                    Some(state) => drop(known.insert(key, state)),
                    None => drop(failed.insert(key)),
                }
            }
        }
    }

    /// Counts since the start, and what is kept.
    pub(super) fn cache_stats(&self) -> CacheStats {
        let (entries, bytes) = self.table.size();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheStats { hits: count(&self.counts.hits), misses: count(&self.counts.misses), refused: 0, entries, bytes }
    }

    /// Counts of loads since the start.
    pub(super) fn load_stats(&self) -> LoadStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LoadStats {
            loaded: count(&self.counts.loaded),
            absent: count(&self.counts.absent),
            failed: count(&self.counts.failed),
            shared: count(&self.counts.shared),
            p50: self.counts.took_within(0.5),
            p99: self.counts.took_within(0.99),
        }
    }

    /// The state that decides for an identifier.
    ///
    /// # Errors
    /// Those of whom nothing is known here.
    fn person(&self, key: SubjectKey, known: &Known) -> Result<Arc<Cached>, BTreeSet<SubjectKey>> {
        // What is in the table is at least as new as what a load of this call has brought.
        let get = |key: SubjectKey| self.table.get(key).or_else(|| known.get(&key).cloned());
        let own = get(key).ok_or_else(|| BTreeSet::from([key]))?;
        if own.state().linked().next().is_none() {
            return Ok(own);
        }
        let mut missing = BTreeSet::new();
        let joined: Result<SubjectState, std::convert::Infallible> = person::join(key, own.state().clone(), |other| {
            Ok(get(other).map_or_else(
                || {
                    missing.insert(other);
                    SubjectState::default()
                },
                |other| other.state().clone(),
            ))
        });
        match joined {
            Ok(person) if missing.is_empty() => Ok(Arc::new(Cached::new(person))),
            Ok(_) => Err(missing),
        }
    }

    /// The states of single identifiers; `None` where the ledger could not be read in time.
    async fn bring(
        self: &Arc<Self>,
        keys: BTreeSet<SubjectKey>,
        until: Instant,
    ) -> Vec<(SubjectKey, Option<Arc<Cached>>)> {
        let mut coming: Vec<(SubjectKey, Coming)> = Vec::with_capacity(keys.len());
        for key in keys {
            // One permit at a time: whoever asks for one subject gets his turn between two of a batch.
            coming.push((key, self.begin(key, until).await));
        }
        let mut brought = Vec::with_capacity(coming.len());
        for (key, coming) in coming {
            let state = match coming {
                Coming::Loaded(state) => Some(state),
                Coming::Own(receiver) => wait(receiver, until).await,
                Coming::Other(receiver) => match wait(receiver, until).await {
                    Some(state) => Some(state),
                    // Another question's load may have had less time than this one has.
                    None => match self.begin(key, until).await {
                        Coming::Loaded(state) => Some(state),
                        Coming::Own(receiver) | Coming::Other(receiver) => wait(receiver, until).await,
                        Coming::Never => None,
                    },
                },
                Coming::Never => None,
            };
            brought.push((key, state));
        }
        brought
    }

    /// Begins to load an identifier, unless it is here or somebody else loads it.
    async fn begin(self: &Arc<Self>, key: SubjectKey, until: Instant) -> Coming {
        let Some(reader) = self.reader.load_full() else { return Coming::Never };
        let Ok(Ok(permit)) = timeout_at(until, Arc::clone(&self.permits).acquire_owned()).await else {
            self.counts.failed.fetch_add(1, Ordering::Relaxed);
            return Coming::Never;
        };
        match self.table.find(key) {
            Found::Loaded(state) => Coming::Loaded(state),
            Found::Loading(receiver) => {
                self.counts.shared.fetch_add(1, Ordering::Relaxed);
                Coming::Other(receiver)
            }
            Found::Begun(load, receiver) => {
                // On its own: that one who asked has gone away does not end what others wait for.
                self.runtime.spawn(Arc::clone(self).run(reader, load, permit));
                Coming::Own(receiver)
            }
        }
    }

    /// Reads an identifier's events and ends the load.
    async fn run(self: Arc<Self>, reader: Arc<SubjectReader>, load: Load, permit: OwnedSemaphorePermit) {
        let began = Instant::now();
        // As long as any question may wait, however short of time the first one is: the next one finds it.
        let read = reader.subject(load.key(), load.up_to(), began + self.patience).await;
        self.counts.took(began.elapsed());
        match read {
            Ok(deliveries) => {
                let mut state = SubjectState::default();
                for delivery in deliveries {
                    // What is said of others here stands under their own names too.
                    changes::read(delivery, &self.shared.hasher, |key, said| {
                        if key == load.key() {
                            state.join(said);
                        }
                    });
                }
                self.counts.loaded.fetch_add(1, Ordering::Relaxed);
                self.counts.absent.fetch_add(u64::from(state.is_empty()), Ordering::Relaxed);
                load.loaded(state);
            }
            Err(error) => {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                if self.counts.may_complain() {
                    tracing::warn!(%error, "a subject cannot be loaded from the ledger; it is denied");
                }
            }
        }
        drop(permit);
    }
}

/// A load as whoever asked for it sees it.
enum Coming {
    Loaded(Arc<Cached>),
    Own(watch::Receiver<Outcome>),
    Other(watch::Receiver<Outcome>),
    /// The ledger was never reached, or too many are waiting.
    Never,
}

async fn wait(mut receiver: watch::Receiver<Outcome>, until: Instant) -> Option<Arc<Cached>> {
    let over = receiver.wait_for(|outcome| !matches!(outcome, Outcome::Pending));
    match timeout_at(until, over).await.ok()?.ok()?.clone() {
        Outcome::Loaded(state) => Some(state),
        Outcome::Failed | Outcome::Pending => None,
    }
}

impl Counts {
    /// Nothing counted yet.
    ///
    /// # Errors
    /// Never: the bounds are constants that the histogram takes.
    fn new() -> Result<Self, CreationError> {
        Ok(Self {
            loaded: AtomicU64::new(0),
            absent: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            shared: AtomicU64::new(0),
            took: Mutex::new(Histogram::new_with_bounds(1, TOOK_US_MAX, TOOK_DIGITS)?),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            complained_ms: AtomicU64::new(0),
            since: Instant::now(),
        })
    }

    fn took(&self, span: Duration) {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        self.took.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(micros);
    }

    /// The time within which this share of loads took place; zero where there were none.
    fn took_within(&self, share: f64) -> Duration {
        Duration::from_micros(self.took.lock().unwrap_or_else(PoisonError::into_inner).value_at_quantile(share))
    }

    /// Whether it is time for another line of the log; said to one only.
    fn may_complain(&self) -> bool {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let pause = u64::try_from(COMPLAINT_PAUSE.as_millis()).unwrap_or(u64::MAX);
        let update = |last: u64| (last == 0 || now.saturating_sub(last) >= pause).then_some(now);
        self.complained_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update).is_ok()
    }
}

impl std::fmt::Debug for OnDemand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnDemand").field("counts", &self.counts).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_loads_are_told() {
        let counts = Counts::new().expect("its bounds are taken");
        assert_eq!(counts.took_within(0.5), Duration::ZERO, "there were none");
        for micros in 1..=100 {
            counts.took(Duration::from_micros(micros * 10));
        }
        let near = |share, micros: u64| {
            let told = counts.took_within(share).as_micros();
            assert!((u128::from(micros)..=u128::from(micros + micros / 50)).contains(&told), "{micros}: {told}");
        };
        near(0.5, 500);
        near(0.99, 990);
        (0..1000).for_each(|_| counts.took(Duration::MAX));
        near(0.99, TOOK_US_MAX);
    }
}
