//! Texts that many states share, and how keys are compared.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A text that is cheap to clone: a purpose, a channel or a method stands in millions of records, and once in memory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Arc<str>);

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.0.as_ref().to_owned()
    }
}

impl Default for Text {
    fn default() -> Self {
        Self(Arc::from(""))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Whether two keys are the same. Keys have 5 to 30 bytes and a decision compares dozens: eight bytes at a time in place
/// cost a third of a call to the system's `memcmp`, which was a third of all time spent on a batch.
#[inline]
pub(super) fn same(one: &str, other: &str) -> bool {
    one.len() == other.len() && same_bytes(one.as_bytes(), other.as_bytes())
}

/// Whether a key begins with another.
#[inline]
pub(super) fn begins_with(key: &str, beginning: &str) -> bool {
    key.as_bytes().get(..beginning.len()).is_some_and(|head| same_bytes(head, beginning.as_bytes()))
}

/// Whether two slices of the same length are the same.
#[inline]
fn same_bytes(one: &[u8], other: &[u8]) -> bool {
    let ((words, rest), (other_words, other_rest)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    let equal = |(one, other): (&[u8; 8], &[u8; 8])| u64::from_ne_bytes(*one) == u64::from_ne_bytes(*other);
    words.iter().zip(other_words).all(equal) && rest.iter().zip(other_rest).all(|(one, other)| one == other)
}

/// A number that two different keys seldom share. Not for keys that an adversary chooses to collide: a collision costs
/// one more comparison.
#[inline]
pub(super) fn fingerprint(key: &str) -> u64 {
    // Source: the multiplier of splitmix64.
    const FACTOR: u64 = 0xBF58_476D_1CE4_E5B9;
    let (words, rest) = key.as_bytes().as_chunks::<8>();
    let mix = |sum: u64, word: u64| (sum ^ word).wrapping_mul(FACTOR).rotate_left(29);
    let sum = words.iter().fold(key.len() as u64, |sum, word| mix(sum, u64::from_le_bytes(*word)));
    mix(sum, rest.iter().fold(0, |word, byte| (word << 8) | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 9] = [
        "",
        "a",
        "b",
        "email",
        "marketing",
        "marketinG",
        "marketing.newsletter",
        "marketing.newsletter.weekly.and.longer",
        "marketing.newsletter.weekly.and.longes",
    ];

    #[test]
    fn keys_compare_as_texts_do() {
        for one in KEYS {
            for other in KEYS {
                assert_eq!(same(one, other), one == other, "`{one}` and `{other}`");
                assert_eq!(begins_with(one, other), one.starts_with(other), "`{one}` and `{other}`");
                assert_eq!(fingerprint(one) == fingerprint(other), one == other, "`{one}` and `{other}`");
            }
        }
    }
}
