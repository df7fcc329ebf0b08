//! A sidecar of a test's own: its folder and ledger, the real thing in this process or in one of its own, and clients.
//!
//! The ledger is written with plain appends of lines spelt out here, so that nothing of the sidecar's own writer is
//! taken for granted.

#![allow(dead_code, reason = "each test file takes what it needs")]
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use consentd::app::{self, ServeError};
use consentd::clock::Clock;
use consentd::config::{Config, Flag, Sources};
use consentd::ledger::Token;
use consentd::proto::v1;
use consentd::proto::v1::enforcement_service_client::EnforcementServiceClient;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// How long a test waits for what must happen, on a machine that is busy with something else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The service's name in health checks.
pub(crate) const SERVICE: &str = "consent.v1.EnforcementService";

pub(crate) type Client = EnforcementServiceClient<Channel>;

/// A folder with everything of one sidecar in it, gone with the test.
pub(crate) struct Home(TempDir);

/// The real sidecar in this process.
pub(crate) struct Sidecar {
    pub(crate) channel: Channel,
    pub(crate) tcp: SocketAddr,
    pub(crate) admin: Option<SocketAddr>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), ServeError>>,
}

/// The real binary in a process of its own, killed with the test.
pub(crate) struct Process {
    child: Child,
    uds: PathBuf,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    /// A home whose ledger begins with the catalogue that [`catalogue`] spells out.
    pub(crate) fn with_catalogue() -> Self {
        let home = Self::new();
        home.append(&catalogue(1));
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.path("ledger.jsonl")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub(crate) fn uds(&self) -> PathBuf {
        self.path("socket")
    }

    /// What the binary wrote to standard error, of all its lives.
    pub(crate) fn log(&self) -> PathBuf {
        self.path("log")
    }

    /// The address of the local page, as the binary's log tells it.
    pub(crate) fn admin(&self) -> SocketAddr {
        let log = std::fs::read_to_string(self.log()).expect("a log");
        let told = log.lines().rev().find(|line| line.contains("listening")).expect("it listens");
        let (_, address) = told.split_once("admin").expect("a page");
        let address = address.trim_start_matches(['"', ':', '=']);
        address.split(['"', ' ']).next().and_then(|address| address.parse().ok()).expect("an address")
    }

    /// Appends a line and gives the ledger's length behind it: its position.
    pub(crate) fn append(&self, line: &str) -> u64 {
        append(&self.ledger(), format!("{line}\n").as_bytes())
    }

    fn settings(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let text = |path: PathBuf| path.to_str().expect("UTF-8").to_owned();
        let mut settings = vec![
            ("data_dir".to_owned(), text(self.data())),
            ("ledger.file".to_owned(), text(self.ledger())),
            ("server.tcp".to_owned(), "127.0.0.1:0".to_owned()),
            ("server.uds".to_owned(), text(self.uds())),
            ("admin.tcp".to_owned(), "off".to_owned()),
            ("ledger.poll_interval".to_owned(), "20ms".to_owned()),
            ("evidence.segment_bytes".to_owned(), "4MiB".to_owned()),
        ];
        for (key, value) in more {
            settings.retain(|(have, _)| have != key);
            settings.push(((*key).to_owned(), (*value).to_owned()));
        }
        settings
    }

    pub(crate) fn config(&self, more: &[(&str, &str)]) -> Config {
        let flag = |(key, value)| Flag { name: "--set".to_owned(), key, value };
        let flags = self.settings(more).into_iter().map(flag).collect();
        Config::load(&Sources { flags, ..Sources::default() }).expect("valid").config
    }
}

/// Appends bytes to a file, made if need be, and gives its length.
pub(crate) fn append(path: &Path, bytes: &[u8]) -> u64 {
    let mut file = OpenOptions::new().append(true).create(true).open(path).expect("opened");
    file.write_all(bytes).expect("written");
    file.metadata().expect("there").len()
}

impl Sidecar {
    /// Starts one that need not become ready.
    pub(crate) async fn start(home: &Home, more: &[(&str, &str)]) -> Self {
        let config = home.config(more);
        let bound = app::build(&config, Clock::system()).await.expect("built");
        let (tcp, admin) = (bound.tcp.expect("TCP"), bound.admin);
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(bound.serve(async {
            let _ = stopped.await;
        }));
        // Who speaks TLS does so for itself.
        let is_plain = config.server.tls.is_none();
        let channel =
            if is_plain { connect_tcp(tcp).await } else { connect_uds(&home.uds()).await.expect("connected") };
        Self { channel, tcp, admin, stop, serving }
    }

    /// Starts one and waits until it is ready.
    pub(crate) async fn ready(home: &Home, more: &[(&str, &str)]) -> Self {
        let sidecar = Self::start(home, more).await;
        until_serving(&sidecar.channel).await;
        sidecar
    }

    pub(crate) fn client(&self) -> Client {
        EnforcementServiceClient::new(self.channel.clone())
    }

    /// Stops it in order.
    pub(crate) async fn stop(self) {
        let Self { channel, stop, serving, .. } = self;
        drop(channel);
        let _ = stop.send(());
        serving.await.expect("no panic").expect("served");
    }
}

impl Process {
    /// Starts the binary; it may not answer yet.
    pub(crate) fn spawn(home: &Home, more: &[(&str, &str)]) -> Self {
        Self::spawn_in(home, more, &[])
    }

    /// As [`Process::spawn`], in an environment.
    pub(crate) fn spawn_in(home: &Home, more: &[(&str, &str)], environment: &[(&str, &str)]) -> Self {
        Self::spawn_by(Command::new(env!("CARGO_BIN_EXE_consentd")), home, more, environment)
    }

    /// Starts the binary as where few files may be open, unless it asks for more.
    pub(crate) fn spawn_with_few_files(home: &Home, more: &[(&str, &str)]) -> Self {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "ulimit -S -n 256 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_consentd")]);
        Self::spawn_by(shell, home, more, &[])
    }

    /// Starts the binary by a command that ends in its path, such as one that enters a namespace first.
    pub(crate) fn spawn_by(
        mut command: Command,
        home: &Home,
        more: &[(&str, &str)],
        environment: &[(&str, &str)],
    ) -> Self {
        let log = OpenOptions::new().append(true).create(true).open(home.log()).expect("a log");
        command.arg("serve").env_clear().envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        for (key, value) in home.settings(&[&[("server.tcp", "off")], more].concat()) {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        Self { child: command.spawn().expect("started"), uds: home.uds() }
    }

    /// A connection, as soon as the process takes one.
    pub(crate) async fn connect(&mut self) -> Channel {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                panic!("the sidecar ended by itself: {status}");
            }
            if let Ok(channel) = connect_uds(&self.uds).await {
                return channel;
            }
            assert!(Instant::now() < deadline, "the sidecar takes no connection");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// kill -9, and waits until the process is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Stops it in its tracks: its connections stand, and nothing is answered.
    pub(crate) fn freeze(&self) {
        self.signal(rustix::process::Signal::STOP);
        // Each thread stops by itself, when it has a processor for that.
        let began = Instant::now();
        while !self.is_frozen() {
            assert!(began.elapsed() < Duration::from_secs(10), "some threads still run");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn is_frozen(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("its threads");
        threads.map(|thread| thread.expect("a thread").path().join("stat")).all(|path| {
            // Behind the name, which ends with the last parenthesis. Source: proc_pid_stat(5).
            let stat = std::fs::read_to_string(path).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
        })
    }

    /// Lets it go on after [`Process::freeze`].
    pub(crate) fn thaw(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("signalled");
    }

    /// How the process ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually("the process ends", async || child.try_wait().expect("a child")).await
    }

    /// How the process ended, which is killed at a deadline.
    pub(crate) async fn ended_by(&mut self, deadline: Instant) -> ExitStatus {
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            if Instant::now() >= deadline {
                self.child.kill().expect("killed");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) async fn connect_tcp(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    endpoint.tcp_nodelay(true).connect().await.expect("connected")
}

pub(crate) async fn connect_uds(path: &Path) -> Result<Channel, tonic::transport::Error> {
    let path = path.to_owned();
    let connect = move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    };
    Endpoint::from_static("http://localhost").connect_with_connector(tower::service_fn(connect)).await
}

/// The health of a service, as `Check` tells it.
pub(crate) async fn health(channel: &Channel, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.to_owned() };
    let checked = HealthClient::new(channel.clone()).check(request).await.expect("an answer").into_inner();
    match checked.status {
        1 => ServingStatus::Serving,
        2 => ServingStatus::NotServing,
        other => panic!("a health of {other}"),
    }
}

pub(crate) async fn until_serving(channel: &Channel) {
    let serving = async || (health(channel, SERVICE).await == ServingStatus::Serving).then_some(());
    eventually("the sidecar is ready", serving).await;
}

/// What something becomes, within [`PATIENCE`].
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Asks one question.
pub(crate) async fn ask(client: &mut Client, question: v1::Question) -> v1::MayProcessResponse {
    let answered = client.may_process(v1::MayProcessRequest { question: Some(question) }).await;
    answered.expect("a well-formed question is answered").into_inner()
}

/// Why the question was answered as it was.
pub(crate) async fn reason(client: &mut Client, question: v1::Question) -> v1::Reason {
    ask(client, question).await.answer.expect("an answer").reason()
}

/// Waits until a question is answered for this reason.
pub(crate) async fn until_reason(client: &Client, question: &v1::Question, wanted: v1::Reason) {
    let what = format!("the answer is {}", wanted.as_str_name());
    let look = async || (reason(&mut client.clone(), question.clone()).await == wanted).then_some(());
    eventually(&what, look).await;
}

pub(crate) fn subject(text: &str) -> v1::Subject {
    let (space, id) = text.split_once(':').expect("`space:id`");
    v1::Subject { space: space.to_owned(), id: id.to_owned() }
}

pub(crate) fn question(subject: &str, purpose: &str, channel: &str) -> v1::Question {
    v1::Question {
        subject: Some(self::subject(subject)),
        purpose: purpose.to_owned(),
        channel: channel.to_owned(),
        ..v1::Question::default()
    }
}

/// The question for the newsletter by email, which a consent decides.
pub(crate) fn newsletter(subject: &str) -> v1::Question {
    question(subject, "newsletter", "email")
}

pub(crate) fn batch_question(subject: &str) -> v1::BatchQuestion {
    v1::BatchQuestion { subject: Some(self::subject(subject)), ..v1::BatchQuestion::default() }
}

/// The token of a position in the ledger that an answer's token is of.
pub(crate) fn token_at(of_answer: &str, position: u64) -> String {
    let ledger = of_answer.parse::<Token>().expect("a token").ledger;
    Token { ledger, position: consentd::domain::Position(position) }.to_string()
}

pub(crate) fn now_ms() -> i64 {
    Clock::system().now().unix_millis()
}

/// The text of a time.
pub(crate) fn rfc3339(unix_ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(unix_ms).expect("in range").to_rfc3339()
}

fn event(at_ms: i64, body: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    format!(r#"{{"eventId":"test-{id}","eventTime":"{}",{body}}}"#, rfc3339(at_ms))
}

fn subject_json(text: &str) -> String {
    let (space, id) = text.split_once(':').expect("`space:id`");
    format!(r#"{{"space":"{space}","id":"{id}"}}"#)
}

/// A catalogue: `newsletter` needs consent, `newsletter.weekly` is its child, `analytics` rests on a legitimate interest
/// and `billing` on the contract.
pub(crate) fn catalogue(version: u64) -> String {
    let purpose = |key: &str, basis: &str| {
        format!(r#"{{"key":"{key}","legalBasis":"LEGAL_BASIS_{basis}","channels":["email","sms"]}}"#)
    };
    let purposes = [
        purpose("newsletter", "CONSENT"),
        purpose("newsletter.weekly", "CONSENT"),
        purpose("analytics", "LEGITIMATE_INTEREST"),
        purpose("billing", "CONTRACT"),
    ];
    let body = format!(
        r#""catalogue":{{"version":"{version}","channels":[{{"key":"email"}},{{"key":"sms"}},{{"key":"post"}}],"purposes":[{}]}}"#,
        purposes.join(",")
    );
    event(1_700_000_000_000, &body)
}

/// What a subject said, such as `GIVEN` or `WITHDRAWN`.
pub(crate) fn said(subject: &str, purpose: &str, channel: &str, status: &str, at_ms: i64) -> String {
    let subject = subject_json(subject);
    let body = format!(
        r#""consent":{{"subject":{subject},"purpose":"{purpose}","channel":"{channel}","status":"CONSENT_STATUS_{status}","legalBasis":"LEGAL_BASIS_CONSENT"}}"#
    );
    event(at_ms, &body)
}

pub(crate) fn given(subject: &str) -> String {
    said(subject, "newsletter", "email", "GIVEN", now_ms() - 60_000)
}

pub(crate) fn withdrawn(subject: &str) -> String {
    said(subject, "newsletter", "email", "WITHDRAWN", now_ms() - 30_000)
}

pub(crate) fn link(one: &str, other: &str, at_ms: i64) -> String {
    let body = format!(r#""link":{{"subject":{},"linked":{}}}"#, subject_json(one), subject_json(other));
    event(at_ms, &body)
}

pub(crate) fn erasure(subject: &str, at_ms: i64) -> String {
    event(at_ms, &format!(r#""erasure":{{"subject":{}}}"#, subject_json(subject)))
}

/// A link that is taken back.
pub(crate) fn unlink(one: &str, other: &str, at_ms: i64) -> String {
    let line = link(one, other, at_ms);
    format!("{},\"unlinked\":true}}}}", &line[..line.len() - 2])
}

/// A restriction of one purpose, or of every one where it is empty; or its end.
pub(crate) fn restriction(subject: &str, purpose: &str, lifted: bool, at_ms: i64) -> String {
    let subject = subject_json(subject);
    event(at_ms, &format!(r#""restriction":{{"subject":{subject},"purpose":"{purpose}","lifted":{lifted}}}"#))
}

/// When a subject was born.
pub(crate) fn birth(subject: &str, born: &str, at_ms: i64) -> String {
    event(at_ms, &format!(r#""birth":{{"subject":{},"born":"{born}"}}"#, subject_json(subject)))
}

/// An event that no version understands, about a subject that can be told.
pub(crate) fn unreadable(subject: &str, at_ms: i64) -> String {
    event(at_ms, &format!(r#""unheardOf":{{"subject":{}}}"#, subject_json(subject)))
}

/// A page of the local page: status and body.
pub(crate) fn page(address: SocketAddr, path: &str) -> (u16, String) {
    use std::io::Read as _;
    let mut stream = std::net::TcpStream::connect(address).expect("connected");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("asked");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("answered");
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).expect("a body");
    (status, body)
}

/// Every file below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            if entry.path().is_dir() { folders.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found.sort();
    found
}

/// Copies a folder with all that is in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).expect("below"));
        std::fs::create_dir_all(target.parent().expect("a folder")).expect("made");
        std::fs::copy(&file, target).expect("copied");
    }
}

/// Small pseudo-random numbers that a printed seed gives again (`splitmix64`).
pub(crate) struct Random(u64);

impl Random {
    /// From `TEST_SEED`, or the clock; says which, for a test that fails.
    pub(crate) fn seeded(test: &str) -> Self {
        let given = std::env::var("TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| u64::try_from(now_ms()).unwrap_or_default());
        println!("{test}: seed {seed}, to be given again as TEST_SEED");
        Self(seed)
    }

    pub(crate) const fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % (limit as u64)).expect("small")
    }

    pub(crate) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

/// A file emptied or made, with these bytes in it.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) {
    File::create(path).and_then(|mut file| file.write_all(bytes)).expect("written");
}
