//! Clients of HTTP/2 that do what no library does: say nothing, take nothing, come in thousands.

#![allow(dead_code, reason = "each test file takes what it needs")]
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

use std::io;
use std::net::SocketAddr;

use prost::bytes::{BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::codegen::http::Request;

/// What HTTP/2 begins with, and settings that change nothing.
pub(crate) const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Types of frames. Source: RFC 9113, 6.
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;

/// A connection that is idle: it answers what it must and asks nothing.
pub(crate) struct Idle {
    stream: TcpStream,
}

impl Idle {
    /// Connects, and waits for the server's settings.
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(HELLO).await?;
        let mut idle = Self { stream };
        while idle.frame().await? != SETTINGS {}
        Ok(idle)
    }

    /// Answers pings until the server says that it goes away, or does without saying so.
    pub(crate) async fn until_goaway(&mut self) -> io::Result<()> {
        while self.frame().await? != GOAWAY {}
        Ok(())
    }

    /// Reads a frame, answers it where need be, and gives its type.
    async fn frame(&mut self) -> io::Result<u8> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await?;
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await?;
        let (kind, flags) = (head[3], head[4]);
        if flags & ACK == 0 && kind == SETTINGS {
            self.stream.write_all(&[0, 0, 0, SETTINGS, ACK, 0, 0, 0, 0]).await?;
        }
        if flags & ACK == 0 && kind == PING {
            self.stream.write_all(&[&[0, 0, 8, PING, ACK, 0, 0, 0, 0], &*payload].concat()).await?;
        }
        Ok(kind)
    }
}

/// The headers of a call.
pub(crate) fn call(method: &str) -> Request<()> {
    Request::post(format!("http://localhost/consent.v1.EnforcementService/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request")
}

/// A message as gRPC sends it.
pub(crate) fn framed(message: &impl prost::Message) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.encoded_len()).expect("short"));
    message.encode(&mut bytes).expect("room");
    bytes.freeze()
}
