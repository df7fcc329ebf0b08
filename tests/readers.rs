//! The three pages for readers, read as they are meant to be: every command is run, in order, with the real program, and what
//! a page shows is what comes. What cannot be run here is named with its reason.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly; the exemption of clippy.toml does not reach its helpers"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use consentd::domain::{Reason, Verdict};

#[path = "support/admission.rs"]
mod admission;
#[path = "support/helm.rs"]
mod helm;
#[path = "support/reader.rs"]
mod reader;

use helm::{Helm, Major};
use reader::{Block, Plan, Reader, blocks};
use serde_json::{Value, json};

const DEVELOPER: &str = "docs/pipeline-developer.md";
const ENGINEER: &str = "docs/platform-engineer.md";
const OFFICER: &str = "docs/privacy-officer.md";

/// The one reason for which a block may be left alone.
const NOT_RUN: &str = "needs a cluster";
/// The blocks of each page that are run. One that is left out by mistake, by an edit of a comment, is one less.
const RUN: [(&str, usize); 3] = [(DEVELOPER, 10), (ENGINEER, 26), (OFFICER, 22)];

/// A page, read when it is tested: an edit of the text compiles nothing.
fn page(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("read")
}

/// Reads a page, and compares how many of its blocks were run.
fn read(path: &'static str) {
    let (_, wanted) = RUN.into_iter().find(|(own, _)| *own == path).expect("a page for readers");
    assert_eq!(Reader::of(path).read(&page(path)), wanted, "{path}: so many blocks are run");
}

#[test]
fn a_pipeline_developer_gets_an_answer() {
    read(DEVELOPER);
}

#[test]
fn a_platform_engineer_runs_it() {
    read(ENGINEER);
}

#[test]
fn a_privacy_officer_proves_why_a_message_was_sent() {
    read(OFFICER);
}

#[test]
fn what_is_not_run_has_a_reason_that_is_one() {
    for path in [DEVELOPER, ENGINEER, OFFICER] {
        for block in blocks(&page(path)) {
            match &block.plan {
                Plan::NotRun { why } => {
                    assert_eq!(why, NOT_RUN, "{path}:{}: not run for another reason", block.line);
                }
                Plan::Shown => assert_ne!(block.language, "sh", "{path}:{}: commands are run", block.line),
                _ => {}
            }
        }
    }
}

/// The file of that name that a page shows.
fn shown_file(blocks: &[Block], name: &str) -> String {
    let is_it = |block: &&Block| block.plan == Plan::File { name: name.to_owned() };
    blocks.iter().find(is_it).unwrap_or_else(|| panic!("no page shows `{name}`")).text.clone()
}

/// The lines for Helm need a cluster to be run; that the chart takes them is seen without one.
#[test]
fn what_helm_is_told_is_rendered_by_both_of_its_versions() {
    let (root, home) = (Path::new(env!("CARGO_MANIFEST_DIR")), tempfile::tempdir().expect("a folder"));
    let mut count = 0;
    for path in [DEVELOPER, ENGINEER, OFFICER] {
        let blocks = blocks(&page(path));
        let lines = blocks.iter().filter(|block| block.language == "sh").flat_map(|block| block.text.lines());
        for line in lines.filter(|line| line.starts_with("helm ")) {
            let words: Vec<&str> = line.split(' ').collect();
            let ["helm", "install" | "upgrade", "consentd", chart, flags @ ..] = words.as_slice() else {
                panic!("{path}: `{line}` is not looked at")
            };
            let Some(["-f", values]) = flags.last_chunk() else { panic!("{path}: `{line}` names no file of values") };
            fs::write(home.path().join(values), shown_file(&blocks, values)).expect("written");
            for major in Major::BOTH {
                let rendered = Helm::start(major).template_file(&root.join(chart), "1.29.0", &home.path().join(values));
                let objects = rendered.unwrap_or_else(|why| panic!("{path}: `{line}`, {major:?}: {why}"));
                let kinds: BTreeSet<&str> = objects.iter().filter_map(|object| object["kind"].as_str()).collect();
                assert!(kinds.is_superset(&["MutatingWebhookConfiguration", "PrometheusRule"].into()), "{kinds:?}");
            }
            count += 1;
        }
    }
    assert_eq!(count, 2);
}

/// The pod that a page shows gets what the page says.
#[test]
fn the_pod_that_asks_gets_its_sidecar() {
    let pod = helm::objects(&shown_file(&blocks(&page(ENGINEER)), "pod.yaml")).remove(0);
    let shape = fs::read_to_string(admission::folder().join("plain.json")).expect("read");
    let mut review: Value = serde_json::from_str(&shape).expect("JSON");
    review["request"]["object"] = pod.clone();
    let response = admission::answer(&admission::settings(""), &review).answer["response"].clone();
    let made = admission::applied(&pod, &admission::patch_of(&response));
    assert_eq!(made.pointer("/spec/initContainers/0/name"), Some(&json!("consentd")), "{response}");
    let target = json!({"name": "CONSENTD_TARGET", "value": "unix:///run/consentd/consentd.sock"});
    assert_eq!(made.pointer("/spec/containers/0/env/0"), Some(&target), "{made}");
}

#[test]
fn a_developer_is_told_what_to_do_with_each_reason_once() {
    let text = page(DEVELOPER);
    let (_, told) = text.split_once("\n## What your code does with an answer\n").expect("the section");
    let (told, _) = told.split_once("\n## ").expect("the next one");
    let rows: Vec<&str> = told.lines().filter(|line| line.starts_with("| ") && line.contains('`')).collect();
    let mut seen = BTreeSet::new();
    for row in &rows {
        let reasons = row.split('`').skip(1).step_by(2);
        let is_reason = |word: &&str| word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        for word in reasons.filter(is_reason) {
            let reason = Reason::from_name(word).unwrap_or_else(|| panic!("`{word}` is no reason"));
            assert!(seen.insert(reason), "{word} is there twice");
            assert_eq!(reason.verdict() == Verdict::Allow, row.starts_with("| goes on"), "{word}: {row}");
        }
    }
    assert_eq!(seen, Reason::ALL.iter().copied().collect());
}

/// The part of a page under a heading of the second depth.
fn section(text: &str, heading: &str) -> String {
    let (_, rest) = text.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no `{heading}`"));
    rest.split("\n## ").next().expect("its text").to_owned()
}

/// Statuses of gRPC in backticks, and of HTTP, in the first column of a table.
fn statuses(text: &str) -> BTreeSet<String> {
    let first = |line: &str| line.strip_prefix("| ").and_then(|line| line.split(" | ").next().map(str::to_owned));
    let cells = text.lines().filter_map(first);
    let words = cells.flat_map(|cell| cell.split([' ', ',', '`', ';']).map(str::to_owned).collect::<Vec<_>>());
    let is_status = |word: &String| {
        let is_grpc = word.len() > 4 && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        is_grpc || (word.len() == 3 && word.starts_with(['4', '5']) && word.bytes().all(|byte| byte.is_ascii_digit()))
    };
    words.filter(is_status).collect()
}

/// Whatever comes in place of an answer: what the wires' own pages name, and no caller is left alone with one.
#[test]
fn a_developer_is_told_what_to_do_with_each_status() {
    let told = statuses(&section(&page(DEVELOPER), "Deadlines and retries"));
    let (of_grpc, _) =
        page("docs/protocol.md").split_once("\n## Calls\n").map(|(a, b)| (statuses(a), b.len())).expect("both");
    let of_http = statuses(&section(&page("docs/authzen.md"), "What else is answered"));
    assert!(of_grpc.len() >= 7 && of_http.len() >= 8, "{of_grpc:?}, {of_http:?}");
    let missing: Vec<&String> = of_grpc.union(&of_http).filter(|status| !told.contains(*status)).collect();
    assert!(missing.is_empty(), "{DEVELOPER} does not tell of {missing:?}");
    // Of what the server does not say itself: a method that it does not have.
    assert!(told.contains("UNIMPLEMENTED"), "{told:?}");
}

/// What the page says of the chart's memory is what the chart sets.
#[test]
fn the_memory_that_the_page_names_is_that_of_the_chart() {
    let values = helm::objects(&page("helm/consentd/values.yaml")).remove(0);
    let memory = |of: &str| values.pointer(&format!("/resources/{of}/memory")).and_then(Value::as_str).expect("set");
    let said = format!("The chart asks for {} and sets a limit of {}", memory("requests"), memory("limits"));
    assert!(page(ENGINEER).contains(&said), "{ENGINEER} does not say: {said}");
    let limit = memory("limits").trim_end_matches("Mi");
    assert!(page("docs/sizing.md").contains(&format!("**{limit} MiB**, the chart's limit,")), "docs/sizing.md");
}

/// What a developer is told to ask an operator for reaches the sidecars.
#[test]
fn authzen_is_switched_on_by_the_value_that_is_shown() {
    let switch = shown_file(&blocks(&page(DEVELOPER)), "authzen.yaml");
    let values = shown_file(&blocks(&page(ENGINEER)), "values.yaml");
    let both = values.replacen("config:\n", &switch, 1);
    assert_ne!(both, values);
    let home = tempfile::tempdir().expect("a folder");
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("helm/consentd");
    let rendered = |values: &str| {
        let file = home.path().join("values.yaml");
        fs::write(&file, values).expect("written");
        let objects = Helm::start(Major::BOTH[0]).template_file(&chart, "1.29.0", &file).expect("rendered");
        let map = objects.iter().filter_map(|object| object.pointer("/data/injector.toml")).filter_map(Value::as_str);
        map.map(str::to_owned).next().expect("the webhook's settings")
    };
    assert!(!rendered(&values).contains("authzen"), "it is on without being asked for");
    let settings = rendered(&both);
    assert!(settings.contains("authzen.enabled = true"), "{settings}");
}

/// There the connection is closed without an answer: no crash of the caller, whose own handling of it might let everybody
/// through.
#[test]
fn the_client_that_is_shown_denies_where_authzen_is_off() {
    let home = tempfile::tempdir().expect("a folder");
    fs::write(home.path().join("may_process.py"), shown_file(&blocks(&page(DEVELOPER)), "may_process.py"))
        .expect("written");
    let mut sidecar = Command::new(env!("CARGO_BIN_EXE_consentd"))
        .args(["serve", "--ledger=ledger.jsonl", "--data-dir=data", "--uds=s.sock", "--listen=off", "--admin=off"])
        .current_dir(home.path())
        .env_clear()
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let deadline = Instant::now() + Duration::from_secs(30);
    let is_there = || std::os::unix::net::UnixStream::connect(home.path().join("s.sock")).is_ok();
    while !is_there() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    let asked = Command::new("python3")
        .args(["may_process.py", "crm:1006", "health.lens_prescription", "web"])
        .current_dir(home.path())
        .env("CONSENTD_TARGET", "unix:s.sock")
        .output()
        .expect("it runs");
    let was_there = is_there();
    sidecar.kill().expect("killed");
    sidecar.wait().expect("ended");
    assert!(was_there, "nobody was there to be asked");
    assert_eq!(String::from_utf8_lossy(&asked.stdout), "False nobody answered\n", "{asked:?}");
}
