//! The Merkle tree of RFC 6962: hashes, roots and inclusion proofs, in memory.

use ring::digest::{Context, SHA256};

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

/// The hash of a leaf. Source: RFC 6962, section 2.1.
pub(super) fn leaf_hash(leaf: &[u8]) -> Hash {
    sha256(&[&[0], leaf])
}

/// The hash of an inner node. Source: RFC 6962, section 2.1.
pub(super) fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// The root of no leaves. Source: RFC 6962, section 2.1.
pub(super) fn empty_root() -> Hash {
    sha256(&[])
}
