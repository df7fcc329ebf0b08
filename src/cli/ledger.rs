//! `consentd ledger …`: writes to a ledger, a file or a stream on NATS, and reads from it.

mod import;
mod init;
mod once;
pub(super) mod place;
mod publish;
pub(super) mod record;
mod tail;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use data_encoding::HEXLOWER;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::{Failure, Outcome, say};
use crate::clock::Clock;
use crate::domain::{Catalogue, Time};
use crate::ledger::Token;
use crate::proto::v1;
use place::PlaceArgs;

/// How far in the future an event may be dated unless that is asked for: clocks differ by less than 5 minutes.
const FUTURE_MAX: Duration = Duration::from_mins(5);

/// Write to a ledger, and read from it.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    common: Common,
}

/// What every verb needs.
#[derive(Debug, clap::Args)]
struct Common {
    /// Print JSON for programs.
    #[arg(long, global = true)]
    json: bool,
    /// Take events that are dated in the future.
    #[arg(long, global = true)]
    allow_future: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make the streams of a ledger on NATS, or check those that are there.
    ///
    /// Whatever can lose or rewrite acknowledged events is refused, all of it at once; what cannot be seen is said.
    Init(init::Args),
    /// Publish events: JSON, one a line, one after another, or in an array.
    Publish(publish::Args),
    /// Publish a catalogue: the document of purposes and their rules, in JSON.
    Catalogue(publish::CatalogueArgs),
    /// A subject agreed.
    Grant(record::GrantArgs),
    /// A subject said no when asked.
    Refuse(record::RefusalArgs),
    /// A subject took a consent back.
    Withdraw(record::RefusalArgs),
    /// A subject objected to a legitimate interest.
    Object(record::RefusalArgs),
    /// Two identifiers are one person.
    Link(record::LinkArgs),
    /// Drop everything about a subject up to now, or up to a time.
    Erase(record::EraseArgs),
    /// A subject had the processing of its data restricted: it is kept, and used for nothing.
    Restrict(record::RestrictArgs),
    /// A restriction is over.
    Unrestrict(record::RestrictArgs),
    /// When a subject was born, as exactly as it is known. What is said later counts.
    Born(record::BornArgs),
    /// Import records from elsewhere: all of a file, or nothing.
    ///
    /// CSV columns: `subject` (as `space:id`) or `space` and `id`; `purpose`, `status`, `event_time`; and where wanted
    /// `channel`, `recipient`, `legal_basis`, `notice_id`, `notice_version`, `notice_language`, `jurisdiction`,
    /// `expires_at`, `method`, `pre_ticked`, `passive`, `bundled`, `dark_pattern`, `penalised`, `not_specific`,
    /// `coerced`, `not_informed`, `withdrawal_untold`, `by_guardian`, `proof`, `source`, `event_id`.
    ///
    /// Importing a file again writes nothing. Exit code 0: all of it is in the ledger. 1: rows were rejected. 2: an error.
    Import(import::Args),
    /// Show the ledger's events, one a line.
    Tail(tail::Args),
}

/// Runs a verb.
pub(crate) fn run(args: Args) -> Outcome {
    let Args { verb, common } = args;
    let clock = Clock::system();
    match verb {
        Verb::Init(args) => init::run(&args, &common),
        Verb::Publish(args) => publish::run(&args, &common, &clock),
        Verb::Catalogue(args) => publish::run_catalogue(args, &common, &clock),
        Verb::Grant(args) => record::grant(args, &common, &clock),
        Verb::Refuse(args) => record::refusal(args, record::Refusal::Refuse, &common, &clock),
        Verb::Withdraw(args) => record::refusal(args, record::Refusal::Withdraw, &common, &clock),
        Verb::Object(args) => record::refusal(args, record::Refusal::Object, &common, &clock),
        Verb::Link(args) => record::link(args, &common, &clock),
        Verb::Erase(args) => record::erase(args, &common, &clock),
        Verb::Restrict(args) => record::restrict(args, false, &common, &clock),
        Verb::Unrestrict(args) => record::restrict(args, true, &common, &clock),
        Verb::Born(args) => record::born(args, &common, &clock),
        Verb::Import(args) => import::run(&args, &common, &clock),
        Verb::Tail(args) => tail::run(&args, &common, clock),
    }
}

impl Common {
    /// The latest time that an event may be dated.
    fn latest_event_time(&self, clock: &Clock) -> Option<Time> {
        (!self.allow_future).then(|| clock.now().plus(FUTURE_MAX))
    }

    /// Refuses an event that is dated in the future.
    fn check_time(&self, event: &v1::LedgerEvent, clock: &Clock) -> Result<(), Failure> {
        let Some((time, latest)) = event.event_time.zip(self.latest_event_time(clock)) else { return Ok(()) };
        let seconds = latest.unix_millis().div_euclid(1000);
        if time.seconds > seconds {
            return Err(Failure::new("the event is dated in the future; give `--allow-future` if that is meant"));
        }
        Ok(())
    }

    /// Writes events and prints what was written, with the token behind which it is in force.
    fn write(&self, events: &[v1::LedgerEvent], clock: &Clock) -> Outcome {
        for event in events {
            self.check_time(event, clock)?;
        }
        let mut ledger = self.place.place()?.open()?;
        let tokens = ledger.writer().append(events)?;
        ledger.warn_if_healed();
        for (event, token) in events.iter().zip(tokens) {
            self.print_written(event, token);
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Says that nothing was written, because a catalogue is in force already, behind a token.
    fn say_there(&self, catalogue: &Catalogue, token: Token) {
        if self.json {
            say(serde_json::json!({"token": token.to_string(), "position": token.position.0, "written": false}));
        } else {
            say(format_args!("catalogue version {} is in force already; nothing was written", catalogue.version()));
            say(format_args!("  at_least_as_fresh: {token}"));
        }
    }

    fn print_written(&self, event: &v1::LedgerEvent, token: Token) {
        if self.json {
            let line = serde_json::json!({
                "token": token.to_string(),
                "position": token.position.0,
                "eventId": event.event_id,
            });
            say(line);
        } else {
            say(record::sentence(event));
            say(format_args!("  at_least_as_fresh: {token}"));
        }
    }
}

/// A new event id: 128 random bits in hex.
pub(super) fn new_event_id() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Failure::new("the system gives no random numbers"))?;
    Ok(HEXLOWER.encode(&bytes))
}

/// A time of the domain on the wire.
pub(super) fn timestamp(time: Time) -> pbjson_types::Timestamp {
    let millis = time.unix_millis();
    let nanos = i32::try_from(millis.rem_euclid(1000) * 1_000_000).unwrap_or(0);
    pbjson_types::Timestamp { seconds: millis.div_euclid(1000), nanos }
}

/// A time as a person or program writes it.
fn parse_time(text: &str) -> Result<pbjson_types::Timestamp, String> {
    chrono::DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc().into())
        .map_err(|error| format!("a time is written `2026-01-05T10:00:00Z` ({error})"))
}

/// A time as `parse_time` reads it.
fn rfc3339(time: Time) -> String {
    chrono::DateTime::from_timestamp_millis(time.unix_millis())
        .map_or_else(String::new, |time| time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
}
