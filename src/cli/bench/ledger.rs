//! `consentd bench ledger`: a synthetic ledger of any size, written as fast as the disk takes it.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use chrono::{DateTime, SecondsFormat};

use super::grouped;
use crate::cli::{Failure, Outcome};
use crate::clock::Clock;
use crate::domain::Time;
use crate::ledger::codec;
use crate::proto::v1;

/// The purpose that every subject has a record of, and a run asks for by default.
pub(super) const PURPOSE: &str = "marketing.newsletter";
/// The channel of that record.
pub(super) const CHANNEL: &str = "email";

/// What subjects have records of, in this order: as many as are asked for.
const SLOTS: [(&str, &str); 12] = [
    (PURPOSE, CHANNEL),
    ("marketing.offers", "email"),
    ("marketing.offers", "sms"),
    ("marketing.research", "call"),
    (PURPOSE, "sms"),
    ("marketing.research", "email"),
    ("marketing.offers", "call"),
    (PURPOSE, "call"),
    ("marketing.research", "sms"),
    (PURPOSE, "push"),
    ("marketing.offers", "push"),
    ("marketing.research", "push"),
];
const CHANNELS: [&str; 4] = ["email", "sms", "call", "push"];
/// Of a hundred subjects so many have withdrawn the consent that a run asks for.
const WITHDRAWN_PERCENT: u64 = 15;
/// The events are spread over so much time before now: a year, half of the age that the catalogue lets a consent reach.
const SPREAD_MS: u64 = 365 * 86_400_000;
/// Bytes written at once.
const BUFFER_BYTES: usize = 1 << 20;

/// Write a synthetic ledger: a catalogue, then `crm:1` to `crm:N` with their records. 85 in 100 have consented to
/// `marketing.newsletter` over `email`, the others have withdrawn. The same but for its dates every time.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many subjects.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    subjects: u64,
    /// How many records each has.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=SLOTS.len() as u64))]
    records: u64,
    /// The file, which must not be there yet.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Outcome {
    let bytes = write(&args.out, args.subjects, args.records, Clock::system().now())?;
    let events = args.subjects * args.records + 1;
    writeln!(
        std::io::stdout(),
        "{} events of {} subjects, {} bytes: {}",
        grouped(events),
        grouped(args.subjects),
        grouped(bytes),
        args.out.display()
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the ledger of so many subjects, with so many records each, as of a moment. Gives its size in bytes.
///
/// # Errors
/// If there is such a file, or it cannot be written.
pub(super) fn write(path: &Path, subjects: u64, records: u64, now: Time) -> Result<u64, Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("cannot write `{}`: {error}", path.display()));
    // As the ledger's own writer creates it: for its owner alone.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
    let oldest = i64::try_from(SPREAD_MS).map_or(now, |spread| Time::from_unix_millis(now.unix_millis() - spread));
    let catalogue = codec::encode_line(&catalogue(oldest))?;
    writeln!(out, "{catalogue}").map_err(failed)?;
    for subject in 1..=subjects {
        for (record, slot) in (0..records).zip(SLOTS) {
            write_event(&mut out, subject, record, slot, oldest).map_err(failed)?;
        }
    }
    let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    Ok(file.metadata().map_err(failed)?.len())
}

/// The JSON of one consent, written by hand: the generated writer takes four times as long.
fn write_event(
    out: &mut impl std::io::Write,
    subject: u64,
    record: u64,
    (purpose, channel): (&str, &str),
    oldest: Time,
) -> std::io::Result<()> {
    // Withdrawals are the last word of their subjects on the first record; the records that follow are consents.
    let withdrawn = record == 0 && mixed(subject) % 100 < WITHDRAWN_PERCENT;
    let status = if withdrawn { "WITHDRAWN" } else { "GIVEN" };
    let after = i64::try_from(mixed(subject ^ record << 56) % SPREAD_MS).unwrap_or(0);
    let time = text(Time::from_unix_millis(oldest.unix_millis() + after));
    writeln!(
        out,
        concat!(
            r#"{{"eventId":"bench-{}-{}","eventTime":"{}","source":"bench","consent":{{"#,
            r#""subject":{{"space":"crm","id":"{}"}},"purpose":"{}","channel":"{}","#,
            r#""status":"CONSENT_STATUS_{}","legalBasis":"LEGAL_BASIS_CONSENT","#,
            r#""collection":{{"method":"web_form"}},"notice":{{"id":"privacy","version":3,"language":"tr"}},"#,
            r#""jurisdiction":"TR"}}}}"#
        ),
        subject, record, time, subject, purpose, channel, status
    )
}

fn catalogue(published: Time) -> v1::LedgerEvent {
    let mut keys: Vec<&str> = SLOTS.iter().map(|(purpose, _)| *purpose).collect();
    keys.sort_unstable();
    keys.dedup();
    let purpose = |key: &str| v1::Purpose {
        key: key.to_owned(),
        title: key.to_owned(),
        legal_basis: v1::LegalBasis::Consent.into(),
        channels: CHANNELS.map(str::to_owned).into(),
        max_age: Some(pbjson_types::Duration { seconds: 2 * 365 * 86_400, nanos: 0 }),
        notice: Some(v1::NoticeRule { id: "privacy".to_owned(), material_since: 2 }),
        ..v1::Purpose::default()
    };
    let catalogue = v1::Catalogue {
        version: 1,
        title: "A synthetic catalogue, for measuring".to_owned(),
        channels: CHANNELS.map(|key| v1::Channel { key: key.to_owned(), title: String::new() }).into(),
        purposes: keys.into_iter().map(purpose).collect(),
        default_max_staleness: None,
        ..v1::Catalogue::default()
    };
    v1::LedgerEvent {
        event_id: "bench-catalogue".to_owned(),
        event_time: Some(crate::proto::time::timestamp(published)),
        source: "bench".to_owned(),
        supersedes: Vec::new(),
        event: Some(v1::ledger_event::Event::Catalogue(catalogue)),
    }
}

fn text(time: Time) -> String {
    DateTime::from_timestamp_millis(time.unix_millis()).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A number that looks random and is the same every time. Source: Steele et al., `SplitMix64`, 2014.
const fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::{EventBody, Position, Status};

    #[test]
    fn every_line_is_a_valid_event_and_85_in_100_allow() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ledger.jsonl");
        let now = Clock::system().now();
        let bytes = write(&path, 2000, SLOTS.len() as u64, now).expect("written");
        let text = std::fs::read(&path).expect("readable");
        assert_eq!(bytes, text.len() as u64);
        let lines: Vec<&[u8]> = text.trim_ascii_end().split(|byte| *byte == b'\n').collect();
        assert_eq!(lines.len(), 1 + 2000 * SLOTS.len());
        let (mut given, mut withdrawn, mut ids) = (0, 0, BTreeSet::new());
        for (place, line) in lines.into_iter().enumerate() {
            let event = codec::decode(line, Position(0)).expect("a valid event");
            assert!(event.event_time < now);
            match event.body {
                EventBody::Catalogue(catalogue) => {
                    assert_eq!(place, 0, "the catalogue comes first");
                    for (purpose, channel) in SLOTS {
                        let purpose = catalogue.purpose(purpose).expect("a purpose of the catalogue");
                        assert!(purpose.terms.channels.iter().any(|used| &**used == channel));
                    }
                }
                EventBody::Consent(consent) if (&*consent.purpose, &*consent.channel) == (PURPOSE, CHANNEL) => {
                    match consent.status {
                        Status::Given => given += 1,
                        Status::Withdrawn => withdrawn += 1,
                        other => panic!("{other}"),
                    }
                }
                other => assert!(matches!(other, EventBody::Consent(_)), "{other:?}"),
            }
            assert!(ids.insert(event.event_id));
        }
        assert_eq!(given + withdrawn, 2000);
        assert!((1650..1750).contains(&given), "{given} of 2000 allow");
    }

    #[test]
    fn a_file_that_is_there_is_left_alone() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert!(write(file.path(), 1, 1, Clock::system().now()).is_err());
        assert_eq!(std::fs::metadata(file.path()).expect("there").len(), 0);
    }
}
