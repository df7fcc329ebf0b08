//! Reading and verifying: live logs and dead ones, whole ones and altered ones.

use std::collections::HashMap;
use std::fs;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use data_encoding::{BASE64, HEXLOWER};
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, UnparsedPublicKey};

use super::*;
use crate::evidence::{Archive, EvidenceId, MonthReport};

impl House {
    pub(in crate::evidence) fn archive(&self) -> Archive {
        Archive::open(&self.config.dir).expect("there")
    }

    /// The reports of a log of which nothing needs to hold.
    pub(in crate::evidence) fn verify(&self) -> Vec<MonthReport> {
        self.archive().verify(None, None).expect("readable")
    }

    pub(in crate::evidence) fn problems(&self) -> String {
        self.verify().into_iter().flat_map(|report| report.problems).collect::<Vec<_>>().join("\n")
    }

    /// A closed log of records, in segments of 4 kB.
    pub(in crate::evidence) fn filled(records: u64) -> Self {
        let mut house = Self::new();
        house.config.segment_bytes = 4096;
        let log = house.open();
        append(&log, &log.month(NOVEMBER).expect("works"), 0..records);
        log.close().expect("closed");
        house
    }

    pub(in crate::evidence) fn id(&self, index: u64) -> EvidenceId {
        EvidenceId { instance: self.archive().instance(), month: self.month(), index, question: None }
    }
}

#[test]
fn a_closed_log_is_signed_to_its_end_and_holds() {
    let house = House::filled(700);
    let [report] = house.verify().try_into().expect("one month");
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!((report.records, report.checkpoint.expect("signed").size), (700, 700));
    assert!(report.has_key);
    assert_eq!((report.unfinished_bytes, report.lost_files), (0, 0));
}

#[test]
fn records_are_found_by_their_ids() {
    let house = House::filled(300);
    for index in [0, 1, 150, 299] {
        assert_eq!(house.archive().find(&house.id(index)), Ok(Some(record(index))));
    }
    assert_eq!(house.archive().find(&house.id(300)), Ok(None));
    let foreign = EvidenceId { instance: "00000000000000ff".parse().expect("well-formed"), ..house.id(0) };
    assert!(house.archive().find(&foreign).is_err());
    let mut seen = Vec::new();
    let read = house.archive().read(house.month(), |index, record| {
        seen.push((index, record.ledger_position));
        ControlFlow::Continue(())
    });
    assert_eq!(read, Ok(()));
    assert_eq!(seen, (0..300).map(|number| (number, number)).collect::<Vec<_>>());
}

#[test]
fn a_log_is_read_and_verified_while_it_is_written() {
    let mut house = House::new();
    house.config.segment_bytes = 32 * 1024;
    house.config.flush_interval = Duration::from_millis(2);
    house.config.checkpoint_interval = Duration::from_millis(5);
    let log = house.open();
    let month = log.month(NOVEMBER).expect("works");
    let enough = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = 0;
            while !enough.load(Ordering::SeqCst) {
                append(&log, &month, written..written + 100);
                written += 100;
            }
            written
        });
        let mut before = 0;
        for _ in 0..10 {
            let [report] = house.verify().try_into().expect("one month");
            assert_eq!(report.problems, Vec::<String>::new());
            assert!(report.records >= before, "records do not go away");
            before = report.records;
        }
        enough.store(true, Ordering::SeqCst);
        writer.join().expect("no panic")
    });
    log.close().expect("closed");
    assert_eq!(house.verify()[0].checkpoint.expect("signed").size, written);
}

#[test]
fn the_tree_goes_on_after_a_process_ends_without_closing() {
    let mut house = House::new();
    house.config.checkpoint_interval = Duration::from_millis(1);
    house.config.flush_interval = Duration::from_millis(1);
    for round in 0..3 {
        let log = house.open();
        append(&log, &log.month(NOVEMBER).expect("works"), round * 300..round * 300 + 300);
        while log.health().checkpoint_size < round * 300 + 200 {
            std::thread::sleep(Duration::from_millis(1));
        }
        append(&log, &log.month(NOVEMBER).expect("works"), 0..0);
        drop(log);
        assert_eq!(house.problems(), "");
        // Tiles can be made again.
        fs::remove_dir_all(house.layout().month(house.month()).join("tile")).expect("removed");
    }
    house.open().close().expect("closed");
    let [report] = house.verify().try_into().expect("one month");
    assert_eq!((report.problems, report.checkpoint.expect("signed").size), (vec![], 900));
}

#[test]
fn months_are_chained_and_each_is_signed_to_its_end() {
    let house = House::new();
    let log = house.open();
    let november = log.month(NOVEMBER).expect("works");
    append(&log, &november, 0..300);
    let december = log.month(november.ends()).expect("works");
    append(&log, &december, 300..310);
    log.close().expect("closed");
    let [first, second] = house.verify().try_into().expect("two months");
    assert_eq!((first.problems, first.checkpoint.expect("signed").size), (vec![], 300));
    assert_eq!((second.problems, second.checkpoint.expect("signed").size), (vec![], 10));
    // A month replaced as a whole, with the same keys, breaks the chain to the next.
    let other = House::new();
    fs::create_dir_all(&other.config.dir).expect("made");
    for name in ["instance", "signing.key", "signing.pub"] {
        fs::copy(house.config.dir.join(name), other.config.dir.join(name)).expect("copied");
    }
    let log = other.open();
    append(&log, &log.month(NOVEMBER).expect("works"), 1..301);
    log.close().expect("closed");
    fs::remove_dir_all(house.layout().month(november.id())).expect("removed");
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args([other.layout().month(november.id()), house.layout().month(november.id())])
        .status();
    assert!(copied.expect("cp is there").success());
    assert!(house.problems().contains("does not continue what is before it"), "{}", house.problems());
}

#[test]
fn a_month_left_unsigned_is_signed_by_the_next_process() {
    let house = House::new();
    let log = house.open();
    append(&log, &log.month(NOVEMBER).expect("works"), 0..20);
    drop(log);
    assert_eq!(house.verify()[0].checkpoint, None);
    house.clock.advance(Duration::from_hours(31 * 24));
    house.open().close().expect("closed");
    assert_eq!(house.verify()[0].checkpoint.expect("signed").size, 20);
}

#[test]
fn a_destroyed_key_makes_a_month_anonymous_and_nothing_else() {
    let house = House::filled(50);
    fs::remove_file(house.layout().key(house.month())).expect("removed");
    let [report] = house.verify().try_into().expect("one month");
    assert_eq!((report.problems, report.has_key), (vec![], false));
    let no_key = house.archive().month(house.month()).expect_err("it was removed").to_string();
    assert!(no_key.contains("there is no key of 2026-11") && no_key.contains("--keys"), "{no_key}");
    assert!(house.archive().prove(&house.id(7)).is_ok());
}

/// Each alteration of the bytes of a segment, the tiles or the checkpoint is named.
#[test]
fn alterations_are_found_and_placed() {
    let house = House::filled(600);
    let segments = house.layout().segments(house.month()).expect("listed");
    let folder = house.layout().month(house.month());
    let alter = |path: &std::path::Path, change: &dyn Fn(&mut Vec<u8>)| {
        let whole = fs::read(path).expect("read");
        let mut bytes = whole.clone();
        change(&mut bytes);
        fs::write(path, bytes).expect("written");
        let problems = house.problems();
        fs::write(path, whole).expect("written");
        problems
    };
    let middle = &segments[3].path;
    let found = alter(middle, &|bytes| bytes[HEAD + 70] ^= 1);
    let index = segments[3].first;
    assert!(found.contains(&format!("`{}` byte 96, record {index}: it cannot be read", middle.display())), "{found}");
    let found = alter(middle, &|bytes| bytes.truncate(1000));
    assert!(found.contains("segments follow") || found.contains("the next segment begins with"), "{found}");
    let found = alter(middle, &|bytes| bytes[20] ^= 1);
    assert!(found.contains("byte 0") && found.contains("the segment's head cannot be read"), "{found}");
    let found = alter(&segments.last().expect("one").path, &|bytes| bytes.truncate(HEAD));
    assert!(found.contains("and its signed checkpoint covers 600"), "{found}");
    let found = alter(&folder.join("tile/0/001"), &|bytes| bytes[5] ^= 1);
    assert!(found.contains("tile/0/001` does not hold"), "{found}");
    let found = alter(&folder.join("tile/0/002.p/88"), &|bytes| bytes[5] ^= 1);
    assert!(found.contains("does not hold"), "{found}");
    let found = alter(&folder.join("checkpoint"), &|bytes| bytes[60] ^= 1);
    assert!(found.contains("is not signed by this log's key"), "{found}");
    assert_eq!(house.problems(), "", "put back, it holds");
    fs::remove_file(middle).expect("removed");
    assert!(house.problems().contains("the next segment begins with"), "{}", house.problems());
}

const HEAD: usize = 96;

/// Somebody who may write to the directory rewrites a record, its CRC and the whole chain after it: the tree shows it,
/// and the log refuses to sign over it.
#[test]
fn a_rewritten_log_differs_from_what_was_signed() {
    let house = House::new();
    let log = house.open();
    append(&log, &log.month(NOVEMBER).expect("works"), 0..10);
    log.close().expect("closed");
    drop(log);
    let mut payloads = encoded(0..10);
    payloads[4] = encoded(1..2).remove(0);
    house.damage(|bytes| {
        let mut forged = bytes[..HEAD].to_vec();
        let mut chain = crate::evidence::format::CHAIN_START;
        for (index, payload) in (0..).zip(&payloads) {
            chain = crate::evidence::format::chain_after(&chain, payload);
            let kind = crate::evidence::format::Kind::Record;
            crate::evidence::format::push_frame(&mut forged, kind, index, 0, &chain, payload);
        }
        let length = bytes.len();
        *bytes = forged;
        bytes.resize(length, 0);
    });
    assert!(house.problems().contains("the roots differ"), "{}", house.problems());
    assert!(house.archive().prove(&house.id(4)).expect_err("forged").to_string().contains("does not prove record 4"));
    // Without its tiles the tree is built again, and then the writer sees it too.
    fs::remove_dir_all(house.layout().month(house.month()).join("tile")).expect("removed");
    let log = house.open();
    let cause = log.close().expect_err("poisoned");
    assert!(cause.cause().contains("is not the one whose checkpoint of 10 records was signed"), "{cause}");
}

#[test]
fn fewer_records_than_were_signed_stop_the_log() {
    let mut house = House::new();
    let log = house.open();
    append(&log, &log.month(NOVEMBER).expect("works"), 0..10);
    log.close().expect("closed");
    drop(log);
    let offsets = house.offsets();
    house.damage(|bytes| bytes[usize::try_from(offsets[9]).expect("fits")..].fill(0));
    house.reboot();
    let cause = house.open().health().poisoned.expect("poisoned");
    assert!(cause.contains("10 records were on the device"), "{cause}");
}

/// A verifier that shares no code with the log but its hash and signature functions: it reads the proof's text as the
/// standards describe it, and computes the tree from all leaves by the recursive definition of RFC 6962.
#[test]
fn proofs_convince_a_verifier_written_from_the_standards() {
    let house = House::filled(300);
    let vkey = fs::read_to_string(house.layout().vkey(house.month())).expect("read");
    let (name, rest) = vkey.trim().split_once('+').expect("a name");
    let (key_id, key) = rest.split_once('+').expect("a key id");
    let key = BASE64.decode(key.as_bytes()).expect("base 64");
    assert_eq!(key[0], 1, "Ed25519");
    let computed = digest(&SHA256, &[name.as_bytes(), b"\n", &key].concat());
    assert_eq!(key_id, HEXLOWER.encode(&computed.as_ref()[..4]));

    let hash = |parts: &[&[u8]]| digest(&SHA256, &parts.concat()).as_ref().to_vec();
    let leaves: Vec<Vec<u8>> = encoded(0..300).iter().map(|leaf| hash(&[&[0], leaf])).collect();
    let mut known = HashMap::new();
    for index in [0_usize, 1, 127, 255, 256, 299] {
        let text = house.archive().prove(&house.id(u64::try_from(index).expect("fits"))).expect("proved");
        let (proof, note) = text.split_once("\n\n").expect("a blank line");
        let mut lines = proof.lines();
        assert_eq!(lines.next(), Some("c2sp.org/tlog-proof@v1"));
        assert_eq!(lines.next(), Some(format!("index {index}").as_str()));
        let steps: Vec<Vec<u8>> = lines.map(|line| BASE64.decode(line.as_bytes()).expect("base 64")).collect();

        let (body, signatures) = note.split_once("\n\n").expect("a blank line");
        let signature = signatures.trim_end().strip_prefix(&format!("— {name} ")).expect("our line");
        let signature = BASE64.decode(signature.as_bytes()).expect("base 64");
        assert_eq!(HEXLOWER.encode(&signature[..4]), key_id);
        UnparsedPublicKey::new(&ED25519, &key[1..])
            .verify(format!("{body}\n").as_bytes(), &signature[4..])
            .expect("signed");
        let body: Vec<&str> = body.lines().collect();
        assert_eq!((body.len(), body[0], body[1]), (3, name, "300"));

        // From the root down: which half holds the leaf, and is the other half's root the step that the proof gives?
        let mut steps = steps.iter().rev();
        let (mut low, mut high) = (0, leaves.len());
        while high - low > 1 {
            let middle = low + (high - low).next_power_of_two() / 2;
            let (other, next) =
                if index < middle { ((middle, high), (low, middle)) } else { ((low, middle), (middle, high)) };
            assert_eq!(steps.next(), Some(&recursive(&leaves, other.0, other.1, &mut known)));
            (low, high) = next;
        }
        assert_eq!(steps.next(), None);
        assert_eq!(BASE64.encode(&recursive(&leaves, 0, 300, &mut known)), body[2]);
    }
}

fn recursive(leaves: &[Vec<u8>], low: usize, high: usize, known: &mut HashMap<(usize, usize), Vec<u8>>) -> Vec<u8> {
    if high - low == 1 {
        return leaves[low].clone();
    }
    if let Some(hash) = known.get(&(low, high)) {
        return hash.clone();
    }
    let middle = low + (high - low).next_power_of_two() / 2;
    let (left, right) = (recursive(leaves, low, middle, known), recursive(leaves, middle, high, known));
    let hash = digest(&SHA256, &[[1].as_slice(), &left, &right].concat()).as_ref().to_vec();
    known.insert((low, high), hash.clone());
    hash
}

/// What a power loss leaves of tiles that were written without a flush.
#[test]
fn lost_tiles_are_made_again_at_the_first_start_of_another_boot_and_proofs_do_without() {
    let mut house = House::new();
    house.config.segment_bytes = 4 * 1024 * 1024;
    let log = house.open();
    append(&log, &log.month(NOVEMBER).expect("works"), 0..66_200);
    log.close().expect("closed");
    drop(log);
    let folder = house.layout().month(house.month());
    let names = ["tile/0/000", "tile/0/003", "tile/0/255", "tile/0/256", "tile/1/000"];
    let tiles = names.map(|name| folder.join(name));
    let whole = tiles.clone().map(|tile| fs::read(tile).expect("read"));
    let lose = || {
        fs::remove_file(&tiles[0]).expect("removed");
        fs::write(&tiles[1], &whole[1][..4096]).expect("written");
        fs::write(&tiles[2], vec![0; 8192]).expect("written");
        fs::write(&tiles[3], b"").expect("written");
        fs::write(&tiles[4], vec![0; 8192]).expect("written");
    };
    lose();
    let problems = house.problems();
    assert!(
        problems.contains("tile/0/000`: No such file") && problems.contains("tile/0/255` does not hold"),
        "{problems}"
    );
    for index in [0, 800, 65_300, 65_600, 66_199] {
        assert!(house.archive().prove(&house.id(index)).is_ok(), "record {index} is proved from the records");
    }
    // Within the boot nothing can have been lost, and nothing is looked at.
    house.open().close().expect("closed");
    assert_ne!(house.problems(), "");
    house.reboot();
    let log = house.open();
    log.close().expect("closed");
    assert_eq!(log.health().checkpoint_size, 66_200);
    drop(log);
    assert_eq!(house.problems(), "");
    assert_eq!(tiles.clone().map(|tile| fs::read(tile).expect("read")), whole);
    // The file that remembers says what was looked at in which boot.
    let remembered = fs::read_to_string(house.layout().checked(house.month())).expect("read");
    assert_eq!(remembered, format!("{} 66200\n", house.boot));
    // Those are on the device, and not looked at in a later boot; where nothing is remembered, all are.
    lose();
    house.reboot();
    house.open().close().expect("closed");
    assert_ne!(house.problems(), "");
    fs::remove_file(house.layout().checked(house.month())).expect("removed");
    house.open().close().expect("closed");
    assert_eq!(house.problems(), "");
    let remembered = fs::read_to_string(house.layout().checked(house.month())).expect("read");
    assert_eq!(remembered, format!("{} 0\n", house.boot), "they may never have been read from the device");
}

#[test]
fn a_tree_is_continued_from_the_partial_tiles_where_the_full_ones_were_lost() {
    let mut house = House::new();
    let log = house.open();
    append(&log, &log.month(NOVEMBER).expect("works"), 0..300);
    log.close().expect("closed");
    drop(log);
    // A process that fills the tile and ends before it signs, and a power loss that takes the full tile.
    let folder = house.layout().month(house.month());
    fs::write(folder.join("tile/0/001"), vec![0; 8192]).expect("written");
    assert_eq!(house.problems(), "", "the signed tree does not need it");
    house.reboot();
    let log = house.open();
    append(&log, &log.month(NOVEMBER).expect("works"), 300..600);
    log.close().expect("closed");
    assert_eq!(house.problems(), "");
    assert!(!folder.join("tile/0/001.p").exists(), "the partial tile was removed once the next head was signed");
}
