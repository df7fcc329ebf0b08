//! The connection to the collector: made when something is sent, made anew when it was lost.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use super::Config;

/// How often a collector that owes an answer is asked whether it is there: without it a connection whose other end went
/// away in silence would be used for a quarter of an hour.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why no connection can ever be made.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The address of the collector.
    #[error("`{endpoint}` is not an address of a collector such as `http://127.0.0.1:4317`")]
    Endpoint {
        /// The address.
        endpoint: String,
        /// Why.
        source: tonic::transport::Error,
    },
    /// The authorities.
    #[error("cannot read the collector's authorities `{path}`")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There are none.
    #[error("there is no certificate in `{path}`; it must hold the collector's authorities in PEM")]
    NoAuthority {
        /// The file.
        path: PathBuf,
    },
}

/// Where to connect to, and how.
pub(super) fn endpoint(config: &Config) -> Result<Endpoint, LinkError> {
    let malformed = |source| LinkError::Endpoint { endpoint: config.endpoint.clone(), source };
    let mut endpoint = Endpoint::from_shared(config.endpoint.clone()).map_err(malformed)?;
    if config.endpoint.starts_with("https://") {
        endpoint = endpoint.tls_config(tls(config)?).map_err(malformed)?;
    }
    let endpoint = endpoint
        .user_agent(concat!("consentd/", env!("CARGO_PKG_VERSION")))
        .map_err(malformed)?
        .connect_timeout(config.timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    Ok(endpoint)
}

fn tls(config: &Config) -> Result<ClientTlsConfig, LinkError> {
    let Some(path) = &config.ca_file else { return Ok(ClientTlsConfig::new().with_native_roots()) };
    let pem = fs::read(path).map_err(|source| LinkError::Authorities { path: path.clone(), source })?;
    // What is in no certificate is passed over in silence, and then no certificate would be trusted.
    if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
        return Err(LinkError::NoAuthority { path: path.clone() });
    }
    Ok(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)))
}
