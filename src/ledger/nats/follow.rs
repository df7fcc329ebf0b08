//! Following the central ledger.
//!
//! Two threads: one with the network ([`session`]), one that decodes ([`decode`]). What is followed is one stream, through
//! a consumer of our own that begins behind our position. Whatever ends the consumer or the connection, the next one is
//! made the same way as the first: connect, look whether the stream is the one that was followed and still says at our
//! position what it said, then go on behind it. Freshness is proved by [`beats`], and by nothing else.

mod beats;
pub(super) mod decode;
mod pull;
mod session;

use std::io;
use std::time::Duration;

use data_encoding::HEXLOWER;
use tokio::sync::{mpsc, oneshot};

use super::{Config, OpenError};
use crate::clock::Clock;
use crate::ledger::{Feed, FeedItem, LedgerFault, LedgerSource, Resume};
use crate::nats::with_causes;
use decode::Decoder;
use session::Follower;

/// Between two proofs of freshness: 1 s. All followers of a ledger share one small message for each, which the ledger
/// keeps.
pub const DEFAULT_FRESHNESS_INTERVAL: Duration = Duration::from_secs(1);

/// The subject of beats. They are the stream's like all other messages, because it is the stream that they are to prove.
pub const BEATS: &str = "consent.ledger.beat.beat";

/// How many batches a slow receiver may leave waiting; each has at most a thousand messages.
const FEED_BATCHES: usize = 4;
/// How many batches may wait to be decoded.
const RAW_BATCHES: usize = 8;

/// A central ledger that is followed.
#[derive(Debug)]
pub struct NatsSource {
    config: Config,
    freshness_interval: Duration,
    clock: Clock,
}

/// Why nothing is followed.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Key(#[from] OpenError),
    #[error("no thread could be started")]
    Threads(#[from] io::Error),
}

impl NatsSource {
    /// A source of the ledger's events, with a proof of freshness in each interval. Nothing is opened yet.
    #[must_use]
    pub fn new(config: Config, freshness_interval: Duration, clock: Clock) -> Self {
        Self { config, freshness_interval, clock }
    }
}

impl LedgerSource for NatsSource {
    fn follow(self: Box<Self>, resume: Option<Resume>) -> Feed {
        let (items, receiver) = mpsc::channel(FEED_BATCHES);
        let (stop, stopped) = oneshot::channel::<()>();
        let ledger = name(&self.config);
        if let Err(error) = self.start(resume, items.clone(), stopped) {
            let problem = with_causes(&error);
            let fault = match error {
                StartError::Key(_) => LedgerFault::OtherSubjectKey { ledger, problem },
                StartError::Threads(_) => LedgerFault::Unfollowed { ledger, problem },
            };
            // The channel is empty, so there is room.
            let _ = items.try_send(FeedItem::Broken(fault));
        }
        Feed::new(receiver, stop)
    }
}

impl NatsSource {
    fn start(
        self,
        resume: Option<Resume>,
        items: mpsc::Sender<FeedItem>,
        stopped: oneshot::Receiver<()>,
    ) -> Result<(), StartError> {
        let (raw, decoding) = mpsc::channel(RAW_BATCHES);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let hasher = super::subject_key(&self.config.subject_key_file)?;
        let follower = Follower::new(self.config.clone(), &hasher, self.freshness_interval, self.clock, raw, resume);
        let decoder = Decoder { hasher, ledger: name(&self.config) };
        std::thread::Builder::new().name("ledger-decode".to_owned()).spawn(move || decoder.run(decoding, &items))?;
        std::thread::Builder::new().name("ledger-nats".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = follower.run() => {}
                    // An error, too, is the end of the feed.
                    _ = stopped => {}
                }
            });
            // Name look-ups that hang are not waited for.
            runtime.shutdown_background();
        })?;
        Ok(())
    }
}

/// What people know the ledger by.
fn name(config: &Config) -> String {
    format!("{} on {}", config.stream, config.connection.servers)
}

/// Where a beater is sent nonces. No stream takes this subject.
fn asks(beater: beats::BeaterId) -> String {
    format!("consent.beat.{}", HEXLOWER.encode(&beater))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats;

    #[test]
    fn a_subject_key_that_cannot_be_read_is_named() {
        let connection = nats::Config::new("nats://127.0.0.1:4222".parse().expect("an address"));
        let subject_key_file = "/nowhere/subject.key".into();
        let config = Config { connection, stream: "LEDGER".to_owned(), subject_key_file };
        let source = NatsSource::new(config, DEFAULT_FRESHNESS_INTERVAL, Clock::system());
        let Some(FeedItem::Broken(fault)) = Box::new(source).follow(None).blocking_recv() else { panic!("no fault") };
        assert_eq!(
            fault.to_string(),
            "the ledger `LEDGER on nats://127.0.0.1:4222` cannot be followed: the subject key `/nowhere/subject.key` \
             cannot be read; copy it from where the ledger was made, or make a new ledger with `consentd ledger init \
             --make-subject-key`: No such file or directory (os error 2)"
        );
    }
}
