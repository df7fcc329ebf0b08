//! A hundred followers of one server: what they cost it, and how they come back when it does.
//!
//! The followers are the real ones, each with its own threads, connection, consumer and part in the beats, in one process
//! instead of a hundred: what a sidecar has beside its follower (store, cache, evidence, gRPC) never speaks to the server,
//! and a hundred of it would measure the machine that the test runs on.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/central.rs"]
mod central;
#[path = "support/nats.rs"]
#[allow(dead_code, reason = "each test uses its part")]
mod nats;
#[path = "support/sidecar.rs"]
mod sidecar;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use consentd::clock::{BootTime, Clock};
use consentd::ledger::nats::{BEATS, Config, DEFAULT_STREAM, NatsLedger, NatsSource};
use consentd::ledger::{FeedItem, LedgerSource as _};
use consentd::nats::Tls;
use nats::{NatsServer, Options};
use sidecar::Home;
use tokio::task::block_in_place;
use tokio::time::sleep;

const FOLLOWERS: u32 = 100;
const INTERVAL: Duration = Duration::from_millis(500);
/// How old a view may be while nothing is wrong: two intervals, and what a busy machine takes.
const FRESH: Duration = Duration::from_secs(2);
/// Within which all are fresh again once the server is back: a pause of 2 s at most before the next attempt, and a
/// hundred handshakes on a busy machine.
const BACK_WITHIN: Duration = Duration::from_secs(20);
/// Connections that a follower may make to come back. One would do; the server may be up before its stream is.
const ATTEMPTS: u64 = 4;

/// Connections of followers that were late in coming back, and are made while all are fresh already.
const STRAYS: u64 = 10;

/// What one follower last said.
#[derive(Default)]
struct Said {
    current_at: AtomicU64,
    position: AtomicU64,
}

struct Many {
    server: NatsServer,
    clock: Clock,
    said: Vec<Arc<Said>>,
    home: Home,
}

impl Many {
    async fn start() -> Self {
        let home = central::home();
        let server = NatsServer::start(&Options::default());
        let mut many = Self { server, clock: Clock::system(), said: Vec::new(), home };
        central::kept().make(&central::context(&many.config()).await, 1).await.expect("made");
        for _ in 0..FOLLOWERS {
            let said = Arc::new(Said::default());
            let source = Box::new(NatsSource::new(many.config(), INTERVAL, many.clock.clone()));
            tokio::spawn(listen(source, Arc::clone(&said)));
            many.said.push(said);
        }
        many
    }

    fn config(&self) -> Config {
        central::config(&self.home, &self.server.url(), &Tls::default())
    }

    /// The age of the oldest view.
    fn oldest(&self) -> Duration {
        let now = self.clock.boot();
        let age = |said: &Arc<Said>| match said.current_at.load(Ordering::Relaxed) {
            0 => Duration::MAX,
            at => now.since(BootTime::from_millis(at)),
        };
        self.said.iter().map(age).max().expect("many")
    }

    /// Waits until every view is fresh, and gives how long that took.
    async fn all_fresh(&self) -> Duration {
        let began = Instant::now();
        while self.oldest() > FRESH {
            let stale = self.said.iter().filter(|said| said.current_at.load(Ordering::Relaxed) == 0).count();
            assert!(began.elapsed() < BACK_WITHIN, "the oldest view is {:?} old; {stale} never began", self.oldest());
            sleep(Duration::from_millis(10)).await;
        }
        began.elapsed()
    }

    /// What the server counts, such as `total_connections`.
    fn count(&self, name: &str) -> u64 {
        let page = block_in_place(|| self.server.page("/varz")).expect("a page");
        let said: serde_json::Value = serde_json::from_str(&page).expect("JSON");
        said[name].as_u64().unwrap_or_else(|| panic!("no {name}"))
    }

    /// How many messages the stream has; all but events are beats.
    async fn messages(&self) -> u64 {
        let stream = central::context(&self.config()).await.get_stream(DEFAULT_STREAM).await.expect("there");
        stream.cached_info().state.messages
    }

    /// Watches for a while that all views stay fresh, and that the beats are about one in each interval.
    async fn is_calm(&self, span: Duration) {
        let (beats, sent, connections) =
            (self.messages().await, self.count("in_msgs"), self.count("total_connections"));
        let began = Instant::now();
        let mut oldest = Duration::ZERO;
        while began.elapsed() < span {
            oldest = oldest.max(self.oldest());
            sleep(Duration::from_millis(20)).await;
        }
        let intervals = began.elapsed().as_secs_f64() / INTERVAL.as_secs_f64();
        let beats = number(self.messages().await - beats) / intervals;
        let sent = number(self.count("in_msgs") - sent) / intervals / f64::from(FOLLOWERS);
        // Each look at the stream took one of ours.
        let connections = self.count("total_connections") - connections;
        println!("calm: {beats:.2} beats and {sent:.2} messages a follower in an interval, oldest view {oldest:.0?}");
        assert!(oldest < FRESH, "a view became {oldest:?} old");
        assert!((0.5..2.0).contains(&beats), "{beats} beats in an interval");
        assert!(sent < 4.0, "a follower sent {sent} messages in an interval");
        assert!(connections <= 2 + STRAYS, "{connections} connections were made");
    }

    /// Waits until all are back, and looks how they came.
    async fn come_back(&self, connections_before: u64) {
        let began = Instant::now();
        let (mut last, mut at, mut most) = (connections_before, Instant::now(), 0.0_f64);
        while self.oldest() > FRESH {
            assert!(began.elapsed() < BACK_WITHIN, "the oldest view is {:?} old", self.oldest());
            sleep(Duration::from_millis(100)).await;
            let now = self.count("total_connections");
            most = most.max(number(now - last) / at.elapsed().as_secs_f64());
            (last, at) = (now, Instant::now());
        }
        let made = self.count("total_connections") - connections_before;
        println!("back after {:.1?}: {made} connections, at most {most:.0} a second", began.elapsed());
        assert!(made <= u64::from(FOLLOWERS) * ATTEMPTS, "{made} connections to bring {FOLLOWERS} back");
    }
}

/// A count of the server's, which are small.
fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count).expect("small"))
}

async fn listen(source: Box<NatsSource>, said: Arc<Said>) {
    let mut feed = source.follow(None);
    while let Some(item) = feed.recv().await {
        match item {
            FeedItem::Events { place, .. } => said.position.store(place.position.0, Ordering::Relaxed),
            FeedItem::Current { at, position } => {
                assert_eq!(position.0, said.position.load(Ordering::Relaxed), "fresh where it has not come to");
                said.current_at.store(at.millis(), Ordering::Relaxed);
            }
            FeedItem::Opened { .. } | FeedItem::Waiting(_) => {}
            FeedItem::Broken(fault) => panic!("{fault}"),
        }
    }
    panic!("a feed ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_followers_come_back_together_and_share_one_beat() {
    let mut many = Many::start().await;
    println!("all fresh {:.1?} after the start", many.all_fresh().await);
    many.is_calm(Duration::from_secs(6)).await;

    // An event reaches all of them.
    let ledger = NatsLedger::open(&many.config()).await.expect("opened");
    let position = ledger.append(&[central::event(&sidecar::given("crm:1"))]).await.expect("written")[0].position.0;
    let began = Instant::now();
    while many.said.iter().any(|said| said.position.load(Ordering::Relaxed) < position) {
        assert!(began.elapsed() < FRESH, "an event does not reach all");
        sleep(Duration::from_millis(1)).await;
    }

    many.server.kill();
    sleep(FRESH + Duration::from_secs(1)).await;
    let youngest = many.said.iter().map(|said| said.current_at.load(Ordering::Relaxed)).max().expect("many");
    assert!(many.clock.boot().since(BootTime::from_millis(youngest)) > FRESH, "fresh without a server");
    block_in_place(|| many.server.restart());
    // A server that has started again counts from nothing.
    many.come_back(0).await;
    many.is_calm(Duration::from_secs(4)).await;

    let before = many.count("total_connections");
    many.server.stop();
    sleep(Duration::from_secs(8)).await;
    assert!(many.oldest() > FRESH, "fresh by a server that stands still");
    many.server.cont();
    many.come_back(before).await;
    many.is_calm(Duration::from_secs(4)).await;
    let stream = central::context(&many.config()).await.get_stream(DEFAULT_STREAM).await.expect("there");
    let last = stream.get_last_raw_message_by_subject(BEATS).await.expect("a beat");
    assert!(last.payload.len() < 64 + 100 * 8 * 4, "a beat has {} bytes", last.payload.len());
}
