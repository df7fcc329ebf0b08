//! A sidecar that was killed, or lost what it had on disk: how soon it answers again, and that nothing it said is lost.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/admission.rs"]
mod admission;
#[path = "support/central.rs"]
mod central;
#[path = "support/nats.rs"]
#[allow(dead_code, reason = "each test uses its part")]
mod nats;
#[path = "support/pod.rs"]
mod pod;
#[path = "support/sidecar.rs"]
mod sidecar;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use consentd::ledger::nats::NatsLedger;
use consentd::nats::Tls;
use consentd::proto::v1::Reason;
use nats::{NatsServer, Options};
use pod::{App, answered, check_evidence};
use sidecar::{
    Client, Home, PATIENCE, Process, Random, append, catalogue, connect_uds, eventually, given, newsletter, reason,
};

/// How soon a killed sidecar is back where it has its volume.
const BACK_WITHIN: Duration = Duration::from_secs(1);
/// How old a view may be while the sidecar says that it is ready.
const READY_FOR: Duration = Duration::from_secs(10);
/// How often it may take longer: the machine does other things as well.
const ROUNDS_MAX: usize = 10;

/// The process of the app in the other tests' pods; alone it does nothing.
#[test]
#[ignore = "the app of the other tests' pods"]
fn app_of_a_pod() {
    pod::app();
}

/// A ledger that a sidecar follows, with what so many subjects said.
struct Followed {
    home: Home,
    settings: Vec<(String, String)>,
    /// Ends with the test.
    _server: Option<NatsServer>,
    subjects: usize,
}

impl Followed {
    fn file(subjects: usize) -> Self {
        let home = Home::new();
        append(&home.ledger(), (lines(subjects).join("\n") + "\n").as_bytes());
        // As it is unless somebody sets it.
        let settings = vec![("ledger.poll_interval".to_owned(), "100ms".to_owned()), admin()];
        Self { home, settings, _server: None, subjects }
    }

    async fn nats(subjects: usize) -> Self {
        let home = central::home();
        let server = NatsServer::start(&Options { sync_interval: None, ..Options::default() });
        let config = central::config(&home, &server.url(), &Tls::default());
        let context = central::context(&config).await;
        central::kept().make(&context, 1).await.expect("made");
        let ledger = NatsLedger::open(&config).await.expect("opened");
        for chunk in lines(subjects).chunks(2000) {
            ledger.append(&central::events(chunk)).await.expect("written");
        }
        let mut settings = central::settings(&config);
        settings.retain(|(key, _)| key != "ledger.freshness_interval");
        settings.push(admin());
        Self { home, settings, _server: Some(server), subjects }
    }

    fn spawn(&self) -> Process {
        Process::spawn(&self.home, &central::borrowed(&self.settings))
    }

    /// How long until the last subject is allowed, from the start of the process.
    async fn comes(&self) -> (Process, Duration) {
        let began = Instant::now();
        let mut process = self.spawn();
        let question = newsletter(&format!("crm:{}", self.subjects - 1));
        loop {
            assert!(process.is_running(), "it has ended");
            if let Ok(channel) = connect_uds(&self.home.uds()).await
                && reason(&mut Client::new(channel), question.clone()).await == Reason::Consent
            {
                return (process, began.elapsed());
            }
            assert!(began.elapsed() < 4 * PATIENCE, "it does not come back");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The comings after a kill, until one is soon enough or there were enough of them, each with how many events were read of
    /// the ledger before; `before` is done to the volume in between.
    async fn comes_back(&self, enough: Duration, before: impl Fn(&Path)) -> Vec<(Duration, usize)> {
        let (mut process, _) = self.comes().await;
        let mut took: Vec<(Duration, usize)> = Vec::new();
        while took.len() < ROUNDS_MAX && took.last().is_none_or(|(took, _)| *took > enough) {
            // It has run for a while, as most that are killed have.
            tokio::time::sleep(Duration::from_secs(1)).await;
            process.kill();
            before(&self.home.data());
            let (next, time) = self.comes().await;
            process = next;
            took.push((time, pod::replayed(&self.home)));
        }
        took
    }
}

/// A catalogue, and a consent of each subject.
fn lines(subjects: usize) -> Vec<String> {
    let consents = (0..subjects).map(|number| given(&format!("crm:{number}")));
    [catalogue(1)].into_iter().chain(consents).collect()
}

/// Where metrics are read.
fn admin() -> (String, String) {
    ("admin.tcp".to_owned(), "127.0.0.1:0".to_owned())
}

fn lose(volume: &Path) {
    std::fs::remove_dir_all(volume).expect("removed");
}

async fn measure(name: &str, followed: &Followed) {
    let kept = followed.comes_back(BACK_WITHIN, |_| {}).await;
    let lost = followed.comes_back(Duration::MAX, lose).await;
    let subjects = followed.subjects;
    println!("{name}, {subjects} subjects: back from its volume after {kept:?}, from the ledger after {lost:?}");
    let (best, _) = kept.iter().min().expect("one at least");
    assert!(*best < BACK_WITHIN, "{name}: {kept:?} from its volume");
    // A second has passed since the copy was built, so that it is on the volume.
    assert!(kept.iter().all(|(_, events)| *events <= subjects / 100), "{name}: {kept:?} from its volume");
    assert!(lost.iter().all(|(_, events)| *events > subjects), "{name}: {lost:?} from the ledger");
}

/// How many subjects: few, and as many as a test has time for, or as it is told.
fn sizes() -> Vec<usize> {
    let told = std::env::var("TEST_SUBJECTS").ok();
    told.map_or_else(|| vec![1_000, 20_000], |told| vec![told.parse().expect("a number")])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_sidecar_is_back_within_a_second_with_a_ledger_in_a_file() {
    for subjects in sizes() {
        measure("a file", &Followed::file(subjects)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_sidecar_is_back_within_a_second_with_a_ledger_on_nats() {
    for subjects in sizes() {
        measure("NATS", &Followed::nats(subjects).await).await;
    }
}

/// At any moment of its start: whoever comes after it finds nothing that it cannot go on from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_that_is_killed_while_it_starts_starts_again() {
    let mut random = Random::seeded("a_sidecar_that_is_killed_while_it_starts_starts_again");
    let home = pod::home();
    let mut app = App::start(&home, "book", Duration::ZERO);
    for _ in 0..25 {
        let mut process = Process::spawn(&home, &[]);
        tokio::time::sleep(Duration::from_micros(random.next() % 150_000)).await;
        process.kill();
    }
    let mut sidecar = Process::spawn(&home, &[]);
    app.is_allowed().await;
    let ended = pod::terminate(&mut app, &mut sidecar, PATIENCE).await;
    assert_eq!(ended.sidecar.code(), Some(0), "{ended:?}");
    assert!(check_evidence(&home, &app.book()) > 0);
}

/// The volume is emptied under a sidecar that runs: what it writes from then on would go with the last one who has it open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_is_lost_under_a_running_sidecar_ends_what_it_allows() {
    let home = pod::home();
    let mut sidecar = Process::spawn(&home, &[("evidence.flush_interval", "100ms")]);
    let app = App::start(&home, "book", Duration::ZERO);
    app.is_allowed().await;
    lose(&home.data());
    let lost_at = app.book().last().expect("a line").at;
    let last = async || app.book().last().is_some_and(|noted| noted.is_for(Reason::EvidenceUnavailable)).then_some(());
    eventually("nothing is allowed any more", last).await;
    let book = app.book();
    let after = book.iter().filter(|noted| noted.is_allow()).map(|noted| noted.at).max().expect("some were allowed");
    println!("allowed for {:?} after the loss", after.saturating_sub(lost_at));
    assert!(after.saturating_sub(lost_at) < Duration::from_secs(1), "{:?}", after.saturating_sub(lost_at));
    assert!(sidecar.is_running());
    sidecar.terminate();
    assert_eq!(sidecar.ended().await.code(), Some(0));
    // The next one begins anew.
    let mut next = Process::spawn(&home, &[]);
    app.is_allowed().await;
    assert!(next.is_running());
}

/// The ledger's servers are away when the pod starts, and go away while it runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_app_waits_for_a_ledger_that_is_away_and_is_denied_while_it_is() {
    let Followed { home, settings, _server: server, .. } = Followed::nats(10).await;
    let mut server = server.expect("a server");
    server.kill();
    let mut sidecar = Process::spawn(&home, &central::borrowed(&settings));
    pod::until_probed(&home, &mut sidecar, "/livez").await;
    for _ in 0..20 {
        assert_eq!((pod::probe(&home, "/livez"), pod::probe(&home, "/readyz")), (Some(200), Some(503)));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Where the app is started nevertheless.
    let app = App::start(&home, "book", Duration::ZERO);
    app.hears(100).await;
    let book = app.book();
    assert!(answered(&book).all(|noted| noted.is_for(Reason::ReplicaBuilding)), "{book:?}");
    server.restart();
    pod::until_probed(&home, &mut sidecar, "/readyz").await;
    app.is_allowed().await;

    server.stop();
    let stopped = Instant::now();
    eventually("it is not ready", async || (pod::probe(&home, "/readyz") == Some(503)).then_some(())).await;
    let took = stopped.elapsed();
    println!("not ready {took:?} after the servers stood still");
    // The view was proven a while before, and the machine does other things as well.
    let least = READY_FOR.saturating_sub(Duration::from_secs(2));
    assert!((least..READY_FOR + Duration::from_secs(4)).contains(&took), "{took:?}");
    assert!(!app.book().iter().any(|noted| noted.is_for(Reason::Stale)), "it is too old for the purpose already");
    let stale = async || app.book().last().is_some_and(|noted| noted.is_for(Reason::Stale)).then_some(());
    eventually("a view that is too old denies", stale).await;
    assert_eq!(pod::probe(&home, "/livez"), Some(200), "it is not restarted for what a restart does not mend");
    server.cont();
    app.is_allowed().await;
    pod::until_probed(&home, &mut sidecar, "/readyz").await;
    sidecar.terminate();
    assert_eq!(sidecar.ended().await.code(), Some(0));
    assert!(check_evidence(&home, &app.book()) > 0);
}

fn consentd(arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_consentd")).args(arguments).env_clear().output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
}

/// How long a sidecar waits that the webhook gives to a pod, where its settings say nothing of it.
fn ship_wait_of_the_webhook() -> String {
    let reviewed = admission::review(&admission::settings(""), "plain");
    let patch = admission::patch_of(&reviewed.answer["response"]);
    let sidecar = patch.iter().find(|addition| addition["path"] == "/spec/initContainers").expect("a sidecar");
    let variables = sidecar["value"][0]["env"].as_array().expect("variables");
    let wait =
        variables.iter().find(|variable| variable["name"] == "CONSENTD_EVIDENCE_SHIP_WAIT").expect("it is given");
    wait["value"].as_str().expect("a text").to_owned()
}

/// On a volume that goes with the pod: what has not left when the sidecar ends is gone. The servers are away when the app ends,
/// and come back while the sidecar waits for them, after longer than a consentd would wait by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_app_was_allowed_outlives_the_pod_and_its_volume() {
    let mut server = NatsServer::start(&Options::default());
    let url = server.url();
    consentd(&["evidence", "init", "--to", &url]);
    let home = pod::home();
    let wait = ship_wait_of_the_webhook();
    let settings = [("evidence.ship", "nats"), ("evidence.ship_url", &url), ("evidence.ship_wait", &wait)];
    let mut sidecar = Process::spawn(&home, &settings);
    let mut app = App::start(&home, "book", Duration::from_millis(300));
    app.is_allowed().await;
    server.kill();
    app.hears(100).await;
    let back = tokio::task::spawn_blocking(move || {
        // The app lingers for a moment before the sidecar is told to stop.
        std::thread::sleep(Duration::from_secs(8));
        server.restart();
        server
    });
    let ended = pod::terminate(&mut app, &mut sidecar, PATIENCE).await;
    let _server = back.await.expect("no panic");
    assert_eq!((ended.app.code(), ended.sidecar.code()), (Some(0), Some(0)), "{ended:?}");
    lose(&home.data());

    let into = home.path("collected");
    consentd(&["evidence", "collect", "--from", &url, "--into", into.to_str().expect("UTF-8")]);
    let instances: Vec<_> = std::fs::read_dir(&into).expect("listed").flatten().map(|entry| entry.path()).collect();
    let instance = instances.iter().find(|folder| folder.join("instance").exists()).expect("an instance");
    assert!(pod::check_evidence_in(instance, false, &app.book()) > 30);
}

/// Servers that do not come back hold the end up for as long as was said, and no longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evidence_that_cannot_leave_is_waited_for_as_long_as_was_said() {
    let home = pod::home();
    let nowhere = format!("nats://127.0.0.1:{}", nats::free_port());
    let settings = [("evidence.ship", "nats"), ("evidence.ship_url", &*nowhere), ("evidence.ship_wait", "1500ms")];
    let mut sidecar = Process::spawn(&home, &settings);
    let mut app = App::start(&home, "book", Duration::ZERO);
    app.is_allowed().await;
    let ended = pod::terminate(&mut app, &mut sidecar, PATIENCE).await;
    assert_eq!(ended.sidecar.code(), Some(0), "{ended:?}");
    assert!((1.4..10.0).contains(&ended.sidecar_took.as_secs_f64()), "{ended:?}");
    assert!(check_evidence(&home, &app.book()) > 0, "on a volume that stays it is shipped at the next start");
}
