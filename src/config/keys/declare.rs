//! Declares every key to the reader: name, meaning, default, limits. The order is the one in which they are printed.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::filter::LevelFilter;

use super::mapping;
use super::{
    Admin, Authzen, CentralLedger, Evidence, EvidenceStage, Ledger, LedgerKind, Log, LogFormat, NatsServer, Replica,
    ReplicaMode, Server, Ship, ShipKind, Telemetry, Tls, TlsVersion, WORKERS_MAX, Workers,
};
use crate::config::reader::{Reader, number, quote, text};
use crate::config::sources::Raw;
use crate::config::{Config, callers, keys};

/// The longest path of a file, in bytes. Source: Linux, `PATH_MAX`, with the final zero.
const PATH_BYTES_MAX: usize = 4095;
/// The longest path of a Unix socket, in bytes. Source: Linux, unix(7): 108 with the final zero.
const UDS_PATH_BYTES_MAX: usize = 107;

impl Config {
    /// Reads every key, then checks what only several together can be wrong about.
    pub(in crate::config) fn read(reader: &mut Reader) -> Self {
        let data_dir =
            reader.path("data_dir", "The folder of everything that is written.", keys::DEFAULT_DATA_DIR.into());
        let config = Self {
            server: Server::read(reader),
            authzen: Authzen::read(reader),
            admin: Admin::read(reader),
            ledger: Ledger::read(reader),
            replica: Replica::read(reader, data_dir.join(keys::DEFAULT_KEY_FILE_NAME)),
            evidence: Evidence::read(reader),
            telemetry: Telemetry::read(reader),
            ext_authz: mapping::read(reader),
            log: Log::read(reader),
            callers: reader.whole(
                "callers",
                "Who may ask, and about what; without any, whoever reaches a listener, about everything.",
                callers::LIMITS,
                Vec::new(),
                callers::parse,
                callers::show,
            ),
            data_dir,
        };
        config.check_across(reader);
        config
    }
}

impl Server {
    fn read(reader: &mut Reader) -> Self {
        Self {
            tcp: reader.address_or_off(
                "server.tcp",
                "Where questions are answered over TCP.",
                Some(keys::DEFAULT_SERVER_TCP),
            ),
            tls: Tls::read(reader),
            plaintext: reader.switch(
                "server.plaintext",
                "Whether plain text may be spoken over TCP beyond this machine.",
                false,
            ),
            uds: reader.path_or_off(
                "server.uds",
                "The Unix socket on which questions are answered.",
                UDS_PATH_BYTES_MAX,
                None,
            ),
            uds_mode: reader.value(
                "server.uds_mode",
                "Who may use the Unix socket, as a file mode.",
                "an octal mode, \"0600\" to \"0777\"",
                keys::DEFAULT_SERVER_UDS_MODE,
                parse_mode,
                |mode| quote(&format!("{mode:04o}")),
            ),
            max_message_bytes: reader.size(
                "server.max_message_bytes",
                "The largest message that is taken.",
                keys::DEFAULT_MAX_MESSAGE_BYTES,
                64 << 10..=64 << 20,
            ),
            max_batch: reader.count(
                "server.max_batch",
                "The most questions in one batch.",
                keys::DEFAULT_MAX_BATCH,
                1..=keys::DEFAULT_MAX_BATCH,
            ),
            max_concurrent_streams: reader.count(
                "server.max_concurrent_streams",
                "The most calls at once on one connection.",
                keys::DEFAULT_MAX_CONCURRENT_STREAMS,
                1..=65_536,
            ),
            max_connections: reader.count(
                "server.max_connections",
                "The most connections at once.",
                keys::DEFAULT_MAX_CONNECTIONS,
                1..=1_000_000,
            ),
            max_in_flight: reader.count(
                "server.max_in_flight",
                "The most calls at once over all connections; more wait for their turn, as long as their deadline.",
                keys::DEFAULT_MAX_IN_FLIGHT,
                1..=1_000_000,
            ),
            request_timeout: reader.duration(
                "server.request_timeout",
                "The longest that one call may take, whatever deadline its caller set.",
                keys::DEFAULT_REQUEST_TIMEOUT,
                Duration::from_millis(10)..=Duration::from_mins(5),
            ),
            drain_timeout: reader.duration(
                "server.drain_timeout",
                "How long calls in flight may take to finish when the sidecar stops.",
                keys::DEFAULT_DRAIN_TIMEOUT,
                Duration::ZERO..=Duration::from_hours(1),
            ),
            max_connection_age: reader.duration_or_off(
                "server.max_connection_age",
                "The age at which a connection is ended, give or take a tenth; its caller comes back.",
                Some(keys::DEFAULT_MAX_CONNECTION_AGE),
                Duration::from_secs(1)..=Duration::from_hours(30 * 24),
            ),
            max_connection_age_grace: reader.duration(
                "server.max_connection_age_grace",
                "How long what is in flight may take when a connection is ended by its age.",
                keys::DEFAULT_MAX_CONNECTION_AGE_GRACE,
                Duration::ZERO..=Duration::from_hours(24),
            ),
            workers: reader.value(
                "server.workers",
                "How many threads answer; \"auto\" follows the CPU quota.",
                &format!("\"auto\", or 1 to {WORKERS_MAX}"),
                Workers::Auto,
                parse_workers,
                |workers| match workers {
                    Workers::Auto => quote("auto"),
                    Workers::Fixed(count) => count.to_string(),
                },
            ),
        }
    }
}

impl Tls {
    /// The files, where a certificate and its key are named.
    fn read(reader: &mut Reader) -> Option<Self> {
        let [cert, key, client_ca] = ["server.tls_cert_file", "server.tls_key_file", "server.tls_client_ca_file"];
        let cert_file = reader.path_or_off(
            cert,
            "Our certificate and those above it, in PEM; with it TLS is spoken over TCP.",
            PATH_BYTES_MAX,
            None,
        );
        let key_file = reader.path_or_off(key, "The key of that certificate, in PEM.", PATH_BYTES_MAX, None);
        let client_ca_file = reader.path_or_off(
            client_ca,
            "The authorities of callers, in PEM; with it whoever has no certificate of theirs is refused.",
            PATH_BYTES_MAX,
            None,
        );
        let min_version = reader.choice(
            "server.tls_min_version",
            "The oldest version of TLS that is spoken.",
            TlsVersion::V13,
            &[("1.3", TlsVersion::V13), ("1.2", TlsVersion::V12)],
        );
        let named = [(cert, cert_file.is_some()), (key, key_file.is_some()), (client_ca, client_ca_file.is_some())];
        for (missing, is_set) in named.into_iter().take(2) {
            let other = named.into_iter().find(|(_, is_set)| *is_set);
            if let (false, true, Some((other, _))) = (is_set, reader.is_sound(missing), other) {
                reader.problem(missing, format!("must be set where {other} is"));
            }
        }
        Some(Self { cert_file: cert_file?, key_file: key_file?, client_ca_file, min_version })
    }
}

impl Authzen {
    fn read(reader: &mut Reader) -> Self {
        let authzen = Self {
            enabled: reader.switch(
                "authzen.enabled",
                "Whether questions are answered that come as AuthZEN, over HTTP, on the same listeners.",
                false,
            ),
            url: reader.url_or_off(
                "authzen.url",
                "Where AuthZEN's clients reach the sidecar; without it there is no metadata for them to discover.",
            ),
            resource_type: reader.value(
                "authzen.resource_type",
                "The type of the resources whose id is a purpose; about others the answer is no.",
                "1 to 64 characters",
                keys::DEFAULT_AUTHZEN_RESOURCE_TYPE.to_owned(),
                parse_resource_type,
                |text| quote(text),
            ),
        };
        if authzen.url.is_some() && !authzen.enabled && reader.is_sound("authzen.enabled") {
            reader.problem("authzen.url", "is of no use where authzen.enabled is false");
        }
        authzen
    }
}

impl Admin {
    fn read(reader: &mut Reader) -> Self {
        let meaning = "Where metrics and readiness are shown, over plain HTTP.";
        Self { tcp: reader.address_or_off("admin.tcp", meaning, Some(keys::DEFAULT_ADMIN_TCP)) }
    }
}

impl Ledger {
    fn read(reader: &mut Reader) -> Self {
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
    fn read(reader: &mut Reader, kind: LedgerKind) -> Option<Self> {
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
struct NatsKeys {
    url: (&'static str, &'static str),
    creds_file: (&'static str, &'static str),
    tls_ca_file: (&'static str, &'static str),
    tls_cert_file: (&'static str, &'static str),
    tls_key_file: (&'static str, &'static str),
}

impl NatsServer {
    /// The servers and how they are reached, where some are named.
    fn read(reader: &mut Reader, keys: &NatsKeys) -> Option<Self> {
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
    fn read(reader: &mut Reader, default_key_file: PathBuf) -> Self {
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
            cache_bytes: reader.size(
                "replica.cache_bytes",
                "Memory for the subjects that are asked for.",
                keys::DEFAULT_CACHE_BYTES,
                1 << 20..=64 << 30,
            ),
            store_cache_bytes: reader.size(
                "replica.store_cache_bytes",
                "Memory for pages of the store on disk.",
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

impl Evidence {
    fn read(reader: &mut Reader) -> Self {
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
            ship: Ship::read(reader),
        }
    }
}

impl Ship {
    fn read(reader: &mut Reader) -> Self {
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
            keep_shipped: reader.duration_or_off(
                "evidence.keep_shipped",
                "How long after its end a month that was shipped is kept here; \"off\" keeps it for good.",
                None,
                Duration::ZERO..=Duration::from_hours(24 * 3660),
            ),
        }
    }
}

impl Telemetry {
    fn read(reader: &mut Reader) -> Self {
        let otlp_endpoint =
            reader.collector_or_off("telemetry.otlp_endpoint", "The collector that traces and metrics are sent to.");
        let otlp_timeout = reader.duration(
            "telemetry.otlp_timeout",
            "How long the collector may take to take one request; no answer waits for it.",
            keys::DEFAULT_OTLP_TIMEOUT,
            Duration::from_millis(100)..=Duration::from_mins(1),
        );
        let mut file = |key, meaning| reader.path_or_off(key, meaning, PATH_BYTES_MAX, None);
        let otlp_headers_file = file(
            "telemetry.otlp_headers_file",
            "Headers for the collector, such as a token: `name: value`, a line each. Read anew for each request.",
        );
        let otlp_ca_file = file(
            "telemetry.otlp_ca_file",
            "The authorities of the collector's certificate, in PEM; \"off\": those of the system.",
        );
        let (endpoint, ca) = ("telemetry.otlp_endpoint", "telemetry.otlp_ca_file");
        let is_tls = otlp_endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("https://"));
        if otlp_ca_file.is_some() && !is_tls && reader.is_sound(endpoint) {
            reader.problem(ca, format!("is of no use where {endpoint} does not begin with `https://`"));
        }
        Self {
            otlp_endpoint,
            otlp_timeout,
            otlp_headers_file,
            otlp_ca_file,
            trace_ratio: reader.share_or_off(
                "telemetry.trace_ratio",
                "The share of answers that leave a span where their callers bring no trace; \"off\" is no spans at all, \
                 also of denials and slow answers.",
                Some(keys::DEFAULT_TRACE_RATIO),
            ),
            slow_answer: reader.duration_or_off(
                "telemetry.slow_answer",
                "Answers that take longer leave a span, whatever the share.",
                Some(keys::DEFAULT_SLOW_ANSWER),
                Duration::from_millis(1)..=Duration::from_mins(1),
            ),
            kept_per_second: reader.count(
                "telemetry.kept_per_second",
                "The most spans a second for denials and slow answers that are not sampled.",
                keys::DEFAULT_KEPT_PER_SECOND,
                0..=1_000_000,
            ),
            metrics_interval: reader.duration_or_off(
                "telemetry.metrics_interval",
                "How often metrics are sent to the collector.",
                Some(keys::DEFAULT_METRICS_INTERVAL),
                Duration::from_secs(1)..=Duration::from_hours(1),
            ),
        }
    }
}

impl Log {
    fn read(reader: &mut Reader) -> Self {
        Self {
            level: reader.value(
                "log.level",
                "What is logged: a level, and levels by target after commas.",
                "such as \"info\" or \"warn,consentd::replica=debug\"",
                keys::DEFAULT_LOG_LEVEL.to_owned(),
                parse_directives,
                |level| quote(level),
            ),
            format: reader.choice(
                "log.format",
                "How a line of the log looks.",
                LogFormat::Text,
                &[("text", LogFormat::Text), ("json", LogFormat::Json)],
            ),
        }
    }
}

fn parse_resource_type(raw: &Raw) -> Result<String, String> {
    let text = text(raw)?;
    if (1..=64).contains(&text.len()) && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    Err("is not 1 to 64 bytes without control characters".to_owned())
}

fn parse_mode(raw: &Raw) -> Result<u32, String> {
    let text = text(raw)?;
    let digits = matches!(text.len(), 3 | 4) && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    let mode = digits.then(|| u32::from_str_radix(text, 8).ok()).flatten();
    mode.filter(|mode| (0o600..=0o777).contains(mode))
        .ok_or_else(|| format!("`{text}` is not an octal mode such as `0660`, which lets at least the owner in"))
}

fn parse_workers(raw: &Raw) -> Result<Workers, String> {
    if *raw == Raw::Text("auto".to_owned()) {
        return Ok(Workers::Auto);
    }
    let count = number(raw).map_err(|what| format!("{what}, nor `auto`"))?;
    let fixed = NonZeroUsize::new(count).filter(|count| count.get() <= WORKERS_MAX);
    fixed.map(Workers::Fixed).ok_or_else(|| format!("`{count}` is outside 1 to {WORKERS_MAX}"))
}

/// Checks directives more strictly than the filter does, which takes a misspelt level for the name of a target and then
/// logs nothing else.
fn parse_directives(raw: &Raw) -> Result<String, String> {
    let text = text(raw)?;
    for directive in text.split(',') {
        let (target, level) = directive.split_once('=').unwrap_or(("consentd", directive));
        let is_target = target.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'-'));
        if level.parse::<LevelFilter>().is_err() || level.is_empty() {
            return Err(format!("`{level}` is not a level: off, error, warn, info, debug or trace"));
        }
        if target.is_empty() || !is_target {
            return Err(format!("`{target}` is not a target such as `consentd::replica`"));
        }
    }
    Ok(text.to_owned())
}
