//! Writing a ledger's file, beside any number of other writers.
//!
//! Under an exclusive `flock` a batch goes out in one `write` to the end of the file, so that batches never mix. It is
//! acknowledged after `fdatasync`. Followers take no lock, so a line is published the moment its newline is written, a
//! little before it is on the device: a withdrawal is enforced before it is acknowledged, never after.
//!
//! What is left of a writer that died within a line is ended with a newline by the next one. It becomes an unreadable
//! line of its own, instead of swallowing the next event.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::pages;
use crate::domain::Position;
use crate::ledger::codec::{self, LINE_BYTES_MAX};
use crate::ledger::{EventError, LedgerId, Nth, Token};
use crate::proto::v1;

/// A ledger's file, open for appending.
#[derive(Debug)]
pub struct FileLedger {
    pub(super) path: PathBuf,
    file: File,
    is_new: bool,
    healed: bool,
    /// After a failed flush nothing is known of what is on the device, and a second flush may claim success.
    poisoned: bool,
}

/// Why events were not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file cannot be opened, created or looked at.
    #[error("the ledger `{path}` cannot be opened for writing")]
    Open {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// An event is not as it must be. None of the batch was written.
    #[error("{}{error}", Nth(*.index, *.of))]
    Event {
        /// Which of the batch, from 0.
        index: usize,
        /// How many the batch has.
        of: usize,
        /// What is wrong with it.
        error: EventError,
    },
    /// An event is longer than a line may be, or has no text. None of the batch was written.
    #[error("{}takes a line longer than {LINE_BYTES_MAX} bytes", Nth(*.index, *.of))]
    TooLong {
        /// Which of the batch, from 0.
        index: usize,
        /// How many the batch has.
        of: usize,
    },
    /// Another file stands at the path by now. None of the batch was written.
    #[error("the ledger `{path}` was replaced or removed while it was open for writing; nothing was written to it")]
    Replaced {
        /// Which.
        path: String,
    },
    /// The batch was written in part, or not at all. What was written is whole and valid, and followers may have read
    /// it, but it is not acknowledged. Writing the batch again is safe: events keep their ids.
    #[error("{written} of {of} events were written to the ledger `{path}`")]
    Write {
        /// Which.
        path: String,
        /// How many of the batch were written.
        written: usize,
        /// How many it has.
        of: usize,
        /// Why not all.
        source: io::Error,
    },
    /// The batch was written, but may not survive a power loss. The ledger takes nothing more until opened again.
    #[error("the ledger `{path}` could not be flushed to its device")]
    Sync {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// An earlier flush failed.
    #[error("the ledger `{path}` could not be flushed before, and is not written to until it is opened again")]
    Poisoned {
        /// Which.
        path: String,
    },
}

/// A batch as it will stand in the file.
struct Lines {
    text: Vec<u8>,
    /// Where each line ends in the text.
    ends: Vec<usize>,
}

impl FileLedger {
    /// Opens a ledger, or creates it, readable by its owner alone. Its folder must be there.
    ///
    /// # Errors
    /// If the file cannot be opened or created.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, WriteError> {
        let path = path.into();
        let opened = match Self::options().open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(&path),
            opened => opened.map(|file| (file, false)),
        };
        let opened = opened.and_then(|(file, is_new)| {
            let is_file = file.metadata()?.is_file();
            if is_file { Ok((file, is_new)) } else { Err(io::Error::other("not a regular file")) }
        });
        match opened {
            Ok((file, is_new)) => Ok(Self { path, file, is_new, healed: false, poisoned: false }),
            Err(source) => Err(WriteError::Open { path: path.display().to_string(), source }),
        }
    }

    /// Whether opening created it.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.is_new
    }

    /// Whether an append found a half-written line of another writer and ended it.
    #[must_use]
    pub const fn healed(&self) -> bool {
        self.healed
    }

    /// Writes events, all or, if one of them is not as it must be, none. When this returns they survive a power loss.
    /// Gives the token of each, behind which it is in force.
    ///
    /// # Errors
    /// As [`WriteError`] says of each.
    pub fn append(&mut self, events: &[v1::LedgerEvent]) -> Result<Vec<Token>, WriteError> {
        let tokens = self.append_unsynced(events)?;
        self.sync()?;
        Ok(tokens)
    }

    /// As [`FileLedger::append`], but the events survive a power loss only after [`FileLedger::sync`].
    ///
    /// # Errors
    /// As [`WriteError`] says of each.
    pub fn append_unsynced(&mut self, events: &[v1::LedgerEvent]) -> Result<Vec<Token>, WriteError> {
        self.append_with(events, |mut file, bytes| file.write(bytes))
    }

    /// Flushes what was written to the device.
    ///
    /// # Errors
    /// If it cannot be flushed. It is not tried again: the kernel may have dropped what it could not write.
    pub fn sync(&mut self) -> Result<(), WriteError> {
        if self.poisoned {
            return Err(WriteError::Poisoned { path: self.name() });
        }
        self.file.sync_data().map_err(|source| {
            self.poisoned = true;
            WriteError::Sync { path: self.name(), source }
        })
    }

    fn append_with(
        &mut self,
        events: &[v1::LedgerEvent],
        write: impl FnMut(&File, &[u8]) -> io::Result<usize>,
    ) -> Result<Vec<Token>, WriteError> {
        if self.poisoned {
            return Err(WriteError::Poisoned { path: self.name() });
        }
        let mut lines = Lines::of(events)?;
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let failed = |source| WriteError::Write { path: self.name(), written: 0, of: events.len(), source };
        let lock = Lock::take(&self.file).map_err(failed)?;
        let size = self.check_place()?;
        let heals = ends_within_a_line(&self.file, size).map_err(failed)?;
        if heals {
            lines.text.insert(0, b'\n');
            lines.ends.iter_mut().for_each(|end| *end += 1);
        }
        let (end, ledger) = write_out(&self.file, size, &lines.text, write)
            .and_then(|end| Ok((end, ledger_id(&self.file)?)))
            .map_err(|(written, source)| WriteError::Write {
                path: self.name(),
                written: lines.ends.iter().filter(|end| **end <= written).count(),
                of: events.len(),
                source,
            })?;
        drop(lock);
        self.healed |= heals;
        let start = end - lines.text.len() as u64;
        let token = |line_end: usize| Token { ledger, position: Position(start + line_end as u64) };
        Ok(lines.ends.into_iter().map(token).collect())
    }

    /// The open file.
    pub(super) const fn file(&self) -> &File {
        &self.file
    }

    fn options() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.read(true).append(true).mode(0o600);
        options
    }

    fn create(path: &Path) -> io::Result<(File, bool)> {
        match Self::options().create_new(true).open(path) {
            Ok(file) => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
                Ok((file, true))
            }
            // Another writer was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Self::options().open(path).map(|file| (file, false))
            }
            Err(error) => Err(error),
        }
    }

    /// The size, if the file at the path is still the one that is open.
    fn check_place(&self) -> Result<u64, WriteError> {
        let replaced = || WriteError::Replaced { path: self.name() };
        let open = self.file.metadata().map_err(|source| WriteError::Open { path: self.name(), source })?;
        let there = std::fs::metadata(&self.path).map_err(|_| replaced())?;
        if (open.dev(), open.ino()) == (there.dev(), there.ino()) { Ok(open.len()) } else { Err(replaced()) }
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

impl Lines {
    fn of(events: &[v1::LedgerEvent]) -> Result<Self, WriteError> {
        let of = events.len();
        let mut lines = Self { text: Vec::new(), ends: Vec::with_capacity(of) };
        for (index, event) in events.iter().enumerate() {
            codec::validate(event.clone()).map_err(|error| WriteError::Event { index, of, error })?;
            let line = codec::encode_line(event).ok().filter(|line| line.len() <= LINE_BYTES_MAX);
            let line = line.ok_or(WriteError::TooLong { index, of })?;
            lines.text.extend_from_slice(line.as_bytes());
            lines.text.push(b'\n');
            lines.ends.push(lines.text.len());
        }
        Ok(lines)
    }
}

/// Writes a text at the end of the file and gives the new end. When that fails halfway, the error tells how many bytes
/// of the text remain in the file.
///
/// Lines that are complete by then stay: a follower may have read them, and to take back what was read is what it must
/// take for an attack. The incomplete one behind them is taken back, unless a writer that takes no lock has appended to
/// it meanwhile; then, or when even that fails, the next writer ends it.
fn write_out(
    file: &File,
    size: u64,
    text: &[u8],
    mut write: impl FnMut(&File, &[u8]) -> io::Result<usize>,
) -> Result<u64, (usize, io::Error)> {
    let mut written = 0;
    while let Some(rest) = text.get(written..).filter(|rest| !rest.is_empty()) {
        let error = match write(file, rest) {
            Ok(0) => io::Error::from(io::ErrorKind::WriteZero),
            Ok(more) => {
                written += more;
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => error,
        };
        let out = text.get(..written).unwrap_or_default();
        let complete = out.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let is_alone = file.metadata().is_ok_and(|metadata| metadata.len() == size + written as u64);
        if is_alone && complete < written {
            // If it fails, the next writer ends the line.
            let _ = file.set_len(size + complete as u64);
        }
        return Err((complete, error));
    }
    // Where this text ended is told by the file's own offset, even if somebody who takes no lock has appended too.
    let mut file = file;
    file.stream_position().map_err(|error| (written, error))
}

fn ledger_id(file: &File) -> Result<LedgerId, (usize, io::Error)> {
    let missing = || io::Error::other("what was written is not there");
    pages::ledger_id(file).and_then(|id| id.ok_or_else(missing)).map_err(|error| (usize::MAX, error))
}

fn ends_within_a_line(file: &File, size: u64) -> io::Result<bool> {
    let Some(last) = size.checked_sub(1) else { return Ok(false) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte != *b"\n")
}

/// The exclusive lock of all writers, until it is dropped.
struct Lock<'a>(&'a File);

impl<'a> Lock<'a> {
    fn take(file: &'a File) -> io::Result<Self> {
        loop {
            match flock(file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Self(file)),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // Closing the file would let go of it as well.
        let _ = flock(self.0, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests;
