//! NATS servers: the one place that opens connections to them, and what a stream must be to keep what it acknowledged.
//!
//! Owns the servers' addresses, credentials, TLS, the settings of a stream that loses nothing, and the sentences that tell
//! an operator what is wrong. Must not know what streams are for: no subjects, no events, no evidence.
//!
//! Invariants:
//! - Credentials and certificates are read from their files at every attempt, so that what was renewed is used, and no
//!   secret is kept here, printed, or part of an error.
//! - Where TLS is asked for, nothing is sent without it, whatever a server says.
//! - Only the servers that the operator named are connected to.

mod causes;
mod connect;
mod credentials;
mod explain;
mod fault;
mod flush;
mod servers;
mod stream;

use std::path::PathBuf;
use std::time::Duration;

pub use causes::with_causes;
pub use connect::connect;
pub use explain::ConnectError;
pub use fault::Fault;
pub use flush::{Flush, FlushError, flushes};
pub use servers::{Servers, ServersError};
pub use stream::{KeptStream, Seen, StreamError};

/// The longest time for one attempt, handshakes included: 5 s, enough for a TLS handshake across continents.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time for an answer: 5 s. A cluster that lost a leader has another within 10, so that what gets no answer
/// is worth asking a second time.
pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a connection is asked whether it lives: 2 s. Without an answer to two of them it is given up, so that a
/// connection whose other end vanished does not stand in the way of a new one for longer than 6 s.
pub const PING_INTERVAL: Duration = Duration::from_secs(2);

/// Which servers, and how they are spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where they are.
    pub servers: Servers,
    /// A file that says who we are: NATS credentials (`.creds`), the seed of an nkey, `user:password`, or a token. Told
    /// by what it holds.
    pub credentials: Option<PathBuf>,
    /// Certificates.
    pub tls: Tls,
    /// By which name the server knows this connection; shown in its monitoring.
    pub name: String,
    /// The longest time for one attempt to connect.
    pub connect_timeout: Duration,
    /// The longest time for an answer to a request.
    pub request_timeout: Duration,
}

/// The files of TLS, in PEM. Any of them asks for TLS, as a `tls://` address does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// Certificates of the authorities that the server's certificate may be signed by. Left out: those of the system.
    pub ca: Option<PathBuf>,
    /// The client's certificate, with those between it and its authority.
    pub cert: Option<PathBuf>,
    /// The client's private key.
    pub key: Option<PathBuf>,
}

impl Config {
    /// Servers that are spoken to in the default way.
    #[must_use]
    pub fn new(servers: Servers) -> Self {
        Self {
            servers,
            credentials: None,
            tls: Tls::default(),
            name: "consentd".to_owned(),
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            request_timeout: DEFAULT_REQUEST_TIMEOUT,
        }
    }

    /// Whether every connection must be TLS.
    #[must_use]
    pub fn requires_tls(&self) -> bool {
        self.servers.are_tls() || self.tls != Tls::default()
    }
}
