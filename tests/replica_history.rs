//! The local copy against the plain truth: after any history, what it knows about a person decides as all events about
//! that person do, joined anew in memory. Caching, storing, restarting and the order of events must not show.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/sidecar.rs"]
mod sidecar;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use consentd::clock::Clock;
use consentd::domain::{
    Catalogue, Event, EventBody, Freshness, Heard, LedgerStanding, Position, Question, Reason, Record, Signals, Status,
    SubjectState, SubjectView, Time, TokenStanding, Unreadable, UnreadableMark, Verdict, decide,
};
use consentd::ledger::LedgerSource;
use consentd::ledger::codec::decode;
use consentd::ledger::file::{Config as LedgerConfig, FileSource};
use consentd::replica::{Config, Loaded, Replica, Running};
use sidecar::{Home, PATIENCE, Random, catalogue, erasure, link, said, unreadable};

const BASE_MS: i64 = 1_700_000_000_000;
const SUBJECTS: [&str; 6] = ["crm:1", "crm:2", "crm:3", "email_sha256:aa", "email_sha256:bb", "device:x"];
const PURPOSES: [&str; 4] = ["newsletter", "newsletter.weekly", "analytics", "billing"];
const CHANNELS: [&str; 2] = ["email", "sms"];

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
        let config =
            Config { folder: home.path("replica"), cache_bytes: 1 << 20, store_cache_bytes: 1 << 20, secret: [7; 32] };
        let (replica, running) = Replica::start(config, Box::new(sources), clock).expect("started");
        Self { replica, running }
    }

    async fn reached(&self, position: u64) {
        let deadline = Instant::now() + PATIENCE;
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

    /// What the replica's knowledge decides, the way in which the enforcer looks it up.
    async fn answer(&self, subject: &str, purpose: &str, channel: &str) -> Outcome {
        let view = self.replica.view();
        let key = self.replica.key(subject);
        let state = match self.replica.cached(&view, key) {
            Some(state) => state,
            None => match self.replica.load(&view, vec![key]).await.pop() {
                Some(Loaded::State(state)) => state,
                other => panic!("{other:?}"),
            },
        };
        outcome(state.state(), view.published.catalogue.as_deref(), purpose, channel)
    }

    fn stop(self) {
        self.running.stop();
    }
}

/// What there is to compare of two decisions; positions differ where the order of lines does.
type Outcome = (Reason, Option<Status>, Option<Time>);

fn outcome(state: &SubjectState, catalogue: Option<&Catalogue>, purpose: &str, channel: &str) -> Outcome {
    let question = Question {
        purpose,
        channel,
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
    let decision = decide(&question, SubjectView::State(state), catalogue, &freshness, now);
    (decision.reason, decision.record.map(|(_, record)| record.status), decision.valid_until)
}

/// All lines of a ledger, read once, for joining anew whenever somebody asks.
#[derive(Default)]
struct Truth {
    events: Vec<(Position, Result<Event, Unreadable>)>,
}

impl Truth {
    fn note(&mut self, line: &str, position: u64) {
        self.events.push((Position(position), decode(line.as_bytes(), Position(position))));
    }

    fn catalogue(&self) -> Option<Catalogue> {
        let published = self.events.iter().filter_map(|(_, event)| match event {
            Ok(Event { event_time, body: EventBody::Catalogue(catalogue), .. }) => Some((catalogue, *event_time)),
            _ => None,
        });
        published
            .max_by_key(|(catalogue, time)| (catalogue.version(), *time))
            .map(|(catalogue, _)| (**catalogue).clone())
    }

    /// Every identifier of the person that an identifier is of.
    fn person(&self, subject: &str) -> BTreeSet<String> {
        let mut links: BTreeMap<(String, String), (Time, bool)> = BTreeMap::new();
        for (_, event) in &self.events {
            if let Ok(Event { event_time, body: EventBody::Link { subject, linked, unlinked }, .. }) = event {
                let mut pair = [subject.expose().to_owned(), linked.expose().to_owned()];
                pair.sort();
                let [one, other] = pair;
                let said = (*event_time, !unlinked);
                links.entry((one, other)).and_modify(|have| *have = said.max(*have)).or_insert(said);
            }
        }
        let mut person = BTreeSet::from([subject.to_owned()]);
        loop {
            let before = person.len();
            for ((one, other), (_, linked)) in &links {
                if *linked && (person.contains(one) || person.contains(other)) {
                    person.extend([one.clone(), other.clone()]);
                }
            }
            if person.len() == before {
                return person;
            }
        }
    }

    /// All that was ever said about a person, joined anew.
    fn state(&self, subject: &str) -> SubjectState {
        let person = self.person(subject);
        let mut state = SubjectState::default();
        for (position, event) in &self.events {
            let about = |subject: &consentd::domain::Subject| person.contains(subject.expose());
            match event {
                Ok(Event { event_time, supersedes, body, .. }) => match body {
                    EventBody::Consent(consent) if about(&consent.subject) => {
                        let record = Record {
                            event_time: *event_time,
                            status: consent.status,
                            legal_basis: consent.legal_basis,
                            collection: consent.collection.clone(),
                            notice: consent.notice.clone(),
                            expires_at: consent.expires_at,
                            jurisdiction: consent.jurisdiction.clone(),
                            proof: consent.proof.clone(),
                            position: *position,
                        };
                        let said =
                            SubjectState::of_record(&consent.purpose, &consent.channel, &consent.recipient, record);
                        state.join(said.superseding(supersedes));
                    }
                    EventBody::Erasure { subject } if about(subject) => {
                        state.join(SubjectState::of_erasure(*event_time).superseding(supersedes));
                    }
                    EventBody::Link { subject, linked, .. } if about(subject) || about(linked) => {
                        state.join(SubjectState::default().superseding(supersedes));
                    }
                    _ => {}
                },
                Err(unreadable) if unreadable.subjects.iter().any(about) => {
                    state.join(SubjectState::of_unreadable(UnreadableMark {
                        event_id: unreadable.event_id.clone(),
                        position: *position,
                        event_time: unreadable.event_time,
                    }));
                }
                Err(_) => {}
            }
        }
        state
    }

    fn answer(&self, subject: &str, purpose: &str, channel: &str) -> Outcome {
        outcome(&self.state(subject), self.catalogue().as_ref(), purpose, channel)
    }
}

/// A line of a random history. Times come from a small set, so that they often meet.
fn line(random: &mut Random, unread: &mut Vec<String>, before: &[String]) -> String {
    let at = BASE_MS + 1000 * i64::try_from(random.below(12)).expect("small");
    let subject = random.pick(&SUBJECTS);
    match random.below(40) {
        0..4 => link(subject, random.pick(&SUBJECTS), at),
        4..6 => {
            let line = link(subject, random.pick(&SUBJECTS), at);
            format!("{},\"unlinked\":true}}}}", &line[..line.len() - 2])
        }
        6..8 => erasure(subject, at),
        8..11 => {
            let line = unreadable(subject, at);
            let line = if random.below(3) == 0 { line.replace("eventTime", "eventTimes") } else { line };
            if let Err(unreadable) = decode(line.as_bytes(), Position(0)) {
                unread.push(unreadable.event_id.into());
            }
            line
        }
        11..13 if !unread.is_empty() => {
            let id = unread[random.below(unread.len())].clone();
            said(subject, "newsletter", "email", random.pick(&["GIVEN", "WITHDRAWN"]), at)
                .replace("\"consent\":", &format!("\"supersedes\":[\"{id}\"],\"consent\":"))
        }
        13..15 => {
            let version = 1 + random.below(6);
            let line = catalogue(version as u64);
            if version.is_multiple_of(2) {
                line.replace("\"newsletter.weekly\",", "\"newsletter.weekly\",\"coveredByParent\":true,")
            } else {
                line
            }
        }
        15..18 if !before.is_empty() => before[random.below(before.len())].clone(),
        _ => {
            let status =
                random.pick(&["GIVEN", "GIVEN", "GIVEN", "RENEWED", "WITHDRAWN", "REFUSED", "EXPIRED", "REQUESTED"]);
            said(subject, random.pick(&PURPOSES), random.pick(&["email", "email", "sms", "*"]), status, at)
        }
    }
}

async fn compare(copy: &Copy, truth: &Truth, what: &str) -> u32 {
    let mut allowed = 0;
    for subject in SUBJECTS {
        for purpose in PURPOSES {
            for channel in CHANNELS {
                let (found, right) =
                    (copy.answer(subject, purpose, channel).await, truth.answer(subject, purpose, channel));
                assert_eq!(found, right, "{what}: {subject}, {purpose}, {channel}");
                allowed += u32::from(found.0.verdict() == Verdict::Allow);
            }
        }
    }
    allowed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_local_copy_decides_as_all_events_joined_anew() {
    let mut random = Random::seeded("the_local_copy_decides_as_all_events_joined_anew");
    let mut allowed = 0;
    for history in 0..25 {
        let home = Home::new();
        let mut truth = Truth::default();
        let (mut lines, mut unread) = (Vec::new(), Vec::new());
        let mut copy = Copy::start(&home);
        for number in 0..80 {
            let line = if number == random.below(4) { catalogue(1) } else { line(&mut random, &mut unread, &lines) };
            let position = home.append(&line);
            truth.note(&line, position);
            lines.push(line);
            match random.below(40) {
                0..6 => {
                    copy.reached(position).await;
                    allowed += compare(&copy, &truth, &format!("history {history}, line {number}")).await;
                }
                6 => {
                    copy.stop();
                    copy = Copy::start(&home);
                }
                7 => {
                    copy.stop();
                    let _ = std::fs::remove_dir_all(home.path("replica"));
                    copy = Copy::start(&home);
                }
                _ => {}
            }
        }
        let end = std::fs::metadata(home.ledger()).expect("there").len();
        copy.reached(end).await;
        allowed += compare(&copy, &truth, &format!("history {history}, at its end")).await;

        // The same lines in another order, some of them twice.
        let other = Home::new();
        for place in (1..lines.len()).rev() {
            lines.swap(place, random.below(place + 1));
        }
        let again: Vec<String> = lines.iter().filter(|_| random.below(4) == 0).cloned().collect();
        lines.extend(again);
        let end = sidecar::append(&other.ledger(), (lines.join("\n") + "\n").as_bytes());
        let shuffled = Copy::start(&other);
        shuffled.reached(end).await;
        for subject in SUBJECTS {
            for purpose in PURPOSES {
                for channel in CHANNELS {
                    let one = copy.answer(subject, purpose, channel).await;
                    let two = shuffled.answer(subject, purpose, channel).await;
                    assert_eq!(one, two, "history {history} in another order: {subject}, {purpose}, {channel}");
                }
            }
        }
        copy.stop();
        shuffled.stop();
    }
    println!("{allowed} of the compared answers allowed");
    assert!(allowed > 1000, "too few answers that could have been wrong: {allowed}");
}

/// Every order of four lines, asked about after each of them, so that every state on the way has been cached.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_withdrawal_on_one_identifier_denies_all_that_are_linked_in_any_order() {
    let home = Home::with_catalogue();
    let copy = Copy::start(&home);
    let mut orders = Vec::new();
    for code in 0..256_usize {
        let order = [code & 3, code >> 2 & 3, code >> 4 & 3, code >> 6];
        if BTreeSet::from(order).len() == 4 {
            orders.push(order);
        }
    }
    assert_eq!(orders.len(), 24);
    for (number, order) in orders.into_iter().enumerate() {
        let subjects = ["crm", "phone", "device"].map(|space| format!("{space}:{number}"));
        let [crm, phone, device] = &subjects;
        let lines = [
            said(crm, "newsletter", "email", "GIVEN", BASE_MS),
            link(crm, phone, BASE_MS),
            link(device, phone, BASE_MS + 1),
            said(device, "newsletter", "*", "WITHDRAWN", BASE_MS + 2),
        ];
        let mut is_withdrawn = false;
        for place in order {
            let position = home.append(&lines[place]);
            copy.reached(position).await;
            is_withdrawn |= place == 3;
            for subject in &subjects {
                let (reason, ..) = copy.answer(subject, "newsletter", "email").await;
                let direct = subject == device && is_withdrawn;
                assert!(!direct || reason.verdict() == Verdict::Deny, "{order:?} up to {place}: {subject}: {reason}");
            }
        }
        for subject in &subjects {
            let (reason, ..) = copy.answer(subject, "newsletter", "email").await;
            assert_eq!(reason, Reason::Withdrawn, "{order:?}: {subject}");
        }
        // The consent of one is the consent of all, again, once it is later.
        let position = home.append(&said(phone, "newsletter", "email", "GIVEN", BASE_MS + 3));
        copy.reached(position).await;
        for subject in &subjects {
            let (reason, ..) = copy.answer(subject, "newsletter", "email").await;
            assert_eq!(reason, Reason::Consent, "{order:?}: {subject}");
        }
    }
    copy.stop();
}
