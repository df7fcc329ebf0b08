//! What must always hold of the state join and the decision, for random catalogues, histories and questions.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/history.rs"]
mod history;
#[path = "support/random.rs"]
mod random;

use std::time::Duration;

use consentd::domain::{
    Collection, Decision, Defects, Freshness, Heard, LedgerStanding, LegalBasis, Link, Notice, Position, Question,
    Reason, Record, Signals, Status, SubjectKey, SubjectState, SubjectView, Time, TokenStanding, UnreadableMark,
    Verdict, decide, explain,
};
use history::{Happening, What, state_of};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::{Index, select};
use random::{asked, erasure_or_unreadable, expiry, history, refusal};

/// Histories a property; small alphabets make the interesting ones frequent.
const CASES: u32 = 4000;

fn config() -> ProptestConfig {
    ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() }
}

fn links() -> impl Strategy<Value = Vec<Link>> {
    let link = (0..3_u8, 0..4_i64, any::<bool>()).prop_map(|(other, time, linked)| Link {
        other: SubjectKey([other; 16]),
        event_time: Time::from_unix_millis(time),
        linked,
    });
    vec(link, 0..3)
}

/// A state of random events and links.
fn state() -> impl Strategy<Value = SubjectState> {
    (history(), links()).prop_map(|(history, links)| {
        let mut state = state_of(&history);
        for link in links {
            state.join(SubjectState::of_link(link));
        }
        state
    })
}

fn joined(a: &SubjectState, b: &SubjectState) -> SubjectState {
    let mut joined = a.clone();
    joined.join(b.clone());
    joined
}

/// The parts of two states, compared: equality of states must not depend on anything that is not stored.
fn same(a: &SubjectState, b: &SubjectState) -> bool {
    a == b && a.to_parts() == b.to_parts()
}

fn with(history: &[Happening], more: &Happening) -> SubjectState {
    joined(&state_of(history), &more.state())
}

fn narrowed(before: &Decision<'_>, after: &Decision<'_>) -> bool {
    before.verdict() == Verdict::Allow || after.verdict() == Verdict::Deny
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_join_is_commutative_associative_and_idempotent(a in state(), b in state(), c in state()) {
        prop_assert!(same(&joined(&a, &b), &joined(&b, &a)), "commutative");
        prop_assert!(same(&joined(&joined(&a, &b), &c), &joined(&a, &joined(&b, &c))), "associative");
        prop_assert!(same(&joined(&a, &a), &a), "idempotent");
        prop_assert!(same(&joined(&joined(&a, &b), &b), &joined(&a, &b)), "absorbing");
        prop_assert!(same(&joined(&a, &SubjectState::default()), &a), "neutral");
    }

    #[test]
    fn order_and_duplicates_change_nothing(
        (history, shuffled) in history().prop_flat_map(|history| {
            let twice = history.iter().chain(&history).cloned().collect::<Vec<_>>();
            (Just(history), Just(twice).prop_shuffle())
        }),
    ) {
        prop_assert!(same(&state_of(&history), &state_of(&shuffled)));
    }

    #[test]
    fn a_state_survives_its_parts_in_any_order(state in state(), turn in any::<Index>()) {
        let mut parts = state.to_parts();
        if !parts.slots.is_empty() {
            let middle = turn.index(parts.slots.len());
            parts.slots.rotate_left(middle);
        }
        parts.unreadable.reverse();
        parts.superseded.reverse();
        parts.links.reverse();
        prop_assert!(same(&SubjectState::from_parts(parts), &state));
    }

    #[test]
    fn a_refusal_never_widens(asked in asked(), history in history(), refusal in refusal()) {
        let (before, after) = (state_of(&history), with(&history, &refusal));
        prop_assert!(narrowed(&asked.of(&before), &asked.of(&after)), "{:?}", asked.of(&after));
    }

    #[test]
    fn an_erasure_or_what_cannot_be_read_never_widens(
        asked in asked(), history in history(), more in erasure_or_unreadable(),
    ) {
        let (before, after) = (state_of(&history), with(&history, &more));
        prop_assert!(narrowed(&asked.of(&before), &asked.of(&after)), "{:?}", asked.of(&after));
    }

    /// The end of an agreement proves that there was one, so that it makes a subject known; it opens nothing else.
    #[test]
    fn the_end_of_an_agreement_opens_nothing_but_makes_known(asked in asked(), history in history(), end in expiry()) {
        let (before, after) = (state_of(&history), with(&history, &end));
        let (before, after) = (asked.of(&before), asked.of(&after));
        prop_assert!(narrowed(&before, &after) || before.reason == Reason::UnknownSubject, "{before:?} to {after:?}");
    }

    #[test]
    fn a_refusal_of_either_of_two_linked_persons_denies_their_join(
        asked in asked(), one in history(), other in history(),
    ) {
        let (a, b) = (state_of(&one), state_of(&other));
        let both = joined(&a, &b);
        let together = asked.of(&both);
        for (alone, others) in [(asked.of(&a), &other), (asked.of(&b), &one)] {
            let Some((_, refused)) = alone.record.filter(|_| alone.rule == "refusal") else { continue };
            let agreed_later = others.iter().any(|happening| match &happening.what {
                What::Said { record, .. } => {
                    matches!(record.status, Status::Given | Status::Renewed) && record.event_time > refused.event_time
                }
                What::Erased(_) | What::Unreadable(_) | What::Restricted(_) | What::Born(_) => false,
            });
            prop_assert!(agreed_later || together.verdict() == Verdict::Deny, "{alone:?} but {together:?}");
        }
    }

    #[test]
    fn the_unknown_never_allows(mut asked in asked(), history in history(), what in 0..3_u8) {
        let mut state = state_of(&history);
        match what {
            0 => "nobody.knows".clone_into(&mut asked.purpose),
            1 => "fax".clone_into(&mut asked.channel),
            _ => state = SubjectState::default(),
        }
        prop_assert_eq!(asked.of(&state).verdict(), Verdict::Deny);
    }

    #[test]
    fn what_is_missing_or_broken_never_allows(mut asked in asked(), history in history(), what in 0..5_u8) {
        let state = state_of(&history);
        let mut view = SubjectView::State(&state);
        match what {
            0 => asked.freshness.ledger = LedgerStanding::Building,
            1 => asked.freshness.ledger = LedgerStanding::Broken,
            2 => asked.freshness.token = TokenStanding::NotReached,
            3 => asked.freshness.token = TokenStanding::Foreign,
            _ => view = SubjectView::Unavailable,
        }
        prop_assert_eq!(asked.of_view(view).verdict(), Verdict::Deny);
        asked.catalogue = None;
        prop_assert_eq!(asked.of(&state).verdict(), Verdict::Deny);
    }

    #[test]
    fn a_view_beyond_its_bound_never_allows(mut asked in asked(), history in history(), beyond in 1..5000_u64) {
        let state = state_of(&history);
        let purpose = asked.catalogue.as_ref().and_then(|catalogue| catalogue.purpose(&asked.purpose));
        if let Some(bound) = purpose.map(|purpose| purpose.terms.max_staleness) {
            let narrower = asked.max_staleness.map_or(bound, |asked| asked.min(bound));
            asked.freshness.staleness = narrower + Duration::from_nanos(beyond);
            prop_assert_eq!(asked.of(&state).verdict(), Verdict::Deny);
        }
    }

    #[test]
    fn an_older_view_never_widens(mut asked in asked(), history in history(), older in 0..9000_u64) {
        let state = state_of(&history);
        let mut aged = asked.clone();
        aged.freshness.staleness += Duration::from_millis(older);
        prop_assert!(narrowed(&asked.of(&state), &aged.of(&state)));
        // Asking for more than the purpose allows is asking for nothing.
        asked.max_staleness = Some(Duration::MAX);
        let lax = asked.of(&state);
        let plain = random::Asked { max_staleness: None, ..asked.clone() };
        prop_assert_eq!(lax, plain.of(&state));
    }

    #[test]
    fn a_signal_never_widens(asked in asked(), history in history(), which in 0..3_u8) {
        let state = state_of(&history);
        let mut signalled = asked.clone();
        match which {
            0 => "1".clone_into(&mut signalled.sec_gpc),
            1 => "C".clone_into(&mut signalled.tcf),
            _ => "D".clone_into(&mut signalled.gpp),
        }
        let mut silent = asked;
        silent.sec_gpc.clear();
        silent.tcf.clear();
        silent.gpp.clear();
        prop_assert!(narrowed(&silent.of(&state), &signalled.of(&state)));
    }

    #[test]
    fn nobody_may_rely_on_an_answer_for_too_long(asked in asked(), history in history()) {
        let state = state_of(&history);
        let decision = asked.of(&state);
        prop_assert_eq!(decision.valid_until.is_some(), decision.verdict() == Verdict::Allow);
        let catalogue = asked.catalogue.as_ref();
        let purpose = catalogue.and_then(|catalogue| catalogue.purpose(&asked.purpose));
        if let (Some(until), Some(purpose)) = (decision.valid_until, purpose) {
            let bound = asked.max_staleness.map_or(purpose.terms.max_staleness, |asked| asked.min(purpose.terms.max_staleness));
            let view_taken = asked.now.minus(asked.freshness.staleness);
            prop_assert!(until >= asked.now, "over before it was given");
            prop_assert!(until <= view_taken.plus(bound), "longer than the view is fresh");
            if let Some((_, record)) = decision.record {
                prop_assert!(record.expires_at.is_none_or(|end| until <= end), "longer than the grant");
                prop_assert!(purpose.terms.max_age.is_none_or(|span| until <= record.event_time.plus(span)), "too old");
            }
            // Up to its last millisecond the answer stays what it is, as far as time alone can change it.
            let mut later = asked.clone();
            later.now = Time::from_unix_millis(until.unix_millis() - 1).max(asked.now);
            later.freshness.staleness += later.now.since(asked.now);
            prop_assert_eq!(later.of(&state).verdict(), Verdict::Allow, "over before it ends");
        }
    }

    #[test]
    fn an_explanation_ends_with_the_rule_that_decided(asked in asked(), history in history()) {
        let state = state_of(&history);
        let decision = asked.of(&state);
        let view = SubjectView::State(&state);
        let catalogue = asked.catalogue.as_ref();
        let (explained, outcomes) = explain(&asked.question(), view, catalogue, &asked.freshness, asked.now);
        prop_assert_eq!(&explained, &decision);
        let own: Vec<_> = outcomes.iter().filter(|outcome| outcome.purpose.is_none()).collect();
        let (last, earlier) = own.split_last().expect("at least one rule is looked at");
        prop_assert_eq!(last.rule, decision.rule);
        prop_assert!(last.decided);
        prop_assert_eq!(outcomes.last().map(|outcome| outcome.purpose), Some(None), "the own rules come last");
        prop_assert!(earlier.iter().all(|outcome| !outcome.decided), "only the last decides");
        if let Some(failed) = decision.failed_purpose {
            let of_failed = outcomes.iter().rfind(|outcome| outcome.purpose == Some(failed));
            prop_assert!(of_failed.is_some_and(|outcome| outcome.decided && outcome.rule != "allow"));
        }
    }
}

/// Any text, with the words that mean something among them.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        select(vec!["", "a", "a.b", ".", "a.", "*", "email", "1", "x:y"]).prop_map(str::to_owned)
    ]
}

fn any_time() -> impl Strategy<Value = Time> {
    prop_oneof![any::<i64>(), select(vec![i64::MIN, i64::MAX, 0])].prop_map(Time::from_unix_millis)
}

fn any_span() -> impl Strategy<Value = Duration> {
    prop_oneof![any::<u64>().prop_map(Duration::from_millis), select(vec![Duration::ZERO, Duration::MAX])]
}

fn any_happening() -> impl Strategy<Value = Happening> {
    let facts = (any_time(), select(Status::ALL), select(LegalBasis::ALL), any::<u16>(), any::<u64>());
    let more = (proptest::option::of(any_time()), proptest::option::of((any::<u32>(), text())), text());
    let said = (text(), text(), text(), facts, more).prop_map(|(purpose, channel, recipient, facts, more)| {
        let (event_time, status, legal_basis, defects, position) = facts;
        let (expires_at, notice, free) = more;
        let record = Record {
            event_time,
            status,
            legal_basis,
            collection: Collection {
                defects: Defects::from_bits(defects),
                method: free.as_str().into(),
                by_guardian: false,
            },
            notice: notice.map(|(version, id)| Notice { version, id: id.into(), language: free.as_str().into() }),
            expires_at,
            jurisdiction: free.as_str().into(),
            proof: free.into(),
            position: Position(position),
        };
        What::Said { purpose: purpose.into(), channel: channel.into(), recipient: recipient.into(), record }
    });
    let mark = (text(), any::<u64>(), proptest::option::of(any_time())).prop_map(|(id, position, event_time)| {
        What::Unreadable(UnreadableMark { event_id: id.into(), position: Position(position), event_time })
    });
    (prop_oneof![6 => said, 1 => any_time().prop_map(What::Erased), 1 => mark], vec(text(), 0..2))
        .prop_map(|(what, ids)| Happening { supersedes: ids.into_iter().map(Into::into).collect(), what })
}

proptest! {
    #![proptest_config(config())]

    /// Total: no text, time or span makes it panic, and no text alone makes it allow what no agreement covers.
    #[test]
    fn decide_answers_whatever_it_is_asked(
        base in asked(),
        history in vec(any_happening(), 0..6),
        names in (text(), text(), text(), text()),
        signals in (text(), text(), text()),
        spans in (proptest::option::of(any_span()), any_span()),
        now in any_time(),
        keep in any::<(bool, bool)>(),
    ) {
        let state = state_of(&history);
        let question = Question {
            purpose: if keep.0 { &base.purpose } else { &names.0 },
            channel: if keep.1 { &base.channel } else { &names.1 },
            recipient: &names.2,
            jurisdiction: &names.3,
            signals: Signals { sec_gpc: &signals.0, tcf: &signals.1, gpp: &signals.2 },
            heard: Heard::default(),
            max_staleness: spans.0,
            time_zone: None,
        };
        let freshness = Freshness { staleness: spans.1, ..base.freshness };
        let catalogue = base.catalogue.as_ref();
        for view in [SubjectView::State(&state), SubjectView::Unavailable] {
            let decision = decide(&question, view, catalogue, &freshness, now);
            let (explained, _) = explain(&question, view, catalogue, &freshness, now);
            prop_assert_eq!(&decision, &explained);
            prop_assert_eq!(decision.valid_until.is_some(), decision.verdict() == Verdict::Allow);
        }
        prop_assert!(same(&SubjectState::from_parts(state.to_parts()), &state));
    }
}
