//! Reading a log without writing to it: records, and the proof that one of them is in the signed tree.
//!
//! Works beside a running writer and needs no lock: segments only grow, and an unfinished frame at the end is not yet
//! part of the log.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use prost::Message;

use super::checkpoint::{Checkpoint, origin};
use super::entries::Entries;
use super::files::{At, Cause, Layout, SegmentPath, read_small};
use super::format::Frame;
use super::id::{EvidenceId, Instance, YearMonth};
use super::keys::{self, KeyPlaces, Month, NoKey};
use super::merkle::{Hash, leaf_hash, prove_inclusion, root_of_inclusion};
use super::scan::{Cursor, Ending, Window, read_to_end};
use super::tiles::Tiles;
use super::trimmed::{self, Trimmed};
use super::verify::problem;
use crate::proto::v1::EvidenceRecord;

/// A log opened for reading.
#[derive(Debug, Clone)]
pub struct Archive {
    pub(super) layout: Layout,
    pub(super) instance: Instance,
    pub(super) places: KeyPlaces,
}

/// The evidence folder of an instance: the folder itself, or its part of one into which that of many was collected.
#[must_use]
pub fn folder_of(dir: &Path, instance: Instance) -> PathBuf {
    let collected = dir.join(instance.to_string());
    if collected.is_dir() { collected } else { dir.to_owned() }
}

impl Archive {
    /// Opens the log in a directory.
    ///
    /// # Errors
    /// If there is none, or its name cannot be read.
    pub fn open(dir: &Path) -> Result<Self, Cause> {
        let layout = Layout::new(dir);
        match keys::load_instance(&layout)? {
            Some(instance) => Ok(Self { layout, instance, places: KeyPlaces::default() }),
            None => Err(Cause::new(format!("`{}` holds no evidence log", dir.display()))),
        }
    }

    /// The same log, with the keys of its months looked for in these places too.
    #[must_use]
    pub fn with_keys(self, places: KeyPlaces) -> Self {
        Self { places, ..self }
    }

    /// The log's name.
    #[must_use]
    pub const fn instance(&self) -> Instance {
        self.instance
    }

    /// The months that have a log, in order.
    ///
    /// # Errors
    /// If the folders cannot be listed.
    pub fn months(&self) -> Result<Vec<YearMonth>, Cause> {
        self.layout.months()
    }

    /// A month with its key, to make the tags of its subjects.
    ///
    /// # Errors
    /// If there is no key, if it cannot be read, or if it was made of another secret than the one given.
    pub fn month(&self, month: YearMonth) -> Result<Month, NoKey> {
        self.places.month(&self.layout, self.instance, month, || self.public())
    }

    /// Reads a month's records in order, until the end or until told to stop.
    ///
    /// # Errors
    /// If a record cannot be read and others follow.
    pub fn read(
        &self,
        month: YearMonth,
        mut each: impl FnMut(u64, EvidenceRecord) -> ControlFlow<()>,
    ) -> Result<(), Cause> {
        self.walk(month, 0, |index, frame| match EvidenceRecord::decode(frame.payload) {
            Ok(record) => Ok(each(index, record)),
            Err(error) => Err(Cause::new(format!("record {index} of {month} is not an evidence record: {error}"))),
        })
    }

    /// How many records of a month, from the first on, the central stream has and were removed here.
    ///
    /// # Errors
    /// If the note of it cannot be read.
    pub fn removed(&self, month: YearMonth) -> Result<u64, Cause> {
        Ok(Trimmed::load(&self.layout, month)?.map_or(0, |trimmed| trimmed.index()))
    }

    /// The record that an id names; nothing if there is none, or none any more.
    ///
    /// # Errors
    /// If it cannot be read, or the id is of another instance.
    pub fn find(&self, id: &EvidenceId) -> Result<Option<EvidenceRecord>, Cause> {
        let Some(payload) = self.payload(id)? else { return Ok(None) };
        EvidenceRecord::decode(payload.as_slice()).map(Some).map_err(|error| {
            Cause::new(format!("record {} of {} is not an evidence record: {error}", id.index, id.month))
        })
    }

    /// The proof that a record is in the last signed tree, in the C2SP tlog-proof format; the leaf is the record's bytes
    /// as [`payload`](Self::payload) gives them.
    ///
    /// # Errors
    /// If there is no such record, if no checkpoint covers it yet, or if the tree does not prove it.
    pub fn prove(&self, id: &EvidenceId) -> Result<String, Cause> {
        let Some(payload) = self.payload(id)? else { return Err(Cause::new(format!("there is no record `{id}`"))) };
        let public = self.public()?;
        let path = self.layout.checkpoint(id.month);
        let note = read_small(&path).at("read", &path)?.and_then(|bytes| String::from_utf8(bytes).ok());
        let Some(note) = note else { return Err(Cause::new(format!("no checkpoint of {} was signed yet", id.month))) };
        let Some(checkpoint) = Checkpoint::read(&note, &origin(self.instance, id.month), &public) else {
            return Err(Cause::new(format!("the checkpoint `{}` is not signed by this log's key", path.display())));
        };
        if checkpoint.size <= id.index {
            return Err(Cause::new(format!(
                "the last checkpoint of {} covers {} records, and not yet this one",
                id.month, checkpoint.size
            )));
        }
        let leaf = leaf_hash(&payload);
        let proves =
            |proof: &Vec<Hash>| root_of_inclusion(id.index, checkpoint.size, leaf, proof) == Some(checkpoint.root);
        let mut tiles = Tiles::new(self.layout.month(id.month), checkpoint.size);
        let by_tiles = prove_inclusion(&mut tiles, id.index, checkpoint.size).ok().filter(proves);
        let proof = if let Some(proof) = by_tiles {
            proof
        } else {
            // Tiles may be missing or wrong after a power loss; the records never are.
            let removed = Trimmed::load(&self.layout, id.month)?.map(|trimmed| trimmed.levels);
            let mut entries = Entries::new(&self.layout, id.month, removed);
            let proof = prove_inclusion(&mut entries, id.index, checkpoint.size)?;
            let unproved = || Cause::new(format!("the tree of {} does not prove record {}", id.month, id.index));
            Some(proof).filter(proves).ok_or_else(unproved)?
        };
        let mut text = format!("c2sp.org/tlog-proof@v1\nindex {}\n", id.index);
        for hash in proof {
            text.push_str(&BASE64.encode(&hash));
            text.push('\n');
        }
        Ok(format!("{text}\n{note}"))
    }

    /// The bytes of the record that an id names, as they were appended; nothing if there is none.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn payload(&self, id: &EvidenceId) -> Result<Option<Vec<u8>>, Cause> {
        if id.instance != self.instance {
            return Err(Cause::new(format!("`{id}` is of another instance than this log, {}", self.instance)));
        }
        let mut payload = None;
        self.walk(id.month, id.index, |index, frame| {
            if index == id.index {
                payload = Some(frame.payload.to_vec());
            }
            Ok(if index >= id.index { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(payload)
    }

    pub(super) fn public(&self) -> Result<[u8; 32], Cause> {
        keys::load_public(&self.layout)?
            .ok_or_else(|| Cause::new(format!("there is no public key `{}`", self.layout.signing_pub().display())))
    }

    /// A segment's head, and where the chain stood before it.
    pub(super) fn open_segment(&self, month: YearMonth, segment: &SegmentPath) -> Result<(Window, Cursor), Cause> {
        let mut window = Window::open(&segment.path).at("open", &segment.path)?;
        match window.head(self.instance, month, segment.first).at("read", &segment.path)? {
            Some(head) => Ok((window, Cursor { index: head.first, chain: head.chain, synced: head.synced })),
            None => Err(Cause::new(format!(
                "`{}` byte 0, record {}: the segment's head cannot be read",
                segment.path.display(),
                segment.first
            ))),
        }
    }

    /// Reads frames from the segment on that holds an index.
    fn walk(
        &self,
        month: YearMonth,
        from: u64,
        mut each: impl FnMut(u64, &Frame<'_>) -> Result<ControlFlow<()>, Cause>,
    ) -> Result<(), Cause> {
        let (_, segments) = trimmed::kept(&self.layout, month)?;
        let skip = segments.iter().rposition(|segment| segment.first <= from).unwrap_or(0);
        let mut segments = segments.iter().skip(skip).peekable();
        while let Some(segment) = segments.next() {
            let (mut window, mut cursor) = match self.open_segment(month, segment) {
                // A writer removed it since the folder was listed.
                Err(_) if segment.first < self.removed(month)? => continue,
                opened => opened?,
            };
            let mut result = Ok(());
            let next = segments.peek().map(|next| next.first);
            let ending = read_to_end(&mut window, &mut cursor, next, |_, frame| match each(frame.index, frame) {
                Ok(flow) => flow,
                Err(cause) => {
                    result = Err(cause);
                    ControlFlow::Break(())
                }
            })
            .at("read", &segment.path)?;
            result?;
            match ending {
                Ending::Good | Ending::Unfinished { .. } => {}
                Ending::Asked => return Ok(()),
                Ending::Bad { offset, what } => {
                    return Err(Cause::new(problem(segment, offset, cursor.index, &what)));
                }
            }
        }
        Ok(())
    }
}
