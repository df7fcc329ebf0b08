//! What the sidecar follows, and its copy of it.

use std::path::PathBuf;
use std::time::Duration;

use super::PATH_BYTES_MAX;
use crate::config::keys::{self, CentralLedger, Ledger, LedgerKind, NatsServer, Replica, ReplicaMode};
use crate::config::reader::Reader;

impl Ledger {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let kind = reader.choice(
            "ledger.kind",
            "Which kind of ledger is followed: a file, or a stream on NATS that many share.",
            LedgerKind::File,
            &[("file", LedgerKind::File), ("nats", LedgerKind::Nats)],
        );
        let meaning = "The file of the ledger, JSON Lines.";
        let file = match kind {
            LedgerKind::File => reader.required_path("ledger.file", meaning),
            LedgerKind::Nats => reader.path_or_off("ledger.file", meaning, PATH_BYTES_MAX, None).unwrap_or_default(),
        };
        let poll_interval = reader.duration(
            "ledger.poll_interval",
            "How often the file is looked at for new lines.",
            keys::DEFAULT_POLL_INTERVAL,
            Duration::from_millis(1)..=Duration::from_secs(10),
        );
        let central = CentralLedger::read(reader, kind);
        Self { kind, file, poll_interval, central }
    }
}

impl CentralLedger {
    /// The ledger on NATS, where it is of that kind and nothing is missing.
    pub(super) fn read(reader: &mut Reader, kind: LedgerKind) -> Option<Self> {
        let keys = NatsKeys {
            url: ("ledger.url", "The servers of a ledger on NATS."),
            creds_file: (
                "ledger.creds_file",
                "Who we are to them: credentials, the seed of an nkey, `user:password`, or a token.",
            ),
            tls_ca_file: ("ledger.tls_ca_file", "The authorities of their certificates, in PEM."),
            tls_cert_file: ("ledger.tls_cert_file", "Our certificate for them, in PEM."),
            tls_key_file: ("ledger.tls_key_file", "The key of that certificate, in PEM."),
        };
        let server = NatsServer::read(reader, &keys);
        let stream = reader.stream("ledger.stream", "The stream of a ledger on NATS.", keys::DEFAULT_LEDGER_STREAM);
        let subject_key_file = reader.path_or_off(
            "ledger.subject_key_file",
            "The key under which a ledger on NATS names subjects; the same for all who share it.",
            PATH_BYTES_MAX,
            None,
        );
        let freshness_interval = reader.duration(
            "ledger.freshness_interval",
            "How often it is proved that nothing is missing of a ledger on NATS.",
            keys::DEFAULT_FRESHNESS_INTERVAL,
            Duration::from_millis(100)..=Duration::from_mins(1),
        );
        if kind != LedgerKind::Nats {
            return None;
        }
        for (key, is_set) in [("ledger.url", server.is_some()), ("ledger.subject_key_file", subject_key_file.is_some())]
        {
            if !is_set && reader.is_sound(key) {
                reader.problem(key, "must be set where ledger.kind is `nats`");
            }
        }
        Some(Self { server: server?, stream, subject_key_file: subject_key_file?, freshness_interval })
    }
}

/// The keys of one connection to NATS, with what they mean.
pub(super) struct NatsKeys {
    pub(super) url: (&'static str, &'static str),
    pub(super) creds_file: (&'static str, &'static str),
    pub(super) tls_ca_file: (&'static str, &'static str),
    pub(super) tls_cert_file: (&'static str, &'static str),
    pub(super) tls_key_file: (&'static str, &'static str),
}

impl NatsServer {
    /// The servers and how they are reached, where some are named.
    pub(super) fn read(reader: &mut Reader, keys: &NatsKeys) -> Option<Self> {
        let servers = reader.servers_or_off(keys.url.0, keys.url.1);
        let mut file = |(key, meaning)| reader.path_or_off(key, meaning, PATH_BYTES_MAX, None);
        let creds_file = file(keys.creds_file);
        let tls_ca_file = file(keys.tls_ca_file);
        let tls_cert_file = file(keys.tls_cert_file);
        let tls_key_file = file(keys.tls_key_file);
        let ((cert, _), (key, _)) = (keys.tls_cert_file, keys.tls_key_file);
        match (&tls_cert_file, &tls_key_file) {
            (Some(_), None) if reader.is_sound(key) => reader.problem(key, format!("must be set where {cert} is")),
            (None, Some(_)) if reader.is_sound(cert) => reader.problem(cert, format!("must be set where {key} is")),
            _ => {}
        }
        let Some(servers) = servers else {
            let files = [
                (keys.creds_file, &creds_file),
                (keys.tls_ca_file, &tls_ca_file),
                (keys.tls_cert_file, &tls_cert_file),
                (keys.tls_key_file, &tls_key_file),
            ];
            for ((key, _), file) in files {
                if file.is_some() && reader.is_sound(keys.url.0) {
                    reader.problem(key, format!("is of no use where {} is off", keys.url.0));
                }
            }
            return None;
        };
        Some(Self { servers, creds_file, tls_ca_file, tls_cert_file, tls_key_file })
    }
}

impl Replica {
    pub(super) fn read(reader: &mut Reader, default_key_file: PathBuf) -> Self {
        Self {
            mode: reader.choice(
                "replica.mode",
                "How much of the ledger is copied: all of it, or, of one on NATS, the subjects that are asked for.",
                ReplicaMode::Full,
                &[("full", ReplicaMode::Full), ("on_demand", ReplicaMode::OnDemand)],
            ),
            load_timeout: reader.duration(
                "replica.load_timeout",
                "The longest that a question waits for subjects that are loaded on demand.",
                keys::DEFAULT_LOAD_TIMEOUT,
                Duration::from_millis(10)..=Duration::from_mins(1),
            ),
            cache_bytes: reader.size_or_auto(
                "replica.cache_bytes",
                "Memory for the subjects that are asked for; \"auto\" is a share of what the process may use.",
                keys::DEFAULT_CACHE_BYTES,
                1 << 20..=64 << 30,
            ),
            store_cache_bytes: reader.size_or_auto(
                "replica.store_cache_bytes",
                "Memory for pages of the store on disk; \"auto\" is a share of what the process may use.",
                keys::DEFAULT_STORE_CACHE_BYTES,
                1 << 20..=64 << 30,
            ),
            max_wait: reader.duration(
                "replica.max_wait",
                "The longest that a question waits for the view it asks for (at_least_as_fresh).",
                keys::DEFAULT_MAX_WAIT,
                Duration::ZERO..=Duration::from_mins(1),
            ),
            key_file: reader.path(
                "replica.key_file",
                "The file of the key under which subjects are hashed; made if it is not there.",
                default_key_file,
            ),
        }
    }
}
