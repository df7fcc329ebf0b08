//! No answer without evidence (P1): what a client has received is in the log, whenever the process was killed, and
//! nothing is allowed once the log cannot be written.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/sidecar.rs"]
mod sidecar;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use consentd::evidence::{Archive, EvidenceId, Month, YearMonth};
use consentd::proto::v1;
use consentd::proto::v1::{EvidenceRecord, Reason};
use sidecar::{
    Client, Home, PATIENCE, Process, Random, SERVICE, append, ask, batch_question, eventually, given, health,
    newsletter, page, until_serving, withdrawn,
};
use tonic::transport::Channel;
use tonic_health::ServingStatus;

const SUBJECTS: usize = 30;

/// What a client was told: whom it asked about and why each answer is as it is.
#[derive(Debug, Clone)]
struct Received {
    evidence_id: String,
    answers: Vec<(String, Reason)>,
}

type Book = Arc<Mutex<Vec<Received>>>;

fn home_with_subjects() -> Home {
    let home = Home::with_catalogue();
    let mut lines = String::new();
    for number in (0..SUBJECTS).filter(|number| number % 3 != 2) {
        lines += &(given(&format!("crm:{number}")) + "\n");
        if number % 3 == 1 {
            lines += &(withdrawn(&format!("crm:{number}")) + "\n");
        }
    }
    append(&home.ledger(), lines.as_bytes());
    home
}

/// Asks one question after another until there is nobody to ask, and notes each answer once it was received.
async fn ask_unary(channel: Channel, mut random: Random, book: Book) {
    let mut client = Client::new(channel);
    loop {
        let subject = format!("crm:{}", random.below(SUBJECTS));
        let request = v1::MayProcessRequest { question: Some(newsletter(&subject)) };
        let Ok(answered) = client.may_process(request).await else { return };
        let answered = answered.into_inner();
        let answers = vec![(subject, answered.answer.expect("an answer").reason())];
        book.lock().expect("not poisoned").push(Received { evidence_id: answered.evidence_id, answers });
    }
}

/// The same with batches.
async fn ask_batches(channel: Channel, mut random: Random, book: Book) {
    let mut client = Client::new(channel);
    loop {
        let subjects: Vec<String> = (0..=random.below(40)).map(|_| format!("crm:{}", random.below(SUBJECTS))).collect();
        let request = v1::MayProcessBatchRequest {
            context: Some(v1::Context {
                purpose: "newsletter".into(),
                channel: "email".into(),
                ..v1::Context::default()
            }),
            questions: subjects.iter().map(|subject| batch_question(subject)).collect(),
        };
        let Ok(answered) = client.may_process_batch(request).await else { return };
        let answered = answered.into_inner();
        let answers = subjects.into_iter().zip(answered.answers.iter().map(v1::Answer::reason)).collect();
        book.lock().expect("not poisoned").push(Received { evidence_id: answered.evidence_id, answers });
    }
}

/// Every record of a log, by month and index.
fn records(archive: &Archive) -> HashMap<(YearMonth, u64), EvidenceRecord> {
    let mut records = HashMap::new();
    for month in archive.months().expect("listed") {
        let read = archive.read(month, |index, record| {
            records.insert((month, index), record);
            ControlFlow::Continue(())
        });
        read.expect("readable to its end");
    }
    records
}

/// Checks that everything that was received is in the log, with the same reasons about the same subjects. Gives how many
/// records there are.
fn check(evidence: &Path, book: &Book) -> usize {
    let archive = Archive::open(evidence).expect("a log");
    let records = records(&archive);
    let mut months: HashMap<YearMonth, Month> = HashMap::new();
    let mut seen = HashMap::new();
    for received in &*book.lock().expect("not poisoned") {
        if received.evidence_id.is_empty() {
            let denied = received.answers.iter().all(|(_, reason)| *reason == Reason::EvidenceUnavailable);
            assert!(denied, "answers without evidence: {received:?}");
            continue;
        }
        let id: EvidenceId = received.evidence_id.parse().expect("an id");
        assert_eq!(id.instance, archive.instance());
        let before = seen.insert((id.month, id.index), received.clone());
        assert!(before.is_none(), "one id for two answers: {before:?} and {received:?}");
        let record = records.get(&(id.month, id.index));
        let record = record.unwrap_or_else(|| panic!("the evidence of a received answer is missing: {received:?}"));
        let reasons: Vec<Reason> = record.reasons().collect();
        let told: Vec<Reason> = received.answers.iter().map(|(_, reason)| *reason).collect();
        assert_eq!(reasons, told, "{received:?}");
        let month = months.entry(id.month).or_insert_with(|| archive.month(id.month).expect("a key"));
        let tags: Vec<u8> = received.answers.iter().flat_map(|(subject, _)| month.tag(subject)).collect();
        assert_eq!(record.subject_tags, tags, "{received:?}");
        assert_eq!((record.purpose.as_str(), record.channel.as_str()), ("newsletter", "email"));
    }
    records.len()
}

/// Starts, lets four clients ask, kills at a random moment; as often as asked.
async fn kill_again_and_again(test: &str, stage: &str, rounds: u32) {
    let mut random = Random::seeded(test);
    let home = home_with_subjects();
    let evidence = home.data().join("evidence");
    let book = Book::default();
    let mut rounds_with_answers = 0;
    for round in 1..=rounds {
        let settings =
            [("evidence.stage", stage), ("evidence.segment_bytes", "1MiB"), ("evidence.checkpoint_interval", "100ms")];
        let mut process = Process::spawn(&home, &settings);
        let channel = process.connect().await;
        until_serving(&channel).await;
        let before = book.lock().expect("not poisoned").len();
        let mut clients =
            vec![tokio::spawn(ask_batches(channel.clone(), Random::from_seed(random.next()), Arc::clone(&book)))];
        for _ in 0..3 {
            let random = Random::from_seed(random.next());
            clients.push(tokio::spawn(ask_unary(channel.clone(), random, Arc::clone(&book))));
        }
        tokio::time::sleep(Duration::from_micros(random.next() % 120_000)).await;
        process.kill();
        for client in clients {
            client.await.expect("clients end with the process");
        }
        rounds_with_answers += u32::from(book.lock().expect("not poisoned").len() > before);
        if round % 10 == 0 {
            check(&evidence, &book);
        }
    }
    // Opening once more recovers and signs; what was received must be there then as well, and the log be sound.
    let mut process = Process::spawn(&home, &[("evidence.stage", stage)]);
    until_serving(&process.connect().await).await;
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
    let found = check(&evidence, &book);
    let received = book.lock().expect("not poisoned").len();
    println!("{rounds} kills, {received} answered calls received, {found} records in the log");
    assert!(rounds_with_answers > rounds / 2, "only {rounds_with_answers} of {rounds} rounds received an answer");
    let reports = Archive::open(&evidence).and_then(|archive| archive.verify(None, None)).expect("readable");
    assert!(reports.iter().all(|report| report.problems.is_empty() && report.lost_files == 0), "{reports:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_received_answer_is_missing_after_kills_with_written_evidence() {
    let test = "no_received_answer_is_missing_after_kills_with_written_evidence";
    kill_again_and_again(test, "written", 50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_received_answer_is_missing_after_kills_with_synced_evidence() {
    let test = "no_received_answer_is_missing_after_kills_with_synced_evidence";
    kill_again_and_again(test, "synced", 12).await;
}

/// A file system of its own, as small as is wanted; unmounted with the test.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(folder: &'a Path, size: &str) -> Self {
        std::fs::create_dir_all(folder).expect("made");
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder).output();
        let mounted = mounted.expect("`mount` runs");
        assert!(
            mounted.status.success(),
            "a full disk can only be tried on a small file system, which takes root to mount (`sudo -E cargo test`, or \
             a container with CAP_SYS_ADMIN): {}",
            String::from_utf8_lossy(&mounted.stderr)
        );
        Self(folder)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_everything_is_denied_and_nothing_acknowledged_is_lost() {
    let test = "on_a_full_disk_everything_is_denied_and_nothing_acknowledged_is_lost";
    let mut random = Random::seeded(test);
    let home = home_with_subjects();
    let evidence = home.data().join("evidence");
    let _disk = SmallDisk::mount(&evidence, "3m");
    let settings = [("evidence.segment_bytes", "1MiB"), ("server.tcp", "127.0.0.1:0"), ("admin.tcp", "127.0.0.1:0")];
    let mut process = Process::spawn(&home, &settings);
    let channel = process.connect().await;
    until_serving(&channel).await;
    let mut client = Client::new(channel.clone());
    let book = Book::default();
    let batches = tokio::spawn(ask_batches(channel.clone(), Random::from_seed(random.next()), Arc::clone(&book)));
    let unaries = tokio::spawn(ask_unary(channel.clone(), Random::from_seed(random.next()), Arc::clone(&book)));

    let deadline = Instant::now() + PATIENCE;
    let reason = async |client: &mut Client| ask(client, newsletter("crm:0")).await.answer.expect("an answer").reason();
    while reason(&mut client).await != Reason::EvidenceUnavailable {
        assert!(Instant::now() < deadline, "3 MiB were not filled in time");
    }
    let not_serving = async || (health(&channel, SERVICE).await == ServingStatus::NotServing).then_some(());
    eventually("the health says so", not_serving).await;
    let (status, causes) = page(home.admin(), "/readyz");
    assert_eq!(status, 503);
    assert!(causes.contains("evidence: "), "{causes}");
    for _ in 0..20 {
        assert_eq!(reason(&mut client).await, Reason::EvidenceUnavailable);
    }
    assert!(process.is_running(), "a full disk ends nothing");
    let acknowledged = |book: &Book| {
        let book = book.lock().expect("not poisoned");
        book.iter().filter(|received| !received.evidence_id.is_empty()).count()
    };
    assert!(acknowledged(&book) > 1_000, "only {} answers before the disk was full", acknowledged(&book));
    process.kill();
    batches.await.expect("clients end with the process");
    unaries.await.expect("clients end with the process");
    check(&evidence, &book);

    // With room again, and a start, all goes on where it stopped.
    let remounted = Command::new("mount").args(["-o", "remount,size=64m"]).arg(&evidence).status().expect("runs");
    assert!(remounted.success());
    let mut process = Process::spawn(&home, &settings);
    let channel = process.connect().await;
    until_serving(&channel).await;
    assert_eq!(reason(&mut Client::new(channel)).await, Reason::Consent);
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
    let found = check(&evidence, &book);
    println!("{} calls acknowledged, {found} records in the log", acknowledged(&book));
}
