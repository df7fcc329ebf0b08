//! Listeners whose connections are counted: past the limit a new one waits to be accepted instead of taking memory.

use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{Service, StdError};
use tonic::transport::server::{Connected, Router};
use tower::Layer;

use super::ServeError;
use crate::access::Caller;

/// Time to wait after accepting failed, as it does while there are no file descriptors left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A listener of either kind.
#[derive(Debug)]
pub(super) enum Incoming {
    Tcp(Arc<TcpListener>),
    Uds(Arc<UnixListener>),
}

/// A connection that gives its place back when it ends.
#[derive(Debug)]
pub(super) struct Counted<S> {
    stream: S,
    caller: Caller,
    _place: OwnedSemaphorePermit,
}

impl Incoming {
    pub(super) fn tcp(listener: TcpListener) -> Self {
        Self::Tcp(Arc::new(listener))
    }

    pub(super) fn uds(listener: UnixListener) -> Self {
        Self::Uds(Arc::new(listener))
    }

    /// Serves the connections of this listener until `stopped` is done.
    pub(super) async fn serve<L, B>(
        self,
        router: Router<L>,
        connections: Arc<Semaphore>,
        stopped: impl Future<Output = ()>,
    ) -> Result<(), ServeError>
    where
        L: Layer<tonic::service::Routes> + Clone,
        L::Service: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
        <L::Service as Service<Request<Body>>>::Future: Send + 'static,
        <L::Service as Service<Request<Body>>>::Error: Into<StdError> + Send,
        B: tonic::codegen::Body + Send + 'static,
        B: tonic::codegen::Body<Data = tonic::codegen::Bytes>,
        B::Error: Into<StdError>,
    {
        match self {
            Self::Tcp(listener) => {
                let accept = move || {
                    let listener = Arc::clone(&listener);
                    async move {
                        let (stream, _) = listener.accept().await?;
                        // Answers are small and wait for nothing.
                        stream.set_nodelay(true)?;
                        Ok(stream)
                    }
                };
                Ok(router.serve_with_incoming_shutdown(counted(connections, accept), stopped).await?)
            }
            Self::Uds(listener) => {
                let accept = move || {
                    let listener = Arc::clone(&listener);
                    async move { Ok(listener.accept().await?.0) }
                };
                Ok(router.serve_with_incoming_shutdown(counted(connections, accept), stopped).await?)
            }
        }
    }
}

/// The connections of a listener, each with a place; while all places are taken one waits, accepted and not yet read
/// from, and the others in the kernel.
///
/// The place is taken after accepting: taken before, a listener to which nobody comes would keep a place of the others.
fn counted<S, A, F>(places: Arc<Semaphore>, accept: A) -> ReceiverStream<io::Result<Counted<S>>>
where
    S: Send + 'static,
    A: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<S>> + Send,
{
    // Whoever reaches the listener may ask.
    let caller = Caller::unrestricted(String::new());
    let (accepted, connections) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let stream = tokio::select! {
                stream = accept() => stream,
                () = accepted.closed() => return,
            };
            match stream {
                Ok(stream) => {
                    let place = tokio::select! {
                        place = Arc::clone(&places).acquire_owned() => place,
                        () = accepted.closed() => return,
                    };
                    let Ok(place) = place else { return };
                    if accepted.send(Ok(Counted { stream, caller: caller.clone(), _place: place })).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    });
    ReceiverStream::new(connections)
}

/// Listens on a Unix socket with this file mode. A socket file that nobody listens on any more is replaced.
///
/// # Errors
/// If somebody listens on it, if something else than a socket is there, or it cannot be made.
pub(super) async fn listen_uds(path: &Path, mode: u32) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else than a socket is there"));
        }
        Ok(_) if UnixStream::connect(path).await.is_ok() => {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens on it"));
        }
        Ok(_) => std::fs::remove_file(path)?,
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

impl<S> Connected for Counted<S> {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.caller.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
