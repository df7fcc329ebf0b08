//! Reading the stream: from where it was left, to its end or for as long as is wanted.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use async_nats::jetstream::stream::{Info, LastRawMessageErrorKind};
use tokio_stream::StreamExt as _;

use super::folder::Folder;
use super::place::ReadUpTo;
use super::{CollectError, Collected, Config};
use crate::evidence::batch::SUBJECTS;
use crate::evidence::central;
use crate::nats;

/// How often what was read goes to the device.
const PERSIST_INTERVAL: Duration = Duration::from_secs(1);
/// Messages asked for at once: some 16 MiB.
const MESSAGES_AT_ONCE: usize = 64;
/// A server that says nothing for twice as long is asked anew.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long reading is tried again before it is given up, where it is not to go on for ever.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(500);
/// For how long nothing may come before it is asked whether something should have.
const SILENCE: Duration = Duration::from_secs(2);

/// Collects until the end that the stream had when it began, or until `stop` is done.
///
/// # Errors
/// If there is no connection or stream, or the folder cannot be used. What does not hold in the evidence is no error: the
/// result says it.
///
/// # Cancel safety
/// Nothing is lost; what is not on the device is read again.
pub async fn run(config: &Config, stop: impl Future<Output = ()>) -> Result<Collected, CollectError> {
    let client = nats::connect(&config.nats).await?;
    let mut context = jetstream::new(client);
    context.set_timeout(config.nats.request_timeout);
    let mut reading = Reading::open(config, &context).await?;
    let mut stop = pin!(stop);
    let mut failing_since: Option<Instant> = None;
    loop {
        let before = reading.read.next;
        let ended = tokio::select! {
            () = &mut stop => break,
            ended = reading.session(&context, config) => ended,
        };
        let problem = match ended {
            Ok(()) => break,
            Err(Failed::Reading(problem)) => problem,
            Err(Failed::For(error)) => return Err(error),
        };
        if reading.read.next > before {
            failing_since = None;
        }
        let since = *failing_since.get_or_insert_with(Instant::now);
        if !config.follow && since.elapsed() > PATIENCE {
            return Err(CollectError::Reading { stream: config.stream.clone(), problem });
        }
        tracing::warn!(problem, "the stream of evidence cannot be read now; it is tried again");
        tokio::select! {
            () = &mut stop => break,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
    // Whoever is told to stop before the end leaves what waits to the next time.
    if !config.follow && reading.is_at_end() {
        reading.folder.give_up_waiting(true)?;
    }
    reading.persist()?;
    Ok(reading.folder.collected())
}

/// Why a session ended before its time.
enum Failed {
    /// It is tried again.
    Reading(String),
    /// It is not.
    For(CollectError),
}

impl<E: Into<CollectError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::For(error.into())
    }
}

struct Reading {
    folder: Folder,
    read: ReadUpTo,
    /// The last sequence that the stream had when it was opened.
    target: u64,
    persisted_at: Instant,
}

impl Reading {
    async fn open(config: &Config, context: &jetstream::Context) -> Result<Self, CollectError> {
        let info = look(context, config).await?;
        let folder = Folder::open(&config.into, config.keys.as_deref())?;
        let made = info.created.unix_timestamp_nanos();
        let begin = ReadUpTo { stream: config.stream.clone(), made, next: 1 };
        let read = match ReadUpTo::load(&config.into)? {
            None => begin,
            Some(read) if (read.made, &read.stream) != (made, &config.stream) => {
                tracing::warn!(stream = config.stream, "this is another stream than before; it is read from its start");
                begin
            }
            Some(read) if read.next > info.state.last_sequence.saturating_add(1) => {
                tracing::warn!(
                    stream = config.stream,
                    "the stream ends before what was read of it; it is read from its start"
                );
                begin
            }
            Some(read) => read,
        };
        Ok(Self { folder, read, target: info.state.last_sequence, persisted_at: Instant::now() })
    }

    const fn is_at_end(&self) -> bool {
        self.read.next > self.target
    }

    /// Reads until the end, if there is to be one.
    async fn session(&mut self, context: &jetstream::Context, config: &Config) -> Result<(), Failed> {
        if !config.follow && self.is_at_end() {
            return Ok(());
        }
        let failed = |error: &dyn std::fmt::Display| Failed::Reading(error.to_string());
        let seen = central::kept_stream(&config.stream).look(context).await.map_err(|error| failed(&error))?;
        if seen.info.created.unix_timestamp_nanos() != self.read.made {
            let problem = "it was made anew while it was read; collect again".to_owned();
            return Err(CollectError::Reading { stream: config.stream.clone(), problem }.into());
        }
        let settings = pull::Config {
            description: Some("consentd evidence collect".to_owned()),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: self.read.next },
            ack_policy: AckPolicy::None,
            inactive_threshold: Duration::from_mins(1),
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let made = context.create_consumer_on_stream(settings, config.stream.as_str()).await;
        let consumer: Consumer<pull::Config> = made.map_err(|error| failed(&error))?;
        let messages = consumer.stream().max_messages_per_batch(MESSAGES_AT_ONCE).heartbeat(HEARTBEAT).messages().await;
        let mut messages = messages.map_err(|error| failed(&error))?;
        let mut came_at = Instant::now();
        loop {
            if let Ok(message) = tokio::time::timeout(PERSIST_INTERVAL, messages.next()).await {
                let message = message.ok_or_else(|| failed(&"the consumer ended"))?.map_err(|error| failed(&error))?;
                let info = message.info().map_err(|error| failed(&error))?;
                let sequence = info.stream_sequence;
                came_at = Instant::now();
                if sequence < self.read.next {
                    return Err(failed(&format!("message {sequence} came after message {}", self.read.next - 1)));
                }
                self.folder.take(sequence, &message.payload)?;
                self.read.next = sequence.saturating_add(1);
                if !config.follow && self.is_at_end() {
                    return Ok(());
                }
            } else if came_at.elapsed() >= SILENCE {
                // A consumer lies on one server, which may lag behind and says that nothing is left. Its leader knows.
                if self.is_more(context, config).await? {
                    return Err(failed(&"a server that lags behind was asked for it"));
                }
                if !config.follow {
                    // What is missing up to the end was removed from the stream.
                    self.read.next = self.target.saturating_add(1);
                    return Ok(());
                }
                came_at = Instant::now();
            }
            if self.persisted_at.elapsed() >= PERSIST_INTERVAL {
                self.folder.give_up_waiting(false)?;
                self.persist()?;
            }
        }
    }

    /// Whether the stream has a message that was not read.
    async fn is_more(&self, context: &jetstream::Context, config: &Config) -> Result<bool, Failed> {
        let failed = |error: &dyn std::fmt::Display| Failed::Reading(error.to_string());
        let stream = context.get_stream_no_info(&config.stream).await.map_err(|error| failed(&error))?;
        let asked = stream.raw_message_builder().sequence(self.read.next).next_by_subject(SUBJECTS);
        match asked.send().await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(false),
            Err(error) => Err(failed(&error)),
        }
    }

    fn persist(&mut self) -> Result<(), CollectError> {
        self.folder.persist(self.read.clone())?;
        self.persisted_at = Instant::now();
        Ok(())
    }
}

/// The stream as its leader says it is: others that answer while there is none may not know its end.
async fn look(context: &jetstream::Context, config: &Config) -> Result<Info, CollectError> {
    let began = Instant::now();
    loop {
        let seen = central::kept_stream(&config.stream).look(context).await?;
        if seen.is_from_leader() {
            return Ok(seen.info);
        }
        if began.elapsed() > PATIENCE {
            let problem = "it has no leader; are most of its servers up?".to_owned();
            return Err(CollectError::Reading { stream: config.stream.clone(), problem });
        }
        tokio::time::sleep(PAUSE).await;
    }
}
