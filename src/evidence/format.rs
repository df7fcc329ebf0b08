//! The bytes on disk. Numbers are little-endian.
//!
//! ```text
//! <dir>/
//!   instance                     16 hexadecimal digits and a line feed: the random name of this log, made once
//!   lock                         empty; the writer holds an exclusive flock on it
//!   boot                         `<kernel boot id> <YYYY-MM> <count>`: the boot in which the log was last opened for
//!                                writing, and how many records of that month were on the device then
//!   failed-flush                 only after a flush that failed: the kernel's boot id, a line feed, the cause. Removed at
//!                                the first start after the machine's own
//!   shipped                      how far the central stream has acknowledged the log: see `ship::cursor`
//!   keys/<YYYY-MM>.key           32 random bytes, mode 0600: the HMAC key of the month's subject tags. Destroying it
//!                                makes the month anonymous; everything but the search for a subject still works
//!   keys/<YYYY-MM>.salt          instead, where the key is made of it and of a secret that sidecars share: a signed note,
//!                                see `keys::salt`. It is shipped with the month's evidence. Destroying it, here and
//!                                wherever it was shipped to, makes the month anonymous
//!   signing.key                  the Ed25519 key that signs checkpoints, PKCS#8 DER, mode 0600
//!   signing.pub                  its public key, PEM (SubjectPublicKeyInfo)
//!   log/spare                    a preallocated segment in waiting; never holds evidence
//!   log/<YYYY-MM>/<first>.wal    a segment; its name is its first index in 20 digits
//!   log/<YYYY-MM>/<first>.wal.lost-<n>   bytes that a power loss left unreadable, set aside at the next start
//!   log/<YYYY-MM>/checkpoint     the signed tree head, C2SP tlog-checkpoint, origin `consentd/<instance>/<YYYY-MM>`
//!   log/<YYYY-MM>/vkey           the verifier key for it, as `note` verifiers take it
//!   log/<YYYY-MM>/tile/<L>/<N>[.p/<W>]   the tree's tiles, C2SP tlog-tiles. Entry bundles are not written: the
//!                                segments hold the entries. Full tiles are written without a flush: after a power loss
//!                                they may be missing, short or wrong until the log is opened for writing again
//!   log/<YYYY-MM>/tiles          `<kernel boot id> <count>`: the boot in which the tiles were last held against the
//!                                signed tree, and how many records it covered; their full tiles are on the device
//!   log/<YYYY-MM>/trimmed        only where records of the month were removed because the central stream has them: the
//!                                first one that is kept, and the tree of those before it. See `trimmed`
//! ```
//!
//! # Segment
//!
//! A segment is a run of frames from offset 0, then zeros up to its preallocated length. A full segment is cut to its
//! frames once it is on the device. The first frame is the segment's head, all others are records with consecutive
//! indices. The indices of a month begin at 0, and its first segment with them unless `trimmed` says otherwise.
//!
//! # Frame
//!
//! ```text
//!  0  u32       CRC-32 (IEEE) of the bytes from 4 to `length`
//!  4  u32       length: 64 + the payload's bytes. Zero: no frame here, nor after
//!  8  u64       index of the record; in a head, the index of the segment's first record
//! 16  u64       synced: how many records of this month were known to be on the device when the frame was built
//! 24  u8        kind: 1 head, 2 record
//! 25  [u8; 7]   zero
//! 32  [u8; 32]  chain: SHA-256(chain of the record before || payload); in a head, the chain of the record before
//! 64  payload   a record: `consent.v1.EvidenceRecord`; a head: see below
//!  …  zeros     so that the frame ends at a multiple of 8
//!  …  [u8; 4]   end mark, the frame's last 4 bytes
//! ```
//!
//! The chain begins with 32 zeros; a month continues the chain of the month before.
//!
//! The end mark carries no data and is not covered by the CRC. It tells two kinds of a bad last frame apart: one whose
//! write was cut short has zeros at its end, one that was damaged after it was written has the mark.
//!
//! # Payload of a head
//!
//! ```text
//!  0  [u8; 8]   `consentd`
//!  8  u32       format version, 1
//! 12  u16       year
//! 14  u8        month
//! 15  u8        zero
//! 16  [u8; 8]   instance
//! ```

use super::id::{Instance, YearMonth};
use super::merkle::Hash;

/// Bytes of a frame before its payload.
pub(super) const HEADER_BYTES: usize = 64;
/// The longest payload, in bytes. A batch of 10,000 subjects takes about 400 kB.
pub(super) const PAYLOAD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a segment's head with its padding.
pub(super) const HEAD_SPAN: u64 = 96;
/// The chain before the first record of all.
pub(super) const CHAIN_START: Hash = [0; 32];

const END_MARK: [u8; 4] = *b"\xc5end";
const MAGIC: [u8; 8] = *b"consentd";
const VERSION: u32 = 1;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Head,
    Record,
}

/// A frame whose CRC was right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) index: u64,
    pub(super) synced: u64,
    pub(super) kind: Kind,
    pub(super) chain: Hash,
    pub(super) payload: &'a [u8],
    /// Bytes from this frame's start to the next one's.
    pub(super) span: u64,
}

/// What a segment's head says of the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) instance: Instance,
    pub(super) month: YearMonth,
    pub(super) first: u64,
    pub(super) synced: u64,
    /// The chain of the record before the first.
    pub(super) chain: Hash,
}

/// Bytes that a frame of this length takes, with padding and end mark.
const fn span(length: usize) -> usize {
    (length + END_MARK.len()).next_multiple_of(8)
}

/// Appends a frame with this chain. The payload is at most [`PAYLOAD_BYTES_MAX`], which the caller has checked.
pub(super) fn push_frame(buffer: &mut Vec<u8>, kind: Kind, index: u64, synced: u64, chain: &Hash, payload: &[u8]) {
    build_frame(buffer, kind, index, synced, chain, payload, |_| {});
}

/// Appends a record's frame that continues a chain; gives the chain after it.
pub(super) fn push_record(buffer: &mut Vec<u8>, index: u64, synced: u64, before: &Hash, payload: &[u8]) -> Hash {
    let mut chain = CHAIN_START;
    build_frame(buffer, Kind::Record, index, synced, before, payload, |covered| {
        // The chain before lies right before the payload: what the new chain is the digest of, in one piece.
        if let Some((_, chained)) = covered.split_at_mut_checked(CHAIN_AT) {
            chain = super::merkle::sha256_of(chained);
            if let Some(place) = chained.first_chunk_mut() {
                *place = chain;
            }
        }
    });
    chain
}

/// Where the chain begins in the bytes that the CRC covers.
const CHAIN_AT: usize = 28;

fn build_frame(
    buffer: &mut Vec<u8>,
    kind: Kind,
    index: u64,
    synced: u64,
    chain: &Hash,
    payload: &[u8],
    finish: impl FnOnce(&mut [u8]),
) {
    let start = buffer.len();
    let length = HEADER_BYTES + payload.len();
    let span = span(length);
    buffer.reserve(span);
    let kind = match kind {
        Kind::Head => 1,
        Kind::Record => 2,
    };
    let mut header = [0; HEADER_BYTES];
    let fields: [(usize, &[u8]); 5] = [
        (4, &u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()),
        (8, &index.to_le_bytes()),
        (16, &synced.to_le_bytes()),
        (24, &[kind]),
        (4 + CHAIN_AT, chain),
    ];
    for (at, bytes) in fields {
        if let Some(field) = header.get_mut(at..at + bytes.len()) {
            field.copy_from_slice(bytes);
        }
    }
    buffer.extend_from_slice(&header);
    buffer.extend_from_slice(payload);
    if let Some((crc, covered)) = buffer.get_mut(start..).and_then(|frame| frame.split_first_chunk_mut::<4>()) {
        finish(covered);
        *crc = crc32fast::hash(covered).to_le_bytes();
    }
    buffer.resize(start + span - END_MARK.len(), 0);
    buffer.extend_from_slice(&END_MARK);
}

/// The length that a frame's header claims, if it is one that a frame can have.
pub(super) fn claimed_length(header: &[u8]) -> Option<usize> {
    let length = usize::try_from(u32_at(header, 4)?).ok()?;
    (HEADER_BYTES..=HEADER_BYTES + PAYLOAD_BYTES_MAX).contains(&length).then_some(length)
}

/// Whether bytes look like a frame's header, before the CRC is worth its time.
pub(super) fn plausible(header: &[u8]) -> bool {
    claimed_length(header).is_some() && header.get(25..32) == Some(&[0; 7]) && kind_of(header).is_some()
}

/// The frame at the start of the bytes, if its CRC and its fields are right.
pub(super) fn read_frame(bytes: &[u8]) -> Option<Frame<'_>> {
    let length = claimed_length(bytes)?;
    let covered = bytes.get(4..length)?;
    if u32_at(bytes, 0)? != crc32fast::hash(covered) || !plausible(bytes) {
        return None;
    }
    Some(Frame {
        index: u64_at(bytes, 8)?,
        synced: u64_at(bytes, 16)?,
        kind: kind_of(bytes)?,
        chain: *bytes.get(32..)?.first_chunk()?,
        payload: bytes.get(HEADER_BYTES..length)?,
        span: u64::try_from(span(length)).ok()?,
    })
}

/// Where the end mark of the frame with this header begins, from the frame's start.
pub(super) fn end_mark_offset(header: &[u8]) -> Option<u64> {
    u64::try_from(span(claimed_length(header)?) - END_MARK.len()).ok()
}

/// Whether these four bytes are an end mark.
pub(super) fn is_end_mark(bytes: &[u8]) -> bool {
    bytes == END_MARK
}

/// Appends a segment's head.
pub(super) fn push_head(buffer: &mut Vec<u8>, head: &Head) {
    let mut payload = Vec::with_capacity(24);
    payload.extend_from_slice(&MAGIC);
    payload.extend_from_slice(&VERSION.to_le_bytes());
    payload.extend_from_slice(&head.month.year().to_le_bytes());
    payload.extend_from_slice(&[head.month.month(), 0]);
    payload.extend_from_slice(&head.instance.0);
    push_frame(buffer, Kind::Head, head.first, head.synced, &head.chain, &payload);
}

/// The head in a frame, if it is one of this version.
pub(super) fn read_head(frame: &Frame<'_>) -> Option<Head> {
    let payload = frame.payload;
    if frame.kind != Kind::Head || payload.len() != 24 || !payload.starts_with(&MAGIC) || u32_at(payload, 8)? != VERSION
    {
        return None;
    }
    let year = u16::from_le_bytes(*payload.get(12..)?.first_chunk()?);
    Some(Head {
        instance: Instance(*payload.get(16..)?.first_chunk()?),
        month: YearMonth::new(year, *payload.get(14)?)?,
        first: frame.index,
        synced: frame.synced,
        chain: frame.chain,
    })
}

/// The chain after a record.
pub(super) fn chain_after(before: &Hash, payload: &[u8]) -> Hash {
    super::merkle::sha256(&[before, payload])
}

fn kind_of(header: &[u8]) -> Option<Kind> {
    match header.get(24)? {
        1 => Some(Kind::Head),
        2 => Some(Kind::Record),
        _ => None,
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head {
            instance: Instance([1, 2, 3, 4, 5, 6, 7, 8]),
            month: YearMonth::new(2026, 11).expect("a month"),
            first: 7,
            synced: 5,
            chain: [9; 32],
        }
    }

    /// Bytes computed by another program from the documentation above: a change of the format breaks logs that exist, and must be a new version.
    #[test]
    fn the_bytes_of_version_1_stay() {
        let mut buffer = Vec::new();
        push_head(&mut buffer, &head());
        push_frame(&mut buffer, Kind::Record, 7, 5, &chain_after(&[9; 32], b"payload"), b"payload");
        let expected = "\
            d1c4f30258000000070000000000000005000000000000000100000000000000\
            0909090909090909090909090909090909090909090909090909090909090909\
            636f6e73656e746401000000ea070b00010203040506070800000000c5656e64";
        let text = data_encoding::HEXLOWER.encode(&buffer);
        assert_eq!(text.get(..192), Some(expected));
        assert_eq!(u64::try_from(expected.len() / 2).expect("fits"), HEAD_SPAN);
        let record = "\
            1afbe92147000000070000000000000005000000000000000200000000000000\
            1d58aff1505f255d3158927140b9f7cc2bac546d5bc1db856e4204665c1368fe\
            7061796c6f61640000000000c5656e64";
        assert_eq!(text.get(192..), Some(record));
    }

    #[test]
    fn frames_of_every_padding_read_back() {
        for length in 0..40 {
            let payload: Vec<u8> = (0..length).collect();
            let mut buffer = Vec::new();
            push_frame(&mut buffer, Kind::Record, u64::from(length), 3, &[4; 32], &payload);
            assert_eq!(buffer.len() % 8, 0);
            let frame = read_frame(&buffer).expect("whole");
            assert_eq!((frame.index, frame.synced, frame.kind, frame.chain), (length.into(), 3, Kind::Record, [4; 32]));
            assert_eq!(frame.payload, payload);
            assert_eq!(frame.span, u64::try_from(buffer.len()).expect("fits"));
            let mark = usize::try_from(end_mark_offset(&buffer).expect("a length")).expect("fits");
            assert!(is_end_mark(&buffer[mark..]));
        }
    }

    #[test]
    fn every_flipped_bit_that_carries_data_is_noticed() {
        let mut buffer = Vec::new();
        push_frame(&mut buffer, Kind::Record, 1, 0, &[7; 32], b"evidence");
        let length = HEADER_BYTES + 8;
        for bit in 0..length * 8 {
            let mut damaged = buffer.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(read_frame(&damaged).is_none(), "bit {bit} went unnoticed");
        }
        for cut in 0..length {
            assert!(read_frame(&buffer[..cut]).is_none(), "a frame of {cut} bytes was taken");
        }
    }

    #[test]
    fn heads_read_back_and_other_versions_do_not() {
        let mut buffer = Vec::new();
        push_head(&mut buffer, &head());
        let frame = read_frame(&buffer).expect("whole");
        assert_eq!(read_head(&frame), Some(head()));
        let mut other = frame.payload.to_vec();
        other[8] = 2;
        assert_eq!(read_head(&Frame { payload: &other, ..frame }), None);
        assert_eq!(read_head(&Frame { kind: Kind::Record, ..frame }), None);
    }
}
