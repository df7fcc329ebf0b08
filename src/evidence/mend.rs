//! Tiles that a power loss took, made again.
//!
//! Full tiles are written without waiting for the device, so that a kernel that ended by surprise may have left some
//! missing, short or wrong. Within a boot the page cache keeps them, whatever happens to the process. At the first start
//! in another boot they are therefore held against the signed tree, from its root downwards: a tile is right if the root
//! of its hashes is the hash that its parent has of it. One that is not is made again and flushed. What was looked at in
//! this way was read from the device, and need not be looked at again.

use std::fs;
use std::path::PathBuf;

use super::entries::Entries;
use super::files::{At, Cause, Layout, read_small};
use super::id::YearMonth;
use super::levels::TILE_WIDTH;
use super::merkle::{Hash, Nodes, perfect_root};
use super::tiles::{Edge, read_full, tile_path, write_tile};

/// Tiles looked at between two pauses: about a millisecond's work.
const SLICE: u32 = 16;

/// The file `tiles` of a month. Without it, or if it cannot be read, all tiles are looked at.
#[derive(Debug, Default)]
pub(super) struct Checked {
    boot: String,
    /// The full tiles of this many records are on the device.
    pub(super) records: u64,
}

impl Checked {
    pub(super) fn load(layout: &Layout, month: YearMonth) -> Self {
        let bytes = read_small(&layout.checked(month)).ok().flatten().unwrap_or_default();
        let read = || {
            let text = std::str::from_utf8(&bytes).ok()?.strip_suffix('\n')?;
            let (boot, records) = text.split_once(' ')?;
            Some(Self { boot: boot.to_owned(), records: records.parse().ok()? })
        };
        read().unwrap_or_default()
    }

    /// Whether the tiles were looked at since the machine was started.
    pub(super) fn in_boot(&self, boot: Option<&str>) -> bool {
        boot.is_some_and(|boot| boot == self.boot)
    }

    /// Remembers that the tiles of so many records were looked at in a boot, if it has a name.
    pub(super) fn store(&self, layout: &Layout, month: YearMonth, boot: Option<&str>, size: u64) -> Result<(), Cause> {
        let Some(boot) = boot else { return Ok(()) };
        // Without the name of an earlier boot nobody knows that they were read from the device.
        let records = if self.boot.is_empty() { 0 } else { size };
        let path = layout.checked(month);
        // Not flushed: without the file, or without its line feed, the tiles are looked at once more.
        fs::write(&path, format!("{boot} {records}\n")).at("write", &path)
    }
}

/// Mends the full tiles of a tree, but for those of the first `from` records; `pause` says whether to go on. Says
/// whether it came to the end.
pub(super) fn mend(
    edge: &Edge,
    layout: &Layout,
    month: YearMonth,
    from: u64,
    entries: &mut Entries<'_>,
    pause: &mut dyn FnMut() -> bool,
) -> Result<bool, Cause> {
    let mut mending = Mending { folder: layout.month(month), month, from, entries, pause, looked_at: 0, mended: 0 };
    for (level, tile, root) in edge.roots() {
        if !mending.tile(level, tile, &root)? {
            return Ok(false);
        }
    }
    if mending.mended > 0 {
        tracing::warn!(%month, tiles = mending.mended, "tiles of the evidence tree were lost, and made again");
    }
    Ok(true)
}

struct Mending<'a, 'b> {
    folder: PathBuf,
    month: YearMonth,
    from: u64,
    entries: &'a mut Entries<'b>,
    pause: &'a mut dyn FnMut() -> bool,
    looked_at: u32,
    mended: u64,
}

impl Mending<'_, '_> {
    /// Mends a full tile and all below it; says whether it came to the end.
    fn tile(&mut self, level: u32, tile: u64, root: &Hash) -> Result<bool, Cause> {
        // Level L has one tile for 256^(L + 1) records.
        if (tile + 1) << (8 * (level + 1)) <= self.from {
            return Ok(true);
        }
        self.looked_at += 1;
        if self.looked_at.is_multiple_of(SLICE) && !(self.pause)() {
            return Ok(false);
        }
        let path = self.folder.join(tile_path(level, tile));
        let whole = read_full(&path).filter(|hashes| perfect_root(hashes) == *root);
        let hashes = if let Some(hashes) = whole {
            hashes
        } else {
            let hashes = self.made_again(level, tile, root)?;
            write_tile(&path, &hashes).and_then(|file| file.sync_all()).at("write", &path)?;
            self.mended += 1;
            hashes
        };
        if level > 0 {
            for (child, hash) in (tile * TILE_WIDTH as u64..).zip(&hashes) {
                if !self.tile(level - 1, child, hash)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// The hashes of a tile with this root, from the tiles below it, or else from the records.
    fn made_again(&mut self, level: u32, tile: u64, root: &Hash) -> Result<Vec<Hash>, Cause> {
        let children = tile * TILE_WIDTH as u64..(tile + 1) * TILE_WIDTH as u64;
        if let Some(below) = level.checked_sub(1) {
            let read = |child| read_full(&self.folder.join(tile_path(below, child)));
            let roots: Option<Vec<Hash>> =
                children.clone().map(|child| read(child).map(|hashes| perfect_root(&hashes))).collect();
            if let Some(roots) = roots.filter(|roots| perfect_root(roots) == *root) {
                return Ok(roots);
            }
        }
        let hashes: Vec<Hash> = children.map(|child| self.entries.node(8 * level, child)).collect::<Result<_, _>>()?;
        if perfect_root(&hashes) == *root {
            Ok(hashes)
        } else {
            Err(Cause::new(format!(
                "the records of {} from {} on are not those that its checkpoint was signed for",
                self.month,
                tile << (8 * (level + 1))
            )))
        }
    }
}
