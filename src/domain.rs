//! The words, the state join and the decision: pure.
//!
//! Owns what consent means: subjects, purposes, channels, statuses, the catalogue, how events join into a state, and
//! [`decide()`]. Knows nothing of files, networks, clocks, threads, wire formats or the other rooms.
//!
//! Invariants:
//! - [`SubjectState::join`] is commutative, associative and idempotent: order and repetition of events do not matter.
//! - [`decide()`] is total and pure, and nothing unknown, unreadable or missing ever allows.
//! - Only a grant whose event time is later than a refusal's lifts that refusal.

pub mod catalogue;
pub mod decide;
pub mod event;
pub mod question;
pub mod state;
pub mod subject;
pub mod time;
pub mod words;

pub use catalogue::{Catalogue, CatalogueError, NoticeRule, Purpose};
pub use decide::{Decision, RuleOutcome, SubjectView, decide, explain};
pub use event::{Collection, ConsentEvent, Defects, Event, EventBody, Notice, Position, Unreadable};
pub use question::{Freshness, LedgerStanding, Question, Signals, TokenStanding, is_jurisdiction};
pub use state::{Link, Record, Slot, StateParts, SubjectState, UnreadableMark};
pub use subject::{Subject, SubjectError, SubjectKey};
pub use time::Time;
pub use words::{LegalBasis, Reason, Register, Status, Verdict};
