//! Bringing records from elsewhere into a ledger: all of an input or nothing, in constant memory, and only what the ledger
//! does not have yet. What is not an event is handed back with its number, its place in the input and the reason.
//!
//! An input is read three times: [`check()`] looks at every row and writes nothing; [`write()`] finds out what the ledger
//! has already, and writes the rest. When it is cut off in between, the same import made again writes what is missing.

pub mod crm;
mod csv;
mod encoding;
pub mod iys;
mod known;
mod local_time;
mod normal;
mod objects;
mod rows;
mod source;
mod table;

use std::io::{self, Read, Seek};

use ring::digest::{Context, SHA256};

use super::{AppendError, LedgerWriter};
use crate::domain::{Status, Time};
use crate::proto::v1;

pub use encoding::{Encoding, NoText};
pub use rows::{ROW_BYTES_MAX, RawRow};
pub use table::HeaderError;

use known::{Known, Mending};
use source::Source;

/// A batch goes out when it has so many events.
const BATCH_EVENTS: usize = 1024;
/// Rows between two reports of progress.
const PROGRESS_ROWS: u64 = 1024;

/// What the input's rows are.
#[derive(Debug, Clone, Copy)]
pub enum Format<'a> {
    /// A line holds the JSON of an event.
    Jsonl,
    /// The first row names the columns, which `,`, `;` or tabs separate; `"` quotes, and is doubled within quotes.
    Csv,
    /// Permissions of the İYS: JSON as its API has it, or CSV.
    Iys(&'a iys::Options),
    /// CSV whose columns a mapping gives their meaning.
    Crm(&'a crm::Mapping),
}

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Rows read, header and blank lines not counted.
    pub rows: u64,
    /// Events that they say.
    pub events: u64,
    /// Rows that say none.
    pub silent: u64,
    /// Events that were written.
    pub written: u64,
    /// Events that the ledger had already.
    pub known: u64,
    /// Rows that were handed back.
    pub rejected: u64,
    /// Bytes of input read.
    pub bytes: u64,
}

/// What an import is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It reads every row and writes nothing.
    Checking,
    /// It finds out what the ledger has already.
    Comparing,
    /// It writes the rest.
    Writing,
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
    /// It is not a text.
    #[error(transparent)]
    NoText(#[from] NoText),
    /// Its header is not one.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// It is not what was checked any more.
    #[error("the input changed while it was imported; import it again")]
    Changed,
    /// The ledger cannot be read or written.
    #[error(transparent)]
    Ledger(#[from] AppendError),
    /// A row could not be handed back.
    #[error("a rejected row cannot be kept")]
    Reject(#[source] io::Error),
}

/// Who is told while an import runs.
pub trait Observer {
    /// A row is no event. It is gone when this returns, so it is to be kept. Told while the input is checked.
    ///
    /// # Errors
    /// If it cannot be kept: the import then ends.
    fn rejected(&mut self, row: &RawRow, rejection: &Rejection) -> io::Result<()>;

    /// What a row says. Told while the input is checked.
    fn made(&mut self, _row: &RawRow, _events: &[v1::LedgerEvent]) {}

    /// How far it is.
    fn progress(&mut self, phase: Phase, counts: Counts);
}

/// What an import takes for an event.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// What the rows are.
    pub format: Format<'a>,
    /// How the text is encoded.
    pub encoding: Encoding,
    /// The latest event time that is taken; `None` takes every.
    pub latest_event_time: Option<Time>,
}

/// An input that was checked.
#[derive(Debug, Clone, Copy)]
pub struct Checked {
    /// What is in it. Nothing is written yet.
    pub counts: Counts,
    /// Identifiers that stand in rows of several subjects, which become one person by them.
    pub shared: u64,
    rows: [u8; 32],
}

/// Looks at every row of an input, from its beginning to its end, and hands back those that are no events.
///
/// # Errors
/// As [`ImportError`] says of each.
pub fn check(
    mut input: impl Read + Seek,
    options: Options<'_>,
    observer: &mut dyn Observer,
) -> Result<Checked, ImportError> {
    let mut source = Source::open(&mut input, options)?;
    let mut rows = source.rows(&mut input, source.first()).map_err(ImportError::Read)?;
    let (mut counts, mut digest) = (Counts::default(), Context::new(&SHA256));
    while let Some(row) = rows.next(source.ending()).map_err(ImportError::Read)? {
        digest.update(&row.text);
        counts.rows += 1;
        counts.bytes = row.offset + row.bytes;
        match source.events(&row) {
            Ok(events) => {
                counts.events += events.len() as u64;
                counts.silent += u64::from(events.is_empty());
                observer.made(&row, &events);
            }
            Err(rejection) => {
                counts.rejected += 1;
                observer.rejected(&row, &rejection).map_err(ImportError::Reject)?;
            }
        }
        if counts.rows.is_multiple_of(PROGRESS_ROWS) {
            observer.progress(Phase::Checking, counts);
        }
    }
    observer.progress(Phase::Checking, counts);
    Ok(Checked { counts, shared: source.shared(), rows: finish(digest) })
}

/// Writes what the good rows of a checked input say and the ledger does not have yet. What was written before an error
/// stays written, and importing again writes the rest: an event without an id is given one by its content, so that it
/// stays the same event. When this returns, all events of the good rows are acknowledged.
///
/// # Errors
/// As [`ImportError`] says of each.
pub fn write(
    mut input: impl Read + Seek,
    options: Options<'_>,
    checked: Checked,
    ledger: &mut dyn LedgerWriter,
    observer: &mut dyn Observer,
) -> Result<Counts, ImportError> {
    let mut source = Source::open(&mut input, options)?.checked(checked.counts.rejected == 0);
    let (mut counts, mut digest) = (Counts::default(), Context::new(&SHA256));
    let mut begin = source.first();
    loop {
        // A part of the input, as much as can be compared with the ledger at once.
        let mut known = Known::default();
        let mut rows = source.rows(&mut input, begin).map_err(ImportError::Read)?;
        while !known.is_full() {
            let Some(row) = rows.next(source.ending()).map_err(ImportError::Read)? else { break };
            let events = source.events(&row).unwrap_or_default();
            for event in &events {
                known.look_for(ledger.marks(event));
            }
        }
        let end = rows.place();
        if end.rows() == begin.rows() {
            break;
        }
        known.sort();
        if !known.is_empty() {
            observer.progress(Phase::Comparing, counts);
            ledger.each_had(&mut |had| known.note(had))?;
        }

        let mut batch = Vec::new();
        let mut rows = source.rows(&mut input, begin).map_err(ImportError::Read)?;
        while rows.place().rows() < end.rows() {
            let Some(row) = rows.next(source.ending()).map_err(ImportError::Read)? else { break };
            digest.update(&row.text);
            counts.rows += 1;
            counts.bytes = row.offset + row.bytes;
            let events = match source.events(&row) {
                Ok(events) => events,
                Err(_) if counts.rejected < checked.counts.rejected => {
                    counts.rejected += 1;
                    continue;
                }
                // It was good when it was checked.
                Err(_) => return Err(ImportError::Changed),
            };
            counts.events += events.len() as u64;
            counts.silent += u64::from(events.is_empty());
            for event in events {
                let marks = ledger.marks(&event);
                match known.mending(&event) {
                    Mending::Write(event) => batch.push(*event),
                    Mending::Done => counts.known += 1,
                    Mending::Nothing if marks.iter().all(|mark| known.has(*mark)) => counts.known += 1,
                    Mending::Nothing => {
                        // Said twice in one input it is written once.
                        for mark in marks {
                            known.found(mark);
                        }
                        batch.push(event);
                    }
                }
            }
            if batch.len() >= BATCH_EVENTS {
                counts.written += ledger.append_unsynced(&batch)? as u64;
                batch.clear();
                observer.progress(Phase::Writing, counts);
            }
        }
        counts.written += ledger.append_unsynced(&batch)? as u64;
        begin = end;
    }
    // Also where nothing was written: what an import that was cut off has written may not be on the device.
    ledger.sync()?;
    observer.progress(Phase::Writing, counts);
    if finish(digest) == checked.rows { Ok(counts) } else { Err(ImportError::Changed) }
}

/// Checks an input, and writes it if every row of it is good.
///
/// # Errors
/// As [`ImportError`] says of each.
pub fn import(
    mut input: impl Read + Seek,
    options: Options<'_>,
    ledger: &mut dyn LedgerWriter,
    observer: &mut dyn Observer,
) -> Result<Counts, ImportError> {
    let checked = check(&mut input, options, observer)?;
    if checked.counts.rejected > 0 {
        return Ok(checked.counts);
    }
    write(input, options, checked, ledger, observer)
}

fn finish(digest: Context) -> [u8; 32] {
    // INVARIANT: a SHA-256 has 32 bytes.
    digest.finish().as_ref().try_into().unwrap_or([0; 32])
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

/// The recipient of a record of which nothing says one: whoever refuses and names nobody means everybody, and a consent is
/// to the controller itself.
#[must_use]
pub const fn default_recipient(status: Status) -> &'static str {
    match status {
        Status::Refused | Status::Withdrawn | Status::Revoked | Status::Invalidated => crate::domain::catalogue::ANY,
        Status::Requested | Status::Given | Status::Renewed | Status::Expired => "",
    }
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
