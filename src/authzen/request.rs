//! The entities of a request: what the standard demands of each, and what of theirs makes a question.
//!
//! Source: Authorization API 1.0, sections 5 and 6.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::json::{inside, members, text};
use crate::domain::{self, SubjectError};
use crate::enforcer::wellformed::{self, Malformed};

/// Words of ours that may stand in an entity's properties or in the context.
pub(super) const WORDS: [&str; 8] =
    ["recipient", "jurisdiction", "time_zone", "sec_gpc", "tcf", "gpp", "max_staleness", "at_least_as_fresh"];

/// What the purpose of a resource begins with that is of another type.
///
/// INVARIANT: no purpose of a catalogue has a colon, so that none can be meant by it.
const OTHER_TYPE: &str = "type:";

/// One evaluation, or the defaults of several: what is there of it, each part well-formed.
#[derive(Debug, Clone, Default)]
pub(super) struct Evaluation<'a> {
    pub(super) subject: Option<Subject<'a>>,
    pub(super) action: Option<Action<'a>>,
    pub(super) resource: Option<Resource<'a>>,
    pub(super) context: Option<Said<'a>>,
}

/// Whom the data is about. Personal data: it is in no error.
#[derive(Clone)]
pub(super) struct Subject<'a> {
    pub(super) space: Cow<'a, str>,
    pub(super) id: Cow<'a, str>,
    pub(super) said: Said<'a>,
}

/// How the subject would be reached.
#[derive(Debug, Clone)]
pub(super) struct Action<'a> {
    pub(super) channel: Cow<'a, str>,
    pub(super) said: Said<'a>,
}

/// What the data would be processed for.
#[derive(Debug, Clone)]
pub(super) struct Resource<'a> {
    pub(super) purpose: Cow<'a, str>,
    pub(super) said: Said<'a>,
}

/// What an entity's properties, or the context, say in the order of [`WORDS`]; mostly nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Said<'a>(pub(super) Option<Box<[Option<Cow<'a, str>>; WORDS.len()]>>);

/// The members of an evaluation.
pub(super) const ENTITIES: [&str; 4] = ["subject", "action", "resource", "context"];

impl<'a> Evaluation<'a> {
    /// Reads what is there of the four.
    ///
    /// # Errors
    /// If something that is there is malformed; what is missing is for others to say.
    pub(super) fn read(
        [subject, action, resource, context]: [Option<&'a RawValue>; 4],
        resource_type: &str,
    ) -> Result<Self, Malformed> {
        Ok(Self {
            subject: subject.map(Subject::read).transpose()?,
            action: action.map(Action::read).transpose()?,
            resource: resource.map(|resource| Resource::read(resource, resource_type)).transpose()?,
            context: context.map(|context| Said::read(Some(context), "context")).transpose()?,
        })
    }
}

impl<'a> Subject<'a> {
    fn read(json: &'a RawValue) -> Result<Self, Malformed> {
        let [kind, id, properties] = members(json, "subject", ["type", "id", "properties"])?;
        let (space, id) = (required(kind, "subject.type")?, required(id, "subject.id")?);
        domain::Subject::check(&space, &id).map_err(|error| {
            let place = match error {
                SubjectError::Space => "subject.type",
                SubjectError::Id | SubjectError::NoSpace => "subject.id",
            };
            Malformed::new(place, format_args!("is malformed: {error}"))
        })?;
        Ok(Self { space, id, said: Said::read(properties, "subject.properties")? })
    }
}

impl std::fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject").field("space", &self.space).finish_non_exhaustive()
    }
}

impl<'a> Action<'a> {
    fn read(json: &'a RawValue) -> Result<Self, Malformed> {
        let [name, properties] = members(json, "action", ["name", "properties"])?;
        let channel = required(name, "action.name")?;
        wellformed::channel("action.name", &channel)?;
        Ok(Self { channel, said: Said::read(properties, "action.properties")? })
    }
}

impl<'a> Resource<'a> {
    fn read(json: &'a RawValue, resource_type: &str) -> Result<Self, Malformed> {
        let [kind, id, properties] = members(json, "resource", ["type", "id", "properties"])?;
        let (kind, id) = (required(kind, "resource.type")?, required(id, "resource.id")?);
        let said = Said::read(properties, "resource.properties")?;
        if kind == resource_type {
            wellformed::purpose("resource.id", &id)?;
            return Ok(Self { purpose: id, said });
        }
        // Well-formed and about something that no catalogue knows: denied with evidence, which names the type. The id is
        // left out of it: of what it is an id nobody here can tell, it may be a person's.
        let purpose = format!("{OTHER_TYPE}{kind}");
        wellformed::purpose("resource.type", &purpose)?;
        Ok(Self { purpose: Cow::Owned(purpose), said })
    }
}

impl<'a> Said<'a> {
    fn read(json: Option<&'a RawValue>, place: &str) -> Result<Self, Malformed> {
        let Some(json) = json else { return Ok(Self::default()) };
        let found = members(json, place, WORDS)?;
        if found.iter().all(Option::is_none) {
            return Ok(Self::default());
        }
        let mut said = [const { None }; WORDS.len()];
        for ((value, json), word) in said.iter_mut().zip(found).zip(WORDS) {
            *value = json.map(|json| text(json, &inside(place, word))).transpose()?;
        }
        Ok(Self(Some(Box::new(said))))
    }
}

/// A text that must be there, and not be empty.
fn required<'a>(json: Option<&'a RawValue>, place: &str) -> Result<Cow<'a, str>, Malformed> {
    let text = text(json.ok_or_else(|| Malformed::new(place, "is missing"))?, place)?;
    wellformed::present(place, &text)?;
    Ok(text)
}
