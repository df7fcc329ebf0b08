//! What can be told of an event that cannot be read: whom it is about, when it happened, what it is called.
//!
//! Whom it is about matters most, because a subject with an unreadable event is denied, and one that is missed here may
//! be allowed by what an unread refusal would have stopped. So every object that has a `space` and an `id` is taken for
//! a subject, wherever it stands and whatever the event is; naming too many denies too much, never too little.
//!
//! Two readers look, and what either finds counts. One reads well-formed JSON of any shape. The other looks for the
//! pattern in the bytes themselves, for lines that are cut, glued together, or not JSON at all.

use std::borrow::Cow;
use std::collections::BTreeSet;

use chrono::DateTime;
use serde_json::Value;

use crate::domain::{Position, Subject, Time, Unreadable};

use super::validate::EVENT_ID_BYTES_MAX;

/// The most subjects that are taken from one line. An event of this version has two.
const SUBJECTS_MAX: usize = 64;
/// How often, on average, a byte may be looked at, so that a hostile line cannot hold the follower up.
const LOOKS_PER_BYTE: usize = 32;

/// As much as can be told of a line.
pub(super) fn salvage(line: &[u8], position: Position, problem: String) -> Unreadable {
    let mut found = Found::default();
    if let Ok(value) = serde_json::from_slice::<Value>(line) {
        found.read_value(&value);
    }
    Scan { line, looks_left: line.len().saturating_mul(LOOKS_PER_BYTE) }.run(&mut found);
    found.into_unreadable(position, problem)
}

#[derive(Debug, Default)]
struct Found {
    subjects: Vec<Subject>,
    ids: BTreeSet<String>,
    times: BTreeSet<Time>,
}

impl Found {
    fn into_unreadable(self, position: Position, problem: String) -> Unreadable {
        // Where a line names two events or two times, neither is the line's.
        let only_id = if self.ids.len() == 1 { self.ids.first() } else { None };
        let only_time = if self.times.len() == 1 { self.times.first() } else { None };
        Unreadable {
            event_id: only_id.map_or_else(|| format!("@{}", position.0).into(), |id| id.as_str().into()),
            subjects: self.subjects,
            keys: Vec::new(),
            event_time: only_time.copied(),
            problem: problem.into(),
        }
    }

    fn subject(&mut self, space: &str, id: &str) {
        // What a writer meant is denied too, where it only got the case or the blanks wrong.
        let lenient = || Subject::new(&space.trim().to_ascii_lowercase(), id.trim());
        if let Ok(subject) = Subject::new(space, id).or_else(|_| lenient())
            && self.subjects.len() < SUBJECTS_MAX
            && !self.subjects.contains(&subject)
        {
            self.subjects.push(subject);
        }
    }

    fn subject_text(&mut self, text: &str) {
        if let Some((space, id)) = text.split_once(':') {
            self.subject(space, id);
        }
    }

    fn event_id(&mut self, id: &str) {
        let usable = !id.is_empty() && !id.starts_with('@') && !id.chars().any(char::is_control);
        if usable && id.len() <= EVENT_ID_BYTES_MAX {
            self.ids.insert(id.to_owned());
        }
    }

    fn event_time(&mut self, text: &str) {
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            self.times.insert(Time::from_unix_millis(time.timestamp_millis()));
        }
    }

    /// Whatever stands in a JSON value. Its depth is bounded by the parser's.
    fn read_value(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.read_value(item)),
            Value::Object(members) => {
                let text = |key: &str| members.get(key).and_then(scalar);
                if let (Some(space), Some(id)) = (text("space"), text("id")) {
                    self.subject(&space, &id);
                }
                for (key, value) in members {
                    if let Value::String(text) = value {
                        self.read_member(key, text);
                    }
                    self.read_value(value);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn read_member(&mut self, key: &str, text: &str) {
        match key {
            "subject" | "linked" => self.subject_text(text),
            "eventId" | "event_id" => self.event_id(text),
            "eventTime" | "event_time" => self.event_time(text),
            _ => {}
        }
    }
}

fn scalar(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

/// Looks for members in bytes that need not be JSON. It starts at every quote, because in a line that lost some of its
/// bytes a quote that opens cannot be told from one that closes.
struct Scan<'a> {
    line: &'a [u8],
    looks_left: usize,
}

/// One member of an object: its key, and where its value begins.
struct Member<'a> {
    key: &'a [u8],
    value: usize,
}

impl<'a> Scan<'a> {
    fn run(&mut self, found: &mut Found) {
        let mut at = 0;
        while let Some(quote) = self.find(at, b'"') {
            at = quote + 1;
            let Some(first) = self.member(quote) else { continue };
            let Some(value) = self.scalar(first.value) else { continue };
            if let Ok(key) = std::str::from_utf8(first.key) {
                found.read_member(key, &value);
            }
            // An object's `space` and `id` in either order, whatever lies between.
            let is_space = match first.key {
                b"space" => true,
                b"id" => false,
                _ => continue,
            };
            let wanted: &[u8] = if is_space { b"id" } else { b"space" };
            let Some(other) = self.later_member(first.value, wanted) else { continue };
            let (space, id) = if is_space { (value, other) } else { (other, value) };
            found.subject(&space, &id);
        }
    }

    /// The value of a member behind the one whose value begins at `value`, in the same object.
    fn later_member(&mut self, mut value: usize, key: &[u8]) -> Option<String> {
        loop {
            let end = self.value_end(value)?;
            let comma = self.blanks(end);
            if self.byte(comma)? != b',' {
                return None;
            }
            let quote = self.blanks(comma + 1);
            let member = self.member(quote)?;
            if member.key == key {
                return self.scalar(member.value);
            }
            value = member.value;
        }
    }

    /// The member whose key's opening quote is at `quote`.
    fn member(&mut self, quote: usize) -> Option<Member<'a>> {
        let key_end = self.string_end(quote)?;
        let colon = self.blanks(key_end);
        if self.byte(colon)? != b':' {
            return None;
        }
        let value = self.blanks(colon + 1);
        Some(Member { key: self.line.get(quote + 1..key_end - 1)?, value })
    }

    /// The text or number that begins at `at`.
    fn scalar(&mut self, at: usize) -> Option<String> {
        if matches!(self.byte(at)?, b'{' | b'[') {
            return None;
        }
        let end = self.value_end(at)?;
        let value = serde_json::from_slice::<Value>(self.line.get(at..end)?).ok()?;
        scalar(&value).map(Cow::into_owned)
    }

    /// Behind the value that begins at `at`: a text, an object or array, or a bare word.
    fn value_end(&mut self, at: usize) -> Option<usize> {
        match self.byte(at)? {
            b'"' => self.string_end(at),
            b'{' | b'[' => {
                let (mut depth, mut at) = (0_usize, at);
                loop {
                    match self.byte(at)? {
                        b'"' => {
                            at = self.string_end(at)?;
                            continue;
                        }
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth -= 1,
                        _ => {}
                    }
                    at += 1;
                    if depth == 0 {
                        return Some(at);
                    }
                }
            }
            _ => {
                let mut end = at;
                while !matches!(self.byte(end)?, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n' | b'"') {
                    end += 1;
                }
                (end > at).then_some(end)
            }
        }
    }

    /// Behind the closing quote of the string whose opening quote is at `at`.
    fn string_end(&mut self, at: usize) -> Option<usize> {
        if self.byte(at)? != b'"' {
            return None;
        }
        let mut at = at + 1;
        loop {
            match self.byte(at)? {
                b'"' => return Some(at + 1),
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
    }

    fn blanks(&mut self, mut at: usize) -> usize {
        while matches!(self.byte(at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            at += 1;
        }
        at
    }

    fn find(&mut self, from: usize, wanted: u8) -> Option<usize> {
        let mut at = from;
        while self.byte(at)? != wanted {
            at += 1;
        }
        Some(at)
    }

    /// The byte at a place. `None` at the end, and when the line has been looked at often enough.
    fn byte(&mut self, at: usize) -> Option<u8> {
        self.looks_left = self.looks_left.checked_sub(1)?;
        self.line.get(at).copied()
    }
}
