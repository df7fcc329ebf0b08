//! The published document of purposes and their rules, checked so that `decide` need not doubt it.

mod check;
mod keys;
mod problem;
mod terms;

use std::collections::BTreeMap;
use std::time::Duration;

use super::text::{fingerprint, same};
use super::zone::Zone;

pub use keys::{ANY, check_channel, check_purpose, check_recipient, is_self_or_ancestor};
pub use problem::{CatalogueError, CatalogueProblem, CatalogueProblems};
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
/// The longest name of a region or a group, in bytes.
pub const REGION_BYTES_MAX: usize = 64;
/// The most regional rules of one purpose.
pub const REGIONAL_RULES_MAX: usize = 63;

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

impl Catalogue {
    /// Checks and indexes a catalogue: well-formed unique keys, channels and regions that exist, `requires` that exist
    /// and end, spans that are not zero.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn new(parts: CatalogueParts) -> Result<Self, CatalogueProblems> {
        CatalogueProblems::none_of(check::problems_of(&parts))?;
        let CatalogueParts { version, title, channels, purposes, regions, recipients } = parts;
        let known: BTreeMap<_, _> = purposes.into_iter().map(|purpose| (purpose.key.clone(), purpose)).collect();
        let required: Vec<_> = known.values().map(|purpose| all_required(purpose, &known)).collect();
        let mut places: Vec<_> = known.keys().map(|key| fingerprint(key)).zip(0..).collect();
        places.sort_unstable();
        let entries =
            known.into_values().zip(required).map(|(purpose, required)| Entry { purpose, required }).collect();
        Ok(Self { version, title, channels: channels.into_iter().collect(), regions, recipients, entries, places })
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

#[cfg(test)]
mod tests;
