//! `[[callers]]`: the one key whose value is a list of tables. In the environment it is the same list on one line.

use serde_json::{Value, json};
use toml::de::DeTable;

use super::reader::{boolean, did_you_mean, nearest, quote, text};
use super::sources::Raw;
use crate::access::{Rule, SpiffePattern};
use crate::domain::catalogue::{ANY, CatalogueError, check_channel, check_purpose};

/// The longest name, in bytes: it stands in every record of evidence.
const NAME_BYTES_MAX: usize = 64;
/// What a caller may be told by, and about.
const FIELDS: [&str; 6] = ["name", "spiffe", "uid", "purposes", "channels", "forwards"];

/// What may be said of a caller, for people.
pub(super) const LIMITS: &str = "tables of name, spiffe and/or uid, purposes, channels, forwards";

/// The JSON Schema of one caller.
pub(super) fn schema() -> Value {
    let keys = |form: &str| json!({"type": "array", "items": {"type": "string", "pattern": format!("^({form}|[*])$")}});
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "pattern": format!("^[A-Za-z0-9._-]{{1,{NAME_BYTES_MAX}}}$")},
            "spiffe": {"type": "string", "minLength": 1},
            "uid": {"type": "integer", "minimum": 0, "maximum": u32::MAX},
            "purposes": keys(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*"),
            "channels": keys("[a-z0-9_-]+"),
            "forwards": {"type": "boolean"},
        },
    })
}

/// Reads the list, or says all that is wrong with it.
pub(super) fn parse(raw: &Raw) -> Result<Vec<Rule>, Vec<String>> {
    let parsed;
    let entries = match raw {
        Raw::List(entries) => entries,
        Raw::Text(text) => {
            parsed = list(text).map_err(|what| vec![what])?;
            &parsed
        }
        other => return Err(vec![format!("must be a list of tables, not {}", other.kind())]),
    };
    let (mut rules, mut problems) = (Vec::new(), Vec::new());
    for (place, entry) in entries.iter().enumerate() {
        match caller(entry) {
            Ok(rule) => rules.push(rule),
            Err(wrong) => problems.extend(wrong.into_iter().map(|what| format!("caller {}: {what}", place + 1))),
        }
    }
    problems.extend(doubles(&rules));
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
}

/// The callers as TOML on one line.
#[expect(clippy::ptr_arg, reason = "it stands where a function of `&T` is asked for")]
pub(super) fn show(rules: &Vec<Rule>) -> String {
    let list = |texts: &[String]| texts.iter().map(|text| quote(text)).collect::<Vec<_>>().join(", ");
    let table = |rule: &Rule| {
        let mut fields = vec![format!("name = {}", quote(&rule.name))];
        fields.extend(rule.spiffe.as_ref().map(|pattern| format!("spiffe = {}", quote(&pattern.to_string()))));
        fields.extend(rule.uid.map(|uid| format!("uid = {uid}")));
        fields.push(format!("purposes = [{}]", list(&rule.purposes)));
        fields.push(format!("channels = [{}]", list(&rule.channels)));
        fields.extend(rule.forwards.then(|| "forwards = true".to_owned()));
        format!("{{ {} }}", fields.join(", "))
    };
    format!("[{}]", rules.iter().map(table).collect::<Vec<_>>().join(", "))
}

/// The list that a text on one line holds.
fn list(text: &str) -> Result<Vec<Raw>, String> {
    let document = format!("callers = {text}\n");
    let (table, errors) = DeTable::parse_recoverable(&document);
    let values = table.get_ref();
    let only = values.iter().next().filter(|_| values.len() == 1 && errors.is_empty());
    match only.map(|(_, value)| Raw::of(value.get_ref())) {
        Some(Raw::List(entries)) => Ok(entries),
        _ => Err("is not a list of tables on one line, such as `[{ name = \"mailer\", uid = 1000, … }]`".to_owned()),
    }
}

/// What was given of one caller, and what was wrong with it.
struct Fields<'r> {
    given: &'r [(String, Raw)],
    problems: Vec<String>,
}

impl Fields<'_> {
    fn has(&self, name: &str) -> bool {
        self.given.iter().any(|(field, _)| field == name)
    }

    /// The value of a field; where it is wrong there is none, and a problem.
    fn read<T>(&mut self, name: &str, read: impl Fn(&Raw) -> Result<T, String>) -> Option<T> {
        let (_, raw) = self.given.iter().find(|(field, _)| field == name)?;
        read(raw).map_err(|what| self.problems.push(format!("{name}: {what}"))).ok()
    }
}

/// One caller, or all that is wrong with it.
fn caller(raw: &Raw) -> Result<Rule, Vec<String>> {
    let Raw::Table(given) = raw else { return Err(vec![format!("must be a table, not {}", raw.kind())]) };
    let problems = given.iter().filter_map(|(field, _)| unknown(field)).collect();
    let mut fields = Fields { given, problems };
    let rule = Rule {
        name: fields.read("name", name).unwrap_or_default(),
        spiffe: fields.read("spiffe", spiffe),
        uid: fields.read("uid", uid),
        purposes: fields.read("purposes", |raw| keys(raw, check_purpose)).unwrap_or_default(),
        channels: fields.read("channels", |raw| keys(raw, check_channel)).unwrap_or_default(),
        forwards: fields.read("forwards", boolean).unwrap_or_default(),
    };
    if !fields.has("name") {
        fields.problems.push("name: must be set; evidence bears it".to_owned());
    }
    if !fields.has("spiffe") && !fields.has("uid") {
        fields.problems.push("spiffe or uid must be set, or nobody would be this caller".to_owned());
    }
    for name in ["purposes", "channels"] {
        // Who passes questions on needs none of its own.
        if !fields.has(name) && !rule.forwards {
            fields.problems.push(format!("{name}: must be set; `[\"*\"]` is all"));
        }
    }
    if fields.problems.is_empty() { Ok(rule) } else { Err(fields.problems) }
}

fn unknown(field: &str) -> Option<String> {
    let near = || did_you_mean(nearest(field, FIELDS.into_iter()));
    (!FIELDS.contains(&field)).then(|| format!("`{field}` is nothing that a caller has{}", near()))
}

fn name(raw: &Raw) -> Result<String, String> {
    let text = text(raw)?;
    let is_name = (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    // Without `:`, so that no name looks like what a connection proves.
    is_name.then(|| text.to_owned()).ok_or_else(|| {
        format!("`{text}` is not a name of letters, digits, `.`, `-` and `_`, at most {NAME_BYTES_MAX} bytes")
    })
}

fn spiffe(raw: &Raw) -> Result<SpiffePattern, String> {
    let text = text(raw)?;
    text.parse().map_err(|error| format!("`{text}` {error}"))
}

fn uid(raw: &Raw) -> Result<u32, String> {
    let wrong = |shown: &dyn std::fmt::Display| format!("`{shown}` is not the number of a user");
    match raw {
        Raw::Integer(number) => u32::try_from(*number).map_err(|_| wrong(number)),
        other => Err(format!("must be the number of a user, not {}", other.kind())),
    }
}

/// Keys of purposes or channels, or `*`.
fn keys(raw: &Raw, check: fn(&str, &str) -> Result<(), CatalogueError>) -> Result<Vec<String>, String> {
    let Raw::List(entries) = raw else { return Err(format!("must be a list of texts, not {}", raw.kind())) };
    entries
        .iter()
        .map(|entry| {
            let key = text(entry)?;
            let wrong = || format!("`{key}` is no key of the catalogue's kind, nor `*`");
            (key == ANY || check("callers", key).is_ok()).then(|| key.to_owned()).ok_or_else(wrong)
        })
        .collect()
}

/// What two callers share that tells one from the other.
fn doubles(rules: &[Rule]) -> Vec<String> {
    let mut problems = Vec::new();
    for (place, rule) in rules.iter().enumerate() {
        for earlier in rules.iter().take(place) {
            let mut same = |is_same: bool, what: &dyn std::fmt::Display| {
                if is_same {
                    problems.push(format!("two callers have {what}"));
                }
            };
            same(earlier.name == rule.name, &format_args!("the name `{}`", rule.name));
            if let (Some(one), Some(other)) = (earlier.uid, rule.uid) {
                same(one == other, &format_args!("uid {one}"));
            }
            if let (Some(one), Some(other)) = (&earlier.spiffe, &rule.spiffe) {
                same(one == other, &format_args!("the spiffe `{one}`"));
            }
        }
    }
    problems
}
