//! Who may ask over AuthZEN: the router itself, with requests as the transport hands them on.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/sidecar.rs"]
mod sidecar;

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use consentd::access::Caller;
use consentd::authzen;
use consentd::clock::Clock;
use consentd::domain::LedgerStanding;
use consentd::enforcer::Enforcer;
use consentd::evidence::{self, Archive, EvidenceLog};
use consentd::ledger::LedgerSource;
use consentd::ledger::file::{self, FileSource};
use consentd::replica::{self, Replica, Running};
use consentd::telemetry::Metrics;
use serde_json::{Value, json};
use sidecar::{Home, eventually, given};
use tower::ServiceExt as _;

/// A sidecar without its listeners.
struct Inside {
    router: axum::Router,
    evidence: EvidenceLog,
    running: Running,
}

impl Inside {
    async fn start(home: &Home) -> Self {
        let clock = Clock::system();
        let (ledger, of_source) = (file::Config::new(home.ledger()), clock.clone());
        let sources = move || -> Box<dyn LedgerSource> { Box::new(FileSource::new(ledger.clone(), of_source.clone())) };
        let config = replica::Config {
            folder: home.path("replica"),
            cache_bytes: 1 << 20,
            store_cache_bytes: 1 << 20,
            secret: [7; 32],
        };
        let (replica, running) = Replica::start(config, Box::new(sources), clock.clone()).expect("threads");
        let following = async || (replica.view().ledger == LedgerStanding::Following).then_some(());
        eventually("the ledger is read", following).await;
        let metrics = Metrics::new().expect("metrics");
        let evidence = EvidenceLog::open(evidence::Config::new(&home.path("evidence")), &clock).expect("a log");
        let enforcer = Enforcer::new(replica, evidence.clone(), metrics.clone(), clock, Duration::ZERO);
        let config = authzen::Config {
            resource_type: "purpose".to_owned(),
            url: None,
            body_bytes_max: 1 << 20,
            batch_max: 100,
            timeout: Duration::from_secs(5),
        };
        Self { router: authzen::router(enforcer, metrics, config), evidence, running }
    }

    /// Asks as somebody, or as nobody.
    async fn ask(&self, caller: Option<&Caller>, path: &str, body: &Value) -> (StatusCode, Value) {
        let request = Request::post(path).header("content-type", "application/json").header("x-request-id", "r");
        let mut request = request.body(Body::from(body.to_string())).expect("a request");
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller.clone());
        }
        let response: Response = self.router.clone().oneshot(request).await.expect("answered");
        assert_eq!(response.headers()["x-request-id"], "r");
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        (status, serde_json::from_slice(&body).expect("JSON"))
    }

    fn stop(self) {
        self.evidence.close().expect("closed");
        self.running.stop();
    }
}

fn about(purpose: &str, channel: &str) -> Value {
    json!({
        "subject": {"type": "crm", "id": "1"},
        "action": {"name": channel},
        "resource": {"type": "purpose", "id": purpose},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_ask_is_refused_and_who_may_is_in_the_evidence() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    let inside = Inside::start(&home).await;
    let mailer = Caller::new("mailer".into(), vec!["newsletter".into()], vec!["email".into()]);
    let mut answered = Vec::new();
    for (path, wrap) in [("/access/v1/evaluation", false), ("/access/v1/evaluations", true)] {
        let asked = |own: Value| if wrap { json!({"evaluations": [own]}) } else { own };
        let (status, body) = inside.ask(None, path, &asked(about("newsletter", "email"))).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert_eq!(body, "the sidecar does not know this caller; name it in `callers`");
        let (status, _) = inside.ask(None, path, &json!("what is malformed is not looked at")).await;
        assert_eq!(status, StatusCode::FORBIDDEN);

        for (purpose, channel) in [("newsletter", "email"), ("newsletter.weekly", "email")] {
            let (status, body) = inside.ask(Some(&mailer), path, &asked(about(purpose, channel))).await;
            assert_eq!(status, StatusCode::OK, "{body}");
            let context = if wrap { &body["evaluations"][0]["context"] } else { &body["context"] };
            answered.push(context["evidence_id"].as_str().expect("evidence").to_owned());
        }
        for (purpose, channel) in [("newsletter", "sms"), ("billing", "email"), ("newsletters", "email"), ("x", "y")] {
            let (status, body) = inside.ask(Some(&mailer), path, &asked(about(purpose, channel))).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{body}");
            let told = format!("the caller `mailer` may not ask about `{purpose}` over `{channel}`; ");
            assert!(body.as_str().expect("a text").starts_with(&told), "{body}");
        }
        // A type that is no purpose is nobody's to ask about who is not trusted with everything.
        let mut order = about("newsletter", "email");
        order["resource"]["type"] = json!("order");
        assert_eq!(inside.ask(Some(&mailer), path, &asked(order)).await.0, StatusCode::FORBIDDEN);
    }
    // One that may not be asked spoils them all: the caller is told, and nothing is answered.
    for list in [[about("newsletter", "email"), about("billing", "email")], [about("x", "y"), json!({})]] {
        let (status, _) = inside.ask(Some(&mailer), "/access/v1/evaluations", &json!({"evaluations": list})).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
    }
    inside.stop();

    let archive = Archive::open(&home.path("evidence")).expect("a log");
    for id in &answered {
        let record = archive.find(&id.parse().expect("an id")).expect("readable").expect("there");
        assert_eq!(record.caller, "mailer");
    }
    let reports = archive.verify(None, None).expect("readable");
    let signed: u64 = reports.iter().filter_map(|report| report.checkpoint.as_ref()).map(|point| point.size).sum();
    assert_eq!(signed, answered.len() as u64, "what was refused was not answered, and has no evidence");
}
