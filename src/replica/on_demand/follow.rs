//! The thread that keeps loaded subjects current: follows the ledger from its end, tells the table, publishes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::OnDemand;
use crate::domain::Position;
use crate::ledger::nats::{Beginning, Config, SubjectReader};
use crate::ledger::{Delivery, FeedItem, LedgerId, Place, Resume, Token};
use crate::replica::SourceFactory;
use crate::replica::changes::{self, Said};
use crate::replica::in_force::InForce;
use crate::replica::progress::Pace;
use crate::replica::standing::{Published, Trouble};
use crate::replica::stop::{LOOK_INTERVAL, Stop};
use crate::replica::witness::Witness;

/// How long the ledger may take to say where following begins.
const BEGINNING_WITHIN: Duration = Duration::from_secs(10);
/// How long to wait before a ledger that could not be reached is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What the following thread works with.
pub(super) struct Follower {
    pub(super) copy: Arc<OnDemand>,
    pub(super) ledger: Config,
    pub(super) sources: SourceFactory,
    pub(super) stop: Stop,
    pub(super) witness: Witness,
}

/// Where the following stands.
struct Round<'a> {
    follower: &'a Follower,
    copy: &'a OnDemand,
    in_force: InForce,
    ledger: LedgerId,
    place: Place,
    target: Option<Position>,
    built: bool,
    quarantined: u64,
}

impl Follower {
    /// Follows the ledger until told to stop.
    pub(super) fn run(&self) {
        let Some(beginning) = self.begin() else { return };
        let Beginning { ledger, resume, catalogues } = beginning;
        let mut round = Round {
            follower: self,
            copy: &self.copy,
            in_force: InForce::default(),
            ledger,
            place: resume.map_or(Place { position: Position(0), mark: [0; 16] }, |resume| resume.place),
            target: None,
            built: false,
            quarantined: 0,
        };
        // A load that begins before the first event reads at least up to here.
        self.copy.table.about_to_apply(round.place.position);
        round.apply(catalogues);
        round.publish();
        let standing = &self.copy.shared.standing;
        self.witness.begin(resume);
        let mut feed = (self.sources)().follow(resume);
        while !self.stop.is_set() {
            let Ok(item) = feed.recv_within(LOOK_INTERVAL) else { continue };
            let Some(item) = item else {
                standing.unfollowed();
                break;
            };
            if !round.take(item) {
                break;
            }
        }
        drop(feed);
        self.witness.keep();
        self.stop.pause(Duration::MAX);
    }

    /// Reaches the ledger and finds where to begin; `None` when told to stop.
    fn begin(&self) -> Option<Beginning> {
        let standing = &self.copy.shared.standing;
        while !self.stop.is_set() {
            let begun = self.copy.runtime.block_on(async {
                tokio::select! {
                    begun = SubjectReader::begin(&self.ledger, BEGINNING_WITHIN) => Some(begun),
                    () = self.stop.told() => None,
                }
            });
            match begun? {
                Ok((reader, beginning)) => {
                    self.copy.reader.store(Some(Arc::new(reader)));
                    return Some(beginning);
                }
                Err(error) => {
                    standing.waiting(error.to_string());
                    self.stop.pause(RETRY);
                }
            }
        }
        None
    }
}

impl Round<'_> {
    /// Takes one item of the feed. `false` where the ledger is broken for good.
    fn take(&mut self, item: FeedItem) -> bool {
        let standing = &self.copy.shared.standing;
        match item {
            FeedItem::Waiting(sentence) => standing.waiting(sentence),
            FeedItem::Opened { ledger, last } => {
                if ledger != self.ledger {
                    standing.broken(&"the ledger was replaced while it was opened; start again");
                    return false;
                }
                self.target = Some(last);
                tracing::info!(
                    from = self.place.position.0,
                    to = last.0,
                    "following the ledger; subjects are loaded on demand"
                );
                let now = Instant::now();
                let progress = Pace::new(self.place.position, last, now).progress(self.place.position, now);
                standing.set_trouble(Some(Trouble::Building(progress)));
            }
            FeedItem::Events { deliveries, place } => {
                // INVARIANT: before any subject is touched; a load that begins meanwhile reads at least up to here.
                self.copy.table.about_to_apply(place.position);
                self.apply(deliveries);
                self.place = place;
                self.publish();
            }
            FeedItem::Current { position, at } => {
                if position != self.place.position {
                    return true;
                }
                standing.current(at);
                if !self.built && self.has_reached(position) {
                    // A ledger that was cut since the last start has an end as well.
                    let Follower { witness, sources, stop, .. } = self.follower;
                    let Some(least) = witness.confirm(sources, standing, stop) else { return false };
                    self.target = self.target.max(Some(least));
                }
                if !self.built && self.has_reached(position) {
                    self.built = true;
                    tracing::info!(position = position.0, "the end of the ledger is reached");
                    self.publish();
                }
                if self.built {
                    standing.set_trouble(None);
                }
            }
            FeedItem::Broken(fault) => {
                standing.broken(&fault);
                return false;
            }
        }
        true
    }

    fn has_reached(&self, position: Position) -> bool {
        self.target.is_some_and(|target| position >= target)
    }

    fn apply(&mut self, deliveries: Vec<Delivery>) {
        for delivery in deliveries {
            if self.built {
                self.copy.shared.tally.count(&delivery, self.in_force.known());
            }
            let join = |key, said| self.copy.table.apply(key, said);
            match changes::read(delivery, &self.copy.shared.hasher, join) {
                Said::Subjects => {}
                Said::Catalogue(catalogue, event_time) => {
                    self.in_force.consider(&catalogue, event_time);
                }
                Said::Unreadable(_) => self.quarantined += 1,
            }
        }
    }

    fn publish(&self) {
        self.copy.shared.standing.publish(Published {
            ledger: Some(self.ledger),
            position: self.place.position,
            token: Token { ledger: self.ledger, position: self.place.position }.to_string().into(),
            catalogue: self.in_force.catalogue(),
            built: self.built,
            quarantined: self.quarantined,
            engine: None,
        });
        if self.built {
            self.follower.witness.note(Resume { ledger: self.ledger, place: self.place });
        }
    }
}
