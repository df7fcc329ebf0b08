//! The relay that the fault tests put between programs: a fault that it does not make would be a test that cannot fail.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/relay.rs"]
mod relay;

use std::time::{Duration, Instant};

use relay::{Link, Relay, Way};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(10);

/// Both ends of a connection through a relay.
async fn through(relay: &Relay, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let near = TcpStream::connect(("127.0.0.1", relay.port)).await.expect("connected");
    let (far, _) = timeout(LONG, listener.accept()).await.expect("in time").expect("accepted");
    (near, far)
}

async fn listening() -> (Relay, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    (Relay::start(port), listener)
}

/// What arrives within a time; nothing if nothing does. Zero bytes are the end.
async fn arrives(at: &mut TcpStream, within: Duration) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 64];
    let read = timeout(within, at.read(&mut buffer)).await.ok()?;
    // A connection that was reset has ended, too.
    buffer.truncate(read.unwrap_or(0));
    Some(buffer)
}

#[tokio::test]
async fn a_stalled_way_keeps_what_it_has_and_the_other_way_passes() {
    let (relay, listener) = listening().await;
    let (mut near, mut far) = through(&relay, &listener).await;
    relay.set(Way::There, Link::stalled());
    near.write_all(b"one").await.expect("sent");
    far.write_all(b"two").await.expect("sent");
    assert_eq!(arrives(&mut near, LONG).await.as_deref(), Some(&b"two"[..]));
    assert_eq!(arrives(&mut far, SHORT).await, None, "it passed a way that is stalled");
    relay.mend();
    assert_eq!(arrives(&mut far, LONG).await.as_deref(), Some(&b"one"[..]));
}

#[tokio::test]
async fn a_cut_ends_connections_and_takes_none_until_it_is_mended() {
    let (relay, listener) = listening().await;
    let (mut near, mut far) = through(&relay, &listener).await;
    relay.cut();
    assert_eq!(arrives(&mut near, LONG).await.as_deref(), Some(&b""[..]));
    assert_eq!(arrives(&mut far, LONG).await.as_deref(), Some(&b""[..]));
    let mut refused = TcpStream::connect(("127.0.0.1", relay.port)).await.expect("the port is there");
    assert_eq!(arrives(&mut refused, LONG).await.as_deref(), Some(&b""[..]));
    relay.mend();
    let (mut near, mut far) = through(&relay, &listener).await;
    near.write_all(b"again").await.expect("sent");
    assert_eq!(arrives(&mut far, LONG).await.as_deref(), Some(&b"again"[..]));
}

#[tokio::test]
async fn a_delay_holds_and_does_not_slow() {
    let (relay, listener) = listening().await;
    let (mut near, mut far) = through(&relay, &listener).await;
    let delay = Duration::from_millis(200);
    relay.set(Way::Back, Link { delay, ..Link::default() });
    let began = Instant::now();
    for piece in [b"a", b"b", b"c", b"d", b"e"] {
        far.write_all(piece).await.expect("sent");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let mut all = vec![0; 5];
    timeout(LONG, near.read_exact(&mut all)).await.expect("in time").expect("read");
    let took = began.elapsed();
    assert_eq!(all, b"abcde");
    assert!(took >= delay && took < delay * 4, "each was held after the other, or not at all: {took:?}");
}

#[tokio::test]
async fn a_slow_way_passes_so_much_a_second() {
    let (relay, listener) = listening().await;
    let (mut near, mut far) = through(&relay, &listener).await;
    relay.set(Way::There, Link { bytes_per_second: Some(100_000), ..Link::default() });
    let began = Instant::now();
    let sent = tokio::spawn(async move {
        near.write_all(&vec![7; 50_000]).await.expect("sent");
        near
    });
    let mut all = vec![0; 50_000];
    timeout(LONG, far.read_exact(&mut all)).await.expect("in time").expect("read");
    let took = began.elapsed();
    assert!(took > Duration::from_millis(300), "half a second's worth took {took:?}");
    drop(sent.await.expect("sent"));
}
