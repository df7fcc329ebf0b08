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

/// How long the server may take for what it must do, on a machine that compiles meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a program of Prometheus is: on the path, or where `.ci/promtool` puts it.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let binary = Path::new(env!("CARGO_BIN_EXE_consentd"));
    let target = binary.ancestors().nth(2).expect("it lies in a folder for its profile");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([target.join("prometheus/usr/bin")]);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// promtool with these arguments must succeed. Says so, and gives `None`, where there is no promtool.
pub(crate) fn promtool(arguments: &[&str], folder: &Path) -> Option<String> {
    let Some(promtool) = find("promtool") else {
        leave_out("promtool");
        return None;
    };
    let output = Command::new(promtool).args(arguments).current_dir(folder).output().expect("it runs");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "promtool {arguments:?}:\n{said}");
    Some(said)
}

/// Says that something was not tested. Not by a macro, whose output is only shown where a test fails: it is to be seen.
pub(crate) fn leave_out(want: &str) {
    let told = format!("alarms: a test was LEFT OUT, for want of {want}; see .ci/promtool\n");
    std::io::stderr().write_all(told.as_bytes()).expect("told");
}

/// A server that scrapes one target each second, ended with the test.
pub(crate) struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Prometheus {
    /// Starts it with these rules. The target is the pod `a` of the namespace `shop`. `None` where there is no Prometheus.
    pub(crate) fn start(rules: &str, target: SocketAddr) -> Option<Self> {
        let Some(program) = find("prometheus") else {
            leave_out("prometheus");
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| folder.path().join(name);
        fs::write(file("rules.yaml"), rules).expect("written");
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
             rule_files: [rules.yaml]\n\
             scrape_configs:\n\
             - job_name: shop/consentd\n  static_configs:\n  - targets: ['{target}']\n    \
             labels: {{namespace: shop, pod: a, container: consentd}}\n"
        );
        fs::write(file("prometheus.yml"), config).expect("written");
        // Nothing tells which port it took of its own choice.
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
        server.until("it is ready", |server| server.get("/-/ready").map(|_| ()));
        Some(server)
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
            if let Some(found) = look(self) {
                return found;
            }
            let ended = self.child.try_wait().expect("a child");
            let log = || fs::read_to_string(self.folder.path().join("log")).expect("a log");
            assert!(ended.is_none(), "prometheus ended by itself:\n{}", log());
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}; {:?}\n{}", self.alerts(), log());
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
