//! How the replica names subjects: keyed hashes, so that the store holds no identifier.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read as _, Result, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::domain::SubjectKey;

/// Makes [`SubjectKey`]s under one secret.
///
/// The key protects the store only as far as it is kept from those who can read the store: identifiers such as phone
/// numbers are few enough to try them all.
#[derive(Debug, Clone)]
pub struct SubjectHasher {
    key: hmac::Key,
    check: [u8; 8],
}

impl SubjectHasher {
    /// A hasher under a secret of 32 random bytes.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        // A newline cannot stand in a subject, so that this collides with none.
        let check = truncated(&hmac::sign(&key, b"consentd replica\n"));
        Self { key, check }
    }

    /// The keyed hash of a subject's text `space:id`.
    #[must_use]
    pub fn key(&self, subject: &str) -> SubjectKey {
        SubjectKey(truncated(&hmac::sign(&self.key, subject.as_bytes())))
    }

    /// Tells one secret from another, without revealing it.
    pub(super) const fn check(&self) -> [u8; 8] {
        self.check
    }
}

/// The secret in a file of 32 bytes; made, for its owner only, where there is none.
///
/// # Errors
/// If the file cannot be read or made, or has another length.
pub fn load_or_make_secret(path: &Path) -> Result<[u8; 32]> {
    match File::open(path) {
        Ok(file) => {
            let mut secret = Vec::new();
            file.take(33).read_to_end(&mut secret)?;
            secret.try_into().map_err(|_| Error::new(ErrorKind::InvalidData, "a key has exactly 32 bytes"))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut secret = [0; 32];
            SystemRandom::new().fill(&mut secret).map_err(|_| Error::other("the system gives no random bytes"))?;
            // Whole or not at all: half a key would name every subject anew at the next start.
            let partial = path.with_extension("partial");
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
            file.write_all(&secret)?;
            file.sync_all()?;
            std::fs::rename(&partial, path)?;
            Ok(secret)
        }
        Err(error) => Err(error),
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
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        for length in [0, 31, 33] {
            std::fs::write(&path, vec![1; length]).expect("written");
            assert!(load_or_make_secret(&path).is_err(), "{length} bytes were taken for a key");
        }
    }

    #[test]
    fn hashes_depend_on_subject_and_secret() {
        let (one, other) = (SubjectHasher::new(&[1; 32]), SubjectHasher::new(&[2; 32]));
        assert_eq!(one.key("crm:42"), one.key("crm:42"));
        assert_ne!(one.key("crm:42"), one.key("crm:43"));
        assert_ne!(one.key("crm:42"), other.key("crm:42"));
        assert_ne!(one.check(), other.check());
    }
}
