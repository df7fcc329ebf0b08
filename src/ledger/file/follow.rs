//! The thread that follows a file: what is new is read, what has changed is noticed.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rustix::fd::OwnedFd;
use tokio::sync::mpsc;

use super::Config;
use super::pages::{self, MARK_WINDOW};
use super::watch::Watch;
use crate::clock::Clock;
use crate::domain::Position;
use crate::ledger::codec::{LINE_BYTES_MAX, decode, decode_too_long};
use crate::ledger::{BATCH_EVENTS_MAX, Delivery, FeedItem, LedgerFault, LedgerId, Place, Resume};

/// Follows one file until its feed is dropped or the ledger is broken.
pub(super) struct Follower {
    config: Config,
    clock: Clock,
    items: mpsc::Sender<FeedItem>,
    stop: Option<Arc<OwnedFd>>,
    /// What was last said of why nothing comes.
    waiting: Option<String>,
    buffer: Vec<u8>,
}

/// A file that is being followed.
struct Followed {
    file: File,
    watch: Watch,
    device_and_inode: (u64, u64),
    ledger: LedgerId,
    place: Place,
    /// How the file looked before it was last read.
    looked: Option<Look>,
}

/// What changes when a file is written to.
#[derive(PartialEq, Eq)]
struct Look {
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Why following pauses or ends.
enum Halt {
    /// Nobody listens any more.
    Dropped,
    Broken(LedgerFault),
    /// It may pass.
    Unreachable(String),
}

impl Look {
    fn at(metadata: &Metadata) -> Self {
        Self {
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Follower {
    pub(super) fn new(config: Config, clock: Clock, items: mpsc::Sender<FeedItem>, stop: Option<Arc<OwnedFd>>) -> Self {
        Self { config, clock, items, stop, waiting: None, buffer: Vec::new() }
    }

    /// The thread's whole life.
    pub(super) fn run(mut self, resume: Option<Resume>) {
        // A defect must be heard of: a thread that is merely gone would look like a ledger without news.
        let ended = catch_unwind(AssertUnwindSafe(|| self.follow(resume)));
        let fault = match ended {
            Ok(fault) => fault,
            Err(_) => Some(LedgerFault::Unfollowed { ledger: self.name(), problem: "a defect".to_owned() }),
        };
        if let Some(fault) = fault {
            // Nobody to tell is nothing to tell.
            let _ = self.items.blocking_send(FeedItem::Broken(fault));
        }
    }

    /// Follows until nobody listens (`None`) or the ledger is broken.
    fn follow(&mut self, mut resume: Option<Resume>) -> Option<LedgerFault> {
        let mut opened = false;
        loop {
            let watch = Watch::arrival(&self.config.path, self.stop.clone());
            let halt = match self.open(resume) {
                Ok((mut followed, last)) => {
                    let ended = self.follow_open(&mut followed, last, &mut opened);
                    resume = Some(Resume { ledger: followed.ledger, place: followed.place });
                    ended
                }
                Err(halt) => halt,
            };
            match halt {
                Halt::Dropped => return None,
                Halt::Broken(fault) => return Some(fault),
                Halt::Unreachable(sentence) => {
                    if self.say_waiting(sentence).is_err() {
                        return None;
                    }
                    let _ = watch.wait(self.config.poll_interval);
                }
            }
        }
    }

    /// Opens the ledger, if it is there and is the one to be resumed. Gives the position that is last in it as well.
    fn open(&self, resume: Option<Resume>) -> Result<(Followed, Position), Halt> {
        // Watched before it is looked at, so that no change falls between.
        let watch = Watch::file(&self.config.path, self.stop.clone());
        // Before it is opened: opening a pipe would wait for its writer.
        let is_file = std::fs::metadata(&self.config.path).map_err(|error| self.unreachable(&error))?.is_file();
        if !is_file {
            return Err(Halt::Unreachable(format!("the ledger `{}` is not a regular file", self.name())));
        }
        let file = File::open(&self.config.path).map_err(|error| self.unreachable(&error))?;
        let metadata = file.metadata().map_err(|error| self.unreachable(&error))?;
        let ledger = pages::ledger_id(&file).map_err(|error| self.unreachable(&error))?;
        let place = match resume {
            None => Place { position: Position(0), mark: pages::mark(&[]) },
            Some(resume) => {
                let position = resume.place.position;
                if ledger.is_some_and(|ledger| ledger != resume.ledger) {
                    return Err(Halt::Broken(LedgerFault::Replaced { ledger: self.name() }));
                }
                if metadata.len() < position.0 {
                    return Err(Halt::Broken(self.truncated(metadata.len(), position)));
                }
                let mark = pages::mark_before(&file, position.0).map_err(|error| self.unreachable(&error))?;
                if mark != resume.place.mark {
                    return Err(Halt::Broken(self.rewritten(position)));
                }
                resume.place
            }
        };
        let Some(ledger) = ledger else {
            return Err(Halt::Unreachable(format!("the ledger `{}` is still empty", self.name())));
        };
        let last = pages::line_start_before(&file, metadata.len(), 0).map_err(|error| self.unreachable(&error))?;
        let device_and_inode = (metadata.dev(), metadata.ino());
        Ok((Followed { file, watch, device_and_inode, ledger, place, looked: None }, Position(last)))
    }

    fn follow_open(&mut self, followed: &mut Followed, last: Position, opened: &mut bool) -> Halt {
        if !*opened {
            *opened = true;
            if self.items.blocking_send(FeedItem::Opened { ledger: followed.ledger, last }).is_err() {
                return Halt::Dropped;
            }
        }
        let mut told = true;
        loop {
            if let Err(halt) = self.round(followed, told) {
                return halt;
            }
            told = followed.watch.wait(self.config.poll_interval);
        }
    }

    /// One look at the file, and the delivery of all that it had at that time.
    fn round(&mut self, followed: &mut Followed, told: bool) -> Result<(), Halt> {
        // Before the look, so that what the look does not show was not there at this time.
        let at = self.clock.boot();
        let position = followed.place.position;
        let metadata = match std::fs::metadata(&self.config.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Halt::Broken(LedgerFault::Removed { ledger: self.name(), position }));
            }
            Err(error) => return Err(self.unreachable(&error)),
        };
        if (metadata.dev(), metadata.ino()) != followed.device_and_inode {
            return Err(Halt::Broken(LedgerFault::Replaced { ledger: self.name() }));
        }
        if metadata.len() < position.0 {
            return Err(Halt::Broken(self.truncated(metadata.len(), position)));
        }
        self.waiting = None;
        let look = Look::at(&metadata);
        if told || followed.looked.as_ref() != Some(&look) {
            followed.looked = None;
            if !self.read_until(followed, look.size)? {
                return Ok(());
            }
            followed.looked = Some(look);
        }
        self.send(FeedItem::Current { position: followed.place.position, at })
    }

    /// Delivers the complete lines that lie below `end`, after making sure that what precedes them is as it was. False
    /// if the file became shorter meanwhile, so that not all that lay below `end` has been seen: to be looked at again.
    fn read_until(&mut self, followed: &mut Followed, end: u64) -> Result<bool, Halt> {
        loop {
            let position = followed.place.position.0;
            let window_start = position.saturating_sub(MARK_WINDOW);
            let window_len = to_usize(position - window_start);
            // One byte more than the longest line with its newline, so that a longer one shows. Nothing is kept of a
            // half-written line between two looks: its writer may still take it back.
            let body_len = to_usize(end.saturating_sub(position)).min(LINE_BYTES_MAX + 2);
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.resize(window_len + body_len, 0);
            let filled =
                pages::read_at(&followed.file, window_start, &mut buffer).map_err(|error| self.unreachable(&error))?;
            buffer.truncate(filled);
            if filled < window_len {
                return Err(Halt::Broken(self.truncated(window_start + filled as u64, followed.place.position)));
            }
            // INVARIANT: nothing is delivered from behind a place whose mark does not hold, in the same read.
            if buffer.get(..window_len).map(pages::mark) != Some(followed.place.mark) {
                return Err(Halt::Broken(self.rewritten(followed.place.position)));
            }
            if filled < window_len + body_len {
                return Ok(false);
            }
            let consumed = self.deliver(followed, &buffer, window_len)?;
            let is_too_long = consumed == 0 && buffer.len() - window_len > LINE_BYTES_MAX + 1;
            if is_too_long {
                let beginning = buffer.get(window_len..window_len + LINE_BYTES_MAX).unwrap_or_default();
                let newline = pages::newline_after(&followed.file, position + body_len as u64, end);
                let Some(newline) = newline.map_err(|error| self.unreachable(&error))? else {
                    return Ok(true);
                };
                let position = Position(newline + 1);
                let mark = pages::mark_before(&followed.file, position.0).map_err(|error| self.unreachable(&error))?;
                let delivery = Delivery { position, event: Err(decode_too_long(beginning, position)) };
                followed.place = Place { position, mark };
                self.send(FeedItem::Events { deliveries: vec![delivery], place: followed.place })?;
            }
            // A large buffer was for catching up.
            buffer.shrink_to(64 * 1024);
            self.buffer = buffer;
            let is_all = position + body_len as u64 >= end;
            if !is_too_long && (is_all || consumed == 0) {
                return Ok(true);
            }
        }
    }

    /// Delivers the complete lines of a buffer from `from` on, and gives how many bytes they were.
    fn deliver(&mut self, followed: &mut Followed, buffer: &[u8], from: usize) -> Result<usize, Halt> {
        let start = followed.place.position.0;
        let mut consumed = 0;
        let mut deliveries = Vec::new();
        loop {
            let rest = buffer.get(from + consumed..).unwrap_or_default();
            let line = pages::line_len(rest).and_then(|len| rest.get(..len));
            if let Some(line) = line {
                consumed += line.len();
                let text = line.trim_ascii();
                if !text.is_empty() {
                    let position = Position(start + consumed as u64);
                    let event = if text.len() > LINE_BYTES_MAX {
                        Err(decode_too_long(text, position))
                    } else {
                        decode(text, position)
                    };
                    deliveries.push(Delivery { position, event });
                }
            }
            let position = Position(start + consumed as u64);
            let is_due = line.is_none() || deliveries.len() == BATCH_EVENTS_MAX;
            if is_due && position != followed.place.position {
                let end = from + consumed;
                let window = buffer.get(end.saturating_sub(to_usize(MARK_WINDOW))..end).unwrap_or_default();
                followed.place = Place { position, mark: pages::mark(window) };
                let deliveries = std::mem::take(&mut deliveries);
                self.send(FeedItem::Events { deliveries, place: followed.place })?;
            }
            if line.is_none() {
                return Ok(consumed);
            }
        }
    }

    fn send(&self, item: FeedItem) -> Result<(), Halt> {
        self.items.blocking_send(item).map_err(|_| Halt::Dropped)
    }

    /// Says why nothing comes, if that is news. An error if nobody listens.
    fn say_waiting(&mut self, sentence: String) -> Result<(), Halt> {
        if self.waiting.as_ref() == Some(&sentence) {
            return if self.items.is_closed() { Err(Halt::Dropped) } else { Ok(()) };
        }
        self.waiting = Some(sentence.clone());
        self.send(FeedItem::Waiting(sentence))
    }

    fn name(&self) -> String {
        self.config.path.display().to_string()
    }

    fn unreachable(&self, error: &io::Error) -> Halt {
        Halt::Unreachable(match error.kind() {
            io::ErrorKind::NotFound => format!("the ledger `{}` is not there yet", self.name()),
            _ => format!("the ledger `{}` cannot be read: {error}", self.name()),
        })
    }

    fn truncated(&self, size: u64, position: Position) -> LedgerFault {
        LedgerFault::Truncated { ledger: self.name(), size, position }
    }

    fn rewritten(&self, position: Position) -> LedgerFault {
        LedgerFault::Rewritten { ledger: self.name(), position }
    }
}

/// On the 64-bit machines that this runs on, nothing is lost.
fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
