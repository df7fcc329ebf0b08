//! `consentd health`: whether a running sidecar is ready, or at least alive; for probes that run a command.
//!
//! An image without a shell has nothing else to look with, and a sidecar that listens on no TCP port cannot be looked at
//! from outside of it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Request;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::client::{self, Address, TlsFiles};
use super::{Failure, Outcome, say};
use crate::config::{Config, Sources, parse_duration};

/// The most that is read of an answer of the admin page: the causes of not being ready take a few hundred bytes.
const PAGE_BYTES_MAX: u64 = 16 << 10;

/// Look whether a sidecar is ready; exit with 0 if it is, 1 if it is not, 2 if it cannot be asked.
///
/// Without an address it is asked where the configuration says that it listens, as `serve` reads it from the environment:
/// on the Unix socket, else by TCP, else, where that speaks TLS, on the admin page.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The sidecar: `127.0.0.1:7311` or `unix:/path/to/socket`.
    #[arg(short, long)]
    address: Option<Address>,
    /// The same as `--address unix:PATH`.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["address", "tls_ca"])]
    uds: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsFiles,
    /// The configuration file of the sidecar, where it is not in the environment.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["address", "uds"])]
    config: Option<PathBuf>,
    /// Ask only whether it answers at all.
    #[arg(long)]
    live: bool,
    /// The longest to wait, from connecting to the answer.
    #[arg(long, default_value = "1s", value_parser = parse_duration)]
    timeout: Duration,
}

/// Who says how a sidecar is.
#[derive(Debug)]
enum Teller {
    /// gRPC's health service.
    Health(Address),
    /// The admin page.
    Admin(SocketAddr),
}

/// How a sidecar is.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Ready,
    /// With why, where that was told.
    NotReady(String),
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Outcome {
    let state = client::block_on(async {
        let teller = args.teller()?;
        let told = tokio::time::timeout(args.timeout, teller.ask(args.live)).await;
        told.unwrap_or_else(|_| Err(Failure::new(format!("{teller} gives no answer within {:?}", args.timeout))))
    })?;
    Ok(match state {
        _ if args.live => {
            say("alive");
            ExitCode::SUCCESS
        }
        State::Ready => {
            say("ready");
            ExitCode::SUCCESS
        }
        State::NotReady(why) => {
            say(format!("not ready\n{why}").trim_end());
            ExitCode::FAILURE
        }
    })
}

impl Args {
    fn teller(&self) -> Result<Teller, Failure> {
        if let Some(path) = &self.uds {
            return Ok(Teller::Health(Address::Uds(path.clone())));
        }
        if let Some(address) = &self.address {
            return Ok(Teller::Health(self.tls.spoken_to(address)));
        }
        let (server, admin) = Config::listeners(&Sources::of_process(self.config.clone(), Vec::new()))?;
        if let Some(path) = server.uds {
            return Ok(Teller::Health(Address::Uds(path)));
        }
        match (server.tcp, admin.tcp) {
            (Some(tcp), _) if server.tls.is_none() || self.tls.is_given() => {
                Ok(Teller::Health(self.tls.spoken_to(&Address::Tcp(reachable(tcp).to_string()))))
            }
            (_, Some(admin)) => Ok(Teller::Admin(reachable(admin))),
            _ => Err(Failure::new(
                "the sidecar speaks TLS, and has neither a Unix socket nor an admin page: give --address, with a name \
                 that is in its certificate, and --tls-ca",
            )),
        }
    }
}

/// The address by which what listens everywhere is reached from here.
fn reachable(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listening.port())
}

impl Teller {
    async fn ask(&self, live: bool) -> Result<State, Failure> {
        match self {
            Self::Health(address) => ask_health(address).await,
            Self::Admin(address) => ask_admin(*address, live).await,
        }
    }
}

impl std::fmt::Display for Teller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Health(address) => write!(f, "the sidecar at `{address}`"),
            Self::Admin(address) => write!(f, "the admin page at `{address}`"),
        }
    }
}

async fn ask_health(address: &Address) -> Result<State, Failure> {
    let mut client = HealthClient::new(client::channel(address).await?);
    let checked = client.check(Request::new(HealthCheckRequest::default())).await;
    let checked = checked.map_err(|status| {
        Failure::new(format!("`{address}` does not say how it is ({:?}): {}", status.code(), status.message()))
    })?;
    Ok(match checked.into_inner().status() {
        ServingStatus::Serving => State::Ready,
        ServingStatus::NotServing | ServingStatus::Unknown | ServingStatus::ServiceUnknown => {
            State::NotReady(String::new())
        }
    })
}

async fn ask_admin(address: SocketAddr, live: bool) -> Result<State, Failure> {
    let failed = |error: io::Error| {
        Failure::new(format!("cannot reach a sidecar at `{address}`: {error}; is `consentd serve` running there?"))
    };
    let mut stream = TcpStream::connect(address).await.map_err(failed)?;
    let path = if live { "/livez" } else { "/readyz" };
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut page = Vec::new();
    stream.take(PAGE_BYTES_MAX).read_to_end(&mut page).await.map_err(failed)?;
    read_page(&String::from_utf8_lossy(&page))
        .ok_or_else(|| Failure::new(format!("what answers at `{address}` is no sidecar's admin page")))
}

/// What an answer over HTTP says.
fn read_page(page: &str) -> Option<State> {
    let (head, body) = page.split_once("\r\n\r\n")?;
    match head.strip_prefix("HTTP/1.1 ")?.split(' ').next()? {
        "200" => Some(State::Ready),
        "503" => Some(State::NotReady(body.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_reached_on_the_loopback() {
        for (listening, wanted) in [
            ("0.0.0.0:7311", "127.0.0.1:7311"),
            ("[::]:7312", "[::1]:7312"),
            ("10.0.0.7:1", "10.0.0.7:1"),
            ("127.0.0.2:1", "127.0.0.2:1"),
        ] {
            assert_eq!(reachable(listening.parse().expect("an address")).to_string(), wanted);
        }
    }

    #[test]
    fn a_page_is_ready_or_not_or_none_of_ours() {
        assert_eq!(read_page("HTTP/1.1 200 OK\r\nx: y\r\n\r\nready\n"), Some(State::Ready));
        let not = read_page("HTTP/1.1 503 Service Unavailable\r\n\r\nledger: away\n");
        assert_eq!(not, Some(State::NotReady("ledger: away\n".to_owned())));
        for other in ["", "HTTP/1.1 200 OK", "HTTP/1.1 404 Not Found\r\n\r\n", "SSH-2.0\r\n\r\n"] {
            assert_eq!(read_page(other), None, "{other}");
        }
    }
}
