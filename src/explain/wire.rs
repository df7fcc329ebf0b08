//! How explanations look on the wire.

use super::{
    AppliedTerms, Cause, DecidingRecord, Reasoning, Recorded, Remark, RemarkKind, Replay, RuleOutcome, RuleResult,
    Standing,
};
use crate::domain::{Collection, Defects, LegalBasis};
use crate::proto::time::{duration, timestamp};
use crate::proto::v1;

/// A decision as an answer.
#[must_use]
pub fn answer(reasoning: &Reasoning) -> v1::Answer {
    let status = reasoning.record.as_ref().map(|record| record.record.status);
    let notice = reasoning.notice.as_ref();
    v1::Answer {
        verdict: v1::Verdict::from(reasoning.verdict()).into(),
        reason: v1::Reason::from(reasoning.reason).into(),
        legal_basis: legal_basis(reasoning.legal_basis),
        status: status.map_or(v1::ConsentStatus::Unspecified, v1::ConsentStatus::from).into(),
        valid_until: reasoning.valid_until.map(timestamp),
        failed_purpose: reasoning.failed_purpose.as_deref().unwrap_or_default().to_owned(),
        failed_reason: reasoning.failed_reason.map_or(v1::Reason::Unspecified, v1::Reason::from).into(),
        not_before: reasoning.not_before.map(timestamp),
        notice: notice.map(|(id, version)| v1::Notice {
            id: id.to_string(),
            version: *version,
            language: String::new(),
        }),
    }
}

/// The rules of a decision.
#[must_use]
pub fn rules(reasoning: &Reasoning) -> Vec<v1::RuleOutcome> {
    reasoning.rules.iter().map(rule).collect()
}

fn rule(outcome: &RuleOutcome) -> v1::RuleOutcome {
    let RuleOutcome { rule, description, purpose, result, finding, terms, detail } = outcome;
    let result = match result {
        RuleResult::Passed => v1::RuleResult::Passed,
        RuleResult::Denied => v1::RuleResult::Denied,
        RuleResult::Allowed => v1::RuleResult::Allowed,
        RuleResult::NotReached => v1::RuleResult::NotReached,
    };
    v1::RuleOutcome {
        rule: (*rule).to_owned(),
        decided: matches!(result, v1::RuleResult::Denied | v1::RuleResult::Allowed),
        description: (*description).to_owned(),
        purpose: purpose.to_string(),
        result: result.into(),
        finding: finding.clone(),
        terms: terms.iter().map(applied).collect(),
        detail: detail.map(|detail| detail.to_string()).unwrap_or_default(),
    }
}

fn applied(terms: &AppliedTerms) -> v1::AppliedTerms {
    v1::AppliedTerms {
        regions: terms.regions.iter().map(ToString::to_string).collect(),
        source: terms.source.to_string(),
    }
}

/// The record that decided.
#[must_use]
pub fn deciding_record(deciding: &DecidingRecord) -> v1::DecidingRecord {
    let DecidingRecord { purpose, channel, recipient, record, source } = deciding;
    v1::DecidingRecord {
        purpose: purpose.to_string(),
        channel: channel.to_string(),
        recipient: recipient.to_string(),
        status: v1::ConsentStatus::from(record.status).into(),
        legal_basis: legal_basis(Some(record.legal_basis)),
        event_time: Some(timestamp(record.event_time)),
        expires_at: record.expires_at.map(timestamp),
        notice: record.notice.as_ref().map(|notice| v1::Notice {
            id: notice.id.to_string(),
            version: notice.version,
            language: notice.language.to_string(),
        }),
        collection_method: record.collection.method.to_string(),
        position: record.position.0,
        collection: Some(collection(&record.collection)),
        jurisdiction: record.jurisdiction.to_string(),
        proof: record.proof.to_string(),
        source: source.clone().unwrap_or_default(),
    }
}

fn collection(collection: &Collection) -> v1::Collection {
    let Collection { defects, by_guardian, method } = collection;
    v1::Collection {
        method: method.to_string(),
        pre_ticked: defects.has(Defects::PRE_TICKED),
        passive: defects.has(Defects::PASSIVE),
        bundled: defects.has(Defects::BUNDLED),
        dark_pattern: defects.has(Defects::DARK_PATTERN),
        penalised: defects.has(Defects::PENALISED),
        not_specific: defects.has(Defects::NOT_SPECIFIC),
        coerced: defects.has(Defects::COERCED),
        not_informed: defects.has(Defects::NOT_INFORMED),
        withdrawal_untold: defects.has(Defects::WITHDRAWAL_UNTOLD),
        by_guardian: *by_guardian,
    }
}

/// An earlier answer and what comes of it.
#[must_use]
pub fn replay(replay: &Replay) -> v1::Replay {
    let Replay { recorded, standing, remarks, decided, differs, causes } = replay;
    let standing = match standing {
        Standing::Reproduced => v1::ReplayStanding::Reproduced,
        Standing::Contradicted => v1::ReplayStanding::Contradicted,
        Standing::Impossible => v1::ReplayStanding::Impossible,
    };
    v1::Replay {
        evidence_id: recorded.id.to_string(),
        question: Some(question(recorded)),
        recorded: Some(recorded_answer(recorded)),
        standing: standing.into(),
        remarks: remarks.iter().map(remark).collect(),
        answer: decided.as_ref().map(answer),
        rules: decided.as_ref().map(rules).unwrap_or_default(),
        record: decided.as_ref().and_then(|decided| decided.record.as_ref()).map(deciding_record),
        differs: *differs,
        causes: causes.iter().map(|cause| self::cause(*cause).into()).collect(),
    }
}

fn question(recorded: &Recorded) -> v1::Question {
    let sec_gpc = &recorded.signals.sec_gpc;
    v1::Question {
        subject: None,
        purpose: recorded.purpose.clone(),
        channel: recorded.channel.clone(),
        recipient: recorded.recipient.clone(),
        jurisdiction: recorded.jurisdiction.clone(),
        signals: (!sec_gpc.is_empty()).then(|| v1::Signals { sec_gpc: sec_gpc.clone(), ..v1::Signals::default() }),
        at_least_as_fresh: recorded.at_least_as_fresh.clone(),
        max_staleness: recorded.max_staleness.map(duration),
        time_zone: recorded.time_zone.clone(),
    }
}

fn recorded_answer(recorded: &Recorded) -> v1::RecordedAnswer {
    v1::RecordedAnswer {
        verdict: v1::Verdict::from(recorded.verdict()).into(),
        reason: recorded.reason.map_or(v1::Reason::Unspecified, v1::Reason::from).into(),
        answered_at: Some(timestamp(recorded.answered_at)),
        valid_until: recorded.valid_until().map(timestamp),
        record_position: recorded.record_position.map(|position| position.0),
        catalogue_version: recorded.catalogue_version,
        ledger_token: recorded.token(),
        staleness: Some(duration(recorded.staleness)),
        caller: recorded.caller.clone(),
        software: recorded.software.clone(),
    }
}

fn remark(remark: &Remark) -> v1::ReplayRemark {
    use v1::ReplayRemarkKind as Kind;
    let kind = match remark.kind {
        RemarkKind::OtherLedger => Kind::OtherLedger,
        RemarkKind::LedgerUnread => Kind::LedgerUnread,
        RemarkKind::TooLate => Kind::TooLate,
        RemarkKind::TooMuch => Kind::TooMuch,
        RemarkKind::SignalsMissing => Kind::SignalsMissing,
        RemarkKind::SignalsDiffer => Kind::SignalsDiffer,
        RemarkKind::UnknownWords => Kind::UnknownWords,
        RemarkKind::ReasonDiffers => Kind::ReasonDiffers,
        RemarkKind::ValidUntilDiffers => Kind::ValidUntilDiffers,
        RemarkKind::RecordDiffers => Kind::RecordDiffers,
        RemarkKind::CatalogueDiffers => Kind::CatalogueDiffers,
        RemarkKind::StandingTaken => Kind::StandingTaken,
        RemarkKind::Ahead => Kind::Ahead,
        RemarkKind::SubjectUnproved => Kind::SubjectUnproved,
    };
    v1::ReplayRemark { kind: kind.into(), sentence: remark.sentence.clone() }
}

const fn cause(cause: Cause) -> v1::DifferenceCause {
    match cause {
        Cause::Time => v1::DifferenceCause::Time,
        Cause::Records => v1::DifferenceCause::Records,
        Cause::Catalogue => v1::DifferenceCause::Catalogue,
        Cause::View => v1::DifferenceCause::View,
    }
}

fn legal_basis(basis: Option<LegalBasis>) -> i32 {
    basis.map_or(v1::LegalBasis::Unspecified, v1::LegalBasis::from).into()
}
