//! The terms of a purpose, and those of its regions: what a region does not say is the purpose's own.

use std::collections::BTreeMap;
use std::time::Duration;

use super::place::Place;
use super::rules;
use crate::domain::LegalBasis;
use crate::domain::catalogue::{NoticeRule, NoticeVersion, QuietHours, Regional, Terms};
use crate::ledger::codec::problem::Problems;
use crate::proto::v1;

/// The most quiet hours of a purpose, and the most that a region adds.
const QUIET_HOURS_MAX: usize = 64;

/// What purposes take from the document around them.
pub(super) struct Around {
    /// How old a view may be where a purpose does not say.
    pub(super) max_staleness: Duration,
    /// The versions of every notice, by its id.
    pub(super) notices: BTreeMap<Box<str>, Vec<NoticeVersion>>,
}

/// The terms that a purpose has everywhere.
pub(super) fn own(problems: &mut Problems, place: &Place<'_>, purpose: v1::Purpose, around: &Around) -> Terms {
    Terms {
        prohibited: false,
        legal_basis: legal_basis(problems, &place.field("legal_basis"), purpose.legal_basis),
        channels: texts(purpose.channels),
        max_age: purpose.max_age.and_then(|span| rules::span(problems, &place.field("max_age"), span)),
        max_staleness: (purpose.max_staleness)
            .and_then(|span| rules::span(problems, &place.field("max_staleness"), span))
            .unwrap_or(around.max_staleness),
        covered_by_parent: purpose.covered_by_parent,
        special_category: purpose.special_category,
        notice: purpose.notice.map(|rule| notice(problems, &place.field("notice"), rule, around)),
        requires: texts(purpose.requires),
        honours_gpc: purpose.honours_gpc,
        accepts: (purpose.accepts)
            .map(|accepts| rules::acceptance(problems, &place.field("accepts"), accepts))
            .unwrap_or_default(),
        minors: purpose.minors.and_then(|rule| rules::minors(problems, &place.field("minors"), rule)),
        despite_restriction: purpose.despite_restriction,
        quiet_hours: quiet_hours(problems, place, purpose.quiet_hours),
        tcf: purpose.tcf.map(|rule| rules::tcf(problems, &place.field("tcf"), rule)),
        gpp: purpose.gpp.map(|rule| rules::gpp(problems, &place.field("gpp"), rule)),
    }
}

/// The terms that a purpose has in some regions. What is required and when subjects are left alone is added to the
/// purpose's own; all else that is said takes its place.
pub(super) fn regional(
    problems: &mut Problems,
    place: &Place<'_>,
    rule: v1::RegionalRule,
    own: &Terms,
    around: &Around,
) -> Regional {
    let mut terms = Terms { prohibited: rule.prohibited, ..own.clone() };
    if let Some(basis) = rule.legal_basis {
        terms.legal_basis = legal_basis(problems, &place.field("legal_basis"), basis);
    }
    if !rule.channels.is_empty() {
        terms.channels = texts(rule.channels);
    }
    if let Some(span) = rule.max_age {
        terms.max_age = rules::span(problems, &place.field("max_age"), span).or(terms.max_age);
    }
    if let Some(span) = rule.max_staleness {
        terms.max_staleness = rules::span(problems, &place.field("max_staleness"), span).unwrap_or(terms.max_staleness);
    }
    replace(&mut terms.covered_by_parent, rule.covered_by_parent);
    replace(&mut terms.special_category, rule.special_category);
    replace(&mut terms.honours_gpc, rule.honours_gpc);
    replace(&mut terms.despite_restriction, rule.despite_restriction);
    if let Some(rule) = rule.notice {
        terms.notice = Some(notice(problems, &place.field("notice"), rule, around));
    }
    for required in texts(rule.requires) {
        if !terms.requires.contains(&required) {
            terms.requires.push(required);
        }
    }
    if let Some(rule) = rule.accepts {
        terms.accepts = rules::acceptance(problems, &place.field("accepts"), rule);
    }
    if let Some(rule) = rule.minors {
        terms.minors = rules::minors(problems, &place.field("minors"), rule);
    }
    terms.quiet_hours.extend(quiet_hours(problems, place, rule.quiet_hours));
    if let Some(rule) = rule.tcf {
        terms.tcf = Some(rules::tcf(problems, &place.field("tcf"), rule));
    }
    if let Some(rule) = rule.gpp {
        terms.gpp = Some(rules::gpp(problems, &place.field("gpp"), rule));
    }
    Regional { regions: texts(rule.regions), source: rule.source.into(), terms }
}

fn replace<T>(own: &mut T, said: Option<T>) {
    if let Some(said) = said {
        *own = said;
    }
}

pub(super) fn texts(texts: Vec<String>) -> Vec<Box<str>> {
    texts.into_iter().map(Into::into).collect()
}

fn quiet_hours(problems: &mut Problems, place: &Place<'_>, hours: Vec<v1::QuietHours>) -> Vec<QuietHours> {
    let place = place.field("quiet_hours");
    if hours.len() > QUIET_HOURS_MAX {
        problems.add(place.to_string(), format!("more than {QUIET_HOURS_MAX}"));
        return Vec::new();
    }
    let one = |(index, hours)| rules::quiet_hours(problems, &place.at(index), hours);
    hours.into_iter().enumerate().map(one).collect()
}

/// The basis of a wire value. One that is missing is a problem, so that what stands in its place never decides.
fn legal_basis(problems: &mut Problems, place: &Place<'_>, wire: i32) -> LegalBasis {
    let basis = v1::LegalBasis::try_from(wire).ok().and_then(|wire| LegalBasis::try_from(wire).ok());
    basis.unwrap_or_else(|| {
        problems.add(place.to_string(), "missing, or not known to this version");
        LegalBasis::ExplicitConsent
    })
}

fn notice(problems: &mut Problems, place: &Place<'_>, rule: v1::NoticeRule, around: &Around) -> NoticeRule {
    let versions = around.notices.get(rule.id.as_str());
    let is_known = versions.is_some() || rule.id.is_empty() || rule.material_since > 0;
    if !is_known && !around.notices.is_empty() {
        let rule_text = "must be one of the catalogue's notices, or `material_since` be given";
        problems.add_value(place.field("id").to_string(), rule_text, &rule.id);
    }
    NoticeRule {
        id: rule.id.into(),
        material_since: rule.material_since,
        versions: versions.cloned().unwrap_or_default(),
    }
}
