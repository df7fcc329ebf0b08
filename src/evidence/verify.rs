//! Reading everything again, and saying what does not hold.

use std::convert::Infallible;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use super::archive::Archive;
use super::checkpoint::{Checkpoint, vkey};
use super::files::{At, Cause, SegmentPath};
use super::id::YearMonth;
use super::keys::{self, NoKey};
use super::levels::Levels;
use super::merkle::{Hash, leaf_hash};
use super::scan::{Cursor, Ending, read_to_end};
use super::tiles::Tiles;
use super::trimmed::{self, Trimmed};

/// What a month's log was found to be.
#[derive(Debug, Clone)]
pub struct MonthReport {
    /// Which month.
    pub month: YearMonth,
    /// Records before these, which the central stream has and which were removed here.
    pub removed: u64,
    /// Whole records whose CRC, index and chain hold.
    pub records: u64,
    /// Segments they are in.
    pub segments: u64,
    /// The signed head; nothing if none was signed yet.
    pub checkpoint: Option<Checkpoint>,
    /// The key that the head was verified with, as `note` verifiers take it.
    pub vkey: String,
    /// Bytes of an unfinished record at the end, as a running or a killed writer leaves them.
    pub unfinished_bytes: u64,
    /// Side files of what power losses took.
    pub lost_files: u64,
    /// Whether the subjects' key is here, or the salt that it is made of.
    pub has_key: bool,
    /// What does not hold, each in one sentence.
    pub problems: Vec<String>,
}

impl Archive {
    /// Verifies one month or all: CRCs, indices and the chain across segments and months, the tree and its tiles against
    /// the signed head, the head's signature.
    ///
    /// The chain from a month to the next can only be checked when the earlier one is verified too.
    ///
    /// # Errors
    /// If files cannot be read at all; what is wrong *in* them is in the reports.
    pub fn verify(&self, only: Option<YearMonth>, public_key: Option<&Path>) -> Result<Vec<MonthReport>, Cause> {
        let public = match public_key {
            Some(path) => keys::read_public_file(path)?,
            None => self.public()?,
        };
        let months = self.months()?;
        let last = months.last().copied();
        let mut reports = Vec::new();
        let mut chain: Option<Hash> = None;
        for month in months.into_iter().filter(|month| only.is_none_or(|only| only == *month)) {
            let (report, ended) = self.verify_settled(month, &public, chain, last == Some(month))?;
            chain = ended;
            reports.push(report);
        }
        Ok(reports)
    }

    /// Verifies a month, once more where a writer removed what was being read.
    fn verify_settled(
        &self,
        month: YearMonth,
        public: &[u8; 32],
        before: Option<Hash>,
        last_month: bool,
    ) -> Result<(MonthReport, Option<Hash>), Cause> {
        let kept_from = || Ok::<_, Cause>(Trimmed::load(&self.layout, month)?.map(|trimmed| trimmed.index()));
        loop {
            let mut report = MonthReport {
                month,
                removed: 0,
                records: 0,
                segments: 0,
                checkpoint: None,
                vkey: vkey(&super::checkpoint::origin(self.instance, month), public),
                unfinished_bytes: 0,
                lost_files: 0,
                has_key: false,
                problems: Vec::new(),
            };
            match self.month(month) {
                Ok(_) | Err(NoKey::NoSecret { .. }) => report.has_key = true,
                Err(NoKey::Absent { .. }) => {}
                Err(NoKey::Unusable(cause)) => report.problems.push(cause.to_string()),
            }
            let from = kept_from();
            let chain = self.verify_month(&mut report, public, before, last_month)?;
            if report.problems.is_empty() || from == kept_from() {
                return Ok((report, chain));
            }
        }
    }

    /// Verifies a month after the one that ended with a chain; gives the chain that it ends with, if it holds.
    fn verify_month(
        &self,
        report: &mut MonthReport,
        public: &[u8; 32],
        before: Option<Hash>,
        last_month: bool,
    ) -> Result<Option<Hash>, Cause> {
        let month = report.month;
        // Read before the records: whatever a writer adds meanwhile, they are at least those that it covers.
        match Checkpoint::load(&self.layout, self.instance, month, public) {
            Ok(checkpoint) => report.checkpoint = checkpoint,
            Err(cause) => report.problems.push(cause.to_string()),
        }
        report.lost_files = self.lost_files(month)?;
        let (trimmed, segments) = match trimmed::kept(&self.layout, month) {
            Ok(kept) => kept,
            Err(cause) => {
                report.problems.push(cause.to_string());
                return Ok(None);
            }
        };
        // What is before the first segment: of a month that was trimmed the note says it, of others the month before.
        let kept_from = trimmed.as_ref().map(|trimmed| (trimmed.index(), trimmed.chain));
        report.removed = kept_from.map_or(0, |(index, _)| index);
        let mut tree = TreeCheck::new(self, month, report.checkpoint, trimmed);
        report.segments = u64::try_from(segments.len()).unwrap_or(u64::MAX);
        let mut at: Option<Cursor> = None;
        let mut rest = segments.iter().peekable();
        while let Some(segment) = rest.next() {
            let (mut window, head) = match self.open_segment(month, segment) {
                Ok(opened) => opened,
                Err(cause) => {
                    report.problems.push(cause.to_string());
                    return Ok(None);
                }
            };
            let expected = at.map(|at| (at.index, at.chain));
            let (index, chain) = expected.or(kept_from).unwrap_or((0, before.unwrap_or(head.chain)));
            if (head.index, head.chain) != (index, chain) {
                let what = "the segment does not continue what is before it";
                report.problems.push(problem(segment, 0, index, what));
                return Ok(None);
            }
            let mut cursor = head;
            let next = rest.peek().map(|next| next.first);
            let ending = read_to_end(&mut window, &mut cursor, next, |_, frame| {
                tree.add(frame.payload);
                ControlFlow::Continue(())
            })
            .at("read", &segment.path)?;
            report.records = cursor.index - report.removed;
            match ending {
                Ending::Good | Ending::Asked => {}
                Ending::Unfinished { bytes, .. } if last_month => report.unfinished_bytes = bytes,
                Ending::Unfinished { offset, .. } => {
                    let what = "it is cut short, and a later month follows";
                    report.problems.push(problem(segment, offset, cursor.index, what));
                }
                Ending::Bad { offset, what } => {
                    report.problems.push(problem(segment, offset, cursor.index, &what));
                    return Ok(None);
                }
            }
            at = Some(cursor);
        }
        report.problems.extend(tree.finish());
        Ok(at.map(|at| at.chain))
    }

    fn lost_files(&self, month: YearMonth) -> Result<u64, Cause> {
        let folder = self.layout.month(month);
        let mut count = 0;
        for entry in fs::read_dir(&folder).at("list", &folder)? {
            let name = entry.at("list", &folder)?.file_name();
            count += u64::from(name.to_string_lossy().contains(".wal.lost-"));
        }
        Ok(count)
    }
}

/// Builds the tree again and holds it against the signed head and the tiles.
struct TreeCheck {
    month: YearMonth,
    levels: Levels,
    checkpoint: Option<Checkpoint>,
    tiles: Tiles,
    problems: Vec<String>,
}

impl TreeCheck {
    fn new(archive: &Archive, month: YearMonth, checkpoint: Option<Checkpoint>, trimmed: Option<Trimmed>) -> Self {
        let tiles = Tiles::new(archive.layout.month(month), checkpoint.map_or(0, |checkpoint| checkpoint.size));
        let levels = trimmed.map(|trimmed| trimmed.levels).unwrap_or_default();
        let mut check = Self { month, levels, checkpoint, tiles, problems: Vec::new() };
        let removed = check.levels.size();
        match checkpoint {
            Some(checkpoint) if checkpoint.size > removed => {}
            // All that was signed was removed.
            Some(checkpoint) if checkpoint.size == removed && removed > 0 => check.check_root(&checkpoint),
            _ if removed == 0 => {}
            _ => check
                .problems
                .push(format!("{removed} records of {month} were removed, and no signed head covers them")),
        }
        check
    }

    fn check_root(&mut self, checkpoint: &Checkpoint) {
        if self.levels.root() != checkpoint.root {
            self.problems.push(format!(
                "the {} records of {} are not those that the checkpoint was signed for: the roots differ",
                checkpoint.size, self.month
            ));
        }
    }

    fn add(&mut self, payload: &[u8]) {
        let Some(checkpoint) = self.checkpoint.filter(|checkpoint| self.levels.size() < checkpoint.size) else {
            return;
        };
        let Self { tiles, levels, problems, .. } = self;
        // A bad tile is a finding and not an end: the tree grows on from the records.
        let Ok(()) = levels.push(leaf_hash(payload), |level, tile, hashes| {
            if tiles.covers(level, tile) {
                problems.extend(tiles.holds(level, tile, hashes).err().map(|cause| cause.to_string()));
            }
            Ok::<(), Infallible>(())
        });
        if levels.size() == checkpoint.size {
            for (level, tile, hashes) in levels.partial() {
                problems.extend(tiles.holds(level, tile, hashes).err().map(|cause| cause.to_string()));
            }
            self.check_root(&checkpoint);
        }
    }

    fn finish(mut self) -> Vec<String> {
        if let Some(checkpoint) = self.checkpoint.filter(|checkpoint| self.levels.size() < checkpoint.size) {
            self.problems.push(format!(
                "the log of {} ends with {} records, and its signed checkpoint covers {}",
                self.month,
                self.levels.size(),
                checkpoint.size
            ));
        }
        self.problems
    }
}

pub(super) fn problem(segment: &SegmentPath, offset: u64, index: u64, what: &str) -> String {
    format!("`{}` byte {offset}, record {index}: {what}", segment.path.display())
}
