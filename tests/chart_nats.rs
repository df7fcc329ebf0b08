//! The chart's NATS and the Job that sets its ledger up, run for real: the servers with the configuration that was rendered, the
//! program with the arguments that were rendered. Only ports and folders are those of this machine; over TLS the names are the
//! cluster's, which a file of hosts leads to the loopback.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/helm.rs"]
mod helm;
#[path = "support/nats.rs"]
#[allow(dead_code, reason = "its servers are configured by others")]
mod nats;
#[path = "chart/objects.rs"]
mod objects;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use helm::{Helm, Major};
use nkeys::KeyPair;
use objects::{chart, of_kind, text};
use serde_json::{Value, json};

/// How long a cluster may take to agree, and a sidecar to read it, on a machine that compiles meanwhile.
const READY_WITHIN: Duration = Duration::from_mins(1);
const KEYS: &str = "/etc/consentd/keys";
/// What is said where the servers know somebody and do not let them, do not know them, and are not who they should be.
const NOT_ALLOWED: &str = "no answer; 0 of 1 events are acknowledged";
const NOT_KNOWN: &str = "the server does not take the credentials";
const NOT_BELIEVED: &str = "the server's certificate is not signed by an authority in";

/// Runs a program with another file of hosts, which nobody else sees.
const WITH_HOSTS: &str = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
/// What servers and program are called in the cluster.
const HOSTS: &str = "127.0.0.1 localhost consentd-nats.privacy.svc consentd.privacy.svc";

/// How the ledger's NATS is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Plain,
    Tls,
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Who has which seed, as the Secrets have it.
struct Users {
    folder: tempfile::TempDir,
    values: Value,
}

impl Users {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut users = Vec::new();
        for role in ["sidecar", "writer", "operator"] {
            let pair = KeyPair::new_user();
            let keys = folder.path().join(role);
            fs::create_dir(&keys).expect("made");
            fs::write(keys.join("nats.creds"), pair.seed().expect("a seed")).expect("written");
            // The same for all who share the ledger.
            fs::write(keys.join("subject.key"), [7; 32]).expect("written");
            fs::write(keys.join("evidence.key"), [8; 32]).expect("written");
            users.push(json!({"nkey": pair.public_key(), "role": role}));
        }
        Self { folder, values: Value::Array(users) }
    }

    /// The folder that stands for the mounted Secret of a role.
    fn keys(&self, role: &str) -> PathBuf {
        self.folder.path().join(role)
    }

    /// Lays the authority of a rendering's servers beside the keys of everybody.
    fn believe(&self, objects: &[Value]) {
        let tls = self.folder.path().join("tls");
        lay_out(objects, "consentd-nats-tls", &tls);
        for role in ["sidecar", "writer", "operator"] {
            fs::copy(tls.join("ca.crt"), self.keys(role).join("nats-ca.crt")).expect("copied");
        }
    }
}

/// The servers of a rendering.
struct Servers {
    wire: Wire,
    ports: Vec<u16>,
    monitors: Vec<u16>,
    folder: tempfile::TempDir,
    _running: Vec<Running>,
}

impl Servers {
    /// Three, as rendered, that find each other on the loopback.
    fn start(objects: &[Value], wire: Wire) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings(objects);
        let tls = folder.path().join("tls");
        if wire == Wire::Tls {
            lay_out(objects, "consentd-nats-tls", &tls);
        }
        let peers = |at: usize| format!("consentd-nats-{at}.consentd-nats-peers.privacy.svc.cluster.local");
        let hosts = folder.path().join("hosts");
        fs::write(&hosts, format!("{HOSTS} {} {} {}\n", peers(0), peers(1), peers(2))).expect("written");
        let free = || -> Vec<u16> { (0..3).map(|_| nats::free_port()).collect() };
        let [ports, routes, monitors] = [free(), free(), free()];
        let mut running = Vec::new();
        for index in 0..3 {
            let home = folder.path().join(format!("n{index}"));
            fs::create_dir(&home).expect("made");
            let mut own = settings
                .replace("0.0.0.0:4222", &format!("127.0.0.1:{}", ports[index]))
                .replace("0.0.0.0:6222", &format!("127.0.0.1:{}", routes[index]))
                .replace("0.0.0.0:8222", &format!("127.0.0.1:{}", monitors[index]))
                .replace("/etc/nats/tls", &tls.display().to_string())
                .replace("\"/data\"", &format!("\"{}\"", home.display()));
            for (other, port) in routes.iter().enumerate() {
                let name = format!("{}:6222", peers(other));
                assert!(own.contains(&name), "no route to {name}:\n{own}");
                own = own.replace(&name, &format!("{}:{port}", peers(other)));
            }
            let file = home.join("nats.conf");
            fs::write(&file, own).expect("written");
            let log = fs::File::create(home.join("log")).expect("a log");
            let mut command = with_hosts(&hosts, &nats::binary());
            command.arg("--config").arg(&file).env("SERVER_NAME", format!("consentd-nats-{index}"));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
            running.push(Running(command.spawn().expect("it starts")));
        }
        let log = |index: usize| fs::read_to_string(folder.path().join(format!("n{index}/log"))).unwrap_or_default();
        for (index, monitor) in monitors.iter().enumerate() {
            // What the chart's own probe asks.
            await_page(*monitor, "/healthz", &|| log(index));
        }
        Self { wire, ports, monitors, folder, _running: running }
    }

    /// What was rendered for where the servers are, for where they are here.
    fn here(&self, text: &str) -> String {
        let scheme = if self.wire == Wire::Tls { "tls" } else { "nats" };
        let host = "consentd-nats.privacy.svc";
        let urls: Vec<String> = self.ports.iter().map(|port| format!("{scheme}://{host}:{port}")).collect();
        text.replace(&format!("{scheme}://{host}:4222"), &urls.join(","))
    }

    /// The program, which knows the servers by their names.
    fn consentd(&self) -> Command {
        with_hosts(&self.folder.path().join("hosts"), Path::new(env!("CARGO_BIN_EXE_consentd")))
    }

    /// What the servers say that somebody tried and may not.
    fn violations(&self) -> usize {
        let log = |index: usize| fs::read_to_string(self.folder.path().join(format!("n{index}/log"))).expect("a log");
        (0..3).map(log).map(|log| log.matches("Violation").count() + log.matches("authentication error").count()).sum()
    }
}

/// A program with a file of hosts, and nothing of this test's environment.
fn with_hosts(hosts: &Path, program: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", WITH_HOSTS]).arg(hosts).arg(program);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

/// Lays out a Secret as the kubelet does.
fn lay_out(objects: &[Value], name: &str, folder: &Path) {
    fs::create_dir_all(folder).expect("made");
    let secret = of_kind(objects, "Secret").find(|secret| secret["metadata"]["name"] == name).expect("a Secret");
    for (file, value) in secret["data"].as_object().expect("files") {
        let bytes = data_encoding::BASE64.decode(value.as_str().expect("text").as_bytes()).expect("base64");
        fs::write(folder.join(file), bytes).expect("written");
    }
}

/// Waits until a page says that all is well.
fn await_page(port: u16, path: &str, told: &dyn Fn() -> String) {
    let began = Instant::now();
    while page(port, path).is_none() {
        assert!(began.elapsed() < READY_WITHIN, "{path} is not well:\n{}", told());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The body of a page, if the status is 200.
fn page(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    head.split("\r\n").next().is_some_and(|status| status.contains(" 200 ")).then(|| body.to_owned())
}

fn catalogue(version: u64, purpose: &str) -> Value {
    json!({"version": version, "channels": [{"key": "email"}],
        "purposes": [{"key": purpose, "legalBasis": "LEGAL_BASIS_CONSENT", "channels": ["email"]}]})
}

fn render(users: &Users, catalogue: &Value, wire: Wire) -> Vec<Value> {
    let mut values = json!({
        "mode": "deployment", "nats": {"enabled": true, "users": users.values}, "catalogue": catalogue,
        "config": {"evidence": {"ship": "nats"}},
    });
    if wire == Wire::Plain {
        values["allow"] = json!({"plaintextLedger": true});
        values["config"]["server"] = json!({"plaintext": true});
        values["certificates"] = json!({"kind": "none"});
    }
    Helm::start(Major::Four).template(&chart(), "1.31.0", &values).expect("rendered")
}

fn settings(objects: &[Value]) -> &str {
    of_kind(objects, "ConfigMap").find_map(|map| map["data"]["nats.conf"].as_str()).expect("a configuration of NATS")
}

/// Runs a container of the Job as the kubelet would, with a role's Secret.
fn run(objects: &[Value], container: &str, servers: &Servers, keys: &Path) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let map = of_kind(objects, "ConfigMap").find(|map| map["data"]["catalogue.json"].is_string()).expect("a catalogue");
    fs::write(folder.path().join("catalogue.json"), text(map, "/data/catalogue.json")).expect("written");
    let job = of_kind(objects, "Job").next().expect("a Job");
    let container = job.pointer(container).expect("the container");
    let here = |argument: &Value| {
        let argument = argument.as_str().expect("a text");
        let argument = servers.here(argument);
        let argument = argument.replace("/etc/consentd/catalogue", &folder.path().display().to_string());
        argument.replace(KEYS, &keys.display().to_string())
    };
    let arguments: Vec<String> = container["args"].as_array().expect("arguments").iter().map(here).collect();
    servers.consentd().args(arguments).output().expect("it runs")
}

const INIT: &str = "/spec/template/spec/initContainers/0";
const PUBLISH: &str = "/spec/template/spec/containers/0";

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_servers_and_the_job_of_the_chart_make_a_ledger_that_its_sidecars_follow() {
    make_and_follow(Wire::Plain);
}

/// With the certificate that Helm made: the servers know each other by it, and who follows believes its authority.
#[test]
fn they_do_so_over_tls() {
    make_and_follow(Wire::Tls);
}

fn make_and_follow(wire: Wire) {
    let users = Users::new();
    let first = render(&users, &catalogue(1, "a"), wire);
    let render = |catalogue: &Value| render(&users, catalogue, wire);
    if wire == Wire::Tls {
        users.believe(&first);
    }
    let servers = Servers::start(&first, wire);
    let operator = users.keys("operator");

    // The Job, and the Job again: a pod that died, or a release that was installed anew.
    for round in ["made", "there"] {
        let output = run(&first, INIT, &servers, &operator);
        assert!(output.status.success(), "{round}: {}", told(&output));
    }
    let says = |objects: &[Value], keys: &Path, is_right: bool, what: &str| {
        let output = run(objects, PUBLISH, &servers, keys);
        assert!(output.status.success() == is_right && told(&output).contains(what), "no `{what}`: {}", told(&output));
    };
    says(&first, &operator, true, "catalogue version 1 with 1 purposes");
    says(&first, &operator, true, "catalogue version 1 is in force already; nothing was written");

    // Another text without another version, and an older version, fail aloud.
    says(&render(&catalogue(1, "b")), &operator, false, "another catalogue of version 1");
    let second = render(&catalogue(2, "b"));
    says(&second, &operator, true, "catalogue version 2");
    says(&first, &operator, false, "version 2 is in force");
    assert_eq!(servers.violations(), 0);

    // Nobody else may do what the operator does, and nobody may do anything without a key.
    says(&render(&catalogue(3, "b")), &users.keys("sidecar"), false, NOT_ALLOWED);
    assert!(servers.violations() > 0, "nobody was kept from publishing");
    let stranger = users.keys("stranger");
    fs::create_dir(&stranger).expect("made");
    for entry in fs::read_dir(&operator).expect("a folder") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), stranger.join(entry.file_name())).expect("copied");
    }
    fs::write(stranger.join("nats.creds"), KeyPair::new_user().seed().expect("a seed")).expect("written");
    let output = run(&first, INIT, &servers, &stranger);
    assert!(!output.status.success() && told(&output).contains(NOT_KNOWN), "{}", told(&output));
    if wire == Wire::Tls {
        fs::copy(operator.join("nats.creds"), stranger.join("nats.creds")).expect("copied");
        // Of another release, which has another authority.
        let elsewhere = render(&catalogue(1, "a"));
        users.believe(&elsewhere);
        fs::copy(users.keys("sidecar").join("nats-ca.crt"), stranger.join("nats-ca.crt")).expect("copied");
        users.believe(&first);
        let output = run(&first, INIT, &servers, &stranger);
        assert!(!output.status.success() && told(&output).contains(NOT_BELIEVED), "{}", told(&output));
    }
    says(&second, &operator, true, "catalogue version 2 is in force already; nothing was written");

    let keys = users.keys("writer");
    let mut grant = servers.consentd();
    let ledger = if wire == Wire::Tls {
        "tls://consentd-nats.privacy.svc:4222"
    } else {
        "nats://consentd-nats.privacy.svc:4222"
    };
    grant.args(["ledger", "grant", "crm:1", "b", "--channel", "email", "--ledger", &servers.here(ledger)]);
    grant.arg("--subject-key").arg(keys.join("subject.key")).arg("--nats-creds").arg(keys.join("nats.creds"));
    if wire == Wire::Tls {
        grant.arg("--tls-ca").arg(keys.join("nats-ca.crt"));
    }
    let output = grant.output().expect("it runs");
    assert!(output.status.success(), "{}", told(&output));
    let before = servers.violations();
    follow(&first, &servers, &users.keys("sidecar"));
    assert_eq!(servers.violations(), before, "a sidecar tries what it may not");
    for monitor in &servers.monitors {
        // What docs/chart.md has people look at.
        let page = page(*monitor, "/varz").expect("a page");
        assert_eq!(page.contains("tls_cert_not_after"), wire == Wire::Tls, "{page}");
    }
}

/// The consentd of the chart, as rendered, with the rights of a sidecar: it becomes ready, answers, and its evidence leaves.
fn follow(objects: &[Value], servers: &Servers, keys: &Path) {
    let folder = tempfile::tempdir().expect("a folder");
    let [questions, admin] = [nats::free_port(), nats::free_port()];
    let tls = folder.path().join("tls");
    let config = of_kind(objects, "ConfigMap").find_map(|map| map["data"]["consentd.toml"].as_str()).expect("a file");
    let config = servers
        .here(config)
        .replace(KEYS, &keys.display().to_string())
        .replace("/etc/consentd/tls", &tls.display().to_string())
        .replace("/var/lib/consentd", &folder.path().join("data").display().to_string())
        .replace("0.0.0.0:7311", &format!("127.0.0.1:{questions}"))
        .replace("0.0.0.0:7312", &format!("127.0.0.1:{admin}"));
    let file = folder.path().join("consentd.toml");
    fs::write(&file, &config).expect("written");
    let mut ask = servers.consentd();
    ask.args(["ask", "crm:1", "b", "--channel", "email", "--address"]);
    if servers.wire == Wire::Tls {
        lay_out(objects, "consentd-tls", &tls);
        ask.arg(format!("consentd.privacy.svc:{questions}")).arg("--tls-ca").arg(tls.join("ca.crt"));
    } else {
        ask.arg(format!("127.0.0.1:{questions}"));
    }
    let log = fs::File::create(folder.path().join("log")).expect("a log");
    let mut command = servers.consentd();
    command.arg("serve").arg("--config").arg(&file).stdin(Stdio::null());
    command.stdout(log.try_clone().expect("the same")).stderr(log);
    let _running = Running(command.spawn().expect("it starts"));
    let said = || fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    await_page(admin, "/readyz", &said);

    let output = ask.output().expect("it runs");
    assert!(output.status.success() && told(&output).starts_with("ALLOW"), "{}", told(&output));
    let shipped = "consentd_evidence_shipped_records_total";
    let is_shipped = |line: &str| line.starts_with(shipped) && !line.ends_with(" 0");
    let began = Instant::now();
    while !page(admin, "/metrics").is_some_and(|page| page.lines().any(is_shipped)) {
        assert!(began.elapsed() < READY_WITHIN, "no evidence has left:\n{}", said());
        std::thread::sleep(Duration::from_millis(50));
    }
    // People are found in it when this pod is gone: the key is made of the Secret's.
    let made = fs::read_dir(folder.path().join("data/evidence/keys")).expect("a folder");
    let kinds: Vec<_> = made.map(|entry| entry.expect("an entry").path().extension().map(ToOwned::to_owned)).collect();
    assert!(!kinds.is_empty() && kinds.iter().all(|kind| kind.as_deref() == Some("salt".as_ref())), "{kinds:?}");
}

#[test]
fn the_servers_take_their_settings_with_tls() {
    let users = Users::new();
    let values = json!({"nats": {"enabled": true, "users": users.values}});
    let objects = Helm::start(Major::Four).template(&chart(), "1.31.0", &values).expect("rendered");
    let folder = tempfile::tempdir().expect("a folder");
    lay_out(&objects, "consentd-nats-tls", folder.path());
    let home = folder.path().display().to_string();
    let own = settings(&objects).replace("/etc/nats/tls", &home).replace("\"/data\"", &format!("\"{home}\""));
    let file = folder.path().join("nats.conf");
    for (text, is_right) in [(own.clone(), true), (own.replace("verify: true", "verifi: true"), false)] {
        fs::write(&file, text).expect("written");
        let mut command = Command::new(nats::binary());
        command.arg("-t").arg("--config").arg(&file).env("SERVER_NAME", "consentd-nats-0");
        let output = command.output().expect("it runs");
        assert_eq!(output.status.success(), is_right, "{}", told(&output));
    }
    assert!(own.contains("sync_interval: always"), "{own}");
}
