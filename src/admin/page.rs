//! The page: made here as a whole, so that it shows the same with and without scripts. The script asks, and puts what is
//! made anew in the place of what it was.

mod decisions;
mod evidence;
mod question;
mod settings;
mod standing;

use std::fmt::Write as _;
use std::sync::LazyLock;

use data_encoding::BASE64;
use ring::digest::{SHA256, digest};

use super::seen::Seen;
use super::{Setting, visitor::Stranger};
use crate::html;

const OWN_STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
/// What stands between the tags of the style.
static STYLE: LazyLock<String> = LazyLock::new(|| format!("\n{}{OWN_STYLE}", html::STYLE));

/// What browsers let the page do: run its own script and style, and ask where it came from. It sends no form, is shown
/// inside no other page, and makes no text into elements.
pub(super) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| format!("'sha256-{}'", BASE64.encode(digest(&SHA256, text.as_bytes()).as_ref()));
    format!(
        "default-src 'none'; script-src {}; style-src {}; img-src data:; connect-src 'self'; base-uri 'none'; form-action \
         'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        hash(SCRIPT),
        hash(&STYLE)
    )
});

/// Whether the page may be asked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MayAsk {
    Yes,
    /// The configuration does not have it.
    Off,
    /// Not whoever looks.
    Not(Stranger),
}

/// The whole page. The configuration is shown on this machine alone.
pub(super) fn whole(seen: &Seen, may_ask: MayAsk, settings: Option<&[Setting]>) -> String {
    let mut page = String::with_capacity(96 << 10);
    head(&mut page, seen);
    let _ = write!(page, "<style>{}</style>\n</head>\n<body>\n", *STYLE);
    page.push_str("<a class=\"skip\" href=\"#ask\">To the question</a>\n<main>\n");
    live(&mut page, seen);
    question::section(&mut page, may_ask, seen.facts.view.catalogue.as_deref());
    settings::section(&mut page, settings);
    page.push_str("</main>\n");
    footer(&mut page);
    let _ = write!(page, "<script>{SCRIPT}</script>\n</body>\n</html>\n");
    page
}

/// What of the page changes by itself.
pub(super) fn changing(seen: &Seen) -> String {
    let mut page = String::with_capacity(32 << 10);
    head(&mut page, seen);
    page.push_str("</head>\n<body>\n<main>\n");
    live(&mut page, seen);
    question::lists(&mut page, seen.facts.view.catalogue.as_deref());
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn head(page: &mut String, seen: &Seen) {
    let title = if seen.causes.is_empty() { "Ready" } else { "Not ready" };
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\" translate=\"no\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<meta \
         name=\"referrer\" content=\"no-referrer\">\n<link rel=\"icon\" href=\"data:,\">\n<title>{title} · consentd</title>\n"
    );
}

fn live(page: &mut String, seen: &Seen) {
    standing::section(page, seen);
    decisions::section(page, seen);
    evidence::section(page, &seen.facts.evidence);
}

fn footer(page: &mut String) {
    page.push_str("<footer>\n<nav aria-label=\"For programs\">\n<ul>\n");
    for (path, what) in [
        ("status.json", "all of this as JSON"),
        ("metrics", "metrics, for Prometheus"),
        ("readyz", "readiness, for probes"),
        ("livez", "liveness, for probes"),
    ] {
        let _ = writeln!(page, "<li><a href=\"{path}\">/{path}</a> {what}</li>");
    }
    page.push_str("</ul>\n</nav>\n</footer>\n");
}
