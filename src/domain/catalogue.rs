//! The published document of purposes and their rules, checked so that `decide` need not doubt it.

mod terms;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::text::{begins_with, fingerprint, same};
use super::words::LegalBasis;
use super::zone::Zone;

pub use terms::{
    Acceptance, GppRule, MinorRule, MinorTreatment, NoticeRule, NoticeVersion, Purpose, QuietHours, Regional, TcfRule,
    Terms, UnknownAge,
};

/// How old a view may be where neither purpose nor catalogue say: 30 s, well above a healthy follower's second and
/// well below what a subject who just withdrew would accept.
pub const DEFAULT_MAX_STALENESS: Duration = Duration::from_secs(30);
/// The longest purpose key, in bytes.
pub const PURPOSE_BYTES_MAX: usize = 128;
/// The longest channel key, in bytes.
pub const CHANNEL_BYTES_MAX: usize = 64;
/// The longest recipient, in bytes.
pub const RECIPIENT_BYTES_MAX: usize = 128;
/// The longest chain of purposes that require each other.
pub const REQUIRES_DEPTH_MAX: usize = 16;

/// A channel or recipient that stands for all.
pub const ANY: &str = "*";

/// A checked catalogue. See [`Catalogue::new`] for what is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    version: u64,
    title: Box<str>,
    channels: BTreeMap<Box<str>, Box<str>>,
    regions: Vec<Region>,
    recipients: Vec<Recipient>,
    /// By key.
    entries: Vec<Entry>,
    /// The fingerprint of each purpose's key, in order, and its place among the entries: every decision begins here.
    places: Vec<(u64, usize)>,
}

/// What a catalogue is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CatalogueParts {
    /// At least 1.
    pub version: u64,
    /// For people.
    pub title: Box<str>,
    /// Every channel that purposes may use, by key, with its title.
    pub channels: Vec<(Box<str>, Box<str>)>,
    /// The purposes.
    pub purposes: Vec<Purpose>,
    /// Groups of regions, and clocks of regions.
    pub regions: Vec<Region>,
    /// Third parties of which something is to be said.
    pub recipients: Vec<Recipient>,
}

/// A region's group or clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// A code of ISO 3166, or a group's name.
    pub key: Box<str>,
    /// For people.
    pub title: Box<str>,
    /// The codes of a group.
    pub members: Vec<Box<str>>,
    /// The time zone of a region that has one only.
    pub zone: Option<&'static Zone>,
}

/// A third party.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// As questions and records name it.
    pub key: Box<str>,
    /// For people.
    pub title: Box<str>,
    /// Its number in the TCF's Global Vendor List.
    pub tcf_vendor: Option<u16>,
}

/// A purpose as `decide` looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) purpose: Purpose,
    /// Every purpose that must be allowed for this one to be: what it requires, and what those require in turn, each
    /// once, the nearer before what it requires itself.
    pub(super) required: Vec<Box<str>>,
}

/// What is wrong with a catalogue, in words that name the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// Version 0 is "no catalogue".
    #[error("version: must be at least 1")]
    Version,
    /// There are no purposes.
    #[error("purposes: a catalogue without purposes denies everything; publish at least one")]
    NoPurposes,
    /// A key is malformed.
    #[error("{place}: `{key}` is not a key: {rule}")]
    Key {
        /// Where it stands.
        place: String,
        /// The key.
        key: String,
        /// What is allowed.
        rule: &'static str,
    },
    /// A key stands twice.
    #[error("{place}: `{key}` stands twice")]
    Twice {
        /// Where.
        place: &'static str,
        /// The key.
        key: String,
    },
    /// A purpose without a channel.
    #[error("purpose `{purpose}`: names no channel, so that it could never be allowed")]
    NoChannel {
        /// The purpose.
        purpose: String,
    },
    /// A purpose names a channel that the catalogue does not.
    #[error("purpose `{purpose}`: channel `{channel}` is not among the catalogue's channels")]
    UnknownChannel {
        /// The purpose.
        purpose: String,
        /// The channel.
        channel: String,
    },
    /// A purpose requires one that is not there.
    #[error("purpose `{purpose}`: requires `{required}`, which the catalogue does not name")]
    UnknownRequired {
        /// The purpose.
        purpose: String,
        /// What it requires.
        required: String,
    },
    /// Purposes require each other in a circle, or too deeply.
    #[error("purpose `{purpose}`: `requires` runs in a circle or more than {REQUIRES_DEPTH_MAX} deep")]
    RequiresCircle {
        /// A purpose on the circle.
        purpose: String,
    },
    /// A span of zero.
    #[error("purpose `{purpose}`: {field} must be longer than zero")]
    ZeroSpan {
        /// The purpose.
        purpose: String,
        /// The field.
        field: &'static str,
    },
    /// A special category under a basis that cannot carry it.
    #[error(
        "purpose `{purpose}`: a special category needs `EXPLICIT_CONSENT`, `LEGAL_OBLIGATION`, `VITAL_INTEREST` or \
         `PUBLIC_TASK` as its legal basis"
    )]
    SpecialCategory {
        /// The purpose.
        purpose: String,
    },
}

impl Catalogue {
    /// Checks and indexes a catalogue: well-formed unique keys, channels that exist, `requires` that exist and end,
    /// spans that are not zero.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn new(parts: CatalogueParts) -> Result<Self, CatalogueError> {
        let CatalogueParts { version, title, channels, purposes, regions, recipients } = parts;
        if version == 0 {
            return Err(CatalogueError::Version);
        }
        if purposes.is_empty() {
            return Err(CatalogueError::NoPurposes);
        }
        let mut known_channels = BTreeMap::new();
        for (key, title) in channels {
            check_channel("channels", &key)?;
            if known_channels.insert(key.clone(), title).is_some() {
                return Err(CatalogueError::Twice { place: "channels", key: key.into() });
            }
        }
        let mut known = BTreeMap::new();
        for purpose in purposes {
            purpose.check(&known_channels)?;
            if let Some(twice) = known.insert(purpose.key.clone(), purpose) {
                return Err(CatalogueError::Twice { place: "purposes", key: twice.key.into() });
            }
        }
        check_requires(&known)?;
        let required: Vec<_> = known.values().map(|purpose| all_required(purpose, &known)).collect();
        let mut places: Vec<_> = known.keys().map(|key| fingerprint(key)).zip(0..).collect();
        places.sort_unstable();
        let entries =
            known.into_values().zip(required).map(|(purpose, required)| Entry { purpose, required }).collect();
        Ok(Self { version, title, channels: known_channels, regions, recipients, entries, places })
    }

    /// The version, at least 1.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// For people.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The purpose with this key.
    #[must_use]
    pub fn purpose(&self, key: &str) -> Option<&Purpose> {
        self.entry(key).map(|entry| &entry.purpose)
    }

    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        let wanted = fingerprint(key);
        let first = self.places.partition_point(|(have, _)| *have < wanted);
        let alike = self.places.iter().skip(first).take_while(|(have, _)| *have == wanted);
        alike.filter_map(|(_, place)| self.entries.get(*place)).find(|entry| same(&entry.purpose.key, key))
    }

    /// All purposes, by key.
    pub fn purposes(&self) -> impl Iterator<Item = &Purpose> {
        self.entries.iter().map(|entry| &entry.purpose)
    }

    /// All channels, key and title, by key.
    pub fn channels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.channels.iter().map(|(key, title)| (&**key, &**title))
    }

    /// Groups of regions, and clocks of regions.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// Third parties of which something is said.
    #[must_use]
    pub fn recipients(&self) -> &[Recipient] {
        &self.recipients
    }

    /// Whether any purpose may use this channel.
    #[must_use]
    pub fn knows_channel(&self, key: &str) -> bool {
        self.channels.contains_key(key)
    }
}

fn check_requires(purposes: &BTreeMap<Box<str>, Purpose>) -> Result<(), CatalogueError> {
    for purpose in purposes.values() {
        for required in &purpose.terms.requires {
            if !purposes.contains_key(required) {
                return Err(CatalogueError::UnknownRequired {
                    purpose: purpose.key.to_string(),
                    required: required.to_string(),
                });
            }
        }
        // Levels of what is required, widest first: a circle never runs dry.
        let mut level: BTreeSet<&str> = BTreeSet::from([&*purpose.key]);
        for _ in 0..=REQUIRES_DEPTH_MAX {
            level = level
                .iter()
                .filter_map(|key| purposes.get(*key))
                .flat_map(|purpose| purpose.terms.requires.iter().map(|key| &**key))
                .collect();
        }
        if !level.is_empty() {
            return Err(CatalogueError::RequiresCircle { purpose: purpose.key.to_string() });
        }
    }
    Ok(())
}

/// Flattens `requires` once, because following it anew for each question visits a purpose as often as paths lead to it,
/// and their number grows by a power of the depth.
fn all_required(purpose: &Purpose, purposes: &BTreeMap<Box<str>, Purpose>) -> Vec<Box<str>> {
    let mut all: Vec<Box<str>> = Vec::new();
    let mut open: Vec<&str> = purpose.terms.requires.iter().rev().map(|key| &**key).collect();
    while let Some(key) = open.pop() {
        if all.iter().any(|have| **have == *key) {
            continue;
        }
        all.push(key.into());
        open.extend(purposes.get(key).into_iter().flat_map(|next| next.terms.requires.iter().rev().map(|key| &**key)));
    }
    all
}

impl Purpose {
    fn check(&self, channels: &BTreeMap<Box<str>, Box<str>>) -> Result<(), CatalogueError> {
        check_purpose("purposes", &self.key)?;
        let purpose = || self.key.to_string();
        if self.terms.channels.is_empty() {
            return Err(CatalogueError::NoChannel { purpose: purpose() });
        }
        if let Some(channel) = self.terms.channels.iter().find(|channel| !channels.contains_key(*channel)) {
            return Err(CatalogueError::UnknownChannel { purpose: purpose(), channel: channel.to_string() });
        }
        if self.terms.max_age.is_some_and(|span| span.is_zero()) {
            return Err(CatalogueError::ZeroSpan { purpose: purpose(), field: "max_age" });
        }
        if self.terms.max_staleness.is_zero() {
            return Err(CatalogueError::ZeroSpan { purpose: purpose(), field: "max_staleness" });
        }
        // Source: GDPR Art. 9(2), KVKK Art. 6(3): neither a plain consent, nor a contract, nor a legitimate interest.
        let too_weak = match self.terms.legal_basis {
            LegalBasis::Consent | LegalBasis::LegitimateInterest | LegalBasis::Contract => true,
            LegalBasis::ExplicitConsent
            | LegalBasis::LegalObligation
            | LegalBasis::VitalInterest
            | LegalBasis::PublicTask => false,
        };
        if self.terms.special_category && too_weak {
            return Err(CatalogueError::SpecialCategory { purpose: purpose() });
        }
        Ok(())
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn purpose(key: &str, requires: &[&str]) -> Purpose {
        let requires = requires.iter().map(|key| (*key).into()).collect();
        Purpose::new(key, Terms { channels: vec!["email".into()], requires, ..Terms::default() })
    }

    fn build(purposes: Vec<Purpose>) -> Result<Catalogue, CatalogueError> {
        let channels = vec![("email".into(), "".into())];
        Catalogue::new(CatalogueParts { version: 1, channels, purposes, ..CatalogueParts::default() })
    }

    #[test]
    fn an_ancestor_ends_at_a_dot() {
        assert!(is_self_or_ancestor("marketing", "marketing"));
        assert!(is_self_or_ancestor("marketing", "marketing.newsletter"));
        assert!(!is_self_or_ancestor("market", "marketing"));
        assert!(!is_self_or_ancestor("marketing.news", "marketing.newsletter"));
        assert!(!is_self_or_ancestor("marketing.newsletter", "marketing"));
    }

    #[test]
    fn circles_in_requires_are_refused() {
        assert!(build(vec![purpose("a", &["b"]), purpose("b", &[])]).is_ok());
        let circle = build(vec![purpose("a", &["b"]), purpose("b", &["a"])]);
        assert_eq!(circle, Err(CatalogueError::RequiresCircle { purpose: "a".to_owned() }));
        let own = build(vec![purpose("a", &["a"])]);
        assert_eq!(own, Err(CatalogueError::RequiresCircle { purpose: "a".to_owned() }));
        let missing = build(vec![purpose("a", &["b"])]);
        assert!(matches!(missing, Err(CatalogueError::UnknownRequired { .. })), "{missing:?}");
    }

    #[test]
    fn what_is_required_is_listed_once_however_many_paths_lead_to_it() {
        // Sixteen levels of three, each requiring the whole next level: tens of millions of paths, 48 purposes.
        let level = |depth: usize| ["a", "b", "c"].map(|name| format!("{name}{depth}"));
        let mut purposes = Vec::new();
        for depth in 0..16 {
            for key in level(depth) {
                let next = if depth == 15 { Vec::new() } else { level(depth + 1).to_vec() };
                purposes.push(purpose(&key, &next.iter().map(String::as_str).collect::<Vec<_>>()));
            }
        }
        let catalogue = build(purposes).expect("no circle");
        let required = &catalogue.entry("a0").expect("named").required;
        assert_eq!(required.len(), 45, "all below the first level");
        assert_eq!(required.first().map(|key| &**key), Some("a1"), "the nearer first");
        assert!(catalogue.entry("a15").expect("named").required.is_empty());
    }

    #[test]
    fn a_special_category_needs_a_ground_that_can_carry_it() {
        for basis in LegalBasis::ALL {
            let mut special = purpose("health", &[]);
            special.terms = Terms { special_category: true, legal_basis: *basis, ..special.terms };
            let weak = [LegalBasis::Consent, LegalBasis::LegitimateInterest, LegalBasis::Contract].contains(basis);
            assert_eq!(build(vec![special]).is_err(), weak, "{basis}");
        }
    }

    #[test]
    fn malformed_catalogues_are_refused() {
        let parts =
            |version| CatalogueParts { version, purposes: vec![purpose("a", &[])], ..CatalogueParts::default() };
        assert_eq!(Catalogue::new(parts(0)), Err(CatalogueError::Version));
        assert_eq!(build(vec![]), Err(CatalogueError::NoPurposes));
        assert_eq!(
            build(vec![purpose("a", &[]), purpose("a", &[])]),
            Err(CatalogueError::Twice { place: "purposes", key: "a".to_owned() })
        );
        for key in ["", ".", "a.", "a..b", "A", "a b", "*"] {
            assert!(build(vec![purpose(key, &[])]).is_err(), "`{key}` was taken");
        }
        let unknown = Catalogue::new(parts(1));
        assert!(matches!(unknown, Err(CatalogueError::UnknownChannel { .. })), "{unknown:?}");
    }
}
