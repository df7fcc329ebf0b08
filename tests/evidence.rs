//! `consentd evidence` on a log that is being written, and on one that was altered.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use consentd::clock::Clock;
use consentd::domain::Time;
use consentd::evidence::{Config, EvidenceLog};
use consentd::proto::v1::{CallKind, EvidenceOverride, EvidenceRecord, Reason};
use serde_json::Value;
use tempfile::TempDir;

const SUBJECTS: [&str; 3] = ["crm:4211", "crm:ayse-yilmaz", "email_sha256:9f86d081884c7d65"];

/// A log with one unary answer and one batch of three, the last of which asks for another purpose.
struct Sample {
    _dir: TempDir,
    dir: PathBuf,
    log: EvidenceLog,
}

impl Sample {
    fn new() -> Self {
        let dir = TempDir::new().expect("a folder");
        let path = dir.path().join("evidence");
        // 2026-11-21T10:00:00Z.
        let clock = Clock::manual(Time::from_unix_millis(1_795_255_200_000));
        let mut config = Config::new(&path);
        config.segment_bytes = 64 * 1024;
        let log = EvidenceLog::open(config, &clock).expect("not locked");
        let month = log.month(clock.now()).expect("works");
        let shared = EvidenceRecord {
            answered_at: Some(pbjson_types::Timestamp { seconds: 1_795_255_200, nanos: 0 }),
            purpose: "marketing.newsletter".to_owned(),
            channel: "email".to_owned(),
            catalogue_version: 3,
            ..EvidenceRecord::default()
        };
        let unary = EvidenceRecord {
            call: CallKind::MayProcess.into(),
            subject_tags: month.tag(SUBJECTS[0]).to_vec(),
            reasons: vec![Reason::Consent.into()],
            record_positions: vec![8],
            valid_for_ms: vec![60_000],
            ..shared.clone()
        };
        let batch = EvidenceRecord {
            call: CallKind::MayProcessBatch.into(),
            subject_tags: SUBJECTS.iter().flat_map(|subject| month.tag(subject)).collect(),
            reasons: vec![Reason::Withdrawn.into(), Reason::Consent.into(), Reason::NoConsent.into()],
            record_positions: vec![10, 4, 0],
            valid_for_ms: vec![0, 1000, 0],
            overrides: vec![EvidenceOverride {
                index: 2,
                purpose: Some("advertising.targeted".to_owned()),
                ..EvidenceOverride::default()
            }],
            ..shared
        };
        log.append(&month, &unary).expect("appended");
        log.append(&month, &batch).expect("appended");
        Self { _dir: dir, dir: path, log }
    }

    fn id(&self, rest: &str) -> String {
        format!("{}/2026-11/{rest}", self.log.instance().expect("open"))
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let command = Command::new(env!("CARGO_BIN_EXE_consentd"))
            .arg("evidence")
            .args(arguments)
            .arg("--dir")
            .arg(&self.dir)
            .output();
        command.expect("the program runs")
    }

    /// Standard output of a command that must succeed.
    fn out(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// The sentence of a command that must end with an error.
    fn refuses(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        String::from_utf8(output.stderr).expect("text")
    }
}

#[test]
fn list_filters_by_subject_purpose_and_verdict() {
    let sample = Sample::new();
    let all = sample.out(&["list"]);
    let unary = format!("{}  2026-11-21T10:00:00.000Z  ALLOW CONSENT  marketing.newsletter  email\n", sample.id("0"));
    let batch = format!("{}  2026-11-21T10:00:00.000Z  1 ALLOW, 2 DENY  marketing.newsletter  email\n", sample.id("1"));
    assert_eq!(all, format!("{unary}{batch}"));
    assert_eq!(sample.out(&["list", "--limit", "1"]), batch);
    let subject = sample.out(&["list", "--subject", SUBJECTS[0], "--verdict", "deny"]);
    assert_eq!(
        subject,
        format!("{}  2026-11-21T10:00:00.000Z  DENY WITHDRAWN  marketing.newsletter  email\n", sample.id("1#0"))
    );
    let purpose = sample.out(&["list", "--purpose", "advertising.targeted"]);
    assert_eq!(
        purpose,
        format!("{}  2026-11-21T10:00:00.000Z  DENY NO_CONSENT  advertising.targeted  email\n", sample.id("1#2"))
    );
    assert_eq!(sample.out(&["list", "--subject", "crm:nobody"]), "");
    assert_eq!(sample.out(&["list", "--month", "2026-10"]), "");
    let lines = sample.out(&["list", "--json", "--subject", SUBJECTS[1]]);
    let object: Value = serde_json::from_str(lines.trim()).expect("one JSON object");
    assert_eq!(object["id"], sample.id("1"));
    assert_eq!(object["questions"], serde_json::json!([1]));
    assert_eq!(object["record"]["reasons"][1], "REASON_CONSENT");
}

#[test]
fn show_tells_one_record_or_one_answer_of_it() {
    let sample = Sample::new();
    let whole = sample.out(&["show", &sample.id("1")]);
    for part in [
        "DENY WITHDRAWN, by the record at position 9",
        "ALLOW CONSENT, by the record at position 3, valid for 1000 ms",
        "may_process_batch",
        "asked for advertising.targeted over email",
    ] {
        assert!(whole.contains(part), "`{part}` is missing in\n{whole}");
    }
    let one = sample.out(&["show", &sample.id("1#2")]);
    assert!(one.contains("NO_CONSENT") && !one.contains("WITHDRAWN"), "{one}");
    let one = sample.out(&["show", &sample.id("1"), "--subject", SUBJECTS[1]]);
    assert!(one.contains("#1") && !one.contains("#0"), "{one}");
    assert_eq!(sample.run(&["show", &sample.id("2")]).status.code(), Some(1), "no such record");
    assert_eq!(sample.run(&["show", &sample.id("1#3")]).status.code(), Some(1), "no such answer");
    assert_eq!(sample.run(&["show", "not-an-id"]).status.code(), Some(2));
    sample.log.close().expect("closed");
    let proof = sample.out(&["show", &sample.id("1"), "--proof"]);
    assert!(proof.contains("\nc2sp.org/tlog-proof@v1\nindex 1\n"), "{proof}");
    assert!(proof.contains(&format!("\nconsentd/{}\n2\n", sample.id("").trim_end_matches('/'))), "{proof}");
}

#[test]
fn verify_says_what_holds_by_its_exit_code_too() {
    let sample = Sample::new();
    let live = sample.out(&["verify"]);
    assert!(live.contains("2026-11  holds: 2 records in 1 segments"), "{live}");
    sample.log.close().expect("closed");
    assert!(sample.out(&["verify", "--month", "2026-11"]).contains("signed up to 2"));
    let object: Value = serde_json::from_str(sample.out(&["verify", "--json"]).trim()).expect("one JSON object");
    assert_eq!((&object["holds"], &object["records"]), (&true.into(), &2.into()));

    let segment = sample.dir.join("log/2026-11/00000000000000000000.wal");
    let whole = fs::read(&segment).expect("read");
    let mut altered = whole.clone();
    altered[96 + 80] ^= 1;
    fs::write(&segment, altered).expect("written");
    let output = sample.run(&["verify"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("byte 96, record 0: it cannot be read, and 1 whole records follow"), "{text}");
    let object: Value = serde_json::from_slice(&sample.run(&["verify", "--json"]).stdout).expect("one JSON object");
    assert_eq!(object["holds"], false);
    assert_eq!(sample.run(&["list"]).status.code(), Some(2));
    fs::write(&segment, whole).expect("written");

    let other = sample.dir.join("other.pub");
    let foreign = Sample::new();
    fs::copy(foreign.dir.join("signing.pub"), &other).expect("copied");
    let output = sample.run(&["verify", "--public-key", &other.display().to_string()]);
    assert_eq!(output.status.code(), Some(1), "signed by another key than the trusted one");
    assert_eq!(sample.run(&["verify", "--month", "2026-10"]).status.code(), Some(2));
    let nowhere =
        Command::new(env!("CARGO_BIN_EXE_consentd")).args(["evidence", "verify", "--dir", "/nowhere"]).output();
    assert_eq!(nowhere.expect("the program runs").status.code(), Some(2));
}

/// Promise P6.
#[test]
fn verify_names_where_there_is_nothing() {
    let sample = Sample::new();
    let other = sample.refuses(&["verify", "--month", "2025-01"]);
    assert!(other.contains("there is no evidence of 2025-01 in `") && other.contains("; `--month` names"), "{other}");
    let log = sample.dir.join("log");
    fs::rename(&log, sample.dir.join("away")).expect("moved");
    fs::create_dir(&log).expect("made");
    let none = sample.refuses(&["verify"]);
    let folder = sample.dir.display();
    assert!(none.contains(&format!("there is no evidence in `{folder}`; nothing was answered yet")), "{none}");
}

#[test]
fn no_subject_reaches_the_disk() {
    let sample = Sample::new();
    sample.log.close().expect("closed");
    let mut files = 0;
    each_file(&sample.dir, &mut |path| {
        files += 1;
        let bytes = fs::read(path).expect("read");
        for subject in SUBJECTS {
            let id = subject.split_once(':').expect("a space").1;
            let found = bytes.windows(id.len()).any(|window| window == id.as_bytes());
            assert!(!found, "`{subject}` is in {}", path.display());
        }
    });
    assert!(files >= 8, "only {files} files were looked at");
}

fn each_file(dir: &Path, each: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(dir).expect("listed") {
        let path = entry.expect("listed").path();
        if path.is_dir() { each_file(&path, each) } else { each(&path) }
    }
}
