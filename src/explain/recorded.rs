//! One answer as its evidence has it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::{Position, Reason, Time};
use crate::evidence::record::{EvidenceOverride, EvidenceRecord, EvidenceSignals};
use crate::evidence::{EvidenceId, TAG_BYTES};
use crate::ledger::{LedgerId, Token};
use crate::proto::time;
use crate::proto::v1;

/// One answer of a record of evidence, with what was asked and what it rested on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its name; with the place among the questions where there were several.
    pub id: EvidenceId,
    /// The tag of its subject.
    pub tag: Vec<u8>,
    /// When it was given.
    pub answered_at: Time,
    /// For what.
    pub purpose: String,
    /// Over which channel.
    pub channel: String,
    /// For whom.
    pub recipient: String,
    /// Where the subject was.
    pub jurisdiction: String,
    /// Where the subject's clock was.
    pub time_zone: String,
    /// What came with the question.
    pub signals: RecordedSignals,
    /// The catalogue that decided; 0 is none.
    pub catalogue_version: u64,
    /// The ledger; `None` where none was known yet.
    pub ledger: Option<LedgerId>,
    /// How far the view had come.
    pub position: Position,
    /// How old the view was.
    pub staleness: Duration,
    /// How old it was allowed to be by the question.
    pub max_staleness: Option<Duration>,
    /// The token that was asked for.
    pub at_least_as_fresh: String,
    /// Why; `None` where a newer program gave a reason that this one does not know.
    pub reason: Option<Reason>,
    /// Where the record lies that decided.
    pub record_position: Option<Position>,
    /// For how long an ALLOW was to be relied on, in milliseconds; 0 for a DENY.
    pub valid_for_ms: u64,
    /// Who asked.
    pub caller: String,
    /// The version of the program that answered.
    pub software: String,
}

/// The signals of a question, as far as evidence keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordedSignals {
    /// The value of `Sec-GPC`.
    pub sec_gpc: String,
    /// The fingerprint of the TCF string; empty where there was none.
    pub tcf: Vec<u8>,
    /// The fingerprint of the GPP string.
    pub gpp: Vec<u8>,
}

impl Recorded {
    /// The answers of a record, in the order of the questions. `id` names the record.
    pub fn all(id: EvidenceId, record: &EvidenceRecord) -> Vec<Self> {
        let overrides: BTreeMap<u32, &EvidenceOverride> = record.overrides.iter().map(|own| (own.index, own)).collect();
        let is_batch = record.reasons.len() > 1;
        let reasons = (0..).zip(&record.reasons);
        let all = reasons.map(|(question, reason)| {
            let id = EvidenceId { question: is_batch.then_some(question), ..id };
            Self::one(id, record, question, *reason, overrides.get(&question).copied())
        });
        all.collect()
    }

    fn one(
        id: EvidenceId,
        record: &EvidenceRecord,
        question: u32,
        reason: i32,
        own: Option<&EvidenceOverride>,
    ) -> Self {
        let place = usize::try_from(question).unwrap_or(usize::MAX);
        let text = |own: Option<&String>, shared: &String| own.unwrap_or(shared).clone();
        let signals = own.and_then(|own| own.signals.as_ref()).or(record.signals.as_ref());
        Self {
            id,
            tag: record.subject_tags.chunks(TAG_BYTES).nth(place).unwrap_or_default().to_vec(),
            answered_at: record.answered_at.as_ref().map_or(Time::default(), millis),
            purpose: text(own.and_then(|own| own.purpose.as_ref()), &record.purpose),
            channel: text(own.and_then(|own| own.channel.as_ref()), &record.channel),
            recipient: text(own.and_then(|own| own.recipient.as_ref()), &record.recipient),
            jurisdiction: text(own.and_then(|own| own.jurisdiction.as_ref()), &record.jurisdiction),
            time_zone: text(own.and_then(|own| own.time_zone.as_ref()), &record.time_zone),
            signals: signals.map(RecordedSignals::from).unwrap_or_default(),
            catalogue_version: record.catalogue_version,
            ledger: record.ledger_id.as_slice().try_into().ok().map(LedgerId),
            position: Position(record.ledger_position),
            staleness: record.staleness.as_ref().and_then(time::span).unwrap_or(Duration::MAX),
            max_staleness: record.max_staleness.as_ref().and_then(time::span),
            at_least_as_fresh: record.at_least_as_fresh.clone(),
            reason: v1::Reason::try_from(reason).ok().and_then(|reason| Reason::try_from(reason).ok()),
            record_position: record.record_positions.get(place).and_then(|place| place.checked_sub(1)).map(Position),
            valid_for_ms: record.valid_for_ms.get(place).copied().unwrap_or(0),
            caller: record.caller.clone(),
            software: record.software.clone(),
        }
    }

    /// The token of the view that the answer rested on; empty where no ledger was known.
    #[must_use]
    pub fn token(&self) -> String {
        self.ledger.map(|ledger| Token { ledger, position: self.position }.to_string()).unwrap_or_default()
    }
}

impl From<&EvidenceSignals> for RecordedSignals {
    fn from(signals: &EvidenceSignals) -> Self {
        Self { sec_gpc: signals.sec_gpc.clone(), tcf: signals.tcf_digest.clone(), gpp: signals.gpp_digest.clone() }
    }
}

fn millis(at: &pbjson_types::Timestamp) -> Time {
    Time::from_unix_millis(at.seconds.saturating_mul(1000).saturating_add(i64::from(at.nanos) / 1_000_000))
}
