//! How subjects are named where they must not be known: keyed hashes, in the local store and in the subjects of NATS
//! messages.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read as _, Result, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::domain::SubjectKey;

/// Bytes of a secret.
pub const SECRET_BYTES: usize = 32;

/// Makes [`SubjectKey`]s under one secret.
///
/// The key protects the store only as far as it is kept from those who can read the store: identifiers such as phone
/// numbers are few enough to try them all.
#[derive(Debug, Clone)]
pub struct SubjectHasher {
    key: hmac::Key,
    check: [u8; 8],
    shared_check: [u8; 8],
}

impl SubjectHasher {
    /// A hasher under a secret of 32 random bytes.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        // A newline cannot stand in a subject, so that these collide with none.
        let check = truncated(&hmac::sign(&key, b"consentd replica\n"));
        let shared_check = truncated(&hmac::sign(&key, b"consentd shared ledger\n"));
        Self { key, check, shared_check }
    }

    /// The keyed hash of a subject's text `space:id`.
    #[must_use]
    pub fn key(&self, subject: &str) -> SubjectKey {
        SubjectKey(truncated(&hmac::sign(&self.key, subject.as_bytes())))
    }

    /// Tells one secret from another, without revealing it: kept beside what was made under the secret.
    #[must_use]
    pub const fn check(&self) -> [u8; 8] {
        self.check
    }

    /// As [`SubjectHasher::check`], for a ledger that everybody shares who has the secret. Another value, so that who
    /// reads a store's cannot look for that ledger.
    #[must_use]
    pub const fn shared_check(&self) -> [u8; 8] {
        self.shared_check
    }
}

/// The secret in a file of 32 bytes.
///
/// # Errors
/// If the file cannot be read, or has another length.
pub fn load_secret(path: &Path) -> Result<[u8; SECRET_BYTES]> {
    let mut secret = Vec::new();
    File::open(path)?.take(SECRET_BYTES as u64 + 1).read_to_end(&mut secret)?;
    secret.try_into().map_err(|_| Error::new(ErrorKind::InvalidData, "a key has exactly 32 bytes"))
}

/// The secret in a file of 32 bytes; made, for its owner only, where there is none.
///
/// # Errors
/// If the file cannot be read or made, or has another length.
pub fn load_or_make_secret(path: &Path) -> Result<[u8; SECRET_BYTES]> {
    match load_secret(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut secret = [0; SECRET_BYTES];
            SystemRandom::new().fill(&mut secret).map_err(|_| Error::other("the system gives no random bytes"))?;
            // Whole or not at all: half a key would name every subject anew at the next start.
            let partial = path.with_extension("partial");
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
            file.write_all(&secret)?;
            file.sync_all()?;
            std::fs::rename(&partial, path)?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
            Ok(secret)
        }
        loaded => loaded,
    }
}

fn truncated<const N: usize>(tag: &hmac::Tag) -> [u8; N] {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(tag.as_ref()) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_only_for_its_owner() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::TempDir::new().expect("a folder");
        let path = folder.path().join("subject.key");
        let made = load_or_make_secret(&path).expect("made");
        assert_eq!(load_or_make_secret(&path).expect("read"), made);
        assert_eq!(load_secret(&path).expect("read"), made);
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        for length in [0, 31, 33] {
            std::fs::write(&path, vec![1; length]).expect("written");
            assert!(load_or_make_secret(&path).is_err(), "{length} bytes were taken for a key");
        }
        let missing = load_secret(&folder.path().join("other.key")).expect_err("it is never made by reading");
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn hashes_depend_on_subject_and_secret() {
        let (one, other) = (SubjectHasher::new(&[1; 32]), SubjectHasher::new(&[2; 32]));
        assert_eq!(one.key("crm:42"), one.key("crm:42"));
        assert_ne!(one.key("crm:42"), one.key("crm:43"));
        assert_ne!(one.key("crm:42"), other.key("crm:42"));
        assert_ne!(one.check(), other.check());
        assert_ne!(one.shared_check(), other.shared_check());
        assert_ne!(one.check(), one.shared_check());
    }
}
