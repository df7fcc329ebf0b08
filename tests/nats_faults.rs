//! P3 and P4 through faults: a cluster of three real servers, sidecars in processes of their own, clients that write and
//! ask all the while, and one fault after the other. What the clients saw is then checked as a whole (`support/witness.rs`).
//!
//! Every kind of fault comes once, in an order, with places and times, that the printed seed gives again as
//! `TEST_SEED`. What programs do meanwhile is theirs, so that a seed repeats the faults and not the history.
//! `CONSENTD_FAULTS_SECONDS=600` goes on for so long, with all kinds again and again:
//!
//! ```text
//! CONSENTD_FAULTS_SECONDS=600 cargo test --test nats_faults -- --nocapture
//! ```

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/central.rs"]
mod central;
#[path = "support/crowd.rs"]
mod crowd;
#[path = "support/field.rs"]
mod field;
#[path = "support/nats.rs"]
#[allow(dead_code, reason = "each test uses its part")]
mod nats_server;
#[path = "support/relay.rs"]
mod relay;
#[path = "support/sidecar.rs"]
mod sidecar;
#[path = "support/witness.rs"]
mod witness;

use std::sync::Arc;
use std::time::{Duration, Instant};

use consentd::ledger::nats::NatsLedger;
use consentd::proto::v1::Reason;
use crowd::{BOUND, Board, ask_at_the_end, prepared, publish_catalogue, reader, writer};
use field::{Field, NODES};
use relay::{Link, Way};
use sidecar::Random;
use tokio::task::block_in_place;
use tokio::time::sleep;
use witness::{Darkness, Moment, check};

/// Within which a sidecar decides again once a fault is over, on a machine that is busy with something else.
const RECOVERY: Duration = Duration::from_secs(30);
/// The post of the sidecar that knows every server; each post before it knows the one of its number.
const EVERYWHERE: usize = NODES;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// kill -9 of a server that does not lead the stream.
    FollowerKilled,
    /// kill -9 of the one that does.
    LeaderKilled,
    /// It stands still, for longer than the bound, while another takes over.
    LeaderFrozen,
    /// Two servers of three are gone.
    MajorityKilled,
    /// The leader is cut off, and its sidecar with it.
    LeaderCutOff,
    /// The leader hears nothing and nobody hears it, while all connections stand; then it hears first.
    LeaderDeafAndMute,
    /// A server hears the others, but they do not hear it.
    FollowerMute,
    /// A sidecar is cut off.
    SidecarCutOff,
    /// A sidecar's connections stand and carry nothing.
    SidecarStalled,
    /// Slow links between a server and the others, and slower ones to a sidecar.
    SlowLinks,
    /// A sidecar without a copy reads all of the ledger anew, and its server dies meanwhile.
    ServerKilledInReplay,
    /// kill -9 of a sidecar, which comes back with its copy.
    SidecarKilled,
    /// One server after the other is restarted, as for a new version.
    RollingRestart,
}

const FAULTS: [Fault; 13] = [
    Fault::FollowerKilled,
    Fault::LeaderKilled,
    Fault::LeaderFrozen,
    Fault::MajorityKilled,
    Fault::LeaderCutOff,
    Fault::LeaderDeafAndMute,
    Fault::FollowerMute,
    Fault::SidecarCutOff,
    Fault::SidecarStalled,
    Fault::SlowLinks,
    Fault::ServerKilledInReplay,
    Fault::SidecarKilled,
    Fault::RollingRestart,
];

/// The field, and who makes faults in it.
struct Run {
    field: Field,
    board: Arc<Board>,
    random: Random,
    darkness: Vec<Darkness>,
}

impl Run {
    /// Makes a fault and takes it back.
    async fn strike(&mut self, fault: Fault) {
        let leader = block_in_place(|| self.field.leader(None));
        let other = (leader + 1 + self.random.below(NODES - 1)) % NODES;
        match fault {
            Fault::FollowerKilled => self.killed(&[other]).await,
            Fault::LeaderKilled => {
                self.field.cluster.nodes[leader].kill();
                let from = self.board.now();
                self.hold_until_replaced(leader).await;
                self.dark(from, &[leader]);
                block_in_place(|| self.field.cluster.nodes[leader].restart());
            }
            Fault::MajorityKilled => self.killed(&[leader, other]).await,
            Fault::LeaderFrozen => {
                self.field.cluster.nodes[leader].stop();
                let from = self.board.now();
                self.hold_until_replaced(leader).await;
                self.dark(from, &[leader]);
                self.field.cluster.nodes[leader].cont();
            }
            Fault::LeaderCutOff => {
                self.field.routes_of(leader).for_each(relay::Relay::cut);
                let from = self.board.now();
                self.hold_until_replaced(leader).await;
                self.dark(from, &[leader]);
            }
            Fault::LeaderDeafAndMute => {
                self.field.routes_of(leader).for_each(|route| route.set_both(Link::stalled()));
                let from = self.board.now();
                self.hold_until_replaced(leader).await;
                // What the others had to say, late answers included, comes before anybody hears of the leader again.
                for (connected, route) in self.field.routes_with_ends(leader) {
                    route.set(if connected { Way::Back } else { Way::There }, Link::default());
                }
                sleep(Duration::from_millis(500)).await;
                self.dark(from, &[leader]);
            }
            Fault::FollowerMute => {
                for (connected, route) in self.field.routes_with_ends(other) {
                    route.set(if connected { Way::There } else { Way::Back }, Link::stalled());
                }
                let from = self.board.now();
                self.hold().await;
                self.dark(from, &[other]);
            }
            Fault::SidecarCutOff | Fault::SidecarStalled => {
                let post = self.random.below(self.field.posts.len());
                if fault == Fault::SidecarCutOff {
                    self.field.posts[post].ways.iter().for_each(|(_, way)| way.cut());
                } else {
                    self.field.posts[post].set_ways(Link::stalled());
                }
                let from = self.board.now();
                self.hold().await;
                self.dark(from, &[post]);
            }
            Fault::SlowLinks => {
                let delay = Duration::from_millis(50 + self.random.below(150) as u64);
                self.field.routes_of(other).for_each(|route| route.set_both(Link { delay, ..Link::default() }));
                let post = self.random.below(self.field.posts.len());
                self.field.posts[post].set_ways(Link { delay, bytes_per_second: Some(30_000), ..Link::default() });
                self.hold().await;
            }
            Fault::ServerKilledInReplay => self.killed_in_replay(other).await,
            Fault::SidecarKilled => {
                let post = self.random.below(self.field.posts.len());
                self.field.posts[post].kill();
                sleep(Duration::from_millis(self.random.below(1000) as u64)).await;
                self.field.posts[post].start().await;
            }
            Fault::RollingRestart => {
                for node in 0..NODES {
                    block_in_place(|| {
                        self.field.cluster.nodes[node].shut_down();
                        self.field.cluster.nodes[node].restart();
                    });
                }
            }
        }
        self.field.mend();
    }

    /// kill -9 of servers, which come back after a while. Where two are gone nothing can be written, and so nothing proved.
    async fn killed(&mut self, nodes: &[usize]) {
        for node in nodes {
            self.field.cluster.nodes[*node].kill();
        }
        let from = self.board.now();
        self.hold().await;
        self.dark(from, if nodes.len() > NODES / 2 { &[0, 1, 2, EVERYWHERE] } else { nodes });
        block_in_place(|| {
            for node in nodes {
                self.field.cluster.nodes[*node].restart_without_waiting();
            }
            for node in nodes {
                self.field.cluster.nodes[*node].wait_ready();
            }
        });
    }

    async fn killed_in_replay(&mut self, node: usize) {
        self.field.posts[node].kill();
        self.field.posts[node].forget();
        self.field.posts[node].set_ways(Link { bytes_per_second: Some(20_000), ..Link::default() });
        self.field.posts[node].start().await;
        sleep(Duration::from_millis(1500)).await;
        let life = self.life(node);
        let reasons = self.board.reasons(life, Moment::ZERO);
        let is_building = reasons.iter().all(|reason| *reason == Reason::ReplicaBuilding);
        assert!(is_building && !reasons.is_empty(), "the replay was to be under way: {reasons:?}");
        self.killed(&[node]).await;
    }

    /// For longer than the bound.
    async fn hold(&mut self) {
        sleep(BOUND + Duration::from_millis(500 + self.random.below(1000) as u64)).await;
    }

    /// Until another server leads the stream, and for longer than the bound.
    async fn hold_until_replaced(&mut self, leader: usize) {
        block_in_place(|| self.field.leader(Some(leader)));
        self.hold().await;
    }

    /// Notes that nothing new can have come to these sidecars between `from` and now.
    fn dark(&mut self, from: Moment, posts: &[usize]) {
        let until = self.board.now();
        for post in posts {
            self.darkness.push(Darkness { sidecar: self.life(*post), from, until });
        }
    }

    fn life(&self, post: usize) -> usize {
        self.field.posts[post].door().borrow().as_ref().expect("it runs").life
    }

    /// Waits until every sidecar decides, and gives the time that the last of them took.
    async fn recovered(&self) -> Duration {
        let since = self.board.now();
        for post in 0..self.field.posts.len() {
            let life = self.life(post);
            loop {
                let reasons = self.board.reasons(life, since);
                if reasons.iter().any(|reason| matches!(reason, Reason::Consent | Reason::Withdrawn)) {
                    break;
                }
                let took = self.board.now().saturating_sub(since);
                assert!(
                    took < RECOVERY,
                    "sidecar {post} says {:?} after {took:?}\n{}",
                    reasons.last(),
                    self.field.logs()
                );
                sleep(Duration::from_millis(10)).await;
            }
        }
        self.board.now().saturating_sub(since)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_makes_a_sidecar_allow_what_was_withdrawn() {
    let mut random = Random::seeded("no_fault_makes_a_sidecar_allow_what_was_withdrawn");
    let seconds = std::env::var("CONSENTD_FAULTS_SECONDS").ok().map(|text| text.parse().expect("a number of seconds"));
    let at_least = Duration::from_secs(seconds.unwrap_or(0));

    let (mut field, ledger, board) = prepared().await;
    for node in 0..NODES {
        field.post(&[node]).await;
    }
    field.post(&[0, 1, 2]).await;
    let mut clients = Vec::new();
    // One writer finds another server when its own is gone, one does not.
    for node in [None, Some(random.below(NODES))] {
        let ledger = NatsLedger::open(&field.config(node)).await.expect("opened");
        clients.push(tokio::spawn(writer(Arc::clone(&board), ledger, Random::from_seed(random.next()))));
    }
    for post in &field.posts {
        for _ in 0..2 {
            clients.push(tokio::spawn(reader(Arc::clone(&board), post.door(), Random::from_seed(random.next()))));
        }
    }

    let mut run = Run { field, board: Arc::clone(&board), random, darkness: Vec::new() };
    run.recovered().await;
    let began = Instant::now();
    let mut version = 1;
    while version == 1 || began.elapsed() < at_least {
        let mut faults = FAULTS;
        for place in (1..faults.len()).rev() {
            faults.swap(place, run.random.below(place + 1));
        }
        for fault in faults {
            let from = board.now();
            run.strike(fault).await;
            let (until, recovery) = (board.now(), run.recovered().await);
            println!("{from:>8.1?} to {until:>8.1?} {fault:?}; all sidecars decide {recovery:.2?} later");
            version += 1;
            publish_catalogue(&board, &ledger, version, BOUND).await;
        }
    }

    board.end();
    for client in clients {
        client.await.expect("no client panics");
    }
    for post in &run.field.posts {
        let door = post.door().borrow().clone().expect("it runs");
        ask_at_the_end(&board, &door, RECOVERY).await;
    }
    let (mut history, failures) = board.seen();
    history.darkness = run.darkness;
    assert!(failures.is_empty(), "{failures:#?}");
    let summary = check(&history).unwrap_or_else(|violations| {
        let few: Vec<_> = violations.iter().take(10).collect();
        panic!("{} violations: {few:#?}\n{}", violations.len(), run.field.logs())
    });
    println!("{summary:#?}");
    assert!(summary.allowed > 1000 && summary.withdrawn > 1000, "too little was decided: {summary:?}");
    assert!(summary.in_the_dark > 500 && summary.stale > 500, "the faults did not reach the sidecars: {summary:?}");
    assert!(summary.allowed_late > 0, "no withdrawal was ever raced: {summary:?}");
}
