//! A purpose as `decide` looks at it: with its terms prepared, and with what it requires followed to the end.

use std::collections::BTreeMap;

use super::Region;
use super::combine::Applied;
use super::regions::RegionalTerms;
use super::terms::Purpose;
use crate::domain::text::same;

/// A purpose, prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::domain) struct Entry {
    pub(in crate::domain) purpose: Purpose,
    own: Applied,
    regional: Option<RegionalTerms>,
    /// The places of all purposes that it requires anywhere, and that those require in turn, each once, the nearer
    /// before what it requires itself.
    pub(in crate::domain) reach: Vec<usize>,
    /// Whether what is required depends on the region, here or further down.
    pub(in crate::domain) reach_varies: bool,
}

impl Entry {
    /// The terms where they are the same everywhere.
    pub(in crate::domain) const fn terms_everywhere(&self) -> Option<&Applied> {
        match self.regional {
            None => Some(&self.own),
            Some(_) => None,
        }
    }

    /// The terms that apply in these regions, repeated or empty ones included.
    pub(in crate::domain) fn terms_in<'r>(&self, regions: impl Iterator<Item = &'r str>) -> &Applied {
        let Some(regional) = &self.regional else { return &self.own };
        // Most records of a subject name the same region.
        let (mut parts, mut last) = (0, "");
        for region in regions.filter(|region| !region.is_empty()) {
            if !same(region, last) {
                parts |= regional.parts_in(region);
                last = region;
            }
        }
        // INVARIANT: a purpose with regional rules has at least its own terms prepared.
        regional.of_parts(parts).unwrap_or(&self.own)
    }
}

/// Prepares purposes that were checked, by key.
pub(super) fn entries(purposes: Vec<Purpose>, regions: &[Region]) -> Vec<Entry> {
    let mut purposes = purposes;
    purposes.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    let places: BTreeMap<&str, usize> = purposes.iter().map(|purpose| &*purpose.key).zip(0..).collect();
    let prepared: Vec<_> = purposes
        .iter()
        .map(|purpose| (Applied::of(0, &purpose.terms, &places), RegionalTerms::new(purpose, regions, &places)))
        .collect();
    let required: Vec<Vec<usize>> = purposes.iter().map(|purpose| required_anywhere(purpose, &places)).collect();
    let varies: Vec<bool> = purposes.iter().map(requires_vary).collect();
    let reaches: Vec<Vec<usize>> = required.iter().map(|nearest| reach(nearest, &required)).collect();
    let of_varying = |place: &usize| varies.get(*place).copied().unwrap_or(true);
    let reach_varies: Vec<bool> =
        reaches.iter().zip(0..).map(|(reach, own)| of_varying(&own) || reach.iter().any(of_varying)).collect();
    let rest = prepared.into_iter().zip(reaches.into_iter().zip(reach_varies));
    purposes
        .into_iter()
        .zip(rest)
        .map(|(purpose, ((own, regional), (reach, reach_varies)))| Entry {
            purpose,
            own,
            regional,
            reach,
            reach_varies,
        })
        .collect()
}

/// What a purpose requires under any of its terms.
fn required_anywhere(purpose: &Purpose, places: &BTreeMap<&str, usize>) -> Vec<usize> {
    let mut all = Vec::new();
    let regional = purpose.regional.iter().map(|rule| &rule.terms);
    for key in std::iter::once(&purpose.terms).chain(regional).flat_map(|terms| &terms.requires) {
        if let Some(place) = places.get(&**key).copied().filter(|place| !all.contains(place)) {
            all.push(place);
        }
    }
    all
}

fn requires_vary(purpose: &Purpose) -> bool {
    purpose.regional.iter().any(|rule| rule.terms.requires != purpose.terms.requires)
}

/// Follows `requires` once, because following it anew for each question visits a purpose as often as paths lead to it,
/// and their number grows by a power of the depth.
fn reach(nearest: &[usize], required: &[Vec<usize>]) -> Vec<usize> {
    let mut all: Vec<usize> = Vec::new();
    let mut open: Vec<usize> = nearest.iter().rev().copied().collect();
    while let Some(place) = open.pop() {
        if !all.contains(&place) {
            all.push(place);
            open.extend(required.get(place).into_iter().flat_map(|next| next.iter().rev().copied()));
        }
    }
    all
}
