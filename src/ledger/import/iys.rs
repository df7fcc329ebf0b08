//! Permissions of the İYS (İleti Yönetim Sistemi), the register of commercial messages of Türkiye, as its API tells them
//! or a portal exports them.
//!
//! A permission is about an address, for one kind of message (`ARAMA`, `MESAJ`, `EPOSTA`) to one kind of recipient
//! (`BIREYSEL`, `TACIR`): `ONAY` permits it and `RET` refuses it. A merchant needs not be asked before the first message
//! (Law 6563, Art. 6(2)), so that its `RET` is the objection that ends the legitimate interest.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::local_time::{Form, Reader, Side};
use super::normal::{self, folded};
use super::rows::RawRow;
use super::source::Made;
use super::table::{HeaderError, Table};
use super::{Rejection, default_recipient};
use crate::domain::{LegalBasis, Status, Zone};
use crate::proto::v1;

/// What the permissions become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The identity space of telephone numbers.
    pub phone_space: String,
    /// The identity space of e-mail addresses.
    pub email_space: String,
    /// Whether identifiers are the SHA-256 of an address, in hexadecimal.
    pub hash: bool,
    /// The purpose of what `BIREYSEL` says: a person's.
    pub person: String,
    /// The purpose of what `TACIR` says: a merchant's.
    pub merchant: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            phone_space: "phone".to_owned(),
            email_space: "email".to_owned(),
            hash: false,
            person: "iys.bireysel".to_owned(),
            merchant: "iys.tacir".to_owned(),
        }
    }
}

/// On whose clock the times are.
const ZONE: &str = "Europe/Istanbul";
/// As the API writes times; the rest is what spreadsheets make of that.
const FORMS: [&str; 6] = [
    "%Y-%m-%d %H:%M:%S%.f",
    "rfc3339",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%Y-%m-%d %H:%M",
];
/// The longest name of a source.
const SOURCE_BYTES_MAX: usize = 64;

/// What of a permission is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Recipient,
    RecipientType,
    Type,
    Source,
    Status,
    ConsentDate,
    CreationDate,
    TransactionId,
    /// Says nothing of the permission itself.
    Silent,
}

/// The names of fields, folded: first the API's, then what exports in Turkish are taken to call them.
const NAMES: &[(Field, &[&str])] = &[
    (Field::Recipient, &["recipient", "alici", "iletisimadresi", "aliciadresi"]),
    (Field::RecipientType, &["recipienttype", "alicitipi", "alicituru"]),
    (Field::Type, &["type", "izintipi", "izinturu", "iletituru", "iletitipi", "iletikanali", "kanal"]),
    (Field::Source, &["source", "izinkaynagi", "kaynak"]),
    (Field::Status, &["status", "izindurumu", "durum"]),
    (Field::ConsentDate, &["consentdate", "izintarihi"]),
    (Field::CreationDate, &["creationdate", "kayittarihi", "olusturmatarihi", "olusturulmatarihi", "eklenmetarihi"]),
    (Field::TransactionId, &["transactionid", "islemid", "islemno", "islemnumarasi"]),
    (
        Field::Silent,
        &[
            "retailercode",
            "bayikodu",
            "retailertitle",
            "bayiunvani",
            "retaileraccess",
            "bayierisimi",
            "brandcode",
            "markakodu",
            "brandname",
            "markaadi",
            "marka",
            "iyscode",
            "iyskodu",
            "requestid",
            "subrequestid",
            "index",
        ],
    ),
];

/// A permission as it is written down.
#[derive(Debug, Default)]
struct Permission {
    recipient: String,
    recipient_type: String,
    kind: String,
    source: String,
    status: String,
    consent_date: String,
    creation_date: String,
    transaction_id: String,
}

/// Permissions in the rows of a table.
pub(super) struct Permissions<'o> {
    order: Vec<Field>,
    table: Table,
    options: &'o Options,
}

impl Field {
    fn of(name: &str) -> Option<Self> {
        let name = folded(name);
        NAMES.iter().find(|(_, names)| names.contains(&&*name)).map(|(field, _)| *field)
    }

    /// Its name in the API.
    fn name(self) -> &'static str {
        match self {
            Self::Recipient => "recipient",
            Self::RecipientType => "recipientType",
            Self::Type => "type",
            Self::Source => "source",
            Self::Status => "status",
            Self::ConsentDate => "consentDate",
            Self::CreationDate => "creationDate",
            Self::TransactionId => "transactionId",
            Self::Silent => "retailerCode",
        }
    }
}

impl<'o> Permissions<'o> {
    pub(super) fn of_table(table: Table, options: &'o Options) -> Result<Self, HeaderError> {
        let mut order = Vec::new();
        let mut unknown = Vec::new();
        for name in table.names() {
            match Field::of(name) {
                Some(field) if field != Field::Silent && order.contains(&field) => {
                    return Err(HeaderError::Twice(field.name().to_owned()));
                }
                Some(field) => order.push(field),
                None => unknown.push(name.clone()),
            }
        }
        if !unknown.is_empty() {
            let all = NAMES.iter().filter(|(field, _)| *field != Field::Silent).map(|(field, _)| field.name());
            return Err(HeaderError::Unknown(unknown, all.collect::<Vec<_>>().join(", ")));
        }
        for field in [Field::Recipient, Field::RecipientType, Field::Type, Field::Status] {
            if !order.contains(&field) {
                return Err(HeaderError::Lacks(field.name().to_owned()));
            }
        }
        if !order.contains(&Field::ConsentDate) && !order.contains(&Field::CreationDate) {
            return Err(HeaderError::Lacks(Field::ConsentDate.name().to_owned()));
        }
        Ok(Self { order, table, options })
    }

    /// The event that a row says.
    pub(super) fn event(&mut self, row: &RawRow) -> Result<Made, Rejection> {
        let mut permission = Permission::default();
        for (field, value) in self.order.iter().zip(self.table.fields(row)?) {
            permission.set(*field, value);
        }
        permission.event(self.options)
    }
}

/// The event that a JSON object says.
pub(super) fn of_json(row: &RawRow, options: &Options) -> Result<Made, Rejection> {
    let members: Members = serde_json::from_slice(&row.text).map_err(|error| Rejection {
        reason: format!("not the JSON of a permission: {error}"),
        without_values: format!("not the JSON of a permission, at column {}", error.column()),
    })?;
    let mut permission = Permission::default();
    let mut seen = Vec::new();
    for (name, value) in members.0 {
        let field = Field::of(&name).ok_or_else(|| Rejection::of_value("a field that is not known", &name))?;
        if field == Field::Silent {
            continue;
        }
        if seen.contains(&field) {
            return Err(Rejection::of(format!("{}: stands twice", field.name())));
        }
        seen.push(field);
        match value {
            Value::Null => {}
            Value::String(text) => permission.set(field, &text),
            Value::Number(number) => permission.set(field, &number.to_string()),
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                return Err(Rejection::of(format!("{}: must be a text", field.name())));
            }
        }
    }
    permission.event(options)
}

/// The members of an object, each as often as it stands there.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

impl Permission {
    fn set(&mut self, field: Field, value: &str) {
        let place = match field {
            Field::Recipient => &mut self.recipient,
            Field::RecipientType => &mut self.recipient_type,
            Field::Type => &mut self.kind,
            Field::Source => &mut self.source,
            Field::Status => &mut self.status,
            Field::ConsentDate => &mut self.consent_date,
            Field::CreationDate => &mut self.creation_date,
            Field::TransactionId => &mut self.transaction_id,
            Field::Silent => return,
        };
        value.trim().clone_into(place);
    }

    fn event(&self, options: &Options) -> Result<Made, Rejection> {
        let rejection = |field: Field, rule: &str, value: &str| {
            let reason = format!("{}: {rule}", field.name());
            if value.is_empty() {
                Rejection::of(format!("{reason}; it is missing"))
            } else {
                Rejection::of_value(&reason, value)
            }
        };
        let (channel, is_email) = match &*folded(&self.kind) {
            "arama" => ("call", false),
            "mesaj" => ("sms", false),
            "eposta" => ("email", true),
            _ => return Err(rejection(Field::Type, "must be `ARAMA`, `MESAJ` or `EPOSTA`", &self.kind)),
        };
        let is_merchant = match &*folded(&self.recipient_type) {
            "bireysel" => false,
            "tacir" => true,
            _ => return Err(rejection(Field::RecipientType, "must be `BIREYSEL` or `TACIR`", &self.recipient_type)),
        };
        let status = match &*folded(&self.status) {
            "onay" => Status::Given,
            "ret" => Status::Withdrawn,
            _ => return Err(rejection(Field::Status, "must be `ONAY` or `RET`", &self.status)),
        };
        let is_code = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        if self.source.len() > SOURCE_BYTES_MAX || !self.source.bytes().all(is_code) {
            return Err(rejection(Field::Source, "must be a code such as `HS_WEB`", &self.source));
        }
        let address = if is_email {
            normal::email(&self.recipient)
        } else {
            normal::phone(&self.recipient, normal::DEFAULT_COUNTRY)
        };
        // The value is personal data, also where it is wrong.
        let address = address.map_err(|rule| rejection(Field::Recipient, rule, &self.recipient))?;
        let space = if is_email { &options.email_space } else { &options.phone_space };
        let id = if options.hash { normal::sha256(&address) } else { address };
        // Of a merchant the date of the permission may be missing; then it is as old as its entry.
        let (field, date) = match (&*self.consent_date, is_merchant) {
            ("", true) => (Field::CreationDate, &self.creation_date),
            _ => (Field::ConsentDate, &self.consent_date),
        };
        let side = if status == Status::Given { Side::Earliest } else { Side::Latest };
        let read = reader()
            .and_then(|reader| reader.read(date, side))
            .ok_or_else(|| rejection(field, "must be a time such as `2018-02-10 09:50:02`", date))?;
        let (purpose, legal_basis) = match (is_merchant, status) {
            (false, _) => (&options.person, LegalBasis::Consent),
            (true, Status::Withdrawn) => (&options.merchant, LegalBasis::LegitimateInterest),
            (true, _) => (&options.merchant, LegalBasis::Consent),
        };
        let collection = v1::Collection { method: self.source.clone(), ..v1::Collection::default() };
        let proof = if self.transaction_id.is_empty() { String::new() } else { format!("iys:{}", self.transaction_id) };
        Ok(Made {
            event: v1::LedgerEvent {
                event_id: String::new(),
                event_time: Some(crate::proto::time::timestamp(read.time)),
                source: "iys".to_owned(),
                supersedes: Vec::new(),
                event: Some(v1::ledger_event::Event::Consent(v1::ConsentEvent {
                    subject: Some(v1::Subject { space: space.clone(), id }),
                    purpose: purpose.clone(),
                    channel: channel.to_owned(),
                    recipient: default_recipient(status).to_owned(),
                    status: v1::ConsentStatus::from(status).into(),
                    legal_basis: v1::LegalBasis::from(legal_basis).into(),
                    collection: (!self.source.is_empty()).then_some(collection),
                    notice: None,
                    jurisdiction: "TR".to_owned(),
                    expires_at: None,
                    proof,
                })),
            },
            is_end_of_day: read.is_day && side == Side::Latest,
        })
    }
}

/// How times are read, which is the same for all permissions.
fn reader() -> Option<&'static Reader> {
    static READER: std::sync::LazyLock<Option<Reader>> = std::sync::LazyLock::new(|| {
        let zone: &'static Zone = crate::zones::find(ZONE)?;
        Some(Reader { zone, formats: FORMS.iter().filter_map(|form| Form::parse(form).ok()).collect() })
    });
    READER.as_ref()
}
