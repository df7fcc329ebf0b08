//! The thread that extends each month's tree with records on the device, and signs its head.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::thread;

use ring::signature::{Ed25519KeyPair, KeyPair};

use super::checkpoint::{Checkpoint, origin, vkey};
use super::files::{At, Cause, Layout, replace};
use super::format::{HEAD_SPAN, Kind};
use super::id::{Instance, YearMonth};
use super::log::{ABANDONED, Core, FLUSHED, Shared};
use super::merkle::{is_consistent, leaf_hash, prove_consistency};
use super::scan::Window;
use super::tiles::{Edge, Tiles};

/// Records read between two looks at whether the log ends.
const BATCH: u64 = 8192;

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
        let Some(span) = core.span(number)? else { return Ok(()) };
        let mut open = match tree.take() {
            Some(open) => open,
            None => Tree::resume(&shared.layout, &core.signer, core.instance, span.month)?,
        };
        let synced = shared.synced.load(Ordering::Acquire);
        let target = synced.min(span.end.unwrap_or(u64::MAX)).saturating_sub(span.base);
        if !open.extend(target, shared)? {
            return Ok(());
        }
        open.sign()?;
        shared.checkpoint_size.store(open.signed.map_or(0, |signed| signed.size), Ordering::Relaxed);
        if span.end.is_some_and(|end| end <= synced) {
            number += 1;
            continue;
        }
        tree = Some(open);
        if stopping == FLUSHED {
            return Ok(());
        }
        thread::park_timeout(shared.config.checkpoint_interval);
    }
}

/// Brings the trees of earlier months to their end, where a process ended before it could.
fn finish_earlier(shared: &Shared, core: &Core) -> Result<(), Cause> {
    let Some(first) = core.span(0)? else { return Ok(()) };
    for month in shared.layout.months()?.into_iter().filter(|month| *month < first.month) {
        let finish = || {
            let mut tree = Tree::resume(&shared.layout, &core.signer, core.instance, month)?;
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
    /// The tree as the last checkpoint left it, or an empty one to build up to it again.
    fn resume(layout: &'a Layout, signer: &'a Signer, instance: Instance, month: YearMonth) -> Result<Self, Cause> {
        let head = Checkpoint::load(layout, instance, month, &signer.public)?;
        let folder = layout.month(month);
        let edge = head
            .and_then(|head| Edge::load(folder.clone(), head.size).filter(|edge| edge.root() == head.root))
            .unwrap_or_else(|| Edge::new(folder));
        let rebuilding = head.is_some() && edge.size() == 0;
        let entries = Entries::new(layout, month);
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
            if stops(shared) {
                return Ok(false);
            }
            let until = target.min(self.edge.size().saturating_add(BATCH));
            while self.edge.size() < until {
                if !self.add()? {
                    let index = self.edge.size();
                    return Err(Cause::new(format!(
                        "record {index} of {} is on the device and cannot be read",
                        self.month
                    )));
                }
            }
        }
        Ok(true)
    }

    /// Adds all records there are; says whether it got there, or the log is to stop.
    fn extend_to_end(&mut self, shared: &Shared) -> Result<bool, Cause> {
        while !stops(shared) {
            for _ in 0..BATCH {
                if !self.add()? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
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
        let next = Checkpoint { size, root: self.edge.root() };
        if let Some(before) = before {
            let mut tiles = Tiles::new(self.layout.month(self.month), size);
            let proof = prove_consistency(&mut tiles, before.size, size)?;
            if !is_consistent((before.size, before.root), (next.size, next.root), &proof) {
                return Err(Cause::new(format!(
                    "the tree of {} with {size} records does not continue the one with {}",
                    self.month, before.size
                )));
            }
        }
        let note = next.sign(&origin(self.instance, self.month), &self.signer.pair, &self.signer.public);
        let path = self.layout.checkpoint(self.month);
        replace(&path, note.as_bytes(), 0o644).at("write", &path)?;
        self.signed = Some(next);
        Ok(())
    }
}

fn stops(shared: &Shared) -> bool {
    shared.stopping.load(Ordering::SeqCst) == ABANDONED || shared.poison.check().is_err()
}

/// A month's records as leaves, in order, read from the segments.
#[derive(Debug)]
struct Entries<'a> {
    layout: &'a Layout,
    month: YearMonth,
    /// The segment, where the next record begins, and its index.
    place: Option<(PathBuf, Window, u64, u64)>,
}

impl<'a> Entries<'a> {
    fn new(layout: &'a Layout, month: YearMonth) -> Self {
        Self { layout, month, place: None }
    }

    /// The hash of the record with this index; nothing if it is not there. Cheap for consecutive indices.
    fn leaf(&mut self, index: u64) -> Result<Option<[u8; 32]>, Cause> {
        if self.place.is_none() {
            let segments = self.layout.segments(self.month)?;
            let Some(segment) = segments.into_iter().rev().find(|segment| segment.first <= index) else {
                return Ok(None);
            };
            let window = Window::open(&segment.path).at("open", &segment.path)?;
            self.place = Some((segment.path, window, HEAD_SPAN, segment.first));
        }
        let mut fresh = false;
        loop {
            let Some((path, window, offset, next)) = &mut self.place else { return Ok(None) };
            let found = match window.frame(*offset).at("read", path)? {
                Some(frame) if frame.kind == Kind::Record && frame.index == *next => {
                    Some((frame.span, if *next == index { Some(leaf_hash(frame.payload)) } else { None }))
                }
                _ => None,
            };
            if let Some((span, leaf)) = found {
                *offset += span;
                *next += 1;
                if leaf.is_some() {
                    return Ok(leaf);
                }
            } else if !fresh {
                // What the window holds may have been read before the record was written.
                window.forget();
                fresh = true;
            } else {
                let following = self.layout.segment(self.month, *next);
                if following == *path || !following.exists() {
                    return Ok(None);
                }
                let window = Window::open(&following).at("open", &following)?;
                let first = *next;
                self.place = Some((following, window, HEAD_SPAN, first));
                fresh = false;
            }
        }
    }
}
