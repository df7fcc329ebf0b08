//! Reading the central ledger for a person: its last messages, or all, as they were written.
//!
//! Nothing is decided by what is read here, so that it is read with the client's own ordered consumer and without a proof
//! of freshness.

use std::collections::VecDeque;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::Stream;
use prost::Message as _;
use tokio_stream::StreamExt as _;

use super::subject::{About, CATALOGUE};
use super::{BEATS, Config, OpenError, Opened, open};
use crate::domain::{Event, Position, Unreadable};
use crate::ledger::LedgerId;
use crate::ledger::codec::{decode_binary, refuse_binary};
use crate::proto::v1;

/// The subjects of events, without the beats between them.
pub(super) const EVENTS: [&str; 6] = [
    "consent.ledger.*.consent",
    "consent.ledger.*.link",
    "consent.ledger.*.erasure",
    "consent.ledger.*.restriction",
    "consent.ledger.*.birth",
    CATALOGUE,
];
/// Where looking back for so many events begins, in messages; each look goes four times further.
const WINDOW_MIN: u64 = 256;

/// One event as it was written, or what could be told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The sequence of its message.
    pub position: Position,
    /// The event on the wire, and what it says.
    pub event: Result<(v1::LedgerEvent, Event), Unreadable>,
}

/// The ledger's messages, from some place on.
pub struct Tail {
    ledger: LedgerId,
    stream: String,
    messages: pull::Ordered,
    /// The last message at the time of opening: nothing was behind it.
    last: u64,
    /// Up to where all was read.
    read: u64,
    /// The most events that are kept back until `last` was read; `None` keeps none back.
    most: Option<usize>,
    kept: VecDeque<Told>,
    /// Whether it was said that all was read that was there.
    said_end: bool,
}

/// Why the ledger cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// It cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The server does not give its messages.
    #[error("the ledger `{stream}` cannot be read: {problem}; may this account make consumers of the stream?")]
    Unread {
        /// The stream.
        stream: String,
        /// What the server or the client says.
        problem: String,
    },
}

impl Tail {
    /// Opens the ledger to read its last events, so many of them, and what comes after; without a number all of it.
    ///
    /// # Errors
    /// If it cannot be used, or not read.
    pub async fn open(config: &Config, lines: Option<usize>) -> Result<Self, TailError> {
        let Opened { context, seen, ledger, .. } = open(config).await?;
        let unread = |problem: &dyn std::fmt::Display| TailError::Unread {
            stream: config.stream.clone(),
            problem: problem.to_string(),
        };
        let stream = context.get_stream(&config.stream).await.map_err(|error| unread(&error))?;
        let last = seen.info.state.last_sequence;
        let behind = match lines {
            None => 0,
            Some(lines) => before_last(&stream, lines, last).await.map_err(|error| unread(&error))?,
        };
        let ordered = pull::OrderedConfig { deliver_policy: from(behind), ..pull::OrderedConfig::default() };
        let consumer = stream.create_consumer(ordered).await.map_err(|error| unread(&error))?;
        let messages = consumer.messages().await.map_err(|error| unread(&error))?;
        let (stream, most) = (config.stream.clone(), lines);
        Ok(Self { ledger, stream, messages, last, read: behind, most, kept: VecDeque::new(), said_end: false })
    }

    /// Which ledger it is.
    #[must_use]
    pub const fn ledger(&self) -> LedgerId {
        self.ledger
    }

    /// The next event. `None` where all was read that was there when it was opened, once; then it waits for what comes.
    ///
    /// # Errors
    /// If the server does not give it.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub async fn next(&mut self) -> Result<Option<Told>, TailError> {
        loop {
            if self.read >= self.last {
                if let Some(told) = self.kept.pop_front() {
                    return Ok(Some(told));
                }
                self.most = None;
                if !std::mem::replace(&mut self.said_end, true) {
                    return Ok(None);
                }
            }
            if let Some(told) = self.read_on().await? {
                let Some(most) = self.most else { return Ok(Some(told)) };
                self.kept.push_back(told);
                if self.kept.len() > most {
                    self.kept.pop_front();
                }
            }
        }
    }

    /// The next message, if it is one to be told.
    async fn read_on(&mut self) -> Result<Option<Told>, TailError> {
        let unread = |problem: String| TailError::Unread { stream: self.stream.clone(), problem };
        let message = match self.messages.next().await {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(unread(error.to_string())),
            None => return Err(unread("its messages ended".to_owned())),
        };
        let sequence = message.info().map_err(|error| unread(error.to_string()))?.stream_sequence;
        // The client begins anew from the beginning where it lost its consumer before the first message.
        if sequence <= self.read {
            return Ok(None);
        }
        self.read = sequence;
        Ok(tell(&message.subject, &message.payload, Position(sequence)))
    }
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tail").field("stream", &self.stream).field("read", &self.read).finish_non_exhaustive()
    }
}

/// What a message says; nothing where it is a beat.
fn tell(subject: &str, payload: &[u8], position: Position) -> Option<Told> {
    if subject == BEATS {
        return None;
    }
    let about = About::parse(subject);
    let key = match about {
        Some(About::Subject(key, _)) => Some(key),
        Some(About::Catalogue) | None => None,
    };
    let event = match about {
        None => Err(refuse_binary(payload, position, None, "a subject that is none of the ledger's")),
        Some(_) => decode_binary(payload, position, key).map(|event| {
            // INVARIANT: what was just decoded decodes again.
            (v1::LedgerEvent::decode(payload).unwrap_or_default(), event)
        }),
    };
    Some(Told { position, event })
}

/// The sequence behind which at least so many events lie, or 0.
async fn before_last(
    stream: &Stream,
    lines: usize,
    last: u64,
) -> Result<u64, async_nats::jetstream::stream::ConsumerError> {
    let lines = u64::try_from(lines).unwrap_or(u64::MAX);
    let mut window = lines.saturating_mul(2).max(WINDOW_MIN);
    loop {
        let behind = last.saturating_sub(window);
        if behind == 0 || lines == 0 {
            return Ok(if lines == 0 { last } else { 0 });
        }
        let counting = pull::Config {
            deliver_policy: from(behind),
            ack_policy: AckPolicy::None,
            filter_subjects: EVENTS.map(str::to_owned).to_vec(),
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        if stream.create_consumer(counting).await?.cached_info().num_pending >= lines {
            return Ok(behind);
        }
        window = window.saturating_mul(4);
    }
}

fn from(behind: u64) -> DeliverPolicy {
    DeliverPolicy::ByStartSequence { start_sequence: behind + 1 }
}
