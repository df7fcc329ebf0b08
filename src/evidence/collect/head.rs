//! The tree over a month's collected records, built up to each signed head and held against it.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;

use crate::evidence::checkpoint::{Checkpoint, origin, vkey};
use crate::evidence::entries::Entries;
use crate::evidence::files::{At, Cause, Layout, read_small, replace};
use crate::evidence::id::{Instance, YearMonth};
use crate::evidence::merkle::{Hash, leaf_hash, range_root};
use crate::evidence::tiles::{Edge, Tiles};

/// Hashes of records that no signed head covers yet, kept so that the records need not be read again; 32 MiB.
const LEAVES_KEPT: usize = 1 << 20;

/// The tree.
#[derive(Debug)]
pub(super) struct Tree {
    layout: Layout,
    month: YearMonth,
    name: String,
    public: [u8; 32],
    edge: Edge,
    /// The last head that holds.
    signed: Option<Checkpoint>,
    /// The hashes of the records from the tree's end on, as far as they are remembered.
    leaves: VecDeque<Hash>,
    /// A head that covers more than is here.
    waiting: Option<(String, Checkpoint)>,
}

impl Tree {
    /// Opens the tree as the last head left it.
    pub(super) fn open(layout: &Layout, instance: Instance, month: YearMonth, public: [u8; 32]) -> Result<Self, Cause> {
        let name = origin(instance, month);
        let signed = Checkpoint::load(layout, instance, month, &public)?;
        let mut tree = Self {
            layout: layout.clone(),
            month,
            name,
            public,
            edge: Edge::new(layout.month(month)),
            signed,
            leaves: VecDeque::new(),
            waiting: None,
        };
        tree.reset();
        let path = tree.waiting_path();
        let note = read_small(&path).at("read", &path)?.and_then(|bytes| String::from_utf8(bytes).ok());
        tree.waiting = note.and_then(|note| Some((note.clone(), Checkpoint::read(&note, &tree.name, &public)?)));
        let path = layout.vkey(month);
        if !path.exists() {
            let key = vkey(&tree.name, &public);
            replace(&path, format!("{key}\n").as_bytes(), 0o644).at("write", &path)?;
        }
        Ok(tree)
    }

    /// How many records the last head covers.
    pub(super) fn signed(&self) -> u64 {
        self.signed.map_or(0, |head| head.size)
    }

    /// How many records a head covers that waits for them.
    pub(super) fn waits_for(&self) -> Option<u64> {
        self.waiting.as_ref().map(|(_, head)| head.size)
    }

    /// Remembers records that were just written, from an index on.
    pub(super) fn remember(&mut self, first: u64, records: &[Vec<u8>]) {
        let held = u64::try_from(self.leaves.len()).unwrap_or(u64::MAX);
        if self.edge.size().checked_add(held) == Some(first) {
            let room = LEAVES_KEPT.saturating_sub(self.leaves.len());
            self.leaves.extend(records.iter().take(room).map(|record| leaf_hash(record)));
        }
    }

    /// Holds the first `whole` records against a signed head; the sentence says what does not hold.
    pub(super) fn sign(&mut self, note: &str, whole: u64) -> Result<Option<String>, Cause> {
        let Some(head) = Checkpoint::read(note, &self.name, &self.public) else {
            return Ok(Some(format!("the head of {} is not signed by the key that is trusted for it", self.name)));
        };
        if head.size > whole {
            if self.waits_for().is_none_or(|size| size < head.size) {
                let path = self.waiting_path();
                replace(&path, note.as_bytes(), 0o644).at("write", &path)?;
                self.waiting = Some((note.to_owned(), head));
            }
            return Ok(None);
        }
        if head.size < self.edge.size() {
            // The tree is beyond it, and its tiles tell what it was.
            let mut tiles = Tiles::new(self.layout.month(self.month), self.edge.size());
            let root = range_root(&mut tiles, 0, head.size)?;
            return Ok(if root == head.root { None } else { Some(self.differs(&head)) });
        }
        self.extend(head.size)?;
        if self.edge.root() != head.root {
            self.reset();
            return Ok(Some(self.differs(&head)));
        }
        if self.signed != Some(head) {
            self.edge.save()?;
            let path = self.layout.checkpoint(self.month);
            replace(&path, note.as_bytes(), 0o644).at("write", &path)?;
            self.signed = Some(head);
            self.edge.signed()?;
        }
        Ok(None)
    }

    /// Looks again at the head that waited for records.
    pub(super) fn sign_waiting(&mut self, whole: u64) -> Result<Option<String>, Cause> {
        let Some((note, _)) = self.waiting.take_if(|(_, head)| head.size <= whole) else { return Ok(None) };
        let found = self.sign(&note, whole)?;
        let path = self.waiting_path();
        fs::remove_file(&path).at("remove", &path)?;
        Ok(found)
    }

    fn extend(&mut self, size: u64) -> Result<(), Cause> {
        let mut entries = Entries::new(&self.layout, self.month, None);
        while self.edge.size() < size {
            let leaf = match self.leaves.pop_front() {
                Some(leaf) => Some(leaf),
                None => entries.leaf(self.edge.size())?,
            };
            let unreadable = || Cause::new(format!("record {} of {} cannot be read", self.edge.size(), self.name));
            let leaf = leaf.ok_or_else(unreadable)?;
            self.edge.push(leaf)?;
        }
        Ok(())
    }

    /// Goes back to the tree of the last head that holds; from the start where its tiles are not there.
    fn reset(&mut self) {
        let folder = self.layout.month(self.month);
        self.leaves.clear();
        self.edge = self
            .signed
            .and_then(|head| Edge::load(folder.clone(), head.size).filter(|edge| edge.root() == head.root))
            .unwrap_or_else(|| Edge::new(folder));
    }

    fn differs(&self, head: &Checkpoint) -> String {
        format!("the first {} records of {} are not those that its head was signed for", head.size, self.name)
    }

    fn waiting_path(&self) -> PathBuf {
        self.layout.checkpoint(self.month).with_extension("waiting")
    }
}
