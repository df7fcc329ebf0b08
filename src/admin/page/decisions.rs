//! Answers by reason over time: a plot, the sums beside it, and the figures for those who do not see the plot.

use std::fmt::Write as _;

use super::super::history::{Bucket, Range};
use super::super::seen::Seen;
use super::super::text::{as_f64, clock_time, share};
use crate::domain::{Reason, Verdict};
use crate::html::plot::{LINES_MAX, Line, Plot, Scale};
use crate::html::{escaped, grouped};

/// Points of a line that are marked: enough to tell it from the others.
const MARKS: usize = 12;

pub(super) fn section(page: &mut String, seen: &Seen) {
    page.push_str(
        "<section id=\"decisions\" data-live aria-labelledby=\"decisions-h\">\n<h2 id=\"decisions-h\">Answers by reason</h2>\n",
    );
    ranges(page, seen.range);
    let drawn = Drawn::of(seen);
    page.push_str("<div class=\"halves\">\n<div>\n");
    if drawn.lines.is_empty() {
        let _ = writeln!(page, "<p class=\"note\">Nothing was answered in this {}.</p>", seen.range.title());
    } else {
        let step = step(seen.range);
        let title = format!("Answers in each {step}");
        let plot = Plot {
            id: "answers",
            title: &title,
            labels: &drawn.labels,
            marks: MARKS,
            lines: &drawn.lines,
            scale: Scale::Count,
        };
        page.push_str(&plot.svg());
        by_time(page, &drawn, step);
    }
    page.push_str("</div>\n");
    sums(page, seen);
    page.push_str("</div>\n</section>\n");
}

fn ranges(page: &mut String, shown: Range) {
    page.push_str("<nav aria-label=\"How far back\">\n<ul class=\"ranges\">\n");
    for range in Range::ALL {
        let current = if range == shown { " aria-current=\"true\"" } else { "" };
        let _ = writeln!(
            page,
            "<li><a href=\"?range={}\" data-range{current}>Last {}</a></li>",
            range.word(),
            range.title()
        );
    }
    page.push_str("</ul>\n</nav>\n");
}

/// What is drawn, and told as figures.
struct Drawn {
    labels: Vec<String>,
    lines: Vec<Line>,
}

impl Drawn {
    fn of(seen: &Seen) -> Self {
        let with_seconds = matches!(seen.range, Range::Minute | Range::TenMinutes);
        let label = |bucket: &Bucket| {
            let so_far = if bucket.is_whole { "" } else { " (so far)" };
            format!("{}{so_far}", clock_time(bucket.from, with_seconds))
        };
        let mut sums = seen.sums();
        sums.retain(|(_, _, sum)| *sum > 0);
        sums.sort_by_key(|(_, _, sum)| std::cmp::Reverse(*sum));
        // Those that do not get a line of their own share one.
        let own = if sums.len() > LINES_MAX { LINES_MAX - 1 } else { sums.len() };
        let mut shared = sums.split_off(own);
        // In the order of declaration, so that a line keeps its colour while counts change.
        sums.sort_by_key(|(place, ..)| *place);
        let values = |places: &[usize]| {
            let of = |bucket: &Bucket| {
                let counts = bucket.counts?;
                Some(as_f64(places.iter().filter_map(|place| counts.get(*place)).map(|count| u64::from(*count)).sum()))
            };
            seen.buckets.iter().map(of).collect()
        };
        let mut lines: Vec<Line> =
            sums.iter().map(|(place, reason, _)| Line { name: name(*reason), values: values(&[*place]) }).collect();
        if !shared.is_empty() {
            let places: Vec<usize> = shared.drain(..).map(|(place, ..)| place).collect();
            lines.push(Line { name: "other reasons".to_owned(), values: values(&places) });
        }
        Self { labels: seen.buckets.iter().map(label).collect(), lines }
    }
}

/// A reason with its verdict.
fn name(reason: Reason) -> String {
    format!("{} {reason}", reason.verdict())
}

/// A reason that may be broken where its words end.
fn breakable(reason: Reason) -> String {
    reason.as_str().replace('_', "_<wbr>")
}

const fn step(range: Range) -> &'static str {
    match range {
        Range::Minute => "second",
        Range::TenMinutes => "10 s",
        Range::Hour => "minute",
        Range::Day => "20 min",
    }
}

/// The plot's figures, the newest first.
fn by_time(page: &mut String, drawn: &Drawn, step: &str) {
    let caption = format!("Answers in each {step}, times in UTC");
    let _ = write!(
        page,
        "<details>\n<summary>Figures: {caption}</summary>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" \
         aria-label=\"{caption}\">\n<table>\n<caption>{caption}</caption>\n<thead><tr><th scope=\"col\">from</th>"
    );
    for line in &drawn.lines {
        let _ = write!(page, "<th scope=\"col\">{}</th>", escaped(&line.name));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for (place, label) in drawn.labels.iter().enumerate().rev() {
        let _ = write!(page, "<tr><th scope=\"row\">{label}</th>");
        for line in &drawn.lines {
            match line.values.get(place).copied().flatten() {
                Some(value) => {
                    let _ = write!(page, "<td>{value:.0}</td>");
                }
                None => page.push_str("<td>–</td>"),
            }
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table>\n</div>\n</details>\n");
}

/// Every reason that there was, in this range and since the start.
fn sums(page: &mut String, seen: &Seen) {
    let caption = format!("Answers by reason, in the last {} and since the start", seen.range.title());
    let _ = write!(
        page,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\">\n<table>\n<caption>{caption}</caption>\n\
         <thead><tr><th scope=\"col\">reason</th><th scope=\"col\" class=\"text\">verdict</th><th scope=\"col\">last {0}</th>\
         <th scope=\"col\">share</th><th scope=\"col\">since the start</th></tr></thead>\n<tbody>\n",
        seen.range.title()
    );
    let sums = seen.sums();
    let of_range: u64 = sums.iter().map(|(_, _, sum)| sum).sum();
    let mut rows = 0;
    for (place, reason, sum) in sums {
        let total = seen.totals.get(place).copied().unwrap_or(0);
        if total == 0 && sum == 0 {
            continue;
        }
        rows += 1;
        let class = match reason.verdict() {
            Verdict::Allow => "allow",
            Verdict::Deny => "deny",
        };
        let _ = writeln!(
            page,
            "<tr><th scope=\"row\">{}</th><td class=\"text verdict {class}\">{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            breakable(reason),
            reason.verdict(),
            grouped(sum),
            share(sum, of_range),
            grouped(total)
        );
    }
    if rows == 0 {
        page.push_str("<tr><td class=\"text\" colspan=\"5\">No question was answered since the start.</td></tr>\n");
    }
    page.push_str("</tbody>\n</table>\n</div>\n");
}
