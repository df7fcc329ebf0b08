//! The statuses that a caller can get from this room, and what its proxy does with them.

use tonic::Status;

use crate::access::Caller;
use crate::domain::Question;
use crate::enforcer::wellformed::Malformed;
use crate::explain::FindError;

/// A malformed question, naming the field.
///
/// `INVALID_ARGUMENT` is not retried by gRPC clients and proxies: asking again would not help. A mesh that fails open on
/// errors would let the caller through, which no answer of ours can prevent: callers treat every RPC error as DENY.
impl From<Malformed> for Status {
    fn from(malformed: Malformed) -> Self {
        Self::invalid_argument(malformed.to_string())
    }
}

/// Nobody who may ask. Nothing was answered, so that there is no evidence of it.
///
/// `PERMISSION_DENIED` is not retried: whoever asks has to be made known to the sidecar.
pub(super) fn unknown_caller() -> Status {
    Status::permission_denied("the sidecar does not know this caller; name it in `callers`")
}

/// Somebody who may ask, but not about this. As for [`unknown_caller`], nothing was answered.
pub(super) fn not_permitted(caller: &Caller, question: &Question<'_>) -> Status {
    let Question { purpose, channel, .. } = question;
    Status::permission_denied(format!(
        "the caller `{}` may not ask about `{purpose}` over `{channel}`; see `callers` in the sidecar's configuration",
        caller.name()
    ))
}

/// An earlier answer that is not to be had, so that it is not known what is to be explained. Nothing was answered.
///
/// None of them is retried: asking again would not help.
pub(super) fn not_found(error: &FindError) -> Status {
    let sentence = error.to_string();
    match error {
        // Who asks about somebody else is told no more than who asks about nothing.
        FindError::OtherInstance(..) | FindError::Nothing(_) | FindError::Removed(_) | FindError::NotAbout(_) => {
            Status::not_found(sentence)
        }
        FindError::NotPermitted => Status::permission_denied(sentence),
        FindError::Several(..) => Status::invalid_argument(format!("`evidence_id` is ambiguous: {sentence}")),
        FindError::NoKey(_) => Status::failed_precondition(sentence),
        FindError::Unreadable(_) => Status::internal(sentence),
    }
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
