//! Where things are in the evidence directory, and files that are replaced or made as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::id::YearMonth;

/// Why the evidence cannot be used, as one sentence for an operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct Cause {
    sentence: String,
    failed_flush: bool,
}

impl Cause {
    pub(super) fn new(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), failed_flush: false }
    }

    /// A thread that looked at the evidence panicked.
    pub(crate) fn of_defect(defect: &tokio::task::JoinError) -> Self {
        Self::new(format!("a defect of consentd: {defect}"))
    }

    /// Whether records that were written may not be on the device though they can be read.
    pub(super) const fn is_failed_flush(&self) -> bool {
        self.failed_flush
    }
}

/// Turns an I/O error into a sentence that names the deed and the path.
pub(super) trait At<T> {
    fn at(self, deed: &str, path: &Path) -> Result<T, Cause>;

    /// The same for a flush of records or of their names.
    fn at_flush(self, path: &Path) -> Result<T, Cause>;
}

impl<T, E: std::fmt::Display> At<T> for Result<T, E> {
    fn at(self, deed: &str, path: &Path) -> Result<T, Cause> {
        self.map_err(|error| Cause::new(format!("cannot {deed} `{}`: {error}", path.display())))
    }

    fn at_flush(self, path: &Path) -> Result<T, Cause> {
        self.at("flush", path).map_err(|cause| Cause { failed_flush: true, ..cause })
    }
}

/// The paths of one evidence directory, as `format` lists them.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    dir: PathBuf,
}

/// A segment by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentPath {
    pub(super) path: PathBuf,
    /// The index of its first record.
    pub(super) first: u64,
}

impl Layout {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn instance(&self) -> PathBuf {
        self.dir.join("instance")
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    pub(super) fn boot(&self) -> PathBuf {
        self.dir.join("boot")
    }

    pub(super) fn failed_flush(&self) -> PathBuf {
        self.dir.join("failed-flush")
    }

    pub(super) fn shipped(&self) -> PathBuf {
        self.dir.join("shipped")
    }

    pub(super) fn key(&self, month: YearMonth) -> PathBuf {
        self.dir.join("keys").join(format!("{month}.key"))
    }

    pub(super) fn salt(&self, month: YearMonth) -> PathBuf {
        self.dir.join("keys").join(format!("{month}.salt"))
    }

    pub(super) fn signing_key(&self) -> PathBuf {
        self.dir.join("signing.key")
    }

    pub(super) fn signing_pub(&self) -> PathBuf {
        self.dir.join("signing.pub")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    pub(super) fn spare(&self) -> PathBuf {
        self.log().join("spare")
    }

    pub(super) fn month(&self, month: YearMonth) -> PathBuf {
        self.log().join(month.to_string())
    }

    pub(super) fn segment(&self, month: YearMonth, first: u64) -> PathBuf {
        self.month(month).join(format!("{first:020}.wal"))
    }

    pub(super) fn checkpoint(&self, month: YearMonth) -> PathBuf {
        self.month(month).join("checkpoint")
    }

    pub(super) fn vkey(&self, month: YearMonth) -> PathBuf {
        self.month(month).join("vkey")
    }

    pub(super) fn checked(&self, month: YearMonth) -> PathBuf {
        self.month(month).join("tiles")
    }

    pub(super) fn trimmed(&self, month: YearMonth) -> PathBuf {
        self.month(month).join("trimmed")
    }

    /// The months that have a segment, in order.
    pub(super) fn months(&self) -> Result<Vec<YearMonth>, Cause> {
        let mut months = Vec::new();
        for name in names(&self.log())? {
            if let Ok(month) = name.parse()
                && !self.segments(month)?.is_empty()
            {
                months.push(month);
            }
        }
        months.sort_unstable();
        Ok(months)
    }

    /// A month's segments in order.
    pub(super) fn segments(&self, month: YearMonth) -> Result<Vec<SegmentPath>, Cause> {
        let dir = self.month(month);
        let mut segments: Vec<SegmentPath> = names(&dir)?
            .into_iter()
            .filter_map(|name| {
                let digits = name.strip_suffix(".wal").filter(|digits| digits.len() == 20)?;
                Some(SegmentPath { first: digits.parse().ok()?, path: dir.join(&name) })
            })
            .collect();
        segments.sort_unstable_by_key(|segment| segment.first);
        Ok(segments)
    }
}

/// The names in a folder; none if there is no folder.
fn names(dir: &Path) -> Result<Vec<String>, Cause> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.at("list", dir)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry.at("list", dir)?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

/// Makes a folder and those above it, each on the device with its name before it is used.
pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_dir(parent)?;
    }
    match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    sync_parent(dir)
}

/// Puts the names in a folder on the device.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Puts a path's name in its folder on the device.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => sync_dir(Path::new(".")),
    }
}

/// Replaces a file as a whole: whoever opens the path sees the old bytes or the new ones, after a power loss too.
pub(super) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut temporary = path.to_owned().into_os_string();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_parent(path)
}

/// The bytes of a small file; nothing if there is no such file.
pub(super) fn read_small(path: &Path) -> io::Result<Option<Vec<u8>>> {
    const BYTES_MAX: u64 = 64 * 1024;
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}
