//! Which parts of the question come from where, and the question that a request's attributes make.

use std::borrow::Cow;

use super::attributes::Attributes;
use super::source::{Field, Source, Sources};
use crate::domain::{Heard, Question, Signals};
use crate::enforcer::wellformed::{self, Malformed};
use crate::enforcer::{Ask, Token};

/// Where each part of the question comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// The space of a subject of which the sources give the id alone; without one they give `space:id`.
    pub subject_space: Option<String>,
    /// Whom it is about. Never empty, and so are the next two.
    pub subject: Sources,
    /// For what.
    pub purpose: Sources,
    /// Over which channel.
    pub channel: Sources,
    /// For whom.
    pub recipient: Sources,
    /// Where the subject is.
    pub jurisdiction: Sources,
    /// Where the subject's clock is.
    pub time_zone: Sources,
    /// `Sec-GPC`.
    pub sec_gpc: Sources,
    /// A TCF string.
    pub tcf: Sources,
    /// A GPP string.
    pub gpp: Sources,
    /// The token that the view must have reached.
    pub at_least_as_fresh: Sources,
}

/// What stands at the sources, not yet looked at.
#[derive(Debug)]
pub(super) struct Mapped<'a> {
    space: Option<&'a str>,
    subject: Cow<'a, str>,
    purpose: Cow<'a, str>,
    channel: Cow<'a, str>,
    recipient: Cow<'a, str>,
    jurisdiction: Cow<'a, str>,
    time_zone: Cow<'a, str>,
    sec_gpc: &'static str,
    tcf: Cow<'a, str>,
    gpp: Cow<'a, str>,
    at_least_as_fresh: Cow<'a, str>,
}

/// A well-formed question.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) ask: Ask<'a>,
    pub(super) at_least_as_fresh: Option<(Token, &'a str)>,
}

impl Mapping {
    /// Reads what stands at the sources.
    ///
    /// # Errors
    /// If something that is needed is not there, or something that is there cannot be told from something else.
    pub(super) fn read<'a>(&'a self, attributes: &Attributes<'a>) -> Result<Mapped<'a>, Malformed> {
        let needed = |sources: &'a Sources, field| {
            let found = first(sources, field, attributes)?;
            found.ok_or_else(|| Malformed::new(Field::name(field), "is missing: none of its sources is there"))
        };
        let optional = |sources: &'a Sources, field| Ok(first(sources, field, attributes)?.unwrap_or_default());
        Ok(Mapped {
            space: self.subject_space.as_deref(),
            subject: needed(&self.subject, Field::Subject)?,
            purpose: needed(&self.purpose, Field::Purpose)?,
            channel: needed(&self.channel, Field::Channel)?,
            recipient: optional(&self.recipient, Field::Recipient)?,
            jurisdiction: optional(&self.jurisdiction, Field::Jurisdiction)?,
            time_zone: optional(&self.time_zone, Field::TimeZone)?,
            sec_gpc: sec_gpc(&self.sec_gpc, attributes)?,
            tcf: consent_string(&self.tcf, Field::Tcf, attributes)?,
            gpp: consent_string(&self.gpp, Field::Gpp, attributes)?,
            at_least_as_fresh: optional(&self.at_least_as_fresh, Field::AtLeastAsFresh)?,
        })
    }
}

impl Mapped<'_> {
    /// The question that it makes.
    ///
    /// # Errors
    /// If a part of it is malformed.
    pub(super) fn asked(&self) -> Result<Asked<'_>, Malformed> {
        let (space, id) = match self.space {
            Some(space) => (space, &*self.subject),
            None => self.subject.split_once(':').ok_or_else(|| {
                Malformed::new(Field::Subject.name(), "is not written `space:id`, and has no space of its own")
            })?,
        };
        wellformed::subject(|| Field::Subject.name(), space, id)?;
        let signals = Signals { sec_gpc: self.sec_gpc, tcf: &self.tcf, gpp: &self.gpp };
        let question = Question {
            purpose: wellformed::purpose(Field::Purpose.name(), &self.purpose)?,
            channel: wellformed::channel(Field::Channel.name(), &self.channel)?,
            recipient: wellformed::recipient(Field::Recipient.name(), &self.recipient)?,
            jurisdiction: wellformed::jurisdiction(Field::Jurisdiction.name(), &self.jurisdiction)?,
            signals: wellformed::signals("signals", signals)?,
            heard: Heard::default(),
            max_staleness: None,
            time_zone: wellformed::time_zone(Field::TimeZone.name(), &self.time_zone)?,
        };
        let at_least_as_fresh = wellformed::token(Field::AtLeastAsFresh.name(), &self.at_least_as_fresh)?;
        Ok(Asked { ask: Ask { space, id, question }, at_least_as_fresh })
    }
}

/// The value at the first source where there is one. There, it must be one, and say something.
fn first<'a>(
    sources: &'a Sources,
    field: Field,
    attributes: &Attributes<'a>,
) -> Result<Option<Cow<'a, str>>, Malformed> {
    for source in &sources.0 {
        let mut found: Option<Cow<'a, str>> = None;
        let mut problem = None;
        attributes.each(source, |value| match value {
            Ok(_) if found.is_some() => problem = Some("has several values"),
            Ok(value) => found = Some(value),
            Err(why) => problem = Some(why),
        });
        if let Some(problem) = problem {
            return Err(Malformed::new(field.name(), problem));
        }
        match found {
            Some(found) if found.is_empty() => return Err(Malformed::new(field.name(), "is there and empty")),
            Some(found) => return Ok(Some(found)),
            None => {}
        }
    }
    Ok(None)
}

/// `1` where any source says so. Source: Global Privacy Control, section 3.2: of several headers one that is exactly `1`
/// counts, and whatever else a header says is no signal.
fn sec_gpc(sources: &Sources, attributes: &Attributes<'_>) -> Result<&'static str, Malformed> {
    let mut is_sent = false;
    for source in &sources.0 {
        let mut problem = None;
        attributes.each(source, |value| match value {
            Ok(value) => is_sent |= value == "1",
            Err(_) if matches!(source, Source::Header(_)) => {}
            Err(why) => problem = Some(why),
        });
        if let Some(problem) = problem {
            return Err(Malformed::new(Field::SecGpc.name(), problem));
        }
    }
    Ok(if is_sent { "1" } else { "" })
}

/// The one string that all sources together give; several that differ may not be told apart by taking one.
fn consent_string<'a>(
    sources: &'a Sources,
    field: Field,
    attributes: &Attributes<'a>,
) -> Result<Cow<'a, str>, Malformed> {
    let mut found: Cow<'a, str> = Cow::Borrowed("");
    let mut problem = None;
    for source in &sources.0 {
        attributes.each(source, |value| match value {
            Ok(value) if value.is_empty() || value == found => {}
            Ok(value) if found.is_empty() => found = value,
            Ok(_) => problem = Some("has several values"),
            Err(why) => problem = Some(why),
        });
    }
    problem.map_or(Ok(found), |problem| Err(Malformed::new(field.name(), problem)))
}

#[cfg(test)]
mod tests;
