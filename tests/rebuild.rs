//! Whatever becomes of the local store, the ledger gives the same answers (P7): after a restart, a kill, a wipe, a
//! roll-back and damage anywhere in it. Until then: a denial that says so, never a wrong ALLOW, and never a process that
//! ends.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/sidecar.rs"]
mod sidecar;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use consentd::proto::v1;
use consentd::proto::v1::Reason;
use sidecar::{
    Client, Home, PATIENCE, Process, Random, append, batch_question, copy_folder, erasure, files, given, link,
    newsletter, now_ms, reason, said, unreadable, until_reason, until_serving, withdrawn, write_file,
};

const SUBJECTS: usize = 100;
const PURPOSES: [&str; 3] = ["newsletter", "newsletter.weekly", "analytics"];
const CHANNELS: [&str; 2] = ["email", "sms"];

/// A ledger with everything in it that a store has to hold.
fn lines(random: &mut Random) -> Vec<String> {
    let now = now_ms();
    let mut lines = vec![sidecar::catalogue(1)];
    for _ in 0..SUBJECTS * 6 {
        let subject = format!("crm:{}", random.below(SUBJECTS));
        let at = now - 86_400_000 + i64::try_from(random.below(80_000_000)).expect("small");
        lines.push(match random.below(30) {
            0 => link(&subject, &format!("crm:{}", random.below(SUBJECTS)), at),
            1 => erasure(&subject, at),
            2 => unreadable(&subject, at),
            _ => {
                let status = random.pick(&["GIVEN", "GIVEN", "GIVEN", "RENEWED", "WITHDRAWN", "REFUSED", "REQUESTED"]);
                said(&subject, random.pick(&PURPOSES), random.pick(&["email", "sms", "*"]), status, at)
            }
        });
    }
    lines
}

fn write_lines(home: &Home, lines: &[String]) {
    append(&home.ledger(), (lines.join("\n") + "\n").as_bytes());
}

/// The answers to every question there is about these subjects.
async fn answers(client: &mut Client) -> Vec<Reason> {
    let mut questions = Vec::new();
    for number in 0..SUBJECTS {
        for purpose in PURPOSES {
            for channel in CHANNELS {
                questions.push(v1::BatchQuestion {
                    purpose: Some(purpose.to_owned()),
                    channel: Some(channel.to_owned()),
                    ..batch_question(&format!("crm:{number}"))
                });
            }
        }
    }
    let request = v1::MayProcessBatchRequest { context: None, questions };
    let answered = client.may_process_batch(request).await.expect("answered").into_inner();
    answered.answers.iter().map(v1::Answer::reason).collect()
}

/// Asks from the first moment on until all answers are those of the reference. Before that, each is, or is a denial that
/// says that the store is not to be had.
async fn until_equal(process: &mut Process, reference: &[Reason], what: &str) {
    let deadline = Instant::now() + PATIENCE;
    let mut client = Client::new(process.connect().await);
    loop {
        let found = answers(&mut client).await;
        if found == reference {
            return;
        }
        for (place, (found, wanted)) in found.iter().zip(reference).enumerate() {
            let waits = matches!(found, Reason::StoreUnavailable | Reason::ReplicaBuilding);
            assert!(waits || found == wanted, "{what}: question {place}: {found:?} where {wanted:?} is right");
        }
        assert!(process.is_running(), "{what}: the process has ended");
        assert!(Instant::now() < deadline, "{what}: not rebuilt within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A home with a store that was closed in order, and the right answers. The store was opened again once: it has a
/// snapshot then, too.
async fn prepared(random: &mut Random) -> (Home, Vec<Reason>) {
    let home = Home::new();
    write_lines(&home, &lines(random));
    let mut process = Process::spawn(&home, &[]);
    until_serving(&process.connect().await).await;
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
    let mut process = Process::spawn(&home, &[]);
    let channel = process.connect().await;
    until_serving(&channel).await;
    let reference = answers(&mut Client::new(channel)).await;
    let allowed = reference.iter().filter(|reason| i32::from(**reason) < 100).count();
    assert!(allowed > reference.len() / 10 && allowed < reference.len() * 9 / 10, "{allowed} allowed");
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
    (home, reference)
}

fn store(home: &Home) -> PathBuf {
    home.data().join("replica")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_the_same_after_a_restart_a_kill_and_a_wipe() {
    let mut random = Random::seeded("answers_are_the_same_after_a_restart_a_kill_and_a_wipe");
    let (home, reference) = prepared(&mut random).await;
    until_equal(&mut Process::spawn(&home, &[]), &reference, "after a restart").await;

    let someone = newsletter("crm:someone");
    for round in 0..10 {
        let mut process = Process::spawn(&home, &[]);
        until_equal(&mut process, &reference, "after a kill").await;
        let client = Client::new(process.connect().await);
        // The kill comes while something is being applied, at some moment or other.
        let is_given = round % 2 == 0;
        let status = if is_given { "GIVEN" } else { "WITHDRAWN" };
        home.append(&said("crm:someone", "newsletter", "email", status, now_ms() - 60_000 + round));
        tokio::time::sleep(Duration::from_micros(random.next() % 30_000)).await;
        process.kill();
        drop(client);
        let mut process = Process::spawn(&home, &[]);
        let client = Client::new(process.connect().await);
        until_reason(&client, &someone, if is_given { Reason::Consent } else { Reason::Withdrawn }).await;
        process.kill();
    }

    std::fs::remove_dir_all(store(&home)).expect("wiped");
    until_equal(&mut Process::spawn(&home, &[]), &reference, "after a wipe").await;
    std::fs::remove_dir_all(store(&home)).expect("wiped");
    write_file(&store(&home), b"a file where the folder was");
    until_equal(&mut Process::spawn(&home, &[]), &reference, "after a wipe that left a file").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_of_the_store_catches_up_with_the_ledger() {
    let mut random = Random::seeded("an_older_copy_of_the_store_catches_up_with_the_ledger");
    let home = Home::new();
    let lines = lines(&mut random);
    let (before, after) = lines.split_at(lines.len() / 2);
    let older = home.path("older");
    for part in [before, after] {
        write_lines(&home, part);
        let mut process = Process::spawn(&home, &[]);
        until_serving(&process.connect().await).await;
        process.terminate();
        assert_eq!(process.ended().await.code(), Some(0));
        if !older.exists() {
            copy_folder(&store(&home), &older);
        }
    }
    let mut process = Process::spawn(&home, &[]);
    let channel = process.connect().await;
    until_serving(&channel).await;
    let reference = answers(&mut Client::new(channel)).await;
    process.kill();
    std::fs::remove_dir_all(store(&home)).expect("removed");
    copy_folder(&older, &store(&home));
    until_equal(&mut Process::spawn(&home, &[]), &reference, "after a roll-back").await;
}

/// The store would have known that the ledger is shorter than it was; what is read anew must not be taken for the whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_was_cut_is_noticed_though_the_store_is_lost() {
    let home = Home::with_catalogue();
    let someone = newsletter("crm:someone");
    home.append(&said("crm:someone", "newsletter", "email", "GIVEN", now_ms() - 60_000));
    let before = std::fs::metadata(home.ledger()).expect("there").len();
    home.append(&said("crm:someone", "newsletter", "email", "WITHDRAWN", now_ms() - 30_000));
    let mut process = Process::spawn(&home, &[]);
    until_reason(&Client::new(process.connect().await), &someone, Reason::Withdrawn).await;
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));

    let ledger = std::fs::OpenOptions::new().write(true).open(home.ledger()).expect("opened");
    ledger.set_len(before).expect("cut");
    for round in 0..4 {
        if round == 2 {
            // It has grown again, and is longer than it ever was.
            home.append(&said("crm:other", "newsletter", "email", "GIVEN", now_ms()));
            home.append(&said("crm:other", "newsletter", "email", "GIVEN", now_ms()));
        }
        write_file(&store(&home).join("db"), &vec![0xa5; 100_000]);
        let mut process = Process::spawn(&home, &[]);
        until_reason(&Client::new(process.connect().await), &someone, Reason::LedgerBroken).await;
        process.kill();
        assert!(store(&home).join("seen").exists(), "round {round}: how far it had come goes on being known");
    }
    std::fs::remove_dir_all(store(&home)).expect("removed");
    let mut process = Process::spawn(&home, &[]);
    until_reason(&Client::new(process.connect().await), &someone, Reason::Consent).await;
    process.kill();
}

/// Parts of an older copy in the middle of a newer one: writes that were lost on the way to the device. Each part is
/// sound in itself, and what it says was true once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_were_lost_are_noticed() {
    const BLOCK: u64 = 4096;
    let mut random = Random::seeded("writes_that_were_lost_are_noticed");
    let home = Home::new();
    let lines = lines(&mut random);
    let copies = [home.path("older"), home.path("newer")];
    let (before, after) = lines.split_at(lines.len() / 2);
    for (part, copy) in [before, after].into_iter().zip(&copies) {
        write_lines(&home, part);
        for _ in 0..2 {
            let mut process = Process::spawn(&home, &[]);
            until_serving(&process.connect().await).await;
            process.terminate();
            assert_eq!(process.ended().await.code(), Some(0));
        }
        copy_folder(&store(&home), copy);
    }
    let mut process = Process::spawn(&home, &[]);
    let channel = process.connect().await;
    until_serving(&channel).await;
    let reference = answers(&mut Client::new(channel)).await;
    process.kill();

    let [older, newer] = copies.each_ref().map(|copy| std::fs::read(copy.join("db")).expect("read"));
    let blocks: Vec<u64> = (0..older.len().min(newer.len()) as u64 / BLOCK).collect();
    let differs = |block: &u64| {
        let range =
            usize::try_from(block * BLOCK).expect("small")..usize::try_from((block + 1) * BLOCK).expect("small");
        older[range.clone()] != newer[range]
    };
    let differing: Vec<u64> = blocks.into_iter().filter(differs).collect();
    for round in 0..24 {
        let _ = std::fs::remove_dir_all(store(&home));
        // Either the whole file beside the newer snapshot, or some of the blocks that differ.
        let base = if round % 6 == 1 { &copies[0] } else { &copies[1] };
        copy_folder(base, &store(&home));
        let what = if round % 6 < 2 {
            // 0: the older file with the newer snapshot; 1: the newer file with the older snapshot.
            let bytes = if round % 6 == 0 { &older } else { &newer };
            write_file(&store(&home).join("db"), bytes);
            "a file of another time".to_owned()
        } else {
            let file = OpenOptions::new().write(true).open(store(&home).join("db")).expect("opened");
            let from = random.below(differing.len());
            let lost = &differing[from..(from + 1 + random.below(40)).min(differing.len())];
            for block in lost {
                let at = usize::try_from(block * BLOCK).expect("small");
                file.write_all_at(&older[at..at + 4096], block * BLOCK).expect("written");
            }
            for name in files(&store(&home)).iter().filter(|name| name.to_string_lossy().contains("/snap.")) {
                // Without its snapshot sled reads the file from the beginning.
                if round % 2 == 0 {
                    std::fs::remove_file(name).expect("removed");
                }
            }
            format!("blocks {lost:?} of another time")
        };
        let mut process = Process::spawn(&home, &[]);
        until_equal(&mut process, &reference, &what).await;
        process.kill();
    }
}

/// What can happen to a file.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Bit { at: u64, bit: u8 },
    ZeroPage { at: u64 },
    Truncated { to: u64 },
    Garbage,
    Deleted,
}

fn damage(path: &Path, damage: Damage) {
    if let Damage::Deleted = damage {
        return std::fs::remove_file(path).expect("deleted");
    }
    damage_within(&OpenOptions::new().read(true).write(true).open(path).expect("opened"), damage);
}

fn damage_within(file: &File, damage: Damage) {
    let length = file.metadata().expect("there").len();
    match damage {
        Damage::Bit { at, bit } => {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).expect("read");
            byte[0] ^= 1 << bit;
            file.write_all_at(&byte, at).expect("written");
        }
        Damage::ZeroPage { at } => {
            let page = vec![0; usize::try_from(4096.min(length - at)).expect("small")];
            file.write_all_at(&page, at).expect("written");
        }
        Damage::Truncated { to } => file.set_len(to).expect("cut"),
        Damage::Garbage => file.write_all_at(&[0xa5; 5000], length).expect("written"),
        Damage::Deleted => {}
    }
}

/// What to try on a file: bits all over it, and in particular where something is written.
fn damages(path: &Path, random: &mut Random) -> Vec<Damage> {
    let bytes = std::fs::read(path).expect("read");
    let length = bytes.len() as u64;
    let mut all = vec![Damage::Garbage, Damage::Deleted, Damage::Truncated { to: 0 }];
    if length == 0 {
        return all;
    }
    let bit = |random: &mut Random, at| Damage::Bit { at, bit: u8::try_from(random.below(8)).expect("small") };
    let stride = length.div_ceil(8);
    for step in 0..8 {
        let at = (step * stride + random.next() % stride).min(length - 1);
        all.push(bit(random, at));
    }
    let written: Vec<u64> = (0..length).zip(&bytes).filter(|(_, byte)| **byte != 0).map(|(at, _)| at).collect();
    if !written.is_empty() {
        for _ in 0..24 {
            let at = random.pick(&written);
            all.push(bit(random, at));
        }
        for _ in 0..5 {
            let at = random.pick(&written);
            all.push(Damage::ZeroPage { at: at / 4096 * 4096 });
            all.push(Damage::Truncated { to: at });
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_anywhere_in_the_store_is_noticed_and_repaired() {
    let mut random = Random::seeded("damage_anywhere_in_the_store_is_noticed_and_repaired");
    let (home, reference) = prepared(&mut random).await;
    let sound = home.path("sound");
    copy_folder(&store(&home), &sound);
    let aside = store(&home).with_extension("set-aside");
    let (mut rounds, mut noticed) = (0, 0);
    for kind in ["conf", "db", "snap."] {
        let is_there = files(&sound).iter().any(|file| file.to_string_lossy().contains(&format!("/{kind}")));
        assert!(is_there, "the store has no `{kind}`: {:?}", files(&sound));
    }
    for file in files(&sound) {
        let name = file.strip_prefix(&sound).expect("below").to_owned();
        for what in damages(&file, &mut random) {
            for folder in [&store(&home), &aside] {
                let _ = std::fs::remove_dir_all(folder);
            }
            copy_folder(&sound, &store(&home));
            damage(&store(&home).join(&name), what);
            let mut process = Process::spawn(&home, &[]);
            until_equal(&mut process, &reference, &format!("`{}`, {what:?}", name.display())).await;
            process.kill();
            rounds += 1;
            noticed += u32::from(aside.exists());
        }
    }
    println!("{rounds} damages, of which {noticed} had the store rebuilt");
    assert!(rounds >= 60, "only {rounds} damages were tried");
    assert!(noticed >= 10, "only {noticed} of {rounds} damages were noticed: nothing was tested");
}

/// Pages that are damaged under a running sidecar, and are read when a subject is asked for that is not in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_under_a_running_sidecar_allows_nothing_wrong() {
    const MANY: usize = 12_000;
    let mut random = Random::seeded("damage_under_a_running_sidecar_allows_nothing_wrong");
    let home = Home::with_catalogue();
    let mut lines = Vec::new();
    for number in 0..MANY {
        let subject = format!("crm:{number}");
        lines.push(given(&subject));
        if number % 2 == 0 {
            lines.push(withdrawn(&subject));
        }
    }
    write_lines(&home, &lines);
    // As little in memory as can be set, so that pages are read again.
    let small = [("replica.store_cache_bytes", "1MiB"), ("replica.cache_bytes", "1MiB")];
    let mut process = Process::spawn(&home, &small);
    until_serving(&process.connect().await).await;
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));

    let mut process = Process::spawn(&home, &small);
    let channel = process.connect().await;
    until_serving(&channel).await;
    let mut client = Client::new(channel);
    let path = store(&home).join("db");
    let length = std::fs::metadata(&path).expect("there").len();
    // One handle for all pages: the sidecar may find the first and set the file aside before the last is damaged.
    let file = OpenOptions::new().read(true).write(true).open(&path).expect("opened");
    for _ in 0..length / 4096 {
        damage_within(&file, Damage::ZeroPage { at: random.next() % length / 4096 * 4096 });
    }
    let context = v1::Context { purpose: "newsletter".into(), channel: "email".into(), ..v1::Context::default() };
    let mut unavailable = 0;
    let deadline = Instant::now() + PATIENCE * 2;
    let mut is_whole = false;
    while !is_whole {
        is_whole = true;
        for start in (0..MANY).step_by(3_000) {
            let questions = (start..start + 3_000).map(|number| batch_question(&format!("crm:{number}"))).collect();
            let request = v1::MayProcessBatchRequest { context: Some(context.clone()), questions };
            let answered = client.may_process_batch(request).await.expect("answered").into_inner();
            for (number, answer) in (start..).zip(&answered.answers) {
                let right = if number % 2 == 0 { Reason::Withdrawn } else { Reason::Consent };
                let found = answer.reason();
                if found != right {
                    assert!(
                        matches!(found, Reason::StoreUnavailable | Reason::ReplicaBuilding),
                        "crm:{number}: {found:?} where {right:?} is right"
                    );
                    is_whole = false;
                    unavailable += 1;
                }
            }
        }
        assert!(process.is_running(), "the process has ended");
        assert!(Instant::now() < deadline, "not rebuilt in time");
    }
    println!("{unavailable} answers were denied until the store was rebuilt");
    assert!(store(&home).with_extension("set-aside").exists(), "the damage was never read: nothing was tested");
    // The new store takes what comes.
    home.append(&withdrawn("crm:1"));
    until_reason(&client, &newsletter("crm:1"), Reason::Withdrawn).await;
    assert_eq!(reason(&mut client, newsletter("crm:3")).await, Reason::Consent);
}
