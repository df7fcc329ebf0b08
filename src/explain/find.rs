//! Finding the answer that an evidence id names, for whoever names its subject.

use std::path::PathBuf;

use super::Recorded;
use crate::evidence::{Archive, Cause, EvidenceId, Instance, KeyPlaces, NoKey, folder_of};

/// Where evidence is looked for.
#[derive(Debug, Clone)]
pub struct Place {
    /// The folder of one sidecar's evidence, or one into which that of many was collected.
    pub dir: PathBuf,
    /// Where the months' keys are found besides.
    pub keys: KeyPlaces,
    /// Whether an answer may be taken for the subject's where the key is not there to tell.
    pub without_key: bool,
}

/// An answer that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The answer.
    pub recorded: Recorded,
    /// Whether the month's key says that it is about the subject.
    pub is_proved: bool,
}

/// Why no answer was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// It is not in this log.
    #[error(
        "the evidence is of the instance {0}, and this is the log of {1}; ask that sidecar, or use `consentd explain \
         --evidence` with a folder of collected evidence"
    )]
    OtherInstance(Instance, Instance),
    /// There is no such record.
    #[error("there is no evidence `{0}`")]
    Nothing(EvidenceId),
    /// It is not here any more.
    #[error(
        "the evidence `{0}` was shipped to the central stream and removed here; use `consentd explain --evidence` with a \
         folder of collected evidence"
    )]
    Removed(EvidenceId),
    /// Whoever asks may not ask about any purpose that stands there.
    #[error("this caller may not ask about the purpose that the evidence is about")]
    NotPermitted,
    /// It is not about the subject. It is not said about whom it is.
    #[error("the evidence `{0}` holds no answer about the subject that was named")]
    NotAbout(EvidenceId),
    /// It has several answers about the subject.
    #[error("the evidence `{0}` holds several answers about the subject; name one, such as `{0}#{1}`")]
    Several(EvidenceId, u32),
    /// Nobody can be found in the month.
    #[error("without the month's key nobody can tell whom the evidence is about: {0}")]
    NoKey(NoKey),
    /// The log cannot be read.
    #[error("the evidence cannot be read: {0}")]
    Unreadable(#[from] Cause),
}

/// The answer about a subject, given as `space:id`, that an id names, among those for whose purpose and channel `may_ask`
/// says yes. Reads files, and blocks meanwhile.
///
/// # Errors
/// If there is none that may be told.
pub fn find(
    place: &Place,
    id: EvidenceId,
    subject: &str,
    may_ask: impl Fn(&str, &str) -> bool,
) -> Result<Found, FindError> {
    let archive = Archive::open(&folder_of(&place.dir, id.instance))?;
    if archive.instance() != id.instance {
        return Err(FindError::OtherInstance(id.instance, archive.instance()));
    }
    let record_id = EvidenceId { question: None, ..id };
    let Some(record) = archive.find(&record_id)? else {
        let is_removed = id.index < archive.removed(id.month)?;
        return Err(if is_removed { FindError::Removed(record_id) } else { FindError::Nothing(record_id) });
    };
    let mut answers = Recorded::all(record_id, &record);
    if let Some(question) = id.question {
        let is_only = answers.len() == 1 && question == 0;
        answers.retain(|answer| is_only || answer.id.question == Some(question));
        if answers.is_empty() {
            return Err(FindError::Nothing(id));
        }
    }
    // Before the subject is looked at: who may not ask learns nothing about whom it is.
    answers.retain(|answer| may_ask(&answer.purpose, &answer.channel));
    if answers.is_empty() {
        return Err(FindError::NotPermitted);
    }
    let key = match archive.with_keys(place.keys.clone()).month(id.month) {
        Ok(key) => key,
        Err(NoKey::Unusable(cause)) => return Err(cause.into()),
        Err(no_key) => {
            return match <[Recorded; 1]>::try_from(answers) {
                Ok([recorded]) if place.without_key => Ok(Found { recorded, is_proved: false }),
                _ => Err(FindError::NoKey(no_key)),
            };
        }
    };
    let tag = key.tag(subject);
    answers.retain(|answer| answer.tag == tag);
    let mut about = answers.into_iter();
    match (about.next(), about.next()) {
        (Some(recorded), None) => Ok(Found { recorded, is_proved: true }),
        (Some(first), Some(_)) => Err(FindError::Several(record_id, first.id.question.unwrap_or(0))),
        (None, _) => Err(FindError::NotAbout(id)),
    }
}
