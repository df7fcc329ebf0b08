//! The thread with the network: one connection after the other, and on each one consumer.

use std::convert::Infallible;
use std::time::Duration;

use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{self, RawMessageErrorKind};
use async_nats::jetstream::{self, Context};
use async_nats::{Client, connection};
use prost::Message as _;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, sleep_until};
use tokio_stream::StreamExt as _;

use super::beats::{BeaterId, Beats, Send};
use super::decode::Raw;
use super::pull::{self, Placed, Pull};
use super::{BEATS, asks, name};
use crate::clock::{BootTime, Clock};
use crate::domain::Position;
use crate::ledger::nats::{
    Config, OpenError, SUBJECT_KEY_CHECK, Stored, kept_stream, ledger_id, mark, subject_key_check,
};
use crate::ledger::{FeedItem, LedgerFault, LedgerId, Place, Resume, SubjectHasher};
use crate::nats::{KeptStream, Seen, StreamError, connect, with_causes};
use crate::proto::v1;

/// Between two looks at the connection and at what was sent: 100 ms.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// Between two looks at the stream's settings: 5 s.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How long proofs may be missing, beyond two intervals, before it is said why: 1 s.
const UNPROVED_MAX: Duration = Duration::from_secs(1);
/// How long a consumer may deliver no proof, beyond that, before another one is made: 5 s. It may be on a server that
/// lags behind.
const STALLED_MAX: Duration = Duration::from_secs(5);
/// How long the server may take to answer: 2 s. What is asked while a cluster elects a leader is lost, and asked again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// The first and the longest pause before a connection is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// The most beats of ours that are on their way to the stream.
const PUBLISHING_MAX: usize = 4;

/// Follows one stream until its feed is dropped or the ledger is broken.
pub(super) struct Follower {
    config: Config,
    name: String,
    kept: KeptStream,
    /// What the stream says of its subject key, if it is ours.
    key_check: String,
    freshness_interval: Duration,
    clock: Clock,
    raw: mpsc::Sender<Raw>,
    ledger: Option<LedgerId>,
    place: Place,
    opened: bool,
    /// What was last said of why nothing comes.
    waiting: Option<String>,
    beats: Beats,
    /// Why our last beat was not taken.
    refused: Option<String>,
    /// When a message last came.
    received: Instant,
    failures: u32,
    random: SystemRandom,
}

/// Why a session ends.
enum Halt {
    /// Nobody listens any more.
    Dropped,
    Broken(LedgerFault),
    /// It may pass.
    Unreachable(String),
    /// Nothing is wrong with the ledger, as far as is known: the same again.
    Again(String),
}

/// What a beat of ours came to.
struct Published {
    /// The position that had been received before it was sent.
    received: u64,
    /// Its sequence, or why there is none.
    sequence: Result<u64, String>,
}

impl Follower {
    pub(super) fn new(
        config: Config,
        hasher: &SubjectHasher,
        freshness_interval: Duration,
        clock: Clock,
        raw: mpsc::Sender<Raw>,
        resume: Option<Resume>,
    ) -> Self {
        let random = SystemRandom::new();
        let mut id = BeaterId::default();
        // Without random numbers nothing is drawn later either, and that is said then.
        let _ = random.fill(&mut id);
        let now = Instant::now();
        Self {
            name: name(&config),
            kept: kept_stream(&config.stream, hasher),
            key_check: subject_key_check(hasher),
            config,
            freshness_interval,
            clock,
            raw,
            ledger: resume.map(|resume| resume.ledger),
            place: resume.map_or(Place { position: Position(0), mark: [0; 16] }, |resume| resume.place),
            opened: false,
            waiting: None,
            beats: Beats::new(id, freshness_interval, now),
            refused: None,
            received: now,
            failures: 0,
            random,
        }
    }

    /// The thread's whole life.
    pub(super) async fn run(mut self) {
        loop {
            let halted = match self.session().await {
                Err(halt) => halt,
                Ok(never) => match never {},
            };
            let told = match halted {
                Halt::Dropped => return,
                Halt::Broken(fault) => {
                    // Nobody to tell is nothing to tell.
                    let _ = self.raw.send(Raw::Said(FeedItem::Broken(fault))).await;
                    return;
                }
                Halt::Unreachable(sentence) => self.say_waiting(sentence).await,
                Halt::Again(reason) => {
                    tracing::info!(reason, position = self.place.position.0, "the ledger is followed anew");
                    Ok(())
                }
            };
            if told.is_err() {
                return;
            }
            self.failures = self.failures.saturating_add(1);
            let pause = self.pause();
            tokio::select! {
                () = sleep(pause) => {}
                () = self.raw.closed() => return,
            }
        }
    }

    /// One connection, for as long as it is good.
    async fn session(&mut self) -> Result<Infallible, Halt> {
        let (context, seen) = self.connect().await?;
        self.check(&context, &seen).await?;
        let client = context.client();
        let again = |error: &dyn std::fmt::Display| Halt::Again(error.to_string());
        if !self.opened {
            let (ledger, last) = (ledger_id(&seen.info), Position(seen.info.state.last_sequence));
            self.say(FeedItem::Opened { ledger, last }).await?;
            self.opened = true;
            self.ledger = Some(ledger);
        }
        let behind = self.place.position.0;
        let consumer = context.create_consumer_on_stream(pull::consumer(behind), &self.config.stream).await;
        let consumer = consumer
            .map_err(|error| Halt::Unreachable(format!("the ledger `{}` gives us no consumer: {error}", self.name)))?;
        let mut pull = Pull::begin(&client, &self.config.stream, &consumer.cached_info().name, behind)
            .await
            .map_err(|error| again(&error))?;
        let mut asks = client.subscribe(asks(self.beats.id())).await.map_err(|error| again(&error))?;
        let mut publishing: JoinSet<Published> = JoinSet::new();
        let mut looking: JoinSet<Result<Seen, StreamError>> = JoinSet::new();
        let mut watch = interval(WATCH_INTERVAL);
        let mut look_at = Instant::now() + LOOK_INTERVAL;
        let began = Instant::now();
        loop {
            tokio::select! {
                came = pull.next() => {
                    let came = came.map_err(|lost| again(&lost))?;
                    self.take(came).await?;
                    pull.listened_again();
                }
                Some(published) = publishing.join_next() => self.take_published(published)?,
                Some(looked) = looking.join_next() => self.take_look(looked)?,
                Some(asked) = asks.next() => self.beats.asked(&asked.payload, Instant::now()),
                () = sleep_until(self.beats.due()) => self.beat(&client, &mut publishing).await?,
                _ = watch.tick() => {
                    if client.connection_state() != connection::State::Connected {
                        return Err(again(&pull::Lost::Connection));
                    }
                    if pull.is_silent() {
                        return Err(again(&pull::Lost::Silent));
                    }
                    if Instant::now() >= look_at && looking.is_empty() {
                        look_at = Instant::now() + LOOK_INTERVAL;
                        let (kept, context) = (self.kept.clone(), context.clone());
                        looking.spawn(async move { kept.look(&context).await });
                    }
                    self.watch_proofs(began).await?;
                }
                () = self.raw.closed() => return Err(Halt::Dropped),
            }
        }
    }

    /// Connects anew, with files read anew, and looks at the stream.
    async fn connect(&self) -> Result<(Context, Seen), Halt> {
        let unreachable = |error: &dyn std::error::Error| Halt::Unreachable(with_causes(error));
        let client = connect(&self.config.connection).await.map_err(|error| unreachable(&error))?;
        let context =
            ContextBuilder::new().timeout(REQUEST_TIMEOUT.min(self.config.connection.request_timeout)).build(client);
        let seen = self.kept.look(&context).await.map_err(|error| unreachable(&error))?;
        Ok((context, seen))
    }

    /// Whether this is the stream that was followed, and still says what it said.
    async fn check(&self, context: &Context, seen: &Seen) -> Result<(), Halt> {
        let info = &seen.info;
        if !seen.is_from_leader() {
            return Err(Halt::Unreachable(format!("the ledger `{}` has no leader now", self.name)));
        }
        match seen.metadata(SUBJECT_KEY_CHECK) {
            None => return Err(Halt::Unreachable(OpenError::NoKey { stream: self.config.stream.clone() }.to_string())),
            Some(check) if check != self.key_check => {
                let (stream, path) = (self.config.stream.clone(), self.config.subject_key_file.clone());
                let problem = OpenError::OtherKey { stream, path }.to_string();
                return Err(Halt::Broken(LedgerFault::OtherSubjectKey { ledger: self.name.clone(), problem }));
            }
            Some(_) => {}
        }
        if self.ledger.is_some_and(|ledger| ledger != ledger_id(info)) {
            return Err(Halt::Broken(LedgerFault::Replaced { ledger: self.name.clone() }));
        }
        let stream = context.get_stream_no_info(&self.config.stream).await;
        let stream = stream.map_err(|error| self.silent(&error))?;
        if has_holes(&info.state) {
            self.check_hole(context, &stream, &info.state).await?;
        }
        let faults = seen.faults(&self.kept);
        if !faults.is_empty() {
            let problem = OpenError::Faults { stream: self.config.stream.clone(), faults }.to_string();
            // One that was never followed may yet be mended.
            return Err(if self.opened {
                Halt::Broken(LedgerFault::Settings { ledger: self.name.clone(), problem })
            } else {
                Halt::Unreachable(problem)
            });
        }
        let position = self.place.position;
        if position.0 == 0 {
            return Ok(());
        }
        if info.state.last_sequence < position.0 {
            self.check_end(&context.client(), info.state.last_sequence).await?;
        }
        match self.message_from(&stream, position.0).await? {
            Some(message) if message.sequence == position.0 => {
                if mark(Stored::of(&message)) == self.place.mark {
                    Ok(())
                } else {
                    Err(Halt::Broken(LedgerFault::Rewritten { ledger: self.name.clone(), position }))
                }
            }
            Some(_) => Err(self.gap(position.0)),
            None => Err(self.behind(context, position.0, info.state.last_sequence).await),
        }
    }

    /// The message at a sequence, or the first behind it. A server's copy is a beginning of the stream, so that only one
    /// that has a later message and not this one knows that this one is missing: "there is none" may merely be behind.
    async fn message_from(
        &self,
        stream: &jetstream::stream::Stream<()>,
        sequence: u64,
    ) -> Result<Option<StreamMessage>, Halt> {
        match stream.raw_message_builder().sequence(sequence).next_by_subject(">").send().await {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(self.silent(&error)),
        }
    }

    /// There is neither the message nor a later one, where it was asked for. Should it be the last one that is missing, a
    /// beat will lie behind it when it is asked for again.
    async fn behind(&self, context: &Context, sequence: u64, last: u64) -> Halt {
        match self.check_end(&context.client(), last).await {
            Ok(()) => self.silent(&format_args!("a server that is behind answered for message {sequence}")),
            Err(halt) => halt,
        }
    }

    /// The stream says that messages are missing within it: one of them is asked for by its sequence.
    async fn check_hole(
        &self,
        context: &Context,
        stream: &jetstream::stream::Stream<()>,
        state: &stream::State,
    ) -> Result<(), Halt> {
        let missing = if state.first_sequence > 1 {
            1
        } else {
            let asked = serde_json::json!({"deleted_details": true});
            let said: serde_json::Value = context
                .request(format!("STREAM.INFO.{}", self.config.stream), &asked)
                .await
                .map_err(|error| self.silent(&error))?;
            let Some(missing) = said.pointer("/state/deleted/0").and_then(serde_json::Value::as_u64) else {
                return Err(self.silent(&"it says that messages were deleted, and not which"));
            };
            missing
        };
        match self.message_from(stream, missing).await? {
            Some(message) if message.sequence == missing => Ok(()),
            Some(_) => Err(self.gap(missing)),
            None => Err(self.behind(context, missing, state.last_sequence).await),
        }
    }

    /// The stream says that it ends before our position. A leader that is none any more says so too, so that a beat is
    /// written: by the consent of a majority, at the stream's true end.
    async fn check_end(&self, client: &Client, last: u64) -> Result<(), Halt> {
        let beat = v1::Beat { beater: self.beats.id().to_vec(), ..v1::Beat::default() };
        let position = self.place.position;
        let published = publish(client.clone(), beat, position.0).await;
        match published.sequence {
            Ok(sequence) if sequence <= position.0 => Err(self.rewound(sequence - 1)),
            Ok(_) => Ok(()),
            Err(problem) => Err(Halt::Unreachable(format!(
                "the ledger `{}` ends at {last}, but {} had been read; a beat would tell whether that is so: {problem}",
                self.name, position.0
            ))),
        }
    }

    /// Hands messages on, and says what they prove.
    async fn take(&mut self, came: Vec<Placed>) -> Result<(), Halt> {
        let Some(last) = came.last() else { return Ok(()) };
        let stored = Stored::placed(last.sequence, last.time_nanos, &last.message);
        let place = Place { position: Position(last.sequence), mark: mark(stored) };
        let now = Instant::now();
        let mut proof: Option<BootTime> = None;
        for placed in came.iter().filter(|placed| *placed.message.subject == *BEATS) {
            if let Ok(beat) = v1::Beat::decode(placed.message.payload.clone()) {
                proof = proof.max(self.beats.seen(&beat, now));
            }
        }
        self.raw.send(Raw::Messages(came, place)).await.map_err(|_| Halt::Dropped)?;
        self.place = place;
        self.received = Instant::now();
        self.failures = 0;
        if let Some(at) = proof {
            self.waiting = None;
            self.refused = None;
            self.say(FeedItem::Current { position: place.position, at }).await?;
        }
        Ok(())
    }

    /// Sends what is due of nonces and beats.
    async fn beat(&mut self, client: &Client, publishing: &mut JoinSet<Published>) -> Result<(), Halt> {
        let (boot, now) = (self.clock.boot(), Instant::now());
        let mut failed = false;
        let random = &self.random;
        let sends = self.beats.act(now, boot, &mut || {
            let mut bytes = [0; 8];
            failed |= random.fill(&mut bytes).is_err();
            u64::from_be_bytes(bytes)
        });
        if failed {
            return Err(Halt::Unreachable(
                "the system gives no random numbers, which proofs of freshness need".to_owned(),
            ));
        }
        for send in sends {
            match send {
                Send::Nonce(beater, nonce) => {
                    let sent = client.publish(asks(beater), nonce.to_be_bytes().to_vec().into()).await;
                    sent.map_err(|error| Halt::Again(error.to_string()))?;
                }
                // Those that wait are proof enough of trouble.
                Send::Beat(beat) if publishing.len() < PUBLISHING_MAX => {
                    publishing.spawn(publish(client.clone(), beat, self.place.position.0));
                }
                Send::Beat(_) => {}
            }
        }
        Ok(())
    }

    fn take_published(&mut self, published: Result<Published, tokio::task::JoinError>) -> Result<(), Halt> {
        let Published { received, sequence } = published.map_err(|error| Halt::Again(error.to_string()))?;
        match sequence {
            // What had been received lies before what is written later, unless it is there no more.
            Ok(sequence) if sequence <= received => Err(self.rewound(sequence - 1)),
            Ok(_) => {
                self.refused = None;
                Ok(())
            }
            Err(problem) => {
                self.refused = Some(problem);
                Ok(())
            }
        }
    }

    fn take_look(&mut self, looked: Result<Result<Seen, StreamError>, tokio::task::JoinError>) -> Result<(), Halt> {
        // Where nothing is told, proofs stay away if that matters.
        let Ok(Ok(seen)) = looked else { return Ok(()) };
        let info = &seen.info;
        if !seen.is_from_leader() {
            return Ok(());
        }
        // What seems wrong is looked at as when following begins, which asks again before it says so.
        let is_other = self.ledger.is_some_and(|ledger| ledger != ledger_id(info));
        let is_changed = !seen.faults(&self.kept).is_empty();
        if is_other || is_changed || has_holes(&info.state) || info.state.last_sequence < self.place.position.0 {
            return Err(Halt::Again("the stream is not as it was".to_owned()));
        }
        Ok(())
    }

    /// Says why there is no proof, and ends a session in which none comes.
    async fn watch_proofs(&mut self, began: Instant) -> Result<(), Halt> {
        let Some(since) = self.beats.waiting_since() else { return Ok(()) };
        let bound = self.freshness_interval * 2 + UNPROVED_MAX;
        let missing = self.clock.boot().since(since);
        // As long as messages come, what was sent is still behind them.
        let quiet = self.received.max(began).elapsed();
        if missing <= bound || quiet <= bound {
            return Ok(());
        }
        let problem = self.refused.clone().unwrap_or_else(|| "what is written to it is not delivered".to_owned());
        let sentence = format!("the ledger `{}` gives no proof that nothing is missing: {problem}", self.name);
        if quiet > bound + STALLED_MAX {
            return Err(Halt::Unreachable(sentence));
        }
        self.say_waiting(sentence).await
    }

    async fn say(&self, item: FeedItem) -> Result<(), Halt> {
        self.raw.send(Raw::Said(item)).await.map_err(|_| Halt::Dropped)
    }

    /// Says why nothing comes, if that is news.
    async fn say_waiting(&mut self, sentence: String) -> Result<(), Halt> {
        if self.waiting.as_ref() == Some(&sentence) {
            return Ok(());
        }
        self.waiting = Some(sentence.clone());
        self.say(FeedItem::Waiting(sentence)).await
    }

    fn silent(&self, error: &dyn std::fmt::Display) -> Halt {
        Halt::Unreachable(format!("the ledger `{}` cannot be read: {error}", self.name))
    }

    fn gap(&self, missing: u64) -> Halt {
        Halt::Broken(LedgerFault::Gap { ledger: self.name.clone(), position: Position(missing) })
    }

    fn rewound(&self, last: u64) -> Halt {
        let (ledger, position) = (self.name.clone(), self.place.position);
        Halt::Broken(LedgerFault::Rewound { ledger, last: Position(last), position })
    }

    /// A pause that grows with what fails, of a length by chance, so that many do not come back at once.
    fn pause(&self) -> Duration {
        let (first, longest) = PAUSES;
        let bound = first.saturating_mul(1 << self.failures.min(10)).min(longest);
        let mut byte = [0; 1];
        // Without random numbers the pause is the longest.
        let share = self.random.fill(&mut byte).map_or(255, |()| {
            let [byte] = byte;
            byte
        });
        bound.mul_f64(0.5 + f64::from(share) / 512.0)
    }
}

/// Writes a beat.
async fn publish(client: Client, beat: v1::Beat, received: u64) -> Published {
    let sequence = match client.request(BEATS, beat.encode_to_vec().into()).await {
        Ok(answer) => sequence_of(&answer.payload),
        Err(error) => Err(format!("no beat can be written: {error}")),
    };
    Published { received, sequence }
}

/// The sequence in a stream's acknowledgement.
fn sequence_of(answer: &[u8]) -> Result<u64, String> {
    let said: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    if let Some(problem) = said.pointer("/error/description").and_then(serde_json::Value::as_str) {
        return Err(format!("the stream takes no beat: {problem}"));
    }
    let sequence = said.get("seq").and_then(serde_json::Value::as_u64).filter(|sequence| *sequence > 0);
    sequence.ok_or_else(|| "the stream's acknowledgement of a beat is not understood".to_owned())
}

/// Whether messages are missing between the first that was ever written and the last.
fn has_holes(state: &stream::State) -> bool {
    let is_written = state.last_sequence > 0;
    is_written && (state.first_sequence != 1 || state.messages != state.last_sequence)
}
