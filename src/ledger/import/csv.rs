//! From a row of CSV to an event.

use chrono::DateTime;
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use pbjson_types::Timestamp;

use super::rows::RawRow;
use super::{Rejection, default_channel};
use crate::domain::{LegalBasis, Status, Subject};
use crate::proto::v1;

/// Declares the columns, in the order in which the help names them.
macro_rules! columns {
    ($($column:ident = $name:literal,)+) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Column { $($column,)+ }

        /// The names of the columns that an import understands.
        pub(super) const COLUMNS: &[&str] = &[$($name,)+];

        impl Column {
            fn of(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$column),)+ _ => None }
            }

            const fn name(self) -> &'static str {
                match self { $(Self::$column => $name,)+ }
            }
        }
    };
}

columns! {
    Subject = "subject",
    Space = "space",
    Id = "id",
    Purpose = "purpose",
    Channel = "channel",
    Recipient = "recipient",
    Status = "status",
    EventTime = "event_time",
    LegalBasis = "legal_basis",
    NoticeId = "notice_id",
    NoticeVersion = "notice_version",
    NoticeLanguage = "notice_language",
    Jurisdiction = "jurisdiction",
    ExpiresAt = "expires_at",
    Method = "method",
    PreTicked = "pre_ticked",
    Passive = "passive",
    Bundled = "bundled",
    DarkPattern = "dark_pattern",
    Penalised = "penalised",
    NotSpecific = "not_specific",
    Coerced = "coerced",
    NotInformed = "not_informed",
    WithdrawalUntold = "withdrawal_untold",
    ByGuardian = "by_guardian",
    Proof = "proof",
    Source = "source",
    EventId = "event_id",
}

/// Why a header cannot be used. Nothing is imported: a column that is not understood may narrow what the others say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// There is none.
    #[error("the input is empty; its first row must name the columns")]
    Missing,
    /// It is not UTF-8, or not one row.
    #[error("the first row does not name columns")]
    Unreadable,
    /// A column is not known.
    #[error("column `{0}` is not known; the columns are {columns}", columns = COLUMNS.join(", "))]
    Unknown(String),
    /// A column stands twice.
    #[error("column `{0}` stands twice")]
    Twice(String),
    /// A column is not there.
    #[error("there is no column `{0}`")]
    Lacks(&'static str),
    /// The subject is named in two ways.
    #[error("a subject is given by `subject`, or by `space` and `id`, not both")]
    TwoSubjects,
}

/// The most columns that a row is looked through for.
const COLUMNS_MAX: usize = 256;

/// What each column of an input is.
#[derive(Debug)]
pub(super) struct Columns {
    order: Vec<Column>,
    delimiter: u8,
    fields: Fields,
}

/// Cuts one row into its fields. Its table takes longer to build than a row to cut, so it is kept.
#[derive(Debug)]
struct Fields {
    reader: Reader,
    text: Vec<u8>,
    ends: [usize; COLUMNS_MAX],
}

impl Columns {
    pub(super) fn of_header(header: &RawRow) -> Result<Self, HeaderError> {
        let text = std::str::from_utf8(&header.text).map_err(|_| HeaderError::Unreadable)?;
        let delimiter = [b',', b';', b'\t'].into_iter().find(|d| text.as_bytes().contains(d)).unwrap_or(b',');
        let mut fields = Fields::new(delimiter);
        let names = fields.cut(text).ok_or(HeaderError::Unreadable)?;
        let mut columns = Vec::new();
        for name in names {
            let name = name.trim();
            let column = Column::of(name).ok_or_else(|| HeaderError::Unknown(name.to_owned()))?;
            if columns.contains(&column) {
                return Err(HeaderError::Twice(name.to_owned()));
            }
            columns.push(column);
        }
        let has = |column| columns.contains(&column);
        if has(Column::Subject) && (has(Column::Space) || has(Column::Id)) {
            return Err(HeaderError::TwoSubjects);
        }
        let subject =
            if has(Column::Space) || has(Column::Id) { [Column::Space, Column::Id] } else { [Column::Subject; 2] };
        for column in subject.into_iter().chain([Column::Purpose, Column::Status, Column::EventTime]) {
            if !has(column) {
                return Err(HeaderError::Lacks(column.name()));
            }
        }
        Ok(Self { order: columns, delimiter, fields })
    }

    pub(super) const fn delimiter(&self) -> u8 {
        self.delimiter
    }

    /// The event that a row stands for, not yet checked as a whole.
    pub(super) fn event(&mut self, row: &RawRow) -> Result<v1::LedgerEvent, Rejection> {
        let text = std::str::from_utf8(&row.text).map_err(|_| Rejection::of("not UTF-8"))?;
        let columns = &self.order;
        let fields = self.fields.cut(text);
        let fields = fields
            .ok_or_else(|| Rejection::of("not one row: a carriage return stands in it, or more than 256 fields"))?;
        if fields.len() != columns.len() {
            let reason = format!("{} fields, where the header names {}", fields.len(), columns.len());
            return Err(Rejection::of(reason));
        }
        let value = |wanted: Column| {
            let mut pairs = columns.iter().zip(&fields);
            pairs.find(|(column, _)| **column == wanted).map_or("", |(_, value)| value.trim())
        };
        let text = |wanted: Column| value(wanted).to_owned();
        let status = Status::from_name(value(Column::Status))
            .ok_or_else(|| rejection(Column::Status, "must be a status, such as `given`", value(Column::Status)))?;
        let legal_basis = match value(Column::LegalBasis) {
            "" => LegalBasis::Consent,
            name => LegalBasis::from_name(name)
                .ok_or_else(|| rejection(Column::LegalBasis, "must be a legal basis, such as `consent`", name))?,
        };
        let channel = match value(Column::Channel) {
            "" => default_channel(status).map_err(|rule| Rejection::of(format!("channel: {rule}")))?,
            channel => channel,
        };
        let flag = |column: Column| match value(column) {
            "" | "0" | "false" | "no" => Ok(false),
            "1" | "true" | "yes" => Ok(true),
            other => Err(rejection(column, "must be `true` or `false`", other)),
        };
        let time = |column: Column| match value(column) {
            "" => Ok(None),
            text => DateTime::parse_from_rfc3339(text)
                .map(|time| Some(Timestamp::from(time.to_utc())))
                .map_err(|_| rejection(column, "must be a time such as `2026-01-05T10:00:00Z`", text)),
        };
        let collection = v1::Collection {
            method: text(Column::Method),
            pre_ticked: flag(Column::PreTicked)?,
            passive: flag(Column::Passive)?,
            bundled: flag(Column::Bundled)?,
            dark_pattern: flag(Column::DarkPattern)?,
            penalised: flag(Column::Penalised)?,
            not_specific: flag(Column::NotSpecific)?,
            coerced: flag(Column::Coerced)?,
            not_informed: flag(Column::NotInformed)?,
            withdrawal_untold: flag(Column::WithdrawalUntold)?,
            by_guardian: flag(Column::ByGuardian)?,
        };
        Ok(v1::LedgerEvent {
            event_id: text(Column::EventId),
            event_time: time(Column::EventTime)?,
            source: text(Column::Source),
            supersedes: Vec::new(),
            event: Some(v1::ledger_event::Event::Consent(v1::ConsentEvent {
                subject: Some(subject(value(Column::Subject), value(Column::Space), value(Column::Id))?),
                purpose: text(Column::Purpose),
                channel: channel.to_owned(),
                recipient: text(Column::Recipient),
                status: v1::ConsentStatus::from(status).into(),
                legal_basis: v1::LegalBasis::from(legal_basis).into(),
                collection: (collection != v1::Collection::default()).then_some(collection),
                notice: notice(value(Column::NoticeId), value(Column::NoticeVersion), value(Column::NoticeLanguage))?,
                jurisdiction: text(Column::Jurisdiction),
                expires_at: time(Column::ExpiresAt)?,
                proof: text(Column::Proof),
            })),
        })
    }
}

fn subject(subject: &str, space: &str, id: &str) -> Result<v1::Subject, Rejection> {
    let subject = if subject.is_empty() { Subject::new(space, id) } else { Subject::parse(subject) };
    // The offending text is personal data.
    let subject = subject.map_err(|error| Rejection::of(format!("subject: {error}")))?;
    Ok(v1::Subject { space: subject.space().to_owned(), id: subject.expose_id().to_owned() })
}

fn notice(id: &str, version: &str, language: &str) -> Result<Option<v1::Notice>, Rejection> {
    if id.is_empty() && version.is_empty() && language.is_empty() {
        return Ok(None);
    }
    let version = version.parse().map_err(|_| rejection(Column::NoticeVersion, "must be a number", version))?;
    Ok(Some(v1::Notice { id: id.to_owned(), version, language: language.to_owned() }))
}

fn rejection(column: Column, rule: &str, value: &str) -> Rejection {
    Rejection::of_value(&format!("{}: {rule}", column.name()), value)
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
