//! The schema of catalogues: what is committed is what the program prints, and a validator that is not ours takes every
//! example and refuses what is broken.

#![allow(clippy::expect_used, clippy::panic, reason = "a test may fail loudly")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

const COMMITTED: &str = include_str!("../docs/catalogue.schema.json");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every catalogue that is shipped as an example.
fn examples() -> Vec<(PathBuf, Value)> {
    let entries = std::fs::read_dir(root().join("examples/catalogues")).expect("a folder");
    let files = entries.map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|name| name == "json")).collect();
    paths.push(root().join("examples/shop/catalogue.json"));
    paths.sort();
    assert!(paths.len() > 4, "only {paths:?}");
    let read = |path: &PathBuf| serde_json::from_slice(&std::fs::read(path).expect("readable")).expect("JSON");
    paths.iter().map(|path| (path.clone(), read(path))).collect()
}

/// What the validator says of each document.
fn validated(documents: &[Value]) -> Vec<String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder");
    let python = target.join("python-tools-schema/bin/python");
    assert!(python.exists(), "{} is missing: run `.ci/python-tools schema`", python.display());
    let mut command = Command::new(python);
    command.arg(root().join("tests/foreign/schema.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let schema: Value = serde_json::from_str(COMMITTED).expect("JSON");
    let lines: Vec<String> = std::iter::once(&schema).chain(documents).map(Value::to_string).collect();
    // A thread of its own: the validator answers while it is still being told.
    let mut input = child.stdin.take().expect("piped");
    let writing = std::thread::spawn(move || input.write_all((lines.join("\n") + "\n").as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writing.join().expect("no panic").expect("told");
    assert!(output.status.success(), "{output:?}");
    let told: Vec<String> = String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect();
    assert_eq!(told.len(), documents.len(), "{told:?}");
    told
}

#[test]
fn what_is_committed_is_what_the_program_prints() {
    let output = Command::new(env!("CARGO_BIN_EXE_consentd")).args(["catalogue", "schema"]).output().expect("it runs");
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).expect("text");
    assert!(
        printed == COMMITTED,
        "docs/catalogue.schema.json is not what is printed: `consentd catalogue schema > docs/catalogue.schema.json`"
    );
}

#[test]
fn every_example_is_valid_by_a_validator_that_is_not_ours() {
    let (paths, documents): (Vec<PathBuf>, Vec<Value>) = examples().into_iter().unzip();
    for (path, told) in paths.iter().zip(validated(&documents)) {
        assert_eq!(told, "ok", "{}", path.display());
    }
}

#[test]
fn what_is_broken_is_refused() {
    let whole = json!({
        "version": "3", "channels": [{"key": "email"}], "defaultMaxStaleness": "30s",
        "notices": [{"id": "privacy", "versions": [{"version": 1, "effectiveAt": "2026-01-01T00:00:00Z"}]}],
        "regions": [{"key": "TR", "timeZone": "Europe/Istanbul"}],
        "recipients": [{"key": "acme", "tcfVendor": 7}],
        "purposes": [{
            "key": "a.b", "legalBasis": "LEGAL_BASIS_CONSENT", "channels": ["email"], "maxAge": "1.5s",
            "minors": {"under": 16, "treatment": "MINOR_TREATMENT_DENY"}, "tcf": {"purposes": [2]},
            "quietHours": [{"from": "21:00", "until": "08:00", "days": ["mon"]}],
            "regional": [{"regions": ["TR"], "prohibited": true}],
        }],
    });
    let broken = [
        ("/version", json!("0")),
        ("/version", json!("three")),
        ("/version", json!(0)),
        ("/channels", json!([])),
        ("/channels/0/key", json!("E-Mail")),
        ("/channels/0", json!("email")),
        ("/defaultMaxStaleness", json!("0s")),
        ("/defaultMaxStaleness", json!(30)),
        ("/defaultMaxStaleness", json!("30")),
        ("/notices/0/versions", json!([])),
        ("/notices/0/versions/0/version", json!(0)),
        ("/regions/0", json!({"title": "nowhere"})),
        ("/recipients/0/tcfVendor", json!(70000)),
        ("/recipients/0/key", json!("*")),
        ("/purposes", json!([])),
        ("/purposes/0/key", json!("a..b")),
        ("/purposes/0/legalBasis", json!("CONSENT")),
        ("/purposes/0/legalBasis", json!("LEGAL_BASIS_UNSPECIFIED")),
        ("/purposes/0/channels", json!("email")),
        ("/purposes/0/channels", json!(["email", "email"])),
        ("/purposes/0/maxAge", json!("0.000s")),
        ("/purposes/0/maxAge", json!("-1s")),
        ("/purposes/0/minors/under", json!(100)),
        ("/purposes/0/minors/treatment", json!("DENY")),
        ("/purposes/0/tcf/purposes", json!([12])),
        ("/purposes/0/quietHours/0/from", json!("24:00")),
        ("/purposes/0/quietHours/0/days", json!(["monday"])),
        ("/purposes/0/regional/0/regions", json!([])),
        ("/purposes/0/regional/0/prohibited", json!("yes")),
    ];
    let mut documents: Vec<Value> = vec![whole.clone()];
    for (pointer, value) in &broken {
        let mut document = whole.clone();
        *document.pointer_mut(pointer).unwrap_or_else(|| panic!("no `{pointer}`")) = value.clone();
        documents.push(document);
    }
    let mut misspelt = whole.clone();
    misspelt["purposes"][0]["maxage"] = json!("5s");
    documents.push(misspelt);
    let mut without = whole;
    without["purposes"][0].as_object_mut().expect("an object").remove("legalBasis");
    documents.push(without);

    let told = validated(&documents);
    assert_eq!(told.first().map(String::as_str), Some("ok"));
    for (document, told) in documents.iter().zip(&told).skip(1) {
        assert_ne!(told, "ok", "it was taken: {document}");
    }
}
