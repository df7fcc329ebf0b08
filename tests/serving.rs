//! The sidecar as its callers meet it: listeners, health, reflection, limits, deadlines, and its end.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/sidecar.rs"]
mod sidecar;

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use consentd::app;
use consentd::clock::Clock;
use consentd::evidence::Archive;
use consentd::proto::v1;
use consentd::proto::v1::Reason;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use sidecar::{
    Client, Home, PATIENCE, Process, SERVICE, Sidecar, ask, batch_question, connect_tcp, connect_uds, eventually,
    given, health, newsletter, page, question, reason, said, subject, token_at, unreadable, until_reason,
    until_serving, write_file,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// Makes a question malformed.
type Spoil = fn(&mut v1::Question);

/// The answer's reason and verdict of all four calls, which must agree.
async fn all_four(client: &mut Client, question: v1::Question) -> Reason {
    let context = v1::Context {
        purpose: question.purpose.clone(),
        channel: question.channel.clone(),
        at_least_as_fresh: question.at_least_as_fresh.clone(),
        max_staleness: question.max_staleness,
        ..v1::Context::default()
    };
    let own = v1::BatchQuestion { subject: question.subject.clone(), ..v1::BatchQuestion::default() };
    let unary = ask(client, question.clone()).await.answer.expect("an answer");
    let batch = v1::MayProcessBatchRequest { context: Some(context.clone()), questions: vec![own.clone()] };
    let batch = client.may_process_batch(batch).await.expect("answered").into_inner();
    let chunk = v1::MayProcessStreamRequest { context: Some(context), questions: vec![own] };
    let mut stream = client.may_process_stream(tokio_stream::once(chunk)).await.expect("answered").into_inner();
    let chunk = stream.message().await.expect("answered").expect("an answer");
    let explained = client
        .explain(v1::ExplainRequest { question: Some(question), ..v1::ExplainRequest::default() })
        .await
        .expect("answered");
    let explained = explained.into_inner().answer.expect("an answer");
    let others = [&batch.answers[0], &chunk.answers[0], &explained];
    for other in others {
        assert_eq!((other.reason(), other.verdict()), (unary.reason(), unary.verdict()));
    }
    assert_eq!(i32::from(unary.reason()) < 100, unary.verdict() == v1::Verdict::Allow);
    unary.reason()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_and_unix_socket_answer_alike() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    let sidecar = Sidecar::ready(&home, &[]).await;
    let uds = connect_uds(&home.uds()).await.expect("connected");
    until_serving(&uds).await;
    for channel in [sidecar.channel.clone(), uds] {
        let mut client = Client::new(channel);
        assert_eq!(all_four(&mut client, newsletter("crm:1")).await, Reason::Consent);
        assert_eq!(all_four(&mut client, newsletter("crm:2")).await, Reason::UnknownSubject);
    }
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_has_its_mode_and_only_a_dead_one_is_replaced() {
    let home = Home::with_catalogue();
    // A socket file that a killed process left behind.
    drop(std::os::unix::net::UnixListener::bind(home.uds()).expect("bound"));
    for mode in ["0600", "0660"] {
        let sidecar = Sidecar::ready(&home, &[("server.uds_mode", mode)]).await;
        let have = std::fs::metadata(home.uds()).expect("there").permissions().mode() & 0o777;
        assert_eq!(format!("{have:04o}"), mode);
        // The second sidecar's home differs in everything but the socket.
        let other = Home::with_catalogue();
        let uds = home.uds().to_str().expect("UTF-8").to_owned();
        let error = app::build(&other.config(&[("server.uds", &uds)]), Clock::system()).await.expect_err("refused");
        assert_eq!(error.to_string(), format!("cannot listen on `{uds}`"));
        let source = std::error::Error::source(&error).expect("a cause").to_string();
        assert_eq!(source, "another process listens on it");
        assert!(!other.data().join("evidence").exists(), "a sidecar that cannot listen must not write");
        sidecar.stop().await;
        assert!(!home.uds().exists(), "the socket is removed at the end");
    }

    write_file(&home.uds(), b"somebody's notes");
    let error = app::build(&home.config(&[]), Clock::system()).await.expect_err("refused");
    let source = std::error::Error::source(&error).expect("a cause").to_string();
    assert_eq!(source, "something else than a socket is there");
    assert_eq!(std::fs::read(home.uds()).expect("still there"), b"somebody's notes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_is_named() {
    let home = Home::with_catalogue();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("an address").to_string();
    for key in ["server.tcp", "admin.tcp"] {
        let error = app::build(&home.config(&[(key, &address)]), Clock::system()).await.expect_err("refused");
        assert_eq!(error.to_string(), format!("cannot listen on `{address}`"), "{key}");
    }
}

/// What `Watch` says, in order, until it ends.
async fn watch(channel: tonic::transport::Channel, service: &str) -> tokio::sync::mpsc::UnboundedReceiver<i32> {
    let (seen, told) = tokio::sync::mpsc::unbounded_channel();
    let request = HealthCheckRequest { service: service.to_owned() };
    let mut watching = HealthClient::new(channel).watch(request).await.expect("watched").into_inner();
    tokio::spawn(async move {
        while let Ok(Some(health)) = watching.message().await {
            let _ = seen.send(health.status);
        }
    });
    told
}

async fn next(told: &mut tokio::sync::mpsc::UnboundedReceiver<i32>) -> Option<i32> {
    tokio::time::timeout(PATIENCE, told.recv()).await.expect("in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_tells_the_truth_and_takes_it_back() {
    const SERVING: Option<i32> = Some(1);
    const NOT_SERVING: Option<i32> = Some(2);
    for is_removed in [false, true] {
        let home = Home::new();
        let sidecar = Sidecar::start(&home, &[("admin.tcp", "127.0.0.1:0")]).await;
        let admin = sidecar.admin.expect("a page");
        let mut watches = [watch(sidecar.channel.clone(), "").await, watch(sidecar.channel.clone(), SERVICE).await];
        for told in &mut watches {
            assert_eq!(next(told).await, NOT_SERVING, "there is no ledger");
        }
        // Until the ledger was looked for, the local copy is merely not built.
        let began = std::time::Instant::now();
        loop {
            let (status, causes) = page(admin, "/readyz");
            assert_eq!(status, 503);
            if causes.starts_with("ledger: the ledger cannot be read: ") {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "{causes}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(page(admin, "/livez").0, 200, "not ready is not dead");

        home.append(&sidecar::catalogue(1));
        home.append(&given("crm:1"));
        for told in &mut watches {
            assert_eq!(next(told).await, SERVING);
        }
        for service in ["", SERVICE] {
            assert_eq!(health(&sidecar.channel, service).await, ServingStatus::Serving);
        }
        assert_eq!(page(admin, "/readyz"), (200, "ready\n".to_owned()));

        if is_removed {
            std::fs::remove_file(home.ledger()).expect("removed");
        } else {
            write_file(&home.ledger(), b"");
        }
        for told in &mut watches {
            assert_eq!(next(told).await, NOT_SERVING);
        }
        for service in ["", SERVICE] {
            assert_eq!(health(&sidecar.channel, service).await, ServingStatus::NotServing);
        }
        let (status, causes) = page(admin, "/readyz");
        assert_eq!(status, 503);
        assert!(causes.starts_with("ledger: the ledger `"), "{causes}");
        assert_eq!(all_four(&mut sidecar.client(), newsletter("crm:1")).await, Reason::LedgerBroken);

        // What comes back by itself is not trusted: somebody must look at it.
        home.append(&sidecar::catalogue(1));
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(reason(&mut sidecar.client(), newsletter("crm:1")).await, Reason::LedgerBroken);
        let unknown = HealthCheckRequest { service: "unheard.of".to_owned() };
        let status = HealthClient::new(sidecar.channel.clone()).check(unknown).await.expect_err("unknown");
        assert_eq!(status.code(), Code::NotFound);
        sidecar.stop().await;
        for told in &mut watches {
            assert_eq!(next(told).await, NOT_SERVING, "stopping is said as well");
            assert_eq!(next(told).await, None, "and the watch ends");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_lists_the_service_in_both_versions() {
    let home = Home::with_catalogue();
    let sidecar = Sidecar::ready(&home, &[]).await;
    macro_rules! services {
        ($version:ident) => {{
            use tonic_reflection::pb::$version::ServerReflectionRequest;
            use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
            use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
            use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
            let list = ServerReflectionRequest {
                host: String::new(),
                message_request: Some(MessageRequest::ListServices(String::new())),
            };
            let mut client = ServerReflectionClient::new(sidecar.channel.clone());
            let mut told =
                client.server_reflection_info(tokio_stream::once(list)).await.expect("answered").into_inner();
            match told.message().await.expect("answered").expect("a list").message_response {
                Some(MessageResponse::ListServicesResponse(list)) => {
                    list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
                }
                other => panic!("{other:?}"),
            }
        }};
    }
    for services in [services!(v1), services!(v1alpha)] {
        assert!(services.iter().any(|service| service == SERVICE), "{services:?}");
    }
    sidecar.stop().await;
}

/// SIGTERM with calls waiting, a stream open and the health watched: all end well, and nothing that left is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_flight_is_finished_when_the_process_is_told_to_stop() {
    let home = Home::with_catalogue();
    let end = home.append(&given("crm:1"));
    let settings =
        [("replica.max_wait", "20s"), ("server.request_timeout", "30s"), ("evidence.checkpoint_interval", "1h")];
    let mut process = Process::spawn(&home, &settings);
    let channel = process.connect().await;
    until_serving(&channel).await;
    let mut client = Client::new(channel.clone());
    let mut evidence = Vec::new();
    let first = ask(&mut client, newsletter("crm:1")).await;
    evidence.push(first.evidence_id);

    let token = token_at(&first.view.expect("a view").ledger_token, end + 1);
    let waiting: Vec<_> = (0..32)
        .map(|_| {
            let mut client = client.clone();
            let question = v1::Question { at_least_as_fresh: token.clone(), ..newsletter("crm:1") };
            tokio::spawn(async move { ask(&mut client, question).await })
        })
        .collect();
    let (chunks, requests) = tokio::sync::mpsc::channel(4);
    let chunk = || v1::MayProcessStreamRequest {
        context: Some(v1::Context { purpose: "newsletter".into(), channel: "email".into(), ..v1::Context::default() }),
        questions: vec![batch_question("crm:1")],
    };
    chunks.send(chunk()).await.expect("sent");
    let mut stream = client.may_process_stream(ReceiverStream::new(requests)).await.expect("answered").into_inner();
    evidence.push(stream.message().await.expect("answered").expect("an answer").evidence_id);
    let mut told = watch(channel.clone(), SERVICE).await;
    assert_eq!(next(&mut told).await, Some(1));

    process.terminate();
    assert_eq!(next(&mut told).await, Some(2), "who watches is told before anything ends");
    let gone = async || connect_uds(&home.uds()).await.err().map(|_| ());
    eventually("nobody is let in any more", gone).await;
    assert!(process.is_running(), "it waits for what is in flight");
    assert!(waiting.iter().all(|call| !call.is_finished()));

    chunks.send(chunk()).await.expect("sent");
    evidence.push(stream.message().await.expect("a stream in use goes on").expect("an answer").evidence_id);
    home.append(&said("crm:1", "newsletter", "email", "WITHDRAWN", sidecar::now_ms()));
    for call in waiting {
        let answered = call.await.expect("no call that was accepted fails");
        assert_eq!(answered.answer.expect("an answer").reason(), Reason::Withdrawn, "it waited for its token");
        evidence.push(answered.evidence_id);
    }
    let status = stream.message().await.expect_err("an idle stream is ended");
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("stopping"), "{status}");
    assert_eq!(next(&mut told).await, None);

    let status = process.ended().await;
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(!home.uds().exists(), "the socket is removed");
    let archive = Archive::open(&home.data().join("evidence")).expect("a log");
    for id in &evidence {
        let found = archive.find(&id.parse().expect("an id")).expect("readable");
        assert!(found.is_some(), "`{id}` is missing");
    }
    let reports = archive.verify(None, None).expect("readable");
    assert!(reports.iter().all(|report| report.problems.is_empty()), "{reports:?}");
    let signed: u64 = reports.iter().filter_map(|report| report.checkpoint.as_ref()).map(|point| point.size).sum();
    assert_eq!(signed, evidence.len() as u64, "the last checkpoint covers all");
}

/// An open stream that nobody asks on, and a watch, do not hold a stop up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_only_listen_do_not_hold_a_stop_up() {
    let home = Home::with_catalogue();
    let sidecar = Sidecar::ready(&home, &[("server.drain_timeout", "1h")]).await;
    let _told = watch(sidecar.channel.clone(), "").await;
    let (_chunks, requests) = tokio::sync::mpsc::channel::<v1::MayProcessStreamRequest>(1);
    let mut client = sidecar.client();
    let mut stream = client.may_process_stream(ReceiverStream::new(requests)).await.expect("answered").into_inner();
    tokio::time::timeout(PATIENCE, sidecar.stop()).await.expect("stopped in time");
    assert_eq!(stream.message().await.expect_err("ended").code(), Code::Unavailable);
}

async fn batch(client: &mut Client, questions: Vec<v1::BatchQuestion>) -> Result<v1::MayProcessBatchResponse, Status> {
    let context = v1::Context { purpose: "newsletter".into(), channel: "email".into(), ..v1::Context::default() };
    let request = v1::MayProcessBatchRequest { context: Some(context), questions };
    Ok(client.may_process_batch(request).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_and_a_message_have_limits() {
    let home = Home::with_catalogue();
    let sidecar = Sidecar::ready(&home, &[("server.max_message_bytes", "1MiB")]).await;
    let mut client = sidecar.client();
    let questions = |count| vec![batch_question("crm:1"); count];

    assert_eq!(batch(&mut client, questions(10_000)).await.expect("allowed").answers.len(), 10_000);
    let status = batch(&mut client, questions(10_001)).await.expect_err("too many");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "`questions` has 10001, allowed are 10000");
    let status = batch(&mut client, Vec::new()).await.expect_err("none");
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "`questions` is empty"));

    let long = format!("crm:{}", "x".repeat(250));
    let status = batch(&mut client, vec![batch_question(&long); 9_000]).await.expect_err("too large");
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    // The connection has survived all that.
    assert_eq!(reason(&mut client, newsletter("crm:1")).await, Reason::UnknownSubject);
    sidecar.stop().await;

    let fewer = Sidecar::ready(&home, &[("server.max_batch", "2")]).await;
    let status = batch(&mut fewer.client(), questions(3)).await.expect_err("too many");
    assert_eq!(status.message(), "`questions` has 3, allowed are 2");
    fewer.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_questions_name_their_field_in_every_call() {
    let home = Home::with_catalogue();
    let sidecar = Sidecar::ready(&home, &[]).await;
    let mut client = sidecar.client();
    let refused = |status: Status, field: &str| {
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().starts_with(&format!("`{field}` ")), "`{}` does not name `{field}`", status.message());
    };
    let cases: [(&str, Spoil); 5] = [
        ("question.subject", |q| q.subject = None),
        ("question.subject.id", |q| q.subject = Some(subject(&format!("crm:{}", "x".repeat(257))))),
        ("question.purpose", |q| q.purpose = "p".repeat(129)),
        ("question.channel", |q| q.channel.clear()),
        ("question.at_least_as_fresh", |q| q.at_least_as_fresh = "not a token".to_owned()),
    ];
    for (field, spoil) in cases {
        let mut asked = newsletter("crm:1");
        spoil(&mut asked);
        let unary = client.may_process(v1::MayProcessRequest { question: Some(asked.clone()) }).await;
        refused(unary.expect_err("refused"), field);
        refused(
            client
                .explain(v1::ExplainRequest { question: Some(asked), ..v1::ExplainRequest::default() })
                .await
                .expect_err("refused"),
            field,
        );
    }
    refused(client.may_process(v1::MayProcessRequest::default()).await.expect_err("refused"), "question");

    let spoilt = v1::BatchQuestion { channel: Some("c".repeat(65)), ..batch_question("crm:1") };
    let status = batch(&mut client, vec![batch_question("crm:1"), spoilt]).await.expect_err("refused");
    refused(status, "questions[1].channel");

    // In a stream what came before is answered, and the stream ends.
    let context = v1::Context { purpose: "newsletter".into(), channel: "email".into(), ..v1::Context::default() };
    let good = v1::MayProcessStreamRequest { context: Some(context), questions: vec![batch_question("crm:1")] };
    let empty = v1::MayProcessStreamRequest::default();
    let chunks = tokio_stream::iter([good, empty.clone()]);
    let mut stream = client.may_process_stream(chunks).await.expect("answered").into_inner();
    assert_eq!(stream.message().await.expect("answered").expect("an answer").answers.len(), 1);
    refused(stream.message().await.expect_err("refused"), "questions");
    let mut stream = client.may_process_stream(tokio_stream::once(empty)).await.expect("answered").into_inner();
    refused(stream.message().await.expect_err("refused"), "context");
    sidecar.stop().await;
}

/// A question that waits for what never comes, for as long as the sidecar lets it.
fn waiting_question(token: &str) -> v1::Question {
    v1::Question { at_least_as_fresh: token_at(token, 1 << 40), ..newsletter("crm:1") }
}

async fn some_token(client: &mut Client) -> String {
    ask(client, newsletter("crm:1")).await.view.expect("a view").ledger_token
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_beyond_a_limit_wait_their_turn() {
    let home = Home::with_catalogue();
    let wait = Duration::from_millis(1500);
    let limits =
        [("replica.max_wait", "1500ms"), ("server.max_in_flight", "4"), ("server.max_concurrent_streams", "8")];
    let sidecar = Sidecar::ready(&home, &limits).await;
    let token = some_token(&mut sidecar.client()).await;

    // One connection more, so that it is the limit of all calls that holds back, and not that of streams.
    for (held, other) in [(4, connect_tcp(sidecar.tcp).await), (8, sidecar.channel.clone())] {
        let began = Instant::now();
        let waiting: Vec<_> = (0..held)
            .map(|_| {
                let (mut client, question) = (sidecar.client(), waiting_question(&token));
                tokio::spawn(async move { reason(&mut client, question).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(200)).await;
        if held == 4 {
            // A probe must not wait behind questions.
            assert_eq!(health(&other, SERVICE).await, ServingStatus::Serving);
            assert!(began.elapsed() < wait, "the probe waited {:?}", began.elapsed());
        }
        assert_eq!(reason(&mut Client::new(other), newsletter("crm:1")).await, Reason::UnknownSubject);
        assert!(began.elapsed() >= wait, "a call went past the limit of {held} after {:?}", began.elapsed());
        for call in waiting {
            assert_eq!(call.await.expect("answered"), Reason::Stale);
        }
    }
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_beyond_the_limit_waits_and_is_not_refused() {
    let home = Home::with_catalogue();
    let mut sidecar = Sidecar::ready(&home, &[("server.max_connections", "1")]).await;
    // A listener that nobody has come to must not keep the place: first all come over TCP, then over the socket.
    for is_uds in [false, false, true, false] {
        let second =
            if is_uds { connect_uds(&home.uds()).await.expect("connected") } else { connect_tcp(sidecar.tcp).await };
        let mut client = Client::new(second.clone());
        let asked = tokio::spawn(async move { reason(&mut client, newsletter("crm:1")).await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!asked.is_finished(), "answered although the only place was taken");
        // The one that had the place goes, and the place is passed on, whichever listener it came over.
        drop(std::mem::replace(&mut sidecar.channel, second));
        let answered = tokio::time::timeout(PATIENCE, asked).await.expect("in time").expect("answered");
        assert_eq!(answered, Reason::UnknownSubject);
    }
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_waits_for_a_token_is_answered_before_its_deadline() {
    let home = Home::with_catalogue();
    let sidecar = Sidecar::ready(&home, &[("replica.max_wait", "4s")]).await;
    let mut client = sidecar.client();
    let token = some_token(&mut client).await;
    // A busy machine may take the last fifth of the deadline for something else; it will not do so every time.
    let mut last = None;
    for _ in 0..10 {
        let mut request = Request::new(v1::MayProcessRequest { question: Some(waiting_question(&token)) });
        request.set_timeout(Duration::from_millis(200));
        match client.may_process(request).await {
            Ok(answered) => {
                assert_eq!(answered.into_inner().answer.expect("an answer").reason(), Reason::Stale);
                return sidecar.stop().await;
            }
            Err(status) => last = Some(status),
        }
    }
    panic!("no answer within the deadline: {last:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_unknown_is_a_denial_with_its_reason() {
    let home = Home::new();
    let sidecar = Sidecar::start(&home, &[]).await;
    let mut client = sidecar.client();
    assert_eq!(all_four(&mut client, newsletter("crm:1")).await, Reason::ReplicaBuilding);
    home.append(&given("crm:1"));
    until_serving(&sidecar.channel).await;
    assert_eq!(all_four(&mut client, newsletter("crm:1")).await, Reason::NoCatalogue);
    home.append(&sidecar::catalogue(1));
    until_reason(&client, &newsletter("crm:1"), Reason::Consent).await;

    assert_eq!(all_four(&mut client, question("crm:1", "newsletters", "email")).await, Reason::UnknownPurpose);
    assert_eq!(all_four(&mut client, question("crm:1", "newsletter", "fax")).await, Reason::UnknownChannel);
    assert_eq!(all_four(&mut client, question("crm:1", "newsletter", "post")).await, Reason::ChannelNotUsed);
    assert_eq!(all_four(&mut client, newsletter("crm:2")).await, Reason::UnknownSubject);
    let foreign =
        consentd::ledger::Token { ledger: consentd::ledger::LedgerId([7; 8]), position: consentd::domain::Position(1) };
    let asked = v1::Question { at_least_as_fresh: foreign.to_string(), ..newsletter("crm:1") };
    assert_eq!(all_four(&mut client, asked).await, Reason::ForeignToken);
    let token = some_token(&mut client).await;
    assert_eq!(all_four(&mut client, waiting_question(&token)).await, Reason::Stale);

    home.append(&unreadable("crm:1", sidecar::now_ms()));
    until_reason(&client, &newsletter("crm:1"), Reason::UnreadableRecord).await;
    assert_eq!(all_four(&mut client, newsletter("crm:1")).await, Reason::UnreadableRecord);
    sidecar.stop().await;
}

/// The ledger's folder gives way to a file and comes back: meanwhile the view ages, and what it may not decide any more
/// is denied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_out_of_reach_ages_the_view_and_comes_back() {
    let home = Home::new();
    let (folder, elsewhere) = (home.path("ledger"), home.path("elsewhere"));
    std::fs::create_dir(&folder).expect("made");
    write_file(&elsewhere, b"not a folder");
    let ledger = folder.join("events.jsonl");
    sidecar::append(&ledger, format!("{}\n{}\n", sidecar::catalogue(1), given("crm:1")).as_bytes());
    let sidecar = Sidecar::ready(&home, &[("ledger.file", ledger.to_str().expect("UTF-8"))]).await;
    let mut client = sidecar.client();
    let strict =
        v1::Question { max_staleness: Some(pbjson_types::Duration { seconds: 2, nanos: 0 }), ..newsletter("crm:1") };
    until_reason(&client, &strict, Reason::Consent).await;

    let exchange = || renameat_with(CWD, &folder, CWD, &elsewhere, RenameFlags::EXCHANGE).expect("exchanged");
    exchange();
    until_reason(&client, &strict, Reason::Stale).await;
    assert_eq!(all_four(&mut client, strict.clone()).await, Reason::Stale);
    let answered = ask(&mut client, newsletter("crm:1")).await;
    assert_eq!(answered.answer.expect("an answer").reason(), Reason::Consent, "the purpose allows 30 s");
    let staleness = answered.view.and_then(|view| view.staleness).expect("told");
    assert!(staleness.seconds >= 2, "{staleness:?}");

    exchange();
    until_reason(&client, &strict, Reason::Consent).await;
    sidecar::append(&ledger, format!("{}\n", sidecar::withdrawn("crm:1")).as_bytes());
    until_reason(&client, &strict, Reason::Withdrawn).await;
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_evidence_everything_is_denied() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    Sidecar::ready(&home, &[]).await.stop().await;
    write_file(&home.data().join("evidence/instance"), b"not a name");
    let sidecar = Sidecar::start(&home, &[("admin.tcp", "127.0.0.1:0")]).await;
    let mut client = sidecar.client();
    until_reason(&client, &newsletter("crm:1"), Reason::EvidenceUnavailable).await;
    assert_eq!(all_four(&mut client, newsletter("crm:1")).await, Reason::EvidenceUnavailable);
    assert_eq!(all_four(&mut client, question("crm:1", "billing", "email")).await, Reason::EvidenceUnavailable);
    let answered = ask(&mut client, newsletter("crm:1")).await;
    assert_eq!(answered.evidence_id, "");
    assert_eq!(answered.answer.and_then(|answer| answer.valid_until), None);
    assert_eq!(health(&sidecar.channel, SERVICE).await, ServingStatus::NotServing);
    let (status, causes) = page(sidecar.admin.expect("a page"), "/readyz");
    assert_eq!(status, 503);
    assert!(causes.contains("evidence: "), "{causes}");
    sidecar.stop().await;
}
