//! A table of a customer database, whose columns a mapping gives their meaning.
//!
//! One row can say several things: that its identifiers are one person, and what that person said for several purposes and
//! channels. The mapping must name every column, if only to say that it means nothing, and every value of a status: what
//! is not understood may be a refusal.

mod mapping;
mod shared;

use std::collections::BTreeMap;

use super::local_time::{Read, Side};
use super::normal;
use super::rows::RawRow;
use super::source::Made;
use super::table::{HeaderError, Table};
use super::{Rejection, default_channel, default_recipient};
use crate::domain::{LegalBasis, Status};
use crate::proto::v1;
use crate::proto::v1::ledger_event::Event;

pub use mapping::{Mapping, MappingError};

use mapping::{Consent, Form, Identifier, Value};
use shared::Shared;

/// What a status is mapped to that says nothing.
const NOTHING: &str = "nothing";

/// A mapping, with the place of every column that it names.
pub(super) struct Mapped<'m> {
    mapping: &'m Mapping,
    places: BTreeMap<String, usize>,
    table: Table,
    shared: Shared,
}

/// A row, cut into its fields.
struct Row<'r> {
    mapping: &'r Mapping,
    places: &'r BTreeMap<String, usize>,
    fields: Vec<&'r str>,
}

impl<'m> Mapped<'m> {
    pub(super) fn of_table(table: Table, mapping: &'m Mapping) -> Result<Self, HeaderError> {
        let places: BTreeMap<String, usize> =
            table.names().iter().enumerate().map(|(place, name)| (name.clone(), place)).collect();
        let named = mapping.columns();
        if let Some(lacking) = named.iter().find(|name| !places.contains_key(**name)) {
            return Err(HeaderError::Lacks((*lacking).to_owned()));
        }
        let is_named = |name: &String| named.contains(&&**name) || mapping.ignore.contains(name);
        let unmapped: Vec<String> = table.names().iter().filter(|name| !is_named(name)).cloned().collect();
        if !unmapped.is_empty() {
            return Err(HeaderError::Unmapped(unmapped));
        }
        Ok(Self { mapping, places, table, shared: Shared::default() })
    }

    /// How many identifiers stood in rows of several subjects so far.
    pub(super) const fn shared(&self) -> u64 {
        self.shared.count()
    }

    /// The events that a row says.
    pub(super) fn events(&mut self, row: &RawRow) -> Result<Vec<Made>, Rejection> {
        let row = Row { mapping: self.mapping, places: &self.places, fields: self.table.fields(row)? };
        let mut identifiers = Vec::new();
        for identifier in &self.mapping.identifiers {
            identifiers.push(row.identifier(identifier)?);
        }
        let (Some(Some(subject)), Some(first)) = (identifiers.first(), self.mapping.identifiers.first()) else {
            let name = self.mapping.identifiers.first().map_or("", |first| &first.column);
            return Err(Rejection::of(format!("column `{name}`: blank, and a row is about its first identifier")));
        };
        debug_assert_eq!(first.space, subject.space, "the first stands for the row");
        let mut events = Vec::new();
        for linked in identifiers.iter().skip(1).flatten().filter(|linked| *linked != subject) {
            let link = v1::LinkEvent { subject: Some(subject.clone()), linked: Some(linked.clone()), unlinked: false };
            let Some(time) = &self.mapping.link_time else { continue };
            let read = row.time("links.time", time, Side::Earliest)?;
            let read = read.ok_or_else(|| Rejection::of("links.time: blank"))?;
            self.shared.note(subject, linked);
            events.push(Made::of(self.mapping.event(read, Event::Link(link))));
        }
        for (number, consent) in self.mapping.consents.iter().enumerate() {
            let about = match &consent.about {
                None => Some(subject),
                Some(space) => identifiers.iter().flatten().find(|identifier| identifier.space == *space),
            };
            events.extend(row.consent(number + 1, consent, about)?);
        }
        Ok(events)
    }
}

impl Mapping {
    fn event(&self, read: Read, event: Event) -> v1::LedgerEvent {
        v1::LedgerEvent {
            event_id: String::new(),
            event_time: Some(crate::proto::time::timestamp(read.time)),
            source: self.source.clone(),
            supersedes: Vec::new(),
            event: Some(event),
        }
    }
}

impl Row<'_> {
    fn cell(&self, column: &str) -> &str {
        let cell = self.places.get(column).and_then(|place| self.fields.get(*place)).map_or("", |cell| cell.trim());
        if self.mapping.blank.iter().any(|blank| blank == cell) { "" } else { cell }
    }

    /// What a value is in this row.
    fn value<'v>(&'v self, value: &'v Value) -> Result<&'v str, Rejection> {
        match value {
            Value::Constant(text) => Ok(text),
            Value::Column { column, values, otherwise } => {
                let cell = self.cell(column);
                match (values, otherwise) {
                    (Some(values), _) if values.contains_key(cell) => Ok(values.get(cell).map_or("", String::as_str)),
                    (_, Some(otherwise)) if cell.is_empty() => Ok(otherwise),
                    (None, _) => Ok(cell),
                    (Some(_), _) if cell.is_empty() => Err(Rejection::of(format!(
                        "column `{column}`: blank, and the mapping does not say what that means"
                    ))),
                    (Some(_), _) => {
                        let reason = format!("column `{column}`: must be a value that the mapping names");
                        Err(Rejection::of_value(&reason, cell))
                    }
                }
            }
        }
    }

    fn text(&self, value: Option<&Value>) -> Result<String, Rejection> {
        value.map_or(Ok(String::new()), |value| self.value(value).map(str::to_owned))
    }

    fn time(&self, field: &str, value: &Value, side: Side) -> Result<Option<Read>, Rejection> {
        let text = self.value(value)?;
        if text.is_empty() {
            return Ok(None);
        }
        let read = self.mapping.times.read(text, side);
        read.map(Some).ok_or_else(|| {
            let place = value.column().map_or_else(|| field.to_owned(), |column| format!("column `{column}`"));
            Rejection::of_value(&format!("{place}: must be a time as the mapping's `formats` have it"), text)
        })
    }

    fn identifier(&self, identifier: &Identifier) -> Result<Option<v1::Subject>, Rejection> {
        let cell = self.cell(&identifier.column);
        if cell.is_empty() {
            return Ok(None);
        }
        let normal = match &identifier.form {
            Form::Text => Ok(cell.to_owned()),
            Form::Lower => Ok(cell.to_lowercase()),
            Form::Email => normal::email(cell),
            Form::Phone { country } => normal::phone(cell, country),
        };
        let normal =
            normal.map_err(|rule| Rejection::of_value(&format!("column `{}`: {rule}", identifier.column), cell))?;
        let id = if identifier.hash { normal::sha256(&normal) } else { normal };
        Ok(Some(v1::Subject { space: identifier.space.clone(), id }))
    }

    fn consent(
        &self,
        number: usize,
        consent: &Consent,
        about: Option<&v1::Subject>,
    ) -> Result<Option<Made>, Rejection> {
        let rejection = |field: &str, rule: &str, value: &str| {
            let reason = format!("consent {number}: {field}: {rule}");
            if value.is_empty() {
                Rejection::of(format!("{reason}; it is blank"))
            } else {
                Rejection::of_value(&reason, value)
            }
        };
        let name = self.value(&consent.status)?;
        if name == NOTHING {
            return Ok(None);
        }
        let status = Status::from_name(name)
            .ok_or_else(|| rejection("status", "must be a status, such as `given`, or `nothing`", name))?;
        let subject = about.cloned().ok_or_else(|| rejection("about", "must be an identifier of the row", ""))?;
        let side = match status {
            Status::Given | Status::Renewed | Status::Requested => Side::Earliest,
            Status::Refused | Status::Withdrawn | Status::Revoked | Status::Invalidated | Status::Expired => {
                Side::Latest
            }
        };
        let read = self.time("time", &consent.time, side)?;
        let read = read.ok_or_else(|| rejection("time", "must be there", ""))?;
        let basis = match &*self.text(consent.legal_basis.as_ref())? {
            "" => LegalBasis::Consent,
            name => LegalBasis::from_name(name)
                .ok_or_else(|| rejection("legal_basis", "must be a legal basis, such as `consent`", name))?,
        };
        let channel = match self.text(consent.channel.as_ref())? {
            channel if channel.is_empty() => {
                default_channel(status).map_err(|rule| rejection("channel", rule, ""))?.to_owned()
            }
            channel => channel,
        };
        let expires_at = match &consent.expires_at {
            None => None,
            Some(value) => self.time("expires_at", value, Side::Earliest)?,
        };
        let notice_version = self.text(consent.notice_version.as_ref())?;
        let notice = super::csv::notice(
            &self.text(consent.notice_id.as_ref())?,
            &notice_version,
            &self.text(consent.notice_language.as_ref())?,
        )?;
        let collection = self.collection(number, consent)?;
        let said = v1::ConsentEvent {
            subject: Some(subject),
            purpose: self.text(Some(&consent.purpose))?,
            channel,
            recipient: match consent.recipient {
                None => default_recipient(status).to_owned(),
                Some(ref value) => self.text(Some(value))?,
            },
            status: v1::ConsentStatus::from(status).into(),
            legal_basis: v1::LegalBasis::from(basis).into(),
            collection: (collection != v1::Collection::default()).then_some(collection),
            notice,
            jurisdiction: self.text(consent.jurisdiction.as_ref())?,
            expires_at: expires_at.map(|read| crate::proto::time::timestamp(read.time)),
            proof: self.text(consent.proof.as_ref())?,
        };
        let event = self.mapping.event(read, Event::Consent(said));
        Ok(Some(Made { event, is_end_of_day: read.is_day && side == Side::Latest }))
    }

    fn collection(&self, number: usize, consent: &Consent) -> Result<v1::Collection, Rejection> {
        let flag = |name: &str| -> Result<bool, Rejection> {
            let Some(value) = consent.facts.get(name) else { return Ok(false) };
            let text = self.value(value)?;
            super::csv::flag(text).ok_or_else(|| {
                Rejection::of_value(&format!("consent {number}: {name}: must be `true` or `false`"), text)
            })
        };
        Ok(v1::Collection {
            method: self.text(consent.method.as_ref())?,
            pre_ticked: flag("pre_ticked")?,
            passive: flag("passive")?,
            bundled: flag("bundled")?,
            dark_pattern: flag("dark_pattern")?,
            penalised: flag("penalised")?,
            not_specific: flag("not_specific")?,
            coerced: flag("coerced")?,
            not_informed: flag("not_informed")?,
            withdrawal_untold: flag("withdrawal_untold")?,
            by_guardian: flag("by_guardian")?,
        })
    }
}
