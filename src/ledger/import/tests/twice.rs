//! All or nothing, once and not twice.

use super::*;
use crate::ledger::{Had, Mark, Token};

#[test]
fn one_bad_row_and_nothing_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.jsonl");
    let mut ledger = FileLedger::open(&path).expect("it is created");
    let rows: String = (0..5_000).map(row).collect();
    let input = [HEADER, &rows, "crm:9,marketing,email,perhaps,2026-01-05T10:00:00Z\n"].concat();
    let mut kept = Kept::default();
    let counts = import(Cursor::new(&input), options(Format::Csv), &mut ledger, &mut kept).expect("it is read");
    assert_eq!((counts.rows, counts.rejected, counts.written), (5_001, 1, 0));
    assert_eq!(kept.told()[0].0, 5_001);
    assert_eq!(std::fs::metadata(&path).expect("it is there").len(), 0);
}

#[test]
fn what_is_said_twice_is_written_once_and_what_differs_is_written() {
    let input = [HEADER, &row(1), &row(2), &row(1), &row(2)].concat();
    let (events, _) = run(Format::Csv, &input);
    assert_eq!(events.len(), 2);
    // One id for two events is a mistake of whoever gave it, and one of them may be the withdrawal.
    let input = "subject,purpose,channel,status,event_time,event_id\n\
                 crm:1,marketing,email,given,2026-01-05T10:00:00Z,a\n\
                 crm:1,marketing,email,withdrawn,2026-01-05T10:00:00Z,a\n";
    let (events, _) = run(Format::Csv, input);
    assert_eq!(events.len(), 2);
}

/// A ledger that fails when so many batches were written, as a process does that is killed.
struct Dies<'l> {
    ledger: &'l mut FileLedger,
    batches_left: usize,
}

impl LedgerWriter for Dies<'_> {
    fn append(&mut self, events: &[v1::LedgerEvent]) -> Result<Vec<Token>, AppendError> {
        LedgerWriter::append(self.ledger, events)
    }

    fn append_unsynced(&mut self, events: &[v1::LedgerEvent]) -> Result<usize, AppendError> {
        self.batches_left = self
            .batches_left
            .checked_sub(1)
            .ok_or_else(|| AppendError::FileUnread { path: "dead".to_owned(), source: io::Error::other("dead") })?;
        LedgerWriter::append_unsynced(self.ledger, events)
    }

    fn sync(&mut self) -> Result<(), AppendError> {
        LedgerWriter::sync(self.ledger)
    }

    fn marks(&self, event: &v1::LedgerEvent) -> Vec<Mark> {
        LedgerWriter::marks(self.ledger, event)
    }

    fn each_had(&mut self, each: &mut dyn FnMut(Had)) -> Result<(), AppendError> {
        LedgerWriter::each_had(self.ledger, each)
    }
}

#[test]
fn what_was_cut_off_is_completed_by_importing_again() {
    let input = [HEADER, &(0..5_000).map(row).collect::<String>()].concat();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.jsonl");
    for batches_left in [0, 1, 3] {
        let mut ledger = FileLedger::open(&path).expect("it opens");
        let before = events_of(&path).len();
        let mut dies = Dies { ledger: &mut ledger, batches_left };
        let ended = import(Cursor::new(&input), options(Format::Csv), &mut dies, &mut Kept::default());
        assert!(matches!(ended, Err(ImportError::Ledger(_))), "{ended:?}");
        let after = events_of(&path).len();
        assert_eq!(after - before, batches_left * BATCH_EVENTS, "what was missing before, and no more");
    }
    // What a writer that died within a line has left is ended, and that event is written again.
    let mut text = std::fs::read(&path).expect("it is read");
    text.truncate(text.len() - 20);
    std::fs::write(&path, &text).expect("it is written");
    let mut ledger = FileLedger::open(&path).expect("it opens");
    let counts = import(Cursor::new(&input), options(Format::Csv), &mut ledger, &mut Kept::default()).expect("it ends");
    assert_eq!((counts.known, counts.written), (4 * BATCH_EVENTS as u64 - 1, 5_001 - 4 * BATCH_EVENTS as u64));
    let text = std::fs::read_to_string(&path).expect("it is read");
    let good = text.lines().filter_map(|line| codec::decode(line.as_bytes(), Position(0)).ok());
    let good: Vec<_> = good.collect();
    let ids: std::collections::BTreeSet<_> = good.iter().map(|event| &event.event_id).collect();
    assert_eq!(ids.len(), 5_000);
    // Half an event denies its subject, so that the whole one replaces it.
    let mending: Vec<_> = good.iter().filter(|event| !event.supersedes.is_empty()).collect();
    assert_eq!((mending.len(), &*mending[0].supersedes), (1, std::slice::from_ref(&mending[0].event_id)));
    let before = std::fs::read(&path).expect("it is read");
    let counts = import(Cursor::new(&input), options(Format::Csv), &mut ledger, &mut Kept::default()).expect("it ends");
    assert_eq!((counts.known, counts.written), (5_000, 0));
    assert_eq!(std::fs::read(&path).expect("it is read"), before);
}

#[test]
fn a_half_is_replaced_wherever_it_was_cut() {
    let input = [HEADER, &row(1)].concat();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.jsonl");
    let mut ledger = FileLedger::open(&path).expect("it is created");
    import(Cursor::new(&input), options(Format::Csv), &mut ledger, &mut Kept::default()).expect("it ends");
    let line = std::fs::read(&path).expect("it is read");
    for end in 1..line.len() - 1 {
        std::fs::write(&path, &line[..end]).expect("it is written");
        let told = codec::decode(&line[..end], Position(0)).expect_err("half of it");
        let counts = import(Cursor::new(&input), options(Format::Csv), &mut ledger, &mut Kept::default());
        assert_eq!(counts.expect("it ends").written, 1, "cut at {end}");
        let text = std::fs::read_to_string(&path).expect("it is read");
        let whole = text.lines().last().map(|line| codec::decode(line.as_bytes(), Position(0)).expect("readable"));
        let replaced = whole.expect("a line").supersedes;
        assert_eq!(replaced.contains(&told.event_id), !told.event_id.starts_with('@'), "cut at {end}: {told:?}");
        // Where the id itself was cut, nothing can be told, and nobody is denied for it.
        assert!(!told.event_id.starts_with('@') || told.subjects.is_empty(), "cut at {end}: {told:?}");
        let counts = import(Cursor::new(&input), options(Format::Csv), &mut ledger, &mut Kept::default());
        assert_eq!(counts.expect("it ends").written, 0, "cut at {end}");
    }
}

#[test]
fn half_of_another_event_with_the_same_id_is_not_replaced() {
    let input = [HEADER, &row(1)].concat();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.jsonl");
    let mut ledger = FileLedger::open(&path).expect("it is created");
    import(Cursor::new(&input), options(Format::Csv), &mut ledger, &mut Kept::default()).expect("it ends");
    let line = std::fs::read_to_string(&path).expect("it is read");
    // By mistake somebody's withdrawal had the id of a consent, and its writer died.
    let other = line.replace("CONSENT_STATUS_GIVEN", "CONSENT_STATUS_WITHDRAWN");
    assert_ne!(other, line);
    std::fs::write(&path, &other[..other.len() - 5]).expect("it is written");
    let told = codec::decode(&other.as_bytes()[..other.len() - 5], Position(0)).expect_err("half of it");
    for written in [1, 0] {
        let counts = import(Cursor::new(&input), options(Format::Csv), &mut ledger, &mut Kept::default());
        assert_eq!(counts.expect("it ends").written, written);
        let text = std::fs::read_to_string(&path).expect("it is read");
        let readable = text.lines().filter_map(|line| codec::decode(line.as_bytes(), Position(0)).ok());
        let events: Vec<_> = readable.collect();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].event_id, told.event_id);
        assert!(events[0].supersedes.is_empty(), "what could not be read may have been a withdrawal");
    }
}

/// An input whose rows change once it was read.
struct Changing {
    texts: [Cursor<Vec<u8>>; 2],
    reads_left: usize,
}

impl Changing {
    fn text(&mut self) -> &mut Cursor<Vec<u8>> {
        &mut self.texts[usize::from(self.reads_left == 0)]
    }
}

impl Read for Changing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.text().read(buffer)
    }
}

impl Seek for Changing {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.reads_left = self.reads_left.saturating_sub(1);
        self.text().seek(to)
    }
}

#[test]
fn an_input_that_changes_while_it_is_read_is_not_taken_for_what_was_checked() {
    let good = [HEADER, &row(1), &row(2)].concat();
    for other in [[HEADER, &row(1), "bad\n"].concat(), [HEADER, &row(1)].concat(), [HEADER, &row(1), &row(3)].concat()]
    {
        let folder = tempfile::tempdir().expect("a folder");
        let mut ledger = FileLedger::open(folder.path().join("ledger.jsonl")).expect("it is created");
        let texts = [good.clone(), other.clone()].map(|text| Cursor::new(text.into_bytes()));
        // Opening seeks twice, and reading the rows once.
        let input = Changing { texts, reads_left: 4 };
        let ended = import(input, options(Format::Csv), &mut ledger, &mut Kept::default());
        assert!(matches!(ended, Err(ImportError::Changed)), "{other}: {ended:?}");
    }
}

#[test]
fn turkish_letters_marks_and_semicolons_are_read() {
    let utf8 = "\u{feff}subject;purpose;channel;status;event_time;proof\r\n\
                crm:1;marketing;email;given;2026-01-05T10:00:00Z;Müşteri İzin Formu, ığüşöç\r\n";
    let (events, kept) = run(Format::Csv, utf8);
    assert_eq!(kept.told(), []);
    let proof = |events: &[Event]| {
        let EventBody::Consent(consent) = &events[0].body else { panic!("{events:?}") };
        consent.proof.to_string()
    };
    assert_eq!(proof(&events), "Müşteri İzin Formu, ığüşöç");

    // As Python's `cp1254` encodes it.
    let mut legacy = b"subject;purpose;channel;status;event_time;proof\r\n".to_vec();
    legacy.extend(
        b"crm:1;marketing;email;given;2026-01-05T10:00:00Z;M\xfc\xfeteri \xddzin Formu, \xfd\xf0\xfc\xfe\xf6\xe7\r\n",
    );
    let legacy_options = Options { encoding: Encoding::Windows1254, ..options(Format::Csv) };
    let (events, kept) = run_with(legacy_options, &legacy);
    assert_eq!(kept.told(), []);
    assert_eq!(proof(&events), "Müşteri İzin Formu, ığüşöç");
    let (events, kept) = run(Format::Csv, &legacy);
    assert!(events.is_empty() && kept.told()[0].2.contains("`--encoding windows-1254`"), "{:?}", kept.told());

    let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain("subject".bytes().flat_map(|byte| [byte, 0])).collect();
    let refused = check(Cursor::new(utf16), options(Format::Csv), &mut Kept::default());
    assert!(matches!(refused, Err(ImportError::NoText(NoText::Utf16))), "{refused:?}");
}
