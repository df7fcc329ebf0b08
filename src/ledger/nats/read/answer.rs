//! What a server sends back to one direct get of several messages: the messages, then a line under them.

use async_nats::{HeaderMap, StatusCode};

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) messages: Vec<Message>,
    pub(super) end: End,
}

/// One message of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) subject: String,
    pub(super) sequence: u64,
    pub(super) payload: Vec<u8>,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The server has sent what it was asked for, as far as an answer goes.
    Sent {
        /// Up to which sequence the server had looked; only said of the last messages of subjects.
        extent: Option<u64>,
        /// Messages that did not fit into the answer.
        pending: u64,
    },
    /// The server has found nothing. It does not say how far it has looked.
    Nothing,
}

/// What is no whole answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stray {
    #[error("the question could not be sent")]
    NotSent,
    #[error("no server of the stream takes direct gets now")]
    NobodyThere,
    #[error("the server refuses the question: {0}")]
    Refused(String),
    #[error("a message of the answer was lost on the way")]
    Lost,
    #[error("the answer is not understood: {0}")]
    NotUnderstood(&'static str),
}

/// An answer of which not all has come.
#[derive(Debug, Default)]
pub(super) struct Partial {
    messages: Vec<Message>,
}

impl Partial {
    /// Takes one message that came back. Gives the whole answer once its end has come.
    ///
    /// # Errors
    /// If the answer is not whole, or there will be none.
    pub(super) fn take(&mut self, came: async_nats::Message) -> Result<Option<Answer>, Stray> {
        let headers = came.headers.unwrap_or_default();
        let description = || came.description.clone().unwrap_or_default();
        match came.status {
            // INVARIANT: only messages of the stream come without a status.
            None => {
                let message = Message {
                    subject: text(&headers, "Nats-Subject")?.to_owned(),
                    sequence: number(&headers, "Nats-Sequence")?,
                    payload: came.payload.to_vec(),
                };
                self.after(number(&headers, "Nats-Last-Sequence")?)?;
                self.messages.push(message);
                Ok(None)
            }
            Some(status) if status.as_u16() == 204 => {
                self.after(number(&headers, "Nats-Last-Sequence")?)?;
                let extent = headers.get("Nats-UpTo-Sequence").map(|_| number(&headers, "Nats-UpTo-Sequence"));
                let pending = number(&headers, "Nats-Num-Pending")?;
                let end = End::Sent { extent: extent.transpose()?, pending };
                Ok(Some(Answer { messages: std::mem::take(&mut self.messages), end }))
            }
            Some(StatusCode::NOT_FOUND) if self.messages.is_empty() => {
                Ok(Some(Answer { messages: Vec::new(), end: End::Nothing }))
            }
            Some(StatusCode::NOT_FOUND) => Err(Stray::Lost),
            Some(StatusCode::NO_RESPONDERS) => Err(Stray::NobodyThere),
            Some(status) => Err(Stray::Refused(format!("{} {}", status.as_u16(), description()))),
        }
    }

    /// Each message names the one that was sent before it; the first and an empty end name none. Between servers a
    /// message is sent once and may be lost.
    fn after(&self, before: u64) -> Result<(), Stray> {
        let have = self.messages.last().map_or(0, |message| message.sequence);
        if have == before { Ok(()) } else { Err(Stray::Lost) }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, Stray> {
    // A writer's own header of that name would stand before the server's.
    let mut values = headers.get_all(name);
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value.as_str()),
        _ => Err(Stray::NotUnderstood(name)),
    }
}

fn number(headers: &HeaderMap, name: &'static str) -> Result<u64, Stray> {
    text(headers, name)?.parse().map_err(|_| Stray::NotUnderstood(name))
}
