//! How the replica names subjects: keyed hashes, so that the store holds no identifier.

use ring::hmac;

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
    fn hashes_depend_on_subject_and_secret() {
        let (one, other) = (SubjectHasher::new(&[1; 32]), SubjectHasher::new(&[2; 32]));
        assert_eq!(one.key("crm:42"), one.key("crm:42"));
        assert_ne!(one.key("crm:42"), one.key("crm:43"));
        assert_ne!(one.key("crm:42"), other.key("crm:42"));
        assert_ne!(one.check(), other.check());
    }
}
