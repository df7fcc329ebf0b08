//! What the ledger says is enforced, as it is said (P3, P4): appended lines, tokens, batches, streams, and a history of
//! many answers to one writer.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/sidecar.rs"]
mod sidecar;

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use consentd::ledger::Token;
use consentd::proto::v1;
use consentd::proto::v1::Reason;
use sidecar::{
    Client, Home, PATIENCE, Random, Sidecar, append, ask, batch_question, given, link, newsletter, now_ms, reason,
    said, token_at, until_reason, withdrawn,
};
use tokio_stream::wrappers::ReceiverStream;

fn position_of(view: &v1::View) -> u64 {
    view.ledger_token.parse::<Token>().expect("a token").position.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_another_process_appends_is_enforced() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    let sidecar = Sidecar::ready(&home, &[]).await;
    let client = sidecar.client();
    until_reason(&client, &newsletter("crm:1"), Reason::Consent).await;
    let line = withdrawn("crm:1");
    let (half, rest) = line.split_at(line.len() / 2);
    let shell = |text: &str, newline: &str| {
        let script = format!("printf '%s{newline}' \"$1\" >> \"$2\"");
        let ran = Command::new("sh").args(["-c", &script, "sh", text]).arg(home.ledger()).status().expect("a shell");
        assert!(ran.success());
    };
    shell(half, "");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(reason(&mut client.clone(), newsletter("crm:1")).await, Reason::Consent, "half a line waits");
    shell(rest, "\\n");
    until_reason(&client, &newsletter("crm:1"), Reason::Withdrawn).await;
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_with_a_later_token_waits_and_is_answered_from_there() {
    let home = Home::with_catalogue();
    let end = home.append(&given("crm:1"));
    let sidecar = Sidecar::ready(&home, &[("replica.max_wait", "20s"), ("server.request_timeout", "30s")]).await;
    let mut client = sidecar.client();
    let token = ask(&mut client, newsletter("crm:1")).await.view.expect("a view").ledger_token;
    let line = withdrawn("crm:1");
    let wanted = end + line.len() as u64 + 1;
    let question = v1::Question { at_least_as_fresh: token_at(&token, wanted), ..newsletter("crm:1") };
    let asked = tokio::spawn(async move { ask(&mut client, question).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!asked.is_finished(), "answered before the view had reached the token");
    assert_eq!(home.append(&line), wanted);
    let answered = tokio::time::timeout(PATIENCE, asked).await.expect("in time").expect("answered");
    assert_eq!(answered.answer.expect("an answer").reason(), Reason::Withdrawn);
    assert!(position_of(&answered.view.expect("a view")) >= wanted);
    sidecar.stop().await;
}

/// Subjects by number: every third has given, every third has withdrawn, the others are unknown.
fn expected(number: usize) -> Reason {
    [Reason::Consent, Reason::Withdrawn, Reason::UnknownSubject][number % 3]
}

fn home_with_subjects(count: usize) -> Home {
    let home = Home::with_catalogue();
    let mut lines = String::new();
    for number in (0..count).filter(|number| expected(*number) != Reason::UnknownSubject) {
        let subject = format!("crm:{number}");
        lines += &(given(&subject) + "\n");
        if expected(number) == Reason::Withdrawn {
            lines += &(withdrawn(&subject) + "\n");
        }
    }
    append(&home.ledger(), lines.as_bytes());
    home
}

fn context() -> v1::Context {
    v1::Context { purpose: "newsletter".into(), channel: "email".into(), ..v1::Context::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_answered_in_order_with_each_questions_own_words() {
    let mut random = Random::seeded("a_batch_is_answered_in_order_with_each_questions_own_words");
    let home = home_with_subjects(60);
    let sidecar = Sidecar::ready(&home, &[]).await;
    let mut client = sidecar.client();
    let (questions, wanted): (Vec<_>, Vec<_>) = (0..2_000)
        .map(|_| {
            let number = random.below(60);
            let plain = batch_question(&format!("crm:{number}"));
            match random.below(5) {
                0 => (v1::BatchQuestion { purpose: Some("unheard.of".into()), ..plain }, Reason::UnknownPurpose),
                1 => (v1::BatchQuestion { channel: Some("post".into()), ..plain }, Reason::ChannelNotUsed),
                2 => {
                    // Who has given or refused something to the controller has said nothing about a recipient.
                    let known = expected(number) != Reason::UnknownSubject;
                    let own = v1::BatchQuestion { recipient: Some("acme".into()), ..plain };
                    (own, if known { Reason::NoConsent } else { Reason::UnknownSubject })
                }
                _ => (plain, expected(number)),
            }
        })
        .unzip();
    // Twice: from the store and from the cache.
    for _ in 0..2 {
        let request = v1::MayProcessBatchRequest { context: Some(context()), questions: questions.clone() };
        let answered = client.may_process_batch(request).await.expect("answered").into_inner();
        let reasons: Vec<Reason> = answered.answers.iter().map(v1::Answer::reason).collect();
        assert_eq!(reasons, wanted);
    }
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_answered_in_order_and_its_view_never_goes_back() {
    const CHUNKS: usize = 300;
    const WITHDRAWN_AT: usize = 150;
    let mut random = Random::seeded("a_stream_is_answered_in_order_and_its_view_never_goes_back");
    let home = home_with_subjects(90);
    let sidecar = Sidecar::ready(&home, &[]).await;
    let mut client = sidecar.client();
    let (chunks, requests) = tokio::sync::mpsc::channel(8);
    let mut stream = client.may_process_stream(ReceiverStream::new(requests)).await.expect("answered").into_inner();

    let (plan, mut planned) = tokio::sync::mpsc::unbounded_channel::<Vec<usize>>();
    let path = home.ledger();
    let mut asking = client.clone();
    let sending = tokio::spawn(async move {
        for chunk in 0..CHUNKS {
            if chunk == WITHDRAWN_AT {
                append(&path, format!("{}\n", withdrawn("crm:0")).as_bytes());
                while reason(&mut asking, newsletter("crm:0")).await != Reason::Withdrawn {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            // The view moves on all the time.
            append(&path, format!("{}\n", withdrawn(&format!("crm:other-{chunk}"))).as_bytes());
            // Some are answered in no time and some beside the threads that serve, several at once.
            let questions_max = if chunk % 4 == 0 { 3_000 } else { 60 };
            let numbers: Vec<usize> =
                (0..=random.below(questions_max)).map(|place| if place == 0 { 0 } else { random.below(90) }).collect();
            let questions = numbers.iter().map(|number| batch_question(&format!("crm:{number}"))).collect();
            let context = (chunk == 0 || random.below(10) == 0).then(context);
            plan.send(numbers).expect("planned");
            chunks.send(v1::MayProcessStreamRequest { context, questions }).await.expect("sent");
        }
    });
    let mut position = 0;
    for chunk in 0..CHUNKS {
        let answered = stream.message().await.expect("answered").expect("an answer to each message");
        let numbers = planned.recv().await.expect("planned");
        assert_eq!(answered.answers.len(), numbers.len());
        for (number, answer) in numbers.iter().zip(&answered.answers) {
            if *number == 0 {
                // What the sender saw before it sent must count; what it had sent before may or may not have.
                let late = chunk >= WITHDRAWN_AT;
                assert!(!late || answer.reason() == Reason::Withdrawn, "chunk {chunk}: {:?}", answer.reason());
            } else {
                assert_eq!(answer.reason(), expected(*number), "chunk {chunk}, crm:{number}");
            }
        }
        let now = position_of(answered.view.as_ref().expect("a view"));
        assert!(now >= position, "chunk {chunk}: the view went back from {position} to {now}");
        position = now;
    }
    sending.await.expect("sent all");
    assert!(stream.message().await.expect("a clean end").is_none(), "as many answers as messages");
    sidecar.stop().await;
}

/// A caller that does not read is not read from: what it has sent waits on its side, and nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_is_held_back_and_loses_nothing() {
    const OFFERED: usize = 2_000;
    const QUESTIONS: usize = 2_000;
    let home = home_with_subjects(3);
    let sidecar = Sidecar::ready(&home, &[]).await;
    let mut client = sidecar.client();
    let (chunks, requests) = tokio::sync::mpsc::channel(1);
    let mut stream = client.may_process_stream(ReceiverStream::new(requests)).await.expect("answered").into_inner();
    let mut sent = 0;
    while sent < OFFERED {
        let chunk = v1::MayProcessStreamRequest {
            context: Some(context()),
            questions: vec![batch_question(&format!("crm:{}", sent % 3)); QUESTIONS],
        };
        if tokio::time::timeout(Duration::from_secs(2), chunks.send(chunk)).await.is_err() {
            break;
        }
        sent += 1;
    }
    // The windows of both directions take some 4 MiB; a message of these and its answers take 60 KiB.
    assert!(sent < OFFERED / 4, "{sent} messages were taken although no answer was read");
    drop(chunks);
    for chunk in 0..sent {
        let answered = stream.message().await.expect("answered").expect("an answer to each message");
        assert_eq!(answered.answers.len(), QUESTIONS);
        assert!(answered.answers.iter().all(|answer| answer.reason() == expected(chunk)), "message {chunk}");
    }
    assert!(stream.message().await.expect("a clean end").is_none());
    sidecar.stop().await;
}

/// One event of the history: noted before it is written, and again once it is.
#[derive(Debug, Clone, Copy)]
struct Written {
    given: bool,
    position: u64,
    done: Option<Instant>,
}

/// A view may be this old.
const STALENESS: Duration = Duration::from_secs(1);
/// The sidecar counts in whole milliseconds, on another clock.
const CLOCKS: Duration = Duration::from_millis(20);

/// One writer lets a person give and withdraw over two identifiers while four clients ask. Every answer must be one that
/// some state of the ledger justifies: not older than the answer's own token, than the token asked for, or than what was
/// written a second before; and not newer than what was written by the time the answer arrived.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_to_a_changing_subject_is_one_the_ledger_justifies() {
    const SUBJECTS: [&str; 2] = ["crm:person", "device:person"];
    let mut random = Random::seeded("every_answer_to_a_changing_subject_is_one_the_ledger_justifies");
    let home = Home::with_catalogue();
    home.append(&link(SUBJECTS[0], SUBJECTS[1], 1_000));
    let start = now_ms() - 3_600_000;
    let first = home.append(&said(SUBJECTS[0], "newsletter", "email", "GIVEN", start));
    let history = Arc::new(Mutex::new(vec![Written { given: true, position: first, done: Some(Instant::now()) }]));
    let sidecar = Sidecar::ready(&home, &[]).await;
    let token = ask(&mut sidecar.client(), newsletter(SUBJECTS[0])).await.view.expect("a view").ledger_token;
    let end = Instant::now() + Duration::from_secs(6);

    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (client, history, token) = (sidecar.client(), Arc::clone(&history), token.clone());
            let random = Random::from_seed(random.next());
            tokio::spawn(watch_person(client, history, token, SUBJECTS, end, random))
        })
        .collect();

    let mut given = true;
    let mut at = start;
    while Instant::now() < end {
        given = !given;
        at += 1;
        let line = said(random.pick(&SUBJECTS), "newsletter", "email", if given { "GIVEN" } else { "WITHDRAWN" }, at);
        let before = history.lock().expect("not poisoned").last().expect("one").position;
        let position = before + line.len() as u64 + 1;
        history.lock().expect("not poisoned").push(Written { given, position, done: None });
        assert_eq!(home.append(&line), position);
        history.lock().expect("not poisoned").last_mut().expect("one").done = Some(Instant::now());
        let pause = random.pick(&[0, 0, 1, 5, 30]);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    let (mut allowed, mut denied, mut stale) = (0, 0, 0);
    for client in clients {
        let counts = client.await.expect("no answer was wrong");
        allowed += counts.0;
        denied += counts.1;
        stale += counts.2;
    }
    println!("{allowed} allowed, {denied} denied, {stale} stale");
    assert!(allowed > 100 && denied > 100, "the history was seen changing: {allowed} allowed, {denied} denied");
    assert!(stale < allowed + denied, "most answers were given from a fresh view: {stale} stale");
    sidecar.stop().await;
}

/// Asks until `end`; counts what was allowed, denied and stale.
async fn watch_person(
    mut client: Client,
    history: Arc<Mutex<Vec<Written>>>,
    token: String,
    subjects: [&'static str; 2],
    end: Instant,
    mut random: Random,
) -> (u32, u32, u32) {
    let (mut allowed, mut denied, mut stale) = (0, 0, 0);
    while Instant::now() < end {
        let asked_at = Instant::now();
        let latest = *history.lock().expect("not poisoned").last().expect("one");
        let demanded = if random.below(2) == 0 { latest.position } else { 0 };
        let question = v1::Question {
            at_least_as_fresh: if demanded > 0 { token_at(&token, demanded) } else { String::new() },
            max_staleness: Some(STALENESS.into()),
            ..newsletter(random.pick(&subjects))
        };
        let answered = ask(&mut client, question).await;
        let known = history.lock().expect("not poisoned").clone();
        let answer = answered.answer.expect("an answer");
        match answer.reason() {
            Reason::Consent => allowed += 1,
            Reason::Withdrawn => denied += 1,
            Reason::Stale => {
                stale += 1;
                continue;
            }
            other => panic!("{other:?}"),
        }
        let claimed = position_of(&answered.view.expect("a view"));
        assert!(claimed >= demanded, "the answer's view {claimed} is before the token {demanded}");
        let old = |written: &&Written| written.done.is_some_and(|done| done + STALENESS + CLOCKS < asked_at);
        let must_know = known.iter().filter(old).map(|written| written.position).max().unwrap_or(0);
        assert!(claimed >= must_know, "the view {claimed} lacks what was written before {must_know}, long ago");
        // The state at the claimed position, or any later one that was on its way by now.
        let at_claimed = known.iter().rposition(|written| written.position <= claimed).expect("the first");
        let justified = known[at_claimed..].iter().any(|written| written.given == (answer.reason() == Reason::Consent));
        assert!(justified, "{:?} at {claimed}, but the ledger says {:?}", answer.reason(), &known[at_claimed..]);
    }
    (allowed, denied, stale)
}
