//! A central ledger as tests make it, write to it and have it followed: one stream, under one subject key.

#![allow(dead_code, reason = "each test file takes what it needs")]

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;
use consentd::ledger::SubjectHasher;
use consentd::ledger::nats::{Config, DEFAULT_STREAM, kept_stream};
use consentd::nats::{self, KeptStream, Tls};
use consentd::proto::v1;

use crate::sidecar::Home;

/// The subject key of every ledger here.
pub(crate) const KEY: [u8; 32] = [7; 32];

/// A home that holds the subject key.
pub(crate) fn home() -> Home {
    let home = Home::new();
    std::fs::write(home.path("shared.key"), KEY).expect("written");
    home
}

/// The names of subjects under the key.
pub(crate) fn hasher() -> SubjectHasher {
    SubjectHasher::new(&KEY)
}

/// How the stream must be.
pub(crate) fn kept() -> KeptStream {
    kept_stream(DEFAULT_STREAM, &hasher())
}

/// Where the ledger is, with the subject key of a home.
pub(crate) fn config(home: &Home, urls: &str, tls: &Tls) -> Config {
    let connection = nats::Config { tls: tls.clone(), ..nats::Config::new(urls.parse().expect("addresses")) };
    Config { connection, stream: DEFAULT_STREAM.to_owned(), subject_key_file: home.path("shared.key") }
}

/// A connection of the test's own.
pub(crate) async fn context(config: &Config) -> Context {
    let client = nats::connect(&config.connection).await.expect("connected");
    ContextBuilder::new().timeout(Duration::from_secs(5)).build(client)
}

/// The event that a line of a file ledger says.
pub(crate) fn event(line: &str) -> v1::LedgerEvent {
    serde_json::from_str(line).expect("an event")
}

/// The events that lines say.
pub(crate) fn events<T: AsRef<str>>(lines: &[T]) -> Vec<v1::LedgerEvent> {
    lines.iter().map(|line| event(line.as_ref())).collect()
}

/// What a sidecar's configuration says of the ledger, with proofs of freshness as often as a test can wait for.
pub(crate) fn settings(config: &Config) -> Vec<(String, String)> {
    let tls = &config.connection.tls;
    let files = [
        ("ledger.subject_key_file", Some(&config.subject_key_file)),
        ("ledger.tls_ca_file", tls.ca.as_ref()),
        ("ledger.tls_cert_file", tls.cert.as_ref()),
        ("ledger.tls_key_file", tls.key.as_ref()),
    ];
    let files = files.into_iter().filter_map(|(key, file)| Some((key, file?.display().to_string())));
    [
        ("ledger.kind", "nats".to_owned()),
        ("ledger.url", config.connection.servers.to_string()),
        ("ledger.freshness_interval", "200ms".to_owned()),
    ]
    .into_iter()
    .chain(files)
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

/// Settings as a sidecar takes them.
pub(crate) fn borrowed(settings: &[(String, String)]) -> Vec<(&str, &str)> {
    settings.iter().map(|(key, value)| (&**key, &**value)).collect()
}
