//! TLS of the real sidecar: what it starts with, whom it speaks to, and files that are replaced while it serves.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/sidecar.rs"]
mod sidecar;
#[path = "support/tls.rs"]
mod tls;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use consentd::app;
use consentd::clock::Clock;
use consentd::proto::v1::Reason;
use sidecar::{Client, Home, Process, Sidecar, eventually, newsletter, page, reason};
use tls::{Authority, Files, Versions, YEAR_2050, borrowed, connect, shake_hands, turn_link};
use tokio::io::AsyncReadExt as _;
use tokio_rustls::rustls::{HandshakeKind, ProtocolVersion};
use tonic::transport::Channel;

/// Makes one of a server's files a bad one.
type Spoil = fn(&Files);

/// The sentence with which a sidecar does not start.
async fn refusal(home: &Home, settings: &[(&str, &str)]) -> String {
    match app::build(&home.config(settings), Clock::system()).await {
        Ok(_) => panic!("it starts"),
        Err(error) => error.to_string(),
    }
}

/// A metric's value on the page.
fn metric(sidecar: &Sidecar, line: &str) -> f64 {
    let (_, text) = page(sidecar.admin.expect("a page"), "/metrics");
    let found = text.lines().find_map(|shown| shown.strip_prefix(line)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no `{line}` in:\n{text}")).parse().expect("a number")
}

async fn answers(channel: &Channel) {
    assert_eq!(reason(&mut Client::new(channel.clone()), newsletter("crm:1")).await, Reason::UnknownSubject);
}

#[tokio::test]
async fn every_bad_file_is_named_and_nothing_starts() {
    let home = Home::with_catalogue();
    let authority = Authority::new("one");
    let (own, other) = (authority.server(), authority.server());
    let spoil: [(&str, Spoil, &str); 11] = [
        (
            "tls.crt",
            |files| std::fs::remove_file(files.cert()).expect("removed"),
            "cannot read the certificate `F`: No such",
        ),
        (
            "tls.key",
            |files| std::fs::remove_file(files.key()).expect("removed"),
            "cannot read the private key `F`: No such",
        ),
        (
            "ca.crt",
            |files| blocked(&files.client_ca()),
            "cannot read the certificates of the callers' authorities `F`: Is a",
        ),
        (
            "tls.crt",
            |files| std::fs::write(files.cert(), "").expect("written"),
            "the certificate `F`: there is no certificate in it",
        ),
        ("tls.crt", |files| swap(&files.cert(), &files.key()), "the certificate `F`: there is no certificate in it"),
        ("tls.crt", |files| garbage(&files.cert(), "CERTIFICATE"), "the certificate `F`: when it ends cannot be read"),
        (
            "tls.key",
            |files| std::fs::write(files.key(), "hunter2").expect("written"),
            "the private key `F`: there is no private key in it",
        ),
        ("tls.key", |files| garbage(&files.key(), "PRIVATE KEY"), "cannot use the private key `F`: "),
        ("tls.key", |files| endless(&files.key()), "the private key `F`: it is larger than 1 MiB"),
        (
            "ca.crt",
            |files| std::fs::write(files.client_ca(), "hunter2").expect("written"),
            "authorities `F`: there is no certificate in it",
        ),
        (
            "ca.crt",
            |files| garbage(&files.client_ca(), "CERTIFICATE"),
            "certificates of the callers' authorities `F`: ",
        ),
    ];
    for (place, (name, spoil, said)) in spoil.into_iter().enumerate() {
        let files = Files::write(home.path(&format!("tls-{place}")), &own, Some(&authority));
        let settings = files.settings();
        spoil(&files);
        let told = refusal(&home, &borrowed(&settings, &[])).await;
        let file = home.path(&format!("tls-{place}")).join(name);
        let said = said.replace("`F`", &format!("`{}`", file.display()));
        assert!(told.contains(&said), "{told}\nis not\n{said}");
        assert!(!told.contains("hunter2"), "{told}");
    }
    let files = Files::write(home.path("mixed"), &own, None);
    std::fs::write(files.key(), &other.key).expect("written");
    let told = refusal(&home, &borrowed(&files.settings(), &[])).await;
    let (key, cert) = (files.key(), files.cert());
    assert_eq!(
        told,
        format!("the private key `{}` is not that of the certificate `{}`", key.display(), cert.display())
    );
    // Nothing was begun: what is refused here has no evidence folder, and starts once it is mended.
    assert!(!home.data().join("evidence").exists());
    std::fs::write(files.key(), &own.key).expect("written");
    Sidecar::ready(&home, &borrowed(&files.settings(), &[])).await.stop().await;
}

fn swap(one: &Path, other: &Path) {
    std::fs::copy(other, one).expect("copied");
}

/// Something that cannot be read even by root.
fn blocked(path: &Path) {
    std::fs::remove_file(path).expect("removed");
    std::fs::create_dir(path).expect("made");
}

fn endless(path: &Path) {
    std::fs::remove_file(path).expect("removed");
    std::os::unix::fs::symlink("/dev/zero", path).expect("linked");
}

fn garbage(path: &Path, label: &str) {
    std::fs::write(path, format!("-----BEGIN {label}-----\nMAAA\n-----END {label}-----\n")).expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_of_version_1_3_names_its_protocol_and_resumes_nothing() {
    let home = Home::with_catalogue();
    let authority = Authority::new("one");
    let files = Files::write(home.path("tls"), &authority.server(), None);
    let settings = files.settings();
    let sidecar = Sidecar::ready(&home, &borrowed(&settings, &[])).await;
    let newest = Arc::new(tls::client(&authority, None, Versions::Newest));
    for _ in 0..3 {
        let mut stream = shake_hands(sidecar.tcp, Arc::clone(&newest)).await.expect("shaken");
        {
            let (_, session) = stream.get_ref();
            assert_eq!(session.protocol_version(), Some(ProtocolVersion::TLSv1_3));
            assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
            assert_eq!(session.handshake_kind(), Some(HandshakeKind::Full), "nothing is resumed");
        }
        // Time for a ticket to come, were one sent; what HTTP/2 itself has to say is read on the way.
        let read = async { while stream.read_u8().await.is_ok() {} };
        tokio::time::timeout(Duration::from_millis(200), read).await.expect_err("the connection stays");
        assert_eq!(stream.get_ref().1.tls13_tickets_received(), 0);
    }
    let older = || Arc::new(tls::client(&authority, None, Versions::Only12));
    assert!(shake_hands(sidecar.tcp, older()).await.is_err(), "1.2 is not spoken by default");
    answers(&connect(sidecar.tcp, &authority, None).await.expect("connected")).await;
    // Plain text is not answered there.
    let mut plain = Client::connect(format!("http://{}", sidecar.tcp)).await.expect("a connection, nothing more");
    let asked = consentd::proto::v1::MayProcessRequest { question: Some(newsletter("crm:1")) };
    plain.may_process(asked).await.expect_err("not TLS");
    sidecar.stop().await;

    let sidecar = Sidecar::ready(&home, &borrowed(&settings, &[("server.tls_min_version", "1.2")])).await;
    for (client, version) in [(older(), ProtocolVersion::TLSv1_2), (newest, ProtocolVersion::TLSv1_3)] {
        let again = shake_hands(sidecar.tcp, Arc::clone(&client)).await.expect("shaken");
        assert_eq!(again.get_ref().1.protocol_version(), Some(version));
        let again = shake_hands(sidecar.tcp, client).await.expect("shaken");
        assert_eq!(again.get_ref().1.handshake_kind(), Some(HandshakeKind::Full), "nothing is resumed");
    }
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_certificate_of_the_authority_is_not_spoken_to() {
    let home = Home::with_catalogue();
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let files = Files::write(home.path("tls"), &ours.server(), Some(&ours));
    let settings = files.settings();
    let sidecar = Sidecar::ready(&home, &borrowed(&settings, &[("admin.tcp", "127.0.0.1:0")])).await;
    let refused = "consentd_refused_total{why=\"handshake\",wire=\"connection\"}";
    assert!(metric(&sidecar, refused).abs() < f64::EPSILON);
    let known = ours.client(&["spiffe://example.org/mailer"]);
    answers(&connect(sidecar.tcp, &ours, Some(&known)).await.expect("connected")).await;
    let strangers = [None, Some(theirs.client(&["spiffe://example.org/mailer"])), Some(ours.server())];
    for stranger in &strangers {
        // With TLS 1.3 a client learns of it with the first thing it reads.
        let config = Arc::new(tls::client(&ours, stranger.as_ref(), Versions::Newest));
        let mut stream = shake_hands(sidecar.tcp, config).await.expect("the client's half");
        let error = stream.read_u8().await.expect_err("refused");
        assert_ne!(error.kind(), ErrorKind::TimedOut, "{error}");
    }
    eventually("three were refused", async || ((metric(&sidecar, refused) - 3.0).abs() < 0.5).then_some(())).await;
    sidecar.stop().await;
}

/// A server's certificate as a client of a new connection sees it.
async fn shown(sidecar: &Sidecar, believed: &Authority, caller: &tls::Pair) -> Option<Vec<u8>> {
    let config = Arc::new(tls::client(believed, Some(caller), Versions::Newest));
    let stream = shake_hands(sidecar.tcp, config).await.ok()?;
    Some(stream.get_ref().1.peer_certificates()?.first()?.to_vec())
}

async fn is_taken(sidecar: &Sidecar, believed: &Authority, caller: &tls::Pair) -> bool {
    let Ok(channel) = connect(sidecar.tcp, believed, Some(caller)).await else { return false };
    let asked = consentd::proto::v1::MayProcessRequest { question: Some(newsletter("crm:1")) };
    Client::new(channel).may_process(asked).await.is_ok()
}

/// Leaf and authority are replaced as Kubernetes does it. The old connection is asked over all the while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_replaced_without_dropping_a_connection() {
    let home = Home::with_catalogue();
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    Files::write(home.path("1"), &first.server(), Some(&first));
    Files::write(home.path("2"), &second.server_until(YEAR_2050 + 1), Some(&second));
    let link = home.path("data-link");
    turn_link(&link, &home.path("1"));
    let mounted = Files::write(link.clone(), &first.server(), Some(&first));
    let settings = mounted.settings();
    let sidecar = Sidecar::ready(&home, &borrowed(&settings, &[("admin.tcp", "127.0.0.1:0")])).await;
    let callers = [first.client(&["spiffe://example.org/a"]), second.client(&["spiffe://example.org/a"])];

    let old = connect(sidecar.tcp, &first, Some(&callers[0])).await.expect("connected");
    let asking = tokio::spawn({
        let old = old.clone();
        async move {
            let mut asked = 0_u32;
            loop {
                answers(&old).await;
                asked += 1;
                tokio::task::yield_now().await;
                if asked == u32::MAX {
                    return;
                }
            }
        }
    });
    assert!(!is_taken(&sidecar, &first, &callers[1]).await, "the second authority is not believed yet");
    let before = shown(&sidecar, &first, &callers[0]).await.expect("shown");
    turn_link(&link, &home.path("2"));
    eventually("the new files are in force", async || is_taken(&sidecar, &second, &callers[1]).await.then_some(()))
        .await;
    let after = shown(&sidecar, &second, &callers[1]).await.expect("shown");
    assert_ne!(before, after);
    assert!(!is_taken(&sidecar, &second, &callers[0]).await, "the first authority is not believed any more");
    assert!((metric(&sidecar, "consentd_tls_ends_timestamp_seconds") - 2_524_608_001.0).abs() < 0.5);
    // It has not failed, and has not been made anew: that could not be with its certificate.
    answers(&old).await;
    assert!(!asking.is_finished(), "the old connection was dropped");
    asking.abort();
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_new_files_leave_the_old_in_force_and_alarm() {
    let home = Home::with_catalogue();
    let authority = Authority::new("one");
    let files = Files::write(home.path("tls"), &authority.server(), Some(&authority));
    let settings = files.settings();
    let sidecar = Sidecar::ready(&home, &borrowed(&settings, &[("admin.tcp", "127.0.0.1:0")])).await;
    let caller = authority.client(&["spiffe://example.org/a"]);
    let before = shown(&sidecar, &authority, &caller).await.expect("shown");
    let failing = "consentd_tls_renewal_failing";
    let becomes = async |wanted: f64| {
        let is = async || ((metric(&sidecar, failing) - wanted).abs() < f64::EPSILON).then_some(());
        eventually("the alarm changes", is).await;
    };

    let old = std::fs::read(files.cert()).expect("read");
    let spoil: [Spoil; 4] = [
        |files| std::fs::write(files.cert(), "").expect("written"),
        |files| std::fs::write(files.cert(), Authority::new("x").server().cert).expect("written"),
        |files| std::fs::remove_file(files.cert()).expect("removed"),
        |files| {
            garbage(&files.cert(), "CERTIFICATE");
        },
    ];
    for spoil in spoil {
        spoil(&files);
        becomes(1.0).await;
        assert_eq!(shown(&sidecar, &authority, &caller).await.as_ref(), Some(&before), "the old one is shown");
        assert!(is_taken(&sidecar, &authority, &caller).await);
        std::fs::write(files.cert(), &old).expect("written");
        becomes(0.0).await;
    }
    // A key that comes after its certificate: in between the old pair is in force, and then the new one.
    let fresh = authority.server();
    std::fs::write(files.cert(), &fresh.cert).expect("written");
    becomes(1.0).await;
    std::fs::write(files.key(), &fresh.key).expect("written");
    becomes(0.0).await;
    assert_ne!(shown(&sidecar, &authority, &caller).await.as_ref(), Some(&before));
    sidecar.stop().await;
}

/// The sidecar's own commands, as an operator tries whether it answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ask_speaks_tls() {
    let home = Home::with_catalogue();
    let authority = Authority::new("one");
    let files = Files::write(home.path("tls"), &authority.server(), Some(&authority));
    let settings = files.settings();
    let sidecar = Sidecar::ready(&home, &borrowed(&settings, &[])).await;
    let own = Files::write(home.path("own"), &authority.client(&["spiffe://example.org/a"]), Some(&authority));
    let ask = async |more: &[(&str, PathBuf)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_consentd"));
        let question = ["ask", "crm:1", "newsletter", "--channel=email", "--address"];
        command.args(question).arg(sidecar.tcp.to_string()).env_clear();
        for (flag, file) in more {
            command.arg(flag).arg(file);
        }
        tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("it runs")
    };
    let (ca, cert, key) = (("--tls-ca", own.client_ca()), ("--tls-cert", own.cert()), ("--tls-key", own.key()));
    let answered = ask(&[ca.clone(), cert.clone(), key.clone()]).await;
    assert_eq!(answered.status.code(), Some(1), "{answered:?}");
    assert!(String::from_utf8_lossy(&answered.stdout).starts_with("DENY  UNKNOWN_SUBJECT"), "{answered:?}");
    for incomplete in [&[], std::slice::from_ref(&ca), &[cert, key], &[ca.clone(), ("--tls-cert", own.cert())]] {
        let refused = ask(incomplete).await;
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    }
    sidecar.stop().await;
}

/// What an operator reads in the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_tells_of_what_is_wrong_and_of_an_end_that_is_near() {
    let home = Home::with_catalogue();
    let authority = Authority::new("one");
    let far = authority.server();
    let files = Files::write(home.path("tls"), &far, None);
    let settings = [files.settings(), vec![("server.tcp", "127.0.0.1:0".to_owned())]].concat();
    let mut process = Process::spawn(&home, &borrowed(&settings, &[]));
    process.connect().await;
    let logged = async |wanted: &str| {
        let what = format!("the log tells of `{wanted}`");
        let read = || std::fs::read_to_string(home.log()).unwrap_or_default();
        eventually(&what, async || read().contains(wanted).then_some(())).await;
    };
    std::fs::write(files.key(), "not a key").expect("written");
    logged("the TLS files cannot be used; those loaded before stay in force").await;
    logged(&format!("cannot use the private key `{}`: there is no private key in it", files.key().display())).await;
    std::fs::write(files.key(), &far.key).expect("written");
    logged("the TLS files are again those in force").await;

    let now = u64::try_from(sidecar::now_ms() / 1000).expect("after 1970");
    for (ends, told) in [
        (now + 86_400, "the TLS certificate ends soon, and was not replaced"),
        (now - 86_400, "the TLS certificate has ended; callers refuse it"),
    ] {
        let next = authority.server_until(ends);
        std::fs::write(files.cert(), &next.cert).expect("written");
        std::fs::write(files.key(), &next.key).expect("written");
        logged(told).await;
    }
    logged("the TLS files were replaced; new connections begin with them").await;
    process.terminate();
    assert!(process.ended().await.success());
}
