//! What is to be added to a pod, as the API server takes it: a JSON Patch. Source: RFC 6902, RFC 6901.

use serde::Serialize;
use serde_json::Value;

/// Additions, in the order in which they are made. Nothing is ever removed or replaced.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Patch(Vec<Addition>);

#[derive(Debug, Serialize)]
struct Addition {
    op: &'static str,
    path: String,
    value: Value,
}

impl Patch {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a member, or an element at its place.
    pub(super) fn add(&mut self, path: impl Into<String>, value: Value) {
        self.0.push(Addition { op: "add", path: path.into(), value });
    }

    /// Adds elements to a list, at their place or at its end; where there is no list they are it.
    pub(super) fn add_all(&mut self, list: &str, is_there: bool, at: Option<usize>, values: Vec<Value>) {
        if !is_there {
            if !values.is_empty() {
                self.add(list, Value::Array(values));
            }
            return;
        }
        for (offset, value) in values.into_iter().enumerate() {
            let place = at.map_or_else(|| "-".to_owned(), |at| (at + offset).to_string());
            self.add(format!("{list}/{place}"), value);
        }
    }
}

/// A member's name as it stands in a path.
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
