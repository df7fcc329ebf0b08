//! The report for a terminal.

use std::fmt::Write as _;

use super::{DEFINITIONS, Figures, Report, Unit};
use crate::html;

/// The columns of figures, with their widths.
const COLUMNS: [(&str, usize); 11] = [
    ("opt-in", 9),
    ("leaving", 9),
    ("standing", 10),
    ("given", 7),
    ("refused", 8),
    ("withdr.", 8),
    ("asked", 7),
    ("void", 6),
    ("renewed", 8),
    ("object.", 8),
    ("revoked", 8),
];
/// Columns of the terminal for the definitions.
const WIDTH: usize = 100;

/// The report as text: by period, by purpose and channel, and both.
#[must_use]
pub fn table(report: &Report) -> String {
    let mut text = heading(report);
    let periods = report.periods.iter().map(|period| {
        let mark = if period.is_partial(report.by) { "*" } else { "" };
        format!("{}{mark}", period.label)
    });
    let periods: Vec<String> = periods.collect();
    let width = periods.iter().map(String::len).max().unwrap_or(0) + 1;
    let named = report.series.iter().map(|series| series.purpose.len() + series.channel.len() + 2).max().unwrap_or(0);

    let _ = writeln!(text, "\nBY {}, ALL THAT IS SHOWN", report.by.word().to_uppercase());
    head(&mut text, width);
    for (period, figures) in periods.iter().zip(&report.totals) {
        row(&mut text, width, period, Some(figures));
    }
    let _ = writeln!(text, "\nBY PURPOSE AND CHANNEL, ALL PERIODS THAT ARE SHOWN");
    head(&mut text, named);
    for series in &report.series {
        row(&mut text, named, &format!("{}  {}", series.purpose, series.channel), series.total.as_ref());
    }
    if report.periods.len() > 1 {
        for series in &report.series {
            let _ = writeln!(text, "\n{} over {}", series.purpose, channel(&series.channel));
            head(&mut text, width);
            for (period, figures) in periods.iter().zip(&series.periods) {
                row(&mut text, width, period, figures.as_ref());
            }
        }
    }
    notes(&mut text, report);
    text
}

fn heading(report: &Report) -> String {
    let (first, last) = (report.periods.first(), report.periods.last());
    let from = first.map_or_else(String::new, |period| period.first.to_string());
    let to = last.map_or_else(String::new, |period| period.last.to_string());
    let unit = match report.unit {
        Unit::Identifiers => "identifiers",
        Unit::People => "people: linked identifiers are one",
    };
    let (by, zone, subjects) = (report.by.word(), report.zone_name(), report.subjects);
    format!("CONSENT RATES, {from} to {to}, by {by} ({zone}); {subjects} {unit}\n")
}

fn head(text: &mut String, width: usize) {
    let _ = write!(text, "{:width$}", "");
    for (name, columns) in COLUMNS {
        let _ = write!(text, "{name:>columns$}");
    }
    text.push('\n');
}

fn row(text: &mut String, width: usize, name: &str, figures: Option<&Figures>) {
    let _ = write!(text, "{name:width$}");
    let Some(figures) = figures else {
        let _ = writeln!(text, "  (too few to be shown)");
        return;
    };
    for ((_, columns), value) in COLUMNS.iter().zip(values(figures)) {
        let _ = write!(text, "{value:>columns$}");
    }
    text.push('\n');
}

/// The figures in the order of the columns.
fn values(figures: &Figures) -> [String; COLUMNS.len()] {
    let Figures { asked, given, void, renewed, refused, withdrawn, objected, revoked, standing, .. } = figures;
    let [standing, given, refused, withdrawn, asked, void, renewed, objected, revoked] =
        [standing, given, refused, withdrawn, asked, void, renewed, objected, revoked].map(u64::to_string);
    let (opt_in, leaving) = (percent(figures.opt_in_rate()), percent(figures.withdrawal_rate()));
    [opt_in, leaving, standing, given, refused, withdrawn, asked, void, renewed, objected, revoked]
}

fn channel(channel: &str) -> &str {
    if channel == "*" { "all channels at once" } else { channel }
}

/// A rate as people read it.
pub(super) fn percent(rate: Option<f64>) -> String {
    rate.map_or_else(|| "-".to_owned(), html::percent)
}

fn notes(text: &mut String, report: &Report) {
    text.push('\n');
    if report.periods.iter().any(|period| period.is_partial(report.by)) {
        let _ = writeln!(text, "* not a whole {}", report.by.word());
    }
    for sentence in sentences(report) {
        wrapped(text, &sentence, 0);
    }
    text.push('\n');
    for (name, definition) in DEFINITIONS {
        wrapped(text, &format!("{name:16} {definition}"), 17);
    }
}

/// What is to be said of the report beside its figures.
pub(super) fn sentences(report: &Report) -> Vec<String> {
    let mut sentences = Vec::new();
    if report.suppressed > 0 {
        sentences.push(format!(
            "Figures not shown, and in no total, because fewer than {} subjects had ever spoken: {}.",
            report.min_subjects, report.suppressed
        ));
    }
    if report.unreadable > 0 {
        sentences.push(format!("Not counted: {} events of the ledger that cannot be read.", report.unreadable));
    }
    if report.series.is_empty() {
        sentences.push("The ledger says nothing of consents in this range.".to_owned());
    }
    sentences
}

/// Writes a line, broken between words.
fn wrapped(text: &mut String, line: &str, indent: usize) {
    let mut column = 0;
    for word in line.split_inclusive(' ') {
        let len = word.trim_end().chars().count();
        if column + len > WIDTH && column > indent {
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        }
        text.push_str(word);
        column += word.chars().count();
    }
    text.push('\n');
}
