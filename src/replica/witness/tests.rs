use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;
use crate::domain::LedgerStanding;
use crate::ledger::{Feed, LedgerFault, LedgerSource};

const ONE: LedgerId = LedgerId([1; 8]);
const OTHER: LedgerId = LedgerId([2; 8]);

fn at(position: u64) -> Resume {
    Resume { ledger: ONE, place: Place { position: Position(position), mark: [0xab; 16] } }
}

/// What a process after this one would know.
fn next(folder: &TempDir) -> Option<u64> {
    Witness::load(folder.path()).owed().map(|seen| seen.place.position.0)
}

/// A source that says one thing and notes what it was told to resume behind.
struct Says(FeedItem, Arc<Mutex<Vec<Option<Resume>>>>);

impl LedgerSource for Says {
    fn follow(self: Box<Self>, resume: Option<Resume>) -> Feed {
        self.1.lock().expect("whole").push(resume);
        let (items, receiver) = mpsc::channel(1);
        items.try_send(self.0).expect("room");
        Feed::new(receiver, items)
    }
}

#[test]
fn what_was_seen_outlives_the_process() {
    let folder = TempDir::new().expect("a folder");
    let witness = Witness::load(folder.path());
    witness.begin(None);
    assert_eq!(witness.check(OTHER), Ok(()), "nothing was seen");
    witness.note(at(7));
    witness.note(at(9));
    assert_eq!(next(&folder), Some(7), "written at most every few seconds");
    witness.keep();
    assert_eq!(Witness::load(folder.path()).owed(), Some(at(9)));
    assert_eq!(Witness::load(folder.path()).check(ONE), Ok(()));
    assert_eq!(Witness::load(folder.path()).check(OTHER), Err(OtherLedger));
    std::fs::remove_dir_all(folder.path()).expect("removed");
    assert_eq!(next(&folder), None, "it goes with its folder");
}

#[test]
fn what_was_seen_does_not_go_back() {
    let folder = TempDir::new().expect("a folder");
    let witness = Witness::load(folder.path());
    witness.note(at(9));
    witness.note(at(3));
    witness.keep();
    assert_eq!(next(&folder), Some(9));
    witness.note(at(10));
    witness.keep();
    assert_eq!(next(&folder), Some(10));
}

/// A store that is lost is built anew from a ledger of which nobody knows yet whether it is what it was; the process may
/// die at any time meanwhile.
#[test]
fn nothing_is_noted_of_a_ledger_that_has_not_shown_what_was_seen() {
    let folder = TempDir::new().expect("a folder");
    let witness = Witness::load(folder.path());
    witness.note(at(9));
    witness.keep();
    for resume in [None, Some(at(4)), Some(at(12))] {
        let witness = Witness::load(folder.path());
        witness.begin(resume);
        for position in [5, 9, 13] {
            witness.note(at(position));
            witness.keep();
            assert_eq!(next(&folder), Some(9), "behind {resume:?}");
        }
    }
    let witness = Witness::load(folder.path());
    witness.begin(Some(at(9)));
    assert_eq!(witness.owed(), None, "the source compares it itself");
    witness.note(at(13));
    witness.keep();
    assert_eq!(next(&folder), Some(13));
}

#[test]
fn the_source_is_asked_for_what_is_owed_and_for_nothing_else() {
    let folder = TempDir::new().expect("a folder");
    let witness = Witness::load(folder.path());
    witness.note(at(9));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let says = |item: FeedItem| -> SourceFactory {
        let asked = Arc::clone(&asked);
        Box::new(move || Box::new(Says(item.clone(), Arc::clone(&asked))))
    };
    let opened = says(FeedItem::Opened { ledger: ONE, last: Position(20) });
    let gap = LedgerFault::Gap { ledger: "one".to_owned(), position: Position(3) };
    let broken = says(FeedItem::Broken(gap));
    let waiting = says(FeedItem::Waiting("it is away".to_owned()));
    let (standing, stop) = (Standing::new(), Stop::default());

    witness.begin(Some(at(9)));
    assert_eq!(witness.confirm(&broken, &standing, &stop), Some(Position(0)), "nothing is owed");
    assert_eq!(asked.lock().expect("whole").len(), 0);

    witness.begin(None);
    assert_eq!(witness.confirm(&opened, &standing, &stop), Some(Position(9)));
    assert_eq!(*asked.lock().expect("whole"), [Some(at(9))]);
    assert_eq!(witness.confirm(&broken, &standing, &stop), Some(Position(0)), "once is enough");

    witness.begin(None);
    let telling = stop.clone();
    let told = std::thread::spawn(move || {
        std::thread::sleep(LOOK_INTERVAL * 2);
        telling.set();
    });
    assert_eq!(witness.confirm(&waiting, &standing, &stop), None, "told to stop");
    told.join().expect("no panic");
    assert_eq!(witness.owed(), Some(at(9)), "it is still owed");

    let stop = Stop::default();
    assert_eq!(standing.ledger(&standing.published()), LedgerStanding::Building);
    assert_eq!(witness.confirm(&broken, &standing, &stop), None);
    assert_eq!(standing.ledger(&standing.published()), LedgerStanding::Broken);
    assert_eq!(witness.owed(), Some(at(9)), "the next process asks again");
}

#[test]
fn every_damage_is_noticed() {
    let line = to_line(at(1234));
    assert_eq!(line, "1 0101010101010101 1234 abababababababababababababababab c9b1ea9e\n");
    assert_eq!(parse(&line), Some(at(1234)));
    for cut in 0..line.len() {
        assert_eq!(parse(&line[..cut]), None, "{:?}", &line[..cut]);
    }
    for place in 0..line.len() {
        for bit in 0..7 {
            let mut bytes = line.clone().into_bytes();
            bytes[place] ^= 1 << bit;
            let text = String::from_utf8(bytes).expect("ASCII");
            // Capital digits of the check are the same digits.
            assert!(parse(&text).is_none() || text.eq_ignore_ascii_case(&line), "{text:?}");
        }
    }
}
