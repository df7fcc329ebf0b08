//! A mapping as it is written: which column means what.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::NOTHING;
use crate::domain::{LegalBasis, Status};
use crate::ledger::import::local_time::{self, Reader};
use crate::ledger::import::{Encoding, normal};

/// The facts of collection, as a mapping names them.
pub(super) const FACTS: [&str; 10] = [
    "pre_ticked",
    "passive",
    "bundled",
    "dark_pattern",
    "penalised",
    "not_specific",
    "coerced",
    "not_informed",
    "withdrawal_untold",
    "by_guardian",
];

/// What the columns of a customer database mean.
#[derive(Debug, Clone)]
pub struct Mapping {
    encoding: Encoding,
    delimiter: Option<u8>,
    pub(super) source: String,
    /// Columns that say nothing.
    pub(super) ignore: Vec<String>,
    /// Cells that are taken to be blank.
    pub(super) blank: Vec<String>,
    pub(super) times: Reader,
    pub(super) identifiers: Vec<Identifier>,
    /// When the identifiers of a row came to be one person.
    pub(super) link_time: Option<Value>,
    pub(super) consents: Vec<Consent>,
}

/// Why a mapping cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// It is not the TOML of a mapping.
    #[error("the mapping cannot be read: {0}")]
    Toml(String),
    /// It says what cannot be; all of it.
    #[error("the mapping cannot be used: {}", .0.join("; "))]
    Problems(Vec<String>),
}

/// A column that names whom a row is about.
#[derive(Debug, Clone)]
pub(super) struct Identifier {
    pub(super) space: String,
    pub(super) column: String,
    pub(super) form: Form,
    pub(super) hash: bool,
}

/// In which spelling an identifier is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is.
    Text,
    /// In small letters.
    Lower,
    /// An address, in small letters.
    Email,
    /// In E.164.
    Phone {
        /// Of numbers without one.
        country: String,
    },
}

/// A text, the same in every row or that of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Constant(String),
    Column {
        column: String,
        /// What each value of the column stands for; without it, for itself.
        values: Option<BTreeMap<String, String>>,
        /// What a blank cell stands for.
        otherwise: Option<String>,
    },
}

/// What a row says about one purpose and channel.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Consent {
    /// The space of the identifier that it is about; left out, the first.
    pub(super) about: Option<String>,
    pub(super) purpose: Value,
    pub(super) channel: Option<Value>,
    pub(super) recipient: Option<Value>,
    pub(super) status: Value,
    pub(super) time: Value,
    pub(super) legal_basis: Option<Value>,
    pub(super) method: Option<Value>,
    pub(super) notice_id: Option<Value>,
    pub(super) notice_version: Option<Value>,
    pub(super) notice_language: Option<Value>,
    pub(super) jurisdiction: Option<Value>,
    pub(super) expires_at: Option<Value>,
    pub(super) proof: Option<Value>,
    #[serde(default)]
    pub(super) facts: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    encoding: Option<String>,
    delimiter: Option<String>,
    source: Option<String>,
    #[serde(default)]
    ignore: Vec<String>,
    #[serde(default)]
    blank: Vec<String>,
    time: RawTime,
    #[serde(default)]
    identifier: Vec<RawIdentifier>,
    links: Option<RawLinks>,
    #[serde(default)]
    consent: Vec<Consent>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTime {
    zone: String,
    formats: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIdentifier {
    space: String,
    column: String,
    form: Option<String>,
    country: Option<String>,
    hash: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLinks {
    time: Value,
}

impl Mapping {
    /// The mapping that a text in TOML is.
    ///
    /// # Errors
    /// With all that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, MappingError> {
        let raw: Raw = toml::from_str(text).map_err(|error| MappingError::Toml(error.to_string().trim().to_owned()))?;
        let mut problems = Vec::new();
        let mapping = raw.into_mapping(&mut problems);
        match mapping {
            Some(mapping) if problems.is_empty() => Ok(mapping),
            _ => Err(MappingError::Problems(problems)),
        }
    }

    /// How the table is encoded.
    #[must_use]
    pub const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// What separates its columns, where that is said.
    pub(in crate::ledger::import) const fn delimiter(&self) -> Option<u8> {
        self.delimiter
    }

    /// Every column that it gives a meaning.
    pub(super) fn columns(&self) -> Vec<&str> {
        let identifiers = self.identifiers.iter().map(|identifier| &*identifier.column);
        let values = self.consents.iter().flat_map(Consent::values).chain(&self.link_time);
        identifiers.chain(values.filter_map(Value::column)).collect()
    }
}

impl Raw {
    fn into_mapping(self, problems: &mut Vec<String>) -> Option<Mapping> {
        let encoding = match self.encoding.as_deref() {
            None | Some("utf-8") => Encoding::Utf8,
            Some("windows-1254") => Encoding::Windows1254,
            Some(other) => {
                problems.push(format!("encoding: must be `utf-8` or `windows-1254`, not `{other}`"));
                Encoding::Utf8
            }
        };
        let delimiter = match self.delimiter.as_deref().map(str::as_bytes) {
            None => None,
            Some([one]) if one.is_ascii() && !matches!(one, b'"' | b'\n' | b'\r') => Some(*one),
            Some(_) => {
                problems.push("delimiter: must be one character, such as `;`".to_owned());
                None
            }
        };
        let zone = crate::zones::find(&self.time.zone);
        if zone.is_none() {
            let like = crate::zones::like(&self.time.zone)
                .map_or_else(String::new, |like| format!("; did you mean `{like}`?"));
            problems.push(format!("time.zone: `{}` is no time zone{like}", self.time.zone));
        }
        let mut formats = Vec::new();
        for format in &self.time.formats {
            match local_time::Form::parse(format) {
                Ok(form) => formats.push(form),
                Err(problem) => problems.push(format!("time.formats: {problem}")),
            }
        }
        if formats.is_empty() {
            problems.push("time.formats: must name at least one".to_owned());
        }
        let identifiers: Vec<Identifier> =
            self.identifier.into_iter().enumerate().map(|(n, raw)| raw.into_identifier(n + 1, problems)).collect();
        if identifiers.is_empty() {
            problems.push("identifier: there must be one at least".to_owned());
        }
        if identifiers.len() > 1 && self.links.is_none() {
            problems.push("links: several identifiers are linked, and `links.time` must say since when".to_owned());
        }
        if self.consent.is_empty() && identifiers.len() < 2 {
            problems.push("consent: there must be one at least, where nothing is linked".to_owned());
        }
        for (number, consent) in self.consent.iter().enumerate() {
            consent.check(number + 1, &identifiers, problems);
        }
        let times = Reader { zone: zone?, formats };
        let constants = self.consent.iter().flat_map(|c| [Some(&c.time), c.expires_at.as_ref()]).flatten();
        for text in constants.chain(self.links.iter().map(|links| &links.time)).filter_map(Value::constant) {
            if times.read(text, local_time::Side::Earliest).is_none() {
                problems.push(format!("`{text}` is no time as `time.formats` has it"));
            }
        }
        Some(Mapping {
            encoding,
            delimiter,
            source: self.source.unwrap_or_else(|| "crm".to_owned()),
            ignore: self.ignore,
            blank: self.blank,
            times,
            identifiers,
            link_time: self.links.map(|links| links.time),
            consents: self.consent,
        })
    }
}

impl RawIdentifier {
    fn into_identifier(self, number: usize, problems: &mut Vec<String>) -> Identifier {
        let mut problem = |text: String| problems.push(format!("identifier {number}: {text}"));
        if self.country.is_some() && self.form.as_deref() != Some("phone") {
            problem("country: is of the form `phone` only".to_owned());
        }
        let form = match self.form.as_deref() {
            None | Some("text") => Form::Text,
            Some("lower") => Form::Lower,
            Some("email") => Form::Email,
            Some("phone") => {
                let country = self.country.unwrap_or_else(|| normal::DEFAULT_COUNTRY.to_owned());
                if !(1..=3).contains(&country.len())
                    || !country.bytes().all(|b| b.is_ascii_digit())
                    || country.starts_with('0')
                {
                    problem(format!("country: must be a calling code such as `90`, not `{country}`"));
                }
                Form::Phone { country }
            }
            Some(other) => {
                problem(format!("form: must be `text`, `lower`, `email` or `phone`, not `{other}`"));
                Form::Text
            }
        };
        let hash = match self.hash.as_deref() {
            None => false,
            Some("sha256") => true,
            Some(other) => {
                problem(format!("hash: must be `sha256`, not `{other}`"));
                true
            }
        };
        if let Err(error) = crate::domain::Subject::new(&self.space, "id") {
            problem(format!("space: {error}"));
        }
        Identifier { space: self.space, column: self.column, form, hash }
    }
}

impl Consent {
    fn values(&self) -> impl Iterator<Item = &Value> {
        let optional = [
            &self.channel,
            &self.recipient,
            &self.legal_basis,
            &self.method,
            &self.notice_id,
            &self.notice_version,
            &self.notice_language,
            &self.jurisdiction,
            &self.expires_at,
            &self.proof,
        ];
        let needed = [&self.purpose, &self.status, &self.time];
        needed.into_iter().chain(optional.into_iter().flatten()).chain(self.facts.values())
    }

    fn check(&self, number: usize, identifiers: &[Identifier], problems: &mut Vec<String>) {
        let mut problem = |text: String| problems.push(format!("consent {number}: {text}"));
        for name in self.status.results() {
            if name != NOTHING && Status::from_name(name).is_none() {
                problem(format!("status: `{name}` is no status, such as `given`, nor `{NOTHING}`"));
            }
        }
        for name in self.legal_basis.iter().flat_map(Value::results) {
            if LegalBasis::from_name(name).is_none() {
                problem(format!("legal_basis: `{name}` is no legal basis, such as `consent`"));
            }
        }
        if let Some(space) = &self.about {
            match identifiers.iter().filter(|identifier| identifier.space == *space).count() {
                1 => {}
                0 => problem(format!("about: no identifier is of the space `{space}`")),
                _ => problem(format!("about: several identifiers are of the space `{space}`")),
            }
        }
        for name in self.facts.keys().filter(|name| !FACTS.contains(&name.as_str())) {
            problem(format!("facts: `{name}` is none; they are {}", FACTS.join(", ")));
        }
    }
}

impl Value {
    /// The column that it is of.
    pub(super) fn column(&self) -> Option<&str> {
        match self {
            Self::Constant(_) => None,
            Self::Column { column, .. } => Some(column),
        }
    }

    fn constant(&self) -> Option<&str> {
        match self {
            Self::Constant(text) => Some(text),
            Self::Column { otherwise, .. } => otherwise.as_deref(),
        }
    }

    /// What it can be, as far as the mapping tells.
    fn results(&self) -> Vec<&str> {
        let values = match self {
            Self::Constant(_) => None,
            Self::Column { values, .. } => values.as_ref(),
        };
        self.constant()
            .into_iter()
            .chain(values.into_iter().flat_map(|values| values.values().map(String::as_str)))
            .collect()
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(clippy::struct_field_names, reason = "as it is written in a mapping")]
        struct Column {
            column: String,
            values: Option<BTreeMap<String, Text>>,
            #[serde(rename = "or")]
            otherwise: Option<Text>,
        }
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or `{ column = \"…\" }`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Constant(text.to_owned()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
                Ok(Value::Constant(number.to_string()))
            }

            fn visit_bool<E: de::Error>(self, is: bool) -> Result<Value, E> {
                Ok(Value::Constant(is.to_string()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
                let Column { column, values, otherwise } = Column::deserialize(MapAccessDeserializer::new(map))?;
                let values = values.map(|values| values.into_iter().map(|(from, to)| (from, to.0)).collect());
                Ok(Value::Column { column, values, otherwise: otherwise.map(|text| text.0) })
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

/// A text, or a number or truth value that is written as one.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Constant(text) => Ok(Self(text)),
            Value::Column { .. } => Err(de::Error::custom("must be a text")),
        }
    }
}
