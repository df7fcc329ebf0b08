//! Keys made of a salt and a secret: always the same, never of another secret, never of another's salt.

use std::fs;
use std::path::Path;

use ring::signature::Ed25519KeyPair;

use super::*;
use crate::evidence::Archive;
use crate::evidence::tests::{House, NOVEMBER, append};

const MONTH: &str = "2026-11";

fn secret(first: u8) -> [u8; 32] {
    std::array::from_fn(|place| u8::try_from(place).expect("small").wrapping_add(first))
}

fn signer(seed: u8) -> Signer {
    Signer::new(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a key"))
}

/// A log whose months' keys are made of a secret in a file beside it.
fn house(first: u8) -> House {
    let mut house = House::new();
    let path = house.config.dir.with_file_name("evidence.key");
    fs::write(&path, secret(first)).expect("written");
    house.config.key_file = Some(path);
    house
}

fn with_secret(house: &House, path: &Path) -> Archive {
    let places = KeyPlaces { folder: None, secret: Some(path.to_owned()) };
    Archive::open(&house.config.dir).expect("a log").with_keys(places)
}

fn poisoned(house: &House) -> String {
    house.open().health().poisoned.expect("poisoned")
}

/// Computed apart from this program, by RFC 5869 and RFC 2104.
#[test]
fn a_salt_and_a_secret_always_make_the_same_key() {
    let instance: Instance = "0123456789abcdef".parse().expect("an instance");
    let month: YearMonth = MONTH.parse().expect("a month");
    let secret = SharedSecret::of(secret(0));
    let (salt, key) = Salt::make(instance, month, [7; 32], &secret, &signer(1)).expect("made");
    let tag = Month::new(month, key).tag("crm:42");
    assert_eq!(data_encoding::HEXLOWER.encode(&tag), "381802d66c51514b2ca35d7479e81892");
    assert!(salt.note().contains("\nI8EdUx8vXoQ=\n"), "the check value is 23c11d531f2f5e84: {}", salt.note());
    let read = Month::new(month, salt.key(&secret).expect("the same secret"));
    assert_eq!(read.tag("crm:42"), tag);
    assert!(!format!("{secret:?}").contains('1'), "it is never shown");
}

#[test]
fn keys_differ_by_instance_month_salt_and_secret() {
    let tag = |instance: &str, month: &str, salt: u8, first: u8| {
        let (instance, id) = (instance.parse().expect("an instance"), month.parse().expect("a month"));
        let made = Salt::make(instance, id, [salt; 32], &SharedSecret::of(secret(first)), &signer(1));
        Month::new(id, made.expect("made").1).tag("crm:42")
    };
    let one = "0123456789abcdef";
    let all = [
        tag(one, MONTH, 7, 0),
        tag("0123456789abcdee", MONTH, 7, 0),
        tag(one, "2026-12", 7, 0),
        tag(one, MONTH, 8, 0),
        tag(one, MONTH, 7, 1),
    ];
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
}

#[test]
fn a_salt_reads_back_and_nothing_altered_or_of_another_does() {
    let (instance, month) = ("0123456789abcdef".parse().expect("an instance"), MONTH.parse().expect("a month"));
    let (salt, _) = Salt::make(instance, month, [7; 32], &SharedSecret::of(secret(0)), &signer(1)).expect("made");
    let read = |note: &str| Salt::read(note, instance, month, signer(1).public());
    assert_eq!(read(salt.note()), Some(salt.clone()));
    for (place, letter) in salt.note().char_indices().filter(|(_, letter)| *letter != '\n') {
        let mut altered = salt.note().to_owned();
        altered.replace_range(place..place + letter.len_utf8(), if letter == 'A' { "B" } else { "A" });
        assert_eq!(read(&altered), None, "altered at {place}");
    }
    let more = [
        format!("{}— somebody else AAAA\n", salt.note()),
        salt.note().trim_end().to_owned(),
        salt.note().replace('\n', "\r\n"),
    ];
    assert!(more.iter().all(|note| read(note).is_none()), "one salt has one note");
    assert_eq!(Salt::read(salt.note(), instance, month, signer(2).public()), None, "another key");
    let other = "2026-12".parse().expect("a month");
    assert_eq!(Salt::read(salt.note(), instance, other, signer(1).public()), None, "another month");
    let other = "0123456789abcdee".parse().expect("an instance");
    assert_eq!(Salt::read(salt.note(), other, month, signer(1).public()), None, "another instance");
    // A signed head is no salt, nor the other way round: each is signed under a name of its own.
    let head = crate::evidence::Checkpoint { size: 1, root: [7; 32] };
    let pair = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).expect("a key");
    let name = crate::evidence::checkpoint::origin(instance, month);
    assert_eq!(read(&head.sign(&name, &pair, signer(1).public())), None);
    assert_eq!(crate::evidence::Checkpoint::read(salt.note(), &name, signer(1).public()), None);
}

#[test]
fn a_month_is_found_again_by_its_salt_and_the_secret_only() {
    let house = house(0);
    let log = house.open();
    let month = log.month(NOVEMBER).expect("works");
    append(&log, &month, 0..3);
    drop(log);
    assert!(!house.layout().key(month.id()).exists(), "no key lies on the disk");
    let bare = Archive::open(&house.config.dir).expect("a log");
    let no_secret = bare.month(month.id()).expect_err("no secret was given").to_string();
    assert!(no_secret.contains("2026-11.salt") && no_secret.contains("--key-file"), "{no_secret}");
    let right = house.config.key_file.clone().expect("set");
    let found = with_secret(&house, &right).month(month.id()).expect("the secret that it was begun with");
    assert_eq!(found.tag("crm:42"), month.tag("crm:42"));
    let wrong = right.with_file_name("other.key");
    fs::write(&wrong, secret(1)).expect("written");
    let told = with_secret(&house, &wrong).month(month.id()).expect_err("another secret").to_string();
    assert!(told.contains("another shared secret than the one given"), "{told}");
    for report in with_secret(&house, &wrong).verify(None, None).expect("readable") {
        assert!(report.problems.join("\n").contains("another shared secret"), "{report:?}");
    }
    for report in bare.verify(None, None).expect("readable") {
        assert!(report.has_key && report.problems.is_empty(), "{report:?}");
    }
    // The salt of another month, or one that somebody wrote, opens nothing.
    let path = house.layout().salt(month.id());
    let salt = fs::read_to_string(&path).expect("read");
    fs::write(&path, salt.replacen('A', "B", 1).replacen('b', "c", 1)).expect("written");
    let told = with_secret(&house, &right).month(month.id()).expect_err("altered").to_string();
    assert!(told.contains("is not a salt of 2026-11 that this log's key has signed"), "{told}");
    fs::remove_file(&path).expect("removed");
    let told = with_secret(&house, &right).month(month.id()).expect_err("destroyed");
    assert!(matches!(told, NoKey::Absent { .. }), "{told}");
}

#[test]
fn a_log_goes_on_with_its_secret_and_with_no_other() {
    let mut house = house(0);
    let begun = house.open().month(NOVEMBER).expect("works");
    let right = house.config.key_file.clone().expect("set");
    assert_eq!(
        house.open().month(NOVEMBER).expect("works").tag("crm:42"),
        begun.tag("crm:42"),
        "the same after a start"
    );
    house.config.key_file = None;
    let told = poisoned(&house);
    assert!(told.contains("set evidence.key_file as it was"), "{told}");
    let wrong = right.with_file_name("other.key");
    house.config.key_file = Some(wrong.clone());
    assert!(poisoned(&house).contains("other.key` is missing"), "{}", poisoned(&house));
    fs::write(&wrong, [1; 31]).expect("written");
    assert!(poisoned(&house).contains("31 bytes instead of 32"), "{}", poisoned(&house));
    fs::write(&wrong, secret(1)).expect("written");
    assert!(poisoned(&house).contains("another shared secret"), "{}", poisoned(&house));
    // A month that is over does not stop the next one.
    house.clock.advance(std::time::Duration::from_hours(24 * 20));
    let log = house.open();
    assert_eq!(log.health().poisoned, None);
    let december = log.month(house.clock.now()).expect("works");
    assert_eq!(december.id().to_string(), "2026-12");
    drop(log);
    house.config.key_file = Some(right);
    assert!(poisoned(&house).contains("another shared secret"), "{}", poisoned(&house));
}

#[test]
fn a_month_with_a_key_of_its_own_keeps_it_and_the_next_is_made_of_the_secret() {
    let mut house = House::new();
    let november = house.open().month(NOVEMBER).expect("works");
    let path = house.config.dir.with_file_name("evidence.key");
    fs::write(&path, secret(0)).expect("written");
    house.config.key_file = Some(path.clone());
    let log = house.open();
    assert_eq!(log.month(NOVEMBER).expect("works").tag("crm:42"), november.tag("crm:42"));
    assert!(!house.layout().salt(november.id()).exists());
    let december = log.month(november.ends()).expect("works");
    drop(log);
    assert!(house.layout().salt(december.id()).exists() && !house.layout().key(december.id()).exists());
    let archive = with_secret(&house, &path);
    for month in [&november, &december] {
        assert_eq!(archive.month(month.id()).expect("known").tag("crm:42"), month.tag("crm:42"), "{}", month.id());
    }
}

#[test]
fn another_folder_gives_its_keys_only_to_its_own_log() {
    let (house, other) = (house(0), House::new());
    let month = house.open().month(NOVEMBER).expect("works");
    drop(other.open());
    let places = |folder: &House| KeyPlaces { folder: Some(folder.config.dir.clone()), secret: None };
    let archive = Archive::open(&house.config.dir).expect("a log");
    let told = archive.with_keys(places(&other)).month(month.id()).expect_err("another's").to_string();
    assert!(told.contains("is the evidence of the sidecar"), "{told}");
}
