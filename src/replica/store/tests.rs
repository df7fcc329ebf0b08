//! Damage of every kind must be an error, never an older or another state.

use tempfile::TempDir;

use super::*;
use crate::domain::{Collection, LegalBasis, Position, Record, Status};

const CHECK: [u8; 8] = [3; 8];

fn record(time: i64) -> Record {
    Record {
        event_time: Time::from_unix_millis(time),
        status: Status::Given,
        legal_basis: LegalBasis::Consent,
        collection: Collection::default(),
        notice: None,
        expires_at: None,
        jurisdiction: "".into(),
        proof: "".into(),
        position: Position(1),
    }
}

fn key(number: u64) -> SubjectKey {
    let mut key = [0; 16];
    // Spread over the buckets as a keyed hash would.
    key[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    SubjectKey(key)
}

fn state(time: i64) -> SubjectState {
    SubjectState::of_record("marketing", "email", "", record(time))
}

fn root(position: u64) -> Root {
    Root { ledger: vec![1; 8], position, mark: vec![2; 16], key_check: CHECK.to_vec(), ..Root::default() }
}

/// Writes subjects `0..count` with this time, as of this position.
fn write(store: &Store, before: &Root, position: u64, count: u64, time: i64) -> Root {
    let states = (0..count).map(|number| (key(number), state(time))).collect();
    let mut after = root(position);
    store.commit(Changes { states, ..Changes::default() }, before, &mut after).expect("a commit");
    after
}

fn open(folder: &TempDir) -> Result<(Store, Option<Root>), StoreError> {
    // sled lets go of its lock a moment after it is dropped.
    for _ in 0..100 {
        match Store::open(&folder.path().join("store"), 1 << 20, CHECK) {
            Err(StoreError::Sled(sled::Error::Io(_))) => std::thread::sleep(std::time::Duration::from_millis(20)),
            other => return other,
        }
    }
    panic!("sled kept its lock for two seconds");
}

#[test]
fn what_was_written_is_read_after_a_restart() {
    let folder = TempDir::new().expect("a folder");
    let (store, none) = open(&folder).expect("a new store");
    assert!(none.is_none());
    let first = write(&store, &root(0), 10, 300, 1);
    let second = write(&store, &first, 20, 150, 2);
    assert_eq!(second.subjects, 300);
    store.flush().expect("flushed");
    drop(store);

    let (store, found) = open(&folder).expect("the store");
    assert_eq!(found, Some(second));
    assert_eq!(store.get(key(7)).expect("readable"), Some(state(2)));
    assert_eq!(store.get(key(299)).expect("readable"), Some(state(1)));
    assert_eq!(store.get(key(300)).expect("readable"), None);
    store.verify_all(&|| false).expect("sound");
}

#[test]
fn another_key_is_refused() {
    let folder = TempDir::new().expect("a folder");
    let (store, _) = open(&folder).expect("a new store");
    write(&store, &root(0), 10, 3, 1);
    drop(store);
    let other = Store::open(&folder.path().join("store"), 1 << 20, [4; 8]);
    assert!(matches!(other, Err(StoreError::OtherKey)));
}

/// What sled does when a page is damaged: an entry silently has an older value, or is gone, or is one too many.
#[test]
fn a_silently_older_missing_or_added_entry_is_noticed() {
    type Damage = fn(&sled::Db);
    let damages: [(&str, Damage); 5] = [
        ("older", |db| {
            let entry = subject_entry(key(5));
            db.insert(entry, codec::encode_state(&entry, &state(1))).expect("written");
        }),
        ("missing", |db| drop(db.remove(subject_entry(key(5))).expect("removed"))),
        ("added", |db| {
            let entry = subject_entry(key(999));
            db.insert(entry, codec::encode_state(&entry, &state(1))).expect("written");
        }),
        ("a bucket's sum missing", |db| drop(db.remove(bucket_key(subject_bucket(key(5)))).expect("removed"))),
        ("root missing", |db| drop(db.remove(ROOT_KEY).expect("removed"))),
    ];
    for (name, damage) in damages {
        let folder = TempDir::new().expect("a folder");
        let (store, _) = open(&folder).expect("a new store");
        let first = write(&store, &root(0), 10, 50, 1);
        write(&store, &first, 20, 50, 2);
        damage(&store.db);
        store.flush().expect("flushed");
        drop(store);
        let noticed = open(&folder).and_then(|(store, _)| {
            store.get(key(5))?;
            store.verify_all(&|| false)
        });
        assert!(matches!(noticed, Err(StoreError::Sum(_))), "{name}: {noticed:?}");
    }
}

#[test]
fn a_whole_store_rolled_back_is_sound_and_behind() {
    let folder = TempDir::new().expect("a folder");
    let (store, _) = open(&folder).expect("a new store");
    let first = write(&store, &root(0), 10, 50, 1);
    store.flush().expect("flushed");
    drop(store);
    let (_, found) = open(&folder).expect("the store");
    assert_eq!(found.map(|root| root.position), Some(first.position));
}

#[test]
fn a_panic_in_sled_becomes_an_error() {
    let caught: Result<(), StoreError> = caught(|| panic!("as sled does"));
    assert!(matches!(caught, Err(StoreError::Panic(text)) if text == "as sled does"));
}

#[test]
fn what_is_new_is_joined_into_what_is_stored_and_what_is_known_is_not_written() {
    let folder = TempDir::new().expect("a folder");
    let (store, _) = open(&folder).expect("a new store");
    let first = write(&store, &root(0), 10, 100, 1);
    let other = SubjectState::of_record("analytics", "email", "", record(2));
    let mut after = root(20);
    let changes = Changes { states: vec![(key(7), other.clone())], ..Changes::default() };
    let written = store.commit(changes, &first, &mut after).expect("a commit");
    let mut whole = state(1);
    whole.join(other);
    assert_eq!(written, [(key(7), whole.clone())]);
    assert_eq!(store.get(key(7)).expect("readable"), Some(whole));
    assert_eq!((after.subjects, after.sum == first.sum), (100, false));
    // The same once more, and an older record: nothing changes but the position.
    let again = write(&store, &after, 30, 100, 1);
    assert_eq!((again.subjects, again.sum == after.sum, again.position), (100, true, 30));
    store.verify_all(&|| false).expect("sound");
}
