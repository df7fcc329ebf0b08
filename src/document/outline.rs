//! Reads the JSON of a catalogue with the places of all that is in it, and goes on after what cannot be read.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use prost_types::DescriptorProto;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::messages::{self, Field, Kind, enumeration, fields, message, reads};
use super::text::{Offset, offset_of};

/// How alike two names must be to be taken for one another, from 0 (nothing in common) to 1.
const ALIKE_MIN: f64 = 0.8;

/// A document as far as it could be read.
pub(super) struct Outline<'a> {
    /// Where everything stands.
    root: Node<'a>,
    /// The same document without what cannot be read, and with fields under the names that were meant.
    pub(super) readable: String,
    /// What cannot be read.
    pub(super) problems: Vec<Problem>,
}

/// Something that cannot be read.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) at: Offset,
    /// Its path, as the document spells it.
    pub(super) path: String,
    /// The same by the fields' own names, where its field is known.
    pub(super) field: Option<String>,
    pub(super) message: String,
}

/// A value and where it stands.
#[derive(Debug)]
struct Node<'a> {
    at: Offset,
    below: Below<'a>,
}

#[derive(Debug)]
enum Below<'a> {
    Nothing,
    List(Vec<Node<'a>>),
    Object(&'static DescriptorProto, Vec<Member<'a>>),
}

#[derive(Debug)]
struct Member<'a> {
    /// The field's own name.
    name: &'static str,
    /// As the document spells it.
    written: Cow<'a, str>,
    node: Node<'a>,
}

/// The path to what is being read, as the document spells it and by the fields' own names.
#[derive(Debug, Clone, Default)]
struct Path {
    written: String,
    named: String,
}

impl Path {
    fn member(&self, written: &str, named: &str) -> Self {
        let join = |path: &str, step: &str| if path.is_empty() { step.to_owned() } else { format!("{path}.{step}") };
        Self { written: join(&self.written, written), named: join(&self.named, named) }
    }

    fn element(&self, index: usize) -> Self {
        Self { written: format!("{}[{index}]", self.written), named: format!("{}[{index}]", self.named) }
    }
}

impl<'a> Outline<'a> {
    /// Reads a text.
    ///
    /// # Errors
    /// If it is not JSON at all.
    pub(super) fn read(text: &'a str) -> Result<Self, serde_json::Error> {
        let whole: &RawValue = serde_json::from_str(text)?;
        let mut reading = Reading { text, problems: Vec::new() };
        let mut readable = String::with_capacity(text.len());
        let root = reading.message("Catalogue", whole, &Path::default(), &mut readable);
        Ok(Self { root, readable, problems: reading.problems })
    }

    /// Where a path by the fields' own names leads, or as far as it leads, and how the document spells it.
    pub(super) fn find(&self, path: &str) -> (Offset, String) {
        let mut node = Some(&self.root);
        let mut at = self.root.at;
        let mut message = match &self.root.below {
            Below::Object(message, _) => Some(*message),
            Below::Nothing | Below::List(_) => None,
        };
        let mut written = String::new();
        for step in path.split('.').filter(|step| !step.is_empty()) {
            let (name, indexes) = step.split_once('[').map_or((step, ""), |(name, rest)| (name, rest));
            let member = node.and_then(|node| node.member(name));
            let field = message.and_then(|message| fields(message).find(|field| field.is_named(name)));
            let spelt: &str = match (member, field) {
                (Some(member), _) => &member.written,
                (None, Some(field)) => field.json_name(),
                (None, None) => name,
            };
            if !written.is_empty() {
                written.push('.');
            }
            written.push_str(spelt);
            node = member.map(|member| &member.node);
            for index in indexes.split('[').filter_map(|index| index.strip_suffix(']')) {
                let _ = write!(written, "[{index}]");
                node = node.zip(index.parse().ok()).and_then(|(node, index)| node.element(index));
            }
            at = node.map_or(at, |node| node.at);
            message = field.and_then(|field| match field.kind() {
                Kind::Message(name) => messages::message(name),
                _ => None,
            });
        }
        (at, written)
    }
}

impl Node<'_> {
    fn member(&self, name: &str) -> Option<&Member<'_>> {
        match &self.below {
            Below::Object(_, members) => members.iter().find(|member| member.name == name),
            Below::Nothing | Below::List(_) => None,
        }
    }

    fn element(&self, index: usize) -> Option<&Self> {
        match &self.below {
            Below::List(elements) => elements.get(index),
            Below::Nothing | Below::Object(..) => None,
        }
    }
}

struct Reading<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

impl<'a> Reading<'a> {
    fn add(&mut self, json: &str, path: &Path, is_known: bool, message: impl Into<String>) {
        let field = is_known.then(|| path.named.clone());
        let at = offset_of(self.text, json);
        self.problems.push(Problem { at, path: path.written.clone(), field, message: message.into() });
    }

    /// Reads an object as the message of a name, and writes what can be read of it.
    fn message(&mut self, name: &'static str, json: &'a RawValue, path: &Path, readable: &mut String) -> Node<'a> {
        let at = offset_of(self.text, json.get());
        let members = members(json).zip(message(name));
        let Some((members, message)) = members else {
            self.add(json.get(), path, true, format!("must be an object in braces, not {}", what(json)));
            readable.push_str("{}");
            return Node { at, below: Below::Nothing };
        };
        let mut read: Vec<Member<'a>> = Vec::new();
        readable.push('{');
        for (written, value) in members {
            let Some(field) = self.field(message, &written, value, path) else { continue };
            let path = path.member(&written, field.name());
            if read.iter().any(|before| before.name == field.name()) {
                self.add(value.get(), &path, true, "stands twice");
                continue;
            }
            let before = readable.len();
            if before > 0 && !readable.ends_with('{') {
                readable.push(',');
            }
            let _ = write!(readable, "\"{}\":", field.json_name());
            match self.value(name, field, value, &path, readable) {
                Some(node) => read.push(Member { name: field.name(), written, node }),
                None => readable.truncate(before),
            }
        }
        readable.push('}');
        Node { at, below: Below::Object(message, read) }
    }

    /// The field that a name means. One that is misspelt is told, and then taken for the one that it is like.
    fn field(
        &mut self,
        message: &'static DescriptorProto,
        written: &str,
        value: &RawValue,
        path: &Path,
    ) -> Option<Field> {
        if let Some(field) = fields(message).find(|field| field.is_named(written)) {
            return Some(field);
        }
        let meant = like(written, fields(message), Field::json_name);
        let hint = meant.map_or_else(
            || {
                let names: Vec<&str> = fields(message).map(Field::json_name).collect();
                format!("it may have `{}`", names.join("`, `"))
            },
            |field| format!("did you mean `{}`?", field.json_name()),
        );
        let named = meant.map_or("", Field::name);
        self.add(value.get(), &path.member(written, named), meant.is_some(), format!("no such field; {hint}"));
        // Its value is read as what was meant, so that nothing is said to be missing that is there.
        self.problems.last_mut()?.field = None;
        meant
    }

    /// Reads a field's value, and writes it as far as it can be read.
    fn value(
        &mut self,
        parent: &'static str,
        field: Field,
        json: &'a RawValue,
        path: &Path,
        readable: &mut String,
    ) -> Option<Node<'a>> {
        let at = offset_of(self.text, json.get());
        // What stands for "not said" is not said.
        if json.get() == "null" && reads(parent, &alone(field, "null")) {
            return None;
        }
        if field.is_repeated() {
            let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(json.get()) else {
                self.add(json.get(), path, true, format!("must be a list in brackets, not {}", what(json)));
                return None;
            };
            let mut nodes = Vec::with_capacity(elements.len());
            readable.push('[');
            for (index, element) in elements.into_iter().enumerate() {
                if index > 0 {
                    readable.push(',');
                }
                let path = path.element(index);
                let node = match field.kind() {
                    Kind::Message(name) => self.message(name, element, &path, readable),
                    kind => self.leaf(parent, field, kind, element, &path, readable),
                };
                nodes.push(node);
            }
            readable.push(']');
            return Some(Node { at, below: Below::List(nodes) });
        }
        match field.kind() {
            Kind::Message(name) => Some(self.message(name, json, path, readable)),
            kind => Some(self.leaf(parent, field, kind, json, path, readable)),
        }
    }

    /// Reads what has nothing below it. What cannot be read leaves its place to something that can.
    fn leaf(
        &mut self,
        parent: &'static str,
        field: Field,
        kind: Kind,
        json: &'a RawValue,
        path: &Path,
        readable: &mut String,
    ) -> Node<'a> {
        let one = if field.is_repeated() { format!("[{}]", json.get()) } else { json.get().to_owned() };
        if reads(parent, &alone(field, &one)) {
            readable.push_str(json.get());
        } else {
            self.add(json.get(), path, true, expected(kind, json));
            readable.push_str(stand_in(kind));
        }
        Node { at: offset_of(self.text, json.get()), below: Below::Nothing }
    }
}

/// A message with nothing but one field.
fn alone(field: Field, json: &str) -> String {
    format!("{{\"{}\":{json}}}", field.json_name())
}

/// What can be read in place of what cannot. What is said of it is not told.
const fn stand_in(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "\"\"",
        Kind::Truth => "false",
        Kind::Number { .. } | Kind::Enum(_) => "0",
        Kind::Span => "\"1s\"",
        Kind::Moment => "\"2000-01-01T00:00:00Z\"",
        Kind::Message(_) | Kind::Other => "{}",
    }
}

/// What must stand where something else does.
fn expected(kind: Kind, json: &RawValue) -> String {
    let not = what(json);
    match kind {
        Kind::Text => format!("must be a text in quotes, not {not}"),
        Kind::Truth => format!("must be true or false, not {not}"),
        Kind::Number { is_wide: false } => format!("must be a whole number from 0 to {}, not {not}", u32::MAX),
        Kind::Number { is_wide: true } => format!("must be a whole number from 0, not {not}"),
        Kind::Span => format!("must be a span of seconds such as \"86400s\", not {not}"),
        Kind::Moment => format!("must be a time such as \"2026-03-01T00:00:00Z\", not {not}"),
        Kind::Message(_) | Kind::Other => format!("must be an object in braces, not {not}"),
        Kind::Enum(name) => {
            let words = || enumeration(name).into_iter().flat_map(|known| &known.value).skip(1).map(|word| word.name());
            let meant = serde_json::from_str::<String>(json.get()).ok().and_then(|text| {
                let text = text.to_ascii_uppercase();
                words().find(|word| word.ends_with(&format!("_{text}"))).or_else(|| like(&text, words(), |word| word))
            });
            match meant {
                Some(meant) => format!("must be one of the words of `{name}`, not {not}; did you mean `{meant}`?"),
                None => format!("must be one of `{}`, not {not}", words().collect::<Vec<_>>().join("`, `")),
            }
        }
    }
}

/// What a value is, for people.
fn what(json: &RawValue) -> String {
    const SHOWN_CHARS_MAX: usize = 40;
    match json.get().as_bytes().first() {
        Some(b'{') => "an object".to_owned(),
        Some(b'[') => "a list".to_owned(),
        _ if json.get().chars().count() > SHOWN_CHARS_MAX => "a longer text".to_owned(),
        _ => format!("`{}`", json.get()),
    }
}

/// That of several which a name is most like.
fn like<T: Copy>(name: &str, all: impl Iterator<Item = T>, name_of: impl Fn(T) -> &'static str) -> Option<T> {
    let plain = |name: &str| name.replace(['_', '-'], "").to_ascii_lowercase();
    let wanted = plain(name);
    let scored = all.map(|one| (strsim::jaro_winkler(&plain(name_of(one)), &wanted), one));
    scored.filter(|(score, _)| *score >= ALIKE_MIN).max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, one)| one)
}

/// The members of an object in their order, those that stand twice included; `None` if it is none.
fn members(json: &RawValue) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
    if !json.get().starts_with('{') {
        return None;
    }
    serde_json::Deserializer::from_str(json.get()).deserialize_map(Members).ok()
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            members.push((name, map.next_value()?));
        }
        Ok(members)
    }
}

/// A name that stands in the text as it is, or one that had to be unescaped.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
