//! What can happen to a ledger that no reader can repair: alarms by name.

use crate::domain::Position;

/// Why the ledger can no longer be followed. Each sentence says what happened and what an operator does next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerFault {
    /// It is shorter than what was already read of it.
    #[error(
        "the ledger `{ledger}` was truncated: it has {size} bytes, but {} had been read; make it whole again before any \
         sidecar starts with an empty store, which would take what is left for the whole, or, if the loss is meant, delete the \
         local store so that it is rebuilt from what is left", .position.0
    )]
    Truncated {
        /// Its name.
        ledger: String,
        /// How many bytes it has.
        size: u64,
        /// Up to where it had been read.
        position: Position,
    },
    /// Another ledger stands in its place.
    #[error(
        "the ledger `{ledger}` was replaced by another one; put the first one back, or, if the change is meant, delete \
         the local store so that it is rebuilt from the new one"
    )]
    Replaced {
        /// Its name.
        ledger: String,
    },
    /// What had been read of it is no longer what it says.
    #[error(
        "the ledger `{ledger}` was rewritten before position {}; make it whole again before any sidecar starts with an empty \
         store, which would take what it says now for the whole, or, if the change is meant, delete the local store so that it \
         is rebuilt from what it says now", .position.0
    )]
    Rewritten {
        /// Its name.
        ledger: String,
        /// Up to where it had been read.
        position: Position,
    },
    /// It is gone.
    #[error(
        "the ledger `{ledger}` was removed while it was followed, at position {}; put it back and start again", .position.0
    )]
    Removed {
        /// Its name.
        ledger: String,
        /// Up to where it had been read.
        position: Position,
    },
    /// It ends before what was already read of it.
    #[error(
        "the ledger `{ledger}` was set back: it ended at {}, but {} had been read; write again what is missing before any \
         sidecar starts with an empty store, which would take what is left for the whole, or, if the loss is meant, delete the \
         local store so that it is rebuilt from what is left", .last.0, .position.0
    )]
    Rewound {
        /// Its name.
        ledger: String,
        /// The last position that was left in it.
        last: Position,
        /// Up to where it had been read.
        position: Position,
    },
    /// Something within it is missing.
    #[error(
        "the ledger `{ledger}` has lost what stood at {}; restore it from a copy", .position.0
    )]
    Gap {
        /// Its name.
        ledger: String,
        /// The first position that is known to be missing.
        position: Position,
    },
    /// Its subjects are named under another key, or ours cannot be read.
    #[error("the ledger `{ledger}` cannot be followed: {problem}")]
    OtherSubjectKey {
        /// Its name.
        ledger: String,
        /// Whose key it is, and what to do.
        problem: String,
    },
    /// It was set so that it loses or changes what was written.
    #[error("the ledger `{ledger}` was changed while it was followed: {problem}")]
    Settings {
        /// Its name.
        ledger: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The follower itself failed, which is a defect of this program.
    #[error("the ledger `{ledger}` is no longer followed: {problem}; start again, and report this")]
    Unfollowed {
        /// Its name.
        ledger: String,
        /// What failed.
        problem: String,
    },
}

impl LedgerFault {
    /// A short name for alarms and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Truncated { .. } => "truncated",
            Self::Replaced { .. } => "replaced",
            Self::Rewritten { .. } => "rewritten",
            Self::Removed { .. } => "removed",
            Self::Rewound { .. } => "rewound",
            Self::Gap { .. } => "gap",
            Self::OtherSubjectKey { .. } => "other_subject_key",
            Self::Settings { .. } => "settings",
            Self::Unfollowed { .. } => "unfollowed",
        }
    }
}
