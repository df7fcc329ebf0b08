//! The folder that the demonstration lives in: made anew each time, and only ever where a demonstration was before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::cli::Failure;

/// By this file a folder is known to be ours.
const MARKER: &str = ".consentd-quickstart";
const MARKER_TEXT: &str = "`consentd quickstart` made this folder, and makes it anew each time it runs.\n";
const LEDGER: &str = "ledger.jsonl";
const DATA: &str = "data";

/// A folder of ours, empty but for its marker.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Locked as long as the demonstration runs: a second one in the same folder would take this one's files away.
    marker: File,
}

impl Folder {
    /// Takes the folder: a new or empty one, or one that a demonstration left, whose files are removed. What else
    /// stands in it stays.
    pub(super) fn take(path: &Path) -> Result<Self, Failure> {
        let failed = |what: &str, error: &io::Error| {
            Failure::new(format!("the folder `{}` cannot be {what}: {error}", path.display()))
        };
        fs::create_dir_all(path).map_err(|error| failed("made", &error))?;
        let has_marker = fs::symlink_metadata(path.join(MARKER)).is_ok_and(|metadata| metadata.is_file());
        let is_empty = fs::read_dir(path).map_err(|error| failed("read", &error))?.next().is_none();
        if !has_marker && !is_empty {
            return Err(Failure::new(format!(
                "the folder `{}` was not made by `consentd quickstart` and is not empty; nothing in it was touched; give \
                 another one with `--dir`",
                path.display()
            )));
        }
        let marker = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(path.join(MARKER))
            .map_err(|error| failed("written", &error))?;
        if let Err(error) = flock(&marker, FlockOperation::NonBlockingLockExclusive) {
            return Err(match error {
                rustix::io::Errno::WOULDBLOCK => Failure::new(format!(
                    "another quickstart is running in `{}`; end it, or give another folder with `--dir`",
                    path.display()
                )),
                error => failed("locked", &error.into()),
            });
        }
        let mut folder = Self { path: path.to_owned(), marker };
        folder.marker.write_all(MARKER_TEXT.as_bytes()).map_err(|error| failed("written", &error))?;
        absent(fs::remove_file(folder.ledger())).map_err(|error| failed("emptied", &error))?;
        absent(fs::remove_dir_all(folder.data())).map_err(|error| failed("emptied", &error))?;
        Ok(folder)
    }

    /// The file of the ledger.
    pub(super) fn ledger(&self) -> PathBuf {
        self.path.join(LEDGER)
    }

    /// The sidecar's data folder.
    pub(super) fn data(&self) -> PathBuf {
        self.path.join(DATA)
    }

    /// The evidence within it.
    pub(super) fn evidence(&self) -> PathBuf {
        self.data().join("evidence")
    }
}

/// What was not there need not be removed.
fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_demonstration_left_is_removed() {
        let home = tempfile::tempdir().expect("a folder");
        let path = home.path().join("new/deep");
        let folder = Folder::take(&path).expect("new");
        fs::create_dir_all(folder.evidence()).expect("made");
        fs::write(folder.ledger(), "old").expect("written");
        fs::write(path.join("notes.txt"), "mine").expect("written");
        let Failure(sentence) = Folder::take(&path).expect_err("it is in use");
        assert!(sentence.contains("another quickstart is running"), "{sentence}");
        assert!(folder.ledger().exists());
        drop(folder);
        let folder = Folder::take(&path).expect("ours");
        assert!(!folder.ledger().exists() && !folder.data().exists());
        assert_eq!(fs::read_to_string(path.join("notes.txt")).expect("kept"), "mine");
    }

    #[test]
    fn what_is_not_ours_is_not_touched() {
        let home = tempfile::tempdir().expect("a folder");
        fs::write(home.path().join(LEDGER), "precious").expect("written");
        let Failure(sentence) = Folder::take(home.path()).expect_err("not ours");
        assert!(sentence.contains("nothing in it was touched"), "{sentence}");
        assert_eq!(fs::read_to_string(home.path().join(LEDGER)).expect("kept"), "precious");
        assert!(!home.path().join(MARKER).exists());
    }
}
