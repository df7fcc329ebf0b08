//! Batches in every order, twice, cut differently, through kills: what is collected is the log, each record once.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use ring::signature::{Ed25519KeyPair, KeyPair};
use tempfile::TempDir;

use super::folder::Folder;
use super::place::ReadUpTo;
use super::*;
use crate::evidence::batch::{Place, Sender};
use crate::evidence::checkpoint::{Checkpoint, origin};
use crate::evidence::files::Layout;
use crate::evidence::format::{CHAIN_START, chain_after};
use crate::evidence::id::{Instance, YearMonth};
use crate::evidence::keys::{Salt, SharedSecret};
use crate::evidence::levels::Levels;
use crate::evidence::merkle::leaf_hash;
use crate::evidence::tests::encoded;
use crate::evidence::tree::Signer;
use crate::evidence::{Archive, Cause};
use crate::proto::v1::EvidenceRecords;

const RECORDS: u64 = 500;

/// `splitmix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// A sidecar's month, and the messages that it could send.
struct Source {
    sender: Sender,
    pair: Ed25519KeyPair,
    month: YearMonth,
    records: Vec<Vec<u8>>,
    chains: Vec<[u8; 32]>,
    /// What its messages bring as the salt.
    salt: String,
}

impl Source {
    fn new() -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
        let public = pair.public_key().as_ref().try_into().expect("32 bytes");
        let instance: Instance = "0123456789abcdef".parse().expect("an instance");
        let records = encoded(0..RECORDS);
        let mut chains = vec![CHAIN_START];
        for record in &records {
            chains.push(chain_after(chains.last().expect("a chain"), record));
        }
        let month = "2026-11".parse().expect("a month");
        Self { sender: Sender { instance, public }, pair, month, records, chains, salt: String::new() }
    }

    fn place(&self, index: u64) -> Place {
        Place { month: self.month, index, chain: self.chains[usize::try_from(index).expect("small")] }
    }

    fn batch(&self, from: u64, to: u64) -> Vec<u8> {
        let range = usize::try_from(from).expect("small")..usize::try_from(to).expect("small");
        let records = EvidenceRecords { records: self.records[range].to_vec() };
        let (from, to) = (self.place(from), self.place(to));
        let mut sent = self
            .sender
            .records(&from, to.index - from.index, &to.chain, &records, &self.salt, 1 << 20)
            .expect("compressed");
        sent.remove(0).payload
    }

    fn head(&self, size: u64) -> Vec<u8> {
        let mut levels = Levels::default();
        for record in self.records.iter().take(usize::try_from(size).expect("small")) {
            levels.push(leaf_hash(record), |_, _, _| Ok::<(), ()>(())).expect("nothing fails");
        }
        let head = Checkpoint { size, root: levels.root() };
        let note = head.sign(&origin(self.sender.instance, self.month), &self.pair, &self.sender.public);
        self.sender.checkpoint(&self.place(size), &note, size, &head.root, &self.salt).payload
    }

    /// The payloads that were collected.
    fn collected(&self, dir: &Path) -> Vec<Vec<u8>> {
        let archive = Archive::open(&dir.join(self.sender.instance.to_string())).expect("a log");
        let mut payloads = Vec::new();
        let read = archive.read(self.month, |_, record| {
            payloads.push(prost::Message::encode_to_vec(&record));
            ControlFlow::Continue(())
        });
        read.expect("readable to its end");
        payloads
    }

    fn assert_verifies(&self, dir: &Path) {
        let archive = Archive::open(&dir.join(self.sender.instance.to_string())).expect("a log");
        let reports = archive.verify(None, None).expect("readable");
        assert_eq!(reports.len(), 1);
        assert_eq!(reports[0].problems, Vec::<String>::new());
        assert_eq!(reports[0].checkpoint.map(|head| head.size), Some(RECORDS));
    }
}

fn note(next: u64) -> ReadUpTo {
    ReadUpTo { stream: "E".to_owned(), made: 1, next }
}

/// Leaves the beginning of a frame at the end of a segment, as a kill in the middle of a write does.
fn tear(dir: &Path, instance: Instance, random: &mut Random) {
    let layout = crate::evidence::files::Layout::new(&dir.join(instance.to_string()));
    let Some(month) = layout.months().expect("listed").pop() else { return };
    let segments = layout.segments(month).expect("listed");
    let segment = segments.last().expect("a segment");
    let bytes = fs::read(&segment.path).expect("read");
    let torn = bytes[..usize::try_from(random.below(90)).expect("small")].to_vec();
    OpenOptions::new().append(true).open(&segment.path).expect("opened").write_all(&torn).expect("written");
}

/// Reads messages through a folder that is killed now and then.
fn read_all(dir: &Path, instance: Instance, messages: &[Vec<u8>], random: &mut Random) -> Collected {
    // Another test that starts a process has, between fork and exec, a copy of every lock that was open here.
    let open = || -> Result<Folder, Cause> {
        for _ in 0..200 {
            match Folder::open(dir, None) {
                Err(cause) if cause.to_string().starts_with("another process") => sleep(Duration::from_millis(5)),
                other => return other,
            }
        }
        Folder::open(dir, None)
    };
    let mut folder = open().expect("opened");
    let mut next = 1;
    let mut kills = 0;
    while let Some(message) = messages.get(usize::try_from(next - 1).expect("small")) {
        folder.take(next, message).expect("taken");
        next += 1;
        if random.below(10) == 0 {
            folder.persist(note(next)).expect("persisted");
        }
        if kills < 5 && random.below(12) == 0 {
            kills += 1;
            drop(folder);
            tear(dir, instance, random);
            folder = open().expect("opened again");
            next = ReadUpTo::load(dir).expect("read").map_or(1, |read| read.next);
        }
    }
    folder.give_up_waiting(true).expect("taken");
    folder.persist(note(next)).expect("persisted");
    folder.collected()
}

#[test]
fn in_whatever_order_and_however_often_batches_come_each_record_is_here_once() {
    let source = Source::new();
    for seed in 0..40 {
        let mut random = Random(seed);
        // Batches that cover everything, others that overlap them, heads in between.
        let mut messages = Vec::new();
        let mut from = 0;
        while from < RECORDS {
            let to = (from + 1 + random.below(60)).min(RECORDS);
            messages.push(source.batch(from, to));
            from = to;
        }
        for _ in 0..random.below(12) {
            let from = random.below(RECORDS);
            messages.push(source.batch(from, from + 1 + random.below(RECORDS - from)));
        }
        messages.push(source.head(RECORDS));
        messages.push(source.head(1 + random.below(RECORDS)));
        messages.push(source.head(1 + random.below(RECORDS)));
        for place in (1..messages.len()).rev() {
            messages.swap(place, usize::try_from(random.below(place as u64 + 1)).expect("small"));
        }
        let dir = TempDir::new().expect("a folder");
        let collected = read_all(dir.path(), source.sender.instance, &messages, &mut random);
        assert_eq!(collected.problems, Vec::<String>::new(), "seed {seed}");
        assert!(collected.holds(), "seed {seed}: {collected:?}");
        assert_eq!((collected.origins[0].records, collected.origins[0].signed), (RECORDS, RECORDS), "seed {seed}");
        assert!(source.collected(dir.path()) == source.records, "seed {seed}");
        source.assert_verifies(dir.path());
    }
}

#[test]
fn what_is_missing_is_named_and_fills_when_it_comes() {
    let source = Source::new();
    let dir = TempDir::new().expect("a folder");
    let mut random = Random(1);
    // Two holes, one at the beginning; the head covers more than is here.
    let messages = [source.batch(10, 100), source.batch(150, 400), source.head(RECORDS)];
    let collected = read_all(dir.path(), source.sender.instance, &messages, &mut random);
    let name = "consentd/0123456789abcdef/2026-11";
    let wanted = [
        format!("records 0 to 9 of {name} are missing"),
        format!("records 100 to 149 of {name} are missing"),
        format!("records 400 to 499 of {name} are missing, which its signed head covers"),
    ];
    assert_eq!(collected.origins[0].missing, wanted);
    assert!(!collected.holds());
    assert_eq!((collected.origins[0].records, collected.origins[0].signed), (340, 0));
    // Each comes, cut otherwise and over its edges.
    let mut folder = Folder::open(dir.path(), None).expect("opened");
    assert_eq!(folder.collected().origins[0].missing, wanted, "as it was, when it is opened again");
    for (sequence, (from, to)) in (4..).zip([(90, 120), (110, 200), (0, 30), (399, 500)]) {
        folder.take(sequence, &source.batch(from, to)).expect("taken");
    }
    let collected = folder.collected();
    assert!(collected.holds(), "{collected:?}");
    assert_eq!((collected.added, collected.origins[0].signed), (160, RECORDS));
    drop(folder);
    assert!(source.collected(dir.path()) == source.records);
    source.assert_verifies(dir.path());
}

#[test]
fn a_head_of_another_tree_or_key_is_named_and_takes_no_place() {
    let source = Source::new();
    let dir = TempDir::new().expect("a folder");
    let mut folder = Folder::open(dir.path(), None).expect("opened");
    folder.take(1, &source.batch(0, 300)).expect("taken");
    // Signed by the right key over other records.
    let mut other = Source::new();
    other.records.reverse();
    folder.take(2, &other.head(200)).expect("taken");
    folder.take(3, &source.head(250)).expect("taken");
    folder.take(4, &other.head(200)).expect("taken");
    // Somebody else's key.
    let mut stranger = Source::new();
    stranger.pair = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).expect("a key");
    folder.take(5, &stranger.head(260)).expect("taken");
    stranger.sender.public = stranger.pair.public_key().as_ref().try_into().expect("32 bytes");
    folder.take(6, &stranger.batch(300, 310)).expect("taken");
    folder.take(7, &source.batch(300, RECORDS)).expect("taken");
    folder.take(8, &source.head(RECORDS)).expect("taken");
    let collected = folder.collected();
    let told = collected.problems.join("\n");
    assert_eq!(collected.problems.len(), 4, "{told}");
    for (place, what) in ["signed for", "signed for", "is not signed by", "another public key"].into_iter().enumerate()
    {
        assert!(collected.problems[place].contains(what), "{told}");
    }
    assert_eq!((collected.origins[0].records, collected.origins[0].signed), (RECORDS, RECORDS));
    assert!(dir.path().join("set-aside/6.message").exists());
    drop(folder);
    source.assert_verifies(dir.path());
    // What was found stays found.
    let folder = Folder::open(dir.path(), None).expect("opened");
    assert_eq!(folder.collected().problems, collected.problems);
}

#[test]
fn a_key_that_was_given_is_the_one_that_is_trusted() {
    let source = Source::new();
    let dir = TempDir::new().expect("a folder");
    let keys = dir.path().join("keys");
    fs::create_dir(&keys).expect("made");
    let given = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).expect("a key");
    let pem = crate::evidence::keys::public_pem(given.public_key().as_ref());
    fs::write(keys.join("0123456789abcdef.pub"), pem).expect("written");
    let mut folder = Folder::open(&dir.path().join("into"), Some(&keys)).expect("opened");
    folder.take(1, &source.batch(0, 10)).expect("taken");
    let collected = folder.collected();
    assert_eq!(collected.added, 0);
    assert!(collected.problems[0].contains("another public key than the one that is trusted"), "{collected:?}");
}

/// A salt that is signed by a key, made of so many.
fn salt(source: &Source, seed: u8, byte: u8) -> String {
    let signer = Signer::new(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a key"));
    let secret = SharedSecret::of([1; 32]);
    let made = Salt::make(source.sender.instance, source.month, [byte; 32], &secret, &signer).expect("made");
    made.0.note().to_owned()
}

#[test]
fn the_first_salt_is_kept_and_a_forged_or_second_one_is_named() {
    let mut source = Source::new();
    let dir = TempDir::new().expect("a folder");
    let kept = Layout::new(&dir.path().join("0123456789abcdef")).salt(source.month);
    let mut folder = Folder::open(dir.path(), None).expect("opened");
    // Signed by a stranger: its records hold, for the chain proves them.
    source.salt = salt(&source, 8, 1);
    folder.take(1, &source.batch(0, 100)).expect("taken");
    assert!(!kept.exists());
    assert!(dir.path().join("set-aside/1.message").exists());
    let right = salt(&source, 7, 2);
    // The signature of one under another.
    let (signed, other) = (right.lines().last().expect("a signature"), salt(&source, 7, 4));
    source.salt = other.replace(other.lines().last().expect("a signature"), signed);
    folder.take(7, &source.batch(0, 100)).expect("taken");
    assert!(!kept.exists());
    source.salt.clone_from(&right);
    folder.take(2, &source.batch(100, 200)).expect("taken");
    folder.take(3, &source.batch(200, 300)).expect("taken");
    assert_eq!(fs::read_to_string(&kept).expect("kept"), right);
    drop(folder);
    // Also when it is not remembered.
    let mut folder = Folder::open(dir.path(), None).expect("opened");
    source.salt = salt(&source, 7, 3);
    folder.take(4, &source.batch(300, 400)).expect("taken");
    folder.take(5, &source.batch(400, RECORDS)).expect("taken");
    folder.take(6, &source.head(RECORDS)).expect("taken");
    let collected = folder.collected();
    let told = collected.problems.join("\n");
    assert_eq!(collected.problems.len(), 3, "{told}");
    for forged in &collected.problems[..2] {
        assert!(forged.contains("the salt that it brings is not signed by the key"), "{told}");
    }
    assert!(collected.problems[2].contains("has two salts; the first is kept"), "{told}");
    assert_eq!((collected.origins[0].records, collected.origins[0].signed), (RECORDS, RECORDS), "no record is lost");
    assert_eq!(fs::read_to_string(&kept).expect("kept"), right);
    drop(folder);
    source.assert_verifies(dir.path());
}
