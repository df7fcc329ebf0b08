//! `consentd explain`: why an answer is what it is, as a person would want to read it.
//!
//! Asks a running sidecar; an earlier answer can also be explained from a folder of evidence and the ledger alone.

mod offline;
mod text;
mod time;
mod words;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::client::{self, Sidecar};
use super::key_flags::KeyFlags;
use super::ledger::place::PlaceArgs;
use super::question::Circumstances;
use super::{Failure, Outcome};
use crate::domain::Subject;
use crate::evidence::EvidenceId;
use crate::proto::v1;
use text::Page;
use time::Clockface;
use words::Language;

/// How an explanation ends whose earlier answer is not what comes of it.
const CONTRADICTED: u8 = 3;

/// Ask one question and show why it is answered as it is: the record behind it, every rule, and what can be done. With
/// `--evidence` an earlier answer is decided again from what was known then, and compared with today's.
///
/// Exit codes: 0 the answer of today is ALLOW, 1 it is DENY, 2 an error, 3 an earlier answer is contradicted.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The subject, as `space:id`.
    subject: String,
    /// The purpose, such as `marketing.newsletter`.
    #[arg(required_unless_present = "evidence")]
    purpose: Option<String>,
    /// The channel, such as `email`.
    #[arg(short, long, required_unless_present = "evidence")]
    channel: Option<String>,
    #[command(flatten)]
    circumstances: Circumstances,
    /// An earlier answer, by its evidence id; `#k` names one of a batch.
    #[arg(long, value_name = "ID")]
    evidence: Option<EvidenceId>,
    /// Explain it without a sidecar: the folder of its evidence, or one into which that of many was collected. Needs the
    /// ledger.
    #[arg(long, value_name = "FOLDER", requires = "evidence")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    keys: KeyFlags,
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(flatten)]
    sidecar: Sidecar,
    /// The longest to wait, in milliseconds. Deciding an earlier answer again reads the ledger, at some hundred megabytes a
    /// second. Default: 2000, and 60000 with `--evidence`.
    #[arg(long, value_name = "MS")]
    timeout_ms: Option<u64>,
    /// The language of the explanation. Default: that of the environment.
    #[arg(long, value_enum, value_name = "LANGUAGE")]
    language: Option<Language>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// Which ledger an earlier answer is decided from, where no sidecar is asked.
#[derive(Debug, clap::Args)]
struct LedgerArgs {
    /// With `--dir`, the ledger: a file's path, or `nats://host:4222,…` or `tls://…` [env: `CONSENTD_LEDGER_URL`, or else
    /// `CONSENTD_LEDGER_FILE`]
    #[arg(long, value_name = "PATH|URL", requires = "dir")]
    ledger: Option<String>,
    /// On NATS: the stream.
    #[arg(long, env = "CONSENTD_LEDGER_STREAM", value_name = "NAME")]
    stream: Option<String>,
    /// On NATS: the file of the subject key.
    #[arg(long, env = "CONSENTD_LEDGER_SUBJECT_KEY_FILE", value_name = "FILE")]
    subject_key: Option<PathBuf>,
    /// On NATS: a file that says who reads.
    #[arg(long, env = "CONSENTD_LEDGER_CREDS_FILE", value_name = "FILE")]
    nats_creds: Option<PathBuf>,
}

/// Runs `explain`.
pub(super) fn run(args: &Args) -> Outcome {
    let subject = Subject::parse(&args.subject)?;
    let response = match &args.dir {
        Some(dir) => client::block_on(offline::explain(args, dir, &subject))?,
        None => client::block_on(online(args, &subject))?,
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let printed = if args.json {
        writeln!(out, "{}", serde_json::to_string(&response)?)
    } else {
        let language = args.language.unwrap_or_else(Language::of_environment);
        let page = Page::new(language, Clockface::of_machine());
        out.write_all(page.of(&args.subject, &args.question(&subject), &response).as_bytes())
    };
    match printed.and_then(|()| out.flush()) {
        // Who reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        printed => printed?,
    }
    Ok(exit_code(&response))
}

fn exit_code(response: &v1::ExplainResponse) -> ExitCode {
    let standing = response.replay.as_ref().map(v1::Replay::standing);
    if standing == Some(v1::ReplayStanding::Contradicted) {
        return ExitCode::from(CONTRADICTED);
    }
    // Anything that is not an ALLOW is none.
    let allowed = response.answer.as_ref().is_some_and(|answer| answer.verdict() == v1::Verdict::Allow);
    ExitCode::from(u8::from(!allowed))
}

async fn online(args: &Args, subject: &Subject) -> Result<v1::ExplainResponse, Failure> {
    let mut client = client::connect(&args.sidecar.address()).await?;
    let evidence_id = args.evidence.map(|id| id.to_string()).unwrap_or_default();
    let mut request = tonic::Request::new(v1::ExplainRequest { question: Some(args.question(subject)), evidence_id });
    request.set_timeout(args.timeout());
    let explained = client.explain(request).await.map_err(|status| {
        if args.evidence.is_none() { client::failure(&status) } else { Failure::new(status.message()) }
    })?;
    Ok(explained.into_inner())
}

impl Args {
    fn timeout(&self) -> Duration {
        let default = if self.evidence.is_some() { 60_000 } else { 2000 };
        Duration::from_millis(self.timeout_ms.unwrap_or(default))
    }

    fn question(&self, subject: &Subject) -> v1::Question {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        self.circumstances.question(subject, &text(&self.purpose), &text(&self.channel))
    }

    fn place(&self) -> PlaceArgs {
        let LedgerArgs { ledger, stream, subject_key, nats_creds } = &self.ledger;
        PlaceArgs::new(
            ledger.clone(),
            stream.clone(),
            subject_key.clone(),
            nats_creds.clone(),
            self.sidecar.tls_files(),
        )
    }
}
