//! A tree in memory: of each level of tiles the hashes that no full tile holds, from which the tree is continued and its
//! root comes.

use super::merkle::{Hash, Nodes, empty_root, node_hash, perfect_root};

pub(super) const TILE_WIDTH: usize = 256;
/// Levels of tiles that a tree of 2^64 leaves has.
pub(super) const LEVELS_MAX: u32 = 8;

/// The hashes of a growing tree that no full tile holds yet, for each level of tiles.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Levels {
    size: u64,
    levels: Vec<Level>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Level {
    /// How many full tiles there are.
    full: u64,
    /// The hashes after them, fewer than 256.
    rest: Vec<Hash>,
}

impl Levels {
    /// The levels of a tree of this size, whose hashes that no full tile holds are given from the lowest level up; nothing
    /// if they are not as many as it has.
    pub(super) fn of(size: u64, rests: Vec<Vec<Hash>>) -> Option<Self> {
        let mut levels = Vec::new();
        for (number, rest) in (0..).zip(rests) {
            let count = hashes_at(size, number);
            let width = TILE_WIDTH as u64;
            if count == 0 || count % width != u64::try_from(rest.len()).ok()? {
                return None;
            }
            levels.push(Level { full: count / width, rest });
        }
        let above = u32::try_from(levels.len()).ok()?;
        (hashes_at(size, above) == 0).then_some(Self { size, levels })
    }

    /// The levels of the first `size` leaves of a greater tree.
    pub(super) fn within<N: Nodes>(nodes: &mut N, size: u64) -> Result<Self, N::Error> {
        let mut levels = Vec::new();
        for number in 0..LEVELS_MAX {
            let count = hashes_at(size, number);
            if count == 0 {
                break;
            }
            let full = count / TILE_WIDTH as u64;
            let rest = full * TILE_WIDTH as u64..count;
            let rest = rest.map(|index| nodes.node(8 * number, index)).collect::<Result<_, _>>()?;
            levels.push(Level { full, rest });
        }
        Ok(Self { size, levels })
    }

    /// The hashes that no full tile holds, from the lowest level up.
    pub(super) fn rests(&self) -> impl Iterator<Item = &[Hash]> {
        self.levels.iter().map(|level| level.rest.as_slice())
    }

    /// The root of the perfect subtree of 2^`height` leaves that is the `index`-th of its height; nothing if it is not
    /// among the hashes that no full tile holds.
    pub(super) fn node(&self, height: u32, index: u64) -> Option<Hash> {
        let level = self.levels.get(usize::try_from(height / 8).ok()?)?;
        let (first, width) = (index << (height % 8), 1 << (height % 8));
        let start = usize::try_from(first.checked_sub(level.full * TILE_WIDTH as u64)?).ok()?;
        level.rest.get(start..start.checked_add(width)?).map(perfect_root)
    }

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

    /// The full tiles right below the hashes in memory, from left to right: level, number, and the root it must have.
    pub(super) fn roots(&self) -> Vec<(u32, u64, Hash)> {
        let mut roots = Vec::new();
        for (below, level) in (0..).zip(self.levels.iter().skip(1)) {
            let first = level.full * TILE_WIDTH as u64;
            roots.extend((first..).zip(&level.rest).map(|(tile, root)| (below, tile, *root)));
        }
        // The higher the level, the further to the left.
        roots.sort_by_key(|(level, _, _)| std::cmp::Reverse(*level));
        roots
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

/// How many hashes a tree of this size has at a level of tiles.
pub(super) fn hashes_at(size: u64, level: u32) -> u64 {
    size.checked_shr(level * 8).unwrap_or(0)
}
