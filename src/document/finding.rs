//! What is wrong with a document, or doubtful about it.

use std::fmt;

use serde::Serialize;

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It is not published: it cannot be read, or says what cannot be meant.
    Error,
    /// It can be meant, and mostly is not.
    Warning,
}

/// Something that is wrong or doubtful, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// The path, as the document spells it; empty for the whole.
    pub path: String,
    /// What is wrong, in a sentence.
    pub message: String,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

impl fmt::Display for Finding {
    /// `12:9: error: purposes[0].channels: what is wrong`, to which the name of a file can be put in front.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, line, column, path, message } = self;
        let separator = if path.is_empty() { "" } else { ": " };
        write!(f, "{line}:{column}: {severity}: {path}{separator}{message}")
    }
}
