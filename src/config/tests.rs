//! Whole configurations: what is refused and how it is said, and what is read back.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::time::Duration;

use super::*;
use crate::machine::{Bound, Machine, Memory, Processors};

/// Sources that a test fills: a file's text, variables and `--set` flags.
fn sources(file: Option<&tempfile::NamedTempFile>, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Sources {
    let pair = |(name, value): &(&str, &str)| (OsString::from(*name), OsString::from(*value));
    let flag = |(key, value): &(&str, &str)| Flag {
        name: "--set".to_owned(),
        key: (*key).to_owned(),
        value: (*value).to_owned(),
    };
    Sources {
        file: file.map(|file| file.path().to_owned()),
        environment: environment.iter().map(pair).collect(),
        flags: flags.iter().map(flag).collect(),
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    file
}

/// The problems of a file, without the temporary file's folder and with `ledger.file` set elsewhere.
fn problems_of_file(text: &str) -> Vec<String> {
    let file = file(text);
    let sources = sources(Some(&file), &[("CONSENTD_LEDGER_FILE", "l")], &[]);
    let path = file.path().to_string_lossy().into_owned();
    match Config::load(&sources) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.0.iter().map(|problem| problem.to_string().replace(&path, "f")).collect(),
    }
}

#[test]
fn defaults_need_only_a_ledger() {
    let loaded = Config::load(&sources(None, &[], &[("ledger.file", "l")])).expect("valid");
    assert_eq!(loaded.config.server.tcp, Some(keys::DEFAULT_SERVER_TCP));
    assert_eq!(loaded.config.server.uds, None);
    assert_eq!(loaded.config.server.workers, Workers::Auto);
    assert_eq!(loaded.config.replica.key_file, PathBuf::from("./consentd-data/subject.key"));
    assert_eq!(loaded.config.evidence.stage, EvidenceStage::Written);
    assert_eq!(loaded.warnings, Vec::<String>::new());

    let problems = Config::load(&sources(None, &[], &[])).expect_err("no ledger");
    assert_eq!(
        problems.to_string(),
        "ledger.file: must be set, in the file, by CONSENTD_LEDGER_FILE or by a flag (default)"
    );
}

#[test]
fn the_environment_wins_over_the_file_and_flags_over_both() {
    let file = file("ledger.file = 'f'\nlog.level = 'debug'\nevidence.flush_interval = '3s'\n");
    let environment = [("CONSENTD_LEDGER_FILE", "e"), ("CONSENTD_LOG_LEVEL", "warn")];
    let loaded = Config::load(&sources(Some(&file), &environment, &[("ledger.file", "x")])).expect("valid");
    assert_eq!(loaded.config.ledger.file, PathBuf::from("x"));
    assert_eq!(loaded.config.log.level, "warn");
    assert_eq!(loaded.config.evidence.flush_interval, Duration::from_secs(3));
    let printed = loaded.effective().to_string();
    assert!(printed.contains("# Set by: --set\nfile = \"x\"\n"), "{printed}");
    assert!(printed.contains("# Set by: CONSENTD_LOG_LEVEL\nlevel = \"warn\"\n"), "{printed}");
    assert!(printed.contains(&format!("# Set by: {}:3\nflush_interval = \"3s\"\n", file.path().display())));
}

/// Each line of a file alone, and what is said about it.
const REFUSED: &[(&str, &str)] = &[
    ("evidence.flush_interval = 5", "evidence.flush_interval: `5` has no unit, write `5ms`, `5s` or `5m` (f:1)"),
    ("evidence.flush_interval = '5'", "evidence.flush_interval: `5` has no unit, write `5ms`, `5s` or `5m` (f:1)"),
    ("evidence.flush_interval = '1ms'", "evidence.flush_interval: `1ms` is outside 10ms to 1m (f:1)"),
    (
        "evidence.flush_interval = true",
        "evidence.flush_interval: must be a duration in quotes, such as \"250ms\", not true or false (f:1)",
    ),
    ("replica.cache_bytes = 64", "replica.cache_bytes: `64` has no unit, write `64B`, `64KiB` or `64MiB` (f:1)"),
    ("replica.cache_bytes = '1KiB'", "replica.cache_bytes: `1KiB` is outside 1MiB to 64GiB (f:1)"),
    ("server.max_batch = 0", "server.max_batch: `0` is outside 1 to 10000 (f:1)"),
    ("server.max_batch = -1", "server.max_batch: `-1` is not a whole number (f:1)"),
    ("server.max_batch = 1.5", "server.max_batch: must be a whole number, not a number with a fraction (f:1)"),
    ("server.max_batch = 'ten'", "server.max_batch: `ten` is not a whole number (f:1)"),
    ("server.max_batch = ''", "server.max_batch: `` is not a whole number (f:1)"),
    ("server.workers = 65", "server.workers: `65` is outside 1 to 64 (f:1)"),
    ("server.workers = 0", "server.workers: `0` is outside 1 to 64 (f:1)"),
    ("server.workers = 'many'", "server.workers: `many` is not a whole number, nor `auto` (f:1)"),
    (
        "server.tcp = 'localhost:7311'",
        "server.tcp: `localhost:7311` is not an address and port such as `127.0.0.1:7311` or `[::1]:7311`, nor `off` \
         (f:1)",
    ),
    ("server.tcp = 7311", "server.tcp: `7311` is a number and must be a text in quotes (f:1)"),
    ("server.tcp = ['127.0.0.1:1']", "server.tcp: must be a text in quotes, not a list (f:1)"),
    (
        "server.uds_mode = '0066'",
        "server.uds_mode: `0066` is not an octal mode such as `0660`, which lets at least the owner in (f:1)",
    ),
    (
        "server.uds_mode = '4777'",
        "server.uds_mode: `4777` is not an octal mode such as `0660`, which lets at least the owner in (f:1)",
    ),
    ("server.uds_mode = 0o660", "server.uds_mode: `432` is a number and must be a text in quotes (f:1)"),
    ("authzen.enabled = 'yes'", "authzen.enabled: `yes` is not true or false (f:1)"),
    ("authzen.enabled = 1", "authzen.enabled: must be true or false, not a number (f:1)"),
    ("authzen.enabled = [true]", "authzen.enabled: must be true or false, not a list (f:1)"),
    ("authzen.url = 'https://pdp'", "authzen.url: is of no use where authzen.enabled is false (f:1)"),
    (
        "authzen = { enabled = true, url = 'http://pdp' }",
        "authzen.url: `http://pdp` does not begin with `https://`, as AuthZEN demands of it (f:1)",
    ),
    (
        "authzen = { enabled = true, url = 'https://me@pdp' }",
        "authzen.url: `https://me@pdp` names no host, or a user (f:1)",
    ),
    ("authzen = { enabled = true, url = 'https://' }", "authzen.url: `https://` names no host, or a user (f:1)"),
    (
        "authzen = { enabled = true, url = 'https://pdp/?a' }",
        "authzen.url: `https://pdp/?a` has a query, a fragment, or characters that a URL has not (f:1)",
    ),
    (
        "authzen = { enabled = true, url = 'https://pdp/a/' }",
        "authzen.url: `https://pdp/a/` ends with a slash, which would stand twice in the addresses made of it (f:1)",
    ),
    ("authzen.resource_type = ''", "authzen.resource_type: is not 1 to 64 bytes without control characters (f:1)"),
    ("server.tcp = true", "server.tcp: must be a text in quotes, not true or false (f:1)"),
    ("server.max_batch = true", "server.max_batch: must be a whole number, not true or false (f:1)"),
    ("data_dir = ''", "data_dir: must not be empty (f:1)"),
    ("data_dir = \"a\\u0000\"", "data_dir: must not contain a zero byte (f:1)"),
    (
        "evidence.ship = 'nats'",
        "evidence.ship_url: must be set where evidence.ship is `nats` and the ledger is a file (default)",
    ),
    (
        "evidence = { ship_url = 'nats://n', ship_tls_key_file = 'k' }",
        "evidence.ship_tls_cert_file: must be set where evidence.ship_tls_key_file is (default)",
    ),
    (
        "evidence = { ship_url = 'nats://n', ship_tls_cert_file = 'c' }",
        "evidence.ship_tls_key_file: must be set where evidence.ship_tls_cert_file is (default)",
    ),
    ("evidence.ship_creds_file = 'c'", "evidence.ship_creds_file: is of no use where evidence.ship_url is off (f:1)"),
    ("ledger.tls_ca_file = 'c'", "ledger.tls_ca_file: is of no use where ledger.url is off (f:1)"),
    (
        "evidence.ship_stream = 'a.b'",
        "evidence.ship_stream: `a.b` is not a stream's name: letters, digits, `-` and `_` (f:1)",
    ),
    ("evidence.max_unshipped_bytes = '1KiB'", "evidence.max_unshipped_bytes: `1KiB` is outside 1MiB to 1024GiB (f:1)"),
    ("evidence.max_shipped_bytes = '1KiB'", "evidence.max_shipped_bytes: `1KiB` is outside 1MiB to 1024GiB (f:1)"),
    ("server.tls_cert_file = 'c'", "server.tls_key_file: must be set where server.tls_cert_file is (default)"),
    ("server.tls_key_file = 'k'", "server.tls_cert_file: must be set where server.tls_key_file is (default)"),
    ("server.tls_min_version = '1.1'", "server.tls_min_version: `1.1` is not \"1.3\" or \"1.2\" (f:1)"),
    ("server.plaintext = 'yes'", "server.plaintext: `yes` is not true or false (f:1)"),
    ("server.plaintext = 1", "server.plaintext: must be true or false, not a number (f:1)"),
    (
        "server.tcp = '0.0.0.0:7311'",
        "server.tcp: `0.0.0.0:7311` would speak plain text beyond this machine: set server.tls_cert_file and \
         server.tls_key_file, or server.plaintext to true (f:1)",
    ),
    (
        "admin.tcp = '0.0.0.0:7312'",
        "admin.tcp: `0.0.0.0:7312` would speak plain text beyond this machine: set admin.plaintext to true where metrics \
         may be read (f:1)",
    ),
    ("server.max_connection_age = '10ms'", "server.max_connection_age: `10ms` is outside 1s to 30d (f:1)"),
    (
        "callers = 'mailer'",
        "callers: is not a list of tables on one line, such as `[{ name = \"mailer\", uid = 1000, … }]` (f:1)",
    ),
    ("callers = 1", "callers: must be a list of tables, not a number (f:1)"),
    ("callers = ['mailer']", "callers: caller 1: must be a table, not a text (f:1)"),
    ("evidence.stage = 'sync'", "evidence.stage: `sync` is not \"written\" or \"synced\" (f:1)"),
    ("ledger.kind = 'kafka'", "ledger.kind: `kafka` is not \"file\" or \"nats\" (f:1)"),
    ("ledger.stream = 'a.b'", "ledger.stream: `a.b` is not a stream's name: letters, digits, `-` and `_` (f:1)"),
    ("ledger.freshness_interval = '10ms'", "ledger.freshness_interval: `10ms` is outside 100ms to 1m (f:1)"),
    (
        "telemetry.otlp_endpoint = '127.0.0.1:4317'",
        "telemetry.otlp_endpoint: must begin with `http://` or `https://`, and name a host (f:1)",
    ),
    (
        "telemetry.otlp_endpoint = 'grpc://c:4317'",
        "telemetry.otlp_endpoint: must begin with `http://` or `https://`, and name a host (f:1)",
    ),
    (
        "telemetry.otlp_endpoint = 'http://c:4318/v1/traces'",
        "telemetry.otlp_endpoint: has a path, which OTLP over gRPC has not; is it the address for HTTP? (f:1)",
    ),
    (
        "telemetry.otlp_endpoint = 'http://me:hunter2@c:4317'",
        "telemetry.otlp_endpoint: must not hold a password; telemetry.otlp_headers_file is for that (f:1)",
    ),
    (
        "telemetry.otlp_endpoint = 'http://hunter2 @c'",
        "telemetry.otlp_endpoint: is not an address such as `http://127.0.0.1:4317` (f:1)",
    ),
    (
        "telemetry = { otlp_endpoint = 'http://c', otlp_ca_file = 'ca' }",
        "telemetry.otlp_ca_file: is of no use where telemetry.otlp_endpoint does not begin with `https://` (f:1)",
    ),
    ("telemetry.trace_ratio = 1.5", "telemetry.trace_ratio: `1.5` is not a number between 0 and 1, nor `off` (f:1)"),
    ("telemetry.trace_ratio = '1%'", "telemetry.trace_ratio: `1%` is not a number between 0 and 1, nor `off` (f:1)"),
    ("telemetry.trace_ratio = nan", "telemetry.trace_ratio: `nan` is not a number between 0 and 1, nor `off` (f:1)"),
    (
        "telemetry.trace_ratio = true",
        "telemetry.trace_ratio: must be a number between 0 and 1, not true or false (f:1)",
    ),
    ("telemetry.slow_answer = 50", "telemetry.slow_answer: `50` has no unit, write `50ms`, `50s` or `50m` (f:1)"),
    (
        "telemetry.slow_answer = 0.5",
        "telemetry.slow_answer: must be a duration in quotes, such as \"50ms\", or \"off\", not a number with a fraction (f:1)",
    ),
    ("log.level = 1.5", "log.level: must be a text in quotes, not a number with a fraction (f:1)"),
    ("log.level = 'inof'", "log.level: `inof` is not a level: off, error, warn, info, debug or trace (f:1)"),
    ("log.level = 'info,a=b'", "log.level: `b` is not a level: off, error, warn, info, debug or trace (f:1)"),
    ("log.level = 'info,'", "log.level: `` is not a level: off, error, warn, info, debug or trace (f:1)"),
    ("log.level = '[x]=info'", "log.level: `[x]` is not a target such as `consentd::replica` (f:1)"),
    ("server.tcp = 'off'", "server.tcp: is off and so is server.uds: nobody could ask (f:1)"),
    ("admin.tcp = '127.0.0.1:7311'", "admin.tcp: `127.0.0.1:7311` is taken by server.tcp, `127.0.0.1:7311` (f:1)"),
    (
        "admin = {tcp = '0.0.0.0:7311', plaintext = true}",
        "admin.tcp: `0.0.0.0:7311` is taken by server.tcp, `127.0.0.1:7311` (f:1)",
    ),
    (
        "replica.max_wait = '5s'",
        "replica.max_wait: must be shorter than server.request_timeout, or no waiting call ends (f:1)",
    ),
    (
        "replica.mode = 'on_demand'",
        "replica.mode: `on_demand` needs ledger.kind `nats`: a file can only be read as a whole (f:1)",
    ),
    ("replica.mode = 'half'", "replica.mode: `half` is not \"full\" or \"on_demand\" (f:1)"),
    ("replica.load_timeout = '1ms'", "replica.load_timeout: `1ms` is outside 10ms to 1m (f:1)"),
    ("server = 'x'", "server: is a section with keys of its own, and takes no value (f:1)"),
    ("log.levle = 'info'", "log.levle: is not a key, did you mean `log.level`? (f:1)"),
    ("flush_interval = '1s'", "flush_interval: is not a key, did you mean `evidence.flush_interval`? (f:1)"),
    ("'server.tcp' = 'off'", "\"server.tcp\": is not a key, did you mean `server.tcp`? (f:1)"),
    ("[colour]", "colour: is not a key (f:1)"),
    ("log.level.deep = 'info'", "log.level.deep: is not a key (f:1)"),
    ("password = 'hunter2'", "password: is not a key (f:1)"),
];

#[test]
fn what_is_refused_and_how_it_is_said() {
    for (line, said) in REFUSED {
        assert_eq!(problems_of_file(line), [*said], "{line}");
    }
}

#[test]
fn a_socket_path_fits_in_its_address() {
    let longest = "/".repeat(107);
    let config = |path: &str| Config::load(&sources(None, &[("CONSENTD_SERVER_UDS", path)], &[("ledger.file", "l")]));
    assert_eq!(config(&longest).expect("valid").config.server.uds, Some(PathBuf::from(&longest)));
    let problems = config(&format!("{longest}x")).expect_err("too long").to_string();
    assert!(problems.contains("is longer than 107 bytes (CONSENTD_SERVER_UDS)"), "{problems}");
}

#[test]
fn all_problems_are_reported_at_once() {
    let file = file("evidence.flush_interval = 5\nserver.tcp = 'off'\nbroken =\nlog.levle = 'x'\n");
    let environment = [("CONSENTD_LOG_LEVLE", "secret-1"), ("CONSENTD_REPLICA_CACHE_BYTES", "64"), ("HOME", "/root")];
    let flags = [("log.format", "xml"), ("evidense.stage", "secret-2"), ("data_dir", "a"), ("data_dir", "b")];
    let problems = Config::load(&sources(Some(&file), &environment, &flags)).expect_err("wrong").to_string();
    let path = file.path().to_string_lossy().into_owned();
    let lines: BTreeSet<String> = problems.lines().map(|line| line.replace(&path, "f")).collect();
    let expected = [
        "data_dir: is set twice on the command line, by `--set` as well (--set)",
        "evidence.flush_interval: `5` has no unit, write `5ms`, `5s` or `5m` (f:1)",
        "server.tcp: is off and so is server.uds: nobody could ask (f:2)",
        "string values must be quoted, expected literal string (f:3)",
        "log.levle: is not a key, did you mean `log.level`? (f:4)",
        "CONSENTD_LOG_LEVLE: sets no key that exists, did you mean `CONSENTD_LOG_LEVEL`? (CONSENTD_LOG_LEVLE)",
        "replica.cache_bytes: `64` has no unit, write `64B`, `64KiB` or `64MiB` (CONSENTD_REPLICA_CACHE_BYTES)",
        "log.format: `xml` is not \"text\" or \"json\" (--set)",
        "evidense.stage: is not a key, did you mean `evidence.stage`? (--set)",
        "ledger.file: must be set, in the file, by CONSENTD_LEDGER_FILE or by a flag (default)",
    ];
    for line in expected {
        assert!(lines.contains(line), "missing: {line}\nin:\n{problems}");
    }
    assert!(!problems.contains("secret"), "values of unknown keys are not repeated: {problems}");
}

#[test]
fn a_wrong_value_is_a_problem_even_where_it_is_overridden() {
    let file = file("server.max_batch = 0\n");
    let sources = sources(Some(&file), &[("CONSENTD_SERVER_MAX_BATCH", "5")], &[("ledger.file", "l")]);
    let (effective, result) = Config::examine(&sources);
    assert_eq!(result.expect_err("wrong").0.len(), 1);
    let printed = effective.to_string();
    assert!(printed.contains("# Wrong, set by: CONSENTD_SERVER_MAX_BATCH\n# max_batch =\n"), "{printed}");
}

#[test]
fn unreadable_files_do_not_repeat_their_lines() {
    let problems = problems_of_file("nats.password = 'hunter2\n");
    assert!(!problems.is_empty());
    assert!(problems.iter().all(|problem| !problem.contains("hunter2")), "{problems:?}");
}

#[test]
fn variables_of_others_are_left_alone() {
    let environment = [("PATH", "x"), ("CONSENT", "x"), ("CONSENTD_PORT", "tcp://10.0.0.1:7311"), ("RUST_LOG", "x")];
    Config::load(&sources(None, &environment, &[("ledger.file", "l")])).expect("valid");
    let refused = Config::load(&sources(None, &[("CONSENTD_", "x")], &[("ledger.file", "l")])).expect_err("ours");
    assert_eq!(refused.to_string(), "CONSENTD_: sets no key that exists (CONSENTD_)");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_a_problem() {
    use std::os::unix::ffi::OsStringExt as _;
    let mut sources = sources(None, &[], &[("ledger.file", "l")]);
    sources.environment.push(("CONSENTD_DATA_DIR".into(), OsString::from_vec(vec![0xff])));
    let problems = Config::load(&sources).expect_err("not text");
    assert_eq!(problems.to_string(), "is not UTF-8 (CONSENTD_DATA_DIR)");
}

#[test]
fn every_key_has_its_own_variable_that_no_service_link_can_take() {
    let (effective, _) = Config::examine(&Sources::default());
    let variables: BTreeSet<String> = effective.keys().map(|(_, variable)| variable).collect();
    assert_eq!(variables.len(), effective.keys().count());
    assert!(!variables.contains(CONFIG_VARIABLE));
    for (key, variable) in effective.keys() {
        // A value that no key takes: were the variable taken for a service link, there would be no problem.
        let problems = Config::load(&sources(None, &[(&variable, "")], &[])).expect_err(&variable);
        let named = problems.0.iter().any(|p| p.key.as_deref() == Some(key) && p.to_string().contains(&variable));
        assert!(named, "{variable}: {problems}");
    }
}

#[test]
fn a_ledger_on_nats_needs_servers_and_a_subject_key_and_no_file() {
    let nats = ("ledger.kind", "nats");
    let missing = Config::load(&sources(None, &[], &[nats])).expect_err("incomplete").to_string();
    assert!(missing.contains("ledger.url: must be set where ledger.kind is `nats`"), "{missing}");
    assert!(missing.contains("ledger.subject_key_file: must be set where ledger.kind is `nats`"), "{missing}");
    let complete = [nats, ("ledger.url", "nats://n"), ("ledger.subject_key_file", "k")];
    let central = Config::load(&sources(None, &[], &complete)).expect("valid").config.ledger.central.expect("one");
    assert_eq!(
        (central.server.servers.to_string(), central.stream),
        ("nats://n:4222".to_owned(), "CONSENT_LEDGER".to_owned())
    );
    let shipped = [&complete[..], &[("evidence.ship", "nats")]].concat();
    let shipped = Config::load(&sources(None, &[], &shipped)).expect("valid: to where the ledger is").config;
    assert_eq!(shipped.evidence.ship.server, None);
    let secret = [nats, ("ledger.url", "nats://me:hunter2@n"), ("ledger.subject_key_file", "k")];
    let refused = Config::load(&sources(None, &[], &secret)).expect_err("a password").to_string();
    assert!(refused.starts_with("ledger.url: ") && !refused.contains("hunter2"), "{refused}");
}

#[test]
fn what_is_printed_reads_back_as_the_same_configuration() {
    let everything = [
        (
            "callers",
            "[{name='mailer', spiffe='spiffe://example.org/ns/mail/*', uid=1000, purposes=['marketing','*'], \
             channels=['email']}, {name='gateway', uid=0, forwards=true}]",
        ),
        ("data_dir", "a \"quoted\"\\path\nwith a line"),
        ("server.tcp", "[::]:1"),
        ("server.tls_cert_file", "tls.crt"),
        ("server.tls_key_file", "tls.key"),
        ("server.tls_client_ca_file", "ca.crt"),
        ("server.tls_min_version", "1.2"),
        ("server.plaintext", "true"),
        ("server.max_connection_age", "off"),
        ("server.max_connection_age_grace", "1s"),
        ("server.uds", "/run/consentd.sock"),
        ("server.uds_mode", "0666"),
        ("server.max_message_bytes", "1000KB"),
        ("server.max_batch", "7"),
        ("server.max_concurrent_streams", "8"),
        ("server.max_connections", "9"),
        ("server.max_in_flight", "10"),
        ("server.request_timeout", "1m1s1ms"),
        ("server.drain_delay", "3s"),
        ("server.drain_timeout", "0s"),
        ("server.workers", "3"),
        ("authzen.enabled", "true"),
        ("authzen.url", "https://pdp.example.com/tenant1"),
        ("authzen.resource_type", "data \"use\""),
        ("admin.tcp", "off"),
        ("admin.plaintext", "true"),
        ("admin.ask", "false"),
        ("ledger.kind", "nats"),
        ("ledger.file", "ledger.jsonl"),
        ("ledger.url", "tls://one.example:4222,tls://other.example:4333"),
        ("ledger.stream", "OTHER"),
        ("ledger.subject_key_file", "shared.key"),
        ("ledger.creds_file", "c"),
        ("ledger.tls_ca_file", "ca.pem"),
        ("ledger.tls_cert_file", "cert.pem"),
        ("ledger.tls_key_file", "key.pem"),
        ("ledger.freshness_interval", "250ms"),
        ("ledger.poll_interval", "7ms"),
        ("replica.cache_bytes", "1048577B"),
        ("replica.store_cache_bytes", "2MiB"),
        ("replica.mode", "on_demand"),
        ("replica.load_timeout", "20ms"),
        ("replica.max_wait", "0s"),
        ("replica.key_file", "k"),
        ("evidence.stage", "synced"),
        ("evidence.segment_bytes", "1GiB"),
        ("evidence.flush_interval", "20ms"),
        ("evidence.checkpoint_interval", "1h"),
        ("evidence.key_file", "/etc/consentd/evidence.key"),
        ("evidence.ship", "nats"),
        ("evidence.ship_url", "tls://one:4222,tls://two:4223"),
        ("evidence.ship_stream", "EVIDENCE_2"),
        ("evidence.ship_creds_file", "/etc/consentd/evidence.creds"),
        ("evidence.ship_tls_ca_file", "/etc/consentd/ca.pem"),
        ("evidence.ship_tls_cert_file", "/etc/consentd/cert.pem"),
        ("evidence.ship_tls_key_file", "/etc/consentd/key.pem"),
        ("evidence.max_unshipped_bytes", "16GiB"),
        ("evidence.keep_shipped", "2160h"),
        ("evidence.max_shipped_bytes", "8GiB"),
        ("evidence.ship_wait", "20s"),
        ("ext_authz.subject", "metadata:jwt/a%2Fb%2Cc/\"sub\", path:/a/*/{subject}/**, query:u"),
        ("ext_authz.subject_space", "crm"),
        ("ext_authz.purpose", "extension:purpose, value:marketing"),
        ("ext_authz.channel", "header:x-channel"),
        ("ext_authz.recipient", "query:for"),
        ("ext_authz.jurisdiction", "value:US-ME"),
        ("ext_authz.time_zone", "header:x-time-zone, value:America/New_York"),
        ("ext_authz.tcf", "header:x-tcf"),
        ("ext_authz.gpp", "header:x-gpp"),
        ("ext_authz.at_least_as_fresh", "header:x-token"),
        ("ext_authz.sec_gpc", "off"),
        ("telemetry.otlp_endpoint", "https://collector.example"),
        ("telemetry.otlp_timeout", "2s"),
        ("telemetry.otlp_headers_file", "headers"),
        ("telemetry.otlp_ca_file", "ca.pem"),
        ("telemetry.trace_ratio", "1"),
        ("telemetry.slow_answer", "off"),
        ("telemetry.kept_per_second", "7"),
        ("telemetry.metrics_interval", "15s"),
        ("log.level", "warn,consentd::replica=debug"),
        ("log.format", "json"),
    ];
    let set = Config::load(&sources(None, &[], &everything)).expect("valid");
    assert_eq!(set.effective().count_set(), set.effective().keys().count(), "a key is missing in this test");
    assert_eq!(set.config.server.workers, Workers::Fixed(NonZeroUsize::new(3).expect("3")));
    assert_eq!(set.warnings.len(), 1, "{:?}", set.warnings);

    let defaults = Config::load(&sources(None, &[], &[("ledger.file", "l")])).expect("valid");
    for loaded in [set, defaults] {
        let file = file(&loaded.effective().to_string());
        let again = Config::load(&sources(Some(&file), &[], &[])).expect("reads back");
        assert_eq!(again.config, loaded.config);
        assert_eq!(again.effective().count_set(), again.effective().keys().count());
    }
}

#[test]
fn every_caller_is_checked_and_all_that_is_wrong_is_said() {
    let problems = problems_of_file(
        "[[callers]]\nname = 'mail er'\nspiffe = 'spiffe://example.org/a/'\nuid = -1\npurposes = ['Marketing', 1]\n\
         channels = 'email'\n[[callers]]\nnmae = 'x'\nforwards = 'perhaps'\n\
         [[callers]]\nname = 'a'\nuid = 7\npurposes = []\nchannels = []\n\
         [[callers]]\nname = 'a'\nuid = 7\nforwards = true\n",
    );
    let expected = [
        "callers: caller 1: name: `mail er` is not a name of letters, digits, `.`, `-` and `_`, at most 64 bytes (f:1)",
        "callers: caller 1: spiffe: `spiffe://example.org/a/` must have path segments of letters, digits, `.`, `-` and `_`, \
         none empty, `.` or `..` (f:1)",
        "callers: caller 1: uid: `-1` is not the number of a user (f:1)",
        "callers: caller 1: purposes: `Marketing` is no key of the catalogue's kind, nor `*` (f:1)",
        "callers: caller 1: channels: must be a list of texts, not a text (f:1)",
        "callers: caller 2: `nmae` is nothing that a caller has, did you mean `name`? (f:1)",
        "callers: caller 2: forwards: `perhaps` is not true or false (f:1)",
        "callers: caller 2: name: must be set; evidence bears it (f:1)",
        "callers: caller 2: spiffe or uid must be set, or nobody would be this caller (f:1)",
        "callers: caller 2: purposes: must be set; `[\"*\"]` is all (f:1)",
        "callers: caller 2: channels: must be set; `[\"*\"]` is all (f:1)",
        "callers: two callers have the name `a` (f:1)",
        "callers: two callers have uid 7 (f:1)",
    ];
    assert_eq!(problems, expected);
}

#[test]
fn callers_are_the_same_from_a_file_and_from_the_environment() {
    let file = file(
        "ledger.file = 'l'\n[[callers]]\nname = 'mailer'\nspiffe = 'spiffe://example.org/ns/mail/*'\n\
         purposes = ['marketing']\nchannels = ['email']\n",
    );
    let from_file = Config::load(&sources(Some(&file), &[], &[])).expect("valid");
    let text = "[{ name = \"mailer\", spiffe = \"spiffe://example.org/ns/mail/*\", purposes = [\"marketing\"], channels = [\"email\"] }]";
    let environment = [("CONSENTD_CALLERS", text), ("CONSENTD_LEDGER_FILE", "l")];
    let from_environment = Config::load(&sources(None, &environment, &[])).expect("valid");
    assert_eq!(from_file.config, from_environment.config);
    assert_eq!(from_file.config.callers.len(), 1);
    let told = "callers: over `127.0.0.1:7311` nobody can show who they are, and so nobody may ask; set \
                server.tls_client_ca_file";
    assert_eq!(from_file.warnings, [told]);
    for wrong in ["", "[", "[{}]\nledger.file = 'x'", "{}", "1"] {
        let environment = [("CONSENTD_CALLERS", wrong), ("CONSENTD_LEDGER_FILE", "l")];
        let problems = Config::load(&sources(None, &environment, &[])).expect_err(wrong).to_string();
        assert!(problems.starts_with("callers: ") && problems.ends_with(" (CONSENTD_CALLERS)"), "{problems}");
    }
}

#[test]
fn a_mapping_of_envoys_checks_is_whole_or_not_there() {
    let none = Config::load(&sources(None, &[], &[("ledger.file", "l"), ("ext_authz.sec_gpc", "off")])).expect("valid");
    assert_eq!(none.config.ext_authz, None);
    let text = "[ext_authz]\nsubject_space = \"crm\"\nsubject = \"path:/users/{subject}/**, header:X-User\"\n\
                purpose = \"extension:purpose\"\nchannel = \"value:web\"\n";
    let file = file(text);
    let loaded = Config::load(&sources(Some(&file), &[("CONSENTD_LEDGER_FILE", "l")], &[])).expect("valid");
    let mapping = loaded.config.ext_authz.clone().expect("a mapping");
    assert_eq!(mapping.subject_space.as_deref(), Some("crm"));
    assert_eq!(mapping.subject.to_string(), "path:/users/{subject}/**, header:x-user");
    assert_eq!(mapping.sec_gpc.to_string(), keys::DEFAULT_EXT_AUTHZ_SEC_GPC);
    assert!(mapping.recipient.is_empty());
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let flags = [("ledger.file", "l"), ("ext_authz.subject", "header:x"), ("ext_authz.channel", "value:web")];
    let flags = [&flags[..], &[("ext_authz.purpose", "extension:purpose, query:for")]].concat();
    assert_eq!(
        Config::load(&sources(None, &[], &flags)).expect("valid").warnings,
        [
            "ext_authz.purpose: `query:for` stands in the request: unless the proxy sets it, a client chooses what is asked"
        ]
    );
    let printed = loaded.effective().to_string();
    assert!(printed.contains("\nsubject = \"path:/users/{subject}/**, header:x-user\"\n"), "{printed}");

    assert_eq!(
        problems_of_file("[ext_authz]\nsubject = \"header:x-user\"\n"),
        [
            "ext_authz.purpose: must be set where any other key of ext_authz is (default)",
            "ext_authz.channel: must be set where any other key of ext_authz is (default)",
        ]
    );
    let text = "[ext_authz]\nsubject = \"value:42\"\npurpose = \"heder:x\"\nchannel = [\"value:web\"]\n\
                jurisdiction = \"value:Turkey\"\nsubject_space = \"CRM\"\nrecipients = \"value:acme\"\n\
                time_zone = \"value:Ankara\"\n";
    assert_eq!(
        problems_of_file(text),
        [
            "ext_authz.subject_space: `CRM` is not a space: 1 to 64 characters of a-z, 0-9, `_`, `-` and `.` (f:6)",
            "ext_authz.purpose: `heder:x` is not a source, did you mean `header:`? (f:3)",
            "ext_authz.channel: must be a text in quotes, not a list (f:4)",
            "ext_authz.jurisdiction: `Turkey` is not an ISO 3166 code in capitals, such as `TR` or `US-ME` (f:5)",
            "ext_authz.time_zone: `Ankara` is not an IANA time zone, such as `Europe/Istanbul` (f:8)",
            "ext_authz.subject: `value:42`: a subject is written `space:id`, such as `crm:42` (f:2)",
            "ext_authz.recipients: is not a key, did you mean `ext_authz.recipient`? (f:7)",
        ]
    );
}

#[test]
fn what_is_left_to_the_machine_follows_it() {
    let machine = |thousandths, memory: u64| Machine {
        processors: Processors { thousandths, bound: Bound::Group("/cpu.max".into()) },
        memory: Some(Memory { bytes: memory << 20, bound: Bound::Group("/memory.max".into()) }),
    };
    let auto = Config::load(&sources(None, &[], &[("ledger.file", "l")])).expect("valid");
    let small = auto.config.settle(&machine(200, 64));
    assert_eq!((small.workers.get(), small.warnings.len()), (1, 0), "{:?}", small.warnings);
    assert!(small.cache_bytes + small.store_cache_bytes + small.strings_bytes <= 32 << 20, "{small:?}");
    let large = auto.config.settle(&machine(16_000, 1024));
    assert_eq!(large.workers.get(), 8);
    assert!(large.cache_bytes > 20 * small.cache_bytes, "{large:?}");
    let printed = auto.effective().settled(&small).to_string();
    let worker = "\n# Here: 1, with 200m of a processor, by /cpu.max\nworkers = \"auto\"\n";
    assert!(printed.contains(worker), "{printed}");
    assert_eq!(printed.matches("MiB of memory, by /memory.max\n").count(), 3, "{printed}");
    assert!(printed.contains("\n# Here: 128, with 64 MiB of memory, by /memory.max\nmax_concurrent_streams = 1024\n"));
    assert_eq!((small.max_concurrent_streams, small.bulk_at_once), (128, NonZeroUsize::new(1)));
    assert_eq!((large.max_concurrent_streams, large.bulk_at_once), (1024, NonZeroUsize::new(8)));
    let file = file(&printed);
    assert_eq!(Config::load(&sources(Some(&file), &[], &[])).expect("reads back").config, auto.config);

    let fixed = [("ledger.file", "l"), ("server.workers", "3"), ("replica.cache_bytes", "60MiB")];
    let fixed = [&fixed[..], &[("replica.store_cache_bytes", "4MiB"), ("server.max_concurrent_streams", "9")]].concat();
    let fixed = Config::load(&sources(None, &[], &fixed)).expect("valid");
    let settled = fixed.config.settle(&machine(200, 64));
    assert_eq!((settled.workers.get(), settled.cache_bytes, settled.store_cache_bytes), (3, 60 << 20, 4 << 20));
    assert!(!fixed.effective().settled(&settled).to_string().contains("# Here:"));
    let caches = "64 MiB of memory, by /memory.max: replica.cache_bytes and replica.store_cache_bytes may take 64MiB \
                  together, and the kernel would end the sidecar";
    assert_eq!(settled.warnings, [caches]);
    assert_eq!(fixed.config.settle(&machine(200, 128)).warnings, Vec::<String>::new());

    let tight = auto.config.settle(&machine(200, 32));
    assert_eq!(
        tight.warnings,
        [
            "32 MiB of memory, by /memory.max: the kernel may end a sidecar that has less than 56 MiB, and one with more than some \
             ten thousand subjects that has less than 96; raise the limit"
        ]
    );
    let unknown = auto.config.settle(&Machine { memory: None, ..machine(2000, 0) });
    assert_eq!(unknown.warnings, Vec::<String>::new());
    assert_eq!((unknown.max_concurrent_streams, unknown.bulk_at_once), (1024, None));
}

#[test]
fn the_page_asks_by_itself_only_where_everybody_may_ask_anyway() {
    let caller = "[{ name = \"a\", uid = 7, purposes = [\"*\"], channels = [\"*\"] }]";
    let certificates =
        [("server.tls_cert_file", "c"), ("server.tls_key_file", "k"), ("server.tls_client_ca_file", "ca")];
    let socket = [("server.tcp", "off"), ("server.uds", "s")];
    let open_socket = [&socket[..], &[("server.uds_mode", "0666")]].concat();
    for (set, asks) in [
        (&[][..], true),
        (&certificates[..2], true),
        (&certificates, false),
        (&socket, false),
        (&open_socket, true),
        (&[("callers", caller)], false),
        (&[&open_socket[..], &[("callers", caller)]].concat(), false),
    ] {
        let with = |ask: &str| {
            let flags = [&[("ledger.file", "l"), ("admin.ask", ask)], set].concat();
            Config::load(&sources(None, &[], &flags)).expect("valid")
        };
        let warns = |loaded: &Loaded| loaded.warnings.iter().any(|warning| warning.starts_with("admin.ask: "));
        let (auto, always, never) = (with("auto"), with("true"), with("false"));
        assert_eq!((auto.config.page_asks(), warns(&auto)), (asks, false), "{set:?}");
        // Who opens another door is told so.
        assert_eq!((always.config.page_asks(), warns(&always)), (true, !asks), "{set:?}");
        assert_eq!((never.config.page_asks(), warns(&never)), (false, false), "{set:?}");
    }
    let default = Config::load(&sources(None, &[], &[("ledger.file", "l")])).expect("valid");
    assert_eq!(default.config.admin.ask, PageAsks::Auto);
    assert_eq!(
        problems_of_file("admin.ask = 'perhaps'"),
        ["admin.ask: `perhaps` is not true or false, nor `auto` (f:1)"]
    );
}
