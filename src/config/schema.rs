//! The JSON Schema of a configuration file, from the declaration of the keys.
//!
//! It says of each key what a schema can say: its place, its type and the spelling of its value. What a number of units may
//! come to, and what several keys must agree on, is found by reading the configuration.
//!
//! Every pattern is one of RE2's, without looking ahead or back: Helm and other programs in Go have no other.

use serde_json::{Map, Value, json};

use super::print::capitalised;
use super::reader::{Entry, OFF};
use super::{Config, Effective, Sources, callers};

/// Where the schema is said to be; the repository's own copy.
const ID: &str = "https://github.com/consentd/consentd/blob/main/docs/config.schema.json";

/// A span of time, as [`parse_duration`](super::parse_duration) reads it.
pub(super) const DURATION: Shape = Shape::Pattern(
    "[0-9]+d([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?|[0-9]+h([0-9]+m)?([0-9]+s)?([0-9]+ms)?|[0-9]+m([0-9]+s)?([0-9]+ms)?|[0-9]+s([0-9]+ms)?|[0-9]+ms",
);
/// An amount of bytes.
pub(super) const SIZE: Shape = Shape::Pattern("[0-9]+([KMG]i?)?B");
/// An address and a port.
pub(super) const ADDRESS: Shape = Shape::Pattern(r"([0-9.]+|\[[0-9A-Fa-f:.%a-z]+\]):[0-9]{1,5}");
/// Servers of NATS.
pub(super) const SERVERS: Shape = Shape::Pattern(r"(nats|tls)://[^,\s]+(,\s*(nats|tls)://[^,\s]+)*");

/// What a value looks like in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// Any text that is not empty.
    Text,
    /// A text that matches from its first to its last character.
    Pattern(&'static str),
    /// One of these texts.
    Words(Vec<&'static str>),
    /// A whole number.
    Whole {
        /// The least.
        least: usize,
        /// The greatest.
        most: usize,
    },
    /// A number between 0 and 1.
    Share,
    /// `true` or `false`.
    Truth,
    /// The list of callers.
    Callers,
    /// One of several shapes.
    Either(Vec<Shape>),
}

impl Shape {
    /// This, or the word that turns it off.
    pub(super) fn or_off(self) -> Self {
        match self {
            // The word is a text too.
            Self::Text => Self::Text,
            other => Self::Either(vec![Self::Words(vec![OFF]), other]),
        }
    }

    fn to_schema(&self) -> Map<String, Value> {
        let schema = match self {
            Self::Text => json!({"type": "string", "minLength": 1}),
            Self::Pattern(pattern) => json!({"type": "string", "pattern": format!("^({pattern})$")}),
            Self::Words(words) => json!({"enum": words}),
            Self::Whole { least, most } => json!({"type": "integer", "minimum": least, "maximum": most}),
            Self::Share => json!({"type": "number", "minimum": 0, "maximum": 1}),
            Self::Truth => json!({"type": "boolean"}),
            Self::Callers => json!({"type": "array", "items": callers::schema()}),
            Self::Either(shapes) => json!({"anyOf": shapes.iter().map(Self::to_schema).collect::<Vec<_>>()}),
        };
        match schema {
            Value::Object(schema) => schema,
            _ => Map::new(),
        }
    }
}

/// The schema of a configuration file, in draft 2020-12, without anything that draft 7 reads otherwise.
#[must_use]
pub fn schema() -> Value {
    let (Effective(entries), _) = Config::examine(&Sources::default());
    let mut root = Map::new();
    for entry in &entries {
        match entry.key.split_once('.') {
            None => {
                root.insert(entry.key.to_owned(), property(entry));
            }
            Some((section, name)) => {
                let table = root.entry(section).or_insert_with(|| table(&Map::new()));
                if let Some(properties) = table.get_mut("properties").and_then(Value::as_object_mut) {
                    properties.insert(name.to_owned(), property(entry));
                }
            }
        }
    }
    let mut schema = table(&root);
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        schema.insert("$id".to_owned(), json!(ID));
        schema.insert("title".to_owned(), json!("consentd: a configuration"));
    }
    schema
}

fn table(properties: &Map<String, Value>) -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

fn property(entry: &Entry) -> Value {
    let mut schema = entry.shape.to_schema();
    let description = format!("{} {}.", entry.meaning, capitalised(&entry.limits));
    schema.insert("description".to_owned(), json!(description));
    if let Some(default) = entry.value.as_deref().and_then(of_toml) {
        schema.insert("default".to_owned(), default);
    }
    Value::Object(schema)
}

/// A value as TOML has it.
fn of_toml(value: &str) -> Option<Value> {
    let mut table: Map<String, Value> = toml::from_str(&format!("value = {value}")).ok()?;
    table.remove("value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_in_the_schema_with_what_it_means() {
        let schema = schema();
        let (effective, _) = Config::examine(&Sources::default());
        for (key, _) in effective.keys() {
            let place = format!("/properties/{}", key.replace('.', "/properties/"));
            let description = schema.pointer(&place).and_then(|key| key["description"].as_str());
            assert!(description.is_some_and(|text| text.len() > 20), "{key}: {description:?}");
        }
        assert_eq!(schema["properties"]["evidence"]["properties"]["stage"]["default"], json!("written"));
        assert_eq!(schema["properties"]["telemetry"]["properties"]["trace_ratio"]["default"], json!(0.01));
        assert_eq!(schema["properties"]["server"]["additionalProperties"], json!(false));
    }
}
