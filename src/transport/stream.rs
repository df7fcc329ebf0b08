//! The bytes of a connection, whatever carries them, with an end to waiting for the other side.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;

/// Until then the first bytes must have come: what says nothing takes no place.
const FIRST_WORDS_PATIENCE: Duration = Duration::from_secs(10);
/// How many these are. Source: RFC 9113, 3.4: by then it is known which protocol is spoken, and that one has limits of
/// its own. A request of HTTP/1.1 is longer.
const FIRST_WORDS_BYTES: usize = 24;
/// How long the other side may take no byte of what we have for it.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// What carries a connection.
#[derive(Debug)]
pub(super) enum Carrier {
    Tcp(TcpStream),
    Uds(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that fails once the other side has kept it waiting for too long.
#[derive(Debug)]
pub(super) struct Patient {
    carrier: Carrier,
    first_words: FirstWords,
    /// Set while nothing can be written.
    write_until: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum FirstWords {
    Awaited { missing: usize, until: Pin<Box<Sleep>> },
    Came,
}

impl Carrier {
    /// The address of the other end, where it has one.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Uds(_) => None,
            Self::Tls(stream) => stream.get_ref().0.peer_addr().ok(),
        }
    }
}

impl Patient {
    pub(super) fn new(carrier: Carrier) -> Self {
        let until = Box::pin(sleep(FIRST_WORDS_PATIENCE));
        Self { carrier, first_words: FirstWords::Awaited { missing: FIRST_WORDS_BYTES, until }, write_until: None }
    }

    /// What became of a write, or that it has waited for too long.
    fn written<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_until = None;
            return written;
        }
        let until = self.write_until.get_or_insert_with(|| Box::pin(sleep(WRITE_PATIENCE)));
        until.as_mut().poll(cx).map(|()| Err(timed_out("the other side takes nothing")))
    }
}

fn timed_out(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why)
}

macro_rules! carried {
    ($carrier:expr, $stream:ident => $done:expr) => {
        match $carrier {
            Carrier::Tcp($stream) => $done,
            Carrier::Uds($stream) => $done,
            Carrier::Tls($stream) => $done,
        }
    };
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = carried!(&mut self.carrier, stream => Pin::new(stream).poll_read(cx, buf));
        if let FirstWords::Awaited { missing, until } = &mut self.first_words {
            *missing = missing.saturating_sub(buf.filled().len() - before);
            if *missing == 0 {
                self.first_words = FirstWords::Came;
            } else if read.is_pending() && until.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(timed_out("the other side says nothing")));
            }
        }
        read
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = carried!(&mut self.carrier, stream => Pin::new(stream).poll_write(cx, buf));
        self.written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = carried!(&mut self.carrier, stream => Pin::new(stream).poll_write_vectored(cx, bufs));
        self.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        carried!(&self.carrier, stream => stream.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = carried!(&mut self.carrier, stream => Pin::new(stream).poll_flush(cx));
        self.written(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = carried!(&mut self.carrier, stream => Pin::new(stream).poll_shutdown(cx));
        self.written(cx, ended)
    }
}
