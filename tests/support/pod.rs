//! A pod of the sidecar and an app, and what the kubelet does to its containers, done to processes.
//!
//! The sidecar is the real binary. The app is this test's own binary, started again as [`app`]: it asks without end, writes
//! down each answer that it has received, and when it is told to stop goes on asking for as long as it was made to.
//!
//! Source: Kubernetes, "Sidecar Containers" and "Pod Lifecycle": a native sidecar starts before the app, which waits for its
//! startup probe; it is told to stop when the app has ended, and has then what is left of the grace period.

#![allow(dead_code, reason = "each test file takes what it needs")]
#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use consentd::evidence::{Archive, EvidenceId, Month, YearMonth};
use consentd::proto::v1;
use consentd::proto::v1::Reason;
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use crate::sidecar::{Client, Home, PATIENCE, Process, connect_uds, eventually, newsletter, page};

/// What a container has at least between SIGTERM and SIGKILL, also where the app has used all of the grace period.
/// Source: Kubernetes 1.29 to 1.34, `minimumGracePeriodInSeconds` of the kubelet.
pub(crate) const GRACE_MIN: Duration = Duration::from_secs(2);
/// How often a startup probe looks here; a kubelet's looks once a second at most often.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);
/// The environment of [`app`].
const SOCKET: &str = "TEST_APP_SOCKET";
const BOOK: &str = "TEST_APP_BOOK";
const LINGER_MS: &str = "TEST_APP_LINGER_MS";
/// How many subjects the app asks about, `crm:0` and on. Of three, the first two gave their consent, and the second took it
/// back.
pub(crate) const SUBJECTS: usize = 30;
/// The longest that the app waits for an answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(1);

/// The app's process, killed with the test.
pub(crate) struct App {
    child: Child,
    book: PathBuf,
}

/// One line of the app's book.
#[derive(Debug, Clone)]
pub(crate) struct Noted {
    /// After the app began, when what came was received.
    pub(crate) at: Duration,
    /// Whom it asked about.
    pub(crate) subject: String,
    /// Why the answer is as it is, and its evidence; or why there was none.
    pub(crate) came: Result<(Reason, String), String>,
}

/// How the two ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) app: ExitStatus,
    pub(crate) sidecar: ExitStatus,
    /// From SIGTERM to its end.
    pub(crate) sidecar_took: Duration,
}

impl App {
    /// Starts the app beside the sidecar of a home, whose name makes the book's.
    pub(crate) fn start(home: &Home, name: &str, linger: Duration) -> Self {
        Self::start_by(Command::new(std::env::current_exe().expect("a path")), &home.uds(), &home.path(name), linger)
    }

    /// Starts it by a command that ends in the path of this binary.
    pub(crate) fn start_by(mut command: Command, socket: &Path, book: &Path, linger: Duration) -> Self {
        command.args(["app_of_a_pod", "--exact", "--ignored", "--nocapture"]);
        command.env(SOCKET, socket).env(BOOK, book).env(LINGER_MS, linger.as_millis().to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
        Self { child: command.spawn().expect("started"), book: book.to_owned() }
    }

    /// What it has written down so far.
    pub(crate) fn book(&self) -> Vec<Noted> {
        read_book(&self.book)
    }

    /// Waits until it has received so many answers more.
    pub(crate) async fn hears(&self, more: usize) {
        let wanted = answered(&self.book()).count() + more;
        eventually("the app is answered", async || (answered(&self.book()).count() >= wanted).then_some(())).await;
    }

    /// Waits until it has been allowed something again.
    pub(crate) async fn is_allowed(&self) {
        let before = self.book().len();
        let allowed = async || self.book()[before..].iter().any(Noted::is_allow).then_some(());
        eventually("the app is allowed again", allowed).await;
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    pub(crate) fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("told");
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Noted {
    pub(crate) fn is_for(&self, wanted: Reason) -> bool {
        self.came.as_ref().is_ok_and(|(reason, _)| *reason == wanted)
    }

    pub(crate) fn is_allow(&self) -> bool {
        self.came.as_ref().is_ok_and(|(reason, _)| (1..100).contains(&i32::from(*reason)))
    }
}

/// Those of a book's lines that are answers.
pub(crate) fn answered(book: &[Noted]) -> impl Iterator<Item = &Noted> {
    book.iter().filter(|noted| noted.came.is_ok())
}

/// The app: asks in one connection after the other until it is told to stop, and for a while longer.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn app() {
    let Ok(socket) = std::env::var(SOCKET) else { return };
    let mut book =
        OpenOptions::new().append(true).create(true).open(std::env::var(BOOK).expect("set")).expect("a book");
    let linger = std::env::var(LINGER_MS).expect("set").parse().map(Duration::from_millis).expect("a number");
    let mut terminate = signal(SignalKind::terminate()).expect("listened to");
    let began = Instant::now();
    let mut ends = None;
    let mut client = None;
    for number in (0..SUBJECTS).cycle() {
        if ends.is_some_and(|ends| Instant::now() >= ends) {
            return;
        }
        tokio::select! {
            _ = terminate.recv(), if ends.is_none() => ends = Some(Instant::now() + linger),
            () = tokio::time::sleep(PAUSE) => {}
        }
        let subject = format!("crm:{number}");
        let came = ask_once(&mut client, Path::new(&socket), &subject).await;
        let at = began.elapsed().as_micros();
        let line = match came {
            Ok((reason, evidence)) => format!("{at} {subject} {} {evidence}\n", i32::from(reason)),
            Err(why) => format!("{at} {subject} ! {}\n", why.replace('\n', " ")),
        };
        // In the kernel before anything else happens: what stands in the book was received.
        book.write_all(line.as_bytes()).expect("written");
    }
}

/// One answer; another connection is made where there is none, and given up where it fails.
async fn ask_once(client: &mut Option<Client>, socket: &Path, subject: &str) -> Result<(Reason, String), String> {
    if client.is_none() {
        *client = Some(Client::new(connect_uds(socket).await.map_err(|error| format!("connecting: {error:?}"))?));
    }
    let Some(connected) = client else { return Err("no connection".to_owned()) };
    let request = v1::MayProcessRequest { question: Some(newsletter(subject)) };
    let failed = match tokio::time::timeout(ASK_TIMEOUT, connected.may_process(request)).await {
        Ok(Ok(response)) => {
            let response = response.into_inner();
            return Ok((response.answer.expect("an answer").reason(), response.evidence_id));
        }
        Ok(Err(status)) => format!("{:?}: {}", status.code(), status.message()),
        Err(_) => "no answer in time".to_owned(),
    };
    *client = None;
    Err(failed)
}

fn read_book(path: &Path) -> Vec<Noted> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // A line may still be on its way.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| parse(line).unwrap_or_else(|| panic!("`{line}`"))).collect()
}

fn parse(line: &str) -> Option<Noted> {
    let mut words = line.splitn(4, ' ');
    let at = Duration::from_micros(words.next()?.parse().ok()?);
    let (subject, reason, rest) = (words.next()?.to_owned(), words.next()?, words.next()?.to_owned());
    let came = match reason {
        "!" => Err(rest),
        number => Ok((Reason::try_from(number.parse::<i32>().ok()?).ok()?, rest)),
    };
    Some(Noted { at, subject, came })
}

/// Waits for a startup probe: the page's status 200.
pub(crate) async fn until_probed(home: &Home, sidecar: &mut Process, path: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(sidecar.is_running(), "the sidecar ended by itself");
        if probe(home, path) == Some(200) {
            return;
        }
        assert!(Instant::now() < deadline, "`{path}` is never 200");
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
}

/// What a probe sees; nothing where nobody listens.
pub(crate) fn probe(home: &Home, path: &str) -> Option<u16> {
    let log = std::fs::read_to_string(home.log()).ok()?;
    // The last life may not have said yet where it listens.
    log.lines().rev().find(|line| line.contains("listening"))?;
    let address = home.admin();
    std::net::TcpStream::connect(address).ok()?;
    Some(page(address, path).0)
}

/// How many events a sidecar has read of its ledger while it built its copy.
pub(crate) fn replayed(home: &Home) -> usize {
    let (_, metrics) = page(home.admin(), "/metrics");
    let told = metrics.lines().find_map(|line| line.strip_prefix("consentd_replay_events_total "));
    told.and_then(|told| told.parse().ok()).expect("a count")
}

/// The end of a pod: the app is told to stop and killed at the end of the grace period; then the sidecar is told, and killed
/// when what is left of the period is over.
pub(crate) async fn terminate(app: &mut App, sidecar: &mut Process, grace: Duration) -> Ended {
    let deadline = Instant::now() + grace;
    app.terminate();
    let app = ended_by(&mut app.child, deadline).await;
    assert!(sidecar.is_running(), "the sidecar stays until the app has ended");
    let told = Instant::now();
    sidecar.terminate();
    let sidecar = sidecar.ended_by(deadline.max(told + GRACE_MIN)).await;
    Ended { app, sidecar, sidecar_took: told.elapsed() }
}

/// How a process ended, which is killed at a deadline.
pub(crate) async fn ended_by(child: &mut Child, deadline: Instant) -> ExitStatus {
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("a child") {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    child.kill().expect("killed");
    child.wait().expect("gone")
}

/// Checks that the evidence of a home holds together and has every answer of a book, about the same subject and with the same
/// reason. Gives how many of them are ALLOW.
pub(crate) fn check_evidence(home: &Home, book: &[Noted]) -> usize {
    check_evidence_in(&home.data().join("evidence"), true, book)
}

/// The same of a folder, which has the keys by which subjects are found or, once it was shipped, has not.
pub(crate) fn check_evidence_in(folder: &Path, has_keys: bool, book: &[Noted]) -> usize {
    let archive = Archive::open(folder).expect("a log");
    let reports = archive.verify(None, None).expect("readable");
    assert!(reports.iter().all(|report| report.problems.is_empty() && report.lost_files == 0), "{reports:?}");
    let mut records = HashMap::new();
    for month in archive.months().expect("listed") {
        let read = archive.read(month, |index, record| {
            records.insert((month, index), record);
            ControlFlow::Continue(())
        });
        read.expect("readable to its end");
    }
    let mut months: HashMap<YearMonth, Month> = HashMap::new();
    for noted in answered(book) {
        let Ok((reason, evidence)) = &noted.came else { continue };
        assert!(
            !evidence.is_empty() || *reason == Reason::EvidenceUnavailable,
            "an answer without evidence: {noted:?}"
        );
        if evidence.is_empty() {
            continue;
        }
        let id: EvidenceId = evidence.parse().expect("an id");
        let record = records.get(&(id.month, id.index));
        let record = record.unwrap_or_else(|| panic!("the evidence of what the app was told is missing: {noted:?}"));
        assert_eq!(record.reasons().collect::<Vec<_>>(), [*reason], "{noted:?}");
        if !has_keys {
            continue;
        }
        let month = months.entry(id.month).or_insert_with(|| archive.month(id.month).expect("a key"));
        assert_eq!(record.subject_tags, month.tag(&noted.subject), "{noted:?}");
    }
    book.iter().filter(|noted| noted.is_allow()).count()
}

/// A home whose ledger has what the app asks about.
pub(crate) fn home() -> Home {
    let home = Home::with_catalogue();
    home.append(&said_by_all().join("\n"));
    home
}

/// What the subjects said.
pub(crate) fn said_by_all() -> Vec<String> {
    let mut lines = Vec::new();
    for number in (0..SUBJECTS).filter(|number| number % 3 != 2) {
        lines.push(crate::sidecar::given(&format!("crm:{number}")));
        if number % 3 == 1 {
            lines.push(crate::sidecar::withdrawn(&format!("crm:{number}")));
        }
    }
    lines
}

/// Whether these tests may make namespaces; says so where they may not.
pub(crate) fn assert_root(what: &str) {
    assert!(
        rustix::process::geteuid().is_root(),
        "{what} can only be tried as root (`sudo -E cargo test`, or a container with CAP_SYS_ADMIN)"
    );
}
