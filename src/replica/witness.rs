//! How far the ledger was seen, remembered apart from the store.
//!
//! A store that is damaged is set aside, and with it the position that it had come to. Without this file the ledger would
//! be read anew from its beginning, and one that was cut meanwhile, or restored from an older copy, would be taken for the
//! whole: a withdrawal at its end would be lost in silence. So what is rebuilt must reach at least as far as what was lost.
//!
//! The file `seen` lies in the store's folder and goes with it: whoever deletes the folder begins from nothing. It is one
//! line: `1`, the ledger's id in hexadecimal digits, the position, and the CRC-32 of all that before the last space.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::Position;
use crate::ledger::LedgerId;

/// The file's name in the store's folder.
const NAME: &str = "seen";
/// How often the file is written while the view moves. What was seen since is not remembered if store and process are
/// lost together.
const INTERVAL: Duration = Duration::from_secs(2);

/// Why the ledger that is there cannot be the one that the lost store was built from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Regress {
    #[error(
        "the local store was lost, and the ledger now ends at position {last}, though it had been read up to {seen}; \
         restore it from a copy, or, if the loss is meant, stop, delete the local store's folder and start again"
    )]
    Shorter { last: u64, seen: u64 },
    #[error(
        "the local store was lost, and another ledger stands in the place of the one that it was built from; put the \
         first one back, or, if the change is meant, stop, delete the local store's folder and start again"
    )]
    Other,
}

/// A place in a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    ledger: LedgerId,
    position: Position,
}

/// What was seen by this process and the ones before.
#[derive(Debug)]
pub(super) struct Witness {
    folder: Box<Path>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    seen: Option<Seen>,
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
        Self { folder: folder.into(), inner: Mutex::new(Inner { seen, written_at: None }) }
    }

    /// Notes that everything up to a position was read.
    pub(super) fn note(&self, ledger: LedgerId, position: Position) {
        let mut inner = self.lock();
        inner.seen = Some(Seen { ledger, position });
        if inner.written_at.is_none_or(|at| at.elapsed() >= INTERVAL) {
            inner.written_at = Some(Instant::now());
            self.write(&inner);
        }
    }

    /// Writes down what was noted: before the end, and where the folder was made anew.
    pub(super) fn keep(&self) {
        self.write(&self.lock());
    }

    /// Whether a ledger that ends at a position can be the one that was seen.
    ///
    /// # Errors
    /// If it is another one, or ends before.
    pub(super) fn check(&self, ledger: LedgerId, last: Position) -> Result<(), Regress> {
        match self.lock().seen {
            Some(seen) if seen.ledger != ledger => Err(Regress::Other),
            Some(seen) if seen.position > last => Err(Regress::Shorter { last: last.0, seen: seen.position.0 }),
            _ => Ok(()),
        }
    }

    fn write(&self, inner: &Inner) {
        let Some(seen) = inner.seen else { return };
        let path = self.folder.join(NAME);
        let partial = path.with_extension("partial");
        let written = std::fs::create_dir_all(&self.folder)
            .and_then(|()| std::fs::write(&partial, seen.to_line()))
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

impl Seen {
    fn to_line(self) -> String {
        let mut line = format!("1 {} {}", self.ledger, self.position.0);
        let check = crc32fast::hash(line.as_bytes());
        // Writing to a text cannot fail.
        let _ = writeln!(line, " {check:08x}");
        line
    }
}

fn parse(text: &str) -> Option<Seen> {
    let (line, check) = text.strip_suffix('\n')?.rsplit_once(' ')?;
    if u32::from_str_radix(check, 16).ok()? != crc32fast::hash(line.as_bytes()) {
        return None;
    }
    let mut words = line.split(' ');
    let version = words.next()?;
    let ledger = data_encoding::HEXLOWER.decode(words.next()?.as_bytes()).ok()?;
    let position = words.next()?.parse().ok()?;
    (version == "1").then_some(Seen { ledger: LedgerId(ledger.try_into().ok()?), position: Position(position) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: LedgerId = LedgerId([1; 8]);

    #[test]
    fn what_was_seen_outlives_the_process() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let witness = Witness::load(folder.path());
        assert_eq!(witness.check(ONE, Position(0)), Ok(()), "nothing was seen");
        witness.note(ONE, Position(7));
        witness.note(ONE, Position(9));
        assert_eq!(Witness::load(folder.path()).check(ONE, Position(7)), Ok(()), "written at most every few seconds");
        witness.keep();
        let next = Witness::load(folder.path());
        assert_eq!(next.check(ONE, Position(9)), Ok(()));
        assert_eq!(next.check(ONE, Position(8)), Err(Regress::Shorter { last: 8, seen: 9 }));
        assert_eq!(next.check(LedgerId([2; 8]), Position(9)), Err(Regress::Other));
        std::fs::remove_dir_all(folder.path()).expect("removed");
        assert_eq!(
            Witness::load(folder.path()).check(LedgerId([2; 8]), Position(0)),
            Ok(()),
            "it goes with its folder"
        );
    }

    #[test]
    fn every_damage_is_noticed() {
        let line = Seen { ledger: ONE, position: Position(1234) }.to_line();
        assert_eq!(line, "1 0101010101010101 1234 48fc8264\n");
        assert!(parse(&line).is_some());
        for cut in 0..line.len() {
            assert_eq!(parse(&line[..cut]), None, "{:?}", &line[..cut]);
        }
        for place in 0..line.len() {
            for bit in 0..7 {
                let mut bytes = line.clone().into_bytes();
                bytes[place] ^= 1 << bit;
                let text = String::from_utf8(bytes).expect("ASCII");
                // Capital digits of the check are the same digits.
                assert!(parse(&text).is_none() || text.eq_ignore_ascii_case(&line), "{text:?}");
            }
        }
    }
}
