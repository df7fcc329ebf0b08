//! `consentd bench null`: a server that answers without thinking.
//!
//! The same gRPC service with the same settings as the sidecar's, so that the difference between the two is what the
//! sidecar does for an answer: reading the question, looking the subject up, deciding, leaving evidence. It is a collector
//! as well, that takes traces and metrics and keeps nothing.

mod collector;

use std::path::Path;
use std::pin::Pin;
use std::process::ExitCode;

use axum::Router;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::MetricsServiceServer;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceServiceServer;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_stream::{Stream, StreamExt as _};
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use crate::app::{enforcement_server, transport_config};
use crate::cli::client::Address;
use crate::cli::{Failure, Outcome, serve};
use crate::clock::Clock;
use crate::config::{Config, Flag, Sources};
use crate::machine::Machine;
use crate::proto::v1;
use crate::proto::v1::enforcement_service_server::EnforcementService;
use crate::telemetry::{Metrics, logs};
use crate::transport::Transport;
use collector::Collector;

/// Serve the same answer to every question, without ledger, decision or evidence, until told to stop: what gRPC alone
/// costs. Its answers mean nothing; never point a real caller at it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to answer: `127.0.0.1:0` or `unix:/path/to/socket`; may be repeated.
    #[arg(long, required = true, value_name = "ADDRESS")]
    listen: Vec<Address>,
    /// How many threads answer, or `auto`.
    #[arg(long, default_value = "auto")]
    workers: String,
    /// How to log, text or json.
    #[arg(long, default_value = "text", value_name = "FORMAT")]
    log_format: String,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Outcome {
    let config = args.config()?;
    logs::init(&config.log.level, serve::log_format(config.log.format), &Clock::system())?;
    let settled = config.settle(&Machine::look());
    serve::runtime(settled.workers)?.block_on(async {
        let transport = Transport::bind(transport_config(&config, &settled), Metrics::new()?, &Clock::system()).await?;
        tracing::info!(
            tcp = transport.tcp().map(tracing::field::display),
            uds = transport.uds().map(|path| tracing::field::display(path.display())),
            "listening"
        );
        let (_stop, stopped) = watch::channel(false);
        // The reporter begins with "serving", and that is so.
        let (_reporter, health) = tonic_health::server::health_reporter();
        let uds = transport.uds().map(Path::to_owned);
        let questions = Routes::new(enforcement_server(Null::new(), &config.server))
            .add_service(TraceServiceServer::new(Collector))
            .add_service(MetricsServiceServer::new(Collector));
        let serving = transport.serve(health, questions, Router::new(), stopped);
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            ended = serving => return ended.map(|()| ExitCode::SUCCESS).map_err(Failure::from),
        }
        if let Some(path) = uds {
            std::fs::remove_file(path)?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

impl Args {
    /// The sidecar's configuration as it is by default, with these listeners.
    fn config(&self) -> Result<Config, Failure> {
        let (mut tcp, mut uds) = ("off".to_owned(), "off".to_owned());
        for address in &self.listen {
            match address {
                Address::Tcp(address) | Address::Tls(address, _) => tcp.clone_from(address),
                Address::Uds(path) => uds = path.display().to_string(),
            }
        }
        let flag = |name: &str, key: &str, value: &str| Flag {
            name: name.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let flags = vec![
            flag("--listen", "server.tcp", &tcp),
            flag("--listen", "server.uds", &uds),
            flag("--workers", "server.workers", &self.workers),
            flag("--log-format", "log.format", &self.log_format),
            // Demanded of every configuration, and never opened here.
            flag("none", "ledger.file", "none"),
        ];
        Ok(Config::load(&Sources { flags, ..Sources::default() })?.config)
    }
}

/// The service.
#[derive(Debug, Clone)]
struct Null {
    answer: v1::Answer,
    view: v1::View,
    evidence_id: String,
}

impl Null {
    /// Answers as long as the sidecar's are.
    fn new() -> Self {
        let time = pbjson_types::Timestamp { seconds: 1_795_219_200, nanos: 123_000_000 };
        Self {
            answer: v1::Answer {
                verdict: v1::Verdict::Allow.into(),
                reason: v1::Reason::Consent.into(),
                legal_basis: v1::LegalBasis::Consent.into(),
                status: v1::ConsentStatus::Given.into(),
                valid_until: Some(time),
                ..v1::Answer::default()
            },
            view: v1::View {
                catalogue_version: 1,
                ledger_token: "1AQIDBAUGBwgAAAAAOlofEDLqH".to_owned(),
                staleness: Some(pbjson_types::Duration { seconds: 0, nanos: 50_000_000 }),
                answered_at: Some(time),
            },
            evidence_id: "0123456789abcdef/2026-11/12345678".to_owned(),
        }
    }
}

#[tonic::async_trait]
impl EnforcementService for Null {
    async fn may_process(&self, _: Request<v1::MayProcessRequest>) -> Result<Response<v1::MayProcessResponse>, Status> {
        let Self { answer, view, evidence_id } = self.clone();
        Ok(Response::new(v1::MayProcessResponse { answer: Some(answer), view: Some(view), evidence_id }))
    }

    async fn may_process_batch(
        &self,
        request: Request<v1::MayProcessBatchRequest>,
    ) -> Result<Response<v1::MayProcessBatchResponse>, Status> {
        let Self { answer, view, evidence_id } = self.clone();
        let answers = vec![answer; request.get_ref().questions.len()];
        Ok(Response::new(v1::MayProcessBatchResponse { answers, view: Some(view), evidence_id }))
    }

    type MayProcessStreamStream = Pin<Box<dyn Stream<Item = Result<v1::MayProcessStreamResponse, Status>> + Send>>;

    async fn may_process_stream(
        &self,
        request: Request<Streaming<v1::MayProcessStreamRequest>>,
    ) -> Result<Response<Self::MayProcessStreamStream>, Status> {
        let null = self.clone();
        let responses = request.into_inner().map(move |request| {
            let Self { answer, view, evidence_id } = null.clone();
            let answers = vec![answer; request?.questions.len()];
            Ok(v1::MayProcessStreamResponse { answers, view: Some(view), evidence_id })
        });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn explain(&self, _: Request<v1::ExplainRequest>) -> Result<Response<v1::ExplainResponse>, Status> {
        Err(Status::unimplemented("the null server has no rules to explain"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_batch_has_an_answer_for_each_question() {
        let questions = vec![v1::BatchQuestion::default(); 7];
        let request = v1::MayProcessBatchRequest { context: None, questions };
        let response = Null::new().may_process_batch(Request::new(request)).await.expect("answers").into_inner();
        assert_eq!(response.answers.len(), 7);
    }
}
