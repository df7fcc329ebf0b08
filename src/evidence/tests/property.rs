//! Whatever happens to the process: what was acknowledged is found, in order, under its index.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// Appends a record with a subject list of this length.
    Append(usize),
    /// The process ends and starts again.
    Restart,
    /// The log is closed in order, and opened again.
    Close,
    /// The machine is started anew; the page cache had reached the device.
    Reboot,
    /// A write fails after this many bytes, and the process starts again.
    FailWrite(u64),
    /// The month ends.
    NextMonth,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..6000_usize).prop_map(Step::Append),
        1 => Just(Step::Restart),
        1 => Just(Step::Close),
        1 => Just(Step::Reboot),
        1 => (0..400_u64).prop_map(Step::FailWrite),
        1 => Just(Step::NextMonth),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn what_was_acknowledged_is_found(steps in prop::collection::vec(step(), 1..60)) {
        let mut house = House::new();
        house.config.segment_bytes = 4096;
        let mut acknowledged: BTreeMap<YearMonth, BTreeMap<u64, Vec<u8>>> = BTreeMap::new();
        let mut log = house.open();
        for (number, step) in (0..).zip(steps) {
            match step {
                Step::Append(length) => {
                    let month = log.month(house.clock.now()).expect("works");
                    let record = EvidenceRecord { subject_tags: vec![3; length], ..record(number) };
                    let index = log.append(&month, &record).expect("works").index();
                    let payload = prost::Message::encode_to_vec(&record);
                    let before = acknowledged.entry(month.id()).or_default().insert(index, payload);
                    prop_assert_eq!(before, None, "index {} was given twice", index);
                }
                Step::Close => log.close().expect("closed"),
                Step::Reboot => house.reboot(),
                Step::FailWrite(bytes) => {
                    let month = log.month(house.clock.now()).expect("works");
                    house.faults.plan.written_before.store(bytes, SeqCst);
                    house.faults.plan.write.store(1, SeqCst);
                    prop_assert!(log.append(&month, &record(number)).is_err());
                }
                Step::NextMonth => house.clock.advance(std::time::Duration::from_hours(31 * 24)),
                Step::Restart => {}
            }
            if !matches!(step, Step::Append(_) | Step::NextMonth) {
                drop(log);
                log = house.open();
                prop_assert_eq!(log.health().poisoned, None);
                prop_assert_eq!(log.health().lost, crate::evidence::Lost::default());
            }
        }
        log.close().expect("closed");
        for (month, records) in acknowledged {
            let found = house.payloads(month);
            for (index, payload) in records {
                let index = usize::try_from(index).expect("fits");
                prop_assert!(found.get(index) == Some(&payload), "record {} of {} is not the one", index, month);
            }
        }
        prop_assert_eq!(house.problems(), "");
    }
}
