//! `consentd health`, as a probe runs it against the real sidecar.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/sidecar.rs"]
mod sidecar;
#[path = "support/tls.rs"]
mod tls;

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use sidecar::{Home, Process, Sidecar, catalogue, eventually, until_serving};
use tls::{Authority, Files, borrowed};

fn health(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_consentd"));
    command.arg("health").args(arguments).env_clear().envs(environment.iter().copied());
    command.output().expect("it runs")
}

/// Exit code and what it said, on both outputs.
fn told(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = health(arguments, environment);
    let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
    (output.status.code(), said)
}

/// A blocking look at the sidecar of this very process.
async fn told_aside(arguments: Vec<String>, environment: Vec<(&'static str, String)>) -> (Option<i32>, String) {
    let look = move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, &**value)).collect();
        told(&arguments, &environment)
    };
    tokio::task::spawn_blocking(look).await.expect("no panic")
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_follows_a_sidecar_from_its_start_to_its_end() {
    let home = Home::new();
    let socket = home.uds();
    let socket = socket.to_str().expect("UTF-8");
    let ready = ["--uds", socket];
    let live = ["--live", "--uds", socket];
    let (code, said) = told(&ready, &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("cannot reach a sidecar") && said.contains(socket), "{said}");
    assert_eq!(told(&live, &[]).0, Some(2));

    let mut process = Process::spawn(&home, &[]);
    process.connect().await;
    eventually("it says how it is", async || (told(&ready, &[]).0 == Some(1)).then_some(())).await;
    assert_eq!(told(&ready, &[]), (Some(1), "not ready\n".to_owned()));
    assert_eq!(told(&live, &[]), (Some(0), "alive\n".to_owned()), "a sidecar without a ledger is alive");

    home.append(&catalogue(1));
    eventually("it is ready", async || (told(&ready, &[]).0 == Some(0)).then_some(())).await;
    assert_eq!(told(&["--address", &format!("unix:{socket}")], &[]), (Some(0), "ready\n".to_owned()));

    process.freeze();
    let began = Instant::now();
    for probe in [&ready[..], &live] {
        let (code, said) = told(&[probe, &["--timeout", "200ms"]].concat(), &[]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("no answer within 200ms"), "{said}");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    process.thaw();
    assert_eq!(told(&ready, &[]).0, Some(0));

    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
    assert_eq!(told(&live, &[]).0, Some(2));
}

/// As a health check of an image does, which knows nothing of how the sidecar is configured.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_says_where_to_look() {
    let home = Home::with_catalogue();
    let sidecar = Sidecar::ready(&home, &[("admin.tcp", "127.0.0.1:0")]).await;
    let tcp = sidecar.tcp.to_string();
    let socket = home.uds().to_str().expect("UTF-8").to_owned();
    let nowhere = "127.0.0.1:1".to_owned();
    let ready = (Some(0), "ready\n".to_owned());

    // The socket goes before TCP; and a key that only the sidecar was given does not matter.
    let both = vec![("CONSENTD_SERVER_UDS", socket), ("CONSENTD_SERVER_TCP", nowhere.clone())];
    assert_eq!(told_aside(Vec::new(), both).await, ready);
    let everywhere = format!("0.0.0.0:{}", sidecar.tcp.port());
    let plain = vec![("CONSENTD_SERVER_TCP", everywhere), ("CONSENTD_SERVER_PLAINTEXT", "true".to_owned())];
    assert_eq!(told_aside(Vec::new(), plain).await, ready);
    let file = home.path("consentd.toml");
    std::fs::write(&file, format!("server.tcp = \"{tcp}\"\n")).expect("written");
    let file = file.to_str().expect("UTF-8").to_owned();
    assert_eq!(told_aside(vec!["--config".to_owned(), file.clone()], Vec::new()).await, ready);
    assert_eq!(told_aside(Vec::new(), vec![("CONSENTD_CONFIG", file.clone())]).await, ready);
    let (code, said) = told_aside(words("--address 127.0.0.1:1"), vec![("CONSENTD_CONFIG", file)]).await;
    assert_eq!(code, Some(2), "an address that is given counts: {said}");
    let (code, said) = told_aside(Vec::new(), vec![("CONSENTD_SERVER_TCP", "7311".to_owned())]).await;
    assert_eq!(code, Some(2));
    assert!(said.contains("server.tcp: `7311` is not an address"), "{said}");
    assert_eq!(told_aside(words("--uds x --address y:1"), Vec::new()).await.0, Some(2));
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_that_speaks_tls_is_asked_in_tls_or_on_its_admin_page() {
    let home = Home::new();
    let authority = Authority::new("tests");
    let files = Files::write(home.path("tls"), &authority.server(), None).settings();
    std::fs::write(home.path("ca.pem"), authority.pem()).expect("written");
    let sidecar = Sidecar::start(&home, &borrowed(&files, &[("admin.tcp", "127.0.0.1:0")])).await;
    let (port, admin) = (sidecar.tcp.port(), sidecar.admin.expect("a page"));
    let ca = home.path("ca.pem").to_str().expect("UTF-8").to_owned();

    let asked = format!("--address localhost:{port} --tls-ca {ca}");
    assert_eq!(told_aside(words(&asked), Vec::new()).await, (Some(1), "not ready\n".to_owned()));
    let own = |admin: String| {
        vec![
            ("CONSENTD_SERVER_TCP", format!("127.0.0.1:{port}")),
            ("CONSENTD_SERVER_TLS_CERT_FILE", "c".to_owned()),
            ("CONSENTD_SERVER_TLS_KEY_FILE", "k".to_owned()),
            ("CONSENTD_ADMIN_TCP", admin),
        ]
    };
    let (code, said) = told_aside(Vec::new(), own(admin.to_string())).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("not ready\nledger: "), "the page says why: {said}");
    assert_eq!(told_aside(words("--live"), own(admin.to_string())).await, (Some(0), "alive\n".to_owned()));
    home.append(&catalogue(1));
    until_serving(&sidecar.channel).await;
    assert_eq!(told_aside(words(&asked), Vec::new()).await, (Some(0), "ready\n".to_owned()));
    assert_eq!(told_aside(Vec::new(), own(admin.to_string())).await, (Some(0), "ready\n".to_owned()));
    let (code, said) = told_aside(Vec::new(), own("off".to_owned())).await;
    assert_eq!(code, Some(2));
    assert!(said.contains("give --address") && said.contains("--tls-ca"), "{said}");
    sidecar.stop().await;
}
