//! A table of text: a row that names the columns, and rows with as many fields.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::Rejection;
use super::encoding::Encoding;
use super::rows::RawRow;

/// Why a header cannot be used. Nothing is imported: a column that is not understood may narrow what the others say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// There is none.
    #[error("the input is empty; its first row must name the columns")]
    Missing,
    /// It is not in the encoding.
    #[error("the first row is {0}")]
    Encoding(String),
    /// It is not one row.
    #[error("the first row does not name columns")]
    Unreadable,
    /// Columns are not known; and which are.
    #[error("{} {} not known; the columns are {}", columns(.0), are(.0), .1)]
    Unknown(Vec<String>, String),
    /// The mapping says nothing of columns.
    #[error("the mapping says nothing of {}; map them, or name them in `ignore`", columns(.0))]
    Unmapped(Vec<String>),
    /// A column stands twice.
    #[error("column `{0}` stands twice")]
    Twice(String),
    /// A column is not there.
    #[error("there is no column `{0}`")]
    Lacks(String),
    /// The subject is named in two ways.
    #[error("a subject is given by `subject`, or by `space` and `id`, not both")]
    TwoSubjects,
}

/// The most columns that a row is looked through for.
const COLUMNS_MAX: usize = 256;
/// What may separate columns, the first where none does.
const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];

/// The columns of an input, and what cuts its rows.
#[derive(Debug)]
pub(super) struct Table {
    names: Vec<String>,
    delimiter: u8,
    encoding: Encoding,
    fields: Fields,
}

/// Cuts one row into its fields. Its table takes longer to build than a row to cut, so it is kept.
#[derive(Debug)]
struct Fields {
    reader: Reader,
    text: Vec<u8>,
    ends: [usize; COLUMNS_MAX],
}

impl Table {
    /// The table whose columns a row names. Without a delimiter it is the one that stands in it most often.
    pub(super) fn of_header(header: &RawRow, encoding: Encoding, delimiter: Option<u8>) -> Result<Self, HeaderError> {
        let text = encoding.text(&header.text).map_err(|rejection| HeaderError::Encoding(rejection.reason))?;
        let delimiter = delimiter.unwrap_or_else(|| most_frequent(text.as_bytes()));
        let mut fields = Fields::new(delimiter);
        let mut names: Vec<String> = Vec::new();
        for name in fields.cut(&text).ok_or(HeaderError::Unreadable)? {
            let name = name.trim();
            if names.iter().any(|have| have == name) {
                return Err(HeaderError::Twice(name.to_owned()));
            }
            names.push(name.to_owned());
        }
        Ok(Self { names, delimiter, encoding, fields })
    }

    /// What the columns are called.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// What separates them.
    pub(super) const fn delimiter(&self) -> u8 {
        self.delimiter
    }

    /// The fields of a row, as many as there are columns.
    pub(super) fn fields(&mut self, row: &RawRow) -> Result<Vec<&str>, Rejection> {
        let text = self.encoding.text(&row.text)?;
        let fields = self.fields.cut(&text);
        let fields = fields
            .ok_or_else(|| Rejection::of("not one row: a carriage return stands in it, or more than 256 fields"))?;
        if fields.len() != self.names.len() {
            let reason = format!("{} fields, where the header names {}", fields.len(), self.names.len());
            return Err(Rejection::of(reason));
        }
        Ok(fields)
    }
}

/// `column `a``, `columns `a`, `b``.
fn columns(names: &[String]) -> String {
    let all: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    format!("{} {}", if all.len() == 1 { "column" } else { "columns" }, all.join(", "))
}

const fn are(names: &[String]) -> &'static str {
    if names.len() == 1 { "is" } else { "are" }
}

fn most_frequent(header: &[u8]) -> u8 {
    let mut counts = DELIMITERS.map(|delimiter| (0_usize, delimiter));
    let mut is_quoted = false;
    for byte in header {
        is_quoted ^= *byte == b'"';
        for (count, delimiter) in &mut counts {
            *count += usize::from(!is_quoted && byte == delimiter);
        }
    }
    counts.into_iter().rev().max_by_key(|(count, _)| *count).map_or(b',', |(_, delimiter)| delimiter)
}

impl Fields {
    fn new(delimiter: u8) -> Self {
        let reader = ReaderBuilder::new().delimiter(delimiter).build();
        Self { reader, text: Vec::new(), ends: [0; COLUMNS_MAX] }
    }

    /// The fields of a row. `None` if it is not exactly one, or has more than [`COLUMNS_MAX`].
    fn cut(&mut self, row: &str) -> Option<Vec<&str>> {
        self.reader.reset();
        // Unquoting only shortens; one byte more lets the last field end.
        self.text.resize(row.len() + 1, 0);
        let (cut, read, written, count) = self.reader.read_record(row.as_bytes(), &mut self.text, &mut self.ends);
        let count = match cut {
            ReadRecordResult::InputEmpty => {
                let rest = (self.text.get_mut(written..)?, self.ends.get_mut(count..)?);
                let (ReadRecordResult::Record, _, _, more) = self.reader.read_record(&[], rest.0, rest.1) else {
                    return None;
                };
                count + more
            }
            // A carriage return can be the last byte.
            ReadRecordResult::Record if read == row.len() => count,
            _ => return None,
        };
        let mut start = 0;
        let ends = self.ends.get(..count)?.iter();
        ends.map(|end| std::str::from_utf8(self.text.get(std::mem::replace(&mut start, *end)..*end)?).ok()).collect()
    }
}
