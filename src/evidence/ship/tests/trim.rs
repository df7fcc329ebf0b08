//! Removing what was shipped within a month: on real logs, with what a kill and a power loss leave.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::evidence::merkle::leaf_hash;
use crate::evidence::ship::retention::Shipped;
use crate::evidence::ship::trim::Trim;
use crate::evidence::tiles::tile_path;
use crate::evidence::trimmed::Trimmed;

/// Everything of a month below this index was acknowledged.
fn up_to(month: YearMonth, index: u64) -> Place {
    Place { month, index, chain: [0; 32] }
}

/// Trims a log, with a tree that needs the records below an index no more.
fn trim_built(
    house: &House,
    acknowledged: Place,
    heads: &BTreeMap<YearMonth, Checkpoint>,
    built: u64,
    max: u64,
) -> u64 {
    let layout = house.layout();
    let public = house.archive().public().expect("read");
    let trim = Trim {
        layout: &layout,
        instance: instance(house),
        public: &public,
        shipped: Shipped { acknowledged, heads },
        built: &|_| built,
    };
    trim.down_to(max).expect("works")
}

fn trim(house: &House, acknowledged: Place, max: u64) -> u64 {
    trim_built(house, acknowledged, &heads(house), u64::MAX, max)
}

/// The first record of November that is kept.
fn kept_from(house: &House) -> u64 {
    house.archive().removed(november()).expect("read")
}

fn segments(house: &House) -> Vec<u64> {
    house.layout().segments(november()).expect("listed").iter().map(|segment| segment.first).collect()
}

/// The positions that the records bear, by index.
fn positions(house: &House, month: YearMonth) -> Vec<(u64, u64)> {
    let mut seen = Vec::new();
    let read = house.archive().read(month, |index, record| {
        seen.push((index, record.ledger_position));
        ControlFlow::Continue(())
    });
    read.expect("readable");
    seen
}

/// A closed log of November whose first records were removed. Gives how many of `records`.
fn trimmed(records: u64, acknowledged: u64, max: u64) -> (House, u64) {
    let house = House::filled(records);
    trim(&house, up_to(november(), acknowledged), max);
    let from = kept_from(&house);
    assert!(from > 0, "something was removed");
    (house, from)
}

/// It opens, verifies, and goes on with the index that comes next.
fn goes_on(house: &House, next: u64, what: &str) {
    let from = kept_from(house);
    let log = house.open();
    assert_eq!(log.health().poisoned, None, "{what}");
    let receipts = append(&log, &log.month(NOVEMBER).expect("works"), next..next + 20);
    assert_eq!(receipts[0].index(), next, "{what}");
    log.close().expect(what);
    drop(log);
    assert_eq!(house.problems(), "", "{what}");
    let expected: Vec<(u64, u64)> = (from..next + 20).map(|index| (index, index)).collect();
    assert_eq!(positions(house, november()), expected, "{what}");
}

#[test]
fn the_oldest_goes_and_the_rest_is_read_proved_verified_and_continued() {
    let house = House::filled(1500);
    let whole = trim(&house, up_to(november(), 1500), u64::MAX);
    assert_eq!(kept_from(&house), 0, "it is not more than may be kept");
    let kept = trim(&house, up_to(november(), 1500), whole / 2);
    assert!(kept <= whole / 2 && kept > whole / 4, "{kept} of {whole}");
    assert_eq!(kept, trim(&house, up_to(november(), 1500), u64::MAX), "what it says is what is there");
    let from = kept_from(&house);
    assert_eq!(segments(&house).first(), Some(&from));
    let [report] = house.verify().try_into().expect("one month");
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!((report.removed, report.records), (from, 1500 - from));
    for index in [from, from + 1, 1499] {
        assert_eq!(house.archive().find(&house.id(index)).expect("read").expect("there").ledger_position, index);
        assert!(house.archive().prove(&house.id(index)).is_ok(), "record {index}");
    }
    for index in [0, from - 1] {
        assert_eq!(house.archive().find(&house.id(index)), Ok(None));
    }
    // The tiles below are gone, at every level, and no other.
    let folder = house.layout().month(november());
    for tile in 0..5 {
        assert_eq!(folder.join(tile_path(0, tile)).exists(), (tile + 1) * 256 > from, "tile {tile} from {from}");
    }
    goes_on(&house, 1500, "after the trim");
}

#[test]
fn nothing_goes_that_was_not_acknowledged_signed_and_built_nor_the_segment_written_to() {
    let house = House::filled(1500);
    let all = heads(&house);
    let live = *segments(&house).last().expect("a segment");
    let short = BTreeMap::from([(november(), Checkpoint { size: 400, ..all[&november()] })]);
    let below = |house: &House, limit: u64| segments(house).into_iter().rfind(|first| *first <= limit).unwrap_or(0);
    for (acknowledged, heads, built, limit) in [
        (300, &all, u64::MAX, 300),
        (1500, &BTreeMap::new(), u64::MAX, 0),
        (1500, &short, u64::MAX, 400),
        (1500, &all, 500, 500),
        (1500, &all, 0, 500),
        (0, &all, u64::MAX, 500),
    ] {
        let wanted = below(&house, limit).max(kept_from(&house));
        trim_built(&house, up_to(november(), acknowledged), heads, built, 0);
        assert_eq!(kept_from(&house), wanted, "acknowledged {acknowledged}, built {built}");
        assert_eq!(house.problems(), "");
    }
    trim(&house, up_to(november(), 1500), 0);
    assert_eq!(kept_from(&house), live, "the last segment stays, and what is in it");
    goes_on(&house, 1500, "with one segment left");
}

#[test]
fn a_removal_that_is_cut_short_anywhere_is_finished() {
    let house = House::filled(1500);
    let folder = house.layout().month(november());
    let before = Files::of(&folder);
    trim(&house, up_to(november(), 1500), 0);
    let after = Files::of(&folder);
    let gone: Vec<&(PathBuf, Vec<u8>)> = before.0.iter().filter(|(path, _)| !path.exists()).collect();
    let is_segment = |path: &Path| path.extension().is_some_and(|end| end == "wal");
    assert!(gone.iter().filter(|(path, _)| is_segment(path)).count() > 4, "{} files", gone.len());
    assert!(gone.iter().any(|(path, _)| path.ends_with("tile/0/000")), "a tile went");
    let from = kept_from(&house);
    // After each deletion, and with only each single one not done, as a power loss may leave it.
    let restored = (0..=gone.len()).map(|done| gone[done..].to_vec()).chain(gone.iter().map(|one| vec![*one]));
    for (number, files) in restored.enumerate() {
        after.restore();
        for (path, bytes) in &files {
            fs::write(path, bytes).expect("written");
        }
        assert_eq!(house.problems(), "", "{number}: as it was left");
        assert_eq!(positions(&house, november()).first(), Some(&(from, from)), "{number}");
        goes_on(&house, 1500, &format!("{number}: {} files were left", files.len()));
        assert_eq!(segments(&house).first(), Some(&from), "{number}: segments were left over");
    }
    // The note alone did not come about: nothing was removed.
    before.restore();
    assert_eq!(kept_from(&house), 0);
    fs::write(folder.join("trimmed.tmp"), b"half a no").expect("written");
    goes_on(&house, 1500, "without its note");
}

/// All files of a folder, to be put back.
struct Files(Vec<(PathBuf, Vec<u8>)>);

impl Files {
    fn of(folder: &Path) -> Self {
        let mut files = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("listed") {
                let path = entry.expect("listed").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.push((path.clone(), fs::read(path).expect("read")));
                }
            }
        }
        files.sort();
        Self(files)
    }

    fn restore(&self) {
        for (path, _) in &Self::of(self.0[0].0.parent().expect("a folder")).0 {
            if !self.0.iter().any(|(kept, _)| kept == path) {
                fs::remove_file(path).expect("removed");
            }
        }
        for (path, bytes) in &self.0 {
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, bytes).expect("written");
        }
    }
}

#[test]
fn tiles_that_a_power_loss_took_are_made_again_from_the_note_and_the_records_that_stay() {
    let mut house = House::new();
    house.config.segment_bytes = 256 * 1024;
    let log = house.open();
    append(&log, &log.month(NOVEMBER).expect("works"), 0..67_000);
    log.close().expect("closed");
    drop(log);
    trim(&house, up_to(november(), 67_000), 2 << 20);
    let from = kept_from(&house);
    assert!((30_000..65_000).contains(&from), "{from}");
    let folder = house.layout().month(november());
    assert!(!folder.join(tile_path(0, 0)).exists());
    let whole = Files::of(&folder.join("tile"));
    let border = tile_path(0, from / 256);
    let lost = [border, tile_path(0, 255), tile_path(1, 0)].map(|tile| folder.join(tile));
    let partial = folder.join("tile/2/000.p/1");
    let spoils: [fn(&Path); 3] = [
        |path| fs::remove_file(path).expect("removed"),
        |path| fs::write(path, &fs::read(path).expect("read")[..4096]).expect("written"),
        |path| fs::write(path, vec![0; 8192]).expect("written"),
    ];
    for spoil in spoils {
        for path in &lost {
            spoil(path);
        }
        assert_ne!(house.problems(), "", "the lost tiles are told");
        for index in [from, 65_535, 65_536, 66_999] {
            assert!(house.archive().prove(&house.id(index)).is_ok(), "record {index} is proved from the records");
        }
        house.reboot();
        fs::remove_file(house.layout().checked(november())).expect("there");
        house.open().close().expect("closed");
        assert_eq!(house.problems(), "");
        assert!(Files::of(&folder.join("tile")).0 == whole.0, "the tiles are what they were, and no more");
    }
    // Without a partial tile all are made again.
    assert!(partial.exists());
    fs::remove_dir_all(folder.join("tile")).expect("removed");
    house.open().close().expect("closed");
    assert_eq!(house.problems(), "");
    // A trim that finds no tile takes the records.
    fs::remove_dir_all(folder.join("tile")).expect("removed");
    trim(&house, up_to(november(), 67_000), 1 << 20);
    assert!(kept_from(&house) > from);
    house.open().close().expect("closed");
    assert_eq!(house.problems(), "");
}

#[test]
fn a_note_that_is_not_of_this_log_is_told_and_stops_the_tree() {
    let (house, from) = trimmed(1500, 1500, 0);
    let note = Trimmed::load(&house.layout(), november()).expect("read").expect("there");
    let whole = Files::of(&house.layout().month(november()));
    let wrong = |change: &dyn Fn(&mut Trimmed)| {
        whole.restore();
        let mut changed = note.clone();
        change(&mut changed);
        changed.store(&house.layout(), november()).expect("stored");
        house.problems()
    };
    let other_records = |note: &mut Trimmed| {
        let mut levels = crate::evidence::levels::Levels::default();
        for number in 0..from {
            let Ok(()) =
                levels.push(leaf_hash(&number.to_le_bytes()), |_, _, _| Ok::<(), std::convert::Infallible>(()));
        }
        note.levels = levels;
    };
    let said = wrong(&other_records);
    assert!(said.contains("the roots differ"), "{said}");
    // As long as its tiles are there the tree needs no note; without them it is built on it.
    fs::remove_dir_all(house.layout().month(november()).join("tile")).expect("removed");
    let log = house.open();
    let cause = log.close().expect_err("poisoned");
    assert!(cause.cause().contains("is not the one whose checkpoint of 1500 records was signed"), "{cause}");
    drop(log);
    let said = wrong(&|note| note.chain[0] ^= 1);
    assert!(said.contains("does not continue what is before it"), "{said}");
    let cause = house.open().health().poisoned.expect("poisoned");
    assert!(cause.contains("does not continue what was removed before it"), "{cause}");
    // Not even its own bytes.
    whole.restore();
    fs::write(house.layout().trimmed(november()), b"consentd trimmed 1\n5 00\n00000000\n").expect("written");
    assert!(house.problems().contains("of what was removed is damaged"), "{}", house.problems());
    let cause = house.open().health().poisoned.expect("poisoned");
    assert!(cause.contains("of what was removed is damaged"), "{cause}");
    // Nor may it be missing.
    whole.restore();
    fs::remove_file(house.layout().trimmed(november())).expect("there");
    assert!(house.problems().contains("does not continue what is before it"), "{}", house.problems());
    let cause = house.open().health().poisoned.expect("poisoned");
    assert!(cause.contains("the segments before this one are missing"), "{cause}");
    // A note of records that are here yet removes none of them.
    let (house, _) = trimmed(1500, 700, 0);
    let mut ahead = Trimmed::load(&house.layout(), november()).expect("read").expect("there");
    let Ok(()) = ahead.levels.push([1; 32], |_, _, _| Ok::<(), std::convert::Infallible>(()));
    ahead.store(&house.layout(), november()).expect("stored");
    let before = segments(&house);
    let cause = house.open().health().poisoned.expect("poisoned");
    assert!(cause.contains("is missing, with which the log of 2026-11 begins"), "{cause}");
    assert_eq!(segments(&house), before, "nothing was removed by it");
}

#[test]
fn what_is_kept_is_shipped_again_from_its_beginning_where_nothing_else_is_known() {
    let (mut house, from) = trimmed(1500, 1000, 0);
    let start = first(&house);
    assert_eq!(start.index, from);
    assert_eq!(
        backlog::holds(&house.layout(), instance(&house), &up_to(november(), from - 1)),
        Ok(()),
        "nothing is said"
    );
    let other = Place { chain: [1; 32], ..start };
    let said = backlog::holds(&house.layout(), instance(&house), &other);
    assert!(matches!(said, Err(Problem::Rewound(what)) if what.contains("others in their place")));
    let (batches, counted) = read_from(&house, start);
    let records: Vec<Vec<u8>> = batches.iter().flat_map(|batch| batch.records.records.clone()).collect();
    assert_eq!(records, encoded(from..1500));
    // With no cursor, and with one that is before what is kept.
    for place in [None, Some(up_to(november(), 3))] {
        if let Some(place) = place {
            Cursor { place, stream_made: 1 }.store(&house.layout()).expect("stored");
        }
        let log = shipping(&mut house, 1 << 30);
        assert_eq!(log.health().withheld, None);
        assert_eq!(log.shipping().expect("it is shipped").unshipped_bytes, counted);
    }
}

#[test]
fn a_month_that_is_over_goes_segment_by_segment_and_then_as_a_whole() {
    let house = two_months();
    let december = YearMonth::of(house.clock.now());
    let whole = trim(&house, up_to(december, 0), u64::MAX);
    trim(&house, up_to(december, 0), whole / 2);
    assert!(kept_from(&house) > 0);
    assert_eq!(house.layout().months().expect("listed").len(), 2);
    assert_eq!(house.problems(), "");
    // Its last records are not all acknowledged: its last segment stays.
    trim(&house, up_to(november(), 299), 0);
    assert_eq!(house.layout().months().expect("listed").len(), 2);
    assert_eq!(trim(&house, up_to(december, 100), 0), 0);
    assert_eq!(house.layout().months().expect("listed"), [december]);
    assert!(house.archive().removed(december).expect("read") > 0, "and then the next one");
    assert!(house.layout().key(november()).exists(), "its key stays");
    let log = house.open();
    let receipts = append(&log, &log.month(house.clock.now()).expect("works"), 400..410);
    assert_eq!(receipts[0].index(), 100);
    log.close().expect("closed");
    assert_eq!(house.problems(), "");
}

#[test]
fn a_month_is_verified_while_it_is_trimmed() {
    let house = House::filled(3000);
    let heads = heads(&house);
    std::thread::scope(|scope| {
        let trimming = scope.spawn(|| {
            for acknowledged in (100..3000).step_by(40) {
                trim_built(&house, up_to(november(), acknowledged), &heads, u64::MAX, 0);
            }
        });
        while !trimming.is_finished() {
            assert_eq!(house.problems(), "");
            let seen = positions(&house, november());
            assert_eq!(seen.last(), Some(&(2999, 2999)));
            assert!(seen.iter().all(|(index, position)| index == position));
        }
    });
    assert!(kept_from(&house) > 2800);
}

#[derive(Debug, Clone)]
enum Step {
    Append(u64),
    /// The log is closed, which signs it, and everything is acknowledged up to a share of it, in percent.
    Acknowledge(u64),
    /// What was acknowledged is removed down to so many bytes.
    Trim(u64),
    /// The process ends, and starts again.
    Restart,
    /// The machine starts again, and a share of the tiles is lost, by their number.
    Reboot(usize),
    NextMonth,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..400_u64).prop_map(Step::Append),
        3 => (0..=100_u64).prop_map(Step::Acknowledge),
        4 => (0..40_000_u64).prop_map(Step::Trim),
        1 => Just(Step::Restart),
        2 => (1..4_usize).prop_map(Step::Reboot),
        1 => Just(Step::NextMonth),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_was_acknowledged_and_what_is_kept_is_everything(steps in prop::collection::vec(step(), 1..30)) {
        let mut house = House::new();
        house.config.segment_bytes = 4096;
        let mut log = house.open();
        let mut number = 0;
        let mut given: BTreeMap<(YearMonth, u64), u64> = BTreeMap::new();
        let mut acknowledged: Option<Place> = None;
        for step in steps {
            if !matches!(step, Step::Append(_) | Step::NextMonth) {
                // What is acknowledged is on the device, and trimmed only once the tree is there.
                log.close().expect("closed");
                drop(log);
                match step {
                    Step::Acknowledge(share) => {
                        if let Some(((month, last), _)) = given.last_key_value() {
                            let place = up_to(*month, (last + 1) * share / 100);
                            let is_later = |before: Place| (before.month, before.index) < (place.month, place.index);
                            if acknowledged.is_none_or(is_later) {
                                acknowledged = Some(place);
                            }
                        }
                    }
                    Step::Trim(max) => {
                        if let Some(place) = acknowledged {
                            trim(&house, place, max);
                        }
                    }
                    Step::Reboot(share) => {
                        house.reboot();
                        for month in house.layout().months().expect("listed") {
                            let tiles = house.layout().month(month).join("tile");
                            if tiles.exists() {
                                for (path, _) in Files::of(&tiles).0.iter().step_by(share) {
                                    fs::remove_file(path).expect("removed");
                                }
                            }
                            let _ = fs::remove_file(house.layout().checked(month));
                        }
                    }
                    Step::Append(_) | Step::Restart | Step::NextMonth => {}
                }
                log = house.open();
                prop_assert_eq!(log.health().poisoned, None);
                prop_assert_eq!(log.health().lost, crate::evidence::Lost::default());
            }
            match step {
                Step::Append(count) => {
                    let month = log.month(house.clock.now()).expect("works");
                    for receipt in append(&log, &month, number..number + count) {
                        let before = given.insert((month.id(), receipt.index()), number);
                        prop_assert_eq!(before, None, "index {} was given twice", receipt.index());
                        number += 1;
                    }
                }
                Step::NextMonth => house.clock.advance(Duration::from_hours(31 * 24)),
                _ => {}
            }
        }
        log.close().expect("closed");
        drop(log);
        prop_assert_eq!(house.problems(), "");
        let mut kept = BTreeMap::new();
        for month in house.layout().months().expect("listed") {
            kept.extend(positions(&house, month).into_iter().map(|(index, position)| ((month, index), position)));
        }
        for ((month, index), number) in &given {
            if let Some(position) = kept.get(&(*month, *index)) {
                prop_assert_eq!(position, number);
            } else {
                let place = acknowledged.expect("nothing is removed before");
                prop_assert!((*month, *index) < (place.month, place.index), "{} {} was not acknowledged", month, index);
            }
        }
        prop_assert_eq!(kept.keys().filter(|key| !given.contains_key(key)).count(), 0);
    }
}
