//! One person, many identifiers: whatever links join them, in whatever order it is said, what is known of one is known of
//! all, and what it costs to ask grows with the identifiers of that one person and with nothing else.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/sidecar.rs"]
mod sidecar;

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::time::{Duration, Instant};

use consentd::clock::Clock;
use consentd::domain::{
    Birth, Catalogue, Day, Event, EventBody, Freshness, Heard, LedgerStanding, Position, Question, Reason, Record,
    Restriction, Signals, SubjectState, SubjectView, Time, TokenStanding, Verdict, decide,
};
use consentd::ledger::LedgerSource;
use consentd::ledger::codec::decode;
use consentd::ledger::file::{Config as LedgerConfig, FileSource};
use consentd::replica::{Config, Loaded, Replica, Running};
use sidecar::{Home, PATIENCE, Random, birth, catalogue, erasure, link, restriction, said, unlink};

const BASE_MS: i64 = 1_700_000_000_000;
/// The most identifiers of a person that anything is allowed to.
const LINKED_MAX: usize = 256;

/// A replica over a home's ledger.
struct Copy {
    replica: Replica,
    running: Running,
}

impl Copy {
    fn start(home: &Home) -> Self {
        let clock = Clock::manual(Time::from_unix_millis(BASE_MS + 100_000));
        let ledger = LedgerConfig { path: home.ledger(), poll_interval: Duration::from_millis(20) };
        let source_clock = clock.clone();
        let sources =
            move || -> Box<dyn LedgerSource> { Box::new(FileSource::new(ledger.clone(), source_clock.clone())) };
        let folder = home.path("replica");
        let config = Config { folder, cache_bytes: 256 << 20, store_cache_bytes: 8 << 20, secret: [7; 32] };
        let (replica, running) = Replica::start(config, Box::new(sources), clock).expect("started");
        Self { replica, running }
    }

    /// A replica that has read a ledger of these lines to its end.
    async fn of(home: &Home, lines: &[String]) -> Self {
        let end = sidecar::append(&home.ledger(), (lines.join("\n") + "\n").as_bytes());
        let copy = Self::start(home);
        copy.reached(end).await;
        copy
    }

    async fn reached(&self, position: u64) {
        let deadline = Instant::now() + 4 * PATIENCE;
        loop {
            let view = self.replica.view();
            assert_ne!(view.ledger, LedgerStanding::Broken, "{:?}", self.replica.trouble());
            if view.ledger == LedgerStanding::Following && view.published.position.0 >= position {
                return;
            }
            assert!(Instant::now() < deadline, "position {position} was not reached");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// What is known, looked up in the way in which the enforcer does.
    async fn know(&self, subject: &str) -> SubjectState {
        let view = self.replica.view();
        let key = self.replica.key(subject);
        if let Some(state) = self.replica.cached(&view, key) {
            return state.state().clone();
        }
        match self.replica.load(&view, vec![key]).await.pop() {
            Some(Loaded::State(state)) => state.state().clone(),
            other => panic!("{other:?}"),
        }
    }

    async fn reason(&self, subject: &str) -> Reason {
        newsletter(&self.know(subject).await)
    }
}

/// What is answered about the newsletter by email.
fn newsletter(state: &SubjectState) -> Reason {
    thread_local! {
        static CATALOGUE: Catalogue = match decode(catalogue(1).as_bytes(), Position(1)) {
            Ok(Event { body: EventBody::Catalogue(catalogue), .. }) => *catalogue,
            other => panic!("{other:?}"),
        };
    }
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
    CATALOGUE.with(|catalogue| decide(&question, SubjectView::State(state), Some(catalogue), &freshness, now).reason)
}

fn given(subject: &str, at: i64) -> String {
    said(subject, "newsletter", "email", "GIVEN", BASE_MS + at)
}

fn withdrawn(subject: &str, at: i64) -> String {
    said(subject, "newsletter", "*", "WITHDRAWN", BASE_MS + at)
}

/// Everything that was written, for reading it anew whenever somebody asks.
#[derive(Default)]
struct Truth(Vec<(Position, Event)>);

impl Truth {
    fn note(&mut self, line: &str, position: u64) {
        self.0.push((Position(position), decode(line.as_bytes(), Position(position)).expect("readable")));
    }

    /// Every identifier of the person that one is of: of what was said of a pair the latest counts, at equal times the
    /// link.
    fn person(&self, subject: &str) -> BTreeSet<&str> {
        let mut pairs: BTreeMap<[&str; 2], (Time, bool)> = BTreeMap::new();
        for (_, event) in &self.0 {
            if let EventBody::Link { subject, linked, unlinked } = &event.body {
                let mut pair = [subject.expose(), linked.expose()];
                pair.sort_unstable();
                let said = (event.event_time, !unlinked);
                let have = pairs.entry(pair).or_insert(said);
                *have = said.max(*have);
            }
        }
        let all = self.0.iter().flat_map(|(_, event)| match &event.body {
            EventBody::Link { subject, linked, .. } => vec![subject.expose(), linked.expose()],
            _ => Vec::new(),
        });
        let Some(own) = all.into_iter().find(|known| *known == subject) else { return BTreeSet::new() };
        let mut person = BTreeSet::from([own]);
        loop {
            let before = person.len();
            for ([one, other], (_, linked)) in &pairs {
                if *linked && (person.contains(one) || person.contains(other)) {
                    person.extend([one, other]);
                }
            }
            if person.len() == before {
                return person;
            }
        }
    }

    /// What must be known of a subject, but for its links, read off the events one by one.
    fn right(&self, subject: &str) -> Right {
        let mut person = self.person(subject);
        person.insert(subject);
        let about = |who: &consentd::domain::Subject| person.contains(who.expose());
        let (mut right, mut births) = (Right::default(), BTreeMap::<&str, (Time, Day)>::new());
        for (position, event) in &self.0 {
            let at = event.event_time;
            match &event.body {
                EventBody::Erasure { subject } if about(subject) => right.erased_at = right.erased_at.max(Some(at)),
                EventBody::Birth { subject, born } if about(subject) => {
                    let have = births.entry(subject.expose()).or_insert((at, *born));
                    *have = (at, *born).max(*have);
                }
                EventBody::Restriction { subject, purpose, lifted } if about(subject) => {
                    let have = right.restrictions.entry(purpose.to_string()).or_insert((at, !lifted));
                    *have = (at, !lifted).max(*have);
                }
                EventBody::Consent(consent) if about(&consent.subject) => {
                    let record = Record {
                        event_time: at,
                        status: consent.status,
                        legal_basis: consent.legal_basis,
                        collection: consent.collection.clone(),
                        notice: consent.notice.clone(),
                        expires_at: consent.expires_at,
                        jurisdiction: consent.jurisdiction.clone(),
                        proof: consent.proof.clone(),
                        position: *position,
                    };
                    let said = SubjectState::of_record(&consent.purpose, &consent.channel, &consent.recipient, record);
                    right.consents.join(said);
                }
                _ => {}
            }
        }
        if let Some(erased_at) = right.erased_at {
            right.consents.join(SubjectState::of_erasure(erased_at));
        }
        let kept = births.into_values().filter(|(at, _)| right.erased_at.is_none_or(|erased_at| *at > erased_at));
        right.born = kept.map(|(_, born)| born).max();
        right
    }
}

/// What must be known.
#[derive(Default)]
struct Right {
    erased_at: Option<Time>,
    born: Option<Day>,
    restrictions: BTreeMap<String, (Time, bool)>,
    consents: SubjectState,
}

impl Right {
    fn compare(&self, state: &SubjectState, what: &str) {
        let restrictions = self.restrictions.iter().map(|(purpose, (event_time, restricted))| Restriction {
            purpose: purpose.as_str().into(),
            event_time: *event_time,
            restricted: *restricted,
        });
        assert_eq!(state.restrictions(), restrictions.collect::<Vec<_>>(), "{what}: restrictions");
        assert_eq!(state.birth().map(|birth: Birth| birth.born), self.born, "{what}: the youngest decides");
        assert_eq!(state.erased_at(), self.erased_at, "{what}: erasure");
        assert_eq!(state.slots(), self.consents.slots(), "{what}: consents");
    }
}

fn line(random: &mut Random, subjects: &[String]) -> String {
    let at = BASE_MS + 1000 * i64::try_from(random.below(8)).expect("small");
    let subject = &subjects[random.below(subjects.len())];
    let other = &subjects[random.below(subjects.len())];
    match random.below(20) {
        0..7 if subject != other => link(subject, other, at),
        7..10 if subject != other => unlink(subject, other, at),
        10 => erasure(subject, at),
        11..13 => restriction(subject, random.pick(&["", "newsletter"]), random.below(2) == 0, at),
        13..15 => birth(subject, random.pick(&["1990", "2011-04", "2015-12-31"]), at),
        15 => said(subject, "newsletter", "*", "WITHDRAWN", at),
        _ => said(subject, "newsletter", "email", "GIVEN", at),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_graph_of_links_joins_what_it_connects_and_nothing_else() {
    let mut random = Random::seeded("any_graph_of_links_joins_what_it_connects_and_nothing_else");
    let (mut largest, mut allowed, mut denied, mut compared) = (0, 0, 0, 0);
    for history in 0..20 {
        let subjects: Vec<String> = (0..9).map(|number| format!("crm:{number}")).collect();
        let home = Home::with_catalogue();
        let (mut truth, mut lines) = (Truth::default(), Vec::new());
        let mut copy = Copy::start(&home);
        for number in 0..90 {
            let line = line(&mut random, &subjects);
            let position = home.append(&line);
            truth.note(&line, position);
            lines.push(line);
            if random.below(30) == 0 {
                copy.running.stop();
                copy = Copy::start(&home);
            }
            // Whoever is asked about is cached from then on, and what changes far away must reach it all the same.
            if random.below(3) == 0 {
                copy.reached(position).await;
                for subject in &subjects {
                    let state = copy.know(subject).await;
                    let what = format!("history {history}, line {number}: {subject}");
                    let right = truth.right(subject);
                    right.compare(&state, &what);
                    let verdict = newsletter(&state).verdict();
                    let refused_at = right
                        .consents
                        .slots()
                        .iter()
                        .filter_map(|slot| slot.refusal.as_ref())
                        .max_by_key(|r| r.event_time);
                    let given_at = right
                        .consents
                        .slots()
                        .iter()
                        .filter_map(|slot| slot.grant.as_ref())
                        .max_by_key(|r| r.event_time);
                    if let Some(refused) = refused_at
                        && given_at.is_none_or(|given| given.event_time <= refused.event_time)
                    {
                        assert_eq!(verdict, Verdict::Deny, "{what}: withdrawn by one, denied for all");
                        denied += 1;
                    }
                    allowed += u32::from(verdict == Verdict::Allow);
                    largest = largest.max(truth.person(subject).len());
                    compared += 1;
                }
            }
        }
        // The same in another order, some of it twice, read in one go. Positions differ, and nothing else.
        let other = Home::with_catalogue();
        for place in (1..lines.len()).rev() {
            lines.swap(place, random.below(place + 1));
        }
        let again: Vec<String> = lines.iter().filter(|_| random.below(4) == 0).cloned().collect();
        lines.extend(again);
        let shuffled = Copy::of(&other, &lines).await;
        let end = std::fs::metadata(home.ledger()).expect("there").len();
        copy.reached(end).await;
        for subject in &subjects {
            let (one, two) = (copy.know(subject).await, shuffled.know(subject).await);
            assert_eq!(one.restrictions(), two.restrictions(), "history {history} in another order: {subject}");
            assert_eq!(one.birth(), two.birth(), "history {history} in another order: {subject}");
            assert_eq!(newsletter(&one), newsletter(&two), "history {history} in another order: {subject}");
        }
        copy.running.stop();
        shuffled.running.stop();
    }
    println!("{compared} compared, {allowed} allowed, {denied} withdrawn elsewhere, {largest} identifiers at most");
    assert!(largest >= 6 && allowed > 50 && denied > 50, "too little that could have been wrong");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_split_where_no_path_is_left() {
    let home = Home::with_catalogue();
    let copy = Copy::start(&home);
    let write = async |line: String| copy.reached(home.append(&line)).await;
    // A circle of four, and the withdrawal on the far side.
    for (one, other) in [("crm:1", "phone:1"), ("phone:1", "device:1"), ("device:1", "mail:1"), ("mail:1", "crm:1")] {
        write(link(one, other, BASE_MS)).await;
    }
    write(given("crm:1", 1)).await;
    write(withdrawn("device:1", 2)).await;
    let everybody = ["crm:1", "phone:1", "device:1", "mail:1"];
    for subject in everybody {
        assert_eq!(copy.reason(subject).await, Reason::Withdrawn, "{subject}");
    }
    write(unlink("crm:1", "phone:1", BASE_MS + 1)).await;
    for subject in everybody {
        assert_eq!(copy.reason(subject).await, Reason::Withdrawn, "{subject}: the other way round is left");
    }
    // At the time of the link itself its undoing does not count.
    write(unlink("crm:1", "mail:1", BASE_MS)).await;
    assert_eq!(copy.reason("crm:1").await, Reason::Withdrawn);
    write(unlink("crm:1", "mail:1", BASE_MS + 1)).await;
    assert_eq!(copy.reason("crm:1").await, Reason::Consent);
    for subject in ["phone:1", "device:1", "mail:1"] {
        assert_eq!(copy.reason(subject).await, Reason::Withdrawn, "{subject}");
    }
    copy.running.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_identifiers_than_a_person_has_permit_nothing_whatever_is_said() {
    let home = Home::with_catalogue();
    let name = |number: usize| format!("device:{number}");
    let mut lines: Vec<String> = (1..LINKED_MAX).map(|n| link(&name(n - 1), &name(n), BASE_MS)).collect();
    lines.push(given(&name(0), 0));
    let copy = Copy::of(&home, &lines).await;
    for number in [0, LINKED_MAX / 2, LINKED_MAX - 1] {
        assert_eq!(copy.reason(&name(number)).await, Reason::Consent, "{number}: as many as there may be");
    }
    let mut position = home.append(&link(&name(LINKED_MAX - 1), "crm:1", BASE_MS));
    copy.reached(position).await;
    let everybody: Vec<String> = (0..LINKED_MAX).map(name).chain(["crm:1".to_owned()]).collect();
    for subject in &everybody {
        assert_eq!(copy.reason(subject).await, Reason::UnreadableRecord, "{subject}");
    }
    // No consent lifts that, nor does an event that claims to replace what could not be read.
    for (number, superseded) in ["@0", "too many linked identifiers"].into_iter().enumerate() {
        let later = given(&name(number), 1000);
        position =
            home.append(&later.replace("\"consent\":", &format!("\"supersedes\":[\"{superseded}\"],\"consent\":")));
    }
    copy.reached(position).await;
    for subject in &everybody {
        assert_eq!(copy.reason(subject).await, Reason::UnreadableRecord, "{subject}");
    }
    // Cut in the middle it is two persons, of whom one agreed.
    let half = LINKED_MAX / 2;
    copy.reached(home.append(&unlink(&name(half), &name(half + 1), BASE_MS + 1))).await;
    assert_eq!(copy.reason(&name(half)).await, Reason::Consent);
    assert_eq!(copy.reason("crm:1").await, Reason::UnknownSubject);
    copy.running.stop();
}

/// The least time of a question that is answered from memory, the way in which the enforcer asks.
fn least_time(copy: &Copy, subject: &str) -> Duration {
    let key = copy.replica.key(subject);
    let one = || {
        let start = Instant::now();
        for _ in 0..200 {
            let view = copy.replica.view();
            let state = copy.replica.cached(&view, key).expect("cached");
            black_box(newsletter(black_box(state.state())));
        }
        start.elapsed() / 200
    };
    (0..200).map(|_| one()).min().expect("several")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_question_costs_grows_with_neither_the_population_nor_the_history() {
    let mut costs = BTreeMap::new();
    for population in [1_000, 100_000] {
        let home = Home::with_catalogue();
        let mut lines: Vec<String> = (0..population).map(|n| given(&format!("crm:{n}"), 0)).collect();
        for (name, identifiers) in [("of-5", 5), ("of-50", 50)] {
            lines.extend((1..identifiers).map(|n| link(&format!("{name}:{}", n - 1), &format!("{name}:{n}"), BASE_MS)));
            lines.push(given(&format!("{name}:0"), 0));
        }
        for (name, events) in [("short", 10), ("long", 10_000)] {
            let word =
                |n: i64| if n % 2 == 0 { given(&format!("{name}:0"), n) } else { withdrawn(&format!("{name}:0"), n) };
            lines.extend((0..=events).map(word));
        }
        let copy = Copy::of(&home, &lines).await;
        for subject in ["crm:7", "of-5:4", "of-50:49", "short:0", "long:0"] {
            assert_eq!(copy.reason(subject).await, Reason::Consent, "{subject}");
            let weight = copy.know(subject).await.weight();
            costs.insert((subject, population), (least_time(&copy, subject), weight));
        }
        copy.running.stop();
    }
    for ((subject, population), (time, weight)) in &costs {
        println!("{subject:9} among {population:6}: {time:?} a question, {weight} bytes");
    }
    // Many times what was ever measured: a machine that is busy with something else must not fail this.
    let within = |one: (&'static str, i32), other: (&'static str, i32)| {
        let ((one, _), (other, _)) = (costs[&one], costs[&other]);
        assert!(other < one * 5 + Duration::from_micros(5), "{one:?} became {other:?}");
    };
    for subject in ["crm:7", "of-5:4", "of-50:49", "long:0"] {
        within((subject, 1_000), (subject, 100_000));
    }
    within(("short:0", 100_000), ("long:0", 100_000));
    within(("crm:7", 100_000), ("of-50:49", 100_000));
    assert_eq!(costs[&("short:0", 1_000)].1, costs[&("long:0", 1_000)].1, "a state has slots, not a history");
}
