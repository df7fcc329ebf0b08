//! Explanations: today's answer with its rules, and earlier ones decided again.
//!
//! Today's answer comes first, with its evidence, like any other. What the past needs is read afterwards, one subject at a
//! time and on threads that may block, so that no other answer waits for it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;

use super::{Answer, Ask, Call, Enforcer, Explained, Looked, State};
use crate::domain::{SubjectView, explain};
use crate::evidence::{Cause, EvidenceId, KeyPlaces};
use crate::explain::{self, FindError, Found, History, HistoryError, Place, Reasoning, Replay, Standing, Today};

/// The longest that an earlier answer may take to be decided again, for callers that set no deadline: a ledger of some
/// gigabytes is read in that time.
const REPLAY_WITHIN: Duration = Duration::from_mins(1);
/// The longest that looking up who wrote a record may take. It is a courtesy, and nobody is to wait for it.
const SOURCE_WITHIN: Duration = Duration::from_millis(250);

/// Where earlier answers are, and what the ledger said then.
#[derive(Debug, Clone)]
pub struct Past {
    evidence: PathBuf,
    /// The file of the secret that keys of months are made of, where they are.
    secret: Option<PathBuf>,
    history: History,
}

impl Past {
    /// The folder of this sidecar's evidence, the file of the shared secret of its months' keys, and its ledger.
    #[must_use]
    pub fn new(evidence: PathBuf, secret: Option<PathBuf>, history: History) -> Self {
        Self { evidence, secret, history }
    }
}

impl Enforcer {
    /// The earlier answer about a subject that an evidence id names, among those whose purpose and channel `may_ask` says
    /// yes to.
    ///
    /// # Errors
    /// If there is none that may be told.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub async fn find(
        &self,
        id: EvidenceId,
        subject: String,
        may_ask: impl Fn(&str, &str) -> bool + Send + 'static,
    ) -> Result<Found, FindError> {
        let Some(past) = &self.past else { return Err(FindError::Nothing(id)) };
        let keys = KeyPlaces { folder: None, secret: past.secret.clone() };
        let place = Place { dir: past.evidence.clone(), keys, without_key: false };
        let looking = spawn_blocking(move || explain::find(&place, id, &subject, may_ask));
        looking.await.map_err(|error| Cause::of_defect(&error))?
    }

    /// Answers one question and lists the rules that led there. Leaves evidence like any other answer. Where an earlier
    /// answer to the same question was found, it is decided again and compared.
    ///
    /// # Cancel safety
    /// As [`Enforcer::answer`].
    pub async fn explain(&self, call: &Call<'_>, ask: &Ask<'_>, found: Option<Found>) -> Explained {
        let until = Instant::now() + call.patience.min(REPLAY_WITHIN);
        let sight = self.sight(self.reach(call).await);
        let looked = self.look(sight, call, std::slice::from_ref(ask)).await;
        let catalogue = looked.view.published.catalogue.as_deref();
        let (decision, outcomes) =
            explain(&looked.question(0, ask), looked.subject(), catalogue, &looked.freshness, looked.now);
        let mut reasoning = Reasoning::new(&decision, &outcomes);
        let answers = vec![Answer::from(&decision)];
        let answered = self.settle(call, std::slice::from_ref(ask), &looked, answers).await;
        self.look_up_source(&mut reasoning, until).await;
        let replay = match found {
            Some(found) => Some(self.replay(ask, found, &looked, &reasoning, until).await),
            None => None,
        };
        Explained { answered, reasoning, replay }
    }

    async fn replay(
        &self,
        ask: &Ask<'_>,
        found: Found,
        looked: &Looked,
        reasoning: &Reasoning,
        until: Instant,
    ) -> Replay {
        let Found { recorded, is_proved } = found;
        let today = Today {
            signals: ask.question.signals,
            heard: looked.question(0, ask).heard,
            subject: looked.subject(),
            catalogue: looked.view.published.catalogue.as_deref(),
            freshness: looked.freshness,
            now: looked.now,
            reason: reasoning.reason,
        };
        let read = match &self.past {
            Some(past) => {
                let subject = format!("{}:{}", ask.space, ask.id);
                past.history.read(&subject, recorded.position, until).await
            }
            None => Err(HistoryError::TooLate),
        };
        let mut replay = match read {
            Ok(read) => explain::replay(recorded, &read, &today),
            Err(error) => explain::unread(recorded, &error, &today),
        };
        if let Some(decided) = &mut replay.decided {
            self.look_up_source(decided, until).await;
        }
        if replay.standing == Standing::Contradicted {
            let said: Vec<&str> = replay.remarks.iter().map(|remark| &*remark.sentence).collect();
            let (evidence, why) = (replay.recorded.id.to_string(), said.join("; "));
            tracing::error!(
                evidence,
                why,
                "an earlier answer is not what comes of the ledger and the catalogue of then"
            );
        }
        if is_proved { replay } else { replay.of_unproved_subject() }
    }

    async fn look_up_source(&self, reasoning: &mut Reasoning, until: Instant) {
        if let (Some(past), Some(record)) = (&self.past, &mut reasoning.record) {
            let until = until.min(Instant::now() + SOURCE_WITHIN);
            record.source = past.history.source(record.record.position, until).await;
        }
    }
}

impl Looked {
    /// What is known about the one subject of an explanation.
    fn subject(&self) -> SubjectView<'_> {
        self.states.first().map_or(SubjectView::Unavailable, State::view)
    }
}
