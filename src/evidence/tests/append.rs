//! Appending: places, months, segments, many threads, and everything that fails.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::*;
use crate::evidence::{AppendError, OpenError, Stage};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

#[test]
fn what_was_acknowledged_is_found_after_the_process_ends() {
    let house = House::new();
    for round in 0..4 {
        let log = house.open();
        let month = log.month(NOVEMBER).expect("works");
        let receipts = append(&log, &month, round * 10..round * 10 + 10);
        assert_eq!(receipts[0].index(), round * 10, "indices go on");
        // No close: the process ends.
        drop(log);
        assert_eq!(house.payloads(house.month()), encoded(0..round * 10 + 10));
    }
}

#[test]
fn an_id_names_instance_month_and_index() {
    let house = House::new();
    let log = house.open();
    let month = log.month(NOVEMBER).expect("works");
    let receipts = append(&log, &month, 0..3);
    let instance = fs::read_to_string(house.config.dir.join("instance")).expect("read");
    assert_eq!(receipts[2].id().to_string(), format!("{}/2026-11/2", instance.trim()));
    assert_eq!(receipts[2].id().of_question(5).to_string(), format!("{}/2026-11/2#5", instance.trim()));
}

#[test]
fn segments_follow_each_other() {
    let mut house = House::new();
    house.config.segment_bytes = 4096;
    let log = house.open();
    let month = log.month(NOVEMBER).expect("works");
    append(&log, &month, 0..200);
    assert!(house.layout().segments(house.month()).expect("listed").len() > 5, "several segments");
    log.close().expect("closed");
    drop(log);
    assert_eq!(house.payloads(house.month()), encoded(0..200));
    let log = house.open();
    assert_eq!(append(&log, &log.month(NOVEMBER).expect("works"), 200..201)[0].index(), 200);
}

#[test]
fn a_record_longer_than_a_segment_has_room() {
    let mut house = House::new();
    house.config.segment_bytes = 4096;
    let log = house.open();
    let month = log.month(NOVEMBER).expect("works");
    append(&log, &month, 0..1);
    let wide = EvidenceRecord { subject_tags: vec![1; 300_000], ..record(1) };
    log.append(&month, &wide).expect("appended");
    append(&log, &month, 2..3);
    drop(log);
    assert_eq!(house.payloads(house.month()).len(), 3);
    let too_long = EvidenceRecord { subject_tags: vec![1; 17 * 1024 * 1024], ..record(1) };
    let log = house.open();
    let month = log.month(NOVEMBER).expect("works");
    assert!(matches!(log.append(&month, &too_long), Err(AppendError::TooLong(_))));
    assert_eq!(append(&log, &month, 3..4)[0].index(), 3, "a refused record takes no place");
}

#[test]
fn eight_threads_share_the_writes() {
    let mut house = House::new();
    house.config.segment_bytes = 128 * 1024;
    house.config.flush_interval = Duration::from_millis(1);
    let log = house.open();
    let month = log.month(NOVEMBER).expect("works");
    let indices: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8_u64)
            .map(|thread| {
                let (log, month) = (&log, &month);
                scope.spawn(move || append(log, month, thread * 1000..thread * 1000 + 1000))
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("no panic").into_iter().map(|receipt| receipt.index()))
            .collect()
    });
    assert_eq!(indices.iter().copied().collect::<BTreeSet<_>>(), (0..8000).collect(), "unique and contiguous");
    log.close().expect("closed");
    drop(log);
    let mut found = house.payloads(house.month());
    let mut expected = encoded(0..8000);
    found.sort_unstable();
    expected.sort_unstable();
    assert!(found == expected, "every record is there once");
}

#[test]
fn a_month_ends_and_never_comes_back() {
    let house = House::new();
    let log = house.open();
    let november = log.month(NOVEMBER).expect("works");
    append(&log, &november, 0..3);
    let later = november.ends();
    let december = log.month(later).expect("works");
    assert_eq!(december.id().to_string(), "2026-12");
    assert_eq!(log.append(&november, &record(3)), Err(AppendError::MonthEnded(november.id())));
    assert_eq!(append(&log, &december, 3..5)[1].index(), 1, "a month's indices begin at 0");
    assert_eq!(log.month(NOVEMBER).expect("works").id(), december.id(), "time that goes back does not matter");
    assert_ne!(november.tag("crm:42"), december.tag("crm:42"), "each month has its own key");
    drop(log);
    // The clock still stands in November.
    let log = house.open();
    let month = log.month(NOVEMBER).expect("works");
    assert_eq!((month.id(), month.tag("crm:42")), (december.id(), december.tag("crm:42")));
    assert_eq!(append(&log, &month, 5..6)[0].index(), 2);
    drop(log);
    assert_eq!(house.payloads(november.id()), encoded(0..3));
    assert_eq!(house.payloads(december.id()), encoded(3..6));
}

#[test]
fn opening_in_a_later_month_begins_it() {
    let house = House::new();
    append(&house.open(), &house.open_month(), 0..3);
    house.clock.advance(Duration::from_hours(31 * 24));
    let log = house.open();
    let month = log.month(house.clock.now()).expect("works");
    assert_eq!(month.id().to_string(), "2026-12");
    assert_eq!(append(&log, &month, 3..4)[0].index(), 0);
}

impl House {
    /// The month as a log that is not open any more had it.
    fn open_month(&self) -> std::sync::Arc<Month> {
        let archive = crate::evidence::Archive::open(&self.config.dir).expect("a log");
        std::sync::Arc::new(archive.month(self.month()).expect("a key"))
    }
}

#[test]
fn one_writer_at_a_time() {
    let house = House::new();
    let log = house.open();
    let second = EvidenceLog::open(house.config.clone(), &house.clock);
    assert!(matches!(second, Err(OpenError::Locked { .. })));
    drop(log);
    assert_eq!(house.open().health().poisoned, None);
}

#[test]
fn a_failed_write_poisons_for_good() {
    for written_before in [0, 1, 50, 64, 100] {
        let house = House::new();
        let log = house.open();
        let month = log.month(NOVEMBER).expect("works");
        append(&log, &month, 0..5);
        let plan = &house.faults.plan;
        plan.written_before.store(written_before, SeqCst);
        plan.write.store(1, SeqCst);
        let Err(AppendError::Unavailable(first)) = log.append(&month, &record(5)) else { panic!("it was taken") };
        assert!(first.cause().contains("No space left"), "{first}");
        let tried = plan.writes_tried.load(SeqCst);
        assert_eq!(log.append(&month, &record(6)), Err(AppendError::Unavailable(first.clone())));
        assert_eq!(log.month(NOVEMBER).expect_err("poisoned"), first);
        assert_eq!(log.close(), Err(first.clone()));
        assert_eq!(plan.writes_tried.load(SeqCst), tried, "no write is tried again");
        assert_eq!(log.health().poisoned.as_deref(), Some(first.cause()));
        drop(log);
        // What was cut short was acknowledged to nobody, and the next process goes on.
        let log = house.open();
        assert_eq!(log.health().poisoned, None);
        assert_eq!(append(&log, &log.month(NOVEMBER).expect("works"), 5..6)[0].index(), 5);
        drop(log);
        assert_eq!(house.payloads(house.month()), encoded(0..6));
    }
}

#[test]
fn a_failed_write_fails_everybody_in_the_group() {
    let house = House::new();
    let log = house.open();
    let month = log.month(NOVEMBER).expect("works");
    append(&log, &month, 0..5);
    house.faults.plan.write.store(200, SeqCst);
    let taken: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (log, month) = (&log, &month);
                scope.spawn(move || {
                    let mut taken = 0;
                    while log.append(month, &record(9)).is_ok() {
                        taken += 1;
                    }
                    taken
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    drop(log);
    let found = u64::try_from(house.payloads(house.month()).len()).expect("fits");
    assert_eq!(found, 5 + taken, "exactly what was acknowledged is there: the failing write wrote nothing");
}

#[test]
fn a_failed_flush_poisons_for_good_and_wakes_who_waits() {
    let mut house = House::new();
    house.config.stage = Stage::Synced;
    let log = house.open();
    let month = log.month(NOVEMBER).expect("works");
    let settled = append(&log, &month, 0..1)[0];
    block_on(log.settled(&settled)).expect("on the device");
    assert_eq!(log.health().synced, 1);
    let plan = &house.faults.plan;
    plan.sync.store(1, SeqCst);
    let lost = append(&log, &month, 1..2)[0];
    let cause = block_on(log.settled(&lost)).expect_err("the flush failed");
    let tried = plan.syncs_tried.load(SeqCst);
    assert_eq!(block_on(log.settled(&lost)), Err(cause.clone()));
    assert_eq!(block_on(log.settled(&settled)), Ok(()), "what had settled stays so");
    assert_eq!(log.append(&month, &record(2)), Err(AppendError::Unavailable(cause.clone())));
    assert_eq!(log.close(), Err(cause));
    assert_eq!(plan.syncs_tried.load(SeqCst), tried, "no flush is tried again");
}

/// The next process finds every record in the page cache, and its flush succeeds: only the note tells.
#[test]
fn a_failed_flush_is_remembered_until_the_machine_is_started_again() {
    let mut house = House::new();
    house.config.stage = Stage::Synced;
    let log = house.open();
    let month = log.month(NOVEMBER).expect("works");
    house.faults.plan.sync.store(1, SeqCst);
    let lost = append(&log, &month, 0..1)[0];
    block_on(log.settled(&lost)).expect_err("the flush failed");
    drop(log);
    for _ in 0..2 {
        let cause = house.open().health().poisoned.expect("poisoned in the same boot");
        assert!(cause.starts_with("a flush failed since this machine was started (cannot flush `"), "{cause}");
    }
    house.reboot();
    assert_eq!(house.open().health().poisoned, None, "now the device has told what it holds");
    house.boot.pop();
    assert_eq!(house.open().health().poisoned, None, "the note is gone");
}

/// A month's first head is flushed on its own way.
#[test]
fn a_failed_flush_of_a_new_month_is_remembered() {
    let house = House::new();
    let log = house.open();
    house.faults.plan.sync.store(1, SeqCst);
    let december = log.month(NOVEMBER).expect("works").ends();
    log.month(december).expect_err("the flush failed");
    drop(log);
    let cause = house.open().health().poisoned.expect("poisoned in the same boot");
    assert!(cause.contains("a flush failed since this machine was started"), "{cause}");
}

#[test]
fn in_the_stage_written_the_device_follows_by_itself() {
    let mut house = House::new();
    house.config.flush_interval = Duration::from_millis(5);
    let log = house.open();
    let month = log.month(NOVEMBER).expect("works");
    let receipt = append(&log, &month, 0..10)[9];
    block_on(log.settled(&receipt)).expect("written is enough");
    for _ in 0..1000 {
        if log.health().synced == 10 {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("never flushed: {:?}", log.health());
}

#[test]
fn closing_flushes_and_takes_no_more() {
    let house = House::new();
    let log = house.open();
    let month = log.month(NOVEMBER).expect("works");
    append(&log, &month, 0..10);
    log.close().expect("closed");
    log.close().expect("twice does nothing");
    let health = log.health();
    assert_eq!((health.appended, health.written, health.synced, health.poisoned), (10, 10, 10, None));
    assert!(matches!(log.append(&month, &record(10)), Err(AppendError::Unavailable(_))));
}

#[test]
fn a_thread_that_panics_with_the_lock_makes_evidence_unavailable() {
    let house = House::new();
    let log = house.open();
    let month = log.month(NOVEMBER).expect("works");
    let other = log.clone();
    let panicked = std::thread::spawn(move || {
        let core = other.core().expect("works");
        let _held = core.writer.lock().expect("free");
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    assert!(matches!(log.append(&month, &record(0)), Err(AppendError::Unavailable(_))));
    assert!(log.health().poisoned.is_some());
}

#[test]
fn an_unusable_directory_opens_poisoned() {
    let house = House::new();
    append(&house.open(), &house.open_month(), 0..3);
    let key = house.layout().key(house.month());
    let secret = fs::read(&key).expect("read");
    fs::write(&key, b"short").expect("written");
    let log = house.open();
    assert!(log.health().poisoned.expect("poisoned").contains("5 bytes instead of 32"));
    assert!(log.month(NOVEMBER).is_err());
    drop(log);
    fs::write(&key, secret).expect("written");
    assert_eq!(house.open().health().poisoned, None);
    fs::remove_file(house.layout().instance()).expect("removed");
    assert!(house.open().health().poisoned.expect("poisoned").contains("instance` is missing"));
}

#[test]
fn a_full_file_system_poisons_and_keeps_what_was_acknowledged() {
    let mut house = House::new();
    let dir = house.config.dir.clone();
    fs::create_dir(&dir).expect("made");
    let mount = |arguments: &[&str]| Command::new("mount").args(arguments).arg(&dir).output().expect("mount is there");
    let mounted = mount(&["-t", "tmpfs", "-o", "size=1m", "tmpfs"]);
    if !mounted.status.success() {
        return without_mount();
    }
    let _unmount = Unmount(dir.clone());
    house.config.segment_bytes = 16 * 1024;
    fill(&house, NOVEMBER);
    // Also where there is no room for so much as a segment, the log opens, and says so.
    fs::write(dir.join("ballast"), vec![1; 1024 * 1024]).expect_err("full");
    let log = house.open();
    let cause = log.health().poisoned.expect("poisoned");
    assert!(cause.contains("No space left"), "{cause}");
    drop(log);
    assert!(mount(&["-o", "remount,size=2m"]).status.success());
    assert_eq!(house.open().health().poisoned, None, "with room it goes on");
}

/// Fills the file system, and gives the number of records taken.
fn fill(house: &House, now: Time) {
    let log = house.open();
    let month = log.month(now).expect("works");
    let mut taken = 0;
    let cause = loop {
        match log.append(&month, &record(taken)) {
            Ok(receipt) => assert_eq!(receipt.index(), taken),
            Err(error) => break error,
        }
        taken += 1;
        assert!(taken < 100_000, "the file system does not fill");
    };
    assert!(cause.to_string().contains("No space left"), "{cause}");
    assert!(log.append(&month, &record(0)).is_err(), "it stays so");
    assert!(taken > 1000, "only {taken} were taken");
    drop(log);
    assert_eq!(house.payloads(house.month()), encoded(0..taken));
}

/// The same where nothing may be mounted: the process limits the length of a file, which takes a process of its own.
fn without_mount() {
    let test = "evidence::tests::append::a_limited_file_length_poisons";
    let own = std::env::current_exe().expect("known");
    let script = format!("trap '' XFSZ; ulimit -f 64; exec '{}' --exact {test} --ignored", own.display());
    let run = Command::new("sh").args(["-c", &script]).output();
    let run = run.expect("sh is there");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
    assert!(String::from_utf8_lossy(&run.stdout).contains("1 passed"), "it did not run");
}

#[test]
#[ignore = "run by `without_mount` in a process whose file lengths are limited"]
fn a_limited_file_length_poisons() {
    let mut house = House::new();
    // 64 blocks of 512 or 1024 bytes, as the shell counts them.
    house.config.segment_bytes = 16 * 1024;
    let log = house.open();
    let month = log.month(NOVEMBER).expect("works");
    append(&log, &month, 0..10);
    let wide = EvidenceRecord { subject_tags: vec![1; 100_000], ..record(10) };
    let error = log.append(&month, &wide).expect_err("longer than a file may be");
    assert!(error.to_string().contains("File too large"), "{error}");
    assert!(log.append(&month, &record(10)).is_err(), "it stays so");
    drop(log);
    assert_eq!(house.payloads(house.month()), encoded(0..10));
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
