//! The form to ask and explain. It is for scripts alone: without them nothing of it is sent anywhere, above all not into an
//! address.

use std::fmt::Write as _;

use super::MayAsk;
use crate::domain::Catalogue;
use crate::html::escaped;

/// The fields that are always there: name, label, hint, an example, and the list of what is offered.
const FIELDS: [Field; 3] = [
    Field("subject", "Subject", "as space:id", "crm:42", ""),
    Field("purpose", "Purpose", "a key of the catalogue", "", "purposes"),
    Field("channel", "Channel", "a key of the catalogue", "", "channels"),
];
/// Those that are there where somebody looks for them.
const MORE_FIELDS: [Field; 6] = [
    Field("recipient", "Recipient", "empty: the controller itself", "", ""),
    Field("jurisdiction", "Jurisdiction", "ISO 3166, such as TR or US-ME", "", ""),
    Field("timeZone", "Time zone", "such as Europe/Istanbul", "", ""),
    Field("tcf", "TCF string", "of IAB Europe", "", ""),
    Field("gpp", "GPP string", "of the Global Privacy Platform", "", ""),
    Field("evidenceId", "Earlier answer", "to explain: its evidence id; leave purpose and channel empty", "", ""),
];

/// Name, label, hint, example, list.
struct Field(&'static str, &'static str, &'static str, &'static str, &'static str);

pub(super) fn section(page: &mut String, may_ask: MayAsk, catalogue: Option<&Catalogue>) {
    page.push_str(
        "<section id=\"ask\" tabindex=\"-1\" aria-labelledby=\"ask-h\">\n<h2 id=\"ask-h\">Ask and explain</h2>\n",
    );
    match may_ask {
        MayAsk::Yes => form(page, catalogue),
        MayAsk::Off => page.push_str(
            "<p class=\"note\">Nobody may ask here: who may ask is told apart elsewhere, or <code>admin.ask</code> is \
             <code>false</code>. Use <code>consentd ask</code> and <code>consentd explain</code>.</p>\n",
        ),
        MayAsk::Not(stranger) => {
            let _ = writeln!(page, "<p class=\"note\">You may not ask here: {}.</p>", escaped(&stranger.to_string()));
        }
    }
    page.push_str("</section>\n");
}

fn form(page: &mut String, catalogue: Option<&Catalogue>) {
    page.push_str(
        "<p class=\"note\">What is asked here is a real question: it is answered, counted, and leaves evidence like any other, \
         under the caller’s name <code>admin:page</code>. The subject goes to the sidecar and nowhere else: not into the \
         address, not into this browser’s storage, not into a log.</p>\n<noscript><p class=\"note\">Asking here needs \
         JavaScript. Without it use <code>consentd ask</code> and <code>consentd explain</code>.</p></noscript>\n<form \
         id=\"question\" method=\"post\" autocomplete=\"off\" hidden>\n<div class=\"fields\">\n",
    );
    for field in &FIELDS {
        field.write(page);
    }
    page.push_str("</div>\n<details>\n<summary>More: recipient, place, signals, an earlier answer</summary>\n<div class=\"fields\">\n");
    for field in &MORE_FIELDS {
        field.write(page);
    }
    page.push_str(
        "<div><label class=\"check\"><input type=\"checkbox\" name=\"gpc\">Sec-GPC: 1 (Global Privacy Control)</label></div>\n\
         </div>\n</details>\n<div class=\"buttons\">\n<button class=\"first\" type=\"submit\" value=\"ask\">Ask</button>\n<button \
         type=\"submit\" value=\"explain\">Explain</button>\n<button type=\"reset\">Clear</button>\n</div>\n",
    );
    lists(page, catalogue);
    page.push_str(
        "</form>\n<p id=\"told\" class=\"told\" role=\"status\"></p>\n<div id=\"shown\" role=\"region\" \
         aria-label=\"The answer\" hidden></div>\n",
    );
}

/// What the catalogue has to offer.
pub(super) fn lists(page: &mut String, catalogue: Option<&Catalogue>) {
    page.push_str("<datalist id=\"purposes\" data-live>");
    for purpose in catalogue.iter().flat_map(|catalogue| catalogue.purposes()) {
        let _ = write!(page, "<option value=\"{}\"></option>", escaped(&purpose.key));
    }
    page.push_str("</datalist>\n<datalist id=\"channels\" data-live>");
    for (key, title) in catalogue.iter().flat_map(|catalogue| catalogue.channels()) {
        let _ = write!(page, "<option value=\"{}\">{}</option>", escaped(key), escaped(title));
    }
    page.push_str("</datalist>\n");
}

impl Field {
    fn write(&self, page: &mut String) {
        let Self(name, label, hint, example, list) = self;
        let list = if list.is_empty() { String::new() } else { format!(" list=\"{list}\"") };
        let example = if example.is_empty() { String::new() } else { format!(" placeholder=\"{example}\"") };
        let required = if *name == "subject" { " required" } else { "" };
        // Nothing that is typed is to be completed, corrected or looked up by anybody.
        let _ = writeln!(
            page,
            "<div><label for=\"{name}\">{label}</label><span class=\"hint\" id=\"{name}-hint\">{hint}</span><input type=\"text\" \
             id=\"{name}\" name=\"{name}\" aria-describedby=\"{name}-hint\" autocomplete=\"off\" autocapitalize=\"none\" \
             autocorrect=\"off\" spellcheck=\"false\"{example}{list}{required}></div>"
        );
    }
}
