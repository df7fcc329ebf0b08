//! Every key: its type, default, limits and meaning. A constant's comment gives its unit, its range and why.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::filter::LevelFilter;

use super::Config;
use super::reader::{Reader, number, quote, text};
use super::sources::Raw;

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
/// Connections, 1 to 1,000,000. Half of the 1024 open files that systems commonly allow.
pub const DEFAULT_MAX_CONNECTIONS: usize = 512;
/// Calls at once over all connections, 1 to 1,000,000. At microseconds a call, more only wait longer.
pub const DEFAULT_MAX_IN_FLIGHT: usize = 4096;
/// Time, 10 ms to 5 min. A caller's own deadline is mostly shorter; this one frees calls that have none.
pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Time, 0 s to 1 h. Below the 30 s after which Kubernetes kills.
pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(25);
/// The most threads that may be asked for. The work is microseconds a call: more threads than this never helped.
pub const WORKERS_MAX: usize = 64;
/// An address and port, or off. Loopback, beside the questions' port.
pub const DEFAULT_ADMIN_TCP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7312);
/// Time, 1 ms to 10 s. A line that another process appended is enforced within it; an idle look costs microseconds.
pub const DEFAULT_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Bytes, 1 MiB to 64 GiB. Some 60,000 subjects of 4 records, at about 1 KiB each.
pub const DEFAULT_CACHE_BYTES: u64 = 64 << 20;
/// Bytes, 1 MiB to 64 GiB. The cache above holds what is hot; this one holds the store's index pages.
pub const DEFAULT_STORE_CACHE_BYTES: u64 = 16 << 20;
/// Time, 0 s to 1 min. Five looks at the ledger: a token that exists is reached well before.
pub const DEFAULT_MAX_WAIT: Duration = Duration::from_millis(500);
/// A file name in the data directory.
pub const DEFAULT_KEY_FILE_NAME: &str = "subject.key";
/// Bytes, 1 MiB to 1 GiB. Some hundred thousand answers: few files, and recovery reads one of them.
pub const DEFAULT_SEGMENT_BYTES: u64 = 64 << 20;
/// Time, 10 ms to 1 min. What a power loss may take from a log that waits for `written` only.
pub const DEFAULT_FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Time, 100 ms to 1 h. How long an answer waits until a signed checkpoint covers it.
pub const DEFAULT_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5);
/// A level or directives. Starts, stops and what somebody should look at; no line for an answer.
pub const DEFAULT_LOG_LEVEL: &str = "info";

/// The longest path of a Unix socket, in bytes. Source: Linux, unix(7): 108 with the final zero.
const UDS_PATH_BYTES_MAX: usize = 107;

/// How questions reach the sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The TCP listener; `None` is off.
    pub tcp: Option<SocketAddr>,
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
    /// How long calls in flight may take to finish when the sidecar stops.
    pub drain_timeout: Duration,
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

/// The local page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Its listener; `None` is off.
    pub tcp: Option<SocketAddr>,
}

/// What the sidecar follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    /// Which kind of ledger.
    pub kind: LedgerKind,
    /// The file of a file ledger.
    pub file: PathBuf,
    /// How often the file is looked at.
    pub poll_interval: Duration,
}

/// Which kind of ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerKind {
    /// JSON Lines in a file.
    File,
}

/// The sidecar's copy of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Memory for subjects, in bytes.
    pub cache_bytes: u64,
    /// Memory for the store's own pages, in bytes.
    pub store_cache_bytes: u64,
    /// The longest that a question waits for the token it asks for.
    pub max_wait: Duration,
    /// The file of the key under which subjects are hashed.
    pub key_file: PathBuf,
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
}

/// What evidence must have reached before an ALLOW leaves (P1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvidenceStage {
    /// In the kernel: survives the end of the process, not a power loss.
    Written,
    /// On the device: survives a power loss, as far as the device keeps what it confirmed.
    Synced,
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

impl Config {
    /// Declares and reads every key, in the order in which they are printed.
    pub(super) fn read(reader: &mut Reader) -> Self {
        let data_dir = reader.path("data_dir", "The folder of everything that is written.", DEFAULT_DATA_DIR.into());
        let config = Self {
            server: Server::read(reader),
            admin: Admin::read(reader),
            ledger: Ledger::read(reader),
            replica: Replica::read(reader, data_dir.join(DEFAULT_KEY_FILE_NAME)),
            evidence: Evidence::read(reader),
            log: Log::read(reader),
            data_dir,
        };
        config.check_across(reader);
        config
    }

    /// What only several keys together can be wrong about.
    fn check_across(&self, reader: &mut Reader) {
        let sound = |reader: &Reader, keys: [&str; 2]| keys.into_iter().all(|key| reader.is_sound(key));
        if sound(reader, ["server.tcp", "server.uds"]) && self.server.tcp.is_none() && self.server.uds.is_none() {
            reader.problem("server.tcp", "is off and so is server.uds: nobody could ask");
        }
        if sound(reader, ["server.tcp", "admin.tcp"])
            && let (Some(server), Some(admin)) = (self.server.tcp, self.admin.tcp)
            && clash(server, admin)
        {
            reader.problem("admin.tcp", format!("`{admin}` is taken by server.tcp, `{server}`"));
        }
        if sound(reader, ["replica.max_wait", "server.request_timeout"])
            && self.replica.max_wait >= self.server.request_timeout
        {
            reader.problem("replica.max_wait", "must be shorter than server.request_timeout, or no waiting call ends");
        }
    }

    /// What is allowed and yet deserves a second look.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let listeners = [("server.tcp", self.server.tcp, "ask"), ("admin.tcp", self.admin.tcp, "read the metrics")];
        for (key, address, what) in listeners {
            if let Some(address) = address.filter(|address| !address.ip().is_loopback()) {
                warnings.push(format!(
                    "{key}: `{address}` speaks plain text and lets whoever reaches it from other machines {what}"
                ));
            }
        }
        if self.server.uds.is_some() && self.server.uds_mode & 0o002 != 0 {
            let mode = self.server.uds_mode;
            warnings.push(format!("server.uds_mode: `{mode:04o}` lets every user of this machine ask"));
        }
        warnings
    }
}

/// Whether two listeners want the same port of the same address. Port 0 is any free one.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let overlap = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    overlap && one.port() == other.port() && one.port() != 0
}

impl Server {
    fn read(reader: &mut Reader) -> Self {
        Self {
            tcp: reader.address_or_off(
                "server.tcp",
                "Where questions are answered over TCP, in plain text.",
                Some(DEFAULT_SERVER_TCP),
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
                DEFAULT_SERVER_UDS_MODE,
                parse_mode,
                |mode| quote(&format!("{mode:04o}")),
            ),
            max_message_bytes: reader.size(
                "server.max_message_bytes",
                "The largest message that is taken.",
                DEFAULT_MAX_MESSAGE_BYTES,
                64 << 10..=64 << 20,
            ),
            max_batch: reader.count(
                "server.max_batch",
                "The most questions in one batch.",
                DEFAULT_MAX_BATCH,
                1..=DEFAULT_MAX_BATCH,
            ),
            max_concurrent_streams: reader.count(
                "server.max_concurrent_streams",
                "The most calls at once on one connection.",
                DEFAULT_MAX_CONCURRENT_STREAMS,
                1..=65_536,
            ),
            max_connections: reader.count(
                "server.max_connections",
                "The most connections at once.",
                DEFAULT_MAX_CONNECTIONS,
                1..=1_000_000,
            ),
            max_in_flight: reader.count(
                "server.max_in_flight",
                "The most calls at once over all connections; more are turned away at once.",
                DEFAULT_MAX_IN_FLIGHT,
                1..=1_000_000,
            ),
            request_timeout: reader.duration(
                "server.request_timeout",
                "The longest that one call may take, whatever deadline its caller set.",
                DEFAULT_REQUEST_TIMEOUT,
                Duration::from_millis(10)..=Duration::from_mins(5),
            ),
            drain_timeout: reader.duration(
                "server.drain_timeout",
                "How long calls in flight may take to finish when the sidecar stops.",
                DEFAULT_DRAIN_TIMEOUT,
                Duration::ZERO..=Duration::from_hours(1),
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

impl Admin {
    fn read(reader: &mut Reader) -> Self {
        let meaning = "Where metrics and readiness are shown, over plain HTTP.";
        Self { tcp: reader.address_or_off("admin.tcp", meaning, Some(DEFAULT_ADMIN_TCP)) }
    }
}

impl Ledger {
    fn read(reader: &mut Reader) -> Self {
        Self {
            kind: reader.choice(
                "ledger.kind",
                "Which kind of ledger is followed.",
                LedgerKind::File,
                &[("file", LedgerKind::File)],
            ),
            file: reader.required_path("ledger.file", "The file of the ledger, JSON Lines."),
            poll_interval: reader.duration(
                "ledger.poll_interval",
                "How often the file is looked at for new lines.",
                DEFAULT_POLL_INTERVAL,
                Duration::from_millis(1)..=Duration::from_secs(10),
            ),
        }
    }
}

impl Replica {
    fn read(reader: &mut Reader, default_key_file: PathBuf) -> Self {
        Self {
            cache_bytes: reader.size(
                "replica.cache_bytes",
                "Memory for the subjects that are asked for.",
                DEFAULT_CACHE_BYTES,
                1 << 20..=64 << 30,
            ),
            store_cache_bytes: reader.size(
                "replica.store_cache_bytes",
                "Memory for pages of the store on disk.",
                DEFAULT_STORE_CACHE_BYTES,
                1 << 20..=64 << 30,
            ),
            max_wait: reader.duration(
                "replica.max_wait",
                "The longest that a question waits for the view it asks for (at_least_as_fresh).",
                DEFAULT_MAX_WAIT,
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
                DEFAULT_SEGMENT_BYTES,
                1 << 20..=1 << 30,
            ),
            flush_interval: reader.duration(
                "evidence.flush_interval",
                "How often written evidence is flushed to the device.",
                DEFAULT_FLUSH_INTERVAL,
                Duration::from_millis(10)..=Duration::from_mins(1),
            ),
            checkpoint_interval: reader.duration(
                "evidence.checkpoint_interval",
                "How often a checkpoint over new evidence is signed.",
                DEFAULT_CHECKPOINT_INTERVAL,
                Duration::from_millis(100)..=Duration::from_hours(1),
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
                DEFAULT_LOG_LEVEL.to_owned(),
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
