//! Finds purposes that could never be allowed, whatever anybody agrees to.

use std::collections::{BTreeMap, BTreeSet};

use super::check::{Document, Doubt};
use crate::domain::Purpose;
use crate::domain::catalogue::{QuietHours, Region, Terms};

/// Minutes of a day, and of a week.
const DAY: usize = 24 * 60;
const WEEK: usize = 7 * DAY;

/// What each purpose requires, here or in a region, each with where it says so.
type Required<'a> = BTreeMap<&'a str, Vec<(String, &'a str)>>;

/// Circles in what purposes require of each other, each spelled out once.
pub(super) fn circles(document: &Document<'_>) -> Vec<Doubt> {
    let required = required(document);
    let (mut done, mut told, mut found) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for start in required.keys() {
        // The way to where the search is, each with how many of its requirements were followed. No recursion: a chain
        // may be as long as the document.
        let mut open: Vec<(&str, usize)> = if done.contains(start) { Vec::new() } else { vec![(start, 0)] };
        while let Some((key, followed)) = open.last_mut() {
            let next = required.get(key).and_then(|all| all.get(*followed));
            *followed += 1;
            match next {
                None => {
                    done.insert(*key);
                    open.pop();
                }
                Some((path, next)) => match open.iter().position(|(key, _)| key == next) {
                    Some(begins) => {
                        let circle: Vec<&str> = open.iter().skip(begins).map(|(key, _)| *key).collect();
                        if told.insert(circle.iter().copied().collect::<BTreeSet<&str>>()) {
                            let spelt: Vec<&str> = circle.iter().chain(circle.first()).copied().collect();
                            let message = format!("`requires` runs in a circle: `{}`", spelt.join(" -> "));
                            found.push(Doubt::error(path.clone(), message));
                        }
                    }
                    None if done.contains(next) => {}
                    None => open.push((next, 0)),
                },
            }
        }
    }
    found
}

fn required<'a>(document: &Document<'a>) -> Required<'a> {
    let mut required = Required::new();
    for (index, purpose) in document.wire.purposes.iter().enumerate() {
        let mut add = |path: &str, keys: &'a [String]| {
            let with_paths = keys.iter().enumerate().map(|(at, key)| (format!("{path}.requires[{at}]"), key.as_str()));
            required.entry(purpose.key.as_str()).or_default().extend(with_paths);
        };
        add(&format!("purposes[{index}]"), &purpose.requires);
        for (rule, regional) in purpose.regional.iter().enumerate() {
            add(&format!("purposes[{index}].regional[{rule}]"), &regional.requires);
        }
    }
    required
}

/// Where a question is asked about.
#[derive(Debug, Clone, Copy)]
enum Situation<'a> {
    /// Where no rule for a region holds.
    Elsewhere,
    /// In a place.
    In(&'a str),
    /// Nobody knows: the purpose's own terms and those of all regions hold.
    Unknown,
}

/// Purposes that could never be allowed, anywhere or somewhere, over any channel or one. What is required must end, and
/// no later than the domain has it end.
pub(super) fn unreachable(document: &Document<'_>) -> Vec<Doubt> {
    let purposes: BTreeMap<&str, &Purpose> =
        document.parts.purposes.iter().map(|purpose| (&*purpose.key, purpose)).collect();
    let reach = Reach { purposes, regions: &document.parts.regions };
    let all = document.parts.purposes.iter().enumerate();
    all.flat_map(|(index, purpose)| reach.doubts(&format!("purposes[{index}]"), purpose)).collect()
}

struct Reach<'a> {
    purposes: BTreeMap<&'a str, &'a Purpose>,
    regions: &'a [Region],
}

/// What is true of one situation: the channels that could never be allowed, and why.
struct Barred<'a> {
    situation: Situation<'a>,
    /// Where the terms of the situation stand.
    path: String,
    channels: Vec<(&'a str, String)>,
    is_whole: bool,
}

impl<'a> Reach<'a> {
    fn doubts(&self, path: &str, purpose: &'a Purpose) -> Vec<Doubt> {
        let mut situations = vec![self.barred(path.to_owned(), purpose, Situation::Elsewhere, &purpose.terms)];
        for (index, rule) in purpose.regional.iter().enumerate() {
            let path = format!("{path}.regional[{index}]");
            // What is forbidden there is so on purpose.
            for place in rule.regions.iter().filter(|_| !rule.terms.prohibited) {
                let place = self.member(place);
                situations.push(self.barred(path.clone(), purpose, Situation::In(place), &rule.terms));
            }
        }
        let everywhere = situations.iter().all(|barred| barred.is_whole);
        if let (true, Some(why)) = (everywhere, situations.iter().find_map(|barred| barred.channels.first())) {
            let (channel, why) = why;
            return vec![Doubt::error(
                path,
                format!("could never be allowed, over any channel: over `{channel}`, {why}"),
            )];
        }
        let mut doubts: Vec<Doubt> = situations.iter().flat_map(Barred::doubts).collect();
        let unknown = self.barred(path.to_owned(), purpose, Situation::Unknown, &purpose.terms);
        let is_new =
            !situations.iter().any(|barred| matches!(barred.situation, Situation::Elsewhere) && barred.is_whole);
        if let (false, true, true, Some((channel, why))) =
            (purpose.regional.is_empty(), is_new, unknown.is_whole, unknown.channels.first())
        {
            let message = format!(
                "where neither the question nor the records say where the subject is, the terms of all regions hold, and it \
                 is never allowed: over `{channel}`, {why}"
            );
            doubts.push(Doubt::warning(path, message));
        }
        doubts
    }

    /// Which channels of some terms are barred in a situation.
    fn barred(&self, path: String, purpose: &'a Purpose, situation: Situation<'a>, terms: &'a Terms) -> Barred<'a> {
        let why =
            |channel: &'a str| Some((channel, self.why_never(purpose, situation, channel, &mut BTreeSet::new())?));
        let channels: Vec<_> = terms.channels.iter().filter_map(|channel| why(channel)).collect();
        let is_whole = !terms.channels.is_empty() && channels.len() == terms.channels.len();
        Barred { situation, path, channels, is_whole }
    }

    /// Why a purpose could never be allowed over a channel, as the end of a sentence.
    fn why_never(
        &self,
        purpose: &'a Purpose,
        situation: Situation<'a>,
        channel: &str,
        seen: &mut BTreeSet<&'a str>,
    ) -> Option<String> {
        // Whoever was looked at before, on another way, could be allowed.
        if !seen.insert(&purpose.key) {
            return None;
        }
        let holding = self.holding(purpose, situation);
        if holding.iter().any(|terms| terms.prohibited) {
            return Some(format!("`{}` is prohibited", purpose.key));
        }
        if holding.iter().any(|terms| !terms.channels.iter().any(|own| &**own == channel)) {
            return Some(format!("`{}` does not use `{channel}`", purpose.key));
        }
        if are_always(holding.iter().flat_map(|terms| &terms.quiet_hours), channel) {
            return Some(format!("the quiet hours of `{}` are all the week", purpose.key));
        }
        holding.iter().flat_map(|terms| &terms.requires).find_map(|key| {
            let why = self.why_never(self.purposes.get(&**key)?, situation, channel, seen)?;
            Some(format!("it requires `{key}`, and {why}"))
        })
    }

    /// The terms that hold for a purpose in a situation.
    fn holding(&self, purpose: &'a Purpose, situation: Situation<'a>) -> Vec<&'a Terms> {
        let regional = purpose.regional.iter();
        let held: Vec<&Terms> = match situation {
            Situation::Elsewhere => Vec::new(),
            Situation::In(place) => {
                let names = |region: &str| self.is_within(place, region);
                regional
                    .filter(|rule| rule.regions.iter().any(|region| names(region)))
                    .map(|rule| &rule.terms)
                    .collect()
            }
            Situation::Unknown => std::iter::once(&purpose.terms).chain(regional.map(|rule| &rule.terms)).collect(),
        };
        if held.is_empty() { vec![&purpose.terms] } else { held }
    }

    /// A place in a region: the first member of a group.
    fn member(&self, region: &'a str) -> &'a str {
        let group = self.regions.iter().find(|known| &*known.key == region);
        group.and_then(|group| group.members.first()).map_or(region, |member| member)
    }

    /// Whether a place is a region, in it, or in one of its members.
    fn is_within(&self, place: &str, region: &str) -> bool {
        let country = place.split_once('-').map_or(place, |(country, _)| country);
        let group = self.regions.iter().find(|known| &*known.key == region);
        let is = |code: &str| code == place || code == country;
        is(region) || group.is_some_and(|group| group.members.iter().any(|member| is(member)))
    }
}

impl Barred<'_> {
    /// What is said where other situations are not barred.
    fn doubts(&self) -> Vec<Doubt> {
        let place = match self.situation {
            Situation::Elsewhere => String::new(),
            Situation::In(place) => format!("in `{place}` "),
            Situation::Unknown => "where the place is not known ".to_owned(),
        };
        let one = |(channel, why): &(&str, String)| {
            Doubt::warning(self.path.clone(), format!("{place}it could never be allowed over `{channel}`: {why}"))
        };
        self.channels.iter().map(one).collect()
    }
}

/// Whether quiet hours leave no minute of the week on a channel.
fn are_always<'a>(hours: impl Iterator<Item = &'a QuietHours>, channel: &str) -> bool {
    let mut quiet = vec![false; WEEK];
    let meant = hours.filter(|hours| hours.channels.is_empty() || hours.channels.iter().any(|own| &**own == channel));
    for hours in meant {
        let (from, until) = (usize::from(hours.from), usize::from(hours.until));
        let length = if until > from { until - from } else { DAY + until - from };
        for day in hours.days.iter().enumerate().filter_map(|(day, is_meant)| is_meant.then_some(day)) {
            for minute in 0..length {
                if let Some(minute) = quiet.get_mut((day * DAY + from + minute) % WEEK) {
                    *minute = true;
                }
            }
        }
    }
    quiet.into_iter().all(|minute| minute)
}
