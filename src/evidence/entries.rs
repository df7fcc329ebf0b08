//! A month's records as the leaves of its tree, read from the segments.

use std::path::PathBuf;

use super::files::{At, Cause, Layout};
use super::format::{HEAD_SPAN, Kind};
use super::id::YearMonth;
use super::levels::Levels;
use super::merkle::{Hash, Nodes, leaf_hash, node_hash};
use super::scan::Window;

/// How many records are read over before the segments are searched for a later one.
const SKIPPED_MAX: u64 = 65_536;

/// The records of a month, in order.
#[derive(Debug)]
pub(super) struct Entries<'a> {
    layout: &'a Layout,
    month: YearMonth,
    /// The tree of the records that are not kept.
    removed: Option<Levels>,
    /// The segment, where the next record begins, and its index.
    place: Option<(PathBuf, Window, u64, u64)>,
}

impl<'a> Entries<'a> {
    /// The records of a month of which those in the tree `removed` are not kept.
    pub(super) fn new(layout: &'a Layout, month: YearMonth, removed: Option<Levels>) -> Self {
        Self { layout, month, removed, place: None }
    }

    /// The hash of the record with this index; nothing if it is not there. Cheap for consecutive indices.
    pub(super) fn leaf(&mut self, index: u64) -> Result<Option<Hash>, Cause> {
        let near = |next: u64| index.checked_sub(next).is_some_and(|skipped| skipped <= SKIPPED_MAX);
        if self.place.as_ref().is_some_and(|(_, _, _, next)| !near(*next)) {
            self.place = None;
        }
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

/// The tree as its definition has it, with no tile in between: slow, and right as long as the records are.
impl Nodes for Entries<'_> {
    type Error = Cause;

    fn node(&mut self, level: u32, index: u64) -> Result<Hash, Cause> {
        let first = index << level;
        if let Some(removed) = self.removed.as_ref().filter(|removed| first < removed.size()) {
            if let Some(hash) = removed.node(level, index) {
                return Ok(hash);
            }
            if level == 0 || first.saturating_add(1 << level) <= removed.size() {
                return Err(Cause::new(format!("record {first} of {} was shipped and removed here", self.month)));
            }
            return Ok(node_hash(&self.node(level - 1, 2 * index)?, &self.node(level - 1, 2 * index + 1)?));
        }
        // Roots of perfect subtrees, from left to right, each smaller than the one before.
        let mut roots: Vec<(u32, Hash)> = Vec::new();
        for place in first..first.saturating_add(1 << level) {
            let leaf = self.leaf(place)?;
            let mut root =
                leaf.ok_or_else(|| Cause::new(format!("record {place} of {} cannot be read", self.month)))?;
            let mut height = 0;
            while let Some((_, left)) = roots.pop_if(|(left, _)| *left == height) {
                root = node_hash(&left, &root);
                height += 1;
            }
            roots.push((height, root));
        }
        // INVARIANT: 2^level leaves make one perfect subtree.
        Ok(roots.pop().map(|(_, root)| root).unwrap_or_default())
    }
}
