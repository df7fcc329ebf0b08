//! The log as the other rooms see it: months, appending, waiting for the device, health, the end.

use std::cell::Cell;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread::{self, JoinHandle, Thread};

use arc_swap::ArcSwap;
use prost::Message;

use super::config::{Config, Stage};
use super::failed_flush::Note;
use super::files::{At, Cause, Layout, make_dir, sync_dir};
use super::flush;
use super::format::PAYLOAD_BYTES_MAX;
use super::id::{EvidenceId, Instance, YearMonth};
use super::keys::{Month, Owner, SharedSecret};
use super::open::{self, Environment, OpenError, Opened};
use super::poison::{Poison, Unavailable};
use super::recover::Lost;
use super::ship::{self, Outlet, Shipping};
use super::tree::{self, Signer, Span};
use super::writer::{Pending, Writer};
use crate::clock::Clock;
use crate::domain::Time;
use crate::proto::v1::EvidenceRecord;

/// The evidence log; clones share it. Everything but [`settled`](Self::settled) is synchronous and takes microseconds.
#[derive(Debug, Clone)]
pub struct EvidenceLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    threads: Mutex<Threads>,
    /// Held for as long as the log may write; the kernel lets go of it with the process.
    _lock: Option<std::fs::File>,
}

/// What the log's threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) layout: Layout,
    /// The running kernel's boot id; nothing where the kernel does not tell it.
    pub(super) boot_id: Option<String>,
    pub(super) poison: Poison,
    pub(super) stopping: AtomicU8,
    /// The sequence up to which everything is on the device.
    pub(super) synced: AtomicU64,
    pub(super) checkpoint_size: AtomicU64,
    /// Nothing in a log that could not be opened.
    pub(super) core: Option<Core>,
    /// Nothing where evidence is not shipped.
    outlet: Option<Arc<Outlet>>,
}

/// The parts that only a log that was opened has.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) instance: Instance,
    pub(super) writer: Mutex<Writer>,
    pub(super) pending: Mutex<Pending>,
    month: ArcSwap<Month>,
    /// Held by whoever begins a month.
    beginning: Mutex<()>,
    /// The sequence at the start of this process.
    started_at: u64,
    lost: Lost,
    /// Wakes the thread that flushes.
    flusher: OnceLock<Thread>,
    pub(super) signer: Signer,
    secret: Option<SharedSecret>,
    counts: Counts,
    /// The months of this process, for the thread that builds their trees.
    spans: Mutex<Vec<Span>>,
    /// The month whose tree is built, and how many of its records are in it and signed. Those before it are finished.
    built: Mutex<Option<(YearMonth, u64)>>,
}

/// What [`EvidenceLog::health`] tells, so that it never waits for a write, nor a write for it. Stored under the locks.
#[derive(Debug, Default)]
struct Counts {
    appended: AtomicU64,
    written: AtomicU64,
    bytes: AtomicU64,
    segments: AtomicU64,
}

impl Counts {
    fn note(&self, writer: &Writer) {
        self.written.store(writer.written, Ordering::Relaxed);
        self.bytes.store(writer.bytes, Ordering::Relaxed);
        self.segments.store(writer.segments, Ordering::Relaxed);
    }
}

/// The values of [`Shared::stopping`].
pub(super) const RUNNING: u8 = 0;
/// Stop at once; what is written stays written.
pub(super) const ABANDONED: u8 = 1;
/// Flush, sign, then stop.
pub(super) const CLOSING: u8 = 2;
/// Everything is flushed; sign, then stop.
pub(super) const FLUSHED: u8 = 3;
/// Everything is signed; ship, then stop.
pub(super) const SIGNED: u8 = 4;

/// A record's place in the log. It is in the kernel; [`EvidenceLog::settled`] waits for the configured stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    instance: Instance,
    month: YearMonth,
    index: u64,
    sequence: u64,
}

impl Receipt {
    /// The record's index in its month, from 0.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// The record's name.
    #[must_use]
    pub const fn id(&self) -> EvidenceId {
        EvidenceId { instance: self.instance, month: self.month, index: self.index, question: None }
    }
}

/// Why a record was not appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The month has ended since its tags were made: fetch the month again and make them anew.
    #[error("the month {0} has ended")]
    MonthEnded(YearMonth),
    /// The record is longer than a frame may be.
    #[error("a record of {0} bytes is longer than {PAYLOAD_BYTES_MAX} bytes")]
    TooLong(usize),
    /// Too much waits to be shipped, or must not be; [`Health::withheld`] says which.
    #[error("no evidence is taken until what is here was shipped")]
    Withheld,
    /// Evidence cannot be written.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The log's state at a moment, for readiness and metrics. The counts are of this process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// Why no evidence can be written, if so.
    pub poisoned: Option<String>,
    /// Why none is taken although it could be written, if so; takes itself back when enough was shipped.
    pub withheld: Option<String>,
    /// Records that were given a place.
    pub appended: u64,
    /// Records in the kernel.
    pub written: u64,
    /// Records on the device.
    pub synced: u64,
    /// Bytes of frames written.
    pub bytes: u64,
    /// Segments of the current month, and those begun since the start.
    pub segments: u64,
    /// How many records the month's last signed checkpoint covers.
    pub checkpoint_size: u64,
    /// What a power loss had taken when the log was opened.
    pub lost: Lost,
}

thread_local! {
    /// Where records are encoded, outside the locks.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}
/// A thread keeps at most this much of its scratch buffer.
const SCRATCH_BYTES_KEPT: usize = 256 * 1024;

impl EvidenceLog {
    /// Opens the log in a directory, recovering what a process that ended before left there.
    ///
    /// A log that is corrupt, unreadable or cannot be written opens all the same, poisoned with its cause: the service
    /// starts, denies and says why, instead of starting over and over.
    ///
    /// # Errors
    /// If the directory cannot be made, or another process writes to it.
    pub fn open(config: Config, clock: &Clock) -> Result<Self, OpenError> {
        Self::open_in(config, clock, Environment::real())
    }

    pub(super) fn open_in(config: Config, clock: &Clock, environment: Environment) -> Result<Self, OpenError> {
        let layout = Layout::new(&config.dir);
        let boot_id = environment.boot_id.clone();
        let lock = open::lock(&layout)?;
        let opened = lock.and_then(|lock| {
            let opened = open::open(&layout, &config, YearMonth::of(clock.now()), environment)?;
            let prepare = |config| ship::prepare(&layout, config, &opened.shipping_start());
            let departure = config.ship.as_ref().map(prepare).transpose()?;
            Ok((lock, opened, departure))
        });
        let (lock, core, departure, cause) = match opened {
            Ok((lock, opened, departure)) => (Some(lock), Some(opened), departure, None),
            Err(cause) => (None, None, None, Some(cause)),
        };
        let checkpoint_size = core.as_ref().map_or(0, |opened| opened.checkpoint_size);
        let core = core.map(Core::new);
        let sequence = core.as_ref().map_or(0, |core| core.started_at);
        let note = Note::new(&layout, boot_id.as_deref());
        let shared = Arc::new(Shared {
            config,
            clock: clock.clone(),
            layout,
            boot_id,
            poison: Poison::new(sequence, note),
            stopping: AtomicU8::new(RUNNING),
            synced: AtomicU64::new(sequence),
            checkpoint_size: AtomicU64::new(checkpoint_size),
            core,
            outlet: departure.as_ref().map(|departure| Arc::clone(&departure.outlet)),
        });
        if let Some(cause) = cause {
            shared.poison.set(&cause);
        }
        let threads = Mutex::new(Threads::start(&shared, departure));
        Ok(Self(Arc::new(Inner { shared, threads, _lock: lock })))
    }

    /// The month that evidence of this moment belongs to, begun if need be. It never goes back, even if time does.
    ///
    /// # Errors
    /// If the log is poisoned, or the month cannot be begun.
    pub fn month(&self, now: Time) -> Result<Arc<Month>, Unavailable> {
        let core = self.core()?;
        let current = core.month.load();
        if now < current.ends() {
            return Ok(Arc::clone(&current));
        }
        let _beginning = self.0.shared.poison.lock(&core.beginning)?;
        let current = core.month.load_full();
        let id = YearMonth::of(now);
        if id <= current.id() {
            return Ok(current);
        }
        self.0.shared.begin_month(core, id)
    }

    /// Appends a record and writes it. When this returns a receipt, the kernel has the record.
    ///
    /// # Errors
    /// If the month has ended, if the record is longer than a frame may be, if too much waits to be shipped, or if the log
    /// is poisoned or closed. A record
    /// that was refused may still be found in the log later, but never one missing that was not.
    pub fn append(&self, month: &Month, record: &EvidenceRecord) -> Result<Receipt, AppendError> {
        let mut payload = SCRATCH.take();
        payload.clear();
        record.encode_raw(&mut payload);
        let appended = self.append_payload(month.id(), &payload);
        if payload.capacity() <= SCRATCH_BYTES_KEPT {
            SCRATCH.set(payload);
        }
        appended
    }

    fn append_payload(&self, month: YearMonth, payload: &[u8]) -> Result<Receipt, AppendError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(AppendError::TooLong(payload.len()));
        }
        let core = self.core()?;
        let shared = &*self.0.shared;
        if shared.outlet.as_ref().is_some_and(|outlet| !outlet.admits(core.written_bytes())) {
            return Err(AppendError::Withheld);
        }
        let place = |pending: &mut Pending| -> Result<(u64, u64), AppendError> {
            if pending.closed {
                return Err(Unavailable::new(&Cause::new("the log is closed")).into());
            }
            if pending.month != month {
                return Err(AppendError::MonthEnded(month));
            }
            let placed = pending.push(payload, shared.synced.load(Ordering::Relaxed));
            core.counts.appended.store(placed.1, Ordering::Relaxed);
            Ok(placed)
        };
        // A lock whose holder panicked is found out about below, where it is waited for.
        let (index, sequence) = if let Ok(mut writer) = core.writer.try_lock() {
            let mut pending = shared.poison.lock(&core.pending)?;
            let placed = place(&mut pending)?;
            shared.write(core, &mut writer, pending)?;
            placed
        } else {
            let placed = place(&mut *shared.poison.lock(&core.pending)?)?;
            let mut writer = shared.poison.lock(&core.writer)?;
            if writer.written < placed.1 {
                let pending = shared.poison.lock(&core.pending)?;
                shared.write(core, &mut writer, pending)?;
            }
            placed
        };
        Ok(Receipt { instance: core.instance, month, index, sequence })
    }

    /// Waits until a record has reached the configured stage; for `written` it has.
    ///
    /// # Errors
    /// If the log was poisoned or dropped before.
    ///
    /// # Cancel safety
    /// Nothing is lost; the record goes on its way.
    pub async fn settled(&self, receipt: &Receipt) -> Result<(), Unavailable> {
        let shared = &*self.0.shared;
        if shared.config.stage == Stage::Written || shared.synced.load(Ordering::Acquire) >= receipt.sequence {
            return Ok(());
        }
        let mut progress = shared.poison.progress.subscribe();
        loop {
            if *progress.borrow_and_update() >= receipt.sequence {
                return Ok(());
            }
            shared.poison.check()?;
            if progress.changed().await.is_err() {
                return Err(Unavailable::new(&Cause::new("the log is gone")));
            }
        }
    }

    /// The log's state now.
    #[must_use]
    pub fn health(&self) -> Health {
        let shared = &*self.0.shared;
        let mut health = Health {
            poisoned: shared.poison.cause().map(|unavailable| unavailable.cause().to_owned()),
            checkpoint_size: shared.checkpoint_size.load(Ordering::Relaxed),
            ..Health::default()
        };
        if let Some(core) = &shared.core {
            health.lost = core.lost;
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            health.synced = count(&shared.synced).saturating_sub(core.started_at);
            health.written = count(&core.counts.written).saturating_sub(core.started_at);
            health.appended = count(&core.counts.appended).saturating_sub(core.started_at);
            health.bytes = count(&core.counts.bytes);
            health.segments = count(&core.counts.segments);
        }
        health.withheld = self.shipping().and_then(|shipping| shipping.withheld);
        health
    }

    /// How shipping stands now; nothing where evidence is not shipped.
    #[must_use]
    pub fn shipping(&self) -> Option<Shipping> {
        let shared = &*self.0.shared;
        let (outlet, core) = shared.outlet.as_ref().zip(shared.core.as_ref())?;
        Some(outlet.shown(core.written_bytes(), shared.clock.now()))
    }

    /// The name of this evidence directory; nothing if the log could not be opened.
    #[must_use]
    pub fn instance(&self) -> Option<Instance> {
        self.0.shared.core.as_ref().map(|core| core.instance)
    }

    /// Ends the log in order: no record is taken any more, those written reach the device, a last checkpoint is signed,
    /// and what waits is shipped if the server takes it within 5 s. Blocks until that is done; doing it twice does
    /// nothing.
    ///
    /// # Errors
    /// If the log is poisoned, or became so.
    pub fn close(&self) -> Result<(), Unavailable> {
        let shared = &*self.0.shared;
        if let Some(core) = &shared.core {
            shared.poison.lock(&core.pending)?.closed = true;
        }
        self.0.stop(CLOSING);
        shared.poison.check()
    }

    pub(super) fn core(&self) -> Result<&Core, Unavailable> {
        let shared = &self.0.shared;
        shared.poison.check()?;
        shared.core.as_ref().ok_or_else(|| shared.poison.set(&Cause::new("the log was never opened")))
    }
}

impl Inner {
    fn stop(&self, how: u8) {
        // The first to stop it decides how.
        let _ = self.shared.stopping.compare_exchange(RUNNING, how, Ordering::SeqCst, Ordering::SeqCst);
        let Ok(mut threads) = self.threads.lock() else { return };
        end(threads.flush.take());
        let _ = self.shared.stopping.compare_exchange(CLOSING, FLUSHED, Ordering::SeqCst, Ordering::SeqCst);
        end(threads.tree.take());
        let _ = self.shared.stopping.compare_exchange(FLUSHED, SIGNED, Ordering::SeqCst, Ordering::SeqCst);
        end(threads.ship.take());
    }
}

/// The log's threads, which end in the order of the fields.
#[derive(Debug, Default)]
struct Threads {
    flush: Option<JoinHandle<()>>,
    tree: Option<JoinHandle<()>>,
    ship: Option<JoinHandle<()>>,
}

impl Threads {
    /// Starts the threads; none for a log that could not be opened.
    fn start(shared: &Arc<Shared>, departure: Option<ship::Departure>) -> Self {
        let Some(core) = &shared.core else { return Self::default() };
        let start = |name: &str, run: Box<dyn FnOnce(&Shared) + Send>| {
            let own = Arc::clone(shared);
            let started = thread::Builder::new().name(name.to_owned()).spawn(move || run(&own));
            started
                .map_err(|error| shared.poison.set(&Cause::new(format!("cannot start the thread `{name}`: {error}"))))
                .ok()
        };
        let flush = start("evidence-flush", Box::new(flush::run));
        if let Some(flush) = &flush {
            let _ = core.flusher.set(flush.thread().clone());
        }
        let tree = start("evidence-tree", Box::new(tree::run));
        let ship = departure.and_then(|departure| {
            start("evidence-ship", Box::new(move |shared: &Shared| ship::run(shared, departure)))
        });
        Self { flush, tree, ship }
    }
}

fn end(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread {
        thread.thread().unpark();
        // A thread that panicked has nothing more to say here; the log's locks remember.
        let _ = thread.join();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop(ABANDONED);
    }
}

impl Core {
    fn new(opened: Opened) -> Self {
        let span = Span { month: opened.pending.month, base: opened.pending.base, end: None };
        let counts = Counts::default();
        counts.note(&opened.writer);
        counts.appended.store(opened.pending.sequence, Ordering::Relaxed);
        Self {
            instance: opened.writer.instance,
            started_at: opened.pending.sequence,
            writer: Mutex::new(opened.writer),
            pending: Mutex::new(opened.pending),
            month: ArcSwap::from_pointee(opened.month),
            beginning: Mutex::new(()),
            lost: opened.lost,
            flusher: OnceLock::new(),
            signer: opened.signer,
            secret: opened.secret,
            counts,
            spans: Mutex::new(vec![span]),
            built: Mutex::new(None),
        }
    }

    pub(super) fn wake_flusher(&self) {
        if let Some(thread) = self.flusher.get() {
            thread.unpark();
        }
    }

    /// Bytes of frames that were written since the log was opened.
    pub(super) fn written_bytes(&self) -> u64 {
        self.counts.bytes.load(Ordering::Relaxed)
    }

    /// The n-th month of this process.
    pub(super) fn span(&self, number: usize) -> Result<Option<Span>, Cause> {
        let spans = self.spans.lock().map_err(|_| Cause::new("a thread panicked while it began a month"))?;
        Ok(spans.get(number).copied())
    }

    /// The tree of a month has come so far, and needs no record before that any more.
    pub(super) fn set_built(&self, month: YearMonth, size: u64) -> Result<(), Cause> {
        *self.built.lock().map_err(|_| Cause::new("a thread panicked while it noted how far the tree is"))? =
            Some((month, size));
        Ok(())
    }

    /// How many records of a month the tree needs no more.
    pub(super) fn built(&self, month: YearMonth) -> u64 {
        match self.built.lock().ok().and_then(|built| *built) {
            Some((current, _)) if month < current => u64::MAX,
            Some((current, size)) if month == current => size,
            _ => 0,
        }
    }
}

impl Shared {
    /// Writes all that waits.
    fn write(&self, core: &Core, writer: &mut Writer, mut pending: MutexGuard<'_, Pending>) -> Result<(), Unavailable> {
        // Looked at under the writer's lock: after a failed write none follows.
        self.poison.check()?;
        let group = pending.take(std::mem::take(&mut writer.buffer));
        let base = pending.base;
        // The next group gathers meanwhile.
        drop(pending);
        let synced = self.synced.load(Ordering::Relaxed).saturating_sub(base);
        writer.write(group, synced).map_err(|cause| self.poison.set(&cause))?;
        core.counts.note(writer);
        if self.config.stage == Stage::Synced || writer.wants_spare() {
            core.wake_flusher();
        }
        Ok(())
    }

    /// Begins a month: what waits goes to the old one, then everybody finds the new one.
    fn begin_month(&self, core: &Core, id: YearMonth) -> Result<Arc<Month>, Unavailable> {
        let begin = || -> Result<Month, Cause> {
            let (instance, signer, secret) = (core.instance, &core.signer, core.secret.as_ref());
            let month = Owner { layout: &self.layout, instance, signer, secret }.month(id)?;
            let folder = self.layout.month(id);
            make_dir(&folder).at("make", &folder)?;
            Ok(month)
        };
        let month = Arc::new(begin().map_err(|cause| self.poison.set(&cause))?);
        let mut writer = self.poison.lock(&core.writer)?;
        let mut pending = self.poison.lock(&core.pending)?;
        self.poison.check()?;
        let buffer = std::mem::take(&mut writer.buffer);
        let group = pending.take(buffer);
        let synced = self.synced.load(Ordering::Relaxed).saturating_sub(pending.base);
        let folder = self.layout.month(id);
        writer
            .write(group, synced)
            .and_then(|()| writer.follow(id, 0, pending.chain, 0))
            // On the device at once, so that recovery may rely on a month's first head.
            .and_then(|()| writer.segment.device.sync().at_flush(&writer.segment.path))
            .and_then(|()| sync_dir(&folder).at_flush(&folder))
            .map_err(|cause| self.poison.set(&cause))?;
        core.counts.note(&writer);
        let mut spans = self.poison.lock(&core.spans)?;
        if let Some(last) = spans.last_mut() {
            last.end = Some(pending.sequence);
        }
        spans.push(Span { month: id, base: pending.sequence, end: None });
        pending.begin(id);
        core.month.store(Arc::clone(&month));
        Ok(month)
    }
}
