//! `consentd bench run`: load on a running sidecar.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use prost::bytes::Bytes;
use serde_json::Value;

use super::check;
use super::drive::{self, Plan};
use super::load::{Asked, Call, Load};
use super::report::Report;
use super::subjects::Subjects;
use crate::cli::client::{self, Sidecar};
use crate::cli::{Failure, Outcome};
use crate::config::keys::DEFAULT_MAX_BATCH;
use crate::config::parse_duration;
use crate::proto::v1;

/// Calls in flight where nothing is said: of a closed loop.
const DEFAULT_IN_FLIGHT: usize = 16;
/// The same of an open loop, where it is only a bound on memory.
const DEFAULT_IN_FLIGHT_OPEN: usize = 4096;
/// What the protocol promises, and no sidecar allows more.
const BATCH_MAX: u64 = DEFAULT_MAX_BATCH as u64;
/// The most calls in flight, and connections.
const MANY_MAX: u64 = 65_536;

/// Put load on a running sidecar; exit with 0 if every question was answered, 1 if not.
///
/// Without `--rate` the loop is closed: so many callers each begin their next call when the last has ended. A server
/// that stops for a second then delays no more than those calls, and its percentiles look better than what independent
/// callers meet.
///
/// With `--rate` the loop is open: calls are due at that rate, whatever the server does, and latency counts from the
/// moment a call was due, not from when it could be sent. Time spent waiting behind a slow answer is in the figures: there
/// is no coordinated omission. The client's own delay is in them too, some 0.1 ms.
///
/// The client uses one thread, so that on a small machine the server keeps the rest.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    #[command(flatten)]
    sidecar: Sidecar,
    /// Which call.
    #[arg(long, value_enum, default_value_t = Call::Unary)]
    call: Call,
    /// The most calls waiting for their answers at once, over all connections; of a stream, messages [default: 16, and
    /// 4096 with `--rate`].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MANY_MAX))]
    in_flight: Option<u64>,
    /// How many connections; each carries one stream, if streams are measured.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=MANY_MAX))]
    connections: u64,
    /// Calls a second, over all connections; of a stream, messages.
    #[arg(long, value_name = "PER_SECOND", value_parser = parse_rate)]
    rate: Option<f64>,
    /// How long to measure.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    duration: Duration,
    /// How long to ask before that without measuring.
    #[arg(long, default_value = "2s", value_parser = parse_duration)]
    warmup: Duration,
    /// Questions in a batch, or in a message of a stream.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=BATCH_MAX))]
    batch: u64,
    /// Whom to ask about: a range of numbers in a text, or a file with one `space:id` a line; at most 2,000,000.
    #[arg(long, value_name = "PATTERN|FILE", default_value = "crm:{1..10000}")]
    subjects: Subjects,
    #[command(flatten)]
    asked: Asked,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
    /// Show the whole distribution of latencies as well.
    #[arg(long)]
    histogram: bool,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Outcome {
    let default_in_flight = if args.rate.is_some() { DEFAULT_IN_FLIGHT_OPEN } else { DEFAULT_IN_FLIGHT };
    let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    let plan = Plan {
        address: args.sidecar.address(),
        call: args.call,
        in_flight: args.in_flight.map_or(default_in_flight, count),
        connections: count(args.connections),
        rate: args.rate,
        warmup: args.warmup,
        duration: args.duration,
    };
    let load = Arc::new(Load::new(args.call, &args.asked, &args.subjects.gather()?, count(args.batch)));
    let tally = client::block_on(async {
        let first = drive::probe(&plan.address, plan.call, &load).await?;
        examine(plan.call, &load, first)?;
        drive::drive(&plan, Arc::clone(&load)).await
    })?;
    let report = Report::new(&plan, &tally, args.histogram);
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        write!(out, "{}", report.text())?;
    }
    Ok(ExitCode::from(u8::from(!report.is_complete())))
}

/// Decodes the first response in full, which the measured ones are not: a server that answers something else than the
/// protocol says is found out before it is measured.
fn examine(call: Call, load: &Load, response: Bytes) -> Result<(), Failure> {
    let answers = match call {
        Call::Unary => usize::from(v1::MayProcessResponse::decode(response)?.answer.is_some()),
        Call::Authzen => {
            usize::from(serde_json::from_slice::<Value>(&response)?.get("decision").is_some_and(Value::is_boolean))
        }
        Call::Batch | Call::Stream => v1::MayProcessBatchResponse::decode(response)?.answers.len(),
        Call::Check => return check::examine(&response),
    };
    if answers as u64 == load.questions() {
        return Ok(());
    }
    Err(Failure::new(format!("the sidecar gave {answers} answers to {} questions", load.questions())))
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    if (0.001..=10_000_000.0).contains(&rate) { Ok(rate) } else { Err("write 0.001 to 10000000".to_owned()) }
}
