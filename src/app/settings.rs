//! What the configuration says, in the words of each room.

use crate::authzen;
use crate::config::{self, CentralLedger, Config, EvidenceStage, NatsServer, Settled};
use crate::evidence::{self, EvidenceLog};
use crate::ledger;
use crate::nats;
use crate::telemetry::Sampling;
use crate::telemetry::otlp;
use crate::transport;

/// The part of the longest call that an answer over HTTP may take. At its end gRPC's own limit says in gRPC's words that
/// there was no answer, with HTTP's status 200.
const AUTHZEN_TIMEOUT_SHARE: (u32, u32) = (9, 10);

/// How connections come in.
#[must_use]
pub fn transport_config(config: &Config, settled: &Settled) -> transport::Config {
    let server = &config.server;
    transport::Config {
        tcp: server.tcp,
        http1: config.authzen.enabled,
        tls: server.tls.clone(),
        uds: server.uds.clone(),
        uds_mode: server.uds_mode,
        callers: config.callers.clone(),
        max_concurrent_streams: settled.max_concurrent_streams,
        max_connections: server.max_connections,
        max_in_flight: server.max_in_flight,
        windows: transport::Windows::OF_QUESTIONS,
        request_timeout: server.request_timeout,
        max_connection_age: server.max_connection_age,
        max_connection_age_grace: server.max_connection_age_grace,
    }
}

pub(super) fn message_bytes_max(server: &config::Server) -> usize {
    usize::try_from(server.max_message_bytes).unwrap_or(usize::MAX)
}

/// How AuthZEN is answered, with the limits that gRPC has.
pub(super) fn authzen_config(config: &Config) -> authzen::Config {
    let (part, whole) = AUTHZEN_TIMEOUT_SHARE;
    authzen::Config {
        resource_type: config.authzen.resource_type.clone(),
        url: config.authzen.url.clone(),
        body_bytes_max: message_bytes_max(&config.server),
        batch_max: config.server.max_batch,
        timeout: config.server.request_timeout.saturating_mul(part) / whole,
    }
}

pub(super) fn evidence_config(config: &Config) -> evidence::Config {
    evidence::Config {
        dir: config.data_dir.join("evidence"),
        stage: match config.evidence.stage {
            EvidenceStage::Written => evidence::Stage::Written,
            EvidenceStage::Synced => evidence::Stage::Synced,
        },
        segment_bytes: config.evidence.segment_bytes,
        flush_interval: config.evidence.flush_interval,
        checkpoint_interval: config.evidence.checkpoint_interval,
        key_file: config.evidence.key_file.clone(),
        ship: shipping(config),
    }
}

/// Where telemetry is sent to, if anywhere.
pub(super) fn otlp_config(config: &Config, evidence: &EvidenceLog) -> Option<otlp::Config> {
    let config::Telemetry {
        otlp_timeout,
        otlp_headers_file,
        otlp_ca_file,
        trace_ratio,
        slow_answer,
        kept_per_second,
        ..
    } = &config.telemetry;
    let kept_per_second = u32::try_from(*kept_per_second).unwrap_or(u32::MAX);
    Some(otlp::Config {
        endpoint: config.telemetry.otlp_endpoint.clone()?,
        timeout: *otlp_timeout,
        headers_file: otlp_headers_file.clone(),
        ca_file: otlp_ca_file.clone(),
        sampling: trace_ratio.map(|ratio| Sampling { ratio, slow: *slow_answer, kept_per_second }),
        metrics_interval: config.telemetry.metrics_interval,
        instance: evidence.instance().map(|instance| instance.to_string()).unwrap_or_default(),
    })
}

/// Where evidence is shipped to, if anywhere.
fn shipping(config: &Config) -> Option<evidence::ship::Config> {
    let ship = &config.evidence.ship;
    if ship.kind != config::ShipKind::Nats {
        return None;
    }
    let server = ship.server.as_ref().or(config.ledger.central.as_ref().map(|central| &central.server))?;
    Some(evidence::ship::Config {
        nats: nats::Config { name: "consentd evidence".to_owned(), ..connection(server) },
        stream: ship.stream.clone(),
        max_unshipped_bytes: ship.max_unshipped_bytes,
        keep_shipped: ship.keep_shipped,
        max_shipped_bytes: ship.max_shipped_bytes,
        wait: ship.wait,
    })
}

fn connection(server: &NatsServer) -> nats::Config {
    let (ca, cert, key) = (&server.tls_ca_file, &server.tls_cert_file, &server.tls_key_file);
    nats::Config {
        credentials: server.creds_file.clone(),
        tls: nats::Tls { ca: ca.clone(), cert: cert.clone(), key: key.clone() },
        ..nats::Config::new(server.servers.clone())
    }
}

pub(super) fn central_config(central: &CentralLedger) -> ledger::nats::Config {
    let (stream, subject_key_file) = (central.stream.clone(), central.subject_key_file.clone());
    ledger::nats::Config { connection: connection(&central.server), stream, subject_key_file }
}
