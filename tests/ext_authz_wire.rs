//! Envoy's check as it comes over the wire: whatever comes, RPC status OK and an explicit verdict go back.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/inside.rs"]
mod inside;
#[path = "support/sidecar.rs"]
mod sidecar;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use consentd::access::Caller;
use consentd::enforcer::CallKind;
use consentd::ext_authz::{Checker, Field, Limits, Mapping, Sources};
use consentd::proto::foreign::envoy::config::core::v3::{HeaderMap, HeaderValue, HeaderValueOption, Metadata};
use consentd::proto::foreign::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use consentd::proto::foreign::envoy::service::auth::v3::check_response::HttpResponse;
use consentd::proto::foreign::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use inside::{Inside, record};
use pbjson_types::value::Kind;
use pbjson_types::{Struct, Value};
use proptest::collection::{hash_map, vec};
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use prost::Message as _;
use sidecar::{Home, given, token_at, withdrawn};
use tonic::codegen::http;
use tower::ServiceExt as _;

const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";
const TIMEOUT: Duration = Duration::from_secs(5);

fn sources(text: &str, field: Field) -> Sources {
    Sources::parse(text, field).expect("sources")
}

fn mapping() -> Mapping {
    Mapping {
        subject_space: None,
        subject: sources("metadata:jwt/sub, path:/users/{subject}/**, query:user, header:x-user", Field::Subject),
        purpose: sources("extension:purpose, value:newsletter", Field::Purpose),
        channel: sources("header:x-channel, value:email", Field::Channel),
        recipient: sources("header:x-recipient", Field::Recipient),
        jurisdiction: sources("header:x-country", Field::Jurisdiction),
        time_zone: sources("header:x-time-zone", Field::TimeZone),
        sec_gpc: sources("header:sec-gpc", Field::SecGpc),
        tcf: sources("header:x-tcf", Field::Tcf),
        gpp: sources("header:x-gpp", Field::Gpp),
        at_least_as_fresh: sources("header:x-token", Field::AtLeastAsFresh),
    }
}

fn limits() -> Limits {
    Limits { message_bytes_max: 64 << 10, in_flight_max: 16, timeout: TIMEOUT }
}

fn wire(inside: &Inside, mapping: Option<Mapping>, limits: Limits) -> Router {
    Checker::new(inside.enforcer.clone(), inside.metrics.clone(), mapping, limits).into_router()
}

async fn home() -> (Home, Inside) {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    home.append(&withdrawn("crm:2"));
    let inside = Inside::start(&home, Duration::from_mins(1)).await;
    (home, inside)
}

fn with_headers(path: &str, headers: &[(&str, &str)]) -> CheckRequest {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let http = HttpRequest { headers, path: path.to_owned(), header_map: None };
    let attributes = AttributeContext { request: Some(Request { http: Some(http) }), ..AttributeContext::default() };
    CheckRequest { attributes: Some(attributes) }
}

/// A message as gRPC frames it.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    [&[0], &length[..], message].concat()
}

/// Sends a body as it is, as a caller or nobody.
async fn send(wire: &Router, caller: Option<Caller>, headers: &[(&str, &str)], body: Vec<u8>) -> CheckResponse {
    let mut request = http::Request::post(PATH).header("content-type", "application/grpc").header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(caller) = caller {
        request = request.extension(caller);
    }
    let response = wire.clone().oneshot(request.body(Body::from(body)).expect("a request")).await;
    let response = response.expect("answered");
    // A call that fails says so in the headers, and has no message.
    assert_eq!(response.status(), 200);
    let status = response.headers().get("grpc-status").map(|status| status.to_str().expect("text").to_owned());
    assert!(status.as_deref().is_none_or(|status| status == "0"), "RPC status {status:?}: {:?}", response.headers());
    let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
    assert_eq!(body[0], 0, "not compressed");
    assert_eq!(body[1..5], u32::try_from(body.len() - 5).expect("short").to_be_bytes(), "one message");
    CheckResponse::decode(&body[5..]).expect("a response")
}

/// Sends a request as somebody who may ask about everything.
async fn check(wire: &Router, request: &CheckRequest) -> CheckResponse {
    send(wire, Some(Caller::unrestricted(String::new())), &[], framed(&request.encode_to_vec())).await
}

/// What an explicit response says, and nothing that contradicts it: the reason, and the name of the evidence.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    allows: bool,
    reason: String,
    evidence: Option<String>,
}

fn said(response: &CheckResponse) -> Said {
    let code = response.status.as_ref().unwrap_or_else(|| panic!("no status: {response:?}")).code;
    let (allows, options): (bool, &[HeaderValueOption]) = match &response.http_response {
        Some(HttpResponse::OkResponse(ok)) => (true, &ok.headers),
        Some(HttpResponse::DeniedResponse(denied)) => {
            assert_eq!(denied.status.as_ref().expect("a status").code, 403, "{response:?}");
            (false, &denied.headers)
        }
        None => panic!("not explicit: {response:?}"),
    };
    assert_eq!(code, if allows { 0 } else { 7 }, "{response:?}");
    let header = |name: &str| {
        let found = options.iter().filter_map(|option| option.header.as_ref()).find(|header| header.key == name);
        found.map(|header| header.value.clone())
    };
    assert_eq!(header("x-consentd-verdict").as_deref(), Some(if allows { "ALLOW" } else { "DENY" }), "{response:?}");
    let evidence = header("x-consentd-evidence-id");
    assert!(!allows || evidence.is_some(), "an ALLOW without evidence: {response:?}");
    Said { allows, reason: header("x-consentd-reason").expect("a reason"), evidence }
}

fn reason(response: &CheckResponse) -> String {
    said(response).reason
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_and_who_may_not_ask_are_denied_without_an_error() {
    let (home, inside) = home().await;
    let wire = wire(&inside, Some(mapping()), limits());
    let asked = framed(&with_headers("/", &[("x-user", "crm:1")]).encode_to_vec());
    let mailer = |channel: &str| Caller::new("mailer".to_owned(), vec!["newsletter".into()], vec![channel.into()]);
    assert_eq!(reason(&send(&wire, None, &[], asked.clone()).await), "CALLER_NOT_PERMITTED");
    assert_eq!(reason(&send(&wire, Some(mailer("sms")), &[], asked.clone()).await), "CALLER_NOT_PERMITTED");
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    let answered = said(&send(&wire, Some(mailer("email")), &[("traceparent", &parent)], asked).await);
    assert!(answered.allows);
    inside.stop().await;
    let record = record(&home, &answered.evidence.expect("evidence"));
    assert_eq!((record.call(), &*record.caller), (CallKind::ExtAuthz, "mailer"));
    assert_eq!((&*record.purpose, &*record.channel), ("newsletter", "email"));
    assert_eq!(data_encoding::HEXLOWER.encode(&record.trace_id), trace);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clients_trace_counts_where_the_proxy_has_none() {
    let (home, inside) = home().await;
    let wire = wire(&inside, Some(mapping()), limits());
    let parent = |trace: &str| format!("00-{trace}-b7ad6b7169203331-01");
    let (own, proxy) = ("0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319c");
    let request = with_headers("/", &[("x-user", "crm:1"), ("traceparent", &parent(own))]).encode_to_vec();
    let caller = || Some(Caller::unrestricted(String::new()));
    let clients = said(&send(&wire, caller(), &[], framed(&request)).await);
    let proxys = said(&send(&wire, caller(), &[("traceparent", &parent(proxy))], framed(&request)).await);
    inside.stop().await;
    for (said, trace) in [(clients, own), (proxys, proxy)] {
        let record = record(&home, &said.evidence.expect("evidence"));
        assert_eq!(data_encoding::HEXLOWER.encode(&record.trace_id), trace);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_denied_without_an_error() {
    let (_home, inside) = home().await;
    let wire = wire(&inside, Some(mapping()), limits());
    let request = with_headers("/", &[("x-user", "crm:1")]).encode_to_vec();
    let whole = framed(&request);
    let mut compressed = whole.clone();
    compressed[0] = 1;
    let large = framed(&with_headers("/", &[("x-user", "crm:1"), ("x", &"x".repeat(64 << 10))]).encode_to_vec());
    for (what, headers, body) in [
        ("nothing", &[][..], Vec::new()),
        ("no message, but its head", &[], whole[..5].to_vec()),
        ("a part of a message", &[], whole[..whole.len() - 1].to_vec()),
        ("a message that claims to be longer", &[], [&whole[..4], &[255], &whole[5..]].concat()),
        ("two messages", &[], [&whole[..], &whole[..]].concat()),
        ("a message and a part of one", &[], [&whole[..], &whole[..7]].concat()),
        ("something else than a message", &[], framed(b"\xff\xff\xff\xff")),
        ("a message that says it is compressed", &[], compressed.clone()),
        ("a compressed message", &[("grpc-encoding", "gzip")], compressed.clone()),
        ("an encoding nobody knows", &[("grpc-encoding", "\u{2603}")], compressed),
        ("more than is taken", &[], large),
        ("an empty message", &[], framed(b"")),
    ] {
        let response = send(&wire, Some(Caller::unrestricted(String::new())), headers, body).await;
        assert_eq!(reason(&response), "MALFORMED_QUESTION", "{what}");
    }
    // What is merely strange is read.
    let caller = Some(Caller::unrestricted(String::new()));
    for headers in
        [&[("grpc-encoding", "identity")][..], &[("grpc-timeout", "soon")], &[("content-type", "text/plain")]]
    {
        let response = send(&wire, caller.clone(), headers, whole.clone()).await;
        assert!(said(&response).allows, "{headers:?}: {response:?}");
    }
    inside.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_mapping_everything_is_denied() {
    let (_home, inside) = home().await;
    let wire = wire(&inside, None, limits());
    assert_eq!(reason(&check(&wire, &with_headers("/", &[("x-user", "crm:1")])).await), "NOT_CONFIGURED");
    inside.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_on_its_way_before_the_proxys_deadline() {
    let (home, inside) = home().await;
    let wire = wire(&inside, Some(mapping()), Limits { in_flight_max: 1, ..limits() });
    let told = check(&wire, &with_headers("/", &[("x-user", "crm:1")])).await;
    let Some(HttpResponse::OkResponse(ok)) = &told.http_response else { panic!("{told:?}") };
    let token = ok.headers.iter().filter_map(|option| option.header.as_ref());
    let token =
        token.into_iter().find(|header| header.key == "x-consentd-ledger-token").expect("a token").value.clone();
    let later = token_at(&token, std::fs::metadata(home.ledger()).expect("there").len() + 1000);
    let request = with_headers("/", &[("x-user", "crm:1"), ("x-token", &later)]).encode_to_vec();
    let timed = async |timeout: &str| {
        let began = Instant::now();
        let caller = Some(Caller::unrestricted(String::new()));
        let response = send(&wire, caller, &[("grpc-timeout", timeout)], framed(&request)).await;
        (reason(&response), began.elapsed())
    };
    // Of the proxy's time four fifths are waited for the token.
    in_time(800..1000, async || {
        let (reason, took) = timed("1S").await;
        assert_eq!(reason, "STALE");
        took
    })
    .await;
    // A second one finds the only place taken for longer than it may wait.
    in_time(900..1000, async || {
        let (first, second) = tokio::join!(timed("4S"), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            timed("1S").await
        });
        assert_eq!((&*first.0, &*second.0), ("STALE", "NOT_IN_TIME"));
        second.1
    })
    .await;
    // Without a deadline of the proxy's the sidecar's own counts, after which the call would end with an error.
    let (reason, took) = timed("99999999H").await;
    assert_eq!(reason, "STALE");
    assert!(took < TIMEOUT, "{took:?}");
    inside.stop().await;
}

/// Asks until the answer took so many milliseconds: a busy machine may take the rest of the time for something else, but
/// not every time.
async fn in_time(millis: std::ops::Range<u128>, mut ask: impl AsyncFnMut() -> Duration) {
    let mut seen = Vec::new();
    for _ in 0..5 {
        let took = ask().await;
        assert!(took.as_millis() >= millis.start, "{took:?}");
        if took.as_millis() < millis.end {
            return;
        }
        seen.push(took);
    }
    panic!("never within {millis:?} ms: {seen:?}");
}

/// Values of headers and parameters, those that mean something among them.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just("crm:1".to_owned()),
        2 => Just("crm:2".to_owned()),
        2 => select(&["crm:1,crm:1", "crm:", "1", "", "TR", "email", "a\r\nb: c", "%63rm:1"][..]).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

fn name() -> impl Strategy<Value = String> {
    let ours =
        vec!["x-user", "sec-gpc", "x-channel", "x-country", "x-tcf", "x-recipient", "x-token", "x-consentd-verdict"];
    prop_oneof![6 => select(ours).prop_map(str::to_owned), 1 => any::<String>()]
}

fn path() -> impl Strategy<Value = String> {
    let paths =
        vec!["/", "/users/crm:1/a", "/users/crm%3A1", "/users/../crm:1", "/?user=crm:1", "/?user=crm:1&user=crm:2"];
    prop_oneof![4 => select(paths).prop_map(str::to_owned), 1 => any::<String>(), 1 => value().prop_map(|v| format!("/?user={v}"))]
}

fn metadata() -> impl Strategy<Value = Struct> {
    let kind = prop_oneof![
        value().prop_map(Kind::StringValue),
        any::<f64>().prop_map(Kind::NumberValue),
        any::<bool>().prop_map(Kind::BoolValue),
        Just(Kind::StructValue(Struct::default())),
    ];
    let field = (select(&["sub", "other"][..]), option::of(kind));
    vec(field, 0..3).prop_map(|fields| Struct {
        fields: fields.into_iter().map(|(name, kind)| (name.to_owned(), Value { kind })).collect(),
    })
}

fn request() -> impl Strategy<Value = CheckRequest> {
    // Most of those in which several things are odd make no question.
    let plain = (select(&["crm:1", "crm:2"][..]), option::of((name(), value()))).prop_map(|(user, odd)| {
        let odd = odd.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        with_headers("/", &odd.chain([("x-user", user)]).collect::<Vec<_>>())
    });
    prop_oneof![plain, wild()]
}

fn wild() -> impl Strategy<Value = CheckRequest> {
    let raw = vec((name(), vec(any::<u8>(), 0..6)), 0..3);
    let extensions = hash_map(Just("purpose".to_owned()), select(&["newsletter", "unheard.of", ""][..]), 0..2);
    let parts = (path(), hash_map(name(), value(), 0..4), raw, extensions, option::of(metadata()));
    parts.prop_map(|(path, headers, raw, extensions, metadata)| {
        let header = |(key, raw_value): (String, Vec<u8>)| HeaderValue { key, raw_value, ..HeaderValue::default() };
        let header_map = Some(HeaderMap { headers: raw.into_iter().map(header).collect() });
        let http = HttpRequest { headers, path, header_map };
        let filter_metadata: HashMap<_, _> = metadata.map(|fields| ("jwt".to_owned(), fields)).into_iter().collect();
        let attributes = AttributeContext {
            request: Some(Request { http: Some(http) }),
            context_extensions: extensions.into_iter().map(|(key, value)| (key, value.to_owned())).collect(),
            metadata_context: Some(Metadata { filter_metadata }),
        };
        CheckRequest { attributes: Some(attributes) }
    })
}

/// Every place where a request could say that it is about `crm:1`, of whom alone there is a consent.
fn mentions(request: &CheckRequest) -> bool {
    let text = format!("{request:?}");
    text.contains("crm:1") || text.contains("crm%3A1") || text.contains("%63rm:1")
}

/// A body: a request, a damaged one, or anything.
#[derive(Debug, Clone)]
struct Sent {
    body: Vec<u8>,
    request: Option<CheckRequest>,
}

fn body() -> impl Strategy<Value = Sent> {
    let whole = request().prop_map(|request| Sent { body: framed(&request.encode_to_vec()), request: Some(request) });
    let damaged =
        (request(), vec((any::<usize>(), any::<u8>()), 1..4), any::<usize>()).prop_map(|(request, bytes, cut)| {
            let mut body = framed(&request.encode_to_vec());
            for (place, byte) in bytes {
                let place = place % body.len();
                body[place] = byte;
            }
            // Most stay whole: a length that is wrong hides all other damage.
            body.truncate(if cut % 4 == 0 { cut % (body.len() + 1) } else { body.len() });
            Sent { body, request: None }
        });
    let inner = vec(any::<u8>(), 0..64).prop_map(|message| Sent { body: framed(&message), request: None });
    let anything = vec(any::<u8>(), 0..64).prop_map(|body| Sent { body, request: None });
    prop_oneof![4 => whole, 3 => damaged, 1 => inner, 1 => anything]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_comes_the_answer_is_explicit_and_only_a_consent_allows() {
    let (home, inside) = home().await;
    let wire = wire(&inside, Some(mapping()), limits());
    let timeout = Just([("grpc-timeout", "200m")]);
    let asked = (body(), any::<bool>(), timeout);
    let mut told = HashSet::new();
    let mut evidence = Vec::new();
    let runtime = tokio::runtime::Handle::current();
    let mut runner = TestRunner::new(Config { cases: 4000, failure_persistence: None, ..Config::default() });
    let seen = std::cell::RefCell::new((&mut told, &mut evidence));
    tokio::task::block_in_place(|| {
        let outcome = runner.run(&asked, |(sent, is_known, headers)| {
            let caller = is_known.then(|| Caller::unrestricted(String::new()));
            let response = runtime.block_on(send(&wire, caller, &headers, sent.body));
            let Said { allows, reason, evidence } = said(&response);
            assert!(!allows || is_known, "nobody was answered");
            assert!(!allows || reason == "CONSENT", "{reason}");
            if let Some(request) = sent.request.filter(|_| allows) {
                assert!(mentions(&request), "an ALLOW about somebody else: {request:?}");
            }
            let (told, all) = &mut *seen.borrow_mut();
            told.insert(reason.clone());
            all.extend(evidence.map(|id| (id, reason)));
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{error}"));
    });
    inside.stop().await;
    // It was not always the same that was seen.
    for reason in
        ["CONSENT", "WITHDRAWN", "UNKNOWN_SUBJECT", "UNKNOWN_PURPOSE", "MALFORMED_QUESTION", "CALLER_NOT_PERMITTED"]
    {
        assert!(told.contains(reason), "never {reason}: {told:?}");
    }
    assert!(evidence.len() > 200, "{} answers", evidence.len());
    let archive = consentd::evidence::Archive::open(&home.data().join("evidence")).expect("a log");
    for (id, reason) in evidence {
        let record = archive.find(&id.parse().expect("an id")).expect("readable").expect("there");
        assert_eq!(record.call(), CallKind::ExtAuthz);
        let kept: Vec<&str> = record.reasons().map(|kept| kept.as_str_name().trim_start_matches("REASON_")).collect();
        assert_eq!(kept, [reason]);
    }
    let reports = archive.verify(None, None).expect("readable");
    assert!(reports.iter().all(|report| report.problems.is_empty()), "{reports:?}");
}
