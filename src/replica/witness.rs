//! How far the ledger was seen, remembered apart from the store.
//!
//! A store that is damaged is set aside, and with it the place that it had come to; a copy on demand has no store at all.
//! Without this file the ledger would be read anew from its beginning, or followed from its end, and one that was cut
//! meanwhile, or restored from an older copy, would be taken for the whole: a withdrawal at its end would be lost in
//! silence. So a ledger that was seen must still say, at the place up to which it was, what it said there.
//!
//! Its source tells that, which compares the place that it resumes behind before anything else, and does not take the
//! word of a server that is behind for it. How long the ledger is would not tell: what was lost may have grown again,
//! if only by beats. It is asked once the view is complete otherwise, so that nothing can happen to the ledger in between.
//!
//! The file `seen` lies in the store's folder and goes with it: whoever deletes the folder begins from nothing. It is one
//! line: `1`, the ledger's id in hexadecimal digits, the position, its mark in hexadecimal digits, and the CRC-32 of all
//! that before the last space.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;

use super::SourceFactory;
use super::standing::Standing;
use super::stop::{LOOK_INTERVAL, Stop};
use crate::domain::Position;
use crate::ledger::{FeedItem, LedgerId, Place, Resume};

/// The file's name in the store's folder.
const NAME: &str = "seen";
/// How often the file is written while the view moves. What was seen since is not remembered if store and process are
/// lost together.
const INTERVAL: Duration = Duration::from_secs(2);

/// The ledger that is there is not the one that was seen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "another ledger stands in the place of the one that was read before; put the first one back, or, if the change is \
     meant, stop, delete the local store's folder and start again"
)]
pub(super) struct OtherLedger;

/// What was seen by this process and the ones before.
#[derive(Debug)]
pub(super) struct Witness {
    folder: Box<Path>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    seen: Option<Resume>,
    /// Whether the ledger that is followed has not yet shown that it still says what was seen.
    is_owed: bool,
    written_at: Option<Instant>,
}

impl Witness {
    /// What the processes before this one saw.
    pub(super) fn load(folder: &Path) -> Self {
        let path = folder.join(NAME);
        let seen = match std::fs::read_to_string(&path) {
            Ok(text) => {
                let seen = parse(&text);
                if seen.is_none() {
                    tracing::warn!(path = %path.display(), "how far the ledger had been read cannot be told: the file is damaged");
                }
                seen
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "how far the ledger had been read cannot be told");
                None
            }
        };
        let inner = Inner { is_owed: seen.is_some(), seen, written_at: None };
        Self { folder: folder.into(), inner: Mutex::new(inner) }
    }

    /// To be said before the ledger is followed behind a place: what was seen otherwise is owed from now on.
    pub(super) fn begin(&self, resume: Option<Resume>) {
        let mut inner = self.lock();
        // The source compares what it resumes behind.
        inner.is_owed = inner.seen.is_some() && inner.seen != resume;
    }

    /// Whether a ledger is the one that was seen.
    ///
    /// # Errors
    /// If it is another one.
    pub(super) fn check(&self, ledger: LedgerId) -> Result<(), OtherLedger> {
        let is_other = self.lock().seen.is_some_and(|seen| seen.ledger != ledger);
        if is_other { Err(OtherLedger) } else { Ok(()) }
    }

    /// Makes sure that the ledger still says what was seen of it, and gives the position that a view of it must have
    /// reached. `None` when told to stop, or where the ledger is broken, which `standing` then says.
    pub(super) fn confirm(&self, sources: &SourceFactory, standing: &Standing, stop: &Stop) -> Option<Position> {
        let Some(seen) = self.owed() else { return Some(Position(0)) };
        let mut feed = sources().follow(Some(seen));
        while !stop.is_set() {
            let Ok(item) = feed.recv_within(LOOK_INTERVAL) else { continue };
            match item {
                Some(FeedItem::Opened { .. }) => {
                    self.lock().is_owed = false;
                    return Some(seen.place.position);
                }
                Some(FeedItem::Waiting(sentence)) => standing.waiting(sentence),
                Some(FeedItem::Broken(fault)) => {
                    standing.broken(&fault);
                    return None;
                }
                // Not said before the ledger is opened.
                Some(FeedItem::Events { .. } | FeedItem::Current { .. }) => {}
                None => {
                    standing.unfollowed();
                    return None;
                }
            }
        }
        None
    }

    /// Notes that everything up to a place was read, which is not unsaid by reading again what lies before. Nothing is
    /// noted while something is owed: what is read then may be of a ledger that was cut.
    pub(super) fn note(&self, at: Resume) {
        let mut inner = self.lock();
        let is_known = |seen: Resume| seen.ledger == at.ledger && seen.place.position >= at.place.position;
        if !inner.is_owed && !inner.seen.is_some_and(is_known) {
            inner.seen = Some(at);
        }
        if inner.written_at.is_none_or(|at| at.elapsed() >= INTERVAL) {
            inner.written_at = Some(Instant::now());
            self.write(&inner);
        }
    }

    /// Writes down what was noted: before the end, and where the folder was made anew.
    pub(super) fn keep(&self) {
        self.write(&self.lock());
    }

    fn owed(&self) -> Option<Resume> {
        let inner = self.lock();
        inner.seen.filter(|_| inner.is_owed)
    }

    fn write(&self, inner: &Inner) {
        let Some(seen) = inner.seen else { return };
        let path = self.folder.join(NAME);
        let partial = path.with_extension("partial");
        let written = std::fs::create_dir_all(&self.folder)
            .and_then(|()| std::fs::write(&partial, to_line(seen)))
            .and_then(|()| std::fs::File::open(&partial)?.sync_data())
            .and_then(|()| std::fs::rename(&partial, &path));
        if let Err(error) = written {
            tracing::warn!(%error, path = %path.display(), "how far the ledger was read cannot be written down");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What a panic elsewhere left here is still a place that was seen.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn to_line(seen: Resume) -> String {
    let Resume { ledger, place } = seen;
    let mut line = format!("1 {ledger} {} {}", place.position.0, HEXLOWER.encode(&place.mark));
    let check = crc32fast::hash(line.as_bytes());
    // Writing to a text cannot fail.
    let _ = writeln!(line, " {check:08x}");
    line
}

fn parse(text: &str) -> Option<Resume> {
    let (line, check) = text.strip_suffix('\n')?.rsplit_once(' ')?;
    if u32::from_str_radix(check, 16).ok()? != crc32fast::hash(line.as_bytes()) {
        return None;
    }
    let mut words = line.split(' ');
    let version = words.next()?;
    let ledger = HEXLOWER.decode(words.next()?.as_bytes()).ok()?;
    let position = Position(words.next()?.parse().ok()?);
    let mark = HEXLOWER.decode(words.next()?.as_bytes()).ok()?;
    let place = Place { position, mark: mark.try_into().ok()? };
    (version == "1").then_some(Resume { ledger: LedgerId(ledger.try_into().ok()?), place })
}

#[cfg(test)]
mod tests;
