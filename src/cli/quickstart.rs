//! `consentd quickstart`: the sidecar on an example ledger, shown at work with nothing but its real parts.

mod example;
mod folder;
mod next;
mod page;
mod steps;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinError;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::client::{self, Address};
use super::{Failure, Outcome, serve};
use crate::app::{self, Bound, ServeError, StartError};
use crate::clock::Clock;
use crate::config::{Config, Flag, Loaded, Sources, keys};
use crate::machine::Machine;
use crate::proto::v1::enforcement_service_client::EnforcementServiceClient;
use crate::telemetry::logs;
use crate::transport::ListenError;
use example::Imported;
use folder::Folder;
use page::{Page, millis, plural};

/// How long the local copy of some hundred customers may take: far more than it does on a slow machine.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// See it work: an example shop, questions, a withdrawal that takes effect, evidence that can be verified.
///
/// Starts the sidecar on the example in a folder of its own, shows what it does, and goes on serving until interrupted.
/// Exit code 2: a step did not show what it should.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder for ledger, local copy and evidence; made anew each time.
    #[arg(long, default_value = "./consentd-quickstart", value_name = "FOLDER")]
    dir: PathBuf,
    /// End after the demonstration.
    #[arg(long)]
    exit: bool,
    /// Where to answer [default: 127.0.0.1:7311, or another port where that is taken].
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Where to show metrics and readiness [default: 127.0.0.1:7312, or another port where that is taken].
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin: Option<SocketAddr>,
    /// What to log on standard error.
    #[arg(long, default_value = "warn", value_name = "LEVEL")]
    log_level: String,
}

/// A sidecar that has begun.
struct Started {
    bound: Bound,
    /// Ports that were asked for by default, and taken.
    taken: Vec<SocketAddr>,
}

/// Where it is reached.
struct Addresses {
    tcp: SocketAddr,
    admin: SocketAddr,
    /// As in [`Started`].
    taken: Vec<SocketAddr>,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Outcome {
    let clock = Clock::system();
    logs::init(&args.log_level, logs::Format::Text, &clock)?;
    let folder = Folder::take(&args.dir)?;
    serve::runtime(Machine::look().processors.workers())?.block_on(show(args, &folder, &clock))
}

async fn show(args: &Args, folder: &Folder, clock: &Clock) -> Outcome {
    // From here on an interruption ends the demonstration in order.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut page = Page::new();
    page.line(format_args!(
        "consentd {}, shown on Lale & Co: a web shop in Izmir, with customers in Türkiye, Germany and Maine.\n\
         Nobody in its files exists. P1 to P8 are the promises that ARCHITECTURE.md lists.",
        env!("CARGO_PKG_VERSION")
    ))?;
    let imported = example::bring_into(&folder.ledger(), clock)?;
    say_ledger(&mut page, folder, &imported)?;

    let Started { bound, taken } = start(args, folder, clock).await?;
    let addresses = Addresses { tcp: reachable(bound.tcp)?, admin: reachable(bound.admin)?, taken };
    let lifecycle = bound.lifecycle().clone();
    let why = move || lifecycle.causes().first().map(ToString::to_string);
    let (stop, stopped) = oneshot::channel::<()>();
    let mut serving = tokio::spawn(bound.serve(async {
        let _ = stopped.await;
    }));
    let told = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::pin!(told);
    let shown = async {
        tokio::select! {
            shown = demonstrate(&mut page, args, folder, clock, &addresses, why) => shown?,
            () = &mut told => {
                let early = Failure::new("it was interrupted before all was shown");
                return if args.exit { Err(early) } else { Ok(()) };
            }
            ended = &mut serving => return Err(ended_early(ended)),
        }
        if args.exit {
            return Ok(());
        }
        tokio::select! {
            () = &mut told => Ok(()),
            ended = &mut serving => Err(ended_early(ended)),
        }
    }
    .await;
    // Also where a step failed: the evidence is closed in order. What has ended already does not listen any more.
    if stop.send(()).is_ok() {
        serving.await??;
    }
    shown.map(|()| ExitCode::SUCCESS)
}

/// The steps that need a sidecar.
async fn demonstrate(
    page: &mut Page,
    args: &Args,
    folder: &Folder,
    clock: &Clock,
    addresses: &Addresses,
    why: impl Fn() -> Option<String>,
) -> Result<(), Failure> {
    let Addresses { tcp, admin, taken } = addresses;
    page.step("The sidecar, with its own copy of it")?;
    page.fact("questions", format_args!("{tcp} (gRPC)"))?;
    page.fact("page", format_args!("http://{admin}/"))?;
    page.fact("metrics", format_args!("http://{admin}/metrics"))?;
    for address in taken {
        page.say(format_args!("Something else listens on {address}; another port was taken instead."))?;
    }
    let channel = client::channel(&Address::Tcp(tcp.to_string())).await?;
    let took = until_serving(HealthClient::new(channel.clone()), why, clock).await?;
    page.fact("ready after", millis(took))?;
    let mut client = EnforcementServiceClient::new(channel);
    let decided = steps::run(page, &mut client, folder, clock).await?;
    next::say(page, folder, *tcp, *admin, &decided, args.exit)
}

/// Why a sidecar ended that nobody told to.
fn ended_early(ended: Result<Result<(), ServeError>, JoinError>) -> Failure {
    match ended {
        Ok(Ok(())) => Failure::new("the sidecar stopped by itself"),
        Ok(Err(error)) => error.into(),
        Err(error) => error.into(),
    }
}

fn say_ledger(page: &mut Page, folder: &Folder, imported: &Imported) -> Result<(), Failure> {
    let Imported { records, customers, purposes, days } = imported;
    page.step("A ledger: what customers said, one event a line")?;
    page.fact("file", folder.ledger().display())?;
    page.fact("holds", format_args!("a catalogue of {purposes} purposes, {records} records of {customers} customers"))?;
    let (by, direction) = (plural(days.unsigned_abs(), "day", "days"), if *days < 0 { "back" } else { "forward" });
    if *days != 0 {
        page.fact("dates", format_args!("moved {direction} by {by}: the newest record is of yesterday"))?;
    }
    Ok(())
}

/// Builds the sidecar; where a port that nobody asked for is taken, on another.
async fn start(args: &Args, folder: &Folder, clock: &Clock) -> Result<Started, Failure> {
    let mut listen = args.listen.unwrap_or(keys::DEFAULT_SERVER_TCP);
    let mut admin = args.admin.unwrap_or(keys::DEFAULT_ADMIN_TCP);
    let mut taken = Vec::new();
    loop {
        let loaded = configuration(folder, listen, admin)?;
        let error = match app::build(&loaded.config, clock.clone()).await {
            Ok(bound) => return Ok(Started { bound: bound.showing(loaded.effective()), taken }),
            Err(error) => error,
        };
        let StartError::Listen(ListenError { address, source }) = &error else { return Err(error.into()) };
        let is = |tried: SocketAddr| source.kind() == std::io::ErrorKind::AddrInUse && *address == tried.to_string();
        if args.listen.is_none() && listen.port() != 0 && is(listen) {
            taken.push(listen);
            listen.set_port(0);
        } else if args.admin.is_none() && admin.port() != 0 && is(admin) {
            taken.push(admin);
            admin.set_port(0);
        } else {
            return Err(error.into());
        }
    }
}

/// The configuration of the demonstration. The environment has no part in it: what is set there is meant for another
/// sidecar, and must not lead this one to its files.
fn configuration(folder: &Folder, listen: SocketAddr, admin: SocketAddr) -> Result<Loaded, Failure> {
    let settings = [
        ("data_dir", folder.data().display().to_string()),
        ("ledger.file", folder.ledger().display().to_string()),
        ("server.tcp", listen.to_string()),
        ("admin.tcp", admin.to_string()),
        ("authzen.enabled", "true".to_owned()),
        // A second's patience instead of five: somebody is watching.
        ("evidence.flush_interval", "100ms".to_owned()),
        ("evidence.checkpoint_interval", "500ms".to_owned()),
        // A whole segment is reserved on the disk.
        ("evidence.segment_bytes", "1MiB".to_owned()),
        // The example must not fail on a machine that is busy with something else.
        ("replica.max_wait", "3s".to_owned()),
    ];
    let flag = |(key, value): (&str, String)| Flag { name: "quickstart".to_owned(), key: key.to_owned(), value };
    let flags = settings.into_iter().map(flag).collect();
    Ok(Config::load(&Sources { file: None, environment: Vec::new(), flags })?)
}

/// Where a client on this machine reaches a listener.
fn reachable(bound: Option<SocketAddr>) -> Result<SocketAddr, Failure> {
    let mut address = bound.ok_or_else(|| Failure::new("the address that was bound is not known"))?;
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    Ok(address)
}

/// Waits as any client can: until the health service says so.
async fn until_serving(
    mut health: HealthClient<Channel>,
    why: impl Fn() -> Option<String>,
    clock: &Clock,
) -> Result<Duration, Failure> {
    let started = clock.boot();
    loop {
        let answer = health.check(HealthCheckRequest::default()).await.map_err(|status| client::failure(&status))?;
        let took = clock.boot().since(started);
        if answer.into_inner().status() == ServingStatus::Serving {
            return Ok(took);
        }
        if took > READY_TIMEOUT {
            let why = why().unwrap_or_else(|| "nobody knows why".to_owned());
            return Err(Failure::new(format!("the sidecar does not become ready: {why}")));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
