//! The central stream that evidence is shipped to.

use crate::nats::KeptStream;

/// The stream's name unless another is given.
pub const DEFAULT_STREAM: &str = "CONSENT_EVIDENCE";

/// How the stream must be. Evidence ends with its retention period: an operator may purge what is older, and nothing else.
#[must_use]
pub fn kept_stream(name: &str) -> KeptStream {
    KeptStream {
        name: name.to_owned(),
        description: "the evidence of consentd's answers",
        subjects: "consent.evidence.*",
        replicas: None,
        may_purge: true,
        metadata: Vec::new(),
    }
}
