//! Reading the log behind its writer, batch by batch, from the place up to which it was shipped.
//!
//! Takes no lock of the log: segments only grow, and what is on the device stays as it is. Only that is read: what a
//! power loss can take back would be in the central stream under an index that is given a second time.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;

use prost::Message;

use crate::evidence::batch::{BATCH_BYTES, Place};
use crate::evidence::files::{At, Cause, Layout, SegmentPath};
use crate::evidence::format::HEAD_SPAN;
use crate::evidence::id::{Instance, YearMonth};
use crate::evidence::scan::{Cursor, Tail, Why, Window, classify, walk};
use crate::proto::v1::{EvidenceRecord, EvidenceRecords};

/// Why the log is not the one that was shipped; lasts, because the ids of its records were given before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    /// The log cannot be read now or at all; tried again.
    Unreadable(Cause),
    /// What was shipped is not what the log holds.
    Rewound(String),
}

impl From<Cause> for Problem {
    fn from(cause: Cause) -> Self {
        Self::Unreadable(cause)
    }
}

/// Records that go out together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) from: Place,
    pub(super) end: Place,
    pub(super) records: EvidenceRecords,
    /// What of the log is behind once this is: the frames, and what a full segment has left over.
    pub(super) log_bytes: u64,
    /// When the first of them was answered, in milliseconds since 1970.
    pub(super) oldest_ms: Option<i64>,
}

/// How much of a month may be shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// The records below this index; more will come.
    Index(u64),
    /// All there are: the month has ended.
    End,
}

/// A reader at its place.
#[derive(Debug)]
pub(super) struct Backlog {
    layout: Layout,
    instance: Instance,
    place: Place,
    open: Option<Open>,
    /// The lengths by which the segments were counted when the log was opened, where they are not known to the byte.
    counted: BTreeMap<(YearMonth, u64), u64>,
    /// What was passed over and belongs to the next batch.
    passed: u64,
}

#[derive(Debug)]
struct Open {
    segment: SegmentPath,
    window: Window,
    offset: u64,
}

/// What a log that was just opened for writing has not shipped.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) bytes: u64,
    counted: BTreeMap<(YearMonth, u64), u64>,
}

impl Measured {
    /// What is counted of a log that is not shipped.
    pub(super) const fn nothing() -> Self {
        Self { bytes: 0, counted: BTreeMap::new() }
    }
}

/// The first place that the log still has; nothing if it has no month.
pub(super) fn first_place(layout: &Layout, instance: Instance) -> Result<Option<Place>, Cause> {
    let Some(month) = layout.months()?.first().copied() else { return Ok(None) };
    let segments = layout.segments(month)?;
    let Some(segment) = segments.first() else { return Ok(None) };
    let mut window = Window::open(&segment.path).at("open", &segment.path)?;
    let head = window.head(instance, month, segment.first).at("read", &segment.path)?;
    let head = head.ok_or_else(|| Cause::new(format!("the head of `{}` cannot be read", segment.path.display())))?;
    Ok(Some(Place { month, index: head.first, chain: head.chain }))
}

/// Counts what lies behind a place; `live` is the segment that is written to, and where it ends.
pub(super) fn measure(
    layout: &Layout,
    instance: Instance,
    place: &Place,
    live: (YearMonth, u64, u64),
) -> Result<Measured, Problem> {
    let (live_month, live_first, live_end) = live;
    let (at, offset) = find(layout, instance, place)?.map_or((0, HEAD_SPAN), |open| (open.segment.first, open.offset));
    let mut measured = Measured { bytes: 0, counted: BTreeMap::new() };
    for month in layout.months()?.into_iter().filter(|month| *month >= place.month) {
        for segment in layout.segments(month)? {
            let behind = month == place.month && segment.first < at;
            if behind {
                continue;
            }
            let is_live = (month, segment.first) == (live_month, live_first);
            let end = if is_live { live_end } else { fs::metadata(&segment.path).at("measure", &segment.path)?.len() };
            let start = if month == place.month && segment.first == at { offset } else { HEAD_SPAN };
            measured.bytes += end.saturating_sub(start);
            if !is_live {
                measured.counted.insert((month, segment.first), end);
            }
        }
    }
    Ok(measured)
}

/// The segment and the offset at which the record of a place begins; nothing if its month has no segment yet.
fn find(layout: &Layout, instance: Instance, place: &Place) -> Result<Option<Open>, Problem> {
    let segments = layout.segments(place.month)?;
    if segments.is_empty() && place.index == 0 {
        return Ok(None);
    }
    let rewound =
        |what: String| Problem::Rewound(format!("{} records of {} were shipped, and {what}", place.index, place.month));
    // The record before decides, so that the end of a full segment is a place too; unless it was removed.
    let is_before = |segment: &SegmentPath| segment.first < place.index.max(1);
    let found = segments.iter().rev().find(|segment| is_before(segment)).or(segments.first());
    let Some(segment) = found.filter(|segment| segment.first <= place.index).cloned() else {
        return Err(rewound("the log does not hold those before any more".to_owned()));
    };
    let path = segment.path.clone();
    let mut window = Window::open(&path).at("open", &path)?;
    let head = window.head(instance, place.month, segment.first).at("read", &path)?;
    let head = head.ok_or_else(|| Cause::new(format!("the head of `{}` cannot be read", path.display())))?;
    let mut cursor = Cursor { index: head.first, chain: head.chain, synced: 0 };
    let stop = walk(&mut window, HEAD_SPAN, &mut cursor, |_, frame| {
        if frame.index >= place.index { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let stop = stop.at("read", &path)?;
    if cursor.index != place.index {
        return Err(rewound(format!("the log has only {}", cursor.index)));
    }
    if cursor.chain != place.chain {
        return Err(rewound("the log has others in their place".to_owned()));
    }
    Ok(Some(Open { segment, window, offset: stop.offset }))
}

/// Whether the log holds the records before a place, and holds those; nothing is said of what was removed.
pub(super) fn holds(layout: &Layout, instance: Instance, place: &Place) -> Result<(), Problem> {
    if first_place(layout, instance)?.is_some_and(|first| (place.month, place.index) < (first.month, first.index)) {
        return Ok(());
    }
    if layout.segments(place.month)?.is_empty() && place.index > 0 {
        let what = format!("{} records of {} were shipped, and the log has none", place.index, place.month);
        return Err(Problem::Rewound(what));
    }
    find(layout, instance, place).map(|_| ())
}

impl Backlog {
    /// A reader at a place.
    pub(super) fn new(layout: &Layout, instance: Instance, place: Place, measured: Measured) -> Self {
        let Measured { counted, .. } = measured;
        Self { layout: layout.clone(), instance, place, open: None, counted, passed: 0 }
    }

    /// Where it stands: before the first record that it has not given out.
    pub(super) const fn place(&self) -> Place {
        self.place
    }

    /// Goes back to a place that it was at before.
    pub(super) fn go_to(&mut self, place: Place) {
        if place != self.place {
            self.place = place;
            self.open = None;
            self.passed = 0;
        }
    }

    /// The next records; nothing if there are none yet.
    pub(super) fn next(&mut self, until: Until) -> Result<Option<Batch>, Problem> {
        let limit = match until {
            Until::Index(index) => index,
            Until::End => u64::MAX,
        };
        while self.place.index < limit {
            if self.open.is_none() {
                self.open = find(&self.layout, self.instance, &self.place)?;
            }
            let from = self.place;
            let mut gathered = Gathered::default();
            let why = self.gather(limit, &mut gathered)?;
            if gathered.count > 0 {
                let log_bytes = gathered.span + std::mem::take(&mut self.passed);
                let Gathered { records, oldest_ms, .. } = gathered;
                return Ok(Some(Batch { from, end: self.place, records, log_bytes, oldest_ms }));
            }
            if why == Why::Asked || !self.step(until)? {
                break;
            }
        }
        Ok(None)
    }

    /// Reads what the open segment has, up to a batch.
    fn gather(&mut self, limit: u64, gathered: &mut Gathered) -> Result<Why, Problem> {
        let Self { place, open, .. } = self;
        let Some(Open { segment, window, offset }) = open else { return Ok(Why::NoFrame) };
        let mut cursor = Cursor { index: place.index, chain: place.chain, synced: 0 };
        for fresh in [false, true] {
            let stop = walk(window, *offset, &mut cursor, |_, frame| {
                if frame.index >= limit || !gathered.has_room(frame.payload) {
                    return ControlFlow::Break(());
                }
                gathered.add(frame.payload, frame.span);
                ControlFlow::Continue(())
            });
            let stop = stop.at("read", &segment.path)?;
            *offset = stop.offset;
            *place = Place { month: place.month, index: cursor.index, chain: cursor.chain };
            match stop.why {
                Why::Asked => return Ok(Why::Asked),
                Why::OutOfOrder { .. } | Why::ChainBroken => {
                    let what = format!("record {} cannot be read in `{}`", cursor.index, segment.path.display());
                    return Err(Cause::new(what).into());
                }
                // What the window holds may have been read before the record was written.
                Why::NoFrame if !fresh => window.forget(),
                Why::NoFrame => {}
            }
        }
        Ok(Why::NoFrame)
    }

    /// Goes on to the segment or the month that follows; says whether there is one.
    fn step(&mut self, until: Until) -> Result<bool, Problem> {
        let Place { month, index, .. } = self.place;
        let here = self.open.as_ref().map(|open| open.segment.first);
        let segments = self.layout.segments(month)?;
        if let Some(next) = segments.iter().find(|segment| here.is_none_or(|here| segment.first > here)) {
            if next.first != index {
                let what = format!("record {index} of {month} cannot be read, and the log goes on with {}", next.first);
                return Err(Cause::new(what).into());
            }
            return self.enter(month, next.clone()).map(|()| true);
        }
        let is_over = match until {
            Until::Index(limit) if index < limit && here.is_some() => {
                return Err(Cause::new(format!("record {index} of {month} is on the device and cannot be read")).into());
            }
            Until::Index(_) => false,
            Until::End => true,
        };
        let later = self.layout.months()?.into_iter().find(|later| *later > month);
        let Some(later) = later.filter(|_| is_over) else { return Ok(false) };
        if let Some(open) = &mut self.open
            && classify(&mut open.window, open.offset, index).at("read", &open.segment.path)? != Tail::Clean
        {
            let what = format!("record {index} of {month} cannot be read in `{}`", open.segment.path.display());
            return Err(Cause::new(what).into());
        }
        match self.layout.segments(later)?.into_iter().next() {
            Some(segment) if segment.first == 0 => {
                self.enter(later, segment)?;
                // The next batch is of the next month.
                Ok(false)
            }
            _ => Err(Cause::new(format!("the first records of {later} are missing")).into()),
        }
    }

    /// Opens a segment that must continue what was read.
    fn enter(&mut self, month: YearMonth, segment: SegmentPath) -> Result<(), Problem> {
        let mut window = Window::open(&segment.path).at("open", &segment.path)?;
        let head = window.head(self.instance, month, segment.first).at("read", &segment.path)?;
        if head.is_none_or(|head| head.chain != self.place.chain) {
            let what = format!("`{}` does not continue what is before it", segment.path.display());
            return Err(Cause::new(what).into());
        }
        if let Some(left) = self.open.take() {
            let counted = self.counted.get(&(self.place.month, left.segment.first)).copied();
            self.passed += counted.unwrap_or(0).saturating_sub(left.offset);
        }
        self.place = Place { month, index: segment.first, chain: self.place.chain };
        self.open = Some(Open { segment, window, offset: HEAD_SPAN });
        Ok(())
    }
}

/// Records on their way into a batch.
#[derive(Debug, Default)]
struct Gathered {
    records: EvidenceRecords,
    count: u64,
    bytes: usize,
    span: u64,
    oldest_ms: Option<i64>,
}

impl Gathered {
    fn has_room(&self, payload: &[u8]) -> bool {
        self.count == 0 || self.bytes + payload.len() <= BATCH_BYTES
    }

    fn add(&mut self, payload: &[u8], span: u64) {
        if self.count == 0 {
            self.oldest_ms = answered_ms(payload);
        }
        self.count += 1;
        self.bytes += payload.len() + 4;
        self.span += span;
        self.records.records.push(payload.to_vec());
    }
}

fn answered_ms(payload: &[u8]) -> Option<i64> {
    let at = EvidenceRecord::decode(payload).ok()?.answered_at?;
    at.seconds.checked_mul(1000)?.checked_add(i64::from(at.nanos) / 1_000_000)
}
