//! Cutting an input into rows, however long they are, in constant memory.

use std::io::{self, BufRead};

use data_encoding::HEXLOWER;
use ring::digest::{Context, SHA256};

use crate::ledger::codec;
use crate::proto::v1;

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
}

/// An input's rows.
pub(super) struct Rows<R> {
    input: R,
    offset: u64,
    line: u64,
    number: u64,
}

impl RawRow {
    /// Whether the text is not all of it.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.is_longer || self.is_open
    }
}

impl<R: BufRead> Rows<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, offset: 0, line: 1, number: 0 }
    }

    /// The next row that is not blank.
    pub(super) fn next(&mut self, ending: Ending) -> io::Result<Option<RawRow>> {
        loop {
            let Some(mut row) = self.next_of_any(ending)? else { return Ok(None) };
            while row.text.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
                row.text.pop();
            }
            if row.offset == 0 && row.text.starts_with("\u{feff}".as_bytes()) {
                row.text.drain(..3);
            }
            if row.is_longer || !row.text.trim_ascii().is_empty() {
                self.number += 1;
                row.number = self.number;
                return Ok(Some(row));
            }
        }
    }

    /// After the header: rows are counted from 1 again.
    pub(super) fn restart_count(&mut self) {
        self.number = 0;
    }

    fn next_of_any(&mut self, ending: Ending) -> io::Result<Option<RawRow>> {
        let mut row = RawRow { line: self.line, offset: self.offset, ..RawRow::default() };
        let mut quotes = Quotes::FieldStart;
        loop {
            let page = match self.input.fill_buf() {
                Ok(page) => page,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
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
                    self.line += 1;
                    if quotes != Quotes::Inside {
                        is_whole = true;
                        break;
                    }
                }
            }
            let piece = page.get(..len).unwrap_or_default();
            // The ending itself may be one or two bytes more.
            let room = (ROW_BYTES_MAX + 2).saturating_sub(row.text.len());
            row.text.extend(piece.iter().take(room));
            row.bytes += len as u64;
            self.offset += len as u64;
            self.input.consume(len);
            row.is_longer = row.bytes > row.text.len() as u64;
            if is_whole {
                return Ok(Some(row));
            }
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
