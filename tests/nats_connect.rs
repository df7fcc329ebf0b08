//! Connections to real NATS servers: what works, and what an operator is told where it does not.

#![allow(clippy::expect_used, clippy::panic, reason = "a test may fail loudly, and its helpers are tests too")]

#[path = "support/nats.rs"]
#[allow(dead_code, reason = "each test uses its part")]
mod nats;

use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::connection::State;
use consentd::nats::{Config, Tls, connect};
use nats::{Certificates, Cluster, NatsServer, Options};

fn config(url: &str) -> Config {
    Config { connect_timeout: Duration::from_secs(2), ..Config::new(url.parse().expect("addresses")) }
}

/// The sentence for why there is no connection, with its causes.
async fn refusal(config: &Config) -> String {
    let Err(error) = connect(config).await else { panic!("connected") };
    let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
    format!("{error}{cause}")
}

async fn wait_until_connected(client: &Client) {
    let started = Instant::now();
    while client.connection_state() != State::Connected {
        assert!(started.elapsed() < Duration::from_secs(20), "not connected again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_server_is_connected_to_and_again_after_its_death() {
    let mut server = NatsServer::start(&Options::default());
    let client = connect(&config(&server.url())).await.expect("connected");
    client.flush().await.expect("it lives");
    server.kill();
    assert!(refusal(&config(&server.url())).await.contains("is the NATS server running?"));
    server.restart();
    wait_until_connected(&client).await;
    client.flush().await.expect("it lives");
}

#[tokio::test]
async fn a_server_that_stands_still_is_said_to_give_no_answer() {
    let server = NatsServer::start(&Options::default());
    server.stop();
    let told = refusal(&Config { connect_timeout: Duration::from_millis(300), ..config(&server.url()) }).await;
    server.cont();
    assert!(told.contains("no answer within 0.3 s"), "{told}");
}

#[tokio::test]
async fn credentials_are_taken_from_their_file_at_every_attempt() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("user");
    let more = "authorization { user: consentd, password: hunter2 }".to_owned();
    let server = NatsServer::start(&Options { more, ..Options::default() });
    let without = config(&server.url());
    assert!(refusal(&without).await.contains("name a file of credentials"), "{}", refusal(&without).await);
    let with = Config { credentials: Some(file.clone()), ..without };
    let told = refusal(&with).await;
    assert!(told.contains("user` cannot be used: the file cannot be read"), "{told}");
    std::fs::write(&file, "consentd:wrong").expect("written");
    let told = refusal(&with).await;
    assert!(told.contains("does not take the credentials") && !told.contains("wrong"), "{told}");
    std::fs::write(&file, "consentd:hunter2\n").expect("written");
    connect(&with).await.expect("connected");
}

#[tokio::test]
async fn a_cluster_takes_who_shows_a_certificate_and_says_what_is_wrong_with_another() {
    let cluster = Cluster::start(3);
    let right = Config { tls: cluster.certificates.tls(), ..config(&cluster.urls()) };
    let client = connect(&right).await.expect("connected");
    client.flush().await.expect("it lives");

    let other = Certificates::make();
    let wrong_ca = Tls { ca: Some(other.ca()), ..cluster.certificates.tls() };
    let told = refusal(&Config { tls: wrong_ca, ..right.clone() }).await;
    assert!(told.contains("is not signed by an authority in") && told.contains(&shown(&other.ca())), "{told}");
    let wrong_cert = Tls { ca: Some(cluster.certificates.ca()), ..other.tls() };
    let told = refusal(&Config { tls: wrong_cert, ..right.clone() }).await;
    assert!(told.contains("does not take the certificate") && told.contains(&shown(&other.client_cert())), "{told}");
    let no_cert = Tls { ca: Some(cluster.certificates.ca()), ..Tls::default() };
    let told = refusal(&Config { tls: no_cert, ..right.clone() }).await;
    assert!(told.contains("asks for a client's certificate"), "{told}");
    let no_ca = refusal(&Config { tls: Tls { ca: None, ..cluster.certificates.tls() }, ..right.clone() }).await;
    assert!(no_ca.contains("name the file with its authority's certificate"), "{no_ca}");
    let no_key = refusal(&Config { tls: Tls { key: None, ..right.tls.clone() }, ..right.clone() }).await;
    assert!(no_key.contains("is of no use alone; give its key as well"), "{no_key}");
    let key_of_other = Tls { key: Some(other.client_key()), ..right.tls.clone() };
    let told = refusal(&Config { tls: key_of_other, ..right.clone() }).await;
    assert!(told.contains(&shown(&other.client_key())) && told.contains("private key"), "{told}");
    let not_pem = Tls { ca: Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")), ..right.tls.clone() };
    let told = refusal(&Config { tls: not_pem, ..right.clone() }).await;
    assert!(told.contains("Cargo.toml` cannot be used as certificates"), "{told}");
}

#[tokio::test]
async fn a_server_without_tls_is_not_spoken_to_where_tls_is_asked_for() {
    let server = NatsServer::start(&Options::default());
    let certificates = Certificates::make();
    let tls = Tls { ca: Some(certificates.ca()), ..Tls::default() };
    let told = refusal(&Config { tls, ..config(&server.url()) }).await;
    assert!(told.contains("does not speak TLS"), "{told}");
}

#[tokio::test]
async fn a_certificate_that_ended_is_told_and_a_renewed_one_is_taken_without_a_new_start() {
    let certificates = Certificates::make();
    let mut server = NatsServer::start(&Options { tls: Some(certificates.clone()), ..Options::default() });
    let config = Config { tls: certificates.tls(), ..config(&server.url()) };
    let client = connect(&config).await.expect("connected");

    certificates.renew(2020);
    server.kill();
    server.restart();
    let told = refusal(&config).await;
    assert!(told.contains("the server's certificate has expired; renew it"), "{told}");
    assert_ne!(client.connection_state(), State::Connected);

    // Another authority, another key, the same files.
    certificates.renew(2099);
    server.kill();
    server.restart();
    wait_until_connected(&client).await;
    connect(&config).await.expect("connected");
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
