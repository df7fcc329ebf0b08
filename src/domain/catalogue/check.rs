//! Finds everything that is wrong with the parts of a catalogue, so that `decide` need not doubt one.

use std::collections::{BTreeMap, BTreeSet};

use super::keys::{check_channel, check_purpose, check_recipient, check_region, is_code};
use super::problem::{CatalogueError, CatalogueProblem};
use super::terms::{MinorRule, NoticeRule, Purpose, QuietHours, Terms};
use super::{CatalogueParts, REGIONAL_RULES_MAX, REQUIRES_DEPTH_MAX};
use crate::domain::words::LegalBasis;

/// Everything that is wrong, in the order of the parts.
pub(super) fn problems_of(parts: &CatalogueParts) -> Vec<CatalogueProblem> {
    let mut check = Check { parts, found: Vec::new() };
    check.catalogue();
    check.regions();
    check.recipients();
    for (place, purpose) in parts.purposes.iter().enumerate() {
        check.purpose(&format!("purposes[{place}]"), purpose);
    }
    check.requires();
    check.found
}

struct Check<'a> {
    parts: &'a CatalogueParts,
    found: Vec<CatalogueProblem>,
}

/// Terms and where they stand. A region's terms repeat what it does not change; what is wrong there is told once.
struct Place<'a> {
    path: &'a str,
    purpose: &'a str,
    terms: &'a Terms,
    base: Option<&'a Terms>,
}

impl Place<'_> {
    /// Whether the terms say something of their own here.
    fn own<T: PartialEq>(&self, part: impl Fn(&Terms) -> &T) -> bool {
        self.base.is_none_or(|base| part(base) != part(self.terms))
    }
}

impl Check<'_> {
    fn add(&mut self, path: impl Into<String>, problem: CatalogueError) {
        self.found.push(CatalogueProblem { path: path.into(), problem });
    }

    fn add_unless_ok(&mut self, path: String, outcome: Result<(), CatalogueError>) {
        if let Err(problem) = outcome {
            self.add(path, problem);
        }
    }

    /// A key that stands a second time.
    fn once<'k>(&mut self, path: String, key: &'k str, seen: &mut BTreeSet<&'k str>) {
        if !seen.insert(key) {
            self.add(path, CatalogueError::Twice { key: key.to_owned() });
        }
    }

    fn catalogue(&mut self) {
        let parts = self.parts;
        if parts.version == 0 {
            self.add("version", CatalogueError::Version);
        }
        let mut seen = BTreeSet::new();
        for (place, (key, _)) in parts.channels.iter().enumerate() {
            let path = format!("channels[{place}].key");
            self.add_unless_ok(path.clone(), check_channel(&path, key));
            self.once(path, key, &mut seen);
        }
        if parts.purposes.is_empty() {
            self.add("purposes", CatalogueError::NoPurposes);
        }
        let mut seen = BTreeSet::new();
        for (place, purpose) in parts.purposes.iter().enumerate() {
            let path = format!("purposes[{place}].key");
            self.add_unless_ok(path.clone(), check_purpose(&path, &purpose.key));
            self.once(path, &purpose.key, &mut seen);
        }
    }

    fn regions(&mut self) {
        let mut seen = BTreeSet::new();
        for (place, region) in self.parts.regions.iter().enumerate() {
            let path = format!("regions[{place}]");
            let name = || region.key.to_string();
            let of_key = format!("{path}.key");
            self.add_unless_ok(of_key.clone(), check_region(&of_key, &region.key));
            self.once(of_key, &region.key, &mut seen);
            if region.members.is_empty() && !is_code(&region.key) {
                self.add(format!("{path}.members"), CatalogueError::EmptyGroup { region: name() });
            }
            if !region.members.is_empty() && region.zone.is_some() {
                self.add(format!("{path}.time_zone"), CatalogueError::GroupZone { region: name() });
            }
            let mut members = BTreeSet::new();
            for (at, member) in region.members.iter().enumerate() {
                let path = format!("{path}.members[{at}]");
                if !is_code(member) {
                    self.add(path.clone(), CatalogueError::NotACode { member: member.to_string() });
                }
                self.once(path, member, &mut members);
            }
        }
    }

    fn recipients(&mut self) {
        let mut seen = BTreeSet::new();
        for (place, recipient) in self.parts.recipients.iter().enumerate() {
            let path = format!("recipients[{place}].key");
            self.add_unless_ok(path.clone(), check_recipient(&path, &recipient.key));
            self.once(path, &recipient.key, &mut seen);
        }
    }

    fn purpose(&mut self, path: &str, purpose: &Purpose) {
        // What is no key may be anything, and is repeated only where it is told as a value.
        let key = if check_purpose(path, &purpose.key).is_ok() { &*purpose.key } else { path };
        let name = || key.to_owned();
        self.terms(&Place { path, purpose: key, terms: &purpose.terms, base: None });
        if purpose.regional.len() > REGIONAL_RULES_MAX {
            self.add(format!("{path}.regional"), CatalogueError::TooManyRegional { purpose: name() });
        }
        for (place, rule) in purpose.regional.iter().enumerate() {
            let path = format!("{path}.regional[{place}]");
            if rule.regions.is_empty() {
                self.add(format!("{path}.regions"), CatalogueError::NoRegion { purpose: name() });
            }
            let mut seen = BTreeSet::new();
            for (at, region) in rule.regions.iter().enumerate() {
                let path = format!("{path}.regions[{at}]");
                if !is_code(region) && !self.parts.regions.iter().any(|known| known.key == *region) {
                    self.add(path.clone(), CatalogueError::UnknownRegion { region: region.to_string() });
                }
                self.once(path, region, &mut seen);
            }
            let base = Some(&purpose.terms);
            self.terms(&Place { path: &path, purpose: key, terms: &rule.terms, base });
        }
    }

    fn terms(&mut self, at: &Place<'_>) {
        let purpose = || at.purpose.to_owned();
        let field = |name: &str| format!("{}.{name}", at.path);
        if at.own(|terms| &terms.channels) {
            if at.terms.channels.is_empty() {
                self.add(field("channels"), CatalogueError::NoChannel { purpose: purpose() });
            }
            self.channels(&field("channels"), at.purpose, &at.terms.channels);
        }
        let own_max_age = at.own(|terms| &terms.max_age);
        if own_max_age && at.terms.max_age.is_some_and(|span| span.is_zero()) {
            self.add(field("max_age"), CatalogueError::ZeroSpan { purpose: purpose(), field: "max_age" });
        }
        if at.own(|terms| &terms.max_staleness) && at.terms.max_staleness.is_zero() {
            self.add(field("max_staleness"), CatalogueError::ZeroSpan { purpose: purpose(), field: "max_staleness" });
        }
        // Source: GDPR Art. 9(2), KVKK Art. 6(3): neither a plain consent, nor a contract, nor a legitimate interest.
        let too_weak = match at.terms.legal_basis {
            LegalBasis::Consent | LegalBasis::LegitimateInterest | LegalBasis::Contract => true,
            LegalBasis::ExplicitConsent
            | LegalBasis::LegalObligation
            | LegalBasis::VitalInterest
            | LegalBasis::PublicTask => false,
        };
        let own_ground = at.own(|terms| &terms.legal_basis) || at.own(|terms| &terms.special_category);
        if own_ground && at.terms.special_category && too_weak {
            self.add(field("legal_basis"), CatalogueError::SpecialCategory { purpose: purpose() });
        }
        if at.own(|terms| &terms.notice) {
            self.notice(&field("notice"), at.purpose, at.terms.notice.as_ref());
        }
        if at.own(|terms| &terms.minors) {
            self.minors(&field("minors"), at.purpose, at.terms.minors);
        }
        // What a region adds comes after what the purpose has, whose problems are told there.
        let inherited = at.base.map_or(0, |base| shared(&base.quiet_hours, &at.terms.quiet_hours));
        for (place, quiet) in at.terms.quiet_hours.iter().skip(inherited).enumerate() {
            self.quiet_hours(&field(&format!("quiet_hours[{place}]")), at.purpose, quiet);
        }
        if let Some(rule) = at.terms.tcf.as_ref().filter(|_| at.own(|terms| &terms.tcf)) {
            self.tcf(&field("tcf.purposes"), at.purpose, "purpose", 11, &rule.purposes);
            self.tcf(&field("tcf.special_features"), at.purpose, "special feature", 2, &rule.special_features);
        }
    }

    fn channels(&mut self, path: &str, purpose: &str, channels: &[Box<str>]) {
        let mut seen = BTreeSet::new();
        for (place, channel) in channels.iter().enumerate() {
            let path = format!("{path}[{place}]");
            if !self.parts.channels.iter().any(|(known, _)| known == channel) {
                let (purpose, channel) = (purpose.to_owned(), channel.to_string());
                self.add(path.clone(), CatalogueError::UnknownChannel { purpose, channel });
            }
            self.once(path, channel, &mut seen);
        }
    }

    fn notice(&mut self, path: &str, purpose: &str, rule: Option<&NoticeRule>) {
        let Some(rule) = rule else { return };
        if rule.id.is_empty() {
            self.add(format!("{path}.id"), CatalogueError::NoticeId { purpose: purpose.to_owned() });
        }
        let numbers = || rule.versions.iter().map(|version| version.version);
        if numbers().any(|number| number == 0) || !numbers().is_sorted_by(|earlier, later| earlier < later) {
            let (purpose, notice) = (purpose.to_owned(), rule.id.to_string());
            self.add(format!("{path}.id"), CatalogueError::NoticeVersions { purpose, notice });
        }
    }

    fn minors(&mut self, path: &str, purpose: &str, rule: Option<MinorRule>) {
        if let Some(MinorRule { under, .. }) = rule
            && !(1..=99).contains(&under)
        {
            self.add(format!("{path}.under"), CatalogueError::Age { purpose: purpose.to_owned(), under });
        }
    }

    fn quiet_hours(&mut self, path: &str, purpose: &str, quiet: &QuietHours) {
        for (field, minute) in [("from", quiet.from), ("until", quiet.until)] {
            if minute >= 24 * 60 {
                let purpose = purpose.to_owned();
                self.add(format!("{path}.{field}"), CatalogueError::TimeOfDay { purpose, minute });
            }
        }
        if !quiet.days.contains(&true) {
            self.add(format!("{path}.days"), CatalogueError::NoDay { purpose: purpose.to_owned() });
        }
        self.channels(&format!("{path}.channels"), purpose, &quiet.channels);
    }

    fn tcf(&mut self, path: &str, purpose: &str, what: &'static str, last: u16, numbers: &[u16]) {
        for (place, number) in numbers.iter().enumerate() {
            if !(1..=last).contains(number) {
                let purpose = purpose.to_owned();
                self.add(format!("{path}[{place}]"), CatalogueError::Tcf { purpose, what, number: *number });
            }
        }
    }

    /// What every purpose requires anywhere must exist, and following it must end.
    fn requires(&mut self) {
        let mut by_key: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for purpose in &self.parts.purposes {
            by_key.entry(&purpose.key).or_default().extend(required_anywhere(purpose));
        }
        for (place, purpose) in self.parts.purposes.iter().enumerate() {
            for (path, terms, base) in every_terms(&format!("purposes[{place}]"), purpose) {
                let inherited = base.map_or(0, |base| shared(&base.requires, &terms.requires));
                for (at, required) in terms.requires.iter().skip(inherited).enumerate() {
                    if !by_key.contains_key(&**required) {
                        let (purpose, required) = (purpose.key.to_string(), required.to_string());
                        let problem = CatalogueError::UnknownRequired { purpose, required };
                        self.add(format!("{path}.requires[{at}]"), problem);
                    }
                }
            }
            // Levels of what is required, widest first: a circle never runs dry.
            let mut level: BTreeSet<&str> = BTreeSet::from([&*purpose.key]);
            for _ in 0..=REQUIRES_DEPTH_MAX {
                level = level.iter().filter_map(|key| by_key.get(key)).flatten().copied().collect();
            }
            if !level.is_empty() {
                let problem = CatalogueError::RequiresCircle { purpose: purpose.key.to_string() };
                self.add(format!("purposes[{place}].requires"), problem);
            }
        }
    }
}

/// How many items a region's list has from the purpose's own, which stand first.
fn shared<T: PartialEq>(base: &[T], regional: &[T]) -> usize {
    if regional.starts_with(base) { base.len() } else { 0 }
}

/// What a purpose requires in any region.
fn required_anywhere(purpose: &Purpose) -> impl Iterator<Item = &str> {
    let regional = purpose.regional.iter().map(|rule| &rule.terms);
    std::iter::once(&purpose.terms).chain(regional).flat_map(|terms| terms.requires.iter().map(|key| &**key))
}

/// All terms of a purpose with their paths; those of a region with the purpose's own.
fn every_terms<'p>(path: &str, purpose: &'p Purpose) -> Vec<(String, &'p Terms, Option<&'p Terms>)> {
    let regional = purpose.regional.iter().enumerate();
    let regional =
        regional.map(|(place, rule)| (format!("{path}.regional[{place}]"), &rule.terms, Some(&purpose.terms)));
    std::iter::once((path.to_owned(), &purpose.terms, None)).chain(regional).collect()
}
