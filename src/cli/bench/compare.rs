//! `consentd bench compare`: the sidecar beside a server that does nothing, or beside itself with tracing, in turns.
//!
//! The two run in alternation, so that what else happens on the machine meets both, and each pair gives a ratio; the
//! median over the pairs is what is shown. Ratios of one run can be compared between machines, rates cannot.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::{EnumValueParser, TypedValueParser};
use tokio::signal::unix::{SignalKind, signal};

use super::children::{Folder, Server};
use super::drive::{self, Plan};
use super::load::{Asked, Call, Load};
use super::report::{Report, micros};
use super::subjects::{SUBJECTS_MAX, Subjects};
use super::{as_f64, grouped, ledger, whole};
use crate::cli::client::{self, Address};
use crate::cli::{Failure, Outcome};
use crate::clock::Clock;

/// Subjects of the ledger, and with `--quick`. Memory holds all of them: look-ups that miss are measured by
/// `benches/enforcer.rs`.
const DEFAULT_SUBJECTS: u64 = 100_000;
const DEFAULT_SUBJECTS_QUICK: u64 = 10_000;
/// Records of each subject.
const RECORDS: u64 = 4;
/// Memory that the sidecar gets for subjects.
const CACHE: &str = "replica.cache_bytes=1GiB";
/// How long one server is measured at a time, and with `--quick`.
const DEFAULT_DURATION: Duration = Duration::from_secs(3);
const DEFAULT_DURATION_QUICK: Duration = Duration::from_millis(500);
/// Of that, so much goes before it as a warm-up.
const WARMUP_PART: u32 = 4;
/// Between two measurements: what the one before left to be flushed goes to the device meanwhile.
const PAUSE: Duration = Duration::from_millis(300);
/// Unary calls in flight.
const UNARY_IN_FLIGHT: [usize; 3] = [1, 16, 64];
/// Batches, or messages of a stream, in flight: one is answered, one is on its way each way, and one waits.
const MANY_IN_FLIGHT: usize = 4;

/// Compare the sidecar with the null server, in turns on this machine, and print a table. Starts all itself, on ports
/// that are free and in a folder that is removed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Measure briefly, on a small ledger: to see that it works, not to publish.
    #[arg(long)]
    quick: bool,
    /// Write the table here as well.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Subjects of the ledger, with four records each [default: 100000, and 10000 with `--quick`].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=SUBJECTS_MAX))]
    subjects: Option<u64>,
    /// How many threads the servers answer with; several are compared one after the other.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "auto")]
    workers: Vec<String>,
    /// How often each server is measured.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=99))]
    pairs: u64,
    /// How long each time [default: 3s, and 500ms with `--quick`].
    #[arg(long, value_parser = crate::config::parse_duration)]
    duration: Option<Duration>,
    /// Questions in a batch, or in a message of a stream.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    batch: u64,
    /// Compare the sidecar with one that sends spans of this share of its answers, of denials, and metrics to a collector
    /// that keeps nothing.
    #[arg(long, value_name = "RATIO")]
    traced: Option<f64>,
    /// Only these calls.
    #[arg(long, value_parser = compared(), value_delimiter = ',', default_value = "unary,batch,stream")]
    call: Vec<Call>,
}

/// The calls that both servers answer.
fn compared() -> impl TypedValueParser<Value = Call> {
    EnumValueParser::<Call>::new().try_map(|call| match call {
        Call::Unary | Call::Batch | Call::Stream => Ok(call),
        Call::Check | Call::Authzen => Err("the null server does not answer it; measure it with `consentd bench run`"),
    })
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Outcome {
    client::block_on(async {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        // What is dropped here ends the children and removes the folder.
        let table = tokio::select! {
            table = compare(args) => table?,
            _ = terminate.recv() => return Err(Failure::new("stopped")),
            _ = interrupt.recv() => return Err(Failure::new("stopped")),
        };
        write!(std::io::stdout(), "{table}")?;
        if let Some(path) = &args.out {
            std::fs::write(path, &table)
                .map_err(|error| Failure::new(format!("cannot write `{}`: {error}", path.display())))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn compare(args: &Args) -> Result<String, Failure> {
    let subjects = args.subjects.unwrap_or(if args.quick { DEFAULT_SUBJECTS_QUICK } else { DEFAULT_SUBJECTS });
    let folder = Folder::new()?;
    let path = folder.path().join("ledger.jsonl");
    let now = Clock::system().now();
    eprintln!("writing a ledger of {} subjects", grouped(subjects));
    let written = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || ledger::write(&path, subjects, RECORDS, now)).await
    };
    written??;
    let loads = Loads::new(args, subjects)?;
    let mut table = head(args, subjects);
    for workers in &args.workers {
        let mut null = start_null(&folder, workers)?;
        null.ready().await?;
        let plain = start_sidecar(&folder, &path, workers, "plain", &[], &loads).await?;
        // Both, so that the second is not measured beside what the first one does while nobody asks.
        let traced = match args.traced {
            Some(ratio) => {
                Some(start_sidecar(&folder, &path, workers, "traced", &tracing(ratio, &null), &loads).await?)
            }
            None => None,
        };
        let pair = traced.as_ref().map_or([&null, &plain], |traced| [&plain, traced]);
        for scenario in scenarios(&args.call) {
            let row = measure(args, &loads, scenario, pair).await?;
            let [first, _] = names(args);
            eprintln!("{workers} workers, {scenario}: {:.3} of the rate of `{first}`", row.rate_ratio());
            row.write(&mut table, workers, scenario);
        }
    }
    Ok(table)
}

/// One way of asking.
#[derive(Debug, Clone, Copy)]
struct Scenario {
    over_tcp: bool,
    call: Call,
    in_flight: usize,
}

fn scenarios(calls: &[Call]) -> Vec<Scenario> {
    let mut scenarios = Vec::new();
    for call in [Call::Unary, Call::Batch, Call::Stream].into_iter().filter(|call| calls.contains(call)) {
        let many = [MANY_IN_FLIGHT];
        let counts: &[usize] = if call == Call::Unary { &UNARY_IN_FLIGHT } else { &many };
        for over_tcp in [true, false] {
            scenarios.extend(counts.iter().map(|in_flight| Scenario { over_tcp, call, in_flight: *in_flight }));
        }
    }
    scenarios
}

impl std::fmt::Display for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let over = if self.over_tcp { "TCP" } else { "Unix socket" };
        write!(f, "{} over {over}, {} in flight", self.call.as_str(), self.in_flight)
    }
}

/// The requests of all scenarios.
struct Loads {
    unary: Arc<Load>,
    batch: Arc<Load>,
}

impl Loads {
    fn new(args: &Args, subjects: u64) -> Result<Self, Failure> {
        let asked = Asked { purpose: ledger::PURPOSE.to_owned(), channel: ledger::CHANNEL.to_owned() };
        let subjects = Subjects::synthetic(subjects).gather()?;
        let batch = usize::try_from(args.batch)?;
        let load = |call| Arc::new(Load::new(call, &asked, &subjects, batch));
        Ok(Self { unary: load(Call::Unary), batch: load(Call::Batch) })
    }

    fn of(&self, call: Call) -> Arc<Load> {
        match call {
            // The null server answers neither of the others, so that they are never asked for here.
            Call::Unary | Call::Check | Call::Authzen => Arc::clone(&self.unary),
            Call::Batch | Call::Stream => Arc::clone(&self.batch),
        }
    }
}

/// What the two that are compared are called.
const fn names(args: &Args) -> [&'static str; 2] {
    if args.traced.is_some() { ["plain", "traced"] } else { ["null", "sidecar"] }
}

/// The settings of a sidecar whose collector is the null server.
fn tracing(ratio: f64, null: &Server) -> [String; 2] {
    [format!("telemetry.otlp_endpoint=http://{}", null.tcp()), format!("telemetry.trace_ratio={ratio}")]
}

/// Where a server listens over TCP.
fn listen() -> [String; 2] {
    ["--listen".to_owned(), "127.0.0.1:0".to_owned()]
}

/// The null server.
fn start_null(folder: &Folder, workers: &str) -> Result<Server, Failure> {
    let uds = folder.path().join(format!("null-{workers}"));
    let mut arguments = vec!["bench".to_owned(), "null".to_owned(), "--workers".to_owned(), workers.to_owned()];
    arguments.extend(listen());
    arguments.extend(["--listen".to_owned(), format!("unix:{}", uds.display())]);
    Server::start(&arguments, &uds)
}

/// A sidecar with these settings, ready, with all subjects in memory.
async fn start_sidecar(
    folder: &Folder,
    ledger: &std::path::Path,
    workers: &str,
    name: &str,
    settings: &[String],
    loads: &Loads,
) -> Result<Server, Failure> {
    let text = |path: &std::path::Path| path.display().to_string();
    let uds = folder.path().join(format!("{name}-{workers}"));
    let data = folder.path().join(format!("data-{name}-{workers}"));
    let mut arguments = vec!["serve".to_owned(), "--ledger".to_owned(), text(ledger)];
    arguments.extend(listen());
    arguments.extend(["--uds".to_owned(), text(&uds), "--data-dir".to_owned(), text(&data)]);
    arguments.extend(["--admin".to_owned(), "off".to_owned(), "--set".to_owned(), CACHE.to_owned()]);
    arguments.extend(["--set".to_owned(), format!("server.workers={workers}")]);
    for setting in settings {
        arguments.extend(["--set".to_owned(), setting.clone()]);
    }
    let mut sidecar = Server::start(&arguments, &uds)?;
    sidecar.ready().await?;
    // So that no measured look-up is its subject's first.
    drive::once(sidecar.uds(), Call::Batch, &loads.batch).await?;
    Ok(sidecar)
}

/// What was measured of the two servers, in pairs: the first's before the second's.
struct Row(Vec<[Sample; 2]>);

/// One measurement.
#[derive(Debug, Clone, Copy)]
struct Sample {
    answers_per_second: f64,
    p99_us: f64,
    /// The server's processor time for each answer, in microseconds.
    processor_us: Option<f64>,
}

async fn measure(args: &Args, loads: &Loads, scenario: Scenario, servers: [&Server; 2]) -> Result<Row, Failure> {
    let default = if args.quick { DEFAULT_DURATION_QUICK } else { DEFAULT_DURATION };
    let duration = args.duration.unwrap_or(default);
    let mut pairs = Vec::new();
    let [one, other] = servers;
    for pair in 0..args.pairs {
        // Whoever comes first meets what the pause before left over, so that they take turns at that too.
        pairs.push(if pair % 2 == 0 {
            let one = sample(loads, scenario, one, duration).await?;
            [one, sample(loads, scenario, other, duration).await?]
        } else {
            let other = sample(loads, scenario, other, duration).await?;
            [sample(loads, scenario, one, duration).await?, other]
        });
    }
    Ok(Row(pairs))
}

async fn sample(loads: &Loads, scenario: Scenario, server: &Server, duration: Duration) -> Result<Sample, Failure> {
    tokio::time::sleep(PAUSE).await;
    let address: &Address = if scenario.over_tcp { server.tcp() } else { server.uds() };
    let plan = Plan {
        address: address.clone(),
        call: scenario.call,
        in_flight: scenario.in_flight,
        connections: 1,
        rate: None,
        warmup: duration / WARMUP_PART,
        duration,
    };
    let before = server.processor_time();
    let tally = drive::drive(&plan, loads.of(scenario.call)).await?;
    let after = server.processor_time();
    let report = Report::new(&plan, &tally, false);
    if !report.is_complete() || report.answers_without_evidence > 0 {
        return Err(Failure::new(format!("a measurement went wrong:\n{}", report.text())));
    }
    // The warm-up is in the processor time, so that its answers must be too.
    let answers = report.answers_per_second * (plan.warmup + plan.duration).as_secs_f64();
    let processor = before.zip(after).map(|(before, after)| after.saturating_sub(before).as_secs_f64() * 1e6);
    Ok(Sample {
        answers_per_second: report.answers_per_second,
        p99_us: report.latency.p99_us,
        processor_us: processor.map(|processor| processor / answers),
    })
}

impl Row {
    fn median(&self, of: impl Fn(&[Sample; 2]) -> Option<f64>) -> Option<f64> {
        median(self.0.iter().map(of).collect::<Option<Vec<f64>>>()?)
    }

    fn rate_ratio(&self) -> f64 {
        let ratio = |[null, sidecar]: &[Sample; 2]| Some(sidecar.answers_per_second / null.answers_per_second);
        self.median(ratio).unwrap_or(f64::NAN)
    }

    fn write(&self, table: &mut String, workers: &str, scenario: Scenario) {
        let rate = |rate: Option<f64>| rate.map_or_else(|| "–".to_owned(), |rate| grouped(whole(rate)));
        let time = |time: Option<f64>| time.map_or_else(|| "–".to_owned(), micros);
        let fine = |time: Option<f64>| time.map_or_else(|| "–".to_owned(), |time| format!("{time:.2} µs"));
        let ratio = |ratio: Option<f64>| ratio.map_or_else(|| "–".to_owned(), |ratio| format!("**{ratio:.3}**"));
        let columns = [
            workers.to_owned(),
            scenario.call.as_str().to_owned(),
            if scenario.over_tcp { "TCP" } else { "Unix" }.to_owned(),
            scenario.in_flight.to_string(),
            rate(self.median(|[null, _]| Some(null.answers_per_second))),
            rate(self.median(|[_, sidecar]| Some(sidecar.answers_per_second))),
            ratio(Some(self.rate_ratio())),
            time(self.median(|[null, _]| Some(null.p99_us))),
            time(self.median(|[_, sidecar]| Some(sidecar.p99_us))),
            ratio(self.median(|[null, sidecar]| Some(sidecar.p99_us / null.p99_us))),
            fine(self.median(|[null, _]| null.processor_us)),
            fine(self.median(|[_, sidecar]| sidecar.processor_us)),
        ];
        // Writing to a string does not fail.
        let _ = writeln!(table, "| {} |", columns.join(" | "));
    }
}

/// The middle one, or the mean of the middle two.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

fn head(args: &Args, subjects: u64) -> String {
    let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let default = if args.quick { DEFAULT_DURATION_QUICK } else { DEFAULT_DURATION };
    let [one, other] = names(args);
    format!(
        "{processors} processors, shared with the client; {} subjects of {RECORDS} records; evidence `written`; batches \
         of {}; medians of {} pairs, {} s each.\n\n\
         | workers | call | over | in flight | {one} answers/s | {other} answers/s | ratio | {one} p99 | {other} p99 | \
         ratio | {one} CPU/answer | {other} CPU/answer |\n\
         |---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
        grouped(subjects),
        args.batch,
        args.pairs,
        as_f64(u64::try_from(args.duration.unwrap_or(default).as_millis()).unwrap_or(0)) / 1000.0,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn ratios_are_of_pairs_not_of_medians() {
        let sample = |answers_per_second| Sample { answers_per_second, p99_us: 10.0, processor_us: None };
        // The machine became three times slower in the middle: both were slower, the ratio was the same.
        let pairs = vec![[sample(300.0), sample(270.0)], [sample(100.0), sample(90.0)], [sample(310.0), sample(279.0)]];
        assert!((Row(pairs).rate_ratio() - 0.9).abs() < 1e-9);
    }

    #[test]
    fn every_way_of_asking_is_measured_over_both() {
        let all = scenarios(&[Call::Unary, Call::Batch, Call::Stream]);
        assert_eq!(all.len(), 10);
        assert_eq!(all.iter().filter(|scenario| scenario.over_tcp).count(), 5);
    }
}
