//! What a well-formed question is. Checks only what makes it one: a purpose that no catalogue names is well-formed.

use std::borrow::Cow;

use tonic::Status;

use super::ask;
use super::status::malformed;
use crate::domain::catalogue::{CHANNEL_BYTES_MAX, PURPOSE_BYTES_MAX, RECIPIENT_BYTES_MAX};
use crate::domain::{Question, Signals, Subject, SubjectError, is_jurisdiction};
use crate::enforcer::{Ask, Token};
use crate::proto::time::span;
use crate::proto::v1;

/// The longest `Sec-GPC` value, in bytes: the only meaningful one has one.
const SEC_GPC_BYTES_MAX: usize = 16;
/// The longest TCF or GPP string, in bytes: a string that discloses all vendors stays below.
const CONSENT_STRING_BYTES_MAX: usize = 16 * 1024;
/// The longest ledger token, in bytes.
const TOKEN_BYTES_MAX: usize = 64;

/// A single question, checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) ask: Ask<'a>,
    pub(super) at_least_as_fresh: Option<(Token, &'a str)>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(message: Option<&'a v1::Question>) -> Result<Self, Status> {
        let message = message.ok_or_else(|| malformed("question", "is missing"))?;
        let subject = subject("question.subject", message.subject.as_ref())?;
        let question = Question {
            purpose: name("question.purpose", &message.purpose, PURPOSE_BYTES_MAX)?,
            channel: name("question.channel", &message.channel, CHANNEL_BYTES_MAX)?,
            recipient: text("question.recipient", &message.recipient, RECIPIENT_BYTES_MAX)?,
            jurisdiction: jurisdiction("question.jurisdiction", &message.jurisdiction)?,
            signals: signals("question.signals", message.signals.as_ref())?,
            max_staleness: max_staleness("question.max_staleness", message.max_staleness.as_ref())?,
        };
        let at_least_as_fresh = token("question.at_least_as_fresh", &message.at_least_as_fresh)?;
        Ok(Self { ask: ask(subject, question), at_least_as_fresh })
    }
}

/// What the questions of a batch share, checked as far as it is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shared<'a> {
    pub(super) question: Question<'a>,
    pub(super) at_least_as_fresh: Option<(Token, &'a str)>,
}

impl<'a> Shared<'a> {
    pub(super) fn new(context: &'a v1::Context) -> Result<Self, Status> {
        let question = Question {
            purpose: text("context.purpose", &context.purpose, PURPOSE_BYTES_MAX)?,
            channel: text("context.channel", &context.channel, CHANNEL_BYTES_MAX)?,
            recipient: text("context.recipient", &context.recipient, RECIPIENT_BYTES_MAX)?,
            jurisdiction: jurisdiction("context.jurisdiction", &context.jurisdiction)?,
            signals: signals("context.signals", context.signals.as_ref())?,
            max_staleness: max_staleness("context.max_staleness", context.max_staleness.as_ref())?,
        };
        Ok(Self { question, at_least_as_fresh: token("context.at_least_as_fresh", &context.at_least_as_fresh)? })
    }

    /// The questions of a batch, each with what it does not say itself taken from here.
    pub(super) fn asks<'b>(&self, questions: &'b [v1::BatchQuestion]) -> Result<Vec<Ask<'b>>, Status>
    where
        'a: 'b,
    {
        questions.iter().enumerate().map(|(index, own)| self.ask(index, own)).collect()
    }

    fn ask<'b>(&self, index: usize, own: &'b v1::BatchQuestion) -> Result<Ask<'b>, Status>
    where
        'a: 'b,
    {
        let field = Indexed(index);
        let subject = subject_at(|| Cow::Owned(field.name("subject")), own.subject.as_ref())?;
        let mut question: Question<'b> = self.question;
        if let Some(purpose) = &own.purpose {
            question.purpose = text(&field.name("purpose"), purpose, PURPOSE_BYTES_MAX)?;
        }
        if let Some(channel) = &own.channel {
            question.channel = text(&field.name("channel"), channel, CHANNEL_BYTES_MAX)?;
        }
        if let Some(recipient) = &own.recipient {
            question.recipient = text(&field.name("recipient"), recipient, RECIPIENT_BYTES_MAX)?;
        }
        if let Some(code) = &own.jurisdiction {
            question.jurisdiction = jurisdiction(&field.name("jurisdiction"), code)?;
        }
        if let Some(own) = &own.signals {
            question.signals = signals(&field.name("signals"), Some(own))?;
        }
        if question.purpose.is_empty() {
            return Err(malformed(field.name("purpose"), "is missing, here and in the context"));
        }
        if question.channel.is_empty() {
            return Err(malformed(field.name("channel"), "is missing, here and in the context"));
        }
        Ok(ask(subject, question))
    }
}

/// A question's place in a batch, whose name is only made when something is wrong with it.
#[derive(Debug, Clone, Copy)]
struct Indexed(usize);

impl Indexed {
    fn name(self, field: &str) -> String {
        format!("questions[{}].{field}", self.0)
    }
}

/// A token with its text; an empty one was not asked for.
pub(super) fn token<'a>(field: &str, token: &'a str) -> Result<Option<(Token, &'a str)>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    if token.len() > TOKEN_BYTES_MAX {
        return Err(malformed(field, format_args!("is longer than {TOKEN_BYTES_MAX} bytes")));
    }
    let parsed = token.parse().map_err(|error| malformed(field, format_args!("is {error}")))?;
    Ok(Some((parsed, token)))
}

fn subject<'a>(field: &'static str, subject: Option<&'a v1::Subject>) -> Result<&'a v1::Subject, Status> {
    subject_at(|| Cow::Borrowed(field), subject)
}

/// A well-formed subject. What is wrong with one never repeats it.
fn subject_at(field: impl Fn() -> Cow<'static, str>, subject: Option<&v1::Subject>) -> Result<&v1::Subject, Status> {
    let subject = subject.ok_or_else(|| malformed(field(), "is missing"))?;
    Subject::check(&subject.space, &subject.id).map_err(|error| {
        let part = match error {
            SubjectError::Space => "space",
            SubjectError::Id | SubjectError::NoSpace => "id",
        };
        malformed(format_args!("{}.{part}", field()), format_args!("is malformed: {error}"))
    })?;
    Ok(subject)
}

/// A text that must be there.
fn name<'a>(field: &str, value: &'a str, bytes_max: usize) -> Result<&'a str, Status> {
    if value.is_empty() {
        return Err(malformed(field, "is missing"));
    }
    text(field, value, bytes_max)
}

/// A text that may be empty.
fn text<'a>(field: &str, value: &'a str, bytes_max: usize) -> Result<&'a str, Status> {
    if value.len() > bytes_max {
        return Err(malformed(field, format_args!("is longer than {bytes_max} bytes")));
    }
    if value.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(malformed(field, "has control characters"));
    }
    Ok(value)
}

fn jurisdiction<'a>(field: &str, code: &'a str) -> Result<&'a str, Status> {
    if is_jurisdiction(code) {
        Ok(code)
    } else {
        Err(malformed(field, "is not an ISO 3166 code in capitals, such as `TR` or `US-ME`"))
    }
}

fn signals<'a>(field: &str, signals: Option<&'a v1::Signals>) -> Result<Signals<'a>, Status> {
    let Some(signals) = signals else { return Ok(Signals::default()) };
    let part = |part: &str, value: &'a str, bytes_max: usize| {
        if value.len() > bytes_max {
            return Err(malformed(format_args!("{field}.{part}"), format_args!("is longer than {bytes_max} bytes")));
        }
        Ok(value)
    };
    Ok(Signals {
        sec_gpc: part("sec_gpc", &signals.sec_gpc, SEC_GPC_BYTES_MAX)?,
        tcf: part("tcf", &signals.tcf, CONSENT_STRING_BYTES_MAX)?,
        gpp: part("gpp", &signals.gpp, CONSENT_STRING_BYTES_MAX)?,
    })
}

fn max_staleness(
    field: &str,
    duration: Option<&pbjson_types::Duration>,
) -> Result<Option<std::time::Duration>, Status> {
    let checked = |duration| span(duration).ok_or_else(|| malformed(field, "is negative or malformed"));
    duration.map(checked).transpose()
}

#[cfg(test)]
mod tests;
