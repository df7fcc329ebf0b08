//! Removing here what the central stream has: whole months, a stated time after their end.
//!
//! The month is the unit of time because it is that of the tree, the checkpoint and the key; room is a matter of segments,
//! and of `trim`. The month's key or salt stays: by it subjects are found in what was collected elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::time::Duration;

use crate::domain::Time;
use crate::evidence::batch::Place;
use crate::evidence::checkpoint::Checkpoint;
use crate::evidence::files::{At, Cause, Layout, sync_dir};
use crate::evidence::format::HEAD_SPAN;
use crate::evidence::id::{Instance, YearMonth};
use crate::evidence::scan::{Cursor, Window, walk};
use crate::evidence::trimmed::{Trimmed, remove_segments};

/// What the stream has acknowledged.
#[derive(Debug)]
pub(super) struct Shipped<'a> {
    /// Everything before this place.
    pub(super) acknowledged: Place,
    /// The signed heads.
    pub(super) heads: &'a BTreeMap<YearMonth, Checkpoint>,
}

/// Removes the months whose time is over and whose every record and last head the stream has.
pub(super) fn remove(
    layout: &Layout,
    instance: Instance,
    shipped: &Shipped<'_>,
    keep: Duration,
    now: Time,
) -> Result<(), Cause> {
    for month in layout.months()? {
        // In order, so that the chain of what stays has no hole.
        let is_kept = now.since(month.ends()) < keep || now < month.ends();
        if is_kept || !remove_month(layout, instance, shipped, month)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Removes a month if the stream has its every record and its last head; says whether it did.
pub(super) fn remove_month(
    layout: &Layout,
    instance: Instance,
    shipped: &Shipped<'_>,
    month: YearMonth,
) -> Result<bool, Cause> {
    let Some(head) = shipped.heads.get(&month).filter(|_| month < shipped.acknowledged.month) else { return Ok(false) };
    if records(layout, instance, month)? != Some(head.size) {
        return Ok(false);
    }
    let log = layout.log();
    let folder = layout.month(month);
    let doomed = log.join(format!("removing-{month}"));
    fs::rename(&folder, &doomed).at("remove", &folder)?;
    sync_dir(&log).at("flush", &log)?;
    fs::remove_dir_all(&doomed).at("remove", &doomed)?;
    tracing::info!(%month, records = head.size, "a month of evidence that was shipped is removed here");
    Ok(true)
}

/// Finishes removals that the end of the process cut short.
pub(super) fn finish(layout: &Layout) -> Result<(), Cause> {
    for month in layout.months()? {
        let finished = Trimmed::load(layout, month)
            .and_then(|trimmed| trimmed.map_or(Ok(0), |trimmed| remove_segments(layout, month, trimmed.index())));
        if let Err(cause) = finished {
            // Damage to an old month is for `verify` to show; that of the current one was met before.
            tracing::error!(%month, %cause, "a removal of shipped evidence cannot be finished");
        }
    }
    let log = layout.log();
    for entry in fs::read_dir(&log).at("list", &log)? {
        let entry = entry.at("list", &log)?;
        if entry.file_name().to_string_lossy().starts_with("removing-") {
            fs::remove_dir_all(entry.path()).at("remove", &entry.path())?;
        }
    }
    Ok(())
}

/// How many records a month that is over has; nothing if its last segment has no head.
fn records(layout: &Layout, instance: Instance, month: YearMonth) -> Result<Option<u64>, Cause> {
    let Some(segment) = layout.segments(month)?.pop() else { return Ok(None) };
    let mut window = Window::open(&segment.path).at("open", &segment.path)?;
    let Some(head) = window.head(instance, month, segment.first).at("read", &segment.path)? else { return Ok(None) };
    let mut cursor = Cursor { index: head.first, chain: head.chain, synced: 0 };
    walk(&mut window, HEAD_SPAN, &mut cursor, |_, _| ControlFlow::Continue(())).at("read", &segment.path)?;
    Ok(Some(cursor.index))
}
