//! From a row of CSV to an event.

use chrono::DateTime;
use pbjson_types::Timestamp;

use super::rows::RawRow;
use super::table::{HeaderError, Table};
use super::{Rejection, default_channel, default_recipient};
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

/// What each column of an input is.
#[derive(Debug)]
pub(super) struct Columns {
    order: Vec<Column>,
    table: Table,
}

impl Columns {
    pub(super) fn of_table(table: Table) -> Result<Self, HeaderError> {
        let column = |name: &String| {
            Column::of(name).ok_or_else(|| HeaderError::Unknown(vec![name.clone()], COLUMNS.join(", ")))
        };
        let columns = table.names().iter().map(column).collect::<Result<Vec<_>, _>>()?;
        let has = |column| columns.contains(&column);
        if has(Column::Subject) && (has(Column::Space) || has(Column::Id)) {
            return Err(HeaderError::TwoSubjects);
        }
        let subject =
            if has(Column::Space) || has(Column::Id) { [Column::Space, Column::Id] } else { [Column::Subject; 2] };
        for column in subject.into_iter().chain([Column::Purpose, Column::Status, Column::EventTime]) {
            if !has(column) {
                return Err(HeaderError::Lacks(column.name().to_owned()));
            }
        }
        Ok(Self { order: columns, table })
    }

    /// The event that a row stands for, not yet checked as a whole.
    pub(super) fn event(&mut self, row: &RawRow) -> Result<v1::LedgerEvent, Rejection> {
        let columns = &self.order;
        let fields = self.table.fields(row)?;
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
        // An empty cell is the controller itself; where there is no such column, nobody was named.
        let names_recipients = columns.contains(&Column::Recipient);
        let recipient = if names_recipients { text(Column::Recipient) } else { default_recipient(status).to_owned() };
        let flag = |column: Column| {
            self::flag(value(column)).ok_or_else(|| rejection(column, "must be `true` or `false`", value(column)))
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
                recipient,
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

pub(super) fn notice(id: &str, version: &str, language: &str) -> Result<Option<v1::Notice>, Rejection> {
    if id.is_empty() && version.is_empty() && language.is_empty() {
        return Ok(None);
    }
    let version = version.parse().map_err(|_| rejection(Column::NoticeVersion, "must be a number", version))?;
    Ok(Some(v1::Notice { id: id.to_owned(), version, language: language.to_owned() }))
}

/// Whether a text says so.
pub(super) fn flag(text: &str) -> Option<bool> {
    match text {
        "" | "0" | "false" | "no" => Some(false),
        "1" | "true" | "yes" => Some(true),
        _ => None,
    }
}

fn rejection(column: Column, rule: &str, value: &str) -> Rejection {
    Rejection::of_value(&format!("{}: {rule}", column.name()), value)
}
