//! Removing here what the central stream has, beyond a stated number of bytes: segment by segment from the oldest on, also
//! those of the current month.
//!
//! INVARIANT: a segment goes only once the stream has acknowledged each of its records and a signed head that covers them;
//! once the tree needs them no more; and after the note of what the log then begins with is on the device (`trimmed`). The
//! note's tree is proved to be the beginning of the signed one before anything is removed by it.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::retention::{Shipped, remove_month};
use crate::evidence::checkpoint::Checkpoint;
use crate::evidence::entries::Entries;
use crate::evidence::files::{At, Cause, Layout, SegmentPath};
use crate::evidence::id::{Instance, YearMonth};
use crate::evidence::levels::Levels;
use crate::evidence::merkle::{Nodes, is_consistent, prove_consistency};
use crate::evidence::scan::Window;
use crate::evidence::tiles::{Tiles, full_tiles_bytes, remove_below};
use crate::evidence::trimmed::{self, Trimmed, remove_segments};

/// What is removed by.
pub(super) struct Trim<'a> {
    pub(super) layout: &'a Layout,
    pub(super) instance: Instance,
    /// The key that heads are signed with.
    pub(super) public: &'a [u8; 32],
    pub(super) shipped: Shipped<'a>,
    /// How many records of a month the tree needs no more.
    pub(super) built: &'a dyn Fn(YearMonth) -> u64,
}

/// What of a month the stream has, and which of it may go.
#[derive(Debug)]
struct Holding {
    month: YearMonth,
    removed: Option<Trimmed>,
    /// Full segments that were acknowledged, from the oldest on: their bytes, and the segment that follows.
    full: Vec<(u64, SegmentPath)>,
    /// The records below this index may go.
    limit: u64,
    /// Bytes of the segments and the tiles.
    bytes: u64,
}

impl Trim<'_> {
    /// Removes the oldest of what the stream has until no more than `bytes_max` of it are kept, or no more may go. Says how
    /// many bytes are kept.
    pub(super) fn down_to(&self, bytes_max: u64) -> Result<u64, Cause> {
        let holdings = self.holdings()?;
        let mut kept: u64 = holdings.iter().map(|holding| holding.bytes).sum();
        for holding in holdings {
            if kept <= bytes_max {
                break;
            }
            let freed = self.trim(&holding, kept - bytes_max)?;
            kept -= freed;
            if kept <= bytes_max {
                break;
            }
            // In order, so that what is kept has no hole.
            let is_finished = (self.built)(holding.month) == u64::MAX;
            if !is_finished || !remove_month(self.layout, self.instance, &self.shipped, holding.month)? {
                break;
            }
            kept -= holding.bytes - freed;
        }
        Ok(kept)
    }

    /// What the stream has of each month, the oldest first.
    fn holdings(&self) -> Result<Vec<Holding>, Cause> {
        let last = self.shipped.acknowledged.month;
        let months = self.layout.months()?.into_iter().filter(|month| *month <= last);
        months.map(|month| self.holding(month)).collect()
    }

    fn holding(&self, month: YearMonth) -> Result<Holding, Cause> {
        let is_over = month < self.shipped.acknowledged.month;
        let acknowledged = if is_over { u64::MAX } else { self.shipped.acknowledged.index };
        let signed = self.shipped.heads.get(&month).map_or(0, |head| head.size);
        let built = (self.built)(month);
        let (removed, segments) = trimmed::kept(self.layout, month)?;
        let mut full = Vec::new();
        let mut bytes = 0;
        for (place, segment) in segments.iter().enumerate() {
            let next = segments.get(place + 1).filter(|next| next.first <= acknowledged);
            if next.is_none() && !is_over {
                break;
            }
            let allocated = fs::metadata(&segment.path).at("measure", &segment.path)?.blocks() * 512;
            bytes += allocated;
            full.extend(next.map(|next| (allocated, next.clone())));
        }
        // Tiles of what has not left as well, so that everything is counted once.
        let leaves = if built == u64::MAX { signed } else { built };
        bytes += full_tiles_bytes(removed.as_ref().map_or(0, Trimmed::index), leaves);
        Ok(Holding { month, removed, full, limit: acknowledged.min(signed).min(built), bytes })
    }

    /// Removes segments of a month until so many bytes are free, or no more may go; says how many became free.
    fn trim(&self, holding: &Holding, wanted: u64) -> Result<u64, Cause> {
        let from = holding.removed.as_ref().map_or(0, Trimmed::index);
        let mut segments_bytes = 0;
        let mut cut = None;
        for (bytes, next) in &holding.full {
            if next.first > holding.limit {
                break;
            }
            segments_bytes += bytes;
            let freed = segments_bytes + full_tiles_bytes(from, next.first);
            cut = Some((next, freed));
            if freed >= wanted {
                break;
            }
        }
        let Some((first, freed)) = cut else { return Ok(0) };
        let month = holding.month;
        let segments = self.cut(holding, first)?;
        tracing::debug!(%month, kept_from = first.first, segments, "evidence that was shipped is removed here");
        Ok(freed)
    }

    /// Lets a month's log begin with a segment; says how many were removed.
    fn cut(&self, holding: &Holding, first: &SegmentPath) -> Result<u64, Cause> {
        let (layout, month) = (self.layout, holding.month);
        let mut window = Window::open(&first.path).at("open", &first.path)?;
        let head = window.head(self.instance, month, first.first).at("read", &first.path)?;
        let head = head.ok_or_else(|| Cause::new(format!("the head of `{}` cannot be read", first.path.display())))?;
        let signed = Checkpoint::load(layout, self.instance, month, self.public)?;
        let signed = signed.filter(|signed| signed.size >= first.first);
        let signed = signed.ok_or_else(|| Cause::new(format!("no signed head of {month} covers what is to go")))?;
        let mut tiles = Tiles::new(layout.month(month), signed.size);
        let levels = if let Ok(Some(levels)) = beginning(&mut tiles, first.first, &signed) {
            levels
        } else {
            // A tile may have been lost; the records are there.
            let removed = holding.removed.as_ref().map(|removed| removed.levels.clone());
            let unproved =
                || Cause::new(format!("the records of {month} are not those that its checkpoint was signed for"));
            beginning(&mut Entries::new(layout, month, removed), first.first, &signed)?.ok_or_else(unproved)?
        };
        Trimmed { levels, chain: head.chain }.store(layout, month)?;
        let removed = remove_segments(layout, month, first.first)?;
        let folder = layout.month(month);
        remove_below(&folder, first.first).at("remove tiles of", &folder)?;
        Ok(removed)
    }
}

/// The tree of the first `size` records; nothing if it is not the beginning of the signed one.
fn beginning<N: Nodes>(nodes: &mut N, size: u64, signed: &Checkpoint) -> Result<Option<Levels>, N::Error> {
    let levels = Levels::within(nodes, size)?;
    let proof = prove_consistency(nodes, size, signed.size)?;
    let continues = is_consistent((size, levels.root()), (signed.size, signed.root), &proof);
    Ok(continues.then_some(levels))
}
