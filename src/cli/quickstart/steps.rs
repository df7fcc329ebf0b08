//! The steps that ask: every answer is compared with the one that it must be, and a step that shows something else ends
//! the demonstration.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use tonic::transport::Channel;

use super::example::{CASES, Case, MAINE, NEWSLETTER};
use super::folder::Folder;
use super::page::{Page, millis, plural};
use crate::cli::ledger::{new_event_id, timestamp};
use crate::cli::{Failure, client};
use crate::clock::Clock;
use crate::domain::{LegalBasis, Reason, Status, Subject, Verdict};
use crate::evidence::{Archive, EvidenceId};
use crate::ledger::Token;
use crate::ledger::file::FileLedger;
use crate::proto::v1;
use crate::proto::v1::enforcement_service_client::EnforcementServiceClient;

/// How long a withdrawal may take to be enforced before the demonstration has failed: the purpose's own bound is 30 s,
/// and what is usual is a few milliseconds.
const ENFORCED_WITHIN: Duration = Duration::from_secs(10);
/// For so long the client asks before the withdrawal and goes on after it.
const ASKED_AROUND: Duration = Duration::from_millis(100);
/// How long a signed checkpoint may take to cover the evidence.
const SIGNED_WITHIN: Duration = Duration::from_secs(20);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

type Client = EnforcementServiceClient<Channel>;

/// An answer, as far as the demonstration looks at it.
#[derive(Debug)]
struct Seen {
    reason: Reason,
    evidence_id: String,
}

/// The answer to point at afterwards.
#[derive(Debug)]
pub(super) struct Decided {
    /// The evidence of the first DENY after the withdrawal.
    pub(super) evidence_id: String,
}

/// Asks, withdraws, verifies.
pub(super) async fn run(
    page: &mut Page,
    client: &mut Client,
    folder: &Folder,
    clock: &Clock,
) -> Result<Decided, Failure> {
    ask_about_everybody(page, client).await?;
    let first_deny = withdraw(page, client, folder, clock).await?;
    withdraw_with_token(page, client, folder, clock).await?;
    verify(page, folder, &first_deny).await?;
    Ok(Decided { evidence_id: first_deny.evidence_id })
}

async fn ask_about_everybody(page: &mut Page, client: &mut Client) -> Result<(), Failure> {
    page.step("May we? Answered over gRPC, from memory, each with evidence (P1, P2)")?;
    for case in CASES {
        let seen = ask(client, case, "").await?;
        let Case { subject, purpose, channel, reason, shows } = case;
        let verdict = page.verdict(seen.reason.verdict());
        page.say(format_args!("{subject}  {purpose:<25} {channel:<6} {verdict} {:<20} {shows}", seen.reason))?;
        expect(case, reason, seen.reason)?;
    }
    Ok(())
}

/// A customer withdraws while a client goes on asking: what it sees without having been told.
async fn withdraw(page: &mut Page, client: &mut Client, folder: &Folder, clock: &Clock) -> Result<Seen, Failure> {
    let case = NEWSLETTER;
    page.step("A withdrawal, while a client keeps asking (P3, P4)")?;
    let (written, flip) = tokio::try_join!(
        async {
            tokio::time::sleep(ASKED_AROUND).await;
            append(folder.ledger(), withdrawal(case, clock)?).await
        },
        until_denied(client, case)
    )?;
    let Written { began, acknowledged, .. } = written;
    let Flip { first_deny, at, before, after } = flip;
    let Case { subject, purpose, channel, .. } = case;
    page.say(format_args!(
        "{subject} unsubscribes: another writer appends a line to the ledger. Nobody tells the client."
    ))?;
    page.fact("asked", format_args!("{purpose} over {channel}, one call after another, without a token"))?;
    let (allow, deny) = (page.verdict(Verdict::Allow), page.verdict(Verdict::Deny));
    page.fact("before", format_args!("{allow} {} in {}", Reason::Consent, plural(before, "answer", "answers")))?;
    let flipped = at.saturating_duration_since(began);
    let reason = first_deny.reason;
    page.fact("first DENY", format_args!("{deny} {reason}, {} after the writer began", millis(flipped)))?;
    let (apart, order) = match at.checked_duration_since(acknowledged) {
        Some(apart) => (apart, "before"),
        None => (acknowledged.duration_since(at), "after"),
    };
    let acknowledged = format_args!("once on the device, {} {order} the first DENY", millis(apart)).to_string();
    page.fact("acknowledged", acknowledged)?;
    page.fact("afterwards", format_args!("{deny} {reason} in {}", plural(after, "answer", "answers")))?;
    if at < began {
        return Err(Failure::new(format!("{subject} was denied {purpose} before the withdrawal was written")));
    }
    expect(case, Reason::Withdrawn, first_deny.reason)?;
    Ok(first_deny)
}

/// A customer withdraws, and the one who wrote it down asks with the token: right in one call.
async fn withdraw_with_token(
    page: &mut Page,
    client: &mut Client,
    folder: &Folder,
    clock: &Clock,
) -> Result<(), Failure> {
    let case = MAINE;
    page.step("A withdrawal, and one call with its token (P4)")?;
    let Case { subject, purpose, channel, .. } = case;
    page.say(format_args!(
        "{subject} takes the opt-in back; in Maine that is possible at any time. The writer asks at once."
    ))?;
    let Written { token, .. } = append(folder.ledger(), withdrawal(case, clock)?).await?;
    let asked = Instant::now();
    let seen = ask(client, case, &token.to_string()).await?;
    let took = asked.elapsed();
    page.fact("asked", format_args!("{purpose} over {channel}, at least as fresh as {token}"))?;
    let verdict = page.verdict(seen.reason.verdict());
    page.fact("answer", format_args!("{verdict} {}, in one round trip of {}", seen.reason, millis(took)))?;
    expect(case, Reason::Withdrawn, seen.reason)
}

/// Verifies the log of the running sidecar and shows one record.
async fn verify(page: &mut Page, folder: &Folder, shown: &Seen) -> Result<(), Failure> {
    page.step("The evidence of every answer: chained, hashed into a tree, signed (P5, P6)")?;
    let archive = Archive::open(&folder.evidence())?;
    let id: EvidenceId = shown.evidence_id.parse()?;
    let deadline = Instant::now() + SIGNED_WITHIN;
    // The log is live: what was just written is signed a moment later.
    let reports = loop {
        let reports = archive.verify(None, None)?;
        let signed = |records: u64, size: Option<u64>| records == 0 || size == Some(records);
        if reports.iter().all(|report| signed(report.records, report.checkpoint.map(|checkpoint| checkpoint.size))) {
            break reports;
        }
        if Instant::now() > deadline {
            return Err(Failure::new(format!("no checkpoint covered the evidence within {SIGNED_WITHIN:?}")));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    for report in &reports {
        let holds = if report.problems.is_empty() { "holds" } else { "DOES NOT HOLD" };
        page.fact(
            &report.month.to_string(),
            format_args!("{holds}: {}, all signed", plural(report.records, "record", "records")),
        )?;
        if let Some(problem) = report.problems.first() {
            return Err(Failure::new(format!("the evidence does not hold: {problem}")));
        }
    }
    let record = archive.find(&id)?.ok_or_else(|| Failure::new(format!("there is no evidence `{id}`")))?;
    let named = record.reasons().next().map(|reason| reason.as_str_name().trim_start_matches("REASON_").to_owned());
    page.fact("first DENY above", format_args!("{id}"))?;
    page.fact(
        "its record",
        format_args!("{} over {}: {}", record.purpose, record.channel, named.as_deref().unwrap_or("?")),
    )?;
    let tag = HEXLOWER.encode(&record.subject_tags);
    page.fact("its subject", format_args!("{tag}, a tag under the month's key: no name is kept"))?;
    let steps = archive.prove(&id)?.lines().skip(2).take_while(|line| !line.is_empty()).count();
    page.fact("its proof", format_args!("{} to the signed root", plural(steps as u64, "hash", "hashes")))?;
    if named.as_deref() != Some(shown.reason.as_str()) {
        return Err(Failure::new(format!("the evidence `{id}` does not say what was answered, {}", shown.reason)));
    }
    Ok(())
}

fn expect(case: Case, expected: Reason, seen: Reason) -> Result<(), Failure> {
    if seen == expected {
        return Ok(());
    }
    let Case { subject, purpose, channel, .. } = case;
    Err(Failure::new(format!(
        "{subject}, {purpose} over {channel}: the answer is {} {seen}, and must be {} {expected}",
        seen.verdict(),
        expected.verdict()
    )))
}

async fn ask(client: &mut Client, case: Case, token: &str) -> Result<Seen, Failure> {
    let question = v1::Question {
        subject: Some(subject(case)?),
        purpose: case.purpose.to_owned(),
        channel: case.channel.to_owned(),
        at_least_as_fresh: token.to_owned(),
        ..v1::Question::default()
    };
    let mut request = tonic::Request::new(v1::MayProcessRequest { question: Some(question) });
    request.set_timeout(ANSWER_TIMEOUT);
    let response = client.may_process(request).await.map_err(|status| client::failure(&status))?.into_inner();
    let answer = response.answer.ok_or_else(|| Failure::new("the sidecar gave no answer"))?;
    Ok(Seen { reason: Reason::try_from(answer.reason())?, evidence_id: response.evidence_id })
}

fn subject(case: Case) -> Result<v1::Subject, Failure> {
    let subject = Subject::parse(case.subject)?;
    Ok(v1::Subject { space: subject.space().to_owned(), id: subject.expose_id().to_owned() })
}

fn withdrawal(case: Case, clock: &Clock) -> Result<v1::LedgerEvent, Failure> {
    Ok(v1::LedgerEvent {
        event_id: new_event_id()?,
        event_time: Some(timestamp(clock.now())),
        source: "quickstart".to_owned(),
        supersedes: Vec::new(),
        event: Some(v1::ledger_event::Event::Consent(v1::ConsentEvent {
            subject: Some(subject(case)?),
            purpose: case.purpose.to_owned(),
            channel: case.channel.to_owned(),
            status: v1::ConsentStatus::from(Status::Withdrawn).into(),
            legal_basis: v1::LegalBasis::from(LegalBasis::Consent).into(),
            ..v1::ConsentEvent::default()
        })),
    })
}

/// An event that was written, and when.
#[derive(Debug)]
struct Written {
    token: Token,
    began: Instant,
    acknowledged: Instant,
}

/// Appends as any other writer would, on a thread where it may wait for the device.
async fn append(ledger: PathBuf, event: v1::LedgerEvent) -> Result<Written, Failure> {
    let written = tokio::task::spawn_blocking(move || {
        let mut ledger = FileLedger::open(ledger)?;
        let began = Instant::now();
        let tokens = ledger.append(&[event])?;
        Ok::<_, Failure>((tokens, began, Instant::now()))
    });
    let (tokens, began, acknowledged) = written.await??;
    let token = tokens.first().copied().ok_or_else(|| Failure::new("the ledger gave no token"))?;
    Ok(Written { token, began, acknowledged })
}

/// What a client saw that asked the same again and again.
#[derive(Debug)]
struct Flip {
    first_deny: Seen,
    /// When that was received.
    at: Instant,
    /// Answers before it, all of them ALLOW.
    before: u64,
    /// Answers after it, all of them DENY.
    after: u64,
}

/// Asks until the answer is DENY, and a little longer: it must stay so.
async fn until_denied(client: &mut Client, case: Case) -> Result<Flip, Failure> {
    let started = Instant::now();
    let mut before = 0;
    let (first_deny, at) = loop {
        let seen = ask(client, case, "").await?;
        let now = Instant::now();
        if seen.reason.verdict() == Verdict::Deny {
            break (seen, now);
        }
        before += 1;
        if now.duration_since(started) > ENFORCED_WITHIN {
            return Err(Failure::new(format!("the withdrawal was not enforced within {ENFORCED_WITHIN:?}")));
        }
    };
    let mut after = 0;
    while at.elapsed() < ASKED_AROUND {
        let seen = ask(client, case, "").await?;
        expect(case, first_deny.reason, seen.reason)?;
        after += 1;
    }
    Ok(Flip { first_deny, at, before, after })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_answer_than_must_be_is_told_and_ends_the_demonstration() {
        assert!(expect(NEWSLETTER, Reason::Withdrawn, Reason::Withdrawn).is_ok());
        let Failure(sentence) = expect(NEWSLETTER, Reason::Withdrawn, Reason::Consent).expect_err("another answer");
        assert_eq!(
            sentence,
            "crm:1001, marketing.newsletter over email: the answer is ALLOW CONSENT, and must be DENY WITHDRAWN"
        );
    }
}
