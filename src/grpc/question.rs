//! What the wire must say to be a well-formed question: every field, under its name in the protocol.

use std::borrow::Cow;

use super::ask;
use crate::domain::{Heard, Question, Signals};
use crate::enforcer::wellformed::{self, Malformed};
use crate::enforcer::{Ask, Token};
use crate::explain::Recorded;
use crate::proto::time::{duration, span};
use crate::proto::v1;

/// A single question, checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) ask: Ask<'a>,
    pub(super) at_least_as_fresh: Option<(Token, &'a str)>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(message: Option<&'a v1::Question>) -> Result<Self, Malformed> {
        let message = message.ok_or_else(|| Malformed::new("question", "is missing"))?;
        let subject = subject("question.subject", message.subject.as_ref())?;
        let question = Question {
            purpose: wellformed::present(
                "question.purpose",
                wellformed::purpose("question.purpose", &message.purpose)?,
            )?,
            channel: wellformed::present(
                "question.channel",
                wellformed::channel("question.channel", &message.channel)?,
            )?,
            recipient: wellformed::recipient("question.recipient", &message.recipient)?,
            jurisdiction: wellformed::jurisdiction("question.jurisdiction", &message.jurisdiction)?,
            signals: signals("question.signals", message.signals.as_ref())?,
            heard: Heard::default(),
            max_staleness: max_staleness("question.max_staleness", message.max_staleness.as_ref())?,
            time_zone: wellformed::time_zone("question.time_zone", &message.time_zone)?,
        };
        let at_least_as_fresh = wellformed::token("question.at_least_as_fresh", &message.at_least_as_fresh)?;
        Ok(Self { ask: ask(subject, question), at_least_as_fresh })
    }
}

/// The question of an earlier answer, for asking it today: what its evidence says, and from what is asked now the subject,
/// the strings of signals, which evidence does not keep, and how fresh a view is wanted.
///
/// # Errors
/// If what is asked now is something else.
pub(super) fn again(asked: v1::Question, earlier: &Recorded) -> Result<v1::Question, Malformed> {
    let same = |field: &str, asked: String, earlier: &str| {
        if asked.is_empty() || asked == earlier {
            Ok(earlier.to_owned())
        } else {
            Err(Malformed::new(format_args!("question.{field}"), "is not what was asked then; leave it empty"))
        }
    };
    let v1::Signals { sec_gpc, tcf, gpp } = asked.signals.unwrap_or_default();
    Ok(v1::Question {
        subject: asked.subject,
        purpose: same("purpose", asked.purpose, &earlier.purpose)?,
        channel: same("channel", asked.channel, &earlier.channel)?,
        recipient: same("recipient", asked.recipient, &earlier.recipient)?,
        jurisdiction: same("jurisdiction", asked.jurisdiction, &earlier.jurisdiction)?,
        signals: Some(v1::Signals { sec_gpc: same("signals.sec_gpc", sec_gpc, &earlier.signals.sec_gpc)?, tcf, gpp }),
        at_least_as_fresh: asked.at_least_as_fresh,
        max_staleness: asked.max_staleness.or_else(|| earlier.max_staleness.map(duration)),
        time_zone: same("time_zone", asked.time_zone, &earlier.time_zone)?,
    })
}

/// What the questions of a batch share, checked as far as it is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shared<'a> {
    pub(super) question: Question<'a>,
    pub(super) at_least_as_fresh: Option<(Token, &'a str)>,
}

impl<'a> Shared<'a> {
    pub(super) fn new(context: &'a v1::Context) -> Result<Self, Malformed> {
        let question = Question {
            purpose: wellformed::purpose("context.purpose", &context.purpose)?,
            channel: wellformed::channel("context.channel", &context.channel)?,
            recipient: wellformed::recipient("context.recipient", &context.recipient)?,
            jurisdiction: wellformed::jurisdiction("context.jurisdiction", &context.jurisdiction)?,
            signals: signals("context.signals", context.signals.as_ref())?,
            heard: Heard::default(),
            max_staleness: max_staleness("context.max_staleness", context.max_staleness.as_ref())?,
            time_zone: wellformed::time_zone("context.time_zone", &context.time_zone)?,
        };
        Ok(Self {
            question,
            at_least_as_fresh: wellformed::token("context.at_least_as_fresh", &context.at_least_as_fresh)?,
        })
    }

    /// The questions of a batch, each with what it does not say itself taken from here.
    pub(super) fn asks<'b>(&self, questions: &'b [v1::BatchQuestion]) -> Result<Vec<Ask<'b>>, Malformed>
    where
        'a: 'b,
    {
        questions.iter().enumerate().map(|(index, own)| self.ask(index, own)).collect()
    }

    fn ask<'b>(&self, index: usize, own: &'b v1::BatchQuestion) -> Result<Ask<'b>, Malformed>
    where
        'a: 'b,
    {
        let field = Indexed(index);
        let subject = subject_at(|| Cow::Owned(field.name("subject")), own.subject.as_ref())?;
        let mut question: Question<'b> = self.question;
        if let Some(purpose) = &own.purpose {
            question.purpose = wellformed::purpose(field.name("purpose"), purpose)?;
        }
        if let Some(channel) = &own.channel {
            question.channel = wellformed::channel(field.name("channel"), channel)?;
        }
        if let Some(recipient) = &own.recipient {
            question.recipient = wellformed::recipient(field.name("recipient"), recipient)?;
        }
        if let Some(code) = &own.jurisdiction {
            question.jurisdiction = wellformed::jurisdiction(field.name("jurisdiction"), code)?;
        }
        if let Some(own) = &own.signals {
            question.signals = signals(&field.name("signals"), Some(own))?;
        }
        if let Some(name) = &own.time_zone {
            question.time_zone = wellformed::time_zone(field.name("time_zone"), name)?;
        }
        if question.purpose.is_empty() {
            return Err(Malformed::new(field.name("purpose"), "is missing, here and in the context"));
        }
        if question.channel.is_empty() {
            return Err(Malformed::new(field.name("channel"), "is missing, here and in the context"));
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

pub(super) fn subject<'a>(field: &'static str, subject: Option<&'a v1::Subject>) -> Result<&'a v1::Subject, Malformed> {
    subject_at(|| Cow::Borrowed(field), subject)
}

/// A well-formed subject. What is wrong with one never repeats it.
fn subject_at(field: impl Fn() -> Cow<'static, str>, subject: Option<&v1::Subject>) -> Result<&v1::Subject, Malformed> {
    let subject = subject.ok_or_else(|| Malformed::new(field(), "is missing"))?;
    wellformed::subject(field, &subject.space, &subject.id)?;
    Ok(subject)
}

fn signals<'a>(field: &str, signals: Option<&'a v1::Signals>) -> Result<Signals<'a>, Malformed> {
    let Some(v1::Signals { sec_gpc, tcf, gpp }) = signals else { return Ok(Signals::default()) };
    wellformed::signals(field, Signals { sec_gpc, tcf, gpp })
}

fn max_staleness(
    field: &str,
    duration: Option<&pbjson_types::Duration>,
) -> Result<Option<std::time::Duration>, Malformed> {
    let checked = |duration| span(duration).ok_or_else(|| Malformed::new(field, "is negative or malformed"));
    duration.map(checked).transpose()
}

#[cfg(test)]
mod tests;
