//! `consentd ask`: one question to a running sidecar, the answer for a person or a program.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use super::client::{self, Sidecar};
use super::question::Circumstances;
use super::{Failure, Outcome};
use crate::domain::{self, Subject};
use crate::proto::v1;

/// Ask whether a subject's data may be processed; exit with 0 for ALLOW, 1 for DENY, 2 for an error.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The subject, as `space:id`.
    subject: String,
    /// The purpose, such as `marketing.newsletter`.
    purpose: String,
    /// The channel, such as `email`.
    #[arg(short, long)]
    channel: String,
    #[command(flatten)]
    circumstances: Circumstances,
    #[command(flatten)]
    sidecar: Sidecar,
    /// The longest to wait for the answer, in milliseconds.
    #[arg(long, default_value_t = 2000, value_name = "MS")]
    timeout_ms: u64,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// Runs `ask`.
pub(super) fn run(args: &Args) -> Outcome {
    let response = client::block_on(async {
        let mut client = client::connect(&args.sidecar.address()).await?;
        let request = v1::MayProcessRequest { question: Some(args.question()?) };
        Ok(client.may_process(args.request(request)).await.map_err(|status| client::failure(&status))?.into_inner())
    })?;
    let code = exit_code(response.answer.as_ref());
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&response)?)?;
        return Ok(code);
    }
    write!(out, "{}", answer_text(response.answer.as_ref(), response.view.as_ref(), &response.evidence_id))?;
    Ok(code)
}

impl Args {
    fn question(&self) -> Result<v1::Question, Failure> {
        let subject = Subject::parse(&self.subject)?;
        Ok(self.circumstances.question(&subject, &self.purpose, &self.channel))
    }

    fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.set_timeout(Duration::from_millis(self.timeout_ms));
        request
    }
}

fn exit_code(answer: Option<&v1::Answer>) -> ExitCode {
    // Anything that is not an ALLOW is none.
    let allowed = answer.is_some_and(|answer| answer.verdict() == v1::Verdict::Allow);
    ExitCode::from(u8::from(!allowed))
}

/// An answer for a person: verdict and why, then what it rests on.
pub(super) fn answer_text(answer: Option<&v1::Answer>, view: Option<&v1::View>, evidence_id: &str) -> String {
    let Some(answer) = answer else { return "DENY  the sidecar gave no answer\n".to_owned() };
    let reason = domain::Reason::try_from(answer.reason()).ok();
    let mut lines = vec![format!(
        "{}  {}: {}",
        domain::Verdict::try_from(answer.verdict()).unwrap_or(domain::Verdict::Deny),
        reason.map_or("UNKNOWN", domain::Reason::as_str),
        reason.map_or("this version does not know the reason", domain::Reason::sentence),
    )];
    if !answer.failed_purpose.is_empty() {
        let why = domain::Reason::try_from(answer.failed_reason());
        let why = why.map_or(String::new(), |reason| format!(", which is denied: {reason}: {}", reason.sentence()));
        lines.push(format!("  required     {}{why}", answer.failed_purpose));
    }
    if let Some(at) = &answer.not_before {
        lines.push(format!("  not before   {}", time_text(at)));
    }
    if let Some(notice) = &answer.notice {
        lines.push(format!("  show notice  {}, version {} or later", notice.id, notice.version));
    }
    let basis = domain::LegalBasis::try_from(answer.legal_basis()).map_or("none", domain::LegalBasis::as_str);
    let status = domain::Status::try_from(answer.status()).map_or("none decided", domain::Status::as_str);
    lines.push(format!("  legal basis  {basis}"));
    lines.push(format!("  record       {status}"));
    if let Some(until) = &answer.valid_until {
        lines.push(format!("  valid until  {}", time_text(until)));
    }
    if let Some(view) = view {
        let age = view.staleness.as_ref().and_then(crate::proto::time::span).unwrap_or(Duration::MAX);
        let catalogue = view.catalogue_version;
        lines.push(format!("  view         {age:?} old, catalogue {catalogue}, token {}", view.ledger_token));
    }
    let evidence = if evidence_id.is_empty() { "none could be written" } else { evidence_id };
    lines.push(format!("  evidence     {evidence}"));
    lines.push(String::new());
    lines.join("\n")
}

fn time_text(time: &pbjson_types::Timestamp) -> String {
    let nanos = u32::try_from(time.nanos).unwrap_or(0);
    chrono::DateTime::from_timestamp(time.seconds, nanos)
        .map_or_else(|| "out of range".to_owned(), |time| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
}
