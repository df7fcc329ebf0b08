//! May the data be processed? Ask, and take whatever is not an ALLOW for a DENY.

use std::error::Error;
use std::time::Duration;

use tokio::process::Command;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

mod v1 {
    tonic::include_proto!("consent.v1");
}

use v1::enforcement_service_client::EnforcementServiceClient;
use v1::{MayProcessRequest, Question, Reason, Subject, Verdict};

/// Nobody who asks waits for ever; what is not answered by then is a DENY.
const DEADLINE: Duration = Duration::from_secs(2);

/// What is to be done, and why.
struct Decision {
    allowed: bool,
    reason: String,
}

/// Whether it is allowed. Whatever goes wrong, it is not.
async fn may_process(sidecar: &Channel, question: &Question) -> Decision {
    let mut request = Request::new(MayProcessRequest { question: Some(question.clone()) });
    // Tells the sidecar; the client gives up as well.
    request.set_timeout(DEADLINE);
    let mut client = EnforcementServiceClient::new(sidecar.clone());
    let answered = tokio::time::timeout(DEADLINE, client.may_process(request)).await;
    let Ok(Ok(response)) = answered else {
        // Not there, too late, or malformed: nobody has said yes.
        return Decision { allowed: false, reason: "nobody answered".to_owned() };
    };
    let answer = response.into_inner().answer.unwrap_or_default();
    // A verdict that this program does not know is no ALLOW.
    let allowed = answer.verdict == i32::from(Verdict::Allow);
    let reason = Reason::try_from(answer.reason).unwrap_or_default().as_str_name();
    Decision { allowed, reason: reason.trim_start_matches("REASON_").to_owned() }
}

/// Writes that the subject withdrew, and gives the token of that event.
async fn withdraw(subject: &str, purpose: &str, channel: &str) -> Result<String, Box<dyn Error>> {
    let words = ["ledger", "withdraw", subject, purpose, "--channel", channel, "--json"];
    let output = Command::new("consentd").args(words).output().await?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let written: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    Ok(written["token"].as_str().ok_or("what was written has no token")?.to_owned())
}

fn show(when: &str, Decision { allowed, reason }: Decision) {
    println!("{when:<16}{} ({reason})", if allowed { "ALLOW" } else { "DENY" });
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, subject, purpose, channel] = &arguments[..] else {
        return Err("usage: client ADDRESS SUBJECT PURPOSE CHANNEL".into());
    };
    let (space, id) = subject.split_once(':').ok_or("a subject is written `space:id`")?;
    let mut question = Question {
        subject: Some(Subject { space: space.to_owned(), id: id.to_owned() }),
        purpose: purpose.clone(),
        channel: channel.clone(),
        ..Question::default()
    };
    // Connects when it is first asked, and again when it has to: a sidecar may come later than its callers.
    let sidecar = Endpoint::from_shared(format!("http://{address}"))?.connect_lazy();
    show("before", may_process(&sidecar, &question).await);
    // The answer waits until the sidecar knows of the withdrawal, or is a DENY.
    question.at_least_as_fresh = withdraw(subject, purpose, channel).await?;
    show("withdrawn", may_process(&sidecar, &question).await);

    let nobody = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
    show("no sidecar", may_process(&nobody, &question).await);
    Ok(())
}
