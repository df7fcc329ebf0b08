//! Why there is no connection, in sentences that say what an operator does next.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use async_nats::ConnectErrorKind;
use async_nats::rustls::{self, AlertDescription, CertificateError};

use super::Config;

/// Why there is no connection. Holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A file of TLS cannot be used.
    #[error("`{}` cannot be used as {what}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// As what.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A certificate was given without its key, or a key without its certificate.
    #[error("`{}` is of no use alone; give its {missing} as well", path.display())]
    Half {
        /// Which was given.
        path: PathBuf,
        /// What was not.
        missing: &'static str,
    },
    /// The credentials cannot be used.
    #[error("the NATS credentials `{}` cannot be used: the file {problem}", path.display())]
    Credentials {
        /// Which.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// No server takes us.
    #[error("no connection to `{servers}`: {problem}")]
    Refused {
        /// Which servers.
        servers: String,
        /// Why, and what to do.
        problem: String,
    },
}

/// The sentence for what the client says.
pub(super) fn failure(config: &Config, error: &async_nats::ConnectError) -> ConnectError {
    let problem = tls_problem(config, error).unwrap_or_else(|| match error.kind() {
        ConnectErrorKind::Dns => "the name cannot be resolved; look at the address and the name service".to_owned(),
        ConnectErrorKind::TimedOut => format!(
            "no answer within {} s; is a NATS server there, and does a firewall let us through?",
            config.connect_timeout.as_secs_f64()
        ),
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => match &config.credentials {
            Some(path) => {
                format!("the server does not take the credentials `{}`; look whether they are its own", path.display())
            }
            None => "the server asks who we are; name a file of credentials".to_owned(),
        },
        ConnectErrorKind::ServerParse
        | ConnectErrorKind::Tls
        | ConnectErrorKind::Io
        | ConnectErrorKind::MaxReconnects => other_problem(error),
    });
    ConnectError::Refused { servers: config.servers.to_string(), problem }
}

fn other_problem(error: &async_nats::ConnectError) -> String {
    let refused = causes(error)
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if refused {
        return "nobody listens there; is the NATS server running?".to_owned();
    }
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// What went wrong with TLS, if that is what went wrong.
fn tls_problem(config: &Config, error: &async_nats::ConnectError) -> Option<String> {
    // TLS speaks through the error of a read or write, which may wrap it.
    let found = causes(error).find_map(|cause| {
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        inner.and_then(|inner| inner.downcast_ref()).or_else(|| cause.downcast_ref::<rustls::Error>())
    })?;
    let tls = &config.tls;
    Some(match found {
        // An authority of the same name with another key signs badly, as it seems from here.
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            match &tls.ca {
                Some(ca) => format!(
                    "the server's certificate is not signed by an authority in `{}`; look whether this is the server that \
                 is meant, and the file its authority's",
                    ca.display()
                ),
                None => {
                    "the server's certificate is not signed by an authority that this machine trusts; name the file \
                     with its authority's certificate"
                        .to_owned()
                }
            }
        }
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "the server's certificate has expired; renew it".to_owned()
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the server's certificate is not for the name in its address; write the address as the certificate does"
            .to_owned(),
        rustls::Error::AlertReceived(alert) => match (&tls.cert, alert) {
            (None, AlertDescription::CertificateRequired | AlertDescription::BadCertificate) => {
                "the server asks for a client's certificate; give one with its key".to_owned()
            }
            (Some(cert), alert) => format!(
                "the server does not take the certificate `{}` ({alert:?}); look whether it has expired, and whether \
                 its authority is one of the server's",
                cert.display()
            ),
            (None, alert) => format!("the server ended the TLS handshake ({alert:?})"),
        },
        rustls::Error::InvalidMessage(_) => {
            "the server does not speak TLS there; look at the port, or write `nats://` where that is meant".to_owned()
        }
        other => format!("TLS failed: {other}"),
    })
}

/// The error and what it came from.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}
