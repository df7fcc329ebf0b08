//! A sidecar without its listeners: the enforcer over a real ledger, copy and evidence log, for a test to put a wire on.

#![allow(dead_code, reason = "each test file takes what it needs")]

use std::time::Duration;

use consentd::clock::Clock;
use consentd::domain::LedgerStanding;
use consentd::enforcer::Enforcer;
use consentd::evidence::record::EvidenceRecord;
use consentd::evidence::{self, Archive, EvidenceLog};
use consentd::ledger::LedgerSource;
use consentd::ledger::file::{self, FileSource};
use consentd::replica::{self, Replica, Running};
use consentd::telemetry::Metrics;

use crate::sidecar::{Home, eventually};

/// The rooms behind the wires. Ended by [`Inside::stop`].
pub(crate) struct Inside {
    pub(crate) enforcer: Enforcer,
    pub(crate) metrics: Metrics,
    evidence: EvidenceLog,
    running: Running,
}

impl Inside {
    /// Starts them on a home's ledger, and waits until that is read. `max_wait` bounds the wait for a token.
    pub(crate) async fn start(home: &Home, max_wait: Duration) -> Self {
        let clock = Clock::system();
        let (source, source_clock) = (file::Config::new(home.ledger()), clock.clone());
        let sources =
            move || -> Box<dyn LedgerSource> { Box::new(FileSource::new(source.clone(), source_clock.clone())) };
        let config = replica::Config {
            folder: home.data().join("replica"),
            cache_bytes: 4 << 20,
            store_cache_bytes: 4 << 20,
            secret: [7; 32],
        };
        let (replica, running) = Replica::start(config, Box::new(sources), clock.clone()).expect("threads");
        let following = async || (replica.view().ledger == LedgerStanding::Following).then_some(());
        eventually("the ledger is read", following).await;
        let metrics = Metrics::new().expect("metrics");
        let config = evidence::Config::new(&home.data().join("evidence"));
        let evidence = EvidenceLog::open(config, &clock).expect("not locked");
        let enforcer = Enforcer::new(replica, evidence.clone(), metrics.clone(), clock, max_wait);
        Self { enforcer, metrics, evidence, running }
    }

    /// Ends them in order.
    pub(crate) async fn stop(self) {
        let Self { evidence, running, .. } = self;
        let closing = tokio::task::spawn_blocking(move || {
            evidence.close().expect("the log closes in order");
            running.stop();
        });
        closing.await.expect("no panic");
    }
}

/// The evidence of an answer, by its name.
pub(crate) fn record(home: &Home, id: &str) -> EvidenceRecord {
    let archive = Archive::open(&home.data().join("evidence")).expect("a log");
    archive.find(&id.parse().expect("an id")).expect("readable").unwrap_or_else(|| panic!("`{id}` is missing"))
}
