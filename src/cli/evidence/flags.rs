//! The flags by which a command about evidence shows NATS servers who it is. Their variables are those of the keys by
//! which a sidecar does.

use std::path::PathBuf;

use crate::nats::{self, Servers};

/// How NATS servers are spoken to.
#[derive(Debug, clap::Args)]
pub(super) struct NatsFlags {
    /// A file that says who we are: NATS credentials, the seed of an nkey, `user:password`, or a token.
    #[arg(long, value_name = "FILE", env = "CONSENTD_EVIDENCE_SHIP_CREDS_FILE")]
    nats_creds: Option<PathBuf>,
    /// The authorities that the servers' certificates are signed by, PEM.
    #[arg(long, value_name = "FILE", env = "CONSENTD_EVIDENCE_SHIP_TLS_CA_FILE")]
    tls_ca: Option<PathBuf>,
    /// The certificate that is shown to the servers, PEM.
    #[arg(long, value_name = "FILE", env = "CONSENTD_EVIDENCE_SHIP_TLS_CERT_FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of that certificate, PEM.
    #[arg(long, value_name = "FILE", env = "CONSENTD_EVIDENCE_SHIP_TLS_KEY_FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

impl NatsFlags {
    /// A connection to these servers.
    pub(super) fn config(&self, servers: Servers) -> nats::Config {
        nats::Config {
            credentials: self.nats_creds.clone(),
            tls: nats::Tls { ca: self.tls_ca.clone(), cert: self.tls_cert.clone(), key: self.tls_key.clone() },
            ..nats::Config::new(servers)
        }
    }
}
