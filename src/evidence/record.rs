//! The record of one answered call, as it is written: `consent.v1.EvidenceRecord`, with what fills its fields.

pub use crate::proto::time::{duration, timestamp};
pub use crate::proto::v1::{CallKind, EvidenceOverride, EvidenceRecord, EvidenceSignals};

use crate::domain;
use crate::proto::v1;

/// A reason as a record has it.
#[must_use]
pub fn reason(reason: domain::Reason) -> i32 {
    v1::Reason::from(reason).into()
}
