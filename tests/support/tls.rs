//! Authorities and certificates of a test's own, and TLS as a client speaks it.

#![allow(dead_code, reason = "each test file takes what it needs")]
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::missing_panics_doc, reason = "tests may fail loudly")]

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use tonic::transport::{Channel, Endpoint};

/// The beginning of that year, in Unix seconds.
pub(crate) const YEAR_2050: u64 = 2_524_608_000;

/// Who signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// The files of a server, in a folder.
pub(crate) struct Files {
    folder: PathBuf,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority"))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server's certificate, good until a time, in Unix seconds.
    pub(crate) fn server_until(&self, unix_seconds: u64) -> Pair {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("names");
        params.subject_alt_names.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(unix_seconds);
        self.sign(&params)
    }

    pub(crate) fn server(&self) -> Pair {
        self.server_until(YEAR_2050)
    }

    /// A workload's certificate, as SPIRE makes it: with these URIs and no other name.
    pub(crate) fn client(&self, uris: &[&str]) -> Pair {
        let mut params = CertificateParams::default();
        params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().expect("ASCII"))));
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.0).expect("signed").pem();
        Pair { cert, key: key.serialize_pem() }
    }
}

impl Files {
    /// Writes a server's files into a folder that is made if need be.
    pub(crate) fn write(folder: PathBuf, own: &Pair, callers: Option<&Authority>) -> Self {
        std::fs::create_dir_all(&folder).expect("made");
        let files = Self { folder };
        std::fs::write(files.cert(), &own.cert).expect("written");
        std::fs::write(files.key(), &own.key).expect("written");
        if let Some(callers) = callers {
            std::fs::write(files.client_ca(), callers.pem()).expect("written");
        }
        files
    }

    pub(crate) fn cert(&self) -> PathBuf {
        self.folder.join("tls.crt")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.join("tls.key")
    }

    pub(crate) fn client_ca(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// The settings that name them.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let text = |path: PathBuf| path.to_str().expect("UTF-8").to_owned();
        let mut settings = vec![("server.tls_cert_file", text(self.cert())), ("server.tls_key_file", text(self.key()))];
        if self.client_ca().exists() {
            settings.push(("server.tls_client_ca_file", text(self.client_ca())));
        }
        settings
    }
}

/// Settings as tests hand them on.
pub(crate) fn borrowed<'a>(
    settings: &'a [(&'static str, String)],
    more: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    settings.iter().map(|(key, value)| (*key, value.as_str())).chain(more.iter().copied()).collect()
}

/// A client that believes an authority, and shows a certificate.
pub(crate) fn client(believed: &Authority, shown: Option<&Pair>, versions: Versions) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(believed.pem().as_bytes()).expect("PEM")).expect("an authority");
    let versions: &[_] = match versions {
        Versions::Newest => &[&TLS13],
        Versions::Only12 => &[&TLS12],
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()));
    let builder = builder.with_protocol_versions(versions).expect("known").with_root_certificates(roots);
    let mut config = match shown {
        None => builder.with_no_client_auth(),
        Some(Pair { cert, key }) => {
            let cert = CertificateDer::from_pem_slice(cert.as_bytes()).expect("PEM");
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
            builder.with_client_auth_cert(vec![cert], key).expect("a pair")
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// The versions of TLS that a client speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Versions {
    Newest,
    Only12,
}

/// A handshake.
pub(crate) async fn shake_hands(address: SocketAddr, config: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(config).connect(ServerName::try_from("localhost").expect("a name"), stream).await
}

/// A connection that gRPC is spoken over.
pub(crate) async fn connect(
    address: SocketAddr,
    believed: &Authority,
    shown: Option<&Pair>,
) -> Result<Channel, tonic::transport::Error> {
    let config = Arc::new(client(believed, shown, Versions::Newest));
    let connect = move |_| {
        let config = Arc::clone(&config);
        async move { shake_hands(address, config).await.map(TokioIo::new) }
    };
    Endpoint::from_static("http://localhost").connect_with_connector(tower::service_fn(connect)).await
}

/// Puts a folder's files in place of another's in one step, as Kubernetes does with volumes: by turning a link.
pub(crate) fn turn_link(link: &Path, to: &Path) {
    let fresh = link.with_extension("fresh");
    std::os::unix::fs::symlink(to, &fresh).expect("linked");
    std::fs::rename(&fresh, link).expect("turned");
}
