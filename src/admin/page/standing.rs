//! Whether the sidecar is ready, or why not and what to do; and how it does.

use std::fmt::Write as _;

use super::super::seen::{Seen, todo};
use super::super::text::{amount, bytes, clock_time, share, span};
use crate::domain::LedgerStanding;
use crate::html::{escaped, grouped};

pub(super) fn section(page: &mut String, seen: &Seen) {
    let _ = write!(
        page,
        "<section id=\"now\" data-live aria-labelledby=\"now-h\">\n<h1 id=\"now-h\">consentd</h1>\n<p class=\"lead\">Version {}, \
         as of {} UTC.</p>\n",
        env!("CARGO_PKG_VERSION"),
        clock_time(seen.at, true)
    );
    readiness(page, seen);
    tiles(page, seen);
    page.push_str("</section>\n");
}

fn readiness(page: &mut String, seen: &Seen) {
    let (class, sign, told) = if seen.causes.is_empty() {
        ("yes", "M4 13l5 5L20 6", "Ready: questions are answered".to_owned())
    } else {
        let causes: Vec<&str> = seen.causes.iter().map(|cause| cause.what).collect();
        ("no", "M5 5l14 14M19 5L5 19", format!("Not ready, because of: {}", causes.join(", ")))
    };
    // Told aloud when it changes. The causes hold figures, which change with every look.
    let _ = writeln!(
        page,
        "<p id=\"ready\" class=\"ready {class}\" role=\"status\"><svg class=\"sign\" viewBox=\"0 0 24 24\" aria-hidden=\"true\"><path \
         d=\"{sign}\"/></svg><span>{told}</span></p>"
    );
    if seen.causes.is_empty() {
        return;
    }
    page.push_str("<ul class=\"causes\">\n");
    for cause in &seen.causes {
        let (what, why, todo) = (escaped(cause.what), escaped(&cause.why), todo(cause.what));
        let _ = writeln!(
            page,
            "<li><p><strong>{what}</strong>: {why}.</p><p class=\"todo\"><strong>What to do:</strong> {todo}</p></li>"
        );
    }
    page.push_str("</ul>\n");
}

fn tiles(page: &mut String, seen: &Seen) {
    let view = &seen.facts.view;
    let following = match view.ledger {
        LedgerStanding::Following => "of the ledger, which is followed",
        LedgerStanding::Building => "of the ledger; the copy is being built",
        LedgerStanding::Broken => "of a ledger that cannot be trusted",
    };
    let token = if view.token.is_empty() { "no token yet".to_owned() } else { format!("token {}", view.token) };
    let catalogue = view.catalogue.as_deref();
    let purposes = catalogue.map_or_else(
        || "none was published: everything is denied".to_owned(),
        |catalogue| {
            let (purposes, channels) = (catalogue.purposes().count(), catalogue.channels().count());
            format!("{}, {}", amount(purposes as u64, "purpose"), amount(channels as u64, "channel"))
        },
    );
    let cache = seen.facts.cache;
    let connections = seen.facts.connections;
    let (answers, allowed) = seen.answers();
    let tiles = [
        ("Position", grouped(view.position), following.to_owned()),
        ("Age of the view", span(view.staleness), token),
        (
            "Catalogue",
            catalogue.map_or_else(|| "none".to_owned(), |catalogue| catalogue.version().to_string()),
            purposes,
        ),
        ("Answers a second", rate(seen.rate), "over the last ten".to_owned()),
        ("Answers", grouped(answers), format!("since the start; {} allowed", share(allowed, answers))),
        (
            "Unreadable events",
            grouped(view.quarantined),
            if view.quarantined == 0 { "of the ledger" } else { "of the ledger; find them in the log" }.to_owned(),
        ),
        (
            "Subjects in memory",
            grouped(cache.subjects),
            format!("{} of {}", bytes(cache.bytes), bytes(cache.bytes_max)),
        ),
        (
            "Found in memory",
            share(cache.hits, cache.hits + cache.misses),
            format!("of {}", amount(cache.hits + cache.misses, "look-up")),
        ),
        (
            "Connections",
            grouped(connections.open),
            format!("of {} at most; {} since the start", grouped(connections.open_max), grouped(connections.accepted)),
        ),
        ("Up for", span(seen.up), "since the start of all counts".to_owned()),
    ];
    page.push_str("<dl class=\"tiles\">\n");
    for (name, value, more) in tiles {
        let (value, more) = (escaped(&value), escaped(&more));
        let _ = writeln!(page, "<div><dt>{name}</dt><dd>{value} <small>{more}</small></dd></div>");
    }
    page.push_str("</dl>\n");
}

fn rate(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1}") } else { grouped(rounded(rate)) }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is not negative, and far below what fits"
)]
fn rounded(rate: f64) -> u64 {
    rate.round() as u64
}
