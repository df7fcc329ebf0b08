//! Which terms of a purpose apply where: prepared when the catalogue is built, looked up for each question.

use std::collections::{BTreeMap, BTreeSet};

use super::Region;
use super::combine::Applied;
use super::keys::{country, is_code};
use super::terms::Purpose;

/// Combinations of any two sets of terms are prepared where there are at most so many sets; beyond, the combination of
/// all terms stands for each, which is never laxer. 32 sets are 496 pairs.
const SETS_WITH_PAIRS_MAX: usize = 32;

/// The purpose's own terms among the parts.
const OWN: u64 = 1;

/// The terms of a purpose that differ by region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RegionalTerms {
    /// Every region of which something is said, by name.
    regions: Vec<(Box<str>, Parts)>,
    /// By their parts; the last are all.
    prepared: Vec<Applied>,
}

/// The parts that apply in a region, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Parts {
    /// Everywhere in it.
    throughout: u64,
    /// There, and in any place within it: what applies where no more than this is known.
    somewhere: u64,
}

impl RegionalTerms {
    /// Prepares the terms of a purpose; `None` where they are the same everywhere.
    pub(super) fn new(purpose: &Purpose, groups: &[Region], places: &BTreeMap<&str, usize>) -> Option<Self> {
        if purpose.regional.is_empty() {
            return None;
        }
        let regions = regions(purpose, groups);
        let own = std::iter::once(&purpose.terms);
        let all_terms = own.chain(purpose.regional.iter().map(|rule| &rule.terms));
        let parts: Vec<Applied> = (0..).zip(all_terms).map(|(part, terms)| Applied::of(part, terms, places)).collect();
        let all = parts.iter().fold(0, |bits, part| bits | part.parts);
        let sets: BTreeSet<u64> =
            regions.iter().flat_map(|(_, parts)| [parts.throughout, parts.somewhere]).chain([OWN]).collect();
        let mut wanted = sets.clone();
        if sets.len() <= SETS_WITH_PAIRS_MAX {
            wanted.extend(sets.iter().flat_map(|one| sets.iter().map(move |other| one | other)));
        }
        wanted.insert(all);
        let combined = |set: &u64| {
            let of_set = parts.iter().filter(|part| part.parts & set != 0).cloned();
            of_set.reduce(Applied::and)
        };
        // INVARIANT: by their parts, and all of them is the greatest number.
        let prepared: Vec<Applied> = wanted.iter().filter_map(combined).collect();
        Some(Self { regions, prepared })
    }

    /// The parts that apply in a region. What is no code at all is not known to be anywhere, so that all apply.
    pub(in crate::domain) fn parts_in(&self, region: &str) -> u64 {
        if let Some(parts) = self.find(region) {
            return parts.somewhere;
        }
        if !is_code(region) {
            return u64::MAX;
        }
        self.find(country(region)).map_or(OWN, |parts| parts.throughout)
    }

    /// The combination of these parts: all of them where they are none, or were not prepared.
    pub(in crate::domain) fn of_parts(&self, parts: u64) -> Option<&Applied> {
        let found = self.prepared.binary_search_by_key(&parts, |applied| applied.parts).ok();
        found.and_then(|place| self.prepared.get(place)).or(self.prepared.last())
    }

    fn find(&self, region: &str) -> Option<Parts> {
        let found = self.regions.binary_search_by(|(name, _)| (**name).cmp(region)).ok();
        found.and_then(|place| self.regions.get(place)).map(|(_, parts)| *parts)
    }
}

/// Every region that a rule names or that lies in a group, with what applies there.
fn regions(purpose: &Purpose, groups: &[Region]) -> Vec<(Box<str>, Parts)> {
    let by_rules = purpose.regional.iter().flat_map(|rule| &rule.regions);
    let by_groups = groups.iter().flat_map(|group| group.members.iter().chain([&group.key]));
    let mut names: BTreeSet<&str> = by_rules.chain(by_groups).map(|name| &**name).collect();
    names.extend(names.clone().into_iter().map(country));
    let throughout = |name: &str| {
        let rules = (1..).zip(&purpose.regional);
        let matching = rules.filter(|(_, rule)| rule.regions.iter().any(|region| holds_in(region, name, groups)));
        let parts = matching.fold(0, |bits, (part, _)| bits | (1_u64 << part));
        if parts == 0 { OWN } else { parts }
    };
    let of_each = names.iter().map(|name| {
        let within = names.iter().filter(|inner| holds_in(name, inner, groups));
        let somewhere = within.fold(0, |bits, inner| bits | throughout(inner));
        let parts = Parts { throughout: throughout(name), somewhere };
        ((*name).into(), parts)
    });
    of_each.collect()
}

/// Whether what is said of one region holds in another: it is the same, its country, or a group of either.
fn holds_in(region: &str, name: &str, groups: &[Region]) -> bool {
    let is_either = |member: &str| member == name || member == country(name);
    is_either(region)
        || groups.iter().any(|group| *group.key == *region && group.members.iter().any(|member| is_either(member)))
}
