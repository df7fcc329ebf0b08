//! Answers, with what they rest on and the rules that led to them.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::{Decision, LegalBasis, Position, Reason, Status, Time, Verdict};
use crate::evidence::EvidenceId;
use crate::explain::{Reasoning, Replay};

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Why, which tells the verdict.
    pub reason: Reason,
    /// The ground the purpose rests on.
    pub legal_basis: Option<LegalBasis>,
    /// The status of the record that decided.
    pub status: Option<Status>,
    /// Until when an ALLOW may be relied on.
    pub valid_until: Option<Time>,
    /// The required purpose that failed.
    pub failed_purpose: Option<Box<str>>,
    /// Why that one failed.
    pub failed_reason: Option<Reason>,
    /// The notice to show: id and least version.
    pub notice: Option<(Box<str>, u32)>,
    /// From when on the hour permits it.
    pub not_before: Option<Time>,
    /// Where the event of the deciding record lies.
    pub record_position: Option<Position>,
}

/// What an answer rests on.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The catalogue's version; 0 is none.
    pub catalogue_version: u64,
    /// The ledger token; empty before the first event.
    pub token: Arc<str>,
    /// The time since the view was last known to be complete.
    pub staleness: Duration,
    /// When the answers were decided.
    pub answered_at: Time,
}

/// Answers to a call, in the order of its questions, with their evidence.
#[derive(Debug, Clone)]
pub struct Answered {
    // INVARIANT: P1. Filled in one place, where the evidence was written or could not be.
    pub(super) answers: Vec<Answer>,
    pub(super) seen: Seen,
    pub(super) evidence: Option<EvidenceId>,
}

impl Answered {
    /// The answers, in the order of the questions.
    pub fn answers(&self) -> &[Answer] {
        &self.answers
    }

    /// The answers themselves.
    pub fn into_parts(self) -> (Vec<Answer>, Seen, Option<EvidenceId>) {
        (self.answers, self.seen, self.evidence)
    }

    /// What they rest on.
    pub const fn seen(&self) -> &Seen {
        &self.seen
    }

    /// The name of their evidence; `None` only where it could not be written.
    pub const fn evidence(&self) -> Option<EvidenceId> {
        self.evidence
    }
}

/// An answer with all that led to it.
#[derive(Debug, Clone)]
pub struct Explained {
    /// The answer and its evidence.
    pub answered: Answered,
    /// The rules in order, and the record that decided.
    pub reasoning: Reasoning,
    /// What comes of the earlier answer that was asked about.
    pub replay: Option<Replay>,
}

impl Answer {
    /// The verdict.
    pub const fn verdict(&self) -> Verdict {
        self.reason.verdict()
    }

    pub(super) const fn evidence_unavailable(legal_basis: Option<LegalBasis>) -> Self {
        Self {
            reason: Reason::EvidenceUnavailable,
            legal_basis,
            status: None,
            valid_until: None,
            failed_purpose: None,
            failed_reason: None,
            notice: None,
            not_before: None,
            record_position: None,
        }
    }
}

impl From<&Decision<'_>> for Answer {
    fn from(decision: &Decision<'_>) -> Self {
        Self {
            reason: decision.reason,
            legal_basis: decision.legal_basis,
            status: decision.record.map(|(_, record)| record.status),
            valid_until: decision.valid_until,
            failed_purpose: decision.failed_purpose.map(Box::from),
            failed_reason: decision.failed_reason,
            notice: decision.notice.map(|(id, version)| (id.into(), version)),
            not_before: decision.not_before,
            record_position: decision.record.map(|(_, record)| record.position),
        }
    }
}
