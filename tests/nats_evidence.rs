//! Evidence on its way to the central stream and out of it again: shipped by real sidecars to a real server, collected and
//! verified, through kills of each of the three.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/nats.rs"]
#[allow(dead_code, reason = "each test uses its part")]
mod nats;
#[path = "support/sidecar.rs"]
mod sidecar;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream::StorageType};
use consentd::evidence::{Archive, EvidenceId, KeyPlaces};
use consentd::explain::{self, FindError, Place};
use consentd::proto::v1::{self, EvidenceBatch, EvidenceRecord, Reason};
use nats::{Cluster, NatsServer, Options};
use prost::Message as _;
use sidecar::{
    Client, Home, PATIENCE, Process, Random, SERVICE, append, ask, copy_folder, eventually, given, health, newsletter,
    page, until_serving,
};
use tonic::transport::Channel;
use tonic_health::ServingStatus;

const STREAM: &str = "CONSENT_EVIDENCE";
const SUBJECTS: usize = 50;

/// Evidence ids that clients received.
type Book = Arc<Mutex<Vec<String>>>;
/// Records by month and index.
type Records = BTreeMap<(String, u64), EvidenceRecord>;

fn consentd(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_consentd")).args(arguments).env_clear().output().expect("it runs")
}

fn succeeded(output: &Output) -> String {
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{told}");
    told
}

/// A server with the stream.
fn server() -> NatsServer {
    let server = NatsServer::start(&Options::default());
    succeeded(&consentd(&["evidence", "init", "--to", &server.url()]));
    server
}

fn home() -> Home {
    let home = Home::with_catalogue();
    let lines: String = (0..SUBJECTS).map(|number| given(&format!("crm:{number}")) + "\n").collect();
    append(&home.ledger(), lines.as_bytes());
    home
}

/// A sidecar that ships to a server.
fn spawn(home: &Home, url: &str, more: &[(&str, &str)]) -> Process {
    let settings = [
        ("evidence.ship", "nats"),
        ("evidence.ship_url", url),
        ("evidence.flush_interval", "20ms"),
        ("evidence.checkpoint_interval", "200ms"),
        ("evidence.segment_bytes", "1MiB"),
        ("admin.tcp", "127.0.0.1:0"),
    ];
    Process::spawn(home, &[&settings[..], more].concat())
}

async fn ready(process: &mut Process) -> Channel {
    let channel = process.connect().await;
    until_serving(&channel).await;
    channel
}

/// Asks so many questions, 32 at a time; those that were answered go to the book. Ends early with the process.
async fn ask_many(channel: &Channel, count: u64, book: &Book) {
    let next = Arc::new(AtomicU64::new(0));
    let askers = (0..32).map(|_| {
        let (mut client, next, book) = (Client::new(channel.clone()), Arc::clone(&next), Arc::clone(book));
        tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                let question = newsletter(&format!("crm:{}", number % SUBJECTS as u64));
                let Ok(answered) = client.may_process(v1::MayProcessRequest { question: Some(question) }).await else {
                    return;
                };
                let answered = answered.into_inner();
                assert_eq!(answered.answer.expect("an answer").reason(), Reason::Consent);
                book.lock().expect("not poisoned").push(answered.evidence_id);
            }
        })
    });
    for asker in askers.collect::<Vec<_>>() {
        asker.await.expect("no panic");
    }
}

/// A metric, as the sidecar's page shows it.
fn metric(home: &Home, name: &str) -> f64 {
    let (_, page) = page(home.admin(), "/metrics");
    let line = page.lines().find(|line| line.starts_with(name) && !line.starts_with('#'));
    let line = line.unwrap_or_else(|| panic!("no {name} in\n{page}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

async fn until_shipped(home: &Home) {
    let shipped = async || (metric(home, "consentd_evidence_unshipped_bytes ") < 0.5).then_some(());
    eventually("everything is shipped", shipped).await;
}

fn collect(url: &str, into: &Path) -> Output {
    consentd(&["evidence", "collect", "--from", url, "--into", into.to_str().expect("UTF-8")])
}

fn collected_ok(url: &str, into: &Path) -> String {
    succeeded(&collect(url, into))
}

/// The folders of the instances that were collected.
fn instances(into: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(into).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.join("instance").exists()).collect();
    folders.sort();
    folders
}

fn only_instance(into: &Path) -> PathBuf {
    let folders = instances(into);
    assert_eq!(folders.len(), 1, "{folders:?}");
    folders[0].clone()
}

fn records(folder: &Path) -> Records {
    let archive = Archive::open(folder).expect("a log");
    let mut records = Records::new();
    for month in archive.months().expect("listed") {
        let read = archive.read(month, |index, record| {
            assert!(records.insert((month.to_string(), index), record).is_none(), "record {index} twice");
            ControlFlow::Continue(())
        });
        read.expect("readable to its end");
    }
    records
}

/// What was collected is what the sidecar has, and every answer that a client received is in it.
fn check(home: &Home, folder: &Path, book: &Book) -> usize {
    let (here, there) = (records(&home.data().join("evidence")), records(folder));
    assert_eq!(here.len(), there.len(), "records here and collected");
    assert!(here == there, "the records differ");
    check_collected(folder, book);
    there.len()
}

/// What was collected holds, and every answer that a client received is in it.
fn check_collected(folder: &Path, book: &Book) {
    let there = records(folder);
    let instance = Archive::open(folder).expect("a log").instance();
    let book = book.lock().expect("not poisoned");
    for id in &*book {
        let id: EvidenceId = id.parse().expect("an id");
        assert_eq!(id.instance, instance);
        assert!(there.contains_key(&(id.month.to_string(), id.index)), "{id} was not collected");
    }
    let verified = consentd(&["evidence", "verify", "--dir", folder.to_str().expect("UTF-8")]);
    let told = succeeded(&verified);
    assert!(told.contains("holds"), "{told}");
    for file in sidecar::files(folder) {
        let bytes = std::fs::read(&file).expect("read");
        assert!(!bytes.windows(4).any(|window| window == b"crm:"), "{} names a subject", file.display());
    }
}

async fn stop(process: &mut Process) {
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
}

/// The messages of the stream.
async fn messages(url: &str) -> Vec<(String, Vec<u8>)> {
    let context = jetstream::new(async_nats::connect(url).await.expect("connected"));
    let mut stream = context.get_stream(STREAM).await.expect("the stream");
    let last = stream.info().await.expect("told").state.last_sequence;
    let mut messages = Vec::new();
    for sequence in 1..=last {
        let message = stream.get_raw_message(sequence).await.expect("a message");
        messages.push((message.subject.to_string(), message.payload.to_vec()));
    }
    messages
}

async fn publish(url: &str, messages: &[(String, Vec<u8>)]) {
    let context = jetstream::new(async_nats::connect(url).await.expect("connected"));
    for (subject, payload) in messages {
        let published = context.publish(subject.clone(), payload.clone().into()).await.expect("sent");
        published.await.expect("acknowledged");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_answers_are_shipped_and_collected_once_through_kills_of_the_sidecar() {
    let mut random = Random::seeded("twenty_thousand_answers");
    let (server, home, book) = (server(), home(), Book::default());
    let into = home.path("collected");
    for _ in 0..6 {
        let mut process = spawn(&home, &server.url(), &[]);
        let channel = ready(&mut process).await;
        let asking = ask_many(&channel, u64::MAX, &book);
        let pause = Duration::from_millis(200 + random.next() % 800);
        assert!(tokio::time::timeout(pause, asking).await.is_err(), "it answers until it is killed");
        process.kill();
        // What has come so far is whole, whenever it is looked at.
        collected_ok(&server.url(), &into);
    }
    let mut process = spawn(&home, &server.url(), &[]);
    let channel = ready(&mut process).await;
    let so_far = u64::try_from(book.lock().expect("not poisoned").len()).expect("small");
    ask_many(&channel, 20_500_u64.saturating_sub(so_far).max(1000), &book).await;
    until_shipped(&home).await;
    stop(&mut process).await;
    let told = collected_ok(&server.url(), &into);
    let count = check(&home, &only_instance(&into), &book);
    assert!(count >= 20_000, "{count}");
    assert!(told.contains(&format!("whole: {count} records; signed up to {count}")), "the end is signed: {told}");
    let again = collected_ok(&server.url(), &into);
    assert!(again.contains("0 messages read, 0 records added"), "{again}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_while_the_server_was_dead_is_shipped_when_it_is_back() {
    let (mut server, home, book) = (server(), home(), Book::default());
    let mut process = spawn(&home, &server.url(), &[]);
    let channel = ready(&mut process).await;
    for _ in 0..3 {
        // Killed while batches are in flight.
        let asking = ask_many(&channel, 2_000, &book);
        let killing = async {
            tokio::time::sleep(Duration::from_millis(60)).await;
            server.kill();
        };
        tokio::join!(asking, killing);
        ask_many(&channel, 500, &book).await;
        let waits = async || (metric(&home, "consentd_evidence_ship_failing ") > 0.5).then_some(());
        eventually("the sidecar says that it cannot ship", waits).await;
        assert!(metric(&home, "consentd_evidence_unshipped_bytes ") > 100_000.0);
        // Told by the next attempt, a moment after the failure.
        let aged = async || (metric(&home, "consentd_evidence_unshipped_age_seconds ") > 0.0).then_some(());
        eventually("the age of what waits is told", aged).await;
        server.restart();
        until_shipped(&home).await;
        assert!(metric(&home, "consentd_evidence_ship_failing ") < 0.5);
    }
    stop(&mut process).await;
    let into = home.path("collected");
    collected_ok(&server.url(), &into);
    assert_eq!(check(&home, &only_instance(&into), &book), 7_500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_bound_everything_is_denied_and_it_clears_by_itself() {
    let (mut server, home, book) = (server(), home(), Book::default());
    let mut process = spawn(&home, &server.url(), &[("evidence.max_unshipped_bytes", "1MiB")]);
    let channel = ready(&mut process).await;
    ask_many(&channel, 500, &book).await;
    until_shipped(&home).await;
    server.kill();
    let mut client = Client::new(channel.clone());
    let reason = async |client: &mut Client| ask(client, newsletter("crm:1")).await.answer.expect("an answer").reason();
    let deadline = Instant::now() + PATIENCE;
    let mut allowed = 0;
    while reason(&mut client).await == Reason::Consent {
        allowed += 1;
        assert!(Instant::now() < deadline, "1 MiB was not filled in time");
    }
    assert!(allowed > 1_000, "only {allowed} answers fill a MiB");
    for _ in 0..20 {
        assert_eq!(reason(&mut client).await, Reason::EvidenceUnavailable);
    }
    let not_serving = async || (health(&channel, SERVICE).await == ServingStatus::NotServing).then_some(());
    eventually("the health says so", not_serving).await;
    let (status, causes) = page(home.admin(), "/readyz");
    assert_eq!(status, 503);
    assert!(causes.contains("evidence: ") && causes.contains("evidence.max_unshipped_bytes (1048576)"), "{causes}");
    // Also for one that starts with the bound reached.
    process.kill();
    let mut process = spawn(&home, &server.url(), &[("evidence.max_unshipped_bytes", "1MiB")]);
    let channel = process.connect().await;
    let mut client = Client::new(channel.clone());
    let denied = async || (reason(&mut client.clone()).await == Reason::EvidenceUnavailable).then_some(());
    eventually("it denies for the same reason", denied).await;
    let aged = async || (metric(&home, "consentd_evidence_unshipped_age_seconds ") > 0.0).then_some(());
    eventually("the age of what waits is told", aged).await;
    server.restart();
    until_serving(&channel).await;
    assert_eq!(reason(&mut client).await, Reason::Consent);
    until_shipped(&home).await;
    stop(&mut process).await;
    let into = home.path("collected");
    collected_ok(&server.url(), &into);
    check(&home, &only_instance(&into), &book);
}

/// Bytes that the files of a folder take up.
fn allocated(folder: &Path) -> u64 {
    // A file may be removed while it is looked at.
    sidecar::files(folder).iter().filter_map(|file| file.metadata().ok()).map(|file| file.blocks() * 512).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_its_bound_what_was_shipped_goes_and_all_of_it_is_collected_through_kills() {
    const MIB: u64 = 1 << 20;
    let mut random = Random::seeded("beyond_its_bound");
    let (server, home, book) = (server(), home(), Book::default());
    let evidence = home.data().join("evidence");
    let bounded = [("evidence.max_shipped_bytes", "1MiB")];
    let archive = || Archive::open(&evidence).expect("a log");
    let removed = || {
        let months = archive().months().expect("listed");
        archive().removed(months[0]).expect("read")
    };
    let mut most = 0;
    let mut before = 0;
    for round in 0..8 {
        let mut process = spawn(&home, &server.url(), &bounded);
        let channel = ready(&mut process).await;
        let answering = tokio::spawn({
            let (channel, book) = (channel.clone(), Arc::clone(&book));
            async move { ask_many(&channel, 8_000, &book).await }
        });
        while !answering.is_finished() {
            most = most.max(allocated(&evidence));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        answering.await.expect("no panic");
        if round % 2 == 0 {
            // Anywhere between a look at what may go and the next one, that is also while it goes.
            tokio::time::sleep(Duration::from_millis(random.next() % 1500)).await;
            process.kill();
        } else {
            until_shipped(&home).await;
            let kept = async || (metric(&home, "consentd_evidence_kept_bytes ") <= 1_048_576.0).then_some(());
            eventually("no more is kept than may be", kept).await;
            let has_gone = async || (removed() > before).then_some(());
            eventually("more has gone", has_gone).await;
            before = removed();
            stop(&mut process).await;
        }
        // At every stop what is here is verified, as it was left.
        let told = succeeded(&consentd(&["evidence", "verify", "--dir", evidence.to_str().expect("UTF-8")]));
        assert!(told.contains("holds"), "{told}");
    }
    let into = home.path("collected");
    let told = collected_ok(&server.url(), &into);
    let folder = only_instance(&into);
    check_collected(&folder, &book);
    // The bound, three files of the log, what waits or arrives within a look, and what is beside them.
    let whole = allocated(&folder);
    assert!(most < 6 * MIB && whole > 2 * most, "{most} bytes at most, of {whole}");
    let (here, there) = (records(&evidence), records(&folder));
    assert!(u64::try_from(there.len()).expect("small") >= 64_000 && told.contains("whole: "), "{told}");
    assert!(!here.is_empty() && here.len() < there.len() / 3, "{} of {}", here.len(), there.len());
    assert!(here.iter().all(|(place, record)| there.get(place) == Some(record)), "the records differ");
    // A record that has gone is said to have.
    let first = book.lock().expect("not poisoned")[0].clone();
    let place = Place { dir: evidence.clone(), keys: KeyPlaces::default(), without_key: true };
    let id: EvidenceId = first.parse().expect("an id");
    assert_eq!(explain::find(&place, id, "crm:0", |_, _| true), Err(FindError::Removed(id)));
    let beyond = EvidenceId { index: id.index + 10_000_000, ..id };
    assert_eq!(explain::find(&place, beyond, "crm:0", |_, _| true), Err(FindError::Nothing(beyond)));
    let shown = consentd(&["evidence", "show", "--dir", evidence.to_str().expect("UTF-8"), &first]);
    let told = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(
        shown.status.code() != Some(0) && told.contains("was shipped to the central stream and removed here"),
        "{told}"
    );
}

/// The indices of records that the stream has.
async fn indices(url: &str) -> BTreeSet<u64> {
    let batches = messages(url).await.into_iter().map(|(_, payload)| EvidenceBatch::decode(payload.as_slice()));
    let batches = batches.map(|batch| batch.expect("a batch"));
    batches.flat_map(|batch| batch.first_index..batch.first_index + batch.count).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_is_shipped_again_to_a_stream_that_was_made_anew_and_nothing_goes_before() {
    let (server, home, book) = (server(), home(), Book::default());
    let evidence = home.data().join("evidence");
    let bounded = [("evidence.max_shipped_bytes", "2MiB")];
    let mut process = spawn(&home, &server.url(), &bounded);
    let channel = ready(&mut process).await;
    ask_many(&channel, 30_000, &book).await;
    until_shipped(&home).await;
    let archive = Archive::open(&evidence).expect("a log");
    let month = archive.months().expect("listed")[0];
    let has_gone = async || (archive.removed(month).expect("read") > 0).then_some(());
    eventually("the oldest has gone", has_gone).await;
    let context = jetstream::new(async_nats::connect(server.url()).await.expect("connected"));
    for times in 1..3 {
        // Under a sidecar that stays connected, and then before one that starts.
        if times == 2 {
            stop(&mut process).await;
        }
        let kept_from = archive.removed(month).expect("read");
        context.delete_stream(STREAM).await.expect("deleted");
        succeeded(&consentd(&["evidence", "init", "--to", &server.url()]));
        if times == 2 {
            process = spawn(&home, &server.url(), &bounded);
        }
        let channel = ready(&mut process).await;
        ask_many(&channel, 8_000, &book).await;
        until_shipped(&home).await;
        let all: BTreeSet<u64> = (kept_from..30_000 + times * 8_000).collect();
        let is_there = async || (indices(&server.url()).await == all).then_some(());
        eventually("all that was kept is in the new stream", is_there).await;
        assert!(metric(&home, "consentd_evidence_unshipped_bytes ") < 0.5);
        let more_has_gone = async || (archive.removed(month).expect("read") > kept_from).then_some(());
        eventually("more has gone since", more_has_gone).await;
    }
    stop(&mut process).await;
    let told = succeeded(&consentd(&["evidence", "verify", "--dir", evidence.to_str().expect("UTF-8")]));
    assert!(told.contains("holds"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_messages_are_dropped_altered_and_missing_ones_are_named() {
    let (origin, home, book) = (server(), home(), Book::default());
    let mut process = spawn(&home, &origin.url(), &[]);
    let channel = ready(&mut process).await;
    for _ in 0..5 {
        ask_many(&channel, 300, &book).await;
        until_shipped(&home).await;
    }
    stop(&mut process).await;
    let sent = messages(&origin.url()).await;
    let batches: Vec<(usize, EvidenceBatch)> = (0..)
        .zip(&sent)
        .map(|(place, (_, payload))| (place, EvidenceBatch::decode(payload.as_slice()).expect("a batch")))
        .filter(|(_, batch)| batch.count > 0)
        .collect();
    assert!(batches.len() >= 5, "{} batches", batches.len());
    // No id, so that the server takes them again: once more in order, and once from the last to the first.
    let mut backwards = sent.clone();
    backwards.reverse();
    publish(&origin.url(), &sent).await;
    publish(&origin.url(), &backwards).await;
    let into = home.path("collected");
    collected_ok(&origin.url(), &into);
    assert_eq!(check(&home, &only_instance(&into), &book), 1_500);

    // Out of order from the start it is the same.
    let shuffled = server();
    publish(&shuffled.url(), &backwards).await;
    let into = home.path("shuffled");
    collected_ok(&shuffled.url(), &into);
    assert_eq!(check(&home, &only_instance(&into), &book), 1_500);

    // One is altered.
    let (place, batch) = batches[2].clone();
    let (first, last) = (batch.first_index, batch.first_index + batch.count - 1);
    let range = format!("records {first} to {last} of {}", batch.origin);
    let mut altered = sent.clone();
    let mut payload = batch.clone();
    let middle = payload.records_zstd.len() / 2;
    payload.records_zstd[middle] ^= 1;
    altered[place].1 = payload.encode_to_vec();
    let tampered = server();
    publish(&tampered.url(), &altered).await;
    let into = home.path("tampered");
    let output = collect(&tampered.url(), &into);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(&format!("problem: message {} of the stream, {range}: ", place + 1)), "{told}");
    assert!(told.contains(&format!("missing: {range} are missing")), "{told}");
    assert!(into.join(format!("set-aside/{}.message", place + 1)).exists());
    assert_eq!(records(&only_instance_with_gap(&into)).len(), usize::try_from(first).expect("small"), "up to the gap");

    // One is missing, and comes late.
    let mut holed = sent.clone();
    holed.remove(place);
    let gap = server();
    publish(&gap.url(), &holed).await;
    let into = home.path("holed");
    let output = collect(&gap.url(), &into);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(&format!("missing: {range} are missing")), "{told}");
    publish(&gap.url(), &sent[place..=place]).await;
    let told = collected_ok(&gap.url(), &into);
    assert!(told.contains("whole: 1500 records; signed up to 1500"), "{told}");
    assert_eq!(check(&home, &only_instance(&into), &book), 1_500);

    // Another history under the same name: the chain tells.
    let forked = server();
    let mut fork = sent.clone();
    let foreign =
        v1::EvidenceRecords { records: vec![b"forged".to_vec(); usize::try_from(batch.count).expect("small")] };
    let mut payload = rechained(&batch, &foreign);
    payload.public_key.clone_from(&batch.public_key);
    fork.push((sent[place].0.clone(), payload.encode_to_vec()));
    publish(&forked.url(), &fork).await;
    let into = home.path("forked");
    let output = collect(&forked.url(), &into);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("are here with another content"), "{told}");
    assert_eq!(check(&home, &only_instance(&into), &book), 1_500, "nothing is overwritten");
}

/// A folder whose log has a gap: `Archive` reads it up to there.
fn only_instance_with_gap(into: &Path) -> PathBuf {
    // Reading on is an error there; a copy without what follows the gap is whole.
    let folder = only_instance(into);
    let copy = into.with_extension("copy");
    copy_folder(&folder, &copy);
    for gap in sidecar::files(&copy).into_iter().filter(|path| path.extension().is_some_and(|name| name == "gap")) {
        std::fs::remove_file(gap.with_extension("wal")).expect("removed");
    }
    copy
}

/// A batch with other records, its chain made to fit.
fn rechained(batch: &EvidenceBatch, records: &v1::EvidenceRecords) -> EvidenceBatch {
    let plain = records.encode_to_vec();
    let mut chain = batch.chain_before.clone();
    for record in &records.records {
        let mut text = chain;
        text.extend_from_slice(record);
        chain = ring::digest::digest(&ring::digest::SHA256, &text).as_ref().to_vec();
    }
    EvidenceBatch {
        chain_after: chain,
        records_bytes: plain.len() as u64,
        records_zstd: zstd::bulk::compress(&plain, 3).expect("compressed"),
        ..batch.clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_folder_is_a_new_origin_and_a_restored_one_is_withheld() {
    let (server, home, book) = (server(), home(), Book::default());
    let evidence = home.data().join("evidence");
    let older = home.path("older");
    let mut process = spawn(&home, &server.url(), &[]);
    let channel = ready(&mut process).await;
    ask_many(&channel, 400, &book).await;
    until_shipped(&home).await;
    stop(&mut process).await;
    copy_folder(&evidence, &older);
    let mut process = spawn(&home, &server.url(), &[]);
    let channel = ready(&mut process).await;
    ask_many(&channel, 400, &book).await;
    until_shipped(&home).await;
    stop(&mut process).await;

    // The copy of before takes its place.
    let newest = home.path("newest");
    std::fs::rename(&evidence, &newest).expect("moved");
    copy_folder(&older, &evidence);
    let mut process = spawn(&home, &server.url(), &[]);
    let channel = process.connect().await;
    let mut client = Client::new(channel);
    let denied = async || {
        let answered = ask(&mut client, newsletter("crm:1")).await.answer.expect("an answer");
        (answered.reason() == Reason::EvidenceUnavailable).then_some(())
    };
    eventually("the older log is withheld", denied).await;
    let (status, causes) = page(home.admin(), "/readyz");
    assert_eq!(status, 503);
    assert!(causes.contains("the evidence log is not the one that was shipped"), "{causes}");
    stop(&mut process).await;

    // The newest again: it goes on.
    std::fs::remove_dir_all(&evidence).expect("removed");
    std::fs::rename(&newest, &evidence).expect("moved back");
    let mut process = spawn(&home, &server.url(), &[]);
    let channel = ready(&mut process).await;
    ask_many(&channel, 100, &book).await;
    until_shipped(&home).await;
    stop(&mut process).await;
    let into = home.path("collected");
    collected_ok(&server.url(), &into);
    assert_eq!(check(&home, &only_instance(&into), &book), 900);

    // None: another instance.
    let first = home.path("first");
    std::fs::rename(&evidence, &first).expect("moved");
    let mut process = spawn(&home, &server.url(), &[]);
    let channel = ready(&mut process).await;
    ask_many(&channel, 200, &Book::default()).await;
    until_shipped(&home).await;
    stop(&mut process).await;
    collected_ok(&server.url(), &into);
    let folders = instances(&into);
    assert_eq!(folders.len(), 2, "{folders:?}");
    let mut counts: Vec<usize> = folders.iter().map(|folder| records(folder).len()).collect();
    counts.sort_unstable();
    assert_eq!(counts, [200, 900]);
    assert!(first.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_follows_loses_nothing_when_it_is_killed() {
    let mut random = Random::seeded("a_collector_that_follows");
    let (server, home, book) = (server(), home(), Book::default());
    let into = home.path("collected");
    let mut process = spawn(&home, &server.url(), &[]);
    let channel = ready(&mut process).await;
    for _ in 0..6 {
        let mut follower = Follower::start(&server.url(), &into);
        let pause = Duration::from_millis(300 + random.next() % 1500);
        tokio::join!(ask_many(&channel, 1_500, &book), tokio::time::sleep(pause));
        follower.0.kill().expect("killed");
        follower.0.wait().expect("gone");
    }
    // One that follows ends with a report when it is told to. It is told once it has collected something itself: before
    // that the signal may find a program that has only just begun.
    let mut follower = Follower::start(&server.url(), &into);
    ask_many(&channel, 500, &book).await;
    until_shipped(&home).await;
    stop(&mut process).await;
    let complete = async || {
        let folder = instances(&into).into_iter().next()?;
        let archive = Archive::open(&folder).ok()?;
        let month = *archive.months().ok()?.last()?;
        let mut count = 0;
        let read = archive.read(month, |_, _| {
            count += 1;
            ControlFlow::Continue(())
        });
        (read.is_ok() && count == 9_500).then_some(())
    };
    eventually("everything is collected", complete).await;
    let pid = rustix::process::Pid::from_child(&follower.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
    assert_eq!(follower.0.wait().expect("gone").code(), Some(0));
    collected_ok(&server.url(), &into);
    assert_eq!(check(&home, &only_instance(&into), &book), 9_500);
}

/// What a command said, and how it ended.
fn told(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = consentd(arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_the_shared_secret_finds_subjects_of_a_sidecar_that_is_gone() {
    let (server, home, book) = (server(), home(), Book::default());
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let (right, wrong) = (home.path("evidence.key"), home.path("other.key"));
    let secret: Vec<u8> = (100..132).collect();
    std::fs::write(&right, &secret).expect("written");
    std::fs::write(&wrong, [9; 32]).expect("written");
    let (right, wrong) = (text(&right), text(&wrong));
    let mut process = spawn(&home, &server.url(), &[("evidence.key_file", &right)]);
    let channel = ready(&mut process).await;
    ask_many(&channel, 200, &book).await;
    // While it is there it explains by itself what it answered, to whoever names the person.
    let mut client = Client::new(channel.clone());
    let evidence_id = ask(&mut client, newsletter("crm:9")).await.evidence_id;
    let mut replayed = async |subject: &str| {
        let question = Some(newsletter(subject));
        let asked = v1::ExplainRequest { question, evidence_id: evidence_id.clone() };
        client.explain(asked).await.map(|explained| explained.into_inner().replay.is_some())
    };
    assert!(replayed("crm:9").await.expect("explained"));
    assert_eq!(replayed("crm:8").await.expect_err("another's").code(), tonic::Code::NotFound);
    until_shipped(&home).await;
    stop(&mut process).await;
    for file in sidecar::files(&home.data()) {
        let bytes = std::fs::read(&file).expect("read");
        assert!(!bytes.windows(32).any(|window| window == secret), "{} holds the secret", file.display());
    }
    // The pod goes, and its volume with it.
    std::fs::remove_dir_all(home.data()).expect("removed");

    let into = home.path("collected");
    collected_ok(&server.url(), &into);
    let folder = only_instance(&into);
    let dir = text(&folder);
    let (mut batches, mut heads) = (Vec::new(), Vec::new());
    for (_, payload) in messages(&server.url()).await {
        assert!(!payload.windows(32).any(|window| window == secret), "a message holds the secret");
        let batch = EvidenceBatch::decode(payload.as_slice()).expect("a batch");
        if batch.count > 0 { &mut batches } else { &mut heads }.push(!batch.salt.is_empty());
    }
    // Also where the sidecar is killed before a head is signed.
    assert!(batches[0] && batches[1..].iter().all(|salted| !salted), "the first batch has the salt: {batches:?}");
    assert!(!heads.is_empty() && heads.iter().all(|salted| *salted), "each head has it: {heads:?}");
    let list = ["evidence", "list", "--dir", &dir, "--subject", "crm:7"];
    let with = |key: &'static str, file: &str| {
        [&list[..], &[key, file]].concat().iter().map(|one| (*one).to_owned()).collect::<Vec<_>>()
    };
    let run = |arguments: Vec<String>| told(&arguments.iter().map(String::as_str).collect::<Vec<_>>());

    let (code, found, why) = run(with("--key-file", &right));
    assert_eq!((code, found.lines().count()), (Some(0), 4), "{found}{why}");
    let mut asked: Vec<String> = Vec::new();
    for line in found.lines() {
        assert!(line.contains("ALLOW CONSENT"), "{line}");
        asked.push(line.split(' ').next().expect("an id").to_owned());
    }
    assert!(asked.iter().all(|id| book.lock().expect("not poisoned").contains(id)), "{asked:?}");
    let (code, found, _) = told(&["evidence", "list", "--dir", &dir, "--subject", "crm:nobody", "--key-file", &right]);
    assert_eq!((code, found.as_str()), (Some(0), ""));

    // Without the secret, or with another, it is never said that nobody was found.
    let (code, found, why) = told(&list);
    assert_eq!((code, found.as_str()), (Some(2), ""));
    assert!(why.contains(".salt") && why.contains("--key-file"), "{why}");
    let (code, found, why) = run(with("--key-file", &wrong));
    assert_eq!((code, found.as_str()), (Some(2), ""));
    assert!(why.contains("made of another shared secret than the one given"), "{why}");
    let (code, _, why) =
        told(&["evidence", "show", &asked[0], "--dir", &dir, "--subject", "crm:7", "--key-file", &wrong]);
    assert_eq!(code, Some(2));
    assert!(why.contains("made of another shared secret"), "{why}");
    let verify = ["evidence", "verify", "--dir", &dir, "--key-file"];
    assert_eq!(run([&verify[..], &[&wrong]].concat().iter().map(|one| (*one).to_owned()).collect()).0, Some(1));
    succeeded(&consentd(&[&verify[..], &[&right]].concat()));

    // One answer, whose it is and why.
    let show = ["evidence", "show", &asked[0], "--dir", &dir, "--key-file", &right, "--subject"];
    assert!(succeeded(&consentd(&[&show[..], &["crm:7"]].concat())).contains("ALLOW CONSENT"));
    assert_eq!(consentd(&[&show[..], &["crm:8"]].concat()).status.code(), Some(1));
    explained_with(&asked[0], &text(&into), &text(&home.ledger()), &right, &wrong);

    // The month's end: with its salt goes the way to anybody in it.
    let salts: Vec<PathBuf> = sidecar::files(&folder.join("keys"));
    assert!(!salts.is_empty() && salts.iter().all(|file| file.extension().is_some_and(|kind| kind == "salt")));
    for salt in &salts {
        std::fs::remove_file(salt).expect("removed");
    }
    let (code, found, why) = run(with("--key-file", &right));
    assert_eq!((code, found.as_str()), (Some(0), ""));
    assert!(why.contains("nobody can be found in") && why.contains("it was destroyed"), "{why}");
    succeeded(&consentd(&[&verify[..], &[&right]].concat()));
    // It does not come back by collecting what is new.
    collected_ok(&server.url(), &into);
    assert!(sidecar::files(&folder.join("keys")).is_empty());
}

/// An answer about `crm:7` in what was collected, explained with the secret, without it and with another.
fn explained_with(id: &str, all: &str, ledger: &str, right: &str, wrong: &str) {
    let explain = |subject: &'static str, more: &[&str]| {
        let arguments = ["explain", subject, "--evidence", id, "--dir", all, "--ledger", ledger, "--language", "en"];
        told(&[&arguments[..], more].concat())
    };
    let (code, explained, why) = explain("crm:7", &["--key-file", right]);
    assert_eq!(code, Some(0), "{explained}{why}");
    assert!(explained.contains("crm:7 · newsletter") && !explained.contains("--key-file"), "{explained}");
    let (code, explained, _) = explain("crm:7", &[]);
    assert_eq!(code, Some(0), "{explained}");
    assert!(
        explained.contains("the month's key is not here") && explained.contains("--key-file"),
        "nobody could tell whose it is: {explained}"
    );
    let (code, _, why) = explain("crm:8", &["--key-file", right]);
    assert_eq!(code, Some(2));
    assert!(why.contains("holds no answer about the subject"), "{why}");
    let (code, _, why) = explain("crm:7", &["--key-file", wrong]);
    assert_eq!(code, Some(2));
    assert!(why.contains("made of another shared secret"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_whose_secret_is_another_allows_nothing_until_it_is_back() {
    let (server, home) = (server(), home());
    let file = home.path("evidence.key");
    let settings = [("evidence.key_file", file.to_str().expect("UTF-8"))];
    let denied = async |cause: &str| {
        let mut process = spawn(&home, &server.url(), &settings);
        let channel = process.connect().await;
        let mut client = Client::new(channel.clone());
        let denies = async || {
            let answered = ask(&mut client, newsletter("crm:1")).await.answer.expect("an answer");
            assert_ne!(answered.reason(), Reason::Consent, "{cause}");
            (answered.reason() == Reason::EvidenceUnavailable).then_some(())
        };
        eventually("it denies because of its evidence", denies).await;
        let (status, causes) = page(home.admin(), "/readyz");
        assert_eq!(status, 503);
        assert!(causes.contains(cause), "{causes}");
        stop(&mut process).await;
    };
    denied("evidence.key` is missing").await;
    std::fs::write(&file, [1; 32]).expect("written");
    let mut process = spawn(&home, &server.url(), &settings);
    let channel = ready(&mut process).await;
    ask_many(&channel, 50, &Book::default()).await;
    stop(&mut process).await;
    std::fs::write(&file, [2; 32]).expect("written");
    denied("made of another shared secret than the one given").await;
    std::fs::write(&file, [1; 32]).expect("written");
    let mut process = spawn(&home, &server.url(), &settings);
    let channel = ready(&mut process).await;
    let book = Book::default();
    ask_many(&channel, 50, &book).await;
    until_shipped(&home).await;
    stop(&mut process).await;
    let into = home.path("collected");
    collected_ok(&server.url(), &into);
    assert_eq!(check(&home, &only_instance(&into), &book), 100);
}

/// A collector that goes on, killed with the test.
struct Follower(Child);

impl Follower {
    fn start(url: &str, into: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_consentd"));
        command.args(["evidence", "collect", "--follow", "--from", url, "--into"]).arg(into).env_clear();
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("it runs"))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evidence_survives_the_death_of_the_leader_of_three() {
    let mut cluster = Cluster::start(3);
    let files = cluster.certificates.clone();
    let text = |path: PathBuf| path.to_str().expect("UTF-8").to_owned();
    let (ca, cert, key) = (text(files.ca()), text(files.client_cert()), text(files.client_key()));
    let tls = ["--tls-ca", &ca, "--tls-cert", &cert, "--tls-key", &key];
    let urls = cluster.urls();
    succeeded(&consentd(&[&["evidence", "init", "--to", &urls][..], &tls].concat()));
    let (home, book) = (home(), Book::default());
    let settings = [
        ("evidence.ship_tls_ca_file", ca.as_str()),
        ("evidence.ship_tls_cert_file", &cert),
        ("evidence.ship_tls_key_file", &key),
    ];
    let mut process = spawn(&home, &urls, &settings);
    let channel = ready(&mut process).await;
    for _ in 0..2 {
        let leader = leader(&urls, &files).await;
        let asking = ask_many(&channel, 3_000, &book);
        let killing = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            cluster.node(&leader).kill();
        };
        tokio::join!(asking, killing);
        ask_many(&channel, 1_000, &book).await;
        until_shipped(&home).await;
        cluster.node(&leader).restart();
    }
    stop(&mut process).await;
    let into = home.path("collected");
    let arguments = ["evidence", "collect", "--from", &urls, "--into", into.to_str().expect("UTF-8")];
    succeeded(&consentd(&[&arguments[..], &tls].concat()));
    assert_eq!(check(&home, &only_instance(&into), &book), 8_000);
}

/// The server that leads the stream.
async fn leader(urls: &str, files: &nats::Certificates) -> String {
    let config =
        consentd::nats::Config { tls: files.tls(), ..consentd::nats::Config::new(urls.parse().expect("addresses")) };
    let context = jetstream::new(consentd::nats::connect(&config).await.expect("connected"));
    eventually("the stream has a leader", async || {
        let stream = context.get_stream(STREAM).await.ok()?;
        stream.cached_info().cluster.as_ref()?.leader.clone()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_would_lose_evidence_is_refused_and_nothing_is_shipped_to_it() {
    let server = NatsServer::start(&Options::default());
    let context = jetstream::new(async_nats::connect(server.url()).await.expect("connected"));
    let careless = jetstream::stream::Config {
        name: STREAM.to_owned(),
        subjects: vec!["consent.evidence.*".to_owned()],
        storage: StorageType::Memory,
        max_bytes: 1 << 20,
        ..jetstream::stream::Config::default()
    };
    context.create_stream(careless).await.expect("made");
    let refused = consentd(&["evidence", "init", "--to", &server.url()]);
    assert_eq!(refused.status.code(), Some(2));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("it is kept in memory") && told.contains("drops its oldest"), "{told}");
    let (home, book) = (home(), Book::default());
    let mut process = spawn(&home, &server.url(), &[]);
    let channel = ready(&mut process).await;
    ask_many(&channel, 200, &book).await;
    let failing = async || (metric(&home, "consentd_evidence_ship_failing ") > 0.5).then_some(());
    eventually("it says so", failing).await;
    assert!(messages(&server.url()).await.is_empty());
    assert!(std::fs::read_to_string(home.log()).expect("a log").contains("would lose evidence"));
    stop(&mut process).await;
}
