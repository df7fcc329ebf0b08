//! The local page over HTTP, against the real sidecar: what it shows, whom it answers, and its limits. In a real browser:
//! `tests/page_browser.rs`.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/http.rs"]
mod http;
#[path = "support/sidecar.rs"]
mod sidecar;
#[path = "support/wanting.rs"]
mod wanting;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use consentd::proto::v1;
use data_encoding::BASE64;
use http::{Got, Http};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, Version};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use sidecar::{Home, Process, Sidecar, eventually, given, newsletter, now_ms, said, token_at, until_reason, withdrawn};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use wanting::Want;

const NAME: &str = "ayse.yilmaz.7711@example.org";

/// What makes a request one of the page's own.
type Headers<'h> = &'h [(&'h str, &'h str)];

/// A sidecar with a page, which may be asked on, and a ledger of two.
async fn site(more: &[(&str, &str)]) -> (Home, Sidecar) {
    let home = Home::with_catalogue();
    home.append(&given(&format!("crm:{NAME}")));
    home.append(&withdrawn("crm:2"));
    let settings = [&[("admin.tcp", "127.0.0.1:0")], more].concat();
    let sidecar = Sidecar::ready(&home, &settings).await;
    (home, sidecar)
}

/// A request with these headers and no other than the body's length.
async fn send(to: SocketAddr, method: &str, path: &str, headers: Headers<'_>, body: &[u8]) -> Got {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(body))).expect("a request");
    Http::tcp(to, Version::HTTP_11).await.send(request).await
}

/// Asks as the page does.
async fn ask(to: SocketAddr, path: &str, message: &Value) -> Got {
    let (host, origin) = (to.to_string(), format!("http://{to}"));
    let headers = [("host", &*host), ("origin", &*origin), ("content-type", "application/json")];
    send(to, "POST", path, &headers, message.to_string().as_bytes()).await
}

async fn show(to: SocketAddr, path: &str) -> Got {
    let host = to.to_string();
    send(to, "GET", path, &[("host", &host)], b"").await
}

async fn status(to: SocketAddr) -> Value {
    let got = show(to, "/status.json?range=minute").await;
    assert_eq!(got.status, 200);
    got.json()
}

fn text(got: &Got) -> &str {
    std::str::from_utf8(&got.body).expect("UTF-8")
}

fn header<'g>(got: &'g Got, name: &str) -> &'g str {
    got.headers.get(name).map_or("", |value| value.to_str().expect("text"))
}

/// A question as the page sends it, with what it leaves empty.
fn question(id: &str) -> Value {
    json!({ "question": {
        "subject": { "space": "crm", "id": id }, "purpose": "newsletter", "channel": "email", "recipient": "",
        "jurisdiction": "", "timeZone": "", "signals": { "tcf": "", "gpp": "" },
    }})
}

/// What one metric is, with its labels.
async fn metric(to: SocketAddr, series: &str) -> f64 {
    let got = show(to, "/metrics").await;
    let line = text(&got).lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no `{series}`"))
}

const REFUSED: &str = r#"consentd_refused_total{why="unknown_caller",wire="admin"}"#;
const APPENDED: &str = r#"consentd_evidence_records{stage="appended"}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_is_answered_as_over_grpc_and_leaves_evidence() {
    let (home, sidecar) = site(&[]).await;
    let admin = sidecar.admin.expect("a page");
    let mut client = sidecar.client();
    for (id, reason) in [(NAME, v1::Reason::Consent), ("2", v1::Reason::Withdrawn), ("3", v1::Reason::UnknownSubject)] {
        let asked = ask(admin, "/ask", &question(id)).await;
        assert_eq!(asked.status, 200, "{asked:?}");
        let page: v1::MayProcessResponse = serde_json::from_slice(&asked.body).expect("a response of the wire");
        let wire = sidecar::ask(&mut client, newsletter(&format!("crm:{id}"))).await;
        let (page_answer, wire_answer) = (page.answer.expect("an answer"), wire.answer.expect("an answer"));
        assert_eq!(page_answer.reason(), reason);
        assert_eq!((page_answer.verdict(), page_answer.status()), (wire_answer.verdict(), wire_answer.status()));
        assert_eq!(page.view.expect("a view").ledger_token, wire.view.expect("a view").ledger_token);
        assert_ne!(page.evidence_id, "");

        let explained = ask(admin, "/explain", &question(id)).await;
        let explained: v1::ExplainResponse = serde_json::from_slice(&explained.body).expect("a response of the wire");
        assert_eq!(explained.answer.expect("an answer").reason(), reason);
        assert!(explained.rules.len() > 20);
        // The first answer, by its evidence, which says who asked.
        let earlier =
            json!({ "question": { "subject": { "space": "crm", "id": id } }, "evidenceId": page.evidence_id });
        let again = ask(admin, "/explain", &earlier).await;
        let again: v1::ExplainResponse = serde_json::from_slice(&again.body).expect("a response of the wire");
        let recorded = again.replay.and_then(|replay| replay.recorded).expect("a record");
        assert_eq!((recorded.reason(), &*recorded.caller), (reason, "admin:page"));
    }
    // Three on the page, three over the wire, twice three explained: each counted, each with evidence.
    let shown = status(admin).await;
    assert_eq!(shown["evidence"]["appended"], json!(12));
    assert_eq!(shown["answers"]["by_reason"], json!({ "CONSENT": 4, "UNKNOWN_SUBJECT": 4, "WITHDRAWN": 4 }));
    drop(client);
    sidecar.stop().await;
    drop(home);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_page_of_this_machine_is_answered() {
    let (_home, sidecar) = site(&[("admin.ask", "true")]).await;
    let admin = sidecar.admin.expect("a page");
    let (host, origin) = (admin.to_string(), format!("http://{admin}"));
    let (own_host, own_origin, json_type) =
        (("host", &*host), ("origin", &*origin), ("content-type", "application/json"));
    let body = question(NAME).to_string();
    let strangers: [(&str, Headers<'_>); 9] = [
        ("no origin", &[own_host, json_type]),
        ("another origin", &[own_host, ("origin", "http://evil.example"), json_type]),
        ("an origin that says nothing", &[own_host, ("origin", "null"), json_type]),
        ("another port", &[own_host, ("origin", "http://127.0.0.1:1"), json_type]),
        ("another site", &[own_host, own_origin, ("sec-fetch-site", "cross-site"), json_type]),
        ("a name that was led here", &[("host", "evil.example"), ("origin", "http://evil.example"), json_type]),
        ("any address", &[("host", "0.0.0.0:7312"), ("origin", "http://0.0.0.0:7312"), json_type]),
        ("a proxy", &[own_host, own_origin, ("x-forwarded-for", "10.0.0.1"), json_type]),
        ("two hosts", &[own_host, ("host", "evil.example"), own_origin, json_type]),
    ];
    let refused = metric(admin, REFUSED).await;
    for (what, headers) in strangers {
        for path in ["/ask", "/explain"] {
            let got = send(admin, "POST", path, headers, body.as_bytes()).await;
            assert_eq!(got.status, 403, "{what}: {got:?}");
            assert!(got.json()["error"].is_string() && !text(&got).contains(NAME), "{what}");
            assert!(got.headers.get("access-control-allow-origin").is_none(), "{what}");
        }
    }
    assert!((metric(admin, REFUSED).await - refused - 18.0).abs() < f64::EPSILON);
    assert!(metric(admin, APPENDED).await.abs() < f64::EPSILON, "a stranger left evidence");
    // What a browser may send across without asking is no question here.
    for other in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx"] {
        let headers = [own_host, own_origin, ("content-type", other)];
        assert_eq!(send(admin, "POST", "/ask", &headers, body.as_bytes()).await.status, 415, "{other}");
    }
    // And before it may send another, it has to be told so.
    let preflight = [own_host, ("origin", "http://evil.example"), ("access-control-request-method", "POST")];
    let got = send(admin, "OPTIONS", "/ask", &preflight, b"").await;
    assert_eq!((got.status.as_u16(), header(&got, "allow")), (405, "POST"));
    assert!(got.headers.get("access-control-allow-origin").is_none());
    assert_eq!(ask(admin, "/ask", &question(NAME)).await.status, 200, "its own page may ask");
    sidecar.stop().await;
}

/// An address of this machine that others reach it by, if it has one.
fn outer_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: the kernel is only asked which way it would go. Source: RFC 5737, an address for documents.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback() && !address.is_unspecified())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_by_another_address_sees_and_does_not_ask() {
    for (listen, v6) in [("0.0.0.0:0", false), ("[::]:0", true)] {
        if v6 && TcpListener::bind("[::]:0").is_err() {
            Want::Ipv6.leave_out("this machine has none");
            continue;
        }
        let (_home, sidecar) = site(&[("admin.tcp", listen), ("admin.plaintext", "true")]).await;
        let port = sidecar.admin.expect("a page").port();
        let mut here = vec!["127.0.0.1", "127.0.0.2", "127.255.255.254"];
        if v6 {
            here.push("::1");
        }
        for address in here {
            let to = SocketAddr::new(address.parse().expect("an address"), port);
            assert_eq!(ask(to, "/ask", &question("2")).await.status, 200, "{to}");
            // A sidecar of this process was given no list of them; which are shown is another test's to say.
            assert_eq!(show(to, "/status.json").await.json()["settings"], json!([]), "{to}");
        }
        let Some(outer) = outer_address() else {
            Want::OuterAddress.leave_out("this machine has no address but its loopback");
            continue;
        };
        let to = SocketAddr::new(outer, port);
        let refused = metric(to, REFUSED).await;
        // Under its own name, and under a false one.
        let local = format!("localhost:{port}");
        let claimed = format!("http://{local}");
        let headers = [("host", &*local), ("origin", &*claimed), ("content-type", "application/json")];
        for got in [
            ask(to, "/ask", &question("2")).await,
            send(to, "POST", "/ask", &headers, question("2").to_string().as_bytes()).await,
            send(to, "POST", "/explain", &headers, question("2").to_string().as_bytes()).await,
        ] {
            assert_eq!(got.status, 403, "{got:?}");
            assert!(text(&got).contains("kubectl port-forward"), "{got:?}");
        }
        assert!((metric(to, REFUSED).await - refused - 3.0).abs() < f64::EPSILON);
        let page = send(to, "GET", "/", &headers[..1], b"").await;
        assert_eq!(page.status, 200);
        assert!(text(&page).contains("You may not ask here") && !text(&page).contains("<form"), "{}", text(&page));
        assert!(text(&page).contains("shown to somebody on this machine only"));
        assert_eq!(send(to, "GET", "/status.json", &headers[..1], b"").await.json()["settings"], Value::Null);
        sidecar.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_asks_where_the_configuration_does_not_have_it() {
    let callers = r#"[{ name = "mailer", uid = 0, purposes = ["newsletter"], channels = ["email"] }]"#;
    for (settings, asks) in [
        (&[("admin.ask", "false")][..], false),
        (&[("callers", callers)], false),
        (&[("callers", callers), ("admin.ask", "true")], true),
        (&[], true),
    ] {
        let (_home, sidecar) = site(settings).await;
        let admin = sidecar.admin.expect("a page");
        assert_eq!(ask(admin, "/ask", &question(NAME)).await.status, if asks { 200 } else { 404 }, "{settings:?}");
        assert_eq!(ask(admin, "/explain", &question(NAME)).await.status, if asks { 200 } else { 404 }, "{settings:?}");
        assert_eq!(text(&show(admin, "/").await).contains("<form"), asks, "{settings:?}");
        sidecar.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_question_is_told_without_repeating_it() {
    let (_home, sidecar) = site(&[]).await;
    let admin = sidecar.admin.expect("a page");
    let (host, origin) = (admin.to_string(), format!("http://{admin}"));
    let headers = [("host", &*host), ("origin", &*origin), ("content-type", "application/json; charset=utf-8")];
    for (body, status, told) in [
        (String::new(), 400, "cannot be read, at line 1"),
        (format!("{{\"question\":\"{NAME}\"}}"), 400, "cannot be read"),
        (format!("{{\"question\":{{\"subject\":\"{NAME}\"}}}}"), 400, "cannot be read"),
        (format!("{{\"question\":{{\"{NAME}\":1}}}}"), 400, "cannot be read"),
        ("{}".to_owned(), 400, "`question` is missing"),
        (question(&format!("{NAME}\u{0}")).to_string(), 400, "`question.subject.id` is malformed"),
        (
            json!({ "question": { "subject": { "space": NAME, "id": "1" } } }).to_string(),
            400,
            "`question.subject.space`",
        ),
        (
            json!({ "question": { "subject": { "space": "crm", "id": NAME } } }).to_string(),
            400,
            "`question.purpose` is missing",
        ),
        (question(&"x".repeat(64 << 10)).to_string(), 413, "larger than 65536 bytes"),
    ] {
        let got = send(admin, "POST", "/ask", &headers, body.as_bytes()).await;
        assert_eq!(got.status, status, "{got:?}");
        let error = got.json()["error"].as_str().expect("a sentence").to_owned();
        assert!(error.contains(told), "{error}");
        assert!(!error.contains("ayse") && !error.contains("example.org"), "{error}");
    }
    for (method, path) in
        [("GET", "/ask"), ("PUT", "/explain"), ("POST", "/"), ("DELETE", "/status.json"), ("POST", "/readyz")]
    {
        let got = send(admin, method, path, &headers, b"{}").await;
        assert_eq!(got.status, 405, "{method} {path}");
        assert_ne!(header(&got, "allow"), "", "{method} {path}");
    }
    assert_eq!(send(admin, "GET", "/nothing", &headers, b"").await.status, 404);
    assert!(metric(admin, APPENDED).await.abs() < f64::EPSILON);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_are_answered_at_once_and_the_others_are_told() {
    let (home, sidecar) = site(&[("replica.max_wait", "4s")]).await;
    let admin = sidecar.admin.expect("a page");
    let view = sidecar::ask(&mut sidecar.client(), newsletter("crm:2")).await.view.expect("a view");
    let position = home.ledger().metadata().expect("a ledger").len();
    // Each waits for what is not there yet.
    let mut waiting = question("2");
    waiting["question"]["atLeastAsFresh"] = json!(token_at(&view.ledger_token, position + 1000));
    let asked: Vec<_> = (0..6)
        .map(|_| {
            let waiting = waiting.clone();
            tokio::spawn(async move { ask(admin, "/ask", &waiting).await })
        })
        .collect();
    let mut statuses = Vec::new();
    for asked in asked {
        let got = asked.await.expect("no panic");
        if got.status == 429 {
            assert_eq!(header(&got, "retry-after"), "1");
        } else {
            assert_eq!(got.json()["answer"]["reason"], json!("REASON_STALE"));
        }
        statuses.push(got.status.as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 429, 429]);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_lets_nothing_run_but_its_own() {
    let (_home, sidecar) = site(&[]).await;
    let admin = sidecar.admin.expect("a page");
    let got = show(admin, "/").await;
    let page = text(&got);
    let policy = header(&got, "content-security-policy");
    let between = |open: &str, close: &str| {
        let parts: Vec<&str> = page.split(open).skip(1).filter_map(|rest| rest.split(close).next()).collect();
        assert_eq!(parts.len(), 1, "{open}");
        let hash = BASE64.encode(digest(&SHA256, parts[0].as_bytes()).as_ref());
        format!("-src 'sha256-{hash}'")
    };
    assert!(policy.contains(&format!("script{}", between("<script>", "</script>"))), "{policy}");
    assert!(policy.contains(&format!("style{}", between("<style>", "</style>"))), "{policy}");
    for directive in [
        "default-src 'none'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ] {
        assert!(policy.contains(directive), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{policy}");
    for (name, value) in [
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        for path in ["/", "/live", "/status.json", "/metrics", "/nothing"] {
            assert_eq!(header(&show(admin, path).await, name), value, "{path}");
        }
    }
    // No handlers in attributes, no styles in attributes, and nothing from elsewhere.
    let markup = page.split("<script>").next().expect("markup");
    for word in [" on", " style=", "http://", "https://", "javascript:", " src=", "@import", "url("] {
        let found = markup.match_indices(word).find(|(at, _)| {
            // Text may say it; an attribute may not.
            let open = markup[..*at].rfind('<').unwrap_or(0);
            !markup[open..*at].contains('>')
        });
        assert!(found.is_none(), "`{word}` at {found:?}");
    }
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_shows_what_is_so() {
    let home = Home::new();
    let sidecar = Sidecar::start(&home, &[("admin.tcp", "127.0.0.1:0"), ("evidence.flush_interval", "20ms")]).await;
    let admin = sidecar.admin.expect("a page");
    // No ledger yet: not ready, and why, and what to do.
    let shown = status(admin).await;
    assert_eq!((&shown["ready"], &shown["causes"][0]["what"]), (&json!(false), &json!("ledger")));
    assert!(shown["causes"][0]["why"].as_str().is_some_and(|why| why.len() > 10), "{shown}");
    assert!(shown["causes"][0]["do"].as_str().is_some_and(|todo| todo.len() > 20), "{shown}");
    let page = show(admin, "/").await;
    assert!(text(&page).contains("Not ready, because of: ledger") && text(&page).contains("What to do:"));
    assert!(text(&page).contains("<title>Not ready"), "{}", text(&page));

    home.append(&sidecar::catalogue(3));
    home.append(&said("crm:1", "newsletter", "email", "GIVEN", now_ms() - 1000));
    let position = home.append("what nobody can read");
    until_reason(&sidecar.client(), &newsletter("crm:1"), v1::Reason::Consent).await;
    let shown = eventually("it is ready and flushed", async || {
        let shown = status(admin).await;
        let is_flushed = shown["evidence"]["synced"] == shown["evidence"]["appended"];
        (shown["ready"] == json!(true) && is_flushed && shown["view"]["position"] == json!(position)).then_some(shown)
    })
    .await;
    let view = &shown["view"];
    assert_eq!((&view["ledger"], &view["catalogue_version"]), (&json!("following"), &json!(3)));
    assert_eq!(view["unreadable_events"], json!(1));
    assert!(view["staleness_seconds"].as_f64().is_some_and(|age| age < 5.0), "{view}");
    assert_eq!(shown["evidence"]["awaited"], json!("written"));
    assert_eq!(shown["evidence"]["poisoned"], Value::Null);
    assert_eq!(shown["connections"]["open_max"], json!(512));
    let page = show(admin, "/").await;
    for told in
        ["Ready: questions are answered", "value=\"newsletter.weekly\"", "value=\"sms\"", "An ALLOW waits for this."]
    {
        assert!(text(&page).contains(told), "{told}");
    }
    // Answers over time: in the second in which they were given, and in no other.
    for _ in 0..3 {
        ask(admin, "/ask", &question("no such")).await;
    }
    let over_time = eventually("they are counted", async || {
        let shown = status(admin).await;
        let buckets = shown["answers"]["over_time"]["buckets"].as_array().expect("buckets").clone();
        let counted = |bucket: &Value| bucket["by_reason"]["UNKNOWN_SUBJECT"].as_u64().unwrap_or(0);
        (buckets.iter().map(counted).sum::<u64>() >= 3).then_some(buckets)
    })
    .await;
    assert_eq!(over_time.len(), 60);
    assert_eq!(over_time[0]["by_reason"], Value::Null, "before the start nobody counted");
    assert_eq!(over_time[59]["whole"], json!(false));
    let page = show(admin, "/live?range=minute").await;
    assert!(text(&page).contains("DENY UNKNOWN_SUBJECT") && text(&page).contains("<svg"), "{}", text(&page));
    for (range, seconds) in [("minute", 1), ("10-minutes", 10), ("hour", 60), ("day", 1200), ("<b>", 10)] {
        let shown =
            show(admin, &format!("/status.json?range={range}").replace('<', "%3C").replace('>', "%3E")).await.json();
        assert_eq!(shown["answers"]["over_time"]["bucket_seconds"], json!(seconds), "{range}");
    }
    // Its metrics say the same.
    assert!((metric(admin, "consentd_catalogue_version").await - 3.0).abs() < f64::EPSILON);
    // The ledger goes away: it takes the readiness back.
    std::fs::remove_file(home.ledger()).expect("removed");
    eventually("it is not ready", async || (status(admin).await["ready"] == json!(false)).then_some(())).await;
    assert_eq!(show(admin, "/readyz").await.status, 503);
    sidecar.stop().await;
}

/// Connections that say nothing, and how many of them are kept.
fn silent(to: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(to).expect("connected")).collect()
}

fn is_closed(stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(20))).expect("set");
    matches!((&*stream).read(&mut [0; 1]), Ok(0))
        || (&*stream)
            .read(&mut [0; 1])
            .is_err_and(|error| !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_alone_keeps_probes_out() {
    let (_home, sidecar) = site(&[("admin.tcp", "0.0.0.0:0"), ("admin.plaintext", "true")]).await;
    let port = sidecar.admin.expect("a page").port();
    let one = SocketAddr::from(([127, 0, 0, 1], port));
    let began = Instant::now();
    let held = tokio::task::spawn_blocking(move || silent(one, 40)).await.expect("no panic");
    // Those beyond its share are closed at once; the others have theirs for a while.
    let held = tokio::task::spawn_blocking(move || {
        let count = || held.iter().filter(|stream| is_closed(stream)).count();
        while count() < 8 && began.elapsed() < Duration::from_secs(5) {}
        // Nobody else is, a moment later.
        std::thread::sleep(Duration::from_millis(100));
        (count(), held)
    });
    let (closed, held) = held.await.expect("no panic");
    assert_eq!(closed, 8);
    // From another address there is room.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).expect("bound");
    let mut stream = socket.connect(one).await.expect("connected");
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("alive\n"), "{answer}");
    // Whoever says nothing is not waited for.
    let all_closed = tokio::task::spawn_blocking(move || {
        held.iter().all(|stream| {
            let left = Duration::from_secs(20).saturating_sub(began.elapsed()).max(Duration::from_millis(1));
            stream.set_read_timeout(Some(left)).expect("set");
            matches!((&*stream).read(&mut [0; 1]), Ok(0) | Err(_)) && began.elapsed() < Duration::from_secs(20)
        })
    });
    assert!(all_closed.await.expect("no panic"));
    assert!(began.elapsed() > Duration::from_secs(5), "they had no time to speak");
    assert_eq!(show(one, "/livez").await.status, 200);
    // Nor is a head without end.
    let endless = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(64 << 10));
    let said = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(one).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
        let _ = stream.write_all(endless.as_bytes());
        let mut said = [0; 12];
        let _ = stream.read(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    });
    assert_eq!(said.await.expect("no panic"), "HTTP/1.1 431");
    sidecar.stop().await;
}

/// The processor time of a process's threads, in the kernel's ticks: of the page's, and of all others.
fn ticks(pid: u32) -> (f64, f64) {
    let (mut page, mut others) = (0.0, 0.0);
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).expect("threads") {
        // One may end meanwhile.
        let Ok(stat) = std::fs::read_to_string(thread.expect("a thread").path().join("stat")) else { continue };
        let (name, figures) = stat.rsplit_once(')').expect("a name");
        let figures: Vec<i32> = figures.split(' ').take(16).filter_map(|figure| figure.parse().ok()).collect();
        // User and system time. The state, which is no number, stands before them. Source: proc(5), fields 14 and 15.
        let taken = f64::from(figures[10] + figures[11]);
        if name.ends_with("(consentd-admin") { page += taken } else { others += taken }
    }
    (page, others)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_in_effect_is_shown_on_this_machine_with_what_set_it() {
    let home = Home::with_catalogue();
    let mut process = Process::spawn(&home, &[("admin.tcp", "127.0.0.1:0"), ("server.workers", "3")]);
    sidecar::until_serving(&process.connect().await).await;
    let admin = home.admin();
    let settings = show(admin, "/status.json").await.json()["settings"].clone();
    let of = |key: &str| settings.as_array().into_iter().flatten().find(|own| own["key"] == key).cloned();
    let workers = of("server.workers").expect("a setting");
    assert_eq!(workers["value"], json!("3"), "{workers}");
    assert!(workers["set_by"].is_string(), "{workers}");
    let wait = of("replica.max_wait").expect("a setting");
    assert_eq!(wait["set_by"], Value::Null, "{wait}");
    let page = show(admin, "/").await;
    let row = "<th scope=\"row\"><code>server.workers</code></th><td class=\"text\"><code>3</code></td>";
    assert!(text(&page).contains(row), "{}", text(&page));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_looked_at_takes_nothing_from_those_that_answer() {
    // A kernel's tick is a hundredth of a second: so many are enough to tell a share of them.
    const TICKS: f64 = 20.0;
    // What may be taken at once, and in each second.
    const AT_ONCE: f64 = 10.0;
    const EACH_SECOND: f64 = 5.0;
    let home = Home::with_catalogue();
    let mut process = Process::spawn(&home, &[("admin.tcp", "127.0.0.1:0"), ("server.workers", "1")]);
    sidecar::until_serving(&process.connect().await).await;
    let admin = home.admin();
    // What is done at the start is done.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let idle = ticks(process.pid());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = ticks(process.pid());
    let began = Instant::now();
    let mut tab = Http::tcp(admin, Version::HTTP_11).await;
    let mut looks = 0;
    while ticks(process.pid()).0 - before.0 <= TICKS {
        let path = ["/live?range=day", "/metrics", "/"][looks % 3];
        assert_eq!(tab.ask("GET", path, &[], b"").await.status, 200);
        looks += 1;
    }
    let after = ticks(process.pid());
    let page = after.0 - before.0;
    // What the others do while nobody looks, for as long.
    let idle_share = (before.1 - idle.1) * began.elapsed().as_secs_f64() / 2.0;
    let others = after.1 - before.1 - idle_share;
    let most = AT_ONCE + EACH_SECOND * began.elapsed().as_secs_f64() + 3.0;
    assert!(page < most, "{looks} looks took {page} ticks, and {most} at most are theirs");
    // Nobody who probes waits for them.
    let probed = Instant::now();
    assert_eq!(Http::tcp(admin, Version::HTTP_11).await.ask("GET", "/readyz", &[], b"").await.status, 200);
    let probe_took = probed.elapsed();
    assert!(probe_took < Duration::from_secs(1), "{probe_took:?}");
    assert!(others < page / 10.0 + 5.0, "{looks} looks: {page} ticks of the page's thread, {others} of others");
}
