//! The tree's tiles on disk and its right edge in memory. Source: C2SP tlog-tiles.
//!
//! A tile of level L holds up to 256 hashes, each the root of 256^L leaves. Tiles can be made again from the log at any
//! time; they reach the device before a checkpoint that needs them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::files::{At, Cause, make_dir, place, sync_dir};
use super::merkle::{Hash, Nodes, empty_root, node_hash, perfect_root};

const TILE_WIDTH: usize = 256;
/// Levels of tiles that a tree of 2^64 leaves has.
const LEVELS_MAX: u32 = 8;

/// The hashes of a growing tree that no full tile holds yet, for each level of tiles.
#[derive(Debug, Default)]
pub(super) struct Levels {
    size: u64,
    levels: Vec<Level>,
}

#[derive(Debug, Default)]
struct Level {
    /// How many full tiles there are.
    full: u64,
    /// The hashes after them, fewer than 256.
    rest: Vec<Hash>,
}

impl Levels {
    /// The leaves so far.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf, and hands over each tile that it fills: level, number, hashes.
    pub(super) fn push<E>(
        &mut self,
        leaf: Hash,
        mut tile: impl FnMut(u32, u64, &[Hash]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.size += 1;
        let mut hash = leaf;
        for number in 0..LEVELS_MAX {
            let place = usize::try_from(number).unwrap_or(0);
            if self.levels.len() <= place {
                self.levels.push(Level::default());
            }
            let Some(level) = self.levels.get_mut(place) else { break };
            level.rest.push(hash);
            if level.rest.len() < TILE_WIDTH {
                break;
            }
            hash = perfect_root(&level.rest);
            tile(number, level.full, &level.rest)?;
            level.rest.clear();
            level.full += 1;
        }
        Ok(())
    }

    /// The partial tiles: level, number, hashes.
    pub(super) fn partial(&self) -> impl Iterator<Item = (u32, u64, &[Hash])> {
        let levels = (0..).zip(&self.levels).filter(|(_, level)| !level.rest.is_empty());
        levels.map(|(number, level)| (number, level.full, level.rest.as_slice()))
    }

    /// The tree's root.
    pub(super) fn root(&self) -> Hash {
        let mut subtrees = Vec::new();
        for level in self.levels.iter().rev() {
            let mut rest = level.rest.as_slice();
            for bit in (0..8).rev() {
                let width = 1 << bit;
                if rest.len() & width != 0
                    && let Some((subtree, after)) = rest.split_at_checked(width)
                {
                    subtrees.push(perfect_root(subtree));
                    rest = after;
                }
            }
        }
        subtrees.into_iter().rev().reduce(|right, left| node_hash(&left, &right)).unwrap_or_else(empty_root)
    }
}

/// The right edge of a growing tree whose tiles are written.
#[derive(Debug)]
pub(super) struct Edge {
    folder: PathBuf,
    levels: Levels,
    /// Folders with names that are not on the device yet.
    unsynced: BTreeSet<PathBuf>,
}

impl Edge {
    /// The edge of an empty tree.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, levels: Levels::default(), unsynced: BTreeSet::new() }
    }

    /// The edge of the tree that was last written with this size; nothing if its tiles are not all there.
    pub(super) fn load(folder: PathBuf, size: u64) -> Option<Self> {
        let mut edge = Self::new(folder);
        edge.levels.size = size;
        for level in 0..LEVELS_MAX {
            let count = hashes_at(size, level);
            if count == 0 {
                break;
            }
            let full = count / TILE_WIDTH as u64;
            let rest = if count.is_multiple_of(TILE_WIDTH as u64) {
                Vec::new()
            } else {
                read_tile(&edge.folder, level, full, count).ok()?
            };
            edge.levels.levels.push(Level { full, rest });
        }
        Some(edge)
    }

    pub(super) fn size(&self) -> u64 {
        self.levels.size
    }

    pub(super) fn root(&self) -> Hash {
        self.levels.root()
    }

    /// Adds a leaf; writes the tiles that it fills.
    pub(super) fn push(&mut self, leaf: Hash) -> Result<(), Cause> {
        let Self { folder, levels, unsynced } = self;
        levels.push(leaf, |level, tile, hashes| {
            let path = folder.join(tile_path(level, tile));
            write_tile(&path, hashes, unsynced)?;
            // The partial tiles before it are of use to nobody any more.
            let partial = partial_folder(&path);
            if partial.exists() {
                fs::remove_dir_all(&partial).at("remove", &partial)?;
            }
            Ok(())
        })
    }

    /// Puts everything on the device that the tree of this size needs, its partial tiles included.
    pub(super) fn save(&mut self) -> Result<(), Cause> {
        for (level, tile, hashes) in self.levels.partial() {
            let full = self.folder.join(tile_path(level, tile));
            write_tile(&partial_folder(&full).join(hashes.len().to_string()), hashes, &mut self.unsynced)?;
        }
        for folder in std::mem::take(&mut self.unsynced) {
            sync_dir(&folder).at("flush", &folder)?;
        }
        Ok(())
    }
}

fn write_tile(path: &Path, hashes: &[Hash], unsynced: &mut BTreeSet<PathBuf>) -> Result<(), Cause> {
    if let Some(folder) = path.parent() {
        make_dir(folder).at("make", folder)?;
        unsynced.insert(folder.to_owned());
    }
    place(path, hashes.as_flattened(), 0o644).at("write", path)
}

/// A tree of a certain size, read from its tiles.
#[derive(Debug)]
pub(super) struct Tiles {
    folder: PathBuf,
    size: u64,
}

impl Tiles {
    pub(super) fn new(folder: PathBuf, size: u64) -> Self {
        Self { folder, size }
    }
}

impl Tiles {
    /// Whether a tile holds these hashes and no others.
    pub(super) fn holds(&self, level: u32, tile: u64, hashes: &[Hash]) -> Result<(), Cause> {
        let path = self.folder.join(tile_path(level, tile));
        let stored = read_tile(&self.folder, level, tile, hashes_at(self.size, level)).at("read", &path)?;
        if stored == hashes {
            Ok(())
        } else {
            Err(Cause::new(format!("the tile `{}` does not hold the hashes of its records", path.display())))
        }
    }

    /// Whether a full tile lies within the tree.
    pub(super) fn covers(&self, level: u32, tile: u64) -> bool {
        tile < hashes_at(self.size, level) / TILE_WIDTH as u64
    }
}

impl Nodes for Tiles {
    type Error = Cause;

    fn node(&mut self, level: u32, index: u64) -> Result<Hash, Cause> {
        let (tile_level, within) = (level / 8, level % 8);
        let first = index << within;
        let tile = first / TILE_WIDTH as u64;
        let path = self.folder.join(tile_path(tile_level, tile));
        let hashes = read_tile(&self.folder, tile_level, tile, hashes_at(self.size, tile_level)).at("read", &path)?;
        let start = usize::try_from(first % TILE_WIDTH as u64).unwrap_or(usize::MAX);
        let subtree = hashes.get(start..start.saturating_add(1 << within));
        subtree.map(perfect_root).ok_or_else(|| Cause::new(format!("the tile `{}` is too short", path.display())))
    }
}

/// How many hashes a tree of this size has at a level of tiles.
fn hashes_at(size: u64, level: u32) -> u64 {
    size.checked_shr(level * 8).unwrap_or(0)
}

/// Reads a tile of a tree that has `count` hashes at this level: full, or partial with as many as the tree has.
fn read_tile(folder: &Path, level: u32, tile: u64, count: u64) -> io::Result<Vec<Hash>> {
    let left = count.saturating_sub(tile.saturating_mul(TILE_WIDTH as u64));
    let width = usize::try_from(left).unwrap_or(TILE_WIDTH).min(TILE_WIDTH);
    let full = folder.join(tile_path(level, tile));
    let partial = partial_folder(&full).join(width.to_string());
    // A tree that grew meanwhile may have a full tile where this size has a partial one.
    let bytes = match fs::read(&full) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && width < TILE_WIDTH => fs::read(partial)?,
        bytes => bytes?,
    };
    let (hashes, odd) = bytes.as_chunks::<32>();
    match hashes.get(..width) {
        Some(hashes) if odd.is_empty() => Ok(hashes.to_vec()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the tile has not the length it must have")),
    }
}

/// `tile/<L>/<N>`, N in groups of three digits, all but the last with an `x` before them.
fn tile_path(level: u32, tile: u64) -> PathBuf {
    let mut groups = vec![format!("{:03}", tile % 1000)];
    let mut rest = tile / 1000;
    while rest > 0 {
        groups.push(format!("x{:03}", rest % 1000));
        rest /= 1000;
    }
    groups.push(level.to_string());
    groups.push("tile".to_owned());
    groups.iter().rev().collect()
}

fn partial_folder(full: &Path) -> PathBuf {
    let mut name = full.to_owned().into_os_string();
    name.push(".p");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::merkle::{
        is_consistent, leaf_hash, prove_consistency, prove_inclusion, range_root, root_of_inclusion,
    };

    #[test]
    fn tiles_are_named_as_the_standard_says() {
        let name = |level, tile| tile_path(level, tile).display().to_string();
        assert_eq!(name(0, 0), "tile/0/000");
        assert_eq!(name(3, 255), "tile/3/255");
        assert_eq!(name(0, 1_234_067), "tile/0/x001/x234/067");
        assert_eq!(partial_folder(&tile_path(1, 1000)).display().to_string(), "tile/1/x001/000.p");
    }

    #[test]
    fn a_tree_of_three_levels_is_read_back_and_proves_itself() {
        let dir = tempfile::TempDir::new().expect("a folder");
        let folder = dir.path().to_owned();
        let mut edge = Edge::new(folder.clone());
        let mut old = Vec::new();
        for number in 0..66_000_u64 {
            edge.push(leaf_hash(&number.to_le_bytes())).expect("written");
            if [1, 255, 256, 257, 65_535, 65_536, 65_999, 66_000].contains(&edge.size()) {
                edge.save().expect("written");
                old.push((edge.size(), edge.root()));
                let loaded = Edge::load(folder.clone(), edge.size()).expect("all tiles are there");
                assert_eq!(loaded.root(), edge.root());
            }
        }
        let new = (edge.size(), edge.root());
        let mut tiles = Tiles::new(folder.clone(), edge.size());
        assert_eq!(range_root(&mut tiles, 0, edge.size()), Ok(edge.root()));
        for index in [0, 255, 256, 65_535, 65_536, 65_999] {
            let proof = prove_inclusion(&mut tiles, index, edge.size()).expect("read");
            assert_eq!(
                root_of_inclusion(index, edge.size(), leaf_hash(&index.to_le_bytes()), &proof),
                Some(edge.root())
            );
        }
        for old in old {
            let proof = prove_consistency(&mut tiles, old.0, new.0).expect("read");
            assert!(is_consistent(old, new, &proof), "from {}", old.0);
        }
        fs::remove_file(folder.join("tile/1/001.p/1")).expect("there");
        assert!(Edge::load(folder, 66_000).is_none(), "a tile is missing");
    }
}
