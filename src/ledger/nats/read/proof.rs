//! What answers prove together. Pure: answers and a position go in, and either it is proved that nothing is missing up
//! to there, or not.
//!
//! The copies of a stream are the same log, each as far as it has come: a copy that has a message has all before it. So
//! where one copy says how far it goes, and which message of a subject is its last, any copy that gives that message
//! gives the whole history up to it, if it gives every message before. What a copy does *not* have proves nothing.

use std::collections::BTreeMap;

use super::answer::{Answer, End, Message, Stray};
use crate::domain::Position;

/// How far a copy of the stream goes, and the last message of each subject there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extent {
    lasts: BTreeMap<String, u64>,
}

/// The messages of one subject, from the first one on, without a gap.
#[derive(Debug)]
pub(super) struct History {
    subject: String,
    messages: Vec<Message>,
    bytes: usize,
}

/// Why nothing is proved. It is asked again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unproved {
    #[error(transparent)]
    Stray(#[from] Stray),
    #[error("the server has nothing at all that was asked for, and does not say how far it has looked")]
    Empty,
    #[error("the server's copy of the stream ends at {has}, before {wanted}")]
    Short { has: u64, wanted: u64 },
    #[error("the server's copy of the stream lags behind another's")]
    Behind,
    #[error("more was found about the subject than is kept")]
    TooMuch,
}

impl Extent {
    /// What an answer with the last messages of subjects says, if it is of a copy that has come to the position.
    pub(super) fn of(answer: &Answer, up_to: Position) -> Result<Self, Unproved> {
        let End::Sent { extent, pending } = answer.end else { return Err(Unproved::Empty) };
        let has = extent.ok_or(Stray::NotUnderstood("Nats-UpTo-Sequence"))?;
        if has < up_to.0 {
            return Err(Unproved::Short { has, wanted: up_to.0 });
        }
        // A server stops early where an answer grows too big; then a subject that is not in it may have messages.
        if pending > 0 {
            return Err(Stray::Lost.into());
        }
        Ok(Self { lasts: answer.messages.iter().map(|last| (last.subject.clone(), last.sequence)).collect() })
    }
}

impl History {
    /// Nothing yet of a subject.
    pub(super) fn new(subject: &str) -> Self {
        Self { subject: subject.to_owned(), messages: Vec::new(), bytes: 0 }
    }

    /// Whose messages.
    pub(super) fn subject(&self) -> &str {
        &self.subject
    }

    /// The sequence of the last message; 0 where there is none.
    pub(super) fn last(&self) -> u64 {
        self.messages.last().map_or(0, |message| message.sequence)
    }

    /// Whether it holds all that an extent holds.
    pub(super) fn reaches(&self, extent: &Extent) -> bool {
        extent.lasts.get(&self.subject).is_none_or(|last| self.last() >= *last)
    }

    /// Adds the messages that follow. An answer without any adds nothing, and proves nothing.
    pub(super) fn take(&mut self, answer: Answer, bytes_max: usize) -> Result<(), Unproved> {
        for message in answer.messages {
            if message.subject != self.subject || message.sequence <= self.last() {
                return Err(Stray::NotUnderstood("the order of messages").into());
            }
            self.bytes = self.bytes.saturating_add(message.payload.len());
            if self.bytes > bytes_max {
                return Err(Unproved::TooMuch);
            }
            self.messages.push(message);
        }
        Ok(())
    }

    pub(super) fn into_messages(self) -> Vec<Message> {
        self.messages
    }
}

#[cfg(test)]
mod tests;
