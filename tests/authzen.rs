//! The sidecar as AuthZEN's clients meet it: over HTTP/1.1 and HTTP/2, TCP and Unix socket, with clients that are not ours.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/http.rs"]
mod http;
#[path = "support/sidecar.rs"]
mod sidecar;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use consentd::domain::Position;
use consentd::evidence::Archive;
use consentd::evidence::record::{CallKind, EvidenceRecord};
use consentd::ledger::{LedgerId, Token};
use consentd::proto::v1;
use consentd::proto::v1::Reason;
use http::{Got, Http};
use hyper::{StatusCode, Version};
use serde_json::{Value, json};
use sidecar::{
    Home, PATIENCE, Sidecar, ask, erasure, given, newsletter, now_ms, question, said, token_at, until_reason, withdrawn,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const ONE: &str = "/access/v1/evaluation";
const MANY: &str = "/access/v1/evaluations";
const ON: (&str, &str) = ("authzen.enabled", "true");

/// What is asked of the catalogue that every home begins with.
fn evaluation(subject: &str, purpose: &str, channel: &str) -> Value {
    let (space, id) = subject.split_once(':').expect("`space:id`");
    json!({
        "subject": {"type": space, "id": id},
        "action": {"name": channel},
        "resource": {"type": "purpose", "id": purpose},
    })
}

fn about(subject: &str) -> Value {
    evaluation(subject, "newsletter", "email")
}

/// A value with another member.
fn with(mut value: Value, path: &str, member: Value) -> Value {
    let (object, name) = path.rsplit_once('/').expect("a place");
    value.pointer_mut(object).expect("an object")[name] = member;
    value
}

/// A value without one of its members.
fn without(mut value: Value, path: &str) -> Value {
    let (object, name) = path.rsplit_once('/').expect("a place");
    let object = value.pointer_mut(object).and_then(Value::as_object_mut);
    object.and_then(|object| object.remove(name)).expect("a member");
    value
}

fn decisions(got: &Got) -> Vec<bool> {
    assert_eq!(got.status, StatusCode::OK, "{got:?}");
    let body = got.json();
    assert!(body.get("decision").is_none(), "{body}");
    let items = body["evaluations"].as_array().expect("a list");
    items.iter().map(|item| item["decision"].as_bool().expect("a decision")).collect()
}

fn reason_of(context: &Value) -> &str {
    context["context"]["reason"].as_str().expect("a reason")
}

fn record(home: &Home, id: &str) -> EvidenceRecord {
    let archive = Archive::open(&home.data().join("evidence")).expect("a log");
    archive.find(&id.parse().expect("an id")).expect("readable").expect("evidence of the answer")
}

async fn connect(sidecar: &Sidecar) -> Http {
    Http::tcp(sidecar.tcp, Version::HTTP_11).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_public_certification_scenario_passes() {
    const BASE: &str = "https://pdp.example.com";
    let home = Home::new();
    let channels = r#"["read","write","delete"]"#;
    let purpose = |key| format!(r#"{{"key":"{key}","legalBasis":"LEGAL_BASIS_CONSENT","channels":{channels}}}"#);
    home.append(&format!(
        r#"{{"eventId":"catalogue","eventTime":"2025-01-01T00:00:00Z","catalogue":{{"version":"1","channels":[{{"key":"read"}},{{"key":"write"}},{{"key":"delete"}}],"purposes":[{},{}]}}}}"#,
        purpose("record-1"),
        purpose("record-2"),
    ));
    for (subject, channel) in [("user:alice", "read"), ("user:alice", "write"), ("user:bob", "read")] {
        home.append(&said(subject, "record-1", channel, "GIVEN", now_ms() - 60_000));
    }
    let sidecar = Sidecar::ready(&home, &[ON, ("authzen.resource_type", "record"), ("authzen.url", BASE)]).await;
    let uds = format!("unix:{}", home.uds().display());
    for address in [sidecar.tcp.to_string(), uds] {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/authzen/certification.py");
        let command = async || {
            let mut command = Command::new("python3");
            command.arg(script).args([&*address, BASE]);
            tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("python3 is needed")
        };
        let output = command().await;
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "over {address}:\n{told}{}", String::from_utf8_lossy(&output.stderr));
        assert!(told.ends_with("35 passed, 0 failed\n"), "{told}");
    }
    sidecar.stop().await;
}

/// The four ways in say the same as gRPC, and each answer's evidence is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_those_of_grpc_and_have_evidence() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    home.append(&given("crm:2"));
    home.append(&withdrawn("crm:2"));
    home.append(&given("crm:3"));
    home.append(&erasure("crm:3", now_ms() - 1000));
    let sidecar = Sidecar::ready(&home, &[ON]).await;
    let mut evidence = Vec::new();
    for version in [Version::HTTP_11, Version::HTTP_2] {
        for mut http in [Http::tcp(sidecar.tcp, version).await, Http::uds(&home.uds(), version).await] {
            for (subject, purpose, channel) in [
                ("crm:1", "newsletter", "email"),
                ("crm:2", "newsletter", "email"),
                ("crm:3", "newsletter", "email"),
                ("crm:4", "newsletter", "email"),
                ("crm:1", "newsletter", "sms"),
                ("crm:1", "newsletter", "post"),
                ("crm:1", "newsletter", "fax"),
                ("crm:1", "unheard.of", "email"),
                ("crm:9", "billing", "email"),
                ("crm:9", "analytics", "sms"),
            ] {
                let wanted = ask(&mut sidecar.client(), question(subject, purpose, channel)).await;
                let wanted = wanted.answer.expect("an answer");
                let got = http.post(ONE, &evaluation(subject, purpose, channel)).await;
                assert_eq!(got.decision(), wanted.verdict() == v1::Verdict::Allow, "{subject} {purpose} {channel}");
                let body = got.json();
                let reason = format!("REASON_{}", reason_of(&body));
                assert_eq!(reason, wanted.reason().as_str_name(), "{subject} {purpose} {channel}");
                let context = &body["context"];
                assert_eq!(context.get("valid_until").is_some(), got.decision(), "{body}");
                assert_eq!(context.get("reason_admin").is_some(), !got.decision(), "{body}");
                assert_eq!(got.headers["cache-control"], "no-store");
                evidence.push((context["evidence_id"].as_str().expect("evidence").to_owned(), wanted.reason()));
            }
        }
    }
    sidecar.stop().await;
    assert_eq!(evidence.len(), 40);
    for (id, reason) in evidence {
        let record = record(&home, &id);
        assert_eq!((record.call(), record.reasons().collect::<Vec<_>>()), (CallKind::Authzen, vec![reason]), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_question_is_400_and_names_what_is_wrong() {
    let home = Home::with_catalogue();
    home.append(&given("crm:secret-subject"));
    let sidecar = Sidecar::ready(&home, &[ON]).await;
    let mut http = connect(&sidecar).await;
    let whole = about("crm:secret-subject");
    assert!(http.post(ONE, &whole).await.decision(), "what all others are made from is allowed");

    let mut cases: Vec<(String, String)> = Vec::new();
    for (path, name) in [
        ("/subject", "subject"),
        ("/action", "action"),
        ("/resource", "resource"),
        ("/subject/type", "subject.type"),
        ("/subject/id", "subject.id"),
        ("/action/name", "action.name"),
        ("/resource/type", "resource.type"),
        ("/resource/id", "resource.id"),
    ] {
        cases.push((without(whole.clone(), path).to_string(), format!("`{name}` is missing")));
        let is_entity = !name.contains('.');
        for other in [json!(null), json!(1), json!(true), json!(["crm", "secret-subject"])] {
            let kind = if is_entity { "an object" } else { "a text" };
            cases.push((with(whole.clone(), path, other).to_string(), format!("`{name}` is not {kind}")));
        }
        if !is_entity {
            cases.push((with(whole.clone(), path, json!("")).to_string(), format!("`{name}` is missing")));
        }
    }
    for (path, value, message) in [
        ("/subject/type", json!("CRM"), "`subject.type` is malformed: space: 1 to 64"),
        ("/subject/id", json!("secret-subject\u{7}"), "`subject.id` is malformed: id: 1 to 256"),
        ("/subject/id", json!("s".repeat(257)), "`subject.id` is malformed: id: 1 to 256"),
        ("/subject/properties", json!([]), "`subject.properties` is not an object"),
        ("/action/name", json!("e".repeat(65)), "`action.name` is longer than 64 bytes"),
        ("/resource/id", json!("p".repeat(129)), "`resource.id` is longer than 128 bytes"),
        ("/resource/type", json!("t".repeat(129)), "`resource.type` is longer than 128 bytes"),
        ("/context", json!(null), "`context` is not an object"),
        ("/context", json!({"sec_gpc": 1}), "`context.sec_gpc` is not a text"),
        ("/context", json!({"sec_gpc": true}), "`context.sec_gpc` is not a text"),
        ("/context", json!({"sec_gpc": null}), "`context.sec_gpc` is not a text"),
        ("/context", json!({"sec_gpc": "1".repeat(17)}), "`context.sec_gpc` is longer than 16 bytes"),
        ("/context", json!({"jurisdiction": "Turkey"}), "`context.jurisdiction` is not an ISO 3166 code"),
        ("/context", json!({"time_zone": "Ankara"}), "`context.time_zone` is not an IANA time zone"),
        ("/context", json!({"max_staleness": "soon"}), "`context.max_staleness` is not a span of seconds"),
        ("/context", json!({"max_staleness": "-1s"}), "`context.max_staleness` is not a span of seconds"),
        ("/context", json!({"at_least_as_fresh": "now"}), "`context.at_least_as_fresh` is "),
        (
            "/resource/properties",
            json!({"recipient": "a\tb"}),
            "`resource.properties.recipient` has control characters",
        ),
    ] {
        cases.push((with(whole.clone(), path, value).to_string(), message.to_owned()));
    }
    let twice = with(whole.clone(), "/context", json!({"recipient": "one"}));
    let twice = with(twice, "/action/properties", json!({"recipient": "two"}));
    let message = "`context.recipient` says something else than `action.properties.recipient`";
    cases.push((twice.to_string(), message.to_owned()));
    let text = whole.to_string();
    for (body, message) in [
        (String::new(), "`body` is empty"),
        ("secret-subject".to_owned(), "`body` is not JSON"),
        (text[..text.len() - 1].to_owned(), "`body` is not JSON"),
        (format!("{text}{text}"), "`body` is not JSON"),
        (format!("\u{feff}{text}"), "`body` is not JSON"),
        (format!("[{text}]"), "`body` is not an object"),
        ("null".to_owned(), "`body` is not an object"),
        (text.replacen('{', r#"{"subject":{"type":"crm","id":"other"},"#, 1), "`subject` is there twice"),
        (text.replacen(r#""id""#, r#""\u0069d":"other","id""#, 1), "id` is there twice"),
        (text.replacen("secret-subject", r"\ud800", 1), "`subject.id` is not a text"),
    ] {
        cases.push((body, message.to_owned()));
    }
    assert!(cases.len() > 70, "{}", cases.len());
    for (body, message) in &cases {
        for path in [ONE, MANY] {
            let headers = [("content-type", "application/json"), ("x-request-id", "r-1")];
            let got = http.ask("POST", path, &headers, body.as_bytes()).await;
            assert_eq!(got.status, StatusCode::BAD_REQUEST, "{body}: {got:?}");
            assert!(got.message().contains(message), "{body}: {}", got.message());
            assert!(!got.message().contains("secret"), "{body}: {}", got.message());
            assert_eq!(got.headers["x-request-id"], "r-1");
        }
    }
    let got = http.ask("POST", ONE, &[("content-type", "application/json")], b"\"\xff\"").await;
    assert_eq!(got.message(), "`body` is not JSON");
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_must_be_said_to_be_json() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    let sidecar = Sidecar::ready(&home, &[ON]).await;
    let mut http = connect(&sidecar).await;
    let text = about("crm:1").to_string();
    for types in [
        &[][..],
        &["text/plain"],
        &["application/jsonx"],
        &["application/json", "text/plain"],
        &["application/json", "application/json"],
    ] {
        let headers: Vec<(&str, &str)> = types.iter().map(|own| ("content-type", *own)).collect();
        let got = http.ask("POST", ONE, &headers, text.as_bytes()).await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST, "{types:?}");
        assert!(got.message().starts_with("the header `Content-Type` must be there once"), "{types:?}");
    }
    for own in ["application/json; charset=utf-8", "Application/JSON", " application/json ;x=y"] {
        let got = http.ask("POST", ONE, &[("content-type", own)], text.as_bytes()).await;
        assert!(got.decision(), "{own}");
    }
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_evaluations_take_defaults_whole_and_keep_their_order() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    home.append(&given("crm:2"));
    home.append(&withdrawn("crm:2"));
    let sidecar = Sidecar::ready(&home, &[ON]).await;
    let mut http = connect(&sidecar).await;
    let subject = |id: &str| json!({"subject": {"type": "crm", "id": id}});
    let mut request = about("crm:1");
    request["evaluations"] = json!([
        {},
        subject("2"),
        {"action": {"name": "sms"}},
        {"resource": {"type": "purpose", "id": "billing"}},
        // No merging within an entity: the type is not the default's.
        {"subject": {"id": "1"}},
        "crm:1",
        {"resource": {"type": "order", "id": "newsletter"}},
        {"context": {"sec_gpc": "1, 0"}, "foo": "bar"},
        subject("1"),
    ]);
    let got = http.post(MANY, &request).await;
    assert_eq!(decisions(&got), [true, false, false, true, false, false, false, true, true]);
    let body = got.json();
    let items = body["evaluations"].as_array().expect("a list");
    let reasons: Vec<&str> = items.iter().filter_map(|item| item["context"]["reason"].as_str()).collect();
    let expected = ["CONSENT", "WITHDRAWN", "NO_CONSENT", "CONTRACT", "UNKNOWN_PURPOSE", "CONSENT", "CONSENT"];
    assert_eq!(reasons, expected);
    let errors: Vec<&Value> = items.iter().filter_map(|item| item["context"].get("error")).collect();
    assert_eq!(errors[0], &json!({"status": 400, "message": "`subject.type` is missing"}));
    assert_eq!(errors[1], &json!({"status": 400, "message": "`evaluation` is not an object"}));
    assert_eq!(errors.len(), 2);

    // One leaf for all that were answered, with what differs.
    let id = items[0]["context"]["evidence_id"].as_str().expect("evidence");
    assert!(items.iter().filter_map(|item| item["context"].get("evidence_id")).all(|other| other == id));
    let record = record(&home, id);
    assert_eq!((record.call(), record.reasons.len()), (CallKind::AuthzenBatch, expected.len()));
    let differs = |index: u32| record.overrides.iter().find(|own| own.index == index).expect("it differs");
    assert_eq!(differs(2).channel(), "sms");
    assert_eq!(differs(3).purpose(), "billing");
    assert_eq!(differs(4).purpose(), "type:order", "an id of who knows what is not kept");
    assert_eq!(differs(5).signals.as_ref().expect("a signal").sec_gpc, "1");
    assert_eq!(record.overrides.len(), 4);

    // Nothing to answer is nothing to leave evidence of.
    let got = http.post(MANY, &json!({"evaluations": [{}, 7]})).await;
    assert_eq!(decisions(&got), [false, false]);
    // A default that is malformed is nobody's own.
    let wrong = json!({"subject": "crm:1", "evaluations": [about("crm:1")]});
    assert_eq!(http.post(MANY, &wrong).await.message(), "`subject` is not an object");
    for list in [json!(null), json!({}), json!("x")] {
        let got = http.post(MANY, &with(about("crm:1"), "/evaluations", list)).await;
        assert_eq!(got.message(), "`evaluations` is not a list");
    }
    // A single evaluation takes no list, as nothing that it does not know.
    assert!(http.post(ONE, &request).await.decision());
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_short_semantics_end_at_what_decides() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    let sidecar = Sidecar::ready(&home, &[ON]).await;
    let mut http = connect(&sidecar).await;
    let (yes, no, wrong) = (about("crm:1"), about("crm:2"), json!({}));
    let (all, deny, permit) = ("execute_all", "deny_on_first_deny", "permit_on_first_permit");
    for (semantic, list, expected) in [
        (all, vec![&yes, &no, &yes], vec![true, false, true]),
        (deny, vec![&yes, &no, &yes], vec![true, false]),
        (deny, vec![&yes, &wrong, &yes], vec![true, false]),
        (deny, vec![&wrong, &yes], vec![false]),
        (deny, vec![&yes, &yes], vec![true, true]),
        (permit, vec![&yes, &no, &yes], vec![true]),
        (permit, vec![&no, &wrong, &yes, &no], vec![false, false, true]),
        (permit, vec![&wrong, &no], vec![false, false]),
        (permit, vec![&wrong], vec![false]),
    ] {
        let options = json!({"evaluations_semantic": semantic, "another_option": "value"});
        let got = http.post(MANY, &json!({"options": options, "evaluations": list})).await;
        assert_eq!(decisions(&got), expected, "{semantic} {list:?}");
        let body = got.json();
        let items = body["evaluations"].as_array().expect("a list");
        let answered: Vec<&Value> = items.iter().filter_map(|item| item["context"].get("evidence_id")).collect();
        let Some(id) = answered.first().and_then(|id| id.as_str()) else { continue };
        assert_eq!(
            record(&home, id).reasons.len(),
            answered.len(),
            "what is reported is in evidence, and nothing else"
        );
    }
    for options in [json!(null), json!({"evaluations_semantic": "EXECUTE_ALL"}), json!({"evaluations_semantic": null})]
    {
        let got = http.post(MANY, &json!({"options": options, "evaluations": [yes]})).await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST, "{options}");
        assert!(got.message().starts_with("`options"), "{options}");
    }
    sidecar.stop().await;
}

/// As many as a batch may have, which are answered beside the threads that serve.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_evaluations_are_one_call() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    let sidecar = Sidecar::ready(&home, &[ON]).await;
    let mut http = connect(&sidecar).await;
    let own = |place: usize| json!({"subject": {"type": "crm", "id": if place % 100 == 7 { "1" } else { "2" }}});
    let mut request = without(about("crm:1"), "/subject");
    request["evaluations"] = (0..10_000).map(own).collect();
    for (semantic, expected) in [("execute_all", 10_000), ("permit_on_first_permit", 8), ("deny_on_first_deny", 1)] {
        request["options"] = json!({"evaluations_semantic": semantic});
        let got = http.post(MANY, &request).await;
        let decisions = decisions(&got);
        assert_eq!(decisions.len(), expected, "{semantic}");
        assert!(decisions.iter().enumerate().all(|(place, decision)| *decision == (place % 100 == 7)), "{semantic}");
        let id = got.json()["evaluations"][0]["context"]["evidence_id"].as_str().expect("evidence").to_owned();
        assert_eq!(record(&home, &id).reasons.len(), expected, "{semantic}");
    }
    sidecar.stop().await;
}

/// A withdrawal's token, and the bound of a view's age, narrow what is answered, and hold for a whole request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn freshness_is_as_it_is_over_grpc() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    let sidecar = Sidecar::ready(&home, &[ON, ("ledger.poll_interval", "200ms")]).await;
    let mut http = connect(&sidecar).await;
    let in_context = |name: &str, text: &str| with(about("crm:1"), "/context", json!({ name: text }));

    let token = http.post(ONE, &about("crm:1")).await.json()["context"]["ledger_token"].clone();
    let token = token.as_str().expect("a token").to_owned();
    let end = home.append(&withdrawn("crm:1"));
    let withdrawal = token_at(&token, end);
    let got = http.post(ONE, &in_context("at_least_as_fresh", &withdrawal)).await;
    assert_eq!(reason_of(&got.json()), "WITHDRAWN", "the answer waits for the withdrawal");

    let later = token_at(&token, end + 1_000_000);
    let began = Instant::now();
    let got = http.post(ONE, &in_context("at_least_as_fresh", &later)).await;
    assert_eq!((got.decision(), reason_of(&got.json())), (false, "STALE"));
    assert!(began.elapsed() >= Duration::from_millis(400), "it was waited for");
    let foreign = Token { ledger: LedgerId([9; 8]), position: Position(1) }.to_string();
    let got = http.post(ONE, &in_context("at_least_as_fresh", &foreign)).await;
    assert_eq!(reason_of(&got.json()), "FOREIGN_TOKEN");

    // Of several the latest, wherever it stands.
    let billing = evaluation("crm:1", "billing", "email");
    let of_billing = |place: &str, name: &str, text: &str| with(billing.clone(), place, json!({ name: text }));
    let early = of_billing("/context", "at_least_as_fresh", &token);
    let late = of_billing("/action/properties", "at_least_as_fresh", &later);
    for list in [[&early, &late], [&late, &early]] {
        let got = http.post(MANY, &json!({"evaluations": list})).await;
        assert_eq!(decisions(&got), [false, false]);
        assert!(got.json()["evaluations"].as_array().expect("a list").iter().all(|own| reason_of(own) == "STALE"));
    }
    let elsewhere = of_billing("/context", "at_least_as_fresh", &foreign);
    let got = http.post(MANY, &json!({"evaluations": [early, elsewhere]})).await;
    assert_eq!(got.status, StatusCode::BAD_REQUEST);
    assert!(got.message().contains("two ledgers"), "{}", got.message());

    // The strictest bound, which is in the evidence.
    let strict = of_billing("/resource/properties", "max_staleness", "0s");
    let loose = of_billing("/context", "max_staleness", "3600s");
    let got = http.post(MANY, &json!({"evaluations": [loose, billing, strict]})).await;
    assert_eq!(decisions(&got), [false, false, false]);
    let id = got.json()["evaluations"][1]["context"]["evidence_id"].as_str().expect("evidence").to_owned();
    let record = record(&home, &id);
    assert_eq!(record.max_staleness.expect("a bound").seconds, 0);
    assert!(record.overrides.is_empty(), "{:?}", record.overrides);
    assert!(http.post(ONE, &loose).await.decision());
    sidecar.stop().await;
}

/// Words of ours are read wherever a client can put them, and are in the evidence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recipient_jurisdiction_and_signals_are_read_wherever_they_stand() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    let sidecar = Sidecar::ready(&home, &[ON]).await;
    let mut http = connect(&sidecar).await;
    for place in ["/subject/properties", "/action/properties", "/resource/properties", "/context"] {
        let words = json!({"recipient": "partner.example", "jurisdiction": "TR", "time_zone": "Asia/Calcutta", "sec_gpc": "0,1", "tcf": "CP-tcf", "gpp": "DB-gpp"});
        let headers = [
            ("content-type", "application/json"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ];
        let body = with(about("crm:1"), place, words).to_string();
        let got = http.ask("POST", ONE, &headers, body.as_bytes()).await;
        assert!(!got.decision(), "{place}: consent to us is none to a recipient");
        let record = record(&home, got.json()["context"]["evidence_id"].as_str().expect("evidence"));
        assert_eq!((&*record.recipient, &*record.jurisdiction), ("partner.example", "TR"), "{place}");
        assert_eq!((&*record.purpose, &*record.channel), ("newsletter", "email"), "{place}");
        assert_eq!(&*record.time_zone, "Asia/Calcutta", "{place}");
        let signals = record.signals.expect("signals");
        assert_eq!((&*signals.sec_gpc, signals.tcf_digest.len(), signals.gpp_digest.len()), ("1", 16, 16), "{place}");
        assert_eq!(record.trace_id[..2], [0x0a, 0xf7], "{place}");
    }
    // The same in two places is no contradiction.
    let both = with(about("crm:1"), "/context", json!({"recipient": ""}));
    let both = with(both, "/action/properties", json!({"recipient": ""}));
    assert!(http.post(ONE, &both).await.decision());
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_answered_and_the_connection_lives_or_says_that_it_does_not() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    let settings = [ON, ("server.max_message_bytes", "64KiB"), ("server.max_batch", "3")];
    let sidecar = Sidecar::ready(&home, &settings).await;
    let id = [("content-type", "application/json"), ("x-request-id", "one"), ("x-request-id", "two")];
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let mut http = Http::tcp(sidecar.tcp, version).await;
        let got = http.post(MANY, &json!({"evaluations": [{}, {}, {}, {}]})).await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST);
        assert_eq!(got.message(), "`evaluations` has 4, allowed are 3");
        let full = about("crm:1").to_string();
        let padded = format!("{full}{}", " ".repeat((64 << 10) - full.len()));
        assert!(http.ask("POST", ONE, &id, padded.as_bytes()).await.decision(), "a full one is taken");
        for (method, path, body, status) in [
            ("POST", ONE, format!("{padded} "), StatusCode::PAYLOAD_TOO_LARGE),
            ("GET", ONE, String::new(), StatusCode::METHOD_NOT_ALLOWED),
            ("POST", "/access/v1/search/subject", full.clone(), StatusCode::NOT_FOUND),
            ("GET", "/.well-known/authzen-configuration", String::new(), StatusCode::NOT_FOUND),
        ] {
            let mut http = Http::tcp(sidecar.tcp, version).await;
            let got = http.ask(method, path, &id, body.as_bytes()).await;
            assert_eq!(got.status, status, "{method} {path}");
            let ids: Vec<_> = got.headers.get_all("x-request-id").iter().collect();
            assert_eq!(ids, ["one", "two"], "{method} {path}");
            let closes = got.headers.get("connection").is_some_and(|value| value == "close");
            assert_eq!(closes, version == Version::HTTP_11, "{method} {path}");
        }
        let got = http.ask("POST", ONE, &[("content-type", "text/plain")], full.as_bytes()).await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST);
        assert!(http.post(ONE, &about("crm:1")).await.decision(), "the connection is of use after a refusal");
    }
    sidecar.stop().await;
}

/// Who sends a request slowly, or half of it, is answered in time and holds nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_does_not_end_is_answered_in_time() {
    let home = Home::with_catalogue();
    let settings = [ON, ("server.request_timeout", "1s"), ("server.max_in_flight", "1")];
    let sidecar = Sidecar::ready(&home, &settings).await;
    let mut stream = TcpStream::connect(sidecar.tcp).await.expect("connected");
    let head = "POST /access/v1/evaluation HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-request-id: slow\r\ncontent-length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut told = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut told)).await.expect("in time").expect("read");
    assert!(told.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{told}");
    assert!(told.contains("\r\nx-request-id: slow\r\n") && told.contains("\r\nconnection: close\r\n"), "{told}");
    assert!(told.ends_with("\r\n\r\n\"there was no answer in time; nothing is permitted, ask again\""), "{told}");
    assert!(!connect(&sidecar).await.post(ONE, &about("crm:1")).await.decision(), "its place is free again");
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_evidence_nothing_is_permitted() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    Sidecar::ready(&home, &[]).await.stop().await;
    sidecar::write_file(&home.data().join("evidence/instance"), b"not a name");
    let sidecar = Sidecar::start(&home, &[ON]).await;
    until_reason(&sidecar.client(), &newsletter("crm:1"), Reason::EvidenceUnavailable).await;
    let mut http = connect(&sidecar).await;
    let got = http.post(ONE, &about("crm:1")).await;
    assert_eq!((got.decision(), reason_of(&got.json())), (false, "EVIDENCE_UNAVAILABLE"));
    assert!(got.json()["context"].get("evidence_id").is_none());
    let list = [about("crm:1"), json!({}), about("crm:1")];
    for (semantic, count) in [("execute_all", 3), ("deny_on_first_deny", 1), ("permit_on_first_permit", 3)] {
        let request = json!({"options": {"evaluations_semantic": semantic}, "evaluations": list});
        let got = http.post(MANY, &request).await;
        assert_eq!(decisions(&got), vec![false; count], "{semantic}");
    }
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_is_told_of_the_configured_address_only() {
    const PATH: &str = "/.well-known/authzen-configuration";
    let home = Home::with_catalogue();
    for (base, found, missing) in [
        ("https://pdp.example.com", "", "/tenant1"),
        ("https://pdp.example.com:8443/tenant1", "/tenant1", ""),
        ("https://pdp.example.com/a/:b/*c", "/a/:b/*c", "/a"),
    ] {
        let sidecar = Sidecar::ready(&home, &[ON, ("authzen.url", base)]).await;
        let mut http = connect(&sidecar).await;
        let got = http.ask("GET", &format!("{PATH}{found}"), &[], b"").await;
        assert_eq!(got.status, StatusCode::OK, "{base}");
        let wanted = json!({
            "policy_decision_point": base,
            "access_evaluation_endpoint": format!("{base}{ONE}"),
            "access_evaluations_endpoint": format!("{base}{MANY}"),
        });
        assert_eq!(got.json(), wanted);
        let got = http.ask("GET", &format!("{PATH}{missing}"), &[], b"").await;
        assert_eq!(got.status, StatusCode::NOT_FOUND, "{base}");
        sidecar.stop().await;
    }
}

/// Without AuthZEN there is no HTTP/1.1, and its paths are gRPC's to refuse.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_off_unless_it_is_switched_on() {
    let home = Home::with_catalogue();
    let sidecar = Sidecar::ready(&home, &[]).await;
    let got = Http::tcp(sidecar.tcp, Version::HTTP_2).await.post(ONE, &about("crm:1")).await;
    assert_eq!(got.headers["grpc-status"], "12", "{got:?}");
    assert_eq!(got.body, "");
    let mut stream = TcpStream::connect(sidecar.tcp).await.expect("connected");
    stream.write_all(b"POST /access/v1/evaluation HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    let mut told = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut told)).await.expect("it is closed");
    assert!(read.is_err() || !told.starts_with(b"HTTP/1"), "{told:?}");
    sidecar.stop().await;
}

/// Whether a value has all that another has.
fn has(value: &Value, wanted: &Value) -> bool {
    match (value, wanted) {
        (Value::Object(value), Value::Object(wanted)) => {
            wanted.iter().all(|(name, own)| value.get(name).is_some_and(|value| has(value, own)))
        }
        (Value::Array(value), Value::Array(wanted)) => {
            value.len() == wanted.len() && value.iter().zip(wanted).all(|(value, wanted)| has(value, wanted))
        }
        (value, wanted) => value == wanted,
    }
}

/// A process that ends with its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the document shows is what the quickstart answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_the_document_are_answered_as_they_are_shown() {
    const DOCUMENT: &str = include_str!("../docs/authzen.md");
    let home = Home::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_consentd"));
    command.args(["quickstart", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0"]).env_clear();
    let child = command.current_dir(home.path("")).stdout(Stdio::piped()).spawn().expect("started");
    let mut quickstart = Killed(child);
    let mut lines = BufReader::new(quickstart.0.stdout.take().expect("piped")).lines();
    let serving = lines.find_map(|line| line.expect("text").strip_prefix("Serving on ").map(str::to_owned));
    let serving = serving.expect("it serves");
    let address = serving.split([' ', ',']).next().expect("an address").trim_end_matches('.').parse();
    let mut http = Http::tcp(address.expect("an address"), Version::HTTP_11).await;
    let mut shown = 0;
    for block in DOCUMENT.split("```sh\ncurl http://127.0.0.1:7311").skip(1) {
        let (path, rest) = block.split_once(" -H 'content-type: application/json' -d '").expect("a request");
        let (request, rest) = rest.split_once("'\n```\n\n```json\n").expect("an answer");
        let (answer, _) = rest.split_once("```").expect("its end");
        let wanted: Value = serde_json::from_str(answer).expect("JSON");
        let got = http.post(path, &serde_json::from_str(request).expect("JSON")).await;
        assert!(has(&got.json(), &wanted), "{path} {request}: {}", got.json());
        shown += 1;
    }
    assert_eq!(shown, 3);
}
