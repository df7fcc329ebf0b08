//! What is left of the records of a month that were shipped and removed here.
//!
//! ```text
//! log/<YYYY-MM>/trimmed    `consentd trimmed 1`; `<index> <chain>`, the first record that is kept and the chain before it in
//!                          64 hexadecimal digits; for each level of tiles that the tree of the removed records has, from the
//!                          lowest up, a line with the hashes that no full tile of it holds, in base64; the CRC-32 of what is
//!                          before, in 8 hexadecimal digits
//! ```
//!
//! It is on the device before anything is removed. With it the tree is made again from the records that stay, so that
//! what it says is held against the signed root whenever that is done: when a tile was lost, and by `verify`. What a
//! removal that was cut short has left behind it counts for nothing, and is removed before the log is written to again.
//!
//! All tiles that lie below the first kept record are removed with the records, those of higher levels too. A tile above
//! them never needs one: of each level the note has what the tile in which the cut lies begins with.

use std::fs;
use std::io;

use data_encoding::{BASE64, HEXLOWER};

use super::files::{At, Cause, Layout, SegmentPath, read_small, replace};
use super::id::YearMonth;
use super::levels::Levels;
use super::merkle::Hash;

const HEADING: &str = "consentd trimmed 1";

/// The note of a month whose first records were removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trimmed {
    /// The tree of the records that were removed.
    pub(super) levels: Levels,
    /// The chain after the last of them.
    pub(super) chain: Hash,
}

impl Trimmed {
    /// The first record that is kept.
    pub(super) fn index(&self) -> u64 {
        self.levels.size()
    }

    /// A month's note; nothing where all its records are kept.
    ///
    /// # Errors
    /// If it cannot be read: without it nobody knows what the log must begin with.
    pub(super) fn load(layout: &Layout, month: YearMonth) -> Result<Option<Self>, Cause> {
        let path = layout.trimmed(month);
        let Some(bytes) = read_small(&path).at("read", &path)? else { return Ok(None) };
        Self::read(&bytes).map(Some).ok_or_else(|| {
            Cause::new(format!(
                "the note `{}` of what was removed is damaged; put a copy of it back, or keep this folder elsewhere and start with an empty one",
                path.display()
            ))
        })
    }

    /// Puts the note on the device.
    pub(super) fn store(&self, layout: &Layout, month: YearMonth) -> Result<(), Cause> {
        let path = layout.trimmed(month);
        replace(&path, self.text().as_bytes(), 0o644).at("write", &path)
    }

    fn text(&self) -> String {
        let mut text = format!("{HEADING}\n{} {}\n", self.index(), HEXLOWER.encode(&self.chain));
        for rest in self.levels.rests() {
            text.push_str(&BASE64.encode(rest.as_flattened()));
            text.push('\n');
        }
        format!("{text}{:08x}\n", crc32fast::hash(text.as_bytes()))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let lines: Vec<&str> = text.lines().collect();
        let [_, place, rests @ .., _] = lines.as_slice() else { return None };
        let (index, chain) = place.split_once(' ')?;
        let chain = HEXLOWER.decode(chain.as_bytes()).ok()?.try_into().ok()?;
        let hashes = |line: &&str| {
            let bytes = BASE64.decode(line.as_bytes()).ok()?;
            let (hashes, odd) = bytes.as_chunks::<32>();
            odd.is_empty().then(|| hashes.to_vec())
        };
        let rests = rests.iter().map(hashes).collect::<Option<_>>()?;
        let note = Self { levels: Levels::of(index.parse().ok()?, rests)?, chain };
        // Heading, checksum and all: it is what would be written.
        (note.text() == text).then_some(note)
    }
}

/// A month's segments that count, and its note.
pub(super) fn kept(layout: &Layout, month: YearMonth) -> Result<(Option<Trimmed>, Vec<SegmentPath>), Cause> {
    // The note last: what it says was removed may have been there when the folder was listed, and nothing else.
    let mut segments = layout.segments(month)?;
    let trimmed = Trimmed::load(layout, month)?;
    let from = trimmed.as_ref().map_or(0, Trimmed::index);
    segments.retain(|segment| segment.first >= from);
    Ok((trimmed, segments))
}

/// Removes a month's segments below the first record that is kept, from the first one on. Says how many there were.
///
/// # Errors
/// If the segment that begins with that record is not there, and none is removed then; or if one cannot be removed.
pub(super) fn remove_segments(layout: &Layout, month: YearMonth, kept_from: u64) -> Result<u64, Cause> {
    let segments = layout.segments(month)?;
    if !segments.iter().any(|segment| segment.first == kept_from) {
        let path = layout.segment(month, kept_from);
        return Err(Cause::new(format!("`{}` is missing, with which the log of {month} begins", path.display())));
    }
    let mut removed = 0;
    for segment in segments.into_iter().filter(|segment| segment.first < kept_from) {
        match fs::remove_file(&segment.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done.at("remove", &segment.path)?,
        }
        removed += 1;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::merkle::leaf_hash;

    fn note(size: u64) -> Trimmed {
        let mut levels = Levels::default();
        for number in 0..size {
            let Ok(()) =
                levels.push(leaf_hash(&number.to_le_bytes()), |_, _, _| Ok::<(), std::convert::Infallible>(()));
        }
        Trimmed { levels, chain: [0xab; 32] }
    }

    #[test]
    fn it_reads_back_at_every_border_of_its_tiles() {
        for size in [1, 255, 256, 257, 65_535, 65_536, 65_537, 131_329] {
            let note = note(size);
            let read = Trimmed::read(note.text().as_bytes()).expect("it reads back");
            assert_eq!(read, note, "{size}");
            assert_eq!(read.levels.root(), note.levels.root(), "{size}");
        }
    }

    #[test]
    fn nothing_altered_or_cut_reads_back() {
        let text = note(300).text();
        assert!(text.starts_with("consentd trimmed 1\n300 abab"), "{text}");
        for place in 0..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[place] ^= 1;
            assert_eq!(Trimmed::read(&altered), None, "altered at {place}");
            assert_eq!(Trimmed::read(&text.as_bytes()[..place]), None, "cut at {place}");
        }
    }

    #[test]
    fn hashes_of_another_size_are_none() {
        let rests = |size: u64| note(size).levels.rests().map(<[Hash]>::to_vec).collect::<Vec<_>>();
        assert!(Levels::of(300, rests(300)).is_some());
        assert!(Levels::of(301, rests(300)).is_none(), "one is missing");
        assert!(Levels::of(300, rests(255)).is_none(), "a level is missing");
        assert!(Levels::of(255, rests(300)).is_none(), "a level too many");
    }
}
