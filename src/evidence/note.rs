//! Signed notes: a text, and lines that say who signed it. Source: C2SP signed-note.

use data_encoding::{BASE64, HEXLOWER};
use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};

use super::merkle::{Hash, sha256};

/// The signed-note number of Ed25519.
const ED25519_NOTE: u8 = 1;

/// The verifier key, as `note` verifiers take it: `<name>+<key id>+<key>`.
pub(super) fn vkey(name: &str, public: &[u8; 32]) -> String {
    let id = HEXLOWER.encode(&key_id(name, public));
    format!("{name}+{id}+{}", BASE64.encode(&[&[ED25519_NOTE], public.as_slice()].concat()))
}

/// A text that ends with a line feed, signed under a name.
pub(super) fn sign(body: &str, name: &str, pair: &Ed25519KeyPair, public: &[u8; 32]) -> String {
    let signature = pair.sign(body.as_bytes());
    let line = BASE64.encode(&[&key_id(name, public), signature.as_ref()].concat());
    format!("{body}\n— {name} {line}\n")
}

/// The text of a note, if it is signed under this name by this key; other signatures beside it do not matter.
pub(super) fn open(note: &str, name: &str, public: &[u8; 32]) -> Option<String> {
    let (text, signatures) = note.rsplit_once("\n\n")?;
    let body = format!("{text}\n");
    let is_signed = signatures.lines().any(|line| {
        let signature = line.strip_prefix("— ").and_then(|line| line.split_once(' '));
        let Some((signer, signature)) = signature else { return false };
        let Ok(bytes) = BASE64.decode(signature.as_bytes()) else { return false };
        let Some((id, signature)) = bytes.split_first_chunk::<4>() else { return false };
        signer == name
            && *id == key_id(name, public)
            && UnparsedPublicKey::new(&ED25519, public).verify(body.as_bytes(), signature).is_ok()
    });
    is_signed.then_some(body)
}

fn key_id(name: &str, public: &[u8; 32]) -> [u8; 4] {
    let digest: Hash = sha256(&[name.as_bytes(), b"\n", &[ED25519_NOTE], public]);
    digest.first_chunk().copied().unwrap_or_default()
}
