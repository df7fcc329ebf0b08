//! Earlier answers and consent rates over a central ledger on a real NATS server: the same is told as over a file.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

#[path = "support/central.rs"]
mod central;
#[path = "support/nats.rs"]
#[allow(dead_code, reason = "each test uses its part")]
mod nats;
#[path = "support/sidecar.rs"]
mod sidecar;

use central::borrowed;
use consentd::ledger::nats::NatsLedger;
use consentd::nats::Tls;
use consentd::proto::v1::{self, DifferenceCause, Reason, ReplayStanding};
use nats::{NatsServer, Options};
use sidecar::{Sidecar, ask, catalogue, given, link, newsletter, now_ms, subject, until_reason, withdrawn};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_earlier_answer_is_decided_again_by_both_kinds_of_replicas() {
    let server = NatsServer::start(&Options::default());
    let home = central::home();
    let config = central::config(&home, &server.url(), &Tls::default());
    central::kept().make(&central::context(&config).await, 1).await.expect("made");
    let ledger = NatsLedger::open(&config).await.expect("opened");
    let sourced = given("crm:1").replacen('{', r#"{"source":"webshop","#, 1);
    ledger.append(&central::events(&[catalogue(1), sourced])).await.expect("written");

    for mode in ["full", "on_demand"] {
        let mut settings = central::settings(&config);
        settings.push(("replica.mode".to_owned(), mode.to_owned()));
        let sidecar = Sidecar::ready(&home, &borrowed(&settings)).await;
        let mut client = sidecar.client();
        let allowed = ask(&mut client, newsletter("crm:1")).await;
        assert_eq!(allowed.answer.expect("an answer").reason(), Reason::Consent, "{mode}");
        // Through another identifier, which is linked only afterwards.
        let device = format!("device:{mode}");
        ledger
            .append(&central::events(&[withdrawn(&device), link("crm:1", &device, now_ms())]))
            .await
            .expect("written");
        until_reason(&client, &newsletter("crm:1"), Reason::Withdrawn).await;

        let question = v1::Question { subject: Some(subject("crm:1")), ..v1::Question::default() };
        let request = v1::ExplainRequest { question: Some(question), evidence_id: allowed.evidence_id };
        let explained = client.explain(request).await.expect("answered").into_inner();
        let replay = explained.replay.expect("a replay");
        assert_eq!((replay.standing(), replay.remarks.len()), (ReplayStanding::Reproduced, 0), "{mode}: {replay:?}");
        assert_eq!(explained.answer.expect("an answer").reason(), Reason::Withdrawn, "{mode}");
        assert_eq!(replay.causes().collect::<Vec<_>>(), [DifferenceCause::Records], "{mode}");
        assert_eq!(replay.record.expect("a record").source, "webshop", "{mode}");
        sidecar.stop().await;
        // The next one finds a consent again.
        ledger.append(&central::events(&[unlink(&device)])).await.expect("written");
    }

    let report = std::process::Command::new(env!("CARGO_BIN_EXE_consentd"))
        .args(["report", "--format", "json", "--min-subjects", "0", "--ledger", &server.url(), "--subject-key"])
        .arg(&config.subject_key_file)
        .output()
        .expect("it runs");
    assert!(report.status.success(), "{}", String::from_utf8_lossy(&report.stderr));
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).expect("JSON");
    let total = &report["series"][0]["total"];
    // Three identifiers, of which two never agreed.
    assert_eq!(
        (&report["subjects"], &total["given"], &total["withdrawn"]),
        (&3.into(), &1.into(), &2.into()),
        "{report}"
    );
    assert_eq!(total["standing"], 1, "{report}");
}

fn unlink(device: &str) -> String {
    sidecar::unlink("crm:1", device, now_ms() + 1)
}
