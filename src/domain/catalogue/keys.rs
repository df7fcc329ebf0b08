//! What a key may look like, and which purposes lie above which.

use super::{CHANNEL_BYTES_MAX, CatalogueError, PURPOSE_BYTES_MAX, RECIPIENT_BYTES_MAX, REGION_BYTES_MAX};
use crate::domain::question::is_jurisdiction;
use crate::domain::text::begins_with;

/// A channel or recipient that stands for all.
pub const ANY: &str = "*";

/// Whether a text can be a purpose's key: words of a-z, 0-9, `_` and `-`, joined by single dots.
///
/// # Errors
/// If it cannot, naming the place it was found at.
pub fn check_purpose(place: &str, key: &str) -> Result<(), CatalogueError> {
    let ok = key.len() <= PURPOSE_BYTES_MAX && key.split('.').all(is_word);
    ok.then_some(()).ok_or_else(|| CatalogueError::Key {
        place: place.to_owned(),
        key: key.to_owned(),
        rule: "words of a-z, 0-9, `_` and `-`, joined by single dots, at most 128 bytes",
    })
}

/// Whether a text can be a channel's key: one word of a-z, 0-9, `_` and `-`.
///
/// # Errors
/// If it cannot, naming the place it was found at.
pub fn check_channel(place: &str, key: &str) -> Result<(), CatalogueError> {
    let ok = key.len() <= CHANNEL_BYTES_MAX && is_word(key);
    ok.then_some(()).ok_or_else(|| CatalogueError::Key {
        place: place.to_owned(),
        key: key.to_owned(),
        rule: "a word of a-z, 0-9, `_` and `-`, at most 64 bytes",
    })
}

/// Whether a text can name a recipient: at most 128 bytes without control characters or spaces; empty is the controller.
///
/// # Errors
/// If it cannot, naming the place it was found at.
pub fn check_recipient(place: &str, recipient: &str) -> Result<(), CatalogueError> {
    let ok = recipient.len() <= RECIPIENT_BYTES_MAX
        && recipient.chars().all(|c| !c.is_control() && !c.is_whitespace())
        && (recipient == ANY || !recipient.contains('*'));
    ok.then_some(()).ok_or_else(|| CatalogueError::Key {
        place: place.to_owned(),
        key: recipient.to_owned(),
        rule: "at most 128 bytes without spaces or control characters; `*` stands alone",
    })
}

/// Whether a text can name a region or a group of regions: letters, digits, `_` and `-`.
pub(super) fn check_region(place: &str, key: &str) -> Result<(), CatalogueError> {
    let ok = !key.is_empty()
        && key.len() <= REGION_BYTES_MAX
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    ok.then_some(()).ok_or_else(|| CatalogueError::Key {
        place: place.to_owned(),
        key: key.to_owned(),
        rule: "letters, digits, `_` and `-`, at most 64 bytes",
    })
}

/// Whether a text is a code of ISO 3166: a country, or one of its subdivisions.
pub(super) fn is_code(region: &str) -> bool {
    !region.is_empty() && is_jurisdiction(region)
}

/// The country of a subdivision's code; the code itself where it is a country's.
pub(in crate::domain) fn country(code: &str) -> &str {
    code.split_once('-').map_or(code, |(country, _)| country)
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
}

/// Whether `ancestor` is this purpose or one above it: a dot starts a child, a mere prefix does not.
#[must_use]
pub fn is_self_or_ancestor(ancestor: &str, purpose: &str) -> bool {
    // Where the ancestor ends is looked at first: that is cheap, and tells almost all purposes apart.
    let ends_well = ancestor.len() == purpose.len() || purpose.as_bytes().get(ancestor.len()) == Some(&b'.');
    ends_well && begins_with(purpose, ancestor)
}
