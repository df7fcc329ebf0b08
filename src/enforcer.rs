//! The one room that joins replica, domain and evidence: a question in, an answer with its evidence out.
//!
//! Owns the order in which an answer comes about: token, view, states, decision, evidence, answer. Must not know which
//! wire the question came over.
//!
//! Invariants:
//! - P1: an [`Answered`] with an ALLOW in it exists only after its evidence has reached the configured stage. Its fields
//!   are filled in one place, [`Enforcer::settle`], from a receipt of the evidence log or as `EVIDENCE_UNAVAILABLE`.
//! - P2: every well-formed question is answered; there is no error type here.
//! - P4: the view is looked at before any state is, so that no state is older than what the answer claims.

mod record;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::domain::{
    Decision, Freshness, LegalBasis, Position, Question, Reason, Record, RuleOutcome, Slot, Status, SubjectKey,
    SubjectView, Text, Time, TokenStanding, Verdict, decide, explain,
};
use crate::evidence::record::EvidenceRecord;
use crate::evidence::{AppendError, EvidenceLog, Month, Receipt};
use crate::replica::{Cached, Loaded, Replica, View};
use crate::telemetry::{Metrics, Row};

pub use crate::evidence::EvidenceId;
pub use crate::evidence::record::CallKind;
pub use crate::ledger::Token;

/// One question of a call, with its subject.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The subject's identity space.
    pub space: &'a str,
    /// The subject's identifier in it. Personal data: hashed here, kept nowhere.
    pub id: &'a str,
    /// What is asked.
    pub question: Question<'a>,
}

/// What the questions of a call share.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Which call.
    pub kind: CallKind,
    /// What most questions ask, for the evidence; those that differ are listed there.
    pub shared: Question<'a>,
    /// The token that the view must have reached, with its text.
    pub at_least_as_fresh: Option<(Token, &'a str)>,
    /// The longest to wait for it, and for subjects that are loaded on demand; the configuration may say less.
    pub patience: Duration,
    /// The W3C trace id that came with the call.
    pub trace_id: Option<[u8; 16]>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Why, which tells the verdict.
    pub reason: Reason,
    /// The ground the purpose rests on.
    pub legal_basis: Option<LegalBasis>,
    /// The status of the record that decided.
    pub status: Option<Status>,
    /// Until when an ALLOW may be relied on.
    pub valid_until: Option<Time>,
    /// The required purpose that failed.
    pub failed_purpose: Option<Box<str>>,
    /// The notice to show: id and least version.
    pub notice: Option<(Box<str>, u32)>,
    /// Where the event of the deciding record lies.
    pub record_position: Option<Position>,
}

/// What an answer rests on.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The catalogue's version; 0 is none.
    pub catalogue_version: u64,
    /// The ledger token; empty before the first event.
    pub token: Arc<str>,
    /// The time since the view was last known to be complete.
    pub staleness: Duration,
    /// When the answers were decided.
    pub answered_at: Time,
}

/// Answers to a call, in the order of its questions, with their evidence.
#[derive(Debug, Clone)]
pub struct Answered {
    answers: Vec<Answer>,
    seen: Seen,
    evidence: Option<EvidenceId>,
}

impl Answered {
    /// The answers, in the order of the questions.
    pub fn answers(&self) -> &[Answer] {
        &self.answers
    }

    /// The answers themselves.
    pub fn into_parts(self) -> (Vec<Answer>, Seen, Option<EvidenceId>) {
        (self.answers, self.seen, self.evidence)
    }

    /// What they rest on.
    pub const fn seen(&self) -> &Seen {
        &self.seen
    }

    /// The name of their evidence; `None` only where it could not be written.
    pub const fn evidence(&self) -> Option<EvidenceId> {
        self.evidence
    }
}

/// An answer with the rules that led to it.
#[derive(Debug, Clone)]
pub struct Explained {
    /// The answer and its evidence.
    pub answered: Answered,
    /// The rules in order, up to the one that decided.
    pub rules: Vec<ExplainedRule>,
    /// The record that decided.
    pub record: Option<ExplainedRecord>,
}

/// How one rule came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedRule {
    /// The rule's name.
    pub rule: &'static str,
    /// What it looks at.
    pub description: &'static str,
    /// Whether it decided.
    pub decided: bool,
    /// The required purpose it was looked at for; empty for the question's own.
    pub purpose: String,
}

/// The record that decided, with where it applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedRecord {
    /// The record's purpose.
    pub purpose: Text,
    /// The record's channel.
    pub channel: Text,
    /// The record's recipient.
    pub recipient: Text,
    /// The record.
    pub record: Record,
}

/// Answers questions; clones share everything.
#[derive(Debug, Clone)]
pub struct Enforcer {
    replica: Replica,
    evidence: EvidenceLog,
    metrics: Metrics,
    clock: Clock,
    max_wait: Duration,
    /// The version of the catalogue whose purposes the metrics have rows for.
    counted: Arc<AtomicU64>,
}

thread_local! {
    /// The record being filled, kept for its buffers: a call then allocates nothing for its evidence.
    static RECORD: Cell<EvidenceRecord> = Cell::default();
    /// Where a subject's text is put together for hashing.
    static TEXT: Cell<String> = const { Cell::new(String::new()) };
}

/// A record's buffers are kept up to this many subjects.
const RECORD_SUBJECTS_KEPT: usize = 20_000;

impl Enforcer {
    /// An enforcer over the local copy and the evidence log. `max_wait` bounds the wait for a token.
    pub fn new(replica: Replica, evidence: EvidenceLog, metrics: Metrics, clock: Clock, max_wait: Duration) -> Self {
        Self { replica, evidence, metrics, clock, max_wait, counted: Arc::new(AtomicU64::new(0)) }
    }

    /// Answers all questions of a call, with one leaf of evidence.
    ///
    /// # Cancel safety
    /// When dropped, evidence of an answer that nobody received may have been written, never the other way round.
    pub async fn answer(&self, call: &Call<'_>, asks: &[Ask<'_>]) -> Answered {
        let Looked { view, states, freshness, now } = self.look(call, asks).await;
        let catalogue = view.published.catalogue.as_deref();
        let answers = asks
            .iter()
            .zip(&states)
            .map(|(ask, state)| Answer::from(&decide(&ask.question, state.view(), catalogue, &freshness, now)))
            .collect();
        self.settle(call, asks, states, answers, &view, now).await
    }

    /// Answers one question and lists the rules that led there. Leaves evidence like any other answer.
    ///
    /// # Cancel safety
    /// As [`Enforcer::answer`].
    pub async fn explain(&self, call: &Call<'_>, ask: &Ask<'_>) -> Explained {
        let Looked { view, states, freshness, now } = self.look(call, std::slice::from_ref(ask)).await;
        let subject = states.first().map_or(SubjectView::Unavailable, State::view);
        let catalogue = view.published.catalogue.as_deref();
        let (decision, outcomes) = explain(&ask.question, subject, catalogue, &freshness, now);
        let rules = outcomes.iter().map(ExplainedRule::from).collect();
        let record = decision.record.map(ExplainedRecord::from);
        let answers = vec![Answer::from(&decision)];
        let answered = self.settle(call, std::slice::from_ref(ask), states, answers, &view, now).await;
        Explained { answered, rules, record }
    }

    /// Everything that the decisions of a call are made from.
    async fn look(&self, call: &Call<'_>, asks: &[Ask<'_>]) -> Looked {
        let (token, waited) = self.reach(call).await;
        // INVARIANT: P4. The view before the states.
        let view = self.replica.view();
        let states = self.states(&view, asks, call.patience.saturating_sub(waited)).await;
        let freshness = Freshness { ledger: view.ledger, staleness: view.staleness, token };
        Looked { view, states, freshness, now: self.clock.now() }
    }

    /// Waits for the token that is asked for. Gives how long that took, too.
    async fn reach(&self, call: &Call<'_>) -> (TokenStanding, Duration) {
        match call.at_least_as_fresh {
            None => (TokenStanding::Reached, Duration::ZERO),
            Some((token, _)) => {
                let began = Instant::now();
                (self.replica.reach(token, call.patience.min(self.max_wait)).await, began.elapsed())
            }
        }
    }

    /// The subjects' states: from memory where they are there, the others from store or ledger in one go.
    async fn states(&self, view: &View, asks: &[Ask<'_>], patience: Duration) -> Vec<State> {
        let mut missing: Vec<(usize, SubjectKey)> = Vec::new();
        let mut states: Vec<State> = with_text(|text| {
            let find = |(place, ask): (usize, &Ask<'_>)| {
                let key = self.replica.key(ask.write_text(text));
                self.replica.cached(view, key).map_or_else(
                    || {
                        missing.push((place, key));
                        State::Unavailable
                    },
                    State::Known,
                )
            };
            asks.iter().enumerate().map(find).collect()
        });
        if missing.is_empty() {
            return states;
        }
        let keys = missing.iter().map(|(_, key)| *key).collect();
        let loaded = self.replica.load_within(view, keys, patience).await;
        for ((place, _), loaded) in missing.into_iter().zip(loaded) {
            if let (Some(state), Loaded::State(loaded)) = (states.get_mut(place), loaded) {
                *state = State::Known(loaded);
            }
        }
        states
    }

    /// Turns decisions into answers: writes their evidence and waits for the configured stage. The only place where an
    /// [`Answered`] is made.
    async fn settle(
        &self,
        call: &Call<'_>,
        asks: &[Ask<'_>],
        states: Vec<State>,
        mut answers: Vec<Answer>,
        view: &View,
        now: Time,
    ) -> Answered {
        let seen = Seen {
            catalogue_version: view.published.catalogue.as_ref().map_or(0, |catalogue| catalogue.version()),
            token: Arc::clone(&view.published.token),
            staleness: view.staleness,
            answered_at: now,
        };
        let settled = match self.leave_evidence(call, asks, &states, &answers, view, now).await {
            Ok(id) => Some(id),
            Err(error) => {
                tracing::debug!(%error, "evidence cannot be written; the answers are denials");
                None
            }
        };
        if settled.is_none() {
            for answer in &mut answers {
                *answer = Answer::evidence_unavailable(answer.legal_basis);
            }
        }
        self.count(asks, &answers, view);
        Answered { answers, seen, evidence: settled }
    }

    /// Writes the evidence of a call and waits for the configured stage.
    async fn leave_evidence(
        &self,
        call: &Call<'_>,
        asks: &[Ask<'_>],
        states: &[State],
        answers: &[Answer],
        view: &View,
        now: Time,
    ) -> Result<EvidenceId, AppendError> {
        let receipt = self.append(call, asks, states, answers, view, now)?;
        self.evidence.settled(&receipt).await?;
        Ok(receipt.id())
    }

    fn append(
        &self,
        call: &Call<'_>,
        asks: &[Ask<'_>],
        states: &[State],
        answers: &[Answer],
        view: &View,
        now: Time,
    ) -> Result<Receipt, AppendError> {
        let mut record = RECORD.take();
        let appended = loop {
            let month = match self.evidence.month(now) {
                Ok(month) => month,
                Err(unavailable) => break Err(unavailable.into()),
            };
            record::fill(&mut record, call, asks, answers, view, now);
            with_text(|text| write_tags(&mut record.subject_tags, &month, asks, states, text));
            match self.evidence.append(&month, &record) {
                // Another thread has begun the next month since: its tags are made under another key.
                Err(AppendError::MonthEnded(_)) => {}
                other => break other,
            }
        };
        if asks.len() <= RECORD_SUBJECTS_KEPT {
            RECORD.set(record);
        }
        appended
    }

    fn count(&self, asks: &[Ask<'_>], answers: &[Answer], view: &View) {
        // Here and not beside: the first answers under a new catalogue have rows of their own too.
        if let Some(catalogue) = &view.published.catalogue
            && self.counted.load(Ordering::Relaxed) != catalogue.version()
        {
            let purposes: Vec<&str> = catalogue.purposes().map(|purpose| &*purpose.key).collect();
            self.metrics.set_purposes(&purposes);
            self.counted.store(catalogue.version(), Ordering::Relaxed);
        }
        // Neighbours mostly share their purpose: one look-up for a whole batch.
        let mut row: Option<(&str, Row)> = None;
        for (ask, answer) in asks.iter().zip(answers) {
            let purpose = ask.question.purpose;
            if row.as_ref().is_some_and(|(have, _)| *have != purpose) {
                row = None;
            }
            let (_, row) = row.get_or_insert_with(|| (purpose, self.metrics.row(purpose)));
            row.add(answer.reason, 1);
        }
    }
}

fn write_tags(tags: &mut Vec<u8>, month: &Month, asks: &[Ask<'_>], states: &[State], text: &mut String) {
    tags.clear();
    tags.reserve(asks.len() * 16);
    let epoch = u32::from(month.id().year()) * 12 + u32::from(month.id().month());
    for (ask, state) in asks.iter().zip(states) {
        let mut make = || month.tag(ask.write_text(text));
        let tag = match state {
            State::Known(subject) => subject.tag(epoch, &mut make),
            State::Unavailable => make(),
        };
        tags.extend_from_slice(&tag);
    }
}

/// Lends a buffer for subjects' texts, which never leave the thread.
fn with_text<T>(work: impl FnOnce(&mut String) -> T) -> T {
    let mut text = TEXT.take();
    let result = work(&mut text);
    text.clear();
    TEXT.set(text);
    result
}

/// What a call's decisions are made from, in the order in which it was looked at.
struct Looked {
    view: View,
    states: Vec<State>,
    freshness: Freshness,
    now: Time,
}

/// A subject's state, or that it cannot be had.
enum State {
    Known(Arc<Cached>),
    Unavailable,
}

impl State {
    fn view(&self) -> SubjectView<'_> {
        match self {
            Self::Known(subject) => SubjectView::State(subject.state()),
            Self::Unavailable => SubjectView::Unavailable,
        }
    }
}

impl Ask<'_> {
    /// The subject as `space:id`, written into a buffer.
    fn write_text<'t>(&self, text: &'t mut String) -> &'t str {
        text.clear();
        text.push_str(self.space);
        text.push(':');
        text.push_str(self.id);
        text
    }
}

impl Answer {
    /// The verdict.
    pub const fn verdict(&self) -> Verdict {
        self.reason.verdict()
    }

    const fn evidence_unavailable(legal_basis: Option<LegalBasis>) -> Self {
        Self {
            reason: Reason::EvidenceUnavailable,
            legal_basis,
            status: None,
            valid_until: None,
            failed_purpose: None,
            notice: None,
            record_position: None,
        }
    }
}

impl From<&Decision<'_>> for Answer {
    fn from(decision: &Decision<'_>) -> Self {
        Self {
            reason: decision.reason,
            legal_basis: decision.legal_basis,
            status: decision.record.map(|(_, record)| record.status),
            valid_until: decision.valid_until,
            failed_purpose: decision.failed_purpose.map(Box::from),
            notice: decision.notice.map(|(id, version)| (id.into(), version)),
            record_position: decision.record.map(|(_, record)| record.position),
        }
    }
}

impl From<&RuleOutcome<'_>> for ExplainedRule {
    fn from(outcome: &RuleOutcome<'_>) -> Self {
        Self {
            rule: outcome.rule,
            description: outcome.description,
            decided: outcome.decided,
            purpose: outcome.purpose.unwrap_or_default().to_owned(),
        }
    }
}

impl From<(&Slot, &Record)> for ExplainedRecord {
    fn from((slot, record): (&Slot, &Record)) -> Self {
        Self {
            purpose: slot.purpose.clone(),
            channel: slot.channel.clone(),
            recipient: slot.recipient.clone(),
            record: record.clone(),
        }
    }
}
