//! The one status that a caller can get from this room, and what its proxy does with it.

use std::fmt::Display;

use tonic::Status;

/// A malformed question, naming the field.
///
/// `INVALID_ARGUMENT` is not retried by gRPC clients and proxies: asking again would not help. A mesh that fails open on
/// errors would let the caller through, which no answer of ours can prevent: callers treat every RPC error as DENY.
pub(super) fn malformed(field: impl Display, problem: impl Display) -> Status {
    Status::invalid_argument(format!("`{field}` {problem}"))
}
