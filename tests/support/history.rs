//! What happened to one subject, event by event, and the state that the domain joins from it.

use consentd::domain::{Birth, Record, Restriction, SubjectState, Time, UnreadableMark};

/// One event about a subject, as it lies in a ledger.
#[derive(Debug, Clone)]
pub(crate) struct Happening {
    /// Ids of unreadable events that it replaces.
    pub(crate) supersedes: Vec<Box<str>>,
    /// What happened.
    pub(crate) what: What,
}

/// What happened.
#[derive(Debug, Clone)]
pub(crate) enum What {
    /// The subject said something, or something became of what it had said.
    Said { purpose: Box<str>, channel: Box<str>, recipient: Box<str>, record: Record },
    /// The subject was erased.
    Erased(Time),
    /// Something that cannot be read.
    Unreadable(UnreadableMark),
    /// The processing of its data was restricted, or a restriction was lifted.
    Restricted(Restriction),
    /// It was said when the subject was born.
    Born(Birth),
}

impl Happening {
    /// The state that this event alone makes.
    pub(crate) fn state(&self) -> SubjectState {
        let state = match &self.what {
            What::Said { purpose, channel, recipient, record } => {
                SubjectState::of_record(purpose, channel, recipient, record.clone())
            }
            What::Erased(at) => SubjectState::of_erasure(*at),
            What::Unreadable(mark) => SubjectState::of_unreadable(mark.clone()),
            What::Restricted(restriction) => SubjectState::of_restriction(restriction.clone()),
            What::Born(birth) => SubjectState::of_birth(*birth),
        };
        state.superseding(&self.supersedes)
    }
}

/// The state that these events make, joined in this order.
pub(crate) fn state_of<'a>(history: impl IntoIterator<Item = &'a Happening>) -> SubjectState {
    let mut state = SubjectState::default();
    for happening in history {
        state.join(happening.state());
    }
    state
}
