//! Bringing records from elsewhere into a ledger: row by row in constant memory, none lost. What is not an event is
//! handed back with its number, its place in the input and the reason.

mod csv;
mod rows;

use std::io::{self, BufRead};

use super::{AppendError, LedgerWriter, codec, validate};
use crate::domain::{Status, Time};
use crate::proto::v1;

pub use self::csv::HeaderError;
pub use rows::{ROW_BYTES_MAX, RawRow};

use self::csv::Columns;
use rows::{Ending, Rows};

/// A batch goes out when it has so many events.
const BATCH_EVENTS: usize = 1024;
/// Or when its rows have so many bytes.
const BATCH_BYTES: u64 = 1024 * 1024;

/// What the input's rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A line holds the JSON of an event.
    Jsonl,
    /// The first row names the columns, which `,`, `;` or tabs separate; `"` quotes, and is doubled within quotes.
    Csv,
}

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Rows read, header and blank lines not counted.
    pub rows: u64,
    /// Rows whose event is in the ledger.
    pub written: u64,
    /// Rows that were handed back.
    pub rejected: u64,
    /// Bytes of input read.
    pub bytes: u64,
}

/// Why a row is not an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The reason, which may repeat parts of the row.
    pub reason: String,
    /// The reason without any part of the row, fit for a terminal whose output is kept.
    pub without_values: String,
}

/// Why an import ended before its input.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The input cannot be read.
    #[error("the input cannot be read")]
    Read(#[source] io::Error),
    /// Its header is not one.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The ledger cannot be written.
    #[error(transparent)]
    Write(#[from] AppendError),
    /// A row could not be handed back.
    #[error("a rejected row cannot be kept")]
    Reject(#[source] io::Error),
}

/// Who is told while an import runs.
pub trait Observer {
    /// A row was not written. It is gone when this returns, so it is to be kept.
    ///
    /// # Errors
    /// If it cannot be kept: the import then ends.
    fn rejected(&mut self, row: &RawRow, rejection: &Rejection) -> io::Result<()>;

    /// A batch was written.
    fn progress(&mut self, counts: Counts);
}

/// What an import takes for an event.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What the rows are.
    pub format: Format,
    /// The latest event time that is taken; `None` takes every.
    pub latest_event_time: Option<Time>,
}

/// Writes every row that is an event, and hands back every other. What was written before an error stays written, and
/// importing again is safe: a row without an event id is given one by its content, so that it stays the same event.
/// When this returns, all that was written is acknowledged.
///
/// # Errors
/// As [`ImportError`] says of each.
pub fn import(
    input: impl BufRead,
    options: Options,
    ledger: &mut dyn LedgerWriter,
    observer: &mut dyn Observer,
) -> Result<Counts, ImportError> {
    let mut rows = Rows::new(input);
    let mut columns = match options.format {
        Format::Jsonl => None,
        Format::Csv => {
            let header = rows.next(Ending::Line).map_err(ImportError::Read)?;
            rows.restart_count();
            Some(Columns::of_header(&header.ok_or(HeaderError::Missing)?)?)
        }
    };
    let ending = columns.as_ref().map_or(Ending::Line, |columns| Ending::Record { delimiter: columns.delimiter() });
    let mut counts = Counts::default();
    let mut batch = Vec::new();
    let mut batch_start = 0;
    while let Some(row) = rows.next(ending).map_err(ImportError::Read)? {
        counts.rows += 1;
        counts.bytes = row.offset + row.bytes;
        match event(&row, columns.as_mut(), options) {
            Ok(event) => batch.push(event),
            Err(rejection) => {
                counts.rejected += 1;
                observer.rejected(&row, &rejection).map_err(ImportError::Reject)?;
            }
        }
        if batch.len() >= BATCH_EVENTS || counts.bytes - batch_start >= BATCH_BYTES {
            counts.written += ledger.append_unsynced(&batch)? as u64;
            batch.clear();
            batch_start = counts.bytes;
            observer.progress(counts);
        }
    }
    counts.written += ledger.append_unsynced(&batch)? as u64;
    ledger.sync()?;
    observer.progress(counts);
    Ok(counts)
}

/// The channel of a record that names none: a refusal is of all channels, and a consent is specific.
///
/// # Errors
/// If the status needs one.
pub fn default_channel(status: Status) -> Result<&'static str, &'static str> {
    match status {
        Status::Refused | Status::Withdrawn | Status::Revoked | Status::Invalidated => {
            Ok(crate::domain::catalogue::ANY)
        }
        Status::Requested | Status::Given | Status::Renewed | Status::Expired => {
            Err("missing; only a refusal may leave it out, and is then of all channels")
        }
    }
}

fn event(row: &RawRow, columns: Option<&mut Columns>, options: Options) -> Result<v1::LedgerEvent, Rejection> {
    if row.is_cut() {
        return Err(Rejection::of(if row.is_open {
            format!("a quote opens on line {} and is not closed; the row is all that follows", row.line)
        } else {
            format!("longer than {ROW_BYTES_MAX} bytes")
        }));
    }
    let mut event = match columns {
        Some(columns) => columns.event(row)?,
        None => codec::parse(row.text.trim_ascii())
            .map_err(|error| Rejection { reason: error.to_string(), without_values: error.without_values() })?,
    };
    if event.event_id.is_empty() {
        event.event_id = rows::content_id(&event);
    }
    let checked = validate(event.clone())
        .map_err(|error| Rejection { reason: error.to_string(), without_values: error.without_values() })?;
    if options.latest_event_time.is_some_and(|latest| checked.event_time > latest) {
        return Err(Rejection::of("event_time: lies in the future"));
    }
    Ok(event)
}

impl Rejection {
    /// A reason that repeats nothing of the row.
    fn of(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { without_values: reason.clone(), reason }
    }

    /// A reason, and the value that gave it.
    fn of_value(reason: &str, value: &str) -> Self {
        let shown: String = value.chars().take(80).flat_map(char::escape_debug).collect();
        Self { reason: format!("{reason}, not `{shown}`"), without_values: reason.to_owned() }
    }
}

#[cfg(test)]
mod tests;
