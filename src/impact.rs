//! What a new catalogue would change: whose answers, over a copy of the ledger, before it is published.
//!
//! Owns which questions are asked for that, and what is counted of the two answers to each. Must not know how a ledger is
//! found, nor how what was counted is shown.
//!
//! Invariants:
//! - Both answers to a question are decided from the same state, at the same time, as from a view without any delay.
//! - Subjects are known by keyed hashes only (P6), and no more than a few of them are kept.
//! - Memory does not grow with the number of subjects.

mod comparison;
mod sent;

pub use comparison::{Change, Impact, Kind, Tally};
pub use sent::Sent;

use std::time::{Duration, Instant};

use crate::domain::{Catalogue, LedgerStanding, Time};
use crate::replica::{Loaded, Progress, Replica, Trouble, View};
use comparison::Comparison;

/// Subjects that are read at once.
const SUBJECTS_AT_ONCE: usize = 1000;
/// Between two looks at a copy that is being built.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How long a ledger may be out of reach, or silent, before it is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is asked besides.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Where subjects are taken to be, besides what the records say and besides not knowing.
    pub jurisdictions: Vec<String>,
    /// When.
    pub now: Time,
    /// How many subjects are named of each change.
    pub sample: usize,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The ledger is being read.
    Reading(Progress),
    /// So many subjects were compared.
    Compared(u64),
}

/// Why nothing can be said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImpactError {
    /// The ledger cannot be trusted.
    #[error("the ledger cannot be trusted: {0}")]
    Broken(String),
    /// The ledger cannot be reached.
    #[error("the ledger cannot be read: {0}")]
    Unreachable(String),
    /// The copy cannot be kept or read.
    #[error("the copy of the ledger cannot be kept: {0}")]
    Store(String),
}

/// Compares the catalogue in force with a new one, for every subject of a copy of a ledger, once it is complete.
///
/// # Errors
/// If the ledger cannot be read to its end, or the copy of it not be kept.
pub async fn impact(
    replica: &Replica,
    new: &Catalogue,
    asked: &Asked,
    mut told: impl FnMut(Step),
) -> Result<Impact, ImpactError> {
    let view = complete(replica, &mut told).await?;
    let mut comparison = Comparison::new(view.published.catalogue.as_deref(), new, asked);
    let mut last = None;
    loop {
        let unreadable = || ImpactError::Store("it is damaged".to_owned());
        let keys = replica.subjects_after(&view, last, SUBJECTS_AT_ONCE).ok_or_else(unreadable)?;
        let Some(end) = keys.last() else {
            return Ok(Impact { unreadable_events: view.published.quarantined, ..comparison.into_impact() });
        };
        last = Some(*end);
        for (key, loaded) in keys.iter().zip(replica.load(&view, keys.clone()).await) {
            match loaded {
                Loaded::State(cached) => comparison.add(*key, cached.state()),
                Loaded::Unavailable => return Err(unreadable()),
            }
        }
        told(Step::Compared(comparison.subjects()));
    }
}

/// The view, once the ledger was read to its end.
async fn complete(replica: &Replica, told: &mut impl FnMut(Step)) -> Result<View, ImpactError> {
    let mut heard = Instant::now();
    let mut replayed = 0;
    loop {
        let view = replica.view();
        if view.ledger == LedgerStanding::Following {
            return Ok(view);
        }
        let cause = match replica.trouble() {
            Some(Trouble::LedgerBroken(cause)) => return Err(ImpactError::Broken(cause)),
            Some(Trouble::Store(cause)) => return Err(ImpactError::Store(cause)),
            Some(Trouble::LedgerWaiting(cause)) => cause,
            Some(Trouble::Building(progress)) => {
                told(Step::Reading(progress));
                "it has gone silent".to_owned()
            }
            None => "it says nothing".to_owned(),
        };
        if replica.replayed() != replayed {
            (replayed, heard) = (replica.replayed(), Instant::now());
        }
        if heard.elapsed() > PATIENCE {
            return Err(ImpactError::Unreachable(cause));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}
