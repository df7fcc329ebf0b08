//! SPIFFE ids, as certificates and configurations have them.

use std::fmt;
use std::str::FromStr;

/// What every id begins with.
const SCHEME: &str = "spiffe://";
/// The longest id, in bytes. Source: SPIFFE-ID, 2.3.
const ID_BYTES_MAX: usize = 2048;
/// The longest trust domain, in bytes. Source: SPIFFE-ID, 2.1.
const TRUST_DOMAIN_BYTES_MAX: usize = 255;
/// The end of a pattern that takes in everything below a path.
const ALL_BELOW: &str = "/*";

/// The id of a workload, such as `spiffe://example.org/ns/mail/sa/sender`.
///
/// Source: SPIFFE-ID, 2. It is compared byte by byte: nothing in it is case-folded, decoded or shortened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId(String);

/// One id, or all below a path: `spiffe://example.org/ns/mail/*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffePattern {
    id: SpiffeId,
    all_below: bool,
}

/// Why a text is no SPIFFE id. Does not repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeIdError {
    /// It begins otherwise.
    #[error("must begin with `spiffe://`")]
    Scheme,
    /// The trust domain has other characters, or is too long or empty.
    #[error("must name a trust domain of a-z, 0-9, `.`, `-` and `_`, without port or user")]
    TrustDomain,
    /// A segment of the path has other characters, or is empty or relative.
    #[error("must have path segments of letters, digits, `.`, `-` and `_`, none empty, `.` or `..`")]
    Path,
    /// It is too long.
    #[error("must not be longer than 2048 bytes")]
    Length,
}

impl SpiffeId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, SpiffeIdError> {
        if text.len() > ID_BYTES_MAX {
            return Err(SpiffeIdError::Length);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(SpiffeIdError::Scheme)?;
        let (trust_domain, path) = rest.split_once('/').map_or((rest, None), |(domain, path)| (domain, Some(path)));
        let in_domain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        if !(1..=TRUST_DOMAIN_BYTES_MAX).contains(&trust_domain.len()) || !trust_domain.bytes().all(in_domain) {
            return Err(SpiffeIdError::TrustDomain);
        }
        let in_path = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let is_segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(in_path);
        if path.is_some_and(|path| !path.split('/').all(is_segment)) {
            return Err(SpiffeIdError::Path);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl SpiffePattern {
    /// Whether an id is the one, or below the path.
    #[must_use]
    pub fn matches(&self, id: &SpiffeId) -> bool {
        let rest = id.0.strip_prefix(&self.id.0);
        rest.is_some_and(|rest| if self.all_below { rest.starts_with('/') } else { rest.is_empty() })
    }

    /// How closely it tells one id from others: of two that match, the one that ranks higher is meant.
    #[must_use]
    pub const fn rank(&self) -> (bool, usize) {
        (!self.all_below, self.id.0.len())
    }
}

impl FromStr for SpiffePattern {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, SpiffeIdError> {
        let above = text.strip_suffix(ALL_BELOW);
        Ok(Self { id: above.unwrap_or(text).parse()?, all_below: above.is_some() })
    }
}

impl fmt::Display for SpiffePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.id, if self.all_below { ALL_BELOW } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_as_the_standard_has_them() {
        for id in ["spiffe://example.org", "spiffe://example.org/ns/mail/sa/Sender_1", "spiffe://a/.b/..c"] {
            assert_eq!(id.parse::<SpiffeId>().map(|id| id.0).as_deref(), Ok(id));
        }
        let longest = format!("spiffe://a/{}", "b".repeat(ID_BYTES_MAX - 11));
        assert!(longest.parse::<SpiffeId>().is_ok());
        for (wrong, why) in [
            ("", SpiffeIdError::Scheme),
            ("SPIFFE://example.org/a", SpiffeIdError::Scheme),
            ("https://example.org/a", SpiffeIdError::Scheme),
            ("spiffe://", SpiffeIdError::TrustDomain),
            ("spiffe:///a", SpiffeIdError::TrustDomain),
            ("spiffe://Example.org/a", SpiffeIdError::TrustDomain),
            ("spiffe://example.org:443/a", SpiffeIdError::TrustDomain),
            ("spiffe://me@example.org/a", SpiffeIdError::TrustDomain),
            ("spiffe://example.org?a", SpiffeIdError::TrustDomain),
            ("spiffe://example.org/", SpiffeIdError::Path),
            ("spiffe://example.org/a/", SpiffeIdError::Path),
            ("spiffe://example.org//a", SpiffeIdError::Path),
            ("spiffe://example.org/a/../b", SpiffeIdError::Path),
            ("spiffe://example.org/./b", SpiffeIdError::Path),
            ("spiffe://example.org/a%2fb", SpiffeIdError::Path),
            ("spiffe://example.org/a#b", SpiffeIdError::Path),
            ("spiffe://example.org/ä", SpiffeIdError::Path),
            ("spiffe://example.org/*", SpiffeIdError::Path),
        ] {
            assert_eq!(wrong.parse::<SpiffeId>(), Err(why), "{wrong}");
        }
        assert_eq!(format!("{longest}c").parse::<SpiffeId>(), Err(SpiffeIdError::Length));
        assert_eq!(format!("spiffe://{}", "a".repeat(256)).parse::<SpiffeId>(), Err(SpiffeIdError::TrustDomain));
    }

    #[test]
    fn a_pattern_takes_in_one_id_or_all_below_a_path() {
        let pattern = |text: &str| text.parse::<SpiffePattern>().expect("a pattern");
        let id = |text: &str| text.parse::<SpiffeId>().expect("an id");
        let mail = pattern("spiffe://example.org/ns/mail/*");
        assert!(mail.matches(&id("spiffe://example.org/ns/mail/sa/sender")));
        for other in [
            "spiffe://example.org/ns/mail",
            "spiffe://example.org/ns/mailer/sa/sender",
            "spiffe://example.org.evil/ns/mail/sa/sender",
            "spiffe://other.org/ns/mail/sa/sender",
        ] {
            assert!(!mail.matches(&id(other)), "{other}");
        }
        let one = pattern("spiffe://example.org/a");
        assert!(one.matches(&id("spiffe://example.org/a")));
        assert!(!one.matches(&id("spiffe://example.org/a/b")));
        assert!(!one.matches(&id("spiffe://example.org/ab")));
        assert!(pattern("spiffe://example.org/*").matches(&id("spiffe://example.org/a")));
        assert!(!pattern("spiffe://example.org/*").matches(&id("spiffe://example.org.evil/a")));
        assert!(one.rank() > mail.rank() && mail.rank() > pattern("spiffe://example.org/ns/*").rank());
        assert!("spiffe://example.org/a*".parse::<SpiffePattern>().is_err());
        assert!("spiffe://*".parse::<SpiffePattern>().is_err());
    }
}
