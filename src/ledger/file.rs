//! The file ledger: JSON Lines, one event a line, appended to and never changed.
//!
//! A position is the byte offset behind a line's newline. A line counts once its newline is there; a blank one counts as
//! a position and says nothing. Everybody who writes takes `flock` on the file and appends; readers take no lock.
//!
//! What is noticed of a ledger that is not the one it was: another first line or another file at its path, a size below
//! what was read, and a change in the last 4 KiB before the position. A change further back in the same file, made in
//! place and at the same length, is not noticed: keep the file append-only (`chattr +a`) where writers are not trusted.
//!
//! Freshness is as true as what the file system says of the file's size. Local ones say what is so. One that answers from
//! a cache, such as NFS mounted without `noac`, makes every proof of freshness as old as its cache may be.

mod follow;
mod history;
mod known;
mod pages;
mod watch;
mod write;

pub use history::{FileHistory, Needles};
pub use write::{FileLedger, WriteError};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use tokio::sync::mpsc;

use super::{Feed, FeedItem, LedgerFault, LedgerSource, Place, Resume};
use crate::clock::Clock;
use crate::domain::Position;

/// Between two looks at a file that does not tell of its changes, and between two proofs of freshness: 100 ms, a tenth
/// of the staleness that a healthy follower may show, for two system calls each.
pub const DEFAULT_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How many batches a slow receiver may leave waiting. Each is at most 1 MiB of the file.
const FEED_BATCHES: usize = 4;

/// Which file, and how closely it is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The ledger.
    pub path: PathBuf,
    /// The longest time between two looks at the file.
    pub poll_interval: Duration,
}

impl Config {
    /// The file at a path, watched as closely as is the default.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), poll_interval: DEFAULT_POLL_INTERVAL }
    }
}

/// A file that is followed by a thread of its own.
#[derive(Debug)]
pub struct FileSource {
    config: Config,
    clock: Clock,
}

impl FileSource {
    /// A source of the file's events. Nothing is opened yet, and the file need not exist.
    #[must_use]
    pub fn new(config: Config, clock: Clock) -> Self {
        Self { config, clock }
    }
}

impl LedgerSource for FileSource {
    fn follow(self: Box<Self>, resume: Option<Resume>) -> Feed {
        let (sender, receiver) = mpsc::channel(FEED_BATCHES);
        // Without it the thread still ends, within one poll interval.
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok().map(Arc::new);
        let ledger = self.config.path.display().to_string();
        let follower = follow::Follower::new(self.config, self.clock, sender.clone(), stop.clone());
        let spawned = std::thread::Builder::new().name("ledger-file".to_owned()).spawn(move || follower.run(resume));
        if let Err(error) = spawned {
            let problem = format!("no thread could be started: {error}");
            // The channel is empty, so there is room.
            let _ = sender.try_send(FeedItem::Broken(LedgerFault::Unfollowed { ledger, problem }));
        }
        Feed::new(receiver, StopFollowing(stop))
    }
}

/// Wakes the thread when it is dropped, so that the thread finds its feed gone.
#[derive(Debug)]
struct StopFollowing(Option<Arc<OwnedFd>>);

impl Drop for StopFollowing {
    fn drop(&mut self) {
        if let Some(stop) = &self.0 {
            // It can only fail when the counter is full, and then the thread is awake.
            let _ = rustix::io::write(stop, &1_u64.to_ne_bytes());
        }
    }
}

/// Where the last `lines` complete lines of a ledger begin, blank ones included, for following from there. `None` while
/// it has no first line.
///
/// # Errors
/// If the file cannot be read.
pub fn before_last_lines(path: &Path, lines: usize) -> std::io::Result<Option<Resume>> {
    let file = std::fs::File::open(path)?;
    let Some(ledger) = pages::ledger_id(&file)? else { return Ok(None) };
    let end = pages::line_start_before(&file, file.metadata()?.len(), 0)?;
    let start = pages::line_start_before(&file, end, lines)?;
    let place = Place { position: Position(start), mark: pages::mark_before(&file, start)? };
    Ok(Some(Resume { ledger, place }))
}

#[cfg(test)]
mod tests;
