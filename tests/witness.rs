//! The checker of histories, over histories made by hand: each good one is accepted, each bad one refused by name.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/witness.rs"]
mod witness;

use std::time::Duration;

use consentd::proto::v1::Reason;
use witness::{Answer, Darkness, Event, Fate, History, Summary, Violation, Write, check};

const BOUND: Duration = Duration::from_secs(2);
/// Whom most of these histories are about.
const PERSON: usize = 7;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn write(event: Event, from: u64, to: u64, position: u64) -> Write {
    Write { event, invoked: ms(from), fate: Fate::Acked { at: ms(to), position } }
}

fn given(time_ms: i64) -> Event {
    Event::Given { person: PERSON, time_ms }
}

fn withdrawn(time_ms: i64) -> Event {
    Event::Withdrawn { person: PERSON, time_ms }
}

/// A catalogue at position 1, a consent of the time 100 at position 2, a withdrawal of the time 200 at position 5, which
/// is acknowledged at 1000 ms.
fn story() -> History {
    let writes = vec![
        write(Event::Catalogue { version: 1 }, 0, 1, 1),
        write(given(100), 2, 3, 2),
        write(withdrawn(200), 990, 1000, 5),
    ];
    History { writes, ..History::default() }
}

/// An answer of the kind that is due right after the withdrawal.
fn answer(reason: Reason, asked: u64, token: u64) -> Answer {
    Answer {
        sidecar: 0,
        person: PERSON,
        asked: ms(asked),
        answered: ms(asked + 2),
        bound: BOUND,
        at_least: 0,
        reason,
        token,
        staleness: ms(0),
        catalogue: 1,
    }
}

fn with(mut history: History, answers: &[Answer]) -> History {
    history.answers.extend_from_slice(answers);
    history
}

fn accepted(history: &History) -> Summary {
    check(history).unwrap_or_else(|violations| panic!("refused: {violations:?}"))
}

/// The names of all violations, in their order.
fn refused(history: &History) -> Vec<&'static str> {
    let violations = check(history).expect_err("it was accepted");
    violations.iter().map(name).collect()
}

fn name(violation: &Violation) -> &'static str {
    match violation {
        Violation::WronglyAllowed(_) => "wrongly allowed",
        Violation::TooOld(_) => "too old",
        Violation::BehindToken(_) => "behind token",
        Violation::YoungerThanTrue(..) => "younger than true",
        Violation::Unjustified(_) => "unjustified",
        Violation::WrongCatalogue(_) => "wrong catalogue",
        Violation::WentBack(..) => "went back",
        Violation::Prophecy(..) => "prophecy",
        Violation::DecidedInTheDark(..) => "decided in the dark",
        Violation::Unexpected(_) => "unexpected",
        Violation::Disordered(..) => "disordered",
    }
}

#[test]
fn a_withdrawal_may_take_as_long_as_the_bound() {
    let old = |asked, age| Answer { staleness: ms(age), ..answer(Reason::Consent, asked, 4) };
    let history = with(
        story(),
        &[
            answer(Reason::Consent, 500, 2),
            // Asked before the acknowledgement, or from a view that says how old it is.
            answer(Reason::Consent, 1000, 4),
            old(2000, 999),
            old(3000, 2000),
            answer(Reason::Withdrawn, 3001, 5),
        ],
    );
    let summary = accepted(&history);
    assert_eq!((summary.allowed, summary.withdrawn, summary.allowed_late), (4, 1, 2));
    assert_eq!(summary.latest, ms(2000));
    // One millisecond is what the sidecar's clock cannot tell; one more is too late.
    accepted(&with(story(), &[old(3001, 2000)]));
    assert_eq!(refused(&with(story(), &[old(3002, 2000)])), ["wrongly allowed", "younger than true", "unjustified"]);
}

#[test]
fn a_faked_age_is_told_though_the_bound_is_kept() {
    let fake = answer(Reason::Consent, 2000, 4);
    assert_eq!(refused(&with(story(), &[fake])), ["younger than true", "unjustified"]);
    // Also where the verdict is right, by what another person wrote.
    let other = Answer { reason: Reason::UnknownSubject, person: 8, ..fake };
    assert_eq!(refused(&with(story(), &[other])), ["younger than true"]);
    // A token that claims more than the verdict knows.
    let token = Answer { token: 5, staleness: ms(999), ..fake };
    assert_eq!(refused(&with(story(), &[token])), ["unjustified"]);
}

#[test]
fn with_the_token_of_a_withdrawal_nothing_is_allowed() {
    let asked = |reason, at, token| Answer { at_least: 5, ..answer(reason, at, token) };
    accepted(&with(story(), &[asked(Reason::Withdrawn, 1001, 5), asked(Reason::Stale, 1001, 4)]));
    assert_eq!(
        refused(&with(story(), &[asked(Reason::Consent, 1001, 5)])),
        ["wrongly allowed", "unjustified"],
        "a token that it reached"
    );
    assert_eq!(refused(&with(story(), &[asked(Reason::Consent, 1001, 4)])), ["wrongly allowed", "behind token"]);
    assert_eq!(refused(&with(story(), &[asked(Reason::Withdrawn, 1001, 4)])), ["behind token"]);
}

#[test]
fn an_answer_from_a_view_beyond_the_bound_is_refused_whatever_it_says() {
    let old = |reason| Answer { staleness: ms(2001), bound: BOUND, ..answer(reason, 1002, 4) };
    assert_eq!(refused(&with(story(), &[old(Reason::Consent)])), ["too old"]);
    assert_eq!(refused(&with(story(), &[old(Reason::Withdrawn)])), ["too old"], "it is denied, but not for this");
    accepted(&with(story(), &[old(Reason::Stale)]));
}

#[test]
fn only_a_consent_of_a_later_time_lifts_a_withdrawal() {
    let again = |time, reason| {
        let mut history = story();
        history.writes.push(write(given(time), 1100, 1200, 6));
        with(history, &[answer(reason, 1300, 6)])
    };
    accepted(&again(201, Reason::Consent));
    accepted(&again(200, Reason::Withdrawn));
    accepted(&again(150, Reason::Withdrawn));
    assert_eq!(refused(&again(200, Reason::Consent)), ["unjustified"], "P3: at equal times the withdrawal wins");
    assert_eq!(refused(&again(150, Reason::Consent)), ["unjustified"]);
    assert_eq!(refused(&again(201, Reason::Withdrawn)), ["unjustified"]);
}

#[test]
fn a_later_event_never_counts_without_those_before_it() {
    // Withdrawn (200) and then, late, a consent (150): who counts the consent must count the withdrawal.
    let mut history = story();
    history.writes[1] = write(given(100), 2, 3, 2);
    history.writes.push(write(Event::Withdrawn { person: 8, time_ms: 200 }, 400, 1300, 6));
    history.writes.push(write(Event::Given { person: 8, time_ms: 150 }, 400, 1300, 7));
    let of = |reason, asked| Answer { person: 8, ..answer(reason, asked, 2) };
    accepted(&with(history.clone(), &[of(Reason::UnknownSubject, 500), of(Reason::Withdrawn, 500)]));
    assert_eq!(refused(&with(history, &[of(Reason::Consent, 500)])), ["wrongly allowed", "unjustified"]);
}

#[test]
fn an_event_may_count_as_soon_as_it_was_begun_and_not_before() {
    accepted(&with(story(), &[answer(Reason::Withdrawn, 989, 4)]));
    let early = Answer { answered: ms(989), ..answer(Reason::Withdrawn, 900, 4) };
    assert_eq!(refused(&with(story(), &[early])), ["unjustified"]);
    let claims = Answer { token: 5, ..early };
    assert!(refused(&with(story(), &[claims])).contains(&"prophecy"));
}

#[test]
fn what_nobody_acknowledged_may_count_or_not_at_any_time() {
    let unknown = |event| Write { event, invoked: ms(1100), fate: Fate::Unknown };
    let mut history = story();
    history.writes.push(unknown(given(300)));
    accepted(&with(
        history.clone(),
        &[answer(Reason::Withdrawn, 9000, 50), answer(Reason::Consent, 9000, 50), answer(Reason::Withdrawn, 9000, 50)],
    ));
    let before = Answer { answered: ms(1099), ..answer(Reason::Consent, 1050, 5) };
    assert!(refused(&with(history, &[before])).contains(&"unjustified"), "before anybody began it");

    let mut history = story();
    history.writes.push(Write { fate: Fate::NotWritten, ..unknown(given(300)) });
    assert!(refused(&with(history, &[answer(Reason::Consent, 9000, 50)])).contains(&"wrongly allowed"));

    // A withdrawal of unknown fate may deny, and does not have to.
    let mut history = story();
    history.writes.truncate(2);
    history.writes.push(unknown(withdrawn(200)));
    accepted(&with(history, &[answer(Reason::Consent, 9000, 9), answer(Reason::Withdrawn, 9000, 9)]));
}

#[test]
fn a_person_is_unknown_only_as_long_as_nothing_must_be_known() {
    let mut history = story();
    history.writes.remove(1);
    accepted(&with(history.clone(), &[answer(Reason::UnknownSubject, 500, 1), answer(Reason::Withdrawn, 1001, 5)]));
    assert_eq!(refused(&with(history, &[answer(Reason::UnknownSubject, 1100, 5)])), ["unjustified"]);
    assert_eq!(refused(&with(story(), &[answer(Reason::UnknownSubject, 500, 2)])), ["unjustified"]);
}

#[test]
fn a_view_of_one_sidecar_never_goes_back() {
    let first = Answer { answered: ms(500), ..answer(Reason::Consent, 400, 4) };
    let second = |asked| answer(Reason::Consent, asked, 3);
    // Asked before the first was answered: their views may have been looked at in any order.
    accepted(&with(story(), &[first, second(499)]));
    accepted(&with(story(), &[first, Answer { sidecar: 1, ..second(501) }]));
    assert_eq!(refused(&with(story(), &[first, second(501)])), ["went back"]);
}

#[test]
fn the_catalogue_is_one_that_the_view_can_have() {
    let mut history = story();
    history.writes.push(write(Event::Catalogue { version: 2 }, 1100, 1200, 6));
    let with_version = |catalogue, token, asked| Answer { token, catalogue, ..answer(Reason::Withdrawn, asked, 5) };
    accepted(&with(history.clone(), &[with_version(1, 5, 1150), with_version(2, 5, 1150), with_version(2, 6, 1300)]));
    assert_eq!(refused(&with(history.clone(), &[with_version(1, 6, 1150)])), ["wrong catalogue"]);
    assert_eq!(refused(&with(history.clone(), &[with_version(2, 5, 1000)])), ["wrong catalogue"], "not begun yet");
    assert_eq!(refused(&with(history, &[with_version(3, 6, 1300)])), ["wrong catalogue"], "nobody wrote it");
}

#[test]
fn nothing_is_decided_in_the_dark_beyond_the_bound() {
    let mut history = story();
    history.darkness.push(Darkness { sidecar: 0, from: ms(1100), until: ms(9000) });
    let decided = |asked| Answer { staleness: ms(100), ..answer(Reason::Withdrawn, asked, 5) };
    accepted(&with(history.clone(), &[decided(3101), decided(8999), Answer { sidecar: 1, ..decided(5000) }]));
    accepted(&with(history.clone(), &[answer(Reason::Stale, 5000, 5)]));
    assert_eq!(refused(&with(history.clone(), &[decided(3102)])), ["decided in the dark"], "it has no proof so young");
    let asks_for_less = Answer { bound: ms(500), ..decided(1602) };
    assert_eq!(refused(&with(history, &[asks_for_less])), ["decided in the dark"]);
}

#[test]
fn reasons_that_nothing_can_have_are_refused() {
    let undecided = [Reason::Stale, Reason::ReplicaBuilding, Reason::EvidenceUnavailable, Reason::StoreUnavailable];
    let answers = undecided.map(|reason| Answer { token: 0, catalogue: 0, ..answer(reason, 5000, 0) });
    let summary = accepted(&with(story(), &answers));
    assert_eq!((summary.stale, summary.undecided), (1, 3));
    for reason in [Reason::LedgerBroken, Reason::ForeignToken, Reason::UnreadableRecord, Reason::Erased] {
        assert_eq!(refused(&with(story(), &[answer(reason, 5000, 5)])), ["unexpected"], "{reason:?}");
    }
}

#[test]
fn the_ledger_gives_each_event_one_place_in_the_order_of_acknowledgement() {
    let mut history = story();
    history.writes.push(write(given(1), 1100, 1200, 5));
    assert_eq!(refused(&history), ["disordered"], "a place that was given before");
    let mut history = story();
    history.writes.push(write(given(1), 1100, 1200, 4));
    assert_eq!(refused(&history), ["disordered"], "begun after a later place was acknowledged");
    let mut history = story();
    history.writes.push(write(given(1), 999, 1200, 4));
    accepted(&history);
}
