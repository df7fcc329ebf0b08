//! The secret that sidecars share, and the keys of months that are made of it and of a salt.

use std::fmt;
use std::path::Path;

use ring::{hkdf, hmac};

use super::SECRET_BYTES;
use crate::evidence::checkpoint::origin;
use crate::evidence::files::{At, Cause, read_small};
use crate::evidence::id::{Instance, YearMonth};

/// Sets these keys apart from all else that could ever be made of the secret.
const PURPOSE: &[u8] = b"consentd evidence month key 1\n";

/// What the keys of months are made of, together with the salt of each: one for all that ship to one stream.
#[derive(Clone)]
pub(in crate::evidence) struct SharedSecret([u8; SECRET_BYTES]);

impl SharedSecret {
    /// The secret in a file of 32 bytes.
    pub(in crate::evidence) fn load(path: &Path) -> Result<Self, Cause> {
        match read_small(path).at("read the shared secret of evidence", path)? {
            None => {
                Err(Cause::new(format!("the shared secret of evidence `{}` is missing; put it there", path.display())))
            }
            Some(bytes) => <[u8; SECRET_BYTES]>::try_from(bytes.as_slice()).map(Self).map_err(|_| {
                let (path, length) = (path.display(), bytes.len());
                Cause::new(format!(
                    "the shared secret of evidence `{path}` has {length} bytes instead of {SECRET_BYTES}"
                ))
            }),
        }
    }

    /// The key of an instance's month: HKDF-SHA-256 of the secret and the month's salt. Source: RFC 5869.
    pub(super) fn month_key(
        &self,
        instance: Instance,
        month: YearMonth,
        salt: &[u8; SECRET_BYTES],
    ) -> Option<hmac::Key> {
        let name = origin(instance, month);
        let whose = [PURPOSE, name.as_bytes()];
        let pseudorandom = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(&self.0);
        pseudorandom.expand(&whose, hmac::HMAC_SHA256).ok().map(hmac::Key::from)
    }

    #[cfg(test)]
    pub(in crate::evidence) const fn of(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSecret").finish_non_exhaustive()
    }
}
