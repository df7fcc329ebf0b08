//! Evidence on its way out: a thread that reads the log behind its writer and publishes it to the central stream.
//!
//! Owns how far the stream has acknowledged, what waits, and the bound on it. Must not know why something was answered.
//! The path of an answer meets it in two atomics only (`outlet`).
//!
//! Invariants:
//! - What leaves is on the device: no index is ever sent with two contents by one log.
//! - The cursor passes only what the stream has acknowledged, in order; it never moves back but to send again.
//! - Nothing is removed here that the stream has not acknowledged, a month's signed head included.
//! - No key leaves. The salt of a month's key does, which opens nothing without the secret that never is beside it.

mod backlog;
mod cursor;
mod outlet;
mod publish;
mod retention;
#[cfg(test)]
mod tests;
mod trim;

use std::sync::Arc;
use std::time::Duration;

use backlog::{Backlog, Measured, Problem};
use cursor::Cursor;

pub(super) use outlet::Outlet;
pub use outlet::Shipping;
pub(super) use publish::run;

use super::batch::Place;
use super::files::{Cause, Layout};
use super::format::CHAIN_START;
use super::id::{Instance, YearMonth};
use crate::nats;

/// The most evidence that may wait to be shipped: 4 GiB, two weeks of ten answers a second, a quarter of an hour of
/// 20,000.
pub const DEFAULT_MAX_UNSHIPPED_BYTES: u64 = 4 << 30;

/// Where evidence is shipped to.
#[derive(Debug, Clone)]
pub struct Config {
    /// The servers.
    pub nats: nats::Config,
    /// The stream.
    pub stream: String,
    /// The most bytes that may wait for acknowledgement. Beyond it no answer is allowed.
    pub max_unshipped_bytes: u64,
    /// How long after its end a month that the stream has acknowledged is kept here; nothing keeps it for good.
    pub keep_shipped: Option<Duration>,
    /// The most bytes of evidence that are kept here although the stream has them, the current month's too; nothing keeps
    /// all. What lies in the segment that is written to, and in the one after which the stream has no more, is not counted.
    pub max_shipped_bytes: Option<u64>,
    /// The longest that the end waits for what is still to be acknowledged, also while the servers are away.
    pub wait: Duration,
}

/// Where a log stands that is to be shipped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    pub(super) instance: Instance,
    /// The month that is written to, the first index of its segment, and the end of that in bytes.
    pub(super) live: (YearMonth, u64, u64),
}

/// A log's shipping, before its thread runs.
#[derive(Debug)]
pub(super) struct Departure {
    pub(super) outlet: Arc<Outlet>,
    backlog: Backlog,
    stream_made: i128,
}

/// Finds how far a log was shipped, and how much waits.
///
/// A log that is not the one that was shipped is withheld, with its sentence, instead of shipped.
pub(super) fn prepare(layout: &Layout, config: &Config, start: &Start) -> Result<Departure, Cause> {
    retention::finish(layout)?;
    let cursor = Cursor::load(layout)?;
    let first = backlog::first_place(layout, start.instance)?;
    let beginning = first.unwrap_or(Place { month: start.live.0, index: 0, chain: CHAIN_START });
    // What is no longer kept was acknowledged.
    let is_kept = |place: &Place| (place.month, place.index) >= (beginning.month, beginning.index);
    let place = cursor.map(|cursor| cursor.place).filter(is_kept).unwrap_or(beginning);
    let (measured, fault) = match backlog::measure(layout, start.instance, &place, start.live) {
        Ok(measured) => (measured, None),
        Err(Problem::Unreadable(cause)) => return Err(cause),
        Err(Problem::Rewound(what)) => (Measured::nothing(), Some(publish::rewound(&what))),
    };
    let outlet = Arc::new(Outlet::new(config.max_unshipped_bytes, measured.bytes, config.max_shipped_bytes));
    if let Some(fault) = fault {
        outlet.set_fault(fault);
    }
    let stream_made = cursor.map_or(0, |cursor| cursor.stream_made);
    Ok(Departure { outlet, backlog: Backlog::new(layout, start.instance, place, measured), stream_made })
}
