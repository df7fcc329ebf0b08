//! The record of answers, and where it is shipped to.

use std::time::Duration;

use super::PATH_BYTES_MAX;
use super::ledger::NatsKeys;
use crate::config::keys::{self, Evidence, EvidenceStage, NatsServer, Ship, ShipKind};
use crate::config::reader::Reader;

impl Evidence {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            stage: reader.choice(
                "evidence.stage",
                "What evidence must have reached before an ALLOW leaves: the kernel, or the device.",
                EvidenceStage::Written,
                &[("written", EvidenceStage::Written), ("synced", EvidenceStage::Synced)],
            ),
            segment_bytes: reader.size(
                "evidence.segment_bytes",
                "The size of one file of the log.",
                keys::DEFAULT_SEGMENT_BYTES,
                1 << 20..=1 << 30,
            ),
            flush_interval: reader.duration(
                "evidence.flush_interval",
                "How often written evidence is flushed to the device.",
                keys::DEFAULT_FLUSH_INTERVAL,
                Duration::from_millis(10)..=Duration::from_mins(1),
            ),
            checkpoint_interval: reader.duration(
                "evidence.checkpoint_interval",
                "How often a checkpoint over new evidence is signed.",
                keys::DEFAULT_CHECKPOINT_INTERVAL,
                Duration::from_millis(100)..=Duration::from_hours(1),
            ),
            key_file: reader.path_or_off(
                "evidence.key_file",
                "The secret, 32 bytes, that the keys of evidence are made of, the same for all who ship to one stream: with it subjects are found in what was collected; \"off\": each month has a random key, which never leaves this folder.",
                PATH_BYTES_MAX,
                None,
            ),
            ship: Ship::read(reader),
        }
    }
}

impl Ship {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let keys = NatsKeys {
            url: (
                "evidence.ship_url",
                "The NATS servers that evidence is shipped to; \"off\": those of the ledger, reached in the same way.",
            ),
            creds_file: ("evidence.ship_creds_file", "Who we are to them, as in ledger.creds_file."),
            tls_ca_file: ("evidence.ship_tls_ca_file", "The authorities of their certificates, in PEM."),
            tls_cert_file: ("evidence.ship_tls_cert_file", "Our certificate for them, in PEM."),
            tls_key_file: ("evidence.ship_tls_key_file", "The key of that certificate, in PEM."),
        };
        Self {
            kind: reader.choice(
                "evidence.ship",
                "Whether evidence is shipped to a central stream.",
                ShipKind::None,
                &[("none", ShipKind::None), ("nats", ShipKind::Nats)],
            ),
            server: NatsServer::read(reader, &keys),
            stream: reader.stream(
                "evidence.ship_stream",
                "The stream that evidence is shipped to.",
                keys::DEFAULT_SHIP_STREAM,
            ),
            max_unshipped_bytes: reader.size(
                "evidence.max_unshipped_bytes",
                "How much evidence may wait to be shipped; beyond it every answer is a DENY.",
                keys::DEFAULT_MAX_UNSHIPPED_BYTES,
                1 << 20..=1 << 40,
            ),
            wait: reader.duration(
                "evidence.ship_wait",
                "The longest that the end of the sidecar waits for what is still to be shipped, also while its servers are away.",
                keys::DEFAULT_SHIP_WAIT,
                Duration::ZERO..=Duration::from_hours(1),
            ),
            keep_shipped: reader.duration_or_off(
                "evidence.keep_shipped",
                "How long after its end a month that was shipped is kept here; \"off\" keeps it for good.",
                None,
                Duration::ZERO..=Duration::from_hours(24 * 3660),
            ),
            max_shipped_bytes: reader.size_or_off(
                "evidence.max_shipped_bytes",
                "How much evidence that was shipped is kept here; beyond it the oldest goes, also within the month; \"off\" keeps it all.",
                1 << 20..=1 << 40,
            ),
        }
    }
}
