//! The JSON Schema of a catalogue, from the descriptors of the wire and the comments in them.

use std::collections::{BTreeMap, BTreeSet};

use prost_types::FileDescriptorProto;
use serde_json::{Map, Value, json};

use super::messages::{FILES, Field, Kind, PACKAGE, enumeration, fields, message};
use crate::domain::catalogue::{CHANNEL_BYTES_MAX, PURPOSE_BYTES_MAX};
use crate::domain::signal::SensitiveData;

/// Where the schema is said to be; the repository's own copy.
const ID: &str = "https://github.com/consentd/consentd/blob/main/docs/catalogue.schema.json";
/// The numbers of descriptors' fields by which the places of comments are told. Source: `google/protobuf/descriptor.proto`.
const MESSAGES: i32 = 4;
const ENUMS: i32 = 5;
const FIELDS: i32 = 2;
const VALUES: i32 = 2;
/// A span of seconds that is not zero, with at most nine digits behind the point. Without looking ahead, as all patterns here:
/// RE2 cannot, and so neither can Helm.
const SPAN: &str = r"^(0*[1-9][0-9]*(\.[0-9]{1,9})?|0+\.([1-9][0-9]{0,8}|0[1-9][0-9]{0,7}|0{2}[1-9][0-9]{0,6}|0{3}[1-9][0-9]{0,5}|0{4}[1-9][0-9]{0,4}|0{5}[1-9][0-9]{0,3}|0{6}[1-9][0-9]{0,2}|0{7}[1-9][0-9]?|0{8}[1-9]))s$";

/// The schema, in draft 2020-12. It takes the names of fields as JSON has them, and what a schema can say of values; what
/// goes beyond it is found by [`check()`](super::check()).
#[must_use]
pub fn schema() -> Value {
    let comments = Comments::read();
    let mut definitions = BTreeMap::new();
    let mut open = BTreeSet::from(["Catalogue"]);
    while let Some(name) = open.pop_first() {
        let Some(message) = message(name) else { continue };
        let properties: Map<String, Value> = fields(message)
            .map(|field| (field.json_name().to_owned(), property(name, field, &comments.of_field(name, field.name()))))
            .collect();
        let below = fields(message).filter_map(|field| match field.kind() {
            Kind::Message(below) => Some(below),
            _ => None,
        });
        let mut definition = Map::new();
        definition.insert("description".to_owned(), json!(comments.of_message(name)));
        definition.insert("type".to_owned(), json!("object"));
        definition.insert("additionalProperties".to_owned(), json!(false));
        let required = required(name);
        if !required.is_empty() {
            definition.insert("required".to_owned(), json!(required));
        }
        definition.insert("properties".to_owned(), Value::Object(properties));
        definitions.insert(name.to_owned(), Value::Object(definition));
        open.extend(below.filter(|below| !definitions.contains_key(*below)));
    }
    for name in ["LegalBasis", "MinorTreatment", "UnknownAge"] {
        definitions.insert(name.to_owned(), words(name, &comments));
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": ID,
        "title": "consentd: a catalogue of purposes",
        "$ref": "#/$defs/Catalogue",
        "$defs": definitions,
    })
}

fn property(parent: &str, field: Field, comment: &str) -> Value {
    let mut one = Map::new();
    match field.kind() {
        Kind::Message(name) | Kind::Enum(name) => {
            one.insert("$ref".to_owned(), json!(format!("#/$defs/{name}")));
        }
        Kind::Truth => {
            one.insert("type".to_owned(), json!("boolean"));
        }
        Kind::Number { is_wide } => number(parent, field.name(), is_wide, &mut one),
        Kind::Span => text(SPAN, &mut one),
        Kind::Moment => {
            one.insert("type".to_owned(), json!("string"));
            one.insert("format".to_owned(), json!("date-time"));
        }
        Kind::Text => {
            one.insert("type".to_owned(), json!("string"));
            if let Some(pattern) = pattern(parent, field.name()) {
                one.insert("pattern".to_owned(), json!(pattern));
            }
            if is_purpose(parent, field.name()) {
                one.insert("maxLength".to_owned(), json!(PURPOSE_BYTES_MAX));
            }
        }
        Kind::Other => {}
    }
    let mut property = if field.is_repeated() {
        let mut list = Map::new();
        list.insert("type".to_owned(), json!("array"));
        if !matches!(field.kind(), Kind::Message(_)) {
            list.insert("uniqueItems".to_owned(), json!(true));
        }
        if is_needed(parent, field.name()) {
            list.insert("minItems".to_owned(), json!(1));
        }
        list.insert("items".to_owned(), Value::Object(one));
        list
    } else {
        one
    };
    if !comment.is_empty() {
        property.insert("description".to_owned(), json!(comment));
    }
    Value::Object(property)
}

fn text(pattern: &str, one: &mut Map<String, Value>) {
    one.insert("type".to_owned(), json!("string"));
    one.insert("pattern".to_owned(), json!(pattern));
}

/// JSON has numbers of 64 bits as texts, and takes either.
fn number(parent: &str, field: &str, is_wide: bool, one: &mut Map<String, Value>) {
    let (least, most) = match (parent, field) {
        ("Catalogue" | "NoticeVersion", "version") => (1, None),
        ("MinorRule", "under") => (1, Some(99)),
        ("Recipient", "tcf_vendor") => (0, Some(u64::from(u16::MAX))),
        ("TcfRule", "purposes") => (1, Some(11)),
        ("TcfRule", "special_features") => (1, Some(2)),
        _ if is_wide => (0, None),
        _ => (0, Some(u64::from(u32::MAX))),
    };
    if is_wide {
        one.insert("type".to_owned(), json!(["integer", "string"]));
        one.insert("pattern".to_owned(), json!("^[1-9][0-9]{0,19}$"));
    } else {
        one.insert("type".to_owned(), json!("integer"));
    }
    one.insert("minimum".to_owned(), json!(least));
    if let Some(most) = most {
        one.insert("maximum".to_owned(), json!(most));
    }
}

/// What a text must look like.
fn pattern(parent: &str, field: &str) -> Option<String> {
    const WORD: &str = "[a-z0-9_-]+";
    const CODE: &str = "[A-Za-z0-9_-]{1,64}";
    const TIME: &str = "^([01][0-9]|2[0-3]):[0-5][0-9]$";
    let pattern = match (parent, field) {
        _ if is_purpose(parent, field) => format!("^{WORD}(\\.{WORD})*$"),
        ("Channel", "key") | (_, "channels") => format!("^[a-z0-9_-]{{1,{CHANNEL_BYTES_MAX}}}$"),
        ("QuietHours", "from" | "until") => TIME.to_owned(),
        ("QuietHours", "days") => "^(mon|tue|wed|thu|fri|sat|sun)$".to_owned(),
        ("Region", "key") | ("RegionalRule", "regions") => format!("^{CODE}$"),
        ("Region", "members") => "^[A-Z]{2}(-[A-Z0-9]{1,3})?$".to_owned(),
        ("Recipient", "key") => r"^[^\s*]{1,128}$".to_owned(),
        ("NoticeRule" | "NoticeText", "id") => "^.{1,128}$".to_owned(),
        ("GppRule", "sensitive_data") => format!("^({})$", SensitiveData::NAMES.join("|")),
        ("NoticeVersion", "languages") => "^[A-Za-z0-9-]{1,35}$".to_owned(),
        _ => return None,
    };
    Some(pattern)
}

/// Whether a text is the key of a purpose.
fn is_purpose(parent: &str, field: &str) -> bool {
    matches!((parent, field), ("Purpose", "key") | (_, "requires"))
}

/// The fields without which a message says nothing.
fn required(message: &str) -> &'static [&'static str] {
    match message {
        "Catalogue" => &["version", "channels", "purposes"],
        "Channel" | "Region" | "Recipient" => &["key"],
        "Purpose" => &["key", "legalBasis", "channels"],
        "NoticeRule" => &["id"],
        "NoticeText" => &["id", "versions"],
        "NoticeVersion" => &["version"],
        "MinorRule" => &["under", "treatment"],
        "QuietHours" => &["from", "until"],
        "RegionalRule" => &["regions"],
        _ => &[],
    }
}

/// Whether a list without elements says nothing.
fn is_needed(parent: &str, field: &str) -> bool {
    matches!(
        (parent, field),
        ("Catalogue", "purposes" | "channels")
            | ("Purpose", "channels")
            | ("NoticeText", "versions")
            | ("RegionalRule", "regions")
    )
}

fn words(name: &str, comments: &Comments) -> Value {
    let values = enumeration(name).into_iter().flat_map(|known| &known.value);
    // Nothing said is what the first word stands for, and where something must be said it is refused.
    let words = values.enumerate().skip(1);
    let one = |(index, word): (usize, &prost_types::EnumValueDescriptorProto)| json!({"const": word.name(), "description": comments.of_value(name, index)});
    json!({"description": comments.of_enum(name), "oneOf": words.map(one).collect::<Vec<_>>()})
}

/// The comments of the wire's descriptors.
struct Comments(BTreeMap<String, String>);

impl Comments {
    fn read() -> Self {
        let own = FILES.file.iter().filter(|file| file.package() == PACKAGE.trim_matches('.'));
        Self(own.flat_map(of_file).collect())
    }

    fn of_message(&self, message: &str) -> String {
        self.get(message)
    }

    fn of_field(&self, message: &str, field: &str) -> String {
        self.get(&format!("{message}.{field}"))
    }

    fn of_enum(&self, name: &str) -> String {
        self.get(name)
    }

    fn of_value(&self, name: &str, index: usize) -> String {
        self.get(&format!("{name}#{index}"))
    }

    fn get(&self, place: &str) -> String {
        self.0.get(place).cloned().unwrap_or_default()
    }
}

/// The comments of a file, by what they are about: a message, its field, an enum, its value.
fn of_file(file: &FileDescriptorProto) -> Vec<(String, String)> {
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    locations
        .filter_map(|location| {
            let at = |index: i32| usize::try_from(index).ok();
            let place = match *location.path.as_slice() {
                [MESSAGES, message] => file.message_type.get(at(message)?)?.name().to_owned(),
                [MESSAGES, message, FIELDS, field] => {
                    let message = file.message_type.get(at(message)?)?;
                    format!("{}.{}", message.name(), message.field.get(at(field)?)?.name())
                }
                [ENUMS, known] => file.enum_type.get(at(known)?)?.name().to_owned(),
                [ENUMS, known, VALUES, value] => format!("{}#{value}", file.enum_type.get(at(known)?)?.name()),
                _ => return None,
            };
            let lines: Vec<&str> = location.leading_comments().lines().map(str::trim).collect();
            Some((place, lines.join(" ").trim().to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_wire_says_of_a_field_stands_in_the_schema() {
        let schema = schema();
        let said = |pointer: &str| schema.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let basis = "/$defs/LegalBasis/oneOf/1/const";
        assert_eq!(said(basis).as_deref(), Some("LEGAL_BASIS_EXPLICIT_CONSENT"));
        assert_eq!(
            said("/$defs/Purpose/properties/maxAge/description").as_deref(),
            Some("How long a consent lasts. Absent: no limit.")
        );
        assert_eq!(said("/$defs/UnknownAge/oneOf/0/description").as_deref(), Some("Deny."));
        assert_eq!(said("/$defs/QuietHours/description").as_deref(), Some("When subjects are left alone."));
        for (name, definition) in schema["$defs"].as_object().expect("definitions") {
            assert_ne!(definition["description"], json!(""), "`{name}` has no comment");
        }
    }
}
