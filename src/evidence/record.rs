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

/// The fingerprint by which a record names a string of signals: the first 16 bytes of its SHA-256, and of an empty one
/// nothing.
#[must_use]
pub fn fingerprint(text: &str) -> Vec<u8> {
    if text.is_empty() {
        return Vec::new();
    }
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest.as_ref().iter().take(16).copied().collect()
}
