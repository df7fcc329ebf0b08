//! `consentd bench withdraw`: how long a withdrawal takes to be in force at a sidecar.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::runtime::Runtime;
use tonic::transport::Channel;

use super::as_f64;
use super::load::Asked;
use super::report::micros;
use crate::cli::client::{self, Address};
use crate::cli::ledger::place::PlaceArgs;
use crate::cli::ledger::record::parse_notice;
use crate::cli::ledger::{new_event_id, timestamp};
use crate::cli::{Failure, Outcome};
use crate::clock::Clock;
use crate::config::parse_duration;
use crate::domain::Time;
use crate::ledger::Token;
use crate::proto::v1;
use crate::proto::v1::enforcement_service_client::EnforcementServiceClient;
use crate::proto::v1::ledger_event::Event;

/// How long before the withdrawals the consents are dated.
const GRANTED_BEFORE: Duration = Duration::from_mins(1);
/// How long a sidecar may take to come to what was written.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest latency that is told apart, in nanoseconds, and its digits.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
const LATENCY_DIGITS: u8 = 3;
/// Grants in one batch.
const BATCH: usize = 500;

/// Measure how long withdrawals take to be in force at a running sidecar.
///
/// Writes consents of subjects that nobody else has, then withdraws one after the other. One client asks about the subject
/// all the while, without a token, each question as soon as the last is answered: the time from the ledger's
/// acknowledgement to the arrival of the first DENY is measured, a round trip included. A DENY before the acknowledgement
/// counts as 0.
///
/// Put load on the sidecar with `consentd bench run --rate` beside it. It writes to the ledger: use one for tests, whose
/// catalogue has the purpose.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The sidecar: `127.0.0.1:7311` or `unix:/path/to/socket`.
    #[arg(short, long, default_value = client::DEFAULT_ADDRESS)]
    address: Address,
    /// How many withdrawals.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    count: u64,
    /// Between two of them.
    #[arg(long, default_value = "5ms", value_parser = parse_duration)]
    pause: Duration,
    #[command(flatten)]
    asked: Asked,
    /// The notice that the consents name.
    #[arg(long, value_parser = parse_notice, value_name = "ID@VERSION", default_value = "privacy@3")]
    notice: v1::Notice,
    #[command(flatten)]
    place: PlaceArgs,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// What was measured, in microseconds.
#[derive(Debug, Serialize)]
struct Report {
    withdrawals: u64,
    /// Denied before the ledger acknowledged it to the writer.
    denied_before_acknowledged: u64,
    /// From the acknowledgement to the first DENY.
    acknowledged_to_denied: Percentiles,
    /// From the write to its acknowledgement.
    written_to_acknowledged: Percentiles,
}

#[derive(Debug, Serialize)]
#[allow(clippy::struct_field_names, reason = "programs read these names, and a name ends with its unit")]
struct Percentiles {
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    max_us: f64,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let client = runtime.block_on(client::connect(&args.address))?;
    let now = Clock::system().now();
    let run = new_event_id()?;
    let subjects: Vec<v1::Subject> =
        (0..args.count).map(|n| v1::Subject { space: "bench".to_owned(), id: format!("{run}-{n}") }).collect();
    let mut ledger = args.place.place()?.open()?;
    let writer = ledger.writer();

    let granted_at = Time::from_unix_millis(now.unix_millis()).minus(GRANTED_BEFORE);
    let mut last: Option<Token> = None;
    for subjects in subjects.chunks(BATCH) {
        let grants: Result<Vec<_>, _> =
            subjects.iter().map(|subject| consent(subject, args, v1::ConsentStatus::Given, granted_at)).collect();
        last = writer.append(&grants?)?.pop();
    }
    let (Some(last), Some(subject)) = (last, subjects.last()) else {
        return Err(Failure::new("nothing was written"));
    };
    runtime.block_on(reached(client.clone(), question(subject, &args.asked), last))?;

    let mut to_ack = histogram()?;
    let mut to_deny = histogram()?;
    let mut before = 0;
    for subject in &subjects {
        let withdrawal = consent(subject, args, v1::ConsentStatus::Withdrawn, now)?;
        let probe = Probe::start(&runtime, client.clone(), question(subject, &args.asked))?;
        let written = Instant::now();
        writer.append(&[withdrawal])?;
        let acked = Instant::now();
        let denied = probe.denied(&runtime)?;
        to_ack.saturating_record(nanos(acked - written));
        to_deny.saturating_record(nanos(denied.saturating_duration_since(acked)));
        before += u64::from(denied < acked);
        std::thread::sleep(args.pause);
    }
    let report = Report {
        withdrawals: args.count,
        denied_before_acknowledged: before,
        acknowledged_to_denied: Percentiles::of(&to_deny),
        written_to_acknowledged: Percentiles::of(&to_ack),
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        write!(out, "{}", report.text())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A client that asks about one subject until it is denied.
struct Probe {
    task: tokio::task::JoinHandle<Result<Instant, Failure>>,
}

impl Probe {
    /// Asks, and goes on asking once the first answer was an ALLOW.
    fn start(
        runtime: &Runtime,
        mut client: EnforcementServiceClient<Channel>,
        question: v1::Question,
    ) -> Result<Self, Failure> {
        let first = runtime.block_on(ask(&mut client, question.clone()))?;
        if first.verdict() != v1::Verdict::Allow {
            return Err(Failure::new(format!(
                "a consent that was just written is denied: {}; has the catalogue the purpose, on the ground of consent, \
                 and demands no more of it?",
                first.reason().as_str_name()
            )));
        }
        let task = runtime.spawn(async move {
            let until = Instant::now() + PATIENCE;
            while ask(&mut client, question.clone()).await?.verdict() != v1::Verdict::Deny {
                if Instant::now() > until {
                    return Err(Failure::new("a withdrawal that was acknowledged is not in force for 30 s"));
                }
            }
            Ok(Instant::now())
        });
        Ok(Self { task })
    }

    /// When the first DENY had arrived.
    fn denied(self, runtime: &Runtime) -> Result<Instant, Failure> {
        runtime.block_on(self.task).map_err(|error| Failure::new(error.to_string()))?
    }
}

async fn ask(client: &mut EnforcementServiceClient<Channel>, question: v1::Question) -> Result<v1::Answer, Failure> {
    let request = v1::MayProcessRequest { question: Some(question) };
    let response = client.may_process(request).await.map_err(|status| client::failure(&status))?;
    response.into_inner().answer.ok_or_else(|| Failure::new("the sidecar gave a response without an answer"))
}

/// Waits until the sidecar has come to a token.
async fn reached(
    mut client: EnforcementServiceClient<Channel>,
    question: v1::Question,
    token: Token,
) -> Result<(), Failure> {
    let until = Instant::now() + PATIENCE;
    let question = v1::Question { at_least_as_fresh: token.to_string(), ..question };
    loop {
        match ask(&mut client, question.clone()).await?.reason() {
            v1::Reason::Stale | v1::Reason::ReplicaBuilding if Instant::now() < until => {}
            v1::Reason::ForeignToken => {
                return Err(Failure::new("the sidecar follows another ledger than the one that is written to"));
            }
            v1::Reason::Stale | v1::Reason::ReplicaBuilding => {
                return Err(Failure::new("the sidecar does not come to what was written within 30 s"));
            }
            _ => return Ok(()),
        }
    }
}

fn question(subject: &v1::Subject, asked: &Asked) -> v1::Question {
    v1::Question {
        subject: Some(subject.clone()),
        purpose: asked.purpose.clone(),
        channel: asked.channel.clone(),
        ..v1::Question::default()
    }
}

fn consent(
    subject: &v1::Subject,
    args: &Args,
    status: v1::ConsentStatus,
    at: Time,
) -> Result<v1::LedgerEvent, Failure> {
    let consent = v1::ConsentEvent {
        subject: Some(subject.clone()),
        purpose: args.asked.purpose.clone(),
        channel: args.asked.channel.clone(),
        status: status.into(),
        legal_basis: v1::LegalBasis::Consent.into(),
        notice: Some(args.notice.clone()),
        ..v1::ConsentEvent::default()
    };
    Ok(v1::LedgerEvent {
        event_id: new_event_id()?,
        event_time: Some(timestamp(at)),
        event: Some(Event::Consent(consent)),
        ..v1::LedgerEvent::default()
    })
}

fn histogram() -> Result<Histogram<u64>, Failure> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, LATENCY_DIGITS).map_err(|error| Failure::new(error.to_string()))
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

impl Percentiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| as_f64(histogram.value_at_quantile(quantile)) / 1000.0;
        Self { p50_us: at(0.5), p90_us: at(0.9), p99_us: at(0.99), max_us: as_f64(histogram.max()) / 1000.0 }
    }

    fn text(&self) -> String {
        let Self { p50_us, p90_us, p99_us, max_us } = *self;
        format!("p50 {}, p90 {}, p99 {}, max {}", micros(p50_us), micros(p90_us), micros(p99_us), micros(max_us))
    }
}

impl Report {
    fn text(&self) -> String {
        format!(
            "withdrawals             {} ({} denied before the acknowledgement arrived)\n\
             acknowledged to denied  {}\n\
             written to acknowledged {}\n",
            self.withdrawals,
            self.denied_before_acknowledged,
            self.acknowledged_to_denied.text(),
            self.written_to_acknowledged.text(),
        )
    }
}
