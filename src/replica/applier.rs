//! The one writer: takes events from the ledger, joins them into states, stores them, tells the cache, publishes.
//!
//! Order is everything here. A commit goes: store (states, sums, position in one batch), then the cache's epochs and
//! entries, then the published cut. Readers go the other way: cut first, then cache, then store. So a reader's state is
//! never older than the position that its answer claims.

use std::collections::HashMap;
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Shared;
use super::cache::{Cache, Cached};
use super::changes::{self, Said};
use super::codec::{Root, StoredQuarantine};
use super::engine::Engine;
use super::in_force::InForce;
use super::progress::Pace;
use super::standing::{Published, Trouble};
use super::stop::{LOOK_INTERVAL, Stop};
use super::store::{Changes, Store, StoreError};
use super::witness::Witness;
use crate::domain::{Catalogue, Position, SubjectKey, SubjectState, Time};
use crate::ledger::{Delivery, FeedItem, LedgerId, LedgerSource, Place, Resume, Token};

/// While the view is being built, subjects that may change before they are written out together: neighbours in the
/// store share pages. Nobody is answered from it yet, so that they take the place of those that will be in memory then; a
/// subject of 4 records takes so many bytes in the making, twice as many as later.
const BUILDING_SUBJECT_BYTES: u64 = 2 << 10;
/// The least and the most of them. More were not faster.
const BUILDING_SUBJECTS: RangeInclusive<u64> = 1000..=50_000;
/// How long to wait before a store that cannot be opened is tried again.
const STORE_RETRY: Duration = Duration::from_secs(3);
/// Times that opening the store may kill the process before the store is set aside.
const OPENING_ATTEMPTS: u64 = 2;

/// Makes a source anew, for each time the ledger must be followed from a place.
pub type SourceFactory = Box<dyn Fn() -> Box<dyn LedgerSource> + Send>;

/// What the applying thread works with.
pub(super) struct Applier {
    pub(super) shared: Arc<Shared>,
    pub(super) sources: SourceFactory,
    pub(super) stop: Stop,
    pub(super) folder: PathBuf,
    pub(super) witness: Witness,
    pub(super) store_cache_bytes: u64,
}

/// How a round of following ended.
enum Ended {
    /// The process is stopping, or the ledger is broken for good.
    Stopped,
    /// The store failed and must be rebuilt.
    Store(String),
}

impl Applier {
    /// Follows the ledger until told to stop; rebuilds the store as often as it fails.
    pub(super) fn run(&self) {
        let mut rebuilt_before = false;
        while !self.stop.is_set() {
            let (engine, root) = match self.open_store() {
                Ok(opened) => opened,
                Err(error) => {
                    tracing::error!(%error, "the local store cannot be opened; everything is denied until it can");
                    self.shared.standing.set_trouble(Some(Trouble::Store(error.to_string())));
                    self.stop.pause(STORE_RETRY);
                    continue;
                }
            };
            match self.follow(&engine, root) {
                Ended::Stopped => {
                    self.witness.keep();
                    if let Err(error) = engine.store.flush() {
                        tracing::warn!(%error, "the local store could not be flushed; it may be rebuilt at the next start");
                    }
                }
                Ended::Store(cause) => {
                    tracing::error!(cause, "the local store is unusable; it is set aside and rebuilt from the ledger");
                    // Denies everything until the new store has caught up.
                    self.shared.standing.publish(Published::default());
                    self.shared.engine.store(None);
                    drop(engine);
                    self.shared.rebuilds.fetch_add(1, Ordering::Relaxed);
                    self.set_aside();
                    // Damage is repaired by rebuilding once; a disk that is full is not, and wants no hot loop.
                    if rebuilt_before {
                        self.stop.pause(STORE_RETRY);
                    }
                    rebuilt_before = true;
                }
            }
        }
    }

    /// Opens the store; one that is damaged is set aside and begun anew.
    fn open_store(&self) -> Result<(Arc<Engine>, Option<Root>), StoreError> {
        let marker = OpeningMarker::new(&self.folder);
        if marker.attempts() >= OPENING_ATTEMPTS {
            tracing::error!("the process died while it opened the local store; the store is set aside and rebuilt");
            self.shared.rebuilds.fetch_add(1, Ordering::Relaxed);
            self.set_aside();
            marker.remove();
        }
        marker.leave();
        let check = self.shared.hasher.check();
        let opened = Store::open(&self.folder, self.store_cache_bytes, check).or_else(|error| {
            tracing::error!(%error, "the local store is damaged; it is set aside and rebuilt from the ledger");
            self.shared.rebuilds.fetch_add(1, Ordering::Relaxed);
            self.set_aside();
            Store::open(&self.folder, self.store_cache_bytes, check)
        });
        marker.remove();
        let (store, root) = opened?;
        let engine = Arc::new(Engine::new(store, Cache::new(self.shared.cache_bytes)));
        self.shared.engine.store(Some(Arc::clone(&engine)));
        Ok((engine, root))
    }

    /// Follows the ledger from where the store is.
    fn follow(&self, engine: &Arc<Engine>, root: Option<Root>) -> Ended {
        let resume = root.as_ref().and_then(resume_of);
        let mut round = Round::new(self, engine, root);
        if let Err(error) = round.read_catalogue() {
            return Ended::Store(error.to_string());
        }
        let checker = self.check_in_background(engine);
        self.witness.begin(resume);
        let mut feed = (self.sources)().follow(resume);
        let ended = loop {
            if self.stop.is_set() {
                break Ended::Stopped;
            }
            if let Some(cause) = engine.condemned() {
                break Ended::Store(cause);
            }
            // A ledger that is away says nothing, and that must keep nobody from stopping.
            let Ok(item) = feed.recv_within(LOOK_INTERVAL) else { continue };
            let Some(item) = item else {
                self.shared.standing.unfollowed();
                self.stop.pause(Duration::MAX);
                break Ended::Stopped;
            };
            match round.take(item) {
                Ok(true) => {}
                Ok(false) => {
                    self.stop.pause(Duration::MAX);
                    break Ended::Stopped;
                }
                Err(error) => break Ended::Store(error.to_string()),
            }
        };
        drop(feed);
        if let Some(checker) = checker
            && checker.join().is_err()
        {
            tracing::warn!("the thread that checks the local store panicked");
        }
        ended
    }

    /// Moves the store out of the way, and remembers how far it had come.
    fn set_aside(&self) {
        set_aside(&self.folder);
        self.witness.keep();
    }

    /// Checks all buckets without being in anybody's way.
    fn check_in_background(&self, engine: &Arc<Engine>) -> Option<std::thread::JoinHandle<()>> {
        let (engine, stop) = (Arc::clone(engine), self.stop.clone());
        let check = move || {
            let stopped = || stop.is_set() || engine.condemned().is_some();
            if let Err(error) = engine.store.verify_all(&stopped) {
                engine.condemn(&error);
            }
        };
        std::thread::Builder::new().name("consentd-check".to_owned()).spawn(check).ok()
    }
}

/// One round of following: what was read and not yet written, and where it stands.
struct Round<'a> {
    applier: &'a Applier,
    engine: &'a Arc<Engine>,
    root: Root,
    place: Place,
    ledger: Option<LedgerId>,
    target: Option<Position>,
    pace: Option<Pace>,
    built: bool,
    /// How many subjects are put together before they are written.
    building_subjects: usize,
    in_force: InForce,
    token: Arc<str>,
    /// What is new about subjects since the last commit.
    states: HashMap<SubjectKey, SubjectState>,
    catalogues: HashMap<u64, (Catalogue, Time)>,
    quarantined: Vec<(u64, StoredQuarantine)>,
}

impl<'a> Round<'a> {
    fn new(applier: &'a Applier, engine: &'a Arc<Engine>, root: Option<Root>) -> Self {
        let root = root.unwrap_or_default();
        let resume = resume_of(&root);
        Self {
            applier,
            engine,
            place: resume.as_ref().map_or(Place { position: Position(0), mark: [0; 16] }, |resume| resume.place),
            ledger: resume.map(|resume| resume.ledger),
            root,
            target: None,
            pace: None,
            built: false,
            building_subjects: building_subjects(applier.shared.cache_bytes),
            in_force: InForce::default(),
            token: Arc::from(""),
            states: HashMap::new(),
            catalogues: HashMap::new(),
            quarantined: Vec::new(),
        }
    }

    fn read_catalogue(&mut self) -> Result<(), StoreError> {
        for (catalogue, time) in self.engine.store.catalogues()? {
            self.consider_catalogue(catalogue, time);
        }
        self.publish();
        Ok(())
    }

    /// Takes one item of the feed. `false` where the ledger is broken for good.
    fn take(&mut self, item: FeedItem) -> Result<bool, StoreError> {
        let standing = &self.applier.shared.standing;
        match item {
            FeedItem::Waiting(sentence) => standing.waiting(sentence),
            FeedItem::Opened { ledger, last } => {
                // The source has compared what it was told to resume after; a store that never got that far says itself.
                if !self.root.ledger.is_empty() && self.root.ledger != ledger.0 {
                    return Err(StoreError::OtherLedger);
                }
                // And where the store is gone, what is remembered apart from it.
                if let Err(other) = self.applier.witness.check(ledger) {
                    standing.broken(&other);
                    return Ok(false);
                }
                self.ledger = Some(ledger);
                self.target = Some(last);
                tracing::info!(from = self.place.position.0, to = last.0, "following the ledger");
                let now = Instant::now();
                let pace = self.pace.insert(Pace::new(self.place.position, last, now));
                standing.set_trouble(Some(Trouble::Building(pace.progress(self.place.position, now))));
            }
            FeedItem::Events { deliveries, place } => {
                let events = deliveries.len();
                for delivery in deliveries {
                    self.apply(delivery);
                }
                self.place = place;
                if !self.built {
                    self.tell_progress(events);
                }
                if self.built || self.states.len() >= self.building_subjects {
                    self.commit()?;
                }
            }
            FeedItem::Current { position, at } => {
                if position != self.place.position {
                    return Ok(true);
                }
                self.commit()?;
                // Before the view is called complete: else the first questions would find a complete view that is older
                // than anything.
                standing.current(at);
                if !self.built && self.has_reached(position) {
                    // Of a ledger that was cut the end is reached as well.
                    let Applier { witness, sources, stop, .. } = self.applier;
                    let Some(least) = witness.confirm(sources, standing, stop) else { return Ok(false) };
                    self.target = self.target.max(Some(least));
                }
                if !self.built && self.has_reached(position) {
                    self.built = true;
                    // What they took is for those who are asked about now.
                    self.states.shrink_to_fit();
                    tracing::info!(position = position.0, subjects = self.root.subjects, "the local copy is complete");
                    self.note();
                    self.publish();
                }
                if self.built {
                    standing.set_trouble(None);
                }
            }
            FeedItem::Broken(fault) => {
                standing.broken(&fault);
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn has_reached(&self, position: Position) -> bool {
        self.target.is_some_and(|target| position >= target)
    }

    /// Counts what was read while the view is built, and says now and then how far it has come.
    fn tell_progress(&mut self, events: usize) {
        let shared = &self.applier.shared;
        shared.replayed.fetch_add(events as u64, Ordering::Relaxed);
        let now = Instant::now();
        let Some(pace) = &mut self.pace else { return };
        if pace.count(events, now) {
            let progress = pace.progress(self.place.position, now);
            tracing::info!(
                position = progress.position.0,
                target = progress.target.0,
                events = progress.events,
                events_per_second = progress.events_per_second,
                seconds_left = progress.left.map(|left| left.as_secs()),
                "the local copy is being built"
            );
            shared.standing.set_trouble(Some(Trouble::Building(progress)));
        }
    }

    fn apply(&mut self, delivery: Delivery) {
        if self.built {
            self.applier.shared.tally.count(&delivery, self.in_force.known());
        }
        let (position, states) = (delivery.position, &mut self.states);
        let join = |key, said| states.entry(key).or_default().join(said);
        match changes::read(delivery, &self.applier.shared.hasher, join) {
            Said::Subjects => {}
            Said::Catalogue(catalogue, event_time) => self.consider_catalogue(*catalogue, event_time),
            Said::Unreadable(entry) => self.quarantined.push((position.0, entry)),
        }
    }

    fn consider_catalogue(&mut self, catalogue: Catalogue, event_time: Time) {
        if self.in_force.consider(&catalogue, event_time) {
            self.catalogues.insert(catalogue.version(), (catalogue, event_time));
        }
    }

    /// Writes what has changed, tells the cache, publishes.
    fn commit(&mut self) -> Result<(), StoreError> {
        if self.place.position.0 == self.root.position && self.states.is_empty() && self.catalogues.is_empty() {
            return Ok(());
        }
        let Some(ledger) = self.ledger else { return Ok(()) };
        let new = self.quarantined.len() as u64;
        let mut after = Root {
            ledger: ledger.0.to_vec(),
            position: self.place.position.0,
            mark: self.place.mark.to_vec(),
            key_check: self.applier.shared.hasher.check().to_vec(),
            sum: Vec::new(),
            subjects: self.root.subjects,
            quarantined: self.root.quarantined.saturating_add(new),
        };
        // A store is never without ledger and key check, not even between two batches of its first commit.
        let before = Root { ledger: after.ledger.clone(), key_check: after.key_check.clone(), ..self.root.clone() };
        let before = if before.mark.is_empty() { Root { mark: vec![0; 16], ..before } } else { before };
        let states: Vec<_> = self.states.drain().collect();
        let changes = Changes {
            states,
            catalogues: self.catalogues.drain().map(|(_, catalogue)| catalogue).collect(),
            quarantined: std::mem::take(&mut self.quarantined),
        };
        let written = self.engine.store.commit(changes, &before, &mut after)?;
        self.root = after;
        for (key, state) in written {
            self.tell_cache(key, &state)?;
        }
        self.publish();
        self.note();
        Ok(())
    }

    fn note(&self) {
        if let Some(ledger) = self.ledger {
            self.applier.witness.note(Resume { ledger, place: self.place });
        }
    }

    fn tell_cache(&self, key: SubjectKey, state: &SubjectState) -> Result<(), StoreError> {
        let cache = &self.engine.cache;
        if state.links().is_empty() {
            // Nobody is answered while the view is built, so that what is cached then is better read anew.
            let state = self.built.then(|| Arc::new(Cached::new(self.engine.store.share_texts(state))));
            cache.applied(key, state);
            return Ok(());
        }
        // The state that decides is the join of all who are linked: theirs must be read anew too.
        match self.engine.affected(key)? {
            Some(all) => all.into_iter().for_each(|key| cache.applied(key, None)),
            None => cache.applied_to_any(),
        }
        Ok(())
    }

    fn publish(&mut self) {
        let position = Position(self.root.position);
        // Between two commits of a building view the place is ahead of what is stored; only what is stored is claimed.
        if let Some(ledger) = self.ledger {
            self.token = Token { ledger, position }.to_string().into();
        }
        self.applier.shared.standing.publish(Published {
            ledger: self.ledger,
            position,
            token: Arc::clone(&self.token),
            catalogue: self.in_force.catalogue(),
            built: self.built,
            quarantined: self.root.quarantined,
            engine: Some(Arc::clone(self.engine)),
        });
        if let (false, Some(pace)) = (self.built, &self.pace) {
            let progress = pace.progress(self.place.position, Instant::now());
            self.applier.shared.standing.set_trouble(Some(Trouble::Building(progress)));
        }
    }
}

/// How many subjects are put together before they are written, in so much memory.
fn building_subjects(cache_bytes: u64) -> usize {
    let subjects = (cache_bytes / BUILDING_SUBJECT_BYTES).clamp(*BUILDING_SUBJECTS.start(), *BUILDING_SUBJECTS.end());
    usize::try_from(subjects).unwrap_or(usize::MAX)
}

fn resume_of(root: &Root) -> Option<Resume> {
    let ledger = LedgerId(root.ledger.as_slice().try_into().ok()?);
    let place = Place { position: Position(root.position), mark: root.mark.as_slice().try_into().ok()? };
    // A store that has only begun has not seen anything to resume after.
    (root.position > 0).then_some(Resume { ledger, place })
}

/// Moves a store's folder out of the way. One such folder is kept, for whoever wants to know what happened.
fn set_aside(folder: &Path) {
    let aside = folder.with_extension("set-aside");
    let moved = remove_folder(&aside).and_then(|()| match std::fs::rename(folder, &aside) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    });
    if let Err(error) = moved.or_else(|_| remove_folder(folder)) {
        tracing::error!(%error, "the damaged store can be neither moved nor removed");
    }
}

fn remove_folder(folder: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A file that is there while the store is being opened, and counts. Where it was left, the process died opening (damage
/// can make sled ask for more memory than there is), and may again: after [`OPENING_ATTEMPTS`] the store is set aside.
struct OpeningMarker(PathBuf);

impl OpeningMarker {
    fn new(folder: &Path) -> Self {
        Self(folder.with_extension("opening"))
    }

    /// How often in a row opening has not come to its end.
    fn attempts(&self) -> u64 {
        std::fs::metadata(&self.0).map_or(0, |metadata| metadata.len())
    }

    fn leave(&self) {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(&self.0);
        if let Err(error) = file.and_then(|mut file| file.write_all(b".")) {
            tracing::warn!(%error, "cannot leave a marker while the local store is opened");
        }
    }

    fn remove(&self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(%error, "cannot remove the marker of opening the local store");
        }
    }
}

#[cfg(test)]
mod tests;
