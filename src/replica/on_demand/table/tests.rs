//! Events that race with loads: nothing is lost with the guard, and shown to be lost without it.

use std::sync::atomic::AtomicBool;
use std::thread;

use super::*;
use crate::domain::Time;

const KEY: SubjectKey = SubjectKey([7; 16]);

fn state(version: u64) -> SubjectState {
    SubjectState::of_erasure(Time::from_unix_millis(i64::try_from(version).expect("small")))
}

fn version(cached: &Cached) -> u64 {
    cached.state().erased_at().map_or(0, |time| u64::try_from(time.unix_millis()).expect("positive"))
}

fn table() -> Arc<Table> {
    Arc::new(Table::new(1 << 20))
}

fn begun(table: &Arc<Table>, key: SubjectKey) -> (Load, watch::Receiver<Outcome>) {
    match table.find(key) {
        Found::Begun(load, receiver) => (load, receiver),
        Found::Loaded(_) | Found::Loading(_) => panic!("there is a state or a load already"),
    }
}

/// The race, step by step: the ledger was read up to 1 when the applier applies 2.
fn race(table: &Arc<Table>) -> Option<u64> {
    let (load, _receiver) = begun(table, KEY);
    let read = state(1);
    table.about_to_apply(Position(2));
    table.apply(KEY, state(2));
    load.loaded(read);
    table.get(KEY).map(|cached| version(&cached))
}

#[test]
fn an_event_that_comes_during_a_load_is_in_what_was_loaded() {
    assert_eq!(race(&table()), Some(2));
}

#[test]
fn without_the_guard_the_event_is_lost() {
    assert_eq!(race(&Arc::new(Table::unguarded(1 << 20))), Some(1), "the test above would not notice a missing guard");
}

#[test]
fn an_event_that_was_applied_before_the_load_is_read_by_it() {
    // The applier is in the middle of a batch up to 9: it has applied the subject's event, and published nothing yet.
    let table = table();
    table.about_to_apply(Position(9));
    table.apply(KEY, state(8));
    assert!(table.get(KEY).is_none(), "an event is no state of a subject that is not loaded");
    let (load, _receiver) = begun(&table, KEY);
    assert_eq!(load.up_to(), Position(9));
}

#[test]
fn who_asks_during_a_load_waits_for_it_and_gets_what_came_meanwhile() {
    let table = table();
    let (load, first) = begun(&table, KEY);
    let Found::Loading(second) = table.find(KEY) else { panic!("it is being loaded") };
    table.apply(KEY, state(2));
    load.loaded(SubjectState::default());
    for receiver in [first, second] {
        let Outcome::Loaded(cached) = receiver.borrow().clone() else { panic!("loaded") };
        assert_eq!(version(&cached), 2);
    }
    assert!(matches!(table.find(KEY), Found::Loaded(_)));
}

#[test]
fn a_load_that_fails_leaves_no_half_state() {
    let table = table();
    let (load, receiver) = begun(&table, KEY);
    table.apply(KEY, state(2));
    drop(load);
    assert!(matches!(*receiver.borrow(), Outcome::Failed));
    assert!(table.get(KEY).is_none());
    // The next one reads anew.
    let (load, _receiver) = begun(&table, KEY);
    load.loaded(state(3));
    assert_eq!(table.get(KEY).map(|cached| version(&cached)), Some(3));
}

#[test]
fn absence_is_a_state_and_a_first_event_ends_it() {
    let table = table();
    let (load, _receiver) = begun(&table, KEY);
    load.loaded(SubjectState::default());
    assert!(table.get(KEY).expect("remembered").state().is_empty());
    table.apply(KEY, state(1));
    assert_eq!(table.get(KEY).map(|cached| version(&cached)), Some(1));
}

#[test]
fn a_subject_that_was_given_up_gets_no_half_state() {
    let table = table();
    let (load, _receiver) = begun(&table, KEY);
    load.loaded(state(1));
    table.loaded.invalidate(&KEY);
    table.apply(KEY, state(2));
    assert!(table.get(KEY).is_none());
}

#[test]
fn the_table_is_bounded_by_weight_absent_subjects_included() {
    let table = Arc::new(Table::new(100_000));
    for number in 0..10_000u32 {
        let mut key = [0; 16];
        key[..4].copy_from_slice(&number.to_be_bytes());
        begun(&table, SubjectKey(key)).0.loaded(SubjectState::default());
    }
    table.loaded.run_pending_tasks();
    let (subjects, bytes) = table.size();
    assert!(bytes <= 100_000 && subjects > 50, "{subjects} subjects, {bytes} bytes");
    let left: usize = table.shards.iter().map(|shard| shard.lock().expect("not poisoned").len()).sum();
    assert_eq!(left, 0, "no load is left behind");
}

/// Readers load from a ledger while an applier applies what is written to it, and subjects are given up all the time.
/// Returns how often a reader got a state older than what was published before it asked.
fn stress(table: Table, rounds: u64) -> u64 {
    let table = Arc::new(table);
    let ledger = Arc::new(AtomicU64::new(0));
    let published = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (table, ledger, published, stop) =
                (Arc::clone(&table), Arc::clone(&ledger), Arc::clone(&published), Arc::clone(&stop));
            thread::spawn(move || {
                let mut stale = 0;
                while !stop.load(Ordering::Relaxed) {
                    let floor = published.load(Ordering::SeqCst);
                    let seen = match table.find(KEY) {
                        Found::Loaded(cached) => version(&cached),
                        Found::Begun(load, receiver) => {
                            // A copy that lags as far as it may.
                            let read = load.up_to().0.min(ledger.load(Ordering::SeqCst));
                            thread::yield_now();
                            load.loaded(state(read));
                            let Outcome::Loaded(cached) = receiver.borrow().clone() else { panic!("loaded") };
                            version(&cached)
                        }
                        Found::Loading(_) => continue,
                    };
                    stale += u64::from(seen < floor);
                }
                stale
            })
        })
        .collect();
    for round in 1..=rounds {
        ledger.store(round, Ordering::SeqCst);
        table.about_to_apply(Position(round));
        table.apply(KEY, state(round));
        published.store(round, Ordering::SeqCst);
        if round % 3 == 0 {
            table.loaded.invalidate(&KEY);
        }
        for _ in 0..round % 4 {
            thread::yield_now();
        }
    }
    thread::sleep(std::time::Duration::from_millis(20));
    stop.store(true, Ordering::SeqCst);
    readers.into_iter().map(|reader| reader.join().expect("a reader")).sum()
}

#[test]
fn under_stress_no_reader_gets_an_older_state_than_was_published() {
    assert_eq!(stress(Table::new(1 << 20), 4_000), 0);
}

#[test]
fn the_stress_notices_a_missing_guard() {
    let stale = (0..10).find_map(|_| Some(stress(Table::unguarded(1 << 20), 4_000)).filter(|stale| *stale > 0));
    assert!(stale.is_some(), "ten runs without a guard and not one stale answer: the stress proves nothing");
}
