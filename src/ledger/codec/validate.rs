//! Checks an event of the wire, field by field, and makes it the domain's.

use std::borrow::Cow;

use crate::domain::catalogue::{ANY, check_channel, check_purpose, check_recipient};
use crate::domain::words::Register;
use crate::domain::{
    CatalogueError, Collection, ConsentEvent, Day, Defects, Event, EventBody, LegalBasis, Notice, Status, Subject,
    Time, is_jurisdiction,
};
use crate::proto::v1;

use super::catalogue;
use super::problem::{EventError, Problems};

/// The longest event id, in bytes.
pub const EVENT_ID_BYTES_MAX: usize = 128;
/// The longest name of a source, in bytes.
pub const SOURCE_BYTES_MAX: usize = 128;
/// The most events that one event may supersede.
pub const SUPERSEDES_MAX: usize = 16;
/// The longest name of a collection method, in bytes.
pub const METHOD_BYTES_MAX: usize = 64;
/// The longest notice id, in bytes.
pub const NOTICE_ID_BYTES_MAX: usize = 128;
/// The longest language tag, in bytes. Source: RFC 5646, 4.4.1.
pub const LANGUAGE_BYTES_MAX: usize = 35;
/// The longest reference to a proof of collection, in bytes.
pub const PROOF_BYTES_MAX: usize = 512;

/// 9999-12-31T23:59:59Z, the last second that a four-digit year can name.
const LAST_SECOND: i64 = 253_402_300_799;

/// The domain's event, if every field of the message is as it must be.
///
/// # Errors
/// With every field that is not. No error repeats a subject.
pub fn validate(event: v1::LedgerEvent) -> Result<Event, EventError> {
    let mut problems = Problems::default();
    check_event_id(&mut problems, &event.event_id);
    check_text(&mut problems, "source", &event.source, SOURCE_BYTES_MAX);
    if event.supersedes.len() > SUPERSEDES_MAX {
        problems.add("supersedes", format!("at most {SUPERSEDES_MAX} events may be named"));
    }
    for superseded in &event.supersedes {
        check_name(&mut problems, "supersedes", superseded, EVENT_ID_BYTES_MAX);
    }
    if event.event_time.is_none() {
        problems.add("event_time", "missing");
    }
    let event_time = event.event_time.and_then(|time| self::time(&mut problems, "event_time", time));
    let body = match event.event {
        Some(v1::ledger_event::Event::Consent(consent)) => {
            self::consent(&mut problems, consent, event_time).map(|consent| EventBody::Consent(Box::new(consent)))
        }
        Some(v1::ledger_event::Event::Link(link)) => self::link(&mut problems, link),
        Some(v1::ledger_event::Event::Erasure(erasure)) => {
            subject(&mut problems, "erasure.subject", erasure.subject).map(|subject| EventBody::Erasure { subject })
        }
        Some(v1::ledger_event::Event::Catalogue(catalogue)) => {
            catalogue::of_event(&mut problems, catalogue).map(|catalogue| EventBody::Catalogue(Box::new(catalogue)))
        }
        Some(v1::ledger_event::Event::Restriction(restriction)) => self::restriction(&mut problems, restriction),
        Some(v1::ledger_event::Event::Birth(birth)) => self::birth(&mut problems, birth),
        None => {
            let all = "`consent`, `link`, `erasure`, `restriction`, `birth` and `catalogue`";
            problems.add("event", format!("one of {all} must be given"));
            None
        }
    };
    let made = event_time.zip(body).map(|(event_time, body)| Event {
        event_id: event.event_id.into(),
        event_time,
        supersedes: event.supersedes.into_iter().map(Into::into).collect(),
        body,
    });
    problems.into_result(made)
}

fn consent(problems: &mut Problems, consent: v1::ConsentEvent, event_time: Option<Time>) -> Option<ConsentEvent> {
    let subject = subject(problems, "consent.subject", consent.subject);
    if let Err(error) = check_purpose("consent.purpose", &consent.purpose) {
        add_key(problems, error);
    }
    if consent.channel != ANY
        && let Err(error) = check_channel("consent.channel", &consent.channel)
    {
        add_key(problems, error);
    }
    let status = v1::ConsentStatus::try_from(consent.status).ok().and_then(|wire| Status::try_from(wire).ok());
    if status.is_none() {
        problems.add("consent.status", "missing, or not known to this version");
    }
    let legal_basis = legal_basis(problems, "consent.legal_basis", consent.legal_basis);
    if let Err(error) = check_recipient("consent.recipient", &consent.recipient) {
        add_key(problems, error);
    } else if consent.recipient == ANY && status.is_some_and(|status| status.register() != Register::Refusal) {
        problems.add("consent.recipient", "`*` is for refusals only: consent is specific");
    }
    let collection = consent.collection.unwrap_or_default();
    check_text(problems, "consent.collection.method", &collection.method, METHOD_BYTES_MAX);
    let notice = consent.notice.map(|notice| self::notice(problems, notice));
    if !is_jurisdiction(&consent.jurisdiction) {
        let rule = "must be an ISO 3166 code in capitals, such as `TR` or `US-ME`";
        problems.add_value("consent.jurisdiction", rule, &consent.jurisdiction);
    }
    let expires_at = consent.expires_at.and_then(|time| self::time(problems, "consent.expires_at", time));
    let is_grant = matches!(status, Some(Status::Given | Status::Renewed));
    if is_grant && expires_at.zip(event_time).is_some_and(|(expires_at, event_time)| expires_at <= event_time) {
        problems.add("consent.expires_at", "must be after the event's time");
    }
    check_text(problems, "consent.proof", &consent.proof, PROOF_BYTES_MAX);
    Some(ConsentEvent {
        subject: subject?,
        purpose: consent.purpose.into(),
        channel: consent.channel.into(),
        recipient: consent.recipient.into(),
        status: status?,
        legal_basis: legal_basis?,
        collection: Collection {
            defects: Defects::NONE
                .with_if(collection.pre_ticked, Defects::PRE_TICKED)
                .with_if(collection.passive, Defects::PASSIVE)
                .with_if(collection.bundled, Defects::BUNDLED)
                .with_if(collection.dark_pattern, Defects::DARK_PATTERN)
                .with_if(collection.penalised, Defects::PENALISED)
                .with_if(collection.not_specific, Defects::NOT_SPECIFIC)
                .with_if(collection.coerced, Defects::COERCED)
                .with_if(collection.not_informed, Defects::NOT_INFORMED)
                .with_if(collection.withdrawal_untold, Defects::WITHDRAWAL_UNTOLD),
            by_guardian: collection.by_guardian,
            method: collection.method.into(),
        },
        notice,
        jurisdiction: consent.jurisdiction.into(),
        expires_at,
        proof: consent.proof.into(),
    })
}

fn link(problems: &mut Problems, link: v1::LinkEvent) -> Option<EventBody> {
    let subject = self::subject(problems, "link.subject", link.subject);
    let linked = self::subject(problems, "link.linked", link.linked);
    let (subject, linked) = subject.zip(linked)?;
    if subject == linked {
        problems.add("link.linked", "must be another identifier than `link.subject`");
        return None;
    }
    Some(EventBody::Link { subject, linked, unlinked: link.unlinked })
}

fn restriction(problems: &mut Problems, restriction: v1::RestrictionEvent) -> Option<EventBody> {
    let subject = subject(problems, "restriction.subject", restriction.subject);
    if !restriction.purpose.is_empty()
        && let Err(error) = check_purpose("restriction.purpose", &restriction.purpose)
    {
        add_key(problems, error);
    }
    Some(EventBody::Restriction { subject: subject?, purpose: restriction.purpose.into(), lifted: restriction.lifted })
}

fn birth(problems: &mut Problems, birth: v1::BirthEvent) -> Option<EventBody> {
    let subject = subject(problems, "birth.subject", birth.subject);
    let born = latest_day(&birth.born);
    if born.is_none() {
        problems.add("birth.born", "must be a year, a month or a day such as `2011`, `2011-04` or `2011-04-23`");
    }
    Some(EventBody::Birth { subject: subject?, born: born? })
}

/// The last day of a year, of a month, or the day itself: who is taken for younger is protected longer.
fn latest_day(text: &str) -> Option<Day> {
    let mut parts = text.split('-');
    let mut part = |digits: usize| match parts.next() {
        None => Some(None),
        Some(part) if part.len() == digits && part.bytes().all(|b| b.is_ascii_digit()) => {
            part.parse::<u32>().ok().map(Some)
        }
        Some(_) => None,
    };
    let (year, month, day) = (part(4)??, part(2)?, part(2)?);
    if parts.next().is_some() {
        return None;
    }
    let year = i32::try_from(year).ok().filter(|year| (1850..=9999).contains(year))?;
    let first = |year, month| chrono::NaiveDate::from_ymd_opt(year, month, 1);
    let latest = match (month, day) {
        (None, _) => chrono::NaiveDate::from_ymd_opt(year, 12, 31)?,
        (Some(month), None) => {
            first(year, month)?;
            let next = if month == 12 { first(year + 1, 1) } else { first(year, month + 1) };
            next?.pred_opt()?
        }
        (Some(month), Some(day)) => chrono::NaiveDate::from_ymd_opt(year, month, day)?,
    };
    i32::try_from(latest.signed_duration_since(chrono::NaiveDate::default()).num_days()).ok().map(Day::from_unix_days)
}

fn notice(problems: &mut Problems, notice: v1::Notice) -> Notice {
    check_name(problems, "consent.notice.id", &notice.id, NOTICE_ID_BYTES_MAX);
    if notice.version == 0 {
        problems.add("consent.notice.version", "must be at least 1");
    }
    if notice.language.len() > LANGUAGE_BYTES_MAX || !is_language_tag(&notice.language) {
        problems.add_value("consent.notice.language", "must be a BCP 47 tag, such as `tr`", &notice.language);
    }
    Notice { version: notice.version, id: notice.id.into(), language: notice.language.into() }
}

fn subject(problems: &mut Problems, field: &'static str, subject: Option<v1::Subject>) -> Option<Subject> {
    let Some(subject) = subject else {
        problems.add(field, "missing");
        return None;
    };
    Subject::new(&subject.space, &subject.id).map_err(|error| problems.add(field, error.to_string())).ok()
}

/// Whether a text has no other characters than a tag of BCP 47.
pub(super) fn is_language_tag(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// The legal basis of a wire value, which must be specified.
fn legal_basis(problems: &mut Problems, field: &'static str, wire: i32) -> Option<LegalBasis> {
    let basis = v1::LegalBasis::try_from(wire).ok().and_then(|wire| LegalBasis::try_from(wire).ok());
    if basis.is_none() {
        problems.add(field, "missing, or not known to this version");
    }
    basis
}

/// Milliseconds, rounded down: two events of one millisecond are simultaneous, and then the refusal wins.
pub(super) fn time(
    problems: &mut Problems,
    field: impl Into<Cow<'static, str>>,
    time: pbjson_types::Timestamp,
) -> Option<Time> {
    // A leap second comes as a nanosecond count of up to two seconds.
    if !(0..2_000_000_000).contains(&time.nanos) || !(1..=LAST_SECOND).contains(&time.seconds) {
        problems.add(field, "must be after 1970-01-01T00:00:00Z and before the year 10000");
        return None;
    }
    Some(Time::from_unix_millis(time.seconds * 1000 + i64::from(time.nanos / 1_000_000)))
}

fn check_event_id(problems: &mut Problems, id: &str) {
    check_name(problems, "event_id", id, EVENT_ID_BYTES_MAX);
    if id.starts_with('@') {
        problems.add("event_id", "must not begin with `@`, which names an unreadable event by its position");
    }
}

/// A text that must be there.
fn check_name(problems: &mut Problems, field: &'static str, text: &str, bytes_max: usize) {
    if text.is_empty() {
        problems.add(field, "missing");
    } else {
        check_text(problems, field, text, bytes_max);
    }
}

/// A text that may be empty.
fn check_text(problems: &mut Problems, field: &'static str, text: &str, bytes_max: usize) {
    if text.len() > bytes_max {
        problems.add(field, format!("longer than {bytes_max} bytes"));
    } else if text.chars().any(char::is_control) {
        problems.add(field, "control characters are not allowed");
    }
}

/// The problem of a malformed key, which keeps its value apart.
fn add_key(problems: &mut Problems, error: CatalogueError) {
    match error {
        CatalogueError::Key { place, key, rule } if key.is_empty() => {
            problems.add(place, format!("missing; it must be {rule}"));
        }
        CatalogueError::Key { place, key, rule } => problems.add_value(place, format!("must be {rule}"), &key),
        other => problems.add("consent", other.to_string()),
    }
}
