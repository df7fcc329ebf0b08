//! The salt of a month: the half of its key that an instance makes for itself, and that travels with its evidence.
//!
//! It is a signed note (`note`) under the name `consentd/<instance>/<YYYY-MM>/salt`, of three lines: that name, the 32
//! random bytes of the salt, and 8 bytes by which one secret is told from another, both in base64. Without the secret it
//! opens nothing; who destroys every copy of it destroys the month's key.

use data_encoding::BASE64;
use ring::hmac;

use super::SECRET_BYTES;
use super::secret::SharedSecret;
use crate::evidence::checkpoint::origin;
use crate::evidence::files::{At, Cause, Layout, make_dir, read_small, replace};
use crate::evidence::id::{Instance, YearMonth};
use crate::evidence::note;
use crate::evidence::tree::Signer;

/// A newline cannot stand in a subject, so that no tag is of this.
const CHECKED: &[u8] = b"consentd evidence month key check\n";
const CHECK_BYTES: usize = 8;

/// A salt whose signature was right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::evidence) struct Salt {
    instance: Instance,
    month: YearMonth,
    random: [u8; SECRET_BYTES],
    check: [u8; CHECK_BYTES],
    note: String,
}

impl Salt {
    /// A new salt of a month, and the key that it makes with a secret.
    pub(in crate::evidence) fn make(
        instance: Instance,
        month: YearMonth,
        random: [u8; SECRET_BYTES],
        secret: &SharedSecret,
        signer: &Signer,
    ) -> Option<(Self, hmac::Key)> {
        let key = secret.month_key(instance, month, &random)?;
        let check = check_of(&key);
        let name = name(instance, month);
        let note = signer.note(&body(&name, &random, check), &name);
        Some((Self { instance, month, random, check, note }, key))
    }

    /// Reads a note, if it is the salt of this month and signed by this key.
    pub(in crate::evidence) fn read(
        note: &str,
        instance: Instance,
        month: YearMonth,
        public: &[u8; 32],
    ) -> Option<Self> {
        let name = name(instance, month);
        let text = note::open(note, &name, public)?;
        let mut lines = text.lines().skip(1);
        let random = BASE64.decode(lines.next()?.as_bytes()).ok()?.try_into().ok()?;
        let check = BASE64.decode(lines.next()?.as_bytes()).ok()?.try_into().ok()?;
        let read = Self { instance, month, random, check, note: note.to_owned() };
        // Written back it must be the same text, with one signature and nothing after it: who passes a salt on cannot make
        // another of it.
        let signature = note.strip_prefix(&text)?.strip_prefix('\n')?.strip_suffix('\n')?;
        let is_whole = body(&name, &read.random, check) == text && !signature.contains(['\n', '\r']);
        is_whole.then_some(read)
    }

    /// The salt on disk; nothing if there is none.
    pub(in crate::evidence) fn load(
        layout: &Layout,
        instance: Instance,
        month: YearMonth,
        public: &[u8; 32],
    ) -> Result<Option<Self>, Cause> {
        let path = layout.salt(month);
        let Some(bytes) = read_small(&path).at("read", &path)? else { return Ok(None) };
        let note = std::str::from_utf8(&bytes).at("read", &path)?;
        Self::read(note, instance, month, public).map(Some).ok_or_else(|| {
            Cause::new(format!(
                "`{}` is not a salt of {month} that this log's key has signed; put it back as it was",
                path.display()
            ))
        })
    }

    /// Puts it on disk.
    pub(in crate::evidence) fn store(&self, layout: &Layout) -> Result<(), Cause> {
        let path = layout.salt(self.month);
        if let Some(dir) = path.parent() {
            make_dir(dir).at("make", dir)?;
        }
        replace(&path, self.note.as_bytes(), 0o600).at("write", &path)
    }

    /// The note, as it is stored and sent.
    pub(in crate::evidence) fn note(&self) -> &str {
        &self.note
    }

    /// The month's key; nothing if it was made of another secret.
    pub(super) fn key(&self, secret: &SharedSecret) -> Option<hmac::Key> {
        secret.month_key(self.instance, self.month, &self.random).filter(|key| check_of(key) == self.check)
    }
}

fn name(instance: Instance, month: YearMonth) -> String {
    format!("{}/salt", origin(instance, month))
}

fn body(name: &str, random: &[u8; SECRET_BYTES], check: [u8; CHECK_BYTES]) -> String {
    format!("{name}\n{}\n{}\n", BASE64.encode(random), BASE64.encode(&check))
}

fn check_of(key: &hmac::Key) -> [u8; CHECK_BYTES] {
    // INVARIANT: an HMAC-SHA-256 has 32 bytes.
    hmac::sign(key, CHECKED).as_ref().first_chunk().copied().unwrap_or_default()
}
