//! The record of one answered call, as it is written: `consent.v1.EvidenceRecord`, with what fills its fields.

pub use crate::proto::time::{duration, timestamp};
pub use crate::proto::v1::{CallKind, EvidenceOverride, EvidenceRecord, EvidenceSignals};

use ring::digest;

use crate::domain;
use crate::proto::v1;

/// A reason as a record has it.
#[must_use]
pub fn reason(reason: domain::Reason) -> i32 {
    v1::Reason::from(reason).into()
}

/// The fingerprint by which a record names a string of signals: the first 16 bytes of its SHA-256. A record names an
/// empty string by nothing at all.
#[must_use]
pub fn fingerprint(text: &str) -> [u8; 16] {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    // INVARIANT: a SHA-256 digest has 32 bytes.
    digest.as_ref().first_chunk().copied().unwrap_or_default()
}
