//! The month's key, by which subjects become tags, and the key that signs checkpoints.
//!
//! A month's key is of one of two kinds, for the whole of the month. It is random and never leaves; or it is made of a
//! salt, which is shipped with the month's evidence, and of a secret that sidecars share and that is never beside either.

mod places;
mod salt;
mod secret;
#[cfg(test)]
mod tests;

use std::path::Path;

use data_encoding::BASE64;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};

pub use places::{KeyPlaces, NoKey};
pub(super) use salt::Salt;
pub(super) use secret::SharedSecret;

use super::files::{At, Cause, Layout, make_dir, read_small, replace};
use super::id::{Instance, YearMonth};
use super::tree::Signer;
use crate::domain::Time;

/// Bytes of a subject's tag.
pub const TAG_BYTES: usize = 16;
/// Bytes of a month's own key, of a shared secret and of a salt.
const SECRET_BYTES: usize = 32;

/// What DER puts before the 32 bytes of an Ed25519 public key. Source: RFC 8410, section 4.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A month of evidence with the key that its subjects' tags are made under.
#[derive(Debug)]
pub struct Month {
    id: YearMonth,
    ends: Time,
    key: hmac::Key,
}

impl Month {
    /// Which month.
    #[must_use]
    pub const fn id(&self) -> YearMonth {
        self.id
    }

    /// The first moment after it.
    #[must_use]
    pub const fn ends(&self) -> Time {
        self.ends
    }

    /// The tag of a subject, given as `space:id`: HMAC-SHA-256 under the month's key, cut to 16 bytes.
    #[must_use]
    pub fn tag(&self, subject_text: &str) -> [u8; TAG_BYTES] {
        let tag = hmac::sign(&self.key, subject_text.as_bytes());
        // INVARIANT: an HMAC-SHA-256 has 32 bytes.
        tag.as_ref().first_chunk().copied().unwrap_or_default()
    }

    fn new(id: YearMonth, key: hmac::Key) -> Self {
        Self { id, ends: id.ends(), key }
    }

    /// The month with a key of its own on disk; nothing if there is none.
    fn load(layout: &Layout, id: YearMonth) -> Result<Option<Self>, Cause> {
        let path = layout.key(id);
        match read_small(&path).at("read", &path)? {
            None => Ok(None),
            Some(key) if key.len() == SECRET_BYTES => Ok(Some(Self::of_own_key(id, &key))),
            Some(key) => Err(Cause::new(format!(
                "the key `{}` has {} bytes instead of {SECRET_BYTES}",
                path.display(),
                key.len()
            ))),
        }
    }

    fn of_own_key(id: YearMonth, key: &[u8]) -> Self {
        Self::new(id, hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The month with the key that its salt and a secret make.
    fn of_salt(layout: &Layout, id: YearMonth, salt: &Salt, secret: &SharedSecret) -> Result<Self, Cause> {
        salt.key(secret).map(|key| Self::new(id, key)).ok_or_else(|| {
            Cause::new(format!(
                "the key of {id} was made of another shared secret than the one given: `{}` says so; give the secret \
                 with which the month was begun",
                layout.salt(id).display()
            ))
        })
    }
}

/// Who begins months.
#[derive(Debug)]
pub(super) struct Owner<'a> {
    pub(super) layout: &'a Layout,
    pub(super) instance: Instance,
    pub(super) signer: &'a Signer,
    /// What the keys of new months are made of; nothing where each has its own.
    pub(super) secret: Option<&'a SharedSecret>,
}

impl Owner<'_> {
    /// The month with the key that it was begun with, made where there is none.
    pub(super) fn month(&self, id: YearMonth) -> Result<Month, Cause> {
        let Self { layout, instance, signer, secret } = *self;
        if let Some(month) = Month::load(layout, id)? {
            if secret.is_some() {
                tracing::warn!(
                    month = %id,
                    "this month was begun with a key of its own and keeps it; the shared secret opens the next one"
                );
            }
            return Ok(month);
        }
        match (Salt::load(layout, instance, id, signer.public())?, secret) {
            (Some(salt), Some(secret)) => Month::of_salt(layout, id, &salt, secret),
            (Some(_), None) => Err(Cause::new(format!(
                "the key of {id} is made of `{}` and a shared secret, and there is none; set evidence.key_file as it was \
                 when the month was begun",
                layout.salt(id).display()
            ))),
            (None, Some(secret)) => self.begin_shared(id, secret),
            (None, None) => self.begin_own(id),
        }
    }

    fn begin_own(&self, id: YearMonth) -> Result<Month, Cause> {
        let path = self.layout.key(id);
        let key: [u8; SECRET_BYTES] = random("make", &path)?;
        if let Some(dir) = path.parent() {
            make_dir(dir).at("make", dir)?;
        }
        // On the device before its first tag: a tag whose key is lost can never be found again.
        replace(&path, &key, 0o600).at("write", &path)?;
        Ok(Month::of_own_key(id, &key))
    }

    fn begin_shared(&self, id: YearMonth, secret: &SharedSecret) -> Result<Month, Cause> {
        let random = random("make", &self.layout.salt(id))?;
        let (salt, key) = Salt::make(self.instance, id, random, secret, self.signer)
            .ok_or_else(|| Cause::new(format!("no key of {id} can be made of the shared secret")))?;
        // As above: on the device before the first tag.
        salt.store(self.layout)?;
        Ok(Month::new(id, key))
    }
}

/// Reads the directory's instance; nothing if it has none yet.
pub(super) fn load_instance(layout: &Layout) -> Result<Option<Instance>, Cause> {
    let path = layout.instance();
    let Some(bytes) = read_small(&path).at("read", &path)? else { return Ok(None) };
    let text = std::str::from_utf8(&bytes).at("read", &path)?;
    text.trim_end().parse().map(Some).at("read", &path)
}

/// The directory's instance, made where there is none.
pub(super) fn load_or_make_instance(layout: &Layout) -> Result<Instance, Cause> {
    if let Some(instance) = load_instance(layout)? {
        return Ok(instance);
    }
    if !layout.months()?.is_empty() {
        return Err(Cause::new(format!(
            "the log has segments but `{}` is missing, which names them",
            layout.instance().display()
        )));
    }
    let path = layout.instance();
    let instance = Instance(random("make", &path)?);
    replace(&path, format!("{instance}\n").as_bytes(), 0o644).at("write", &path)?;
    Ok(instance)
}

/// The key that signs checkpoints, made where there is none.
pub(super) fn load_or_make_signing(layout: &Layout) -> Result<Ed25519KeyPair, Cause> {
    let path = layout.signing_key();
    let der = if let Some(der) = read_small(&path).at("read", &path)? {
        der
    } else if layout.signing_pub().exists() {
        // A new key would not be the one that everybody was given, and would hide that the old one is gone.
        return Err(Cause::new(format!(
            "the signing key `{}` is missing while its public key is there; put it back from a backup",
            path.display()
        )));
    } else {
        let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).at("make", &path)?;
        replace(&path, pair.as_ref(), 0o600).at("write", &path)?;
        pair.as_ref().to_vec()
    };
    let pair = Ed25519KeyPair::from_pkcs8(&der).at("read", &path)?;
    let public = pair.public_key().as_ref();
    if load_public(layout)?.is_none() {
        let pem = public_pem(public);
        let path = layout.signing_pub();
        replace(&path, pem.as_bytes(), 0o644).at("write", &path)?;
    }
    match load_public(layout)? {
        Some(stored) if stored == public => Ok(pair),
        _ => Err(Cause::new(format!(
            "`{}` is not the public key of `{}`",
            layout.signing_pub().display(),
            path.display()
        ))),
    }
}

/// The public key that checkpoints are verified with; nothing if there is none yet.
pub(super) fn load_public(layout: &Layout) -> Result<Option<[u8; 32]>, Cause> {
    let path = layout.signing_pub();
    if path.exists() { read_public_file(&path).map(Some) } else { Ok(None) }
}

/// An Ed25519 public key in PEM.
pub(super) fn read_public_file(path: &Path) -> Result<[u8; 32], Cause> {
    let bytes = std::fs::read(path).at("read", path)?;
    read_public(&bytes).ok_or_else(|| Cause::new(format!("`{}` is not an Ed25519 public key in PEM", path.display())))
}

/// An Ed25519 public key as PEM.
pub(super) fn public_pem(public: &[u8]) -> String {
    let spki = BASE64.encode(&[&SPKI_PREFIX, public].concat());
    format!("-----BEGIN PUBLIC KEY-----\n{spki}\n-----END PUBLIC KEY-----\n")
}

fn read_public(pem: &[u8]) -> Option<[u8; 32]> {
    let text = std::str::from_utf8(pem).ok()?;
    let body = text.trim().strip_prefix("-----BEGIN PUBLIC KEY-----")?.strip_suffix("-----END PUBLIC KEY-----")?;
    let der = BASE64.decode(body.trim().as_bytes()).ok()?;
    der.strip_prefix(&SPKI_PREFIX)?.try_into().ok()
}

fn random<const N: usize>(deed: &str, path: &Path) -> Result<[u8; N], Cause> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).at(deed, path)?;
    Ok(bytes)
}
