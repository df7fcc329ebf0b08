//! The two halves of a group commit: frames that wait to be written, and the segment that they are written to.
//!
//! A caller first takes its place among the frames that wait, under one lock; then, under another, whoever comes first
//! writes all that wait with one call, and the others find their frames written. While one group is being written the
//! next one gathers. Who finds nobody writing takes both locks at once, and spares itself the second look.
//!
//! INVARIANT: the writer's lock is taken before the pending lock wherever both are held.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::device::{Device, Faults};
use super::files::{At, Cause, Layout};
use super::format::{self, HEAD_SPAN, Head};
use super::id::{Instance, YearMonth};
use super::merkle::Hash;

/// Buffers above this are given back after a large group.
const BUFFER_BYTES_KEPT: usize = 1024 * 1024;

/// Frames that wait to be written, and where the log stands after them.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) month: YearMonth,
    /// The index of the next record.
    pub(super) next: u64,
    /// The chain after the last record.
    pub(super) chain: Hash,
    /// Records of this process so far, with those found at its start: a count that goes on over the months.
    pub(super) sequence: u64,
    /// The sequence at which the month began.
    pub(super) base: u64,
    /// No record may follow.
    pub(super) closed: bool,
    group: Group,
}

/// Consecutive frames, to be written with one call.
#[derive(Debug)]
pub(super) struct Group {
    bytes: Vec<u8>,
    first: u64,
    chain_before: Hash,
    sequence: u64,
}

impl Pending {
    pub(super) fn new(month: YearMonth, next: u64, chain: Hash, sequence: u64, base: u64) -> Self {
        let group = Group { bytes: Vec::new(), first: next, chain_before: chain, sequence };
        Self { month, next, chain, sequence, base, closed: false, group }
    }

    /// Gives a record its place: its index, and the sequence that counts it in.
    pub(super) fn push(&mut self, payload: &[u8], synced: u64) -> (u64, u64) {
        if self.group.bytes.is_empty() {
            self.group.first = self.next;
            self.group.chain_before = self.chain;
        }
        let index = self.next;
        let synced = synced.saturating_sub(self.base);
        self.chain = format::push_record(&mut self.group.bytes, index, synced, &self.chain, payload);
        self.next += 1;
        self.sequence += 1;
        self.group.sequence = self.sequence;
        (index, self.sequence)
    }

    /// Takes the group that waits, and leaves an empty buffer for the next.
    pub(super) fn take(&mut self, empty: Vec<u8>) -> Group {
        let next = Group { bytes: empty, first: self.next, chain_before: self.chain, sequence: self.sequence };
        std::mem::replace(&mut self.group, next)
    }

    /// Begins a month; the chain and the sequence go on.
    pub(super) fn begin(&mut self, month: YearMonth) {
        self.month = month;
        self.next = 0;
        self.base = self.sequence;
    }
}

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) layout: Layout,
    pub(super) instance: Instance,
    pub(super) segment_bytes: u64,
    pub(super) faults: Faults,
    pub(super) month: YearMonth,
    pub(super) segment: Segment,
    /// A segment in waiting, so that a full one is followed without a stall.
    pub(super) spare: Option<Device>,
    /// An empty buffer for the next group.
    pub(super) buffer: Vec<u8>,
    /// The sequence up to which everything is in the kernel.
    pub(super) written: u64,
    /// What must reach the device beside the segment: full segments, and folders with new names.
    pub(super) unsynced: Unsynced,
    pub(super) segments: u64,
    pub(super) bytes: u64,
}

/// An open segment.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) device: Arc<Device>,
    pub(super) path: PathBuf,
    pub(super) offset: u64,
    pub(super) capacity: u64,
}

/// What must reach the device before the sequence written so far may count as synced.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    /// Full segments; they are cut to their frames afterwards.
    pub(super) full: Vec<Segment>,
    pub(super) folders: Vec<PathBuf>,
}

impl Writer {
    /// Writes a group; `synced` counts the month's records known to be on the device.
    pub(super) fn write(&mut self, group: Group, synced: u64) -> Result<(), Cause> {
        if group.bytes.is_empty() {
            self.buffer = group.bytes;
            return Ok(());
        }
        let length = u64::try_from(group.bytes.len()).unwrap_or(u64::MAX);
        if self.segment.offset.saturating_add(length) > self.segment.capacity && self.segment.offset > HEAD_SPAN {
            self.follow(self.month, group.first, group.chain_before, synced)?;
        }
        let segment = &mut self.segment;
        let end = segment.offset.saturating_add(length);
        if end > segment.capacity {
            segment.device.reserve(end).at("reserve space for", &segment.path)?;
            segment.capacity = end;
        }
        segment.device.write_at(&group.bytes, segment.offset).at("write", &segment.path)?;
        segment.offset = end;
        self.written = group.sequence;
        self.bytes += length;
        self.buffer = group.bytes;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        Ok(())
    }

    /// Puts a new segment in the place of the one written to.
    pub(super) fn follow(&mut self, month: YearMonth, first: u64, chain: Hash, synced: u64) -> Result<(), Cause> {
        let next = match self.spare.take() {
            Some(spare) => Next { device: spare, path: self.layout.spare() },
            None => Next::make(self.layout.spare().with_extension("now"), self.segment_bytes, &self.faults)?,
        };
        let head = Head { instance: self.instance, month, first, synced, chain };
        let segment = next.name(&self.layout, &head, self.segment_bytes)?;
        if let Some(folder) = segment.path.parent() {
            self.unsynced.folders.push(folder.to_owned());
        }
        self.unsynced.full.push(std::mem::replace(&mut self.segment, segment));
        self.month = month;
        self.segments += 1;
        Ok(())
    }

    /// Whether it is time to prepare the next segment.
    pub(super) fn wants_spare(&self) -> bool {
        self.spare.is_none() && self.segment.offset > self.segment.capacity / 2
    }
}

/// A segment before it has its name.
pub(super) struct Next {
    pub(super) device: Device,
    path: PathBuf,
}

impl Next {
    /// Makes an empty segment and reserves its space.
    pub(super) fn make(path: PathBuf, segment_bytes: u64, faults: &Faults) -> Result<Self, Cause> {
        let device = Device::create(&path, faults).at("make", &path)?;
        device.reserve(segment_bytes).at("reserve space for", &path)?;
        Ok(Self { device, path })
    }

    /// Writes the head, then gives the segment its name: a segment with a name has its head, as long as the kernel runs.
    pub(super) fn name(self, layout: &Layout, head: &Head, segment_bytes: u64) -> Result<Segment, Cause> {
        let mut bytes = Vec::new();
        format::push_head(&mut bytes, head);
        self.device.write_at(&bytes, 0).at("write", &self.path)?;
        let path = layout.segment(head.month, head.first);
        fs::rename(&self.path, &path).at("name", &path)?;
        Ok(Segment { device: Arc::new(self.device), path, offset: HEAD_SPAN, capacity: segment_bytes })
    }
}
