//! Who may ask the real sidecar, by what their connection proves, and what becomes of everybody else.

#![allow(clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

#[path = "support/sidecar.rs"]
mod sidecar;
#[path = "support/tls.rs"]
mod tls;

use consentd::evidence::Archive;
use consentd::proto::v1::{self, Reason};
use sidecar::{
    Client, Home, SERVICE, Sidecar, ask, batch_question, connect_uds, given, health, newsletter, page, question,
};
use tls::{Authority, Files, borrowed, connect};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::ServingStatus;

/// The header in which a proxy says for whom it asks.
const FORWARDED: &str = "x-forwarded-client-cert";

/// The statuses of all four calls, each with a question that could be answered.
async fn refusals(channel: &Channel, question: &v1::Question) -> Vec<Status> {
    let mut client = Client::new(channel.clone());
    let (purpose, over) = (question.purpose.clone(), question.channel.clone());
    let context = v1::Context { purpose, channel: over, ..v1::Context::default() };
    let asked = || Some(question.clone());
    let questions = vec![batch_question("crm:1")];
    let batch = v1::MayProcessBatchRequest { context: Some(context.clone()), questions: questions.clone() };
    let message = v1::MayProcessStreamRequest { context: Some(context), questions };
    let streamed = match client.may_process_stream(tokio_stream::once(message)).await {
        Ok(answers) => answers.into_inner().message().await.map(drop),
        Err(status) => Err(status),
    };
    let statuses = [
        client.may_process(v1::MayProcessRequest { question: asked() }).await.map(drop),
        client.may_process_batch(batch).await.map(drop),
        streamed,
        client.explain(v1::ExplainRequest { question: asked(), ..v1::ExplainRequest::default() }).await.map(drop),
    ];
    statuses.into_iter().map(|status| status.expect_err("refused")).collect()
}

/// Asks, and gives the caller that the evidence of the answer names.
async fn named(home: &Home, channel: &Channel, forwarded: Option<&'static str>) -> Result<String, Status> {
    let mut request = Request::new(v1::MayProcessRequest { question: Some(newsletter("crm:1")) });
    if let Some(value) = forwarded {
        request.metadata_mut().insert(FORWARDED, value.parse().expect("ASCII"));
    }
    let answered = Client::new(channel.clone()).may_process(request).await?.into_inner();
    assert_eq!(answered.answer.expect("an answer").reason(), Reason::Consent);
    let archive = Archive::open(&home.data().join("evidence")).expect("a log");
    let record = archive.find(&answered.evidence_id.parse().expect("an id")).expect("readable");
    Ok(record.expect("evidence").caller)
}

fn counted(sidecar: &Sidecar, why: &str) -> u64 {
    let (_, text) = page(sidecar.admin.expect("a page"), "/metrics");
    let line = format!("consentd_refused_total{{why=\"{why}\",wire=\"grpc\"}} ");
    text.lines().find_map(|shown| shown.strip_prefix(&line)?.parse().ok()).expect("a count")
}

/// A home in which `crm:1` has agreed to the newsletter.
fn home() -> Home {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    home
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_callers_everybody_may_ask_by_the_name_that_is_proved() {
    let home = home();
    let sidecar = Sidecar::ready(&home, &[]).await;
    let uds = connect_uds(&home.uds()).await.expect("connected");
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(named(&home, &uds, None).await.expect("answered"), format!("uid:{uid}"));
    assert_eq!(named(&home, &sidecar.channel, None).await.expect("answered"), "");
    // Nobody says for whom they ask unless they were trusted with it.
    let forged = Some("URI=spiffe://example.org/mailer");
    assert_eq!(named(&home, &sidecar.channel, forged).await.expect("answered"), "");
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_of_this_machine_asks_about_what_it_was_given() {
    let home = home();
    let uid = rustix::process::geteuid().as_raw();
    let callers = format!("[{{ name = 'mailer', uid = {uid}, purposes = ['newsletter'], channels = ['email'] }}]");
    let settings = [("callers", callers.as_str()), ("admin.tcp", "127.0.0.1:0")];
    let sidecar = Sidecar::ready(&home, &settings).await;
    let uds = connect_uds(&home.uds()).await.expect("connected");
    assert_eq!(named(&home, &uds, None).await.expect("answered"), "mailer");
    let mut client = Client::new(uds.clone());
    let below = ask(&mut client, question("crm:1", "newsletter.weekly", "email")).await;
    assert!(!below.evidence_id.is_empty(), "what is below a purpose is permitted with it");

    for (other, over) in [("analytics", "email"), ("newsletter", "sms"), ("newsletters", "email")] {
        for status in refusals(&uds, &question("crm:1", other, over)).await {
            assert_eq!(status.code(), Code::PermissionDenied, "{status}");
            let said = format!("the caller `mailer` may not ask about `{other}` over `{over}`");
            assert!(status.message().starts_with(&said), "{status}");
        }
    }
    assert_eq!((counted(&sidecar, "not_permitted"), counted(&sidecar, "unknown_caller")), (12, 0));

    // In a batch one question that is not permitted is enough.
    let context = v1::Context { purpose: "newsletter".into(), channel: "email".into(), ..v1::Context::default() };
    let smuggled = v1::BatchQuestion { purpose: Some("analytics".into()), ..batch_question("crm:1") };
    let batch = v1::MayProcessBatchRequest {
        context: Some(context),
        questions: vec![batch_question("crm:1"), smuggled, batch_question("crm:1")],
    };
    let status = client.may_process_batch(batch).await.expect_err("refused");
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_caller_is_answered_nothing_and_leaves_no_evidence() {
    let home = home();
    let uid = rustix::process::geteuid().as_raw() + 1;
    let callers = format!("[{{ name = 'other', uid = {uid}, purposes = ['*'], channels = ['*'] }}]");
    let settings = [("callers", callers.as_str()), ("admin.tcp", "127.0.0.1:0")];
    let sidecar = Sidecar::ready(&home, &settings).await;
    let uds = connect_uds(&home.uds()).await.expect("connected");
    for (place, channel) in [&sidecar.channel, &uds].into_iter().enumerate() {
        for status in refusals(channel, &newsletter("crm:1")).await {
            assert_eq!(status.code(), Code::PermissionDenied, "{status}");
            assert_eq!(status.message(), "the sidecar does not know this caller; name it in `callers`");
        }
        // It is not told what would be wrong with its question either.
        let malformed = Client::new(channel.clone()).may_process(v1::MayProcessRequest::default()).await;
        assert_eq!(malformed.expect_err("refused").code(), Code::PermissionDenied);
        assert_eq!(counted(&sidecar, "unknown_caller"), 5 * (place as u64 + 1));
        // A probe is nobody, and needs an answer.
        assert_eq!(health(channel, SERVICE).await, ServingStatus::Serving);
    }
    sidecar.stop().await;
    let archive = Archive::open(&home.data().join("evidence")).expect("a log");
    let reports = archive.verify(None, None).expect("readable");
    let records: u64 = reports.iter().filter_map(|report| report.checkpoint.as_ref()).map(|point| point.size).sum();
    assert_eq!(records, 0, "{reports:?}");
}

const WORKLOADS: &str = "[
    { name = 'mailer', spiffe = 'spiffe://example.org/ns/mail/sa/sender', purposes = ['newsletter'], channels = ['email'] },
    { name = 'mail', spiffe = 'spiffe://example.org/ns/mail/*', purposes = ['*'], channels = ['*'] },
    { name = 'gateway', spiffe = 'spiffe://example.org/gateway', forwards = true },
]";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workload_is_known_by_its_certificate_and_a_proxy_speaks_for_others() {
    let home = home();
    let authority = Authority::new("example.org");
    let files = Files::write(home.path("tls"), &authority.server(), Some(&authority));
    let settings = files.settings();
    let callers = WORKLOADS.replace('\n', " ");
    let sidecar =
        Sidecar::ready(&home, &borrowed(&settings, &[("callers", &callers), ("admin.tcp", "127.0.0.1:0")])).await;
    let over =
        async |uris: &[&str]| connect(sidecar.tcp, &authority, Some(&authority.client(uris))).await.expect("connected");
    let sender = over(&["spiffe://example.org/ns/mail/sa/sender"]).await;
    let other = over(&["spiffe://example.org/ns/mail/sa/other"]).await;
    assert_eq!(named(&home, &sender, None).await.expect("answered"), "mailer");
    assert_eq!(named(&home, &other, None).await.expect("answered"), "mail");
    // It speaks for itself, whatever it says.
    let forged = Some("URI=spiffe://example.org/ns/mail/sa/sender");
    assert_eq!(named(&home, &other, forged).await.expect("answered"), "mail");

    for uris in [
        &["spiffe://example.org/ns/shop/sa/cart"][..],
        &["spiffe://example.org/ns/mail"],
        &["spiffe://example.com/ns/mail/sa/sender"],
        &["spiffe://example.org/ns/mail/sa/sender", "spiffe://example.org/ns/mail/sa/other"],
        &["spiffe://example.org/ns/mail/sa/sender", "https://example.org"],
        &["spiffe://example.org/ns/mail/../mail/sa/sender"],
        &[],
    ] {
        let refused = named(&home, &over(uris).await, None).await.expect_err("nobody");
        assert_eq!(refused.code(), Code::PermissionDenied, "{uris:?}: {refused}");
        let refused = named(&home, &over(uris).await, forged).await.expect_err("nobody");
        assert_eq!(refused.code(), Code::PermissionDenied, "{uris:?}: {refused}");
    }
    assert_eq!((counted(&sidecar, "unknown_caller"), counted(&sidecar, "not_permitted")), (14, 0));

    let gateway = over(&["spiffe://example.org/gateway"]).await;
    assert_eq!(named(&home, &gateway, forged).await.expect("answered"), "mailer");
    let several =
        Some("By=spiffe://x.org/y;URI=spiffe://example.org/gateway,URI=spiffe://example.org/ns/mail/sa/other");
    assert_eq!(named(&home, &gateway, several).await.expect("answered"), "mail");
    let unknown = named(&home, &gateway, Some("URI=spiffe://example.org/ns/shop/sa/cart")).await.expect_err("nobody");
    assert!(unknown.message().contains("does not know this caller"), "{unknown}");
    let nobody = named(&home, &gateway, Some("Hash=00")).await.expect_err("nobody");
    assert!(nobody.message().contains("does not know this caller"), "{nobody}");
    // For itself it may ask about nothing.
    let own = named(&home, &gateway, None).await.expect_err("nothing");
    assert!(own.message().starts_with("the caller `gateway` may not ask about `newsletter`"), "{own}");
    sidecar.stop().await;
}

/// Without a list, a certificate that is of no one workload is still not believed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ambiguous_certificate_is_nobody_even_where_all_may_ask() {
    let home = home();
    let authority = Authority::new("example.org");
    let files = Files::write(home.path("tls"), &authority.server(), Some(&authority));
    let settings = files.settings();
    let sidecar = Sidecar::ready(&home, &borrowed(&settings, &[])).await;
    let over =
        async |uris: &[&str]| connect(sidecar.tcp, &authority, Some(&authority.client(uris))).await.expect("connected");
    let (id, other) = ("spiffe://example.org/a", "spiffe://example.org/b");
    assert_eq!(named(&home, &over(&[id]).await, None).await.expect("answered"), id);
    assert_eq!(named(&home, &over(&[]).await, None).await.expect("answered"), "");
    let refused = named(&home, &over(&[id, other]).await, None).await.expect_err("nobody");
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    sidecar.stop().await;
}
