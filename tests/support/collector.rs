//! A collector in the test: the services of OTLP that `opentelemetry-proto` generates, which keep what they are sent.

#![allow(dead_code, reason = "each test file takes what it needs")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests may fail loudly")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::metadata::MetadataMap;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status};

use crate::sidecar::{Home, eventually, given, withdrawn};

/// What a collector does with what it is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mood {
    Takes,
    /// Says no to each request.
    Refuses(Code),
    /// Says no to so many spans of each request.
    RefusesSpans(i64),
    /// Says unavailable to so many requests, and then takes them.
    TakesAfter(u32),
}

/// A collector. It ends with the test.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
    /// Its own, so that its connections end with it.
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct Kept {
    mood: Mood,
    requests: usize,
    traces: Vec<ExportTraceServiceRequest>,
    metrics: Vec<ExportMetricsServiceRequest>,
    headers: Vec<MetadataMap>,
}

#[derive(Clone)]
struct Service(Arc<Mutex<Kept>>);

impl Collector {
    pub(crate) async fn start(mood: Mood) -> Self {
        Self::serve(SocketAddr::from(([127, 0, 0, 1], 0)), mood, None).await
    }

    /// On an address of before, or with TLS.
    pub(crate) async fn serve(address: SocketAddr, mood: Mood, tls: Option<ServerTlsConfig>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.spawn(TcpListener::bind(address)).await.expect("no panic").expect("bound");
        let address = listener.local_addr().expect("an address");
        let (traces, metrics, headers) = (Vec::new(), Vec::new(), Vec::new());
        let kept = Arc::new(Mutex::new(Kept { mood, requests: 0, traces, metrics, headers }));
        let service = Service(Arc::clone(&kept));
        let mut server = Server::builder();
        if let Some(tls) = tls {
            server = server.tls_config(tls).expect("certificates");
        }
        let router = server
            .add_service(TraceServiceServer::new(service.clone()))
            .add_service(MetricsServiceServer::new(service));
        runtime.spawn(async move {
            router.serve_with_incoming(TcpListenerStream::new(listener)).await.expect("served");
        });
        Self { address, kept, runtime: Some(runtime) }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("not poisoned")
    }

    /// All spans so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let kept = self.kept();
        let resources = kept.traces.iter().flat_map(|request| &request.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| &scope.spans).cloned().collect()
    }

    /// The metrics of the last push.
    pub(crate) fn metrics(&self) -> Option<Vec<Metric>> {
        let kept = self.kept();
        let resources = kept.metrics.last()?.resource_metrics.iter();
        Some(resources.flat_map(|resource| &resource.scope_metrics).flat_map(|scope| &scope.metrics).cloned().collect())
    }

    /// Who sent what it took.
    pub(crate) fn resources(&self) -> Vec<Resource> {
        let kept = self.kept();
        let traces = kept.traces.iter().flat_map(|request| &request.resource_spans);
        let metrics = kept.metrics.iter().flat_map(|request| &request.resource_metrics);
        let traces = traces.filter_map(|one| one.resource.clone());
        traces.chain(metrics.filter_map(|one| one.resource.clone())).collect()
    }

    /// The headers of each request.
    pub(crate) fn headers(&self) -> Vec<MetadataMap> {
        self.kept().headers.clone()
    }

    /// How many requests came, taken or not.
    pub(crate) fn requests(&self) -> usize {
        self.kept().requests
    }

    /// Every byte that was taken.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        use prost::Message;
        let kept = self.kept();
        let traces = kept.traces.iter().flat_map(Message::encode_to_vec);
        traces.chain(kept.metrics.iter().flat_map(Message::encode_to_vec)).collect()
    }

    /// Goes away: its connections are cut, and its port is free soon.
    pub(crate) fn go(self) -> SocketAddr {
        self.address
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Service {
    /// What is said to a request, which is counted.
    fn meet<M>(&self, request: &Request<M>) -> Result<Mood, Status> {
        let mut kept = self.0.lock().expect("not poisoned");
        kept.requests += 1;
        kept.headers.push(request.metadata().clone());
        let mood = kept.mood;
        match mood {
            Mood::Takes | Mood::RefusesSpans(_) => Ok(mood),
            Mood::Refuses(code) => Err(Status::new(code, "the collector's own words")),
            Mood::TakesAfter(0) => Ok(Mood::Takes),
            Mood::TakesAfter(left) => {
                kept.mood = Mood::TakesAfter(left - 1);
                Err(Status::unavailable("later"))
            }
        }
    }
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mood = self.meet(&request)?;
        self.0.lock().expect("not poisoned").traces.push(request.into_inner());
        let partial_success = match mood {
            Mood::RefusesSpans(rejected_spans) => {
                Some(ExportTracePartialSuccess { rejected_spans, error_message: "no room".to_owned() })
            }
            _ => None,
        };
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.meet(&request)?;
        self.0.lock().expect("not poisoned").metrics.push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

/// An attribute as text; lists with commas.
pub(crate) fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    Some(shown(found.value.as_ref()?.value.as_ref()?))
}

fn shown(value: &Value) -> String {
    match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::ArrayValue(list) => {
            let shown = list.values.iter().filter_map(|value| value.value.as_ref()).map(shown);
            shown.collect::<Vec<_>>().join(",")
        }
        other => panic!("{other:?}"),
    }
}

/// A home whose ledger allows `crm:allowed` and denies `crm:denied`.
pub(crate) fn home() -> Home {
    let home = Home::with_catalogue();
    home.append(&given("crm:allowed"));
    home.append(&withdrawn("crm:denied"));
    home
}

/// The settings of a sidecar that sends to a collector, with what is given on top.
pub(crate) fn settings<'a>(endpoint: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let own = [
        ("telemetry.otlp_endpoint", endpoint),
        ("telemetry.trace_ratio", "0"),
        ("telemetry.kept_per_second", "1000000"),
    ];
    [&own, more].concat()
}

pub(crate) async fn until_spans(collector: &Collector, count: usize) -> Vec<Span> {
    eventually(&format!("{count} spans are there"), async || {
        let spans = collector.spans();
        (spans.len() >= count).then_some(spans)
    })
    .await
}

/// Series of the local page: `name{labels}` and value.
pub(crate) fn series(page: &str) -> BTreeMap<String, f64> {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| line.rsplit_once(' ').expect("a sample"))
        .map(|(id, value)| (id.to_owned(), value.parse().expect("a number")))
        .collect()
}
