//! The month's key, by which subjects become tags, and the key that signs checkpoints.

use std::path::Path;

use data_encoding::BASE64;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};

use super::files::{At, Cause, Layout, make_dir, read_small, replace};
use super::id::{Instance, YearMonth};
use crate::domain::Time;

/// Bytes of a subject's tag.
pub const TAG_BYTES: usize = 16;

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

    fn new(id: YearMonth, secret: &[u8]) -> Self {
        Self { id, ends: id.ends(), key: hmac::Key::new(hmac::HMAC_SHA256, secret) }
    }

    /// The month with the key on disk; nothing if its key was destroyed.
    pub(super) fn load(layout: &Layout, id: YearMonth) -> Result<Option<Self>, Cause> {
        let path = layout.key(id);
        match read_small(&path).at("read", &path)? {
            None => Ok(None),
            Some(secret) if secret.len() == 32 => Ok(Some(Self::new(id, &secret))),
            Some(secret) => {
                Err(Cause::new(format!("the key `{}` has {} bytes instead of 32", path.display(), secret.len())))
            }
        }
    }

    /// The month with the key on disk, made where there is none.
    pub(super) fn load_or_make(layout: &Layout, id: YearMonth) -> Result<Self, Cause> {
        if let Some(month) = Self::load(layout, id)? {
            return Ok(month);
        }
        let path = layout.key(id);
        let secret: [u8; 32] = random("make", &path)?;
        if let Some(dir) = path.parent() {
            make_dir(dir).at("make", dir)?;
        }
        // On the device before its first tag: a tag whose key is lost can never be found again.
        replace(&path, &secret, 0o600).at("write", &path)?;
        Ok(Self::new(id, &secret))
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
