//! Writing to the central ledger, beside any number of other writers.
//!
//! An event is acknowledged once its stream has it: on a cluster, once a majority of its servers has. A message that gets
//! no answer is sent again with the same message id, by which the server knows it, so that it stands there once. When the
//! time for that is over, it is not known whether it stands there, and the error says so. To write the same event again
//! is always safe: events keep their ids, and a repetition changes nothing.

mod error;

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{Context, ErrorCode};
use tokio::time::{Instant, sleep, timeout_at};

use super::subject::About;
use super::{Config, OpenError, Opened, message_id, open, payload};
use crate::domain::Position;
use crate::ledger::{LedgerId, SubjectHasher, Token, validate};
use crate::proto::v1;

pub use error::WriteError;

/// How long a message is sent again before its fate is said to be unknown: 30 s, in which a cluster elects a new leader
/// and a server restarts, and half of what the shortest window of message ids allows.
pub const DEFAULT_PATIENCE: Duration = Duration::from_secs(30);

/// How many messages may wait for their acknowledgement: enough to hide a round trip of 10 ms at 25,000 a second.
const IN_FLIGHT_MAX: usize = 256;
/// Between two attempts of one message.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// What a message takes beside its payload, in bytes: its headers.
const HEADERS_BYTES_MAX: usize = 512;

/// A central ledger, open for writing. Clones share the connection.
#[derive(Debug, Clone)]
pub struct NatsLedger {
    opened: Opened,
    stream: String,
    /// How long one attempt waits.
    attempt_timeout: Duration,
    patience: Duration,
}

/// One message on its way.
struct Message {
    /// Which event of the batch it says.
    event: usize,
    subject: String,
    id: String,
    payload: Vec<u8>,
}

/// A message that was sent.
struct Sent {
    at: Instant,
    answer: Result<PublishAckFuture, PublishError>,
}

/// Why one message was not acknowledged.
struct Unacknowledged {
    problem: String,
    why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The server said no.
    Refused,
    /// No attempt reached the stream.
    Away,
    /// An attempt may have.
    Unknown,
}

/// How far a batch is.
struct Progress {
    /// The greatest sequence of each event's messages that are acknowledged; 0 is none.
    positions: Vec<u64>,
    /// How many messages of each event are not acknowledged.
    awaited: Vec<usize>,
}

/// What one attempt came to that may be made again.
struct Attempt {
    problem: String,
    may_have_arrived: bool,
}

impl NatsLedger {
    /// Opens the ledger for writing.
    ///
    /// # Errors
    /// As [`open`] says.
    ///
    /// # Cancel safety
    /// Nothing is left behind when it is dropped.
    pub async fn open(config: &Config) -> Result<Self, OpenError> {
        Ok(Self {
            opened: open(config).await?,
            stream: config.stream.clone(),
            attempt_timeout: config.connection.request_timeout,
            patience: DEFAULT_PATIENCE,
        })
    }

    /// The same, with another time for which a message is sent again. Less than half a minute makes an unknown outcome
    /// more likely where a leader is lost; more than a minute makes the server forget what it has.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Which ledger it is.
    #[must_use]
    pub const fn id(&self) -> LedgerId {
        self.opened.ledger
    }

    /// For requests to the stream.
    pub(super) const fn context(&self) -> &Context {
        &self.opened.context
    }

    /// The stream's name.
    pub(super) fn stream(&self) -> &str {
        &self.stream
    }

    /// The names of its subjects.
    pub(super) const fn hasher(&self) -> &SubjectHasher {
        &self.opened.hasher
    }

    /// Writes events. When this returns all of them are acknowledged by the stream. Gives the token of each, behind
    /// which it is in force. Of a link, that is the token of the later of its two messages.
    ///
    /// # Errors
    /// As [`WriteError`] says of each.
    ///
    /// # Cancel safety
    /// When it is dropped, any of the events may have been written. To write them again is safe.
    pub async fn append(&self, events: &[v1::LedgerEvent]) -> Result<Vec<Token>, WriteError> {
        let messages = self.messages(events)?;
        let mut progress = Progress::of(&messages, events.len());
        let mut failure: Option<Unacknowledged> = None;
        let mut in_flight = VecDeque::with_capacity(IN_FLIGHT_MAX);
        let mut rest = messages.into_iter();
        loop {
            // After a failure nothing more is sent, and what is on its way is only waited for, so as to say what is written.
            while failure.is_none() && in_flight.len() < IN_FLIGHT_MAX {
                let Some(message) = rest.next() else { break };
                let sent = self.send(&message).await;
                in_flight.push_back((message, sent));
            }
            let Some((message, sent)) = in_flight.pop_front() else { break };
            let patience = if failure.is_none() { self.patience } else { Duration::ZERO };
            match self.settle(&message, sent, patience).await {
                Ok(sequence) => progress.acknowledged(message.event, sequence),
                Err(more) if more.why == Why::Unknown || failure.is_none() => failure = Some(more),
                Err(_) => {}
            }
        }
        if let Some(failure) = failure {
            return Err(self.failure(failure, &progress));
        }
        let token = |position| Token { ledger: self.id(), position: Position(position) };
        Ok(progress.positions.into_iter().map(token).collect())
    }

    /// The messages of a batch, if every event of it can be written.
    fn messages(&self, events: &[v1::LedgerEvent]) -> Result<Vec<Message>, WriteError> {
        let of = events.len();
        let limit = self.opened.context.client().max_payload();
        let mut messages = Vec::with_capacity(of);
        for (index, event) in events.iter().enumerate() {
            validate(event.clone()).map_err(|error| WriteError::Event { index, of, error })?;
            let payload = payload(event);
            let bytes = payload.len() + HEADERS_BYTES_MAX;
            if bytes > limit {
                return Err(WriteError::TooLong { index, of, bytes, limit });
            }
            for about in About::of(event, &self.opened.hasher) {
                let subject = about.to_string();
                let id = message_id(&subject, &payload);
                messages.push(Message { event: index, subject, id, payload: payload.clone() });
            }
        }
        Ok(messages)
    }

    async fn send(&self, message: &Message) -> Sent {
        let publish = PublishMessage::build()
            .headers(HeaderMap::new())
            .message_id(&message.id)
            .expected_stream(&self.stream)
            .payload(message.payload.clone().into());
        let at = Instant::now();
        Sent { at, answer: self.opened.context.send_publish(message.subject.clone(), publish).await }
    }

    /// The sequence under which the stream has a message; it is sent again while there is time.
    async fn settle(&self, message: &Message, mut sent: Sent, patience: Duration) -> Result<u64, Unacknowledged> {
        let refused = |problem| Unacknowledged { problem, why: Why::Refused };
        let since = sent.at;
        let mut why = Why::Away;
        let mut was_sent_again = false;
        loop {
            let answer = match sent.answer {
                // Of many that were lost with a leader each has waited already when its turn comes.
                Ok(answer) => timeout_at(sent.at + self.attempt_timeout, answer.into_future())
                    .await
                    .unwrap_or_else(|_| Err(PublishError::new(PublishErrorKind::TimedOut))),
                Err(error) => Err(error),
            };
            let attempt = match answer {
                Ok(ack) if ack.stream == self.stream && ack.sequence > 0 => return Ok(ack.sequence),
                Ok(ack) => return Err(refused(format!("the stream `{}` answers for it", ack.stream))),
                Err(error) => attempt(&error).map_err(|problem| match why {
                    // What is refused now may have been taken before.
                    Why::Unknown => Unacknowledged { problem, why },
                    Why::Refused | Why::Away => refused(problem),
                })?,
            };
            if attempt.may_have_arrived {
                why = Why::Unknown;
            }
            if since.elapsed() >= patience {
                return Err(Unacknowledged { problem: attempt.problem, why });
            }
            if was_sent_again {
                sleep(RETRY_PAUSE).await;
            }
            was_sent_again = true;
            sent = self.send(message).await;
        }
    }

    fn failure(&self, Unacknowledged { problem, why }: Unacknowledged, progress: &Progress) -> WriteError {
        let (stream, patience) = (self.stream.clone(), self.patience);
        let (written, of) = (progress.written(), progress.awaited.len());
        match why {
            // Half of a link may be in the ledger: all of it is not known to be, nor that nothing is.
            _ if progress.has_halves() => WriteError::Unknown { stream, problem, written, of },
            Why::Unknown => WriteError::Unknown { stream, problem, written, of },
            Why::Refused => WriteError::Refused { stream, problem, written, of },
            Why::Away => WriteError::Away { stream, patience, problem, written, of },
        }
    }
}

impl Progress {
    fn of(messages: &[Message], events: usize) -> Self {
        let mut awaited = vec![0_usize; events];
        for message in messages {
            if let Some(awaited) = awaited.get_mut(message.event) {
                *awaited += 1;
            }
        }
        Self { positions: vec![0; events], awaited }
    }

    fn acknowledged(&mut self, event: usize, sequence: u64) {
        if let Some((position, awaited)) = self.positions.get_mut(event).zip(self.awaited.get_mut(event)) {
            *position = sequence.max(*position);
            *awaited = awaited.saturating_sub(1);
        }
    }

    /// How many events have all their messages acknowledged.
    fn written(&self) -> usize {
        self.awaited.iter().filter(|awaited| **awaited == 0).count()
    }

    /// Whether an event has some of its messages acknowledged and not all.
    fn has_halves(&self) -> bool {
        self.positions.iter().zip(&self.awaited).any(|(position, awaited)| *position > 0 && *awaited > 0)
    }
}

/// Whether an attempt may be made again.
///
/// # Errors
/// What the server said, if it may not.
fn attempt(error: &PublishError) -> Result<Attempt, String> {
    let again = |problem: &str, may_have_arrived| Ok(Attempt { problem: problem.to_owned(), may_have_arrived });
    match error.kind() {
        // Nobody listens for the stream's subjects: it has no leader, or the server has just come up.
        PublishErrorKind::StreamNotFound => again("no stream takes its subjects", false),
        PublishErrorKind::MaxAckPending => again("too many messages wait for an answer", false),
        PublishErrorKind::TimedOut => again("no answer", true),
        PublishErrorKind::BrokenPipe => again("the connection was lost", true),
        PublishErrorKind::WrongLastMessageId
        | PublishErrorKind::WrongLastSequence
        | PublishErrorKind::MaxPayloadExceeded
        | PublishErrorKind::Other => {
            let said = std::error::Error::source(error)
                .and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>());
            match said.map(async_nats::jetstream::Error::error_code) {
                // The same message, sent before, is on its way through the cluster: ask again for its sequence.
                Some(ErrorCode::STREAM_DUPLICATE_MESSAGE_CONFLICT) => again("it is being written", true),
                Some(ErrorCode::CLUSTER_NOT_AVAILABLE | ErrorCode::CLUSTER_NOT_LEADER) => {
                    again("the cluster has no leader", true)
                }
                Some(_) => Err(said.map_or_else(String::new, ToString::to_string)),
                // What came back was no acknowledgement, or nothing was sent at all.
                None => again(&error.to_string(), true),
            }
        }
    }
}
