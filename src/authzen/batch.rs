//! Several evaluations in one request: their defaults, their order, and up to which they are answered.

use serde_json::value::RawValue;

use super::answer::{Decision, Shared};
use super::json::{members, text};
use super::question::{Asked, Terms, TwoLedgers, question};
use super::request::{ENTITIES, Evaluation};
use crate::domain::Verdict;
use crate::enforcer::wellformed::Malformed;
use crate::enforcer::{Answered, Ask};

/// Up to where evaluations are answered. Source: section 7.1.2.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Semantic {
    /// All of them.
    All,
    /// Up to the first with this verdict, and with it. What is malformed is denied.
    UntilFirst(Verdict),
}

/// The evaluations as they came: each read, or what is wrong with it.
#[derive(Debug)]
pub(super) struct Evaluations<'a> {
    defaults: Evaluation<'a>,
    own: Vec<Result<Evaluation<'a>, Malformed>>,
}

/// The questions among them.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    /// What is asked, in its order.
    pub(super) asks: Vec<Ask<'a>>,
    pub(super) terms: Terms<'a>,
    semantic: Semantic,
    /// For each evaluation whether it is among the questions, or why it is not.
    items: Vec<Result<(), Malformed>>,
}

impl Semantic {
    /// The semantic that the options name.
    ///
    /// # Errors
    /// If they name one that does not exist: whoever asks in a way that we do not know would misread the answer.
    pub(super) fn read(options: Option<&RawValue>) -> Result<Self, Malformed> {
        const PLACE: &str = "options.evaluations_semantic";
        let Some(options) = options else { return Ok(Self::All) };
        let [semantic] = members(options, "options", ["evaluations_semantic"])?;
        match semantic.map(|semantic| text(semantic, PLACE)).transpose()?.as_deref() {
            None | Some("execute_all") => Ok(Self::All),
            Some("deny_on_first_deny") => Ok(Self::UntilFirst(Verdict::Deny)),
            Some("permit_on_first_permit") => Ok(Self::UntilFirst(Verdict::Allow)),
            Some(_) => {
                Err(Malformed::new(PLACE, "is not `execute_all`, `deny_on_first_deny` or `permit_on_first_permit`"))
            }
        }
    }

    fn ends_with(self, verdict: Verdict) -> bool {
        self == Self::UntilFirst(verdict)
    }
}

impl<'a> Evaluations<'a> {
    /// Reads all of them.
    ///
    /// # Errors
    /// If a default is malformed, which is nobody's own. What is wrong with one evaluation is kept as its own.
    pub(super) fn read(
        defaults: [Option<&'a RawValue>; 4],
        list: &[&'a RawValue],
        resource_type: &str,
    ) -> Result<Self, Malformed> {
        let read = |json: &&'a RawValue| Evaluation::read(members(json, "evaluation", ENTITIES)?, resource_type);
        Ok(Self { defaults: Evaluation::read(defaults, resource_type)?, own: list.iter().map(read).collect() })
    }

    /// The questions that they ask.
    ///
    /// # Errors
    /// If they demand the views of two ledgers.
    pub(super) fn questions(&self, semantic: Semantic) -> Result<Batch<'_>, TwoLedgers> {
        let Self { defaults, own } = self;
        let mut batch = Batch {
            asks: Vec::with_capacity(own.len()),
            terms: Terms::default(),
            semantic,
            items: Vec::with_capacity(own.len()),
        };
        for own in own {
            let asked = own.as_ref().map_err(Malformed::clone).and_then(|own| question(own, defaults));
            match asked {
                Ok(Asked { ask, terms }) => {
                    batch.terms.add(terms)?;
                    batch.asks.push(ask);
                    batch.items.push(Ok(()));
                }
                Err(malformed) => {
                    batch.items.push(Err(malformed));
                    if semantic.ends_with(Verdict::Deny) {
                        break;
                    }
                }
            }
        }
        for ask in &mut batch.asks {
            ask.question.max_staleness = batch.terms.max_staleness;
        }
        Ok(batch)
    }
}

impl Batch<'_> {
    /// The verdict after which nothing is answered any more.
    pub(super) const fn deciding(&self) -> Option<Verdict> {
        match self.semantic {
            Semantic::All => None,
            Semantic::UntilFirst(verdict) => Some(verdict),
        }
    }

    /// The decisions in the order of the evaluations: of the questions from their answers, of the others no. Without
    /// answers, where nothing was asked.
    pub(super) fn decisions<'d>(&self, answered: Option<(&'d Answered, &'d Shared<'d>)>) -> Vec<Decision<'d>> {
        let mut answers = answered.into_iter().flat_map(|(answered, shared)| {
            answered.answers().iter().map(move |answer| Decision::answered(answer, shared))
        });
        let mut decisions = Vec::with_capacity(self.items.len());
        for item in &self.items {
            let decision = match item {
                // INVARIANT: answers are in the order of the questions, and questions in that of their items.
                Ok(()) => answers.next().unwrap_or_else(Decision::without_evidence),
                Err(malformed) => Decision::malformed(malformed),
            };
            let is_last = self.semantic.ends_with(decision.verdict());
            decisions.push(decision);
            if is_last {
                break;
            }
        }
        decisions
    }
}
