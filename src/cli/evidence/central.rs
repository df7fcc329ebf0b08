//! `consentd evidence init` and `consentd evidence collect`: the central stream of evidence, and its reader.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::flags::NatsFlags;
use super::print;
use crate::cli::{Failure, Outcome, say};
use crate::clock::Clock;
use crate::evidence::central::{DEFAULT_STREAM, kept_stream};
use crate::evidence::collect::{self, Collected, Origin};
use crate::nats::{self, Fault, KeptStream, Servers, StreamError};
use crate::telemetry::logs;

#[derive(Debug, Args)]
pub(super) struct Init {
    /// The servers, such as `nats://host:4222`; several with commas between them.
    #[arg(long, value_name = "URL")]
    to: Servers,
    /// The stream.
    #[arg(long, default_value = DEFAULT_STREAM)]
    stream: String,
    /// On how many servers it is kept. Left out: 3 on a cluster, 1 on a server alone.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=5))]
    replicas: Option<u64>,
    #[command(flatten)]
    nats: NatsFlags,
}

#[derive(Debug, Args)]
pub(super) struct Collect {
    /// The servers, such as `nats://host:4222`; several with commas between them.
    #[arg(long, value_name = "URL")]
    from: Servers,
    /// The folder that it is gathered in, one for each sidecar in it; made if need be.
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
    /// The stream.
    #[arg(long, default_value = DEFAULT_STREAM)]
    stream: String,
    /// Goes on with what comes, until told to stop.
    #[arg(long)]
    follow: bool,
    /// A folder of public keys to trust, `<instance>.pub` in PEM. Of other sidecars the first key that is seen is trusted.
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    nats: NatsFlags,
}

pub(super) fn init(arguments: &Init) -> Outcome {
    let Init { to, stream, replicas, nats } = arguments;
    runtime()?.block_on(async {
        let client = nats::connect(&nats.config(to.clone())).await?;
        let alone = client.server_info().cluster.is_none();
        let kept = KeptStream { replicas: *replicas, ..kept_stream(stream) };
        let context = async_nats::jetstream::new(client);
        let (seen, did) = match kept.look(&context).await {
            Ok(seen) => (seen, "is there"),
            Err(StreamError::Missing(_)) => {
                let replicas = replicas.unwrap_or(if alone { 1 } else { 3 });
                (kept.make(&context, replicas).await?, "was made")
            }
            Err(error) => return Err(error.into()),
        };
        let faults: Vec<String> = seen.faults(&kept).iter().map(Fault::to_string).collect();
        if !faults.is_empty() {
            let faults = faults.join("\n  - ");
            return Err(Failure::new(format!("the stream `{stream}` would lose evidence:\n  - {faults}")));
        }
        say(format_args!("the stream `{stream}` {did} and keeps what it acknowledges, as far as its settings say"));
        Ok(ExitCode::SUCCESS)
    })
}

/// Exit code 1: something is missing or does not hold.
pub(super) fn collect(arguments: &Collect) -> Outcome {
    logs::init("warn", logs::Format::Text, &Clock::system())?;
    let config = collect::Config {
        nats: arguments.nats.config(arguments.from.clone()),
        stream: arguments.stream.clone(),
        into: arguments.into.clone(),
        keys: arguments.keys.clone(),
        follow: arguments.follow,
    };
    let collected = runtime()?.block_on(async {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        Ok::<_, Failure>(collect::run(&config, stop).await?)
    })?;
    print(if arguments.json { as_json(&collected) } else { as_text(&collected) })?;
    Ok(if collected.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn as_text(collected: &Collected) -> VecDeque<String> {
    let mut lines = VecDeque::new();
    for Origin { name, records, signed, missing } in &collected.origins {
        let verdict = if missing.is_empty() { "whole" } else { "NOT WHOLE" };
        lines.push_back(format!("{name}  {verdict}: {records} records; signed up to {signed}"));
        lines.extend(missing.iter().map(|what| format!("         missing: {what}")));
    }
    lines.extend(collected.problems.iter().map(|what| format!("problem: {what}")));
    lines.push_back(format!("{} messages read, {} records added", collected.messages, collected.added));
    lines
}

fn as_json(collected: &Collected) -> VecDeque<String> {
    let origin = |origin: &Origin| {
        let Origin { name, records, signed, missing } = origin;
        json!({ "origin": name, "records": records, "signed_records": signed, "missing": missing }).to_string()
    };
    let mut lines: VecDeque<String> = collected.origins.iter().map(origin).collect();
    let Collected { messages, added, problems, .. } = collected;
    let holds = collected.holds();
    lines.push_back(
        json!({ "holds": holds, "messages": messages, "added_records": added, "problems": problems }).to_string(),
    );
    lines
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
