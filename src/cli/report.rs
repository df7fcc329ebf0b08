//! `consentd report`: consent rates, from the ledger.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use chrono::NaiveDate;
use clap::ValueEnum;

use super::ledger::place::{Place, PlaceArgs};
use super::{Failure, Outcome, client, local};
use crate::clock::Clock;
use crate::domain::Zone;
use crate::ledger::Delivery;
use crate::ledger::file::FileHistory;
use crate::ledger::nats::Tail;
use crate::report::{self, By, Counter, Range, Unit};
use crate::zones;

/// With ten who have spoken of it, nobody is recognised by being the only one.
const DEFAULT_MIN_SUBJECTS: u64 = 10;

/// Show who was asked, agreed, refused and withdrew, by purpose, channel and period. Reads the whole ledger; names nobody.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The first day, such as 2026-01-01. Default: that of the first event.
    #[arg(long, value_name = "DAY")]
    from: Option<NaiveDate>,
    /// The last day, itself included. Default: today.
    #[arg(long, value_name = "DAY")]
    to: Option<NaiveDate>,
    /// How long a period is.
    #[arg(long, value_enum, default_value = "month")]
    by: Word,
    /// Only this purpose, and those below it.
    #[arg(long, value_name = "KEY")]
    purpose: Option<String>,
    /// Only this channel.
    #[arg(long, value_name = "KEY")]
    channel: Option<String>,
    /// Count people: identifiers that are linked are one.
    #[arg(long)]
    people: bool,
    /// The clock by which days begin, such as `Europe/Istanbul`. Default: that of this machine.
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Show a purpose over a channel, and count it in totals, only from when on so many subjects have spoken of it; 0 shows
    /// all.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MIN_SUBJECTS)]
    min_subjects: u64,
    /// What it looks like; `html` is one page with plots that needs nothing else.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Write it to this file, replacing one that is there.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    // Last, because its heading stands above all that follows.
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Word {
    Day,
    Week,
    Month,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
    Html,
}

/// Runs `report`.
pub(super) fn run(args: Args) -> Outcome {
    let zone = args.zone()?;
    let by = match args.by {
        Word::Day => By::Day,
        Word::Week => By::Week,
        Word::Month => By::Month,
    };
    let unit = if args.people { Unit::People } else { Unit::Identifiers };
    let mut counter = Counter::new(unit, args.purpose, args.channel);
    match args.place.place()? {
        Place::File(path) => {
            let failed =
                |error: io::Error| Failure::new(format!("the ledger `{}` cannot be read: {error}", path.display()));
            // An empty ledger has nothing to report, which is no error.
            if let Some(file) = FileHistory::open(&path).map_err(failed)? {
                file.read(None, || true, |delivery| counter.take(delivery)).map_err(failed)?;
            }
        }
        Place::Nats(config) => client::block_on(async {
            let mut tail = Tail::open(&config, None).await?;
            while let Some(told) = tail.next().await? {
                counter.take(Delivery { position: told.position, event: told.event.map(|(_, event)| event) });
            }
            Ok(())
        })?,
    }
    let range = Range { from: args.from, to: args.to };
    let report = counter.report(range, by, zone, args.min_subjects, Clock::system().now())?;
    let text = match args.format {
        Format::Table => report::table(&report),
        Format::Json => format!("{:#}\n", report::json(&report)),
        Format::Html => report::html(&report),
    };
    let Some(path) = args.out else {
        return match io::stdout().write_all(text.as_bytes()) {
            // Who reads has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
            printed => printed.map(|()| ExitCode::SUCCESS).map_err(Failure::from),
        };
    };
    let written = OpenOptions::new().write(true).create(true).truncate(true).open(&path);
    let written = written.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| Failure::new(format!("cannot write `{}`: {error}", path.display())))?;
    super::say(format_args!("the report is in `{}`", path.display()));
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn zone(&self) -> Result<Option<&'static Zone>, Failure> {
        let Some(name) = &self.time_zone else { return Ok(local::zone()) };
        zones::find(name).map(Some).ok_or_else(|| {
            let like = zones::like(name).map(|like| format!("; did you mean `{like}`?")).unwrap_or_default();
            Failure::new(format!("`{name}` is not an IANA time zone, such as `Europe/Istanbul`{like}"))
        })
    }
}
