//! What becomes of a log whose end was cut, damaged or lost.

use std::fs;

use super::*;
use crate::evidence::merkle::Hash;

/// A log of records 0 to 20, closed by the end of its process.
fn written(house: &House) {
    let log = house.open();
    append(&log, &log.month(NOVEMBER).expect("works"), 0..20);
}

/// Opens the log; it must work, hold the first `kept` records, and go on from there.
fn goes_on(house: &House, kept: u64, what: &str) {
    let log = house.open();
    let health = log.health();
    assert_eq!(health.poisoned, None, "{what}");
    let receipt = append(&log, &log.month(NOVEMBER).expect("works"), 100..101)[0];
    assert_eq!(receipt.index(), kept, "{what}");
    drop(log);
    let mut expected = encoded(0..kept);
    expected.extend(encoded(100..101));
    assert!(house.payloads(house.month()) == expected, "{what}: other records than expected");
    assert_eq!(house.open().health().poisoned, None, "{what}: the second start");
}

fn poisoned(house: &House, what: &str) -> String {
    let before = fs::read(house.segment()).expect("read");
    let cause = house.open().health().poisoned.unwrap_or_else(|| panic!("{what}: the log opened"));
    assert!(cause.contains("damaged at record"), "{what}: {cause}");
    assert!(fs::read(house.segment()).expect("read") == before, "{what}: a poisoned log was changed");
    cause
}

/// Puts the directory back as it was.
struct Snapshot(Vec<(PathBuf, Vec<u8>)>);

impl Snapshot {
    fn of(house: &House) -> Self {
        let dir = house.layout().month(house.month());
        let mut files = vec![];
        for entry in fs::read_dir(dir).expect("listed") {
            let path = entry.expect("listed").path();
            if path.is_file() {
                files.push((path.clone(), fs::read(path).expect("read")));
            }
        }
        files.push((house.layout().boot(), fs::read(house.layout().boot()).expect("read")));
        Self(files)
    }

    fn restore(&self, house: &House) {
        fs::remove_dir_all(house.layout().month(house.month())).expect("removed");
        fs::create_dir(house.layout().month(house.month())).expect("made");
        for (path, bytes) in &self.0 {
            fs::write(path, bytes).expect("written");
        }
    }
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).expect("fits")
}

#[test]
fn cut_at_every_byte_of_the_tail_it_goes_on_after_the_last_whole_record() {
    let house = House::new();
    written(&house);
    let offsets = house.offsets();
    let whole = Snapshot::of(&house);
    for end in offsets[17]..offsets[20] {
        whole.restore(&house);
        house.damage(|bytes| bytes.truncate(at(end)));
        // A frame is whole with the last byte of its payload; padding and end mark carry nothing.
        let payload = u64::try_from(encoded(17..18)[0].len()).expect("fits");
        let kept = (17..20).filter(|place| offsets[*place] + 64 + payload <= end).count() + 17;
        goes_on(&house, u64::try_from(kept).expect("fits"), &format!("cut at {end}"));
    }
}

#[test]
fn zeroed_from_every_byte_of_the_last_record_it_goes_on() {
    let house = House::new();
    written(&house);
    let offsets = house.offsets();
    let whole = Snapshot::of(&house);
    let payload = at(offsets[19]) + 64 + encoded(19..20)[0].len();
    for from in at(offsets[19])..at(offsets[20]) {
        whole.restore(&house);
        house.damage(|bytes| bytes[from..].fill(0));
        goes_on(&house, if from >= payload { 20 } else { 19 }, &format!("zeroed from {from}"));
    }
}

#[test]
fn a_flipped_bit_in_any_record_stops_the_log() {
    let house = House::new();
    written(&house);
    let offsets = house.offsets();
    let whole = Snapshot::of(&house);
    // The first, one in the middle, the last: that one was acknowledged too.
    for place in [0, 9, 19] {
        let covered = 64 + encoded(place..place + 1)[0].len();
        // Every bit of the last record; of the others one in every byte.
        for bit in (0..covered * 8).step_by(if place == 19 { 1 } else { 9 }) {
            whole.restore(&house);
            house.damage(|bytes| bytes[at(offsets[at(place)]) + bit / 8] ^= 1 << (bit % 8));
            poisoned(&house, &format!("record {place}, bit {bit}"));
        }
    }
}

#[test]
fn a_damaged_head_stops_the_log() {
    let house = House::new();
    written(&house);
    let whole = Snapshot::of(&house);
    for byte in 0..64 + 24 {
        whole.restore(&house);
        house.damage(|bytes| bytes[byte] ^= 0x10);
        poisoned(&house, &format!("byte {byte} of the head"));
    }
}

#[test]
fn a_record_put_in_the_place_of_another_stops_the_log() {
    let house = House::new();
    written(&house);
    let offsets = house.offsets();
    let whole = Snapshot::of(&house);
    let frame = at(offsets[5])..at(offsets[6]);
    house.damage(|bytes| bytes.copy_within(frame.clone(), at(offsets[6])));
    assert!(poisoned(&house, "a repeated record").contains("record 5 stands there instead"));
    whole.restore(&house);
    // A forged record with a right CRC has no right chain.
    house.damage(|bytes| {
        let mut forged = Vec::new();
        let chain: Hash = [3; 32];
        super::super::format::push_frame(
            &mut forged,
            super::super::format::Kind::Record,
            19,
            0,
            &chain,
            &encoded(99..100)[0],
        );
        bytes[at(offsets[19])..at(offsets[19]) + forged.len()].copy_from_slice(&forged);
    });
    assert!(poisoned(&house, "a forged record").contains("its chain is broken"));
}

#[test]
fn a_missing_or_shortened_segment_stops_the_log() {
    let mut house = House::new();
    house.config.segment_bytes = 4096;
    let log = house.open();
    append(&log, &log.month(NOVEMBER).expect("works"), 0..100);
    drop(log);
    let whole = Snapshot::of(&house);
    let segments = house.layout().segments(house.month()).expect("listed");
    assert!(segments.len() >= 4);
    for segment in segments.iter().take(segments.len() - 1) {
        whole.restore(&house);
        fs::remove_file(&segment.path).expect("removed");
        assert!(house.open().health().poisoned.is_some(), "without {segment:?}");
        whole.restore(&house);
        let bytes = fs::read(&segment.path).expect("read");
        fs::write(&segment.path, &bytes[..2000]).expect("written");
        assert!(house.open().health().poisoned.is_some(), "half of {segment:?}");
    }
    whole.restore(&house);
    for segment in &segments {
        fs::remove_file(&segment.path).expect("removed");
    }
    let cause = house.open().health().poisoned.expect("poisoned");
    assert!(cause.contains("the log of 2026-11 is missing"), "{cause}");
}

#[test]
fn after_a_power_loss_what_was_not_on_the_device_is_set_aside() {
    let mut house = House::new();
    written(&house);
    let offsets = house.offsets();
    // A page of zeros with whole records behind it, as a power loss leaves them.
    house.damage(|bytes| bytes[at(offsets[7]) + 10..at(offsets[9]) + 10].fill(0));
    poisoned(&house, "within one boot");
    house.reboot();
    let log = house.open();
    let health = log.health();
    assert_eq!(health.poisoned, None);
    assert_eq!(health.lost.records, 10, "records 10 to 19");
    assert_eq!(health.lost.bytes, offsets[20] - offsets[7]);
    drop(log);
    let mut side = house.segment().into_os_string();
    side.push(".lost-1");
    assert_eq!(u64::try_from(fs::read(side).expect("kept").len()).expect("fits"), offsets[20] - offsets[7]);
    goes_on(&house, 7, "after the power loss");
}

#[test]
fn a_power_loss_does_not_excuse_what_was_on_the_device() {
    let mut house = House::new();
    let log = house.open();
    append(&log, &log.month(NOVEMBER).expect("works"), 0..10);
    drop(log);
    // This start puts the ten on the device and says so in `boot`.
    let log = house.open();
    append(&log, &log.month(NOVEMBER).expect("works"), 10..20);
    drop(log);
    let offsets = house.offsets();
    let whole = Snapshot::of(&house);
    house.reboot();
    for (place, excused) in [(0, false), (9, false), (10, true), (19, true)] {
        whole.restore(&house);
        house.damage(|bytes| bytes[at(offsets[place]) + 70] ^= 1);
        if excused {
            let log = house.open();
            assert_eq!(log.health().poisoned, None, "record {place}");
            assert_ne!(log.health().lost, crate::evidence::Lost::default(), "record {place}: lost in silence");
        } else {
            poisoned(&house, &format!("record {place}"));
        }
    }
    // A tail that ends too early was on the device too.
    whole.restore(&house);
    house.damage(|bytes| bytes[at(offsets[9])..].fill(0));
    poisoned(&house, "the tail with record 9 is zero");
}

/// Several small segments of which no record was flushed: the thread that prepares the next segment flushes what there is
/// when it gets to it, which on a busy machine may be before the last record.
fn with_nothing_on_the_device() -> House {
    let attempt = || {
        let mut house = House::new();
        house.config.segment_bytes = 4096;
        let log = house.open();
        append(&log, &log.month(NOVEMBER).expect("works"), 0..60);
        (log.health().synced == 0).then_some(house)
    };
    (0..1000).find_map(|_| attempt()).expect("a run in which the flusher came last")
}

#[test]
fn a_power_loss_may_take_a_segment_that_had_just_begun() {
    let mut house = with_nothing_on_the_device();
    let segments = house.layout().segments(house.month()).expect("listed");
    let whole = Snapshot::of(&house);
    let last = segments.last().expect("a segment").clone();
    // Its name reached the device, its bytes did not.
    house.damage(|bytes| bytes.fill(0));
    poisoned(&house, "within one boot");
    house.reboot();
    goes_on(&house, last.first, "a headless segment");
    // A hole in the one before takes the later one with it.
    house.boot.truncate(36);
    whole.restore(&house);
    house.reboot();
    let before = &segments[segments.len() - 2];
    let mut bytes = fs::read(&before.path).expect("read");
    bytes[300..400].fill(0);
    fs::write(&before.path, bytes).expect("written");
    let log = house.open();
    assert_eq!(log.health().poisoned, None);
    assert!(log.health().lost.records > 0);
    assert_eq!(house.segment(), before.path);
    assert!(last.path.with_extension("wal.lost-1").exists(), "the later segment is kept aside");
}
