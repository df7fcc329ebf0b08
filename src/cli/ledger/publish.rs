//! Events and catalogues that come as JSON.

use std::fmt::Display;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::de::DeserializeOwned;

use super::once::{self, Once};
use super::{Common, new_event_id, parse_time, timestamp};
use crate::cli::catalogue::{self, name};
use crate::cli::{Failure, Outcome};
use crate::clock::Clock;
use crate::document;
use crate::domain::Catalogue;
use crate::proto::v1;

/// Which events.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file, or `-` for standard input. An event without `eventId` is given a random one, and one without
    /// `eventTime` the present time. All are written, or none.
    #[arg(default_value = "-")]
    file: PathBuf,
}

/// Which catalogue.
#[derive(Debug, clap::Args)]
pub(super) struct CatalogueArgs {
    /// The file, or `-` for standard input.
    file: PathBuf,
    /// Since when it is in force. Left out: now.
    #[arg(long, value_parser = parse_time, value_name = "TIME")]
    at: Option<pbjson_types::Timestamp>,
    /// Who publishes it.
    #[arg(long, default_value = "", hide_default_value = true)]
    source: String,
    /// Write it only where it is new. What is in force already ends with exit code 0 and writes nothing; another catalogue of
    /// its version, or a greater version in force, is an error.
    #[arg(long)]
    once: bool,
}

pub(super) fn run(args: &Args, common: &Common, clock: &Clock) -> Outcome {
    let mut events: Vec<v1::LedgerEvent> = read(&args.file)?;
    if events.is_empty() {
        return Err(Failure::new(format!("{} holds no event", name(&args.file))));
    }
    for event in &mut events {
        if event.event_id.is_empty() {
            event.event_id = new_event_id()?;
        }
        event.event_time.get_or_insert_with(|| timestamp(clock.now()));
        if let Some(v1::ledger_event::Event::Catalogue(catalogue)) = &event.event {
            let place = format_args!("the catalogue of event `{}`", event.event_id);
            checked(&serde_json::to_string_pretty(catalogue)?, &place)?;
        }
    }
    common.write(&events, clock)
}

pub(super) fn run_catalogue(args: CatalogueArgs, common: &Common, clock: &Clock) -> Outcome {
    let (catalogue, read) = checked(&catalogue::read(&args.file)?, &args.file.display())?;
    if args.once
        && let Once::There(token) = once::look(&common.place.place()?, &read)?
    {
        common.say_there(&read, token);
        return Ok(ExitCode::SUCCESS);
    }
    let event = v1::LedgerEvent {
        event_id: new_event_id()?,
        event_time: Some(args.at.unwrap_or_else(|| timestamp(clock.now()))),
        source: args.source,
        supersedes: Vec::new(),
        event: Some(v1::ledger_event::Event::Catalogue(catalogue)),
    };
    common.write(&[event], clock)
}

/// The catalogue of a text in which nothing is wrong. What is doubtful about it is said.
fn checked(text: &str, place: &impl Display) -> Result<(v1::Catalogue, Catalogue), Failure> {
    let checked = document::check(text);
    for finding in checked.findings {
        eprintln!("{place}:{finding}");
    }
    checked
        .catalogue
        .ok_or_else(|| Failure::new(format!("{place} is no catalogue that can be published; nothing was written")))
}

/// The JSON values of a file, one after another however they are laid out, or in one array.
fn read<T: DeserializeOwned>(file: &Path) -> Result<Vec<T>, Failure> {
    let mut text = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut text)
    } else {
        std::fs::File::open(file).and_then(|mut file| file.read_to_end(&mut text))
    };
    read.map_err(|error| Failure::new(format!("{} cannot be read: {error}", name(file))))?;
    let parsed: Result<Vec<T>, serde_json::Error> = if text.trim_ascii_start().starts_with(b"[") {
        serde_json::from_slice(&text)
    } else {
        serde_json::Deserializer::from_slice(&text).into_iter().collect()
    };
    parsed.map_err(|error| Failure::new(format!("{} is not as it must be: {error}", name(file))))
}
