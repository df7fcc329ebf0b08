//! Which terms apply where, read off the catalogue with plain loops.

use std::collections::BTreeSet;

use consentd::domain::catalogue::Region;
use consentd::domain::{Purpose, Status, Terms};

use crate::random::Asked;
use crate::reference::{Left, Said, agrees, find, touches};

/// Numbers of terms: 0 for the purpose's own, n for its n-th regional rule.
type Set = BTreeSet<usize>;

/// The terms of a purpose that apply to the question, in the catalogue's order.
pub(crate) fn those_that_apply<'a>(
    asked: &'a Asked,
    left: &Left<'_>,
    key: &str,
    purpose: &'a Purpose,
) -> Vec<&'a Terms> {
    let groups = asked.catalogue.as_ref().expect("the purpose is in it").regions();
    let all: Set = (0..=purpose.regional.len()).collect();
    let mut chosen = Set::new();
    let codes = codes(asked, left, key);
    for code in &codes {
        chosen.extend(for_code(purpose, groups, code));
    }
    if codes.is_empty() || !is_prepared(purpose, groups, &chosen) {
        chosen = all;
    }
    chosen
        .into_iter()
        .map(|number| if number == 0 { &purpose.terms } else { &purpose.regional[number - 1].terms })
        .collect()
}

/// Where the question says that the subject is, and where it was when it was last asked and when it last agreed.
fn codes<'a>(asked: &'a Asked, left: &Left<'a>, key: &str) -> BTreeSet<&'a str> {
    let mut codes = BTreeSet::from([&*asked.jurisdiction]);
    for said in left.said.iter().filter(|said| touches(asked, said, key)) {
        let kind = |said: &Said<'_>| (agrees(said.record.status), said.record.status == Status::Requested);
        if kind(said) == (false, false) {
            continue;
        }
        let is_last = left.said.iter().all(|other| {
            let same = (other.purpose, other.channel, other.recipient) == (said.purpose, said.channel, said.recipient);
            !same || kind(other) != kind(said) || other.record.event_time <= said.record.event_time
        });
        if is_last {
            codes.insert(&said.record.jurisdiction);
        }
    }
    codes.remove("");
    codes
}

fn country(code: &str) -> &str {
    code.split('-').next().unwrap_or(code)
}

/// Whether one region is, or holds, another.
fn holds(groups: &[Region], region: &str, code: &str) -> bool {
    if region == code || region == country(code) {
        return true;
    }
    for group in groups {
        for member in &group.members {
            if *group.key == *region && (**member == *code || **member == *country(code)) {
                return true;
            }
        }
    }
    false
}

/// The rules that hold throughout a region, or the purpose's own terms.
fn throughout(purpose: &Purpose, groups: &[Region], code: &str) -> Set {
    let mut set = Set::new();
    for (place, rule) in purpose.regional.iter().enumerate() {
        if rule.regions.iter().any(|region| holds(groups, region, code)) {
            set.insert(place + 1);
        }
    }
    if set.is_empty() { Set::from([0]) } else { set }
}

/// What applies where no more is known than this code: what holds throughout, and what holds in a part of it.
fn for_code(purpose: &Purpose, groups: &[Region], code: &str) -> Set {
    let mut set = throughout(purpose, groups, code);
    for place in every_place(purpose, groups) {
        if holds(groups, code, place) {
            set.extend(throughout(purpose, groups, place));
        }
    }
    set
}

/// Every region of which the purpose's rules or the groups speak.
fn every_place<'a>(purpose: &'a Purpose, groups: &'a [Region]) -> BTreeSet<&'a str> {
    let mut places = BTreeSet::new();
    for region in purpose.regional.iter().flat_map(|rule| &rule.regions) {
        places.insert(&**region);
    }
    for group in groups {
        places.insert(&*group.key);
        places.extend(group.members.iter().map(|member| &**member));
    }
    places
}

/// Whether these are the terms of one place, or of two; of more, all terms are asked.
fn is_prepared(purpose: &Purpose, groups: &[Region], chosen: &Set) -> bool {
    let mut sets = vec![Set::from([0])];
    let mut places: BTreeSet<&str> = every_place(purpose, groups);
    places.extend(places.clone().into_iter().map(country));
    for place in places {
        sets.push(throughout(purpose, groups, place));
        sets.push(for_code(purpose, groups, place));
    }
    sets.iter().any(|one| sets.iter().any(|other| one.union(other).copied().collect::<Set>() == *chosen))
}

/// Whether consent to `above` is consent to `key` under all terms that apply at each step down, and under any.
pub(crate) fn coverage(asked: &Asked, left: &Left<'_>, above: &str, key: &str) -> (bool, bool) {
    let words: Vec<&str> = key.split('.').collect();
    let (mut all, mut any) = (true, true);
    for length in above.split('.').count() + 1..=words.len() {
        let step = words[..length].join(".");
        let Some(purpose) = find(asked, &step) else { return (false, false) };
        // Where the subject is depends on what is asked, not on the step.
        let terms = those_that_apply(asked, left, key, purpose);
        all &= terms.iter().all(|terms| terms.covered_by_parent);
        any &= terms.iter().any(|terms| terms.covered_by_parent);
    }
    (all, any)
}
