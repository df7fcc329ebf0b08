//! Sidecars that follow a central ledger on a real NATS server, through what happens to servers and streams.

#![allow(clippy::expect_used, clippy::panic, reason = "a test may fail loudly, and its helpers are tests too")]

#[path = "support/central.rs"]
mod central;
#[path = "support/nats.rs"]
#[allow(dead_code, reason = "each test uses its part")]
mod nats;
#[path = "support/sidecar.rs"]
mod sidecar;

use std::time::{Duration, Instant};

use central::{borrowed, event, events, hasher, kept};
use consentd::ledger::Token;
use consentd::ledger::nats::{Config, DEFAULT_STREAM as STREAM, NatsLedger};
use consentd::nats::Tls;
use consentd::proto::v1;
use consentd::proto::v1::Reason;
use nats::{NatsServer, Options};
use sidecar::{
    Home, PATIENCE, Sidecar, ask, copy_folder, eventually, given, newsletter, page, until_reason, withdrawn,
};

/// A ledger on a server, and one who writes to it.
struct Central {
    home: Home,
    server: NatsServer,
    tls: Tls,
    /// What its sidecars keep.
    mode: &'static str,
}

impl Central {
    /// A server whose stream begins with a catalogue.
    async fn start(options: &Options) -> Self {
        Self::with(options, None).await
    }

    /// The same, with certificates on both sides.
    async fn with(options: &Options, certificates: Option<&nats::Certificates>) -> Self {
        let tls = certificates.map_or_else(Tls::default, nats::Certificates::tls);
        let central = Self { home: central::home(), server: NatsServer::start(options), tls, mode: "full" };
        central.make().await;
        central
    }

    /// Makes the stream, and writes a catalogue.
    async fn make(&self) {
        kept().make(&self.context().await, 1).await.expect("made");
        self.write(&[sidecar::catalogue(1)]).await;
    }

    async fn context(&self) -> async_nats::jetstream::Context {
        central::context(&self.config()).await
    }

    fn config(&self) -> Config {
        central::config(&self.home, &self.server.url(), &self.tls)
    }

    /// Writes events and gives their tokens.
    async fn write(&self, lines: &[String]) -> Vec<Token> {
        let ledger = NatsLedger::open(&self.config()).await.expect("opened");
        ledger.append(&events(lines)).await.expect("written")
    }

    /// A sidecar's settings, and a home of its own to write to.
    fn settings(&self) -> Vec<(String, String)> {
        let mode = ("replica.mode".to_owned(), self.mode.to_owned());
        central::settings(&self.config()).into_iter().chain([mode]).collect()
    }

    async fn sidecar(&self, home: &Home) -> Sidecar {
        let settings = self.settings();
        Sidecar::start(home, &[&borrowed(&settings)[..], &[("admin.tcp", "127.0.0.1:0")]].concat()).await
    }

    async fn ready(&self, home: &Home) -> Sidecar {
        let sidecar = self.sidecar(home).await;
        let deadline = Instant::now() + PATIENCE;
        while sidecar::health(&sidecar.channel, sidecar::SERVICE).await != tonic_health::ServingStatus::Serving {
            assert!(Instant::now() < deadline, "not ready: {}", causes(&sidecar).await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        sidecar
    }
}

/// Why a sidecar is not ready, once it says a part of it.
async fn until_unready(sidecar: &Sidecar, part: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let causes = causes(sidecar).await;
        if causes.contains(part) {
            return causes;
        }
        assert!(Instant::now() < deadline, "readiness never says `{part}`, but: {causes}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What readiness says.
async fn causes(sidecar: &Sidecar) -> String {
    let admin = sidecar.admin.expect("a page");
    tokio::task::spawn_blocking(move || page(admin, "/readyz")).await.expect("no panic").1
}

async fn reason(sidecar: &Sidecar, subject: &str) -> Reason {
    sidecar::reason(&mut sidecar.client(), newsletter(subject)).await
}

async fn until(sidecar: &Sidecar, subject: &str, wanted: Reason) {
    until_reason(&sidecar.client(), &newsletter(subject), wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_in_force_at_every_sidecar() {
    let central = Central::start(&Options::default()).await;
    central.write(&[given("crm:1")]).await;
    let (one_home, other_home) = (Home::new(), Home::new());
    let one = central.ready(&one_home).await;
    let other = central.ready(&other_home).await;
    for sidecar in [&one, &other] {
        assert_eq!(reason(sidecar, "crm:1").await, Reason::Consent);
        assert_eq!(reason(sidecar, "crm:2").await, Reason::UnknownSubject);
    }
    central.write(&[withdrawn("crm:1")]).await;
    for sidecar in [&one, &other] {
        until(sidecar, "crm:1", Reason::Withdrawn).await;
    }
    // What links to another is found under either name.
    central.write(&[given("crm:3"), sidecar::link("crm:3", "device:3", sidecar::now_ms() - 1000)]).await;
    until(&one, "device:3", Reason::Consent).await;
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_s_token_works_at_every_sidecar() {
    let central = Central::start(&Options::default()).await;
    let (one_home, other_home) = (Home::new(), Home::new());
    let sidecars = [central.ready(&one_home).await, central.ready(&other_home).await];
    for round in 0..20 {
        let subject = format!("crm:{round}");
        central.write(&[given(&subject)]).await;
        let token = central.write(&[withdrawn(&subject)]).await[0];
        for sidecar in &sidecars {
            let question = v1::Question { at_least_as_fresh: token.to_string(), ..newsletter(&subject) };
            let answered = sidecar::reason(&mut sidecar.client(), question).await;
            assert_eq!(answered, Reason::Withdrawn, "round {round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_still_makes_the_view_stale_and_then_fresh_again() {
    let central = Central::start(&Options::default()).await;
    central.write(&[given("crm:1")]).await;
    let home = Home::new();
    let sidecar = central.ready(&home).await;
    let question = v1::Question { max_staleness: Some(Duration::from_secs(2).into()), ..newsletter("crm:1") };
    assert_eq!(sidecar::reason(&mut sidecar.client(), question.clone()).await, Reason::Consent);
    central.server.stop();
    let stopped = Instant::now();
    until_reason(&sidecar.client(), &question, Reason::Stale).await;
    let after = stopped.elapsed();
    assert!(after < Duration::from_millis(2_500), "stale after {after:?}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(sidecar::reason(&mut sidecar.client(), question.clone()).await, Reason::Stale);
    central.server.cont();
    until_reason(&sidecar.client(), &question, Reason::Consent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_is_waited_for() {
    let mut central = Central::start(&Options::default()).await;
    central.write(&[given("crm:1")]).await;
    let home = Home::new();
    let sidecar = central.ready(&home).await;
    central.server.kill();
    let question = v1::Question { max_staleness: Some(Duration::from_secs(1).into()), ..newsletter("crm:1") };
    until_reason(&sidecar.client(), &question, Reason::Stale).await;
    until_unready(&sidecar, "is the NATS server running?").await;
    central.server.restart();
    central.write(&[withdrawn("crm:1")]).await;
    until(&sidecar, "crm:1", Reason::Withdrawn).await;
}

/// So many events, each of a subject of its own but for the last, in batches.
async fn write_many(central: &Central, count: usize) {
    let ledger = NatsLedger::open(&central.config()).await.expect("opened");
    for chunk in (0..count).collect::<Vec<_>>().chunks(2000) {
        let events: Vec<v1::LedgerEvent> = chunk.iter().map(|number| event(&given(&format!("crm:{number}")))).collect();
        ledger.append(&events).await.expect("written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_within_a_replay_costs_no_event() {
    let mut central = Central::start(&Options { sync_interval: None, ..Options::default() }).await;
    write_many(&central, 60_000).await;
    let home = Home::new();
    let sidecar = central.sidecar(&home).await;
    let admin = sidecar.admin.expect("a page");
    eventually("the replay has begun", async || {
        let (_, metrics) = tokio::task::spawn_blocking(move || page(admin, "/metrics")).await.expect("no panic");
        let (_, rest) = metrics.split_once("\nconsentd_replay_events_total ")?;
        let events: f64 = rest.lines().next()?.parse().expect("a number");
        (events > 0.0).then_some(())
    })
    .await;
    central.server.kill();
    central.server.restart();
    sidecar::until_serving(&sidecar.channel).await;
    let mut client = sidecar.client();
    for number in (0..60_000).step_by(997).chain([59_999]) {
        let asked = newsletter(&format!("crm:{number}"));
        assert_eq!(sidecar::reason(&mut client, asked).await, Reason::Consent, "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_stream_of_the_same_name_is_told_and_denied_until_the_store_is_removed() {
    let central = Central::start(&Options::default()).await;
    central.write(&[given("crm:1")]).await;
    let home = Home::new();
    let sidecar = central.ready(&home).await;
    central.context().await.delete_stream(STREAM).await.expect("deleted");
    central.make().await;
    central.write(&[given("crm:1"), given("crm:2"), given("crm:3")]).await;
    until(&sidecar, "crm:1", Reason::LedgerBroken).await;
    until_unready(&sidecar, "was replaced by another one").await;
    sidecar.stop().await;
    let sidecar = central.sidecar(&home).await;
    until(&sidecar, "crm:1", Reason::LedgerBroken).await;
    until_unready(&sidecar, "was replaced by another one").await;
    sidecar.stop().await;
    std::fs::remove_dir_all(home.data().join("replica")).expect("removed");
    let sidecar = central.ready(&home).await;
    assert_eq!(reason(&sidecar, "crm:3").await, Reason::Consent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_an_older_day_catches_up() {
    let central = Central::start(&Options::default()).await;
    central.write(&[given("crm:1")]).await;
    let home = Home::new();
    central.ready(&home).await.stop().await;
    let (store, kept) = (home.data().join("replica"), home.path("kept"));
    copy_folder(&store, &kept);
    central.write(&[withdrawn("crm:1")]).await;
    let sidecar = central.ready(&home).await;
    until(&sidecar, "crm:1", Reason::Withdrawn).await;
    sidecar.stop().await;
    std::fs::remove_dir_all(&store).expect("removed");
    std::fs::rename(&kept, &store).expect("moved");
    let sidecar = central.ready(&home).await;
    assert_eq!(reason(&sidecar, "crm:1").await, Reason::Withdrawn);
}

/// What a sidecar has of the ledger when it is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Has {
    All,
    /// Its store was damaged meanwhile.
    DamagedStore,
    /// It never had a store.
    NoStore,
}

/// Sets the server's store back to what it was before a withdrawal was followed, then writes so many events.
async fn set_back(has: Has, events_after: usize) -> (Central, Sidecar, Home) {
    let mut central = Central::start(&Options::default()).await;
    if has == Has::NoStore {
        central.mode = "on_demand";
    }
    central.write(&[given("crm:1")]).await;
    central.server.kill();
    let kept = central.home.path("kept");
    copy_folder(&central.server.store_dir(), &kept);
    central.server.restart();
    let home = Home::new();
    let sidecar = central.ready(&home).await;
    let events: Vec<String> = (0..20).map(|number| given(&format!("device:{number}"))).collect();
    central.write(&events).await;
    central.write(&[withdrawn("crm:1")]).await;
    until(&sidecar, "crm:1", Reason::Withdrawn).await;
    sidecar.stop().await;
    central.server.kill();
    std::fs::remove_dir_all(central.server.store_dir()).expect("removed");
    copy_folder(&kept, &central.server.store_dir());
    central.server.restart();
    let events: Vec<String> = (0..events_after).map(|number| given(&format!("phone:{number}"))).collect();
    if !events.is_empty() {
        central.write(&events).await;
    }
    if has == Has::DamagedStore {
        sidecar::write_file(&home.data().join("replica/db"), &vec![0xa5; 100_000]);
    }
    let sidecar = central.sidecar(&home).await;
    (central, sidecar, home)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_set_back_is_told() {
    let (_central, sidecar, _home) = set_back(Has::All, 0).await;
    until(&sidecar, "crm:1", Reason::LedgerBroken).await;
    until_unready(&sidecar, "was set back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_set_back_and_has_grown_again_is_told() {
    let (_central, sidecar, _home) = set_back(Has::All, 200).await;
    until(&sidecar, "crm:1", Reason::LedgerBroken).await;
    until_unready(&sidecar, "was rewritten").await;
}

/// What it looks like without what was seen of it before: a sound ledger, by which the subject agrees.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_set_back_is_told_though_the_store_is_lost() {
    told_without_a_store(Has::DamagedStore).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_set_back_is_told_on_demand() {
    told_without_a_store(Has::NoStore).await;
}

/// Why operators keep sidecars away from a ledger that was set back until it is whole, and that this mends it.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_was_set_back_is_whole_for_new_sidecars_once_what_is_missing_is_written_again() {
    let (central, before, _home) = set_back(Has::All, 0).await;
    until(&before, "crm:1", Reason::LedgerBroken).await;
    let early = Home::new();
    let knows_nothing = central.ready(&early).await;
    assert_eq!(reason(&knows_nothing, "crm:1").await, Reason::Consent, "with an empty folder nobody can notice it");
    knows_nothing.stop().await;

    central.write(&[withdrawn("crm:1")]).await;
    let late = Home::new();
    let sidecar = central.ready(&late).await;
    assert_eq!(reason(&sidecar, "crm:1").await, Reason::Withdrawn);
    assert_eq!(reason(&before, "crm:1").await, Reason::LedgerBroken, "who saw more goes on denying until it ends");
    before.stop().await;
    sidecar.stop().await;
}

async fn told_without_a_store(has: Has) {
    for (events_after, sentence) in [(0, "was set back"), (200, "was rewritten")] {
        let (central, sidecar, home) = set_back(has, events_after).await;
        let decided = first_decided(&sidecar, "crm:1").await;
        assert_eq!(decided, Reason::LedgerBroken, "{events_after} events later");
        until_unready(&sidecar, sentence).await;
        sidecar.stop().await;
        let sidecar = central.sidecar(&home).await;
        assert_eq!(first_decided(&sidecar, "crm:1").await, Reason::LedgerBroken, "also at the next start");
        sidecar.stop().await;
        std::fs::remove_dir_all(home.data().join("replica")).expect("removed");
        let sidecar = central.ready(&home).await;
        assert_eq!(reason(&sidecar, "crm:1").await, Reason::Consent, "when it is meant");
    }
}

/// The first reason that is not that the view is being built.
async fn first_decided(sidecar: &Sidecar, subject: &str) -> Reason {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match reason(sidecar, subject).await {
            Reason::ReplicaBuilding | Reason::StoreUnavailable => {}
            decided => return decided,
        }
        assert!(Instant::now() < deadline, "it is still being built: {}", causes(sidecar).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_removed_is_told() {
    removed(1).await;
}

/// Behind the last one nothing lies that would show that it is missing.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_message_that_was_removed_is_told() {
    removed(2).await;
}

/// Removes one of three events, and looks for the alarm.
async fn removed(place: usize) {
    let central = Central::start(&Options::default()).await;
    let tokens = central.write(&[given("crm:1"), withdrawn("crm:1"), given("crm:2")]).await;
    let removed = tokens.get(place).expect("one of three").position.0;
    let home = Home::new();
    let sidecar = central.ready(&home).await;
    // What our stream's settings forbid is done as somebody would who may change them: on the server's disk it cannot be
    // done by hand, so that the stream is made again without the setting.
    sidecar.stop().await;
    let context = central.context().await;
    context.delete_stream(STREAM).await.expect("deleted");
    let mut config = async_nats::jetstream::stream::Config {
        name: STREAM.to_owned(),
        subjects: vec!["consent.ledger.>".to_owned()],
        discard: async_nats::jetstream::stream::DiscardPolicy::New,
        deny_purge: true,
        ..async_nats::jetstream::stream::Config::default()
    };
    let (name, value) = kept().metadata.remove(0);
    config.metadata.insert(name.to_owned(), value);
    let stream = context.create_stream(config.clone()).await.expect("made");
    let hasher = hasher();
    for event in events(&[sidecar::catalogue(1), given("crm:1"), withdrawn("crm:1"), given("crm:2")]) {
        for about in consentd::ledger::nats::subject::About::of(&event, &hasher) {
            let payload = consentd::ledger::nats::payload(&event);
            context.publish(about.to_string(), payload.into()).await.expect("sent").await.expect("taken");
        }
    }
    stream.delete_message(removed).await.expect("removed");
    config.deny_delete = true;
    context.update_stream(config).await.expect("changed");
    std::fs::remove_dir_all(home.data().join("replica")).expect("removed");
    let sidecar = central.sidecar(&home).await;
    until_unready(&sidecar, &format!("has lost what stood at {removed}")).await;
    until(&sidecar, "crm:1", Reason::LedgerBroken).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn order_and_repetition_of_publishes_do_not_matter() {
    let central = Central::start(&Options::default()).await;
    let (grant, refusal) = (given("crm:1"), withdrawn("crm:1"));
    central.write(&[refusal.clone(), grant.clone(), refusal, grant.clone(), grant.clone()]).await;
    // Without a message id the server takes it again.
    let event = event(&grant);
    let about = consentd::ledger::nats::subject::About::of(&event, &hasher());
    let context = central.context().await;
    for _ in 0..3 {
        let payload = consentd::ledger::nats::payload(&event).into();
        context.publish(about[0].to_string(), payload).await.expect("sent").await.expect("taken");
    }
    let home = Home::new();
    let sidecar = central.ready(&home).await;
    assert_eq!(reason(&sidecar, "crm:1").await, Reason::Withdrawn);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_deleted_is_made_again() {
    let central = Central::start(&Options::default()).await;
    let home = Home::new();
    let sidecar = central.ready(&home).await;
    let stream = central.context().await.get_stream(STREAM).await.expect("there");
    for round in 0..3 {
        let names: Vec<String> = tokio_stream::StreamExt::collect::<Vec<_>>(stream.consumer_names())
            .await
            .into_iter()
            .map(|name| name.expect("a name"))
            .collect();
        for name in names {
            stream.delete_consumer(&name).await.expect("deleted");
        }
        let subject = format!("crm:{round}");
        central.write(&[given(&subject)]).await;
        until(&sidecar, &subject, Reason::Consent).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_event_deny_whom_their_subject_names() {
    let central = Central::start(&Options::default()).await;
    central.write(&[given("crm:1"), given("crm:2")]).await;
    let home = Home::new();
    let sidecar = central.ready(&home).await;
    let key = hasher().key("crm:1");
    let subject = consentd::ledger::nats::subject::About::Subject(key, consentd::ledger::nats::subject::Kind::Consent);
    let context = central.context().await;
    context.publish(subject.to_string(), vec![0xff; 20].into()).await.expect("sent").await.expect("taken");
    until(&sidecar, "crm:1", Reason::UnreadableRecord).await;
    assert_eq!(reason(&sidecar, "crm:2").await, Reason::Consent);
    // An event under the name of somebody else is readable to nobody.
    let event = event(&given("crm:3"));
    let other = consentd::ledger::nats::subject::About::Subject(
        hasher().key("crm:2"),
        consentd::ledger::nats::subject::Kind::Consent,
    );
    let payload = consentd::ledger::nats::payload(&event);
    context.publish(other.to_string(), payload.into()).await.expect("sent").await.expect("taken");
    until(&sidecar, "crm:2", Reason::UnreadableRecord).await;
    assert_eq!(reason(&sidecar, "crm:3").await, Reason::UnreadableRecord);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_subject_key_is_refused() {
    let central = Central::start(&Options::default()).await;
    let home = Home::new();
    std::fs::write(central.home.path("shared.key"), [8; 32]).expect("written");
    let sidecar = central.sidecar(&home).await;
    until_unready(&sidecar, "another subject key").await;
    until(&sidecar, "crm:1", Reason::LedgerBroken).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_followers_share_one_beat_and_outlive_the_beater() {
    let central = Central::start(&Options::default()).await;
    let homes: Vec<Home> = (0..4).map(|_| Home::new()).collect();
    let mut sidecars = Vec::new();
    for home in &homes {
        sidecars.push(central.ready(home).await);
    }
    let stream = central.context().await.get_stream(STREAM).await.expect("there");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = stream.get_info().await.expect("told").state.last_sequence;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let beats = stream.get_info().await.expect("told").state.last_sequence - before;
    // One each 200 ms is 20.
    assert!((5..=40).contains(&beats), "{beats} beats in 4 s");
    while let Some(sidecar) = sidecars.pop() {
        sidecar.stop().await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        for left in &sidecars {
            let staleness = ask(&mut left.client(), newsletter("crm:1")).await.view.expect("a view");
            let staleness = staleness.staleness.expect("told");
            assert!((staleness.seconds, staleness.nanos) < (1, 0), "{staleness:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_begins_to_forget_is_told() {
    let central = Central::start(&Options::default()).await;
    central.write(&[given("crm:1")]).await;
    let home = Home::new();
    let sidecar = central.ready(&home).await;
    let context = central.context().await;
    let mut config = context.get_stream(STREAM).await.expect("there").cached_info().config.clone();
    config.max_age = Duration::from_hours(1);
    context.update_stream(config).await.expect("changed");
    until(&sidecar, "crm:1", Reason::LedgerBroken).await;
    until_unready(&sidecar, "it removes messages after 3600 s").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_told_and_a_renewed_one_taken_without_a_restart() {
    let certificates = nats::Certificates::make();
    let options = Options { tls: Some(certificates.clone()), ..Options::default() };
    let mut central = Central::with(&options, Some(&certificates)).await;
    central.write(&[given("crm:1")]).await;
    let home = Home::new();
    let sidecar = central.ready(&home).await;
    // A connection that stands is not looked at again, by neither side.
    central.server.kill();
    certificates.renew(2020);
    central.server.restart();
    let question = v1::Question { max_staleness: Some(Duration::from_secs(1).into()), ..newsletter("crm:1") };
    until_reason(&sidecar.client(), &question, Reason::Stale).await;
    until_unready(&sidecar, "certificate has expired; renew it").await;
    central.server.kill();
    certificates.renew(2099);
    central.server.restart();
    until_reason(&sidecar.client(), &question, Reason::Consent).await;
}

/// A ledger's address on some of the nodes of a cluster.
fn config_on(home: &Home, nodes: &[&NatsServer], tls: &Tls) -> Config {
    let urls: Vec<String> = nodes.iter().map(|node| node.url()).collect();
    central::config(home, &urls.join(","), tls)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_stopped_and_goes_on_makes_nothing_fresh() {
    let mut cluster = nats::Cluster::start(3);
    let (tls, home) = (cluster.certificates.tls(), central::home());
    let everywhere = config_on(&home, &cluster.nodes.iter().collect::<Vec<_>>(), &tls);
    let context = central::context(&everywhere).await;
    let seen = kept().make(&context, 3).await.expect("made");
    let leader = seen.info.cluster.expect("a cluster").leader.expect("a leader");
    let writer = NatsLedger::open(&everywhere).await.expect("opened");
    writer.append(&[event(&sidecar::catalogue(1)), event(&given("crm:1"))]).await.expect("written");

    // It speaks to the leader alone.
    let settings = central::settings(&config_on(&home, &[cluster.node(&leader)], &tls));
    let sidecar_home = Home::new();
    let sidecar = Sidecar::ready(&sidecar_home, &borrowed(&settings)).await;
    assert_eq!(reason(&sidecar, "crm:1").await, Reason::Consent);

    cluster.node(&leader).stop();
    let others: Vec<&NatsServer> = cluster.nodes.iter().filter(|node| node.name != leader).collect();
    let others = config_on(&home, &others, &tls);
    let refusal = event(&withdrawn("crm:1"));
    let taken = eventually("another leader takes the withdrawal", async || {
        let writer = NatsLedger::open(&others).await.ok()?;
        writer.append(std::slice::from_ref(&refusal)).await.ok()
    });
    taken.await;
    let acknowledged = Instant::now();
    cluster.node(&leader).cont();
    let mut client = sidecar.client();
    let mut looks = 0;
    loop {
        let asked = Instant::now();
        let answered = ask(&mut client, newsletter("crm:1")).await;
        if answered.answer.expect("an answer").reason() == Reason::Withdrawn {
            break;
        }
        looks += 1;
        let age: Duration = answered.view.and_then(|view| view.staleness).expect("told").try_into().expect("a span");
        // An ALLOW may rest on what was before the withdrawal was acknowledged, and must say so.
        let since = asked.duration_since(acknowledged);
        assert!(age >= since, "a view that claims to be {age:?} old lacks what was acknowledged {since:?} ago");
        assert!(since < PATIENCE, "the withdrawal never comes");
    }
    assert!(looks > 0, "nobody looked in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_ends_when_it_is_told_to_though_its_server_is_gone() {
    let mut central = Central::start(&Options::default()).await;
    let home = Home::new();
    let settings = central.settings();
    let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (&**key, &**value)).collect();
    let mut process = sidecar::Process::spawn(&home, &settings);
    let channel = process.connect().await;
    sidecar::until_serving(&channel).await;
    drop(channel);
    central.server.kill();
    let is_told = async || {
        let log = std::fs::read_to_string(home.log()).unwrap_or_default();
        log.contains("is the NATS server running?").then_some(())
    };
    eventually("the sidecar says that the server is gone", is_told).await;
    process.terminate();
    assert!(process.ended().await.success());
}
