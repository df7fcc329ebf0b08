//! A field for faults: a cluster whose servers reach each other through relays only, and sidecars in processes of their
//! own that follow its ledger through relays of their own.

#![allow(dead_code, reason = "each test file takes what it needs")]

use std::time::{Duration, Instant};

use consentd::ledger::nats::{Config, DEFAULT_STREAM};
use tokio::sync::watch;
use tokio::task::block_in_place;

use crate::central;
use crate::nats_server::{Cluster, NatsServer};
use crate::relay::{Link, Relay};
use crate::sidecar::{Client, Home, Process};

/// Servers.
pub(crate) const NODES: usize = 3;
/// How long a question may wait for its token.
pub(crate) const WAIT_MAX: Duration = Duration::from_millis(500);
/// How long a cluster may take to elect a leader for the stream.
const LEADER_WITHIN: Duration = Duration::from_mins(1);

/// The cluster, the ways between its servers, and the sidecars.
pub(crate) struct Field {
    pub(crate) cluster: Cluster,
    /// By who connects and to whom.
    routes: Vec<((usize, usize), Relay)>,
    pub(crate) posts: Vec<Post>,
    home: Home,
}

/// A sidecar's place.
pub(crate) struct Post {
    home: Home,
    process: Option<Process>,
    /// Its ways to the servers that it knows, by their numbers.
    pub(crate) ways: Vec<(usize, Relay)>,
    settings: Vec<(String, String)>,
    door: watch::Sender<Option<Door>>,
}

/// How a sidecar is asked.
#[derive(Clone)]
pub(crate) struct Door {
    /// Another one for each start of each sidecar.
    pub(crate) life: usize,
    pub(crate) client: Client,
}

impl Field {
    /// A cluster with the ledger's stream on all its servers.
    pub(crate) async fn make() -> Self {
        let mut routes = Vec::new();
        let cluster = block_in_place(|| {
            Cluster::start_through(NODES, |from, to, port| {
                let relay = Relay::start(port);
                let way = relay.port;
                routes.push(((from, to), relay));
                way
            })
        });
        let field = Self { cluster, routes, posts: Vec::new(), home: central::home() };
        let context = central::context(&field.config(None)).await;
        let until = Instant::now() + LEADER_WITHIN;
        // A cluster that has just come up may not have its leader yet.
        while let Err(error) = central::kept().make(&context, NODES as u64).await {
            assert!(Instant::now() < until, "the stream cannot be made: {error}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        field
    }

    /// How a client of the test reaches the ledger: directly, on one server or on all.
    pub(crate) fn config(&self, node: Option<usize>) -> Config {
        let urls = node.map_or_else(|| self.cluster.urls(), |node| self.cluster.nodes[node].url());
        let mut config = central::config(&self.home, &urls, &self.cluster.certificates.tls());
        // Shorter than the faults, so that writers meet requests that nobody answers.
        config.connection.request_timeout = Duration::from_secs(1);
        config
    }

    /// Starts a sidecar that knows these servers.
    pub(crate) async fn post(&mut self, nodes: &[usize]) {
        let ways: Vec<(usize, Relay)> =
            nodes.iter().map(|node| (*node, Relay::start(self.cluster.nodes[*node].port))).collect();
        let urls: Vec<String> = ways.iter().map(|(_, relay)| format!("tls://127.0.0.1:{}", relay.port)).collect();
        let mut settings =
            central::settings(&central::config(&self.home, &urls.join(","), &self.cluster.certificates.tls()));
        settings.push(("replica.max_wait".to_owned(), format!("{}ms", WAIT_MAX.as_millis())));
        settings.push(("log.format".to_owned(), "text".to_owned()));
        let mut post = Post { home: Home::new(), process: None, ways, settings, door: watch::Sender::new(None) };
        post.start().await;
        self.posts.push(post);
    }

    /// Which server leads the stream, by the word of any but `deposed`, which does not.
    pub(crate) fn leader(&self, deposed: Option<usize>) -> usize {
        let until = Instant::now() + LEADER_WITHIN;
        loop {
            for (number, node) in self.cluster.nodes.iter().enumerate() {
                if Some(number) == deposed || !node.is_running() {
                    continue;
                }
                let leader = leader_by(node);
                let leader = self.cluster.nodes.iter().position(|node| leader.as_ref() == Some(&node.name));
                if let Some(leader) = leader.filter(|leader| Some(*leader) != deposed) {
                    return leader;
                }
            }
            assert!(Instant::now() < until, "the stream has no leader");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The ways between a server and the others, whoever connected.
    pub(crate) fn routes_of(&self, node: usize) -> impl Iterator<Item = &Relay> {
        self.routes.iter().filter(move |((from, to), _)| *from == node || *to == node).map(|(_, relay)| relay)
    }

    /// The ways from and to a server; each with whether it was the one that connected.
    pub(crate) fn routes_with_ends(&self, node: usize) -> impl Iterator<Item = (bool, &Relay)> {
        self.routes.iter().filter_map(move |((from, to), relay)| match (*from == node, *to == node) {
            (true, _) => Some((true, relay)),
            (_, true) => Some((false, relay)),
            _ => None,
        })
    }

    /// Everything passes again, everywhere.
    pub(crate) fn mend(&self) {
        let ways = self.posts.iter().flat_map(|post| &post.ways).map(|(_, relay)| relay);
        self.routes.iter().map(|(_, relay)| relay).chain(ways).for_each(Relay::mend);
    }

    /// What the sidecars logged, for a test that fails.
    pub(crate) fn logs(&self) -> String {
        let log = |post: &Post| std::fs::read_to_string(post.home.log()).unwrap_or_default();
        let logs: Vec<String> = self.posts.iter().map(log).collect();
        logs.join("\n--- the next sidecar\n")
    }
}

impl Post {
    /// Starts its process.
    pub(crate) async fn start(&mut self) {
        let mut process = Process::spawn(&self.home, &central::borrowed(&self.settings));
        let channel = process.connect().await;
        self.process = Some(process);
        self.door.send_replace(Some(Door { life: next_life(), client: Client::new(channel) }));
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.door.send_replace(None);
        self.process.take().expect("it runs").kill();
    }

    /// Removes its local copy. To be called while it does not run.
    pub(crate) fn forget(&self) {
        let folder = self.home.data().join("replica");
        std::fs::remove_dir_all(&folder).expect("it had a copy");
    }

    /// The sidecar's door, and each one after it.
    pub(crate) fn door(&self) -> watch::Receiver<Option<Door>> {
        self.door.subscribe()
    }

    /// Sets both directions of all its ways.
    pub(crate) fn set_ways(&self, link: Link) {
        self.ways.iter().for_each(|(_, relay)| relay.set_both(link));
    }
}

fn next_life() -> usize {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// Which server leads the stream, by the word of one.
fn leader_by(node: &NatsServer) -> Option<String> {
    let page = node.page("/jsz?accounts=true&streams=true")?;
    let said: serde_json::Value = serde_json::from_str(&page).ok()?;
    let streams = said.pointer("/account_details/0/stream_detail")?.as_array()?;
    let stream = streams.iter().find(|stream| stream.get("name").is_some_and(|name| name == DEFAULT_STREAM))?;
    let leader = stream.pointer("/cluster/leader")?.as_str()?;
    (!leader.is_empty()).then(|| leader.to_owned())
}
