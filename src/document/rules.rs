//! Finds rules that contradict each other or the law's own lists, and rules that change nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use super::check::{Document, Doubt};
use super::iso3166;
use crate::domain::catalogue::{Acceptance, GppRule, NoticeRule, TcfRule, Terms};
use crate::domain::{LegalBasis, Purpose, is_jurisdiction};

/// How old a view may be before a withdrawal that is a day old may be missed.
const STALENESS_DOUBTFUL: Duration = Duration::from_hours(24);

/// All of it.
pub(super) fn doubts(document: &Document<'_>) -> Vec<Doubt> {
    let mut rules = Rules { document, found: Vec::new() };
    rules.of_regions();
    rules.of_notices();
    rules.of_channels();
    for (index, purpose) in document.parts.purposes.iter().enumerate() {
        rules.of_purpose(&format!("purposes[{index}]"), purpose);
    }
    rules.found
}

struct Rules<'a> {
    document: &'a Document<'a>,
    found: Vec<Doubt>,
}

/// Terms and where they stand, with those that they were made from where they are a region's.
#[derive(Clone, Copy)]
struct At<'a> {
    path: &'a str,
    purpose: &'a Purpose,
    terms: &'a Terms,
    base: Option<&'a Terms>,
}

impl At<'_> {
    /// Whether something is said here and not where the terms come from.
    fn says<T: PartialEq>(&self, part: impl Fn(&Terms) -> &T) -> bool {
        self.base.is_none_or(|base| part(base) != part(self.terms))
    }
}

impl Rules<'_> {
    fn error(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.found.push(Doubt::error(path, message));
    }

    fn warning(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.found.push(Doubt::warning(path, message));
    }

    fn of_regions(&mut self) {
        let document = self.document;
        let used: BTreeSet<&str> = document
            .parts
            .purposes
            .iter()
            .flat_map(|purpose| &purpose.regional)
            .flat_map(|rule| &rule.regions)
            .map(|r| &**r)
            .collect();
        for (index, region) in document.parts.regions.iter().enumerate() {
            let path = format!("regions[{index}]");
            for (at, member) in region.members.iter().enumerate().filter(|(_, member)| is_jurisdiction(member)) {
                if let Some(why) = iso3166::is_no_place(member) {
                    self.error(format!("{path}.members[{at}]"), format!("nobody is ever there: {why}"));
                }
            }
            if region.members.is_empty() && region.zone.is_none() && is_jurisdiction(&region.key) {
                self.warning(
                    path.clone(),
                    format!("says nothing of `{}`: neither members nor a time zone", region.key),
                );
            }
            if !region.members.is_empty() && !used.contains(&*region.key) {
                self.warning(path, format!("no rule is for the group `{}`", region.key));
            }
        }
    }

    fn of_notices(&mut self) {
        let document = self.document;
        let rules = document.parts.purposes.iter().flat_map(|purpose| {
            let regional = purpose.regional.iter().map(|rule| &rule.terms);
            std::iter::once(&purpose.terms).chain(regional).filter_map(|terms| terms.notice.as_ref())
        });
        let used: BTreeSet<&str> = rules.map(|rule| &*rule.id).collect();
        for (index, notice) in document.wire.notices.iter().enumerate() {
            if !used.contains(notice.id.as_str()) {
                self.warning(format!("notices[{index}]"), format!("no purpose demands the notice `{}`", notice.id));
            }
            let mut dated: Vec<_> = notice
                .versions
                .iter()
                .map(|v| (v.version, v.effective_at.as_ref().map(|t| (t.seconds, t.nanos))))
                .collect();
            dated.sort_unstable();
            if !dated.is_sorted_by_key(|(_, from)| *from) {
                let message = format!("a later version of `{}` is shown before an earlier one", notice.id);
                self.warning(format!("notices[{index}].versions"), message);
            }
        }
    }

    fn of_channels(&mut self) {
        let document = self.document;
        let all = document.parts.purposes.iter().flat_map(|purpose| {
            let regional = purpose.regional.iter().map(|rule| &rule.terms);
            std::iter::once(&purpose.terms).chain(regional).flat_map(|terms| &terms.channels)
        });
        let used: BTreeSet<&str> = all.map(|channel| &**channel).collect();
        for (index, (key, _)) in document.parts.channels.iter().enumerate() {
            if !used.contains(&**key) {
                self.warning(format!("channels[{index}]"), format!("no purpose uses the channel `{key}`"));
            }
        }
    }

    fn of_purpose(&mut self, path: &str, purpose: &Purpose) {
        self.of_terms(At { path, purpose, terms: &purpose.terms, base: None });
        let mut named: BTreeSet<&str> = BTreeSet::new();
        for (index, rule) in purpose.regional.iter().enumerate() {
            let path = format!("{path}.regional[{index}]");
            for (at, region) in rule.regions.iter().enumerate() {
                let path = format!("{path}.regions[{at}]");
                let is_group = self.document.parts.regions.iter().any(|known| known.key == *region);
                if is_jurisdiction(region)
                    && !is_group
                    && let Some(why) = iso3166::is_no_place(region)
                {
                    self.error(path.clone(), format!("the rule never applies: {why}"));
                }
                if !named.insert(region) {
                    self.warning(path, format!("an earlier rule is for `{region}` too: there both must allow"));
                }
            }
            if rule.terms == purpose.terms {
                self.warning(path.clone(), "changes nothing: all it says is what the purpose says anyway");
            }
            self.of_repeated_requirements(&path, purpose, index);
            self.of_terms(At { path: &path, purpose, terms: &rule.terms, base: Some(&purpose.terms) });
        }
    }

    fn of_repeated_requirements(&mut self, path: &str, purpose: &Purpose, rule: usize) {
        let written = self.document.wire.purposes.iter().find(|wire| *wire.key == *purpose.key);
        let required = written.and_then(|wire| wire.regional.get(rule)).map(|rule| &rule.requires);
        for (at, key) in required.into_iter().flatten().enumerate() {
            if purpose.terms.requires.iter().any(|own| **own == **key) {
                self.warning(format!("{path}.requires[{at}]"), format!("`{key}` is required everywhere"));
            }
        }
    }

    fn of_terms(&mut self, at: At<'_>) {
        self.of_consent(at);
        self.of_spans(at);
        self.of_quiet_hours(at);
        if at.says(|terms| &terms.notice)
            && let Some(rule) = &at.terms.notice
        {
            self.of_notice(at, rule);
        }
        if (at.says(|terms| &terms.tcf) || at.says(|terms| &terms.legal_basis))
            && let Some(rule) = &at.terms.tcf
        {
            self.of_tcf(at, rule);
        }
        if at.says(|terms| &terms.gpp) && at.terms.gpp == Some(GppRule::default()) {
            self.warning(
                format!("{}.gpp", at.path),
                "looks at nothing of the string; leave it out, or say what counts",
            );
        }
    }

    /// What only a consent has.
    fn of_consent(&mut self, at: At<'_>) {
        let At { path, purpose, terms, .. } = at;
        if at.says(|terms| &terms.covered_by_parent) && terms.covered_by_parent {
            let field = format!("{path}.covered_by_parent");
            match purpose.key.rsplit_once('.') {
                None => self.error(field, format!("`{}` has no parent: no dot stands in its key", purpose.key)),
                Some((parent, _)) if !self.document.parts.purposes.iter().any(|known| *known.key == *parent) => {
                    self.warning(field, format!("its parent `{parent}` is not in the catalogue"));
                }
                Some(_) if terms.special_category => {
                    self.warning(field, "a consent to the parent is hardly explicit for special categories of data");
                }
                Some(_) => {}
            }
        }
        let is_consent = matches!(terms.legal_basis, LegalBasis::Consent | LegalBasis::ExplicitConsent);
        if is_consent {
            return;
        }
        let basis = terms.legal_basis;
        if at.says(|terms| &terms.max_age) && terms.max_age.is_some() {
            self.warning(format!("{path}.max_age"), format!("is of a consent, and the purpose rests on {basis}"));
        }
        if at.says(|terms| &terms.accepts) && terms.accepts != Acceptance::default() {
            self.warning(format!("{path}.accepts"), format!("is of a consent, and the purpose rests on {basis}"));
        }
    }

    fn of_spans(&mut self, at: At<'_>) {
        let At { path, terms, .. } = at;
        if !at.says(|terms| &terms.max_age) && !at.says(|terms| &terms.max_staleness) {
            return;
        }
        if terms.max_age.is_some_and(|max_age| max_age < terms.max_staleness) {
            let (age, staleness) = (terms.max_age.unwrap_or_default(), terms.max_staleness);
            let message = format!("a consent lasts {age:?}, less than the {staleness:?} that a view may be old");
            self.warning(format!("{path}.max_age"), message);
        }
        if terms.max_staleness > STALENESS_DOUBTFUL {
            let message = "a withdrawal may be missed for longer than a day";
            self.warning(format!("{path}.max_staleness"), message);
        }
    }

    fn of_quiet_hours(&mut self, at: At<'_>) {
        let inherited = at.base.map_or(0, |base| base.quiet_hours.len());
        for (index, hours) in at.terms.quiet_hours.iter().skip(inherited).enumerate() {
            let path = format!("{}.quiet_hours[{index}]", at.path);
            for (place, channel) in hours.channels.iter().enumerate() {
                let is_known = self.document.parts.channels.iter().any(|(known, _)| known == channel);
                if is_known && !at.terms.channels.contains(channel) {
                    let message = format!("never matters: the purpose does not use `{channel}`");
                    self.warning(format!("{path}.channels[{place}]"), message);
                }
            }
            let has_region_clock = self.document.parts.regions.iter().any(|region| region.zone.is_some());
            if hours.zone.is_none() && !has_region_clock {
                let message = "without a time zone nothing is allowed where neither the question nor a region has one; \
                               say the clock of most subjects in `timeZone`";
                self.warning(path, message);
            }
        }
    }

    fn of_notice(&mut self, at: At<'_>, rule: &NoticeRule) {
        let last = rule.versions.last().map(|version| version.version);
        if let Some(last) = last.filter(|last| *last < rule.material_since) {
            let message = format!(
                "no consent could be informed: since version {}, and the last of `{}` is {last}",
                rule.material_since, rule.id
            );
            self.error(format!("{}.notice.material_since", at.path), message);
        }
    }

    fn of_tcf(&mut self, at: At<'_>, rule: &TcfRule) {
        let path = format!("{}.tcf", at.path);
        if *rule == TcfRule::default() {
            self.warning(path, "demands nothing of the string; leave it out, or say which purposes it must permit");
            return;
        }
        if at.terms.legal_basis != LegalBasis::LegitimateInterest {
            return;
        }
        // Source: IAB Europe, TCF Policies, version 4 and later: purposes 1 and 3 to 6 are by consent alone.
        for (index, number) in rule.purposes.iter().enumerate().filter(|(_, number)| matches!(number, 1 | 3..=6)) {
            let message = format!(
                "the framework knows purpose {number} by consent alone, and this rests on a legitimate interest"
            );
            self.error(format!("{path}.purposes[{index}]"), message);
        }
    }
}
