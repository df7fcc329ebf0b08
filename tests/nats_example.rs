//! The example on NATS does what its page shows: the script runs as it stands, with a real server.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/nats.rs"]
#[allow(dead_code, reason = "each test uses its part")]
mod nats;

use std::path::Path;
use std::process::{Command, Stdio};

const PAGE: &str = include_str!("../examples/nats/README.md");

#[test]
fn the_example_does_what_its_page_shows() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = Path::new(env!("CARGO_BIN_EXE_consentd"));
    let server = nats::binary();
    let folders = [program, &server].map(|file| file.parent().expect("a folder"));
    let path = std::env::join_paths(folders.into_iter().chain(["/usr/bin", "/bin"].map(Path::new))).expect("a path");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/nats/run.sh");
    let mut command = Command::new(script);
    command.arg("example").current_dir(folder.path()).env_clear().env("PATH", path);
    let output =
        command.env("NATS_PORT", nats::free_port().to_string()).stdin(Stdio::null()).output().expect("it runs");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{errors}");
    let (_, block) = PAGE.split_once("```text\n").expect("a block");
    let (block, _) = block.split_once("```").expect("its end");
    assert!(block.lines().count() > 5, "{block}");
    let mut lines = said.lines();
    for line in block.lines() {
        assert!(lines.any(|said| said == line), "`{line}` does not come in its turn in:\n{said}{errors}");
    }
    let example = folder.path().join("example");
    for socket in ["one.sock", "two.sock"] {
        assert!(!example.join(socket).exists(), "a sidecar was not stopped in order");
    }
}
