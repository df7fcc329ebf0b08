//! The central ledger on NATS `JetStream`: one stream keeps the whole history, every writer and sidecar shares it.
//!
//! What stands where, for writers and followers alike:
//! - *Stream* [`DEFAULT_STREAM`], with the subjects [`SUBJECTS`]. A message's *position* is its sequence in the stream, so
//!   that positions are contiguous from 1.
//! - *Subject* of a message: see [`subject`]. It holds a keyed hash and the kind of the event, never an identifier.
//! - *Payload*: protobuf's binary form of `consent.v1.LedgerEvent` ([`payload`]).
//! - *Message id*: see [`message_id`].
//! - A *link* stands in the stream twice, under the key of either subject, so that reading one subject's messages finds
//!   its links. Events are idempotent: whoever reads both joins the same twice.
//! - *Metadata* of the stream: [`SUBJECT_KEY_CHECK`], by which a writer or sidecar with another subject key is told.
//!
//! INVARIANT: no raw identifier stands in a subject, a header or the stream's settings (P6). The payloads are the ledger.

mod blocking;
mod follow;
mod known;
mod open;
mod read;
pub mod subject;
mod tail;
mod write;

use std::path::PathBuf;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream;
use async_nats::{HeaderMap, Message};
use data_encoding::HEXLOWER;
use prost::Message as _;
use ring::digest::{self, SHA256};

use super::{LedgerId, Mark, SubjectHasher};
use crate::nats::{self, KeptStream};
use crate::proto::v1;

pub use blocking::{NatsWriter, WriterError};
pub use follow::{BEATS, DEFAULT_FRESHNESS_INTERVAL, NatsSource};
pub use open::{OpenError, Opened, open, subject_key};
pub use read::{BeginError, Beginning, ReadError, SubjectReader};
pub use tail::{Tail, TailError, Told};
pub use write::{DEFAULT_PATIENCE, NatsLedger, WriteError};

/// The stream's name unless another is configured.
pub const DEFAULT_STREAM: &str = "CONSENT_LEDGER";
/// The subjects that the stream takes.
pub const SUBJECTS: &str = "consent.ledger.>";
/// The stream's metadata that tells one subject key from another: [`subject_key_check`].
pub const SUBJECT_KEY_CHECK: &str = "consentd.subject_key_check";

/// Which stream on which servers, and under which key its subjects are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The servers, and how they are spoken to.
    pub connection: nats::Config,
    /// The stream's name.
    pub stream: String,
    /// The file of the subject key: the same 32 bytes for all writers and sidecars of one ledger.
    pub subject_key_file: PathBuf,
}

/// How the ledger's stream must be, under a subject key.
#[must_use]
pub fn kept_stream(name: &str, hasher: &SubjectHasher) -> KeptStream {
    KeptStream {
        name: name.to_owned(),
        description: "the consent ledger; nothing in it is ever changed or removed",
        subjects: SUBJECTS,
        replicas: None,
        may_purge: false,
        metadata: vec![(SUBJECT_KEY_CHECK, subject_key_check(hasher))],
    }
}

/// What the stream's metadata says under [`SUBJECT_KEY_CHECK`] where this is the subject key: 16 hexadecimal digits.
#[must_use]
pub fn subject_key_check(hasher: &SubjectHasher) -> String {
    HEXLOWER.encode(&hasher.shared_check())
}

/// Which ledger a stream is: the first 8 bytes of the SHA-256 of `consentd ledger on NATS`, a newline, the stream's name,
/// a newline and the time at which it was made, in nanoseconds since 1970 as a decimal number. A stream that was deleted
/// and made again is another ledger.
#[must_use]
pub fn ledger_id(stream: &stream::Info) -> LedgerId {
    let created = stream.created.unix_timestamp_nanos();
    let text = format!("consentd ledger on NATS\n{}\n{created}", stream.config.name);
    LedgerId(first_bytes(&digest::digest(&SHA256, text.as_bytes())))
}

/// A message as the stream keeps it.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    /// Its sequence in the stream.
    pub sequence: u64,
    /// Its subject.
    pub subject: &'a str,
    /// When the server took it, in nanoseconds since 1970.
    pub time_nanos: i128,
    /// Its `Nats-Msg-Id`; empty where it has none.
    pub message_id: &'a str,
    /// What it says.
    pub payload: &'a [u8],
}

impl<'a> Stored<'a> {
    /// A message that was asked for by its sequence.
    #[must_use]
    pub fn of(message: &'a StreamMessage) -> Self {
        Self {
            sequence: message.sequence,
            subject: &message.subject,
            time_nanos: message.time.unix_timestamp_nanos(),
            message_id: id_in(&message.headers),
            payload: &message.payload,
        }
    }

    /// A message that a consumer delivered, with its place in the stream.
    pub(super) fn placed(sequence: u64, time_nanos: i128, message: &'a Message) -> Self {
        Self {
            sequence,
            subject: &message.subject,
            time_nanos,
            message_id: message.headers.as_ref().map_or("", id_in),
            payload: &message.payload,
        }
    }
}

fn id_in(headers: &HeaderMap) -> &str {
    headers.get(NATS_MESSAGE_ID).map_or("", |id| id.as_str())
}

/// The fingerprint of a message, by which a stream that was rewritten up to it is known: the first 16 bytes of the
/// SHA-256 of its sequence (8 bytes, big-endian), its time (16 bytes, big-endian), and its subject, message id and
/// payload, each after its length in 8 bytes, big-endian.
#[must_use]
pub fn mark(message: Stored<'_>) -> [u8; 16] {
    let mut context = digest::Context::new(&SHA256);
    context.update(&message.sequence.to_be_bytes());
    context.update(&message.time_nanos.to_be_bytes());
    for part in [message.subject.as_bytes(), message.message_id.as_bytes(), message.payload] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    first_bytes(&context.finish())
}

/// The payload that stands for an event.
#[must_use]
pub fn payload(event: &v1::LedgerEvent) -> Vec<u8> {
    event.encode_to_vec()
}

/// The `Nats-Msg-Id` of a message: the first 16 bytes of the SHA-256 of its subject, a zero byte and its payload, in hex.
///
/// It stands for the content and not for the event's id: the server drops a message whose id it knows, and of two
/// different events that were given one id by mistake, the one that is dropped might be the withdrawal.
#[must_use]
pub fn message_id(subject: &str, payload: &[u8]) -> String {
    HEXLOWER.encode(&content_mark(subject, payload))
}

/// The bytes of a [`message_id`].
fn content_mark(subject: &str, payload: &[u8]) -> Mark {
    let mut context = digest::Context::new(&SHA256);
    context.update(subject.as_bytes());
    context.update(&[0]);
    context.update(payload);
    first_bytes(&context.finish())
}

fn first_bytes<const N: usize>(digest: &digest::Digest) -> [u8; N] {
    // INVARIANT: a SHA-256 has 32 bytes, and no more are asked for.
    digest.as_ref().first_chunk().copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: Stored<'_> =
        Stored { sequence: 7, subject: "consent.ledger.a.link", time_nanos: 1_000, message_id: "m", payload: b"p" };

    #[test]
    fn the_mark_tells_every_part_and_does_not_change() {
        assert_eq!(HEXLOWER.encode(&mark(STORED)), "fcc9e379bcb5a4bdb5cad9bf9bf92d01");
        let others = [
            Stored { sequence: 8, ..STORED },
            Stored { subject: "consent.ledger.b.link", ..STORED },
            Stored { time_nanos: 1_001, ..STORED },
            Stored { message_id: "", payload: b"mp", ..STORED },
            Stored { message_id: "mp", payload: b"", ..STORED },
        ];
        for other in others {
            assert_ne!(mark(other), mark(STORED), "{other:?}");
        }
    }

    #[test]
    fn the_message_id_stands_for_the_content() {
        let one = message_id("consent.ledger.a.consent", b"given");
        assert_eq!(one, message_id("consent.ledger.a.consent", b"given"));
        assert_ne!(one, message_id("consent.ledger.a.consent", b"withdrawn"));
        assert_ne!(one, message_id("consent.ledger.b.consent", b"given"));
        assert_eq!(one.len(), 32);
    }
}
