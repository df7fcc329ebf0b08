//! Clients of a ledger and its sidecars, who write, ask, and note what they saw.

#![allow(dead_code, reason = "each test file takes what it needs")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use consentd::ledger::nats::{NatsLedger, WriteError};
use consentd::ledger::{LedgerId, Token};
use consentd::proto::v1;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::central;
use crate::field::{Door, Field};
use crate::sidecar::{self, Random, newsletter, now_ms};
use crate::witness::{Answer, Event, Fate, History, Moment, Write};

/// How many people are written and asked about.
pub(crate) const PERSONS: usize = 24;
/// How old a view may be, by the catalogue.
pub(crate) const BOUND: Duration = Duration::from_secs(2);
/// How long an answer may take; a sidecar never needs that, and a question is always answered (P2).
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);
/// How long a writer tries.
const WRITER_PATIENCE: Duration = Duration::from_secs(3);
/// What the first event is dated: nothing in a run is dated in the future.
const AGE: i64 = 6 * 3_600_000;

/// What all clients of a run share.
pub(crate) struct Board {
    began: Instant,
    began_ms: i64,
    is_over: AtomicBool,
    noted: Mutex<Noted>,
    ledger: LedgerId,
}

#[derive(Default)]
struct Noted {
    history: History,
    persons: Vec<Known>,
    /// Who was written about last.
    hot: usize,
    /// What must not happen at all.
    failures: Vec<String>,
}

#[derive(Clone, Copy, Default)]
struct Known {
    /// The times of events so far.
    steps: i64,
    /// The greatest position acknowledged.
    position: u64,
}

/// A question, and what it is checked by.
struct About {
    person: usize,
    bound: Duration,
    /// The position of its token; 0 is none.
    at_least: u64,
    question: v1::Question,
}

impl Board {
    pub(crate) fn new(ledger: LedgerId) -> Arc<Self> {
        let noted = Noted { persons: vec![Known::default(); PERSONS], ..Noted::default() };
        Arc::new(Self {
            began: Instant::now(),
            began_ms: now_ms() - AGE,
            is_over: AtomicBool::new(false),
            noted: Mutex::new(noted),
            ledger,
        })
    }

    pub(crate) fn now(&self) -> Moment {
        self.began.elapsed()
    }

    /// Tells the clients to come to an end.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().expect("not poisoned")
    }

    /// All that was seen, and what must not have happened.
    pub(crate) fn seen(&self) -> (History, Vec<String>) {
        let noted = self.noted();
        (noted.history.clone(), noted.failures.clone())
    }

    /// Why a sidecar's questions that began since were answered as they were.
    pub(crate) fn reasons(&self, life: usize, since: Moment) -> Vec<v1::Reason> {
        let noted = self.noted();
        let recent = noted.history.answers.iter().rev().take_while(|answer| answer.answered >= since);
        recent.filter(|answer| answer.sidecar == life && answer.asked >= since).map(|answer| answer.reason).collect()
    }

    fn fail(&self, what: String) {
        self.noted().failures.push(what);
    }

    /// The next event of somebody. Times of one person's events collide and go back now and then.
    fn draw(&self, random: &mut Random) -> (Event, v1::LedgerEvent) {
        let person = random.below(PERSONS);
        let step = {
            let mut noted = self.noted();
            noted.hot = person;
            noted.persons[person].steps += 2;
            noted.persons[person].steps
        };
        let time_ms = self.began_ms + step - i64::try_from(random.below(4)).expect("small");
        let is_given = random.below(2) == 0;
        let event = if is_given { Event::Given { person, time_ms } } else { Event::Withdrawn { person, time_ms } };
        (event, Self::wire(event, &name(person, random)))
    }

    fn wire(event: Event, name: &str) -> v1::LedgerEvent {
        match event {
            Event::Given { time_ms, .. } => {
                central::event(&sidecar::said(name, "newsletter", "email", "GIVEN", time_ms))
            }
            Event::Withdrawn { time_ms, .. } => {
                central::event(&sidecar::said(name, "newsletter", "email", "WITHDRAWN", time_ms))
            }
            Event::Catalogue { version } => central::event(&sidecar::catalogue(version)),
        }
    }

    /// Writes an event until it is known what became of it, or nobody knows.
    pub(crate) async fn write(&self, ledger: &NatsLedger, event: Event, wire: v1::LedgerEvent, attempts: usize) {
        let index = {
            let mut noted = self.noted();
            noted.history.writes.push(Write { event, invoked: self.now(), fate: Fate::Unknown });
            noted.history.writes.len() - 1
        };
        let mut may_be_there = false;
        for _ in 0..attempts {
            let fate = match ledger.append(std::slice::from_ref(&wire)).await {
                Ok(tokens) => {
                    let token = tokens[0];
                    assert_eq!(token.ledger, self.ledger, "a token of another ledger");
                    Fate::Acked { at: self.now(), position: token.position.0 }
                }
                Err(WriteError::Unknown { .. }) => {
                    may_be_there = true;
                    continue;
                }
                Err(WriteError::Away { .. }) if may_be_there => continue,
                Err(WriteError::Away { .. }) => Fate::NotWritten,
                Err(error) => return self.fail(format!("a write failed at {:?}: {error}", self.now())),
            };
            let mut noted = self.noted();
            noted.history.writes[index].fate = fate;
            if let (Fate::Acked { position, .. }, Event::Given { person, .. } | Event::Withdrawn { person, .. }) =
                (fate, event)
            {
                let known = &mut noted.persons[person];
                known.position = known.position.max(position);
            }
            return;
        }
    }

    /// A question about somebody, more often about who was written about last, with or without a token or a bound of
    /// its own.
    fn draw_question(&self, random: &mut Random) -> About {
        let (hot, persons) = {
            let noted = self.noted();
            (noted.hot, noted.persons.clone())
        };
        let person = if random.below(2) == 0 { hot } else { random.below(PERSONS) };
        let at_least = match random.below(3) {
            0 => persons[person].position,
            _ => 0,
        };
        let bound = if random.below(4) == 0 { Duration::from_millis(700) } else { BOUND };
        self.question(person, &name(person, random), bound, at_least)
    }

    fn question(&self, person: usize, name: &str, bound: Duration, at_least: u64) -> About {
        let token = Token { ledger: self.ledger, position: consentd::domain::Position(at_least) };
        let question = v1::Question {
            at_least_as_fresh: if at_least > 0 { token.to_string() } else { String::new() },
            max_staleness: (bound < BOUND).then(|| bound.into()),
            ..newsletter(name)
        };
        About { person, bound, at_least, question }
    }

    /// Asks about somebody and notes the answer.
    pub(crate) async fn ask_about(&self, door: &Door, person: usize, bound: Duration, at_least: u64) -> Answer {
        let [name, _] = names(person);
        self.ask(door, self.question(person, &name, bound, at_least)).await.expect("an answer")
    }

    /// Asks and notes the answer. `None` where the sidecar gave none.
    async fn ask(&self, door: &Door, about: About) -> Option<Answer> {
        let About { person, bound, at_least, question } = about;
        let asked = self.now();
        let request = v1::MayProcessRequest { question: Some(question) };
        let mut client = door.client.clone();
        let response = timeout(ANSWERED_WITHIN, client.may_process(request)).await.ok()?.ok()?.into_inner();
        let answered = self.now();
        let (answer, view) = (response.answer.expect("an answer"), response.view.expect("a view"));
        let staleness = view.staleness.expect("an age");
        let token = Some(&view.ledger_token).filter(|token| !token.is_empty());
        let token = token.map(|token| token.parse::<Token>().expect("a token"));
        assert!(token.is_none_or(|token| token.ledger == self.ledger), "a token of another ledger");
        let answer = Answer {
            sidecar: door.life,
            person,
            asked,
            answered,
            bound,
            at_least,
            reason: answer.reason(),
            token: token.map_or(0, |token| token.position.0),
            staleness: Duration::new(staleness.seconds.unsigned_abs(), staleness.nanos.unsigned_abs()),
            catalogue: view.catalogue_version,
        };
        self.noted().history.answers.push(answer);
        Some(answer)
    }
}

/// Writes one event after the other.
pub(crate) async fn writer(board: Arc<Board>, ledger: NatsLedger, mut random: Random) {
    let ledger = ledger.with_patience(WRITER_PATIENCE);
    while !board.is_over() {
        let (event, wire) = board.draw(&mut random);
        // Some give up, so that what they wrote stays unknown; most do as the error says.
        let attempts = if random.below(4) == 0 { 1 } else { 20 };
        board.write(&ledger, event, wire, attempts).await;
        sleep(Duration::from_millis(random.below(40) as u64)).await;
    }
}

/// Asks one sidecar one question after the other, through all its lives.
pub(crate) async fn reader(board: Arc<Board>, mut door: watch::Receiver<Option<Door>>, mut random: Random) {
    while !board.is_over() {
        let Some(open) = door.borrow_and_update().clone() else {
            let _ = timeout(Duration::from_millis(100), door.changed()).await;
            continue;
        };
        let about = board.draw_question(&mut random);
        if board.ask(&open, about).await.is_none() {
            let is_same = || door.borrow().as_ref().is_some_and(|door| door.life == open.life);
            if is_same() {
                board.fail(format!("sidecar {} gave no answer at {:?}", open.life, board.now()));
                sleep(Duration::from_millis(100)).await;
            }
        }
        sleep(Duration::from_millis(2 + random.below(10) as u64)).await;
    }
}

/// Asks a sidecar about everybody with the last token of each, until all of it is decided.
pub(crate) async fn ask_at_the_end(board: &Board, door: &Door, within: Duration) {
    let until = Instant::now() + within;
    for person in 0..PERSONS {
        let position = board.noted().persons[person].position;
        loop {
            let answer = board.ask_about(door, person, BOUND, position).await;
            if !matches!(answer.reason, v1::Reason::Stale | v1::Reason::ReplicaBuilding) {
                break;
            }
            assert!(Instant::now() < until, "sidecar {} does not catch up: {answer:?}", door.life);
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A field whose ledger has the links between the two names that some have, and a catalogue; and the board on which
/// that is noted.
pub(crate) async fn prepared() -> (Field, NatsLedger, Arc<Board>) {
    let field = Field::make().await;
    let ledger = NatsLedger::open(&field.config(None)).await.expect("opened");
    let board = Board::new(ledger.id());
    let links = (0..PERSONS).filter(|person| has_two_names(*person));
    let links: Vec<v1::LedgerEvent> = links
        .map(|person| central::event(&sidecar::link(&names(person)[0], &names(person)[1], board.began_ms)))
        .collect();
    ledger.append(&links).await.expect("written");
    publish_catalogue(&board, &ledger, 1, BOUND).await;
    (field, ledger, board)
}

/// Writes what somebody says at a time after the start of the run's own, in milliseconds. Gives its position.
pub(crate) async fn say(board: &Board, ledger: &NatsLedger, person: usize, is_given: bool, step: i64) -> u64 {
    let time_ms = board.began_ms + step;
    let event = if is_given { Event::Given { person, time_ms } } else { Event::Withdrawn { person, time_ms } };
    board.write(ledger, event, Board::wire(event, &names(person)[0]), 20).await;
    board.noted().persons[person].position
}

/// Writes a version of the catalogue, by which views may be so old.
pub(crate) async fn publish_catalogue(board: &Board, ledger: &NatsLedger, version: u64, bound: Duration) {
    let event = Event::Catalogue { version };
    let mut wire = Board::wire(event, "");
    let Some(v1::ledger_event::Event::Catalogue(catalogue)) = &mut wire.event else { panic!("a catalogue") };
    catalogue.default_max_staleness = Some(bound.into());
    board.write(ledger, event, wire, 20).await;
}

const fn has_two_names(person: usize) -> bool {
    person.is_multiple_of(3)
}

fn names(person: usize) -> [String; 2] {
    [format!("crm:{person}"), format!("device:{person}")]
}

/// One of a person's names.
fn name(person: usize, random: &mut Random) -> String {
    let [one, other] = names(person);
    if has_two_names(person) && random.below(2) == 0 { other } else { one }
}
