//! Answers as a server of version 2.15 gives them, and what may go wrong with each.

use async_nats::{HeaderMap, StatusCode};

use super::super::answer::Partial;
use super::*;

const CONSENT: &str = "consent.ledger.abababababababababababababababab.consent";
const BEAT: &str = "consent.ledger.beat.beat";

/// A message as it comes in.
fn came(status: Option<(u16, &str)>, headers: &[(&str, &str)], payload: &str) -> async_nats::Message {
    let headers = headers.iter().fold(HeaderMap::new(), |mut map, (name, value)| {
        map.append(*name, *value);
        map
    });
    async_nats::Message {
        subject: "_INBOX.1.1".into(),
        reply: None,
        payload: payload.to_owned().into(),
        headers: Some(headers),
        status: status.map(|(code, _)| StatusCode::from_u16(code).expect("a status")),
        description: status.map(|(_, text)| text.to_owned()),
        length: 0,
    }
}

/// A message of the stream; `before` is the one that was sent before it.
fn stored(subject: &str, sequence: u64, before: u64) -> async_nats::Message {
    let (sequence, before) = (sequence.to_string(), before.to_string());
    let headers = [
        ("Nats-Stream", "CONSENT_LEDGER"),
        ("Nats-Subject", subject),
        ("Nats-Sequence", &sequence),
        ("Nats-Time-Stamp", "2026-11-22T02:00:00.000000001Z"),
        ("Nats-Num-Pending", "0"),
        ("Nats-Last-Sequence", &before),
    ];
    came(None, &headers, "payload")
}

fn end(last: u64, pending: u64, extent: Option<u64>) -> async_nats::Message {
    let (last, pending) = (last.to_string(), pending.to_string());
    let extent = extent.map(|extent| extent.to_string());
    let mut headers = vec![("Nats-Num-Pending", pending.as_str()), ("Nats-Last-Sequence", last.as_str())];
    headers.extend(extent.as_deref().map(|extent| ("Nats-UpTo-Sequence", extent)));
    came(Some((204, "EOB")), &headers, "")
}

fn not_found() -> async_nats::Message {
    came(Some((404, "Message Not Found")), &[], "")
}

fn answer(messages: Vec<async_nats::Message>) -> Result<Answer, Stray> {
    let mut partial = Partial::default();
    for message in messages {
        if let Some(answer) = partial.take(message)? {
            return Ok(answer);
        }
    }
    panic!("the answer has no end");
}

fn whole(messages: Vec<async_nats::Message>) -> Answer {
    answer(messages).expect("whole")
}

fn history(pages: Vec<Vec<async_nats::Message>>) -> History {
    let mut history = History::new(CONSENT);
    for page in pages {
        history.take(whole(page), 1 << 20).expect("in order");
    }
    history
}

/// The last consent is at 7, the last beat at 9, and the copy goes to 9.
fn extent() -> Extent {
    let lasts = vec![stored(CONSENT, 7, 0), stored(BEAT, 9, 7), end(9, 0, Some(9))];
    Extent::of(&whole(lasts), Position(9)).expect("proved")
}

#[test]
fn a_history_is_proved_by_the_message_that_an_extent_names() {
    let page = || vec![stored(CONSENT, 3, 0), stored(CONSENT, 7, 3), end(7, 0, None)];
    assert!(history(vec![page()]).reaches(&extent()));
    // In two answers, and with a message that came later.
    let pages = vec![
        vec![stored(CONSENT, 3, 0), end(3, 1, None)],
        vec![stored(CONSENT, 7, 0), stored(CONSENT, 11, 7), end(11, 0, None)],
    ];
    let both = history(pages);
    assert!(both.reaches(&extent()));
    assert_eq!(both.into_messages().iter().map(|message| message.sequence).collect::<Vec<_>>(), [3, 7, 11]);
}

#[test]
fn a_copy_that_lags_gives_no_history() {
    // It has not come to 7 yet, or has nothing of the subject at all.
    assert!(!history(vec![vec![stored(CONSENT, 3, 0), end(3, 0, None)]]).reaches(&extent()));
    assert!(!history(vec![vec![not_found()]]).reaches(&extent()));
}

#[test]
fn a_copy_that_lags_gives_no_extent() {
    let lasts = || vec![stored(CONSENT, 7, 0), stored(BEAT, 9, 7), end(9, 0, Some(9))];
    let told = Extent::of(&whole(lasts()), Position(10)).expect_err("it ends before 10");
    assert_eq!(told, Unproved::Short { has: 9, wanted: 10 });
}

#[test]
fn nothing_found_proves_nothing() {
    let none = whole(vec![came(Some((404, "No Results")), &[], "")]);
    assert_eq!(Extent::of(&none, Position(0)), Err(Unproved::Empty));
}

#[test]
fn absence_is_proved_by_an_extent_without_the_subject() {
    let lasts = whole(vec![stored(BEAT, 9, 0), end(9, 0, Some(9))]);
    let extent = Extent::of(&lasts, Position(9)).expect("proved");
    assert!(history(vec![vec![not_found()]]).reaches(&extent));
}

#[test]
fn an_extent_that_was_echoed_or_cut_is_none() {
    let without = whole(vec![stored(BEAT, 9, 0), end(9, 0, None)]);
    assert_eq!(Extent::of(&without, Position(9)), Err(Stray::NotUnderstood("Nats-UpTo-Sequence").into()));
    let cut = whole(vec![stored(CONSENT, 7, 0), end(7, 1, Some(9))]);
    assert_eq!(Extent::of(&cut, Position(9)), Err(Stray::Lost.into()));
}

#[test]
fn a_message_lost_on_the_way_is_noticed() {
    for lost in [
        vec![stored(CONSENT, 3, 0), stored(CONSENT, 7, 5), end(7, 0, None)],
        vec![stored(CONSENT, 7, 3), end(7, 0, None)],
        vec![stored(CONSENT, 3, 0), end(7, 0, None)],
        vec![end(7, 0, None)],
        vec![stored(CONSENT, 3, 0), not_found()],
    ] {
        assert_eq!(answer(lost), Err(Stray::Lost));
    }
}

#[test]
fn other_ends_are_told() {
    let busy = came(Some((503, "")), &[], "");
    assert_eq!(answer(vec![busy]), Err(Stray::NobodyThere));
    let refused = came(Some((408, "Bad Request")), &[], "");
    assert_eq!(answer(vec![refused]), Err(Stray::Refused("408 Bad Request".to_owned())));
}

#[test]
fn headers_that_a_writer_made_up_are_not_taken_for_the_server_s() {
    let mut forged = stored(CONSENT, 3, 0);
    forged.headers.as_mut().expect("headers").append("Nats-Sequence", "9");
    assert_eq!(answer(vec![forged]), Err(Stray::NotUnderstood("Nats-Sequence")));
}

#[test]
fn a_history_takes_no_other_subject_no_repetition_and_no_flood() {
    let take = |messages| History::new(CONSENT).take(whole(messages), 10);
    let disorder = Err(Stray::NotUnderstood("the order of messages").into());
    assert_eq!(take(vec![stored(BEAT, 3, 0), end(3, 0, None)]), disorder);
    assert_eq!(take(vec![stored(CONSENT, 3, 0), stored(CONSENT, 3, 3), end(3, 0, None)]), disorder);
    assert_eq!(take(vec![stored(CONSENT, 3, 0), stored(CONSENT, 4, 3), end(4, 0, None)]), Err(Unproved::TooMuch));
}
