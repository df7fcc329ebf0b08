//! Strings that travel with questions, through the whole house: decoded, decided on, in the evidence as fingerprints, and
//! nowhere as texts.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/sidecar.rs"]
mod sidecar;

use std::process::Command;

use consentd::domain::signal::{SensitiveData, section_name};
use consentd::proto::v1::{self, Reason};
use ring::digest;
use serde_json::Value;
use sidecar::{Client, Home, Sidecar, ask, files, question, subject};

/// Written by `@iabtcf/core`: purposes 1, 3, 4 and 7 and vendors 42 and 755 were consented to, both were disclosed.
const PERMITS: &str = "CQkgb8AQkgb8AEsACBENCWFgALIAAAAAAAYgF5wAgAVALzAAAAAA.IF5wAgAVALzA";
/// The same without vendor 42 among the consents.
const REFUSES_VENDOR: &str = "CQkgb8AQkgb8AEsACBENCWFgALAAAAAAAAYgF5wAQF5gAAAA.IF5wAgAVALzA";
/// Written by `@iabgpp/cmpapi`: the national section, once with an opt-out of sale.
const NO_OPT_OUT: &str = "DBABLA~CFQqAAAAAACA";
const SALE_OPTED_OUT: &str = "DBABLA~CEAQAAAAAACA";

/// Advertising for `network.example`, vendor 42; sale to it; and billing, which no string is mapped to.
fn home() -> Home {
    let home = Home::new();
    home.append(
        r#"{"eventId":"catalogue","eventTime":"2026-01-01T00:00:00Z","catalogue":{"version":"1",
        "channels":[{"key":"web"}],"recipients":[{"key":"network.example","tcfVendor":42}],"purposes":[
        {"key":"ads","legalBasis":"LEGAL_BASIS_CONSENT","channels":["web"],"tcf":{"purposes":[3,4]}},
        {"key":"sale","legalBasis":"LEGAL_BASIS_CONSENT","channels":["web"],"gpp":{"sale":true}},
        {"key":"billing","legalBasis":"LEGAL_BASIS_CONTRACT","channels":["web"]}]}}"#
            .replace('\n', "")
            .as_str(),
    );
    for (person, purpose) in [("a", "ads"), ("a", "sale"), ("b", "ads"), ("a", "billing")] {
        home.append(&format!(
            r#"{{"eventId":"{person}-{purpose}","eventTime":"2026-05-01T00:00:00Z","consent":{{"subject":{{"space":"crm","id":"{person}"}},"purpose":"{purpose}","channel":"web","recipient":"network.example","status":"CONSENT_STATUS_GIVEN","legalBasis":"LEGAL_BASIS_CONSENT"}}}}"#
        ));
    }
    home
}

fn signals(tcf: &str, gpp: &str) -> v1::Signals {
    v1::Signals { tcf: tcf.to_owned(), gpp: gpp.to_owned(), ..v1::Signals::default() }
}

async fn asked(client: &mut Client, purpose: &str, tcf: &str, gpp: &str) -> (Reason, String) {
    let question = v1::Question {
        recipient: "network.example".to_owned(),
        signals: Some(signals(tcf, gpp)),
        ..question("crm:a", purpose, "web")
    };
    let answered = ask(client, question).await;
    (answered.answer.expect("an answer").reason(), answered.evidence_id)
}

/// The first bytes of a text's digest, as evidence keeps them.
fn fingerprint(text: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, text.as_bytes()).as_ref()[..16].to_vec()
}

/// A record of the evidence, in base 64 where bytes are.
fn record(home: &Home, id: &str) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_consentd"))
        .args(["evidence", "show", id, "--json", "--dir"])
        .arg(home.data().join("evidence"))
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn base64(bytes: &[u8]) -> String {
    data_encoding::BASE64.encode(bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_with_a_string_is_answered_by_what_it_says_and_leaves_its_fingerprint() {
    let home = home();
    let sidecar = Sidecar::ready(&home, &[]).await;
    let mut client = sidecar.client();
    // Twice: the second time each is remembered.
    for _ in 0..2 {
        for (purpose, tcf, gpp, wanted) in [
            ("ads", "", "", Reason::Consent),
            ("ads", PERMITS, "", Reason::Consent),
            ("ads", REFUSES_VENDOR, "", Reason::SignalTcf),
            ("ads", PERMITS, SALE_OPTED_OUT, Reason::Consent),
            ("ads", &PERMITS[..40], "", Reason::SignalUnreadable),
            ("ads", PERMITS, "DBAB", Reason::SignalUnreadable),
            ("sale", REFUSES_VENDOR, NO_OPT_OUT, Reason::Consent),
            ("sale", "", SALE_OPTED_OUT, Reason::SignalGpp),
            ("billing", REFUSES_VENDOR, SALE_OPTED_OUT, Reason::Contract),
            ("billing", "C", "", Reason::SignalUnreadable),
        ] {
            let (reason, evidence) = asked(&mut client, purpose, tcf, gpp).await;
            assert_eq!(reason, wanted, "{purpose} with `{tcf}` and `{gpp}`");
            let signals = &record(&home, &evidence)["record"]["signals"];
            for (kept, text) in [(&signals["tcfDigest"], tcf), (&signals["gppDigest"], gpp)] {
                let wanted = if text.is_empty() { Value::Null } else { base64(&fingerprint(text)).into() };
                assert_eq!(*kept, wanted, "{purpose} with `{tcf}` and `{gpp}`");
            }
        }
    }
    sidecar.stop().await;
    for file in files(&home.data()) {
        let bytes = std::fs::read(&file).expect("readable");
        for text in [PERMITS, REFUSES_VENDOR, NO_OPT_OUT, SALE_OPTED_OUT] {
            let found = bytes.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(!found, "{}: holds a string that came with a question", file.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_of_a_batch_share_a_string_or_bring_their_own() {
    let home = home();
    let sidecar = Sidecar::ready(&home, &[]).await;
    let mut client = sidecar.client();
    let own = |person: &str, purpose: Option<&str>, signals: Option<v1::Signals>| v1::BatchQuestion {
        subject: Some(subject(person)),
        purpose: purpose.map(str::to_owned),
        signals,
        ..v1::BatchQuestion::default()
    };
    let questions = vec![
        own("crm:a", None, None),
        own("crm:a", None, Some(signals(REFUSES_VENDOR, ""))),
        own("crm:b", None, None),
        own("crm:b", None, Some(signals("CPX", ""))),
        own("crm:a", None, Some(signals("", ""))),
        own("crm:a", Some("sale"), Some(signals("", SALE_OPTED_OUT))),
        own("crm:a", Some("sale"), Some(signals("", NO_OPT_OUT))),
        own("crm:b", None, None),
    ];
    let context = v1::Context {
        purpose: "ads".to_owned(),
        channel: "web".to_owned(),
        recipient: "network.example".to_owned(),
        signals: Some(signals(PERMITS, "")),
        ..v1::Context::default()
    };
    let request = v1::MayProcessBatchRequest { context: Some(context), questions };
    let answered = client.may_process_batch(request).await.expect("answered").into_inner();
    let reasons: Vec<Reason> = answered.answers.iter().map(v1::Answer::reason).collect();
    let wanted = [
        Reason::Consent,
        Reason::SignalTcf,
        Reason::Consent,
        Reason::SignalUnreadable,
        Reason::Consent,
        Reason::SignalGpp,
        Reason::Consent,
        Reason::Consent,
    ];
    assert_eq!(reasons, wanted);
    let evidence = record(&home, &answered.evidence_id);
    assert_eq!(evidence["record"]["signals"]["tcfDigest"], base64(&fingerprint(PERMITS)));
    let overrides = evidence["record"]["overrides"].as_array().expect("some differ");
    assert_eq!(overrides.len(), 5, "{overrides:?}");
    assert_eq!(overrides[0]["signals"]["tcfDigest"], base64(&fingerprint(REFUSES_VENDOR)));
    sidecar.stop().await;
}

/// The first column of the tables in the document, where it is one word of code.
fn documented() -> Vec<&'static str> {
    const DOCUMENT: &str = include_str!("../docs/signals.md");
    let cells = DOCUMENT.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    cells.map(|(cell, _)| cell).filter(|cell| !cell.contains('.')).collect()
}

#[test]
fn the_document_lists_every_category_and_every_section() {
    let categories = SensitiveData::NAMES.into_iter();
    let sections = (2..=64).filter_map(section_name).filter(|name| *name != "tcfcav1");
    assert_eq!(documented(), categories.chain(sections).collect::<Vec<_>>());
}
