//! The Merkle tree of RFC 6962: hashes, roots and inclusion proofs, in memory.

use ring::digest::{Context, SHA256, digest};

/// A SHA-256 digest.
pub(super) type Hash = [u8; 32];

/// SHA-256 of the parts joined.
pub(super) fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    // INVARIANT: a SHA-256 digest has 32 bytes.
    context.finish().as_ref().first_chunk().copied().unwrap_or_default()
}

/// SHA-256 of bytes that lie together, which is faster than of parts.
pub(super) fn sha256_of(bytes: &[u8]) -> Hash {
    // INVARIANT: a SHA-256 digest has 32 bytes.
    digest(&SHA256, bytes).as_ref().first_chunk().copied().unwrap_or_default()
}

/// The hash of a leaf. Source: RFC 6962, section 2.1.
pub(super) fn leaf_hash(leaf: &[u8]) -> Hash {
    sha256(&[&[0], leaf])
}

/// The hash of an inner node. Source: RFC 6962, section 2.1.
pub(super) fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut node = [1; 65];
    let (_, halves) = node.split_at_mut(1);
    halves.copy_from_slice([*left, *right].as_flattened());
    sha256_of(&node)
}

/// The root of no leaves. Source: RFC 6962, section 2.1.
pub(super) fn empty_root() -> Hash {
    sha256(&[])
}

/// A tree's inner nodes, wherever they are kept.
pub(super) trait Nodes {
    type Error;

    /// The root of the perfect subtree of 2^`level` leaves that is the `index`-th of its level.
    fn node(&mut self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// The root of the leaves from `low` up to but not with `high`, a range as RFC 6962 splits a tree into.
pub(super) fn range_root<N: Nodes>(nodes: &mut N, low: u64, high: u64) -> Result<Hash, N::Error> {
    let count = high.saturating_sub(low);
    if count == 0 {
        return Ok(empty_root());
    }
    if count.is_power_of_two() {
        return nodes.node(count.trailing_zeros(), low / count);
    }
    let middle = low + split(count);
    Ok(node_hash(&range_root(nodes, low, middle)?, &range_root(nodes, middle, high)?))
}

/// The proof that a leaf is in a tree of `size` leaves. Source: RFC 6962, section 2.1.1.
pub(super) fn prove_inclusion<N: Nodes>(nodes: &mut N, index: u64, size: u64) -> Result<Vec<Hash>, N::Error> {
    let (mut low, mut high) = (0, size);
    let mut proof = Vec::new();
    while high.saturating_sub(low) > 1 {
        let middle = low + split(high - low);
        if index < middle {
            proof.push(range_root(nodes, middle, high)?);
            high = middle;
        } else {
            proof.push(range_root(nodes, low, middle)?);
            low = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that a tree of `size` leaves continues the one of `old` leaves. Source: RFC 6962, section 2.1.2.
pub(super) fn prove_consistency<N: Nodes>(nodes: &mut N, old: u64, size: u64) -> Result<Vec<Hash>, N::Error> {
    let (mut low, mut high) = (0, size);
    let mut proof = Vec::new();
    // Down to the smallest subtree whose right end is the old tree's end.
    while high != old {
        let middle = low + split(high.saturating_sub(low));
        if old <= middle {
            proof.push(range_root(nodes, middle, high)?);
            high = middle;
        } else {
            proof.push(range_root(nodes, low, middle)?);
            low = middle;
        }
    }
    if low > 0 {
        proof.push(range_root(nodes, low, high)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The root that a leaf and its inclusion proof lead to; none if the proof has not the form it must have.
/// Source: RFC 9162, section 2.1.3.2.
pub(super) fn root_of_inclusion(index: u64, size: u64, leaf: Hash, proof: &[Hash]) -> Option<Hash> {
    let (mut place, mut last) = (index, size.checked_sub(1)?);
    if place > last {
        return None;
    }
    let mut root = leaf;
    for step in proof {
        if last == 0 {
            return None;
        }
        if place & 1 == 1 || place == last {
            root = node_hash(step, &root);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            root = node_hash(&root, step);
        }
        place >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(root)
}

/// Whether the proof shows that the tree with the second root continues the one with the first.
/// Source: RFC 9162, section 2.1.4.2.
pub(super) fn is_consistent(old: (u64, Hash), new: (u64, Hash), proof: &[Hash]) -> bool {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size == 0 || old_size >= new_size {
        return proof.is_empty() && (old_size == 0 || old == new);
    }
    let (mut place, mut last) = (old_size - 1, new_size - 1);
    while place & 1 == 1 {
        place >>= 1;
        last >>= 1;
    }
    let mut steps = proof.iter();
    let first = if old_size.is_power_of_two() { Some(&old_root) } else { steps.next() };
    let Some(first) = first else { return false };
    let (mut old_sum, mut new_sum) = (*first, *first);
    for step in steps {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            old_sum = node_hash(step, &old_sum);
            new_sum = node_hash(step, &new_sum);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            new_sum = node_hash(&new_sum, step);
        }
        place >>= 1;
        last >>= 1;
    }
    last == 0 && old_sum == old_root && new_sum == new_root
}

/// The greatest power of two below a count of at least 2.
fn split(count: u64) -> u64 {
    1 << count.saturating_sub(1).max(1).ilog2()
}

/// The root of 2^n hashes that stand side by side.
pub(super) fn perfect_root(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => empty_root(),
        [one] => *one,
        several => {
            let (left, right) = several.split_at(several.len() / 2);
            node_hash(&perfect_root(left), &perfect_root(right))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes of leaves held in memory, and the roots by the definition, in the most literal way.
    struct Leaves(Vec<Hash>);

    impl Nodes for Leaves {
        type Error = std::convert::Infallible;

        fn node(&mut self, level: u32, index: u64) -> Result<Hash, Self::Error> {
            let width = 1 << level;
            let start = usize::try_from(index).expect("fits") * width;
            Ok(perfect_root(&self.0[start..start + width]))
        }
    }

    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves.len() {
            0 => empty_root(),
            1 => leaves[0],
            n => {
                let mut k = 1;
                while k * 2 < n {
                    k *= 2;
                }
                node_hash(&by_definition(&leaves[..k]), &by_definition(&leaves[k..]))
            }
        }
    }

    fn leaves(count: u64) -> Leaves {
        Leaves((0..count).map(|n| leaf_hash(&n.to_le_bytes())).collect())
    }

    fn at(n: u64) -> usize {
        usize::try_from(n).expect("fits")
    }

    /// Known answers of RFC 6962's test tree, as certificate-transparency implementations carry them.
    #[test]
    fn known_roots() {
        let inputs: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let mut tree = Leaves(inputs.iter().map(|input| leaf_hash(input)).collect());
        let root = |tree: &mut Leaves, size| data_encoding::HEXLOWER.encode(&range_root(tree, 0, size).expect("total"));
        assert_eq!(root(&mut tree, 0), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(root(&mut tree, 1), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        assert_eq!(root(&mut tree, 2), "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125");
        assert_eq!(root(&mut tree, 8), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_proved_and_nothing_else_is() {
        for size in 1..70 {
            let mut tree = leaves(size);
            let root = by_definition(&tree.0);
            assert_eq!(range_root(&mut tree, 0, size), Ok(root));
            for index in 0..size {
                let proof = prove_inclusion(&mut tree, index, size).expect("total");
                let leaf = tree.0[at(index)];
                assert_eq!(root_of_inclusion(index, size, leaf, &proof), Some(root), "{index} of {size}");
                assert_ne!(root_of_inclusion(index, size, [0; 32], &proof), Some(root));
                if size > 1 {
                    assert_ne!(root_of_inclusion((index + 1) % size, size, leaf, &proof), Some(root));
                    assert_eq!(root_of_inclusion(index, size, leaf, &proof[1..]), None);
                }
                assert_eq!(root_of_inclusion(size, size, leaf, &proof), None);
            }
        }
    }

    #[test]
    fn every_small_tree_continues_every_smaller_one_and_no_other() {
        for size in 1..40 {
            let mut tree = leaves(size);
            let new = (size, by_definition(&tree.0));
            for old_size in 1..=size {
                let old = (old_size, by_definition(&tree.0[..at(old_size)]));
                let proof = prove_consistency(&mut tree, old_size, size).expect("total");
                assert!(is_consistent(old, new, &proof), "{old_size} to {size}");
                assert!(!is_consistent((old_size, [1; 32]), new, &proof), "another old root");
                assert!(!is_consistent(old, (size, [1; 32]), &proof), "another new root");
            }
        }
    }
}
