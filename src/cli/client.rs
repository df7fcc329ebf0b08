//! How commands reach a running sidecar.

mod tls;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::Failure;
use crate::proto::v1::enforcement_service_client::EnforcementServiceClient;
use tls::Tls;

/// Where `serve` answers when nothing else is said.
pub(super) const DEFAULT_ADDRESS: &str = "127.0.0.1:7311";
/// Time for a connection on this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Where a sidecar answers, as flags say it.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Sidecar {
    /// The sidecar: `127.0.0.1:7311` or `unix:/path/to/socket`.
    #[arg(short, long, default_value = DEFAULT_ADDRESS)]
    address: Address,
    #[command(flatten)]
    tls: TlsFiles,
}

/// How TLS is spoken to a sidecar, as flags say it.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct TlsFiles {
    /// Speak TLS to it: the authorities that its certificate is signed by, in PEM.
    #[arg(id = "tls_ca", long = "tls-ca", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The certificate to show it, in PEM.
    #[arg(id = "tls_cert", long = "tls-cert", value_name = "FILE", requires = "tls_ca", requires = "tls_key")]
    cert: Option<PathBuf>,
    /// The key of that certificate, in PEM.
    #[arg(id = "tls_key", long = "tls-key", value_name = "FILE", requires = "tls_cert")]
    key: Option<PathBuf>,
}

impl Sidecar {
    /// The files of TLS: authorities, certificate, key.
    pub(super) fn tls_files(&self) -> [Option<PathBuf>; 3] {
        let TlsFiles { ca, cert, key } = &self.tls;
        [ca.clone(), cert.clone(), key.clone()]
    }

    /// The address, and how it is spoken to.
    pub(super) fn address(&self) -> Address {
        self.tls.spoken_to(&self.address)
    }
}

impl TlsFiles {
    /// An address, and how it is spoken to.
    pub(super) fn spoken_to(&self, address: &Address) -> Address {
        match (address, &self.ca) {
            (Address::Tcp(address), Some(ca)) => {
                let shown = self.cert.clone().zip(self.key.clone());
                Address::Tls(address.clone(), Tls { ca: ca.clone(), shown })
            }
            (address, _) => address.clone(),
        }
    }

    /// Whether TLS is to be spoken.
    pub(super) const fn is_given(&self) -> bool {
        self.ca.is_some()
    }
}

/// Where a sidecar answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// `host:port`.
    Tcp(String),
    /// The same, spoken to in TLS.
    Tls(String, Tls),
    /// `unix:/path`.
    Uds(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Uds(path.into()));
        }
        let address = text.strip_prefix("http://").unwrap_or(text);
        match address.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(Self::Tcp(address.to_owned())),
            _ => Err("write it as `host:port` or `unix:/path/to/socket`".to_owned()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) | Self::Tls(address, _) => f.write_str(address),
            Self::Uds(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A client of the sidecar at an address.
pub(super) async fn connect(address: &Address) -> Result<EnforcementServiceClient<Channel>, Failure> {
    Ok(EnforcementServiceClient::new(channel(address).await?))
}

/// A connection to the sidecar at an address.
pub(super) async fn channel(address: &Address) -> Result<Channel, Failure> {
    channel_with(address, |endpoint| endpoint).await
}

/// A connection with settings of its own.
pub(super) async fn channel_with(
    address: &Address,
    settings: impl FnOnce(Endpoint) -> Endpoint,
) -> Result<Channel, Failure> {
    let failed = |error: tonic::transport::Error| {
        let error = Failure::from(error);
        Failure::new(format!("cannot reach a sidecar at `{address}`: {error}; is `consentd serve` running there?"))
    };
    match address {
        Address::Tcp(address) => {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(failed)?;
            settings(endpoint).connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true).connect().await.map_err(failed)
        }
        Address::Tls(address, tls) => {
            let connector = tls.connector(address)?;
            let connect = move |_: Uri| {
                let connecting = connector.clone().connect();
                async move { connecting.await.map(TokioIo::new) }
            };
            let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(failed)?;
            let endpoint = settings(endpoint).connect_timeout(CONNECT_TIMEOUT);
            endpoint.connect_with_connector(tower::service_fn(connect)).await.map_err(failed)
        }
        Address::Uds(path) => {
            let path = path.clone();
            let connect = move |_: Uri| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            };
            // The name is only there because a request must carry one.
            let endpoint = Endpoint::from_static("http://localhost");
            settings(endpoint).connect_with_connector(tower::service_fn(connect)).await.map_err(failed)
        }
    }
}

/// What a status says, for a person.
pub(super) fn failure(status: &tonic::Status) -> Failure {
    Failure::new(format!("the sidecar gave no answer ({:?}): {}; treat this as DENY", status.code(), status.message()))
}

/// Runs a client's work on a runtime of its own.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_tcp_or_unix() {
        assert_eq!("127.0.0.1:7311".parse(), Ok(Address::Tcp("127.0.0.1:7311".to_owned())));
        assert_eq!("http://localhost:1".parse(), Ok(Address::Tcp("localhost:1".to_owned())));
        assert_eq!("unix:/run/c.sock".parse(), Ok(Address::Uds("/run/c.sock".into())));
        for wrong in ["", "7311", ":7311", "localhost", "localhost:http"] {
            assert!(wrong.parse::<Address>().is_err(), "`{wrong}` was taken");
        }
    }
}
