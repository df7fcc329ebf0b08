//! The listener: HTTP/1.1 with limits, on a thread of its own.
//!
//! On a sidecar of one worker every microsecond of a page would be one that answers wait for. A thread of its own, which
//! gives way to the others, is scheduled beside them by the kernel instead.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::codegen::Service as _;

use super::pace::Pace;

/// Connections at once. A browser opens six, Prometheus and a kubelet one each.
const CONNECTIONS_MAX: usize = 64;
/// Connections at once from one address, so that nobody alone keeps probes out.
const CONNECTIONS_OF_PEER_MAX: usize = 32;
/// How long the head of a request may take, and how long a connection may be idle.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// The largest head of a request, and what is kept of a body or an answer on its way. hyper takes no less than 8 KiB.
const BUFFER_BYTES_MAX: usize = 32 << 10;
/// How long a connection lives: nobody who takes no byte of an answer keeps its place for longer.
const CONNECTION_AGE_MAX: Duration = Duration::from_mins(2);
/// How long what is in flight may take then.
const CONNECTION_GRACE: Duration = Duration::from_secs(5);
/// Time to wait after accepting failed, as it does while there are no file descriptors left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// What is answered at once, whatever else is asked for: it takes next to nothing, and a kubelet waits for it.
const PROBES: [&str; 2] = ["/livez", "/readyz"];
/// How much this thread gives way to those that answer: between two that both want to run it has a quarter.
const NICENESS: i32 = 5;

/// Both ends of the connection that a request came over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
}

/// Serves a router until `stop` is done and every connection has ended, on a thread of its own.
///
/// # Errors
/// The listener cannot be served, or no thread is to be had.
///
/// # Cancel safety
/// When it is dropped the thread ends, and its connections with it.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    // A listener belongs to the runtime that it was made in.
    let listener = listener.into_std()?;
    let (ended, end) = oneshot::channel();
    let (held, mut dropped) = oneshot::channel::<Infallible>();
    let page = move || {
        // Where it may not be nicer, it is as nice as the others.
        let _ = rustix::process::setpriority_process(None, NICENESS);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener)?;
            tokio::select! {
                () = accept(listener, router, stop) => {}
                _ = &mut dropped => {}
            }
            Ok(())
        })
    };
    std::thread::Builder::new().name("consentd-admin".to_owned()).spawn(move || {
        // Nobody waits for it where the other end was dropped.
        let _ = ended.send(page());
    })?;
    let served = end.await.unwrap_or_else(|_| Err(io::Error::other("the thread of the local page panicked")));
    drop(held);
    served
}

/// Serves the connections until `stop` is done, and then until they have ended.
async fn accept(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let (stopping, stopped) = watch::channel(false);
    let places = Places::new();
    let pace = Arc::new(Pace::new());
    let mut serving = JoinSet::new();
    let accepting = async {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = serving.join_next() => continue,
            };
            match accepted {
                Ok((stream, peer)) => {
                    // Whoever has too many already is closed at once; where all are taken, the next waits.
                    if let Some(place) = places.take(peer.ip()).await {
                        let pace = Arc::clone(&pace);
                        serving.spawn(connection(stream, peer, router.clone(), pace, stopped.clone(), place));
                    }
                }
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
                Err(error) => {
                    tracing::warn!(%error, "a connection to the local page could not be accepted");
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = stop => {}
    }
    drop(listener);
    let _ = stopping.send(true);
    while serving.join_next().await.is_some() {}
}

/// Serves one connection until it ends: by the other side, by its age, or because serving stops.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    pace: Arc<Pace>,
    mut stopped: watch::Receiver<bool>,
    _place: Place,
) {
    let Ok(local) = stream.local_addr() else { return };
    let _ = stream.set_nodelay(true);
    let ends = Ends { peer, local };
    let stopping = stopped.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ends);
        let (mut router, pace, mut stopping) = (router.clone(), Arc::clone(&pace), stopping.clone());
        async move {
            if !PROBES.contains(&request.uri().path()) {
                tokio::select! {
                    () = pace.turn() => {}
                    // The end is not held up.
                    _ = stopping.wait_for(|stopped| *stopped) => {}
                }
            }
            Ok::<Response<_>, Infallible>(router.call(request).await.unwrap_or_else(|never| match never {}))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE).max_buf_size(BUFFER_BYTES_MAX);
    let mut served = pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // However it ended, nobody is there to be told.
        _ = &mut served => return,
        _ = stopped.wait_for(|stopped| *stopped) => {}
        () = sleep(CONNECTION_AGE_MAX) => {}
    }
    served.as_mut().graceful_shutdown();
    let _ = timeout(CONNECTION_GRACE, served).await;
}

/// The places for connections, of all and of each address.
struct Places {
    all: Arc<Semaphore>,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A connection's place, given back when it is dropped.
struct Place {
    peer: IpAddr,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(CONNECTIONS_MAX)), taken: Arc::default() }
    }

    /// A place; none for an address that has all it may have.
    async fn take(&self, peer: IpAddr) -> Option<Place> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner).get(&peer).copied().unwrap_or(0);
        if taken >= CONNECTIONS_OF_PEER_MAX {
            return None;
        }
        let permit = Arc::clone(&self.all).acquire_owned().await.ok()?;
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner).entry(peer).or_default() += 1;
        Some(Place { peer, taken: Arc::clone(&self.taken), _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.peer);
            }
        }
    }
}
