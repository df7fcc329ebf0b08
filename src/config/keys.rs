//! Every key: its type and default here, its meaning and limits in `declare`, what several must agree on in `check`.
//! A constant's comment gives its unit, its range and why.

mod check;
mod declare;
mod mapping;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::nats::Servers;
use crate::transport::Tls;

/// A path; any. Beside the working directory, so that a first try needs no rights; a deployment sets its volume.
pub const DEFAULT_DATA_DIR: &str = "./consentd-data";
/// An address and port, or off. Loopback: the caller is on this machine, and plain text goes no further.
pub const DEFAULT_SERVER_TCP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7311);
/// File mode, octal, 0600 to 0777. Owner and group: a caller is let in by being put in the group.
pub const DEFAULT_SERVER_UDS_MODE: u32 = 0o660;
/// Bytes, 64 KiB to 64 MiB. A batch of 10,000 of the longest common subjects (an e-mail's digest) takes 1 MiB.
pub const DEFAULT_MAX_MESSAGE_BYTES: u64 = 4 << 20;
/// Questions, 1 to 10,000, which the protocol promises. One leaf of evidence lists them all.
pub const DEFAULT_MAX_BATCH: usize = 10_000;
/// Calls at once on one connection, 1 to 65,536. A busy caller has hundreds in flight.
pub const DEFAULT_MAX_CONCURRENT_STREAMS: usize = 1024;
/// Connections, 1 to 1,000,000. A sidecar has a handful of callers; this many idle ones take 10 MiB, and half of the 1024
/// open files that systems commonly allow without being asked for more.
pub const DEFAULT_MAX_CONNECTIONS: usize = 512;
/// Calls at once over all connections, 1 to 1,000,000. At microseconds a call, more only wait longer.
pub const DEFAULT_MAX_IN_FLIGHT: usize = 4096;
/// Time, 10 ms to 5 min. A caller's own deadline is mostly shorter; this one frees calls that have none.
pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Time, 0 s to 1 h. A sidecar's callers are gone when it is told to stop. Behind a Service 5 s: nodes learn within a second
/// or two that a pod is going, and send it new connections until then.
pub const DEFAULT_DRAIN_DELAY: Duration = Duration::ZERO;
/// Time, 0 s to 1 h. Below the 30 s after which Kubernetes kills.
pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(25);
/// Time, 1 s to 30 days, or off. Callers spread over new sidecars within it, and what a certificate proved is asked anew.
pub const DEFAULT_MAX_CONNECTION_AGE: Duration = Duration::from_mins(30);
/// Time, 0 s to 1 day. Calls take milliseconds; a stream over all customers minutes.
pub const DEFAULT_MAX_CONNECTION_AGE_GRACE: Duration = Duration::from_mins(5);
/// The most threads that may be asked for. The work is microseconds a call: more threads than this never helped.
pub const WORKERS_MAX: usize = 64;
/// 1 to 64 bytes. What the id of a question's resource is here.
pub const DEFAULT_AUTHZEN_RESOURCE_TYPE: &str = "purpose";
/// An address and port, or off. Loopback, beside the questions' port.
pub const DEFAULT_ADMIN_TCP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7312);
/// Time, 1 ms to 10 s. A line that another process appended is enforced within it; an idle look costs microseconds.
pub const DEFAULT_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// A stream's name. What `consentd ledger init` makes unless it is told otherwise.
pub const DEFAULT_LEDGER_STREAM: &str = "CONSENT_LEDGER";
/// Time, 100 ms to 1 min. Every one costs the ledger a message of some hundred bytes that all sidecars share; a view is as
/// old as this and a few milliseconds.
pub const DEFAULT_FRESHNESS_INTERVAL: Duration = Duration::from_secs(1);
/// A share of the memory, or bytes, 1 MiB to 64 GiB. A subject of 4 records takes about 1 KiB.
pub const DEFAULT_CACHE_BYTES: CacheBytes = CacheBytes::Auto;
/// A share of the memory, or bytes, 1 MiB to 64 GiB. The cache above holds what is hot; this one holds the store's index pages.
pub const DEFAULT_STORE_CACHE_BYTES: CacheBytes = CacheBytes::Auto;
/// Time, 0 s to 1 min. Five looks at the ledger: a token that exists is reached well before.
pub const DEFAULT_MAX_WAIT: Duration = Duration::from_millis(500);
/// Time, 10 ms to 1 min. A hundred times what a server near by takes; a question that it does not answer is denied.
pub const DEFAULT_LOAD_TIMEOUT: Duration = Duration::from_millis(500);
/// A file name in the data directory.
pub const DEFAULT_KEY_FILE_NAME: &str = "subject.key";
/// Bytes, 1 MiB to 1 GiB. Some hundred thousand answers: few files, and recovery reads one of them.
pub const DEFAULT_SEGMENT_BYTES: u64 = 64 << 20;
/// Time, 10 ms to 1 min. What a power loss may take from a log that waits for `written` only.
pub const DEFAULT_FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Time, 100 ms to 1 h. How long an answer waits until a signed checkpoint covers it.
pub const DEFAULT_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5);
/// The name of a stream: letters, digits, `-` and `_`.
pub const DEFAULT_SHIP_STREAM: &str = "CONSENT_EVIDENCE";
/// Bytes, 1 MiB to 1 TiB. Two weeks of ten answers a second, or a quarter of an hour of 20,000, without a server.
pub const DEFAULT_MAX_UNSHIPPED_BYTES: u64 = 4 << 30;
/// Time, 0 s to 1 h. Servers that are there take the last batches in milliseconds. On a volume that goes with the pod, as long as
/// its grace period allows: what has not left by then is lost.
pub const DEFAULT_SHIP_WAIT: Duration = Duration::from_secs(5);
/// Time, 100 ms to 1 min. As OTLP has it: nothing waits for it but the next batch.
pub const DEFAULT_OTLP_TIMEOUT: Duration = Duration::from_secs(10);
/// A share, 0 to 1. Of a busy sidecar's 20,000 answers a second 200 are enough to see; denials come on top.
pub const DEFAULT_TRACE_RATIO: f64 = 0.01;
/// Time, 1 ms to 1 min. Above what a busy sidecar's slowest answer in a thousand takes, below the 200 ms that proxies wait.
pub const DEFAULT_SLOW_ANSWER: Duration = Duration::from_millis(50);
/// Spans a second, 0 to 1,000,000. More than anybody looks at, and half a hundredth of one processor.
pub const DEFAULT_KEPT_PER_SECOND: usize = 500;
/// Time, 1 s to 1 h. As OpenTelemetry has it.
pub const DEFAULT_METRICS_INTERVAL: Duration = Duration::from_mins(1);
/// Sources. The header that browsers send; it only ever denies, so that nobody is let in by being able to set it.
pub const DEFAULT_EXT_AUTHZ_SEC_GPC: &str = "header:sec-gpc";
/// A level or directives. Starts, stops and what somebody should look at; no line for an answer.
pub const DEFAULT_LOG_LEVEL: &str = "info";

/// How questions reach the sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The TCP listener; `None` is off.
    pub tcp: Option<SocketAddr>,
    /// Its TLS; `None` is plain text.
    pub tls: Option<Tls>,
    /// Whether plain text may leave this machine.
    pub plaintext: bool,
    /// The Unix socket; `None` is off.
    pub uds: Option<PathBuf>,
    /// The socket's file mode.
    pub uds_mode: u32,
    /// The largest message, in bytes.
    pub max_message_bytes: u64,
    /// The most questions in a batch.
    pub max_batch: usize,
    /// The most calls at once on one connection.
    pub max_concurrent_streams: usize,
    /// The most connections.
    pub max_connections: usize,
    /// The most calls at once over all connections.
    pub max_in_flight: usize,
    /// The upper bound of a call's deadline.
    pub request_timeout: Duration,
    /// How long new connections are taken after the sidecar was told to stop; not ready meanwhile.
    pub drain_delay: Duration,
    /// How long calls in flight may take to finish when the sidecar stops.
    pub drain_timeout: Duration,
    /// The age at which a connection is ended, give or take a tenth; `None` is never.
    pub max_connection_age: Option<Duration>,
    /// How long what is in flight then may take.
    pub max_connection_age_grace: Duration,
    /// How many threads answer.
    pub workers: Workers,
}

/// How many threads answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// As the CPU quota suggests.
    Auto,
    /// This many.
    Fixed(NonZeroUsize),
}

/// How questions are understood that come as AuthZEN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authzen {
    /// Whether they are answered.
    pub enabled: bool,
    /// Where its clients reach the sidecar, for discovery; `None` is off. An `https` URL without query, fragment and final slash.
    pub url: Option<String>,
    /// The type of resources that are purposes.
    pub resource_type: String,
}

/// The local page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Its listener; `None` is off.
    pub tcp: Option<SocketAddr>,
    /// Whether that may be beyond this machine.
    pub plaintext: bool,
    /// Whether somebody on this machine may ask there.
    pub ask: PageAsks,
}

/// Whether somebody on this machine may ask on the local page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageAsks {
    /// Where everybody on this machine may ask anyway.
    Auto,
    /// Always, or never.
    Fixed(bool),
}

/// What the sidecar follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    /// Which kind of ledger.
    pub kind: LedgerKind,
    /// The file of a file ledger; empty where it is of another kind and none is named.
    pub file: PathBuf,
    /// How often the file is looked at.
    pub poll_interval: Duration,
    /// The central ledger, if it is that kind.
    pub central: Option<CentralLedger>,
}

/// A ledger on NATS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CentralLedger {
    /// Where it is.
    pub server: NatsServer,
    /// The stream's name.
    pub stream: String,
    /// The file of the subject key that all writers and sidecars of the ledger share.
    pub subject_key_file: PathBuf,
    /// How often freshness is proved.
    pub freshness_interval: Duration,
}

/// Servers of NATS, and how they are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsServer {
    /// Where they are.
    pub servers: Servers,
    /// A file that says who we are to them.
    pub creds_file: Option<PathBuf>,
    /// The authorities that their certificates are signed by.
    pub tls_ca_file: Option<PathBuf>,
    /// Our certificate.
    pub tls_cert_file: Option<PathBuf>,
    /// Its key.
    pub tls_key_file: Option<PathBuf>,
}

/// Which kind of ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerKind {
    /// JSON Lines in a file.
    File,
    /// A stream on NATS.
    Nats,
}

/// The sidecar's copy of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// How much of the ledger is copied.
    pub mode: ReplicaMode,
    /// The longest that a question waits for subjects that are loaded on demand.
    pub load_timeout: Duration,
    /// Memory for subjects.
    pub cache_bytes: CacheBytes,
    /// Memory for the store's own pages.
    pub store_cache_bytes: CacheBytes,
    /// The longest that a question waits for the token it asks for.
    pub max_wait: Duration,
    /// The file of the key under which subjects are hashed.
    pub key_file: PathBuf,
}

/// Memory for a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheBytes {
    /// A share of the memory that the process may use.
    Auto,
    /// This much, in bytes.
    Fixed(u64),
}

/// How much of the ledger is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaMode {
    /// All of it.
    Full,
    /// The subjects that are asked for.
    OnDemand,
}

/// The record of answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What evidence must have reached before an ALLOW leaves.
    pub stage: EvidenceStage,
    /// The size of a segment, in bytes.
    pub segment_bytes: u64,
    /// How often written evidence is flushed to the device.
    pub flush_interval: Duration,
    /// How often a checkpoint is signed.
    pub checkpoint_interval: Duration,
    /// The secret that months' keys are made of, if they are not random.
    pub key_file: Option<PathBuf>,
    /// Whether and where evidence is shipped to.
    pub ship: Ship,
}

/// Whether evidence is shipped, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ship {
    /// Whether.
    pub kind: ShipKind,
    /// Where to, if that is not where the ledger is.
    pub server: Option<NatsServer>,
    /// The stream.
    pub stream: String,
    /// The most bytes that may wait.
    pub max_unshipped_bytes: u64,
    /// How long after its end a shipped month is kept; `None` is for good.
    pub keep_shipped: Option<Duration>,
    /// The most bytes of shipped evidence that are kept; `None` keeps all.
    pub max_shipped_bytes: Option<u64>,
    /// The longest that the end waits for what is still to be shipped.
    pub wait: Duration,
}

/// Whether evidence is shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShipKind {
    /// It stays here.
    None,
    /// To a stream of NATS.
    Nats,
}

/// What evidence must have reached before an ALLOW leaves (P1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvidenceStage {
    /// In the kernel: survives the end of the process, not a power loss.
    Written,
    /// On the device: survives a power loss, as far as the device keeps what it confirmed.
    Synced,
}

/// What the sidecar sends to a collector.
#[derive(Debug, Clone, PartialEq)]
pub struct Telemetry {
    /// The collector; `None` is none.
    pub otlp_endpoint: Option<String>,
    /// How long it may take to take one request.
    pub otlp_timeout: Duration,
    /// Headers for it.
    pub otlp_headers_file: Option<PathBuf>,
    /// The authorities of its certificate; `None` are those of the system.
    pub otlp_ca_file: Option<PathBuf>,
    /// The share of answers that leave a span where their callers trace nothing; `None` is no spans at all.
    pub trace_ratio: Option<f64>,
    /// Answers that take longer always leave one.
    pub slow_answer: Option<Duration>,
    /// The most spans a second for denials and slow answers that are not sampled.
    pub kept_per_second: usize,
    /// How often metrics are sent; `None` is never.
    pub metrics_interval: Option<Duration>,
}

/// What the sidecar says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Directives such as `info` or `info,consentd::replica=debug`; checked.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
