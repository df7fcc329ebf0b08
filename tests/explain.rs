//! Earlier answers, decided again by the real sidecar and by the command: what they say, and what they do not give away.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/sidecar.rs"]
mod sidecar;

use std::time::Duration;

use consentd::proto::v1::{
    self, DifferenceCause as Cause, Reason, ReplayRemarkKind as Kind, ReplayStanding as Standing,
};
use sidecar::{
    Client, Home, PATIENCE, Sidecar, ask, batch_question, catalogue, connect_uds, eventually, given, link, newsletter,
    now_ms, question, said, subject, token_at, until_reason, withdrawn, write_file,
};
use tonic::{Code, Request, Status};

/// Asks about an earlier answer of a subject.
async fn try_explain(client: &mut Client, subject: &str, evidence: &str) -> Result<v1::ExplainResponse, Status> {
    let question = v1::Question { subject: Some(self::subject(subject)), ..v1::Question::default() };
    let request = v1::ExplainRequest { question: Some(question), evidence_id: evidence.to_owned() };
    client.explain(request).await.map(tonic::Response::into_inner)
}

async fn explain(client: &mut Client, subject: &str, evidence: &str) -> (v1::ExplainResponse, v1::Replay) {
    let explained = try_explain(client, subject, evidence).await.expect("answered");
    let replay = explained.replay.clone().expect("a replay");
    (explained, replay)
}

fn kinds(replay: &v1::Replay) -> Vec<Kind> {
    replay.remarks.iter().map(v1::ReplayRemark::kind).collect()
}

fn recorded(replay: &v1::Replay) -> Reason {
    replay.recorded.as_ref().expect("an answer").reason()
}

fn replayed(replay: &v1::Replay) -> Reason {
    replay.answer.as_ref().expect("an answer").reason()
}

fn today(explained: &v1::ExplainResponse) -> Reason {
    explained.answer.as_ref().expect("an answer").reason()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_explanation_lists_every_rule_and_the_record_behind_it() {
    let home = Home::with_catalogue();
    let line = given("crm:1").replacen('{', r#"{"source":"webshop","#, 1);
    let line = line.replacen(
        r#""legalBasis""#,
        r#""collection":{"method":"web_form","preTicked":true,"byGuardian":true},"proof":"doc/7","jurisdiction":"TR","legalBasis""#,
        1,
    );
    let position = home.append(&line);
    let sidecar = Sidecar::ready(&home, &[]).await;
    let mut client = sidecar.client();
    let request = v1::ExplainRequest { question: Some(newsletter("crm:1")), ..v1::ExplainRequest::default() };
    let explained = client.explain(request).await.expect("answered").into_inner();
    assert_eq!(today(&explained), Reason::PreTicked);
    let results: Vec<_> = explained.rules.iter().map(|rule| (rule.rule.as_str(), rule.result())).collect();
    let names: Vec<_> = consentd::domain::rules().map(|(rule, _)| rule).collect();
    assert_eq!(results.iter().map(|(rule, _)| *rule).collect::<Vec<_>>(), names, "every rule, in order");
    let decided = results.iter().position(|(_, result)| *result == v1::RuleResult::Denied).expect("one denied");
    assert_eq!(results[decided].0, "collection");
    assert!(results[..decided].iter().all(|(_, result)| *result == v1::RuleResult::Passed), "{results:?}");
    assert!(results[decided + 1..].iter().all(|(_, result)| *result == v1::RuleResult::NotReached), "{results:?}");
    assert!(results.len() > decided + 1, "{results:?}");
    assert_eq!(explained.rules[decided].finding, "the consent was collected by a box ticked beforehand");
    let record = explained.record.expect("a record");
    let collection = record.collection.expect("how");
    assert!(collection.pre_ticked && collection.by_guardian && !collection.passive, "{collection:?}");
    assert_eq!(
        (record.source.as_str(), record.proof.as_str(), record.jurisdiction.as_str()),
        ("webshop", "doc/7", "TR")
    );
    assert_eq!((record.position, collection.method.as_str()), (position, "web_form"));
    assert_eq!(explained.replay, None);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_earlier_answer_comes_out_as_its_evidence_says_and_today_says_why_it_is_another() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    let sidecar = Sidecar::ready(&home, &[]).await;
    let mut client = sidecar.client();
    let asked = v1::Question {
        signals: Some(v1::Signals { sec_gpc: "0".to_owned(), ..v1::Signals::default() }),
        jurisdiction: "TR".to_owned(),
        ..newsletter("crm:1")
    };
    let allowed = ask(&mut client, asked.clone()).await;
    let (explained, replay) = explain(&mut client, "crm:1", &allowed.evidence_id).await;
    assert_eq!((replay.standing(), kinds(&replay)), (Standing::Reproduced, vec![]));
    assert_eq!(
        (recorded(&replay), replayed(&replay), today(&explained)),
        (Reason::Consent, Reason::Consent, Reason::Consent)
    );
    assert!(!replay.differs && replay.causes.is_empty());
    assert_ne!(explained.evidence_id, allowed.evidence_id, "an explanation leaves evidence of its own");
    let told = replay.question.clone().expect("what was asked");
    assert_eq!(told, v1::Question { subject: None, ..asked.clone() });

    // Withdrawn through another identifier, which was linked only afterwards.
    home.append(&withdrawn("email:a@example.org"));
    home.append(&link("crm:1", "email:a@example.org", now_ms()));
    until_reason(&client, &newsletter("crm:1"), Reason::Withdrawn).await;
    let (explained, replay) = explain(&mut client, "crm:1", &allowed.evidence_id).await;
    assert_eq!((replay.standing(), today(&explained)), (Standing::Reproduced, Reason::Withdrawn));
    assert!(replay.differs);
    assert_eq!(replay.causes().collect::<Vec<_>>(), [Cause::Records]);
    let denied = ask(&mut client, newsletter("email:a@example.org")).await;
    let (_, replay) = explain(&mut client, "email:a@example.org", &denied.evidence_id).await;
    assert_eq!((replay.standing(), replayed(&replay)), (Standing::Reproduced, Reason::Withdrawn));

    // A catalogue that does not know the purpose any more.
    home.append(&given("crm:2"));
    until_reason(&client, &newsletter("crm:2"), Reason::Consent).await;
    let before = ask(&mut client, newsletter("crm:2")).await;
    home.append(&catalogue(2).replace(r#""key":"newsletter","#, r#""key":"letters","#));
    until_reason(&client, &newsletter("crm:2"), Reason::UnknownPurpose).await;
    let (_, replay) = explain(&mut client, "crm:2", &before.evidence_id).await;
    assert_eq!((replay.standing(), replayed(&replay)), (Standing::Reproduced, Reason::Consent));
    assert_eq!(replay.causes().collect::<Vec<_>>(), [Cause::Catalogue]);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_are_followed_whatever_order_they_stand_in() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    // Each link is found only after what it leads to was passed.
    home.append(&withdrawn("device:3"));
    home.append(&link("email:2", "device:3", now_ms()));
    home.append(&link("crm:1", "email:2", now_ms()));
    let sidecar = Sidecar::ready(&home, &[]).await;
    let mut client = sidecar.client();
    let denied = ask(&mut client, newsletter("crm:1")).await;
    let (_, replay) = explain(&mut client, "crm:1", &denied.evidence_id).await;
    assert_eq!((replay.standing(), replayed(&replay)), (Standing::Reproduced, Reason::Withdrawn));
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_replayed_by_subject_or_by_place() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    home.append(&withdrawn("crm:2"));
    let sidecar = Sidecar::ready(&home, &[]).await;
    let mut client = sidecar.client();
    let context = v1::Context { purpose: "newsletter".into(), channel: "email".into(), ..v1::Context::default() };
    let other = v1::BatchQuestion { purpose: Some("billing".to_owned()), ..batch_question("crm:1") };
    let questions = vec![batch_question("crm:1"), batch_question("crm:2"), other];
    let batch = v1::MayProcessBatchRequest { context: Some(context), questions };
    let id = client.may_process_batch(batch).await.expect("answered").into_inner().evidence_id;

    let (_, replay) = explain(&mut client, "crm:2", &id).await;
    assert_eq!((replay.standing(), replay.evidence_id.as_str()), (Standing::Reproduced, format!("{id}#1").as_str()));
    assert_eq!(recorded(&replay), Reason::Withdrawn);
    let (_, replay) = explain(&mut client, "crm:1", &format!("{id}#2")).await;
    assert_eq!((replay.standing(), recorded(&replay)), (Standing::Reproduced, Reason::Contract));
    let several = try_explain(&mut client, "crm:1", &id).await.expect_err("two answers");
    assert_eq!(several.code(), Code::InvalidArgument, "{several}");
    assert!(several.message().contains(&format!("{id}#0")), "{several}");
    for (subject, id) in [("crm:3", id.clone()), ("crm:1", format!("{id}#1")), ("crm:1", format!("{id}#3"))] {
        let refused = try_explain(&mut client, subject, &id).await.expect_err("not about the subject");
        assert_eq!(refused.code(), Code::NotFound, "{refused}");
        assert!(!refused.message().contains("crm:"), "{refused}");
    }
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_are_given_again_or_the_answer_cannot_be() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    let sidecar = Sidecar::ready(&home, &[]).await;
    let mut client = sidecar.client();
    let signals = |tcf: &str| Some(v1::Signals { tcf: tcf.to_owned(), ..v1::Signals::default() });
    let asked = v1::Question { signals: signals("unreadable"), ..newsletter("crm:1") };
    let denied = ask(&mut client, asked.clone()).await;
    assert_eq!(denied.answer.as_ref().expect("an answer").reason(), Reason::SignalUnreadable);
    let with = async |client: &mut Client, tcf: &str| {
        let question =
            v1::Question { signals: signals(tcf), subject: asked.subject.clone(), ..v1::Question::default() };
        let request = v1::ExplainRequest { question: Some(question), evidence_id: denied.evidence_id.clone() };
        client.explain(request).await.expect("answered").into_inner().replay.expect("a replay")
    };
    let replay = with(&mut client, "").await;
    assert_eq!((replay.standing(), kinds(&replay)), (Standing::Impossible, vec![Kind::SignalsMissing]));
    assert_eq!((replay.answer.as_ref(), recorded(&replay)), (None, Reason::SignalUnreadable));
    let replay = with(&mut client, "another").await;
    assert_eq!((replay.standing(), kinds(&replay)), (Standing::Impossible, vec![Kind::SignalsDiffer]));
    let replay = with(&mut client, "unreadable").await;
    assert_eq!((replay.standing(), replayed(&replay)), (Standing::Reproduced, Reason::SignalUnreadable));
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_was_changed_contradicts_the_evidence() {
    let home = Home::with_catalogue();
    let padding = said("crm:9", "newsletter", "email", "GIVEN", now_ms() - 90_000);
    home.append(&given("crm:1"));
    // What is changed lies further back than a follower looks.
    for _ in 0..40 {
        home.append(&padding);
    }
    let sidecar = Sidecar::ready(&home, &[]).await;
    let mut client = sidecar.client();
    let allowed = ask(&mut client, newsletter("crm:1")).await;
    let text = std::fs::read_to_string(home.ledger()).expect("a ledger");
    let changed = text.replacen(r#""id":"1""#, r#""id":"7""#, 1);
    assert_eq!(changed.len(), text.len());
    write_file(&home.ledger(), changed.as_bytes());
    let (_, replay) = explain(&mut client, "crm:1", &allowed.evidence_id).await;
    assert_eq!(replay.standing(), Standing::Contradicted);
    assert_eq!(kinds(&replay), [Kind::ReasonDiffers, Kind::RecordDiffers]);
    assert_eq!((recorded(&replay), replayed(&replay)), (Reason::Consent, Reason::UnknownSubject));
    assert!(replay.remarks[0].sentence.contains("ALLOW CONSENT"), "{:?}", replay.remarks);

    // Another ledger is no contradiction: nothing can be told.
    write_file(&home.ledger(), format!("{}\n{}\n", catalogue(5), given("crm:1")).as_bytes());
    let replay = eventually("a replay", async || {
        try_explain(&mut client.clone(), "crm:1", &allowed.evidence_id).await.expect("answered").replay
    });
    let replay = replay.await;
    assert_eq!((replay.standing(), kinds(&replay)), (Standing::Impossible, vec![Kind::OtherLedger]));
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_a_sidecar_in_trouble_is_taken_from_its_evidence() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    let sidecar = Sidecar::ready(&home, &[("replica.max_wait", "20ms")]).await;
    let mut client = sidecar.client();
    let fresh = ask(&mut client, newsletter("crm:1")).await;
    let token = token_at(&fresh.view.expect("a view").ledger_token, 1 << 40);
    let asked = v1::Question { at_least_as_fresh: token, ..newsletter("crm:1") };
    let stale = ask(&mut client, asked).await;
    assert_eq!(stale.answer.expect("an answer").reason(), Reason::Stale);
    let (explained, replay) = explain(&mut client, "crm:1", &stale.evidence_id).await;
    assert_eq!((replay.standing(), kinds(&replay)), (Standing::Reproduced, vec![Kind::StandingTaken]));
    assert_eq!((replayed(&replay), today(&explained)), (Reason::Stale, Reason::Consent));
    assert_eq!(replay.causes().collect::<Vec<_>>(), [Cause::View]);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_evidence_here_is_said_and_who_may_not_ask_learns_nothing() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    let uid = rustix::process::geteuid().as_raw();
    let callers = format!("[{{ name = 'mailer', uid = {uid}, purposes = ['newsletter'], channels = ['*'] }}]");
    let sidecar = Sidecar::ready(&home, &[]).await;
    let mut client = sidecar.client();
    let billed = ask(&mut client, question("crm:1", "billing", "email")).await.evidence_id;
    let allowed = ask(&mut client, newsletter("crm:1")).await.evidence_id;

    let (_, index) = allowed.rsplit_once('/').expect("an index");
    let beyond = allowed.replace(&format!("/{index}"), "/99999");
    let (_, rest) = allowed.split_once('/').expect("an instance");
    for (id, told) in [(beyond, "there is no evidence"), (format!("0123456789abcdef/{rest}"), "of the instance")] {
        let refused = try_explain(&mut client, "crm:1", &id).await.expect_err("refused");
        assert_eq!(refused.code(), Code::NotFound, "{refused}");
        assert!(refused.message().contains(told), "{refused}");
    }
    let malformed = try_explain(&mut client, "crm:1", "nonsense").await.expect_err("refused");
    assert_eq!(malformed.code(), Code::InvalidArgument, "{malformed}");
    assert!(malformed.message().starts_with("`evidence_id` "), "{malformed}");
    let other =
        v1::ExplainRequest { question: Some(question("crm:1", "billing", "email")), evidence_id: allowed.clone() };
    let other = client.explain(other).await.expect_err("refused");
    assert_eq!(other.code(), Code::InvalidArgument, "{other}");
    assert!(other.message().starts_with("`question.purpose` "), "{other}");
    sidecar.stop().await;

    let sidecar = Sidecar::ready(&home, &[("callers", &callers)]).await;
    let mut mailer = Client::new(connect_uds(&home.uds()).await.expect("connected"));
    assert_eq!(explain(&mut mailer, "crm:1", &allowed).await.1.standing(), Standing::Reproduced);
    // Whether it is about the subject or not, the same is said.
    for subject in ["crm:1", "crm:2"] {
        let refused = try_explain(&mut mailer, subject, &billed).await.expect_err("refused");
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    }
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_ends_the_replay_and_not_todays_answer() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    let sidecar = Sidecar::ready(&home, &[]).await;
    let mut client = sidecar.client();
    let allowed = ask(&mut client, newsletter("crm:1")).await.evidence_id;
    // Takes seconds to be looked through: every line could be about the subject.
    let line = given(r"crm:\u0031\u0030");
    let many: String = std::iter::repeat_n(line + "\n", 300_000).collect();
    sidecar::append(&home.ledger(), many.as_bytes());
    let question = v1::Question { subject: Some(subject("crm:1")), ..v1::Question::default() };
    // The shortest deadline within which this machine has today's answer: longer than that answer takes, and far shorter
    // than the reading, however busy it is.
    let mut deadline = Duration::from_millis(200);
    let explained = loop {
        let asked = v1::ExplainRequest { question: Some(question.clone()), evidence_id: allowed.clone() };
        let mut request = Request::new(asked);
        request.set_timeout(deadline);
        match client.explain(request).await {
            Ok(explained) => break explained.into_inner(),
            Err(status) => {
                assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status}");
                deadline *= 2;
                assert!(deadline < PATIENCE, "no answer of today, whatever the deadline");
            }
        }
    };
    let replay = explained.replay.expect("a replay");
    assert_eq!((replay.standing(), kinds(&replay)), (Standing::Impossible, vec![Kind::TooLate]));
    assert!(!explained.evidence_id.is_empty(), "today's answer has evidence");
    sidecar.stop().await;
}

/// With a catalogue of a shop in several regions, and a string that permits less than it takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_explanation_names_the_laws_that_apply_and_what_in_a_string_denies() {
    let home = Home::new();
    let worldwide: serde_json::Value =
        serde_json::from_str(include_str!("../examples/catalogues/worldwide.json")).expect("JSON");
    let published = serde_json::json!({ "eventId": "c", "eventTime": "2026-01-01T00:00:00Z", "catalogue": worldwide });
    home.append(&published.to_string());
    home.append(&given("crm:1").replace("\"newsletter\"", "\"advertising.personalised\"").replace("email", "web"));
    let sidecar = Sidecar::ready(&home, &[]).await;
    let address = sidecar.tcp.to_string();
    // Nothing in it is permitted.
    let tcf = "CQkgb8AQkgb8AEsACBENCWFgAAAAAAAAAAYgAVAAAAAAAAAAAAA.IF5wAgAVALzA";
    let asked = ["crm:1", "advertising.personalised", "--channel=web", "--jurisdiction=DE", "--tcf", tcf];
    let explain = |more: &[&str]| command(&[&asked[..], &["--address", &address], more].concat(), &[("TZ", "UTC")]);
    let (code, json, _) = explain(&["--json"]);
    assert_eq!(code, 1);
    let told: v1::ExplainResponse = serde_json::from_str(&json).expect("JSON");
    assert_eq!(today(&told), Reason::SignalTcf);
    let rule = |name: &str| told.rules.iter().find(|rule| rule.rule == name).expect("listed");
    let sources: Vec<&str> = rule("jurisdiction").terms.iter().map(|terms| terms.source.as_str()).collect();
    assert_eq!(sources, ["ePrivacy Directive Art. 5(3); GDPR Art. 6(1)(a); IAB Europe TCF"]);
    assert_eq!(
        rule("signals").detail,
        "TCF purpose 1 is not permitted to the publisher: the purpose was not consented to"
    );
    assert!(told.rules.iter().all(|rule| rule.rule == "signals" || rule.detail.is_empty()));
    for language in ["--language=en", "--language=tr"] {
        let (_, text, _) = explain(&[language]);
        let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(joined.contains("§ EU: ePrivacy Directive Art. 5(3);"), "{text}");
        assert!(joined.contains("→ TCF purpose 1 is not permitted to the publisher:"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
    sidecar.stop().await;
}

/// Runs the command, and gives its exit code and what it printed.
fn command(arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_consentd"));
    command.arg("explain").args(arguments).env_clear().envs(environment.iter().copied());
    let output = command.output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("it ended"), text(output.stdout), text(output.stderr))
}

/// The ledger of the examples of `docs/explain.md`: nothing in it depends on when the test runs.
fn example() -> Home {
    let home = Home::new();
    let catalogue = r#"{"eventId":"c1","eventTime":"2026-01-01T00:00:00Z","source":"shop","catalogue":{"version":"1","channels":[{"key":"email"}],"purposes":[{"key":"marketing.newsletter","legalBasis":"LEGAL_BASIS_CONSENT","channels":["email"],"maxStaleness":"30s"}]}}"#;
    home.append(catalogue);
    home.append(&of_example("g1", "2026-02-03T09:30:00Z", "crm:42", "GIVEN", r#","preTicked":false"#));
    home.append(&of_example("g2", "2026-02-04T10:00:00Z", "crm:43", "GIVEN", r#","preTicked":true"#));
    home
}

fn of_example(id: &str, time: &str, subject: &str, status: &str, more: &str) -> String {
    let (space, local) = subject.split_once(':').expect("`space:id`");
    format!(
        r#"{{"eventId":"{id}","eventTime":"{time}","source":"webshop","consent":{{"subject":{{"space":"{space}","id":"{local}"}},"purpose":"marketing.newsletter","channel":"email","status":"CONSENT_STATUS_{status}","legalBasis":"LEGAL_BASIS_CONSENT","jurisdiction":"TR","notice":{{"id":"privacy","version":3,"language":"tr"}},"collection":{{"method":"web_form"{more}}}}}}}"#
    )
}

/// A line without what differs between runs: the values of these fields.
fn steady(line: &str) -> String {
    let fields = ["answered", "valid until", "evidence", "view", "kanıt", "görünüm", "asked by"];
    match fields.iter().find(|field| line.trim_start().starts_with(&format!("{field}  "))) {
        Some(field) => format!("  {field}"),
        None => line.trim_end().to_owned(),
    }
}

/// The blocks of the document that show what a command prints, in their order.
fn documented() -> Vec<(&'static str, &'static str)> {
    let document = include_str!("../docs/explain.md");
    let blocks = document.split("```console\n").skip(1);
    blocks.filter_map(|block| block.split("```").next()?.strip_prefix("$ ")?.split_once('\n')).collect()
}

fn compare(printed: &str, documented: &str, command: &str) {
    let (real, shown): (Vec<_>, Vec<_>) =
        (printed.lines().map(steady).collect(), documented.lines().map(steady).collect());
    for (number, (real, shown)) in real.iter().zip(&shown).enumerate() {
        assert_eq!(shown, real, "`{command}`, line {}", number + 1);
    }
    assert_eq!(shown.len(), real.len(), "`{command}`");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_shows_what_is_printed() {
    let home = example();
    let sidecar = Sidecar::ready(&home, &[]).await;
    let mut client = sidecar.client();
    let address = sidecar.tcp.to_string();
    let asked = question("crm:42", "marketing.newsletter", "email");
    let allowed = ask(&mut client, asked.clone()).await;
    assert_eq!(allowed.answer.as_ref().expect("an answer").reason(), Reason::Consent);
    home.append(&of_example("w1", "2026-03-05T18:00:00Z", "crm:42", "WITHDRAWN", ""));
    until_reason(&client, &asked, Reason::Withdrawn).await;
    let clock = [("TZ", "Europe/Istanbul")];

    let [turkish, english] = &documented()[..] else { panic!("two examples") };
    let (code, printed, _) = command(
        &["crm:43", "marketing.newsletter", "--channel", "email", "--language", "tr", "--address", &address],
        &clock,
    );
    assert_eq!(code, 1);
    compare(&printed, turkish.1, turkish.0);
    let id = &allowed.evidence_id;
    let (code, printed, _) = command(&["crm:42", "--evidence", id, "--address", &address], &clock);
    assert_eq!(code, 1);
    compare(&printed, english.1, english.0);
    for line in printed.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_sidecar_the_same_is_told_from_its_folder_and_the_ledger() {
    let home = example();
    let sidecar = Sidecar::ready(&home, &[]).await;
    let mut client = sidecar.client();
    let asked = question("crm:42", "marketing.newsletter", "email");
    let id = ask(&mut client, asked.clone()).await.evidence_id;
    home.append(&of_example("w1", "2026-03-05T18:00:00Z", "crm:42", "WITHDRAWN", ""));
    until_reason(&client, &asked, Reason::Withdrawn).await;
    let (_, online) = explain(&mut client, "crm:42", &id).await;
    sidecar.stop().await;

    let text = |path: std::path::PathBuf| path.to_str().expect("UTF-8").to_owned();
    let (evidence, ledger) = (text(home.data().join("evidence")), text(home.ledger()));
    let offline = |dir: &str, more: &[&str]| {
        let arguments = [&["crm:42", "--evidence", &id, "--dir", dir, "--ledger", &ledger, "--json"], more].concat();
        let (code, printed, error) = command(&arguments, &[]);
        (code, serde_json::from_str::<v1::ExplainResponse>(&printed).ok(), error)
    };
    let (code, explained, error) = offline(&evidence, &[]);
    let explained = explained.unwrap_or_else(|| panic!("{error}"));
    assert_eq!((code, today(&explained)), (1, Reason::Withdrawn));
    assert_eq!(explained.record.as_ref().expect("a record").source, "webshop");
    assert_eq!(explained.replay, Some(online.clone()), "as the sidecar has it");

    // A folder of collected evidence has no keys: nobody can tell whether it is about the subject, and that is said.
    let collected = home.path("collected");
    let (instance, _) = id.split_once('/').expect("an instance");
    sidecar::copy_folder(&home.data().join("evidence"), &collected.join(instance));
    std::fs::remove_dir_all(collected.join(instance).join("keys")).expect("keys");
    let collected = text(collected);
    let (_, explained, _) = offline(&collected, &[]);
    let replay = explained.and_then(|explained| explained.replay).expect("a replay");
    assert_eq!((replay.standing(), kinds(&replay)), (Standing::Reproduced, vec![Kind::SubjectUnproved]));
    let (_, explained, _) = offline(&collected, &["--keys", &evidence]);
    assert_eq!(explained.and_then(|explained| explained.replay), Some(online));

    // An alarm is heard by who only looks at the exit code.
    let changed =
        std::fs::read_to_string(home.ledger()).expect("a ledger").replace("02-03T09:30:00Z", "02-03T09:30:01Z");
    let other = changed.replacen(r#""id":"42""#, r#""id":"77""#, 1);
    write_file(&home.ledger(), other.as_bytes());
    let (code, explained, _) = offline(&evidence, &[]);
    assert_eq!(code, 3, "{explained:?}");
    let (code, printed, _) =
        command(&["crm:42", "--evidence", &id, "--dir", &evidence, "--ledger", &ledger], &[("LANG", "tr_TR.UTF-8")]);
    assert!(code == 3 && printed.contains("UYARI: o tarihte bilinenlerden"), "{printed}");
    let refused = command(&["crm:9", "--evidence", &id, "--dir", &evidence, "--ledger", &ledger], &[]);
    assert!(refused.0 == 2 && refused.2.contains("holds no answer about the subject"), "{refused:?}");
}
