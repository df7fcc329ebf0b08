//! TLS of the TCP listener: its files, and what is made of them.

mod files;
mod lifetime;
mod renewal;

use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig, SupportedProtocolVersion};

use files::Files;
pub(super) use files::Fingerprint;
pub(super) use lifetime::Lifetime;
pub(super) use renewal::Renewed;

/// What may be spoken over it. Clients of gRPC refuse a server that does not name it.
const HTTP_2: &[u8] = b"h2";
/// What may be spoken as well, where that is wanted.
const HTTP_1: &[u8] = b"http/1.1";

static VERSIONS_FROM_13: [&SupportedProtocolVersion; 1] = [&TLS13];
static VERSIONS_FROM_12: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// The files that TLS is made of, and how old it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Our certificate and those above it, in PEM.
    pub cert_file: PathBuf,
    /// Its private key, in PEM.
    pub key_file: PathBuf,
    /// The authorities of callers, in PEM; with them, whoever has no certificate of theirs is not spoken to.
    pub client_ca_file: Option<PathBuf>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// 1.2.
    V12,
    /// 1.3.
    V13,
}

/// Why there can be no TLS, naming the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("cannot read the {what} `{path}`: {source}")]
    Unreadable {
        /// What the file is to hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file does not hold what it must.
    #[error("cannot use the {what} `{path}`: {problem}")]
    Unusable {
        /// What the file is to hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why; quotes nothing of the file.
        problem: String,
    },
    /// Each is sound, and they do not belong together.
    #[error("the private key `{key}` is not that of the certificate `{cert}`")]
    Mismatch {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
}

/// What connections are begun with.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub(super) config: Arc<ServerConfig>,
    /// That of our certificate.
    pub(super) lifetime: Lifetime,
}

impl Tls {
    const fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        match self.min_version {
            TlsVersion::V12 => &VERSIONS_FROM_12,
            TlsVersion::V13 => &VERSIONS_FROM_13,
        }
    }

    /// Makes a server's settings of the files' contents.
    fn load(&self, files: &Files, http1: bool) -> Result<Loaded, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let chain = files.chain(self)?;
        let key = files.key(self)?;
        let lifetime = chain.first().and_then(|leaf| Lifetime::of(leaf));
        let lifetime = lifetime.ok_or_else(|| files::unusable_cert(self, &"when it ends cannot be read"))?;
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(self.versions());
        let builder = builder.map_err(|error| files::unusable_cert(self, &error))?;
        let builder = match files.client_authorities(self)? {
            None => builder.with_no_client_auth(),
            Some((path, authorities)) => {
                let mut roots = RootCertStore::empty();
                for authority in authorities {
                    roots.add(authority).map_err(|error| files::unusable(files::CLIENT_CA, path, &error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                let verifier = verifier.map_err(|error| files::unusable(files::CLIENT_CA, path, &error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::Mismatch { cert: self.cert_file.clone(), key: self.key_file.clone() }
            }
            // With a sound certificate it is the key that is of no use.
            error => files::unusable(files::KEY, &self.key_file, &error),
        })?;
        config.alpn_protocols = vec![HTTP_2.to_vec()];
        config.alpn_protocols.extend(http1.then(|| HTTP_1.to_vec()));
        // INVARIANT: no session is resumed. A resumed one would keep the identity of a certificate whose authority is not
        // trusted any more, and connections live long enough that nothing is lost.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Loaded { config: Arc::new(config), lifetime })
    }
}
