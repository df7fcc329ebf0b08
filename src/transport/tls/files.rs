//! The contents of the files, read at one time and told from others.

use std::fmt::Display;
use std::path::Path;

use ring::digest::{Context, SHA256};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Tls, TlsError};

/// What the files are called where something is wrong with one.
const CERT: &str = "certificate";
pub(super) const KEY: &str = "private key";
pub(super) const CLIENT_CA: &str = "certificates of the callers' authorities";
/// The largest file, in bytes: a bundle of all public authorities takes a fifth of it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The contents.
pub(super) struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// Tells contents from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transport) struct Fingerprint([u8; 32]);

impl Files {
    /// Reads them.
    pub(super) fn read(tls: &Tls) -> Result<Self, TlsError> {
        let client_ca = tls.client_ca_file.as_deref().map(|path| read(CLIENT_CA, path)).transpose()?;
        Ok(Self { cert: read(CERT, &tls.cert_file)?, key: read(KEY, &tls.key_file)?, client_ca })
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        let mut context = Context::new(&SHA256);
        for file in [&self.cert, &self.key, self.client_ca.as_ref().unwrap_or(&Vec::new())] {
            context.update(&file.len().to_le_bytes());
            context.update(file);
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Fingerprint(bytes)
    }

    /// Our certificate, then those above it.
    pub(super) fn chain(&self, tls: &Tls) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        certificates(CERT, &tls.cert_file, &self.cert)
    }

    pub(super) fn key(&self, tls: &Tls) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| not_pem(KEY, &tls.key_file, &error))
    }

    /// The authorities of callers, with their file.
    pub(super) fn client_authorities<'a>(
        &self,
        tls: &'a Tls,
    ) -> Result<Option<(&'a Path, Vec<CertificateDer<'static>>)>, TlsError> {
        let Some((path, bytes)) = tls.client_ca_file.as_deref().zip(self.client_ca.as_deref()) else {
            return Ok(None);
        };
        Ok(Some((path, certificates(CLIENT_CA, path, bytes)?)))
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    use std::io::Read as _;
    let unreadable = |source| TlsError::Unreadable { what, path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(unusable(what, path, &"it is larger than 1 MiB"));
    }
    Ok(bytes)
}

fn certificates(what: &'static str, path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let found = read.map_err(|error| not_pem(what, path, &error))?;
    if found.is_empty() {
        return Err(unusable(what, path, &"there is no certificate in it"));
    }
    Ok(found)
}

fn not_pem(what: &'static str, path: &Path, error: &pem::Error) -> TlsError {
    match error {
        pem::Error::NoItemsFound => unusable(what, path, &format_args!("there is no {what} in it")),
        // Its own text may quote the file.
        _ => unusable(what, path, &"it is not PEM"),
    }
}

pub(super) fn unusable(what: &'static str, path: &Path, problem: &dyn Display) -> TlsError {
    TlsError::Unusable { what, path: path.to_owned(), problem: problem.to_string() }
}

pub(super) fn unusable_cert(tls: &Tls, problem: &dyn Display) -> TlsError {
    unusable(CERT, &tls.cert_file, problem)
}
