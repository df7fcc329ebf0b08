//! From entities to questions.

use std::time::Duration;

use serde::Deserialize as _;
use serde::de::IntoDeserializer as _;
use serde::de::value::{self, StrDeserializer};

use super::request::{Evaluation, Said, WORDS};
use crate::domain::{Heard, Question, Signals};
use crate::enforcer::wellformed::{self, Malformed};
use crate::enforcer::{Ask, Token};
use crate::proto::time::span;

/// What holds for a whole request, gathered from its evaluations: the latest token and the strictest bound. Either can
/// only narrow, so that what one evaluation demands may hold for all of them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Terms<'a> {
    pub(super) at_least_as_fresh: Option<(Token, &'a str)>,
    pub(super) max_staleness: Option<Duration>,
}

/// Tokens of two ledgers, of which at most one could be honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TwoLedgers;

/// What an evaluation asks, and what it demands of the whole request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) ask: Ask<'a>,
    pub(super) terms: Terms<'a>,
}

/// The question of an evaluation. What it does not have itself is taken whole from the defaults: there is no merging
/// within an entity.
///
/// # Errors
/// If something is missing in both, or said in two ways, or malformed.
pub(super) fn question<'a>(own: &'a Evaluation<'_>, defaults: &'a Evaluation<'_>) -> Result<Asked<'a>, Malformed> {
    let missing = |field| move || Malformed::new(field, "is missing");
    let subject = own.subject.as_ref().or(defaults.subject.as_ref()).ok_or_else(missing("subject"))?;
    let action = own.action.as_ref().or(defaults.action.as_ref()).ok_or_else(missing("action"))?;
    let resource = own.resource.as_ref().or(defaults.resource.as_ref()).ok_or_else(missing("resource"))?;
    let context = own.context.as_ref().or(defaults.context.as_ref());

    let mut said = Words::default();
    let places = [
        ("subject.properties", Some(&subject.said)),
        ("action.properties", Some(&action.said)),
        ("resource.properties", Some(&resource.said)),
        ("context", context),
    ];
    for (place, more) in places {
        said.add(place, more)?;
    }
    let [recipient, jurisdiction, time_zone, sec_gpc, tcf, gpp, max_staleness, at_least_as_fresh] = said.0;
    let signals = Signals { sec_gpc: global_privacy_control(sec_gpc.text()), tcf: tcf.text(), gpp: gpp.text() };
    let question = Question {
        purpose: &resource.purpose,
        channel: &action.channel,
        recipient: wellformed::recipient(recipient, recipient.text())?,
        jurisdiction: wellformed::jurisdiction(jurisdiction, jurisdiction.text())?,
        signals: wellformed::signals("context", signals)?,
        heard: Heard::default(),
        max_staleness: None,
        time_zone: wellformed::time_zone(time_zone, time_zone.text())?,
    };
    let terms = Terms {
        at_least_as_fresh: wellformed::token(at_least_as_fresh, at_least_as_fresh.text())?,
        max_staleness: duration(max_staleness)?,
    };
    Ok(Asked { ask: Ask { space: &subject.space, id: &subject.id, question }, terms })
}

impl Terms<'_> {
    /// Adds what one more evaluation demands.
    ///
    /// # Errors
    /// If its token is of another ledger than those before.
    pub(super) fn add(&mut self, more: Self) -> Result<(), TwoLedgers> {
        self.max_staleness = match (self.max_staleness, more.max_staleness) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.at_least_as_fresh = match (self.at_least_as_fresh, more.at_least_as_fresh) {
            (Some((one, _)), Some((other, _))) if one.ledger != other.ledger => return Err(TwoLedgers),
            (Some((one, text)), Some((other, _))) if one.position >= other.position => Some((one, text)),
            (one, other) => other.or(one),
        };
        Ok(())
    }
}

/// What was said of every word, and where.
#[derive(Debug, Clone, Copy, Default)]
struct Words<'a>([Word<'a>; WORDS.len()]);

#[derive(Debug, Clone, Copy, Default)]
struct Word<'a> {
    place: &'static str,
    name: &'static str,
    text: Option<&'a str>,
}

impl<'a> Words<'a> {
    fn add(&mut self, place: &'static str, said: Option<&'a Said<'_>>) -> Result<(), Malformed> {
        let Some(said) = said.and_then(|said| said.0.as_deref()) else { return Ok(()) };
        for ((word, text), name) in self.0.iter_mut().zip(said).zip(WORDS) {
            let Some(text) = text.as_deref() else { continue };
            match word.text {
                Some(before) if before != text => {
                    let what = format_args!("says something else than `{word}`");
                    return Err(Malformed::new(format_args!("{place}.{name}"), what));
                }
                _ => *word = Word { place, name, text: Some(text) },
            }
        }
        Ok(())
    }
}

impl<'a> Word<'a> {
    /// What was said; nothing is as if it were empty.
    fn text(self) -> &'a str {
        self.text.unwrap_or_default()
    }
}

impl std::fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.place, self.name)
    }
}

/// The signal as it is decided on. A header that came several times reaches us as one, its values with commas between
/// them, and one that is the signal is enough. Source: Global Privacy Control, section 3.4.
fn global_privacy_control(value: &str) -> &str {
    if value.split(',').any(|part| part.trim_matches([' ', '\t']) == "1") { "1" } else { value }
}

/// A span as protobuf writes it in JSON, such as `1.5s`.
fn duration(word: Word<'_>) -> Result<Option<Duration>, Malformed> {
    let Some(text) = word.text else { return Ok(None) };
    let reader: StrDeserializer<'_, value::Error> = text.into_deserializer();
    let duration = pbjson_types::Duration::deserialize(reader).ok().as_ref().and_then(span);
    let wrong = || Malformed::new(word, "is not a span of seconds such as `1.5s`");
    duration.map(Some).ok_or_else(wrong)
}
