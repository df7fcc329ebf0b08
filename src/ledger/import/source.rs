//! An input, and what its rows say.

use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::time::Duration;

use super::crm::Mapped;
use super::csv::Columns;
use super::iys::{self, Permissions};
use super::rows::{self, BOM, Ending, Place, ROW_BYTES_MAX, RawRow, Rows};
use super::table::{HeaderError, Table};
use super::{Format, ImportError, Options, Rejection};
use crate::domain::Time;
use crate::ledger::codec::{self, LINE_BYTES_MAX};
use crate::ledger::validate;
use crate::proto::v1;

/// What is read from the input at once.
const PAGE_BYTES: usize = 64 * 1024;
/// How far an input is looked into for what it is.
const FIRST_BYTES: u64 = 4096;
/// A refusal that names a day is taken to be of its end.
const DAY: Duration = Duration::from_hours(24);

/// An event that a row says.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) event: v1::LedgerEvent,
    /// Whether its time is the end of a day that the row names, so that it may lie ahead as far.
    pub(super) is_end_of_day: bool,
}

/// What gives the rows their meaning.
pub(super) struct Source<'o> {
    kind: Kind<'o>,
    ending: Ending,
    first: Place,
    latest_event_time: Option<Time>,
    /// Whether every row was found to be good.
    is_checked: bool,
}

enum Kind<'o> {
    Jsonl,
    Events(Columns),
    IysJson(&'o iys::Options),
    IysCsv(Permissions<'o>),
    Crm(Mapped<'o>),
}

impl Made {
    pub(super) const fn of(event: v1::LedgerEvent) -> Self {
        Self { event, is_end_of_day: false }
    }
}

impl<'o> Source<'o> {
    /// Looks at the beginning of an input.
    pub(super) fn open(mut input: impl Read + Seek, options: Options<'o>) -> Result<Self, ImportError> {
        let first = first_bytes(&mut input).map_err(ImportError::Read)?;
        options.encoding.check(&first)?;
        let (mut ending, mut place) = (Ending::Line, Place::START);
        let mut table = |delimiter| -> Result<Table, ImportError> {
            input.seek(SeekFrom::Start(0)).map_err(ImportError::Read)?;
            let mut rows = Rows::at(BufReader::with_capacity(PAGE_BYTES, &mut input), Place::START);
            let header = rows.next(Ending::Line).map_err(ImportError::Read)?;
            rows.restart_count();
            let table = Table::of_header(&header.ok_or(HeaderError::Missing)?, options.encoding, delimiter)?;
            ending = Ending::Record { delimiter: table.delimiter() };
            place = rows.place();
            Ok(table)
        };
        let kind = match options.format {
            Format::Jsonl => Kind::Jsonl,
            Format::Csv => Kind::Events(Columns::of_table(table(None)?)?),
            Format::Iys(iys) if is_json(&first) => {
                ending = Ending::Object;
                Kind::IysJson(iys)
            }
            Format::Iys(iys) => Kind::IysCsv(Permissions::of_table(table(None)?, iys)?),
            Format::Crm(mapping) => Kind::Crm(Mapped::of_table(table(mapping.delimiter())?, mapping)?),
        };
        Ok(Self { kind, ending, first: place, latest_event_time: options.latest_event_time, is_checked: false })
    }

    /// The same, once every row was found to be good. The ledger looks at each event itself before it writes it, so that a
    /// row that is not good any more is found all the same.
    pub(super) fn checked(self, is_checked: bool) -> Self {
        Self { is_checked, ..self }
    }

    /// Where its first row is.
    pub(super) const fn first(&self) -> Place {
        self.first
    }

    /// What ends a row.
    pub(super) const fn ending(&self) -> Ending {
        self.ending
    }

    /// The rows from a place on.
    #[expect(clippy::unused_self, reason = "a place is one of this input")]
    pub(super) fn rows<R: Read + Seek>(&self, mut input: R, place: Place) -> io::Result<Rows<BufReader<R>>> {
        input.seek(SeekFrom::Start(place.offset()))?;
        Ok(Rows::at(BufReader::with_capacity(PAGE_BYTES, input), place))
    }

    /// How many identifiers stood in rows of several subjects so far.
    pub(super) const fn shared(&self) -> u64 {
        match &self.kind {
            Kind::Crm(mapped) => mapped.shared(),
            Kind::Jsonl | Kind::Events(_) | Kind::IysJson(_) | Kind::IysCsv(_) => 0,
        }
    }

    /// What a row says, if all of it can be written.
    pub(super) fn events(&mut self, row: &RawRow) -> Result<Vec<v1::LedgerEvent>, Rejection> {
        if row.is_cut() {
            return Err(Rejection::of(match (row.is_open, self.ending) {
                (true, Ending::Object) => "the JSON ends early; the input is not whole".to_owned(),
                (true, _) => {
                    format!("a quote opens on line {} and is not closed; the row is all that follows", row.line)
                }
                (false, _) => format!("longer than {ROW_BYTES_MAX} bytes"),
            }));
        }
        let made = match &mut self.kind {
            Kind::Jsonl => codec::parse(row.text.trim_ascii())
                .map(|event| vec![Made::of(event)])
                .map_err(|error| Rejection { reason: error.to_string(), without_values: error.without_values() })?,
            Kind::Events(columns) => vec![Made::of(columns.event(row)?)],
            Kind::IysJson(options) => vec![iys::of_json(row, options)?],
            Kind::IysCsv(permissions) => vec![permissions.event(row)?],
            Kind::Crm(mapped) => mapped.events(row)?,
        };
        made.into_iter().map(|made| self.whole(made, row.text.len())).collect()
    }

    /// An event with its id, which can be written.
    fn whole(&self, Made { mut event, is_end_of_day }: Made, row_bytes: usize) -> Result<v1::LedgerEvent, Rejection> {
        if event.event_id.is_empty() {
            event.event_id = rows::content_id(&event);
        }
        if self.is_checked {
            return Ok(event);
        }
        let checked = validate(event.clone())
            .map_err(|error| Rejection { reason: error.to_string(), without_values: error.without_values() })?;
        let ahead = if is_end_of_day { DAY } else { Duration::ZERO };
        if self.latest_event_time.is_some_and(|latest| checked.event_time > latest.plus(ahead)) {
            return Err(Rejection::of("event_time: lies in the future"));
        }
        // No form of a row is so much shorter than the line that it becomes.
        let is_short = row_bytes < LINE_BYTES_MAX / 16;
        if is_short || codec::encode_line(&event).is_ok_and(|line| line.len() <= LINE_BYTES_MAX) {
            Ok(event)
        } else {
            Err(Rejection::of(format!("its event is longer than {LINE_BYTES_MAX} bytes")))
        }
    }
}

fn first_bytes(mut input: impl Read + Seek) -> io::Result<Vec<u8>> {
    input.seek(SeekFrom::Start(0))?;
    let mut first = Vec::new();
    input.by_ref().take(FIRST_BYTES).read_to_end(&mut first)?;
    Ok(first)
}

fn is_json(first: &[u8]) -> bool {
    let first = first.strip_prefix(BOM).unwrap_or(first).trim_ascii_start();
    first.starts_with(b"{") || first.starts_with(b"[")
}
