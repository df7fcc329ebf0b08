//! No raw identifier at rest or on display (P6): whatever is asked, and whatever is wrong with it, the identifiers stand
//! nowhere but in the ledger.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/collector.rs"]
mod collector;
#[path = "support/http.rs"]
mod http;
#[path = "support/sidecar.rs"]
mod sidecar;

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;
use std::time::Duration;

use collector::{Collector, Mood};
use consentd::proto::foreign::envoy::service::auth::v3::attribute_context::{self, HttpRequest};
use consentd::proto::foreign::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use consentd::proto::foreign::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use consentd::proto::v1;
use consentd::proto::v1::Reason;
use data_encoding::{BASE32, BASE64, BASE64URL, HEXLOWER, HEXUPPER};
use http::Http;
use hyper::Version;
use serde_json::json;
use sidecar::{
    Client, Home, Process, append, ask, batch_question, erasure, files, given, link, newsletter, now_ms, page, said,
    token_at, unreadable, until_reason, until_serving, withdrawn, write_file,
};
use tonic::transport::Channel;
use tonic::{Request, Status};

/// Recognisable identifiers, each of which goes another way.
const KNOWN: &str = "ayse.yilmaz.7711@example.org";
const LINKED: &str = "+905321234567";
const WITHDRAWN: &str = "mehmet.demir.8822@example.org";
const ERASED: &str = "zeynep.kaya.9933@example.org";
const UNREADABLE: &str = "ali.veli.4455@example.org";
const BROKEN: &str = "fatma.celik.5566@example.org";
const UNKNOWN: &str = "nobody.at.all.6677@example.org";
const MALFORMED: &str = "hatice.sahin.3344@example.org";

const ALL: [&str; 8] = [KNOWN, LINKED, WITHDRAWN, ERASED, UNREADABLE, BROKEN, UNKNOWN, MALFORMED];

/// The ways in which an identifier could be read again by whoever finds it: plainly, without case, encoded. Of base64
/// the three texts that it can have inside a longer one, without the characters that its neighbours have a part in.
fn forms(id: &str) -> Vec<Vec<u8>> {
    let lower = id.to_ascii_lowercase();
    let mut forms = vec![
        id.as_bytes().to_vec(),
        id.to_ascii_uppercase().into_bytes(),
        HEXLOWER.encode(id.as_bytes()).into_bytes(),
        HEXUPPER.encode(id.as_bytes()).into_bytes(),
        BASE32.encode(&id.as_bytes()[..id.len() / 5 * 5]).into_bytes(),
        lower.replace('@', "%40").replace('+', "%2B").into_bytes(),
        // As `Debug` prints bytes.
        id.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ").into_bytes(),
        lower.chars().rev().collect::<String>().into_bytes(),
        // UTF-16.
        id.encode_utf16().flat_map(u16::to_le_bytes).collect(),
    ];
    for shift in 0..3 {
        let start = (3 - shift) % 3;
        let inner = &id.as_bytes()[start..start + (id.len() - start) / 3 * 3];
        forms.push(BASE64.encode(inner).into_bytes());
        forms.push(BASE64URL.encode(inner).into_bytes());
    }
    forms
}

/// Every form of every identifier, without case, by its first two bytes.
struct Forms {
    begins: Vec<bool>,
    all: Vec<(&'static str, Vec<u8>)>,
}

impl Forms {
    fn new() -> Self {
        let mut begins = vec![false; 1 << 16];
        let mut all = Vec::new();
        for id in ALL {
            for form in forms(id) {
                let form = form.to_ascii_lowercase();
                begins[usize::from(u16::from_be_bytes([form[0], form[1]]))] = true;
                all.push((id, form));
            }
        }
        Self { begins, all }
    }
}

/// Where an identifier stands in these bytes, in whatever form.
fn find(bytes: &[u8]) -> Option<String> {
    static FORMS: LazyLock<Forms> = LazyLock::new(Forms::new);
    let bytes = bytes.to_ascii_lowercase();
    let begins = |pair: &[u8]| FORMS.begins[usize::from(u16::from_be_bytes([pair[0], pair[1]]))];
    let candidates = bytes.windows(2).enumerate().filter(|(_, pair)| begins(pair)).map(|(at, _)| at);
    candidates.into_iter().find_map(|at| {
        let (id, form) = FORMS.all.iter().find(|(_, form)| bytes[at..].starts_with(form))?;
        Some(format!("byte {at}: `{}`, which is `{id}`", String::from_utf8_lossy(form)))
    })
}

fn assert_clean(what: &str, bytes: &[u8]) {
    let found = find(bytes);
    assert_eq!(found, None, "{what}");
}

#[test]
fn the_search_finds_what_it_looks_for() {
    for id in ALL {
        for text in [
            format!("before {id} after"),
            BASE64.encode(format!("x{id}y").as_bytes()),
            BASE64.encode(format!("xx{id}").as_bytes()),
            BASE64.encode(format!("xxx{id}yy").as_bytes()),
            HEXLOWER.encode(format!("crm:{id}").as_bytes()),
            format!("{:?}", id.as_bytes()),
        ] {
            assert!(find(text.as_bytes()).is_some(), "`{text}` was not found");
        }
    }
    assert_eq!(find(b"somebody else"), None);
}

fn write_ledger(home: &Home) {
    let now = now_ms();
    let crm = |id: &str| format!("crm:{id}");
    home.append(&given(&crm(KNOWN)));
    home.append(&link(&crm(KNOWN), &format!("phone:{LINKED}"), now));
    home.append(&withdrawn(&crm(WITHDRAWN)));
    home.append(&given(&crm(ERASED)));
    home.append(&erasure(&crm(ERASED), now));
    home.append(&unreadable(&crm(UNREADABLE), now));
    // Broken in every way: a wrong value, a cut line, no JSON at all, a field's name, an event's id, a wrong place.
    home.append(&given(&crm(BROKEN)).replace("CONSENT_STATUS_GIVEN", BROKEN));
    home.append(&given(&crm(BROKEN)).replace("\"newsletter\"", &format!("\"{BROKEN}\"")));
    home.append(&given(&crm(BROKEN)).replace("legalBasis", BROKEN));
    home.append(&given(&crm(BROKEN)).replace("eventTime\":\"", &format!("eventTime\":\"{BROKEN}")));
    home.append(&given(&format!("crm:{BROKEN}\\u0000")));
    home.append(&given(&format!("Not A Space:{BROKEN}")));
    home.append(&link(&crm(BROKEN), &crm(BROKEN), now));
    let cut = given(&crm(BROKEN));
    home.append(&cut[..cut.len() - 20]);
    home.append(BROKEN);
    home.append(&format!("{{\"{BROKEN}\": {{\"{BROKEN}\": [\"{BROKEN}\"]}}}}"));
    append(&home.ledger(), &[&b"\xff\xfe"[..], BROKEN.as_bytes(), b"\n"].concat());
}

/// Every malformed question that an identifier can stand in.
async fn malformed(client: &mut Client) -> Vec<Status> {
    let mut refused = Vec::new();
    let with = |spoil: fn(&mut v1::Question)| {
        let mut question = newsletter(&format!("crm:{MALFORMED}"));
        spoil(&mut question);
        Some(question)
    };
    let questions = [
        with(|q| q.subject = Some(v1::Subject { space: MALFORMED.into(), id: MALFORMED.into() })),
        with(|q| q.subject = Some(v1::Subject { space: "crm".into(), id: MALFORMED.repeat(12) })),
        with(|q| q.subject = Some(v1::Subject { space: "crm".into(), id: format!("{MALFORMED}\n") })),
        with(|q| q.purpose = String::new()),
        with(|q| q.purpose = format!("{MALFORMED}\n")),
        with(|q| q.channel = MALFORMED.repeat(5)),
        with(|q| q.recipient = format!("\t{MALFORMED}")),
        with(|q| q.jurisdiction = MALFORMED.into()),
        with(|q| q.at_least_as_fresh = MALFORMED.into()),
        with(|q| q.signals = Some(v1::Signals { sec_gpc: MALFORMED.into(), ..v1::Signals::default() })),
    ];
    for question in questions {
        let own = question.as_ref().and_then(|question| question.subject.clone());
        let unary = client.may_process(v1::MayProcessRequest { question: question.clone() }).await;
        refused.push(unary.expect_err("malformed"));
        let explained =
            client.explain(v1::ExplainRequest { question: question.clone(), ..v1::ExplainRequest::default() }).await;
        refused.push(explained.expect_err("malformed"));
        let question = question.expect("one");
        let context = v1::Context {
            purpose: question.purpose,
            channel: question.channel,
            recipient: question.recipient,
            jurisdiction: question.jurisdiction,
            at_least_as_fresh: question.at_least_as_fresh,
            signals: question.signals,
            ..v1::Context::default()
        };
        let questions = vec![v1::BatchQuestion { subject: own, ..v1::BatchQuestion::default() }];
        let batch = v1::MayProcessBatchRequest { context: Some(context.clone()), questions: questions.clone() };
        refused.push(client.may_process_batch(batch).await.expect_err("malformed"));
        let chunk = v1::MayProcessStreamRequest { context: Some(context), questions };
        let mut stream = client.may_process_stream(tokio_stream::once(chunk)).await.expect("begun").into_inner();
        refused.push(stream.message().await.expect_err("malformed"));
    }
    refused
}

/// Checks of Envoy about everybody, well-formed and malformed, from every place where an identifier can stand.
async fn check_everything(channel: Channel) -> Vec<CheckResponse> {
    let mut client = AuthorizationClient::new(channel);
    let mut answered = Vec::new();
    for id in ALL {
        let texts =
            [format!("crm:{id}"), format!("phone:{id}"), id.to_owned(), format!("CRM:{id}"), format!("crm:{id}\n")];
        for text in texts {
            for (path, name) in [
                (format!("/users/{text}"), "x-nothing"),
                (format!("/users/{text}/../{text};a=b"), "x-nothing"),
                (format!("/?user={text}"), "x-nothing"),
                (format!("/?user={text}&user={text}"), "x-nothing"),
                (format!("/?user={text}%zz"), "x-nothing"),
                ("/".to_owned(), "x-user"),
                ("/".to_owned(), "sec-gpc"),
                ("/".to_owned(), "x-tcf"),
                ("/".to_owned(), "x-token"),
                ("/".to_owned(), "traceparent"),
            ] {
                let mut headers: HashMap<String, String> = [(name.to_owned(), text.clone())].into();
                if path == "/" && name != "x-user" {
                    headers.insert("x-user".to_owned(), format!("crm:{id}"));
                }
                let http = HttpRequest { headers, path, header_map: None };
                let request = Some(attribute_context::Request { http: Some(http) });
                let attributes = Some(AttributeContext { request, ..AttributeContext::default() });
                let response = client.check(CheckRequest { attributes }).await.expect("a check is answered");
                answered.push(response.into_inner());
            }
        }
    }
    answered
}

/// Every well-formed way to ask about everybody.
async fn ask_everything(client: &mut Client) {
    let subjects: Vec<String> =
        ALL.iter().map(|id| if *id == LINKED { format!("phone:{id}") } else { format!("crm:{id}") }).collect();
    let token = ask(client, newsletter(&subjects[0])).await.view.expect("a view").ledger_token;
    for subject in &subjects {
        ask(client, newsletter(subject)).await;
        let waits = v1::Question { at_least_as_fresh: token_at(&token, 1 << 40), ..newsletter(subject) };
        ask(client, waits).await;
        // A caller may put an identifier where none belongs; texts of signals are kept as fingerprints only.
        let signals = v1::Signals { tcf: subject.clone(), gpp: subject.clone(), ..v1::Signals::default() };
        ask(client, v1::Question { signals: Some(signals), ..newsletter(subject) }).await;
        let mut traced = Request::new(v1::MayProcessRequest { question: Some(newsletter(subject)) });
        for (name, value) in [
            ("traceparent", subject.clone()),
            ("tracestate", format!("a={subject}")),
            ("baggage", format!("b={subject}")),
        ] {
            traced.metadata_mut().insert(name, value.parse().expect("ASCII"));
        }
        client.may_process(traced).await.expect("answered");
        client
            .explain(v1::ExplainRequest { question: Some(newsletter(subject)), ..v1::ExplainRequest::default() })
            .await
            .expect("answered");
        let mut gone = Request::new(v1::MayProcessRequest { question: Some(newsletter(subject)) });
        gone.set_timeout(Duration::from_micros(1));
        let _ = client.may_process(gone).await;
    }
    let context = v1::Context { purpose: "newsletter".into(), channel: "email".into(), ..v1::Context::default() };
    let questions: Vec<_> = subjects.iter().map(|subject| batch_question(subject)).collect();
    let batch = v1::MayProcessBatchRequest { context: Some(context.clone()), questions: questions.clone() };
    client.may_process_batch(batch).await.expect("answered");
    let chunk = v1::MayProcessStreamRequest { context: Some(context), questions };
    let mut stream = client.may_process_stream(tokio_stream::once(chunk)).await.expect("begun").into_inner();
    while stream.message().await.expect("answered").is_some() {}
}

/// The same over AuthZEN, with identifiers where a client could put them; nothing that comes back has one in it.
async fn ask_as_authzen(http: &mut Http) {
    const ONE: &str = "/access/v1/evaluation";
    let about = |id: &str| {
        json!({
            "subject": {"type": "crm", "id": id, "properties": {"name": id}},
            "action": {"name": "email", "properties": {"to": id}},
            "resource": {"type": "purpose", "id": "newsletter"},
            "context": {"tcf": id, "user": id},
            id: id,
        })
    };
    let mut asked = Vec::new();
    for id in ALL {
        asked.push(about(id));
        for (place, value) in [
            ("/resource", json!({"type": "person", "id": id})),
            ("/subject", json!({"type": id, "id": id})),
            ("/subject", json!([id])),
            ("/subject/id", json!(id.repeat(12))),
            ("/subject/id", json!({ id: id })),
            ("/action", json!(id)),
            ("/action/name", json!([id])),
            ("/resource/id", json!(format!("{id}\n"))),
            ("/context", json!(id)),
            ("/context", json!({"jurisdiction": id})),
            ("/context", json!({"max_staleness": id})),
            ("/context", json!({"at_least_as_fresh": id})),
        ] {
            let mut spoilt = about(id);
            *spoilt.pointer_mut(place).expect("there") = value;
            asked.push(spoilt);
        }
    }
    for body in &asked {
        let got = http.post(ONE, body).await;
        assert_clean("a response", &got.body);
        let text = body.to_string();
        let headers = [("content-type", "application/json")];
        let got = http.ask("POST", ONE, &headers, &text.as_bytes()[..text.len() - 1]).await;
        assert_eq!(got.status.as_u16(), 400);
        assert_clean("a response", &got.body);
    }
    let got = http.post("/access/v1/evaluations", &json!({"evaluations": asked})).await;
    assert_eq!(got.status.as_u16(), 200);
    assert_clean("a response", &got.body);
}

async fn identifiers_stay_in_the_ledger(format: &str) {
    let home = Home::with_catalogue();
    write_ledger(&home);
    let collector = Collector::start(Mood::Takes).await;
    let endpoint = collector.endpoint();
    let settings = [
        ("telemetry.otlp_endpoint", endpoint.as_str()),
        ("telemetry.trace_ratio", "1"),
        ("telemetry.metrics_interval", "1s"),
        ("log.level", "trace"),
        ("log.format", format),
        ("admin.tcp", "127.0.0.1:0"),
        ("server.tcp", "127.0.0.1:0"),
        ("authzen.enabled", "true"),
        ("replica.max_wait", "20ms"),
        ("evidence.segment_bytes", "1MiB"),
        ("ext_authz.subject", "path:/users/{subject}, query:user, header:x-user"),
        ("ext_authz.purpose", "value:newsletter"),
        ("ext_authz.channel", "value:email"),
        ("ext_authz.tcf", "header:x-tcf"),
        ("ext_authz.at_least_as_fresh", "header:x-token"),
    ];
    // Twice, so that a store is opened as well as built; and once more after it was damaged.
    for round in 0..3 {
        if round == 2 {
            write_file(&home.data().join("replica/db"), ALL.join(" ").as_bytes());
        }
        let mut process = Process::spawn(&home, &settings);
        let channel = process.connect().await;
        until_serving(&channel).await;
        let mut client = Client::new(channel.clone());
        until_reason(&client, &newsletter(&format!("phone:{LINKED}")), Reason::Consent).await;
        ask_everything(&mut client).await;
        home.append(&said(&format!("crm:{KNOWN}"), "newsletter", "email", "RENEWED", now_ms()));
        ask_as_authzen(&mut Http::uds(&home.uds(), Version::HTTP_11).await).await;
        for status in malformed(&mut client).await {
            assert_clean("a status", format!("{status:?}").as_bytes());
        }
        let mut reasons = HashSet::new();
        for response in check_everything(channel).await {
            assert_clean("an answer to Envoy", format!("{response:?}").as_bytes());
            reasons.extend(response.status.map(|status| status.message));
        }
        for reason in ["MALFORMED_QUESTION", "WITHDRAWN", "UNKNOWN_SUBJECT", "SIGNAL_UNREADABLE", ""] {
            assert!(reasons.contains(reason), "never `{reason}`: {reasons:?}");
        }
        let admin = home.admin();
        for path in ["/metrics", "/readyz", "/livez"] {
            let (status, body) = page(admin, path);
            assert_eq!(status, 200, "{path}: {body}");
            assert_clean(path, body.as_bytes());
        }
        process.terminate();
        assert_eq!(process.ended().await.code(), Some(0));
    }
    assert!(collector.spans().len() > 100 && collector.metrics().is_some(), "traces and metrics are sent");
    assert_clean("traces and metrics", &collector.bytes());

    // What the test wrote itself into the damaged store is the set-aside folder's only file with identifiers.
    std::fs::remove_file(home.data().join("replica.set-aside/db")).expect("the damaged store was set aside");

    let log = std::fs::read(home.log()).expect("a log");
    let text = String::from_utf8_lossy(&log);
    assert!(text.contains("cannot be read; it is quarantined"), "the log tells of broken lines");
    assert_clean("the log", &log);
    let files = files(&home.data());
    for part in ["replica/db", "log/"] {
        assert!(files.iter().any(|file| file.to_string_lossy().contains(part)), "no `{part}` among {files:?}");
    }
    for file in files {
        let name = file.display().to_string();
        assert_clean("a file's name", name.as_bytes());
        assert_clean(&name, &std::fs::read(&file).expect("read"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identifiers_stay_in_the_ledger_with_logs_as_text() {
    identifiers_stay_in_the_ledger("text").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identifiers_stay_in_the_ledger_with_logs_as_json() {
    identifiers_stay_in_the_ledger("json").await;
}
