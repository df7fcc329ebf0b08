//! Connecting, and connecting again.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::rustls::pki_types::pem::{self, PemObject};
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_nats::rustls::{ClientConfig, RootCertStore};
use async_nats::{AuthError, Client, ConnectOptions};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::explain::{self, ConnectError};
use super::{Config, PING_INTERVAL, Tls, credentials};

/// The longest pause between two attempts of a connection that was lost.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(2);

/// Connects to one of the servers, the first that answers. A connection that is lost later is made again for as long as
/// the client lives, with files read anew and pauses of a random length, so that many clients do not come back at once.
///
/// # Errors
/// If a file cannot be used or no server takes us. The sentence says which, and what to do. The text holds no secret.
///
/// # Cancel safety
/// Nothing is left behind when it is dropped.
pub async fn connect(config: &Config) -> Result<Client, ConnectError> {
    check_files(config)?;
    let was_connected = Arc::new(AtomicBool::new(false));
    let client = options(config, Arc::clone(&was_connected))
        .connect(config.servers.addresses())
        .await
        .map_err(|error| explain::failure(config, &error))?;
    was_connected.store(true, Ordering::Relaxed);
    Ok(client)
}

fn options(config: &Config, was_connected: Arc<AtomicBool>) -> ConnectOptions {
    let mut options = match config.credentials.clone() {
        None => ConnectOptions::new(),
        Some(path) => ConnectOptions::with_auth_callback(move |nonce| {
            let path = path.clone();
            async move {
                let read = tokio::task::spawn_blocking(move || credentials::answer(&path, &nonce));
                let answer = read.await.map_err(|_| AuthError::new("the credentials were not read"))?;
                answer.map_err(AuthError::new)
            }
        }),
    };
    // The client reads these files at every attempt.
    if let Some(ca) = &config.tls.ca {
        options = options.add_root_certificates(ca.clone());
    }
    if let Some((cert, key)) = config.tls.cert.as_ref().zip(config.tls.key.as_ref()) {
        options = options.add_client_certificate(cert.clone(), key.clone());
    }
    options
        .require_tls(config.requires_tls())
        .name(&config.name)
        .connection_timeout(config.connect_timeout)
        .request_timeout(Some(config.request_timeout))
        .ping_interval(PING_INTERVAL)
        // What a server says of others is said before it has shown its certificate, and by address, where certificates
        // have names. A name that stands for several servers is resolved anew at every attempt.
        .ignore_discovered_servers()
        .max_reconnects(None)
        .reconnect_delay_callback(move |attempt| {
            // The servers of a first connection are tried without a pause: somebody waits.
            if was_connected.load(Ordering::Relaxed) { pause(attempt) } else { Duration::ZERO }
        })
}

/// Somewhere in the upper half of a bound that doubles from 50 ms.
fn pause(attempt: usize) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    let bound = Duration::from_millis(50 << doublings).min(RECONNECT_PAUSE_MAX);
    let mut random = [0; 4];
    // Without random numbers the pause is the longest.
    if SystemRandom::new().fill(&mut random).is_err() {
        return bound;
    }
    let share = f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX);
    (bound / 2).mul_f64(1.0 + share)
}

/// Whether every file is there and is what it must be, because the client's own errors do not name them.
fn check_files(config: &Config) -> Result<(), ConnectError> {
    if let Some(path) = &config.credentials {
        credentials::answer(path, b"")
            .map_err(|error| ConnectError::Credentials { path: path.clone(), problem: error.to_string() })?;
    }
    let Tls { ca, cert, key } = &config.tls;
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| unusable(path, "certificates", &error))?;
        }
    }
    match (cert, key) {
        (None, None) => Ok(()),
        (Some(path), None) => Err(ConnectError::Half { path: path.clone(), missing: "key" }),
        (None, Some(path)) => Err(ConnectError::Half { path: path.clone(), missing: "certificate" }),
        (Some(cert), Some(key)) => {
            let chain = certificates(cert)?;
            let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| not_pem(key, "private key", error))?;
            let pair = ClientConfig::builder().with_root_certificates(roots).with_client_auth_cert(chain, secret);
            pair.map(drop).map_err(|error| unusable(key, "private key of the certificate", &error))
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    const WHAT: &str = "certificates";
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| not_pem(path, WHAT, error))?;
    if certificates.is_empty() {
        return Err(unusable(path, WHAT, &"there is none in it"));
    }
    Ok(certificates)
}

fn not_pem(path: &Path, what: &'static str, error: pem::Error) -> ConnectError {
    match error {
        pem::Error::Io(source) => ConnectError::File { path: path.to_owned(), what, source },
        pem::Error::NoItemsFound => unusable(path, what, &"there is none in it"),
        // Its text may quote the file.
        _ => unusable(path, what, &"it is not PEM"),
    }
}

fn unusable(path: &Path, what: &'static str, problem: &dyn std::fmt::Display) -> ConnectError {
    let source = io::Error::new(io::ErrorKind::InvalidData, problem.to_string());
    ConnectError::File { path: path.to_owned(), what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        for (attempt, least, most) in
            [(1, 25, 50), (2, 50, 100), (4, 200, 400), (9, 1000, 2000), (usize::MAX, 1000, 2000)]
        {
            let pauses: Vec<Duration> = (0..50).map(|_| pause(attempt)).collect();
            let range = Duration::from_millis(least)..=Duration::from_millis(most);
            assert!(pauses.iter().all(|pause| range.contains(pause)), "attempt {attempt}: {pauses:?}");
            assert!(pauses.iter().any(|pause| *pause != pauses[0]), "attempt {attempt}: all the same");
        }
    }
}
