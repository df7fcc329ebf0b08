//! A real collector that is not ours, `rotel`: what it prints of what it was sent, and that freezing it freezes nothing here.

#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

#[path = "support/rotel.rs"]
mod rotel;
#[path = "support/sidecar.rs"]
mod sidecar;

use std::time::{Duration, Instant};

use consentd::proto::v1;
use rotel::Rotel;
use sidecar::{Home, Sidecar, ask, eventually, given, newsletter, withdrawn};
use tonic::Request;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_collector_takes_spans_and_metrics_and_is_not_waited_for() {
    let Some(rotel) = Rotel::start() else { return };
    let home = Home::with_catalogue();
    home.append(&given("crm:ayse-allowed"));
    home.append(&withdrawn("crm:ayse-denied"));
    let endpoint = rotel.endpoint();
    let settings = [
        ("telemetry.otlp_endpoint", endpoint.as_str()),
        ("telemetry.trace_ratio", "0"),
        ("telemetry.kept_per_second", "1000000"),
        ("telemetry.metrics_interval", "1s"),
    ];
    let sidecar = Sidecar::ready(&home, &settings).await;
    let mut client = sidecar.client();
    let unseen = ask(&mut client, newsletter("crm:ayse-allowed")).await;
    let denied = ask(&mut client, newsletter("crm:ayse-denied")).await;
    let mut traced = Request::new(v1::MayProcessRequest { question: Some(newsletter("crm:ayse-allowed")) });
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    traced.metadata_mut().insert("traceparent", parent.parse().expect("ASCII"));
    let allowed = client.may_process(traced).await.expect("answered").into_inner();

    let printed = eventually("spans and metrics are printed", async || {
        let printed = rotel.printed();
        let wanted = [&*denied.evidence_id, &*allowed.evidence_id, "consentd_answer_duration_seconds"];
        wanted.iter().all(|text| printed.contains(text)).then_some(printed)
    })
    .await;
    let spans: Vec<&str> = printed.split("Span #").skip(1).collect();
    let span = |id: &str| *spans.iter().find(|span| span.contains(id)).expect("a span");
    let (of_allowed, of_denied) = (span(&allowed.evidence_id), span(&denied.evidence_id));
    for (line, said) in [
        ("Trace ID       : 0af7651916cd43dd8448eb211c80319c", of_allowed),
        ("Parent ID      : b7ad6b7169203331", of_allowed),
        ("Name           : may_process", of_allowed),
        ("Kind           : SPAN_KIND_SERVER", of_allowed),
        ("-> consentd.verdict: Str(ALLOW)", of_allowed),
        ("-> consentd.kept: Str(caller)", of_allowed),
        ("-> consentd.verdict: Str(DENY)", of_denied),
        ("-> consentd.reason: Str(WITHDRAWN)", of_denied),
        ("-> consentd.purpose: Str(newsletter)", of_denied),
        ("-> consentd.kept: Str(denied)", of_denied),
    ] {
        assert!(said.contains(line), "`{line}` is not in:\n{said}");
    }
    assert!(!printed.contains(&unseen.evidence_id), "what is not sampled was sent");
    assert!(printed.contains("-> service.name: Str(consentd)"));
    assert!(!printed.contains("ayse"), "a subject was sent");

    // Frozen, it takes connections and bytes, and answers nothing.
    rotel.freeze();
    let began = Instant::now();
    for _ in 0..2000 {
        ask(&mut client, newsletter("crm:ayse-denied")).await;
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(9), "one wait for it would have taken 10 s: {took:?}");
    rotel.thaw();
    let last = ask(&mut client, newsletter("crm:ayse-denied")).await;
    eventually("spans arrive again", async || rotel.printed().contains(&last.evidence_id).then_some(())).await;
    drop(client);
    sidecar.stop().await;
}
