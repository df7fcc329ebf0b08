//! The decision once more, slow and obvious: it keeps every event and reads the rules off them with plain loops. Where
//! several regions' terms apply it asks each, and combines nothing. It shares no code with the domain's state or
//! `decide`, only the words.

use consentd::domain::{
    Birth, Defects, LedgerStanding, LegalBasis, Purpose, Reason, Record, Restriction, Status, Terms, Time,
    TokenStanding, UnreadableMark, Verdict,
};

use crate::clocks;
use crate::history::{Happening, What};
use crate::random::Asked;
use crate::terms::{coverage, those_that_apply};
use crate::young::{has_guardian, is_younger, minor_reason};

/// An answer, as far as it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) reason: Reason,
    pub(crate) rule: &'static str,
    pub(crate) status: Option<Status>,
    pub(crate) valid_until: Option<Time>,
    pub(crate) failed_purpose: Option<String>,
    pub(crate) failed_reason: Option<Reason>,
    pub(crate) notice: Option<(String, u32)>,
    pub(crate) not_before: Option<Time>,
}

fn answer(reason: Reason, rule: &'static str, status: Option<Status>) -> Answer {
    Answer {
        reason,
        rule,
        status,
        valid_until: None,
        failed_purpose: None,
        failed_reason: None,
        notice: None,
        not_before: None,
    }
}

/// One thing that the subject said and that no erasure took.
pub(crate) struct Said<'a> {
    pub(crate) purpose: &'a str,
    pub(crate) channel: &'a str,
    pub(crate) recipient: &'a str,
    pub(crate) record: &'a Record,
}

/// What is left of a history once erasures and corrections have been followed.
pub(crate) struct Left<'a> {
    erased: bool,
    pub(crate) said: Vec<Said<'a>>,
    marks: Vec<&'a UnreadableMark>,
    /// The last word about each purpose.
    restrictions: Vec<&'a Restriction>,
    pub(crate) birth: Option<Birth>,
}

/// One purpose under all terms that apply to the question, in the order of the catalogue.
struct Looked<'a> {
    asked: &'a Asked,
    left: &'a Left<'a>,
    key: &'a str,
    terms: Vec<&'a Terms>,
}

/// The answers that are right. There is more than one only where events of the same moment differ in nothing that the
/// rules speak of, such as two refusals of different status.
pub(crate) fn answers(asked: &Asked, history: &[Happening]) -> Vec<Answer> {
    let left = what_is_left(history);
    let own = own_answers(asked, &left, &asked.purpose);
    let mut all = Vec::new();
    for mut mine in own {
        // Quiet hours are looked at after what is required.
        if mine.reason.verdict() == Verdict::Deny && mine.rule != "quiet_hours" {
            all.push(mine);
            continue;
        }
        let mut certain = true;
        for key in required_by(asked, &left) {
            let theirs = own_answers(asked, &left, &key);
            for their in &theirs {
                if their.reason.verdict() == Verdict::Deny {
                    let mut denied = answer(Reason::RequiredPurposeDenied, "requires", their.status);
                    denied.failed_purpose = Some(key.clone());
                    denied.failed_reason = Some(their.reason);
                    denied.notice.clone_from(&their.notice);
                    if their.reason == Reason::QuietHours {
                        denied.not_before = first_open(asked, &left);
                    }
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
            if mine.reason == Reason::QuietHours {
                mine.not_before = first_open(asked, &left);
            }
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
    let mut left = Left {
        erased: erased_at.is_some(),
        said: Vec::new(),
        marks: Vec::new(),
        restrictions: Vec::new(),
        birth: None,
    };
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
            What::Restricted(said) => {
                let is_last = history.iter().all(|other| match &other.what {
                    What::Restricted(other) if other.purpose == said.purpose => {
                        (other.event_time, other.restricted) <= (said.event_time, said.restricted)
                    }
                    _ => true,
                });
                if is_last {
                    left.restrictions.push(said);
                }
            }
            What::Born(birth) => {
                if erased_at.is_none_or(|at| birth.event_time > at) {
                    left.birth = left.birth.max(Some(*birth));
                }
            }
            What::Erased(_) => {}
        }
    }
    left
}

pub(crate) fn find<'a>(asked: &'a Asked, key: &str) -> Option<&'a Purpose> {
    asked.catalogue.as_ref().and_then(|catalogue| catalogue.purposes().find(|purpose| *purpose.key == *key))
}

fn look<'a>(asked: &'a Asked, left: &'a Left<'a>, key: &'a str) -> Option<Looked<'a>> {
    let purpose = find(asked, key)?;
    Some(Looked { asked, left, key, terms: those_that_apply(asked, left, key, purpose) })
}

/// What a purpose requires, the nearer before what it requires itself, each once.
fn required_by(asked: &Asked, left: &Left<'_>) -> Vec<String> {
    fn follow(asked: &Asked, left: &Left<'_>, key: &str, all: &mut Vec<String>) {
        for terms in look(asked, left, key).expect("checked by the catalogue").terms {
            for required in &terms.requires {
                if !all.contains(&required.to_string()) {
                    all.push(required.to_string());
                }
            }
        }
    }
    /// Depth first, as `follow` finds one level.
    fn deep(asked: &Asked, left: &Left<'_>, key: &str, all: &mut Vec<String>) {
        let mut level = Vec::new();
        follow(asked, left, key, &mut level);
        for required in level {
            if !all.contains(&required) {
                all.push(required.clone());
                deep(asked, left, &required, all);
            }
        }
    }
    let mut all = Vec::new();
    deep(asked, left, &asked.purpose, &mut all);
    all
}

/// When neither the purpose nor one that it requires has quiet hours any more.
fn first_open(asked: &Asked, left: &Left<'_>) -> Option<Time> {
    let mut windows = Vec::new();
    for key in std::iter::once(asked.purpose.clone()).chain(required_by(asked, left)) {
        let Some(looked) = look(asked, left, &key) else { continue };
        windows.extend(clocks::windows(asked, &looked.terms)?);
    }
    clocks::first_outside(&windows, asked.now)
}

/// The answers for one purpose by itself, without what it requires.
fn own_answers(asked: &Asked, left: &Left<'_>, key: &str) -> Vec<Answer> {
    match asked.freshness.ledger {
        LedgerStanding::Building => return vec![answer(Reason::ReplicaBuilding, "ledger", None)],
        LedgerStanding::Broken => return vec![answer(Reason::LedgerBroken, "ledger", None)],
        LedgerStanding::Following => {}
    }
    let Some(catalogue) = &asked.catalogue else { return vec![answer(Reason::NoCatalogue, "catalogue", None)] };
    let Some(looked) = look(asked, left, key) else { return vec![answer(Reason::UnknownPurpose, "catalogue", None)] };
    let uses = |terms: &&Terms| terms.channels.iter().any(|channel| **channel == *asked.channel);
    if !looked.terms.iter().all(uses) {
        let known = catalogue.channels().any(|(channel, _)| channel == asked.channel);
        let reason = if known { Reason::ChannelNotUsed } else { Reason::UnknownChannel };
        return vec![answer(reason, "channel", None)];
    }
    if looked.terms.iter().any(|terms| terms.prohibited) {
        return vec![answer(Reason::Prohibited, "jurisdiction", None)];
    }
    match asked.freshness.token {
        TokenStanding::Foreign => return vec![answer(Reason::ForeignToken, "freshness", None)],
        TokenStanding::NotReached => return vec![answer(Reason::Stale, "freshness", None)],
        TokenStanding::Reached => {}
    }
    let mut allowed_age = asked.max_staleness.unwrap_or(std::time::Duration::MAX);
    for terms in &looked.terms {
        allowed_age = allowed_age.min(terms.max_staleness);
    }
    if asked.freshness.staleness > allowed_age {
        return vec![answer(Reason::Stale, "freshness", None)];
    }
    let view_end = asked.now.plus(allowed_age.saturating_sub(asked.freshness.staleness));

    let grants = looked.deciding_grants();
    let mut all = Vec::new();
    if grants.is_empty() {
        all.extend(looked.judged(None, view_end));
    }
    for grant in grants {
        for (grant, view_end) in looked.grants_of_some(grant, view_end) {
            all.extend(looked.judged(Some(grant), view_end));
        }
    }
    all
}

/// Whether `above` is `key` or a purpose above it, word by word.
pub(crate) fn reaches(above: &str, key: &str) -> bool {
    let above: Vec<&str> = above.split('.').collect();
    let key: Vec<&str> = key.split('.').collect();
    above.len() <= key.len() && above == key[..above.len()]
}

/// Whether something said speaks about a purpose, over the question's channel and for its recipient.
pub(crate) fn touches(asked: &Asked, said: &Said<'_>, key: &str) -> bool {
    reaches(said.purpose, key)
        && (said.channel == asked.channel || said.channel == "*")
        && (said.recipient == asked.recipient || said.recipient == "*")
}

pub(crate) fn agrees(status: Status) -> bool {
    matches!(status, Status::Given | Status::Renewed | Status::Expired)
}

/// Which of two agreements decides: the greater.
fn rank(said: &Said<'_>) -> impl Ord + use<> {
    let record = said.record;
    (
        record.event_time,
        record.status == Status::Expired,
        record.collection.defects.bits(),
        !record.collection.by_guardian,
        record.proof.is_empty(),
        match &record.notice {
            None => i64::MAX,
            Some(notice) => -i64::from(notice.version),
        },
        match record.legal_basis {
            LegalBasis::ExplicitConsent => 0,
            LegalBasis::Consent => 1,
            _ => 2,
        },
        match record.expires_at {
            None => i64::MIN,
            Some(end) => -end.unix_millis(),
        },
        said.purpose.split('.').count(),
    )
}

fn keep_greatest<'s, 'a, K: Ord>(all: &mut Vec<&'s Said<'a>>, key: impl Fn(&'s Said<'a>) -> K) {
    let mut greatest = None;
    for said in all.iter() {
        greatest = greatest.max(Some(key(said)));
    }
    all.retain(|said| Some(key(said)) == greatest);
}

impl<'a> Looked<'a> {
    /// The agreements that cover the question in all regions that apply, or only in some.
    fn agreements(&self, everywhere: bool) -> Vec<&'a Said<'a>> {
        let mut grants = Vec::new();
        for said in &self.left.said {
            let named = said.recipient == self.asked.recipient && said.recipient != "*";
            if agrees(said.record.status) && touches(self.asked, said, self.key) && named {
                let (all, any) = coverage(self.asked, self.left, said.purpose, self.key);
                if all == everywhere && any {
                    grants.push(said);
                }
            }
        }
        grants
    }

    /// The agreements that could decide: of all that cover the question the latest, and of those of one moment the ones
    /// that permit least.
    fn deciding_grants(&self) -> Vec<&'a Said<'a>> {
        let mut grants = self.agreements(true);
        keep_greatest(&mut grants, rank);
        grants
    }

    /// The agreement that decides once those have been looked at that cover the question in some regions only, and how
    /// long an answer can last by them. A void one among them that is later decides.
    fn grants_of_some(&self, grant: &'a Said<'a>, view_end: Time) -> Vec<(&'a Said<'a>, Time)> {
        let some = self.agreements(false);
        let mut later: Vec<&Said<'_>> = Vec::new();
        for said in &some {
            // Of one purpose, channel and recipient only the last word is kept.
            let of_slot = |other: &&&Said<'_>| {
                (other.purpose, other.channel, other.recipient) == (said.purpose, said.channel, said.recipient)
            };
            let is_last = some.iter().filter(of_slot).all(|other| rank(other) <= rank(said));
            if is_last && rank(said) > rank(grant) {
                later.push(said);
            }
        }
        let mut end = view_end;
        let mut spoiling = Vec::new();
        for said in later {
            let fine = if self.needs_consent() { self.flaw(said.record).is_none() } else { self.in_force(said.record) };
            if fine {
                end = end.min(self.end_of(said.record));
            } else {
                spoiling.push(said);
            }
        }
        keep_greatest(&mut spoiling, rank);
        if spoiling.is_empty() {
            return vec![(grant, end)];
        }
        spoiling.into_iter().map(|said| (said, end)).collect()
    }

    fn needs_consent(&self) -> bool {
        let needs = |terms: &&Terms| matches!(terms.legal_basis, LegalBasis::Consent | LegalBasis::ExplicitConsent);
        self.terms.iter().any(needs)
    }

    fn end_of(&self, record: &Record) -> Time {
        let mut end = record.expires_at.unwrap_or(Time::MAX);
        for span in self.terms.iter().filter_map(|terms| terms.max_age) {
            end = end.min(record.event_time.plus(span));
        }
        end
    }

    fn in_force(&self, record: &Record) -> bool {
        let void = record.collection.defects != Defects::NONE;
        let over = record.status == Status::Expired || self.asked.now >= self.end_of(record);
        let ahead = record.event_time > self.asked.now;
        !(void || over || ahead)
    }

    /// The answers under one agreement, or under none.
    fn judged(&self, grant: Option<&Said<'_>>, view_end: Time) -> Vec<Answer> {
        let (asked, left, now) = (self.asked, self.left, self.asked.now);
        let grant = grant.map(|said| said.record);
        let needs_consent = self.needs_consent();

        // What an agreement lifts. Where consent is not needed nothing below judges it, so it must be in force.
        let lifts_after = grant
            .and_then(|record| if needs_consent || self.in_force(record) { Some(record.event_time) } else { None });
        let lifted = |time: Time| lifts_after.is_some_and(|granted| granted > time);

        for mark in &left.marks {
            if !mark.event_time.is_some_and(lifted) {
                return vec![answer(Reason::UnreadableRecord, "unreadable", None)];
            }
        }
        if left.erased && lifts_after.is_none() {
            return vec![answer(Reason::Erased, "erasure", None)];
        }
        for said in &left.restrictions {
            let holds = said.restricted || said.event_time > now;
            let about_this = said.purpose.is_empty() || reaches(&said.purpose, self.key);
            if holds && about_this && !self.terms.iter().all(|terms| terms.despite_restriction) {
                return vec![answer(Reason::Restricted, "restriction", None)];
            }
        }
        if !asked.tcf.is_empty() || !asked.gpp.is_empty() {
            return vec![answer(Reason::SignalUnreadable, "signals", None)];
        }
        if asked.sec_gpc == "1" && self.terms.iter().any(|terms| terms.honours_gpc) {
            return vec![answer(Reason::SignalGpc, "signals", None)];
        }

        let touching: Vec<&Said<'_>> = left.said.iter().filter(|said| touches(asked, said, self.key)).collect();
        let mut refusals: Vec<&Said<'_>> =
            touching.iter().copied().filter(|said| is_refusal(said.record.status)).collect();
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
        let guardian =
            grant.is_some_and(|record| record.collection.by_guardian && (needs_consent || self.in_force(record)));
        for rule in self.terms.iter().filter_map(|terms| terms.minors) {
            if let Some(reason) = minor_reason(rule, left.birth, now, guardian) {
                return vec![answer(reason, "age", None)];
            }
        }
        if needs_consent {
            let Some(record) = grant else {
                let asked_for = touching.iter().any(|said| said.record.status == Status::Requested);
                return vec![answer(Reason::NoConsent, "consent", asked_for.then_some(Status::Requested))];
            };
            if let Some(mut flawed) = self.flaw(record) {
                flawed.status = Some(record.status);
                return vec![flawed];
            }
        } else if let Some(birth) = left.birth
            && !guardian
            && self
                .terms
                .iter()
                .filter_map(|terms| terms.minors)
                .any(|rule| has_guardian(rule) && is_younger(birth.born, rule.under, now))
        {
            return vec![answer(Reason::GuardianMissing, "guardian", grant.map(|record| record.status))];
        }

        let Some(windows) = clocks::windows(asked, &self.terms) else {
            return vec![answer(Reason::TimeZoneUnknown, "quiet_hours", None)];
        };
        if windows.iter().any(|(begins, ends)| *begins <= now && now < *ends) {
            return vec![answer(Reason::QuietHours, "quiet_hours", None)];
        }

        let something_lifted = !refusals.is_empty() || left.erased || !left.marks.is_empty();
        let relied_on = grant.filter(|_| needs_consent || something_lifted);
        let mut allowed = answer(self.allowing(), "allow", relied_on.map(|record| record.status));
        let mut until = view_end;
        if let Some(record) = relied_on {
            until = until.min(self.end_of(record));
        }
        if let Some(record) = grant.filter(|_| needs_consent) {
            until = until.min(self.outdated_at(record));
        }
        for (begins, _) in windows {
            if begins > now {
                until = until.min(begins);
            }
        }
        allowed.valid_until = Some(until);
        vec![allowed]
    }

    /// The name of the ground: of several the one that demands most.
    fn allowing(&self) -> Reason {
        for (basis, reason) in [
            (LegalBasis::ExplicitConsent, Reason::ExplicitConsent),
            (LegalBasis::Consent, Reason::Consent),
            (LegalBasis::LegitimateInterest, Reason::LegitimateInterest),
            (LegalBasis::Contract, Reason::Contract),
            (LegalBasis::PublicTask, Reason::PublicTask),
            (LegalBasis::VitalInterest, Reason::VitalInterest),
        ] {
            if self.terms.iter().any(|terms| terms.legal_basis == basis) {
                return reason;
            }
        }
        Reason::LegalObligation
    }

    /// What is wrong with a consent, in the order in which it is looked for.
    fn flaw(&self, record: &Record) -> Option<Answer> {
        let now = self.asked.now;
        match record.legal_basis {
            LegalBasis::ExplicitConsent => {}
            LegalBasis::Consent => {
                if self.terms.iter().any(|terms| terms.legal_basis == LegalBasis::ExplicitConsent) {
                    return Some(answer(Reason::NotExplicit, "legal_basis", None));
                }
            }
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
        if self.terms.iter().filter_map(|terms| terms.max_age).any(|span| record.event_time.plus(span) <= now) {
            return Some(answer(Reason::TooOld, "max_age", None));
        }
        for (defect, reason) in [
            (Defects::PRE_TICKED, Reason::PreTicked),
            (Defects::PASSIVE, Reason::Passive),
            (Defects::BUNDLED, Reason::Bundled),
            (Defects::DARK_PATTERN, Reason::DarkPattern),
            (Defects::PENALISED, Reason::Penalised),
            (Defects::NOT_SPECIFIC, Reason::NotSpecific),
            (Defects::COERCED, Reason::Coerced),
            (Defects::NOT_INFORMED, Reason::NotInformed),
            (Defects::WITHDRAWAL_UNTOLD, Reason::WithdrawalUntold),
        ] {
            if record.collection.defects.has(defect) {
                return Some(answer(reason, "collection", None));
            }
        }
        for terms in &self.terms {
            let accepted = &terms.accepts.methods;
            if !accepted.is_empty() && !accepted.iter().any(|method| **method == *record.collection.method) {
                return Some(answer(Reason::MethodNotAccepted, "collection", None));
            }
        }
        if record.proof.is_empty() && self.terms.iter().any(|terms| terms.accepts.proof_required) {
            return Some(answer(Reason::ProofMissing, "collection", None));
        }
        if let Some(birth) = self.left.birth
            && !record.collection.by_guardian
            && self
                .terms
                .iter()
                .filter_map(|terms| terms.minors)
                .any(|rule| has_guardian(rule) && is_younger(birth.born, rule.under, record.event_time))
        {
            return Some(answer(Reason::GuardianMissing, "guardian", None));
        }
        for rule in self.terms.iter().filter_map(|terms| terms.notice.as_ref()) {
            let (mut material, mut current) = (rule.material_since, rule.material_since);
            for version in &rule.versions {
                if version.effective_at.is_none_or(|at| at <= now) {
                    current = current.max(version.version);
                    if version.material && rule.material_since == 0 {
                        material = material.max(version.version);
                    }
                }
            }
            let reason = match &record.notice {
                Some(notice) if *notice.id == *rule.id && notice.version >= material => continue,
                Some(notice) if *notice.id == *rule.id => Reason::NoticeOutdated,
                _ => Reason::NoticeMissing,
            };
            let mut flawed = answer(reason, "notice", None);
            flawed.notice = Some((rule.id.to_string(), current));
            return Some(flawed);
        }
        None
    }

    /// When a material version comes that the subject has not seen.
    fn outdated_at(&self, record: &Record) -> Time {
        let mut until = Time::MAX;
        for rule in self.terms.iter().filter_map(|terms| terms.notice.as_ref()).filter(|rule| rule.material_since == 0)
        {
            for version in rule.versions.iter().filter(|version| version.material) {
                let unseen = record.notice.as_ref().is_none_or(|notice| notice.version < version.version);
                if let Some(at) = version.effective_at
                    && unseen
                    && at > self.asked.now
                {
                    until = until.min(at);
                }
            }
        }
        until
    }
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
