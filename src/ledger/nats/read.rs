//! Reading all that the ledger says about one data subject, for replicas that do not follow the whole of it.
//!
//! Two questions go out side by side. One asks for the last message of each kind, and the server says with it how far
//! its copy of the stream goes: the *extent*. The other asks for the messages themselves. Any copy of the stream may
//! answer either, also one that lags behind; [`proof`] tells whether the answers together are all that there is up to a
//! position, and what is not proved is asked again until there is no time left.
//!
//! Messages are asked for by their full subjects, one kind at a time. With a wildcard for the kind the server goes
//! through the whole stream behind the last message of the subject: measured with a million messages, 65 ms instead
//! of half of one.

mod answer;
mod inbox;
mod proof;

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use prost::Message as _;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout_at};

use super::follow::decode::Decoder;
use super::subject::{About, CATALOGUE, Kind};
use super::{BEATS, Config, OpenError, Opened, SUBJECTS, Stored, mark, open};
use crate::domain::{Position, SubjectKey};
use crate::ledger::{Delivery, LedgerId, Place, Resume, SubjectHasher};
use crate::proto::v1;
use answer::{Answer, Message, Stray};
use inbox::Inbox;
use proof::{Extent, History, Unproved};

/// Messages in one answer. A data subject has a handful; the rest come with further questions.
const PAGE_MESSAGES: usize = 512;
/// Bytes in one answer, so that one subject with a long history does not fill the connection.
const PAGE_BYTES: usize = 1 << 20;
/// The most that is kept of one subject: 64 MiB, some hundred thousand events. No person has so many, a mistake does.
const HISTORY_BYTES_MAX: usize = 64 << 20;
/// How long an attempt may go without its whole answer before what is missing is asked again: far above a server's
/// milliseconds, and below what a caller waits. Doubled each time, so that a slow connection is no hindrance.
const ANSWER_WITHIN: Duration = Duration::from_millis(250);
/// The pause before what was not proved is asked again: doubled from the first to the second.
const RETRY_PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));

/// Reads single subjects of a central ledger. Clones share the connection.
#[derive(Debug, Clone)]
pub struct SubjectReader {
    client: Client,
    inbox: Arc<Inbox>,
    /// Where direct gets of the stream are asked for.
    api: Arc<str>,
    decoder: Arc<Decoder>,
}

/// Where following can begin without what was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beginning {
    /// The ledger.
    pub ledger: LedgerId,
    /// Behind the message that was last; `None` where there is none yet.
    pub resume: Option<Resume>,
    /// Every catalogue up to there.
    pub catalogues: Vec<Delivery>,
}

/// Why a subject was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There is no connection now.
    #[error("there is no connection to the ledger")]
    Disconnected,
    /// The time was over.
    #[error("the ledger did not answer in time: {0}")]
    TooLate(String),
    /// What the ledger has about the subject is more than is kept.
    #[error("the ledger has more than {HISTORY_BYTES_MAX} bytes about one subject")]
    TooMuch,
}

/// Why it cannot be told where to begin.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The ledger cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The stream takes no direct gets.
    #[error(
        "the stream `{0}` does not allow direct gets, by which subjects are loaded on demand; set its `allow_direct`, or \
         follow all of it with `replica.mode = \"full\"`"
    )]
    NoDirect(String),
    /// Its last message or its catalogues were not read.
    #[error(
        "the beginning of the ledger `{stream}` cannot be read: {problem}; may this account publish to \
         `$JS.API.DIRECT.GET.{stream}`?"
    )]
    Read {
        /// The stream.
        stream: String,
        /// Why not.
        problem: String,
    },
}

impl SubjectReader {
    /// Connects, looks at the ledger, and reads what a follower needs that begins at its end.
    ///
    /// # Errors
    /// If the ledger is not there, cannot be relied on, or does not answer within `patience`.
    ///
    /// # Cancel safety
    /// Nothing is left behind when it is dropped.
    pub async fn begin(config: &Config, patience: Duration) -> Result<(Self, Beginning), BeginError> {
        let Opened { context, seen, ledger, hasher } = open(config).await?;
        let stream = || config.stream.clone();
        if !seen.info.config.allow_direct {
            return Err(BeginError::NoDirect(stream()));
        }
        let problem = |problem: String| BeginError::Read { stream: stream(), problem };
        let client = context.client();
        let inbox = Inbox::open(&client).await.map_err(|error| problem(error.to_string()))?;
        let api = Arc::from(format!("$JS.API.DIRECT.GET.{}", config.stream));
        let decoder = Arc::new(Decoder { hasher, ledger: stream() });
        let reader = Self { client, inbox: Arc::new(inbox), api, decoder };
        // Whoever answered may lag behind. That is no harm: what comes later is followed.
        let last = seen.info.state.last_sequence;
        if last == 0 {
            return Ok((reader, Beginning { ledger, resume: None, catalogues: Vec::new() }));
        }
        let handle = context.get_stream_no_info(&config.stream).await.map_err(|error| problem(error.to_string()))?;
        let message = handle.get_raw_message(last).await.map_err(|error| problem(error.to_string()))?;
        let place = Place { position: Position(last), mark: mark(Stored::of(&message)) };
        // The last message stands for the position: whoever has it has all before it.
        let until = Instant::now() + patience;
        let about = [CATALOGUE.to_owned()];
        let catalogues = reader.read(&about, &message.subject, Position(last), until).await;
        let catalogues = catalogues.map_err(|error| problem(error.to_string()))?;
        Ok((reader, Beginning { ledger, resume: Some(Resume { ledger, place }), catalogues }))
    }

    /// All that the ledger says about a data subject up to a position that it is known to have reached; also what is
    /// behind that, as far as it came along. In order within each kind.
    ///
    /// # Errors
    /// If that was not proved until then, or there is no connection.
    ///
    /// # Cancel safety
    /// Nothing is left behind when it is dropped.
    pub async fn subject(&self, key: SubjectKey, up_to: Position, until: Instant) -> Result<Vec<Delivery>, ReadError> {
        let kinds = Kind::ALL.map(|kind| About::Subject(key, kind).to_string());
        // A follower has seen a beat before it relies on any position.
        self.read(&kinds, BEATS, up_to, until).await
    }

    /// What names subjects in this ledger.
    #[must_use]
    pub fn hasher(&self) -> &SubjectHasher {
        &self.decoder.hasher
    }

    /// Who wrote the event at a position, where it says so and a server gives it at once.
    ///
    /// # Cancel safety
    /// Nothing is left behind when it is dropped.
    pub async fn source(&self, position: Position) -> Option<String> {
        let body = json!({ "seq": position.0, "next_by_subj": SUBJECTS, "batch": 1 });
        let answer = self.ask(&body).await.ok()?;
        let message = answer.messages.into_iter().find(|message| message.sequence == position.0)?;
        let source = v1::LedgerEvent::decode(message.payload.as_slice()).ok()?.source;
        (!source.is_empty()).then_some(source)
    }

    /// All messages with these subjects up to a position. `witness` is a subject of which there is a message up to
    /// there, so that no honest answer is empty: an empty one does not say how far it looked.
    async fn read(
        &self,
        subjects: &[String],
        witness: &str,
        up_to: Position,
        until: Instant,
    ) -> Result<Vec<Delivery>, ReadError> {
        let mut histories: Vec<History> = subjects.iter().map(|subject| History::new(subject)).collect();
        let (mut pause, pause_max) = RETRY_PAUSES;
        let mut answer_within = ANSWER_WITHIN;
        let mut extent: Option<Extent> = None;
        // Why the last answer was none, which the silence after it does not unsay.
        let mut problem = "no answer".to_owned();
        loop {
            let attempt = self.attempt(&mut histories, witness, up_to, &mut extent);
            let within = until.min(Instant::now() + answer_within);
            match timeout_at(within, attempt).await {
                Ok(Ok(())) => break,
                Ok(Err(Unproved::TooMuch)) => return Err(ReadError::TooMuch),
                Ok(Err(unproved)) => problem = unproved.to_string(),
                Err(_) => answer_within *= 2,
            }
            if self.client.connection_state() != async_nats::connection::State::Connected {
                return Err(ReadError::Disconnected);
            }
            if Instant::now() + pause >= until {
                return Err(ReadError::TooLate(problem));
            }
            sleep(pause).await;
            pause = (pause * 2).min(pause_max);
        }
        Ok(histories.into_iter().flat_map(History::into_messages).map(|message| self.delivery(&message)).collect())
    }

    /// Asks for what is not proved yet. What one attempt has proved the next one keeps.
    async fn attempt(
        &self,
        histories: &mut [History],
        witness: &str,
        up_to: Position,
        extent: &mut Option<Extent>,
    ) -> Result<(), Unproved> {
        if extent.is_none() {
            let lasts: Vec<&str> = histories.iter().map(History::subject).chain([witness]).collect();
            // Most subjects have consents and nothing else: their messages are on the way while the extent is.
            let body = json!({ "multi_last": lasts });
            let first = histories.first_mut();
            let (answer, page) = tokio::join!(self.ask(&body), async {
                match first {
                    Some(history) => self.page(history).await,
                    None => Ok(()),
                }
            });
            *extent = Some(Extent::of(&answer?, up_to)?);
            page?;
        }
        let Some(extent) = extent else { return Err(Unproved::Empty) };
        for history in histories {
            while !history.reaches(extent) {
                let before = history.last();
                self.page(history).await?;
                if history.last() == before {
                    return Err(Unproved::Behind);
                }
            }
        }
        Ok(())
    }

    /// Asks for the next messages of one subject.
    async fn page(&self, history: &mut History) -> Result<(), Unproved> {
        let body = json!({
            "seq": history.last() + 1,
            "next_by_subj": history.subject(),
            "batch": PAGE_MESSAGES,
            "max_bytes": PAGE_BYTES,
        });
        let answer = self.ask(&body).await?;
        history.take(answer, HISTORY_BYTES_MAX)
    }

    async fn ask(&self, body: &serde_json::Value) -> Result<Answer, Unproved> {
        let mut question = self.inbox.question();
        let reply = question.reply_subject();
        let sent = self.client.publish_with_reply(self.api.to_string(), reply, body.to_string().into()).await;
        sent.map_err(|_| Unproved::Stray(Stray::NotSent))?;
        Ok(question.answer().await?)
    }

    fn delivery(&self, message: &Message) -> Delivery {
        let position = Position(message.sequence);
        Delivery { position, event: self.decoder.event(&message.subject, &message.payload, position) }
    }
}
