//! The log as a whole, on real files.

mod append;
mod archive;
mod property;
mod recovery;

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;

use tempfile::TempDir;

use super::device::Faults;
use super::files::Layout;
use super::format::HEAD_SPAN;
use super::open::Environment;
use super::scan::{Cursor, Window, walk};
use super::{Config, EvidenceLog, Month, Receipt, YearMonth};
use crate::clock::Clock;
use crate::domain::Time;
use crate::proto::v1::{EvidenceRecord, Reason};

/// 2026-11-21T00:00:00Z.
pub(super) const NOVEMBER: Time = Time::from_unix_millis(1_795_219_200_000);

/// A directory, and a machine that can be started anew.
pub(super) struct House {
    _dir: TempDir,
    pub(super) config: Config,
    boot: String,
    faults: Faults,
    pub(super) clock: Clock,
}

impl House {
    pub(super) fn new() -> Self {
        let dir = TempDir::new().expect("a folder");
        let mut config = Config::new(&dir.path().join("evidence"));
        config.segment_bytes = 64 * 1024;
        // The threads do nothing by themselves in the time of a test.
        config.flush_interval = std::time::Duration::from_hours(1);
        config.checkpoint_interval = std::time::Duration::from_hours(1);
        let boot = "00000000-0000-0000-0000-000000000001".to_owned();
        Self { _dir: dir, config, boot, faults: Faults::default(), clock: Clock::manual(NOVEMBER) }
    }

    pub(super) fn open(&self) -> EvidenceLog {
        let environment = Environment { boot_id: Some(self.boot.clone()), faults: self.faults.clone() };
        // Another test that starts a process has, between fork and exec, a copy of every lock that was open here.
        for _ in 0..200 {
            match EvidenceLog::open_in(self.config.clone(), &self.clock, environment.clone()) {
                Err(super::OpenError::Locked { .. }) => std::thread::sleep(std::time::Duration::from_millis(5)),
                other => return other.expect("the folder can be made"),
            }
        }
        panic!("the lock was kept for a second")
    }

    pub(super) fn reboot(&mut self) {
        self.boot.push('1');
    }

    pub(super) fn layout(&self) -> Layout {
        Layout::new(&self.config.dir)
    }

    fn month(&self) -> YearMonth {
        YearMonth::of(self.clock.now())
    }

    /// The month's last segment.
    fn segment(&self) -> PathBuf {
        let segments = self.layout().segments(self.month()).expect("listed");
        segments.last().expect("a segment").path.clone()
    }

    /// The payloads of a month, in order, read straight from its segments.
    fn payloads(&self, month: YearMonth) -> Vec<Vec<u8>> {
        let mut payloads = Vec::new();
        let mut cursor: Option<Cursor> = None;
        for segment in self.layout().segments(month).expect("listed") {
            let mut window = Window::open(&segment.path).expect("opened");
            let head = super::format::read_head(&window.frame(0).expect("read").expect("a head")).expect("a head");
            let cursor = cursor.get_or_insert(Cursor { index: 0, chain: head.chain, synced: 0 });
            assert_eq!((head.first, head.chain), (cursor.index, cursor.chain), "segments continue each other");
            walk(&mut window, HEAD_SPAN, cursor, |_, frame| {
                payloads.push(frame.payload.to_vec());
                ControlFlow::Continue(())
            })
            .expect("read");
        }
        payloads
    }

    /// Where each record of the last segment begins, and where the last one ends.
    fn offsets(&self) -> Vec<u64> {
        let segment = self.layout().segments(self.month()).expect("listed").pop().expect("a segment");
        let mut window = Window::open(&segment.path).expect("opened");
        let head = super::format::read_head(&window.frame(0).expect("read").expect("a head")).expect("a head");
        let mut cursor = Cursor { index: head.first, chain: head.chain, synced: 0 };
        let mut offsets = Vec::new();
        let stop = walk(&mut window, HEAD_SPAN, &mut cursor, |offset, _| {
            offsets.push(offset);
            ControlFlow::Continue(())
        })
        .expect("read");
        offsets.push(stop.offset);
        offsets
    }

    /// Changes the bytes of the last segment.
    fn damage(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.segment();
        let mut bytes = fs::read(&path).expect("read");
        change(&mut bytes);
        fs::write(&path, bytes).expect("written");
    }
}

fn record(number: u64) -> EvidenceRecord {
    EvidenceRecord {
        answered_at: Some(pbjson_types::Timestamp { seconds: 1_795_219_200, nanos: 0 }),
        purpose: "marketing.newsletter".to_owned(),
        channel: "email".to_owned(),
        ledger_position: number,
        reasons: vec![Reason::Consent.into()],
        subject_tags: vec![7; 16],
        ..EvidenceRecord::default()
    }
}

pub(super) fn append(log: &EvidenceLog, month: &Month, numbers: std::ops::Range<u64>) -> Vec<Receipt> {
    numbers.map(|number| log.append(month, &record(number)).expect("appended")).collect()
}

pub(super) fn encoded(numbers: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    numbers.map(|number| prost::Message::encode_to_vec(&record(number))).collect()
}
