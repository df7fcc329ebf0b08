//! The statuses that a caller can get from this room, and what its proxy does with them.

use std::fmt::Display;

use tonic::Status;

/// A malformed question, naming the field.
///
/// `INVALID_ARGUMENT` is not retried by gRPC clients and proxies: asking again would not help. A mesh that fails open on
/// errors would let the caller through, which no answer of ours can prevent: callers treat every RPC error as DENY.
pub(super) fn malformed(field: impl Display, problem: impl Display) -> Status {
    Status::invalid_argument(format!("`{field}` {problem}"))
}

/// The end of a stream on which nothing was being asked, because the sidecar stops.
///
/// `UNAVAILABLE` is retried: another sidecar, or this one started again, answers the rest. All that was asked before has
/// been answered.
pub(super) fn stopping() -> Status {
    Status::unavailable("the sidecar is stopping; ask what is left in a new stream")
}

/// The end of a stream whose answer failed by a defect of this program.
///
/// `INTERNAL` is not retried. Without it the stream would seem to have ended where it did.
pub(super) fn defect() -> Status {
    Status::internal("an answer failed by a defect of consentd; what follows was not answered")
}
