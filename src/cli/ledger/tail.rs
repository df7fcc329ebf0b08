//! `consentd ledger tail`: the ledger's events, one a line.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::ExitCode;

use data_encoding::HEXLOWER;

use super::place::Place;
use super::{Common, record, rfc3339};
use crate::cli::{Failure, Outcome, client};
use crate::clock::Clock;
use crate::domain::{Position, Time, Unreadable};
use crate::ledger::file::{Config, FileSource, before_last_lines};
use crate::ledger::nats::{self, Tail};
use crate::ledger::{Delivery, FeedItem, LedgerId, LedgerSource as _, Token, codec};
use crate::proto::v1;

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
    /// Print the events alone, as `consentd ledger import` takes them; with `--from-start`, a copy of the ledger. An event
    /// that cannot be read is not in it: standard error names its position, and the exit code is 1.
    #[arg(long)]
    events: bool,
}

pub(super) fn run(args: &Args, common: &Common, clock: Clock) -> Outcome {
    let shape = match (args.events, common.json) {
        (true, _) => Shape::Events,
        (false, true) => Shape::Json,
        (false, false) => Shape::Text,
    };
    let form = Form { shape, ledger: None, left_out: Cell::new(0) };
    let form = match common.place.place()? {
        Place::File(path) => of_file(args, form, &path, clock),
        Place::Nats(config) => client::block_on(of_nats(args, form, &config)),
    }?;
    Ok(form.end())
}

fn of_file(args: &Args, mut form: Form, path: &Path, clock: Clock) -> Result<Form, Failure> {
    let unreadable = |error| Failure::new(format!("the ledger `{}` cannot be read: {error}", path.display()));
    let resume = match before_last_lines(path, args.lines) {
        Err(error) if !(args.follow && error.kind() == io::ErrorKind::NotFound) => return Err(unreadable(error)),
        Ok(None) if !args.follow => return Ok(form),
        Ok(resume) if !args.from_start => resume,
        Ok(_) | Err(_) => None,
    };
    let mut lines = Lines { path, file: None, end: resume.map_or(Position(0), |resume| resume.place.position) };
    let mut feed = Box::new(FileSource::new(Config::new(path), clock)).follow(resume);
    while let Some(item) = feed.blocking_recv() {
        let printed = match item {
            FeedItem::Waiting(sentence) => {
                eprintln!("waiting: {sentence}");
                Ok(())
            }
            FeedItem::Opened { ledger, .. } => {
                form.ledger = Some(ledger);
                Ok(())
            }
            FeedItem::Events { deliveries, .. } => {
                let mut out = io::BufWriter::new(io::stdout().lock());
                let mut print = |delivery| match lines.line(delivery, &form)? {
                    Some(line) => writeln!(out, "{line}"),
                    None => Ok(()),
                };
                deliveries.iter().try_for_each(&mut print).and_then(|()| out.flush())
            }
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
    Ok(form)
}

async fn of_nats(args: &Args, mut form: Form, config: &nats::Config) -> Result<Form, Failure> {
    let mut tail = Tail::open(config, (!args.from_start).then_some(args.lines)).await?;
    form.ledger = Some(tail.ledger());
    // A link stands in the ledger once for either of its subjects, one behind the other.
    let mut last_link = String::new();
    loop {
        let Some(told) = tail.next().await? else {
            if args.follow {
                continue;
            }
            return Ok(form);
        };
        let line = match &told.event {
            Ok((wire, _))
                if matches!(wire.event, Some(v1::ledger_event::Event::Link(_))) && wire.event_id == last_link =>
            {
                continue;
            }
            Ok((wire, event)) => {
                last_link.clone_from(&wire.event_id);
                Some(form.event(told.position, event.event_time, wire, || serde_json::to_value(wire))?)
            }
            Err(unreadable) => form.unreadable(told.position, unreadable),
        };
        let Some(line) = line else { continue };
        match writeln!(io::stdout(), "{line}") {
            // Who reads has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(form),
            printed => printed?,
        }
    }
}

/// How an event is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// To a person.
    Text,
    /// As JSON, with its place.
    Json,
    /// As it was written, to be written again.
    Events,
}

/// What is shown of events.
struct Form {
    shape: Shape,
    ledger: Option<LedgerId>,
    /// Events that cannot be read, and so cannot be written again.
    left_out: Cell<u64>,
}

impl Form {
    /// Says how much is missing in what was shown, if anything is.
    fn end(&self) -> ExitCode {
        match self.left_out.get() {
            0 => ExitCode::SUCCESS,
            left_out => {
                eprintln!(
                    "not in the copy, because they cannot be read: {left_out}; `consentd ledger tail` shows them"
                );
                ExitCode::FAILURE
            }
        }
    }

    fn event(
        &self,
        position: Position,
        time: Time,
        wire: &v1::LedgerEvent,
        json: impl FnOnce() -> serde_json::Result<serde_json::Value>,
    ) -> serde_json::Result<String> {
        match self.shape {
            Shape::Events => return Ok(json()?.to_string()),
            Shape::Json => return Ok(self.program_line(position, "event", json()?)),
            Shape::Text => {}
        }
        // The event as it was written, because its source is not part of what decides.
        let source = if wire.source.is_empty() { String::new() } else { format!("  [{}]", wire.source) };
        Ok(format!("{:>10}  {}  {}{source}", position.0, rfc3339(time), record::sentence(wire)))
    }

    /// `None` where nothing of it can be shown in this shape, which is said on standard error and counted.
    fn unreadable(&self, position: Position, unreadable: &Unreadable) -> Option<String> {
        let Unreadable { event_id, event_time, problem, subjects, keys } = unreadable;
        if self.shape == Shape::Events {
            // Whom it is about stays out of what may be kept as a log.
            eprintln!("the event at {} cannot be read: {problem}", position.0);
            self.left_out.set(self.left_out.get().saturating_add(1));
            return None;
        }
        let mut whom: Vec<String> = subjects.iter().map(|subject| subject.expose().to_owned()).collect();
        if whom.is_empty() {
            whom.extend(keys.iter().map(|key| format!("the subject under the key {}", HEXLOWER.encode(&key.0))));
        }
        if self.shape == Shape::Json {
            let told = serde_json::json!({
                "eventId": event_id,
                "eventTime": event_time.map(rfc3339),
                "subjects": whom,
                "problem": problem,
            });
            return Some(self.program_line(position, "unreadable", told));
        }
        let time = event_time.map_or_else(|| "at an unknown time".to_owned(), rfc3339);
        let whom = if whom.is_empty() { "nobody that can be told".to_owned() } else { whom.join(" and ") };
        Some(format!("{:>10}  {time}  UNREADABLE `{event_id}`, about {whom}: {problem}", position.0))
    }

    fn program_line(&self, position: Position, name: &str, value: serde_json::Value) -> String {
        let token = self.ledger.map(|ledger| Token { ledger, position }.to_string());
        let mut line = serde_json::json!({"position": position.0, "token": token});
        if let Some(members) = line.as_object_mut() {
            members.insert(name.to_owned(), value);
        }
        line.to_string()
    }
}

/// The lines of a ledger's file.
struct Lines<'a> {
    path: &'a Path,
    file: Option<File>,
    /// Where the last line that was shown ended.
    end: Position,
}

impl Lines<'_> {
    fn line(&mut self, delivery: &Delivery, form: &Form) -> io::Result<Option<String>> {
        let Delivery { position, event } = delivery;
        let line = match event {
            Ok(event) => {
                let text = self.text(*position)?;
                let wire = codec::parse(&text).map_err(io::Error::other)?;
                Some(form.event(*position, event.event_time, &wire, || serde_json::from_slice(text.trim_ascii()))?)
            }
            Err(unreadable) => form.unreadable(*position, unreadable),
        };
        self.end = *position;
        Ok(line)
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
