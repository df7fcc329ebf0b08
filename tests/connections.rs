//! Connections as clients make them, and as they should not: thousands that are idle, some that say or take nothing, and
//! what becomes of all when they grow old.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/rogue.rs"]
mod rogue;
#[path = "support/sidecar.rs"]
mod sidecar;
#[path = "support/tls.rs"]
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use consentd::proto::v1::{self, Reason};
use hyper_util::rt::TokioIo;
use prost::bytes::Bytes;
use rogue::{HELLO, Idle, call, framed};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sidecar::{Client, Home, PATIENCE, Process, Sidecar, ask, eventually, given, newsletter, page, reason, token_at};
use tls::{Authority, Files, borrowed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Endpoint;

/// How many idle connections are promised.
const IDLE: usize = 5_000;
/// What one of them may take. Some 32 KiB are buffers of HTTP/2.
const IDLE_BYTES_MAX: usize = 64 << 10;

/// Files enough for that many connections, here and at most in children.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = 4 * IDLE as u64;
    let maximum = limit.maximum.map(|maximum| maximum.max(wanted));
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).expect("files enough for the test");
}

/// The memory of a process, in bytes.
fn resident(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("told");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

fn connections(admin: SocketAddr) -> usize {
    let (_, text) = page(admin, "/metrics");
    text.lines().find_map(|line| line.strip_prefix("consentd_connections ")?.parse().ok()).expect("told")
}

/// The address of the TCP listener, as the binary's log tells it.
fn told_tcp(home: &Home) -> SocketAddr {
    let log = std::fs::read_to_string(home.log()).expect("a log");
    let told = log.lines().rev().find(|line| line.contains("listening")).expect("it listens");
    let (_, address) = told.split_once("tcp=").expect("over TCP");
    address.split(' ').next().and_then(|address| address.parse().ok()).expect("an address")
}

/// They outlive what an idle connection is asked (30 s) and given (10 s) for a sign of life.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_idle_connections_are_held_in_little_memory() {
    raise_open_files();
    let home = Home::with_catalogue();
    let limits = [("server.tcp", "127.0.0.1:0"), ("admin.tcp", "127.0.0.1:0"), ("server.max_connections", "6000")];
    // It asks for as many open files as it needs.
    let mut process = Process::spawn_with_few_files(&home, &limits);
    let channel = process.connect().await;
    sidecar::until_serving(&channel).await;
    let address = told_tcp(&home);
    let before = resident(process.pid());
    let began = Instant::now();
    let mut idle = JoinSet::new();
    for _ in 0..IDLE / 50 {
        // Not all at once: the client's side takes time as well.
        let mut coming: JoinSet<_> = (0..50).map(|_| Idle::connect(address)).collect();
        while let Some(come) = coming.join_next().await {
            let mut come = come.expect("no panic").expect("connected");
            idle.spawn(async move { come.until_goaway().await });
        }
    }
    let each = (resident(process.pid()) - before) / IDLE;
    println!("{IDLE} connections in {:?}, {} KiB each", began.elapsed(), each >> 10);
    assert!(each < IDLE_BYTES_MAX, "{each} bytes each");
    let mut client = Client::new(channel);
    while began.elapsed() < Duration::from_secs(42) {
        assert_eq!(reason(&mut client, newsletter("crm:1")).await, Reason::UnknownSubject);
        assert!(idle.try_join_next().is_none(), "one was dropped after {:?}", began.elapsed());
        sleep(Duration::from_millis(500)).await;
    }
    assert!(connections(home.admin()) > IDLE);
    // All are told that it goes, and it goes without waiting for them.
    process.terminate();
    let mut told = 0;
    while let Some(ended) = idle.join_next().await {
        ended.expect("no panic").expect("told, not cut off");
        told += 1;
    }
    assert_eq!(told, IDLE);
    assert!(process.ended().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_all_come_at_once_are_not_turned_away() {
    raise_open_files();
    let home = Home::with_catalogue();
    let sidecar = Sidecar::ready(&home, &[("server.max_connections", "1")]).await;
    // The one place is taken; the kernel keeps all others until there is room.
    let began = Instant::now();
    let mut coming: JoinSet<_> = (0..1500).map(|_| TcpStream::connect(sidecar.tcp)).collect();
    let mut waiting = Vec::new();
    while let Some(come) = timeout(Duration::from_secs(10), coming.join_next()).await.expect("none hangs") {
        waiting.push(come.expect("no panic").expect("connected"));
    }
    assert_eq!(waiting.len(), 1500);
    println!("1500 connections waited after {:?}", began.elapsed());
    drop(waiting);
    sidecar.stop().await;
}

/// A client of HTTP/2 that opens no window for answers.
async fn windowless(address: SocketAddr) -> (h2::client::SendRequest<Bytes>, tokio::task::JoinHandle<()>) {
    let stream = TcpStream::connect(address).await.expect("connected");
    let mut builder = h2::client::Builder::new();
    let (requests, connection) =
        builder.initial_window_size(0).handshake::<_, Bytes>(stream).await.expect("a handshake");
    let driven = tokio::spawn(async move {
        let _ = connection.await;
    });
    (requests, driven)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_nobody_takes_is_given_up() {
    let home = Home::with_catalogue();
    let sidecar = Sidecar::ready(&home, &[]).await;
    let (mut requests, _driven) = windowless(sidecar.tcp).await;
    let message = framed(&v1::MayProcessRequest { question: Some(newsletter("crm:1")) });
    let began = Instant::now();
    let mut untaken = JoinSet::new();
    for _ in 0..300 {
        requests = requests.ready().await.expect("room for calls");
        let (answer, mut sent) = requests.send_request(call("MayProcess"), false).expect("sent");
        sent.send_data(message.clone(), true).expect("sent");
        untaken.spawn(async move {
            let mut body = answer.await.expect("headers").into_body();
            body.data().await.expect("an end").expect_err("no byte fits").reason()
        });
    }
    while let Some(ended) = timeout(Duration::from_mins(1), untaken.join_next()).await.expect("given up") {
        assert_eq!(ended.expect("no panic"), Some(h2::Reason::CANCEL), "after {:?}", began.elapsed());
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(29), "a slow reader has time: {took:?}");
    // The connection is as good as before, and so are others.
    let (answer, mut sent) =
        requests.ready().await.expect("room").send_request(call("MayProcess"), false).expect("sent");
    sent.send_data(message, true).expect("sent");
    drop(answer.await.expect("headers"));
    assert_eq!(reason(&mut sidecar.client(), newsletter("crm:1")).await, Reason::UnknownSubject);
    sidecar.stop().await;
}

/// Clients that ask and ask, and never read their sockets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_is_never_read_is_closed_and_takes_little_memory() {
    let home = Home::with_catalogue();
    // With AuthZEN there is HTTP/1.1.
    let settings = [("server.tcp", "127.0.0.1:0"), ("admin.tcp", "127.0.0.1:0"), ("authzen.enabled", "true")];
    let mut process = Process::spawn(&home, &settings);
    let channel = process.connect().await;
    sidecar::until_serving(&channel).await;
    let (address, before) = (told_tcp(&home), resident(process.pid()));
    // Pings, which must be answered each: the cheapest way of making a server write. And requests, one behind the other.
    let pings: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8].repeat(1000);
    let requests: &[u8] = &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000);
    let flood = async |hello: &[u8], words: &[u8]| {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("set");
        let mut stream = socket.connect(address).await.expect("connected");
        stream.write_all(hello).await.expect("sent");
        let began = Instant::now();
        let closed = async { while stream.write_all(words).await.is_ok() {} };
        timeout(Duration::from_mins(1), closed).await.expect("closed");
        began.elapsed()
    };
    let closed = tokio::join!(flood(HELLO, pings), flood(b"", requests));
    let more = resident(process.pid()).saturating_sub(before);
    println!("closed after {closed:?}, {} KiB more", more >> 10);
    assert!(more < 32 << 20, "{more} bytes");
    eventually("their places are free", async || (connections(home.admin()) == 1).then_some(())).await;
    process.terminate();
    assert!(process.ended().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_nothing_or_half_of_it_does_not_keep_a_place() {
    let home = Home::with_catalogue();
    let authority = Authority::new("one");
    let files = Files::write(home.path("tls"), &authority.server(), None);
    let settings = files.settings();
    let admin = [("admin.tcp", "127.0.0.1:0"), ("authzen.enabled", "true")];
    let plain = Sidecar::ready(&home, &admin).await;
    let other = Home::with_catalogue();
    let secret = Sidecar::ready(&other, &borrowed(&settings, &admin)).await;
    let began = Instant::now();
    let mut silent = JoinSet::new();
    let words: [(&Sidecar, &[u8]); 7] = [
        (&plain, b""),
        (&plain, b"P"),
        (&plain, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"),
        (&plain, b"POST /access/v1/evaluation HTTP/1.1\r\nHost: localhost\r\nX-"),
        (&secret, b""),
        (&secret, b"\x16"),
        (&secret, b"\x16\x03\x01\x02\0"),
    ];
    for (sidecar, said) in words {
        let mut stream = TcpStream::connect(sidecar.tcp).await.expect("connected");
        stream.write_all(said).await.expect("said");
        silent.spawn(async move {
            let mut rest = Vec::new();
            // However it is closed.
            let _ = stream.read_to_end(&mut rest).await;
            began.elapsed()
        });
    }
    assert_eq!(connections(plain.admin.expect("a page")), 5);
    while let Some(closed) = timeout(Duration::from_secs(25), silent.join_next()).await.expect("closed") {
        let after = closed.expect("no panic");
        assert!(after > Duration::from_secs(9), "closed after {after:?}");
    }
    for sidecar in [&plain, &secret] {
        let admin = sidecar.admin.expect("a page");
        eventually("their places are free", async || (connections(admin) == 1).then_some(())).await;
    }
    let (_, text) = page(secret.admin.expect("a page"), "/metrics");
    assert!(text.contains("consentd_refused_total{why=\"handshake\",wire=\"connection\"} 3\n"), "{text}");
    plain.stop().await;
    secret.stop().await;
}

/// CVE-2023-44487.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_reset_at_once_end_their_connection() {
    let home = Home::with_catalogue();
    let sidecar = Sidecar::ready(&home, &[]).await;
    let (mut requests, driven) = windowless(sidecar.tcp).await;
    for _ in 0..5_000 {
        let Ok(ready) = requests.clone().ready().await else { break };
        requests = ready;
        let Ok((answer, mut sent)) = requests.send_request(call("MayProcess"), false) else { break };
        sent.send_reset(h2::Reason::CANCEL);
        drop(answer);
    }
    timeout(PATIENCE, driven).await.expect("ended").expect("no panic");
    assert_eq!(reason(&mut sidecar.client(), newsletter("crm:1")).await, Reason::UnknownSubject);
    sidecar.stop().await;
}

/// A channel that counts how often it connects.
async fn counting(address: SocketAddr, count: &Arc<AtomicUsize>) -> Client {
    let count = Arc::clone(count);
    let connect = move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        async move { TcpStream::connect(address).await.map(TokioIo::new) }
    };
    let endpoint = Endpoint::from_static("http://localhost");
    Client::new(endpoint.connect_with_connector(tower::service_fn(connect)).await.expect("connected"))
}

/// Why a question was answered as it was. What hyper had not yet sent when it learnt of the connection's end is asked again,
/// which clients of grpc-core do by themselves and tonic leaves to its caller.
async fn reason_again(client: &mut Client, question: v1::Question) -> Reason {
    loop {
        let asked = v1::MayProcessRequest { question: Some(question.clone()) };
        let status = match client.may_process(asked).await {
            Ok(answered) => return answered.into_inner().answer.expect("an answer").reason(),
            Err(status) => status,
        };
        let source = std::error::Error::source(&status).and_then(std::error::Error::source);
        let unsent = source.and_then(|source| source.downcast_ref::<hyper::Error>());
        assert!(unsent.is_some_and(hyper::Error::is_canceled), "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_end_by_their_age_at_different_times() {
    let home = Home::with_catalogue();
    let sidecar = Sidecar::ready(&home, &[("server.max_connection_age", "4s")]).await;
    let mut idle = JoinSet::new();
    for _ in 0..50 {
        let mut come = Idle::connect(sidecar.tcp).await.expect("connected");
        let began = Instant::now();
        idle.spawn(async move { come.until_goaway().await.map(|()| began.elapsed()) });
    }
    let mut ages = Vec::new();
    while let Some(told) = timeout(PATIENCE, idle.join_next()).await.expect("told") {
        ages.push(told.expect("no panic").expect("told, not cut off"));
    }
    ages.sort();
    assert!(ages[0] >= Duration::from_millis(3_500), "{ages:?}");
    assert!(ages[45] <= Duration::from_millis(4_900), "{ages:?}");
    assert!(ages[49].saturating_sub(ages[0]) > Duration::from_millis(200), "{ages:?}");
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_flight_when_a_connection_grows_old_is_answered() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    let settings =
        [("server.max_connection_age", "1s"), ("replica.max_wait", "2s"), ("server.max_connection_age_grace", "3s")];
    let sidecar = Sidecar::ready(&home, &settings).await;
    let count = Arc::new(AtomicUsize::new(0));
    let mut client = counting(sidecar.tcp, &count).await;
    let token = ask(&mut client, newsletter("crm:1")).await.view.expect("a view").ledger_token;
    // It waits for what never comes, over the end of its connection.
    let waiting = tokio::spawn({
        let mut client = client.clone();
        let question = v1::Question { at_least_as_fresh: token_at(&token, 1 << 40), ..newsletter("crm:1") };
        async move { reason_again(&mut client, question).await }
    });
    // Another is asked on, and comes back.
    while !waiting.is_finished() {
        assert_eq!(reason_again(&mut client, newsletter("crm:1")).await, Reason::Consent);
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(waiting.await.expect("answered"), Reason::Stale);
    assert!(count.load(Ordering::Relaxed) > 1, "the connection did not grow old");

    // A stream that nobody ends is ended with the grace, and says so.
    let (_chunks, requests) = tokio::sync::mpsc::channel::<v1::MayProcessStreamRequest>(1);
    let began = Instant::now();
    let mut stream = client.may_process_stream(ReceiverStream::new(requests)).await.expect("answered").into_inner();
    let status = timeout(PATIENCE, stream.message()).await.expect("ended").expect_err("cut off");
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
    assert_ne!(status.code(), Code::Ok, "{status}");
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_without_an_age_stays() {
    let home = Home::with_catalogue();
    let sidecar = Sidecar::ready(&home, &[("server.max_connection_age", "off")]).await;
    let count = Arc::new(AtomicUsize::new(0));
    let mut client = counting(sidecar.tcp, &count).await;
    for _ in 0..30 {
        assert_eq!(reason(&mut client, newsletter("crm:1")).await, Reason::UnknownSubject);
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(count.load(Ordering::Relaxed), 1);
    sidecar.stop().await;
}
