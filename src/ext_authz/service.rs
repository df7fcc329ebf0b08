//! The wire: `envoy.service.auth.v3.Authorization` as a service of tonic, written by hand, because a generated one ends
//! with an RPC error where a message cannot be read, and that leaves the choice to Envoy's failure mode.

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Instant;

use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{Body as HttpBody, BoxFuture, Service, StdError};
use tonic::server::{ClientStreamingService, Grpc};
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

use super::Checker;
use super::response::Refusal;
use crate::enforcer::wellformed::Malformed;
use crate::proto::foreign::envoy::service::auth::v3::{CheckRequest, CheckResponse};

/// The path of the one call.
pub(super) const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";
/// What a message is compressed with; none is understood.
const ENCODING: &str = "grpc-encoding";

impl<B> Service<Request<B>> for Checker
where
    B: HttpBody + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // A message that claims to be compressed then fails when it is read, which is answered, and not before.
        request.headers_mut().remove(ENCODING);
        let came = Instant::now();
        let check = Check { checker: self.clone(), came };
        let bytes_max = self.message_bytes_max();
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<CheckResponse, CheckRequest>::default())
                .apply_max_message_size_config(Some(bytes_max), None);
            // On the wire the same as a call with one message; but whatever fails while it is read is left to us.
            Ok(grpc.client_streaming(check, request).await)
        })
    }
}

/// One call.
struct Check {
    checker: Checker,
    came: Instant,
}

impl ClientStreamingService<CheckRequest> for Check {
    type Response = CheckResponse;
    type Future = BoxFuture<tonic::Response<CheckResponse>, Status>;

    fn call(&mut self, request: tonic::Request<Streaming<CheckRequest>>) -> Self::Future {
        let (checker, came) = (self.checker.clone(), self.came);
        Box::pin(async move { Ok(tonic::Response::new(checker.check(request, came).await)) })
    }
}

/// The one message of a call.
pub(super) async fn read(messages: &mut Streaming<CheckRequest>) -> Result<CheckRequest, Refusal> {
    let unreadable = |problem| Refusal::Malformed(Malformed::new("request", problem));
    let request = match messages.message().await {
        Ok(Some(request)) => request,
        Ok(None) => return Err(unreadable("has no message")),
        Err(_) => return Err(unreadable("cannot be read, or is larger than `server.max_message_bytes`")),
    };
    match messages.message().await {
        Ok(None) => Ok(request),
        Ok(Some(_)) => Err(unreadable("has several messages")),
        Err(_) => Err(unreadable("does not end in order")),
    }
}
