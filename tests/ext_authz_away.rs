//! What becomes of requests when the sidecar of a real Envoy is killed, started again, or frozen.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/envoy.rs"]
mod envoy;
#[path = "support/sidecar.rs"]
mod sidecar;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use envoy::{Asks, Envoy, Listener, Response, Upstream, free_port, typed};
use serde_json::{Value, json};
use sidecar::{Home, Process, eventually, given, until_serving, withdrawn};
use tokio::task::JoinSet;

const FAILED_OPEN: &str = "x-envoy-auth-failure-mode-allowed";
/// Envoy's own deadline for a check, where its configuration says nothing.
const DEADLINE: Duration = Duration::from_millis(200);

/// A sidecar that listens on a port and a socket which are the same in its next life.
struct Beside {
    home: Home,
    port: u16,
}

impl Beside {
    fn new() -> Self {
        let home = Home::with_catalogue();
        home.append(&given("crm:1"));
        Self { home, port: free_port() }
    }

    async fn start(&self) -> Process {
        let tcp = self.tcp().to_string();
        let settings = [
            ("server.tcp", &*tcp),
            ("ext_authz.subject", "header:x-user"),
            ("ext_authz.purpose", "value:newsletter"),
            ("ext_authz.channel", "value:email"),
        ];
        let mut process = Process::spawn(&self.home, &settings);
        until_serving(&process.connect().await).await;
        process
    }

    fn tcp(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    fn asks(&self) -> [(&'static str, Asks); 2] {
        [("tcp", Asks::Tcp(self.tcp())), ("uds", Asks::Uds(self.home.uds()))]
    }
}

/// Over each transport one listener that denies where it cannot ask, and one that does not.
fn closed_and_open(beside: &Beside) -> Vec<Listener> {
    let [(_, tcp), (_, uds)] = beside.asks();
    vec![
        Listener::new("tcp_closed", tcp.clone()),
        Listener::new("tcp_open", tcp).open(),
        Listener::new("uds_closed", uds.clone()),
        Listener::new("uds_open", uds).open(),
    ]
}

const CLOSED: [&str; 2] = ["tcp_closed", "uds_closed"];
const OPEN: [&str; 2] = ["tcp_open", "uds_open"];

/// Removes what only answers may say, before any filter sees it.
fn early_removal() -> Value {
    let mutations = json!([
        {"remove_on_match": {"key_matcher": {"prefix": "x-consentd-", "ignore_case": true}}},
        {"remove": FAILED_OPEN},
    ]);
    let extension = typed(
        "envoy.http.early_header_mutation.header_mutation",
        "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        &json!({"mutations": mutations}),
    );
    json!({"early_header_mutation_extensions": [extension]})
}

async fn ask(envoy: &Envoy, listener: &str) -> Response {
    envoy.get(listener, "/", &[("x-user", "crm:1")]).await
}

/// Whether somebody was asked: a request that was let through says that it was, and so does a denial.
fn is_asked(response: &Response) -> bool {
    if response.status == 200 {
        return !response.reached("x-consentd-verdict").is_empty();
    }
    response.header("x-consentd-verdict").is_some()
}

/// A denial that is Envoy's own: nobody was asked.
fn assert_unasked(response: &Response, status: u16, listener: &str) {
    assert_eq!((response.status, &*response.body), (status, ""), "{listener}: {response:?}");
    assert_eq!(response.header("x-consentd-verdict"), None, "{listener}: {response:?}");
}

/// Nobody was asked, and the request went through.
fn assert_let_through(response: &Response, listener: &str) {
    assert_eq!(response.reached(FAILED_OPEN), ["true"], "{listener}: {response:?}");
    assert!(response.reached("x-consentd-evidence-id").is_empty(), "{listener}: {response:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_sidecar_leaves_the_choice_to_envoy_until_it_is_back() {
    let beside = Beside::new();
    let upstream = Upstream::start().await;
    let mut process = beside.start().await;
    let mut listeners = closed_and_open(&beside);
    let telling = json!({"status_on_error": {"code": "ServiceUnavailable"}});
    listeners.push(Listener::new("telling", Asks::Tcp(beside.tcp())).filter(telling));
    let envoy = Envoy::start(&listeners, &upstream).await;
    for listener in CLOSED.into_iter().chain(OPEN).chain(["telling"]) {
        let allowed = ask(&envoy, listener).await;
        assert_eq!(allowed.reached("x-consentd-reason"), ["CONSENT"], "{listener}");
        assert!(allowed.reached(FAILED_OPEN).is_empty(), "{listener}");
    }

    process.kill();
    for _ in 0..3 {
        for listener in CLOSED {
            assert_unasked(&ask(&envoy, listener).await, 403, listener);
        }
        for listener in OPEN {
            assert_let_through(&ask(&envoy, listener).await, listener);
        }
        assert_unasked(&ask(&envoy, "telling").await, 503, "telling");
    }

    // What was withdrawn meanwhile counts with the first answer.
    beside.home.append(&withdrawn("crm:1"));
    let mut process = beside.start().await;
    for listener in CLOSED.into_iter().chain(OPEN).chain(["telling"]) {
        let answered = async || Some(ask(&envoy, listener).await).filter(is_asked);
        let began = Instant::now();
        let answered = eventually("Envoy asks again", answered).await;
        assert_eq!(answered.denied(), "WITHDRAWN", "{listener}");
        println!("{listener}: asked again {:?} after the sidecar was ready", began.elapsed());
    }
    process.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_sidecar_costs_envoys_deadline_and_no_more() {
    let beside = Beside::new();
    let upstream = Upstream::start().await;
    let process = beside.start().await;
    let listeners: Vec<Listener> = closed_and_open(&beside).into_iter().map(Listener::hurried).collect();
    let envoy = Envoy::start(&listeners, &upstream).await;
    for listener in CLOSED.into_iter().chain(OPEN) {
        let answered = async || Some(ask(&envoy, listener).await).filter(is_asked);
        let response = eventually("Envoy is answered", answered).await;
        assert_eq!(response.reached("x-consentd-reason"), ["CONSENT"], "{listener}");
    }
    process.freeze();
    for listener in CLOSED.into_iter().chain(OPEN) {
        let errors = envoy.count(listener, "error").await;
        let began = Instant::now();
        let response = ask(&envoy, listener).await;
        let took = began.elapsed();
        // Envoy's timers are coarse, the more so while it is busy; and so is a machine.
        assert!((DEADLINE * 3 / 4..DEADLINE * 10).contains(&took), "{listener}: {took:?}");
        if CLOSED.contains(&listener) {
            assert_unasked(&response, 403, listener);
        } else {
            assert_let_through(&response, listener);
        }
        assert_eq!(envoy.count(listener, "error").await, errors + 1, "{listener}");
    }
    process.thaw();
    for listener in CLOSED.into_iter().chain(OPEN) {
        let answered = async || Some(ask(&envoy, listener).await).filter(is_asked);
        let response = eventually("Envoy is answered again", answered).await;
        assert_eq!(response.reached("x-consentd-reason"), ["CONSENT"], "{listener}");
    }
}

/// Where the sidecar is away and Envoy fails open, nobody is there to remove what a client forged, but Envoy itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_headers_are_removed_early_or_not_at_all() {
    let beside = Beside::new();
    let upstream = Upstream::start().await;
    let mut process = beside.start().await;
    let asks = Asks::Tcp(beside.tcp());
    let listeners =
        [Listener::new("bare", asks.clone()).open(), Listener::new("guarded", asks).open().manager(early_removal())];
    let envoy = Envoy::start(&listeners, &upstream).await;
    let forged = [("x-user", "crm:1"), ("X-Consentd-Verdict", "FORGED"), (FAILED_OPEN, "false")];
    let guarded = envoy.get("guarded", "/", &forged).await;
    assert_eq!(guarded.reached("x-consentd-verdict"), ["ALLOW"], "what the answer sets is not removed");
    assert!(guarded.reached(FAILED_OPEN).is_empty());

    process.kill();
    let bare = envoy.get("bare", "/", &forged).await;
    assert_eq!(bare.reached("x-consentd-verdict"), ["FORGED"], "why docs/mesh.md says to remove them early");
    assert_eq!(bare.reached(FAILED_OPEN), ["false", "true"]);
    let guarded = envoy.get("guarded", "/", &forged).await;
    assert!(guarded.reached("x-consentd-verdict").is_empty());
    assert_eq!(guarded.reached(FAILED_OPEN), ["true"]);
}

/// Requests all the while, over kills and starts: whatever passes an Envoy that fails closed has its evidence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_passes_without_evidence_while_the_sidecar_comes_and_goes() {
    let beside = Beside::new();
    let upstream = Upstream::start().await;
    let mut process = beside.start().await;
    let envoy = Arc::new(Envoy::start(&closed_and_open(&beside), &upstream).await);
    let done = Arc::new(AtomicBool::new(false));
    let mut asking = JoinSet::new();
    for listener in CLOSED {
        let (envoy, done) = (Arc::clone(&envoy), Arc::clone(&done));
        asking.spawn(async move {
            let (mut allowed, mut unasked) = (0, 0);
            let mut client = envoy.client(listener).await;
            while !done.load(Ordering::Relaxed) {
                let response = client.get("/", &[("x-user", "crm:1")]).await;
                match response.status {
                    200 => {
                        assert_eq!(response.reached("x-consentd-evidence-id").len(), 1, "{response:?}");
                        allowed += 1;
                    }
                    403 if response.header("x-consentd-verdict").is_none() => unasked += 1,
                    _ => {
                        // A sidecar that has just started has not read its ledger.
                        let reason = response.denied();
                        assert_eq!(reason, "REPLICA_BUILDING", "{response:?}");
                    }
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            (allowed, unasked)
        });
    }
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        process.kill();
        tokio::time::sleep(Duration::from_millis(100)).await;
        process = beside.start().await;
    }
    tokio::time::sleep(Duration::from_millis(250)).await;
    done.store(true, Ordering::Relaxed);
    while let Some(ended) = asking.join_next().await {
        let (allowed, unasked) = ended.expect("no panic");
        assert!(allowed > 50 && unasked > 10, "{allowed} allowed, {unasked} unasked");
    }
}
