//! The shipping thread: connects, publishes, waits for acknowledgements, notes how far they reach.

mod stream;

use std::collections::{BTreeMap, VecDeque};
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::publish::PublishAck;
use async_nats::{Client, HeaderMap, jetstream};
use tokio::sync::watch;

use self::stream::made_anew;
use super::backlog::{Backlog, Batch, Problem, Until};
use super::cursor::Cursor;
use super::{Config, Departure, Outlet};
use crate::evidence::batch::{Outgoing, Place, Sender, subject};
use crate::evidence::checkpoint::{Checkpoint, origin};
use crate::evidence::files::{At, Cause, read_small};
use crate::evidence::id::YearMonth;
use crate::evidence::keys::Salt;
use crate::evidence::log::{ABANDONED, Core, SIGNED, Shared};
use crate::nats::{self, with_causes};

/// Batches that wait for their acknowledgement: enough for 20,000 answers a second over a round trip of 500 ms.
const IN_FLIGHT_MAX: usize = 16;
/// How often the cursor goes to the device while batches are acknowledged. What is sent twice after a kill is at most
/// what was acknowledged within it.
const STORE_INTERVAL: Duration = Duration::from_secs(1);
/// How often the shipper looks at new checkpoints, at its end and at the stream, when nothing else wakes it.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How often it looks whether the process ends.
const END_INTERVAL: Duration = Duration::from_millis(50);
/// How often it looks whether the stream is still the same, whether somebody else publishes under its name, and whether a
/// month may be removed.
const PATROL_INTERVAL: Duration = Duration::from_secs(30);
/// How often it looks whether there is more than may be kept: 20,000 answers a second are 4 MB within it.
const TRIM_INTERVAL: Duration = Duration::from_secs(1);
/// The pauses between attempts, doubling.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The longest pause once the process is ending, which cuts a longer one short.
const PAUSE_AT_END: Duration = Duration::from_millis(500);
/// The ends of this many batches are remembered, to know one's own messages by.
const ENDS_KEPT: usize = 256;

type Ack = Pin<Box<dyn Future<Output = Result<PublishAck, PublishError>> + Send>>;

/// Why a session ended.
#[derive(Debug)]
enum Halt {
    /// Everything is done, or the process ends.
    Stopped,
    /// It is tried again.
    Trouble(String),
    /// The log is not the one that was shipped.
    Rewound(String),
}

impl From<Problem> for Halt {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Unreadable(cause) => Self::Trouble(cause.to_string()),
            Problem::Rewound(what) => Self::Rewound(rewound(&what)),
        }
    }
}

impl From<Cause> for Halt {
    fn from(cause: Cause) -> Self {
        Self::Trouble(cause.to_string())
    }
}

/// The sentence for a log that is not the one that was shipped.
pub(super) fn rewound(what: &str) -> String {
    format!(
        "the evidence log is not the one that was shipped: {what}; put the newest copy of the folder back, or keep this \
         one elsewhere and start with an empty folder"
    )
}

/// A message that was published, or several that are one batch.
struct Flight {
    acks: VecDeque<Ack>,
    /// What is acknowledged by it.
    cargo: Cargo,
    sent_bytes: u64,
    oldest_ms: Option<i64>,
}

enum Cargo {
    Records { count: u64, end: Place, log_bytes: u64 },
    Head { month: YearMonth, head: Checkpoint },
}

/// The thread.
pub(in crate::evidence) fn run(shared: &Shared, departure: Departure) {
    let (Some(core), Some(config)) = (&shared.core, &shared.config.ship) else { return };
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, super::super::tree::NICE);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            departure.outlet.set_fault(format!("evidence cannot be shipped: {error}; start again"));
            return;
        }
    };
    let Departure { outlet, backlog, stream_made } = departure;
    let shipper = Shipper {
        shared,
        core,
        config,
        outlet: &outlet,
        sender: Sender { instance: core.instance, public: *core.signer.public() },
        salted: None,
        acknowledged: backlog.place(),
        stored: None,
        stored_at: Instant::now(),
        backlog,
        flights: VecDeque::new(),
        heads: BTreeMap::new(),
        ends: VecDeque::new(),
        stream_made,
        sequence: 0,
        again_until: None,
        patrolled_at: Instant::now(),
        trimmed_at: Instant::now(),
        progress: shared.poison.progress.subscribe(),
    };
    runtime.block_on(shipper.run());
}

struct Shipper<'a> {
    shared: &'a Shared,
    core: &'a Core,
    config: &'a Config,
    outlet: &'a Outlet,
    sender: Sender,
    backlog: Backlog,
    /// The month whose salt a batch of this session has brought.
    salted: Option<YearMonth>,
    acknowledged: Place,
    stored: Option<Cursor>,
    stored_at: Instant,
    flights: VecDeque<Flight>,
    /// The signed heads that the stream has.
    heads: BTreeMap<YearMonth, Checkpoint>,
    /// Where our own latest messages ended.
    ends: VecDeque<Place>,
    stream_made: i128,
    /// Of the last message that the stream took in this session. It only grows, unless the stream is another one.
    sequence: u64,
    /// What is before this was acknowledged by a stream that is no more, and is shipped again without being counted as
    /// what waits.
    again_until: Option<Place>,
    patrolled_at: Instant,
    trimmed_at: Instant,
    progress: watch::Receiver<u64>,
}

impl Shipper<'_> {
    async fn run(mut self) {
        let mut client = None;
        let mut pause = PAUSE_MIN;
        let mut closing_since = None;
        loop {
            let acknowledged = self.acknowledged;
            let (shared, wait) = (self.shared, self.config.wait);
            let halt = tokio::select! {
                () = told_to_end(shared, wait, &mut closing_since) => Halt::Stopped,
                Err(halt) = self.session(&mut client) => halt,
            };
            self.flights.clear();
            if let Err(cause) = self.store() {
                tracing::warn!(%cause, "how far evidence was shipped could not be noted; some is shipped again");
            }
            match halt {
                Halt::Stopped => return,
                Halt::Rewound(what) => return self.outlet.set_fault(what),
                Halt::Trouble(why) => {
                    if self.outlet.set_trouble(&why) {
                        tracing::warn!(why, "evidence cannot be shipped now; it waits here and is tried again");
                    }
                }
            }
            if self.acknowledged != acknowledged {
                pause = PAUSE_MIN;
            }
            let paused = Instant::now();
            while paused.elapsed() < closing_since.map_or(pause, |_| pause.min(PAUSE_AT_END)) {
                let ended = told_to_end(shared, wait, &mut closing_since);
                if tokio::time::timeout(END_INTERVAL, ended).await.is_ok() {
                    return;
                }
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Ships until something fails or the process ends.
    async fn session(&mut self, client: &mut Option<Client>) -> Result<std::convert::Infallible, Halt> {
        self.backlog.go_to(self.acknowledged);
        self.salted = None;
        self.sequence = 0;
        self.look_at_oldest()?;
        let client = if let Some(client) = client {
            client
        } else {
            let trouble = |error: nats::ConnectError| Halt::Trouble(with_causes(&error));
            client.insert(nats::connect(&self.config.nats).await.map_err(trouble)?)
        };
        let mut context = jetstream::context::ContextBuilder::new()
            .timeout(self.config.nats.request_timeout)
            .ack_timeout(self.config.nats.request_timeout)
            .build(client.clone());
        context.set_timeout(self.config.nats.request_timeout);
        let stream = self.recognise(&context).await?;
        self.patrol(&stream).await?;
        loop {
            // Before it looks for the last time: what is signed by then is all there will be.
            let is_last = self.shared.stopping.load(Ordering::SeqCst) == SIGNED;
            self.fill(&context).await?;
            match self.flights.front_mut() {
                Some(flight) => {
                    let acked = flight.next_ack().await;
                    self.landed(acked)?;
                }
                None => self.rest(&context, is_last).await?,
            }
            if self.stored_at.elapsed() >= STORE_INTERVAL {
                self.store()?;
                self.ship_heads(&context).await?;
            }
            if self.trimmed_at.elapsed() >= TRIM_INTERVAL {
                self.trim()?;
            }
            if self.patrolled_at.elapsed() >= PATROL_INTERVAL {
                if self.stream_made(&context).await? != self.stream_made {
                    return Err(made_anew());
                }
                self.patrol(&stream).await?;
            }
        }
    }

    /// Tells since when evidence waits, also where nothing can leave since the start.
    fn look_at_oldest(&mut self) -> Result<(), Halt> {
        if self.outlet.knows_oldest() {
            return Ok(());
        }
        let until = self.until(self.backlog.place().month)?;
        let oldest_ms = self.backlog.next(until)?.and_then(|batch| batch.oldest_ms);
        self.outlet.waits_since(oldest_ms);
        self.backlog.go_to(self.acknowledged);
        Ok(())
    }

    /// Publishes until enough is in flight, or nothing is left.
    async fn fill(&mut self, context: &jetstream::Context) -> Result<(), Halt> {
        let message_bytes_max = context.client().server_info().max_payload;
        while self.flights.len() < IN_FLIGHT_MAX {
            let month = self.backlog.place().month;
            let (until, is_again) = self.until_counted(self.until(month)?);
            let Some(batch) = self.backlog.next(until)? else {
                // A month that was come to the end of is followed by the next one.
                if self.backlog.place().month != month {
                    continue;
                }
                break;
            };
            let count = batch.end.index - batch.from.index;
            // Once is enough, and every signed head brings it too: in each batch it would be half of a small one.
            let salt = if self.salted == Some(batch.from.month) { String::new() } else { self.salt(batch.from.month)? };
            self.salted = Some(batch.from.month);
            let Batch { from, end, records, .. } = &batch;
            let messages = self.sender.records(from, count, &end.chain, records, &salt, message_bytes_max)?;
            let log_bytes = if is_again { 0 } else { batch.log_bytes };
            let cargo = Cargo::Records { count, end: batch.end, log_bytes };
            self.publish(context, messages, cargo, batch.oldest_ms).await?;
        }
        self.outlet.waits_since(self.flights.iter().find_map(|flight| flight.oldest_ms));
        Ok(())
    }

    async fn publish(
        &mut self,
        context: &jetstream::Context,
        messages: Vec<Outgoing>,
        cargo: Cargo,
        oldest_ms: Option<i64>,
    ) -> Result<(), Halt> {
        let mut flight = Flight { acks: VecDeque::new(), cargo, sent_bytes: 0, oldest_ms };
        for message in messages {
            flight.sent_bytes += u64::try_from(message.payload.len()).unwrap_or(0);
            let mut headers = HeaderMap::new();
            headers.insert(async_nats::header::NATS_MESSAGE_ID, message.id.as_str());
            let published =
                context.publish_with_headers(subject(self.sender.instance), headers, message.payload.into()).await;
            let ack = published.map_err(|error| Halt::Trouble(refused(&error, &self.config.stream)))?;
            flight.acks.push_back(ack.into_future());
        }
        self.flights.push_back(flight);
        Ok(())
    }

    /// Takes note of an acknowledgement of the oldest flight.
    fn landed(&mut self, acked: Option<Result<PublishAck, PublishError>>) -> Result<(), Halt> {
        match acked {
            // Of what the server drops it says where it is already.
            Some(Ok(ack)) if ack.stream == self.config.stream && ack.duplicate => return Ok(()),
            Some(Ok(ack)) if ack.stream == self.config.stream => {
                let before = std::mem::replace(&mut self.sequence, ack.sequence);
                return if ack.sequence > before { Ok(()) } else { Err(made_anew()) };
            }
            Some(Ok(ack)) => {
                let why =
                    format!("evidence was taken by the stream `{}` instead of `{}`", ack.stream, self.config.stream);
                return Err(Halt::Trouble(why));
            }
            Some(Err(error)) => return Err(Halt::Trouble(refused(&error, &self.config.stream))),
            None => {}
        }
        // INVARIANT: no acknowledgement is left to wait for, and flights land in the order in which they left.
        let Some(flight) = self.flights.pop_front() else { return Ok(()) };
        match flight.cargo {
            Cargo::Records { count, end, log_bytes } => {
                self.acknowledged = end;
                self.outlet.acknowledge(count, log_bytes, flight.sent_bytes, self.core.written_bytes());
                if self.ends.len() >= ENDS_KEPT {
                    self.ends.pop_front();
                }
                self.ends.push_back(end);
            }
            Cargo::Head { month, head } => {
                self.outlet.acknowledge(0, 0, flight.sent_bytes, self.core.written_bytes());
                self.heads.insert(month, head);
            }
        }
        Ok(())
    }

    /// With nothing in flight: notes how far it came, ships new signed heads, or waits for more.
    async fn rest(&mut self, context: &jetstream::Context, is_last: bool) -> Result<(), Halt> {
        self.outlet.waits_since(None);
        self.store()?;
        self.ship_heads(context).await?;
        if !self.flights.is_empty() {
            return Ok(());
        }
        if is_last {
            return Err(Halt::Stopped);
        }
        // Either way it looks again.
        let _ = tokio::time::timeout(LOOK_INTERVAL, self.progress.changed()).await;
        Ok(())
    }

    /// Publishes the signed heads that the stream does not have yet.
    async fn ship_heads(&mut self, context: &jetstream::Context) -> Result<(), Halt> {
        for month in self.shared.layout.months()? {
            let Some((note, head)) = self.new_head(month)? else { continue };
            let sent = if month == self.acknowledged.month {
                self.acknowledged
            } else {
                Place { month, index: head.size, chain: [0; 32] }
            };
            let message = self.sender.checkpoint(&sent, &note, head.size, &head.root, &self.salt(month)?);
            self.publish(context, vec![message], Cargo::Head { month, head }, None).await?;
        }
        Ok(())
    }

    /// A month's signed head, if the stream has all that it covers and not yet the head itself.
    fn new_head(&self, month: YearMonth) -> Result<Option<(String, Checkpoint)>, Cause> {
        let path = self.shared.layout.checkpoint(month);
        let note = read_small(&path).at("read", &path)?.and_then(|bytes| String::from_utf8(bytes).ok());
        let Some(note) = note else { return Ok(None) };
        let Some(head) = Checkpoint::read(&note, &origin(self.sender.instance, month), &self.sender.public) else {
            return Ok(None);
        };
        let sent =
            month < self.acknowledged.month || month == self.acknowledged.month && head.size <= self.acknowledged.index;
        Ok((sent && self.heads.get(&month) != Some(&head)).then_some((note, head)))
    }

    /// The salt of a month's key, which goes with its evidence; empty where the key is the month's own, or was destroyed.
    fn salt(&self, month: YearMonth) -> Result<String, Cause> {
        let salt = Salt::load(&self.shared.layout, self.sender.instance, month, &self.sender.public)?;
        Ok(salt.map_or_else(String::new, |salt| salt.note().to_owned()))
    }

    /// How far a month may be shipped: what is on the device.
    fn until(&self, month: YearMonth) -> Result<Until, Cause> {
        // Before the spans, as the tree reads it.
        let synced = self.shared.synced.load(Ordering::Acquire);
        let mut number = 0;
        while let Some(span) = self.core.span(number)? {
            if month < span.month {
                return Ok(Until::End);
            }
            if month == span.month {
                let ended = span.end.is_some_and(|end| end <= synced);
                let index = synced.min(span.end.unwrap_or(u64::MAX)).saturating_sub(span.base);
                return Ok(if ended { Until::End } else { Until::Index(index) });
            }
            number += 1;
        }
        Ok(Until::Index(0))
    }

    /// The same up to where what is shipped again ends; says whether the next record is of that.
    fn until_counted(&self, until: Until) -> (Until, bool) {
        let place = self.backlog.place();
        let again = self.again_until.filter(|again| (place.month, place.index) < (again.month, again.index));
        let Some(again) = again else { return (until, false) };
        let until = match until {
            Until::Index(index) if place.month == again.month => Until::Index(index.min(again.index)),
            Until::End if place.month == again.month => Until::Index(again.index),
            until => until,
        };
        (until, true)
    }

    fn store(&mut self) -> Result<(), Cause> {
        self.stored_at = Instant::now();
        let cursor = Cursor { place: self.acknowledged, stream_made: self.stream_made };
        if self.stored != Some(cursor) {
            cursor.store(&self.shared.layout)?;
            self.stored = Some(cursor);
        }
        Ok(())
    }
}

/// Waits until the thread is to end: at once where the log was dropped, and where nothing leaves anyway; otherwise with
/// some patience for the last batches.
async fn told_to_end(shared: &Shared, wait: Duration, closing_since: &mut Option<Instant>) {
    loop {
        match shared.stopping.load(Ordering::SeqCst) {
            ABANDONED => return,
            SIGNED => {
                let since = *closing_since.get_or_insert_with(Instant::now);
                if since.elapsed() > wait {
                    tracing::warn!("the last evidence was not shipped before the end; it is at the next start");
                    return;
                }
            }
            _ => {}
        }
        tokio::time::sleep(END_INTERVAL).await;
    }
}

impl Flight {
    /// The next acknowledgement; nothing once all are there.
    async fn next_ack(&mut self) -> Option<Result<PublishAck, PublishError>> {
        let acked = self.acks.front_mut()?.await;
        self.acks.pop_front();
        Some(acked)
    }
}

fn refused(error: &PublishError, stream: &str) -> String {
    match error.kind() {
        PublishErrorKind::StreamNotFound => {
            format!("no stream takes the evidence; `consentd evidence init` makes the stream `{stream}`")
        }
        PublishErrorKind::TimedOut => "the evidence stream did not acknowledge in time".to_owned(),
        _ => format!("the evidence stream refused: {}", with_causes(error)),
    }
}
