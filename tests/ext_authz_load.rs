//! A real Envoy that asks a thousand times a second. In a file of its own: nothing else of the tests runs beside it.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/envoy.rs"]
mod envoy;
#[path = "support/sidecar.rs"]
mod sidecar;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use envoy::{Asks, Client, Envoy, Listener, Upstream, free_port};
use sidecar::{Home, Process, given, until_serving};
use tokio::task::JoinSet;

/// Requests that are due at a rate, each on whichever connection is free; their time counts from when they were due.
async fn load(envoy: &Envoy, listener: &str, rate: u32, over: Duration) -> (Vec<Duration>, Vec<String>) {
    const CONNECTIONS: usize = 16;
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(envoy.client(listener).await);
    }
    let total = u64::from(rate) * over.as_secs();
    let next = Arc::new(Mutex::new(0_u64));
    let began = Instant::now();
    let mut asking = JoinSet::new();
    for mut client in clients {
        let next = Arc::clone(&next);
        asking.spawn(async move {
            let (mut took, mut failed) = (Vec::new(), Vec::new());
            loop {
                let number = {
                    let mut next = next.lock().expect("no panic");
                    *next += 1;
                    *next - 1
                };
                if number >= total {
                    return (took, failed);
                }
                let due = began + Duration::from_secs(number) / rate;
                tokio::time::sleep_until(due.into()).await;
                let is_known = number % 4 != 0;
                let user = if is_known { "crm:1" } else { "crm:nobody" };
                let response = client.get("/", &[("x-user", user)]).await;
                took.push(due.elapsed());
                let is_right = if is_known {
                    response.status == 200 && response.reached("x-consentd-reason") == ["CONSENT"]
                } else {
                    response.header("x-consentd-reason") == Some("UNKNOWN_SUBJECT")
                };
                if !is_right {
                    failed.push(format!("{response:?}"));
                }
            }
        });
    }
    let (mut took, mut failed) = (Vec::new(), Vec::new());
    while let Some(ended) = asking.join_next().await {
        let (own, wrong) = ended.expect("no panic");
        took.extend(own);
        failed.extend(wrong);
    }
    took.sort_unstable();
    (took, failed)
}

/// Where 1,000 requests a second are answered with Envoy's own deadline, the slowest hundredth must be well within it.
const P99_MAX: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_a_second_are_answered_rightly() {
    const RATE: u32 = 1000;
    const OVER: Duration = Duration::from_secs(5);
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let tcp = address.to_string();
    let settings = [
        ("server.tcp", &*tcp),
        ("ext_authz.subject", "header:x-user"),
        ("ext_authz.purpose", "value:newsletter"),
        ("ext_authz.channel", "value:email"),
    ];
    let mut process = Process::spawn(&home, &settings);
    until_serving(&process.connect().await).await;
    let upstream = Upstream::start().await;
    let listeners = [Listener::new("tcp", Asks::Tcp(address)), Listener::new("uds", Asks::Uds(home.uds()))];
    let envoy = Envoy::start(&listeners, &upstream).await;
    for listener in ["tcp", "uds"] {
        // A machine that does something else may stop for longer than the deadline; it will not do so every time.
        let mut attempts = Vec::new();
        for _ in 0..4 {
            let began = Instant::now();
            let (took, failed) = load(&envoy, listener, RATE, OVER).await;
            assert_eq!(took.len() as u64, u64::from(RATE) * OVER.as_secs());
            let elapsed = began.elapsed();
            let percentile = |hundredths: usize| took[(took.len() * hundredths / 10_000).min(took.len() - 1)];
            let line = format!(
                "{listener}: {} in {elapsed:?}, p50 {:?}, p99 {:?}, p99.9 {:?}, {} failed{}",
                took.len(),
                percentile(5000),
                percentile(9900),
                percentile(9990),
                failed.len(),
                failed.first().map(|response| format!(", such as {response}")).unwrap_or_default()
            );
            println!("{line}");
            let is_kept = elapsed < OVER + Duration::from_millis(500);
            attempts.push(line);
            if failed.is_empty() && percentile(9900) < P99_MAX && is_kept {
                attempts.clear();
                break;
            }
        }
        assert!(attempts.is_empty(), "{attempts:#?}");
    }
}
