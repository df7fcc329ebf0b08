use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::domain::{LedgerStanding, Position};
use crate::ledger::{Feed, FeedItem, LedgerFault, LedgerId, LedgerSource, Place, Resume};
use crate::replica::witness::Witness;
use crate::replica::{Config, Replica, Running, SourceFactory, Trouble};

const LEDGER: LedgerId = LedgerId([1; 8]);
const PATIENCE: Duration = Duration::from_secs(20);

fn place(position: u64) -> Place {
    Place { position: Position(position), mark: [7; 16] }
}

/// A folder without a store, in which it is known that the ledger was read up to a position.
fn seen(position: u64) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let witness = Witness::load(folder.path());
    witness.note(Resume { ledger: LEDGER, place: place(position) });
    folder
}

/// A ledger of so many positions, on a server that at first says it ends earlier.
#[derive(Clone)]
struct Behind {
    said: u64,
    is: u64,
    clock: Clock,
}

impl LedgerSource for Behind {
    fn follow(self: Box<Self>, resume: Option<Resume>) -> Feed {
        let (items, receiver) = mpsc::channel(4);
        let say = |item| items.try_send(item).expect("room");
        let from = resume.map_or(Position(0), |resume| resume.place.position);
        if from.0 > self.is {
            let (ledger, last) = ("one".to_owned(), Position(self.is));
            say(FeedItem::Broken(LedgerFault::Rewound { ledger, last, position: from }));
        } else {
            say(FeedItem::Opened { ledger: LEDGER, last: Position(self.said) });
            say(FeedItem::Events { deliveries: Vec::new(), place: place(self.is) });
            say(FeedItem::Current { position: Position(self.is), at: self.clock.boot() });
        }
        Feed::new(receiver, items)
    }
}

fn follow(folder: &TempDir, said: u64, is: u64) -> (Replica, Running) {
    let clock = Clock::system();
    let source = Behind { said, is, clock: clock.clone() };
    let sources: SourceFactory = Box::new(move || Box::new(source.clone()));
    let folder = folder.path().to_owned();
    let config = Config { folder, cache_bytes: 1 << 20, store_cache_bytes: 1 << 20, secret: [7; 32] };
    Replica::start(config, sources, clock).expect("started")
}

/// What becomes of a replica that is being built.
fn outcome(replica: &Replica) -> LedgerStanding {
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        let view = replica.view();
        if view.ledger != LedgerStanding::Building {
            return view.ledger;
        }
        assert!(std::time::Instant::now() < until, "still being built: {:?}", replica.trouble());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_server_that_is_behind_at_first_is_no_fault() {
    let folder = seen(9);
    let (replica, running) = follow(&folder, 5, 20);
    assert_eq!(outcome(&replica), LedgerStanding::Following);
    assert_eq!(replica.view().published.position, Position(20));
    running.stop();
    assert_eq!(Witness::load(folder.path()).check(LEDGER), Ok(()));
}

#[test]
fn a_ledger_that_ends_before_what_was_seen_is_never_complete() {
    let folder = seen(9);
    // Also when a process before ended in the middle of it: what is stored meanwhile is not taken for what was seen.
    for _ in 0..2 {
        let (replica, running) = follow(&folder, 5, 8);
        assert_eq!(outcome(&replica), LedgerStanding::Broken);
        assert!(!replica.view().published.built);
        let Some(Trouble::LedgerBroken(sentence)) = replica.trouble() else { panic!("{:?}", replica.trouble()) };
        assert!(sentence.contains("it ended at 8, but 9 had been read"), "{sentence}");
        running.stop();
    }
}
