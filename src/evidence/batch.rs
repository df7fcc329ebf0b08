//! Batches of records as they travel: built from the log, taken apart again and held against what they claim.

use prost::Message;

use super::files::Cause;
use super::format::{PAYLOAD_BYTES_MAX, chain_after};
use super::id::{Instance, YearMonth};
use super::merkle::Hash;
use crate::proto::v1::{EvidenceBatch, EvidenceRecords};

/// What comes before the instance in the subject that its evidence is published under.
pub const SUBJECT_PREFIX: &str = "consent.evidence";
/// The subjects of all evidence, as the stream listens to them.
pub const SUBJECTS: &str = "consent.evidence.*";

/// Records are gathered into a batch up to this many bytes before compression: half of what a server takes in one message
/// by default, so that even records that cannot be compressed fit into one.
pub(super) const BATCH_BYTES: usize = 512 * 1024;
/// The most bytes of records that a batch may claim to hold: one record of the greatest length, or a full batch.
const RECORDS_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + BATCH_BYTES;
/// zstd's own default: on records some 60 MB a second and core, ten times what 20,000 answers a second leave behind.
const COMPRESSION_LEVEL: i32 = 3;
/// Room in a message for everything but the compressed records: ids, chains, key, salt, headers.
const OVERHEAD_BYTES: usize = 4096;

/// A place in an instance's log: right before the record with this index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) month: YearMonth,
    pub(super) index: u64,
    /// The chain of the record before.
    pub(super) chain: Hash,
}

/// The subject of an instance's evidence.
pub(super) fn subject(instance: Instance) -> String {
    format!("{SUBJECT_PREFIX}.{instance}")
}

/// The instance and the month that an origin names.
pub(super) fn parse_origin(origin: &str) -> Option<(Instance, YearMonth)> {
    let (instance, month) = origin.strip_prefix("consentd/")?.split_once('/')?;
    Some((instance.parse().ok()?, month.parse().ok()?))
}

/// A message and the id under which the server takes it once.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) id: String,
    pub(super) payload: Vec<u8>,
}

/// What is the same in every message of an instance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sender {
    pub(super) instance: Instance,
    pub(super) public: [u8; 32],
}

impl Sender {
    /// The messages of a batch, none longer than a server takes.
    ///
    /// An id names the content too: of two logs with one name the server keeps both, so that a reader can tell.
    pub(super) fn records(
        &self,
        from: &Place,
        count: u64,
        chain_after: &Hash,
        records: &EvidenceRecords,
        salt: &str,
        message_bytes_max: usize,
    ) -> Result<Vec<Outgoing>, Cause> {
        let plain = records.encode_to_vec();
        let packed = zstd::bulk::compress(&plain, COMPRESSION_LEVEL)
            .map_err(|error| Cause::new(format!("evidence cannot be compressed: {error}")))?;
        let room = message_bytes_max.saturating_sub(OVERHEAD_BYTES).max(OVERHEAD_BYTES);
        let parts = packed.chunks(room).count();
        let id = format!("{}/{}/{}-{count}/{}", self.instance, from.month, from.index, short(chain_after));
        let head = EvidenceBatch {
            count,
            chain_after: chain_after.to_vec(),
            parts: u32::try_from(parts).unwrap_or(u32::MAX),
            records_bytes: u64::try_from(plain.len()).unwrap_or(u64::MAX),
            ..self.head(from, salt)
        };
        let message = |(part, piece): (u32, &[u8])| {
            let batch = EvidenceBatch { part, records_zstd: piece.to_vec(), ..head.clone() };
            let id = if parts == 1 { id.clone() } else { format!("{id}/{part}") };
            Outgoing { id, payload: batch.encode_to_vec() }
        };
        Ok((0..).zip(packed.chunks(room)).map(message).collect())
    }

    /// The message that brings a checkpoint of a month, sent when so many of its records had been.
    pub(super) fn checkpoint(&self, sent: &Place, note: &str, size: u64, root: &Hash, salt: &str) -> Outgoing {
        let batch = EvidenceBatch { parts: 1, checkpoint: note.to_owned(), ..self.head(sent, salt) };
        let id = format!("{}/{}/checkpoint-{size}/{}", self.instance, sent.month, short(root));
        Outgoing { id, payload: batch.encode_to_vec() }
    }

    fn head(&self, from: &Place, salt: &str) -> EvidenceBatch {
        EvidenceBatch {
            origin: super::checkpoint::origin(self.instance, from.month),
            first_index: from.index,
            chain_before: from.chain.to_vec(),
            chain_after: from.chain.to_vec(),
            public_key: self.public.to_vec(),
            salt: salt.to_owned(),
            ..EvidenceBatch::default()
        }
    }
}

fn short(hash: &Hash) -> String {
    data_encoding::HEXLOWER.encode(hash.first_chunk::<8>().unwrap_or(&[0; 8]))
}

/// A message as it was read, its fields in their form.
#[derive(Debug, Clone)]
pub(super) struct Incoming {
    pub(super) instance: Instance,
    pub(super) from: Place,
    pub(super) count: u64,
    pub(super) chain_after: Hash,
    pub(super) public: [u8; 32],
    pub(super) part: u32,
    pub(super) parts: u32,
    pub(super) checkpoint: Option<String>,
    pub(super) salt: Option<String>,
    records_bytes: u64,
    packed: Vec<u8>,
}

impl Incoming {
    /// Reads a message; the sentence says what is wrong with it.
    pub(super) fn read(payload: &[u8]) -> Result<Self, String> {
        let batch = EvidenceBatch::decode(payload).map_err(|error| format!("it is not an evidence batch: {error}"))?;
        let (instance, month) =
            parse_origin(&batch.origin).ok_or_else(|| "it names no origin that a sidecar could have".to_owned())?;
        let hash = |bytes: &[u8], what: &str| Hash::try_from(bytes).map_err(|_| format!("its {what} has not 32 bytes"));
        if batch.parts == 0 || batch.part >= batch.parts {
            return Err("its part is not one of its parts".to_owned());
        }
        if batch.first_index.checked_add(batch.count).is_none() {
            return Err("its indices go beyond all numbers".to_owned());
        }
        Ok(Self {
            instance,
            from: Place { month, index: batch.first_index, chain: hash(&batch.chain_before, "chain before")? },
            count: batch.count,
            chain_after: hash(&batch.chain_after, "chain after")?,
            public: hash(&batch.public_key, "public key")?,
            part: batch.part,
            parts: batch.parts,
            checkpoint: Some(batch.checkpoint).filter(|note| !note.is_empty()),
            salt: Some(batch.salt).filter(|note| !note.is_empty()),
            records_bytes: batch.records_bytes,
            packed: batch.records_zstd,
        })
    }

    /// What it brings, for people.
    pub(super) fn what(&self) -> String {
        let name = super::checkpoint::origin(self.instance, self.from.month);
        match self.count.checked_sub(1) {
            None => format!("a head of {name}"),
            Some(more) => format!("records {} to {} of {name}", self.from.index, self.from.index.saturating_add(more)),
        }
    }

    /// The place after its last record.
    pub(super) fn end(&self) -> Place {
        Place { month: self.from.month, index: self.from.index.saturating_add(self.count), chain: self.chain_after }
    }

    /// Whether another message is of the same batch.
    pub(super) fn is_part_of(&self, other: &Self) -> bool {
        (self.instance, self.from, self.count, self.chain_after, self.parts, self.records_bytes)
            == (other.instance, other.from, other.count, other.chain_after, other.parts, other.records_bytes)
    }

    /// Takes in the next part of the same batch.
    pub(super) fn append(&mut self, next: &Self) {
        self.packed.extend_from_slice(&next.packed);
    }

    /// The message again, as one part: what is kept of a batch that does not hold.
    pub(super) fn payload(&self) -> Vec<u8> {
        let batch = EvidenceBatch {
            origin: super::checkpoint::origin(self.instance, self.from.month),
            first_index: self.from.index,
            count: self.count,
            chain_before: self.from.chain.to_vec(),
            chain_after: self.chain_after.to_vec(),
            public_key: self.public.to_vec(),
            part: 0,
            parts: 1,
            records_bytes: self.records_bytes,
            records_zstd: self.packed.clone(),
            checkpoint: self.checkpoint.clone().unwrap_or_default(),
            salt: self.salt.clone().unwrap_or_default(),
        };
        batch.encode_to_vec()
    }

    /// The records of a whole batch, which are as many as it says and lead from the one chain to the other; the sentence
    /// says what does not hold.
    pub(super) fn unpack(&self) -> Result<Vec<Vec<u8>>, String> {
        if self.count == 0 && self.packed.is_empty() {
            let still = self.from.chain == self.chain_after;
            return if still { Ok(Vec::new()) } else { Err("it has no record and yet two chains".to_owned()) };
        }
        let bytes = usize::try_from(self.records_bytes).unwrap_or(usize::MAX);
        if bytes > RECORDS_BYTES_MAX {
            return Err(format!("it claims {bytes} bytes of records, more than {RECORDS_BYTES_MAX}"));
        }
        let plain = zstd::bulk::decompress(&self.packed, bytes)
            .map_err(|error| format!("its records cannot be decompressed: {error}"))?;
        let records = EvidenceRecords::decode(plain.as_slice())
            .map_err(|error| format!("its records cannot be read: {error}"))?
            .records;
        if u64::try_from(records.len()) != Ok(self.count) {
            return Err(format!("it says that it holds {} records and holds {}", self.count, records.len()));
        }
        if records.iter().any(|record| record.len() > PAYLOAD_BYTES_MAX) {
            return Err("one of its records is longer than a record may be".to_owned());
        }
        let chain = records.iter().fold(self.from.chain, |chain, record| chain_after(&chain, record));
        if chain == self.chain_after {
            Ok(records)
        } else {
            Err("its records do not lead to the chain it names".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender() -> Sender {
        Sender { instance: "0123456789abcdef".parse().expect("an instance"), public: [7; 32] }
    }

    fn place() -> Place {
        Place { month: "2026-11".parse().expect("a month"), index: 41, chain: [3; 32] }
    }

    /// A batch of records and its messages.
    fn sent(records: &[Vec<u8>], message_bytes_max: usize) -> Vec<Outgoing> {
        let after = records.iter().fold(place().chain, |chain, record| chain_after(&chain, record));
        let count = records.len() as u64;
        let records = EvidenceRecords { records: records.to_vec() };
        sender().records(&place(), count, &after, &records, "a salt", message_bytes_max).expect("compressed")
    }

    #[test]
    fn a_batch_reads_back() {
        let records = vec![b"one".to_vec(), Vec::new(), vec![9; 10_000]];
        let sent = sent(&records, 1 << 20);
        let [message] = sent.as_slice() else { panic!("{} messages", sent.len()) };
        assert!(message.id.starts_with("0123456789abcdef/2026-11/41-3/"), "{}", message.id);
        let read = Incoming::read(&message.payload).expect("well-formed");
        assert_eq!((read.part, read.parts), (0, 1));
        assert_eq!((read.from, read.end().index), (place(), 44));
        assert_eq!(read.salt.as_deref(), Some("a salt"));
        assert_eq!(
            Incoming::read(&read.payload()).expect("well-formed").salt,
            read.salt,
            "what is set aside has it too"
        );
        assert_eq!(read.unpack().expect("holds"), records);
    }

    #[test]
    fn a_record_longer_than_a_message_travels_in_parts() {
        // Every byte another: it cannot be compressed.
        let mut hash = [0; 32];
        let noise = std::iter::repeat_with(|| {
            hash = super::super::merkle::sha256_of(&hash);
            hash
        });
        let records = vec![noise.take(2000).flatten().collect::<Vec<u8>>()];
        let sent = sent(&records, 20_000);
        assert!(sent.len() > 3, "{} messages", sent.len());
        assert!(sent.iter().all(|message| message.payload.len() <= 20_000));
        let parts: Vec<Incoming> = sent.iter().map(|one| Incoming::read(&one.payload).expect("well-formed")).collect();
        let mut whole = parts[0].clone();
        for part in &parts[1..] {
            assert!(part.is_part_of(&whole));
            whole.append(part);
        }
        assert_eq!(whole.unpack().expect("holds"), records);
    }

    #[test]
    fn what_was_altered_does_not_hold() {
        let records = vec![b"one".to_vec(), b"two".to_vec()];
        let message = sent(&records, 1 << 20).remove(0);
        let batch = EvidenceBatch::decode(message.payload.as_slice()).expect("well-formed");
        let with = |records: &[&[u8]]| {
            let records = EvidenceRecords { records: records.iter().map(|record| record.to_vec()).collect() };
            let plain = records.encode_to_vec();
            let packed = zstd::bulk::compress(&plain, 3).expect("compressed");
            EvidenceBatch { records_bytes: plain.len() as u64, records_zstd: packed, ..batch.clone() }
        };
        let fault = |batch: EvidenceBatch| {
            Incoming::read(&batch.encode_to_vec()).and_then(|read| read.unpack()).expect_err("it was altered")
        };
        assert!(fault(with(&[b"one", b"too"])).contains("chain"));
        assert!(fault(with(&[b"two", b"one"])).contains("chain"));
        assert!(fault(with(&[b"one"])).contains("holds 1"));
        assert!(fault(EvidenceBatch { records_bytes: u64::MAX, ..batch.clone() }).contains("claims"));
        assert!(fault(EvidenceBatch { records_bytes: 3, ..batch.clone() }).contains("decompressed"));
        assert!(fault(EvidenceBatch { origin: "consentd/x/2026-11".to_owned(), ..batch.clone() }).contains("origin"));
        assert!(fault(EvidenceBatch { chain_before: vec![0; 31], ..batch.clone() }).contains("32 bytes"));
        assert!(fault(EvidenceBatch { parts: 0, ..batch.clone() }).contains("part"));
        assert!(fault(EvidenceBatch { first_index: u64::MAX, ..batch }).contains("beyond"));
    }
}
