//! `consentd serve`: the sidecar, until it is told to stop.

use std::io;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::config_flags::ConfigFlags;
use super::{Failure, Outcome};
use crate::app;
use crate::clock::Clock;
use crate::config::{Config, Loaded, LogFormat};
use crate::machine::Machine;
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
        tracing::warn!(%warning, "the configuration is doubtful");
    }
    allow_open_files(config.server.max_connections);
    let machine = Machine::look();
    let settled = config.settle(&machine);
    tracing::info!(
        workers = settled.workers,
        cache_bytes = settled.cache_bytes,
        store_cache_bytes = settled.store_cache_bytes,
        strings_bytes = settled.strings_bytes,
        processors = %machine.processors,
        memory = machine.memory.as_ref().map(tracing::field::display),
        "the machine was looked at"
    );
    for warning in &settled.warnings {
        tracing::warn!(%warning, "the configuration is doubtful");
    }
    runtime(settled.workers)?.block_on(async {
        // Before anything is built: to process 1 of a container nothing is done by a signal that it does not listen to, and
        // whoever stops a sidecar that is just starting would wait until the time comes to kill it.
        let told = Told::listen()?;
        let bound = app::build_settled(config, &settled, clock).await?.showing(&loaded.effective().settled(&settled));
        tracing::info!(
            tcp = bound.tcp.map(tracing::field::display),
            uds = bound.uds.as_deref().map(|path| tracing::field::display(path.display())),
            admin = bound.admin.map(tracing::field::display),
            "listening"
        );
        bound.serve(told.heard()).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// What tells the sidecar to stop: SIGTERM or SIGINT, heard from when this is made. Further ones change nothing: what is
/// left to do then has its limits, and evidence that was written reaches the device.
struct Told {
    terminate: Signal,
    interrupt: Signal,
}

impl Told {
    fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn heard(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
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

/// A runtime with as many threads as are asked for.
pub(super) fn runtime(workers: NonZeroUsize) -> Result<Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers.get())
        .thread_name("consentd-serve")
        .enable_all()
        .build()?;
    Ok(runtime)
}
