//! `consentd evidence`: reads a log, running or not, and never writes to it; gathers those of all sidecars.

mod central;
mod flags;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use chrono::{DateTime, SecondsFormat};
use clap::{Args, Subcommand};
use serde_json::json;

use super::key_flags::KeyFlags;
use super::{Failure, Outcome};
use crate::domain::{Reason, Subject, Verdict};
use crate::evidence::{Archive, EvidenceId, MonthReport, NoKey, TAG_BYTES, YearMonth};
use crate::proto::v1::{self, EvidenceOverride, EvidenceRecord};

/// Shows what was answered, and proves it.
#[derive(Debug, Args)]
pub(super) struct Evidence {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists answers, oldest first.
    List(List),
    /// Shows one record of evidence.
    Show(Show),
    /// Reads everything again, and checks chain, tree, tiles and signatures. Exit code 1: something does not hold.
    Verify(Verify),
    /// Makes the central stream that sidecars ship their evidence to, or checks the one that is there.
    Init(central::Init),
    /// Gathers the evidence of all sidecars from the central stream, and verifies it meanwhile. Exit code 1: something is
    /// missing or does not hold.
    Collect(central::Collect),
}

#[derive(Debug, Args)]
struct List {
    /// The evidence directory.
    #[arg(long)]
    dir: PathBuf,
    /// Only this month, such as 2026-11.
    #[arg(long)]
    month: Option<YearMonth>,
    /// Only answers about this subject, such as crm:42.
    #[arg(long, value_parser = Subject::parse)]
    subject: Option<Subject>,
    /// Only answers for this purpose.
    #[arg(long)]
    purpose: Option<String>,
    /// Only answers with this verdict: allow or deny.
    #[arg(long, value_parser = verdict)]
    verdict: Option<Verdict>,
    #[command(flatten)]
    keys: KeyFlags,
    /// At most this many records, the newest; 0 is all.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Show {
    /// The evidence id of an answer; `#k` names one subject of a batch.
    id: EvidenceId,
    /// The evidence directory.
    #[arg(long)]
    dir: PathBuf,
    /// Only what was answered about this subject, such as crm:42.
    #[arg(long, value_parser = Subject::parse)]
    subject: Option<Subject>,
    #[command(flatten)]
    keys: KeyFlags,
    /// Prints the proof that the record is in the signed tree, as C2SP tlog-proof.
    #[arg(long)]
    proof: bool,
    /// Writes the record's own bytes into a file: the leaf that the proof is of, an `EvidenceRecord` of protobuf.
    #[arg(long, value_name = "FILE")]
    leaf: Option<PathBuf>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Verify {
    /// The evidence directory.
    #[arg(long)]
    dir: PathBuf,
    /// Only this month, such as 2026-11.
    #[arg(long)]
    month: Option<YearMonth>,
    /// The public key to trust, PEM, where the directory's own `signing.pub` is not to be.
    #[arg(long)]
    public_key: Option<PathBuf>,
    #[command(flatten)]
    keys: KeyFlags,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
pub(super) fn run(arguments: &Evidence) -> Outcome {
    match &arguments.command {
        Command::List(arguments) => list(arguments),
        Command::Show(arguments) => show(arguments),
        Command::Verify(arguments) => verify(arguments),
        Command::Init(arguments) => central::init(arguments),
        Command::Collect(arguments) => central::collect(arguments),
    }
}

fn verdict(text: &str) -> Result<Verdict, String> {
    Verdict::from_name(text).ok_or_else(|| format!("`{text}` is neither allow nor deny"))
}

/// One subject's answer within a record.
struct Answer<'a> {
    question: u32,
    tag: &'a [u8],
    reason: &'static str,
    verdict: Verdict,
    purpose: &'a str,
    channel: &'a str,
    recipient: &'a str,
}

/// A record's answers, in the order of the questions, each with what it differs in from what is shared.
fn answers(record: &EvidenceRecord) -> impl Iterator<Item = Answer<'_>> {
    let overrides: BTreeMap<u32, &EvidenceOverride> = record.overrides.iter().map(|own| (own.index, own)).collect();
    let mut tags = record.subject_tags.chunks(TAG_BYTES);
    (0..).zip(record.reasons()).map(move |(question, reason)| {
        let own = overrides.get(&question);
        let reason = reason.as_str_name().trim_start_matches("REASON_");
        Answer {
            question,
            tag: tags.next().unwrap_or_default(),
            reason,
            // What this program does not know is not an ALLOW.
            verdict: Reason::from_name(reason).map_or(Verdict::Deny, Reason::verdict),
            purpose: own.and_then(|own| own.purpose.as_deref()).unwrap_or(&record.purpose),
            channel: own.and_then(|own| own.channel.as_deref()).unwrap_or(&record.channel),
            recipient: own.and_then(|own| own.recipient.as_deref()).unwrap_or(&record.recipient),
        }
    })
}

fn list(arguments: &List) -> Outcome {
    let archive = Archive::open(&arguments.dir)?.with_keys(arguments.keys.places());
    let mut lines = VecDeque::new();
    for month in archive.months()? {
        if arguments.month.is_some_and(|only| only != month) {
            continue;
        }
        let tag = match &arguments.subject {
            None => None,
            Some(subject) => match archive.month(month) {
                Ok(keyed) => Some(keyed.tag(subject.expose())),
                // Others may have theirs.
                Err(absent @ NoKey::Absent { .. }) => {
                    eprintln!("consentd: nobody can be found in {month}: {absent}");
                    continue;
                }
                Err(no_key) => return Err(no_key.into()),
            },
        };
        let removed = archive.removed(month)?;
        if removed > 0 {
            eprintln!(
                "consentd: the first {removed} records of {month} were shipped and removed here; they are where evidence is \
                 collected (`consentd evidence collect`)"
            );
        }
        archive.read(month, |index, record| {
            let id = EvidenceId { instance: archive.instance(), month, index, question: None };
            let matching: Vec<Answer<'_>> = answers(&record)
                .filter(|answer| {
                    tag.is_none_or(|tag| answer.tag == tag)
                        && arguments.purpose.as_deref().is_none_or(|purpose| answer.purpose == purpose)
                        && arguments.verdict.is_none_or(|verdict| answer.verdict == verdict)
                })
                .collect();
            if !matching.is_empty() {
                lines.push_back(if arguments.json {
                    as_json(&id, &record, &matching)
                } else {
                    line(&id, &record, &matching)
                });
                if arguments.limit > 0 && lines.len() > arguments.limit {
                    lines.pop_front();
                }
            }
            ControlFlow::Continue(())
        })?;
    }
    print(lines)
}

/// A record in one line: one answer in full, several as counts.
fn line(id: &EvidenceId, record: &EvidenceRecord, matching: &[Answer<'_>]) -> String {
    let mut text = format!("{}  {}", id_of(id, record, matching), time(record));
    match matching {
        [one] => {
            let _ = write!(text, "  {} {}  {}  {}", one.verdict, one.reason, one.purpose, one.channel);
            if !one.recipient.is_empty() {
                let _ = write!(text, "  for {}", one.recipient);
            }
        }
        several => {
            let allowed = several.iter().filter(|answer| answer.verdict == Verdict::Allow).count();
            let denied = several.len() - allowed;
            let _ = write!(text, "  {allowed} ALLOW, {denied} DENY  {}  {}", record.purpose, record.channel);
        }
    }
    text
}

/// The id of the record, or of the one answer meant within a batch.
fn id_of(id: &EvidenceId, record: &EvidenceRecord, matching: &[Answer<'_>]) -> EvidenceId {
    match matching {
        [one] if record.reasons.len() > 1 => id.of_question(one.question),
        _ => *id,
    }
}

fn as_json(id: &EvidenceId, record: &EvidenceRecord, matching: &[Answer<'_>]) -> String {
    let questions: Vec<u32> = matching.iter().map(|answer| answer.question).collect();
    json!({ "id": id.to_string(), "questions": questions, "record": record }).to_string()
}

fn show(arguments: &Show) -> Outcome {
    let archive = Archive::open(&arguments.dir)?.with_keys(arguments.keys.places());
    let id = EvidenceId { question: None, ..arguments.id };
    let Some(record) = archive.find(&id)? else {
        if id.index < archive.removed(id.month)? {
            return Err(Failure::new(format!(
                "the record `{id}` was shipped to the central stream and removed here; look for it where evidence is \
                 collected (`consentd evidence collect`)"
            )));
        }
        eprintln!("consentd: there is no record `{id}`");
        return Ok(ExitCode::FAILURE);
    };
    let tag = match &arguments.subject {
        None => None,
        Some(subject) => Some(archive.month(id.month)?.tag(subject.expose())),
    };
    let matching: Vec<Answer<'_>> = answers(&record)
        .filter(|answer| tag.is_none_or(|tag| answer.tag == tag))
        .filter(|answer| arguments.id.question.is_none_or(|question| answer.question == question))
        .collect();
    if matching.is_empty() && (tag.is_some() || arguments.id.question.is_some()) {
        eprintln!("consentd: the record `{id}` holds no such answer");
        return Ok(ExitCode::FAILURE);
    }
    let mut lines = VecDeque::new();
    if arguments.json {
        lines.push_back(as_json(&id, &record, &matching));
    } else {
        describe(&id, &record, &matching, &mut lines);
    }
    if arguments.proof {
        let proof = archive.prove(&id)?;
        lines.push_back(if arguments.json {
            json!({ "proof": proof }).to_string()
        } else {
            format!("\n{}", proof.trim_end())
        });
    }
    if let Some(file) = &arguments.leaf {
        let leaf = archive.payload(&id)?.unwrap_or_default();
        std::fs::write(file, leaf)
            .map_err(|error| Failure::new(format!("cannot write `{}`: {error}", file.display())))?;
    }
    print(lines)
}

fn describe(id: &EvidenceId, record: &EvidenceRecord, matching: &[Answer<'_>], lines: &mut VecDeque<String>) {
    let mut say = |name: &str, value: String| {
        if !value.is_empty() {
            lines.push_back(format!("{name:<20}{value}"));
        }
    };
    let call = v1::CallKind::try_from(record.call).unwrap_or_default();
    say("evidence", id.to_string());
    say("answered at", time(record));
    say("call", call.as_str_name().trim_start_matches("CALL_KIND_").to_lowercase());
    say("purpose", record.purpose.clone());
    say("channel", record.channel.clone());
    say("recipient", record.recipient.clone());
    say("jurisdiction", record.jurisdiction.clone());
    say("catalogue version", record.catalogue_version.to_string());
    say("ledger", data_encoding::HEXLOWER.encode(&record.ledger_id));
    say("ledger position", record.ledger_position.to_string());
    if let Some(staleness) = &record.staleness {
        say("view's age", format!("{}.{:09} s", staleness.seconds, staleness.nanos));
    }
    say("asked token", record.at_least_as_fresh.clone());
    say("caller", record.caller.clone());
    say("trace", data_encoding::HEXLOWER.encode(&record.trace_id));
    say("software", record.software.clone());
    for answer in matching {
        let place = usize::try_from(answer.question).unwrap_or(usize::MAX);
        let mut text = format!("{} {}", answer.verdict, answer.reason);
        if let Some(position) = record.record_positions.get(place).and_then(|position| position.checked_sub(1)) {
            let _ = write!(text, ", by the record at position {position}");
        }
        if let Some(millis) = record.valid_for_ms.get(place).filter(|millis| **millis > 0) {
            let _ = write!(text, ", valid for {millis} ms");
        }
        if (answer.purpose, answer.channel, answer.recipient)
            != (record.purpose.as_str(), record.channel.as_str(), record.recipient.as_str())
        {
            let _ = write!(text, ", asked for {} over {} for `{}`", answer.purpose, answer.channel, answer.recipient);
        }
        say(&format!("#{}", answer.question), text);
    }
}

fn verify(arguments: &Verify) -> Outcome {
    let archive = Archive::open(&arguments.dir)?.with_keys(arguments.keys.places());
    let reports = archive.verify(arguments.month, arguments.public_key.as_deref())?;
    if reports.is_empty() {
        let folder = arguments.dir.display();
        return Err(Failure::new(match arguments.month {
            Some(month) => format!("there is no evidence of {month} in `{folder}`; `--month` names another"),
            None => {
                format!("there is no evidence in `{folder}`; nothing was answered yet, or `--dir` is another folder")
            }
        }));
    }
    let holds = reports.iter().all(|report| report.problems.is_empty());
    print(
        reports.iter().map(|report| if arguments.json { report_json(report) } else { report_text(report) }).collect(),
    )?;
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn report_text(report: &MonthReport) -> String {
    let verdict = if report.problems.is_empty() { "holds" } else { "DOES NOT HOLD" };
    let mut text = format!(
        "{}  {verdict}: {} records in {} segments; {}",
        report.month,
        report.records,
        report.segments,
        match &report.checkpoint {
            Some(checkpoint) => format!("signed up to {}", checkpoint.size),
            None => "not signed yet".to_owned(),
        }
    );
    if report.removed > 0 {
        let _ = write!(text, "; the {} before them were shipped and removed here", report.removed);
    }
    if report.unfinished_bytes > 0 {
        let _ = write!(text, "; an unfinished record of {} bytes at the end", report.unfinished_bytes);
    }
    if report.lost_files > 0 {
        let _ = write!(text, "; a power loss left {} side files", report.lost_files);
    }
    if !report.has_key {
        text.push_str("; anonymous, its key is not here");
    }
    if report.checkpoint.is_some() {
        let _ = write!(text, "\n         key {}", report.vkey);
    }
    for problem in &report.problems {
        let _ = write!(text, "\n         problem: {problem}");
    }
    text
}

fn report_json(report: &MonthReport) -> String {
    json!({
        "month": report.month.to_string(),
        "holds": report.problems.is_empty(),
        "removed": report.removed,
        "records": report.records,
        "segments": report.segments,
        "signed_records": report.checkpoint.map(|checkpoint| checkpoint.size),
        "root": report.checkpoint.map(|checkpoint| data_encoding::BASE64.encode(&checkpoint.root)),
        "verifier_key": report.vkey,
        "unfinished_bytes": report.unfinished_bytes,
        "lost_files": report.lost_files,
        "anonymous": !report.has_key,
        "problems": report.problems,
    })
    .to_string()
}

fn time(record: &EvidenceRecord) -> String {
    let at = record.answered_at.as_ref();
    at.and_then(|at| DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).ok()?))
        .map_or_else(|| "at an unknown time".to_owned(), |at| at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// Prints lines; a reader that has gone, such as `head`, is no error.
fn print(lines: VecDeque<String>) -> Outcome {
    let mut out = std::io::stdout().lock();
    for line in lines {
        match writeln!(out, "{line}") {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => break,
            written => written?,
        }
    }
    Ok(ExitCode::SUCCESS)
}
