//! Envoy's check with a real Envoy: what is asked, what is answered, and what is left of both.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/envoy.rs"]
mod envoy;
#[path = "support/sidecar.rs"]
mod sidecar;

use envoy::{Asks, Envoy, Listener, Upstream};
use sidecar::{Home, Sidecar, given, withdrawn};

/// A question that stands in headers.
const HEADERS: [(&str, &str); 3] = [
    ("ext_authz.subject", "header:x-user"),
    ("ext_authz.purpose", "header:x-purpose, value:newsletter"),
    ("ext_authz.channel", "header:x-channel, value:email"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_allow_passes_and_a_deny_says_why_over_tcp_and_a_unix_socket() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    home.append(&withdrawn("crm:2"));
    let sidecar = Sidecar::ready(&home, &HEADERS).await;
    let upstream = Upstream::start().await;
    let listeners = [Listener::new("tcp", Asks::Tcp(sidecar.tcp)), Listener::new("uds", Asks::Uds(home.uds()))];
    let envoy = Envoy::start(&listeners, &upstream).await;
    for listener in ["tcp", "uds"] {
        let allowed = envoy.get(listener, "/allowed", &[("x-user", "crm:1")]).await;
        assert_eq!(allowed.reached("x-consentd-verdict"), ["ALLOW"], "{allowed:?}");
        assert_eq!(allowed.reached("x-consentd-reason"), ["CONSENT"]);
        assert_eq!(envoy.get(listener, "/", &[("x-user", "crm:2")]).await.denied(), "WITHDRAWN");
        assert_eq!(envoy.get(listener, "/", &[("x-user", "crm:3")]).await.denied(), "UNKNOWN_SUBJECT");
        assert_eq!(envoy.get(listener, "/", &[]).await.denied(), "MALFORMED_QUESTION");
    }
    sidecar.stop().await;
}
