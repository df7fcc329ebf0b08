//! `consentd serve`: the sidecar, until it is told to stop.

use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::config_flags::ConfigFlags;
use super::{Failure, Outcome};
use crate::app::{self, Bound};
use crate::clock::Clock;
use crate::config::{Config, Loaded, LogFormat, Workers};
use crate::telemetry::logs;

/// Files that are open beside connections: store, evidence, listeners, and those of commands that look on.
const OWN_FILES: u64 = 256;

/// Answer questions until told to stop (SIGTERM or SIGINT).
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFlags,
}

/// Runs the command.
pub(super) fn run(args: Args) -> Outcome {
    let loaded = Config::load(&args.config.into_sources())?;
    let Loaded { config, warnings, .. } = &loaded;
    let clock = Clock::system();
    logs::init(&config.log.level, log_format(config.log.format), &clock)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    allow_open_files(config.server.max_connections);
    runtime(config.server.workers)?.block_on(async {
        let bound = app::build(config, clock).await?.showing(loaded.effective());
        tracing::info!(
            tcp = bound.tcp.map(tracing::field::display),
            uds = bound.uds.as_deref().map(|path| tracing::field::display(path.display())),
            admin = bound.admin.map(tracing::field::display),
            "listening"
        );
        serve(bound).await
    })
}

/// Raises the limit of open files, as far as that may be done, to what so many connections take. The limit that a process
/// begins with is low for the sake of programs that use `select`, which this one does not.
fn allow_open_files(connections: usize) {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OWN_FILES);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // None is without limit.
    let reachable = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let raised = current.is_some_and(|current| current < reachable)
        && setrlimit(Resource::Nofile, Rlimit { current: Some(reachable), maximum }).is_ok();
    let allowed = if raised { Some(reachable) } else { current };
    if let Some(allowed) = allowed.filter(|allowed| *allowed < wanted) {
        tracing::warn!(allowed, wanted, "fewer files may be open than server.max_connections needs");
    }
}

/// How a line of the log looks, as the log knows it.
pub(super) const fn log_format(format: LogFormat) -> logs::Format {
    match format {
        LogFormat::Text => logs::Format::Text,
        LogFormat::Json => logs::Format::Json,
    }
}

/// Serves until SIGTERM or SIGINT.
pub(super) async fn serve(bound: Bound) -> Outcome {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    bound.serve(stop).await?;
    Ok(ExitCode::SUCCESS)
}

/// A runtime with as many threads as are asked for. `auto` is half of the processors that the process may use, at least
/// one: on two processors one thread answered more, and more evenly, than two (`benches/README.md`), because the
/// callers, the ledger's follower and the flusher need processors too.
pub(super) fn runtime(workers: Workers) -> Result<Runtime, Failure> {
    let workers = match workers {
        Workers::Fixed(count) => count.get(),
        Workers::Auto => std::thread::available_parallelism().map_or(1, |count| (count.get() / 2).max(1)),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("consentd-serve")
        .enable_all()
        .build()?;
    Ok(runtime)
}
