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
pub mod signal;
pub mod state;
pub mod subject;
pub mod text;
pub mod time;
pub mod words;
pub mod zone;

pub use catalogue::{
    Catalogue, CatalogueError, CatalogueParts, CatalogueProblem, CatalogueProblems, NoticeRule, Purpose, Terms,
};
pub use decide::{AppliedTerms, Decision, RuleOutcome, SubjectView, decide, explain, rules};
pub use event::{Collection, ConsentEvent, Defects, Event, EventBody, Notice, Position, Unreadable};
pub use question::{Freshness, Heard, LedgerStanding, Question, Signals, TokenStanding, is_jurisdiction};
pub use signal::{Gpp, SignalDetail, Tcf};
pub use state::{Birth, Link, Record, Restriction, Slot, StateParts, SubjectState, UnreadableMark};
pub use subject::{Subject, SubjectError, SubjectKey};
pub use text::Text;
pub use time::{Day, Time};
pub use words::{LegalBasis, Reason, Register, Status, Verdict};
pub use zone::Zone;
