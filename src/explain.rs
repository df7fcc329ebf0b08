//! Why an answer is what it is: the rules with how each came out, the record behind it, and of an earlier answer whether
//! what was known then still gives it.
//!
//! Owns explanations and the replay of evidence. Must not know who asks, and answers nothing: today's answer comes to it
//! decided.
//!
//! Invariants:
//! - P8: a past answer is decided by the same function as any other, from the state that the ledger gives at the position
//!   that the evidence names, by the catalogue of the version that it names, at the time that it names.
//! - Nobody learns from it whom evidence is about: who names a subject is told whether it is, and nothing else.
//! - P6: nothing is kept, and no error or remark repeats a subject.

mod find;
mod history;
mod reasoning;
mod recorded;
mod replay;
pub mod wire;

pub use find::{FindError, Found, Place, find};
pub use history::{History, HistoryError, Read};
pub use reasoning::{AppliedTerms, DecidingRecord, Reasoning, RuleOutcome, RuleResult};
pub use recorded::{Recorded, RecordedSignals};
pub use replay::{Cause, Remark, RemarkKind, Replay, Standing, Today, replay, unread};
