//! The data uses of a taxonomy of fideslang, as the purposes of a catalogue.
//!
//! A data use says what data is processed for, and nothing of the ground, of channels or of consent. So the ground and the
//! channels are given besides, and all else is what demands most: no parent's consent covers a child, nothing is excepted.
//!
//! Source: fideslang 3.1, `DataUse`.

use std::collections::BTreeSet;

use yaml_rust2::yaml::Hash;
use yaml_rust2::{Yaml, YamlLoader};

use crate::domain::LegalBasis;
use crate::domain::catalogue::check_purpose;
use crate::ledger::codec::read_catalogue;
use crate::proto::v1;

/// What a taxonomy does not say.
#[derive(Debug, Clone)]
pub struct Purposes {
    /// The version of the catalogue.
    pub version: u64,
    /// Its title.
    pub title: String,
    /// The ground of every purpose.
    pub legal_basis: LegalBasis,
    /// The channels that every purpose uses.
    pub channels: Vec<String>,
}

/// What became of a taxonomy.
#[derive(Debug, Clone, PartialEq)]
pub struct Fideslang {
    /// A catalogue that can be published.
    pub catalogue: v1::Catalogue,
    /// The data uses that are none of its purposes.
    pub left_out: Vec<LeftOut>,
}

/// A data use that is no purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its key.
    pub key: String,
    /// Why.
    pub why: String,
}

/// Why a taxonomy is no catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FideslangError {
    /// It is neither YAML nor JSON.
    #[error("neither YAML nor JSON: {0}")]
    Syntax(String),
    /// It holds no data uses.
    #[error("no data uses; a taxonomy has a list `data_use`, or is one")]
    None,
    /// Entries are no data uses, each with its number.
    #[error("{}", .0.join("\n"))]
    Entries(Vec<String>),
    /// What was given besides makes no catalogue.
    #[error("no catalogue that can be published: {0}")]
    Catalogue(String),
}

/// A data use that is in force.
struct DataUse {
    number: usize,
    key: String,
    parent: Option<String>,
    name: String,
    description: String,
}

/// The purposes that a taxonomy's data uses are, in YAML or JSON.
///
/// # Errors
/// With every entry that is no data use, or for what was given besides.
pub fn from_fideslang(text: &str, besides: &Purposes) -> Result<Fideslang, FideslangError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let documents = YamlLoader::load_from_str(text).map_err(|error| FideslangError::Syntax(error.to_string()))?;
    let entries = documents.iter().find_map(entries).ok_or(FideslangError::None)?;
    let (mut uses, mut left_out, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for (entry, number) in entries.iter().zip(1..) {
        match data_use(entry, number) {
            Ok((key, _)) if !seen.insert(key.clone()) => {
                problems.push(format!("entry {number} (`{key}`): stands twice"));
            }
            Ok((_, Kept::Used(data_use))) => uses.push(data_use),
            Ok((key, Kept::LeftOut(why))) => left_out.push(LeftOut { key, why }),
            Err(problem) => problems.push(problem),
        }
    }
    let keys: BTreeSet<&str> = uses.iter().map(|data_use| data_use.key.as_str()).collect();
    for DataUse { number, key, parent, .. } in &uses {
        if let Some(parent) = parent
            && !keys.contains(parent.as_str())
        {
            problems.push(format!("entry {number} (`{key}`): its parent `{parent}` is none of the purposes"));
        }
    }
    if !problems.is_empty() {
        return Err(FideslangError::Entries(problems));
    }
    if uses.is_empty() {
        return Err(FideslangError::None);
    }
    let catalogue = besides.catalogue(uses);
    read_catalogue(catalogue.clone()).map_err(|error| FideslangError::Catalogue(error.to_string()))?;
    Ok(Fideslang { catalogue, left_out })
}

impl Purposes {
    fn catalogue(&self, uses: Vec<DataUse>) -> v1::Catalogue {
        let purpose = |DataUse { key, name, description, .. }| v1::Purpose {
            key,
            title: name,
            description,
            legal_basis: v1::LegalBasis::from(self.legal_basis).into(),
            channels: self.channels.clone(),
            ..v1::Purpose::default()
        };
        let channel = |key: &String| v1::Channel { key: key.clone(), ..v1::Channel::default() };
        v1::Catalogue {
            version: self.version,
            title: self.title.clone(),
            channels: self.channels.iter().map(channel).collect(),
            purposes: uses.into_iter().map(purpose).collect(),
            ..v1::Catalogue::default()
        }
    }
}

/// What becomes of an entry.
enum Kept {
    Used(DataUse),
    LeftOut(String),
}

/// The list of data uses in a document.
fn entries(document: &Yaml) -> Option<&Vec<Yaml>> {
    match document {
        Yaml::Array(entries) => Some(entries),
        Yaml::Hash(members) => ["data_use", "data_uses"].iter().find_map(|name| member(members, name)?.as_vec()),
        _ => None,
    }
}

fn member<'y>(members: &'y Hash, name: &str) -> Option<&'y Yaml> {
    members.get(&Yaml::String(name.to_owned())).filter(|value| !value.is_null())
}

/// The key of an entry and what becomes of it, or the sentence that says what is wrong with it.
fn data_use(entry: &Yaml, number: usize) -> Result<(String, Kept), String> {
    let members = entry.as_hash().ok_or_else(|| format!("entry {number}: not the fields of a data use"))?;
    let key = member(members, "fides_key").ok_or_else(|| format!("entry {number}: `fides_key` is missing"))?;
    let key = key.as_str().ok_or_else(|| format!("entry {number}: `fides_key` must be a text"))?;
    let wrong = |what: String| format!("entry {number} (`{key}`): {what}");
    check_purpose("fides_key", key).map_err(|error| wrong(error.to_string()))?;
    let text = |name: &str| match member(members, name) {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or_else(|| wrong(format!("`{name}` must be a text"))),
    };
    let is_active = match member(members, "active") {
        None => true,
        Some(value) => value.as_bool().ok_or_else(|| wrong("`active` must be true or false".to_owned()))?,
    };
    let parent = text("parent_key")?;
    let above = key.rsplit_once('.').map(|(above, _)| above);
    if parent != above {
        let expected = above.map_or_else(|| "none, as its key has no dot".to_owned(), |above| format!("`{above}`"));
        return Err(wrong(format!("`parent_key` must be {expected}")));
    }
    let (name, description) = (text("name")?, text("description")?);
    let kept = match (is_active, text("version_deprecated")?, text("replaced_by")?) {
        (false, ..) => Kept::LeftOut("it is not active".to_owned()),
        (true, Some(version), by) => {
            let by = by.map_or_else(String::new, |by| format!(", and replaced by `{by}`"));
            Kept::LeftOut(format!("it is deprecated since {version}{by}"))
        }
        (true, None, _) => Kept::Used(DataUse {
            number,
            key: key.to_owned(),
            parent: parent.map(str::to_owned),
            name: name.unwrap_or_default().to_owned(),
            description: description.unwrap_or_default().to_owned(),
        }),
    };
    Ok((key.to_owned(), kept))
}
