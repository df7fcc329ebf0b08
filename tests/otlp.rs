//! Traces and metrics as a collector gets them: what a span says and does not say, which answers leave one, and that a
//! collector that is away, slow or refusing costs the answers nothing.

#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

#[path = "support/collector.rs"]
mod collector;
#[path = "support/sidecar.rs"]
mod sidecar;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use collector::{Collector, Mood, attribute};
use consentd::evidence::Archive;
use consentd::evidence::record::EvidenceRecord;
use consentd::proto::v1;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use sidecar::{Client, Home, Sidecar, ask, eventually, given, newsletter, page, withdrawn};
use tonic::{Code, Request};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// A home whose ledger allows `crm:allowed` and denies `crm:denied`.
fn home() -> Home {
    let home = Home::with_catalogue();
    home.append(&given("crm:allowed"));
    home.append(&withdrawn("crm:denied"));
    home
}

/// A request with a `traceparent`.
fn traced<M>(message: M, flags: &str) -> Request<M> {
    let mut request = Request::new(message);
    let header = format!("00-{TRACE}-{SPAN}-{flags}");
    request.metadata_mut().insert("traceparent", header.parse().expect("ASCII"));
    request
}

async fn ask_traced(client: &mut Client, question: v1::Question, flags: &str) -> v1::MayProcessResponse {
    let message = v1::MayProcessRequest { question: Some(question) };
    client.may_process(traced(message, flags)).await.expect("an answer").into_inner()
}

async fn until_spans(collector: &Collector, count: usize) -> Vec<Span> {
    eventually(&format!("{count} spans are there"), async || {
        let spans = collector.spans();
        (spans.len() >= count).then_some(spans)
    })
    .await
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn record(home: &Home, id: &str) -> EvidenceRecord {
    let archive = Archive::open(&home.data().join("evidence")).expect("a log");
    archive.find(&id.parse().expect("an id")).expect("readable").expect("there")
}

/// The settings of a sidecar that sends to a collector, with what is given on top.
fn settings<'a>(endpoint: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[("telemetry.otlp_endpoint", endpoint), ("telemetry.trace_ratio", "0")], more].concat()
}

#[tokio::test]
async fn a_span_says_what_an_answer_was_and_stands_in_its_callers_trace() {
    let collector = Collector::start(Mood::Takes).await;
    let home = home();
    let sidecar = Sidecar::ready(&home, &settings(&collector.endpoint(), &[])).await;
    let answered = ask_traced(&mut sidecar.client(), newsletter("crm:allowed"), "01").await;
    assert_eq!(answered.answer.as_ref().expect("an answer").verdict(), v1::Verdict::Allow);

    let spans = until_spans(&collector, 1).await;
    let [span] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), SPAN.to_owned()));
    assert!(span.span_id.len() == 8 && hex(&span.span_id) != SPAN);
    assert_eq!((span.name.as_str(), span.kind()), ("may_process", SpanKind::Server));
    // Sampled, and the parent is known and of another process.
    assert_eq!(span.flags, 0x301);
    assert_eq!(span.status.as_ref().expect("a status").code(), StatusCode::Unset);
    let view = answered.view.expect("a view");
    let said: BTreeMap<&str, String> =
        span.attributes.iter().map(|one| (one.key.as_str(), attribute(&span.attributes, &one.key).unwrap())).collect();
    let staleness: f64 = said["consentd.staleness_seconds"].parse().expect("a number");
    assert!((0.0..5.0).contains(&staleness), "{staleness}");
    let expected = [
        ("consentd.verdict", "ALLOW"),
        ("consentd.reason", "CONSENT"),
        ("consentd.purpose", "newsletter"),
        ("consentd.channel", "email"),
        ("consentd.questions", "1"),
        ("consentd.denied", "0"),
        ("consentd.catalogue_version", "1"),
        ("consentd.ledger_token", view.ledger_token.as_str()),
        ("consentd.evidence_id", answered.evidence_id.as_str()),
        ("consentd.kept", "caller"),
        ("consentd.staleness_seconds", said["consentd.staleness_seconds"].as_str()),
    ];
    assert_eq!(said, BTreeMap::from(expected.map(|(key, value)| (key, value.to_owned()))));

    // The times are in order, and now.
    let events: Vec<(&str, u64)> = span.events.iter().map(|event| (event.name.as_str(), event.time_unix_nano)).collect();
    let [("view taken", seen), ("decided", decided)] = events.as_slice() else { panic!("{events:?}") };
    let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
    assert!(start <= *seen && seen <= decided && *decided <= end, "{span:?}");
    let age_ms = sidecar::now_ms() - i64::try_from(end / 1_000_000).expect("in range");
    assert!((-1000..60_000).contains(&age_ms), "{age_ms} ms ago");

    // Who says so.
    let resource = collector.resources().pop().expect("a resource");
    let instance = answered.evidence_id.split('/').next().expect("an instance");
    assert_eq!(attribute(&resource.attributes, "service.name").as_deref(), Some("consentd"));
    assert_eq!(attribute(&resource.attributes, "service.version").as_deref(), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(attribute(&resource.attributes, "service.instance.id").as_deref(), Some(instance));

    sidecar.stop().await;
    assert_eq!(hex(&record(&home, &answered.evidence_id).trace_id), TRACE);
}
