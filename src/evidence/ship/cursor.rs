//! How far evidence has been acknowledged, kept on disk.
//!
//! ```text
//! <dir>/shipped    four lines: `consentd shipped 1`; `<YYYY-MM> <index> <chain>`, the place before which the central
//!                  stream has acknowledged everything, the chain in 64 hexadecimal digits; `<nanoseconds>`, when the
//!                  stream was made, or 0; the CRC-32 of what is before, in 8 hexadecimal digits
//! ```
//!
//! It may lag behind the truth: then evidence is sent twice, which readers see by its indices.

use data_encoding::HEXLOWER;

use crate::evidence::batch::Place;
use crate::evidence::files::{At, Cause, Layout, read_small, replace};

const HEADING: &str = "consentd shipped 1";

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) place: Place,
    /// When the stream was made that acknowledged it, in nanoseconds since 1970; 0 is not known.
    pub(super) stream_made: i128,
}

impl Cursor {
    /// The cursor on disk; nothing if there is none, or none that can be read: then everything is sent again.
    pub(super) fn load(layout: &Layout) -> Result<Option<Self>, Cause> {
        let path = layout.shipped();
        let Some(bytes) = read_small(&path).at("read", &path)? else { return Ok(None) };
        let cursor = Self::read(&bytes);
        if cursor.is_none() {
            tracing::warn!(path = %path.display(), "the note of what was shipped cannot be read; everything is shipped again");
        }
        Ok(cursor)
    }

    /// Puts the cursor on the device.
    pub(super) fn store(&self, layout: &Layout) -> Result<(), Cause> {
        let path = layout.shipped();
        replace(&path, self.text().as_bytes(), 0o644).at("write", &path)
    }

    fn text(&self) -> String {
        let Place { month, index, chain } = &self.place;
        let text = format!("{HEADING}\n{month} {index} {}\n{}\n", HEXLOWER.encode(chain), self.stream_made);
        format!("{text}{:08x}\n", crc32fast::hash(text.as_bytes()))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.lines().skip(1);
        let mut words = lines.next()?.split(' ');
        let (month, index) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let chain = HEXLOWER.decode(words.next()?.as_bytes()).ok()?.try_into().ok()?;
        let cursor = Self { place: Place { month, index, chain }, stream_made: lines.next()?.parse().ok()? };
        // Heading, checksum and all: it is what would be written.
        (cursor.text() == text).then_some(cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_and_nothing_altered_does() {
        let place = Place { month: "2026-11".parse().expect("a month"), index: 12_345, chain: [0xab; 32] };
        let cursor = Cursor { place, stream_made: 1_795_219_200_000_000_000 };
        let text = cursor.text();
        assert!(text.starts_with("consentd shipped 1\n2026-11 12345 abab"), "{text}");
        assert_eq!(Cursor::read(text.as_bytes()), Some(cursor));
        for place in 0..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[place] ^= 1;
            assert_eq!(Cursor::read(&altered), None, "altered at {place}");
            assert_eq!(Cursor::read(&text.as_bytes()[..place]), None, "cut at {place}");
        }
    }
}
