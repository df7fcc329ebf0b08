//! `consentd catalogue diff`.

mod copy;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use serde_json::json;

use super::{counted, read};
use crate::cli::ledger::place::PlaceArgs;
use crate::cli::{Failure, Outcome, say};
use crate::clock::Clock;
use crate::document::{Severity, check};
use crate::domain::{Catalogue, SubjectKey, Time, is_jurisdiction};
use crate::impact::{Asked, Change, Impact, Kind, Sent, Step, Tally, impact};
use copy::LedgerCopy;

/// Between two lines about how far it has come.
const SAY_INTERVAL: Duration = Duration::from_secs(2);
/// The kinds of changes, the one to look at first in front.
const KINDS: [(Kind, &str, &str); 3] = [
    (Kind::Widened, "DENY -> ALLOW", "denyToAllow"),
    (Kind::Narrowed, "ALLOW -> DENY", "allowToDeny"),
    (Kind::Reasoned, "for another reason", "anotherReason"),
];

/// Which catalogue, over which ledger.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The new catalogue in JSON, or `-` for standard input.
    file: PathBuf,
    /// End with 0 also where something that is denied would be allowed.
    #[arg(long)]
    allow_widening: bool,
    /// Ask as if every subject were there too, ISO 3166; may be given several times. Without it: where the records say, and
    /// without saying where.
    #[arg(long, value_name = "CODE", value_parser = parse_jurisdiction)]
    jurisdiction: Vec<String>,
    /// Ask as at this time, which quiet hours and the age of consents depend on. Left out: now.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    at: Option<Time>,
    /// How many subjects to name of each change, by keyed hash.
    #[arg(long, value_name = "N", default_value_t = 3)]
    sample: usize,
    /// Where the copy is kept meanwhile. Left out: the system's folder for temporary files.
    #[arg(long, value_name = "FOLDER")]
    work_dir: Option<PathBuf>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(super) fn run(args: &Args) -> Outcome {
    let new = new_catalogue(args)?;
    let clock = Clock::system();
    let asked = Asked {
        jurisdictions: args.jurisdiction.clone(),
        now: args.at.unwrap_or_else(|| clock.now()),
        sample: args.sample,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let folder = args.work_dir.clone().unwrap_or_else(std::env::temp_dir);
    // What follows a ledger on NATS needs the runtime around it.
    let copied = {
        let _within = runtime.enter();
        LedgerCopy::start(args.place.place()?, args.place.subject_key(), &folder, &clock)?
    };
    let found = runtime.block_on(impact(copied.replica(), &new, &asked, progress()));
    copied.remove();
    let found = found?;
    if args.json {
        say(as_json(&found));
    } else {
        tell(&found);
    }
    if found.to_version <= found.from_version {
        eprintln!(
            "version {} is in force: a catalogue of version {} would not take its place; give it a greater one",
            found.from_version, found.to_version
        );
    }
    if found.unreadable_events > 0 {
        eprintln!(
            "{} of the ledger cannot be read; whom they are about is denied, whatever the catalogue says",
            counted(found.unreadable_events, "event")
        );
    }
    let widens = found.total(Kind::Widened).answers > 0;
    Ok(ExitCode::from(u8::from(widens && !args.allow_widening)))
}

/// The new catalogue, in which nothing is wrong.
fn new_catalogue(args: &Args) -> Result<Catalogue, Failure> {
    let checked = check(&read(&args.file)?);
    let file = args.file.display();
    for finding in checked.findings.iter().filter(|finding| finding.severity == Severity::Error) {
        eprintln!("{file}:{finding}");
    }
    let (_, catalogue) = checked.catalogue.ok_or_else(|| Failure::new(format!("{file} cannot be published")))?;
    Ok(catalogue)
}

/// Says now and then how far it has come, to whoever watches.
fn progress() -> impl FnMut(Step) {
    let (mut said, watches) = (Instant::now(), std::io::stderr().is_terminal());
    move |step| {
        if !watches || said.elapsed() < SAY_INTERVAL {
            return;
        }
        said = Instant::now();
        match step {
            Step::Reading(progress) => {
                let left = progress.left.map_or_else(String::new, |left| format!(", {} s left", left.as_secs()));
                eprintln!("{} events read{left}", progress.events);
            }
            Step::Compared(subjects) => eprintln!("{subjects} subjects compared"),
        }
    }
}

fn tell(impact: &Impact) {
    let Impact { from_version, to_version, subjects, questions, .. } = impact;
    let old = if *from_version == 0 { "no catalogue".to_owned() } else { format!("version {from_version}") };
    let (subjects, questions) = (counted(*subjects, "subject"), counted(*questions, "question"));
    say(format_args!("{old} -> version {to_version}: {subjects}, {questions}"));
    for (kind, name, _) in KINDS {
        say(format_args!("  {name:<18}  {}", of_whom(&impact.total(kind))));
    }
    for (kind, name, _) in KINDS {
        let mut changes = impact.changes.iter().filter(|(change, _)| change.kind() == kind).peekable();
        if changes.peek().is_some() {
            say(format_args!("\n{name}"));
        }
        for (change, tally) in changes {
            let Change { purpose, channel, with, from, to } = change;
            let with = if *with == Sent::Nothing { String::new() } else { format!(", with {with}") };
            say(format_args!("  {purpose} over {channel}{with}: {from} -> {to}, {}", of_whom(tally)));
            for key in &tally.sample {
                say(format_args!("    {}", hex(key)));
            }
        }
    }
}

fn of_whom(tally: &Tally) -> String {
    format!("{} of {}", counted(tally.answers, "answer"), counted(tally.subjects, "subject"))
}

fn as_json(impact: &Impact) -> serde_json::Value {
    let totals: serde_json::Map<String, serde_json::Value> = KINDS
        .iter()
        .map(|(kind, _, name)| {
            let Tally { answers, subjects, .. } = impact.total(*kind);
            ((*name).to_owned(), json!({"answers": answers, "subjects": subjects}))
        })
        .collect();
    let kind_of = |change: &Change| KINDS.iter().find(|(kind, ..)| *kind == change.kind()).map(|(_, _, name)| *name);
    let changes: Vec<serde_json::Value> = impact
        .changes
        .iter()
        .map(|(change, tally)| {
            json!({
                "kind": kind_of(change),
                "purpose": change.purpose,
                "channel": change.channel,
                "with": (change.with != Sent::Nothing).then(|| change.with.to_string()),
                "from": change.from.as_str(),
                "to": change.to.as_str(),
                "answers": tally.answers,
                "subjects": tally.subjects,
                "sample": tally.sample.iter().map(hex).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "fromVersion": impact.from_version,
        "toVersion": impact.to_version,
        "subjects": impact.subjects,
        "unreadableEvents": impact.unreadable_events,
        "questions": impact.questions,
        "totals": totals,
        "changes": changes,
    })
}

fn hex(key: &SubjectKey) -> String {
    HEXLOWER.encode(&key.0)
}

fn parse_jurisdiction(code: &str) -> Result<String, String> {
    let is_one = !code.is_empty() && is_jurisdiction(code);
    is_one.then(|| code.to_owned()).ok_or_else(|| "a place is a code of ISO 3166, such as `TR` or `US-ME`".to_owned())
}

fn parse_time(text: &str) -> Result<Time, String> {
    let time: chrono::DateTime<chrono::Utc> =
        text.parse().map_err(|_| "a time is written `2026-03-01T09:00:00Z`".to_owned())?;
    Ok(Time::from_unix_millis(time.timestamp_millis()))
}
