//! A relay in the test, between two programs that speak TCP: it cuts, stalls, delays and slows what passes, each way for
//! itself. It reads no more than it may pass on, so that whoever sends feels a stalled or slow link as on a network, and
//! what was on its way when a link stalled arrives when it is free again.

#![allow(dead_code, reason = "each test file takes what it needs")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// The most that is read at once.
const CHUNK_BYTES: usize = 16 * 1024;
/// How many pieces may be on their way in a link with a delay.
const PIECES: usize = 256;

/// One way through a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From who connected to who listens.
    There,
    /// From who listens to who connected.
    Back,
}

/// How one way passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Link {
    /// Nothing passes, and the connection stands.
    pub(crate) stalled: bool,
    /// How long everything is under way.
    pub(crate) delay: Duration,
    /// How much passes, if there is a limit.
    pub(crate) bytes_per_second: Option<u32>,
}

/// How all of it passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Links {
    /// Grows with each cut: connections of before are closed.
    cuts: u64,
    /// Nobody gets a connection.
    is_cut: bool,
    there: Link,
    back: Link,
}

/// A relay to one address. It ends with the test.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) port: u16,
    links: watch::Sender<Links>,
}

impl Relay {
    /// A relay to a port of the loopback on a free port.
    pub(crate) fn start(target: u16) -> Self {
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, target));
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        listener.set_nonblocking(true).expect("set");
        let _in_runtime = runtime().enter();
        let listener = TcpListener::from_std(listener).expect("taken over");
        let (links, _) = watch::channel(Links::default());
        runtime().spawn(accept(listener, target, links.clone()));
        Self { port, links }
    }

    /// Sets one way.
    pub(crate) fn set(&self, way: Way, link: Link) {
        self.links.send_modify(|links| match way {
            Way::There => links.there = link,
            Way::Back => links.back = link,
        });
    }

    /// Sets both ways.
    pub(crate) fn set_both(&self, link: Link) {
        self.links.send_modify(|links| (links.there, links.back) = (link, link));
    }

    /// Closes all connections and takes no other until [`Relay::mend`].
    pub(crate) fn cut(&self) {
        self.links.send_modify(|links| {
            links.cuts += 1;
            links.is_cut = true;
        });
    }

    /// Lets everything pass again, at once.
    pub(crate) fn mend(&self) {
        self.links.send_modify(|links| {
            *links = Links { cuts: links.cuts, ..Links::default() };
        });
    }
}

impl Links {
    /// A way as it is in fact: what is cut passes nothing, even before its connections are closed.
    fn way(&self, link: Link) -> Link {
        Link { stalled: link.stalled || self.is_cut, ..link }
    }
}

impl Link {
    /// Nothing passes, and the connection stands.
    pub(crate) fn stalled() -> Self {
        Self { stalled: true, ..Self::default() }
    }
}

/// One runtime for all relays, so that a test that blocks does not stall them.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("relay").enable_all().build().expect("a runtime")
    })
}

async fn accept(listener: TcpListener, target: SocketAddr, links: watch::Sender<Links>) {
    // Until the relay is dropped: its sender is one, ours another.
    while links.sender_count() > 1 {
        let Ok(accepted) = tokio::time::timeout(Duration::from_millis(200), listener.accept()).await else { continue };
        let Ok((near, _)) = accepted else { continue };
        if links.borrow().is_cut {
            continue;
        }
        tokio::spawn(connection(near, target, links.subscribe()));
    }
}

async fn connection(near: TcpStream, target: SocketAddr, mut links: watch::Receiver<Links>) {
    let cuts = links.borrow().cuts;
    let Ok(far) = TcpStream::connect(target).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let there = pass(near_read, far_write, links.clone(), |links| links.way(links.there));
    let back = pass(far_read, near_write, links.clone(), |links| links.way(links.back));
    tokio::select! {
        // Either end closes the whole, as programs that lose one way of a connection do.
        () = there => {}
        () = back => {}
        _ = links.wait_for(|links| links.cuts != cuts) => {}
    }
}

/// Passes one way on until it ends.
async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    links: watch::Receiver<Links>,
    way: impl Fn(&Links) -> Link + Copy,
) {
    let (pieces, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
    let mut reading = links.clone();
    let read = async move {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            if reading.wait_for(|links| !way(links).stalled).await.is_err() {
                return;
            }
            let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
            let link = way(&reading.borrow());
            if let Some(limit) = link.bytes_per_second {
                sleep(Duration::from_secs_f64(f64::from(u32::try_from(length).expect("small")) / f64::from(limit)))
                    .await;
            }
            if pieces.send((Instant::now() + link.delay, buffer[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let mut writing = links;
    let write = async move {
        while let Some((due, piece)) = arriving.recv().await {
            sleep_until(due).await;
            if writing.wait_for(|links| !way(links).stalled).await.is_err() || to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}
