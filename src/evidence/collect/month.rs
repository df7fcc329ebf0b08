//! The records of one month of one instance as they were collected: runs of them, with gaps where some are missing.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use super::head::Tree;
use crate::evidence::batch::Incoming;
use crate::evidence::checkpoint::origin;
use crate::evidence::files::{At, Cause, Layout, SegmentPath, make_dir, replace};
use crate::evidence::format::{self, HEAD_SPAN, Head, push_head, push_record};
use crate::evidence::id::{Instance, YearMonth};
use crate::evidence::merkle::Hash;
use crate::evidence::scan::{Cursor, Tail, Window, classify, walk};

/// A segment is followed by another one beyond this length.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// The ends of this many batches are remembered, to know them by when they come again.
const ENDS_KEPT: usize = 1024;

/// Records without a hole between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    first: u64,
    /// The chain before the first.
    before: Hash,
    /// The index after the last.
    next: u64,
    /// The chain after the last.
    chain: Hash,
}

/// The month.
#[derive(Debug)]
pub(super) struct Month {
    layout: Layout,
    instance: Instance,
    id: YearMonth,
    /// In order; between two of them records are missing.
    runs: Vec<Run>,
    writing: Option<Writing>,
    /// Where batches ended.
    ends: VecDeque<(u64, Hash)>,
    /// The last place that was looked at among the stored records.
    looked: Option<Looked>,
    tree: Tree,
}

/// The segment that is written to.
#[derive(Debug)]
struct Writing {
    file: File,
    path: PathBuf,
    length: u64,
    /// The index that its next record must have.
    next: u64,
}

#[derive(Debug)]
struct Looked {
    first: u64,
    window: Window,
    offset: u64,
    cursor: Cursor,
}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// So many of its records were new.
    Added(u64),
    /// It begins beyond what is here.
    Early,
    /// It contradicts what is here; the sentence says how.
    Conflict(String),
}

impl Month {
    /// Opens what was collected of a month, or begins it. What a kill cut short is cut off.
    pub(super) fn open(layout: &Layout, instance: Instance, month: YearMonth, public: [u8; 32]) -> Result<Self, Cause> {
        let folder = layout.month(month);
        make_dir(&folder).at("make", &folder)?;
        let mut opened = Self {
            layout: layout.clone(),
            instance,
            id: month,
            runs: Vec::new(),
            writing: None,
            ends: VecDeque::new(),
            looked: None,
            tree: Tree::open(layout, instance, month, public)?,
        };
        opened.find_runs()?;
        Ok(opened)
    }

    /// How many records are here.
    pub(super) fn records(&self) -> u64 {
        self.runs.iter().map(|run| run.next - run.first).sum()
    }

    /// How many of them a signed head covers.
    pub(super) fn signed(&self) -> u64 {
        self.tree.signed()
    }

    /// The index after the last record.
    pub(super) fn next(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.next)
    }

    /// The chain after the last record, if none is missing before it.
    pub(super) fn chain(&self) -> Option<Hash> {
        self.runs.last().filter(|_| self.runs.len() == 1).map(|run| run.chain)
    }

    /// The chain before the first record, if that is here.
    pub(super) fn chain_before(&self) -> Option<Hash> {
        self.runs.first().filter(|run| run.first == 0).map(|run| run.before)
    }

    /// What is missing, each in a sentence.
    pub(super) fn missing(&self) -> Vec<String> {
        let name = origin(self.instance, self.id);
        let mut next = 0;
        let mut missing = Vec::new();
        for run in &self.runs {
            if run.first > next {
                missing.push(format!("records {next} to {} of {name} are missing", run.first - 1));
            }
            next = run.next;
        }
        if let Some(last) = self.tree.waits_for().and_then(|size| size.checked_sub(1)).filter(|last| *last >= next) {
            missing.push(format!("records {next} to {last} of {name} are missing, which its signed head covers"));
        }
        missing
    }

    /// Takes the records of a batch that are not here yet. With `over_a_gap` also where records before it are missing.
    pub(super) fn take(&mut self, batch: &Incoming, records: &[Vec<u8>], over_a_gap: bool) -> Result<Taken, Cause> {
        let mut added = 0;
        let (mut from, mut chain, mut records) = (batch.from.index, batch.from.chain, records);
        // Each turn takes a piece of the batch: what one run has of it, and what follows that up to the next run.
        while !records.is_empty() {
            let Some(place) = self.runs.iter().rposition(|run| run.first <= from && from <= run.next) else {
                if !over_a_gap && (from > 0 || !self.runs.is_empty()) {
                    return Ok(Taken::Early);
                }
                self.begin_run(from, chain)?;
                continue;
            };
            let limit = self.runs.get(place + 1).map_or(u64::MAX, |next| next.first);
            let Some(run) = self.runs.get(place).copied() else { break };
            let known = usize::try_from(run.next - from).unwrap_or(usize::MAX).min(records.len());
            let (known, rest) = records.split_at_checked(known).unwrap_or((records, &[]));
            let after = known.iter().fold(chain, |chain, record| format::chain_after(&chain, record));
            let end = from + count(known);
            // INVARIANT: a chain is the digest of all records before it: equal ends mean equal records.
            if after != self.chain_at(end)? {
                let what = if known.is_empty() {
                    format!("it does not continue what is here before record {end}")
                } else {
                    format!("the records {from} to {} are here with another content", end - 1)
                };
                return Ok(Taken::Conflict(what));
            }
            let room = usize::try_from(limit - end).unwrap_or(usize::MAX).min(rest.len());
            let (fresh, later) = rest.split_at_checked(room).unwrap_or((rest, &[]));
            chain = if fresh.is_empty() { after } else { self.append(place, fresh)? };
            added += count(fresh);
            (from, records) = (end + count(fresh), later);
            if from == limit && !self.join(place)? {
                return Ok(Taken::Conflict(format!("its records do not lead to what is here from record {limit} on")));
            }
        }
        if self.ends.len() >= ENDS_KEPT {
            self.ends.pop_front();
        }
        self.ends.push_back((from, chain));
        Ok(Taken::Added(added))
    }

    /// Holds the records against a signed head; the sentence says what does not hold.
    pub(super) fn sign(&mut self, note: &str) -> Result<Option<String>, Cause> {
        let whole = self.whole();
        self.tree.sign(note, whole)
    }

    /// Looks again at the head that waited for records.
    pub(super) fn sign_waiting(&mut self) -> Result<Option<String>, Cause> {
        let whole = self.whole();
        self.tree.sign_waiting(whole)
    }

    /// How many records there are from the first one on without a hole.
    fn whole(&self) -> u64 {
        self.runs.first().filter(|run| run.first == 0).map_or(0, |run| run.next)
    }

    fn gap_path(&self, first: u64) -> PathBuf {
        self.layout.segment(self.id, first).with_extension("gap")
    }

    /// Reads from the segments which records are here, and cuts off what a kill left unfinished.
    fn find_runs(&mut self) -> Result<(), Cause> {
        let mut segments = self.layout.segments(self.id)?.into_iter().peekable();
        while let Some(segment) = segments.next() {
            let (mut window, head) = self.open_segment(&segment)?;
            let (mut next, mut chain) = (segment.first, head.chain);
            // Of the others the next one's head says the end.
            if segments.peek().is_none_or(|next| self.gap_path(next.first).exists()) {
                let cursor = cut_tail(&segment, &mut window, head)?;
                (next, chain) = (cursor.index, cursor.chain);
            }
            let gap = self.gap_path(segment.first);
            let follows = |run: &Run| (run.next, run.chain) == (segment.first, head.chain);
            match self.runs.last_mut() {
                Some(run) if !gap.exists() => (run.next, run.chain) = (next, chain),
                // A kill came between filling the gap and saying so.
                Some(run) if follows(run) => {
                    fs::remove_file(&gap).at("remove", &gap)?;
                    (run.next, run.chain) = (next, chain);
                }
                _ => self.runs.push(Run { first: segment.first, before: head.chain, next, chain }),
            }
        }
        Ok(())
    }

    /// A segment, at its first record.
    fn open_segment(&self, segment: &SegmentPath) -> Result<(Window, Cursor), Cause> {
        let path = &segment.path;
        let mut window = Window::open(path).at("open", path)?;
        let head = window.head(self.instance, self.id, segment.first).at("read", path)?;
        let head = head.ok_or_else(|| Cause::new(format!("the head of `{}` cannot be read", path.display())))?;
        Ok((window, Cursor { index: head.first, chain: head.chain, synced: 0 }))
    }

    /// Begins a run behind a gap, or the month.
    fn begin_run(&mut self, first: u64, before: Hash) -> Result<(), Cause> {
        if first > 0 {
            let path = self.gap_path(first);
            replace(&path, b"", 0o644).at("write", &path)?;
        }
        self.begin_segment(first, before)?;
        let place = self.runs.partition_point(|run| run.first < first);
        self.runs.insert(place, Run { first, before, next: first, chain: before });
        Ok(())
    }

    /// Makes a segment; one with a name has its head.
    fn begin_segment(&mut self, first: u64, chain: Hash) -> Result<(), Cause> {
        let mut bytes = Vec::new();
        push_head(&mut bytes, &Head { instance: self.instance, month: self.id, first, synced: 0, chain });
        let path = self.layout.segment(self.id, first);
        let temporary = path.with_extension("new");
        let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary);
        let mut file = options.at("make", &temporary)?;
        file.write_all(&bytes).at("write", &temporary)?;
        fs::rename(&temporary, &path).at("name", &path)?;
        self.writing = Some(Writing { file, path, length: HEAD_SPAN, next: first });
        Ok(())
    }

    /// Appends records to a run; gives the chain after them.
    fn append(&mut self, place: usize, records: &[Vec<u8>]) -> Result<Hash, Cause> {
        let Some(run) = self.runs.get(place).copied() else { return Err(Cause::new("there is no such run")) };
        if self.writing.as_ref().is_none_or(|writing| writing.next != run.next || writing.length >= SEGMENT_BYTES) {
            self.continue_run(&run)?;
        }
        let Some(writing) = &mut self.writing else { return Err(Cause::new("no segment is open")) };
        let mut bytes = Vec::new();
        let (mut next, mut chain) = (run.next, run.chain);
        for record in records {
            chain = push_record(&mut bytes, next, 0, &chain, record);
            next += 1;
        }
        writing.file.write_all(&bytes).at("write", &writing.path)?;
        writing.length += u64::try_from(bytes.len()).unwrap_or(0);
        writing.next = next;
        self.tree.remember(run.next, records);
        if let Some(run) = self.runs.get_mut(place) {
            (run.next, run.chain) = (next, chain);
        }
        Ok(chain)
    }

    /// The segment for the records after a run: the one it ends with, or a new one.
    fn continue_run(&mut self, run: &Run) -> Result<(), Cause> {
        let last = self.layout.segments(self.id)?.into_iter().rev().find(|segment| segment.first <= run.next);
        if let Some(SegmentPath { path, first }) = last {
            let length = fs::metadata(&path).at("measure", &path)?.len();
            if length < SEGMENT_BYTES || first == run.next {
                let file = OpenOptions::new().append(true).open(&path).at("open", &path)?;
                self.writing = Some(Writing { file, path, length, next: run.next });
                return Ok(());
            }
        }
        self.begin_segment(run.next, run.chain)
    }

    /// Joins a run that has come up to the next one; says whether they fit.
    fn join(&mut self, place: usize) -> Result<bool, Cause> {
        let (Some(run), Some(next)) = (self.runs.get(place).copied(), self.runs.get(place + 1).copied()) else {
            return Ok(true);
        };
        if run.chain != next.before {
            return Ok(false);
        }
        let path = self.gap_path(next.first);
        fs::remove_file(&path).at("remove", &path)?;
        if let Some(run) = self.runs.get_mut(place) {
            (run.next, run.chain) = (next.next, next.chain);
        }
        self.runs.remove(place + 1);
        self.writing = None;
        Ok(true)
    }

    /// The chain of the record before an index that is here.
    fn chain_at(&mut self, index: u64) -> Result<Hash, Cause> {
        for run in &self.runs {
            if index == run.next {
                return Ok(run.chain);
            }
            if index == run.first {
                return Ok(run.before);
            }
        }
        if let Some((_, chain)) = self.ends.iter().rev().find(|(end, _)| *end == index) {
            return Ok(*chain);
        }
        let name = origin(self.instance, self.id);
        let unreadable = || Cause::new(format!("record {index} of {name} cannot be read where it was collected"));
        let segments = self.layout.segments(self.id)?;
        let segment = segments.into_iter().rev().find(|segment| segment.first <= index).ok_or_else(unreadable)?;
        let near = |looked: &Looked| looked.first == segment.first && looked.cursor.index <= index;
        let mut looked = if let Some(looked) = self.looked.take().filter(near) {
            looked
        } else {
            let (window, cursor) = self.open_segment(&segment)?;
            Looked { first: segment.first, window, offset: HEAD_SPAN, cursor }
        };
        looked.window.forget();
        let stop = walk(&mut looked.window, looked.offset, &mut looked.cursor, |_, frame| {
            if frame.index >= index { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        looked.offset = stop.at("read", &segment.path)?.offset;
        let Cursor { index: reached, chain, .. } = looked.cursor;
        self.looked = Some(looked);
        if reached == index { Ok(chain) } else { Err(unreadable()) }
    }
}

/// Reads a segment to the end of its records and cuts off what follows them; gives where they end.
fn cut_tail(segment: &SegmentPath, window: &mut Window, head: Cursor) -> Result<Cursor, Cause> {
    let path = &segment.path;
    let mut cursor = head;
    let stop = walk(window, HEAD_SPAN, &mut cursor, |_, _| ControlFlow::Continue(())).at("read", path)?;
    match classify(window, stop.offset, cursor.index).at("read", path)? {
        Tail::Clean => {}
        Tail::Torn { .. } => {
            let file = OpenOptions::new().write(true).open(path).at("open", path)?;
            file.set_len(stop.offset).at("cut", path)?;
        }
        Tail::Damaged { .. } | Tail::Hole { .. } => {
            return Err(Cause::new(format!(
                "record {} cannot be read in `{}`; move the folder of this instance away, delete the file `collected` \
                 beside it, and collect again",
                cursor.index,
                path.display()
            )));
        }
    }
    Ok(cursor)
}

fn count(records: &[Vec<u8>]) -> u64 {
    u64::try_from(records.len()).unwrap_or(u64::MAX)
}
