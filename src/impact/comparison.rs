//! The questions, the two answers to each, and what is counted of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Asked;
use super::sent::{Sent, Signal};
use crate::domain::catalogue::ANY;
use crate::domain::{
    Catalogue, Freshness, LedgerStanding, Question, Reason, SubjectKey, SubjectState, SubjectView, TokenStanding,
    Verdict, decide,
};

/// As from a view without any delay.
const FRESH: Freshness =
    Freshness { ledger: LedgerStanding::Following, staleness: Duration::ZERO, token: TokenStanding::Reached };

/// How an answer changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// What was denied is allowed.
    Widened,
    /// What was allowed is denied.
    Narrowed,
    /// The same verdict for another reason.
    Reasoned,
}

/// Answers that change alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// For what.
    pub purpose: Box<str>,
    /// Over which channel.
    pub channel: Box<str>,
    /// What travels with the question.
    pub with: Sent,
    /// Why it is answered as it is.
    pub from: Reason,
    /// Why it would be answered as it would be.
    pub to: Reason,
}

impl Change {
    /// How it changes.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match (self.from.verdict(), self.to.verdict()) {
            (Verdict::Deny, Verdict::Allow) => Kind::Widened,
            (Verdict::Allow, Verdict::Deny) => Kind::Narrowed,
            (Verdict::Deny, Verdict::Deny) | (Verdict::Allow, Verdict::Allow) => Kind::Reasoned,
        }
    }
}

/// How often answers change, and whose.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Answers.
    pub answers: u64,
    /// Subjects with such an answer.
    pub subjects: u64,
    /// Some of them.
    pub sample: Vec<SubjectKey>,
}

/// What a new catalogue would change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Impact {
    /// The version in force; 0 where there is none.
    pub from_version: u64,
    /// The version that would be.
    pub to_version: u64,
    /// Identifiers that the ledger says something of.
    pub subjects: u64,
    /// Events that cannot be read, and so were not compared. Whom they are about is denied by either catalogue.
    pub unreadable_events: u64,
    /// Questions that were asked twice.
    pub questions: u64,
    /// By how they change: answers, and subjects with at least one of them.
    pub totals: BTreeMap<Kind, Tally>,
    /// Every change.
    pub changes: BTreeMap<Change, Tally>,
}

impl Impact {
    /// All changes of a kind.
    #[must_use]
    pub fn total(&self, kind: Kind) -> Tally {
        self.totals.get(&kind).cloned().unwrap_or_default()
    }
}

/// Asks, and counts.
pub(super) struct Comparison<'a> {
    old: Option<&'a Catalogue>,
    new: &'a Catalogue,
    asked: &'a Asked,
    /// Every purpose with every channel that it uses anywhere, in either catalogue.
    pairs: Vec<(&'a str, &'a str)>,
    /// What is sent with the questions that are allowed without.
    signals: Vec<Signal>,
    impact: Impact,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(old: Option<&'a Catalogue>, new: &'a Catalogue, asked: &'a Asked) -> Self {
        let pairs: BTreeSet<(&str, &str)> = old.into_iter().chain([new]).flat_map(pairs).collect();
        let from_version = old.map_or(0, Catalogue::version);
        let impact = Impact { from_version, to_version: new.version(), ..Impact::default() };
        let signals = Signal::all(old.into_iter().chain([new]), asked.now);
        Self { old, new, asked, pairs: pairs.into_iter().collect(), signals, impact }
    }

    pub(super) const fn subjects(&self) -> u64 {
        self.impact.subjects
    }

    pub(super) fn into_impact(self) -> Impact {
        self.impact
    }

    /// Asks everything about a subject.
    pub(super) fn add(&mut self, key: SubjectKey, state: &SubjectState) {
        self.impact.subjects += 1;
        let (recipients, places) = (recipients(state), places(state, &self.asked.jurisdictions));
        // What changes is kept until the subject is done, so that each is counted once.
        let mut changed: BTreeMap<Change, u64> = BTreeMap::new();
        let nothing = Signal::nothing();
        for (purpose, channel) in &self.pairs {
            for (recipient, jurisdiction) in recipients.iter().flat_map(|to| places.iter().map(move |at| (*to, *at))) {
                let mut ask = |signal: &Signal| {
                    let (signals, heard) = signal.signals();
                    let question = Question {
                        purpose,
                        channel,
                        recipient,
                        jurisdiction,
                        signals,
                        heard,
                        max_staleness: None,
                        time_zone: None,
                    };
                    let view = SubjectView::State(state);
                    let reason = |catalogue| decide(&question, view, catalogue, &FRESH, self.asked.now).reason;
                    let change = Change {
                        purpose: (*purpose).into(),
                        channel: (*channel).into(),
                        with: signal.sent,
                        from: reason(self.old),
                        to: reason(Some(self.new)),
                    };
                    self.impact.questions += 1;
                    let verdicts = [change.from.verdict(), change.to.verdict()];
                    let is_told = change.from != change.to
                        // A signal gives many answers another reason, and what matters of it is the verdict.
                        && (signal.sent == Sent::Nothing || change.kind() != Kind::Reasoned);
                    if is_told {
                        *changed.entry(change).or_default() += 1;
                    }
                    verdicts.contains(&Verdict::Allow)
                };
                // Signals only narrow: what is denied without them is denied with them.
                if ask(&nothing) {
                    for signal in &self.signals {
                        ask(signal);
                    }
                }
            }
        }
        let kinds: BTreeSet<Kind> = changed.keys().map(Change::kind).collect();
        for kind in kinds {
            let answers = changed.iter().filter(|(change, _)| change.kind() == kind).map(|(_, answers)| answers).sum();
            self.impact.totals.entry(kind).or_default().count(key, answers, self.asked.sample);
        }
        for (change, answers) in changed {
            self.impact.changes.entry(change).or_default().count(key, answers, self.asked.sample);
        }
    }
}

impl Tally {
    fn count(&mut self, key: SubjectKey, answers: u64, sample: usize) {
        self.answers += answers;
        self.subjects += 1;
        if self.sample.len() < sample {
            self.sample.push(key);
        }
    }
}

/// A catalogue's purposes, each with every channel that it uses anywhere.
fn pairs(catalogue: &Catalogue) -> impl Iterator<Item = (&str, &str)> {
    catalogue.purposes().flat_map(|purpose| {
        let regional = purpose.regional.iter().map(|rule| &rule.terms);
        let channels = std::iter::once(&purpose.terms).chain(regional).flat_map(|terms| &terms.channels);
        channels.map(|channel| (&*purpose.key, &**channel))
    })
}

/// The controller, and the recipients that the records name.
fn recipients(state: &SubjectState) -> BTreeSet<&str> {
    let named = state.slots().iter().map(|slot| &*slot.recipient).filter(|recipient| *recipient != ANY);
    named.chain([""]).collect()
}

/// Nowhere in particular, the places that the records name, and those that are asked about besides.
fn places<'s>(state: &'s SubjectState, besides: &'s [String]) -> BTreeSet<&'s str> {
    let records = state.slots().iter().flat_map(|slot| [&slot.grant, &slot.refusal, &slot.request]);
    let named = records.flatten().map(|record| &*record.jurisdiction);
    named.chain(besides.iter().map(String::as_str)).chain([""]).collect()
}

#[cfg(test)]
mod tests;
