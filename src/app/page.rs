//! What the local page shows of the rooms, put together here because only the composition root sees them all.

use std::sync::Arc;

use crate::admin::{CacheFacts, ConnectionFacts, EvidenceFacts, Facts, Look, Setting, ShippingFacts, ViewFacts};
use crate::config::{Config, Effective, EvidenceStage, Origin};
use crate::evidence::EvidenceLog;
use crate::replica::Replica;
use crate::transport::Counts;

/// Looks at the rooms. All of it is read from atomics and published pointers, which no answer waits for.
pub(super) fn look(
    config: &Config,
    cache_bytes_max: u64,
    replica: &Replica,
    evidence: &EvidenceLog,
    connections: Counts,
) -> Look {
    let awaited = match config.evidence.stage {
        EvidenceStage::Written => "written",
        EvidenceStage::Synced => "synced",
    };
    let (replica, evidence) = (replica.clone(), evidence.clone());
    Arc::new(move || Facts {
        view: view(&replica),
        cache: cache(&replica, cache_bytes_max),
        evidence: evidence_facts(&evidence, awaited),
        connections: ConnectionFacts {
            open: connections.open() as u64,
            open_max: connections.open_max() as u64,
            accepted: connections.accepted(),
        },
    })
}

/// The configuration as the page shows it.
pub(super) fn settings(effective: &Effective) -> Vec<Setting> {
    let setting = |own: crate::config::InEffect<'_>| Setting {
        key: own.key,
        value: own.here.map_or_else(|| own.value.to_owned(), |here| format!("{} (here: {here})", own.value)),
        meaning: own.meaning,
        set_by: (*own.origin != Origin::Default).then(|| own.origin.to_string()),
    };
    effective.values().map(setting).collect()
}

fn view(replica: &Replica) -> ViewFacts {
    let view = replica.view();
    ViewFacts {
        ledger: view.ledger,
        position: view.published.position.0,
        token: Arc::clone(&view.published.token),
        staleness: view.staleness,
        catalogue: view.published.catalogue.clone(),
        quarantined: view.published.quarantined,
    }
}

fn cache(replica: &Replica, bytes_max: u64) -> CacheFacts {
    let stats = replica.cache_stats();
    CacheFacts { subjects: stats.entries, bytes: stats.bytes, bytes_max, hits: stats.hits, misses: stats.misses }
}

fn evidence_facts(evidence: &EvidenceLog, awaited: &'static str) -> EvidenceFacts {
    let health = evidence.health();
    let shipping = evidence.shipping().map(|shipping| ShippingFacts {
        records: shipping.records,
        unshipped_bytes: shipping.unshipped_bytes,
        unshipped_bytes_max: shipping.unshipped_bytes_max,
        oldest: shipping.oldest,
        trouble: shipping.trouble,
    });
    EvidenceFacts {
        awaited,
        appended: health.appended,
        written: health.written,
        synced: health.synced,
        bytes: health.bytes,
        checkpoint_size: health.checkpoint_size,
        poisoned: health.poisoned,
        withheld: health.withheld,
        shipping,
    }
}
