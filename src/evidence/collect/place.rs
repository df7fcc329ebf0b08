//! How far a stream was read, kept in the folder.
//!
//! `collected` has three lines: `consentd collected 1`; `<nanoseconds> <next> <stream>`, when the stream was made, the
//! sequence of the next message to read, and its name; the CRC-32 of what is before, in 8 hexadecimal digits.

use std::path::Path;

use crate::evidence::files::{At, Cause, read_small, replace};

const HEADING: &str = "consentd collected 1";

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReadUpTo {
    pub(super) stream: String,
    /// When the stream was made, in nanoseconds since 1970.
    pub(super) made: i128,
    /// The sequence of the next message.
    pub(super) next: u64,
}

impl ReadUpTo {
    pub(super) fn load(dir: &Path) -> Result<Option<Self>, Cause> {
        let path = dir.join("collected");
        let Some(bytes) = read_small(&path).at("read", &path)? else { return Ok(None) };
        let read = Self::read(&bytes);
        if read.is_none() {
            tracing::warn!(path = %path.display(), "the note of what was collected cannot be read; the stream is read again");
        }
        Ok(read)
    }

    pub(super) fn store(&self, dir: &Path) -> Result<(), Cause> {
        let path = dir.join("collected");
        replace(&path, self.text().as_bytes(), 0o644).at("write", &path)
    }

    fn text(&self) -> String {
        let text = format!("{HEADING}\n{} {} {}\n", self.made, self.next, self.stream);
        format!("{text}{:08x}\n", crc32fast::hash(text.as_bytes()))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut words = text.lines().nth(1)?.splitn(3, ' ');
        let read = Self {
            made: words.next()?.parse().ok()?,
            next: words.next()?.parse().ok()?,
            stream: words.next()?.to_owned(),
        };
        (read.text() == text).then_some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_and_nothing_altered_does() {
        let read = ReadUpTo { stream: "CONSENT_EVIDENCE".to_owned(), made: 1_795_219_200_000_000_001, next: 42 };
        let text = read.text();
        assert_eq!(ReadUpTo::read(text.as_bytes()), Some(read));
        for place in 0..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[place] ^= 1;
            assert_eq!(ReadUpTo::read(&altered), None, "altered at {place}");
        }
    }
}
