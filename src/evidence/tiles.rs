//! The tree's tiles on disk and its right edge in memory. Source: C2SP tlog-tiles.
//!
//! A tile of level L holds up to 256 hashes, each the root of 256^L leaves.
//!
//! Full tiles are written once and nobody waits for the device: a flush for each 256 records would cost more than all the
//! rest of the evidence, and hold up the appends behind the file system's journal. That may be so because a tile carries
//! nothing of its own. The records are on the device before a checkpoint covers them, each tile can be made again from
//! them, and whether a tile is right is told by the hash that its parent has of it, up to the signed root. A kernel that
//! ends by surprise may leave full tiles missing, short or filled with zeros; `mend` sees to them at the next start, and
//! readers take the records instead.
//!
//! Partial tiles, at most one a level, do reach the device before the checkpoint that they belong to, because a tree is
//! continued from them: without them the whole month would have to be read again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::files::{At, Cause};
use super::levels::{LEVELS_MAX, Levels, TILE_WIDTH, hashes_at};
use super::merkle::{Hash, Nodes, perfect_root};

const TILE_BYTES: u64 = 32 * TILE_WIDTH as u64;

/// The right edge of a growing tree whose tiles are written.
#[derive(Debug)]
pub(super) struct Edge {
    folder: PathBuf,
    levels: Levels,
    /// Folders of partial tiles whose full tile is there. The last checkpoint is continued from them until the next one
    /// is signed, for the full tiles may not be on the device.
    outgrown: Vec<PathBuf>,
}

impl Edge {
    /// The edge of an empty tree.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self::after(folder, Levels::default())
    }

    /// The edge of a tree whose tiles up to here are not kept.
    pub(super) fn after(folder: PathBuf, levels: Levels) -> Self {
        Self { folder, levels, outgrown: Vec::new() }
    }

    /// The edge of the tree that was last written with this size; nothing if its tiles are not all there.
    pub(super) fn load(folder: PathBuf, size: u64) -> Option<Self> {
        let mut rests = Vec::new();
        for level in 0..LEVELS_MAX {
            let count = hashes_at(size, level);
            if count == 0 {
                break;
            }
            let is_full = count.is_multiple_of(TILE_WIDTH as u64);
            let tile = count / TILE_WIDTH as u64;
            rests.push(if is_full { Vec::new() } else { read_tile(&folder, level, tile, count).ok()? });
        }
        Some(Self::after(folder, Levels::of(size, rests)?))
    }

    pub(super) fn size(&self) -> u64 {
        self.levels.size()
    }

    pub(super) fn root(&self) -> Hash {
        self.levels.root()
    }

    /// As [`Levels::roots`].
    pub(super) fn roots(&self) -> Vec<(u32, u64, Hash)> {
        self.levels.roots()
    }

    /// Adds a leaf; writes the tiles that it fills.
    pub(super) fn push(&mut self, leaf: Hash) -> Result<(), Cause> {
        let Self { folder, levels, outgrown } = self;
        levels.push(leaf, |level, tile, hashes| {
            let path = folder.join(tile_path(level, tile));
            write_tile(&path, hashes).at("write", &path)?;
            let partial = partial_folder(&path);
            if partial.exists() {
                outgrown.push(partial);
            }
            Ok(())
        })
    }

    /// Puts on the device what the tree of this size is continued from: its partial tiles.
    pub(super) fn save(&mut self) -> Result<(), Cause> {
        let mut written = Vec::new();
        for (level, tile, hashes) in self.levels.partial() {
            let full = self.folder.join(tile_path(level, tile));
            let path = partial_folder(&full).join(hashes.len().to_string());
            written.push((write_tile(&path, hashes).at("write", &path)?, path));
        }
        // After all are written: what the first flush makes the file system do is then done for the others. The folders
        // are not flushed. A file system that forgets a name whose file was flushed costs a tree built anew, no more.
        for (file, path) in written {
            file.sync_all().at("flush", &path)?;
        }
        Ok(())
    }

    /// Removes the partial tiles that nobody needs any more once the tree of this size is signed.
    pub(super) fn signed(&mut self) -> Result<(), Cause> {
        for folder in std::mem::take(&mut self.outgrown) {
            fs::remove_dir_all(&folder).at("remove", &folder)?;
        }
        Ok(())
    }
}

/// Writes a tile in its place. Whoever reads it meanwhile finds it short, and takes it for missing.
pub(super) fn write_tile(path: &Path, hashes: &[Hash]) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o644);
    let mut file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            options.open(path)?
        }
        file => file?,
    };
    file.write_all(hashes.as_flattened())?;
    Ok(file)
}

/// The hashes of a full tile; nothing if there is no whole one.
pub(super) fn read_full(path: &Path) -> Option<Vec<Hash>> {
    let bytes = fs::read(path).ok()?;
    let (hashes, odd) = bytes.as_chunks::<32>();
    (hashes.len() == TILE_WIDTH && odd.is_empty()).then(|| hashes.to_vec())
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

/// Bytes of the full tiles that a tree of `to` leaves has and one of `from` has not.
pub(super) fn full_tiles_bytes(from: u64, to: u64) -> u64 {
    let tiles = (1..=LEVELS_MAX).map(|level| hashes_at(to, level).saturating_sub(hashes_at(from, level)));
    tiles.sum::<u64>().saturating_mul(TILE_BYTES)
}

/// Removes the tiles that hold leaves below `from` only, as far as they are there.
pub(super) fn remove_below(folder: &Path, from: u64) -> io::Result<()> {
    for level in 0..LEVELS_MAX {
        remove_tiles(&folder.join("tile").join(level.to_string()), 0, hashes_at(from, level + 1))?;
    }
    Ok(())
}

/// Removes the tiles with numbers below a limit from a folder whose numbers begin with `prefix`.
fn remove_tiles(dir: &Path, prefix: u64, limit: u64) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let (is_group, digits) = name.strip_prefix('x').map_or((false, name), |digits| (true, digits));
        let (is_partial, digits) = digits.strip_suffix(".p").map_or((false, digits), |digits| (true, digits));
        let Ok(digits) = digits.parse::<u64>() else { continue };
        let number = prefix * 1000 + digits;
        if is_group {
            // All numbers in it begin with its own.
            if number.saturating_mul(1000) < limit {
                remove_tiles(&path, number, limit)?;
                // With tiles left in it, it stays.
                let _ = fs::remove_dir(&path);
            }
        } else if number < limit {
            if is_partial { fs::remove_dir_all(&path)? } else { fs::remove_file(&path)? }
        }
    }
    Ok(())
}

/// Reads a tile of a tree that has `count` hashes at this level: full, or partial with as many as the tree has.
fn read_tile(folder: &Path, level: u32, tile: u64, count: u64) -> io::Result<Vec<Hash>> {
    let left = count.saturating_sub(tile.saturating_mul(TILE_WIDTH as u64));
    let width = usize::try_from(left).unwrap_or(TILE_WIDTH).min(TILE_WIDTH);
    let full = folder.join(tile_path(level, tile));
    let partial = partial_folder(&full).join(width.to_string());
    // The partial tile first, which is on the device. A tree that grew meanwhile may have only the full one.
    let bytes = match if width < TILE_WIDTH { fs::read(partial) } else { fs::read(&full) } {
        Err(error) if error.kind() == io::ErrorKind::NotFound && width < TILE_WIDTH => fs::read(full)?,
        bytes => bytes?,
    };
    let (hashes, odd) = bytes.as_chunks::<32>();
    match hashes.get(..width) {
        Some(hashes) if odd.is_empty() => Ok(hashes.to_vec()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the tile has not the length it must have")),
    }
}

/// `tile/<L>/<N>`, N in groups of three digits, all but the last with an `x` before them.
pub(super) fn tile_path(level: u32, tile: u64) -> PathBuf {
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
