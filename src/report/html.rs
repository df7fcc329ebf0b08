//! The report as one page that needs nothing else: no scripts, no fonts, no pictures from anywhere. It is read by eyes in
//! light and dark, by keyboards, by screen readers and on paper; behind each plot stands its table.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat};

use super::table::{percent, sentences};
use super::{DEFINITIONS, Figures, Report, Series, Unit};
use crate::html::plot::{self, Line, Plot, Scale};
use crate::html::{self, escaped, grouped};

/// Purposes that have plots of their own; the others stand in the table.
const PURPOSES_MAX: usize = 60;
/// Points of a line that are marked each; more would be one band of marks.
const MARKS: usize = 60;
/// The headings of the tables' figures.
const COLUMNS: [&str; 11] = [
    "opt-in rate",
    "withdrawal rate",
    "standing",
    "given",
    "refused",
    "withdrawn",
    "asked",
    "void",
    "renewed",
    "objected",
    "revoked",
];

/// The whole page.
#[must_use]
pub fn html(report: &Report) -> String {
    let mut page = String::new();
    let (from, to) = range(report);
    let title = format!("Consent rates, {from} to {to}");
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<meta \
         http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src \
         data:\">\n<meta name=\"referrer\" content=\"no-referrer\">\n<link rel=\"icon\" href=\"data:,\">\n\
         <title>{title}</title>\n<style>\n{}{STYLE}</style>\n</head>\n<body>\n",
        html::STYLE
    );
    page.push_str("<a class=\"skip\" href=\"#purposes\">To the figures by purpose</a>\n<main>\n");
    let _ = write!(
        page,
        "<h1>Consent rates, <span class=\"day\">{from}</span> to <span class=\"day\">{to}</span></h1>\n<p \
         class=\"lead\">{}</p>\n",
        about(report)
    );
    tiles(&mut page, &report.total());
    for sentence in sentences(report) {
        let _ = writeln!(page, "<p class=\"note\">{sentence}</p>");
    }
    overview(&mut page, report);
    purposes(&mut page, report);
    definitions(&mut page);
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

const STYLE: &str = include_str!("html/page.css");

fn range(report: &Report) -> (String, String) {
    let day = |day: Option<chrono::NaiveDate>| day.map_or_else(String::new, |day| day.to_string());
    (day(report.periods.first().map(|first| first.first)), day(report.periods.last().map(|last| last.last)))
}

fn about(report: &Report) -> String {
    let unit = match report.unit {
        Unit::Identifiers => "identifiers",
        Unit::People => "people (linked identifiers are one)",
    };
    let made_at = DateTime::from_timestamp_millis(report.made_at.unix_millis());
    let made_at = made_at.map_or_else(String::new, |at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
    let (by, zone) = (report.by.word(), escaped(report.zone_name()));
    format!("By {by}, {zone}. The ledger knows {} {unit}. Made at {made_at}.", grouped(report.subjects))
}

/// The figures of all that is shown, large.
fn tiles(page: &mut String, total: &Figures) {
    let tiles = [
        ("opt-in rate", percent(total.opt_in_rate())),
        ("given", grouped(total.given)),
        ("refused", grouped(total.refused)),
        ("withdrawn", grouped(total.withdrawn)),
        ("withdrawal rate", percent(total.withdrawal_rate())),
        ("standing at the end", grouped(total.standing)),
    ];
    page.push_str("<dl class=\"tiles\">\n");
    for (name, value) in tiles {
        let _ = writeln!(page, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    }
    page.push_str("</dl>\n");
}

/// All purposes and channels together.
fn overview(page: &mut String, report: &Report) {
    page.push_str("<section aria-labelledby=\"all\">\n<h2 id=\"all\">All purposes and channels</h2>\n");
    let labels = labels(report);
    let count = |name: &str, figure: fn(&Figures) -> u64| Line {
        name: name.to_owned(),
        values: report.totals.iter().map(|figures| Some(as_f64(figure(figures)))).collect(),
    };
    let answers = [
        count("given", |figures| figures.given),
        count("refused", |figures| figures.refused),
        count("withdrawn", |figures| figures.withdrawn),
    ];
    let totals: Vec<Option<&Figures>> = report.totals.iter().map(Some).collect();
    let rates = [
        Line { name: "opt-in rate".to_owned(), values: of_each(&totals, Figures::opt_in_rate) },
        Line { name: "withdrawal rate".to_owned(), values: of_each(&totals, Figures::withdrawal_rate) },
    ];
    page.push_str("<div class=\"plots\">\n");
    let plot =
        Plot { id: "all-rates", title: "Rates", labels: &labels, marks: MARKS, lines: &rates, scale: Scale::Rate };
    page.push_str(&plot.svg());
    let plot = Plot {
        id: "all-counts",
        title: "What was said",
        labels: &labels,
        marks: MARKS,
        lines: &answers,
        scale: Scale::Count,
    };
    page.push_str(&plot.svg());
    page.push_str("</div>\n");
    let rows = labels.iter().cloned().zip(totals);
    table(page, "All purposes and channels, by period", report.by.word(), rows, false);
    page.push_str("</section>\n");
}

fn purposes(page: &mut String, report: &Report) {
    page.push_str("<section aria-labelledby=\"purposes\">\n<h2 id=\"purposes\">By purpose and channel</h2>\n");
    let rows = report.series.iter().map(|series| (name(series), series.total.as_ref()));
    table(page, "All periods that are shown, by purpose and channel", "purpose, channel", rows, true);
    page.push_str("</section>\n");
    let labels = labels(report);
    let by_purpose = report.series.chunk_by(|one, next| one.purpose == next.purpose);
    let count = by_purpose.clone().count();
    for (number, series) in by_purpose.take(PURPOSES_MAX).enumerate() {
        purpose(page, report, &labels, number, series);
    }
    if count > PURPOSES_MAX {
        let _ =
            writeln!(page, "<p class=\"note\">{} more purposes stand in the table above.</p>", count - PURPOSES_MAX);
    }
}

/// One purpose, with a line for each channel.
fn purpose(page: &mut String, report: &Report, labels: &[String], number: usize, series: &[Series]) {
    let Some(first) = series.first() else { return };
    let title = escaped(&first.purpose);
    let _ = write!(page, "<section aria-labelledby=\"p{number}\">\n<h3 id=\"p{number}\">{title}</h3>\n");
    let lines = |figure: fn(&Figures) -> Option<f64>| {
        let lines = series.iter().take(plot::LINES_MAX).map(|series| {
            let figures: Vec<Option<&Figures>> = series.periods.iter().map(Option::as_ref).collect();
            Line { name: channel(&series.channel).to_owned(), values: of_each(&figures, figure) }
        });
        lines.collect::<Vec<_>>()
    };
    page.push_str("<div class=\"plots\">\n");
    let (rates, standing) = (lines(Figures::opt_in_rate), lines(|figures| Some(as_f64(figures.standing))));
    let (rate_id, standing_id) = (format!("p{number}-rate"), format!("p{number}-standing"));
    let title = format!("Opt-in rate of {}", first.purpose);
    let plot = Plot { id: &rate_id, title: &title, labels, marks: MARKS, lines: &rates, scale: Scale::Rate };
    page.push_str(&plot.svg());
    let title = format!("Standing consents to {}", first.purpose);
    let plot = Plot { id: &standing_id, title: &title, labels, marks: MARKS, lines: &standing, scale: Scale::Count };
    page.push_str(&plot.svg());
    page.push_str("</div>\n");
    if series.len() > plot::LINES_MAX {
        let more = series.len() - plot::LINES_MAX;
        let _ = writeln!(page, "<p class=\"note\">{more} more channels stand in the table only.</p>");
    }
    for series in series {
        let caption = format!("{} over {}", series.purpose, channel(&series.channel));
        let rows = labels.iter().cloned().zip(series.periods.iter().map(Option::as_ref));
        table(page, &caption, report.by.word(), rows, false);
    }
    page.push_str("</section>\n");
}

/// A table, folded away behind the plots unless it stands for itself.
fn table<'a>(
    page: &mut String,
    caption: &str,
    first: &str,
    rows: impl Iterator<Item = (String, Option<&'a Figures>)>,
    is_open: bool,
) {
    let caption = escaped(caption);
    if !is_open {
        let _ = writeln!(page, "<details>\n<summary>Figures: {caption}</summary>");
    }
    let _ = write!(
        page,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\">\n<table>\n<caption>{caption}\
         </caption>\n<thead><tr><th scope=\"col\">{first}</th>"
    );
    for column in COLUMNS {
        let _ = write!(page, "<th scope=\"col\">{column}</th>");
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for (name, figures) in rows {
        let _ = write!(page, "<tr><th scope=\"row\">{}</th>", escaped(&name));
        match figures {
            Some(figures) => cells(page, figures),
            None => {
                let _ = write!(page, "<td class=\"few\" colspan=\"{}\">too few to be shown</td>", COLUMNS.len());
            }
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table>\n</div>\n");
    if !is_open {
        page.push_str("</details>\n");
    }
}

fn cells(page: &mut String, figures: &Figures) {
    let Figures { asked, given, void, renewed, refused, withdrawn, objected, revoked, standing, .. } = *figures;
    let counts = [standing, given, refused, withdrawn, asked, void, renewed, objected, revoked].map(grouped);
    let rates = [percent(figures.opt_in_rate()), percent(figures.withdrawal_rate())];
    for value in rates.into_iter().chain(counts) {
        let _ = write!(page, "<td>{value}</td>");
    }
}

fn definitions(page: &mut String) {
    page.push_str(
        "<section aria-labelledby=\"words\">\n<h2 id=\"words\">What the figures mean</h2>\n<dl class=\"words\">\n",
    );
    for (name, definition) in DEFINITIONS {
        let _ = writeln!(page, "<div><dt>{name}</dt><dd>{definition}</dd></div>");
    }
    page.push_str("</dl>\n</section>\n");
}

fn labels(report: &Report) -> Vec<String> {
    let label = |period: &super::Period| {
        let mark = if period.is_partial(report.by) { " (part)" } else { "" };
        format!("{}{mark}", period.label)
    };
    report.periods.iter().map(label).collect()
}

fn of_each(figures: &[Option<&Figures>], figure: impl Fn(&Figures) -> Option<f64>) -> Vec<Option<f64>> {
    figures.iter().map(|figures| figures.and_then(&figure)).collect()
}

fn name(series: &Series) -> String {
    format!("{}, {}", series.purpose, channel(&series.channel))
}

fn channel(channel: &str) -> &str {
    if channel == "*" { "all channels at once" } else { channel }
}

#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
const fn as_f64(count: u64) -> f64 {
    count as f64
}
