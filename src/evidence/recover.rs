//! What becomes of the last month's log when it is opened for writing again.
//!
//! Records stop at the first place without a whole, fitting frame. What that means depends on what lies behind it:
//!
//! - Zeros: the end.
//! - The beginning of a frame, then zeros: a write that the end of the process cut short. Its caller was never told of
//!   success, so nobody holds its id, and it is cut off.
//! - Anything else is damage: a client may hold the id of a record that cannot be read. The log refuses to go on, for
//!   cutting it off would drop evidence in silence and give its index a second time.
//!
//! There is one exception, and it must be provable. Until records are on the device, a power loss may keep any of their
//! pages and drop any others, so that holes are expected then. It is proved by two facts together: the kernel that the
//! log was last opened under is not the one that runs now (`boot` keeps its id; within one boot the page cache loses
//! nothing, whatever happens to the process), and the first unreadable record was not yet known to be on the device (every
//! frame carries the count that was). What is unreadable then is moved to a side file, counted and reported.
//!
//! In either case nothing below the greatest count known to be on the device may be missing, but for what was shipped and
//! removed here, of which `trimmed` has a note.
//!
//! At a start only those segments are read that may hold records not known to be on the device, mostly one. Of the
//! month's older segments the heads are checked; `verify` reads everything.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::device::{Device, Faults};
use super::files::{At, Cause, Layout, SegmentPath, sync_parent};
use super::format::{HEAD_SPAN, Head};
use super::id::{Instance, YearMonth};
use super::merkle::Hash;
use super::scan::{Cursor, Tail, Why, Window, classify, walk};

/// A month's log, ready to be continued. Everything in it is on the device.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) cursor: Cursor,
    /// The segment to continue, and where.
    pub(super) device: Device,
    pub(super) path: PathBuf,
    pub(super) offset: u64,
    /// The segment's length in bytes.
    pub(super) capacity: u64,
    pub(super) segments: u64,
    pub(super) lost: Lost,
}

/// What a power loss took from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lost {
    /// Bytes set aside in side files.
    pub bytes: u64,
    /// Whole records among them, which no longer continue the log.
    pub records: u64,
}

/// What recovery is told about the log from outside its segments.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) instance: Instance,
    pub(super) month: YearMonth,
    /// At least this many records of the month were on the device.
    pub(super) on_device: u64,
    /// Whether the machine was started anew since the log was last open for writing.
    pub(super) rebooted: bool,
    /// The first record that is kept, and the chain before it; nothing where all are.
    pub(super) kept_from: Option<(u64, Hash)>,
}

/// Recovers a month that has at least one segment.
pub(super) fn recover(layout: &Layout, known: &Known, segment_bytes: u64, faults: &Faults) -> Result<Recovered, Cause> {
    let segments = layout.segments(known.month)?;
    let (from, head) = first_to_read(&segments, known)?;
    let mut cursor = Cursor { index: head.first, chain: head.chain, synced: head.synced.max(known.on_device) };
    let mut rest = segments.iter().skip(from).peekable();
    while let Some(segment) = rest.next() {
        let path = &segment.path;
        let mut window = Window::open(path).at("read", path)?;
        let head = window.head(known.instance, known.month, segment.first).at("read", path)?;
        let (offset, tail) = match head {
            Some(head) if (head.first, head.chain) != (cursor.index, cursor.chain) => {
                return Err(damaged(path, 0, cursor.index, "the segment does not continue the one before"));
            }
            Some(head) => {
                cursor.synced = cursor.synced.max(head.synced);
                let stop =
                    walk(&mut window, HEAD_SPAN, &mut cursor, |_, _| ControlFlow::Continue(())).at("read", path)?;
                match stop.why {
                    Why::NoFrame | Why::Asked => {}
                    Why::OutOfOrder { found } => {
                        let what = format!("record {found} stands there instead");
                        return Err(damaged(path, stop.offset, cursor.index, &what));
                    }
                    Why::ChainBroken => return Err(damaged(path, stop.offset, cursor.index, "its chain is broken")),
                }
                if rest.peek().is_some_and(|next| next.first == cursor.index) {
                    Device::open(path, faults).at("open", path)?.sync().at_flush(path)?;
                    continue;
                }
                (stop.offset, classify(&mut window, stop.offset, cursor.index).at("read", path)?)
            }
            // A head is in the kernel before its segment has a name, so that only a power loss explains this.
            None => (0, classify(&mut window, 0, cursor.index).at("read", path)?),
        };
        let later: Vec<&SegmentPath> = rest.collect();
        let stop = Broken { segment, offset, tail, headless: head.is_none(), later: &later };
        return finish(known, cursor, &stop, segment_bytes, faults).map(|mut recovered| {
            recovered.segments = u64::try_from(segments.len() - later.len()).unwrap_or(u64::MAX);
            recovered
        });
    }
    Err(Cause::new(format!("`{}` has no segment", layout.month(known.month).display())))
}

/// The place where the records stop.
struct Broken<'a> {
    segment: &'a SegmentPath,
    offset: u64,
    tail: Tail,
    headless: bool,
    later: &'a [&'a SegmentPath],
}

/// Decides what the stop means, mends it if that may be done, and hands over the segment to continue.
fn finish(
    known: &Known,
    mut cursor: Cursor,
    stop: &Broken<'_>,
    segment_bytes: u64,
    faults: &Faults,
) -> Result<Recovered, Cause> {
    let path = &stop.segment.path;
    if let Tail::Hole { synced, .. } = stop.tail {
        cursor.synced = cursor.synced.max(synced);
    }
    if cursor.index < cursor.synced {
        let what = format!("{} records were on the device, and this one cannot be read", cursor.synced);
        return Err(damaged(path, stop.offset, cursor.index, &what));
    }
    let end = match stop.tail {
        Tail::Clean => stop.offset,
        Tail::Torn { end } | Tail::Damaged { end } | Tail::Hole { end, .. } => end,
    };
    let plain = !stop.headless && stop.later.is_empty();
    let mut lost = Lost::default();
    let device = Device::open(path, faults).at("open", path)?;
    match stop.tail {
        Tail::Clean if plain => {}
        // Within one boot only the process can have ended: the frame was never acknowledged.
        Tail::Torn { .. } if plain && !known.rebooted => {}
        _ if known.rebooted => lost = set_aside(stop, end)?,
        Tail::Hole { records, .. } => {
            let what = format!("it cannot be read, and {records} whole records follow");
            return Err(damaged(path, stop.offset, cursor.index, &what));
        }
        Tail::Damaged { .. } => {
            return Err(damaged(path, stop.offset, cursor.index, "it was written to its end and cannot be read"));
        }
        Tail::Clean | Tail::Torn { .. } => {
            return Err(damaged(path, stop.offset, cursor.index, "it is missing, and segments follow"));
        }
    }
    let capacity = device.length().at("measure", path)?.max(segment_bytes);
    if end > stop.offset || stop.headless {
        tracing::warn!(
            segment = %path.display(), offset = stop.offset, index = cursor.index, bytes = end - stop.offset,
            lost_bytes = lost.bytes, lost_records = lost.records, "the end of the evidence log was cut off"
        );
        device.cut(stop.offset).at("cut", path)?;
    }
    device.reserve(capacity).at("reserve space for", path)?;
    if stop.headless {
        // The file's name stays: its first index is the one that comes next.
        let mut bytes = Vec::new();
        let head = Head {
            instance: known.instance,
            month: known.month,
            first: cursor.index,
            synced: cursor.synced,
            chain: cursor.chain,
        };
        super::format::push_head(&mut bytes, &head);
        device.write_at(&bytes, 0).at("write", path)?;
    }
    // What this process finds in the page cache, a dead one may have left there.
    device.sync().at_flush(path)?;
    sync_parent(path).at("flush the folder of", path)?;
    let offset = if stop.headless { HEAD_SPAN } else { stop.offset };
    Ok(Recovered { cursor, device, path: path.clone(), offset, capacity, segments: 0, lost })
}

/// The last segment before which everything is known to be on the device, with its head.
fn first_to_read(segments: &[SegmentPath], known: &Known) -> Result<(usize, Head), Cause> {
    let mut chosen = None;
    for (place, segment) in segments.iter().enumerate().rev() {
        let path = &segment.path;
        let mut window = Window::open(path).at("read", path)?;
        let head = window.head(known.instance, known.month, segment.first).at("read", path)?;
        match head {
            Some(head) if chosen.is_none() && (place == 0 || head.synced.max(known.on_device) >= head.first) => {
                chosen = Some((place, head));
            }
            // A head that was on the device cannot be lost; one after it will be looked at in its turn.
            None if chosen.is_some() || place == 0 => {
                return Err(damaged(path, 0, segment.first, "the segment's head cannot be read"));
            }
            Some(_) | None => {}
        }
        if place == 0 {
            let index = known.kept_from.map_or(0, |(index, _)| index);
            if segment.first != index {
                return Err(damaged(path, 0, index, "the segments before this one are missing"));
            }
            if known.kept_from.zip(head).is_some_and(|((_, chain), head)| head.chain != chain) {
                return Err(damaged(path, 0, index, "the segment does not continue what was removed before it"));
            }
        }
    }
    chosen.ok_or_else(|| Cause::new("the month has no segment"))
}

/// Moves what a power loss left unreadable to side files.
fn set_aside(stop: &Broken<'_>, end: u64) -> Result<Lost, Cause> {
    let path = &stop.segment.path;
    let mut lost = Lost { bytes: end - stop.offset, records: 0 };
    if let Tail::Hole { records, .. } = stop.tail {
        lost.records = records;
    }
    if lost.bytes > 0 {
        let side = side_path(path);
        copy_range(path, stop.offset, lost.bytes, &side).at("write", &side)?;
    }
    for later in stop.later {
        let mut window = Window::open(&later.path).at("read", &later.path)?;
        match classify(&mut window, 0, stop.segment.first).at("read", &later.path)? {
            Tail::Clean => {}
            Tail::Torn { end } | Tail::Damaged { end } => lost.bytes += end,
            Tail::Hole { end, records, .. } => {
                lost.bytes += end;
                lost.records += records;
            }
        }
        let side = side_path(&later.path);
        fs::rename(&later.path, &side).at("set aside", &later.path)?;
    }
    Ok(lost)
}

/// A path beside the segment that is not taken yet.
fn side_path(segment: &Path) -> PathBuf {
    let mut number = 1_u32;
    loop {
        let mut name = segment.to_owned().into_os_string();
        name.push(format!(".lost-{number}"));
        let path = PathBuf::from(name);
        if !path.exists() {
            return path;
        }
        number += 1;
    }
}

fn copy_range(from: &Path, offset: u64, bytes: u64, to: &Path) -> io::Result<()> {
    let mut source = fs::File::open(from)?;
    source.seek(SeekFrom::Start(offset))?;
    let mut copy = fs::File::create_new(to)?;
    io::copy(&mut source.take(bytes), &mut copy)?;
    copy.sync_all()?;
    sync_parent(to)
}

fn damaged(path: &Path, offset: u64, index: u64, what: &str) -> Cause {
    Cause::new(format!("the log is damaged at record {index}, `{}` byte {offset}: {what}", path.display()))
}
