//! What is known about the view as a whole: how far it has come, how old it is, and what is wrong with it.
//!
//! The applier is the only writer. Readers take one [`Published`] and then look at states, which are never older than
//! what it says.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::engine::Engine;
use super::progress::Progress;

use crate::clock::{BootTime, Clock};
use crate::domain::{Catalogue, LedgerStanding, Position, TokenStanding};
use crate::ledger::{LedgerId, Token};

/// A consistent cut of the view: everything up to `position` is in the store and in the cache.
#[derive(Debug, Clone, Default)]
pub struct Published {
    /// The ledger it comes from; `None` before the first event.
    pub ledger: Option<LedgerId>,
    /// The position applied.
    pub position: Position,
    /// The token of ledger and position, for answers; empty where there is no ledger yet.
    pub token: Arc<str>,
    /// The catalogue in force.
    pub catalogue: Option<Arc<Catalogue>>,
    /// Whether the ledger was read to the end that it had when following began.
    pub built: bool,
    /// Events that could not be read, since the ledger began.
    pub quarantined: u64,
    /// Store and cache that hold this cut. One look takes both: with a store that is being rebuilt, the old position and
    /// a state of the new store would make an answer that was never true.
    pub(super) engine: Option<Arc<Engine>>,
}

/// Why the view cannot be relied on, for readiness and for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The ledger was truncated, replaced or rewritten.
    LedgerBroken(String),
    /// The ledger cannot be reached, or is not there yet.
    LedgerWaiting(String),
    /// The local copy is being built.
    Building(Progress),
    /// The store cannot be opened; tried again every few seconds.
    Store(String),
}

/// The state shared between the applier and all readers.
#[derive(Debug)]
pub(super) struct Standing {
    published: ArcSwap<Published>,
    /// The boot clock in milliseconds when the view was last known to be complete; 0 is never.
    current_at: AtomicU64,
    broken: AtomicBool,
    trouble: Mutex<Option<Trouble>>,
    /// Moves whenever `published` does, for those who wait for a token.
    applied: watch::Sender<u64>,
}

impl Standing {
    pub(super) fn new() -> Self {
        Self {
            published: ArcSwap::default(),
            current_at: AtomicU64::new(0),
            broken: AtomicBool::new(false),
            trouble: Mutex::new(None),
            applied: watch::Sender::new(0),
        }
    }

    /// The latest cut.
    pub(super) fn published(&self) -> arc_swap::Guard<Arc<Published>> {
        self.published.load()
    }

    /// Makes a cut visible. To be called only after store and cache have it.
    pub(super) fn publish(&self, published: Published) {
        let position = published.position.0;
        self.published.store(Arc::new(published));
        self.applied.send_replace(position);
    }

    /// Notes that at that time the view was complete.
    pub(super) fn current(&self, at: BootTime) {
        self.current_at.store(at.millis(), Ordering::Release);
    }

    /// Notes why the ledger cannot be read now.
    pub(super) fn waiting(&self, sentence: String) {
        tracing::warn!(cause = sentence, "the ledger cannot be read now; the view ages");
        self.set_trouble(Some(Trouble::LedgerWaiting(sentence)));
    }

    /// Notes that the ledger cannot be trusted any more. Nothing takes this back but a restart.
    pub(super) fn broken(&self, fault: &dyn Display) {
        tracing::error!(%fault, "the ledger cannot be trusted; everything is denied");
        self.broken.store(true, Ordering::Release);
        self.set_trouble(Some(Trouble::LedgerBroken(fault.to_string())));
    }

    /// Notes that nothing follows the ledger any more, which only a defect brings about.
    pub(super) fn unfollowed(&self) {
        self.broken(&"the thread that follows the ledger has ended; restart");
    }

    pub(super) fn set_trouble(&self, trouble: Option<Trouble>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the ledger can be trusted and was read to its end.
    pub(super) fn ledger(&self, published: &Published) -> LedgerStanding {
        if self.broken.load(Ordering::Acquire) {
            LedgerStanding::Broken
        } else if published.built {
            LedgerStanding::Following
        } else {
            LedgerStanding::Building
        }
    }

    /// The time since the view was last known to be complete; the longest there is, if it never was.
    pub(super) fn staleness(&self, clock: &Clock) -> Duration {
        match self.current_at.load(Ordering::Acquire) {
            0 => Duration::from_millis(u64::MAX),
            at => clock.boot().since(BootTime::from_millis(at)),
        }
    }

    /// Waits until the view has reached a token, at most for `patience`.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub(super) async fn reach(&self, token: Token, patience: Duration) -> TokenStanding {
        let mut applied = self.applied.subscribe();
        let reached = async {
            loop {
                {
                    let published = self.published.load();
                    // Before the first event the ledger is not known: the token may yet be of it.
                    match published.ledger {
                        Some(ledger) if ledger != token.ledger => return TokenStanding::Foreign,
                        Some(_) if published.position >= token.position => return TokenStanding::Reached,
                        Some(_) | None => {}
                    }
                }
                if applied.changed().await.is_err() {
                    return TokenStanding::NotReached;
                }
            }
        };
        tokio::time::timeout(patience, reached).await.unwrap_or(TokenStanding::NotReached)
    }
}
