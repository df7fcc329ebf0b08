//! Replicas that load subjects from a central ledger when they are asked about them, on real NATS servers: they know
//! what a full replica knows, whatever is written, given up or lost meanwhile.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, and its helpers are tests too"
)]

#[path = "support/central.rs"]
mod central;
#[path = "support/nats.rs"]
#[allow(dead_code, reason = "each test uses its part")]
mod nats;
#[path = "support/sidecar.rs"]
mod sidecar;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::jetstream::Context;
use central::{KEY, borrowed, hasher};
use consentd::clock::Clock;
use consentd::domain::{
    Birth, EventBody, Freshness, Heard, LedgerStanding, Link, Position, Question, Reason, Record, Restriction, Signals,
    StateParts, SubjectKey, SubjectState, SubjectView, Time, TokenStanding, UnreadableMark, Verdict, decide,
};
use consentd::ledger::nats::subject::{About, Kind};
use consentd::ledger::nats::{Config, DEFAULT_STREAM as STREAM, NatsLedger, NatsSource, ReadError, SubjectReader};
use consentd::ledger::{LedgerSource, codec};
use consentd::nats::{Tls, connect};
use consentd::proto::v1;
use consentd::replica::{self, Loaded, OnDemandConfig, Replica, Running};
use nats::{Cluster, NatsServer, Options};
use sidecar::{
    Home, PATIENCE, Random, Sidecar, birth, catalogue, erasure, link, newsletter, restriction, said, unlink,
};

const BASE_MS: i64 = 1_700_000_000_000;
const FRESHNESS: Duration = Duration::from_millis(200);
/// More than all that a test writes.
const ROOMY: u64 = 8 << 20;
/// Far longer than a load takes on a machine that is busy with something else.
const LONG: Duration = Duration::from_secs(20);

/// A ledger on servers, open for writing.
struct Central {
    home: Home,
    config: Config,
    context: Context,
    ledger: NatsLedger,
}

impl Central {
    /// A ledger that begins with a catalogue.
    async fn on(server: &NatsServer) -> Self {
        Self::at(&server.url(), Tls::default(), 1).await
    }

    async fn at(urls: &str, tls: Tls, replicas: u64) -> Self {
        let home = central::home();
        let config = central::config(&home, urls, &tls);
        let context = central::context(&config).await;
        central::kept().make(&context, replicas).await.expect("made");
        let ledger = NatsLedger::open(&config).await.expect("opened");
        let central = Self { home, config, context, ledger };
        central.write(&catalogue(1)).await;
        central
    }

    /// Writes an event and gives its position.
    async fn write(&self, line: &str) -> u64 {
        self.write_all(&[line.to_owned()]).await
    }

    /// Writes events and gives the position of the last.
    async fn write_all(&self, lines: &[String]) -> u64 {
        let tokens = self.ledger.append(&central::events(lines)).await.expect("written");
        tokens.iter().map(|token| token.position.0).max().expect("one at least")
    }

    /// Writes bytes that are no event under a subject's name.
    async fn write_garbage(&self, key: SubjectKey) -> u64 {
        let subject = About::Subject(key, Kind::Consent).to_string();
        let sent = self.context.publish(subject, "garbage".into()).await.expect("sent");
        sent.await.expect("written").sequence
    }

    fn sources(&self, clock: &Clock) -> replica::SourceFactory {
        let (config, clock) = (self.config.clone(), clock.clone());
        Box::new(move || -> Box<dyn LedgerSource> {
            Box::new(NatsSource::new(config.clone(), FRESHNESS, clock.clone()))
        })
    }

    /// A replica of everything.
    fn full(&self) -> Copy {
        let clock = Clock::system();
        let folder = self.home.path("replica");
        let config = replica::Config { folder, cache_bytes: ROOMY, store_cache_bytes: 1 << 20, secret: KEY };
        let (replica, running) = Replica::start(config, self.sources(&clock), clock).expect("started");
        Copy { replica, running }
    }

    /// A replica of what it is asked for.
    fn on_demand(&self, cache_bytes: u64, patience: Duration) -> Copy {
        let clock = Clock::system();
        let config = OnDemandConfig {
            folder: self.home.path("on-demand"),
            ledger: self.config.clone(),
            cache_bytes,
            secret: KEY,
            patience,
        };
        let runtime = tokio::runtime::Handle::current();
        let sources = self.sources(&clock);
        let (replica, running) = Replica::start_on_demand(config, sources, clock, runtime).expect("started");
        Copy { replica, running }
    }

    /// The same, at the end of the ledger.
    async fn on_demand_ready(&self, cache_bytes: u64) -> Copy {
        let copy = self.on_demand(cache_bytes, LONG);
        copy.reached(0).await;
        copy
    }
}

struct Copy {
    replica: Replica,
    running: Running,
}

impl Copy {
    /// Waits until it has applied a position, and all before it.
    async fn reached(&self, position: u64) {
        reached(&self.replica, position).await;
    }

    /// What it knows about a subject, the way in which the enforcer looks it up.
    async fn ask(&self, subject: &str) -> Option<SubjectState> {
        look(&self.replica, subject).await.1
    }

    async fn know(&self, subject: &str) -> SubjectState {
        self.ask(subject).await.expect("the ledger can be read")
    }

    async fn reason(&self, subject: &str) -> Reason {
        reason(&self.know(subject).await)
    }

    fn loaded(&self) -> u64 {
        self.replica.load_stats().loaded
    }

    fn stop(self) {
        tokio::task::block_in_place(|| self.running.stop());
    }
}

async fn reached(replica: &Replica, position: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let view = replica.view();
        assert_ne!(view.ledger, LedgerStanding::Broken, "{:?}", replica.trouble());
        if view.ledger == LedgerStanding::Following && view.published.position.0 >= position {
            return;
        }
        assert!(Instant::now() < deadline, "position {position} was not reached: {:?}", replica.trouble());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A view, and what is known of a subject under it.
async fn look(replica: &Replica, subject: &str) -> (u64, Option<SubjectState>) {
    let view = replica.view();
    let key = replica.key(subject);
    let state = match replica.cached(&view, key) {
        Some(state) => Some(state),
        None => match replica.load(&view, vec![key]).await.pop() {
            Some(Loaded::State(state)) => Some(state),
            Some(Loaded::Unavailable) | None => None,
        },
    };
    (view.published.position.0, state.map(|state| state.state().clone()))
}

/// What a state decides about the newsletter.
fn reason(state: &SubjectState) -> Reason {
    let question = Question {
        purpose: "newsletter",
        channel: "email",
        recipient: "",
        jurisdiction: "",
        signals: Signals::default(),
        heard: Heard::default(),
        max_staleness: None,
        time_zone: None,
    };
    let freshness =
        Freshness { ledger: LedgerStanding::Following, staleness: Duration::ZERO, token: TokenStanding::Reached };
    let now = Time::from_unix_millis(BASE_MS + 100_000);
    let line = catalogue(1);
    let Ok(event) = codec::decode(line.as_bytes(), Position(1)) else { panic!("a catalogue") };
    let EventBody::Catalogue(catalogue) = event.body else { panic!("a catalogue") };
    decide(&question, SubjectView::State(state), Some(&catalogue), &freshness, now).reason
}

fn given(subject: &str, at: i64) -> String {
    said(subject, "newsletter", "email", "GIVEN", BASE_MS + at)
}

fn withdrawn(subject: &str, at: i64) -> String {
    said(subject, "newsletter", "email", "WITHDRAWN", BASE_MS + at)
}

/// What was written, as plainly as it can be told: a state for each identifier and position.
#[derive(Default)]
struct Truth {
    said: Vec<(u64, String, SubjectState)>,
    links: Vec<(u64, String, String)>,
    /// Pairs whose link was ever taken back.
    unlinked: BTreeSet<(String, String)>,
}

impl Truth {
    fn note(&mut self, line: &str, position: u64) {
        let Ok(event) = codec::decode(line.as_bytes(), Position(position)) else { panic!("readable") };
        let hasher = hasher();
        let event_time = event.event_time;
        match event.body {
            EventBody::Consent(consent) => {
                let record = Record {
                    event_time,
                    status: consent.status,
                    legal_basis: consent.legal_basis,
                    collection: consent.collection,
                    notice: consent.notice,
                    expires_at: consent.expires_at,
                    jurisdiction: consent.jurisdiction,
                    proof: consent.proof,
                    position: Position(position),
                };
                let state = SubjectState::of_record(&consent.purpose, &consent.channel, &consent.recipient, record);
                self.said.push((position, consent.subject.expose().to_owned(), state));
            }
            EventBody::Restriction { subject, purpose, lifted } => {
                let said = Restriction { purpose, event_time, restricted: !lifted };
                self.said.push((position, subject.expose().to_owned(), SubjectState::of_restriction(said)));
            }
            EventBody::Birth { subject, born } => {
                let said = SubjectState::of_birth(Birth { event_time, born });
                self.said.push((position, subject.expose().to_owned(), said));
            }
            EventBody::Erasure { subject } => {
                self.said.push((position, subject.expose().to_owned(), SubjectState::of_erasure(event_time)));
            }
            EventBody::Link { subject, linked, unlinked } => {
                let (one, other) = (subject.expose().to_owned(), linked.expose().to_owned());
                for (subject, other) in [(&one, &other), (&other, &one)] {
                    let said = Link { other: hasher.key(other), event_time, linked: !unlinked };
                    self.said.push((position, subject.clone(), SubjectState::of_link(said)));
                }
                if unlinked {
                    self.unlinked.extend([(one.clone(), other.clone()), (other, one)]);
                } else {
                    self.links.push((position, one, other));
                }
            }
            EventBody::Catalogue(_) => {}
        }
    }

    fn note_garbage(&mut self, subject: &str, position: u64) {
        let mark =
            UnreadableMark { event_id: format!("@{position}").into(), position: Position(position), event_time: None };
        self.said.push((position, subject.to_owned(), SubjectState::of_unreadable(mark)));
    }

    /// The least that must be known about a subject at a position: all that was said up to there about everybody who is
    /// linked to it, by links that nobody ever takes back.
    fn least(&self, subject: &str, position: u64) -> SubjectState {
        let mut person = BTreeSet::from([subject]);
        loop {
            let before = person.len();
            for (at, one, other) in &self.links {
                let lasts = *at <= position && !self.unlinked.contains(&(one.clone(), other.clone()));
                if lasts && (person.contains(&**one) || person.contains(&**other)) {
                    person.extend([&**one, &**other]);
                }
            }
            if person.len() == before {
                break;
            }
        }
        let mut state = SubjectState::default();
        for (at, who, said) in &self.said {
            if *at <= position && person.contains(&**who) {
                state.join(said.clone());
            }
        }
        state
    }
}

/// Whether a state holds all that another says: joining it changes nothing. Of births one replaces another in either
/// direction, so that it is only held that there is one; which, is compared with the full replica in the end.
fn holds(state: &SubjectState, least: &SubjectState) -> bool {
    let mut joined = state.clone();
    joined.join(least.clone());
    let known = |state: &SubjectState| SubjectState::from_parts(StateParts { birth: None, ..state.to_parts() });
    let was_erased = state.erased_at() > least.erased_at();
    known(&joined) == known(state) && (least.birth().is_none() || state.birth().is_some() || was_erased)
}

/// An event about one of a history's subjects. Times come from a small set, so that they often meet.
fn line(random: &mut Random, subjects: &[String]) -> String {
    let at = 1000 * i64::try_from(random.below(12)).expect("small");
    let subject = &subjects[random.below(subjects.len())];
    let other = &subjects[random.below(subjects.len())];
    match random.below(20) {
        0..2 if subject != other => link(subject, other, BASE_MS + at),
        2 if subject != other => unlink(subject, other, BASE_MS + at),
        3 => erasure(subject, BASE_MS + at),
        4 => restriction(subject, random.pick(&["", "newsletter"]), random.below(2) == 0, BASE_MS + at),
        5 => birth(subject, random.pick(&["1990", "2011-04", "2015-12-31"]), BASE_MS + at),
        6..12 => given(subject, at),
        12..15 => withdrawn(subject, at),
        _ => said(subject, random.pick(&["newsletter", "analytics", "billing"]), "sms", "REFUSED", BASE_MS + at),
    }
}

/// One look at a replica on demand, while others wrote.
struct Look {
    position: u64,
    subject: String,
    state: SubjectState,
}

/// Writes a random history, while replicas on demand are asked about it all the time.
async fn write_and_ask(
    central: &Arc<Central>,
    subjects: &Arc<Vec<String>>,
    copies: &[Copy],
    random: &mut Random,
    events: usize,
) -> (Truth, Vec<Look>) {
    let truth = Arc::new(Mutex::new(Truth::default()));
    let over = Arc::new(AtomicBool::new(false));
    let mut askers = Vec::new();
    for copy in copies {
        for _ in 0..2 {
            let (replica, over, subjects) = (copy.replica.clone(), Arc::clone(&over), Arc::clone(subjects));
            let mut random = Random::from_seed(random.next());
            askers.push(tokio::spawn(async move {
                let mut looks = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let subject = subjects[random.below(subjects.len())].clone();
                    let (position, state) = look(&replica, &subject).await;
                    looks.push(Look { position, subject, state: state.expect("the ledger can be read") });
                    if random.below(2) == 0 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
                looks
            }));
        }
    }
    let mut writers = Vec::new();
    for _ in 0..2 {
        let (central, truth, subjects) = (Arc::clone(central), Arc::clone(&truth), Arc::clone(subjects));
        let mut random = Random::from_seed(random.next());
        writers.push(tokio::spawn(async move {
            for _ in 0..events / 2 {
                if random.below(40) == 0 {
                    let subject = &subjects[random.below(subjects.len())];
                    let position = central.write_garbage(hasher().key(subject)).await;
                    truth.lock().expect("no panic").note_garbage(subject, position);
                } else {
                    let line = line(&mut random, &subjects);
                    let position = central.write(&line).await;
                    truth.lock().expect("no panic").note(&line, position);
                }
            }
        }));
    }
    for writer in writers {
        writer.await.expect("written");
    }
    over.store(true, Ordering::Relaxed);
    let mut looks = Vec::new();
    for asker in askers {
        looks.extend(asker.await.expect("asked"));
    }
    (std::mem::take(&mut *truth.lock().expect("no panic")), looks)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_loaded_is_what_a_full_replica_knows() {
    let mut random = Random::seeded("what_is_loaded_is_what_a_full_replica_knows");
    let server = NatsServer::start(&Options::default());
    let central = Arc::new(Central::on(&server).await);
    let full = central.full();
    let (mut allowed, mut looked) = (0, 0);
    for history in 0..4 {
        let subjects: Arc<Vec<String>> = Arc::new((0..10).map(|number| format!("crm:{history}-{number}")).collect());
        // One that keeps all, and one that has no room for anything, so that every question is a load.
        let copies = [central.on_demand_ready(ROOMY).await, central.on_demand_ready(600).await];
        let (truth, looks) = write_and_ask(&central, &subjects, &copies, &mut random, 200).await;
        for Look { position, subject, state } in &looks {
            let least = truth.least(subject, *position);
            assert!(
                holds(state, &least),
                "history {history}: {subject} at {position}: {state:?} lacks some of {least:?}"
            );
            allowed += u32::from(reason(state).verdict() == Verdict::Allow);
        }
        looked += looks.len();
        let last = truth.said.iter().map(|(position, ..)| *position).max().expect("events");
        full.reached(last).await;
        let late = central.on_demand_ready(ROOMY).await;
        for (name, copy) in [("roomy", &copies[0]), ("tiny", &copies[1]), ("late", &late)] {
            copy.reached(last).await;
            for subject in &*subjects {
                assert_eq!(copy.know(subject).await, full.know(subject).await, "history {history}: {subject}, {name}");
            }
        }
        let loads = copies.iter().map(Copy::loaded).collect::<Vec<_>>();
        assert!(loads[0] <= 30, "kept subjects are not loaded again: {loads:?}");
        assert!(loads[1] > 30, "there was no room to keep them: {loads:?}");
        copies.into_iter().chain([late]).for_each(Copy::stop);
    }
    println!("{looked} looks during the writing, {allowed} of them allowed");
    assert!(looked > 500 && allowed > 50, "too few looks that could have been wrong: {looked}, {allowed}");
    full.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_about_one_subject_share_one_load() {
    let server = NatsServer::start(&Options::default());
    let central = Central::on(&server).await;
    central.write_all(&[given("crm:1", 0), withdrawn("crm:1", 1)]).await;
    let copy = central.on_demand_ready(ROOMY).await;
    let view = copy.replica.view();
    let key = copy.replica.key("crm:1");
    let asked: Vec<_> = (0..200)
        .map(|_| {
            let (replica, view) = (copy.replica.clone(), view.clone());
            tokio::spawn(async move { replica.load(&view, vec![key, key]).await })
        })
        .collect();
    for answer in asked {
        for loaded in answer.await.expect("answered") {
            let Loaded::State(state) = loaded else { panic!("the ledger can be read") };
            assert_eq!(reason(state.state()), Reason::Withdrawn);
        }
    }
    let stats = copy.replica.load_stats();
    assert_eq!((stats.loaded, stats.failed), (1, 0), "{stats:?}");
    copy.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn absence_is_remembered_until_a_first_event() {
    let server = NatsServer::start(&Options::default());
    let central = Central::on(&server).await;
    let copy = central.on_demand_ready(ROOMY).await;
    for _ in 0..3 {
        assert_eq!(copy.reason("crm:1").await, Reason::UnknownSubject);
    }
    let stats = copy.replica.load_stats();
    assert_eq!((stats.loaded, stats.absent), (1, 1), "{stats:?}");
    let position = central.write(&given("crm:1", 0)).await;
    copy.reached(position).await;
    assert_eq!(copy.reason("crm:1").await, Reason::Consent);
    let position = central.write(&withdrawn("crm:1", 1)).await;
    copy.reached(position).await;
    assert_eq!(copy.reason("crm:1").await, Reason::Withdrawn);
    assert_eq!(copy.loaded(), 1, "what is known is kept current, not loaded again");
    copy.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_is_loaded_again_whole() {
    const BYTES: u64 = 20_000;
    let server = NatsServer::start(&Options::default());
    let central = Central::on(&server).await;
    let subjects: Vec<String> = (0..300).map(|number| format!("crm:{number}")).collect();
    central.write_all(&subjects.iter().map(|subject| given(subject, 0)).collect::<Vec<_>>()).await;
    let copy = central.on_demand_ready(BYTES).await;
    for subject in &subjects {
        assert_eq!(copy.reason(subject).await, Reason::Consent, "{subject}");
    }
    let kept = sidecar::eventually("no more is kept than there is room for", async || {
        let stats = copy.replica.cache_stats();
        (stats.bytes <= BYTES).then_some(stats.entries)
    })
    .await;
    assert!(kept < 100, "{kept} are kept");
    // An event for somebody who was given up is no state: the consent is still part of the next answer.
    let lines: Vec<String> =
        subjects.iter().map(|subject| said(subject, "analytics", "sms", "REFUSED", BASE_MS + 5)).collect();
    let position = central.write_all(&lines).await;
    copy.reached(position).await;
    for subject in &subjects {
        let state = copy.know(subject).await;
        assert_eq!((reason(&state), state.slots().len()), (Reason::Consent, 2), "{subject}");
    }
    copy.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_linked_is_loaded_too() {
    let server = NatsServer::start(&Options::default());
    let central = Central::on(&server).await;
    central
        .write_all(&[
            given("crm:1", 0),
            link("crm:1", "phone:1", BASE_MS),
            link("phone:1", "device:1", BASE_MS),
            withdrawn("device:1", 1),
            given("crm:2", 0),
            withdrawn("device:2", 1),
        ])
        .await;
    let copy = central.on_demand_ready(ROOMY).await;
    assert_eq!(copy.reason("crm:1").await, Reason::Withdrawn, "two steps away");
    assert_eq!(copy.loaded(), 3);
    assert_eq!(copy.reason("device:1").await, Reason::Withdrawn);
    assert_eq!(copy.loaded(), 3, "all three are here");
    // A link that comes later, to somebody whom nobody asked about.
    assert_eq!(copy.reason("crm:2").await, Reason::Consent);
    let position = central.write(&link("crm:2", "device:2", BASE_MS)).await;
    copy.reached(position).await;
    assert_eq!(copy.reason("crm:2").await, Reason::Withdrawn);
    // One that nobody can be: more identifiers than a person has.
    let lines: Vec<String> = (0..300).map(|number| link("crm:3", &format!("device:3-{number}"), BASE_MS)).collect();
    central.write_all(&[vec![given("crm:3", 0)], lines].concat()).await;
    let copy_again = central.on_demand_ready(ROOMY).await;
    assert_eq!(copy_again.reason("crm:3").await, Reason::UnreadableRecord);
    copy.stop();
    copy_again.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_history_is_read_to_its_end() {
    let server = NatsServer::start(&Options::default());
    let central = Central::on(&server).await;
    // More than fits into one answer of the server.
    let mut lines: Vec<String> = (0..1300).map(|at| given("crm:1", at)).collect();
    lines.push(withdrawn("crm:1", 2000));
    central.write_all(&lines).await;
    let copy = central.on_demand_ready(ROOMY).await;
    assert_eq!(copy.reason("crm:1").await, Reason::Withdrawn);
    copy.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_strangers_is_loaded_within_its_time_or_denied() {
    let server = NatsServer::start(&Options::default());
    let central = Central::on(&server).await;
    let subjects: Vec<String> = (0..3000).map(|number| format!("crm:{number}")).collect();
    central.write_all(&subjects.iter().map(|subject| given(subject, 0)).collect::<Vec<_>>()).await;
    let patience = Duration::from_millis(100);
    let copy = central.on_demand(ROOMY, patience);
    copy.reached(0).await;
    let keys: Vec<SubjectKey> = subjects.iter().map(|subject| copy.replica.key(subject)).collect();
    let mut rounds = 0;
    loop {
        let began = Instant::now();
        let view = copy.replica.view();
        let loaded = copy.replica.load(&view, keys.clone()).await;
        // What is not loaded in time is said so, and soon: the rest of a second is for a busy machine.
        assert!(began.elapsed() < patience + Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!(loaded.len(), keys.len());
        let mut missing = 0;
        for loaded in loaded {
            match loaded {
                Loaded::State(state) => assert_eq!(reason(state.state()), Reason::Consent),
                Loaded::Unavailable => missing += 1,
            }
        }
        rounds += 1;
        println!("round {rounds}: {missing} of {} not loaded after {:?}", keys.len(), began.elapsed());
        if missing == 0 {
            break;
        }
        assert!(rounds < 200, "what was loaded is not kept");
    }
    copy.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_is_away_what_is_known_is_answered_and_the_rest_is_not() {
    let mut server = NatsServer::start(&Options::default());
    let central = Central::on(&server).await;
    central.write_all(&[given("crm:1", 0), given("crm:2", 0)]).await;
    let copy = central.on_demand(ROOMY, Duration::from_millis(300));
    copy.reached(0).await;
    assert_eq!(copy.reason("crm:1").await, Reason::Consent);
    server.kill();
    assert_eq!(copy.reason("crm:1").await, Reason::Consent, "as long as the view is fresh enough for the purpose");
    let began = Instant::now();
    assert!(copy.ask("crm:2").await.is_none());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(copy.replica.load_stats().failed > 0);
    server.restart();
    sidecar::eventually("it is loaded after all", async || copy.ask("crm:2").await.map(|state| reason(&state))).await;
    let position = central.write(&withdrawn("crm:1", 1)).await;
    copy.reached(position).await;
    assert_eq!(copy.reason("crm:1").await, Reason::Withdrawn);
    copy.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_waits_for_a_ledger_that_is_not_there_yet() {
    let mut server = NatsServer::start(&Options::default());
    let central = Central::on(&server).await;
    central.write(&given("crm:1", 0)).await;
    server.kill();
    let copy = central.on_demand(ROOMY, LONG);
    sidecar::eventually("it says what it waits for", async || {
        copy.replica.trouble().filter(|trouble| format!("{trouble:?}").contains("is the NATS server running?"))
    })
    .await;
    assert!(copy.ask("crm:1").await.is_none());
    server.restart();
    copy.reached(0).await;
    assert_eq!(copy.reason("crm:1").await, Reason::Consent);
    // One that is told to stop does so, whether its server is silent from the beginning or fell silent later.
    server.stop();
    let other = central.on_demand(ROOMY, LONG);
    tokio::time::sleep(Duration::from_millis(300)).await;
    for copy in [other, copy] {
        let began = Instant::now();
        copy.stop();
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
    server.cont();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_on_demand_answers_shows_its_loads_and_denies_what_it_cannot_load() {
    let server = NatsServer::start(&Options::default());
    let central = Central::on(&server).await;
    central.write_all(&[given("crm:1", 0), given("crm:2", 0), given("crm:3", 0), withdrawn("crm:3", 1)]).await;
    let home = Home::new();
    let ledger = central::settings(&central.config);
    let settings = [("replica.mode", "on_demand"), ("replica.load_timeout", "4s"), ("admin.tcp", "127.0.0.1:0")];
    let sidecar = Sidecar::ready(&home, &[&borrowed(&ledger)[..], &settings].concat()).await;
    let mut client = sidecar.client();
    for _ in 0..2 {
        for (subject, right) in
            [("crm:1", v1::Reason::Consent), ("crm:3", v1::Reason::Withdrawn), ("crm:9", v1::Reason::UnknownSubject)]
        {
            assert_eq!(sidecar::reason(&mut client, newsletter(subject)).await, right, "{subject}");
        }
    }
    let admin = sidecar.admin.expect("a page");
    let (_, metrics) = tokio::task::spawn_blocking(move || sidecar::page(admin, "/metrics")).await.expect("no panic");
    for shown in ["consentd_loads_total 3", "consentd_loads_absent_total 1", "consentd_loads_failed_total 0"] {
        assert!(metrics.contains(shown), "{shown}: {metrics}");
    }
    assert!(metrics.contains(r#"consentd_load_duration_seconds{quantile="0.99"}"#), "{metrics}");
    let on_disk = sidecar::files(&home.data().join("replica"));
    let is_place = |file: &std::path::PathBuf| file.file_stem().is_some_and(|name| name == "seen");
    assert!(on_disk.iter().all(is_place), "no subject is on disk, but only how far the ledger was read: {on_disk:?}");

    // The server stands still: who is known is answered, who is not is denied, in time for who asks and with a reason.
    server.stop();
    assert_eq!(sidecar::reason(&mut client, newsletter("crm:1")).await, v1::Reason::Consent);
    let mut hurried = tonic::Request::new(v1::MayProcessRequest { question: Some(newsletter("crm:2")) });
    hurried.set_timeout(Duration::from_millis(1500));
    let answered = client.may_process(hurried).await.expect("an answer and no error").into_inner();
    assert_eq!(answered.answer.map(|answer| answer.reason()), Some(v1::Reason::StoreUnavailable));
    server.cont();
    sidecar::until_reason(&client, &newsletter("crm:2"), v1::Reason::Consent).await;
    sidecar.stop().await;
}

/// A reader of single subjects, connected to one server.
async fn reader(central: &Central, url: &str) -> SubjectReader {
    let mut config = central.config.clone();
    config.connection.servers = url.parse().expect("an address");
    SubjectReader::begin(&config, LONG).await.expect("begun").0
}

fn until(patience: Duration) -> tokio::time::Instant {
    tokio::time::Instant::now() + patience
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_not_come_so_far_gives_nothing() {
    let server = NatsServer::start(&Options::default());
    let central = Central::on(&server).await;
    let copy = central.on_demand_ready(ROOMY).await;
    let position = central.write(&given("crm:1", 0)).await;
    let reader = reader(&central, &server.url()).await;
    let key = hasher().key("crm:1");
    let found = reader.subject(key, Position(position), until(LONG)).await.expect("read");
    assert_eq!(found.iter().map(|delivery| delivery.position.0).collect::<Vec<_>>(), [position]);
    // As a follower of another server may have seen it.
    let ahead = Position(position + 1000);
    let told = reader.subject(key, ahead, until(Duration::from_secs(1))).await.expect_err("it is not there yet");
    assert!(matches!(&told, ReadError::TooLate(why) if why.contains("before")), "{told}");
    copy.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_slept_gives_no_half_of_a_history() {
    let mut cluster = Cluster::start(3);
    let central = Central::at(&cluster.urls(), cluster.certificates.tls(), 3).await;
    let copy = central.on_demand_ready(ROOMY).await;
    let key = hasher().key("crm:1");
    central.write(&given("crm:1", 0)).await;
    let info = central.context.get_stream(STREAM).await.expect("a stream").get_info().await.expect("known");
    let leader = info.cluster.expect("a cluster").leader.expect("a leader");
    // Writers must not be connected to the one that sleeps.
    let mut config = central.config.clone();
    config.connection.servers = cluster.node(&leader).url().parse().expect("an address");
    let ledger = NatsLedger::open(&config).await.expect("opened");
    let sleeper = cluster.nodes.iter_mut().find(|node| node.name != leader).expect("another");
    let reader = reader(&central, &sleeper.url()).await;
    let client = connect(&consentd::nats::Config {
        servers: sleeper.url().parse().expect("an address"),
        ..central.config.connection.clone()
    })
    .await
    .expect("connected");
    // Two seconds after it knows its leader a copy begins to take direct gets.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let mut lagged = 0;
    for round in 1..=40 {
        sleeper.stop();
        // So much that it takes a while to catch up with.
        let events: Vec<v1::LedgerEvent> = (0..2000)
            .map(|number| given(&format!("crm:{round}-{number}"), 0))
            .chain([withdrawn("crm:1", round)])
            .map(|line| central::event(&line))
            .collect();
        let position = ledger.append(&events).await.expect("written").last().expect("one").position;
        // What the server itself says until it has caught up, and what the reader makes of it: it is asked in its sleep.
        let itself = async {
            let mut older = 0;
            loop {
                let body = format!(r#"{{"last_by_subj":"{}"}}"#, About::Subject(key, Kind::Consent));
                let said = client.request(format!("$JS.API.DIRECT.GET.{STREAM}"), body.into()).await;
                let last = said.ok().and_then(|said| said.headers?.get("Nats-Sequence")?.as_str().parse::<u64>().ok());
                match last {
                    Some(last) if last >= position.0 => return older,
                    last => older += u32::from(last.is_some()),
                }
            }
        };
        let wakes = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            sleeper.cont();
        };
        let (older, found, ()) = tokio::join!(itself, reader.subject(key, position, until(PATIENCE)), wakes);
        lagged += older;
        let positions: Vec<u64> = found.expect("read").iter().map(|delivery| delivery.position.0).collect();
        assert!(positions.contains(&position.0), "round {round}: {positions:?} lacks {}", position.0);
        assert!(i64::try_from(positions.len()).expect("few") > round, "round {round}: {positions:?}");
        // Mostly it has lagged by then: it is a matter of which of its threads wakes first.
        if round >= 5 && lagged > 0 {
            break;
        }
    }
    println!("{lagged} times the server that slept gave an older last message");
    assert!(lagged > 0, "the server never lagged: nothing was shown");
    copy.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_question_is_answered_soon() {
    let subjects: usize = std::env::var("TEST_SUBJECTS").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000);
    let server = NatsServer::start(&Options::default());
    let central = Central::on(&server).await;
    let name = |number: usize| format!("crm:{number}");
    for chunk in (0..4 * subjects).collect::<Vec<_>>().chunks(10_000) {
        let lines: Vec<String> = chunk.iter().map(|number| given(&name(number % subjects), 0)).collect();
        central.write_all(&lines).await;
    }
    let copy = central.on_demand_ready(64 << 20).await;
    // The first of all finds nothing in the server's memory either.
    let mut random = Random::from_seed(7);
    let mut took = |ask: usize| {
        let subject = name(random.below(subjects) + ask * subjects);
        (subject, Instant::now())
    };
    for (what, absent) in [("known to the ledger", 0), ("known to the ledger, again", 0), ("unknown", 1)] {
        let mut times = Vec::new();
        for _ in 0..1000 {
            let (subject, began) = took(absent);
            let loads = copy.loaded();
            copy.know(&subject).await;
            if copy.loaded() > loads {
                times.push(began.elapsed());
            }
        }
        times.sort_unstable();
        let at = |share: usize| times[(times.len() - 1) * share / 1000];
        println!(
            "first question of a subject {what}: {} loads, p50 {:?}, p99 {:?}, p99.9 {:?}",
            times.len(),
            at(500),
            at(990),
            at(999)
        );
        assert!(at(990) < Duration::from_secs(1), "{:?}", at(990));
    }
    copy.stop();
}

/// What an answer from memory costs grows with the identifiers of the person, and with nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_of_many_identifiers_is_answered_from_memory() {
    let server = NatsServer::start(&Options::default());
    let central = Central::on(&server).await;
    let mut lines: Vec<String> = (0..2_000).map(|number| given(&format!("other:{number}"), 0)).collect();
    for (person, identifiers) in [("of-1", 1), ("of-5", 5), ("of-50", 50)] {
        let name = |number: usize| format!("{person}:{number}");
        lines.extend((1..identifiers).map(|number| link(&name(number - 1), &name(number), BASE_MS)));
        lines.push(given(&name(0), 0));
    }
    central.write_all(&lines).await;
    let copy = central.on_demand_ready(ROOMY).await;
    for (subject, loaded) in [("of-1:0", 1), ("of-5:4", 6), ("of-50:49", 56)] {
        assert_eq!(copy.reason(subject).await, Reason::Consent, "{subject}");
        assert_eq!(copy.loaded(), loaded, "{subject}");
        let (view, key) = (copy.replica.view(), copy.replica.key(subject));
        let least = (0..200).map(|_| {
            let start = Instant::now();
            assert!(copy.replica.cached(&view, key).is_some(), "{subject}");
            start.elapsed()
        });
        println!("{subject}: {:?} a look", least.min().expect("several"));
        assert_eq!(copy.loaded(), loaded, "{subject}: nothing is loaded again");
    }
    copy.stop();
}
