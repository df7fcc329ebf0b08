//! A TOML file by its full keys, each with its line, and what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use toml::Value;
use toml::de::{DeTable, DeValue};

use crate::config::{CONFIG_BYTES_MAX, Origin, Problem};
use crate::injector::quantity::Quantity;

/// What a file says, and which of it was asked for.
#[derive(Debug)]
pub(super) struct Reading {
    path: PathBuf,
    entries: BTreeMap<String, Entry>,
    /// The full names of the tables that are there, empty ones too.
    tables: BTreeSet<String>,
    problems: Vec<Problem>,
}

#[derive(Debug)]
struct Entry {
    /// Nothing where it is of a kind that no key takes.
    value: Option<Value>,
    line: usize,
    was_read: bool,
}

/// A value as an environment variable would have it.
#[derive(Debug)]
pub(super) struct Spelt {
    /// The key below the table's.
    pub(super) key: String,
    pub(super) value: String,
    /// The file and line that it stands in.
    pub(super) place: String,
}

/// The text of a file.
pub(super) fn bounded(path: &Path) -> Result<String, Problem> {
    let problem = |what| Problem { key: None, origin: Origin::File { path: path.to_owned(), line: None }, what };
    let read = || {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error: std::io::Error| problem(format!("cannot be read: {error}")))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > CONFIG_BYTES_MAX {
        return Err(problem("is larger than 1MiB, which no settings are".to_owned()));
    }
    String::from_utf8(bytes).map_err(|_| problem("is not UTF-8".to_owned()))
}

impl Reading {
    pub(super) fn new(path: &Path, text: &str) -> Self {
        let mut reading =
            Self { path: path.to_owned(), entries: BTreeMap::new(), tables: BTreeSet::new(), problems: Vec::new() };
        let line_of = |place: usize| text.get(..place).unwrap_or_default().matches('\n').count() + 1;
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            // Not the error's own display, which repeats the line.
            let origin = reading.origin(error.span().map(|span| line_of(span.start)));
            reading.problems.push(Problem { key: None, origin, what: error.message().to_owned() });
        }
        reading.add("", table.get_ref(), &line_of);
        reading
    }

    /// Adds a table's values under their full keys.
    fn add(&mut self, prefix: &str, table: &DeTable<'_>, line_of: &dyn Fn(usize) -> usize) {
        for (name, value) in table {
            // A dot inside of quotes does not separate.
            let own = name.get_ref();
            let key = if own.contains('.') { format!("{prefix}\"{own}\"") } else { format!("{prefix}{own}") };
            match value.get_ref() {
                DeValue::Table(table) => {
                    self.add(&format!("{key}."), table, line_of);
                    self.tables.insert(key);
                }
                value => {
                    let entry = Entry { value: plain(value), line: line_of(name.span().start), was_read: false };
                    self.entries.insert(key, entry);
                }
            }
        }
    }

    /// A text, if there is one that its function takes.
    pub(super) fn text<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let entry = self.entries.get_mut(key)?;
        entry.was_read = true;
        let parsed = match &entry.value {
            Some(Value::String(text)) => parse(text),
            _ => Err("must be a text in quotes".to_owned()),
        };
        parsed.map_err(|what| self.problem(key, what)).ok()
    }

    /// An amount, in quotes or as a whole number.
    pub(super) fn amount(&mut self, key: &str) -> Option<Quantity> {
        let entry = self.entries.get_mut(key)?;
        entry.was_read = true;
        let parsed = match &entry.value {
            Some(Value::String(text)) => Quantity::parse(text),
            Some(Value::Integer(number)) => Quantity::parse(&number.to_string()),
            _ => Err("must be an amount in quotes, such as \"48Mi\"".to_owned()),
        };
        parsed.map_err(|what| self.problem(key, what)).ok()
    }

    /// Whether there is a table of that name, be it empty.
    pub(super) fn has(&self, table: &str) -> bool {
        self.tables.contains(table)
    }

    /// Everything under a table's name.
    pub(super) fn table(&mut self, table: &str) -> Vec<Spelt> {
        let prefix = format!("{table}.");
        let (mut found, mut wrong) = (Vec::new(), Vec::new());
        for (key, entry) in &mut self.entries {
            let Some(own) = key.strip_prefix(&prefix) else { continue };
            entry.was_read = true;
            let place = format!("{}:{}", self.path.display(), entry.line);
            match entry.value.as_ref().and_then(spelt) {
                Some(value) => found.push(Spelt { key: own.to_owned(), value, place }),
                None => wrong.push(key.clone()),
            }
        }
        for key in wrong {
            self.problem(&key, "is of a kind that no key takes".to_owned());
        }
        found
    }

    /// Says that a key that is not there must be.
    pub(super) fn missing(&mut self, key: &str, what: &str) {
        if !self.entries.contains_key(key) {
            self.problem(key, what.to_owned());
        }
    }

    /// Says what is wrong with a key.
    pub(super) fn problem(&mut self, key: &str, what: String) {
        let origin = self.origin(self.entries.get(key).map(|entry| entry.line));
        self.problems.push(Problem { key: Some(key.to_owned()), origin, what });
    }

    /// Says what others have found.
    pub(super) fn problems(&mut self, problems: impl Iterator<Item = Problem>) {
        self.problems.extend(problems);
    }

    /// Ends the reading: whatever was not asked for is unknown.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        let unread: Vec<String> =
            self.entries.iter().filter(|(_, entry)| !entry.was_read).map(|(key, _)| key.clone()).collect();
        for key in unread {
            self.problem(&key, "is no key of these settings".to_owned());
        }
        self.problems
    }

    fn origin(&self, line: Option<usize>) -> Origin {
        Origin::File { path: self.path.clone(), line }
    }
}

/// The value by itself.
fn plain(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::String(text.clone().into_owned()),
        DeValue::Integer(number) => Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()?),
        DeValue::Float(number) => Value::Float(number.as_str().parse().ok()?),
        DeValue::Boolean(is) => Value::Boolean(*is),
        DeValue::Datetime(time) => Value::Datetime(*time),
        DeValue::Array(values) => {
            Value::Array(values.iter().map(|value| plain(value.get_ref())).collect::<Option<_>>()?)
        }
        DeValue::Table(table) => {
            let entries = table.iter().map(|(key, value)| Some((key.get_ref().to_string(), plain(value.get_ref())?)));
            Value::Table(entries.collect::<Option<_>>()?)
        }
    })
}

/// A value as an environment variable would have it. The configuration reads both in the same way.
fn spelt(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(is) => Some(is.to_string()),
        // On one line.
        list @ Value::Array(_) => Some(list.to_string()),
        Value::Datetime(_) | Value::Table(_) => None,
    }
}
