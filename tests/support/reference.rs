//! The decision once more, slow and obvious: it keeps every event and reads the rules off them with plain loops. It
//! shares no code with the domain's state or `decide`, only the words.

use consentd::domain::{
    Defects, LedgerStanding, LegalBasis, Purpose, Reason, Record, Status, Time, TokenStanding, UnreadableMark, Verdict,
};

use crate::history::{Happening, What};
use crate::random::Asked;

/// An answer, as far as it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) reason: Reason,
    pub(crate) rule: &'static str,
    pub(crate) status: Option<Status>,
    pub(crate) valid_until: Option<Time>,
    pub(crate) failed_purpose: Option<String>,
    pub(crate) notice: Option<(String, u32)>,
}

fn answer(reason: Reason, rule: &'static str, status: Option<Status>) -> Answer {
    Answer { reason, rule, status, valid_until: None, failed_purpose: None, notice: None }
}

/// One thing that the subject said and that no erasure took.
struct Said<'a> {
    purpose: &'a str,
    channel: &'a str,
    recipient: &'a str,
    record: &'a Record,
}

/// What is left of a history once erasures and corrections have been followed.
struct Left<'a> {
    erased: bool,
    said: Vec<Said<'a>>,
    marks: Vec<&'a UnreadableMark>,
}

/// The answers that are right. There is more than one only where events of the same moment differ in nothing that the
/// rules speak of, such as two refusals of different status.
pub(crate) fn answers(asked: &Asked, history: &[Happening]) -> Vec<Answer> {
    let left = what_is_left(history);
    let own = own_answers(asked, &left, &asked.purpose);
    let mut all = Vec::new();
    for mut mine in own {
        if mine.reason.verdict() == Verdict::Deny {
            all.push(mine);
            continue;
        }
        let mut certain = true;
        for key in required_by(asked, &asked.purpose) {
            let theirs = own_answers(asked, &left, &key);
            for their in &theirs {
                if their.reason.verdict() == Verdict::Deny {
                    let mut denied = answer(Reason::RequiredPurposeDenied, "requires", their.status);
                    denied.failed_purpose = Some(key.clone());
                    denied.notice.clone_from(&their.notice);
                    all.push(denied);
                } else if their.valid_until < mine.valid_until {
                    mine.valid_until = their.valid_until;
                }
            }
            if theirs.iter().all(|their| their.reason.verdict() == Verdict::Deny) {
                certain = false;
                break;
            }
        }
        if certain {
            all.push(mine);
        }
    }
    all
}

fn what_is_left(history: &[Happening]) -> Left<'_> {
    let mut erased_at = None;
    for happening in history {
        if let What::Erased(at) = happening.what {
            erased_at = erased_at.max(Some(at));
        }
    }
    let mut left = Left { erased: erased_at.is_some(), said: Vec::new(), marks: Vec::new() };
    for happening in history {
        match &happening.what {
            What::Said { purpose, channel, recipient, record } => {
                if erased_at.is_none_or(|at| record.event_time > at) {
                    left.said.push(Said { purpose, channel, recipient, record });
                }
            }
            What::Unreadable(mark) => {
                let erased = match (mark.event_time, erased_at) {
                    (Some(time), Some(at)) => time <= at,
                    _ => false,
                };
                let place = format!("@{}", mark.position.0);
                let corrected = history
                    .iter()
                    .any(|other| other.supersedes.iter().any(|id| **id == *mark.event_id || **id == *place));
                if !erased && !corrected {
                    left.marks.push(mark);
                }
            }
            What::Erased(_) | What::Restricted(_) | What::Born(_) => {}
        }
    }
    left
}

fn find<'a>(asked: &'a Asked, key: &str) -> Option<&'a Purpose> {
    asked.catalogue.as_ref().and_then(|catalogue| catalogue.purposes().find(|purpose| *purpose.key == *key))
}

/// What a purpose requires, the nearer before what it requires itself, each once.
fn required_by(asked: &Asked, key: &str) -> Vec<String> {
    fn follow(asked: &Asked, key: &str, all: &mut Vec<String>) {
        for required in &find(asked, key).expect("checked by the catalogue").terms.requires {
            if !all.contains(&required.to_string()) {
                all.push(required.to_string());
                follow(asked, required, all);
            }
        }
    }
    let mut all = Vec::new();
    follow(asked, key, &mut all);
    all
}

/// The answers for one purpose by itself, without what it requires.
fn own_answers(asked: &Asked, left: &Left<'_>, key: &str) -> Vec<Answer> {
    match asked.freshness.ledger {
        LedgerStanding::Building => return vec![answer(Reason::ReplicaBuilding, "ledger", None)],
        LedgerStanding::Broken => return vec![answer(Reason::LedgerBroken, "ledger", None)],
        LedgerStanding::Following => {}
    }
    let Some(catalogue) = &asked.catalogue else { return vec![answer(Reason::NoCatalogue, "catalogue", None)] };
    let Some(purpose) = find(asked, key) else { return vec![answer(Reason::UnknownPurpose, "catalogue", None)] };
    if !purpose.terms.channels.iter().any(|channel| **channel == *asked.channel) {
        let known = catalogue.channels().any(|(channel, _)| channel == asked.channel);
        let reason = if known { Reason::ChannelNotUsed } else { Reason::UnknownChannel };
        return vec![answer(reason, "channel", None)];
    }
    match asked.freshness.token {
        TokenStanding::Foreign => return vec![answer(Reason::ForeignToken, "freshness", None)],
        TokenStanding::NotReached => return vec![answer(Reason::Stale, "freshness", None)],
        TokenStanding::Reached => {}
    }
    let mut allowed_age = purpose.terms.max_staleness;
    if let Some(narrower) = asked.max_staleness
        && narrower < allowed_age
    {
        allowed_age = narrower;
    }
    if asked.freshness.staleness > allowed_age {
        return vec![answer(Reason::Stale, "freshness", None)];
    }
    let view_end = asked.now.plus(allowed_age.saturating_sub(asked.freshness.staleness));

    let grants = deciding_grants(asked, left, key);
    let mut all = Vec::new();
    if grants.is_empty() {
        all.extend(judged(asked, left, purpose, None, view_end));
    }
    for grant in grants {
        all.extend(judged(asked, left, purpose, Some(grant), view_end));
    }
    all
}

/// Whether `above` is `key` or a purpose above it, word by word.
fn reaches(above: &str, key: &str) -> bool {
    let above: Vec<&str> = above.split('.').collect();
    let key: Vec<&str> = key.split('.').collect();
    above.len() <= key.len() && above == key[..above.len()]
}

/// Whether consent to `above` is consent to `key`: the same purpose, or covered at every step.
fn consent_reaches(asked: &Asked, above: &str, key: &str) -> bool {
    if !reaches(above, key) {
        return false;
    }
    let words: Vec<&str> = key.split('.').collect();
    for length in above.split('.').count() + 1..=words.len() {
        let step = words[..length].join(".");
        if !find(asked, &step).is_some_and(|purpose| purpose.terms.covered_by_parent) {
            return false;
        }
    }
    true
}

/// The agreements that could decide: of all that cover the question the latest, and of those of one moment the ones
/// that permit least.
fn deciding_grants<'a>(asked: &Asked, left: &Left<'a>, key: &str) -> Vec<&'a Record> {
    let mut grants: Vec<&Said<'a>> = Vec::new();
    for said in &left.said {
        let agrees = matches!(said.record.status, Status::Given | Status::Renewed | Status::Expired);
        let channel = said.channel == asked.channel || said.channel == "*";
        let recipient = said.recipient == asked.recipient && said.recipient != "*";
        if agrees && channel && recipient && consent_reaches(asked, said.purpose, key) {
            grants.push(said);
        }
    }
    keep_greatest(&mut grants, |said| said.record.event_time);
    keep_greatest(&mut grants, |said| said.record.status == Status::Expired);
    keep_greatest(&mut grants, |said| said.record.collection.defects.bits());
    keep_greatest(&mut grants, |said| match &said.record.notice {
        None => i64::MAX,
        Some(notice) => -i64::from(notice.version),
    });
    keep_greatest(&mut grants, |said| match said.record.legal_basis {
        LegalBasis::ExplicitConsent => 0,
        LegalBasis::Consent => 1,
        _ => 2,
    });
    keep_greatest(&mut grants, |said| match said.record.expires_at {
        None => i64::MIN,
        Some(end) => -end.unix_millis(),
    });
    keep_greatest(&mut grants, |said| said.purpose.split('.').count());
    grants.into_iter().map(|said| said.record).collect()
}

fn keep_greatest<'s, 'a, K: Ord>(all: &mut Vec<&'s Said<'a>>, key: impl Fn(&'s Said<'a>) -> K) {
    let mut greatest = None;
    for said in all.iter() {
        greatest = greatest.max(Some(key(said)));
    }
    all.retain(|said| Some(key(said)) == greatest);
}

/// The answers under one agreement, or under none.
fn judged(asked: &Asked, left: &Left<'_>, purpose: &Purpose, grant: Option<&Record>, view_end: Time) -> Vec<Answer> {
    let now = asked.now;
    let needs_consent = matches!(purpose.terms.legal_basis, LegalBasis::Consent | LegalBasis::ExplicitConsent);
    let end_of = |record: &Record| {
        let mut end = Time::MAX;
        if let Some(at) = record.expires_at {
            end = at;
        }
        if let Some(span) = purpose.terms.max_age
            && record.event_time.plus(span) < end
        {
            end = record.event_time.plus(span);
        }
        end
    };

    // What an agreement lifts. Where consent is not needed nothing below judges it, so it must be in force.
    let lifts_after = grant.and_then(|record| {
        let void = record.collection.defects != Defects::NONE;
        let over = record.status == Status::Expired || now >= end_of(record);
        let ahead = record.event_time > now;
        if needs_consent || !(void || over || ahead) { Some(record.event_time) } else { None }
    });
    let lifted = |time: Time| lifts_after.is_some_and(|granted| granted > time);

    for mark in &left.marks {
        if !mark.event_time.is_some_and(lifted) {
            return vec![answer(Reason::UnreadableRecord, "unreadable", None)];
        }
    }
    if left.erased && lifts_after.is_none() {
        return vec![answer(Reason::Erased, "erasure", None)];
    }
    if !asked.tcf.is_empty() || !asked.gpp.is_empty() {
        return vec![answer(Reason::SignalUnreadable, "signals", None)];
    }
    if asked.sec_gpc == "1" && purpose.terms.honours_gpc {
        return vec![answer(Reason::SignalGpc, "signals", None)];
    }

    let touching: Vec<&Said<'_>> = left
        .said
        .iter()
        .filter(|said| {
            reaches(said.purpose, &purpose.key)
                && (said.channel == asked.channel || said.channel == "*")
                && (said.recipient == asked.recipient || said.recipient == "*")
        })
        .collect();
    let mut refusals: Vec<&Said<'_>> = touching.iter().copied().filter(|said| is_refusal(said.record.status)).collect();
    keep_greatest(&mut refusals, |said| said.record.event_time);
    let mut denied = Vec::new();
    for said in &refusals {
        if !lifted(said.record.event_time) {
            denied.push(answer(refusal_reason(said.record), "refusal", Some(said.record.status)));
        }
    }
    if !denied.is_empty() {
        return denied;
    }

    if left.said.iter().all(|said| is_refusal(said.record.status)) {
        return vec![answer(Reason::UnknownSubject, "subject", None)];
    }
    if needs_consent {
        let Some(record) = grant else {
            let asked_for = touching.iter().any(|said| said.record.status == Status::Requested);
            return vec![answer(Reason::NoConsent, "consent", asked_for.then_some(Status::Requested))];
        };
        if let Some(mut flawed) = flaw(record, purpose, now) {
            flawed.status = Some(record.status);
            return vec![flawed];
        }
    }

    let something_lifted = !refusals.is_empty() || left.erased || !left.marks.is_empty();
    let relied_on = grant.filter(|_| needs_consent || something_lifted);
    let mut allowed = answer(allowing(purpose.terms.legal_basis), "allow", relied_on.map(|record| record.status));
    allowed.valid_until = Some(view_end);
    if let Some(record) = relied_on
        && end_of(record) < view_end
    {
        allowed.valid_until = Some(end_of(record));
    }
    vec![allowed]
}

/// What is wrong with a consent, in the order in which it is looked for.
fn flaw(record: &Record, purpose: &Purpose, now: Time) -> Option<Answer> {
    match record.legal_basis {
        LegalBasis::ExplicitConsent => {}
        LegalBasis::Consent if purpose.terms.legal_basis == LegalBasis::Consent => {}
        LegalBasis::Consent => return Some(answer(Reason::NotExplicit, "legal_basis", None)),
        _ => return Some(answer(Reason::LegalBasisMismatch, "legal_basis", None)),
    }
    if record.status == Status::Expired {
        return Some(answer(Reason::Expired, "expiry", None));
    }
    if record.event_time > now {
        return Some(answer(Reason::NotYetEffective, "effective", None));
    }
    if record.expires_at.is_some_and(|end| end <= now) {
        return Some(answer(Reason::Expired, "expiry", None));
    }
    if purpose.terms.max_age.is_some_and(|span| record.event_time.plus(span) <= now) {
        return Some(answer(Reason::TooOld, "max_age", None));
    }
    for (defect, reason) in [
        (Defects::PRE_TICKED, Reason::PreTicked),
        (Defects::PASSIVE, Reason::Passive),
        (Defects::BUNDLED, Reason::Bundled),
        (Defects::DARK_PATTERN, Reason::DarkPattern),
    ] {
        if record.collection.defects.has(defect) {
            return Some(answer(reason, "collection", None));
        }
    }
    if let Some(rule) = &purpose.terms.notice {
        let reason = match &record.notice {
            Some(notice) if *notice.id == *rule.id && notice.version >= rule.material_since => return None,
            Some(notice) if *notice.id == *rule.id => Reason::NoticeOutdated,
            _ => Reason::NoticeMissing,
        };
        let mut flawed = answer(reason, "notice", None);
        flawed.notice = Some((rule.id.to_string(), rule.material_since));
        return Some(flawed);
    }
    None
}

fn is_refusal(status: Status) -> bool {
    matches!(status, Status::Refused | Status::Withdrawn | Status::Revoked | Status::Invalidated)
}

fn refusal_reason(record: &Record) -> Reason {
    if record.legal_basis == LegalBasis::LegitimateInterest {
        return Reason::Objected;
    }
    match record.status {
        Status::Withdrawn => Reason::Withdrawn,
        Status::Revoked => Reason::Revoked,
        Status::Invalidated => Reason::Invalidated,
        _ => Reason::Refused,
    }
}

fn allowing(basis: LegalBasis) -> Reason {
    match basis {
        LegalBasis::Consent => Reason::Consent,
        LegalBasis::ExplicitConsent => Reason::ExplicitConsent,
        LegalBasis::LegitimateInterest => Reason::LegitimateInterest,
        LegalBasis::Contract => Reason::Contract,
        LegalBasis::LegalObligation => Reason::LegalObligation,
        LegalBasis::VitalInterest => Reason::VitalInterest,
        LegalBasis::PublicTask => Reason::PublicTask,
    }
}
