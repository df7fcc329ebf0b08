//! Rows that are events, rows that are not, and that none of them is lost.

mod crm;
mod iys;
mod twice;

use std::io::Cursor;

use super::*;
use crate::domain::{Defects, Event, EventBody, Position};
use crate::ledger::codec;
use crate::ledger::file::FileLedger;

/// Keeps what it is told.
#[derive(Default)]
struct Kept {
    rejected: Vec<(RawRow, Rejection)>,
    made: Vec<(u64, usize)>,
    last: Counts,
}

impl Observer for Kept {
    fn rejected(&mut self, row: &RawRow, rejection: &Rejection) -> io::Result<()> {
        self.rejected.push((row.clone(), rejection.clone()));
        Ok(())
    }

    fn made(&mut self, row: &RawRow, events: &[v1::LedgerEvent]) {
        self.made.push((row.number, events.len()));
    }

    fn progress(&mut self, _: Phase, counts: Counts) {
        self.last = counts;
    }
}

impl Kept {
    /// Number, line and reason of each rejected row.
    fn told(&self) -> Vec<(u64, u64, &str)> {
        self.rejected.iter().map(|(row, why)| (row.number, row.line, why.reason.as_str())).collect()
    }
}

/// 2027-01-15T08:00:00Z.
const LATEST: Time = Time::from_unix_millis(1_800_000_000_000);

fn options(format: Format<'_>) -> Options<'_> {
    Options { format, encoding: Encoding::Utf8, latest_event_time: Some(LATEST) }
}

/// What the good rows of an input become.
fn run(format: Format<'_>, input: impl AsRef<[u8]>) -> (Vec<Event>, Kept) {
    run_with(options(format), input)
}

fn run_with(options: Options<'_>, input: impl AsRef<[u8]>) -> (Vec<Event>, Kept) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.jsonl");
    let mut kept = Kept::default();
    let mut ledger = FileLedger::open(&path).expect("it is created");
    let mut input = Cursor::new(input.as_ref());
    let checked = check(&mut input, options, &mut kept).expect("it is read");
    assert_eq!(checked.counts, kept.last);
    assert_eq!(checked.counts.rejected, kept.rejected.len() as u64);
    assert_eq!(checked.counts.rows, (kept.made.len() + kept.rejected.len()) as u64, "none is lost");
    let counts = write(&mut input, options, checked, &mut ledger, &mut kept).expect("it is imported");
    let events = events_of(&path);
    assert_eq!((counts.written, counts.written + counts.known), (events.len() as u64, checked.counts.events));
    // And once more: nothing.
    let before = std::fs::read(&path).expect("it is read");
    let again = write(&mut input, options, checked, &mut ledger, &mut Kept::default()).expect("it is imported");
    assert_eq!((again.written, again.known), (0, checked.counts.events));
    assert_eq!(std::fs::read(&path).expect("it is read"), before);
    (events, kept)
}

fn events_of(ledger: &std::path::Path) -> Vec<Event> {
    let text = std::fs::read(ledger).expect("it is read");
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| codec::decode(line, Position(0)).expect("readable")).collect()
}

const HEADER: &str = "subject,purpose,channel,status,event_time\n";

fn row(id: usize) -> String {
    format!("crm:{id},marketing,email,given,2026-01-05T10:00:00Z\n")
}

#[test]
fn every_column_reaches_its_field() {
    let input = "\u{feff}space;id;purpose;channel;recipient;status;event_time;legal_basis;notice_id;notice_version;\
                 notice_language;jurisdiction;expires_at;method;pre_ticked;passive;bundled;dark_pattern;penalised;\
                 not_specific;coerced;not_informed;withdrawal_untold;by_guardian;proof;source;event_id\r\n\
                 crm;\"4;2\";marketing;email;acme;GIVEN;2026-01-05T13:00:00+03:00;explicit_consent;privacy;3;tr;TR;\
                 2027-01-05T10:00:00Z;paper;1;no;true;;yes;0;1;;true;yes;doc \"\"9;shop;e1\r\n";
    let (events, kept) = run(Format::Csv, input);
    assert_eq!(kept.told(), []);
    let [event] = &events[..] else { panic!("{events:?}") };
    assert_eq!((&*event.event_id, event.event_time.unix_millis()), ("e1", 1_767_607_200_000));
    let EventBody::Consent(consent) = &event.body else { panic!("{event:?}") };
    assert_eq!(consent.subject.expose(), "crm:4;2");
    let texts = [&consent.purpose, &consent.channel, &consent.recipient, &consent.jurisdiction, &consent.proof];
    assert_eq!(texts.map(|text| &**text), ["marketing", "email", "acme", "TR", "doc \"\"9"]);
    assert_eq!((consent.status, consent.legal_basis), (Status::Given, crate::domain::LegalBasis::ExplicitConsent));
    assert_eq!(consent.expires_at.map(Time::unix_millis), Some(1_799_143_200_000));
    let notice = consent.notice.as_ref().expect("a notice");
    assert_eq!((&*notice.id, notice.version, &*notice.language), ("privacy", 3, "tr"));
    let said =
        [Defects::PRE_TICKED, Defects::BUNDLED, Defects::PENALISED, Defects::COERCED, Defects::WITHDRAWAL_UNTOLD];
    assert_eq!(consent.collection.defects, said.into_iter().fold(Defects::NONE, Defects::with));
    assert!(consent.collection.by_guardian);
    assert_eq!(&*consent.collection.method, "paper");
}

#[test]
fn only_a_refusal_may_leave_its_channel_out() {
    let input = format!(
        "{HEADER}crm:1,marketing,,withdrawn,2026-01-05T10:00:00Z\ncrm:1,marketing,,given,2026-01-05T10:00:00Z\n"
    );
    let (events, kept) = run(Format::Csv, input);
    let EventBody::Consent(consent) = &events[0].body else { panic!("{events:?}") };
    assert_eq!((events.len(), &*consent.channel, &*consent.recipient), (1, "*", "*"));
    assert_eq!(kept.told(), [(2, 3, "channel: missing; only a refusal may leave it out, and is then of all channels")]);
}

#[test]
fn a_refusal_is_of_everybody_where_no_column_names_recipients() {
    let recipients = |header: &str, cells: [&str; 2]| {
        let rows = ["given", "withdrawn"].map(|status| {
            format!(
                "crm:1,marketing,email,{status},2026-01-05T10:00:00Z{}\n",
                cells[usize::from(status == "withdrawn")]
            )
        });
        let (events, _) = run(Format::Csv, [header, &rows.concat()].concat());
        let recipient = |event: &Event| match &event.body {
            EventBody::Consent(consent) => consent.recipient.to_string(),
            other => panic!("{other:?}"),
        };
        events.iter().map(recipient).collect::<Vec<_>>()
    };
    assert_eq!(recipients(HEADER, ["", ""]), ["", "*"]);
    let header = HEADER.replace("event_time", "event_time,recipient");
    assert_eq!(recipients(&header, [",", ","]), ["", ""], "an empty cell says the controller");
    assert_eq!(recipients(&header, [",acme", ",*"]), ["acme", "*"]);
}

#[test]
fn bad_rows_are_named_and_good_ones_around_them_are_written() {
    let input = [
        HEADER,
        &row(1),
        "crm:2,marketing,email,given\n",
        "\n",
        "crm:3,Marketing,email,given,2026-01-05T10:00:00Z\n",
        "crm:4,marketing,email,maybe,2026-01-05T10:00:00Z\n",
        "crm5,marketing,email,given,2026-01-05T10:00:00Z\n",
        "crm:6,marketing,email,given,5.1.2026\n",
        "crm:7,marketing,email,given,2100-01-05T10:00:00Z\n",
        "crm:8,marketing,\"em\nail\",given,2026-01-05T10:00:00Z\n",
        "crm:9,marketing,email,given,2026-01-05T10:00:00Z\rcrm:9,marketing,email,given,2026-01-05T10:00:00Z\n",
        &row(10),
    ]
    .concat();
    let (events, kept) = run(Format::Csv, &input);
    assert_eq!(events.len(), 2);
    let purpose = "consent.purpose: must be words of a-z, 0-9, `_` and `-`, joined by single dots, at most 128 bytes, \
                   not `Marketing`";
    let channel = "consent.channel: must be a word of a-z, 0-9, `_` and `-`, at most 64 bytes, not `em\\nail`";
    assert_eq!(
        kept.told(),
        [
            (2, 3, "4 fields, where the header names 5"),
            (3, 5, purpose),
            (4, 6, "status: must be a status, such as `given`, not `maybe`"),
            (5, 7, "subject: a subject is written `space:id`, such as `crm:42`"),
            (6, 8, "event_time: must be a time such as `2026-01-05T10:00:00Z`, not `5.1.2026`"),
            (7, 9, "event_time: lies in the future"),
            (8, 10, channel),
            (9, 12, "not one row: a carriage return stands in it, or more than 256 fields"),
        ]
    );
    // A rejected row is found again in the input.
    for (row, rejection) in &kept.rejected {
        let start = usize::try_from(row.offset).expect("it fits");
        let end = start + usize::try_from(row.bytes).expect("it fits");
        assert_eq!(input.as_bytes()[start..end].trim_ascii_end(), row.text);
        assert!(!rejection.without_values.contains("maybe") && !rejection.without_values.contains("5.1"));
    }
}

#[test]
fn a_quoted_row_cannot_smuggle_another_in() {
    // What a subject typed into a form, line break and all, is one field.
    let forged = "crm:666,marketing,email,given,2026-01-05T10:00:00Z";
    let input = format!("{HEADER}crm:1,marketing,email,\"x\n{forged}\n\",2026-01-05T10:00:00Z\n{}", row(2));
    let (events, kept) = run(Format::Csv, input);
    assert_eq!((events.len(), kept.rejected.len()), (1, 1));
    // And a quote that never closes takes all that follows, out loud.
    let input = format!("{HEADER}{}crm:1,marketing,\"email,given,2026\n{forged}\n{}", row(1), row(2));
    let (events, kept) = run(Format::Csv, input);
    assert_eq!(events.len(), 1);
    assert_eq!(kept.told(), [(2, 3, "a quote opens on line 3 and is not closed; the row is all that follows")]);
}

#[test]
fn a_huge_row_is_rejected_in_constant_memory() {
    let huge = format!("crm:1,marketing,email,{},2026-01-05T10:00:00Z\n", "x".repeat(3 * ROW_BYTES_MAX));
    let (events, kept) = run(Format::Csv, [HEADER, &row(1), &huge, &row(2)].concat());
    assert_eq!(events.len(), 2);
    assert_eq!(kept.told(), [(2, 3, "longer than 1048576 bytes")]);
    let (row, _) = &kept.rejected[0];
    assert_eq!(row.bytes, huge.len() as u64);
    assert!(row.text.len() <= ROW_BYTES_MAX + 2);
}

#[test]
fn bytes_that_are_not_text_and_a_torn_end_are_rejected() {
    let mut input = [HEADER, &row(1)].concat().into_bytes();
    input.extend(b"crm:\xff,marketing,email,given,2026-01-05T10:00:00Z\n");
    input.extend(row(2).trim_end().bytes());
    let (events, kept) = run(Format::Csv, &input);
    assert_eq!(events.len(), 2, "a last row without its newline is a row");
    assert_eq!(
        kept.told(),
        [(2, 3, "not UTF-8; what a spreadsheet in Turkish has saved is often `--encoding windows-1254`")]
    );
    input.extend(b"\ncrm:3,marketing,em");
    let (events, kept) = run(Format::Csv, &input);
    assert_eq!((events.len(), kept.told()[1]), (2, (4, 5, "3 fields, where the header names 5")));
}

#[test]
fn json_lines_are_read_as_the_ledger_reads_them() {
    let good = |id: &str| {
        format!(
            "{{\"eventId\":\"{id}\",\"eventTime\":\"2026-01-05T10:00:00Z\",\"erasure\":{{\"subject\":{{\"space\":\"crm\",\"id\":\"1\"}}}}}}\n"
        )
    };
    let input = [&*good("a"), "\r\n", &good("b").replace("erasure", "unknown"), "{\n", &good(""), good("c").trim_end()]
        .concat();
    let (events, kept) = run(Format::Jsonl, input);
    assert_eq!(events.len(), 3);
    assert_eq!((&*events[0].event_id, &*events[2].event_id), ("a", "c"));
    assert_eq!(kept.rejected.iter().map(|(row, _)| (row.number, row.line)).collect::<Vec<_>>(), [(2, 3), (3, 4)]);
    assert!(kept.rejected[0].1.reason.contains("`unknown`"), "{:?}", kept.rejected[0].1);
    assert_eq!(kept.rejected[0].1.without_values, "a field that is not known, at column 59");
}

#[test]
fn a_row_without_an_id_gets_the_same_one_again() {
    let (first, _) = run(Format::Csv, [HEADER, &row(1), &row(2)].concat());
    let other_order = "status,purpose,channel,subject,event_time\ngiven,marketing,email,crm:1,2026-01-05T10:00:00Z\n";
    let (second, _) = run(Format::Csv, other_order);
    assert_eq!(first[0].event_id, second[0].event_id);
    assert_ne!(first[0].event_id, first[1].event_id);
    assert_eq!(first[0].event_id.len(), 32);
}

#[test]
fn many_rows_are_all_written() {
    let rows: String = (0..5_000).map(row).collect();
    let (events, kept) = run(Format::Csv, [HEADER, &rows].concat());
    assert_eq!((events.len(), kept.rejected.len()), (5_000, 0));
}

#[test]
fn a_header_that_is_not_understood_imports_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut ledger = FileLedger::open(folder.path().join("ledger.jsonl")).expect("it is created");
    for (header, sentence) in [
        ("", "the input is empty"),
        ("subject,purpose,channel,status,event_time,only_until", "column `only_until` is not known"),
        ("subject,subject,purpose,status,event_time", "column `subject` stands twice"),
        ("subject,space,purpose,status,event_time", "not both"),
        ("space,purpose,status,event_time", "there is no column `id`"),
        ("subject,purpose,event_time", "there is no column `status`"),
    ] {
        let options = Options { format: Format::Csv, encoding: Encoding::Utf8, latest_event_time: None };
        let input = format!("{header}\n{}", row(1).repeat(usize::from(!header.is_empty())));
        let error = import(Cursor::new(input), options, &mut ledger, &mut Kept::default()).expect_err(header);
        assert!(error.to_string().contains(sentence), "{header}: {error}");
    }
    assert_eq!(std::fs::metadata(folder.path().join("ledger.jsonl")).expect("it is there").len(), 0);
}
