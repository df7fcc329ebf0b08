//! What the page shows, for programs.

use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value, json};

use super::Setting;
use super::facts::{Facts, ShippingFacts};
use super::seen::{Seen, todo};
use crate::domain::{Catalogue, LedgerStanding, Reason, Time};

/// All that the page shows as one JSON object; the settings are null where they are not shown.
pub(super) fn status(seen: &Seen, settings: Option<&[Setting]>) -> Value {
    let Facts { view, cache, evidence, connections } = &seen.facts;
    let causes =
        seen.causes.iter().map(|cause| json!({ "what": cause.what, "why": cause.why, "do": todo(cause.what) }));
    let catalogue = view.catalogue.as_deref();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "at": time(seen.at),
        "up_seconds": seen.up.as_secs(),
        "ready": seen.causes.is_empty(),
        "causes": causes.collect::<Vec<_>>(),
        "view": {
            "ledger": match view.ledger {
                LedgerStanding::Following => "following",
                LedgerStanding::Building => "building",
                LedgerStanding::Broken => "broken",
            },
            "position": view.position,
            "token": &*view.token,
            "staleness_seconds": view.staleness.as_secs_f64(),
            "catalogue_version": catalogue.map_or(0, Catalogue::version),
            "unreadable_events": view.quarantined,
        },
        "answers": { "per_second": seen.rate, "by_reason": by_reason(seen), "over_time": over_time(seen) },
        "evidence": {
            "awaited": evidence.awaited,
            "appended": evidence.appended,
            "written": evidence.written,
            "synced": evidence.synced,
            "bytes": evidence.bytes,
            "checkpoint_records": evidence.checkpoint_size,
            "poisoned": evidence.poisoned,
            "withheld": evidence.withheld,
            "shipping": evidence.shipping.as_ref().map(shipping),
        },
        "cache": {
            "subjects": cache.subjects,
            "bytes": cache.bytes,
            "bytes_max": cache.bytes_max,
            "hits": cache.hits,
            "misses": cache.misses,
        },
        "connections": { "open": connections.open, "open_max": connections.open_max, "accepted": connections.accepted },
        "settings": settings.map(|settings| settings.iter().map(setting).collect::<Vec<_>>()),
    })
}

/// Every reason with what it says and what one can do about it.
pub(super) fn reasons() -> Value {
    let reason = |reason: &Reason| {
        let words = json!({
            "verdict": reason.verdict().as_str(),
            "sentence": reason.sentence(),
            "advice": reason.advice(),
        });
        (reason.as_str().to_owned(), words)
    };
    Value::Object(Reason::ALL.iter().map(reason).collect())
}

/// Answers since the start, of the reasons that there were.
fn by_reason(seen: &Seen) -> Value {
    let counts = Reason::ALL.iter().zip(seen.totals).filter(|(_, count)| *count > 0);
    Value::Object(counts.map(|(reason, count)| (reason.as_str().to_owned(), json!(count))).collect())
}

/// The buckets of the range, the newest last; null where nobody counted.
fn over_time(seen: &Seen) -> Value {
    let bucket = |bucket: &super::history::Bucket| {
        let counts = bucket.counts.as_ref().map(|counts| {
            let nonzero = Reason::ALL.iter().zip(counts).filter(|(_, count)| **count > 0);
            nonzero.map(|(reason, count)| (reason.as_str().to_owned(), json!(count))).collect::<Map<_, _>>()
        });
        json!({ "from": time(bucket.from), "whole": bucket.is_whole, "by_reason": counts })
    };
    json!({
        "range": seen.range.word(),
        "bucket_seconds": seen.range.step().as_secs(),
        "buckets": seen.buckets.iter().map(bucket).collect::<Vec<_>>(),
    })
}

fn shipping(shipping: &ShippingFacts) -> Value {
    json!({
        "records": shipping.records,
        "unshipped_bytes": shipping.unshipped_bytes,
        "unshipped_bytes_max": shipping.unshipped_bytes_max,
        "oldest_seconds": shipping.oldest.as_secs_f64(),
        "trouble": shipping.trouble,
    })
}

fn setting(setting: &Setting) -> Value {
    json!({ "key": setting.key, "value": setting.value, "set_by": setting.set_by })
}

fn time(at: Time) -> Option<String> {
    Some(DateTime::from_timestamp_millis(at.unix_millis())?.to_rfc3339_opts(SecondsFormat::Secs, true))
}
