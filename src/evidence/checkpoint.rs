//! Signed tree heads. Source: C2SP tlog-checkpoint and signed-note.

use data_encoding::BASE64;
use ring::signature::Ed25519KeyPair;

use super::files::{At, Cause, Layout, read_small};
use super::id::{Instance, YearMonth};
use super::note;
pub(super) use super::note::vkey;

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

impl Checkpoint {
    fn body(&self, origin: &str) -> String {
        format!("{origin}\n{}\n{}\n", self.size, BASE64.encode(&self.root))
    }

    /// The signed note.
    pub(super) fn sign(&self, origin: &str, pair: &Ed25519KeyPair, public: &[u8; 32]) -> String {
        note::sign(&self.body(origin), origin, pair, public)
    }

    /// Reads a signed note, if it is of this origin and signed by this key; other signatures beside it do not matter.
    pub(super) fn read(note: &str, origin: &str, public: &[u8; 32]) -> Option<Self> {
        let body = note::open(note, origin, public)?;
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
