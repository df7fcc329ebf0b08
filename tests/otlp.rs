//! Traces and metrics as a collector gets them: what a span says and does not say, and which answers leave one.

#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]
#![allow(clippy::float_cmp, clippy::cast_precision_loss, reason = "the page's counts are whole, and far below 2^53")]

#[path = "support/collector.rs"]
mod collector;
#[path = "support/http.rs"]
mod http;
#[path = "support/sidecar.rs"]
mod sidecar;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use collector::{Collector, Mood, attribute, home, series, settings, until_spans};
use consentd::evidence::Archive;
use consentd::evidence::record::EvidenceRecord;
use consentd::proto::foreign::envoy::service::auth::v3::attribute_context::{self, HttpRequest};
use consentd::proto::foreign::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use consentd::proto::foreign::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use consentd::proto::v1;
use http::Http;
use hyper::Version;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use sidecar::{Client, Home, Sidecar, ask, eventually, given, newsletter, page};
use tonic::Request;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

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

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn record(home: &Home, id: &str) -> EvidenceRecord {
    let archive = Archive::open(&home.data().join("evidence")).expect("a log");
    archive.find(&id.parse().expect("an id")).expect("readable").expect("there")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
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
    let events: Vec<(&str, u64)> =
        span.events.iter().map(|event| (event.name.as_str(), event.time_unix_nano)).collect();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn denials_and_slow_answers_leave_spans_where_nothing_is_sampled() {
    let collector = Collector::start(Mood::Takes).await;
    let home = home();
    let slow = [("telemetry.slow_answer", "1s"), ("replica.max_wait", "20s"), ("server.request_timeout", "30s")];
    let sidecar = Sidecar::ready(&home, &settings(&collector.endpoint(), &slow)).await;
    let mut client = sidecar.client();

    // None of these leaves one: nobody traces it, or who does does not record it.
    let mut allowed = Vec::new();
    for flags in ["00", "00"] {
        allowed.push(ask(&mut client, newsletter("crm:allowed")).await);
        allowed.push(ask_traced(&mut client, newsletter("crm:allowed"), flags).await);
    }
    let denied = ask(&mut client, newsletter("crm:denied")).await;
    let denied_in_trace = ask_traced(&mut client, newsletter("crm:denied"), "00").await;
    // An ALLOW that waits for the ledger.
    let token = &allowed[0].view.as_ref().expect("a view").ledger_token;
    let length = std::fs::metadata(home.ledger()).expect("a ledger").len();
    let line = given("crm:somebody");
    let later = sidecar::token_at(token, length + line.len() as u64 + 1);
    let waiting = v1::Question { at_least_as_fresh: later, ..newsletter("crm:allowed") };
    let (slow, ()) = tokio::join!(ask(&mut client, waiting), async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        home.append(&line);
    });
    assert_eq!(slow.answer.as_ref().expect("an answer").verdict(), v1::Verdict::Allow);

    let spans = until_spans(&collector, 3).await;
    let said = |answered: &v1::MayProcessResponse| {
        let of_answer = |span: &&Span| {
            attribute(&span.attributes, "consentd.evidence_id").as_deref() == Some(answered.evidence_id.as_str())
        };
        let found: Vec<&Span> = spans.iter().filter(of_answer).collect();
        let [span] = found.as_slice() else { panic!("{found:?}") };
        ((*span).clone(), attribute(&span.attributes, "consentd.kept").expect("why"))
    };
    let (span, why) = said(&denied);
    assert_eq!((why.as_str(), span.parent_span_id.len()), ("denied", 0));
    assert_eq!(attribute(&span.attributes, "consentd.reason").as_deref(), Some("WITHDRAWN"));
    assert_eq!(span.status.as_ref().expect("a status").code(), StatusCode::Unset, "a denial is no error");
    let (in_trace, why) = said(&denied_in_trace);
    assert_eq!(
        (why.as_str(), hex(&in_trace.trace_id), hex(&in_trace.parent_span_id)),
        ("denied", TRACE.into(), SPAN.into())
    );
    let (slow_span, why) = said(&slow);
    assert_eq!(why, "slow");
    let took = Duration::from_nanos(slow_span.end_time_unix_nano - slow_span.start_time_unix_nano);
    assert!((Duration::from_secs(1)..Duration::from_secs(20)).contains(&took), "{took:?}");

    sidecar.stop().await;
    assert_eq!(collector.spans().len(), 3, "and no others, also when it stops");
    // A trace of ours is in the evidence of what left a span, and of nothing else.
    assert_eq!(record(&home, &denied.evidence_id).trace_id, span.trace_id);
    assert_eq!(record(&home, &slow.evidence_id).trace_id, slow_span.trace_id);
    assert_eq!(record(&home, &allowed[0].evidence_id).trace_id, b"");
    assert_eq!(hex(&record(&home, &allowed[1].evidence_id).trace_id), TRACE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_of_the_answers_leaves_spans_and_off_leaves_none() {
    let collector = Collector::start(Mood::Takes).await;
    for (ratio, kept) in [("1", 40..=40), ("0.5", 5..=35), ("off", 0..=0)] {
        let before = collector.spans().len();
        let home = home();
        let sidecar =
            Sidecar::ready(&home, &settings(&collector.endpoint(), &[("telemetry.trace_ratio", ratio)])).await;
        let mut client = sidecar.client();
        for _ in 0..40 {
            ask(&mut client, newsletter("crm:allowed")).await;
        }
        if ratio == "off" {
            ask_traced(&mut client, newsletter("crm:denied"), "01").await;
        }
        drop(client);
        // Whatever has not left yet leaves now.
        sidecar.stop().await;
        let count = collector.spans().len() - before;
        assert!(kept.contains(&count), "{count} at {ratio}");
    }
    let spans = collector.spans();
    let traces: BTreeSet<&[u8]> = spans.iter().map(|span| span.trace_id.as_slice()).collect();
    assert_eq!(traces.len(), spans.len(), "each is a trace of its own");
    assert!(spans.iter().all(|span| attribute(&span.attributes, "consentd.kept").as_deref() == Some("ratio")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_call_leaves_one_span_an_answer() {
    let collector = Collector::start(Mood::Takes).await;
    let home = home();
    let sidecar = Sidecar::ready(&home, &settings(&collector.endpoint(), &[])).await;
    let mut client = sidecar.client();
    let context = v1::Context { purpose: "newsletter".into(), channel: "email".into(), ..v1::Context::default() };
    let questions = ["crm:allowed", "crm:denied", "crm:unheard-of", "crm:denied"].map(sidecar::batch_question).to_vec();
    let batch = v1::MayProcessBatchRequest { context: Some(context.clone()), questions: questions.clone() };
    let batch = client.may_process_batch(traced(batch, "01")).await.expect("answered").into_inner();
    let message = |context| v1::MayProcessStreamRequest { context, questions: questions[..1].to_vec() };
    let messages = tokio_stream::iter([message(Some(context.clone())), message(None)]);
    let mut stream = client.may_process_stream(traced(messages, "01")).await.expect("answered").into_inner();
    let mut streamed = Vec::new();
    while let Some(answered) = stream.message().await.expect("answered") {
        streamed.push(answered.evidence_id);
    }
    let explain = v1::ExplainRequest { question: Some(newsletter("crm:denied")), ..v1::ExplainRequest::default() };
    let explained = client.explain(traced(explain, "01")).await.expect("answered").into_inner();

    let spans = until_spans(&collector, 4).await;
    let by_evidence: BTreeMap<String, &Span> = spans
        .iter()
        .map(|span| (attribute(&span.attributes, "consentd.evidence_id").expect("evidence"), span))
        .collect();
    assert_eq!((spans.len(), by_evidence.len()), (4, 4));
    let span = by_evidence[&batch.evidence_id];
    assert_eq!(span.name, "may_process_batch");
    let said = |key| attribute(&span.attributes, key);
    assert_eq!(said("consentd.verdict").as_deref(), Some("MIXED"));
    assert_eq!(said("consentd.questions").as_deref(), Some("4"));
    assert_eq!(said("consentd.denied").as_deref(), Some("3"));
    assert_eq!(said("consentd.reasons").as_deref(), Some("CONSENT,WITHDRAWN,UNKNOWN_SUBJECT"));
    assert_eq!(said("consentd.reason"), None);
    assert_eq!(said("consentd.purpose").as_deref(), Some("newsletter"));
    assert_eq!(streamed.len(), 2);
    assert!(streamed.iter().all(|id| by_evidence[id].name == "may_process_stream"));
    assert_eq!(by_evidence[&explained.evidence_id].name, "explain");
    // All in the caller's trace, below its span, each a span of its own.
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE && hex(&span.parent_span_id) == SPAN));
    let ids: BTreeSet<&[u8]> = spans.iter().map(|span| span.span_id.as_slice()).collect();
    assert_eq!(ids.len(), 4);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_callers_trace_goes_on_over_envoys_check_and_over_http() {
    let collector = Collector::start(Mood::Takes).await;
    let home = home();
    let more = [
        ("authzen.enabled", "true"),
        ("ext_authz.subject", "header:x-user"),
        ("ext_authz.purpose", "value:newsletter"),
        ("ext_authz.channel", "value:email"),
    ];
    let sidecar = Sidecar::ready(&home, &settings(&collector.endpoint(), &more)).await;
    let headers = [("x-user".to_owned(), "crm:allowed".to_owned())].into_iter().collect();
    let http = HttpRequest { headers, path: "/".to_owned(), header_map: None };
    let attributes =
        AttributeContext { request: Some(attribute_context::Request { http: Some(http) }), ..Default::default() };
    let check = traced(CheckRequest { attributes: Some(attributes) }, "01");
    AuthorizationClient::new(sidecar.channel.clone()).check(check).await.expect("answered");
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let json = [("content-type", "application/json"), ("traceparent", &*parent)];
    let one = r#"{"subject":{"type":"crm","id":"allowed"},"action":{"name":"email"},"resource":{"type":"purpose","id":"newsletter"}}"#;
    let mut http = Http::tcp(sidecar.tcp, Version::HTTP_11).await;
    assert!(http.ask("POST", "/access/v1/evaluation", &json, one.as_bytes()).await.decision());
    let many = format!(r#"{{"evaluations":[{one}]}}"#);
    http.ask("POST", "/access/v1/evaluations", &json, many.as_bytes()).await;
    let spans = until_spans(&collector, 3).await;
    let names: BTreeSet<&str> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, BTreeSet::from(["authzen", "authzen_batch", "ext_authz"]));
    for span in spans {
        assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), SPAN.to_owned()));
        assert_eq!(attribute(&span.attributes, "consentd.verdict").as_deref(), Some("ALLOW"), "{}", span.name);
    }
    drop(http);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_or_doubled_parent_is_none() {
    let collector = Collector::start(Mood::Takes).await;
    let home = home();
    let sidecar = Sidecar::ready(&home, &settings(&collector.endpoint(), &[])).await;
    let mut client = sidecar.client();
    let message = || v1::MayProcessRequest { question: Some(newsletter("crm:denied")) };
    let mut doubled = traced(message(), "01");
    let again = doubled.metadata().get("traceparent").expect("there").clone();
    doubled.metadata_mut().append("traceparent", again);
    let mut malformed = Request::new(message());
    malformed.metadata_mut().insert("traceparent", "00-abc-def-01".parse().expect("ASCII"));
    for request in [doubled, malformed] {
        client.may_process(request).await.expect("answered");
    }
    for span in until_spans(&collector, 2).await {
        assert_eq!(span.parent_span_id, b"");
        assert_ne!(hex(&span.trace_id), TRACE);
        assert_eq!(span.flags, 0x101);
    }
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_of_the_sidecar_is_an_error_and_a_denial_is_none() {
    let collector = Collector::start(Mood::Takes).await;
    let home = home();
    std::fs::create_dir_all(home.data().join("evidence")).expect("made");
    std::fs::write(home.data().join("evidence/instance"), b"not a name").expect("written");
    let sidecar = Sidecar::start(&home, &settings(&collector.endpoint(), &[])).await;
    sidecar::until_reason(&sidecar.client(), &newsletter("crm:allowed"), v1::Reason::EvidenceUnavailable).await;
    let spans = until_spans(&collector, 1).await;
    let status = spans[0].status.as_ref().expect("a status");
    assert_eq!((status.code(), status.message.as_str()), (StatusCode::Error, "EVIDENCE_UNAVAILABLE"));
    assert_eq!(attribute(&spans[0].attributes, "consentd.evidence_id"), None);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_sent_names_a_subject() {
    let collector = Collector::start(Mood::Takes).await;
    let home = home();
    let subject = "crm:ayse.yilmaz@example.org";
    home.append(&given(subject));
    let more = [("telemetry.trace_ratio", "1"), ("telemetry.metrics_interval", "1s")];
    let sidecar = Sidecar::ready(&home, &settings(&collector.endpoint(), &more)).await;
    let mut client = sidecar.client();
    ask(&mut client, newsletter(subject)).await;
    // What a careless caller puts where it does not belong: the catalogue knows none of it.
    let careless = sidecar::question(subject, "mail.ayse.yilmaz", "ayse_yilmaz");
    ask(&mut client, careless).await;
    ask(&mut client, v1::Question { recipient: "ayse-yilmaz".into(), ..newsletter(subject) }).await;
    let mut request = traced(v1::MayProcessRequest { question: Some(newsletter(subject)) }, "01");
    request.metadata_mut().insert("tracestate", "shop=ayse.yilmaz".parse().expect("ASCII"));
    request.metadata_mut().insert("baggage", "user=ayse.yilmaz".parse().expect("ASCII"));
    client.may_process(request).await.expect("answered");
    let explain = v1::ExplainRequest { question: Some(newsletter(subject)), ..v1::ExplainRequest::default() };
    client.explain(explain).await.expect("answered");
    until_spans(&collector, 5).await;
    eventually("metrics are there", async || collector.metrics()).await;
    drop(client);
    sidecar.stop().await;

    let bytes = collector.bytes();
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("newsletter") && holds("consentd_decisions_total"), "it is the right haystack");
    for name in ["ayse", "yilmaz", "example.org"] {
        assert!(!holds(name), "`{name}` was sent");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_those_of_the_page() {
    let collector = Collector::start(Mood::Takes).await;
    let home = home();
    let more = [("telemetry.metrics_interval", "1s"), ("admin.tcp", "127.0.0.1:0"), ("telemetry.trace_ratio", "off")];
    let sidecar = Sidecar::ready(&home, &settings(&collector.endpoint(), &more)).await;
    let mut client = sidecar.client();
    for subject in ["crm:allowed", "crm:denied", "crm:denied"] {
        ask(&mut client, newsletter(subject)).await;
    }
    let asked = r#"consentd_answer_duration_seconds_count{call="may_process"}"#;
    let pushed = eventually("a push has the answers", async || {
        let metrics = collector.metrics()?;
        let counted = metrics.iter().find(|metric| metric.name == "consentd_answer_duration_seconds")?;
        let Some(Data::Histogram(histogram)) = &counted.data else { panic!("{counted:?}") };
        histogram.data_points.iter().any(|point| point.count == 3).then_some(metrics)
    })
    .await;
    let shown = series(&page(sidecar.admin.expect("a page"), "/metrics").1);
    assert_eq!(shown[asked], 3.0);

    // What moves by itself may differ; everything else is the same number.
    let moves =
        ["_age_", "staleness", "consentd_ready", "bytes", "consentd_evidence_records", "load_duration", "position"];
    let mut seen = BTreeSet::new();
    for metric in &pushed {
        seen.insert(metric.name.as_str());
        assert_eq!(metric.unit == "s", metric.name.ends_with("_seconds"), "{}", metric.name);
        let id = |labels: &[opentelemetry_proto::tonic::common::v1::KeyValue]| {
            let text: Vec<String> = labels
                .iter()
                .map(|label| format!("{}=\"{}\"", label.key, attribute(labels, &label.key).expect("a text")))
                .collect();
            if text.is_empty() { metric.name.clone() } else { format!("{}{{{}}}", metric.name, text.join(",")) }
        };
        let points = match metric.data.as_ref().expect("data") {
            Data::Sum(sum) => {
                assert!(sum.is_monotonic && sum.aggregation_temporality == 2, "{}", metric.name);
                assert!(metric.name.ends_with("_total"), "{}", metric.name);
                &sum.data_points
            }
            Data::Gauge(gauge) => &gauge.data_points,
            Data::Histogram(histogram) => {
                assert_eq!(histogram.aggregation_temporality, 2);
                for point in &histogram.data_points {
                    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
                    assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
                    let label = attribute(&point.attributes, "call").expect("a call");
                    assert_eq!(shown[&format!("{}_count{{call=\"{label}\"}}", metric.name)], point.count as f64);
                    let mut below = 0;
                    for (count, bound) in point.bucket_counts.iter().zip(&point.explicit_bounds) {
                        below += count;
                        let bucket = format!("{}_bucket{{call=\"{label}\",le=\"{bound}\"}}", metric.name);
                        assert_eq!(shown[&bucket], below as f64, "{bucket}");
                    }
                }
                continue;
            }
            other => panic!("{other:?}"),
        };
        assert!(!points.is_empty());
        for point in points {
            assert!(point.start_time_unix_nano <= point.time_unix_nano && point.start_time_unix_nano > 0);
            let value = match point.value.expect("a value") {
                Value::AsDouble(value) => value,
                Value::AsInt(value) => value as f64,
            };
            let id = id(&point.attributes);
            let have = shown.get(&id).unwrap_or_else(|| panic!("`{id}` is not on the page"));
            assert!(moves.iter().any(|part| id.contains(part)) || *have == value, "{id}: {have} {value}");
        }
    }
    let names = shown.keys().map(|id| id.split('{').next().expect("a name"));
    let names: BTreeSet<&str> = names
        .map(
            |name| if name.starts_with("consentd_answer_duration") { "consentd_answer_duration_seconds" } else { name },
        )
        .collect();
    assert_eq!(names, seen, "all that the page shows was pushed");
    sidecar.stop().await;
    assert_eq!(collector.spans().len(), 0);
}
