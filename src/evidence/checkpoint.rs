//! Signed tree heads. Source: C2SP tlog-checkpoint and signed-note.

use data_encoding::{BASE64, HEXLOWER};
use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};

use super::files::{At, Cause, Layout, read_small};
use super::id::{Instance, YearMonth};
use super::merkle::{Hash, sha256};

/// The signed-note number of Ed25519.
const ED25519_NOTE: u8 = 1;

/// The head of a month's tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// How many records it covers, from index 0.
    pub size: u64,
    /// The tree's root.
    pub root: [u8; 32],
}

/// The name of a month's tree, which is the name of its key too.
pub(super) fn origin(instance: Instance, month: YearMonth) -> String {
    format!("consentd/{instance}/{month}")
}

/// The verifier key, as `note` verifiers take it: `<name>+<key id>+<key>`.
pub(super) fn vkey(origin: &str, public: &[u8; 32]) -> String {
    let id = HEXLOWER.encode(&key_id(origin, public));
    format!("{origin}+{id}+{}", BASE64.encode(&[&[ED25519_NOTE], public.as_slice()].concat()))
}

fn key_id(name: &str, public: &[u8; 32]) -> [u8; 4] {
    let digest: Hash = sha256(&[name.as_bytes(), b"\n", &[ED25519_NOTE], public]);
    digest.first_chunk().copied().unwrap_or_default()
}

impl Checkpoint {
    fn body(&self, origin: &str) -> String {
        format!("{origin}\n{}\n{}\n", self.size, BASE64.encode(&self.root))
    }

    /// The signed note.
    pub(super) fn sign(&self, origin: &str, pair: &Ed25519KeyPair, public: &[u8; 32]) -> String {
        let body = self.body(origin);
        let signature = pair.sign(body.as_bytes());
        let line = BASE64.encode(&[&key_id(origin, public), signature.as_ref()].concat());
        format!("{body}\n— {origin} {line}\n")
    }

    /// Reads a signed note, if it is of this origin and signed by this key; other signatures beside it do not matter.
    pub(super) fn read(note: &str, origin: &str, public: &[u8; 32]) -> Option<Self> {
        let (text, signatures) = note.rsplit_once("\n\n")?;
        let body = format!("{text}\n");
        let signed = signatures.lines().any(|line| {
            let signature = line.strip_prefix("— ").and_then(|line| line.split_once(' '));
            let Some((name, signature)) = signature else { return false };
            let Ok(bytes) = BASE64.decode(signature.as_bytes()) else { return false };
            let Some((id, signature)) = bytes.split_first_chunk::<4>() else { return false };
            name == origin
                && *id == key_id(origin, public)
                && UnparsedPublicKey::new(&ED25519, public).verify(body.as_bytes(), signature).is_ok()
        });
        if !signed {
            return None;
        }
        let mut lines = body.lines();
        let (name, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let root: [u8; 32] = BASE64.decode(root.as_bytes()).ok()?.try_into().ok()?;
        let checkpoint = Self { size: size.parse().ok()?, root };
        // Written back it must be the same text: one body, one meaning.
        (name == origin && checkpoint.body(origin) == body).then_some(checkpoint)
    }

    /// A month's last checkpoint; nothing if none was signed yet.
    pub(super) fn load(
        layout: &Layout,
        instance: Instance,
        month: YearMonth,
        public: &[u8; 32],
    ) -> Result<Option<Self>, Cause> {
        let path = layout.checkpoint(month);
        let Some(bytes) = read_small(&path).at("read", &path)? else { return Ok(None) };
        let note = std::str::from_utf8(&bytes).at("read", &path)?;
        Self::read(note, &origin(instance, month), public)
            .map(Some)
            .ok_or_else(|| Cause::new(format!("the checkpoint `{}` is not signed by this log's key", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::KeyPair;

    use super::*;

    fn pair() -> (Ed25519KeyPair, [u8; 32]) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
        let public = pair.public_key().as_ref().try_into().expect("32 bytes");
        (pair, public)
    }

    #[test]
    fn notes_read_back_and_altered_ones_do_not() {
        let (pair, public) = pair();
        let checkpoint = Checkpoint { size: 42, root: [9; 32] };
        let note = checkpoint.sign("consentd/0123456789abcdef/2026-11", &pair, &public);
        let read = |note: &str| Checkpoint::read(note, "consentd/0123456789abcdef/2026-11", &public);
        assert_eq!(read(&note), Some(checkpoint));
        for (place, letter) in note.char_indices() {
            if letter == '\n' {
                continue;
            }
            let mut altered = note.clone();
            altered.replace_range(place..place + letter.len_utf8(), if letter == 'A' { "B" } else { "A" });
            assert_eq!(read(&altered), None, "altered at {place}");
        }
        assert_eq!(read(&note.replace("\n\n", "\nmore\n\n")), None);
        assert_eq!(Checkpoint::read(&note, "consentd/0123456789abcdef/2026-12", &public), None);
        // A witness may have signed beside us.
        assert_eq!(read(&format!("{note}— witness.example/1 AAAAAAAA\n")), Some(checkpoint));
    }
}
