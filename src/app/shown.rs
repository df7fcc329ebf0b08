//! What readiness depends on, and what the metrics show: views of the rooms, put together here because only the
//! composition root sees them all.

use std::future::Future;

use crate::domain::{LedgerStanding, Status};
use crate::evidence::{EvidenceLog, Shipping};
use crate::lifecycle::{self, Check, LOOK_INTERVAL, Lifecycle};
use crate::replica::{COUNTED_MAX, ConsentCount, LoadStats, Progress, Replica, Trouble};
use crate::telemetry::{CONSENT_EVENTS, Metrics, TABLE_ROWS_MAX};

/// A view older than this is not ready, whatever purposes may allow: 10 s, far above a healthy follower's 100 ms.
const READY_STALENESS_SECONDS_MAX: f64 = 10.0;

/// Readiness over the local copy and the evidence.
pub(super) fn lifecycle(replica: &Replica, evidence: &EvidenceLog) -> Lifecycle {
    let (built, fresh, evidence) = (replica.clone(), replica.clone(), evidence.clone());
    let ledger: Check = Box::new(move || {
        let standing = built.view().ledger;
        let trouble = built.trouble().map(|trouble| sentence(&trouble));
        match standing {
            LedgerStanding::Following => None,
            LedgerStanding::Building => Some(trouble.unwrap_or_else(|| "the local copy is being built".to_owned())),
            LedgerStanding::Broken => Some(trouble.unwrap_or_else(|| "the ledger cannot be trusted".to_owned())),
        }
    });
    let freshness: Check = Box::new(move || {
        let view = fresh.view();
        let seconds = view.staleness.as_secs_f64();
        let stale = view.ledger == LedgerStanding::Following && seconds > READY_STALENESS_SECONDS_MAX;
        let trouble = fresh.trouble().map(|trouble| format!(": {}", sentence(&trouble))).unwrap_or_default();
        stale.then(|| format!("the view is {seconds:.1} s old{trouble}"))
    });
    let writable: Check = Box::new(move || {
        let health = evidence.health();
        health.poisoned.or(health.withheld)
    });
    Lifecycle::new(vec![("ledger", ledger), ("freshness", freshness), ("evidence", writable)])
}

fn sentence(trouble: &Trouble) -> String {
    match trouble {
        Trouble::LedgerBroken(why) => why.clone(),
        Trouble::LedgerWaiting(why) => format!("the ledger cannot be read: {why}"),
        Trouble::Building(progress) => building(progress),
        Trouble::Store(why) => format!("the local store cannot be opened: {why}"),
    }
}

fn building(progress: &Progress) -> String {
    let Progress { position, target, events, events_per_second, left } = progress;
    let left = left.map_or_else(String::new, |left| format!(", about {} s left", left.as_secs() + 1));
    format!(
        "the local copy is being built: position {} of {}, {events} events, {events_per_second} a second{left}",
        position.0, target.0
    )
}

/// Shows the rooms' figures on the metrics page.
pub(super) fn register(metrics: &Metrics, replica: &Replica, evidence: &EvidenceLog, lifecycle: &Lifecycle) {
    let lifecycle = lifecycle.clone();
    metrics.observe_gauge("consentd_ready", "1 when ready, else 0.", "", move || f64::from(lifecycle.is_ready()));
    register_replica(metrics, replica);
    register_consents(metrics, replica);
    register_loads(metrics, replica);
    register_evidence(metrics, evidence);
}

fn register_replica(metrics: &Metrics, replica: &Replica) {
    let gauge = |name, help, unit, value: fn(&Replica) -> f64| {
        let replica = replica.clone();
        metrics.observe_gauge(name, help, unit, move || value(&replica));
    };
    let counter = |name, help, value: fn(&Replica) -> u64| {
        let replica = replica.clone();
        metrics.observe_counter(name, help, "", move || value(&replica));
    };
    gauge("consentd_view_staleness_seconds", "Time since the view was last known to be complete.", "s", |replica| {
        replica.view().staleness.as_secs_f64()
    });
    gauge("consentd_ledger_broken", "1 when the ledger cannot be trusted, else 0.", "", |replica| {
        f64::from(replica.view().ledger == LedgerStanding::Broken)
    });
    gauge("consentd_ledger_position", "The position of the ledger that the view has reached.", "", |replica| {
        as_f64(replica.view().published.position.0)
    });
    gauge("consentd_catalogue_version", "The version of the catalogue in force; 0 is none.", "", |replica| {
        as_f64(replica.view().published.catalogue.as_ref().map_or(0, |catalogue| catalogue.version()))
    });
    gauge("consentd_cache_bytes", "The weight of the subjects in memory.", "By", |replica| {
        as_f64(replica.cache_stats().bytes)
    });
    gauge("consentd_cache_subjects", "Subjects in memory, absent ones included.", "", |replica| {
        as_f64(replica.cache_stats().entries)
    });
    counter("consentd_cache_hits_total", "Look-ups answered from memory.", |replica| replica.cache_stats().hits);
    counter("consentd_cache_misses_total", "Look-ups that went to the store or the ledger.", |replica| {
        replica.cache_stats().misses
    });
    counter("consentd_store_rebuilds_total", "Times the local store was set aside and rebuilt.", Replica::rebuilds);
    counter("consentd_replay_events_total", "Events read while the local copy was built.", Replica::replayed);
    gauge("consentd_quarantined_events", "Events of the ledger that could not be read.", "", |replica| {
        as_f64(replica.view().published.quarantined)
    });
}

/// What subjects have said since the view was complete.
fn register_consents(metrics: &Metrics, replica: &Replica) {
    const { assert!(COUNTED_MAX + Status::ALL.len() <= TABLE_ROWS_MAX, "all rows are shown") };
    let replica = replica.clone();
    let help = "Events of consents applied since the view was complete, by purpose, channel and status.";
    metrics.observe_table(CONSENT_EVENTS, help, ["purpose", "channel", "status"], move || {
        let row = |ConsentCount { purpose, channel, status, count }| {
            ([String::from(purpose), String::from(channel), status.as_str().to_owned()], count)
        };
        replica.consent_counts().into_iter().map(row).collect()
    });
}

/// What is loaded on demand; zeros where all of the ledger is copied.
fn register_loads(metrics: &Metrics, replica: &Replica) {
    let counter = |name, help, value: fn(&LoadStats) -> u64| {
        let replica = replica.clone();
        metrics.observe_counter(name, help, "", move || value(&replica.load_stats()));
    };
    counter("consentd_loads_total", "Subjects that were loaded from the ledger.", |stats| stats.loaded);
    counter("consentd_loads_absent_total", "Loaded subjects of which the ledger says nothing.", |stats| stats.absent);
    counter("consentd_loads_failed_total", "Loads that did not end in time; who asked was denied.", |stats| {
        stats.failed
    });
    counter("consentd_loads_shared_total", "Questions that waited for another question's load.", |stats| stats.shared);
    let replica = replica.clone();
    let (name, help) = ("consentd_load_duration_seconds", "How long loads took since the start, to a fifth.");
    metrics.observe_gauges(name, help, "s", "quantile", move || {
        let stats = replica.load_stats();
        vec![("0.5", stats.p50.as_secs_f64()), ("0.99", stats.p99.as_secs_f64())]
    });
}

fn register_evidence(metrics: &Metrics, evidence: &EvidenceLog) {
    let log = evidence.clone();
    metrics.observe_gauges(
        "consentd_evidence_records",
        "Records of evidence since the start, by how far they have got.",
        "",
        "stage",
        move || {
            let health = log.health();
            vec![
                ("appended", as_f64(health.appended)),
                ("written", as_f64(health.written)),
                ("synced", as_f64(health.synced)),
            ]
        },
    );
    let log = evidence.clone();
    metrics.observe_counter("consentd_evidence_bytes_total", "Bytes of evidence written.", "By", move || {
        log.health().bytes
    });
    let log = evidence.clone();
    metrics.observe_gauge("consentd_evidence_poisoned", "1 when no evidence can be written, else 0.", "", move || {
        f64::from(log.health().poisoned.is_some())
    });
    register_shipping(metrics, evidence);
}

/// All zero where evidence is not shipped.
fn register_shipping(metrics: &Metrics, evidence: &EvidenceLog) {
    let gauge = |name, help, unit, value: fn(&Shipping) -> f64| {
        let log = evidence.clone();
        metrics.observe_gauge(name, help, unit, move || log.shipping().map_or(0.0, |shipping| value(&shipping)));
    };
    let counter = |name, help, unit, value: fn(&Shipping) -> u64| {
        let log = evidence.clone();
        metrics.observe_counter(name, help, unit, move || log.shipping().map_or(0, |shipping| value(&shipping)));
    };
    gauge("consentd_evidence_unshipped_bytes", "Evidence that waits to be shipped.", "By", |shipping| {
        as_f64(shipping.unshipped_bytes)
    });
    gauge("consentd_evidence_unshipped_bytes_max", "How much evidence may wait to be shipped.", "By", |shipping| {
        as_f64(shipping.unshipped_bytes_max)
    });
    gauge(
        "consentd_evidence_kept_bytes",
        "Evidence kept here that was shipped, where it is bounded.",
        "By",
        |shipping| shipping.shipped_bytes.map_or(0.0, as_f64),
    );
    gauge("consentd_evidence_kept_bytes_max", "How much evidence that was shipped is kept here.", "By", |shipping| {
        shipping.shipped_bytes_max.map_or(0.0, as_f64)
    });
    gauge("consentd_evidence_unshipped_age_seconds", "Age of the oldest evidence on its way.", "s", |shipping| {
        shipping.oldest.as_secs_f64()
    });
    gauge(
        "consentd_evidence_withheld",
        "1 when no evidence is taken until some was shipped, else 0.",
        "",
        |shipping| f64::from(shipping.withheld.is_some()),
    );
    gauge("consentd_evidence_ship_failing", "1 when evidence cannot be shipped now, else 0.", "", |shipping| {
        f64::from(shipping.trouble.is_some())
    });
    counter("consentd_evidence_shipped_records_total", "Records that the stream has acknowledged.", "", |shipping| {
        shipping.records
    });
    counter("consentd_evidence_shipped_bytes_total", "Bytes of messages acknowledged.", "By", |shipping| {
        shipping.sent_bytes
    });
}

/// A count as a gauge has it: exact below 2^53.
#[allow(clippy::cast_precision_loss, reason = "gauges are floating point; counts stay far below 2^53")]
const fn as_f64(count: u64) -> f64 {
    count as f64
}

/// Tells whoever reports readiness of its changes. Ends never.
pub(super) async fn watch<F, R>(lifecycle: Lifecycle, report: F)
where
    F: Fn(bool) -> R + Send,
    R: Future<Output = ()> + Send,
{
    let mut ready = false;
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    loop {
        look.tick().await;
        let causes = lifecycle.causes();
        if causes.is_empty() != ready {
            ready = causes.is_empty();
            if ready {
                tracing::info!("ready");
            } else {
                // That it is stopping was said by whoever stops it, and needs nobody's attention.
                for cause in causes.iter().filter(|cause| cause.what != lifecycle::STOPPING) {
                    tracing::warn!(what = cause.what, why = cause.why, "not ready");
                }
            }
            report(ready).await;
        }
    }
}
