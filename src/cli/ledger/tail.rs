//! `consentd ledger tail`: the ledger's events, one a line.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::ExitCode;

use super::{Common, record, rfc3339};
use crate::cli::{Failure, Outcome};
use crate::clock::Clock;
use crate::domain::{Position, Unreadable};
use crate::ledger::file::{Config, FileSource, before_last_lines};
use crate::ledger::{Delivery, FeedItem, LedgerId, LedgerSource as _, Token, codec};

/// Which events.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Go on with what is appended, until interrupted.
    #[arg(long, short)]
    follow: bool,
    /// Begin with the first event.
    #[arg(long, conflicts_with = "lines")]
    from_start: bool,
    /// Begin so many lines before the end.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    lines: usize,
}

pub(super) fn run(args: &Args, common: &Common, clock: Clock) -> Outcome {
    let place = common.place.place()?;
    let path = place.file().ok_or_else(|| Failure::new("`tail` shows the ledger of a file, not of NATS"))?;
    let unreadable = |error| Failure::new(format!("the ledger `{}` cannot be read: {error}", path.display()));
    let resume = match before_last_lines(path, args.lines) {
        Err(error) if !(args.follow && error.kind() == io::ErrorKind::NotFound) => return Err(unreadable(error)),
        Ok(None) if !args.follow => return Ok(ExitCode::SUCCESS),
        Ok(resume) if !args.from_start => resume,
        Ok(_) | Err(_) => None,
    };
    let mut lines = Printer { path, json: common.json, file: None, ledger: None, end: Position(0) };
    lines.end = resume.map_or(Position(0), |resume| resume.place.position);
    let mut feed = Box::new(FileSource::new(Config::new(path), clock)).follow(resume);
    while let Some(item) = feed.blocking_recv() {
        let printed = match item {
            FeedItem::Waiting(sentence) => {
                eprintln!("waiting: {sentence}");
                Ok(())
            }
            FeedItem::Opened { ledger, .. } => {
                lines.ledger = Some(ledger);
                Ok(())
            }
            FeedItem::Events { deliveries, .. } => lines.print(&deliveries),
            FeedItem::Current { .. } if !args.follow => break,
            FeedItem::Current { .. } => Ok(()),
            FeedItem::Broken(fault) => return Err(fault.into()),
        };
        match printed {
            // Who reads has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            printed => printed.map_err(unreadable)?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

struct Printer<'a> {
    path: &'a Path,
    json: bool,
    file: Option<File>,
    ledger: Option<LedgerId>,
    /// Where the last printed event ended.
    end: Position,
}

impl Printer<'_> {
    fn print(&mut self, deliveries: &[Delivery]) -> io::Result<()> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        for delivery in deliveries {
            let line = if self.json { self.program_line(delivery)? } else { self.person_line(delivery)? };
            writeln!(out, "{line}")?;
            self.end = delivery.position;
        }
        out.flush()
    }

    fn person_line(&mut self, delivery: &Delivery) -> io::Result<String> {
        let position = delivery.position.0;
        Ok(match &delivery.event {
            Ok(event) => {
                let time = rfc3339(event.event_time);
                // The event as it was written, because its source is not part of what decides.
                let wire = codec::parse(&self.text(delivery.position)?).map_err(io::Error::other)?;
                let source = if wire.source.is_empty() { String::new() } else { format!("  [{}]", wire.source) };
                format!("{position:>10}  {time}  {}{source}", record::sentence(&wire))
            }
            Err(unreadable) => {
                let Unreadable { event_id, event_time, problem, subjects, keys: _ } = unreadable;
                let time = event_time.map_or_else(|| "at an unknown time".to_owned(), rfc3339);
                let whom: Vec<&str> = subjects.iter().map(crate::domain::Subject::expose).collect();
                let whom = if whom.is_empty() { "nobody that can be told".to_owned() } else { whom.join(" and ") };
                format!("{position:>10}  {time}  UNREADABLE `{event_id}`, about {whom}: {problem}")
            }
        })
    }

    fn program_line(&mut self, delivery: &Delivery) -> io::Result<String> {
        let token = self.ledger.map(|ledger| Token { ledger, position: delivery.position }.to_string());
        let mut line = serde_json::json!({"position": delivery.position.0, "token": token});
        let (name, value) = match &delivery.event {
            Ok(_) => ("event", serde_json::from_slice(self.text(delivery.position)?.trim_ascii())?),
            Err(unreadable) => {
                let subjects: Vec<&str> = unreadable.subjects.iter().map(crate::domain::Subject::expose).collect();
                let told = serde_json::json!({
                    "eventId": unreadable.event_id,
                    "eventTime": unreadable.event_time.map(rfc3339),
                    "subjects": subjects,
                    "problem": unreadable.problem,
                });
                ("unreadable", told)
            }
        };
        if let Some(members) = line.as_object_mut() {
            members.insert(name.to_owned(), value);
        }
        Ok(line.to_string())
    }

    /// The text of a readable event: its line, and blank ones before it.
    fn text(&mut self, end: Position) -> io::Result<Vec<u8>> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::open(self.path)?),
        };
        let len = usize::try_from(end.0.saturating_sub(self.end.0)).unwrap_or(usize::MAX);
        let mut text = vec![0; len];
        file.read_exact_at(&mut text, self.end.0)?;
        Ok(text)
    }
}
