//! The thread that puts written records on the device, for all who wait at once, notices when their file is taken away, and
//! prepares the next segment.

use std::sync::atomic::Ordering;
use std::thread;

use super::files::{At, Cause, sync_dir};
use super::log::{ABANDONED, Core, RUNNING, Shared};
use super::writer::Next;

/// The thread.
pub(super) fn run(shared: &Shared) {
    let Some(core) = &shared.core else { return };
    loop {
        // Read before flushing: what was written before the end was asked for is in this flush.
        let stopping = shared.stopping.load(Ordering::SeqCst);
        if stopping == ABANDONED || shared.poison.check().is_err() {
            return;
        }
        if let Err(cause) = flush(shared, core).and_then(|()| prepare(core)) {
            shared.poison.set(&cause);
            return;
        }
        if stopping != RUNNING {
            return;
        }
        if shared.stopping.load(Ordering::SeqCst) == stopping {
            thread::park_timeout(shared.config.flush_interval);
        }
    }
}

/// Puts everything written so far on the device, then tells those who wait. First it makes sure that what is written is
/// still to be found, also where nothing was written since: what a file holds that has no name is lost with the process.
fn flush(shared: &Shared, core: &Core) -> Result<(), Cause> {
    let lock = |_| Cause::new("a thread panicked while it wrote evidence");
    let (written, segment, unsynced) = {
        let mut writer = core.writer.lock().map_err(lock)?;
        (writer.written, writer.segment.clone(), std::mem::take(&mut writer.unsynced))
    };
    if !segment.device.is_at(&segment.path).at("find", &segment.path)? {
        return Err(Cause::new(format!("another file stands in the place of `{}`", segment.path.display())));
    }
    if written == shared.synced.load(Ordering::Relaxed) && unsynced.full.is_empty() && unsynced.folders.is_empty() {
        return Ok(());
    }
    for segment in unsynced.full.iter().chain([&segment]) {
        segment.device.sync().at_flush(&segment.path)?;
    }
    for folder in &unsynced.folders {
        sync_dir(folder).at_flush(folder)?;
    }
    shared.synced.store(written, Ordering::Release);
    shared.poison.progress.send_replace(written);
    for full in &unsynced.full {
        // Only now: a cut that reached the device before the segment's successor would look like a loss.
        full.device.cut(full.offset).at("cut", &full.path)?;
    }
    Ok(())
}

/// Prepares the next segment when the current one is half full.
fn prepare(core: &Core) -> Result<(), Cause> {
    let lock = |_| Cause::new("a thread panicked while it wrote evidence");
    let (path, bytes, faults) = {
        let writer = core.writer.lock().map_err(lock)?;
        if !writer.wants_spare() {
            return Ok(());
        }
        (writer.layout.spare(), writer.segment_bytes, writer.faults.clone())
    };
    match Next::make(path, bytes, &faults) {
        Ok(next) => core.writer.lock().map_err(lock)?.spare = Some(next.device),
        // No record is lost by this. The writer will try for itself when it must, and then its failure counts.
        Err(cause) => tracing::warn!(%cause, "no segment could be prepared"),
    }
    Ok(())
}
