//! The example clients, as their page shows them: real programs in other languages, against the real sidecar.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly; the exemption of clippy.toml does not reach its helpers"
)]

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

const PAGE: &str = include_str!("../examples/clients/README.md");

/// Where a program is, if it is on the path or among these folders.
fn find(program: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = folders.iter().cloned().chain(std::env::split_paths(&path));
    all.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// The folder of what is built for tests.
fn target() -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_consentd"));
    binary.ancestors().nth(2).expect("it lies in a folder for its profile").to_owned()
}

/// The path with the binary, and the programs that `.ci/python-tools` installs, in front.
fn path() -> (Vec<PathBuf>, OsString) {
    let binary = Path::new(env!("CARGO_BIN_EXE_consentd")).parent().expect("a folder").to_owned();
    let ours = vec![binary, target().join("python-tools/bin")];
    let others = std::env::var_os("PATH").unwrap_or_default();
    // Of the tools only what is not there otherwise: their Python is not the clients'.
    let all = [ours.first().cloned()].into_iter().flatten();
    let all = all.chain(std::env::split_paths(&others)).chain(ours.get(1).cloned());
    let path = std::env::join_paths(all).expect("a path");
    (ours, path)
}

/// Whose turn it is.
static TURN: Mutex<()> = Mutex::new(());

/// What Go and Maven say where nobody answers for their packages. Neither Debian nor the other registries have them.
const UNREACHABLE: [&str; 5] =
    ["dial tcp", "no such host", "TLS handshake timeout", "Could not transfer artifact", "UnknownHostException"];

/// Says that a client did not run. Not by a macro, whose output is only shown where a test fails: it is to be seen.
fn leave_out(language: &str, want: &str) {
    let told = format!("clients: the one in {language} was LEFT OUT, for want of {want}\n");
    std::io::stderr().write_all(told.as_bytes()).expect("told");
}

/// Runs a client where all that it needs is there; tells whether it did. Those that must run are found missing.
fn run(language: &str, needs: &[&str], must_run: bool) -> bool {
    let (ours, path) = path();
    let missing: Vec<&str> = needs.iter().copied().filter(|program| find(program, &ours).is_none()).collect();
    if !missing.is_empty() {
        assert!(!must_run, "the client in {language} needs {}", missing.join(", "));
        leave_out(language, &missing.join(", "));
        return false;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/clients/run.sh");
    let mut command = Command::new(script);
    command.arg(language).env("PATH", path).env("CLIENTS_BUILD", target().join("clients"));
    // What cargo says to its tests is not for the one that builds a client.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_") && name != "CARGO_HOME" && !name.starts_with("CARGO_HTTP") {
            command.env_remove(name);
        }
    }
    // One after the other: a client that starts while others are compiled may wait for a processor beyond its deadline.
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    drop(turn);
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !must_run && let Some(why) = errors.lines().find(|line| UNREACHABLE.iter().any(|phrase| line.contains(phrase))) {
        leave_out(language, &format!("its packages, which cannot be reached: {why}"));
        return false;
    }
    assert!(output.status.success(), "{language}:\n{said}{errors}");
    let (_, block) = PAGE.split_once("```text\n").expect("a block");
    let (block, _) = block.split_once("```").expect("its end");
    assert_eq!(block.lines().count(), 3, "{block}");
    assert_eq!(said, block, "{language}:\n{errors}");
    true
}

#[test]
fn python() {
    assert!(run("python", &["python3"], true));
}

#[test]
fn rust() {
    assert!(run("rust", &["cargo"], true));
}

#[test]
fn node() {
    assert!(run("node", &["node", "npm"], true));
}

#[test]
fn go() {
    run("go", &["go", "buf"], false);
}

#[test]
fn java() {
    run("java", &["java", "javac", "mvn"], false);
}

#[test]
fn a_language_that_has_no_client_is_refused() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/clients/run.sh");
    let output = Command::new(script).arg("cobol").output().expect("it runs");
    assert!(!output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "run.sh: there is no client in `cobol`\n");
}
