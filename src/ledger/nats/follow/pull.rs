//! Pulling a stream's messages through a consumer of our own, in order and without a gap.
//!
//! The server is told to forget each message as it sends it, so that whatever is lost on the way is gone for this
//! consumer: a sequence that is not the next one, a status that ends a request for another reason than its end, or
//! silence, each ends the consumer, and another one begins behind what was received.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::{Client, Message, StatusCode, Subscriber};
use tokio::time::Instant;
use tokio_stream::Stream as _;

use crate::ledger::BATCH_EVENTS_MAX;

/// Messages asked for in one request. Half of it is under way while the other half is worked on, and all of it fits
/// twice into what the client buffers of a subscription (65,536); what did not would be dropped there.
const BATCH: usize = 16_384;
/// The most bytes asked for in one request: 32 MiB, which bounds what lies in memory.
const BATCH_BYTES: usize = 32 << 20;
/// How long a request stands: 30 s.
const EXPIRES: Duration = Duration::from_secs(30);
/// How often the server says that the consumer lives, while there are no messages.
pub(super) const HEARTBEAT: Duration = Duration::from_millis(500);
/// The longest silence: three heartbeats.
pub(super) const SILENCE_MAX: Duration = Duration::from_millis(1500);
/// How long the server keeps a consumer that nobody asks: 30 s.
const INACTIVE: Duration = Duration::from_secs(30);

/// A consumer's end of the stream.
#[derive(Debug)]
pub(super) struct Pull {
    client: Client,
    inbox: String,
    subject: String,
    messages: Subscriber,
    request: Vec<u8>,
    /// Messages that the server may still send without being asked again.
    outstanding: usize,
    /// The sequence of the last message that was received, of our consumer's first before that.
    received: u64,
    heard: Instant,
    /// Why nothing more comes.
    lost: Option<Lost>,
}

/// Why a consumer is given up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Lost {
    /// A message that is not the next.
    #[error("message {found} came where {wanted} was due")]
    Sequence {
        /// Its sequence.
        found: u64,
        /// The one that was due.
        wanted: u64,
    },
    /// What came is no message of a stream.
    #[error("a message without its place in the stream came")]
    Place,
    /// The server ended it.
    #[error("the server ended it: {0}")]
    Ended(String),
    /// Nothing was heard for too long.
    #[error("nothing was heard of it for {} ms", SILENCE_MAX.as_millis())]
    Silent,
    /// The connection is gone.
    #[error("the connection was lost")]
    Connection,
}

/// One message with its place in the stream.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) sequence: u64,
    /// When the server took it, in nanoseconds since 1970.
    pub(super) time_nanos: i128,
    pub(super) message: Message,
}

/// How a consumer is made that begins behind a sequence.
pub(super) fn consumer(behind: u64) -> pull::Config {
    pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: behind + 1 },
        ack_policy: AckPolicy::None,
        memory_storage: true,
        num_replicas: 1,
        inactive_threshold: INACTIVE,
        ..pull::Config::default()
    }
}

impl Pull {
    /// Begins to pull from a consumer that begins behind `behind`.
    pub(super) async fn begin(
        client: &Client,
        stream: &str,
        consumer: &str,
        behind: u64,
    ) -> Result<Self, async_nats::SubscribeError> {
        let inbox = client.new_inbox();
        let messages = client.subscribe(inbox.clone()).await?;
        // The server ends a request before a message that does not fit into what is left of its bytes.
        let bytes = BATCH_BYTES.max(client.server_info().max_payload.saturating_mul(2));
        let request = serde_json::json!({
            "batch": BATCH,
            "max_bytes": bytes,
            "expires": nanos(EXPIRES),
            "idle_heartbeat": nanos(HEARTBEAT),
        });
        Ok(Self {
            client: client.clone(),
            inbox,
            subject: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"),
            messages,
            request: request.to_string().into_bytes(),
            outstanding: 0,
            received: behind,
            heard: Instant::now(),
            lost: None,
        })
    }

    /// The next messages, as many as are there.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub(super) async fn next(&mut self) -> Result<Vec<Placed>, Lost> {
        loop {
            if self.outstanding <= BATCH / 2 {
                let asked = self
                    .client
                    .publish_with_reply(self.subject.clone(), self.inbox.clone(), self.request.clone().into())
                    .await;
                asked.map_err(|_| Lost::Connection)?;
                self.outstanding += BATCH;
            }
            // Without a budget: the number of messages is one.
            let came = tokio::task::unconstrained(std::future::poll_fn(|cx| self.poll_messages(cx))).await?;
            if !came.is_empty() {
                return Ok(came);
            }
        }
    }

    /// Whether the server was silent for too long.
    pub(super) fn is_silent(&self) -> bool {
        self.heard.elapsed() > SILENCE_MAX
    }

    /// Excuses the time in which nobody listened.
    pub(super) fn listened_again(&mut self) {
        self.heard = Instant::now();
    }

    fn poll_messages(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<Vec<Placed>, Lost>> {
        if let Some(lost) = self.lost.clone() {
            return Poll::Ready(Err(lost));
        }
        let mut came = Vec::new();
        let mut heard = false;
        while came.len() < BATCH_EVENTS_MAX && self.lost.is_none() {
            let message = match Pin::new(&mut self.messages).poll_next(cx) {
                Poll::Ready(Some(message)) => message,
                Poll::Ready(None) => {
                    self.lost = Some(Lost::Connection);
                    break;
                }
                Poll::Pending if heard => break,
                Poll::Pending => return Poll::Pending,
            };
            heard = true;
            match self.take(message) {
                Ok(placed) => came.extend(placed),
                Err(lost) => self.lost = Some(lost),
            }
        }
        self.heard = Instant::now();
        // What came before the loss is good.
        match self.lost.clone().filter(|_| came.is_empty()) {
            Some(lost) => Poll::Ready(Err(lost)),
            None => Poll::Ready(Ok(came)),
        }
    }

    /// A message of the stream, or nothing where it was a status of the request.
    fn take(&mut self, message: Message) -> Result<Option<Placed>, Lost> {
        if let Some(status) = message.status.filter(|status| *status != StatusCode::OK) {
            let description = message.description.as_deref().unwrap_or_default();
            match Status::of(status.as_u16(), description) {
                Status::Alive => {}
                Status::RequestEnded => {
                    let left = message.headers.as_ref().and_then(|headers| headers.get("Nats-Pending-Messages"));
                    let left = left.and_then(|left| left.as_str().parse().ok()).unwrap_or(BATCH);
                    self.outstanding = self.outstanding.saturating_sub(left);
                }
                Status::ConsumerEnded => {
                    return Err(Lost::Ended(format!("{} {description}", status.as_u16())));
                }
            }
            return Ok(None);
        }
        let place = message.reply.as_deref().and_then(parse_place);
        let (sequence, time_nanos) = place.ok_or(Lost::Place)?;
        let wanted = self.received + 1;
        if sequence != wanted {
            return Err(Lost::Sequence { found: sequence, wanted });
        }
        self.received = sequence;
        self.outstanding = self.outstanding.saturating_sub(1);
        Ok(Some(Placed { sequence, time_nanos, message }))
    }
}

/// What a status means for a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    /// A heartbeat.
    Alive,
    /// The request has ended as requests do; the next one goes on.
    RequestEnded,
    /// Nothing more comes.
    ConsumerEnded,
}

impl Status {
    /// Source: nats-server 2.15, `server/consumer.go`.
    fn of(code: u16, description: &str) -> Self {
        match (code, description) {
            (100, _) => Self::Alive,
            (408, _) | (409, "Batch Completed" | "Message Size Exceeds MaxBytes") => Self::RequestEnded,
            _ => Self::ConsumerEnded,
        }
    }
}

/// Sequence in the stream and time in nanoseconds, as the subject for acknowledging a message tells them. It is
/// `$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<consumer's sequence>.<nanoseconds>.<pending>`, or has a domain and
/// an account before the stream and may go on behind. Source: ADR-15.
fn parse_place(reply: &str) -> Option<(u64, i128)> {
    let parts = reply.strip_prefix("$JS.ACK.")?;
    let before = match parts.split('.').count() {
        7 => 3,
        9.. => 5,
        _ => return None,
    };
    let mut parts = parts.split('.').skip(before);
    let sequence = parts.next()?.parse().ok()?;
    let time = parts.nth(1)?.parse().ok()?;
    Some((sequence, time))
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_in_both_forms() {
        let old = "$JS.ACK.CONSENT_LEDGER.c.1.4711.3.1700000000123456789.7";
        let new = "$JS.ACK._.hash.CONSENT_LEDGER.c.1.4711.3.1700000000123456789.7";
        for reply in [old.to_owned(), new.to_owned(), format!("{new}.token"), format!("{new}.token.more")] {
            assert_eq!(parse_place(&reply), Some((4711, 1_700_000_000_123_456_789)), "{reply}");
        }
        for reply in ["", "_INBOX.x", "$JS.ACK.a.b.1.x.3.4.5", "$JS.ACK.a.b.1.2.3", "$JS.ACK.a.b.1.2.3.4.5.6"] {
            assert_eq!(parse_place(reply), None, "{reply}");
        }
    }

    #[test]
    fn only_an_ordinary_end_of_a_request_is_gone_over() {
        assert_eq!(Status::of(100, "Idle Heartbeat"), Status::Alive);
        for (code, text) in [(408, "Request Timeout"), (409, "Batch Completed"), (409, "Message Size Exceeds MaxBytes")]
        {
            assert_eq!(Status::of(code, text), Status::RequestEnded, "{text}");
        }
        for (code, text) in [
            (404, "No Messages"),
            (409, "Consumer Deleted"),
            (409, "Leadership Change"),
            (409, "Server Shutdown"),
            (503, ""),
            (418, "unheard of"),
        ] {
            assert_eq!(Status::of(code, text), Status::ConsumerEnded, "{text}");
        }
    }
}
