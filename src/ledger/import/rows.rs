//! Cutting an input into rows, however long they are, in constant memory.

use std::io::{self, BufRead};

use data_encoding::HEXLOWER;
use ring::digest::{Context, SHA256};

use super::objects::{Around, Cutter, Step};
use crate::ledger::codec;
use crate::proto::v1;

/// What a file in UTF-8 may begin with.
pub(super) const BOM: &[u8] = "\u{feff}".as_bytes();
/// The longest row that is kept whole, in bytes. What lies behind is counted, not kept.
pub const ROW_BYTES_MAX: usize = codec::LINE_BYTES_MAX;

/// A row as it stands in the input.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawRow {
    /// Its number, from 1, blank ones and the header not counted.
    pub number: u64,
    /// The line of the input on which it begins, from 1.
    pub line: u64,
    /// Where in the input it begins, in bytes.
    pub offset: u64,
    /// How long it is, in bytes, with its ending.
    pub bytes: u64,
    /// Its text without its ending; of a longer one than [`ROW_BYTES_MAX`] the beginning.
    pub text: Vec<u8>,
    /// Whether the input ends within quotes.
    pub is_open: bool,
    is_longer: bool,
}

/// What ends a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The next newline.
    Line,
    /// The next newline that is not within quotes. Source: RFC 4180.
    Record { delimiter: u8 },
    /// The end of a JSON object: each for itself, in an array, or in the array `list` of an object.
    Object,
}

/// Where a row begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    offset: u64,
    line: u64,
    /// Rows before it.
    number: u64,
    /// What it lies in.
    around: Around,
}

/// An input's rows.
pub(super) struct Rows<R> {
    input: R,
    place: Place,
}

impl Place {
    /// The beginning of an input.
    pub(super) const START: Self = Self { offset: 0, line: 1, number: 0, around: Around::Nothing };

    /// In bytes from the beginning.
    pub(super) const fn offset(self) -> u64 {
        self.offset
    }

    /// Rows before it.
    pub(super) const fn rows(self) -> u64 {
        self.number
    }
}

impl RawRow {
    /// Whether the text is not all of it.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.is_longer || self.is_open
    }
}

impl<R: BufRead> Rows<R> {
    /// The rows of an input that is read from a place on.
    pub(super) const fn at(input: R, place: Place) -> Self {
        Self { input, place }
    }

    /// Where the next row begins, or blank lines before it.
    pub(super) const fn place(&self) -> Place {
        self.place
    }

    /// The next row that is not blank.
    pub(super) fn next(&mut self, ending: Ending) -> io::Result<Option<RawRow>> {
        loop {
            let found = match ending {
                Ending::Object => self.next_object()?,
                Ending::Line | Ending::Record { .. } => self.next_of_any(ending)?,
            };
            let Some(mut row) = found else { return Ok(None) };
            while row.text.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
                row.text.pop();
            }
            if row.offset == 0 && row.text.starts_with(BOM) {
                row.text.drain(..BOM.len());
            }
            if row.is_cut() || !row.text.trim_ascii().is_empty() {
                self.place.number += 1;
                row.number = self.place.number;
                return Ok(Some(row));
            }
        }
    }

    /// After the header: rows are counted from 1 again.
    pub(super) fn restart_count(&mut self) {
        self.place.number = 0;
    }

    fn next_of_any(&mut self, ending: Ending) -> io::Result<Option<RawRow>> {
        let mut row = self.row();
        let mut quotes = Quotes::FieldStart;
        loop {
            let page = fill(&mut self.input)?;
            if page.is_empty() {
                row.is_open = quotes == Quotes::Inside;
                return Ok((row.bytes > 0).then_some(row));
            }
            let mut len = 0;
            let mut is_whole = false;
            for byte in page {
                len += 1;
                quotes = quotes.after(*byte, ending);
                if *byte == b'\n' {
                    self.place.line += 1;
                    if quotes != Quotes::Inside {
                        is_whole = true;
                        break;
                    }
                }
            }
            row.take(page.get(..len).unwrap_or_default());
            self.place.offset += len as u64;
            self.input.consume(len);
            if is_whole {
                return Ok(Some(row));
            }
        }
    }

    /// The next JSON object, or what stands in its place, up to the end of its line.
    fn next_object(&mut self) -> io::Result<Option<RawRow>> {
        let mut row = self.row();
        let mut cutter = Cutter::lying_in(self.place.around);
        loop {
            let page = fill(&mut self.input)?;
            if page.is_empty() {
                // Also where the input ends between two objects of an array: the rest of it is missing.
                row.is_open = cutter.is_within() || self.place.around != Around::Nothing;
                self.place.around = Around::Nothing;
                return Ok((row.bytes > 0 || row.is_open).then_some(row));
            }
            let mut len = 0;
            let mut kept_from = 0;
            let mut is_whole = false;
            for byte in page {
                let step = cutter.after(*byte);
                match step {
                    Step::Between => kept_from = len + 1,
                    Step::Begin => {
                        row = RawRow {
                            line: self.place.line,
                            offset: self.place.offset + len as u64,
                            ..RawRow::default()
                        };
                        kept_from = len;
                    }
                    Step::Within | Step::End => {}
                    Step::List => {
                        row = RawRow::default();
                        kept_from = len + 1;
                    }
                }
                len += 1;
                self.place.line += u64::from(*byte == b'\n');
                if step == Step::End {
                    is_whole = true;
                    break;
                }
            }
            row.take(page.get(kept_from..len).unwrap_or_default());
            self.place.offset += len as u64;
            self.place.around = cutter.around;
            self.input.consume(len);
            if is_whole {
                return Ok(Some(row));
            }
        }
    }

    fn row(&self) -> RawRow {
        RawRow { line: self.place.line, offset: self.place.offset, ..RawRow::default() }
    }
}

impl RawRow {
    /// Takes what follows, as far as there is room.
    fn take(&mut self, piece: &[u8]) {
        // The ending itself may be one or two bytes more.
        let room = (ROW_BYTES_MAX + 2).saturating_sub(self.text.len());
        self.text.extend(piece.iter().take(room));
        self.bytes += piece.len() as u64;
        self.is_longer = self.bytes > self.text.len() as u64;
    }
}

/// What is there to read, nothing at the end.
fn fill(input: &mut impl BufRead) -> io::Result<&[u8]> {
    loop {
        match input.fill_buf() {
            // A second call gives the same page again; to return the first one's is more than the borrow checker sees.
            Ok(_) => return input.fill_buf(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Where a byte stands with regard to quotes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    FieldStart,
    Outside,
    Inside,
    /// Behind a quote within quotes: the closing one, or the first of two.
    Closing,
}

impl Quotes {
    fn after(self, byte: u8, ending: Ending) -> Self {
        let Ending::Record { delimiter } = ending else { return Self::Outside };
        match (self, byte) {
            (Self::Inside, b'"') => Self::Closing,
            (Self::FieldStart | Self::Closing, b'"') | (Self::Inside, _) => Self::Inside,
            (_, byte) if byte == delimiter || byte == b'\n' => Self::FieldStart,
            (Self::FieldStart | Self::Outside | Self::Closing, _) => Self::Outside,
        }
    }
}

/// An event id that the same content always gets, whatever the format that it came in.
pub(super) fn content_id(event: &v1::LedgerEvent) -> String {
    let mut content = Context::new(&SHA256);
    content.update(b"consentd import, version 1\n");
    // An event without a text is refused later.
    content.update(codec::encode_line(event).unwrap_or_default().as_bytes());
    let digest = content.finish();
    HEXLOWER.encode(digest.as_ref().get(..16).unwrap_or_default())
}
