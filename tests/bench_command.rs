//! `consentd bench`, run as a user runs it: against a real sidecar, and against a server that is stopped for a while.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly; the exemption of clippy.toml does not reach its helpers"
)]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use consentd::clock::Clock;
use consentd::config::{Config, Flag, Sources};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::sync::oneshot;

/// Subjects of the test's ledger.
const SUBJECTS: u64 = 500;

fn consentd(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_consentd"));
    command.env_clear().args(arguments);
    command
}

/// A sidecar of the library in a thread, until it is dropped.
struct Sidecar {
    tcp: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sidecar {
    fn start(folder: &Path) -> Self {
        let ledger = folder.join("ledger.jsonl");
        let mut write = consentd(&["bench", "ledger", "--subjects", &SUBJECTS.to_string(), "--out"]);
        assert!(write.arg(&ledger).status().expect("runs").success());
        let path = |name: &str| folder.join(name).display().to_string();
        let flag = |key: &str, value: String| Flag { name: key.to_owned(), key: key.to_owned(), value };
        let flags = vec![
            flag("ledger.file", ledger.display().to_string()),
            flag("data_dir", path("data")),
            flag("server.tcp", "127.0.0.1:0".to_owned()),
            flag("server.uds", path("socket")),
            flag("admin.tcp", "off".to_owned()),
            flag("ext_authz.subject", "header:x-subject".to_owned()),
            flag("ext_authz.purpose", "header:x-purpose".to_owned()),
            flag("ext_authz.channel", "header:x-channel".to_owned()),
            flag("authzen.enabled", "true".to_owned()),
        ];
        let config = Config::load(&Sources { flags, ..Sources::default() }).expect("valid").config;
        let (stop, stopped) = oneshot::channel();
        let (bound, addresses) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let sidecar = consentd::app::build(&config, Clock::system()).await.expect("starts");
                let started = Instant::now();
                while !sidecar.lifecycle().is_ready() {
                    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", sidecar.lifecycle().causes());
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                bound.send(sidecar.tcp.expect("TCP")).expect("listened to");
                let stopped = async move {
                    let _ = stopped.await;
                };
                sidecar.serve(stopped).await.expect("serves");
            });
        });
        let tcp = addresses.recv().expect("bound");
        Self { tcp, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))) || std::thread::panicking(), "the sidecar panicked");
    }
}

/// A null server in a process of its own, until it is dropped.
struct Null {
    child: Child,
    address: String,
}

impl Null {
    fn start() -> Self {
        let mut command = consentd(&["bench", "null", "--listen", "127.0.0.1:0", "--log-format", "json"]);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("starts");
        let mut line = String::new();
        BufReader::new(child.stderr.take().expect("a pipe")).read_line(&mut line).expect("a line");
        let said: Value = serde_json::from_str(&line).expect("JSON");
        let address = said["tcp"].as_str().expect("an address").to_owned();
        Self { child, address }
    }

    fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(self.child.id().try_into().expect("a process id")).expect("a process id");
        kill_process(process, signal).expect("it runs");
    }
}

impl Drop for Null {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the load generator, which must succeed, and gives its report.
fn report(arguments: &[&str]) -> Value {
    let output = consentd(&["bench", "run", "--json"]).args(arguments).output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn count(report: &Value, field: &str) -> u64 {
    report[field].as_u64().unwrap_or_else(|| panic!("`{field}` is no count: {report}"))
}

#[test]
fn every_question_is_answered_with_evidence_in_every_way_of_asking() {
    let folder = tempfile::tempdir().expect("a folder");
    let sidecar = Sidecar::start(folder.path());
    let (tcp, uds) = (sidecar.tcp.to_string(), format!("unix:{}", folder.path().join("socket").display()));
    let subjects = format!("crm:{{1..{SUBJECTS}}}");
    let common = ["--duration", "400ms", "--warmup", "100ms", "--batch", "100", "--subjects", &subjects];
    for (address, call, questions) in
        [(&tcp, "unary", 1), (&uds, "batch", 100), (&tcp, "stream", 100), (&uds, "check", 1), (&uds, "authzen", 1)]
    {
        for open in [false, true] {
            let mut arguments = common.to_vec();
            arguments.extend(["--address", address, "--call", call, "--connections", "2"]);
            arguments.extend(if open { ["--rate", "200"] } else { ["--in-flight", "8"] });
            let report = report(&arguments);
            let calls = count(&report, "calls");
            assert_eq!(count(&report, "calls_answered"), calls, "{report}");
            assert_eq!(count(&report, "questions"), calls * questions, "{report}");
            assert_eq!(count(&report, "answers"), calls * questions, "{report}");
            assert_eq!(count(&report, "answers_without_evidence"), 0, "{report}");
            assert_eq!(report["errors"], serde_json::json!({}), "{report}");
            assert_eq!(report["loop"], if open { "open" } else { "closed" });
            if open {
                // 200 a second, for 400 ms.
                assert!((79..=81).contains(&calls), "{report}");
            }
            let reasons = &report["reasons"];
            let (given, withdrawn) = (count(reasons, "CONSENT"), reasons["WITHDRAWN"].as_u64().unwrap_or(0));
            assert_eq!(given + withdrawn, calls * questions, "no other reason occurs: {report}");
            assert_eq!(count(&report["verdicts"], "ALLOW"), given, "{report}");
            if questions == 100 {
                let share = given * 100 / (given + withdrawn);
                assert!((75..=95).contains(&share), "85 in 100 allow: {report}");
            }
        }
    }
}

#[test]
fn a_server_that_answers_no_checks_is_an_error() {
    let null = Null::start();
    let arguments = ["bench", "run", "--call", "check", "--address", &null.address];
    let output = consentd(&arguments).output().expect("runs");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let output = consentd(&["bench", "compare", "--call", "check"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("measure it with `consentd bench run`"), "{said}");
}

/// Measures a null server that stops for 300 ms in the middle of a second.
fn measured_over_a_pause(arguments: &[&str]) -> Value {
    let null = Null::start();
    let common = ["--address", &null.address, "--warmup", "0s", "--duration", "1s", "--connections", "1"];
    std::thread::scope(|scope| {
        let measured = scope.spawn(|| report(&[&common, arguments].concat()));
        std::thread::sleep(Duration::from_millis(400));
        null.signal(Signal::STOP);
        std::thread::sleep(Duration::from_millis(300));
        null.signal(Signal::CONT);
        measured.join().expect("measured")
    })
}

#[test]
fn an_open_loop_counts_the_time_spent_waiting_to_be_sent() {
    let ms = |report: &Value, name: &str| report["latency"][name].as_f64().expect("a latency") / 1000.0;
    // Even with a single place, where only one call at a time can be on its way.
    for (call, places) in [("unary", "1"), ("unary", "1000"), ("stream", "1")] {
        let report = measured_over_a_pause(&["--call", call, "--rate", "1000", "--in-flight", places, "--batch", "1"]);
        assert_eq!(count(&report, "calls"), 1000, "{report}");
        assert!(ms(&report, "max_us") > 280.0, "the pause is seen in full: {report}");
        // Of a thousand calls some 300 were due in the pause, evenly: one in a hundred waited for nearly all of it.
        assert!(ms(&report, "p99_us") > 230.0, "{call}, {places}: {report}");
        assert!(ms(&report, "p90_us") > 100.0, "{call}, {places}: {report}");
    }
    // The closed loop cannot know: of its thousands of calls one was slow. This is what the open one is for.
    let report = measured_over_a_pause(&["--in-flight", "1"]);
    assert!(ms(&report, "max_us") > 280.0 && ms(&report, "p99_us") < 200.0, "{report}");
}

#[test]
fn a_server_that_is_not_there_is_an_error() {
    let output = consentd(&["bench", "run", "--address", "127.0.0.1:1"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("consentd: cannot reach a sidecar at `127.0.0.1:1`"), "{said}");
}

#[test]
fn calls_that_fail_are_counted_and_told() {
    let null = Null::start();
    let output = std::thread::scope(|scope| {
        let arguments = ["bench", "run", "--json", "--warmup", "0s", "--duration", "600ms", "--address", &null.address];
        let measured = scope.spawn(move || consentd(&arguments).output().expect("runs"));
        std::thread::sleep(Duration::from_millis(300));
        null.signal(Signal::KILL);
        measured.join().expect("measured")
    });
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    let (answered, failed) = (count(&report, "calls_answered"), count(&report, "calls_failed"));
    assert!(answered > 0 && failed > 0, "{report}");
    assert_eq!(answered + failed + count(&report, "calls_unanswered"), count(&report, "calls"), "{report}");
}

/// A comparison's table, and how many rows it has.
fn compare(more: &[&str]) -> (String, usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("table.md");
    let arguments = ["bench", "compare", "--quick", "--subjects", "200", "--pairs", "1", "--batch", "20"];
    let mut command = consentd(&arguments);
    command.args(more).args(["--duration", "200ms", "--out"]).arg(&out);
    let output = command.env("TMPDIR", folder.path()).output().expect("runs");
    assert!(output.status.success(), "{output:?}");
    let table = std::fs::read_to_string(&out).expect("written");
    assert_eq!(table.as_bytes(), output.stdout);
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("one").path()).collect();
    assert_eq!(left, [out], "the folder of the comparison is gone");
    let rows = table.lines().filter(|line| line.starts_with("| auto |")).count();
    (table, rows)
}

#[test]
fn a_quick_comparison_ends_with_a_table_and_leaves_nothing_behind() {
    let (table, rows) = compare(&[]);
    assert_eq!(rows, 10, "{table}");
    assert!(table.contains("null answers/s | sidecar answers/s"), "{table}");
}

#[test]
fn a_sidecar_is_compared_with_one_that_is_traced() {
    let (table, rows) = compare(&["--traced", "0.01", "--call", "unary"]);
    assert_eq!(rows, 6, "{table}");
    assert!(table.contains("plain answers/s | traced answers/s"), "{table}");
}

#[test]
fn withdrawals_are_measured_from_their_acknowledgement_to_the_first_deny() {
    let folder = tempfile::tempdir().expect("a folder");
    let sidecar = Sidecar::start(folder.path());
    let address = sidecar.tcp.to_string();
    let ledger = folder.path().join("ledger.jsonl").display().to_string();
    let measure = ["bench", "withdraw", "--address", &address, "--ledger", &ledger, "--count", "20", "--json"];
    let output = consentd(&measure).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["withdrawals"], 20, "{report}");
    let most = |what: &str| report[what]["max_us"].as_f64().expect("a time");
    assert!(most("written_to_acknowledged") > 0.0, "{report}");
    let before = report["denied_before_acknowledged"].as_u64().expect("a count");
    assert!(most("acknowledged_to_denied") > 0.0 || before == 20, "{report}");
    assert!(most("acknowledged_to_denied") < 30e6, "{report}");

    // What cannot be allowed cannot be withdrawn either.
    let output = consentd(&measure).args(["--purpose", "service.unheard_of"]).output().expect("runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("REASON_UNKNOWN_PURPOSE"), "{told}");
    // A sidecar of another ledger would be waited for in vain.
    let other = folder.path().join("other.jsonl").display().to_string();
    let measure = ["bench", "withdraw", "--address", &address, "--ledger", &other, "--count", "1"];
    let output = consentd(&measure).output().expect("runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("another ledger"), "{told}");
}
