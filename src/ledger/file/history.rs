//! Reading a file ledger once, for what was said of a few: lines that cannot be about them are passed over unread.

use std::fs::File;
use std::io;
use std::path::Path;

use memchr::memmem::Finder;

use super::pages;
use crate::domain::Position;
use crate::ledger::codec::{LINE_BYTES_MAX, decode, decode_too_long, parse};
use crate::ledger::{Delivery, LedgerId};

/// How much is read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// A ledger's file, as far as it went when it was opened.
#[derive(Debug)]
pub struct FileHistory {
    file: File,
    ledger: LedgerId,
    end: Position,
}

/// What must stand in a line that could be about somebody. A line with a backslash could always be: JSON may spell any
/// character with one.
#[derive(Debug)]
pub struct Needles(Vec<Finder<'static>>);

impl Needles {
    /// What stands in every line that could be about one of these subjects, given as `space:id`, or could be a catalogue.
    /// `None` where every line could be.
    pub fn of_subjects<'a>(subjects: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut texts = vec![Finder::new("catalogue").into_owned()];
        for subject in subjects {
            let id = subject.split_once(':').map_or(subject, |(_, id)| id);
            // What cannot be read is looked through for whom it is about, where a number that is no digits only is
            // spelled anew, and bytes that are no text are replaced.
            let is_respelled = id.bytes().any(|byte| !byte.is_ascii_digit()) && id.parse::<f64>().is_ok();
            if is_respelled || id.contains(char::REPLACEMENT_CHARACTER) {
                return None;
            }
            texts.push(Finder::new(id).into_owned());
        }
        Some(Self(texts))
    }

    fn may_be_in(&self, line: &[u8]) -> bool {
        self.0.iter().any(|text| text.find(line).is_some()) || memchr::memchr(b'\\', line).is_some()
    }
}

impl FileHistory {
    /// Opens a ledger's file for reading once. `None` while it has no first line.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        // Opening a pipe would wait for its writer.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        let file = File::open(path)?;
        let Some(ledger) = pages::ledger_id(&file)? else { return Ok(None) };
        let end = pages::line_start_before(&file, file.metadata()?.len(), 0)?;
        Ok(Some(Self { file, ledger, end: Position(end) }))
    }

    /// Which ledger it is.
    #[must_use]
    pub const fn ledger(&self) -> LedgerId {
        self.ledger
    }

    /// Behind its last complete line.
    #[must_use]
    pub const fn end(&self) -> Position {
        self.end
    }

    /// Tells `each` the events of the lines in which a needle stands, in order, and where `needles` is `None` all. Between
    /// two chunks of a mebibyte `goes_on` is asked.
    ///
    /// # Errors
    /// If the file cannot be read, or has become shorter; `Interrupted` where `goes_on` said no.
    pub fn read(
        &self,
        needles: Option<&Needles>,
        goes_on: impl Fn() -> bool,
        mut each: impl FnMut(Delivery),
    ) -> io::Result<()> {
        let mut start = 0;
        let mut buffer = Vec::new();
        while start < self.end.0 {
            if !goes_on() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let len = to_usize(self.end.0 - start).min(CHUNK_BYTES.max(LINE_BYTES_MAX + 2));
            buffer.resize(len, 0);
            if pages::read_at(&self.file, start, &mut buffer)? < len {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has become shorter while it was read"));
            }
            let mut consumed = 0;
            while let Some(line) = line(&buffer, consumed) {
                consumed += line.len();
                let position = Position(start + consumed as u64);
                let text = line.trim_ascii();
                if !text.is_empty() && needles.is_none_or(|needles| needles.may_be_in(text)) {
                    let is_too_long = text.len() > LINE_BYTES_MAX;
                    let event = if is_too_long { Err(decode_too_long(text, position)) } else { decode(text, position) };
                    each(Delivery { position, event });
                }
            }
            if consumed == 0 {
                // INVARIANT: the end lies behind a newline, so that a line which fills the buffer has one further on.
                let newline = pages::newline_after(&self.file, start + len as u64, self.end.0)?;
                let position = Position(newline.map_or(self.end.0, |at| at + 1));
                let beginning = buffer.get(..LINE_BYTES_MAX).unwrap_or_default();
                // What is behind the beginning is not read, so that it could be about anybody that the beginning names.
                if needles.is_none_or(|needles| needles.may_be_in(beginning)) {
                    each(Delivery { position, event: Err(decode_too_long(beginning, position)) });
                }
                start = position.0;
            }
            start += consumed as u64;
        }
        Ok(())
    }

    /// Behind which position so many further lines end that begin there; the end where there are fewer.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn after_lines(&self, from: Position, lines: usize) -> io::Result<Position> {
        if lines == 0 {
            return Ok(from);
        }
        let mut behind = self.end;
        let mut left = lines;
        pages::pages(&self.file, from.0, |offset, page| {
            for newline in memchr::memchr_iter(b'\n', page) {
                left -= 1;
                if left == 0 {
                    behind = Position(offset + newline as u64 + 1).min(self.end);
                    return false;
                }
            }
            offset < self.end.0
        })?;
        Ok(behind)
    }

    /// Who wrote the event that ends at a position, where it says so and can be read.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn source(&self, position: Position) -> io::Result<Option<String>> {
        let Some(newline) = position.0.checked_sub(1).filter(|_| position <= self.end) else { return Ok(None) };
        let start = pages::line_start_before(&self.file, newline, 0)?;
        let mut text = vec![0; to_usize(newline - start).min(LINE_BYTES_MAX)];
        let filled = pages::read_at(&self.file, start, &mut text)?;
        let event = parse(text.get(..filled).unwrap_or_default().trim_ascii()).ok();
        Ok(event.map(|event| event.source).filter(|source| !source.is_empty()))
    }
}

/// The complete line that begins at an offset, with its newline.
fn line(buffer: &[u8], from: usize) -> Option<&[u8]> {
    let rest = buffer.get(from..)?;
    rest.get(..=memchr::memchr(b'\n', rest)?)
}

/// On the 64-bit machines that this runs on, nothing is lost.
fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
