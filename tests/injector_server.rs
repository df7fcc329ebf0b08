//! The webhook as it runs: the real binary, asked by clients that are not ours.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly; the exemption of clippy.toml does not reach its helpers"
)]

#[path = "support/admission.rs"]
mod admission;
#[path = "support/sidecar.rs"]
mod sidecar;
#[path = "support/tls.rs"]
mod tls;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use admission::{folder, patch_of, review};
use serde_json::Value;
use sidecar::{Home, PATIENCE, ask, connect_uds, eventually, given, newsletter, until_serving};
use tempfile::TempDir;
use tls::{Authority, Files};

/// How many send slowly: ten times what the webhook holds of the largest.
const SLOW: usize = 40;
/// What is promised of a review, its way over a connection that is there included, in milliseconds.
const REVIEW_MS_MAX: f64 = 50.0;
/// What a review may take of a processor, in milliseconds, a handshake for every second one included: three times what it takes in a
/// build without optimizations.
const COST_MS_MAX: f64 = 6.0;
/// How late those who ask may be woken, one time in a hundred, on a machine that has a processor for whoever wants one.
const CALM_MS: f64 = 5.0;
const OPERATIONS: &str = include_str!("../docs/operations.md");

/// The webhook in a process of its own, killed with the test.
struct Webhook {
    child: Child,
    reviews: SocketAddr,
    admin: SocketAddr,
    folder: TempDir,
    authority: Authority,
}

impl Webhook {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new("webhooks");
        let files = Files::write(folder.path().join("tls"), &authority.server(), None);
        fs::write(folder.path().join("ca.pem"), authority.pem()).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_consentd"));
        command.args(["injector", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--linger=4s"]);
        command.arg("--config").arg(admission::folder().join("injector.toml"));
        command.arg("--tls-cert-file").arg(files.cert()).arg("--tls-key-file").arg(files.key());
        // A file, because nobody reads a pipe while reviews are asked.
        let log = folder.path().join("log");
        let stderr = fs::File::create(&log).expect("a log");
        let mut child = command.env_clear().stderr(stderr).spawn().expect("it starts");
        let deadline = Instant::now() + PATIENCE;
        let line = loop {
            let log = fs::read_to_string(&log).expect("readable");
            if let Some(line) = log.lines().find(|line| line.contains("listening") && line.contains("admin=")) {
                break line.to_owned();
            }
            assert!(child.try_wait().expect("a child").is_none() && Instant::now() < deadline, "{log}");
            std::thread::sleep(Duration::from_millis(10));
        };
        let address = |name: &str| {
            let (_, rest) = line.split_once(&format!("{name}=")).unwrap_or_else(|| panic!("no {name}: {line}"));
            rest.split_whitespace().next().and_then(|address| address.parse().ok()).expect("an address")
        };
        Self { reviews: address("reviews"), admin: address("admin"), child, folder, authority }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Posts as curl does: the status, then the body.
    fn post(&self, path: &str, body: &Path, more: &[&str]) -> (u16, String) {
        let body = format!("@{}", body.display());
        let arguments = [&["--data-binary", &body, "-H", "content-type: application/json"], more].concat();
        answered(&self.curl(&format!("https://localhost:{}{path}", self.reviews.port()), &arguments))
    }

    fn curl(&self, url: &str, more: &[&str]) -> Output {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--max-time", "30", "--write-out", "\n%{http_code} %{http_version}"]);
        command.arg("--cacert").arg(self.path("ca.pem")).args(more).arg(url);
        command.output().expect("curl is there")
    }

    /// Posts the body at a mebibyte a second.
    fn slow(&self, body: &Path, version: &str) -> Child {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--max-time", "30", "--write-out", "\n%{http_code} %{http_version}"]);
        command.args(["--limit-rate", "1M", "-H", "content-type: application/json", "-H", "expect:", version]);
        command.arg("--cacert").arg(self.path("ca.pem")).arg("--data-binary").arg(format!("@{}", body.display()));
        command.arg(format!("https://localhost:{}/inject", self.reviews.port()));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("curl is there")
    }

    /// The most memory that it has had, in bytes. Source: proc(5).
    fn memory_bytes_max(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
    }

    fn page(&self, path: &str) -> (u16, String) {
        answered(&self.curl(&format!("http://{}{path}", self.admin), &[]))
    }

    /// A figure of the metrics.
    fn metric(&self, name: &str) -> f64 {
        let (_, page) = self.page("/metrics");
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}: {page}"))
    }

    fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
    }

    /// What it has taken of processors since its start. Source: proc(5): the 14th and 15th fields, in hundredths of a second.
    fn processor_ms(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let ticks = fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("a number"));
        ticks.sum::<f64>() * 10.0
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).expect("readable")
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The status and the body that curl wrote.
fn answered(output: &Output) -> (u16, String) {
    let text = String::from_utf8_lossy(&output.stdout);
    let (body, written) =
        text.rsplit_once('\n').unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let status = written.split(' ').next().and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

fn plain() -> PathBuf {
    folder().join("plain.json")
}

#[test]
fn reviews_are_answered_over_both_versions_of_http() {
    let mut webhook = Webhook::start();
    let expected = review(&admission::settings(""), "plain").answer;
    for version in ["--http1.1", "--http2"] {
        let (status, body) = webhook.post("/inject?timeout=10s", &plain(), &[version]);
        assert_eq!(status, 200, "{version}: {body}");
        assert_eq!(serde_json::from_str::<Value>(&body).expect("JSON"), expected, "{version}");
    }
    assert!((webhook.metric("consentd_injector_reviews_total{outcome=\"injected\"}") - 2.0).abs() < 0.1);
    assert!((webhook.metric("consentd_injector_review_duration_seconds_count") - 2.0).abs() < 0.1);
    assert!(webhook.metric("consentd_tls_ends_timestamp_seconds") > 2e9);
    assert_eq!(webhook.page("/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(webhook.page("/livez"), (200, "alive\n".to_owned()));
    let (_, page) = webhook.page("/metrics");
    let shown: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let (_, told) = OPERATIONS.split_once("\n## Metrics of the webhook\n").expect("a section");
    let told = told.split("\n## ").next().expect("its text");
    // Its own in the table, those that it shares with sidecars in the sentence before.
    let told: BTreeSet<&str> =
        told.split('`').skip(1).step_by(2).filter(|word| word.starts_with("consentd_")).collect();
    assert_eq!(told, shown, "docs/operations.md and /metrics");
    assert!(!page.contains("consentd_decisions_total") && !page.contains("consentd_answer_duration"), "{page}");

    webhook.terminate();
    // It goes on answering, and says that it will not for long.
    let unready = Instant::now();
    while webhook.page("/readyz").0 == 200 {
        assert!(unready.elapsed() < Duration::from_secs(2), "it is ready while it stops");
    }
    assert_eq!(webhook.post("/inject", &plain(), &[]).0, 200);
    let status = webhook.child.wait().expect("a child");
    let log = webhook.log();
    assert!(status.success(), "{log}");
    assert!(log.contains("a pod gets consentd namespace=\"shop\" pod=\"mailer-6d4cf56db6-\""), "{log}");
    assert!(log.contains("stopping: reviews are answered until nobody comes any more"), "{log}");
}

#[test]
fn what_is_no_review_is_refused_and_the_next_is_answered() {
    let webhook = Webhook::start();
    let large = webhook.path("large");
    fs::write(&large, vec![b' '; (4 << 20) + 1]).expect("written");
    let text = webhook.path("text");
    fs::write(&text, "{}").expect("written");
    let url = format!("https://localhost:{}", webhook.reviews.port());
    // With a length that is told, and without. Over HTTP/2 the stream may be reset before curl has read the status.
    assert_eq!(webhook.post("/inject", &large, &["--http1.1"]).0, 413);
    assert_eq!(webhook.post("/inject", &large, &["--http1.1", "-H", "transfer-encoding: chunked"]).0, 413);
    let (status, body) = webhook.post("/inject", &text, &[]);
    assert_eq!(
        (status, body.as_str()),
        (
            400,
            "the body is `` of ``, not `AdmissionReview` of `admission.k8s.io/v1`: name `v1` in admissionReviewVersions\n"
        )
    );
    assert_eq!(webhook.post("/", &plain(), &["--http1.1"]), (404, "reviews are posted to /inject\n".to_owned()));
    assert_eq!(answered(&webhook.curl(&format!("{url}/inject"), &[])).0, 405);
    // As curl says it of data when it is not told otherwise: a form.
    assert_eq!(answered(&webhook.curl(&format!("{url}/inject"), &["--data-binary", "{}"])).0, 415);

    // Plain text, an authority that is not believed, and TLS that is too old, do not get as far as that.
    let plainly = webhook.curl(&format!("http://localhost:{}/inject", webhook.reviews.port()), &[]);
    assert!(!plainly.status.success(), "{}", String::from_utf8_lossy(&plainly.stdout));
    assert_eq!(webhook.curl(&url, &["--cacert", "/etc/ssl/certs/ca-certificates.crt"]).status.code(), Some(60));
    assert!(!webhook.curl(&url, &["--tls-max", "1.2"]).status.success());
    assert!(webhook.metric("consentd_refused_total{why=\"handshake\",wire=\"connection\"}") >= 1.0);
    assert!((webhook.metric("consentd_injector_reviews_total{outcome=\"unreadable\"}") - 4.0).abs() < 0.1);
    assert_eq!(webhook.post("/inject", &plain(), &[]).0, 200);
}

#[test]
fn whoever_is_slow_is_not_waited_for() {
    let webhook = Webhook::start();
    // Says nothing, and does not even shake hands.
    let mut silent = TcpStream::connect(webhook.reviews).expect("connected");
    // More than there is room for send the largest body there is, at a speed at which it does not come in time.
    let body = webhook.path("large");
    fs::write(&body, vec![b' '; 4 << 20]).expect("written");
    let slow: Vec<Child> = (0..SLOW).map(|number| webhook.slow(&body, ["--http1.1", "--http2"][number % 2])).collect();
    let began = Instant::now();
    let mut quick = 0;
    while began.elapsed() < Duration::from_secs(3) {
        let asked = Instant::now();
        assert_eq!(webhook.post("/inject", &plain(), &[]).0, 200);
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?} after {:?}", asked.elapsed(), began.elapsed());
        quick += 1;
    }
    for (number, slow) in slow.into_iter().enumerate() {
        let status = answered(&slow.wait_with_output().expect("it ends")).0;
        // Over HTTP/2 the stream may be reset before curl has read the status.
        assert!(status == 408 || status == 0 && number % 2 == 1, "{number}: {status}");
    }
    let count = |outcome: &str| webhook.metric(&format!("consentd_injector_reviews_total{{outcome=\"{outcome}\"}}"));
    assert!((count("unanswered") - f64::from(u32::try_from(SLOW).expect("few"))).abs() < 0.1);
    assert!((count("injected") - f64::from(quick)).abs() < 0.1, "{quick}");
    // What was not answered took no time of an answer.
    assert!((webhook.metric("consentd_injector_review_duration_seconds_count") - f64::from(quick)).abs() < 0.1);
    let most = webhook.memory_bytes_max();
    println!("{quick} were answered beside {SLOW} slow ones; {} MiB at most", most >> 20);
    // The limit of its container in the chart.
    assert!(most < 128 << 20, "{most}");
    silent.set_read_timeout(Some(PATIENCE)).expect("set");
    assert_eq!(silent.read(&mut [0]).expect("closed"), 0);
}

/// What was measured stands in `docs/injector.md`, under its limits.
#[test]
fn reviews_take_milliseconds_while_the_certificate_is_replaced() {
    let webhook = Webhook::start();
    let python = admission::python();
    let load = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/admission/load.py");
    let mut loading = Command::new(python);
    loading.arg(load).arg(webhook.reviews.port().to_string()).arg(webhook.path("ca.pem"));
    loading.arg(folder().join("large.json")).stdout(Stdio::piped());
    let loading = loading.spawn().expect("it starts");
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(2500));
        Files::write(webhook.path("tls"), &webhook.authority.server(), None);
    }
    let output = loading.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}");
    let figures: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"));
    let figure = |name: &str| figures[name].as_f64().unwrap_or_else(|| panic!("no {name}: {told}"));
    assert!(figure("failed") < 0.5, "{told}");
    // Of four who ask ten times a second for ten seconds each, by connections that are kept and by those made for one review.
    assert!(figure("reviews") >= 200.0 && figure("kept") >= 80.0 && figure("made") >= 80.0, "{told}");
    // Each replaced certificate was met.
    assert!(figure("certificates") >= 4.0, "{told}");
    // Those who ask are on this machine too, with whatever else it does. What a review costs the webhook does not depend on
    // that, a handshake for every second one included; how long it took, by its own histogram, nearly not.
    let cost_ms = webhook.processor_ms() / figure("reviews");
    assert!(cost_ms < COST_MS_MAX, "{cost_ms} ms of a processor for each: {told}");
    // As an API server sees it, which keeps its connections. One in a hundred is as late as this machine lets anybody be.
    assert!(figure("p50_kept_ms") < REVIEW_MS_MAX, "{told}");
    let is_calm = figure("late_p99_ms") < CALM_MS;
    assert!(!is_calm || figure("p99_kept_ms") < REVIEW_MS_MAX, "{told}");
    let name = "consentd_injector_review_duration_seconds";
    let all = webhook.metric(&format!("{name}_count"));
    let fast = webhook.metric(&format!("{name}_bucket{{le=\"0.05\"}}"));
    assert!(fast >= 0.9 * all && all >= figure("reviews"), "{fast} of {all} within 50 ms: {told}");
    assert!(webhook.metric("consentd_tls_renewal_failing").abs() < 0.1);
    println!("{cost_ms} ms of a processor for each, {}: {told}", if is_calm { "calm" } else { "busy" });
}

#[test]
fn settings_that_are_wrong_stop_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = folder.path().join("injector.toml");
    fs::write(&settings, "[config]\nledger.kind = \"natz\"\n").expect("written");
    for check in [&["--check"][..], &["--tls-cert-file=x", "--tls-key-file=x"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_consentd"));
        let output = command.arg("injector").arg("--config").arg(&settings).args(check).output().expect("it runs");
        assert_eq!(output.status.code(), Some(if check == ["--check"] { 1 } else { 2 }));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("image: must be set") && said.contains("config.ledger.kind: `natz` is not "), "{said}");
        assert!(said.contains("injector.toml:2"), "{said}");
    }
    let valid = admission::folder().join("injector.toml");
    let checked =
        Command::new(env!("CARGO_BIN_EXE_consentd")).args(["injector", "--check", "--config"]).arg(valid).output();
    let checked = checked.expect("it runs");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

/// What Kubernetes makes of a variable's value. Source: Kubernetes, `EnvVar`: `$$` is `$`, and `$(NAME)` what is set before.
fn expanded(value: &str) -> String {
    assert!(!value.replace("$$", "").contains('$'), "{value} refers to something");
    value.replace("$$", "$")
}

/// The sidecar starts with what the patch gives it, and answers on its socket.
#[tokio::test]
async fn a_sidecar_answers_with_the_environment_that_a_pod_gives_it() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    fs::create_dir_all(home.path("run")).expect("made");
    fs::create_dir_all(home.path("data")).expect("made");
    fs::copy(home.ledger(), home.path("data/ledger.jsonl")).expect("copied");
    // As a file that is in the pod; a value that Kubernetes must not read anything into.
    let text = "image = \"c\"\nsecret = \"\"\n[config]\nledger.file = \"/var/lib/consentd/ledger.jsonl\"\nledger.poll_interval = \"20ms\"\nauthzen.enabled = true\nauthzen.resource_type = \"$(HOME) $$x\"\n[[config.callers]]\nname = \"everybody\"\nuid = 0\npurposes = [\"*\"]\nchannels = [\"*\"]\n";
    let settings = home.path("injector.toml");
    fs::write(&settings, text).expect("written");
    let settings = consentd::injector::Settings::load(&settings).expect("valid").settings;
    let response = review(&settings, "plain").answer["response"].clone();
    let patch = patch_of(&response);
    let container =
        patch.iter().find(|it| it["path"] == "/spec/initContainers").expect("a sidecar")["value"][0].clone();

    let moved = |value: &str| {
        let value = value.replace("/run/consentd/", &format!("{}/", home.path("run").display()));
        value
            .replace("/var/lib/consentd", &home.path("data").display().to_string())
            .replace("0.0.0.0:7312", "127.0.0.1:0")
    };
    let variables = container["env"].as_array().expect("variables").iter().map(|variable| {
        let value = expanded(variable["value"].as_str().expect("a text"));
        (variable["name"].as_str().expect("a name").to_owned(), moved(&value))
    });
    let variables: Vec<(String, String)> = variables.collect();
    assert!(
        variables.contains(&("CONSENTD_AUTHZEN_RESOURCE_TYPE".to_owned(), "$(HOME) $$x".to_owned())),
        "{variables:?}"
    );
    let arguments =
        container["args"].as_array().expect("arguments").iter().map(|argument| argument.as_str().expect("a text"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_consentd"));
    let log = fs::File::create(home.log()).expect("a log");
    // In containers of pods there is this one too; it must not be taken for a key.
    command.args(arguments).env_clear().envs(variables).env("CONSENTD_TARGET", "unix:///x").stderr(log);
    let mut child = command.spawn().expect("it starts");
    let socket = home.path("run/consentd.sock");
    let channel = eventually("it answers", async || {
        if let Some(status) = child.try_wait().expect("a child") {
            panic!("it ended: {status}: {}", fs::read_to_string(home.log()).expect("a log"));
        }
        connect_uds(&socket).await.ok()
    })
    .await;
    until_serving(&channel).await;
    let mut client = consentd::proto::v1::enforcement_service_client::EnforcementServiceClient::new(channel);
    let answer = ask(&mut client, newsletter("crm:1")).await.answer.expect("an answer");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&socket).expect("there").permissions());
    child.kill().expect("killed");
    child.wait().expect("gone");
    assert_eq!(answer.verdict(), consentd::proto::v1::Verdict::Allow);
    assert_eq!(mode & 0o777, 0o666);
}
