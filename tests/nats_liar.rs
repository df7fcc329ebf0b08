//! The checker of histories is not fooled: answers of a real sidecar from an old view are accepted as they are, where the
//! catalogue lets a view be that old, and refused as soon as one of its claims is changed, as a sidecar would that lies
//! about its age.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/central.rs"]
mod central;
#[path = "support/crowd.rs"]
mod crowd;
#[path = "support/field.rs"]
mod field;
#[path = "support/nats.rs"]
#[allow(dead_code, reason = "each test uses its part")]
mod nats_server;
#[path = "support/relay.rs"]
mod relay;
#[path = "support/sidecar.rs"]
mod sidecar;
#[path = "support/witness.rs"]
mod witness;

use std::time::Duration;

use consentd::proto::v1::Reason;
use crowd::{BOUND, prepared, publish_catalogue, say};
use relay::Link;
use tokio::time::{Instant, sleep};
use witness::{Answer, History, Violation, check};

/// How old a view may be, by the catalogue of this test.
const PATIENT: Duration = Duration::from_hours(1);
const PERSON: usize = 1;

fn changed(history: &History, change: impl Fn(&mut Answer)) -> History {
    let mut history = history.clone();
    change(history.answers.last_mut().expect("an answer"));
    history
}

fn refused(history: &History) -> Vec<Violation> {
    check(history).expect_err("a lie was believed")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_that_answers_from_an_old_view_and_hides_it_is_found_out() {
    let (mut field, ledger, board) = prepared().await;
    publish_catalogue(&board, &ledger, 2, PATIENT).await;
    field.post(&[0]).await;
    let door = field.posts[0].door().borrow().clone().expect("it runs");

    let given = say(&board, &ledger, PERSON, true, 1).await;
    let until = Instant::now() + sidecar::PATIENCE;
    while board.ask_about(&door, PERSON, PATIENT, given).await.reason != Reason::Consent {
        assert!(Instant::now() < until, "it does not follow");
        sleep(Duration::from_millis(20)).await;
    }
    field.posts[0].set_ways(Link::stalled());
    let withdrawn = say(&board, &ledger, PERSON, false, 2).await;
    sleep(BOUND + Duration::from_millis(200)).await;
    let with_token = board.ask_about(&door, PERSON, PATIENT, withdrawn).await;
    assert_eq!(with_token.reason, Reason::Stale, "with the token of the withdrawal nothing is allowed");
    let old = board.ask_about(&door, PERSON, PATIENT, 0).await;
    assert_eq!(old.reason, Reason::Consent);
    assert!(old.staleness > BOUND, "it says how old its view is: {old:?}");

    let (honest, failures) = board.seen();
    assert!(failures.is_empty(), "{failures:?}");
    let summary = check(&honest).expect("the catalogue lets a view be as old as it says");
    assert!(summary.allowed_late == 1 && summary.latest > BOUND, "{summary:?}");

    let fresh = Duration::from_millis(100);
    let young = refused(&changed(&honest, |answer| answer.staleness = fresh));
    assert!(matches!(young[..], [Violation::YoungerThanTrue(..), Violation::Unjustified(_)]), "{young:?}");
    let ahead = refused(&changed(&honest, |answer| answer.token = withdrawn));
    assert!(matches!(ahead[..], [Violation::Unjustified(_)]), "{ahead:?}");
    let ignored = refused(&changed(&honest, |answer| (answer.at_least, answer.token) = (withdrawn, withdrawn)));
    assert!(matches!(ignored[..], [Violation::WronglyAllowed(_), Violation::Unjustified(_)]), "{ignored:?}");
    // Under the bound of the other tests the same answer is too late, whatever it says of itself.
    let late = refused(&changed(&honest, |answer| answer.bound = BOUND));
    assert!(matches!(late[..], [Violation::WronglyAllowed(_), Violation::TooOld(_)]), "{late:?}");
    let late = refused(&changed(&honest, |answer| (answer.bound, answer.staleness) = (BOUND, fresh)));
    assert!(matches!(late.first(), Some(Violation::WronglyAllowed(_))), "{late:?}");
}
