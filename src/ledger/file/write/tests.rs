//! Writers that race, die halfway, run out of room, and are refused.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::ledger::codec::decode;

fn erasure(id: &str) -> v1::LedgerEvent {
    let subject = v1::Subject { space: "crm".to_owned(), id: "42".to_owned() };
    v1::LedgerEvent {
        event_id: id.to_owned(),
        event_time: Some(pbjson_types::Timestamp { seconds: 1_767_607_200, nanos: 0 }),
        event: Some(v1::ledger_event::Event::Erasure(v1::ErasureEvent { subject: Some(subject) })),
        ..Default::default()
    }
}

/// The ids of a file's events, `None` for what cannot be read.
fn read(path: &Path) -> Vec<Option<String>> {
    let text = std::fs::read(path).expect("the file is there");
    assert!(text.is_empty() || text.ends_with(b"\n"), "the last line is whole");
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| decode(line, Position(0)).ok().map(|event| event.event_id.into())).collect()
}

fn some(ids: &[&str]) -> Vec<Option<String>> {
    ids.iter().map(|id| Some((*id).to_owned())).collect()
}

#[test]
fn tokens_name_the_end_of_each_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.jsonl");
    let mut ledger = FileLedger::open(&path).expect("it is created");
    assert!(ledger.is_new());
    assert_eq!(std::fs::metadata(&path).expect("it is there").mode() & 0o777, 0o600);
    let tokens = ledger.append(&[erasure("a"), erasure("b")]).expect("it is written");
    let text = std::fs::read(&path).expect("it is read");
    let first = text.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
    assert_eq!(tokens.iter().map(|t| t.position.0).collect::<Vec<_>>(), [first as u64, text.len() as u64]);
    let mut again = FileLedger::open(&path).expect("it opens");
    assert!(!again.is_new());
    let token = again.append(&[erasure("c")]).expect("it is written")[0];
    assert_eq!(token.ledger, tokens[0].ledger);
    assert_eq!(token.position.0, std::fs::metadata(&path).expect("it is there").len());
    assert_eq!(read(&path), some(&["a", "b", "c"]));
    assert_eq!(again.append(&[]).expect("nothing is written"), []);
}

#[test]
fn one_bad_event_keeps_its_whole_batch_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.jsonl");
    let mut ledger = FileLedger::open(&path).expect("it is created");
    let mut long = erasure("long");
    long.event = Some(v1::ledger_event::Event::Catalogue(v1::Catalogue {
        version: 1,
        title: "x".repeat(LINE_BYTES_MAX),
        channels: vec![v1::Channel { key: "email".to_owned(), title: String::new() }],
        purposes: vec![v1::Purpose {
            key: "a".to_owned(),
            legal_basis: 1,
            channels: vec!["email".to_owned()],
            ..Default::default()
        }],
        ..Default::default()
    }));
    for (bad, sentence) in
        [(erasure(""), "event 2: event_id: missing"), (long, "event 2: takes a line longer than 1048576 bytes")]
    {
        let error = ledger.append(&[erasure("a"), bad]).expect_err("it is refused");
        assert_eq!(error.to_string(), sentence);
        assert_eq!(read(&path), []);
    }
}

#[test]
fn a_half_written_line_is_ended_before_the_next_event() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.jsonl");
    std::fs::write(&path, "{\"eventId\":\"torn").expect("it is written");
    let mut ledger = FileLedger::open(&path).expect("it opens");
    let token = ledger.append(&[erasure("a")]).expect("it is written")[0];
    assert!(ledger.healed());
    assert_eq!(token.position.0, std::fs::metadata(&path).expect("it is there").len());
    assert_eq!(read(&path), [None, Some("a".to_owned())]);
    // A line that only lacked its newline is an event again.
    std::fs::write(&path, codec::encode_line(&erasure("whole")).expect("encodes")).expect("it is written");
    ledger.append(&[erasure("b")]).expect("it is written");
    assert_eq!(read(&path), some(&["whole", "b"]));
}

#[test]
fn racing_writers_lose_and_mix_nothing() {
    const WRITERS: usize = 8;
    const ROUNDS: usize = 50;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.jsonl");
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let path = &path;
            scope.spawn(move || {
                let mut ledger = FileLedger::open(path).expect("it opens");
                for round in 0..ROUNDS {
                    let batch: Vec<_> = (0..3).map(|n| erasure(&format!("{writer}-{round}-{n}"))).collect();
                    let tokens = ledger.append_unsynced(&batch).expect("it is written");
                    // Each token names the end of its own event.
                    let text = std::fs::read(path).expect("it is read");
                    for (event, token) in batch.iter().zip(tokens) {
                        let end = usize::try_from(token.position.0).expect("it fits");
                        let line = text[..end - 1].rsplit(|byte| *byte == b'\n').next().expect("a line");
                        assert_eq!(*decode(line, Position(0)).expect("readable").event_id, *event.event_id);
                    }
                }
            });
        }
    });
    let written = read(&path);
    assert_eq!(written.len(), WRITERS * ROUNDS * 3);
    for batch in written.chunks(3) {
        let first = batch[0].as_deref().and_then(|id| id.strip_suffix("-0")).expect("a batch stays together");
        let expected = [0, 1, 2].map(|n| Some(format!("{first}-{n}")));
        assert_eq!(batch, expected);
    }
    let mut unique = written;
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), WRITERS * ROUNDS * 3);
}

#[test]
fn a_writer_waits_for_every_other_lock() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.jsonl");
    let mut ledger = FileLedger::open(&path).expect("it is created");
    let other = File::open(&path).expect("it opens");
    // Shared, so that anything less than an exclusive lock would pass beside it.
    flock(&other, FlockOperation::LockShared).expect("it is locked");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| ledger.append(&[erasure("a")]));
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert_eq!(read(&path), [], "nothing is written beside the lock");
        flock(&other, FlockOperation::Unlock).expect("it is unlocked");
        writer.join().expect("it ends").expect("it is written");
    });
    assert_eq!(read(&path), some(&["a"]));
}

/// A device that takes so many bytes and no more.
fn full_after(room: usize) -> impl FnMut(&File, &[u8]) -> io::Result<usize> {
    let left = AtomicUsize::new(room);
    move |mut file, bytes| {
        let room = left.load(Ordering::Relaxed);
        if room == 0 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let taken = file.write(&bytes[..bytes.len().min(room)])?;
        left.store(room - taken, Ordering::Relaxed);
        Ok(taken)
    }
}

#[test]
fn what_does_not_fit_is_taken_back_to_the_last_whole_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.jsonl");
    let mut ledger = FileLedger::open(&path).expect("it is created");
    ledger.append(&[erasure("a")]).expect("it is written");
    let line = usize::try_from(std::fs::metadata(&path).expect("it is there").len()).expect("it fits");
    for room in 0..2 * line {
        std::fs::OpenOptions::new().write(true).open(&path).expect("it opens").set_len(line as u64).expect("cut");
        let error = ledger.append_with(&[erasure("b"), erasure("c")], full_after(room)).expect_err("no room");
        let whole = room / line;
        assert!(matches!(error, WriteError::Write { written, of: 2, .. } if written == whole), "{room}: {error:?}");
        assert_eq!(read(&path), some(&["a", "b"][..=whole]), "with room for {room}");
    }
}

#[test]
fn a_half_line_that_another_appended_to_is_not_cut() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.jsonl");
    let mut ledger = FileLedger::open(&path).expect("it is created");
    let mut room = full_after(20);
    let error = ledger.append_with(&[erasure("a")], |file, bytes| {
        let taken = room(file, bytes);
        if taken.is_err() {
            // Somebody who takes no lock.
            let mut other = OpenOptions::new().append(true).open(&path)?;
            other.write_all(b"\n")?;
            other.write_all(codec::encode_line(&erasure("other"))?.as_bytes())?;
            other.write_all(b"\n")?;
        }
        taken
    });
    assert!(matches!(error, Err(WriteError::Write { written: 0, .. })), "{error:?}");
    assert_eq!(read(&path), [None, Some("other".to_owned())]);
}

#[test]
fn a_ledger_that_was_replaced_is_not_written_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.jsonl");
    let mut ledger = FileLedger::open(&path).expect("it is created");
    ledger.append(&[erasure("a")]).expect("it is written");
    std::fs::rename(&path, folder.path().join("old")).expect("it is moved");
    assert!(matches!(ledger.append(&[erasure("b")]), Err(WriteError::Replaced { .. })));
    FileLedger::open(&path).expect("another is created");
    assert!(matches!(ledger.append(&[erasure("b")]), Err(WriteError::Replaced { .. })));
    assert_eq!(read(&folder.path().join("old")), some(&["a"]));
}

#[test]
fn a_folder_that_is_missing_is_not_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = FileLedger::open(folder.path().join("no/ledger.jsonl")).expect_err("no such folder");
    assert!(matches!(error, WriteError::Open { .. }), "{error:?}");
}
