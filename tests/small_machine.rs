//! The real binary under the limits of real control groups: what it makes of them, and that it lives within them. It takes
//! a user who may make groups.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly; the exemption of clippy.toml does not reach its helpers"
)]

#[path = "support/group.rs"]
mod group;
#[path = "support/sidecar.rs"]
mod sidecar;
#[path = "support/wanting.rs"]
mod wanting;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use group::Group;
use serde_json::Value;
use sidecar::{Home, Process, SERVICE, health};
use tonic_health::ServingStatus;
use wanting::Want;

const CONSENTD: &str = env!("CARGO_BIN_EXE_consentd");
/// What the smallest pods get.
const MEMORY_BYTES: u64 = 64 << 20;
/// Subjects of the ledger, with four records each.
const SUBJECTS: u64 = 20_000;
/// Questions a second: a build without optimization takes some 0.3 ms of a processor for each, of 200 ms in a second.
const RATE: u64 = 200;
const SECONDS: u64 = 8;
/// How long the local copy of all of them may take to build on a machine that compiles something else.
const BUILDING: Duration = Duration::from_mins(5);

/// A group, where one can be made.
fn group() -> Option<Group> {
    Group::make().inspect_err(|why| Want::ControlGroups.leave_out(why)).ok()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

fn print_in(group: &Group) -> Output {
    group.run(CONSENTD).args(["config", "print", "--ledger=l"]).env_clear().output().expect("runs")
}

#[test]
fn what_is_left_to_the_machine_follows_the_group_and_the_configuration_shows_it() {
    let Some(group) = group() else { return };
    group.allow_processors(200).expect("limited");
    group.allow_memory(MEMORY_BYTES).expect("limited");
    let printed = print_in(&group);
    assert!(printed.status.success(), "{printed:?}");
    assert_eq!(text(&printed.stderr), "");
    let (processors, memory) = (group.processors_file(), group.memory_file());
    for expected in [
        format!("# Here: 1, with 200m of a processor, by {}\nworkers = \"auto\"\n", processors.display()),
        format!("# Here: 8MiB, with 64 MiB of memory, by {}\ncache_bytes = \"auto\"\n", memory.display()),
        format!("# Here: 2MiB, with 64 MiB of memory, by {}\nstore_cache_bytes = \"auto\"\n", memory.display()),
    ] {
        assert!(text(&printed.stdout).contains(&expected), "{expected}{}", text(&printed.stdout));
    }

    group.allow_memory(24 << 20).expect("limited");
    let printed = print_in(&group);
    assert!(printed.status.success(), "{printed:?}");
    let warning = format!("warning: 24 MiB of memory, by {}: the kernel may end a sidecar", memory.display());
    assert!(text(&printed.stderr).starts_with(&warning), "{}", text(&printed.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn under_the_limits_of_a_small_pod_it_answers_keeps_evidence_and_is_not_killed() {
    let Some(group) = group() else { return };
    group.allow_memory(MEMORY_BYTES).expect("limited");
    let home = Home::new();
    let mut write = consentd(&["bench", "ledger", "--subjects", &SUBJECTS.to_string(), "--out"]);
    assert!(write.arg(home.ledger()).output().expect("runs").status.success());
    // The defaults, as a pod has them.
    let mut process = Process::spawn_by(group.run(CONSENTD), &home, &[("evidence.segment_bytes", "64MiB")], &[]);
    let channel = process.connect().await;
    let began = Instant::now();
    while health(&channel, SERVICE).await != ServingStatus::Serving {
        assert!(process.is_running(), "it ended; the kernel killed {} in the group", group.kills());
        assert!(began.elapsed() < BUILDING, "the local copy is not there after {BUILDING:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // A build without optimization would take minutes to get here with so little.
    group.allow_processors(200).expect("limited");

    let address = format!("unix:{}", home.uds().display());
    let (rate, duration) = (RATE.to_string(), format!("{SECONDS}s"));
    let mut load = consentd(&["bench", "run", "--json", "--address", &address, "--rate", &rate]);
    load.args(["--duration", &duration, "--warmup", "1s", "--subjects", &everybody()]);
    let loaded = tokio::task::spawn_blocking(move || load.output().expect("runs")).await.expect("no panic");
    assert!(loaded.status.success(), "{loaded:?}");
    let report: Value = serde_json::from_slice(&loaded.stdout).expect("JSON");
    let count = |name: &str| report.get(name).and_then(Value::as_u64).expect("a count");
    assert_eq!(count("answers"), RATE * SECONDS, "{report}");
    assert_eq!(count("answers_without_evidence"), 0, "{report}");
    let allowed = report.pointer("/verdicts/ALLOW").and_then(Value::as_u64).expect("a count");
    assert!(allowed > RATE * SECONDS / 2, "{report}");

    process.terminate();
    let status = process.ended().await;
    assert!(status.success(), "{status}");
    assert_eq!(group.kills(), 0, "the kernel killed somebody");
    let mut verify = consentd(&["evidence", "verify", "--json", "--dir"]);
    let verified = verify.arg(home.data().join("evidence")).output().expect("runs");
    assert!(verified.status.success(), "{verified:?}");
    let months = text(&verified.stdout).lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let records: u64 = months.filter_map(|month| month.get("records")?.as_u64()).sum();
    assert!(records > RATE * SECONDS, "{records} records: each answer left one, and so did the first seconds");
}

/// `benches/small.sh` with this program and few of everything, of the kinds of machines that are named.
fn measure(program: &Path, kinds: &str) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut script = Command::new(root.join("benches/small.sh"));
    script.arg(program).env("SUBJECTS", "500").env("RATES", "100").env("SECONDS_EACH", "1").env("IDLE_SECONDS", "1");
    script.env("WHICH", kinds).output().expect("runs")
}

#[test]
fn what_a_small_machine_makes_of_questions_can_be_measured() {
    if group().is_none() {
        return;
    }
    let measured = measure(Path::new(CONSENTD), "unlimited limited");
    let (told, errors) = (text(&measured.stdout), text(&measured.stderr));
    assert!(measured.status.success(), "{told}{errors}");
    assert!(
        told.starts_with("SUBJECTS=500 RATES=\"100\" SECONDS_EACH=1 IDLE_SECONDS=1 CPU=200 MEMORY=64 WHICH="),
        "{told}"
    );
    let rows: Vec<Vec<&str>> = told
        .lines()
        .filter(|line| line.starts_with("| 500 |"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), 2, "{told}");
    for row in rows {
        let figure = |place: usize| row.get(place).and_then(|cell| cell.split(' ').next()?.parse::<f64>().ok());
        // Questions, answers, three percentiles and processor time: all of them were measured.
        assert!((3..9).all(|place| figure(place).is_some_and(|figure| figure > 0.0)), "{row:?}");
    }
    assert_eq!(told.matches("killed by the kernel: 0.").count(), 2, "{told}");
}

/// A load that cannot be put on makes no row of zeros.
#[test]
fn what_was_not_measured_makes_no_figures() {
    if group().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("consentd");
    let script = format!("#!/bin/sh\n[ \"$1 $2\" = \"bench run\" ] && exit 2\nexec {CONSENTD} \"$@\"\n");
    std::fs::write(&program, script).expect("written");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("set");
    let measured = measure(&program, "unlimited");
    let (told, errors) = (text(&measured.stdout), text(&measured.stderr));
    assert!(
        !measured.status.success() && errors.contains("no load of 2000 a second could be put on"),
        "{told}{errors}"
    );
    assert!(!told.contains("| 500 |"), "{told}");
}

fn everybody() -> String {
    format!("crm:{{1..{SUBJECTS}}}")
}

fn consentd(arguments: &[&str]) -> Command {
    let mut command = Command::new(CONSENTD);
    command.env_clear().args(arguments);
    command
}
