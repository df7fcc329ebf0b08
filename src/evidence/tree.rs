//! The thread that extends each month's tree with records on the device, and signs its head.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use ring::signature::{Ed25519KeyPair, KeyPair};

use super::checkpoint::{Checkpoint, origin, vkey};
use super::entries::Entries;
use super::files::{At, Cause, Layout, replace};
use super::id::{Instance, YearMonth};
use super::levels::Levels;
use super::log::{ABANDONED, Core, FLUSHED, RUNNING, Shared};
use super::mend::{Checked, mend};
use super::note;
use super::tiles::Edge;
use super::trimmed::Trimmed;

/// Records added in one go, about a millisecond's work, and the pause after it. The tree shares its core with the
/// answers, which must not wait for it; together the two allow 200,000 records a second.
const SLICE: u64 = 1024;
const PAUSE: Duration = Duration::from_millis(4);
/// With more records than this to add, the tree goes on without a pause: the log outruns it.
const BACKLOG_MAX: u64 = 2_000_000;
/// The thread's nice value: anything that answers goes first.
#[cfg(target_os = "linux")]
pub(super) const NICE: i32 = 10;

/// Where a month lies in the count of records that goes on over the months.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) month: YearMonth,
    /// The sequence before its first record.
    pub(super) base: u64,
    /// The sequence at its last record, once it has ended.
    pub(super) end: Option<u64>,
}

/// Who signs.
#[derive(Debug)]
pub(super) struct Signer {
    pair: Ed25519KeyPair,
    public: [u8; 32],
}

impl Signer {
    pub(super) fn new(pair: Ed25519KeyPair) -> Self {
        // INVARIANT: an Ed25519 public key has 32 bytes.
        let public = pair.public_key().as_ref().first_chunk().copied().unwrap_or_default();
        Self { pair, public }
    }

    pub(super) fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// A text that ends with a line feed as a note, signed under a name.
    pub(super) fn note(&self, body: &str, name: &str) -> String {
        note::sign(body, name, &self.pair, &self.public)
    }
}

/// A month's tree as far as it is built.
#[derive(Debug)]
struct Tree<'a> {
    layout: &'a Layout,
    signer: &'a Signer,
    instance: Instance,
    month: YearMonth,
    edge: Edge,
    entries: Entries<'a>,
    /// Whether tiles were missing, so that all are made again.
    rebuilding: bool,
    /// The last checkpoint signed.
    signed: Option<Checkpoint>,
}

/// The thread.
pub(super) fn run(shared: &Shared) {
    let Some(core) = &shared.core else { return };
    // On Linux a thread has a priority of its own, elsewhere this would be the whole process's. It may be refused.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, NICE);
    if let Err(cause) = build(shared, core) {
        shared.poison.set(&cause);
    }
}

fn build(shared: &Shared, core: &Core) -> Result<(), Cause> {
    finish_earlier(shared, core)?;
    let mut number = 0;
    let mut tree: Option<Tree<'_>> = None;
    loop {
        let stopping = shared.stopping.load(Ordering::SeqCst);
        if stopping == ABANDONED || shared.poison.check().is_err() {
            return Ok(());
        }
        // Before the span: if a later month's record is counted here, the span that is read next knows its end.
        let synced = shared.synced.load(Ordering::Acquire);
        let Some(span) = core.span(number)? else { return Ok(()) };
        let mut open = match tree.take() {
            Some(open) => open,
            None => Tree::resume(shared, &core.signer, core.instance, span.month)?,
        };
        let target = synced.min(span.end.unwrap_or(u64::MAX)).saturating_sub(span.base);
        if !open.extend(target, shared)? {
            return Ok(());
        }
        open.sign()?;
        shared.checkpoint_size.store(open.signed.map_or(0, |signed| signed.size), Ordering::Relaxed);
        core.set_built(span.month, open.edge.size())?;
        if span.end.is_some_and(|end| end <= synced) {
            number += 1;
            continue;
        }
        tree = Some(open);
        if stopping == FLUSHED {
            return Ok(());
        }
        // A pause in between may have taken the wake-up that came with the end: then it is seen here.
        if shared.stopping.load(Ordering::SeqCst) == stopping {
            thread::park_timeout(shared.config.checkpoint_interval);
        }
    }
}

/// Brings the trees of earlier months to their end, where a process ended before it could.
fn finish_earlier(shared: &Shared, core: &Core) -> Result<(), Cause> {
    let Some(first) = core.span(0)? else { return Ok(()) };
    for month in shared.layout.months()?.into_iter().filter(|month| *month < first.month) {
        let finish = || {
            let mut tree = Tree::resume(shared, &core.signer, core.instance, month)?;
            if tree.extend_to_end(shared)? { tree.sign() } else { Ok(()) }
        };
        if let Err(cause) = finish() {
            // Damage to an old month is for `verify` to show; the current one is none the worse for it.
            tracing::error!(%month, %cause, "the tree of an earlier month cannot be finished");
        }
    }
    Ok(())
}

impl<'a> Tree<'a> {
    /// The tree as the last checkpoint left it, its tiles mended if need be, or one to build up to it again: empty, or that of
    /// the records that were removed.
    fn resume(shared: &'a Shared, signer: &'a Signer, instance: Instance, month: YearMonth) -> Result<Self, Cause> {
        let layout = &shared.layout;
        let head = Checkpoint::load(layout, instance, month, &signer.public)?;
        let folder = layout.month(month);
        let removed = Trimmed::load(layout, month)?.map(|trimmed| trimmed.levels);
        let kept_from = removed.as_ref().map_or(0, Levels::size);
        if let Some(removed) = &removed
            && head.is_none_or(|head| head.size < kept_from || head.size == kept_from && head.root != removed.root())
        {
            return Err(Cause::new(format!(
                "the note of what was removed of {month} is not of the log whose checkpoint was signed"
            )));
        }
        let loaded =
            head.and_then(|head| Edge::load(folder.clone(), head.size).filter(|edge| edge.root() == head.root));
        let rebuilding = head.is_some() && loaded.is_none();
        let edge = loaded.unwrap_or_else(|| Edge::after(folder, removed.clone().unwrap_or_default()));
        let mut entries = Entries::new(layout, month, removed);
        let checked = Checked::load(layout, month);
        let from = checked.records.max(kept_from);
        if !checked.in_boot(shared.boot_id.as_deref())
            && mend(&edge, layout, month, from, &mut entries, &mut || pause(shared, 0))?
        {
            checked.store(layout, month, shared.boot_id.as_deref(), edge.size())?;
        }
        let path = layout.vkey(month);
        if !path.exists() {
            let key = vkey(&origin(instance, month), &signer.public);
            replace(&path, format!("{key}\n").as_bytes(), 0o644).at("write", &path)?;
        }
        Ok(Self { layout, signer, instance, month, edge, entries, rebuilding, signed: head })
    }

    /// Adds the records below an index; says whether it got there, or the log is to stop.
    fn extend(&mut self, target: u64, shared: &Shared) -> Result<bool, Cause> {
        while self.edge.size() < target {
            let until = target.min(self.edge.size().saturating_add(SLICE));
            while self.edge.size() < until {
                if !self.add()? {
                    let index = self.edge.size();
                    return Err(Cause::new(format!(
                        "record {index} of {} is on the device and cannot be read",
                        self.month
                    )));
                }
            }
            if !pause(shared, target - until) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Adds all records there are; says whether it got there, or the log is to stop.
    fn extend_to_end(&mut self, shared: &Shared) -> Result<bool, Cause> {
        loop {
            for _ in 0..SLICE {
                if !self.add()? {
                    return Ok(true);
                }
            }
            if !pause(shared, 0) {
                return Ok(false);
            }
        }
    }

    /// Adds the next record; says whether there was one.
    fn add(&mut self) -> Result<bool, Cause> {
        let Some(leaf) = self.entries.leaf(self.edge.size())? else { return Ok(false) };
        self.edge.push(leaf)?;
        if let Some(signed) = self.signed
            && signed.size == self.edge.size()
            && signed.root != self.edge.root()
        {
            return Err(Cause::new(format!(
                "the log of {} is not the one whose checkpoint of {} records was signed",
                self.month, signed.size
            )));
        }
        Ok(true)
    }

    /// Signs the tree's head if it has grown, and if it continues what was signed before.
    fn sign(&mut self) -> Result<(), Cause> {
        let before = Checkpoint::load(self.layout, self.instance, self.month, &self.signer.public)?;
        let size = self.edge.size();
        if before != self.signed || before.is_some_and(|before| before.size > size) {
            return Err(Cause::new(format!(
                "the checkpoint of {} is not the one that this log signed last",
                self.month
            )));
        }
        let grown = before.map_or(0, |before| before.size) < size;
        if grown || self.rebuilding {
            self.edge.save()?;
            self.rebuilding = false;
        }
        if !grown {
            return Ok(());
        }
        // INVARIANT: this tree continues the one signed before. It was loaded with that root or came by it, and only grew.
        let next = Checkpoint { size, root: self.edge.root() };
        let note = next.sign(&origin(self.instance, self.month), &self.signer.pair, &self.signer.public);
        let path = self.layout.checkpoint(self.month);
        replace(&path, note.as_bytes(), 0o644).at("write", &path)?;
        self.signed = Some(next);
        self.edge.signed()
    }
}

/// Leaves the core to the answers for a moment, unless the log ends or too much is left to do; says whether to go on.
fn pause(shared: &Shared, left: u64) -> bool {
    if shared.stopping.load(Ordering::SeqCst) == RUNNING && left < BACKLOG_MAX {
        thread::park_timeout(PAUSE);
    }
    shared.stopping.load(Ordering::SeqCst) != ABANDONED && shared.poison.check().is_ok()
}
