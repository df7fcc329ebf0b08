//! HTTP as plain programs speak it: hyper, in either version, over TCP or a Unix socket.

#![allow(dead_code, reason = "each test file takes what it needs")]
#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

use std::net::SocketAddr;
use std::path::Path;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// One connection.
pub(crate) enum Http {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

/// A response that was read to its end.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Http {
    pub(crate) async fn tcp(address: SocketAddr, version: Version) -> Self {
        let stream = TcpStream::connect(address).await.expect("connected");
        stream.set_nodelay(true).expect("set");
        Self::over(stream, version).await
    }

    pub(crate) async fn uds(path: &Path, version: Version) -> Self {
        Self::over(UnixStream::connect(path).await.expect("connected"), version).await
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, version: Version) -> Self {
        let io = TokioIo::new(stream);
        match version {
            Version::HTTP_11 => {
                let (sender, connection) = http1::handshake(io).await.expect("HTTP/1.1");
                tokio::spawn(connection);
                Self::One(sender)
            }
            Version::HTTP_2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
                tokio::spawn(connection);
                Self::Two(sender)
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Got {
        let response: Response<Incoming> = match self {
            Self::One(sender) => {
                sender.ready().await.expect("a connection");
                sender.send_request(request).await.expect("a response")
            }
            Self::Two(sender) => sender.send_request(request).await.expect("a response"),
        };
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        Got { status: parts.status, headers: parts.headers, body }
    }

    /// A request with these headers. The host is nobody's.
    pub(crate) async fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Got {
        let uri = match self {
            Self::One(_) => path.to_owned(),
            Self::Two(_) => format!("http://consentd.test{path}"),
        };
        let mut request = Request::builder().method(method).uri(uri);
        if matches!(self, Self::One(_)) {
            request = request.header("host", "consentd.test");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(Bytes::copy_from_slice(body));
        self.send(request.body(body).expect("a request")).await
    }

    /// A POST of JSON.
    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> Got {
        self.ask("POST", path, &[("content-type", "application/json")], body.to_string().as_bytes()).await
    }
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.headers.get("content-type").map(HeaderValue::as_bytes), Some(&b"application/json"[..]));
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// The decision of a response that has one.
    pub(crate) fn decision(&self) -> bool {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        self.json()["decision"].as_bool().expect("a decision")
    }

    /// The message of a response that has no decision.
    pub(crate) fn message(&self) -> String {
        assert_ne!(self.status, StatusCode::OK, "{self:?}");
        self.json().as_str().expect("a text").to_owned()
    }
}
