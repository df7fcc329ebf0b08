//! `consentd config`, run as a user runs it.

#![allow(
    clippy::expect_used,
    reason = "a test may fail loudly; the exemption of clippy.toml does not reach its helpers"
)]

use std::process::{Command, Output};

/// Runs the binary with an environment of its own.
fn consentd(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_consentd"));
    command.args(arguments).env_clear().envs(environment.iter().copied());
    command.output().expect("runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn check_exits_with_0_1_or_2() {
    let valid = consentd(
        &["config", "check", "--listen=0.0.0.0:0", "--set=server.plaintext=true"],
        &[("CONSENTD_LEDGER_FILE", "l")],
    );
    assert_eq!(valid.status.code(), Some(0), "{valid:?}");
    assert_eq!(text(&valid.stdout), "the configuration is valid: 3 of 81 keys are set\n");
    assert!(text(&valid.stderr).starts_with("warning: server.tcp: `0.0.0.0:0` speaks plain text"), "{valid:?}");

    let wrong = consentd(&["config", "check", "--ledger=l"], &[("CONSENTD_LEDGER_FIEL", "l")]);
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    assert_eq!(text(&wrong.stdout), "");
    assert_eq!(
        text(&wrong.stderr),
        "CONSENTD_LEDGER_FIEL: sets no key that exists, did you mean `CONSENTD_LEDGER_FILE`? (CONSENTD_LEDGER_FIEL)\n"
    );

    assert_eq!(consentd(&["config", "check", "--set=x"], &[]).status.code(), Some(2));
}

#[test]
fn what_print_writes_is_a_file_that_check_takes() {
    let printed = consentd(&["config", "print", "--ledger=l"], &[]);
    assert_eq!(printed.status.code(), Some(0), "{printed:?}");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("consentd.toml");
    std::fs::write(&file, &printed.stdout).expect("written");
    let checked = consentd(&["config", "check"], &[("CONSENTD_CONFIG", file.to_str().expect("UTF-8"))]);
    assert_eq!(text(&checked.stdout), "the configuration is valid: 81 of 81 keys are set\n", "{checked:?}");
}

#[test]
fn print_shows_every_key_even_where_one_is_missing() {
    let printed = consentd(&["config", "print"], &[]);
    assert_eq!(printed.status.code(), Some(1), "{printed:?}");
    assert!(text(&printed.stdout).contains("# Missing:\n# file =\n"), "{printed:?}");
    assert!(text(&printed.stderr).starts_with("ledger.file: must be set"), "{printed:?}");
}

/// The two keys under which subjects are named: one is made where it is missing, the other never.
#[test]
fn serve_says_what_to_do_about_a_key_that_it_cannot_have() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let refused = |flags: &[String]| {
        let data = format!("--data-dir={}", path("data"));
        let off = ["serve", &data, "--listen=127.0.0.1:0", "--admin=off"];
        let arguments: Vec<&str> = off.into_iter().chain(flags.iter().map(String::as_str)).collect();
        let ended = consentd(&arguments, &[]);
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        text(&ended.stderr).lines().last().expect("a sentence").to_owned()
    };

    let key = path("subject.key");
    let central = [
        "--set=ledger.kind=nats".to_owned(),
        "--set=ledger.url=nats://127.0.0.1:1".to_owned(),
        format!("--set=ledger.subject_key_file={key}"),
    ];
    let missing = refused(&central);
    assert!(
        missing.starts_with(&format!("consentd: cannot read the subject key `{key}` of the ledger; copy it")),
        "{missing}"
    );
    assert!(!std::path::Path::new(&key).exists(), "a key was made under which nobody would be found");

    std::fs::write(&key, "no key").expect("written");
    let own = refused(&[format!("--ledger={}", path("ledger.jsonl")), format!("--set=replica.key_file={key}")]);
    assert!(
        own.starts_with(&format!("consentd: cannot read or make the key `{key}` of the local store; let")),
        "{own}"
    );
    assert!(own.contains("a key has exactly 32 bytes"), "{own}");
}
