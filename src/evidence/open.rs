//! Opening a directory for writing: the lock, the keys, recovery, the month to go on with.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::FlockOperation;

use super::checkpoint::Checkpoint;
use super::config::{Config, SEGMENT_BYTES_MIN};
use super::device::Faults;
use super::failed_flush::Note;
use super::files::{At, Cause, Layout, make_dir, read_small, replace, sync_dir};
use super::format::{CHAIN_START, Head};
use super::id::YearMonth;
use super::keys::{self, Month, Owner, SharedSecret};
use super::recover::{Known, Lost, Recovered, recover};
use super::ship::Start;
use super::tree::Signer;
use super::trimmed::{Trimmed, remove_segments};
use super::writer::{Next, Pending, Segment, Unsynced, Writer};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Why the service must not start on a directory.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made.
    #[error("cannot make the evidence directory `{}`", .path.display())]
    Create {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process writes to it.
    #[error("another process writes to the evidence directory `{}`", .path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
}

/// What a log runs in, apart from its directory.
#[derive(Debug, Clone, Default)]
pub(super) struct Environment {
    /// The running kernel's boot id; nothing where the kernel does not tell it.
    pub(super) boot_id: Option<String>,
    pub(super) faults: Faults,
}

impl Environment {
    pub(super) fn real() -> Self {
        let boot_id = fs::read_to_string(BOOT_ID).ok().map(|text| text.trim().to_owned());
        Self { boot_id, faults: Faults::default() }
    }
}

/// A log that can be written to.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) writer: Writer,
    pub(super) pending: Pending,
    pub(super) month: Month,
    pub(super) lost: Lost,
    pub(super) checkpoint_size: u64,
    pub(super) signer: Signer,
    pub(super) secret: Option<SharedSecret>,
}

impl Opened {
    /// Where shipping begins to count.
    pub(super) fn shipping_start(&self) -> Start {
        let Writer { instance, month, segment, .. } = &self.writer;
        let first = segment.path.file_stem().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        // INVARIANT: a segment is named by its first index.
        Start { instance: *instance, live: (*month, first.unwrap_or(0), segment.offset) }
    }
}

/// Makes the directory and takes its lock. Only a lock that somebody else holds is a reason not to start.
pub(super) fn lock(layout: &Layout) -> Result<Result<File, Cause>, OpenError> {
    let dir = layout.dir();
    make_dir(dir).map_err(|source| OpenError::Create { path: dir.to_owned(), source })?;
    let path = layout.lock();
    let file = match OpenOptions::new().write(true).create(true).truncate(false).open(&path).at("open", &path) {
        Ok(file) => file,
        Err(cause) => return Ok(Err(cause)),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Ok(file)),
        Err(error) if error == rustix::io::Errno::WOULDBLOCK => Err(OpenError::Locked { path: dir.to_owned() }),
        Err(error) => Ok(Err(error).at("lock", &path)),
    }
}

/// Opens the log in a locked directory; a month later than any in it is begun.
pub(super) fn open(
    layout: &Layout,
    config: &Config,
    now: YearMonth,
    environment: Environment,
) -> Result<Opened, Cause> {
    let Environment { boot_id, faults } = environment;
    Note::new(layout, boot_id.as_deref()).check()?;
    let segment_bytes = config.segment_bytes.max(SEGMENT_BYTES_MIN);
    let log = layout.log();
    make_dir(&log).at("make", &log)?;
    for leftover in [layout.spare(), layout.spare().with_extension("now")] {
        if leftover.exists() {
            fs::remove_file(&leftover).at("remove", &leftover)?;
        }
    }
    let instance = keys::load_or_make_instance(layout)?;
    let signer = Signer::new(keys::load_or_make_signing(layout)?);
    let secret = config.key_file.as_deref().map(SharedSecret::load).transpose()?;
    let boot = Boot::load(layout)?;
    let last = layout.months()?.last().copied();
    let (mut recovered, mut covered) = (None, 0);
    if let Some(month) = last {
        // A checkpoint covers only what was on the device.
        covered = Checkpoint::load(layout, instance, month, signer.public())?.map_or(0, |checkpoint| checkpoint.size);
        let marked = boot.as_ref().filter(|boot| boot.month == month).map_or(0, |boot| boot.count);
        let trimmed = Trimmed::load(layout, month)?;
        if let Some(trimmed) = &trimmed {
            // Left over where the end of the process, or a power loss, cut a removal short.
            remove_segments(layout, month, trimmed.index())?;
        }
        let known = Known {
            instance,
            month,
            on_device: marked.max(covered),
            rebooted: matches!((&boot, &boot_id), (Some(then), Some(now)) if then.id != *now),
            kept_from: trimmed.map(|trimmed| (trimmed.index(), trimmed.chain)),
        };
        recovered = Some(recover(layout, &known, segment_bytes, &faults)?);
    }
    if let Some(boot) = boot.filter(|boot| last.is_none_or(|last| last < boot.month)) {
        return Err(Cause::new(format!("the log of {} is missing, which was opened before", boot.month)));
    }
    let id = last.map_or(now, |last| last.max(now));
    if last == Some(id) && !layout.key(id).exists() && !layout.salt(id).exists() {
        tracing::warn!(month = %id, "the current month's key was destroyed; what it holds so far is anonymous from now on");
    }
    let month = Owner { layout, instance, signer: &signer, secret: secret.as_ref() }.month(id)?;
    let (cursor, taken) = recovered.as_ref().map_or((None, Lost::default()), |found| (Some(found.cursor), found.lost));
    let chain = cursor.map_or(CHAIN_START, |cursor| cursor.chain);
    let next = if last == Some(id) { cursor.map_or(0, |cursor| cursor.index) } else { 0 };
    let (segment, segments) = match recovered {
        Some(found) if last == Some(id) => into_segment(found),
        _ => {
            if let Some(found) = recovered {
                found.device.cut(found.offset).at("cut", &found.path)?;
            }
            let folder = layout.month(id);
            make_dir(&folder).at("make", &folder)?;
            let head = Head { instance, month: id, first: 0, synced: 0, chain };
            let made = Next::make(layout.spare().with_extension("now"), segment_bytes, &faults)?;
            let segment = made.name(layout, &head, segment_bytes)?;
            segment.device.sync().at_flush(&segment.path)?;
            sync_dir(&folder).at_flush(&folder)?;
            (segment, 1)
        }
    };
    if let Some(id_now) = boot_id {
        Boot { id: id_now, month: id, count: next }.store(layout)?;
    }
    let writer = Writer {
        layout: layout.clone(),
        instance,
        segment_bytes,
        faults,
        month: id,
        segment,
        spare: None,
        buffer: Vec::new(),
        written: next,
        unsynced: Unsynced::default(),
        segments,
        bytes: 0,
    };
    let checkpoint_size = if last == Some(id) { covered } else { 0 };
    let pending = Pending::new(id, next, chain, next, 0);
    Ok(Opened { writer, pending, month, lost: taken, checkpoint_size, signer, secret })
}

fn into_segment(found: Recovered) -> (Segment, u64) {
    let Recovered { device, path, offset, capacity, segments, .. } = found;
    (Segment { device: Arc::new(device), path, offset, capacity }, segments)
}

/// The file `boot`.
#[derive(Debug)]
struct Boot {
    id: String,
    month: YearMonth,
    count: u64,
}

impl Boot {
    fn load(layout: &Layout) -> Result<Option<Self>, Cause> {
        let path = layout.boot();
        let Some(bytes) = read_small(&path).at("read", &path)? else { return Ok(None) };
        let read = || {
            let text = std::str::from_utf8(&bytes).ok()?;
            let mut words = text.split_ascii_whitespace();
            let boot = Self {
                id: words.next()?.to_owned(),
                month: words.next()?.parse().ok()?,
                count: words.next()?.parse().ok()?,
            };
            words.next().is_none().then_some(boot)
        };
        let malformed = || Cause::new(format!("`{}` is not a boot id, a month and a count", path.display()));
        read().map(Some).ok_or_else(malformed)
    }

    fn store(&self, layout: &Layout) -> Result<(), Cause> {
        let path = layout.boot();
        replace(&path, format!("{} {} {}\n", self.id, self.month, self.count).as_bytes(), 0o644).at("write", &path)
    }
}
