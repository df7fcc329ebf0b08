//! Makes a catalogue of the wire the domain's.

use std::borrow::Cow;
use std::time::Duration;

use crate::domain::catalogue::{DEFAULT_MAX_STALENESS, NoticeRule};
use crate::domain::{Catalogue, CatalogueError, CatalogueParts, CatalogueProblem, LegalBasis, Purpose, Terms};
use crate::proto::v1;

use super::problem::Problems;
use super::validate::legal_basis;

/// The domain's catalogue, with the defaults filled in.
pub(super) fn catalogue(problems: &mut Problems, catalogue: v1::Catalogue) -> Option<Catalogue> {
    let default_max_staleness = match catalogue.default_max_staleness {
        None => Some(DEFAULT_MAX_STALENESS),
        Some(span) => self::span(problems, "catalogue.default_max_staleness".into(), span),
    };
    let channels = catalogue.channels.into_iter().map(|c| (c.key.into(), c.title.into())).collect();
    // All are looked at, so that all problems are told at once.
    let purposes: Vec<Option<Purpose>> = catalogue
        .purposes
        .into_iter()
        .enumerate()
        .map(|(index, purpose)| self::purpose(problems, index, purpose, default_max_staleness))
        .collect();
    let purposes = purposes.into_iter().collect::<Option<Vec<Purpose>>>()?;
    match Catalogue::new(CatalogueParts {
        version: catalogue.version,
        title: catalogue.title.into(),
        channels,
        purposes,
        ..CatalogueParts::default()
    }) {
        Ok(catalogue) => Some(catalogue),
        Err(found) => {
            found.into_iter().for_each(|problem| add(problems, problem));
            None
        }
    }
}

fn purpose(
    problems: &mut Problems,
    index: usize,
    purpose: v1::Purpose,
    default_max_staleness: Option<Duration>,
) -> Option<Purpose> {
    let field = |name: &str| Cow::Owned(format!("catalogue.purposes[{index}].{name}"));
    // Unspecified is found here; the purposes' other rules are the domain's.
    let legal_basis: Option<LegalBasis> = legal_basis(problems, field("legal_basis"), purpose.legal_basis);
    let max_age = purpose.max_age.map(|span| self::span(problems, field("max_age"), span));
    let max_staleness = match purpose.max_staleness {
        None => default_max_staleness,
        Some(span) => self::span(problems, field("max_staleness"), span),
    };
    if purpose.notice.as_ref().is_some_and(|notice| notice.id.is_empty()) {
        problems.add(field("notice.id"), "missing");
    }
    let terms = Terms {
        legal_basis: legal_basis?,
        channels: purpose.channels.into_iter().map(Into::into).collect(),
        max_age: max_age.map_or(Some(None), |span| span.map(Some))?,
        max_staleness: max_staleness?,
        covered_by_parent: purpose.covered_by_parent,
        special_category: purpose.special_category,
        notice: purpose.notice.map(|n| NoticeRule {
            id: n.id.into(),
            material_since: n.material_since,
            versions: Vec::new(),
        }),
        requires: purpose.requires.into_iter().map(Into::into).collect(),
        honours_gpc: purpose.honours_gpc,
        ..Terms::default()
    };
    Some(Purpose {
        title: purpose.title.into(),
        description: purpose.description.into(),
        ..Purpose::new(&purpose.key, terms)
    })
}

fn span(problems: &mut Problems, field: Cow<'static, str>, span: pbjson_types::Duration) -> Option<Duration> {
    // Another count of nanoseconds would have another text, and so another length when it is read back.
    let is_canonical = (0..1_000_000_000).contains(&span.nanos);
    let made = Duration::try_from(span).ok().filter(|span| is_canonical && !span.is_zero());
    if made.is_none() {
        problems.add(field, "must be longer than zero");
    }
    made
}

/// The domain's problem, with what may not be a well-formed key kept apart.
fn add(problems: &mut Problems, found: CatalogueProblem) {
    let path = format!("catalogue.{}", found.path);
    match found.problem {
        CatalogueError::Key { key, rule, .. } => problems.add_value(path, format!("must be {rule}"), &key),
        CatalogueError::UnknownChannel { purpose, channel } => {
            let rule = format!("purpose `{purpose}` uses a channel that is not among the catalogue's");
            problems.add_value(path, rule, &channel);
        }
        CatalogueError::UnknownRequired { purpose, required } => {
            let rule = format!("purpose `{purpose}` requires a purpose that the catalogue does not name");
            problems.add_value(path, rule, &required);
        }
        CatalogueError::Twice { key } => problems.add_value(path, "must stand once", &key),
        CatalogueError::UnknownRegion { region } => {
            problems.add_value(path, "must be a code of ISO 3166 or a group of the catalogue", &region);
        }
        CatalogueError::NotACode { member } => problems.add_value(path, "must be a code of ISO 3166", &member),
        CatalogueError::EmptyGroup { region } => problems.add_value(path, "a group needs members", &region),
        other => problems.add(path, other.to_string()),
    }
}
