//! What is read behind the writer, how it is counted, and what may be removed: on real logs, without a server.

mod trim;

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::time::Duration;

use super::backlog::{self, Batch, Until};
use super::*;
use crate::evidence::batch::BATCH_BYTES;
use crate::evidence::checkpoint::Checkpoint;
use crate::evidence::files::replace;
use crate::evidence::format::HEAD_SPAN;
use crate::evidence::scan::{self, Window, walk};
use crate::evidence::tests::{House, NOVEMBER, append, encoded};
use crate::evidence::{Archive, EvidenceLog};

/// Two months in small segments: 300 records, then 100. Gives the log, closed.
fn two_months() -> House {
    let mut house = House::new();
    house.config.segment_bytes = 4096;
    let log = house.open();
    append(&log, &log.month(NOVEMBER).expect("works"), 0..300);
    house.clock.advance(Duration::from_hours(24 * 20));
    append(&log, &log.month(house.clock.now()).expect("works"), 300..400);
    log.close().expect("closed");
    house
}

fn november() -> YearMonth {
    YearMonth::of(NOVEMBER)
}

fn instance(house: &House) -> Instance {
    Archive::open(&house.config.dir).expect("a log").instance()
}

/// Where the log ends.
fn live(house: &House) -> (YearMonth, u64, u64) {
    let layout = house.layout();
    let month = *layout.months().expect("listed").last().expect("a month");
    let segment = layout.segments(month).expect("listed").pop().expect("a segment");
    let mut window = Window::open(&segment.path).expect("opened");
    let head = window.head(instance(house), month, segment.first).expect("read").expect("a head");
    let mut cursor = scan::Cursor { index: head.first, chain: head.chain, synced: 0 };
    let stop = walk(&mut window, HEAD_SPAN, &mut cursor, |_, _| ControlFlow::Continue(())).expect("read");
    (month, segment.first, stop.offset)
}

fn until(month: YearMonth) -> Until {
    if month == november() { Until::End } else { Until::Index(100) }
}

/// Everything from a place on, and what was counted to lie there.
fn read_from(house: &House, place: Place) -> (Vec<Batch>, u64) {
    let layout = house.layout();
    let measured = backlog::measure(&layout, instance(house), &place, live(house)).expect("measured");
    let bytes = measured.bytes;
    let mut backlog = Backlog::new(&layout, instance(house), place, measured);
    let mut batches = Vec::new();
    loop {
        let month = backlog.place().month;
        match backlog.next(until(month)).expect("read") {
            Some(batch) => batches.push(batch),
            None if backlog.place().month == month => return (batches, bytes),
            None => {}
        }
    }
}

fn first(house: &House) -> Place {
    backlog::first_place(&house.layout(), instance(house)).expect("read").expect("a month")
}

#[test]
fn every_record_is_read_once_across_segments_and_months() {
    let house = two_months();
    let (batches, counted) = read_from(&house, first(&house));
    let records: Vec<Vec<u8>> = batches.iter().flat_map(|batch| batch.records.records.clone()).collect();
    assert_eq!(records, encoded(0..400));
    assert_eq!(batches.iter().map(|batch| batch.log_bytes).sum::<u64>(), counted, "all that was counted has left");
    assert_eq!(batches[0].oldest_ms, Some(NOVEMBER.unix_millis()));
    for pair in batches.windows(2) {
        assert_eq!(pair[0].end.chain, pair[1].from.chain, "the chain goes on");
        let follows = (pair[0].end.month, pair[0].end.index) == (pair[1].from.month, pair[1].from.index);
        assert!(follows || pair[1].from.index == 0 && pair[1].from.month > pair[0].end.month);
    }
    // From every place that can be acknowledged it goes on with what is left, and nothing is counted for ever.
    for (place, batch) in batches.iter().enumerate() {
        let (rest, counted) = read_from(&house, batch.end);
        let records: usize = rest.iter().map(|batch| batch.records.records.len()).sum();
        let wanted: usize = batches[place + 1..].iter().map(|batch| batch.records.records.len()).sum();
        assert_eq!(records, wanted, "after batch {place}");
        assert_eq!(rest.iter().map(|batch| batch.log_bytes).sum::<u64>(), counted, "after batch {place}");
    }
}

#[test]
fn space_that_a_kill_left_behind_is_not_counted_for_ever() {
    let house = two_months();
    // Full segments are cut once they are on the device: a kill may come before that.
    for segment in house.layout().segments(november()).expect("listed") {
        let file = fs::OpenOptions::new().write(true).open(&segment.path).expect("opened");
        file.set_len(8192).expect("grown");
    }
    let (batches, counted) = read_from(&house, first(&house));
    assert_eq!(batches.iter().map(|batch| batch.records.records.len()).sum::<usize>(), 400);
    assert_eq!(batches.iter().map(|batch| batch.log_bytes).sum::<u64>(), counted);
}

#[test]
fn a_batch_ends_where_it_is_full_and_what_is_not_on_the_device_waits() {
    let house = House::new();
    let log = house.open();
    let month = log.month(NOVEMBER).expect("works");
    append(&log, &month, 0..12_000);
    log.close().expect("closed");
    drop(log);
    let measured = Measured::nothing();
    let mut backlog = Backlog::new(&house.layout(), instance(&house), first(&house), measured);
    assert!(backlog.next(Until::Index(0)).expect("read").is_none(), "nothing is on the device");
    let batch = backlog.next(Until::Index(12_000)).expect("read").expect("records");
    let bytes: usize = batch.records.records.iter().map(Vec::len).sum();
    assert!(bytes <= BATCH_BYTES && batch.end.index < 12_000, "{bytes} bytes, to {}", batch.end.index);
    let batch = backlog.next(Until::Index(batch.end.index + 3)).expect("read").expect("records");
    assert_eq!(batch.records.records.len(), 3);
    // After a failure it is read again from where it was acknowledged.
    backlog.go_to(first(&house));
    assert_eq!(backlog.next(Until::Index(2)).expect("read").expect("records").from.index, 0);
}

#[test]
fn another_log_than_the_one_that_was_shipped_is_told_by_its_chain() {
    let house = two_months();
    let (batches, _) = read_from(&house, first(&house));
    let holds = |place: &Place| backlog::holds(&house.layout(), instance(&house), place);
    for batch in &batches {
        assert_eq!(holds(&batch.end), Ok(()));
        let mut other = batch.end;
        other.chain[0] ^= 1;
        assert!(matches!(holds(&other), Err(Problem::Rewound(what)) if what.contains("others in their place")));
    }
    let last = batches.last().expect("a batch").end;
    let beyond = Place { index: last.index + 1, ..last };
    assert!(matches!(holds(&beyond), Err(Problem::Rewound(what)) if what.contains("has only 100")));
    let later = Place { month: "2027-03".parse().expect("a month"), ..last };
    assert!(matches!(holds(&later), Err(Problem::Rewound(what)) if what.contains("has none")));
    // Removed with all that was shipped.
    let earlier = Place { month: "2026-03".parse().expect("a month"), ..last };
    assert_eq!(holds(&earlier), Ok(()));
}

/// The signed heads on disk.
fn heads(house: &House) -> BTreeMap<YearMonth, Checkpoint> {
    let archive = Archive::open(&house.config.dir).expect("a log");
    let reports = archive.verify(None, None).expect("readable");
    reports.into_iter().filter_map(|report| Some((report.month, report.checkpoint?))).collect()
}

#[test]
fn a_month_is_removed_as_a_whole_once_its_time_is_over_and_all_of_it_was_acknowledged() {
    let house = two_months();
    let (layout, all) = (house.layout(), heads(&house));
    assert_eq!(all.get(&november()).map(|head| head.size), Some(300));
    let (batches, _) = read_from(&house, first(&house));
    let in_december = batches.last().expect("a batch").end;
    let in_november = Place { month: november(), index: 299, chain: [0; 32] };
    let keep = Duration::from_hours(24);
    let remove = |acknowledged, heads: &BTreeMap<_, _>, keep| {
        let shipped = retention::Shipped { acknowledged, heads };
        retention::remove(&layout, instance(&house), &shipped, keep, house.clock.now()).expect("works");
        layout.months().expect("listed").len()
    };
    assert_eq!(remove(in_november, &all, keep), 2, "one record is not acknowledged");
    assert_eq!(remove(in_december, &BTreeMap::new(), keep), 2, "its head is not acknowledged");
    let short = BTreeMap::from([(november(), Checkpoint { size: 299, root: [0; 32] })]);
    assert_eq!(remove(in_december, &short, keep), 2, "the head does not cover it all");
    assert_eq!(remove(in_december, &all, Duration::from_hours(24 * 365)), 2, "its time is not over");
    assert_eq!(remove(in_december, &all, keep), 1);
    assert!(layout.key(november()).exists(), "its key stays");
    // The log goes on without it, and verifies.
    let log = house.open();
    let receipts = append(&log, &log.month(house.clock.now()).expect("works"), 400..410);
    assert_eq!(receipts[0].index(), 100);
    log.close().expect("closed");
    let reports = Archive::open(&house.config.dir).and_then(|archive| archive.verify(None, None)).expect("readable");
    assert!(reports.iter().all(|report| report.problems.is_empty()), "{reports:?}");
}

#[test]
fn a_removal_that_was_cut_short_is_finished() {
    let house = two_months();
    let log = house.layout().log();
    fs::rename(house.layout().month(november()), log.join("removing-2026-11")).expect("renamed");
    retention::finish(&house.layout()).expect("works");
    assert!(!log.join("removing-2026-11").exists());
    assert_eq!(house.layout().months().expect("listed").len(), 1);
}

/// A log that ships to where nobody listens.
fn shipping(house: &mut House, bytes_max: u64) -> EvidenceLog {
    let servers = "nats://127.0.0.1:1".parse().expect("an address");
    house.config.ship = Some(Config {
        nats: nats::Config::new(servers),
        stream: "CONSENT_EVIDENCE".to_owned(),
        max_unshipped_bytes: bytes_max,
        keep_shipped: None,
        max_shipped_bytes: None,
        wait: Duration::from_secs(5),
    });
    house.open()
}

#[test]
fn what_was_never_shipped_counts_from_the_start_and_the_cursor_is_believed() {
    let mut house = two_months();
    let all = read_from(&house, first(&house));
    let log = shipping(&mut house, 1 << 30);
    let shown = log.shipping().expect("it is shipped");
    assert_eq!(shown.unshipped_bytes, all.1);
    drop(log);
    // Up to a place.
    let place = all.0[0].end;
    Cursor { place, stream_made: 1 }.store(&house.layout()).expect("stored");
    let log = shipping(&mut house, 1 << 30);
    assert_eq!(log.shipping().expect("it is shipped").unshipped_bytes, all.1 - all.0[0].log_bytes);
    drop(log);
    // Up to a place that this log does not have.
    Cursor { place: Place { chain: [1; 32], ..place }, stream_made: 1 }.store(&house.layout()).expect("stored");
    let log = shipping(&mut house, 1 << 30);
    let why = log.health().withheld.expect("it is withheld");
    assert!(why.contains("not the one that was shipped"), "{why}");
    let month = log.month(house.clock.now()).expect("works");
    let refused = log.append(&month, &crate::proto::v1::EvidenceRecord::default());
    assert_eq!(refused, Err(crate::evidence::AppendError::Withheld));
    drop(log);
    // A note that cannot be read: everything is shipped again.
    replace(&house.layout().shipped(), b"nonsense", 0o644).expect("written");
    let log = shipping(&mut house, 1 << 30);
    assert_eq!(log.shipping().expect("it is shipped").unshipped_bytes, all.1);
    assert_eq!(log.health().withheld, None);
}

#[test]
fn at_the_bound_nothing_is_appended() {
    let mut house = House::new();
    let log = shipping(&mut house, 10_000);
    let month = log.month(NOVEMBER).expect("works");
    let record = crate::proto::v1::EvidenceRecord { purpose: "p".repeat(100), ..Default::default() };
    let mut appended = 0;
    let refused = loop {
        match log.append(&month, &record) {
            Ok(_) => appended += 1,
            Err(error) => break error,
        }
        assert!(appended < 1_000, "no bound is met");
    };
    assert_eq!(refused, crate::evidence::AppendError::Withheld);
    let shown = log.shipping().expect("it is shipped");
    assert!((10_000..10_400).contains(&shown.unshipped_bytes), "{}", shown.unshipped_bytes);
    assert!(log.health().withheld.expect("it is withheld").contains("evidence.max_unshipped_bytes (10000)"));
    assert_eq!(log.health().poisoned, None, "this is no poison");
}
