//! What is wrong with an event, field by field.

use std::borrow::Cow;
use std::fmt;

/// The longest part of a value that an error repeats, in characters.
const VALUE_CHARS_MAX: usize = 80;

/// All that is wrong with an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventError(Vec<FieldProblem>);

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldProblem {
    /// The path of the field, such as `consent.channel`.
    pub field: Cow<'static, str>,
    /// What it must be. Repeats nothing of the event.
    pub rule: Cow<'static, str>,
    /// The offending value. Never a subject's identifier, but what a writer put in the wrong field may be one.
    pub value: Option<String>,
}

impl EventError {
    /// The problems, in the order of the fields; at least one.
    #[must_use]
    pub fn problems(&self) -> &[FieldProblem] {
        &self.0
    }

    /// The sentence without any value of the event, fit for logs and for the store.
    #[must_use]
    pub fn without_values(&self) -> String {
        let sentences: Vec<String> = self.0.iter().map(|p| format!("{}: {}", p.field, p.rule)).collect();
        sentences.join("; ")
    }
}

impl std::error::Error for EventError {}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", problem.field, problem.rule)?;
            if let Some(value) = &problem.value {
                write!(f, ", not `{value}`")?;
            }
        }
        Ok(())
    }
}

/// Collects problems while an event is checked.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<FieldProblem>);

impl Problems {
    /// Notes that a field breaks a rule.
    pub(super) fn add(&mut self, field: impl Into<Cow<'static, str>>, rule: impl Into<Cow<'static, str>>) {
        self.0.push(FieldProblem { field: field.into(), rule: rule.into(), value: None });
    }

    /// Notes that a field breaks a rule, and with which value.
    pub(super) fn add_value(
        &mut self,
        field: impl Into<Cow<'static, str>>,
        rule: impl Into<Cow<'static, str>>,
        value: &str,
    ) {
        let shown: String = value.chars().take(VALUE_CHARS_MAX).flat_map(char::escape_debug).collect();
        self.0.push(FieldProblem { field: field.into(), rule: rule.into(), value: Some(shown) });
    }

    /// The problems, in the order in which they were found.
    pub(super) fn into_problems(self) -> Vec<FieldProblem> {
        self.0
    }

    /// What was made, if nothing is wrong. Something that could not be made has left a problem.
    pub(super) fn into_result<T>(self, made: Option<T>) -> Result<T, EventError> {
        match made {
            Some(made) if self.0.is_empty() => Ok(made),
            _ => Err(EventError(self.0)),
        }
    }
}
