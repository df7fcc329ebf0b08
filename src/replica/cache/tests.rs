//! The reload race: impossible with the guard, and shown to be caught without it.

use std::sync::atomic::AtomicBool;
use std::thread;

use super::*;
use crate::domain::Time;

const KEY: SubjectKey = SubjectKey([7; 16]);

fn state(version: i64) -> Arc<Cached> {
    Arc::new(Cached::new(SubjectState::of_erasure(Time::from_unix_millis(version))))
}

fn version(cached: &Cached) -> i64 {
    cached.state().erased_at().expect("every state here has one").unix_millis()
}

/// The race, step by step: the reader has read the old state when the applier writes the new one.
fn race(cache: &Cache) -> Option<i64> {
    let ticket = cache.ticket(KEY);
    let old = state(1);
    cache.applied(KEY, Some(state(2)));
    cache.insert_loaded(ticket, old);
    cache.get(KEY).map(|state| version(&state))
}

#[test]
fn an_old_state_is_not_cached_after_a_newer_one_was_applied() {
    assert_eq!(race(&Cache::new(1 << 20)), None);
}

#[test]
fn without_the_guard_the_old_state_is_cached() {
    assert_eq!(race(&Cache::unguarded(1 << 20)), Some(1), "the test above would not notice a missing guard");
}

#[test]
fn a_load_with_nothing_applied_meanwhile_is_cached() {
    let cache = Cache::new(1 << 20);
    let ticket = cache.ticket(KEY);
    cache.insert_loaded(ticket, state(1));
    cache.applied(KEY, Some(state(2)));
    assert_eq!(cache.get(KEY).map(|state| version(&state)), Some(2), "a cached state is replaced");
}

#[test]
fn applying_to_any_condemns_every_load_and_entry() {
    let cache = Cache::new(1 << 20);
    let ticket = cache.ticket(KEY);
    cache.insert_loaded(cache.ticket(KEY), state(1));
    cache.applied_to_any();
    assert!(cache.get(KEY).is_none());
    cache.insert_loaded(ticket, state(1));
    assert!(cache.get(KEY).is_none());
}

/// Readers load from a store while an applier writes to it; returns how often a reader saw, in the cache, a state older
/// than what was published before it looked.
fn stress(cache: Cache, rounds: u64) -> u64 {
    let cache = Arc::new(cache);
    let store = Arc::new(AtomicU64::new(0));
    let published = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (cache, store, published, stop) =
                (Arc::clone(&cache), Arc::clone(&store), Arc::clone(&published), Arc::clone(&stop));
            thread::spawn(move || {
                let mut stale = 0;
                while !stop.load(Ordering::Relaxed) {
                    let floor = published.load(Ordering::SeqCst);
                    let seen = cache.get(KEY).map_or_else(
                        || {
                            let ticket = cache.ticket(KEY);
                            let loaded = store.load(Ordering::SeqCst);
                            // A slow disk: where the race has its chance.
                            thread::yield_now();
                            cache.insert_loaded(ticket, state(i64::try_from(loaded).expect("small")));
                            loaded
                        },
                        |state| u64::try_from(version(&state)).expect("positive"),
                    );
                    stale += u64::from(seen < floor);
                }
                stale
            })
        })
        .collect();
    for round in 1..=rounds {
        store.store(round, Ordering::SeqCst);
        // Dropping instead of replacing makes every round a reload.
        cache.applied(KEY, None);
        published.store(round, Ordering::SeqCst);
        for _ in 0..round % 3 {
            thread::yield_now();
        }
    }
    // The last write stays: an old state cached now would be served for ever.
    thread::sleep(std::time::Duration::from_millis(20));
    stop.store(true, Ordering::SeqCst);
    readers.into_iter().map(|reader| reader.join().expect("a reader")).sum()
}

#[test]
fn under_stress_no_reader_sees_an_older_state_than_was_published() {
    assert_eq!(stress(Cache::new(1 << 20), 4_000), 0);
}

#[test]
fn the_stress_notices_a_missing_guard() {
    let stale = (0..10).find_map(|_| Some(stress(Cache::unguarded(1 << 20), 4_000)).filter(|stale| *stale > 0));
    assert!(stale.is_some(), "ten runs without a guard and not one stale answer: the stress proves nothing");
}

#[test]
fn the_cache_is_bounded_by_weight_absent_subjects_included() {
    let cache = Cache::new(100_000);
    for number in 0..10_000u32 {
        let mut key = [0; 16];
        key[..4].copy_from_slice(&number.to_be_bytes());
        let key = SubjectKey(key);
        cache.insert_loaded(cache.ticket(key), Arc::new(Cached::new(SubjectState::default())));
    }
    cache.entries.run_pending_tasks();
    let stats = cache.stats();
    assert!(stats.bytes <= 100_000 && stats.entries > 50, "{stats:?}");
}

#[test]
fn a_tag_is_made_once_an_epoch() {
    let cached = Cached::new(SubjectState::default());
    assert_eq!(cached.tag(1, || [1; 16]), [1; 16]);
    assert_eq!(cached.tag(1, || panic!("made again")), [1; 16]);
    assert_eq!(cached.tag(2, || [2; 16]), [2; 16], "another month's key makes another tag");
    assert_eq!(cached.tag(1, || panic!("made again")), [1; 16]);
}
