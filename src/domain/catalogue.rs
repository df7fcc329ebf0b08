//! The published document of purposes and their rules, checked so that `decide` need not doubt it.

mod check;
mod combine;
mod entry;
mod keys;
mod problem;
mod regions;
mod terms;

use std::collections::BTreeMap;
use std::time::Duration;

use super::text::{fingerprint, same};
use super::zone::Zone;

pub(super) use combine::{Applied, Coverage};
pub(super) use entry::Entry;
pub(super) use keys::country;
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
    /// The clocks of regions, by region.
    zones: Vec<(Box<str>, &'static Zone)>,
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

impl Catalogue {
    /// Checks and indexes a catalogue: well-formed unique keys, channels and regions that exist, `requires` that exist
    /// and end, spans that are not zero.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn new(parts: CatalogueParts) -> Result<Self, CatalogueProblems> {
        CatalogueProblems::none_of(check::problems_of(&parts))?;
        let CatalogueParts { version, title, channels, purposes, regions, recipients } = parts;
        let zones: BTreeMap<_, _> =
            regions.iter().filter_map(|region| Some((region.key.clone(), region.zone?))).collect();
        let entries = entry::entries(purposes, &regions);
        let mut places: Vec<_> = entries.iter().map(|entry| fingerprint(&entry.purpose.key)).zip(0..).collect();
        places.sort_unstable();
        let channels = channels.into_iter().collect();
        let zones = zones.into_iter().collect();
        Ok(Self { version, title, channels, regions, recipients, zones, entries, places })
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

    /// The entry at a place, as [`Applied::requires`] names it.
    pub(super) fn entry_at(&self, place: usize) -> Option<&Entry> {
        self.entries.get(place)
    }

    /// The clock of a region: its own, or its country's.
    pub(super) fn zone_of(&self, region: &str) -> Option<&'static Zone> {
        let find = |name: &str| self.zones.iter().find(|(have, _)| same(have, name)).map(|(_, zone)| *zone);
        find(region).or_else(|| find(country(region)))
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

#[cfg(test)]
mod tests;
