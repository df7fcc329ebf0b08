//! Between the catalogue of the wire and the domain's.
//!
//! On the way in defaults are filled in, what regions do not say is taken from the purpose, and what several purposes
//! share (the versions of a notice) is handed to each. On the way out the same document need not come back, but one that
//! is read as the same catalogue.

mod encode;
mod place;
mod rules;
mod terms;

use std::collections::BTreeMap;

use prost::Message as _;

use self::place::Place;
use self::terms::Around;
use super::problem::{EventError, FieldProblem, Problems};
use super::validate::{self, LANGUAGE_BYTES_MAX, NOTICE_ID_BYTES_MAX};
use crate::domain::catalogue::{DEFAULT_MAX_STALENESS, NoticeVersion, REGIONAL_RULES_MAX, Recipient, Region};
use crate::domain::{Catalogue, CatalogueError, CatalogueParts, CatalogueProblem, Purpose};
use crate::proto::v1;

/// The domain's catalogue, if every field of the message is as it must be.
///
/// # Errors
/// With every field that is not, by its path in the document.
pub fn read_catalogue(wire: v1::Catalogue) -> Result<Catalogue, EventError> {
    let mut problems = Problems::default();
    let made = catalogue(&mut problems, &Place::root(""), wire);
    problems.into_result(made)
}

/// A catalogue as far as it could be read, and all that is wrong with it.
#[derive(Debug)]
pub struct Survey {
    /// What was read. Something stands in the place of what could not be.
    pub parts: CatalogueParts,
    /// The fields that could not be read, by their paths.
    pub unread: Vec<FieldProblem>,
    /// What is wrong with what was read. It may also be of what stands in the place of the unread.
    pub wrong: Vec<CatalogueProblem>,
}

/// Looks at a catalogue without making it one, for whoever tells a person what is wrong with it.
#[must_use]
pub fn survey(wire: v1::Catalogue) -> Survey {
    let mut problems = Problems::default();
    let parts = parts(&mut problems, &Place::root(""), wire);
    let wrong = Catalogue::new(parts.clone()).map_or_else(|wrong| wrong.into_iter().collect(), |_| Vec::new());
    Survey { parts, unread: problems.into_problems(), wrong }
}

/// Why the bytes of a catalogue do not give it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoredCatalogueError {
    /// They are no message.
    #[error("not the bytes of a catalogue: {0}")]
    Message(#[from] prost::DecodeError),
    /// Its fields are not as this version has them.
    #[error("not a catalogue of this version: {0}")]
    Invalid(#[from] EventError),
}

/// A catalogue as bytes, from which [`decode_catalogue`] makes the same.
///
/// INVARIANT: it was made by this room. One whose regions lack what their purpose has could not be said on the wire.
#[must_use]
pub fn encode_catalogue(catalogue: &Catalogue) -> Vec<u8> {
    encode::catalogue(catalogue).encode_to_vec()
}

/// The catalogue that [`encode_catalogue`] made bytes of.
///
/// # Errors
/// If they are of something else, or of a catalogue that this version would not take.
pub fn decode_catalogue(bytes: &[u8]) -> Result<Catalogue, StoredCatalogueError> {
    Ok(read_catalogue(v1::Catalogue::decode(bytes)?)?)
}

/// The catalogue of an event.
pub(super) fn of_event(problems: &mut Problems, wire: v1::Catalogue) -> Option<Catalogue> {
    catalogue(problems, &Place::root("catalogue"), wire)
}

/// Reads on after each problem, so that all are told at once. What is put in the place of what cannot be read never
/// decides anything: a catalogue with a problem is none.
fn catalogue(problems: &mut Problems, place: &Place<'_>, wire: v1::Catalogue) -> Option<Catalogue> {
    match Catalogue::new(parts(problems, place, wire)) {
        Ok(catalogue) => Some(catalogue),
        Err(found) => {
            found.into_iter().for_each(|found| add(problems, place, found));
            None
        }
    }
}

fn parts(problems: &mut Problems, place: &Place<'_>, wire: v1::Catalogue) -> CatalogueParts {
    let default_max_staleness =
        wire.default_max_staleness.and_then(|span| rules::span(problems, &place.field("default_max_staleness"), span));
    let around = Around {
        max_staleness: default_max_staleness.unwrap_or(DEFAULT_MAX_STALENESS),
        notices: notices(problems, &place.field("notices"), wire.notices),
    };
    let purposes = (wire.purposes.into_iter().enumerate())
        .map(|(index, purpose)| self::purpose(problems, &place.field("purposes").at(index), purpose, &around))
        .collect();
    CatalogueParts {
        version: wire.version,
        title: wire.title.into(),
        channels: wire.channels.into_iter().map(|channel| (channel.key.into(), channel.title.into())).collect(),
        purposes,
        regions: regions(problems, &place.field("regions"), wire.regions),
        recipients: recipients(problems, &place.field("recipients"), wire.recipients),
    }
}

fn purpose(problems: &mut Problems, place: &Place<'_>, mut wire: v1::Purpose, around: &Around) -> Purpose {
    let (key, title, description) =
        (wire.key.clone().into(), wire.title.clone().into(), wire.description.clone().into());
    let mut said = std::mem::take(&mut wire.regional);
    let terms = terms::own(problems, place, wire, around);
    let place = place.field("regional");
    // Each is made whole, so that too many would fill the memory before they are refused.
    said.truncate(REGIONAL_RULES_MAX + 1);
    let regional = (said.into_iter().enumerate())
        .map(|(index, rule)| terms::regional(problems, &place.at(index), rule, &terms, around))
        .collect();
    Purpose { key, title, description, terms, regional }
}

/// The versions of each notice, by number.
fn notices(
    problems: &mut Problems,
    place: &Place<'_>,
    notices: Vec<v1::NoticeText>,
) -> BTreeMap<Box<str>, Vec<NoticeVersion>> {
    let mut known = BTreeMap::new();
    for (index, notice) in notices.into_iter().enumerate() {
        let place = place.at(index);
        rules::name(problems, &place.field("id"), &notice.id, NOTICE_ID_BYTES_MAX);
        let versions = self::versions(problems, &place.field("versions"), notice.versions);
        if known.contains_key(notice.id.as_str()) {
            problems.add_value(place.field("id").to_string(), "must be another than those before", &notice.id);
        }
        known.insert(notice.id.into(), versions);
    }
    known
}

fn versions(problems: &mut Problems, place: &Place<'_>, versions: Vec<v1::NoticeVersion>) -> Vec<NoticeVersion> {
    if versions.is_empty() {
        problems.add(place.to_string(), "missing: a notice without a version was never shown to anybody");
    }
    let mut read: Vec<NoticeVersion> = Vec::with_capacity(versions.len());
    for (index, wire) in versions.into_iter().enumerate() {
        let place = place.at(index);
        if wire.version == 0 {
            problems.add(place.field("version").to_string(), "must be at least 1");
        }
        let languages = place.field("languages");
        for (index, language) in wire.languages.iter().enumerate() {
            if language.is_empty() || language.len() > LANGUAGE_BYTES_MAX || !validate::is_language_tag(language) {
                problems.add_value(languages.at(index).to_string(), "must be a BCP 47 tag, such as `tr`", language);
            }
        }
        let effective_at =
            wire.effective_at.and_then(|time| validate::time(problems, place.field("effective_at").to_string(), time));
        match read.binary_search_by_key(&wire.version, |version| version.version) {
            Ok(_) => {
                let text = wire.version.to_string();
                problems.add_value(place.field("version").to_string(), "must be another than those before", &text);
            }
            Err(at) => read.insert(at, NoticeVersion { version: wire.version, material: wire.material, effective_at }),
        }
    }
    read
}

fn regions(problems: &mut Problems, place: &Place<'_>, regions: Vec<v1::Region>) -> Vec<Region> {
    let mut read = Vec::with_capacity(regions.len());
    for (index, wire) in regions.into_iter().enumerate() {
        let zone = rules::zone(problems, &place.at(index).field("time_zone"), &wire.time_zone);
        let members = terms::texts(wire.members);
        read.push(Region { key: wire.key.into(), title: wire.title.into(), members, zone });
    }
    read
}

fn recipients(problems: &mut Problems, place: &Place<'_>, recipients: Vec<v1::Recipient>) -> Vec<Recipient> {
    let mut read = Vec::with_capacity(recipients.len());
    for (index, wire) in recipients.into_iter().enumerate() {
        let tcf_vendor = u16::try_from(wire.tcf_vendor).ok();
        if tcf_vendor.is_none() {
            let place = place.at(index).field("tcf_vendor").to_string();
            problems.add_value(place, "must be a number of the Global Vendor List", &wire.tcf_vendor.to_string());
        }
        let tcf_vendor = tcf_vendor.filter(|vendor| *vendor != 0);
        read.push(Recipient { key: wire.key.into(), title: wire.title.into(), tcf_vendor });
    }
    read
}

/// The domain's problem. What may be no well-formed key, and so anything, is kept apart as its value.
fn add(problems: &mut Problems, place: &Place<'_>, found: CatalogueProblem) {
    let path = place.below(&found.path);
    let text = found.problem.to_string();
    match found.problem {
        CatalogueError::Key { key, rule, .. } => problems.add_value(path, format!("must be {rule}"), &key),
        CatalogueError::Twice { key } => problems.add_value(path, "must stand once", &key),
        CatalogueError::UnknownChannel { purpose, channel } => {
            let rule = format!("purpose `{purpose}` uses a channel that is not among the catalogue's");
            problems.add_value(path, rule, &channel);
        }
        CatalogueError::UnknownRequired { purpose, required } => {
            let rule = format!("purpose `{purpose}` requires a purpose that the catalogue does not name");
            problems.add_value(path, rule, &required);
        }
        CatalogueError::UnknownRegion { region } => {
            problems.add_value(path, "must be a code of ISO 3166 or a group among the catalogue's regions", &region);
        }
        CatalogueError::EmptyGroup { region } => problems.add_value(path, "a group needs members", &region),
        CatalogueError::NotACode { member } => {
            problems.add_value(path, "must be a code of ISO 3166: a group's members are no groups", &member);
        }
        CatalogueError::GroupZone { region } => {
            problems.add_value(path, "a group has no time zone of its own: give it to the members", &region);
        }
        CatalogueError::NoticeVersions { purpose, notice } => {
            let rule = format!("purpose `{purpose}` demands a notice whose versions do not count upwards from 1");
            problems.add_value(path, rule, &notice);
        }
        CatalogueError::Version
        | CatalogueError::NoPurposes
        | CatalogueError::NoChannel { .. }
        | CatalogueError::RequiresCircle { .. }
        | CatalogueError::ZeroSpan { .. }
        | CatalogueError::SpecialCategory { .. }
        | CatalogueError::NoRegion { .. }
        | CatalogueError::TooManyRegional { .. }
        | CatalogueError::NoticeId { .. }
        | CatalogueError::Age { .. }
        | CatalogueError::TimeOfDay { .. }
        | CatalogueError::NoDay { .. }
        | CatalogueError::Tcf { .. } => problems.add(path, text),
    }
}

#[cfg(test)]
mod tests;
