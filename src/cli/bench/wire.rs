//! Requests and responses as bytes, and what a run reads of a response.

use prost::bytes::{Buf as _, BufMut as _, Bytes};
use prost::encoding::{WireType, decode_key, decode_varint};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::domain::Reason;
use crate::proto::v1;

/// Responses up to this many bytes are read without growing a buffer: a thousand answers.
const BUFFER_BYTES: usize = 64 * 1024;
/// Values of `Reason` are below this.
const REASONS: usize = 256;

/// Passes messages through as they are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Raw {
    buffer: BufferSettings,
}

impl Raw {
    /// For messages of some tens of bytes or of some tens of kilobytes.
    pub(super) fn new(large: bool) -> Self {
        let buffer = BufferSettings::default();
        Self { buffer: if large { BufferSettings::new(BUFFER_BYTES, BUFFER_BYTES) } else { buffer } }
    }
}

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.reserve(item.len());
        dst.put_slice(&item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.buffer
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(src.copy_to_bytes(src.remaining())))
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.buffer
    }
}

/// Counts over the answers of responses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counts {
    /// Answers of any kind.
    pub(super) answers: u64,
    /// Those that allow.
    pub(super) allowed: u64,
    /// Those of responses that name no evidence.
    pub(super) unevidenced: u64,
    reasons: [u64; REASONS],
}

impl Default for Counts {
    fn default() -> Self {
        Self { answers: 0, allowed: 0, unevidenced: 0, reasons: [0; REASONS] }
    }
}

/// What a run reads of a decision of AuthZEN.
#[derive(serde::Deserialize)]
struct Decision<'a> {
    decision: bool,
    #[serde(borrow)]
    context: Context<'a>,
}

#[derive(serde::Deserialize)]
struct Context<'a> {
    reason: &'a str,
    evidence_id: Option<&'a str>,
}

/// A response that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a response could not be read")]
pub(super) struct Unreadable;

impl Counts {
    /// Adds a response's answers and gives their number. The responses of all three calls have their answers in field 1
    /// and the name of their evidence in field 3.
    ///
    /// # Errors
    /// If the response is malformed; what was counted of it until then stays.
    pub(super) fn add(&mut self, mut response: &[u8]) -> Result<u64, Unreadable> {
        let mut answers = 0;
        let mut evidenced = false;
        while !response.is_empty() {
            let (field, wire) = decode_key(&mut response).map_err(|_| Unreadable)?;
            match (field, wire) {
                (1, WireType::LengthDelimited) => {
                    self.add_answer(delimited(&mut response)?)?;
                    answers += 1;
                }
                (3, WireType::LengthDelimited) => evidenced = !delimited(&mut response)?.is_empty(),
                (_, wire) => skip(wire, &mut response)?,
            }
        }
        self.answers += answers;
        if !evidenced {
            self.unevidenced += answers;
        }
        Ok(answers)
    }

    /// Adds a decision of `AuthZEN`, and gives the number of answers that it is.
    ///
    /// # Errors
    /// If it is none.
    pub(super) fn add_decision(&mut self, response: &[u8]) -> Result<u64, Unreadable> {
        let Decision { decision, context } = serde_json::from_slice(response).map_err(|_| Unreadable)?;
        let reason = Reason::from_name(context.reason).ok_or(Unreadable)?;
        self.add_one(reason.into(), decision, context.evidence_id.is_some());
        Ok(1)
    }

    /// Adds one answer.
    pub(super) fn add_one(&mut self, reason: v1::Reason, allowed: bool, evidenced: bool) {
        self.answers += 1;
        self.allowed += u64::from(allowed);
        self.unevidenced += u64::from(!evidenced);
        if let Some(count) = usize::try_from(i32::from(reason)).ok().and_then(|reason| self.reasons.get_mut(reason)) {
            *count += 1;
        }
    }

    /// Verdict and reason are fields 1 and 2.
    fn add_answer(&mut self, mut answer: &[u8]) -> Result<(), Unreadable> {
        let (mut verdict, mut reason) = (0, 0);
        while !answer.is_empty() {
            let (field, wire) = decode_key(&mut answer).map_err(|_| Unreadable)?;
            match (field, wire) {
                (1, WireType::Varint) => verdict = decode_varint(&mut answer).map_err(|_| Unreadable)?,
                (2, WireType::Varint) => reason = decode_varint(&mut answer).map_err(|_| Unreadable)?,
                // Our own encoder writes fields in their order.
                (3.., _) => break,
                (_, wire) => skip(wire, &mut answer)?,
            }
        }
        if verdict == v1::Verdict::Allow as u64 {
            self.allowed += 1;
        }
        let count = usize::try_from(reason).ok().and_then(|reason| self.reasons.get_mut(reason));
        *count.ok_or(Unreadable)? += 1;
        Ok(())
    }

    /// The reasons that occurred, by their numbers: those that allow first.
    pub(super) fn reasons(&self) -> impl Iterator<Item = (v1::Reason, u64)> {
        let numbered = (0_i32..).zip(self.reasons);
        numbered.filter(|(_, count)| *count > 0).map(|(reason, count)| {
            let reason = v1::Reason::try_from(reason).unwrap_or(v1::Reason::Unspecified);
            (reason, count)
        })
    }
}

/// The bytes of a field with a length.
fn delimited<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Unreadable> {
    let length = decode_varint(rest).map_err(|_| Unreadable)?;
    let length = usize::try_from(length).map_err(|_| Unreadable)?;
    let (field, after) = rest.split_at_checked(length).ok_or(Unreadable)?;
    *rest = after;
    Ok(field)
}

fn skip(wire: WireType, rest: &mut &[u8]) -> Result<(), Unreadable> {
    let length = match wire {
        WireType::Varint => {
            return decode_varint(rest).map(|_| ()).map_err(|_| Unreadable);
        }
        WireType::LengthDelimited => return delimited(rest).map(|_| ()),
        WireType::SixtyFourBit => 8,
        WireType::ThirtyTwoBit => 4,
        // No message of ours has groups.
        WireType::StartGroup | WireType::EndGroup => return Err(Unreadable),
    };
    *rest = rest.get(length..).ok_or(Unreadable)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    fn answer(verdict: v1::Verdict, reason: v1::Reason) -> v1::Answer {
        v1::Answer {
            verdict: verdict.into(),
            reason: reason.into(),
            legal_basis: 1,
            valid_until: Some(pbjson_types::Timestamp { seconds: 1, nanos: 2 }),
            failed_purpose: "a.b".to_owned(),
            ..v1::Answer::default()
        }
    }

    #[test]
    fn a_response_is_counted_as_it_decodes() {
        let response = v1::MayProcessBatchResponse {
            answers: vec![
                answer(v1::Verdict::Allow, v1::Reason::Consent),
                answer(v1::Verdict::Deny, v1::Reason::Withdrawn),
                answer(v1::Verdict::Deny, v1::Reason::Withdrawn),
                v1::Answer::default(),
            ],
            view: Some(v1::View { catalogue_version: 1, ..v1::View::default() }),
            evidence_id: "e".to_owned(),
        };
        let mut counts = Counts::default();
        assert_eq!(counts.add(&response.encode_to_vec()), Ok(4));
        assert_eq!((counts.answers, counts.allowed, counts.unevidenced), (4, 1, 0));
        let reasons: Vec<_> = counts.reasons().collect();
        assert_eq!(
            reasons,
            [(v1::Reason::Unspecified, 1), (v1::Reason::Consent, 1), (v1::Reason::Withdrawn, 2)],
            "an answer without a verdict is no ALLOW"
        );
    }

    #[test]
    fn answers_without_evidence_are_told() {
        let response = v1::MayProcessResponse {
            answer: Some(answer(v1::Verdict::Deny, v1::Reason::EvidenceUnavailable)),
            view: None,
            evidence_id: String::new(),
        };
        let mut counts = Counts::default();
        assert_eq!(counts.add(&response.encode_to_vec()), Ok(1));
        assert_eq!(counts.unevidenced, 1);
    }

    #[test]
    fn a_decision_is_counted_as_it_says() {
        let mut counts = Counts::default();
        let allowed = br#"{"decision":true,"context":{"reason":"CONSENT","evidence_id":"e","more":[]}}"#;
        assert_eq!(counts.add_decision(allowed), Ok(1));
        assert_eq!(counts.add_decision(br#"{"decision":false,"context":{"reason":"WITHDRAWN"}}"#), Ok(1));
        assert_eq!((counts.answers, counts.allowed, counts.unevidenced), (2, 1, 1));
        for other in [&b"{}"[..], b"", br#"{"decision":true}"#, br#"{"decision":true,"context":{"reason":"FINE"}}"#] {
            assert_eq!(Counts::default().add_decision(other), Err(Unreadable));
        }
    }

    #[test]
    fn a_cut_response_is_not_readable() {
        let response = v1::MayProcessResponse {
            answer: Some(answer(v1::Verdict::Allow, v1::Reason::Consent)),
            view: None,
            evidence_id: "evidence".to_owned(),
        };
        let bytes = response.encode_to_vec();
        // Cut between the two fields it is a response without evidence.
        let whole = bytes.len() - "evidence".len() - 2;
        for length in (1..bytes.len()).filter(|length| *length != whole) {
            assert_eq!(Counts::default().add(&bytes[..length]), Err(Unreadable), "cut to {length} bytes");
        }
    }
}
