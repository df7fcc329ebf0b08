//! The example with Envoy does what its page shows: the script runs as it stands, with a real Envoy.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/envoy.rs"]
mod envoy;
#[path = "support/sidecar.rs"]
mod sidecar;

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

const PAGE: &str = include_str!("../examples/envoy/README.md");

#[test]
fn the_example_does_what_its_page_shows() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = Path::new(env!("CARGO_BIN_EXE_consentd"));
    let proxy = envoy::binary();
    let folders = [program, &proxy].map(|file| file.parent().expect("a folder"));
    let path = std::env::join_paths(folders.into_iter().chain(["/usr/bin", "/bin"].map(Path::new))).expect("a path");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/envoy/run.sh");
    let mut command = Command::new(script);
    command.arg("example").current_dir(folder.path()).env_clear().env("PATH", path);
    let output =
        command.env("ENVOY_PORT", envoy::free_port().to_string()).stdin(Stdio::null()).output().expect("it runs");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{errors}");
    let (_, block) = PAGE.split_once("```text\n").expect("a block");
    let (block, _) = block.split_once("```").expect("its end");
    assert!(block.lines().count() > 15, "{block}");
    let mut lines = said.lines();
    for line in block.lines() {
        assert!(lines.any(|said| said == line), "`{line}` does not come in its turn in:\n{said}{errors}");
    }
    let example = folder.path().join("example");
    assert!(!example.join("consentd.sock").exists(), "the sidecar was not stopped in order");
    // Envoy's log names the evidence of every answer, and nobody.
    let log = std::fs::read_to_string(example.join("access.log")).expect("a log");
    assert!(log.lines().count() >= 9 && !log.contains("users"), "{log}");
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let is_answered = line["evidence_id"].is_string();
        assert_eq!(is_answered, !["MALFORMED_QUESTION", ""].contains(&line["reason"].as_str().unwrap_or_default()));
    }
}
