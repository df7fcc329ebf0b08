//! What the alarms say: each text as promtool makes it of an alarm that goes off in the histories of `tests/alarms`, held to
//! `tests/alarms/texts.txt`. `UPDATE_EXPECTED=1` writes that file anew; read the difference.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly; the exemption of clippy.toml does not reach its helpers"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "support/prometheus.rs"]
mod prometheus;
#[path = "support/wanting.rs"]
mod wanting;

use wanting::Want;

const RULES: &str = include_str!("../helm/consentd/rules/consentd.yaml");

/// One history: its part of the file, and when which alarms are expected to go off in it.
struct History {
    series: String,
    moments: Vec<(String, String)>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/alarms")
}

/// What stands behind a key of a line.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.trim_start().trim_start_matches("- ").strip_prefix(key)?.strip_prefix(": ")
}

/// The histories of a file, in which what is asked stands behind what is put in.
fn histories(text: &str) -> Vec<History> {
    let of_test = |test: &str| {
        let (series, questions) = test.split_once("    promql_expr_test:\n").expect("questions");
        let mut moments = Vec::new();
        let mut time = "";
        for line in questions.lines() {
            time = value(line, "eval_time").unwrap_or(time);
            if let Some((_, name)) = line.split_once("alertname=\"").filter(|_| line.contains("labels:")) {
                moments.push((name.split('"').next().expect("a name").to_owned(), time.to_owned()));
            }
        }
        History { series: format!("  - name:{series}"), moments }
    };
    text.split("  - name:").skip(1).map(of_test).collect()
}

/// What promtool says that an alarm says, where it is told to expect that it says nothing: its texts, in order.
fn said(promtool: &Path, head: &str, history: &History, alarm: &str, time: &str) -> Vec<(String, String)> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let head = head.replace("../../helm", &folder().join("../../helm").display().to_string());
    let wanted = format!(
        "    alert_rule_test:\n      - alertname: {alarm}\n        eval_time: {time}\n        exp_alerts: []\n"
    );
    fs::write(file.path(), format!("{head}tests:\n{}{wanted}", history.series)).expect("written");
    let output = Command::new(promtool).args(["test", "rules"]).arg(file.path()).output().expect("it runs");
    let told = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(!output.status.success(), "{alarm} does not go off: {told}");
    let text = |line: &str, key: &str| {
        let (_, rest) = line.split_once(&format!("{key}=\"")).unwrap_or_else(|| panic!("no {key}: {line}"));
        rest.split_once("\", ").or_else(|| rest.split_once("\"}")).expect("a text ends").0.to_owned()
    };
    let annotations = told.lines().filter(|line| line.trim_start().starts_with("Annotations:{"));
    let mut texts: Vec<_> = annotations.map(|line| (text(line, "summary"), text(line, "description"))).collect();
    texts.sort();
    assert!(!texts.is_empty(), "{told}");
    texts
}

#[test]
fn every_alarm_says_what_it_should_of_what_it_has_seen() {
    let Some(promtool) = prometheus::find("promtool") else {
        Want::Prometheus.leave_out("there is no promtool; see .ci/promtool");
        return;
    };
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder()).expect("a folder").map(|entry| entry.expect("one").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let mut texts = BTreeMap::new();
    for path in files {
        let text = fs::read_to_string(path).expect("read");
        let (head, _) = text.split_once("tests:\n").expect("tests");
        for history in histories(&text) {
            for (alarm, time) in &history.moments {
                texts.entry(alarm.clone()).or_insert_with(|| said(&promtool, head, &history, alarm, time));
            }
        }
    }
    let alarms = RULES.lines().filter_map(|line| value(line, "alert"));
    assert!(
        alarms.clone().all(|alarm| texts.contains_key(alarm)) && alarms.count() == texts.len(),
        "{:?}",
        texts.keys()
    );
    let mut shown = String::new();
    for (alarm, texts) in &texts {
        let _ = writeln!(shown, "{alarm}");
        for (summary, description) in texts {
            let _ = writeln!(shown, "  {summary}\n    {description}");
        }
    }
    // What a template says where it is wrong, or where nothing is there to be said.
    for wrong in ["<error", "<no value>", "%!", "{{", "  of ", "consentd  "] {
        assert!(!shown.contains(wrong), "`{wrong}` in {shown}");
    }
    let expected = folder().join("texts.txt");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&expected, &shown).expect("written");
    }
    assert_eq!(shown, fs::read_to_string(expected).expect("read"));
}
