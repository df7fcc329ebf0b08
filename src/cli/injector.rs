//! `consentd injector`: the webhook that adds the sidecar to pods, until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, Outcome, say};
use crate::clock::Clock;
use crate::config::parse_duration;
use crate::injector::{self, Loaded, Settings};
use crate::telemetry::logs;

/// Add consentd to the pods of a Kubernetes cluster that ask for it: a mutating webhook, until told to stop (SIGTERM or
/// SIGINT). Pods need Kubernetes 1.29, whose sidecars are containers.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What pods get, TOML.
    #[arg(long, value_name = "FILE", env = "CONSENTD_INJECTOR_CONFIG")]
    config: PathBuf,
    /// Where reviews are answered, over HTTPS.
    #[arg(long, value_name = "ADDRESS:PORT", env = "CONSENTD_INJECTOR_LISTEN", default_value = "0.0.0.0:8443")]
    listen: SocketAddr,
    /// Where metrics and readiness are shown, over plain HTTP.
    #[arg(long, value_name = "ADDRESS:PORT", env = "CONSENTD_INJECTOR_ADMIN", default_value = "0.0.0.0:7312")]
    admin: SocketAddr,
    /// The certificate and those above it, in PEM; read again when it is replaced.
    #[arg(long, value_name = "FILE", env = "CONSENTD_INJECTOR_TLS_CERT_FILE", required_unless_present = "check")]
    tls_cert_file: Option<PathBuf>,
    /// Its key, in PEM.
    #[arg(long, value_name = "FILE", env = "CONSENTD_INJECTOR_TLS_KEY_FILE", required_unless_present = "check")]
    tls_key_file: Option<PathBuf>,
    /// How long to go on answering after being told to stop, until every API server knows.
    #[arg(long, value_name = "TIME", env = "CONSENTD_INJECTOR_LINGER", default_value = "5s", value_parser = parse_duration)]
    linger: Duration,
    /// What to log, such as `info`.
    #[arg(long, value_name = "LEVEL", env = "CONSENTD_INJECTOR_LOG_LEVEL", default_value = "info")]
    log_level: String,
    /// How to log.
    #[arg(long, value_name = "FORMAT", env = "CONSENTD_INJECTOR_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// Say everything that is wrong with the file and end; exit with 0 if nothing is, with 1 if something is.
    #[arg(long)]
    check: bool,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Runs the command.
pub(super) fn run(args: Args) -> Outcome {
    if args.check {
        return Ok(check(&args));
    }
    let (Some(tls_cert_file), Some(tls_key_file)) = (args.tls_cert_file, args.tls_key_file) else {
        return Err(Failure::new("--tls-cert-file and --tls-key-file must be given"));
    };
    let Loaded { settings, warnings } = Settings::load(&args.config)?;
    let clock = Clock::system();
    let format = match args.log_format {
        LogFormat::Text => logs::Format::Text,
        LogFormat::Json => logs::Format::Json,
    };
    logs::init(&args.log_level, format, &clock)?;
    for warning in warnings {
        tracing::warn!(%warning, "the configuration is doubtful");
    }
    let config = injector::Config {
        listen: args.listen,
        admin: args.admin,
        tls_cert_file,
        tls_key_file,
        linger: args.linger,
        settings,
    };
    // Reviews are few and short, and a handshake takes the most of one.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let bound = injector::build(config, clock).await?;
        tracing::info!(
            reviews = bound.listen.map(tracing::field::display),
            admin = bound.admin.map(tracing::field::display),
            "listening"
        );
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        bound.serve(stop).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Says what is wrong with the settings.
fn check(args: &Args) -> ExitCode {
    match Settings::load(&args.config) {
        Ok(Loaded { warnings, .. }) => {
            for warning in warnings {
                eprintln!("warning: {warning}");
            }
            say("the settings are valid");
            ExitCode::SUCCESS
        }
        Err(problems) => {
            eprintln!("{problems}");
            ExitCode::from(1)
        }
    }
}
