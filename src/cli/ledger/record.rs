//! Events that are said with arguments: grant, refuse, withdraw, object, link, erase, restrict, born.

use clap::Args;
use pbjson_types::Timestamp;

use super::{Common, new_event_id, parse_time, timestamp};
use crate::cli::{Failure, Outcome};
use crate::clock::Clock;
use crate::domain::{LegalBasis, Status, Subject};
use crate::ledger::import::{default_channel, default_recipient};
use crate::proto::v1;
use crate::proto::v1::ledger_event::Event;

/// A consent that was given.
#[derive(Debug, Args)]
pub(super) struct GrantArgs {
    /// Who, as `space:id`.
    subject: String,
    /// For what, such as `marketing.newsletter`.
    purpose: String,
    /// Over which channel; `*` for all, which is never assumed: consent is specific.
    #[arg(long)]
    channel: String,
    /// For which third party. Left out: the controller itself.
    #[arg(long, default_value = "", hide_default_value = true)]
    recipient: String,
    /// On which ground, such as `consent` or `explicit_consent`.
    #[arg(long, default_value = "consent", value_parser = parse_basis)]
    basis: LegalBasis,
    /// When it ends by itself.
    #[arg(long, value_parser = parse_time, value_name = "TIME")]
    expires: Option<Timestamp>,
    #[command(flatten)]
    collected: Collected,
    #[command(flatten)]
    facts: Facts,
    #[command(flatten)]
    origin: Origin,
}

/// The facts of collection: each but the last voids the consent.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
struct Collected {
    /// A box was ticked beforehand.
    #[arg(long)]
    pre_ticked: bool,
    /// It was inferred from inaction.
    #[arg(long)]
    passive: bool,
    /// It was made a condition of a service.
    #[arg(long)]
    bundled: bool,
    /// It was obtained by a deceptive design.
    #[arg(long)]
    dark_pattern: bool,
    /// Refusing was penalised, or agreeing was paid for, by price, service or quality.
    #[arg(long)]
    penalised: bool,
    /// It was asked for jointly with other purposes or recipients.
    #[arg(long)]
    not_specific: bool,
    /// It was given under pressure or a clear imbalance of power.
    #[arg(long)]
    coerced: bool,
    /// The subject was not told who processes what, why and how.
    #[arg(long)]
    not_informed: bool,
    /// The subject was not told that and how it can withdraw.
    #[arg(long)]
    withdrawal_untold: bool,
    /// A parent or guardian gave it for the subject.
    #[arg(long)]
    by_guardian: bool,
}

/// A no.
#[derive(Debug, Args)]
pub(super) struct RefusalArgs {
    /// Who, as `space:id`.
    subject: String,
    /// For what; it holds for the purposes below as well.
    purpose: String,
    /// Over which channel. Left out: all.
    #[arg(long)]
    channel: Option<String>,
    /// For which third party; empty for the controller itself. Left out: everybody.
    #[arg(long)]
    recipient: Option<String>,
    /// Against which ground, such as `explicit_consent`. Left out: `consent`, or what is objected to.
    #[arg(long, value_parser = parse_basis)]
    basis: Option<LegalBasis>,
    #[command(flatten)]
    facts: Facts,
    #[command(flatten)]
    origin: Origin,
}

/// Two identifiers of one person.
#[derive(Debug, Args)]
pub(super) struct LinkArgs {
    /// One identifier, as `space:id`.
    subject: String,
    /// The other.
    linked: String,
    /// Take the link back.
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    origin: Origin,
}

/// Whose data is dropped.
#[derive(Debug, Args)]
pub(super) struct EraseArgs {
    /// Who, as `space:id`.
    subject: String,
    #[command(flatten)]
    origin: Origin,
}

/// Whose data is restricted, or is not any more.
#[derive(Debug, Args)]
pub(super) struct RestrictArgs {
    /// Who, as `space:id`.
    subject: String,
    /// For which purpose, with all below it. Left out: for every purpose.
    #[arg(long, default_value = "", hide_default_value = true)]
    purpose: String,
    #[command(flatten)]
    origin: Origin,
}

/// When a subject was born.
#[derive(Debug, Args)]
pub(super) struct BornArgs {
    /// Who, as `space:id`.
    subject: String,
    /// The year, month or day, as exactly as it is known.
    #[arg(long, value_name = "YYYY[-MM[-DD]]")]
    date: String,
    #[command(flatten)]
    origin: Origin,
}

/// How it was said.
#[derive(Debug, Args)]
struct Facts {
    /// The text that was shown, as `id@version` or `id@version/language`.
    #[arg(long, value_parser = parse_notice, value_name = "ID@VERSION[/LANG]")]
    notice: Option<v1::Notice>,
    /// Where the subject is, such as `TR` or `US-ME`.
    #[arg(long, default_value = "", hide_default_value = true)]
    jurisdiction: String,
    /// How it was obtained, such as `web_form`.
    #[arg(long, default_value = "", hide_default_value = true)]
    method: String,
    /// Where the proof of it lies.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "REF")]
    proof: String,
}

/// When it was said, and who writes it down.
#[derive(Debug, Args)]
struct Origin {
    /// When it happened. Left out: now.
    #[arg(long, value_parser = parse_time, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Who writes it, such as `webshop`.
    #[arg(long, default_value = "", hide_default_value = true)]
    source: String,
    /// The event's id. Left out: a random one.
    #[arg(long)]
    event_id: Option<String>,
    /// Ids of unreadable events that it replaces; `@` and the position where one has no id.
    #[arg(long, value_name = "EVENT_ID")]
    supersedes: Vec<String>,
}

/// Which no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Refuse,
    Withdraw,
    Object,
}

pub(super) fn grant(args: GrantArgs, common: &Common, clock: &Clock) -> Outcome {
    let collected = args.collected;
    let collection = v1::Collection {
        method: args.facts.method,
        pre_ticked: collected.pre_ticked,
        passive: collected.passive,
        bundled: collected.bundled,
        dark_pattern: collected.dark_pattern,
        penalised: collected.penalised,
        not_specific: collected.not_specific,
        coerced: collected.coerced,
        not_informed: collected.not_informed,
        withdrawal_untold: collected.withdrawal_untold,
        by_guardian: collected.by_guardian,
    };
    let consent = v1::ConsentEvent {
        subject: Some(subject(&args.subject)?),
        purpose: args.purpose,
        channel: args.channel,
        recipient: args.recipient,
        status: v1::ConsentStatus::from(Status::Given).into(),
        legal_basis: v1::LegalBasis::from(args.basis).into(),
        collection: present(collection),
        notice: args.facts.notice,
        jurisdiction: args.facts.jurisdiction,
        expires_at: args.expires,
        proof: args.facts.proof,
    };
    write(Event::Consent(consent), args.origin, common, clock)
}

pub(super) fn refusal(args: RefusalArgs, refusal: Refusal, common: &Common, clock: &Clock) -> Outcome {
    let (status, basis) = match refusal {
        Refusal::Refuse => (Status::Refused, LegalBasis::Consent),
        Refusal::Withdraw => (Status::Withdrawn, LegalBasis::Consent),
        Refusal::Object => (Status::Refused, LegalBasis::LegitimateInterest),
    };
    if refusal == Refusal::Object && args.basis.is_some_and(|given| given != basis) {
        return Err(Failure::new("an objection is to a legitimate interest; it takes no other `--basis`"));
    }
    let channel = match args.channel {
        Some(channel) => channel,
        None => default_channel(status).map_err(Failure::new)?.to_owned(),
    };
    let consent = v1::ConsentEvent {
        subject: Some(subject(&args.subject)?),
        purpose: args.purpose,
        channel,
        recipient: args.recipient.unwrap_or_else(|| default_recipient(status).to_owned()),
        status: v1::ConsentStatus::from(status).into(),
        legal_basis: v1::LegalBasis::from(args.basis.unwrap_or(basis)).into(),
        collection: present(v1::Collection { method: args.facts.method, ..v1::Collection::default() }),
        notice: args.facts.notice,
        jurisdiction: args.facts.jurisdiction,
        expires_at: None,
        proof: args.facts.proof,
    };
    write(Event::Consent(consent), args.origin, common, clock)
}

pub(super) fn link(args: LinkArgs, common: &Common, clock: &Clock) -> Outcome {
    let (subject, linked) = (Some(subject(&args.subject)?), Some(subject(&args.linked)?));
    write(Event::Link(v1::LinkEvent { subject, linked, unlinked: args.undo }), args.origin, common, clock)
}

pub(super) fn erase(args: EraseArgs, common: &Common, clock: &Clock) -> Outcome {
    let subject = Some(subject(&args.subject)?);
    write(Event::Erasure(v1::ErasureEvent { subject }), args.origin, common, clock)
}

pub(super) fn restrict(args: RestrictArgs, lifted: bool, common: &Common, clock: &Clock) -> Outcome {
    let subject = Some(subject(&args.subject)?);
    let restriction = v1::RestrictionEvent { subject, purpose: args.purpose, lifted };
    write(Event::Restriction(restriction), args.origin, common, clock)
}

pub(super) fn born(args: BornArgs, common: &Common, clock: &Clock) -> Outcome {
    let subject = Some(subject(&args.subject)?);
    write(Event::Birth(v1::BirthEvent { subject, born: args.date }), args.origin, common, clock)
}

/// What an event says, for the person who wrote it. The subject stands in it, because that person typed it.
pub(super) fn sentence(event: &v1::LedgerEvent) -> String {
    let name = |subject: Option<&v1::Subject>| subject.map_or_else(String::new, |s| format!("{}:{}", s.space, s.id));
    match &event.event {
        Some(Event::Consent(consent)) => {
            let status = consent.status().as_str_name().trim_start_matches("CONSENT_STATUS_").to_lowercase();
            let basis = consent.legal_basis().as_str_name().trim_start_matches("LEGAL_BASIS_").to_lowercase();
            let recipient = match consent.recipient.as_str() {
                "" => String::new(),
                recipient => format!(" for {recipient}"),
            };
            let (subject, purpose, channel) = (name(consent.subject.as_ref()), &consent.purpose, &consent.channel);
            format!("{subject}  {purpose} over {channel}{recipient}: {status} ({basis})")
        }
        Some(Event::Link(link)) => {
            let verb = if link.unlinked { "is no longer" } else { "is the same person as" };
            let same = if link.unlinked { "the same person as " } else { "" };
            format!("{} {verb} {same}{}", name(link.subject.as_ref()), name(link.linked.as_ref()))
        }
        Some(Event::Erasure(erasure)) => format!("{}  erased", name(erasure.subject.as_ref())),
        Some(Event::Restriction(restriction)) => {
            let verb = if restriction.lifted { "is no longer restricted" } else { "is restricted" };
            let purpose = if restriction.purpose.is_empty() { "every purpose" } else { &restriction.purpose };
            format!("{}  {purpose} {verb}", name(restriction.subject.as_ref()))
        }
        Some(Event::Birth(birth)) => format!("{}  date of birth recorded", name(birth.subject.as_ref())),
        Some(Event::Catalogue(catalogue)) => {
            format!("catalogue version {} with {} purposes", catalogue.version, catalogue.purposes.len())
        }
        None => "nothing".to_owned(),
    }
}

fn write(event: Event, origin: Origin, common: &Common, clock: &Clock) -> Outcome {
    let event = v1::LedgerEvent {
        event_id: origin.event_id.map_or_else(new_event_id, Ok)?,
        event_time: Some(origin.at.unwrap_or_else(|| timestamp(clock.now()))),
        source: origin.source,
        supersedes: origin.supersedes,
        event: Some(event),
    };
    common.write(&[event], clock)
}

fn subject(text: &str) -> Result<v1::Subject, Failure> {
    let subject = Subject::parse(text)?;
    Ok(v1::Subject { space: subject.space().to_owned(), id: subject.expose_id().to_owned() })
}

/// What is said of the collection, if anything is.
fn present(collection: v1::Collection) -> Option<v1::Collection> {
    (collection != v1::Collection::default()).then_some(collection)
}

fn parse_basis(name: &str) -> Result<LegalBasis, String> {
    LegalBasis::from_name(name).ok_or_else(|| {
        let names: Vec<String> = LegalBasis::ALL.iter().map(|basis| basis.as_str().to_lowercase()).collect();
        format!("the legal bases are {}", names.join(", "))
    })
}

/// A notice as a person writes it.
pub(in crate::cli) fn parse_notice(text: &str) -> Result<v1::Notice, String> {
    let form = "a notice is written `privacy@3` or `privacy@3/tr`";
    let (id, rest) = text.rsplit_once('@').ok_or(form)?;
    let (version, language) = rest.split_once('/').unwrap_or((rest, ""));
    let version = version.parse().map_err(|_| form)?;
    Ok(v1::Notice { id: id.to_owned(), version, language: language.to_owned() })
}
