//! Debian's Prometheus and its promtool, as `.ci/promtool` gets them.

#![allow(dead_code, reason = "each test file takes what it needs")]
#![allow(clippy::panic, clippy::expect_used, reason = "tests may fail loudly")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::wanting::Want;

/// How long the server may take for what it must do, on a machine that compiles meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often somebody else may take the port that was free.
const ATTEMPTS: usize = 5;

/// Where a program of Prometheus is: on the path, or where `.ci/promtool` puts it.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let binary = Path::new(env!("CARGO_BIN_EXE_consentd"));
    let target = binary.ancestors().nth(2).expect("it lies in a folder for its profile");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([target.join("prometheus/usr/bin")]);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// promtool with these arguments must succeed. `None` where there is none, and that may be.
pub(crate) fn promtool(arguments: &[&str], folder: &Path) -> Option<String> {
    let Some(promtool) = find("promtool") else {
        Want::Prometheus.leave_out("there is no promtool; see .ci/promtool");
        return None;
    };
    let output = Command::new(promtool).args(arguments).current_dir(folder).output().expect("it runs");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "promtool {arguments:?}:\n{said}");
    Some(said)
}

/// A server that scrapes one target each second, ended with the test.
pub(crate) struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Prometheus {
    /// Starts it with these rules. The target is the pod `a` of the namespace `shop`. `None` where there is no Prometheus, and
    /// that may be.
    pub(crate) fn start(rules: &str, target: SocketAddr) -> Option<Self> {
        let Some(program) = find("prometheus") else {
            Want::Prometheus.leave_out("there is no prometheus; see .ci/promtool");
            return None;
        };
        let started = (0..ATTEMPTS).find_map(|_| Self::try_start(&program, rules, target));
        Some(started.expect("a port that nobody takes meanwhile"))
    }

    /// Nothing tells which port it took of its own choice, and another may take the one that was free: then it is `None`.
    fn try_start(program: &Path, rules: &str, target: SocketAddr) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| folder.path().join(name);
        fs::write(file("rules.yaml"), rules).expect("written");
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
             rule_files: [rules.yaml]\n\
             scrape_configs:\n\
             - job_name: shop/consentd\n  static_configs:\n  - targets: ['{target}']\n    \
             labels: {{namespace: shop, pod: a, container: consentd, consentd: sidecar}}\n"
        );
        fs::write(file("prometheus.yml"), config).expect("written");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let log = fs::File::create(file("log")).expect("a log");
        let child = Command::new(program)
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address={free}"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("it starts");
        let mut server = Self { child, address: free, folder };
        let is_ready = server.until("it is ready", |server| {
            let is_taken = || server.log().contains("address already in use").then_some(false);
            server.get("/-/ready").map(|_| true).or_else(is_taken)
        });
        is_ready.then_some(server)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("a log")
    }

    /// A page, if it answers with 200. HTTP/1.0, so that nothing comes in chunks.
    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n").as_bytes()).ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).ok()?;
        let (head, body) = page.split_once("\r\n\r\n")?;
        head.split(' ').nth(1).is_some_and(|status| status == "200").then(|| body.to_owned())
    }

    /// What a query gives now: the series, each with its labels and value.
    pub(crate) fn query(&self, expression: &str) -> Vec<Value> {
        let encoded = expression.bytes().fold(String::new(), |encoded, byte| encoded + &format!("%{byte:02x}"));
        let page = self.get(&format!("/api/v1/query?query={encoded}"));
        let page = page.unwrap_or_else(|| panic!("`{expression}` is not answered"));
        let answer: Value = serde_json::from_str(&page).expect("JSON");
        answer.pointer("/data/result").and_then(Value::as_array).expect("series").clone()
    }

    /// The names of the alarms that fire. One that waits may be right to.
    pub(crate) fn firing(&self) -> Vec<String> {
        let is_firing = |alert: &&Value| alert.pointer("/state").is_some_and(|state| state == "firing");
        let name = |alert: &Value| alert.pointer("/labels/alertname").and_then(Value::as_str).map(str::to_owned);
        self.alerts().iter().filter(is_firing).filter_map(name).collect()
    }

    /// The alarms that are pending or firing.
    pub(crate) fn alerts(&self) -> Vec<Value> {
        let page = self.get("/api/v1/alerts").expect("a page");
        let answer: Value = serde_json::from_str(&page).expect("JSON");
        answer.pointer("/data/alerts").and_then(Value::as_array).expect("alerts").clone()
    }

    /// The alarm of a name in a state, if there is one.
    pub(crate) fn alert(&self, name: &str, state: &str) -> Option<Value> {
        let is = |alert: &Value, path: &str, wanted: &str| alert.pointer(path).is_some_and(|found| found == wanted);
        self.alerts().into_iter().find(|alert| is(alert, "/labels/alertname", name) && is(alert, "/state", state))
    }

    /// What comes within some time.
    pub(crate) fn until<T>(&mut self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Before the look, which may see why.
            let ended = self.child.try_wait().expect("a child");
            if let Some(found) = look(self) {
                return found;
            }
            assert!(ended.is_none(), "prometheus ended by itself:\n{}", self.log());
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}; {:?}\n{}", self.alerts(), self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
