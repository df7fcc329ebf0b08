//! The message that a catalogue of the domain is read from again.

use std::collections::BTreeMap;

use super::rules::DAYS;
use crate::domain::catalogue::{
    Acceptance, GppRule, MinorRule, MinorTreatment, NoticeRule, NoticeVersion, QuietHours, Recipient, Region, Regional,
    TcfRule, Terms, UnknownAge,
};
use crate::domain::{Catalogue, Purpose, Zone};
use crate::proto::time::{duration, timestamp};
use crate::proto::v1;

/// What a catalogue says, with every default written out.
pub(super) fn catalogue(catalogue: &Catalogue) -> v1::Catalogue {
    let channel = |(key, title): (&str, &str)| v1::Channel { key: key.to_owned(), title: title.to_owned() };
    v1::Catalogue {
        version: catalogue.version(),
        title: catalogue.title().to_owned(),
        channels: catalogue.channels().map(channel).collect(),
        purposes: catalogue.purposes().map(purpose).collect(),
        default_max_staleness: None,
        notices: notices(catalogue),
        regions: catalogue.regions().iter().map(region).collect(),
        recipients: catalogue.recipients().iter().map(recipient).collect(),
    }
}

fn purpose(purpose: &Purpose) -> v1::Purpose {
    let Purpose { key, title, description, terms, regional } = purpose;
    let own = terms;
    let Terms {
        // A whole purpose that is forbidden everywhere need not be in a catalogue; the wire has no word for it.
        prohibited: _,
        legal_basis,
        channels,
        max_age,
        max_staleness,
        covered_by_parent,
        special_category,
        notice,
        requires,
        honours_gpc,
        accepts,
        minors,
        despite_restriction,
        quiet_hours,
        tcf,
        gpp,
    } = terms;
    v1::Purpose {
        key: key.to_string(),
        title: title.to_string(),
        description: description.to_string(),
        legal_basis: v1::LegalBasis::from(*legal_basis).into(),
        channels: texts(channels),
        max_age: max_age.map(duration),
        max_staleness: Some(duration(*max_staleness)),
        covered_by_parent: *covered_by_parent,
        special_category: *special_category,
        notice: notice.as_ref().map(notice_rule),
        requires: texts(requires),
        honours_gpc: *honours_gpc,
        accepts: (*accepts != Acceptance::default()).then(|| acceptance(accepts)),
        minors: minors.map(minor_rule),
        despite_restriction: *despite_restriction,
        quiet_hours: quiet_hours.iter().map(hours).collect(),
        tcf: tcf.as_ref().map(tcf_rule),
        gpp: gpp.as_ref().map(gpp_rule),
        regional: regional.iter().map(|rule| regional_rule(rule, own)).collect(),
    }
}

/// What a region changes: whatever is as the purpose's own is not said.
fn regional_rule(rule: &Regional, own: &Terms) -> v1::RegionalRule {
    let Regional { regions, source, terms } = rule;
    v1::RegionalRule {
        regions: texts(regions),
        source: source.to_string(),
        prohibited: terms.prohibited,
        legal_basis: changed(&terms.legal_basis, &own.legal_basis, |basis| v1::LegalBasis::from(*basis).into()),
        channels: changed(&terms.channels, &own.channels, |channels| texts(channels)).unwrap_or_default(),
        max_age: changed(&terms.max_age, &own.max_age, |span| span.map(duration)).flatten(),
        max_staleness: changed(&terms.max_staleness, &own.max_staleness, |span| duration(*span)),
        covered_by_parent: changed(&terms.covered_by_parent, &own.covered_by_parent, |said| *said),
        special_category: changed(&terms.special_category, &own.special_category, |said| *said),
        notice: changed(&terms.notice, &own.notice, |rule| rule.as_ref().map(notice_rule)).flatten(),
        requires: texts(terms.requires.get(own.requires.len()..).unwrap_or_default()),
        honours_gpc: changed(&terms.honours_gpc, &own.honours_gpc, |said| *said),
        accepts: changed(&terms.accepts, &own.accepts, acceptance),
        minors: changed(&terms.minors, &own.minors, |rule| rule.map(minor_rule)).flatten(),
        despite_restriction: changed(&terms.despite_restriction, &own.despite_restriction, |said| *said),
        quiet_hours: terms.quiet_hours.iter().skip(own.quiet_hours.len()).map(hours).collect(),
        tcf: changed(&terms.tcf, &own.tcf, |rule| rule.as_ref().map(tcf_rule)).flatten(),
        gpp: changed(&terms.gpp, &own.gpp, |rule| rule.as_ref().map(gpp_rule)).flatten(),
    }
}

fn changed<T: PartialEq, W>(terms: &T, own: &T, wire: impl FnOnce(&T) -> W) -> Option<W> {
    (terms != own).then(|| wire(terms))
}

/// The notices that purposes took versions of.
fn notices(catalogue: &Catalogue) -> Vec<v1::NoticeText> {
    let all = catalogue.purposes().flat_map(|purpose| {
        let regional = purpose.regional.iter().map(|rule| &rule.terms);
        std::iter::once(&purpose.terms).chain(regional).filter_map(|terms| terms.notice.as_ref())
    });
    let known: BTreeMap<&str, &[NoticeVersion]> =
        all.filter(|rule| !rule.versions.is_empty()).map(|rule| (&*rule.id, &*rule.versions)).collect();
    let text = |(id, versions): (&str, &[NoticeVersion])| v1::NoticeText {
        id: id.to_owned(),
        title: String::new(),
        versions: versions.iter().map(notice_version).collect(),
    };
    known.into_iter().map(text).collect()
}

fn notice_version(version: &NoticeVersion) -> v1::NoticeVersion {
    let NoticeVersion { version, material, effective_at } = *version;
    let effective_at = effective_at.map(timestamp);
    v1::NoticeVersion { version, material, effective_at, languages: Vec::new(), url: String::new() }
}

fn region(region: &Region) -> v1::Region {
    let Region { key, title, members, zone } = region;
    v1::Region {
        key: key.to_string(),
        title: title.to_string(),
        members: texts(members),
        time_zone: zone.map_or_else(String::new, name),
    }
}

fn recipient(recipient: &Recipient) -> v1::Recipient {
    let Recipient { key, title, tcf_vendor } = recipient;
    v1::Recipient { key: key.to_string(), title: title.to_string(), tcf_vendor: tcf_vendor.map_or(0, u32::from) }
}

fn notice_rule(rule: &NoticeRule) -> v1::NoticeRule {
    v1::NoticeRule { id: rule.id.to_string(), material_since: rule.material_since }
}

fn acceptance(rule: &Acceptance) -> v1::Acceptance {
    v1::Acceptance { methods: texts(&rule.methods), proof_required: rule.proof_required }
}

fn minor_rule(rule: MinorRule) -> v1::MinorRule {
    let treatment = match rule.treatment {
        MinorTreatment::Deny => v1::MinorTreatment::Deny,
        MinorTreatment::Guardian => v1::MinorTreatment::Guardian,
    };
    let unknown_age = match rule.unknown_age {
        UnknownAge::Deny => v1::UnknownAge::Deny,
        UnknownAge::Adult => v1::UnknownAge::Adult,
    };
    v1::MinorRule { under: rule.under.into(), treatment: treatment.into(), unknown_age: unknown_age.into() }
}

fn hours(hours: &QuietHours) -> v1::QuietHours {
    let QuietHours { channels, from, until, days, zone } = hours;
    let time = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
    let named = |(day, is_meant): (&str, &bool)| is_meant.then(|| day.to_owned());
    v1::QuietHours {
        channels: texts(channels),
        from: time(*from),
        until: time(*until),
        days: DAYS.into_iter().zip(days).filter_map(named).collect(),
        time_zone: zone.map_or_else(String::new, name),
    }
}

fn tcf_rule(rule: &TcfRule) -> v1::TcfRule {
    let numbers = |numbers: &[u16]| numbers.iter().copied().map(u32::from).collect();
    v1::TcfRule { purposes: numbers(&rule.purposes), special_features: numbers(&rule.special_features) }
}

fn gpp_rule(rule: &GppRule) -> v1::GppRule {
    v1::GppRule {
        sale: rule.sale,
        sharing: rule.sharing,
        targeted_advertising: rule.targeted_advertising,
        sensitive_data: texts(&rule.sensitive_data),
        gpc: rule.gpc,
    }
}

fn texts(texts: &[Box<str>]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn name(zone: &Zone) -> String {
    zone.name().to_owned()
}
