//! TLS to a sidecar: whom to believe, and what to show.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::cli::Failure;

/// The files of TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Tls {
    /// The authorities that are believed.
    pub(in crate::cli) ca: PathBuf,
    /// What is shown of us, and its key.
    pub(in crate::cli) shown: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// What connections to an address are made with.
    pub(super) fn connector(&self, address: &str) -> Result<Connector, Failure> {
        let mut roots = RootCertStore::empty();
        for authority in certificates(&self.ca)? {
            roots.add(authority).map_err(|error| unusable(&self.ca, &error))?;
        }
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = builder.with_root_certificates(roots);
        let mut config = match &self.shown {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
                let shown = builder.with_client_auth_cert(certificates(cert)?, secret);
                shown.map_err(|error| unusable(key, &error))?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?;
        Ok(Connector { tls: Arc::new(config).into(), name, address: address.to_owned() })
    }
}

/// Makes connections to one address.
#[derive(Clone)]
pub(super) struct Connector {
    tls: TlsConnector,
    name: ServerName<'static>,
    address: String,
}

impl Connector {
    pub(super) async fn connect(self) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        self.tls.connect(self.name, stream).await
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| unusable(path, &error))?;
    if found.is_empty() { Err(unusable(path, &"there is no certificate in it")) } else { Ok(found) }
}

fn unusable(path: &Path, problem: &dyn std::fmt::Display) -> Failure {
    Failure::new(format!("cannot use `{}`: {problem}", path.display()))
}
