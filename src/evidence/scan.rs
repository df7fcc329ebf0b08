//! Reading segments: frame by frame while they hold together, and what lies behind the place where they stop.
//!
//! Everything here reads through a small window and never changes a byte, so that a log can be read while it is written.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use super::format::{self, Frame, HEADER_BYTES, Head, Kind};
use super::id::{Instance, YearMonth};
use super::merkle::Hash;

const WINDOW_BYTES: usize = 256 * 1024;

/// A view of a part of a file that moves along with the reader.
#[derive(Debug)]
pub(super) struct Window {
    file: File,
    bytes: Vec<u8>,
    start: u64,
}

impl Window {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, bytes: Vec::new(), start: 0 })
    }

    /// Bytes from an offset on; fewer than asked only at the end of the file.
    pub(super) fn view(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let within = |start: u64, held: usize| {
            let skip = usize::try_from(offset.checked_sub(start)?).ok()?;
            (skip.checked_add(length)? <= held).then_some(skip)
        };
        let skip = if let Some(skip) = within(self.start, self.bytes.len()) {
            skip
        } else {
            self.fill(offset, length.max(WINDOW_BYTES))?;
            0
        };
        let end = skip.saturating_add(length).min(self.bytes.len());
        Ok(self.bytes.get(skip..end).unwrap_or_default())
    }

    /// Forgets what was read, because the file may have changed since.
    pub(super) fn forget(&mut self) {
        self.bytes.clear();
    }

    fn fill(&mut self, offset: u64, length: usize) -> io::Result<()> {
        self.start = offset;
        self.bytes.resize(length, 0);
        let mut filled = 0;
        while let Some(rest) = self.bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX))) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.bytes.clear();
                    return Err(error);
                }
            }
        }
        self.bytes.truncate(filled);
        Ok(())
    }

    /// The frame at an offset, if there is a whole one.
    pub(super) fn frame(&mut self, offset: u64) -> io::Result<Option<Frame<'_>>> {
        let Some(length) = format::claimed_length(self.view(offset, HEADER_BYTES)?) else { return Ok(None) };
        Ok(format::read_frame(self.view(offset, length)?))
    }

    /// The segment's head, if it is the one that the segment's name and folder promise.
    pub(super) fn head(&mut self, instance: Instance, month: YearMonth, first: u64) -> io::Result<Option<Head>> {
        let head = self.frame(0)?.and_then(|frame| format::read_head(&frame));
        Ok(head.filter(|head| head.instance == instance && head.month == month && head.first == first))
    }
}

/// How far a log was read: what the next record must continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The index of the next record.
    pub(super) index: u64,
    /// The chain of the record before it.
    pub(super) chain: Hash,
    /// The greatest `synced` seen in any frame: that many records of the month were on the device.
    pub(super) synced: u64,
}

/// Where a segment's records stopped, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) offset: u64,
    pub(super) why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// There is no whole frame here: the end, or damage.
    NoFrame,
    /// A whole frame, but not the one that must come next.
    OutOfOrder { found: u64 },
    /// A whole frame whose chain does not continue the record before.
    ChainBroken,
    /// The caller had enough.
    Asked,
}

/// Reads records from an offset on, checking CRC, index and chain, for as long as they hold together.
pub(super) fn walk(
    window: &mut Window,
    mut offset: u64,
    cursor: &mut Cursor,
    mut each: impl FnMut(u64, &Frame<'_>) -> ControlFlow<()>,
) -> io::Result<Stop> {
    loop {
        let Some(frame) = window.frame(offset)? else { return Ok(Stop { offset, why: Why::NoFrame }) };
        if frame.kind != Kind::Record || frame.index != cursor.index {
            return Ok(Stop { offset, why: Why::OutOfOrder { found: frame.index } });
        }
        if frame.chain != format::chain_after(&cursor.chain, frame.payload) {
            return Ok(Stop { offset, why: Why::ChainBroken });
        }
        if each(offset, &frame).is_break() {
            return Ok(Stop { offset, why: Why::Asked });
        }
        cursor.index += 1;
        cursor.chain = frame.chain;
        cursor.synced = cursor.synced.max(frame.synced);
        offset += frame.span;
    }
}

/// What lies from the place on where the records of a segment stop without a whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Zeros only.
    Clean,
    /// The beginning of a frame, then zeros: a write that was cut short, whose caller never heard of success.
    Torn { end: u64 },
    /// A frame that was written to its end, and is no longer right.
    Damaged { end: u64 },
    /// Something unreadable, and after it whole later records.
    Hole { end: u64, records: u64, synced: u64 },
}

/// Tells what lies from an offset on, where the record with this index was expected and is not.
pub(super) fn classify(window: &mut Window, from: u64, index: u64) -> io::Result<Tail> {
    window.forget();
    let (mut end, mut records, mut synced) = (from, 0, 0);
    let mut offset = from;
    // Frames begin at multiples of 8, and so does every step taken here.
    loop {
        let here = window.view(offset, HEADER_BYTES)?;
        let Some(word) = here.get(..here.len().min(8)).filter(|word| !word.is_empty()) else { break };
        let mut step = 8;
        if let Some(last) = word.iter().rposition(|byte| *byte != 0) {
            end = offset.saturating_add(u64::try_from(last).unwrap_or(0) + 1);
        }
        if format::plausible(here)
            && let Some(frame) = window.frame(offset)?
            && frame.index > index
            && frame.kind == Kind::Record
        {
            records += 1;
            synced = synced.max(frame.synced);
            step = frame.span;
            end = offset.saturating_add(step);
        }
        offset = offset.saturating_add(step);
    }
    if end == from {
        return Ok(Tail::Clean);
    }
    if records > 0 {
        return Ok(Tail::Hole { end, records, synced });
    }
    // Either the end mark closes what is there, or it is where the frame's own header says it must be.
    let claimed = format::end_mark_offset(window.view(from, HEADER_BYTES)?);
    let closes = end.is_multiple_of(8) && mark_at(window, end.saturating_sub(4))?;
    let complete = match claimed {
        Some(mark) => mark_at(window, from.saturating_add(mark))?,
        None => false,
    };
    Ok(if closes || complete { Tail::Damaged { end } } else { Tail::Torn { end } })
}

fn mark_at(window: &mut Window, offset: u64) -> io::Result<bool> {
    Ok(format::is_end_mark(window.view(offset, 4)?))
}

/// How often a bad end is read again: a writer may have been in the middle of a write.
const READINGS_MAX: u32 = 4;
const BETWEEN_READINGS: Duration = Duration::from_millis(50);

/// How a segment ended for a reader that may be reading beside a writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    Good,
    /// The caller had enough.
    Asked,
    /// A record that is not there as a whole, at the end of the log.
    Unfinished {
        offset: u64,
        bytes: u64,
    },
    /// The next record cannot be read, and that is not how logs end.
    Bad {
        offset: u64,
        what: String,
    },
}

/// Reads a segment's records to their end; `next` is the first index of the segment that follows, if one does.
pub(super) fn read_to_end(
    window: &mut Window,
    cursor: &mut Cursor,
    next: Option<u64>,
    mut each: impl FnMut(u64, &Frame<'_>) -> ControlFlow<()>,
) -> io::Result<Ending> {
    let mut offset = format::HEAD_SPAN;
    let mut readings = 0;
    loop {
        let stop = walk(window, offset, cursor, &mut each)?;
        offset = stop.offset;
        let bad = |what: String| Ok(Ending::Bad { offset, what });
        match stop.why {
            Why::NoFrame => {}
            Why::Asked => return Ok(Ending::Asked),
            Why::OutOfOrder { found } => return bad(format!("record {found} stands there instead")),
            Why::ChainBroken => return bad("its chain does not continue the record before".to_owned()),
        }
        readings += 1;
        match (classify(window, offset, cursor.index)?, next) {
            (Tail::Clean, None) => return Ok(Ending::Good),
            (Tail::Clean, Some(next)) if next == cursor.index => return Ok(Ending::Good),
            (Tail::Torn { end }, None) => return Ok(Ending::Unfinished { offset, bytes: end - offset }),
            // A writer may have been at it: what was read in pieces is read again.
            _ if readings < READINGS_MAX => {
                std::thread::sleep(BETWEEN_READINGS);
                window.forget();
            }
            (Tail::Clean, Some(next)) => return bad(format!("it is missing, and the next segment begins with {next}")),
            (Tail::Torn { .. }, Some(_)) => return bad("it is cut short, and segments follow".to_owned()),
            (Tail::Damaged { .. }, _) => return bad("it was written to its end and cannot be read".to_owned()),
            (Tail::Hole { records, .. }, _) => {
                return bad(format!("it cannot be read, and {records} whole records follow"));
            }
        }
    }
}
