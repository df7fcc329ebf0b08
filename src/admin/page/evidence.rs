//! How far the evidence of the answers has got.

use std::fmt::Write as _;

use super::super::facts::{EvidenceFacts, ShippingFacts};
use super::super::text::{amount, bytes, span};
use crate::html::{escaped, grouped};

pub(super) fn section(page: &mut String, evidence: &EvidenceFacts) {
    page.push_str(
        "<section id=\"evidence\" data-live aria-labelledby=\"evidence-h\">\n<h2 id=\"evidence-h\">Evidence</h2>\n<p \
         class=\"note\">Every answer leaves a record. An ALLOW leaves only after its record has got as far as is asked for. \
         Counts are since the start.</p>\n",
    );
    stages(page, evidence);
    let alarms = [
        (
            "Poisoned: no evidence can be written, so that everything is denied",
            &evidence.poisoned,
            "Mend what the sentence names, then start the sidecar again. See “The evidence is poisoned” in docs/operations.md.",
        ),
        (
            "Withheld: no evidence is taken until some was shipped, so that everything is denied",
            &evidence.withheld,
            "Mend the way to the servers; no restart is needed.",
        ),
        (
            "Evidence cannot be shipped now",
            &evidence.shipping.as_ref().and_then(|shipping| shipping.trouble.clone()),
            "Answers go on, and what waits is kept here, up to the bound.",
        ),
    ];
    for (what, why, todo) in alarms {
        if let Some(why) = why {
            let _ = writeln!(
                page,
                "<div class=\"alarm\"><p><strong>{what}</strong>: {}.</p><p class=\"todo\"><strong>What to do:</strong> {todo}</p></div>",
                escaped(why)
            );
        }
    }
    page.push_str("</section>\n");
}

fn stages(page: &mut String, evidence: &EvidenceFacts) {
    page.push_str("<ol class=\"stages\">\n");
    let EvidenceFacts { appended, written, synced, .. } = *evidence;
    stage(page, "appended", appended, "in this process", evidence.awaited);
    let in_kernel = format!("in the kernel: survives the end of the process{}", behind(appended, written));
    stage(page, "written", written, &format!("{in_kernel}; {} in all", bytes(evidence.bytes)), evidence.awaited);
    let on_device = format!("on the device: survives a power loss{}", behind(written, synced));
    let signed =
        format!("; the last signed checkpoint covers {} of this month", amount(evidence.checkpoint_size, "record"));
    stage(page, "synced", synced, &format!("{on_device}{signed}"), evidence.awaited);
    match &evidence.shipping {
        Some(shipping) => stage(page, "shipped", shipping.records, &shipped(shipping), evidence.awaited),
        None => page.push_str(
            "<li><span class=\"name\">shipped</span> <b>–</b> <small>evidence stays on this machine</small></li>\n",
        ),
    }
    page.push_str("</ol>\n");
}

fn stage(page: &mut String, name: &str, count: u64, more: &str, awaited: &str) {
    let is_awaited = name == awaited;
    let class = if is_awaited { " class=\"awaited\"" } else { "" };
    let waits = if is_awaited { "<small><strong>An ALLOW waits for this.</strong></small>" } else { "" };
    let _ = writeln!(
        page,
        "<li{class}><span class=\"name\">{name}</span> <b>{}</b> <small>{}</small>{waits}</li>",
        grouped(count),
        escaped(more)
    );
}

fn behind(before: u64, here: u64) -> String {
    match before.saturating_sub(here) {
        0 => String::new(),
        behind => format!("; {} to go", grouped(behind)),
    }
}

fn shipped(shipping: &ShippingFacts) -> String {
    let ShippingFacts { unshipped_bytes, unshipped_bytes_max, oldest, .. } = shipping;
    let waiting = format!(
        "acknowledged by the central stream; {} of {} wait",
        bytes(*unshipped_bytes),
        bytes(*unshipped_bytes_max)
    );
    if oldest.is_zero() { waiting } else { format!("{waiting}, the oldest for {}", span(*oldest)) }
}
