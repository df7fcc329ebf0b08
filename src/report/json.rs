//! The report for programs.

use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value, json};

use super::{DEFINITIONS, Figures, Report, Unit};

/// The report as one JSON object. Rates are parts of 1, to four places, and null where nobody answered; figures that are
/// not shown are null.
#[must_use]
pub fn json(report: &Report) -> Value {
    let periods = report.periods.iter().map(|period| {
        let (first, last) = (period.first.to_string(), period.last.to_string());
        json!({ "label": period.label, "first": first, "last": last, "partial": period.is_partial(report.by) })
    });
    let series = report.series.iter().map(|series| {
        json!({
            "purpose": series.purpose,
            "channel": series.channel,
            "periods": series.periods.iter().map(|figures| figures.as_ref().map(of_figures)).collect::<Vec<_>>(),
            "total": series.total.as_ref().map(of_figures),
        })
    });
    let definitions: Map<String, Value> =
        DEFINITIONS.iter().map(|(name, text)| ((*name).to_owned(), json!(text))).collect();
    let made_at = DateTime::from_timestamp_millis(report.made_at.unix_millis());
    json!({
        "made_at": made_at.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true)),
        "time_zone": report.zone_name(),
        "by": report.by.word(),
        "unit": match report.unit { Unit::Identifiers => "identifiers", Unit::People => "people" },
        "subjects": report.subjects,
        "unreadable_events": report.unreadable,
        "min_subjects": report.min_subjects,
        "suppressed_figures": report.suppressed,
        "periods": periods.collect::<Vec<_>>(),
        "totals": report.totals.iter().map(of_figures).collect::<Vec<_>>(),
        "series": series.collect::<Vec<_>>(),
        "definitions": definitions,
    })
}

fn of_figures(figures: &Figures) -> Value {
    json!({
        "asked": figures.asked,
        "given": figures.given,
        "void": figures.void,
        "renewed": figures.renewed,
        "refused": figures.refused,
        "withdrawn": figures.withdrawn,
        "objected": figures.objected,
        "revoked": figures.revoked,
        "standing_before": figures.standing_before,
        "standing": figures.standing,
        "opt_in_rate": figures.opt_in_rate().map(rounded),
        "withdrawal_rate": figures.withdrawal_rate().map(rounded),
    })
}

fn rounded(rate: f64) -> f64 {
    (rate * 10_000.0).round() / 10_000.0
}
