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

mod answer;
mod heard;
pub mod heavy;
mod past;
pub mod patience;
mod record;
mod told;
pub mod wellformed;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::domain::{Freshness, Question, SubjectKey, SubjectView, Time, TokenStanding, Verdict, decide};
use crate::evidence::record::EvidenceRecord;
use crate::evidence::{self, AppendError, EvidenceLog, Month, Receipt};
use crate::replica::{Cached, Loaded, Replica, View};
use crate::signals::{Listener, REMEMBERED_BYTES};
use crate::telemetry::{Metrics, Row, Span, Timing, Told, TraceParent, Traces};
use heard::HeardInCall;
use heavy::Turns;

pub use crate::evidence::EvidenceId;
pub use crate::evidence::record::CallKind;
pub use crate::ledger::Token;
pub use answer::{Answer, Answered, Explained, Seen};
pub use heavy::Turn;
pub use past::Past;

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
    /// When it came; patience counts from there.
    pub since: Instant,
    /// Who asks, by the name that its evidence bears; empty where that is not known.
    pub caller: &'a str,
    /// Where the call stands in its caller's trace.
    pub trace: Option<TraceParent>,
}

/// A view, and whether it has reached the token that was asked for.
///
/// INVARIANT: P4. It is taken before any state is looked at, so that no state is older than what the answer claims.
#[derive(Debug)]
pub struct Sight {
    view: View,
    token: TokenStanding,
}

/// Answers questions; clones share everything.
#[derive(Debug, Clone)]
pub struct Enforcer {
    replica: Replica,
    evidence: EvidenceLog,
    metrics: Metrics,
    traces: Traces,
    clock: Clock,
    max_wait: Duration,
    /// The version of the catalogue whose purposes the metrics have rows for.
    counted: Arc<AtomicU64>,
    turns: Turns,
    listener: Listener,
    /// Where earlier answers and their ledger are looked up.
    past: Option<Past>,
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
        let traces = Traces::off();
        Self {
            replica,
            evidence,
            metrics,
            traces,
            clock,
            max_wait,
            counted: Arc::new(AtomicU64::new(0)),
            turns: Turns::new(),
            listener: listener(REMEMBERED_BYTES),
            past: None,
        }
    }

    /// One that can look up earlier answers, and what the ledger said then.
    #[must_use]
    pub fn remembering(self, past: Past) -> Self {
        Self { past: Some(past), ..self }
    }

    /// One that remembers the strings of signals in so many bytes.
    #[must_use]
    pub fn remembering_strings_in(self, bytes: u64) -> Self {
        Self { listener: listener(bytes), ..self }
    }

    /// One whose answers leave spans.
    #[must_use]
    pub fn traced(self, traces: Traces) -> Self {
        Self { traces, ..self }
    }

    /// Answers all questions of a call, with one leaf of evidence.
    ///
    /// # Cancel safety
    /// When dropped, evidence of an answer that nobody received may have been written, never the other way round.
    pub async fn answer(&self, call: &Call<'_>, asks: &[Ask<'_>]) -> Answered {
        let token = self.reach(call).await;
        self.answer_in(self.sight(token), call, asks).await
    }

    /// Waits until the view has reached the token that a call asks for.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub async fn reach(&self, call: &Call<'_>) -> TokenStanding {
        match call.at_least_as_fresh {
            None => TokenStanding::Reached,
            Some((token, _)) => self.replica.reach(token, call.patience.min(self.max_wait)).await,
        }
    }

    /// A turn for a call of so many questions, where that is heavy: [`heavy::in_turn`] does it then.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub async fn turn(&self, questions: usize) -> Option<Turn> {
        self.turns.take(questions).await
    }

    /// The view as it is now, for answering in it. It ages from here on, so that it is to be used at once.
    pub fn sight(&self, token: TokenStanding) -> Sight {
        Sight { view: self.replica.view(), token }
    }

    /// As [`Enforcer::answer`], in a view that was taken before: answers that are worked out side by side then still show
    /// views in their order.
    ///
    /// # Cancel safety
    /// As [`Enforcer::answer`].
    pub async fn answer_in(&self, sight: Sight, call: &Call<'_>, asks: &[Ask<'_>]) -> Answered {
        let looked = self.look(sight, call, asks).await;
        let answers = looked.decisions(asks).collect();
        self.settle(call, asks, &looked, answers).await
    }

    /// As [`Enforcer::answer_in`], up to the first answer that is the `last`, and with it: what comes after it is not
    /// answered, nor is it in the evidence.
    ///
    /// # Cancel safety
    /// As [`Enforcer::answer`].
    pub async fn answer_until(
        &self,
        sight: Sight,
        call: &Call<'_>,
        asks: &[Ask<'_>],
        last: impl Fn(&Answer) -> bool + Send,
    ) -> Answered {
        let looked = self.look(sight, call, asks).await;
        let mut answers = Vec::new();
        for answer in looked.decisions(asks) {
            let is_last = last(&answer);
            answers.push(answer);
            if is_last {
                break;
            }
        }
        let answered = asks.get(..answers.len()).unwrap_or(asks);
        self.settle(call, answered, &looked, answers).await
    }

    /// Everything that the decisions of a call are made from.
    async fn look(&self, Sight { view, token }: Sight, call: &Call<'_>, asks: &[Ask<'_>]) -> Looked {
        let seen = self.traces.moment(call.since);
        let states = self.states(&view, call, asks).await;
        let freshness = Freshness { ledger: view.ledger, staleness: view.staleness, token };
        let heard = HeardInCall::new(&self.listener, call, asks);
        Looked { view, states, heard, freshness, now: self.clock.now(), seen }
    }

    /// The subjects' states: from memory where they are there, the others from store or ledger in one go.
    async fn states(&self, view: &View, call: &Call<'_>, asks: &[Ask<'_>]) -> Vec<State> {
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
        let patience = call.patience.saturating_sub(call.since.elapsed());
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
    async fn settle(&self, call: &Call<'_>, asks: &[Ask<'_>], looked: &Looked, mut answers: Vec<Answer>) -> Answered {
        let view = &looked.view;
        let seen = Seen {
            catalogue_version: view.published.catalogue.as_ref().map_or(0, |catalogue| catalogue.version()),
            token: Arc::clone(&view.published.token),
            staleness: view.staleness,
            answered_at: looked.now,
        };
        let timing = Timing { since: call.since, seen: looked.seen, decided: self.traces.moment(call.since) };
        let span = self.traces.decided(call.trace, timing, || any_denied(&answers));
        let evidence = match self.leave_evidence(call, asks, looked, &answers, &span).await {
            Ok(id) => Some(id),
            Err(error) => {
                for answer in &mut answers {
                    *answer = Answer::evidence_unavailable(answer.legal_basis);
                }
                tracing::debug!(%error, trace = span.shown(), "evidence cannot be written; the answers are denials");
                None
            }
        };
        self.count(asks, &answers, view);
        let told = || told::told(call, asks, looked, &answers, evidence);
        if tracing::enabled!(tracing::Level::DEBUG) {
            tell(&told(), &span);
        }
        span.end(|| any_denied(&answers), told);
        Answered { answers, seen, evidence }
    }

    /// Writes the evidence of a call and waits for the configured stage.
    async fn leave_evidence(
        &self,
        call: &Call<'_>,
        asks: &[Ask<'_>],
        looked: &Looked,
        answers: &[Answer],
        span: &Span<'_>,
    ) -> Result<EvidenceId, AppendError> {
        let receipt = self.append(call, asks, looked, answers, span)?;
        self.evidence.settled(&receipt).await?;
        Ok(receipt.id())
    }

    fn append(
        &self,
        call: &Call<'_>,
        asks: &[Ask<'_>],
        looked: &Looked,
        answers: &[Answer],
        span: &Span<'_>,
    ) -> Result<Receipt, AppendError> {
        let Looked { view, states, heard, now, .. } = looked;
        let mut record = RECORD.take();
        let appended = loop {
            let month = match self.evidence.month(*now) {
                Ok(month) => month,
                Err(unavailable) => break Err(unavailable.into()),
            };
            record::fill(&mut record, call, asks, answers, heard, view, *now);
            record.trace_id.clear();
            record.trace_id.extend(span.trace_id().into_iter().flatten());
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

/// A listener that names strings as evidence does.
fn listener(bytes: u64) -> Listener {
    Listener::new(bytes, evidence::record::fingerprint)
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

fn any_denied(answers: &[Answer]) -> bool {
    answers.iter().any(|answer| answer.verdict() == Verdict::Deny)
}

/// A line for a call, where somebody asked for that much.
#[cold]
fn tell(told: &Told, span: &Span<'_>) {
    let Told { call, reasons, purpose, channel, evidence, caller, .. } = told;
    let (purpose, channel) = (purpose.as_deref(), channel.as_deref());
    let reasons = reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect::<Vec<_>>().join(", ");
    let (call, trace) = (call.as_str(), span.shown());
    tracing::debug!(call, reasons, purpose, channel, caller = &**caller, evidence, trace, "answered");
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
    heard: HeardInCall,
    freshness: Freshness,
    now: Time,
    /// When the view had been taken.
    seen: Instant,
}

impl Looked {
    /// The decision about each question, made when it is asked for.
    fn decisions<'l>(&'l self, asks: &'l [Ask<'_>]) -> impl Iterator<Item = Answer> + 'l {
        let catalogue = self.view.published.catalogue.as_deref();
        asks.iter().zip(&self.states).enumerate().map(move |(place, (ask, state))| {
            Answer::from(&decide(&self.question(place, ask), state.view(), catalogue, &self.freshness, self.now))
        })
    }

    /// The question at a place of the call, with what its strings say.
    fn question<'l>(&'l self, place: usize, ask: &Ask<'l>) -> Question<'l> {
        Question { heard: self.heard.at(place).heard(), ..ask.question }
    }
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
