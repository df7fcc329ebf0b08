//! Following a file that grows, halts halfway, breaks, and is resumed.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::*;
use crate::domain::{EventBody, Subject, Time};
use crate::ledger::{Delivery, LedgerId};

/// A ledger in a folder of its own.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn with(text: &str) -> Self {
        let bench = Self::new();
        bench.append(text);
        bench
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("ledger.jsonl")
    }

    /// As another process would: its own handle.
    fn append(&self, text: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path()).expect("the file opens");
        file.write_all(text.as_ref()).expect("it is written");
    }

    fn follow(&self, resume: Option<Resume>) -> Following {
        self.follow_every(Duration::from_millis(20), resume)
    }

    fn follow_every(&self, poll_interval: Duration, resume: Option<Resume>) -> Following {
        let source = FileSource::new(Config { path: self.path(), poll_interval }, Clock::system());
        Following { feed: Box::new(source).follow(resume), last: None }
    }

    /// Follows to the end and gives where that is.
    fn resume_here(&self) -> Resume {
        let mut following = self.follow(None);
        let (ledger, _) = following.opened();
        following.until_current(self.len());
        Resume { ledger, place: following.last.expect("something was delivered") }
    }

    fn len(&self) -> u64 {
        std::fs::metadata(self.path()).expect("the file is there").len()
    }
}

struct Following {
    feed: Feed,
    last: Option<Place>,
}

/// How often the time may pass before something that was done must show. At the usual interval that is 10 s.
const PATIENCE: usize = 500;

impl Following {
    fn next(&mut self) -> FeedItem {
        self.feed.blocking_recv().expect("the feed goes on")
    }

    fn opened(&mut self) -> (LedgerId, Position) {
        loop {
            match self.next() {
                FeedItem::Opened { ledger, last } => return (ledger, last),
                FeedItem::Waiting(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// What is delivered until the feed says that there is nothing after `position`.
    fn until_current(&mut self, position: u64) -> Vec<Delivery> {
        let mut all = Vec::new();
        for _ in 0..PATIENCE {
            match self.next() {
                FeedItem::Events { deliveries, place } => {
                    assert!(deliveries.iter().all(|d| d.position <= place.position));
                    assert!(self.last.is_none_or(|last| last.position < place.position), "a place goes forward");
                    self.last = Some(place);
                    all.extend(deliveries);
                }
                FeedItem::Current { position: at, .. } if at.0 == position => return all,
                FeedItem::Current { position: at, .. } => {
                    assert_eq!(at, self.last.map_or(at, |last| last.position), "current is what was delivered");
                }
                other => panic!("{other:?}"),
            }
        }
        panic!("position {position} is not reached")
    }

    fn fault(&mut self) -> LedgerFault {
        for _ in 0..PATIENCE {
            match self.next() {
                FeedItem::Broken(fault) => {
                    assert_eq!(self.feed.blocking_recv(), None, "a fault is the last that is said");
                    return fault;
                }
                FeedItem::Current { .. } | FeedItem::Waiting(_) => {}
                other => panic!("{other:?}"),
            }
        }
        panic!("no fault is found")
    }
}

fn grant(id: &str, subject: &str) -> String {
    format!(
        "{{\"eventId\":\"{id}\",\"eventTime\":\"2026-01-05T10:00:00Z\",\"consent\":{{\"subject\":{{\"space\":\"crm\",\
         \"id\":\"{subject}\"}},\"purpose\":\"marketing\",\"channel\":\"email\",\"status\":\"CONSENT_STATUS_GIVEN\",\
         \"legalBasis\":\"LEGAL_BASIS_CONSENT\"}}}}\n"
    )
}

fn ids(deliveries: &[Delivery]) -> Vec<Box<str>> {
    let id = |delivery: &Delivery| match &delivery.event {
        Ok(event) => event.event_id.clone(),
        Err(unreadable) => unreadable.event_id.clone(),
    };
    deliveries.iter().map(id).collect()
}

#[test]
fn what_is_there_and_what_is_appended_is_delivered_at_its_position() {
    let bench = Bench::with(&(grant("a", "1") + "\r\n\n" + &grant("b", "2").replace('\n', "\r\n")));
    let mut following = bench.follow(None);
    let (_, last) = following.opened();
    assert_eq!(last.0, bench.len());
    let first = following.until_current(bench.len());
    assert_eq!(ids(&first), ["a", "b"].map(Box::from));
    assert_eq!(first[0].position.0, grant("a", "1").len() as u64);
    assert_eq!(first[1].position.0, bench.len());
    bench.append(grant("c", "3"));
    let second = following.until_current(bench.len());
    assert_eq!(ids(&second), ["c"].map(Box::from));
    let event = second[0].event.as_ref().expect("readable");
    assert_eq!(event.event_time, Time::from_unix_millis(1_767_607_200_000));
    let EventBody::Consent(consent) = &event.body else { panic!("{event:?}") };
    assert_eq!(consent.subject.expose(), "crm:3");
}

#[test]
fn an_append_wakes_the_follower_long_before_its_next_look() {
    let bench = Bench::with(&grant("a", "1"));
    let mut following = bench.follow_every(Duration::from_secs(30), None);
    following.opened();
    following.until_current(bench.len());
    let started = Instant::now();
    for round in 0..10 {
        bench.append(grant(&format!("b{round}"), "2"));
        assert_eq!(following.until_current(bench.len()).len(), 1);
    }
    assert!(started.elapsed() < Duration::from_secs(5), "took {:?}, so it was not woken", started.elapsed());
}

#[test]
fn freshness_is_proved_while_nothing_happens() {
    let bench = Bench::with(&grant("a", "1"));
    let mut following = bench.follow(None);
    following.opened();
    following.until_current(bench.len());
    let mut last = None;
    for _ in 0..3 {
        let FeedItem::Current { position, at } = following.next() else { panic!("only time passes") };
        assert_eq!(position.0, bench.len());
        assert!(last.is_none_or(|last| last < at), "a later proof is of a later time");
        last = Some(at);
    }
}

#[test]
fn a_half_written_line_waits_and_may_be_taken_back() {
    let bench = Bench::with(&grant("a", "1"));
    let mut following = bench.follow(None);
    following.opened();
    let whole = bench.len();
    following.until_current(whole);
    let line = grant("b", "2");
    let (head, tail) = line.split_at(line.len() / 2);
    bench.append(head);
    assert!(following.until_current(whole).is_empty());
    assert!(following.until_current(whole).is_empty(), "it waits, however long");
    // Its writer takes it back and writes another.
    OpenOptions::new().write(true).open(bench.path()).and_then(|file| file.set_len(whole)).expect("it is taken back");
    bench.append(head);
    assert!(following.until_current(whole).is_empty());
    bench.append(tail);
    assert_eq!(ids(&following.until_current(bench.len())), ["b"].map(Box::from));
}

#[test]
fn a_bad_line_is_delivered_as_such_between_its_neighbours() {
    let bad = grant("bad", "42").replace("CONSENT_STATUS_GIVEN", "CONSENT_STATUS_PAUSED");
    let bench = Bench::with(&(grant("a", "1") + &bad + "not json\n" + &grant("b", "2")));
    let mut following = bench.follow(None);
    following.opened();
    let all = following.until_current(bench.len());
    assert_eq!(all.len(), 4);
    let unreadable = all[1].event.as_ref().expect_err("a status of the future");
    assert_eq!(unreadable.subjects, [Subject::parse("crm:42").expect("well-formed")]);
    assert_eq!(&*unreadable.event_id, "bad");
    assert_eq!(unreadable.event_time, Some(Time::from_unix_millis(1_767_607_200_000)));
    let unreadable = all[2].event.as_ref().expect_err("not an event");
    assert_eq!(*unreadable.event_id, *format!("@{}", all[2].position.0));
    assert!(all[3].event.is_ok());
}

#[test]
fn a_line_without_end_is_one_unreadable_event_and_takes_no_memory() {
    let mut line = grant("long", "42").trim_end().to_owned();
    line.insert_str(line.len() - 1, ",\"proof\":\"");
    line.push_str(&"x".repeat(3 * 1024 * 1024));
    let bench = Bench::with(&grant("a", "1"));
    bench.append(&line);
    let mut following = bench.follow(None);
    following.opened();
    assert_eq!(following.until_current(grant("a", "1").len() as u64).len(), 1);
    bench.append("\"}\n");
    bench.append(grant("b", "2"));
    let rest = following.until_current(bench.len());
    assert_eq!(ids(&rest), ["long", "b"].map(Box::from));
    let unreadable = rest[0].event.as_ref().expect_err("too long");
    assert_eq!(unreadable.subjects, [Subject::parse("crm:42").expect("well-formed")]);
    assert!(unreadable.problem.contains("longer than"), "{}", unreadable.problem);
}

#[test]
fn the_longest_line_that_may_be_is_read() {
    for (extra, readable) in [(0, true), (1, false)] {
        let line = grant("a", "1").trim_end().to_owned();
        // Blanks inside the object count.
        let pad = crate::ledger::codec::LINE_BYTES_MAX + extra - line.len();
        let line = format!("{}{}{}\n", &line[..1], " ".repeat(pad), &line[1..]);
        let bench = Bench::with(&line);
        let mut following = bench.follow(None);
        following.opened();
        let all = following.until_current(bench.len());
        assert_eq!((all.len(), all[0].event.is_ok()), (1, readable));
    }
}

#[test]
fn many_events_come_in_bounded_batches_without_loss() {
    let text: String = (0..10_000).map(|n| grant(&n.to_string(), "1")).collect();
    let bench = Bench::with(&text);
    let mut following = bench.follow(None);
    following.opened();
    let mut seen = 0;
    while seen < 10_000 {
        let FeedItem::Events { deliveries, .. } = following.next() else { panic!("events") };
        assert!(deliveries.len() <= crate::ledger::BATCH_EVENTS_MAX);
        for delivery in deliveries {
            assert_eq!(*delivery.event.expect("readable").event_id, *seen.to_string());
            seen += 1;
        }
    }
}

#[test]
fn a_file_that_is_missing_or_empty_is_waited_for() {
    let bench = Bench::new();
    let started = Instant::now();
    let mut following = bench.follow_every(Duration::from_secs(30), None);
    assert!(matches!(following.next(), FeedItem::Waiting(why) if why.contains("not there yet")));
    bench.append("");
    assert!(matches!(following.next(), FeedItem::Waiting(why) if why.contains("still empty")));
    let line = grant("a", "1");
    bench.append("\n");
    bench.append(&line[..10]);
    bench.append(&line[10..]);
    let (_, last) = following.opened();
    assert_eq!(last.0, bench.len());
    assert_eq!(ids(&following.until_current(bench.len())), ["a"].map(Box::from));
    assert!(started.elapsed() < Duration::from_secs(10), "took {:?}, so it was not woken", started.elapsed());
}

#[test]
fn a_shorter_file_is_truncated() {
    let bench = Bench::with(&(grant("a", "1") + &grant("b", "2")));
    let mut following = bench.follow(None);
    following.opened();
    following.until_current(bench.len());
    File::options().write(true).open(bench.path()).and_then(|file| file.set_len(10)).expect("it is cut");
    let fault = following.fault();
    assert_eq!(fault.name(), "truncated");
    assert!(fault.to_string().contains("make it whole again"), "{fault}");
}

#[test]
fn another_file_at_the_path_is_replaced() {
    let bench = Bench::with(&grant("a", "1"));
    let mut following = bench.follow(None);
    following.opened();
    following.until_current(bench.len());
    // Even one with the same content: who follows the path and who writes the old file must not part in silence.
    let other = bench.folder.path().join("other");
    std::fs::copy(bench.path(), &other).and_then(|_| std::fs::rename(&other, bench.path())).expect("it is replaced");
    assert_eq!(following.fault().name(), "replaced");
}

#[test]
fn a_file_that_is_gone_is_removed() {
    let bench = Bench::with(&grant("a", "1"));
    let mut following = bench.follow(None);
    following.opened();
    following.until_current(bench.len());
    std::fs::remove_file(bench.path()).expect("it is removed");
    assert_eq!(following.fault().name(), "removed");
}

#[test]
fn a_change_before_the_position_is_rewritten_with_or_without_growth() {
    for append in ["", "\n"] {
        let bench = Bench::with(&grant("a", "1"));
        let mut following = bench.follow(None);
        following.opened();
        following.until_current(bench.len());
        let file = File::options().write(true).open(bench.path()).expect("the file opens");
        file.write_all_at(b"A", 12).expect("it is changed");
        bench.append(append);
        assert_eq!(following.fault().name(), "rewritten");
    }
}

#[test]
fn a_cut_file_that_has_grown_again_is_rewritten() {
    let bench = Bench::with(&(grant("a", "1") + &grant("b", "2")));
    let resume = bench.resume_here();
    let text = grant("a", "1") + &grant("c", "3") + &grant("d", "4");
    std::fs::write(bench.path(), text).expect("it is written anew");
    assert_eq!(bench.follow(Some(resume)).fault().name(), "rewritten");
}

#[test]
fn following_goes_on_from_where_it_had_come_to() {
    let bench = Bench::with(&(grant("a", "1") + &grant("b", "2")));
    let resume = bench.resume_here();
    assert_eq!(resume.place.position.0, bench.len());
    bench.append(grant("c", "3"));
    let mut following = bench.follow(Some(resume));
    let (ledger, last) = following.opened();
    assert_eq!((ledger, last.0), (resume.ledger, bench.len()));
    assert_eq!(ids(&following.until_current(bench.len())), ["c"].map(Box::from));
}

#[test]
fn each_fault_is_found_when_following_goes_on() {
    let bench = Bench::with(&(grant("a", "1") + &grant("b", "2")));
    let resume = bench.resume_here();
    let two = std::fs::read(bench.path()).expect("it is read");

    std::fs::write(bench.path(), grant("a", "1")).expect("it is cut");
    assert_eq!(bench.follow(Some(resume)).fault().name(), "truncated");
    std::fs::write(bench.path(), "").expect("it is emptied");
    assert_eq!(bench.follow(Some(resume)).fault().name(), "truncated");
    std::fs::write(bench.path(), grant("x", "1") + &grant("b", "2")).expect("it is another");
    assert_eq!(bench.follow(Some(resume)).fault().name(), "replaced");
    std::fs::write(bench.path(), grant("a", "1") + &grant("b", "3")).expect("it is changed");
    assert_eq!(bench.follow(Some(resume)).fault().name(), "rewritten");

    // Missing is waited for: a volume may come late. What then comes is compared.
    std::fs::remove_file(bench.path()).expect("it is removed");
    let mut following = bench.follow(Some(resume));
    assert!(matches!(following.next(), FeedItem::Waiting(_)));
    std::fs::write(bench.path(), &two).expect("it is back");
    following.opened();
    assert!(following.until_current(bench.len()).is_empty());
}

#[test]
fn a_dropped_feed_ends_its_thread_at_once() {
    let text: String = (0..20_000).map(|n| grant(&n.to_string(), "1")).collect();
    let bench = Bench::with(&text);
    // One that has room and falls asleep, one that waits for room.
    for items_read in [usize::MAX, 1] {
        let config = Config { path: bench.path(), poll_interval: Duration::from_hours(1) };
        let (sender, mut receiver) = mpsc::channel(2);
        let stop = eventfd(0, EventfdFlags::CLOEXEC).map(Arc::new).expect("an eventfd");
        let follower = follow::Follower::new(config, Clock::system(), sender, Some(stop.clone()));
        let (ended, has_ended) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            follower.run(None);
            ended.send(()).expect("the test goes on");
        });
        for _ in 0..items_read {
            if matches!(receiver.blocking_recv(), Some(FeedItem::Current { .. })) {
                break;
            }
        }
        std::thread::sleep(Duration::from_millis(20));
        drop(Feed::new(receiver, StopFollowing(Some(stop))));
        has_ended.recv_timeout(Duration::from_secs(10)).expect("the thread ends without the hour passing");
        thread.join().expect("and ends well");
    }
}
