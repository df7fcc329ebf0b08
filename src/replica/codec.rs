//! The bytes of a stored value.
//!
//! ```text
//! 0        1          5
//! ┌────────┬──────────┬────────────────────────┐
//! │ format │ CRC-32   │ protobuf message       │
//! │ u8 = 2 │ u32 LE   │                        │
//! └────────┴──────────┴────────────────────────┘
//! ```
//!
//! The CRC covers the key under which the value is stored, then the message: a value that turns up under another key is
//! as bad as one that changed. Unknown formats and unknown enum values are errors; the store is then rebuilt.

use prost::Message;

use super::texts::Texts;
use crate::domain::{
    Birth, Catalogue, Collection, Day, Defects, LegalBasis, Link, Notice, Position, Record, Restriction, Slot,
    StateParts, Status, SubjectKey, SubjectState, Time, UnreadableMark,
};
use crate::ledger::codec::{self, StoredCatalogueError};

/// The format that is written. 1 had less of a catalogue, and kept as unreadable what is read now.
const FORMAT: u8 = 2;
/// Bytes before the message.
const HEADER: usize = 5;

/// Why a stored value is not what was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CodecError {
    #[error("value is cut short")]
    Short,
    #[error("value has format {0}, known is {FORMAT}")]
    Format(u8),
    #[error("checksum of a value does not match")]
    Checksum,
    #[error("value is no message: {0}")]
    Message(#[from] prost::DecodeError),
    #[error("value has an unknown {0}")]
    Word(&'static str),
    #[error("stored catalogue is {0}")]
    Catalogue(#[from] StoredCatalogueError),
}

/// Wraps a message for storing it under a key.
fn seal(key: &[u8], message: &impl Message) -> Vec<u8> {
    let body = message.encode_to_vec();
    let mut value = Vec::with_capacity(HEADER + body.len());
    value.push(FORMAT);
    value.extend_from_slice(&checksum(key, &body).to_le_bytes());
    value.extend_from_slice(&body);
    value
}

/// Unwraps a stored message.
fn open<M: Message + Default>(key: &[u8], value: &[u8]) -> Result<M, CodecError> {
    let (&format, rest) = value.split_first().ok_or(CodecError::Short)?;
    if format != FORMAT {
        return Err(CodecError::Format(format));
    }
    let (crc, body) = rest.split_first_chunk::<4>().ok_or(CodecError::Short)?;
    if u32::from_le_bytes(*crc) != checksum(key, body) {
        return Err(CodecError::Checksum);
    }
    Ok(M::decode(body)?)
}

fn checksum(key: &[u8], body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key);
    crc.update(body);
    crc.finalize()
}

/// A subject's state as stored under `key`.
pub(super) fn encode_state(key: &[u8], state: &SubjectState) -> Vec<u8> {
    seal(key, &StoredState::from(state.to_parts()))
}

/// A subject's state from its stored bytes, with its texts shared.
pub(super) fn decode_state(key: &[u8], value: &[u8], texts: &Texts) -> Result<SubjectState, CodecError> {
    let stored: StoredState = open(key, value)?;
    let mut parts = StateParts::try_from(stored)?;
    texts.share(&mut parts);
    Ok(SubjectState::from_parts(parts))
}

/// A catalogue as stored under `key`, with the event time that orders equal versions.
pub(super) fn encode_catalogue(key: &[u8], catalogue: &Catalogue, event_time: Time) -> Vec<u8> {
    seal(key, &Published { catalogue: codec::encode_catalogue(catalogue), event_time: event_time.unix_millis() })
}

/// A catalogue from its stored bytes.
pub(super) fn decode_catalogue(key: &[u8], value: &[u8]) -> Result<(Catalogue, Time), CodecError> {
    let Published { catalogue, event_time } = open(key, value)?;
    Ok((codec::decode_catalogue(&catalogue)?, Time::from_unix_millis(event_time)))
}

/// The root: what the whole store was built from, and the sum over its content.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Root {
    /// The ledger's identity, 8 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub(super) ledger: Vec<u8>,
    /// The position applied.
    #[prost(uint64, tag = "2")]
    pub(super) position: u64,
    /// The source's fingerprint of what precedes the position, 16 bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub(super) mark: Vec<u8>,
    /// Tells the secret that the keys were made under.
    #[prost(bytes = "vec", tag = "4")]
    pub(super) key_check: Vec<u8>,
    /// The sum over all buckets, 16 bytes.
    #[prost(bytes = "vec", tag = "5")]
    pub(super) sum: Vec<u8>,
    /// How many subjects are stored.
    #[prost(uint64, tag = "6")]
    pub(super) subjects: u64,
    /// How many events were quarantined.
    #[prost(uint64, tag = "7")]
    pub(super) quarantined: u64,
}

/// The root as stored under `key`.
pub(super) fn encode_root(key: &[u8], root: &Root) -> Vec<u8> {
    seal(key, root)
}

/// The root from its stored bytes.
pub(super) fn decode_root(key: &[u8], value: &[u8]) -> Result<Root, CodecError> {
    open(key, value)
}

/// One quarantined event, for people: nothing in it identifies a subject.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct StoredQuarantine {
    #[prost(string, tag = "1")]
    pub(super) event_id: String,
    #[prost(string, tag = "2")]
    pub(super) problem: String,
}

/// A quarantined event as stored under `key`.
pub(super) fn encode_quarantine(key: &[u8], entry: &StoredQuarantine) -> Vec<u8> {
    seal(key, entry)
}

#[derive(Clone, PartialEq, Message)]
struct StoredState {
    #[prost(sint64, optional, tag = "1")]
    erased_at: Option<i64>,
    #[prost(message, repeated, tag = "2")]
    slots: Vec<StoredSlot>,
    #[prost(message, repeated, tag = "3")]
    unreadable: Vec<StoredMark>,
    #[prost(string, repeated, tag = "4")]
    superseded: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    links: Vec<StoredLink>,
    #[prost(message, repeated, tag = "6")]
    restrictions: Vec<StoredRestriction>,
    #[prost(message, optional, tag = "7")]
    birth: Option<StoredBirth>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredRestriction {
    #[prost(string, tag = "1")]
    purpose: String,
    #[prost(sint64, tag = "2")]
    event_time: i64,
    #[prost(bool, tag = "3")]
    restricted: bool,
}

#[derive(Clone, PartialEq, Message)]
struct StoredBirth {
    #[prost(sint64, tag = "1")]
    event_time: i64,
    /// Days since 1970-01-01.
    #[prost(sint32, tag = "2")]
    born: i32,
}

#[derive(Clone, PartialEq, Message)]
struct StoredSlot {
    #[prost(string, tag = "1")]
    purpose: String,
    #[prost(string, tag = "2")]
    channel: String,
    #[prost(string, tag = "3")]
    recipient: String,
    #[prost(message, optional, boxed, tag = "4")]
    grant: Option<Box<StoredRecord>>,
    #[prost(message, optional, boxed, tag = "5")]
    refusal: Option<Box<StoredRecord>>,
    #[prost(message, optional, boxed, tag = "6")]
    request: Option<Box<StoredRecord>>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredRecord {
    #[prost(sint64, tag = "1")]
    event_time: i64,
    /// The place in `Status::ALL` plus one.
    #[prost(uint32, tag = "2")]
    status: u32,
    /// The place in `LegalBasis::ALL` plus one.
    #[prost(uint32, tag = "3")]
    legal_basis: u32,
    #[prost(uint32, tag = "4")]
    defects: u32,
    #[prost(string, tag = "5")]
    method: String,
    #[prost(message, optional, tag = "6")]
    notice: Option<StoredNotice>,
    #[prost(sint64, optional, tag = "7")]
    expires_at: Option<i64>,
    #[prost(string, tag = "8")]
    jurisdiction: String,
    #[prost(string, tag = "9")]
    proof: String,
    #[prost(uint64, tag = "10")]
    position: u64,
    #[prost(bool, tag = "11")]
    by_guardian: bool,
}

#[derive(Clone, PartialEq, Message)]
struct StoredNotice {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(uint32, tag = "2")]
    version: u32,
    #[prost(string, tag = "3")]
    language: String,
}

#[derive(Clone, PartialEq, Message)]
struct StoredMark {
    #[prost(string, tag = "1")]
    event_id: String,
    #[prost(uint64, tag = "2")]
    position: u64,
    #[prost(sint64, optional, tag = "3")]
    event_time: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredLink {
    #[prost(bytes = "vec", tag = "1")]
    other: Vec<u8>,
    #[prost(sint64, tag = "2")]
    event_time: i64,
    #[prost(bool, tag = "3")]
    linked: bool,
}

/// A catalogue as the ledger's room writes it, with what orders it among others of its version.
#[derive(Clone, PartialEq, Eq, Message)]
struct Published {
    #[prost(bytes = "vec", tag = "1")]
    catalogue: Vec<u8>,
    #[prost(sint64, tag = "2")]
    event_time: i64,
}

/// A word's place in its list plus one: 0 stays "absent", as protobuf has it.
fn word_out<T: PartialEq>(all: &[T], word: &T) -> u32 {
    all.iter().position(|value| value == word).and_then(|place| u32::try_from(place + 1).ok()).unwrap_or(0)
}

fn word_in<T: Copy>(all: &[T], stored: u32, what: &'static str) -> Result<T, CodecError> {
    let place = usize::try_from(stored).ok().and_then(|place| place.checked_sub(1));
    place.and_then(|place| all.get(place).copied()).ok_or(CodecError::Word(what))
}

fn texts<A, B: From<A>>(items: Vec<A>) -> Vec<B> {
    items.into_iter().map(B::from).collect()
}

impl From<StateParts> for StoredState {
    fn from(parts: StateParts) -> Self {
        Self {
            erased_at: parts.erased_at.map(Time::unix_millis),
            slots: texts(parts.slots),
            unreadable: texts(parts.unreadable),
            superseded: texts(parts.superseded),
            links: texts(parts.links),
            restrictions: texts(parts.restrictions),
            birth: parts.birth.map(StoredBirth::from),
        }
    }
}

impl From<Restriction> for StoredRestriction {
    fn from(said: Restriction) -> Self {
        Self { purpose: said.purpose.into(), event_time: said.event_time.unix_millis(), restricted: said.restricted }
    }
}

impl From<StoredRestriction> for Restriction {
    fn from(stored: StoredRestriction) -> Self {
        let event_time = Time::from_unix_millis(stored.event_time);
        Self { purpose: stored.purpose.into(), event_time, restricted: stored.restricted }
    }
}

impl From<Birth> for StoredBirth {
    fn from(birth: Birth) -> Self {
        Self { event_time: birth.event_time.unix_millis(), born: birth.born.unix_days() }
    }
}

impl From<StoredBirth> for Birth {
    fn from(stored: StoredBirth) -> Self {
        Self { event_time: Time::from_unix_millis(stored.event_time), born: Day::from_unix_days(stored.born) }
    }
}

impl TryFrom<StoredState> for StateParts {
    type Error = CodecError;

    fn try_from(stored: StoredState) -> Result<Self, CodecError> {
        Ok(Self {
            erased_at: stored.erased_at.map(Time::from_unix_millis),
            slots: stored.slots.into_iter().map(Slot::try_from).collect::<Result<_, _>>()?,
            unreadable: texts(stored.unreadable),
            superseded: texts(stored.superseded),
            links: stored.links.into_iter().map(Link::try_from).collect::<Result<_, _>>()?,
            restrictions: texts(stored.restrictions),
            birth: stored.birth.map(Birth::from),
        })
    }
}

impl From<Slot> for StoredSlot {
    fn from(slot: Slot) -> Self {
        let record = |record: Option<Box<Record>>| record.map(|record| Box::new(StoredRecord::from(*record)));
        Self {
            purpose: slot.purpose.into(),
            channel: slot.channel.into(),
            recipient: slot.recipient.into(),
            grant: record(slot.grant),
            refusal: record(slot.refusal),
            request: record(slot.request),
        }
    }
}

impl TryFrom<StoredSlot> for Slot {
    type Error = CodecError;

    fn try_from(stored: StoredSlot) -> Result<Self, CodecError> {
        let record = |record: Option<Box<StoredRecord>>| record.map(|r| Record::try_from(*r).map(Box::new)).transpose();
        Ok(Self {
            purpose: stored.purpose.into(),
            channel: stored.channel.into(),
            recipient: stored.recipient.into(),
            grant: record(stored.grant)?,
            refusal: record(stored.refusal)?,
            request: record(stored.request)?,
        })
    }
}

impl From<Record> for StoredRecord {
    fn from(record: Record) -> Self {
        Self {
            event_time: record.event_time.unix_millis(),
            status: word_out(Status::ALL, &record.status),
            legal_basis: word_out(LegalBasis::ALL, &record.legal_basis),
            defects: record.collection.defects.bits().into(),
            method: record.collection.method.into(),
            notice: record.notice.map(|notice| StoredNotice {
                id: notice.id.into(),
                version: notice.version,
                language: notice.language.into(),
            }),
            expires_at: record.expires_at.map(Time::unix_millis),
            jurisdiction: record.jurisdiction.into(),
            proof: record.proof.into(),
            position: record.position.0,
            by_guardian: record.collection.by_guardian,
        }
    }
}

impl TryFrom<StoredRecord> for Record {
    type Error = CodecError;

    fn try_from(stored: StoredRecord) -> Result<Self, CodecError> {
        let defects = u16::try_from(stored.defects).map_err(|_| CodecError::Word("collection defect"))?;
        Ok(Self {
            event_time: Time::from_unix_millis(stored.event_time),
            status: word_in(Status::ALL, stored.status, "status")?,
            legal_basis: word_in(LegalBasis::ALL, stored.legal_basis, "legal basis")?,
            collection: Collection {
                defects: Defects::from_bits(defects),
                by_guardian: stored.by_guardian,
                method: stored.method.into(),
            },
            notice: stored.notice.map(|notice| Notice {
                version: notice.version,
                id: notice.id.into(),
                language: notice.language.into(),
            }),
            expires_at: stored.expires_at.map(Time::from_unix_millis),
            jurisdiction: stored.jurisdiction.into(),
            proof: stored.proof.into(),
            position: Position(stored.position),
        })
    }
}

impl From<UnreadableMark> for StoredMark {
    fn from(mark: UnreadableMark) -> Self {
        Self {
            event_id: mark.event_id.into(),
            position: mark.position.0,
            event_time: mark.event_time.map(Time::unix_millis),
        }
    }
}

impl From<StoredMark> for UnreadableMark {
    fn from(stored: StoredMark) -> Self {
        Self {
            event_id: stored.event_id.into(),
            position: Position(stored.position),
            event_time: stored.event_time.map(Time::from_unix_millis),
        }
    }
}

impl From<Link> for StoredLink {
    fn from(link: Link) -> Self {
        Self { other: link.other.0.to_vec(), event_time: link.event_time.unix_millis(), linked: link.linked }
    }
}

impl TryFrom<StoredLink> for Link {
    type Error = CodecError;

    fn try_from(stored: StoredLink) -> Result<Self, CodecError> {
        let other = stored.other.try_into().map_err(|_| CodecError::Word("linked identifier"))?;
        Ok(Self {
            other: SubjectKey(other),
            event_time: Time::from_unix_millis(stored.event_time),
            linked: stored.linked,
        })
    }
}

#[cfg(test)]
mod tests;
