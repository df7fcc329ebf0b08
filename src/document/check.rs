//! Everything that is wrong with a document, or doubtful about it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::finding::{Finding, Severity};
use super::outline::Outline;
use super::text::{Lines, Offset};
use super::{reachable, rules};
use crate::domain::catalogue::CatalogueParts;
use crate::domain::{Catalogue, CatalogueError};
use crate::ledger::codec::{Survey, read_catalogue, survey};
use crate::proto::v1;

/// What became of a check.
#[derive(Debug)]
pub struct Checked {
    /// All that was found, in the order of the document.
    pub findings: Vec<Finding>,
    /// The catalogue as the wire and as the domain have it, where there is no error.
    pub catalogue: Option<(v1::Catalogue, Catalogue)>,
}

impl Checked {
    /// How many findings are of a severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// Something that was found, by the path of the fields' own names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doubt {
    pub(super) severity: Severity,
    pub(super) path: String,
    pub(super) message: String,
}

impl Doubt {
    pub(super) fn error(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, path: path.into(), message: message.into() }
    }

    pub(super) fn warning(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, path: path.into(), message: message.into() }
    }
}

/// What the rules look at: a document as it was written, and what it means.
pub(super) struct Document<'a> {
    pub(super) wire: &'a v1::Catalogue,
    pub(super) parts: &'a CatalogueParts,
}

/// Checks a text.
#[must_use]
pub fn check(text: &str) -> Checked {
    let lines = Lines::new(text);
    let outline = match Outline::read(text) {
        Ok(outline) => outline,
        Err(error) => {
            let at = lines.offset_at(error.line(), error.column());
            let told = error.to_string();
            let message = told.split(" at line ").next().unwrap_or(&told);
            let finding = finding(&lines, Severity::Error, at, String::new(), format!("this is not JSON: {message}"));
            return Checked { findings: vec![finding], catalogue: None };
        }
    };
    let mut found: Vec<(Offset, Finding)> = Vec::new();
    let mut add = |severity, at, path, message| found.push((at, finding(&lines, severity, at, path, message)));
    for problem in &outline.problems {
        add(Severity::Error, problem.at, problem.path.clone(), problem.message.clone());
    }
    if let Some(wire) = read(&outline.readable) {
        // What cannot be read is not judged as well.
        let unread: Vec<&str> = outline.problems.iter().filter_map(|problem| problem.field.as_deref()).collect();
        for doubt in doubts(wire, &unread) {
            let (at, path) = outline.find(&doubt.path);
            add(doubt.severity, at, path, doubt.message);
        }
    }
    let has_error = found.iter().any(|(_, finding)| finding.severity == Severity::Error);
    let catalogue =
        if has_error { None } else { read(text).and_then(|wire| Some((wire.clone(), read_catalogue(wire).ok()?))) };
    if !has_error && catalogue.is_none() {
        // The ledger has the last word: what it does not take is no catalogue, also where nothing here can say why.
        let message = why_not(text);
        found.push((0, finding(&lines, Severity::Error, 0, String::new(), message)));
    }
    found.sort_by(|(a, one), (b, other)| (a, one.severity, &one.message).cmp(&(b, other.severity, &other.message)));
    let mut findings: Vec<Finding> = found.into_iter().map(|(_, finding)| finding).collect();
    findings.dedup();
    Checked { findings, catalogue }
}

fn finding(lines: &Lines<'_>, severity: Severity, at: Offset, path: String, message: String) -> Finding {
    let (line, column) = lines.line_and_column(at);
    Finding { severity, line, column, path, message }
}

/// What is wrong with what can be read of a document; and what is doubtful about it, where all of it can.
fn doubts(wire: v1::Catalogue, unread_json: &[&str]) -> Vec<Doubt> {
    let Survey { parts, unread, wrong } = survey(wire.clone());
    let document = Document { wire: &wire, parts: &parts };
    let circles = reachable::circles(&document);
    let mut doubts: Vec<Doubt> = Vec::new();
    let reads_all = unread.is_empty() && unread_json.is_empty();
    // What is named may be what cannot be read.
    let reads_whole = |list: &str| !unread_json.iter().any(|field| is_at_or_below(field, list) || field.is_empty());
    for problem in unread {
        let value = problem.value.map_or_else(String::new, |value| format!(", not `{value}`"));
        doubts.push(Doubt::error(problem.field, format!("{}{value}", problem.rule)));
    }
    let requires_end = !wrong.iter().any(|found| matches!(found.problem, CatalogueError::RequiresCircle { .. }));
    for found in wrong {
        // A circle is spelled out once, instead of once for each purpose on it and above it.
        let is_sure = match &found.problem {
            CatalogueError::RequiresCircle { .. } => circles.is_empty(),
            CatalogueError::UnknownChannel { .. } => reads_whole("channels"),
            CatalogueError::UnknownRequired { .. } => reads_whole("purposes"),
            CatalogueError::UnknownRegion { .. } => reads_whole("regions"),
            CatalogueError::NoticeVersions { .. } => reads_whole("notices"),
            _ => true,
        };
        if is_sure {
            doubts.push(Doubt::error(found.path, found.problem.to_string()));
        }
    }
    doubts.extend(circles);
    if requires_end {
        doubts.extend(reachable::unreachable(&document));
    }
    doubts.extend(rules::doubts(&document));
    doubts.retain(|doubt| {
        let is_read = !unread_json.iter().any(|field| is_at_or_below(&doubt.path, field));
        is_read && (reads_all || doubt.severity == Severity::Error)
    });
    doubts
}

/// Whether a path is another's, or below it.
fn is_at_or_below(path: &str, other: &str) -> bool {
    other.is_empty() || path.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn read(text: &str) -> Option<v1::Catalogue> {
    // The generated reader can panic on a span that is out of every range.
    catch_unwind(AssertUnwindSafe(|| serde_json::from_str(text).ok())).unwrap_or(None)
}

fn why_not(text: &str) -> String {
    let read: Result<v1::Catalogue, _> = catch_unwind(AssertUnwindSafe(|| serde_json::from_str(text)))
        .unwrap_or_else(|_| Err(serde::de::Error::custom("a value is out of every range")));
    match read.map(read_catalogue) {
        Err(error) => error.to_string(),
        Ok(Err(error)) => error.to_string(),
        Ok(Ok(_)) => "it is not taken".to_owned(),
    }
}
