//! What must always hold of the state join and the decision, for random catalogues, histories and questions.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/history.rs"]
mod history;
#[path = "support/random.rs"]
mod random;

use std::time::Duration;

use consentd::domain::catalogue::QuietHours;
use consentd::domain::{
    Birth, Collection, Day, Decision, Defects, Freshness, Heard, LedgerStanding, LegalBasis, Link, Notice, Position,
    Purpose, Question, Reason, Record, Restriction, Signals, Status, SubjectKey, SubjectState, SubjectView, Terms,
    Time, TokenStanding, UnreadableMark, Verdict, decide, explain,
};
use history::{Happening, What, state_of};
use proptest::collection::vec;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_assume, prop_oneof, proptest,
};
use proptest::sample::{Index, select};
use random::{
    Asked, PLACES, PURPOSES, QUARTER_MS, STEP_MS, asked, catalogue_of, erasure, expiry, history, quiet_hours, refusal,
    regional, restriction, unreadable_event, zones,
};

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

/// The same question over a catalogue whose purposes were changed.
fn recatalogued(asked: &Asked, change: impl FnMut(&mut Purpose)) -> Asked {
    let mut purposes: Vec<Purpose> = asked.catalogue.iter().flat_map(|all| all.purposes().cloned()).collect();
    purposes.iter_mut().for_each(change);
    let catalogue = if purposes.is_empty() { None } else { Some(catalogue_of(purposes)) };
    Asked { catalogue, ..asked.clone() }
}

/// The most that any terms of a purpose say.
fn most<T: Ord>(asked: &Asked, of: impl Fn(&Terms) -> T) -> Option<T> {
    let purpose = asked.catalogue.as_ref()?.purpose(&asked.purpose)?;
    let regional = purpose.regional.iter().map(|rule| &rule.terms);
    std::iter::once(&purpose.terms).chain(regional).map(of).max()
}

/// An event that says nothing of its own and corrects others: an erasure of what is older than every event.
fn correction_alone(supersedes: &[Box<str>]) -> Happening {
    Happening { supersedes: supersedes.to_vec(), what: What::Erased(at_step(-1)) }
}

/// When something happened, where that can be told.
fn time_of(what: &What) -> Option<Time> {
    match what {
        What::Said { record, .. } => Some(record.event_time),
        What::Erased(at) => Some(*at),
        What::Unreadable(mark) => mark.event_time,
        What::Restricted(said) => Some(said.event_time),
        What::Born(birth) => Some(birth.event_time),
    }
}

fn plain(what: What) -> Happening {
    Happening { supersedes: Vec::new(), what }
}

fn at_step(step: i64) -> Time {
    Time::from_unix_millis(step * STEP_MS)
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
    fn what_cannot_be_read_never_widens(asked in asked(), history in history(), more in unreadable_event()) {
        let (before, after) = (state_of(&history), with(&history, &more));
        prop_assert!(narrowed(&asked.of(&before), &asked.of(&after)), "{:?}", asked.of(&after));
    }

    /// What was dropped can forbid nothing any more, such as the country of an older agreement; but nothing is allowed
    /// that would not be allowed if it had never been said. That a dropped event corrected another one is remembered:
    /// the broken event stays corrected.
    #[test]
    fn an_erasure_allows_no_more_than_forgetting_does(asked in asked(), history in history(), erased in erasure()) {
        let at = time_of(&erased.what).expect("an erasure has a time");
        let stays = |happening: &Happening| {
            matches!(happening.what, What::Restricted(_)) || time_of(&happening.what).is_none_or(|time| time > at)
        };
        let forgotten: Vec<Happening> = history
            .iter()
            .map(|happening| {
                if stays(happening) { happening.clone() } else { correction_alone(&happening.supersedes) }
            })
            .collect();
        let forgotten = state_of(&forgotten);
        let after = with(&history, &erased);
        prop_assert!(narrowed(&asked.of(&forgotten), &asked.of(&after)), "{:?}", asked.of(&after));
    }

    #[test]
    fn a_restriction_never_widens(asked in asked(), history in history(), restriction in restriction()) {
        let (before, after) = (state_of(&history), with(&history, &restriction));
        prop_assert!(narrowed(&asked.of(&before), &asked.of(&after)), "{:?}", asked.of(&after));
    }

    #[test]
    fn to_be_younger_never_widens(asked in asked(), history in history(), day in -740..-360_i32, younger in 0..500_i32) {
        let born = |day: i32| {
            plain(What::Born(Birth { event_time: at_step(100), born: Day::from_unix_days(day) }))
        };
        let (before, after) = (with(&history, &born(day)), with(&history, &born(day + younger)));
        prop_assert!(narrowed(&asked.of(&before), &asked.of(&after)), "{:?}", asked.of(&after));
    }

    #[test]
    fn to_be_in_another_region_as_well_never_widens(
        mut asked in asked(), mut history in history(), places in (select(PLACES.to_vec()), select(PLACES.to_vec())),
    ) {
        places.0.clone_into(&mut asked.jurisdiction);
        let purpose = asked.purpose.clone();
        let is_request_there = |happening: &Happening| match &happening.what {
            What::Said { purpose: of, record, channel, recipient } => {
                **of == *purpose && record.status == Status::Requested && (&**channel, &**recipient) == ("*", "*")
            }
            _ => false,
        };
        history.retain(|happening| !is_request_there(happening));
        let request = Record {
            event_time: at_step(100),
            status: Status::Requested,
            legal_basis: LegalBasis::Consent,
            collection: Collection::default(),
            notice: None,
            expires_at: None,
            jurisdiction: places.1.into(),
            proof: "".into(),
            position: Position(99),
        };
        let (channel, recipient) = ("*".into(), "*".into());
        let there = plain(What::Said { purpose: purpose.into(), channel, recipient, record: request });
        let (before, after) = (state_of(&history), with(&history, &there));
        let (before, after) = (asked.of(&before), asked.of(&after));
        // To have been asked makes a subject known.
        let unknown = [before.failed_reason, Some(before.reason)].contains(&Some(Reason::UnknownSubject));
        prop_assert!(narrowed(&before, &after) || unknown, "{before:?} to {after:?}");
    }

    #[test]
    fn an_unknown_region_is_never_laxer_than_a_known_one(
        mut asked in asked(), mut history in history(), place in select(PLACES.to_vec()), clock in 0..5_usize,
    ) {
        for happening in &mut history {
            if let What::Said { record, .. } = &mut happening.what {
                record.jurisdiction = "".into();
            }
        }
        // Whose region is known may have another clock, which is not about what is stricter.
        asked.time_zone = Some(&zones()[clock]);
        let nowhere = Asked { jurisdiction: String::new(), ..asked.clone() };
        place.clone_into(&mut asked.jurisdiction);
        let state = state_of(&history);
        prop_assert!(narrowed(&asked.of(&state), &nowhere.of(&state)), "{:?}", nowhere.of(&state));
    }

    #[test]
    fn a_country_alone_is_never_laxer_than_a_place_in_it(
        mut asked in asked(), mut history in history(), place in select(vec![("US", "US-ME"), ("US", "US-CA")]),
        clock in 0..5_usize,
    ) {
        for happening in &mut history {
            if let What::Said { record, .. } = &mut happening.what {
                record.jurisdiction = "".into();
            }
        }
        asked.time_zone = Some(&zones()[clock]);
        place.0.clone_into(&mut asked.jurisdiction);
        let inside = Asked { jurisdiction: place.1.to_owned(), ..asked.clone() };
        let state = state_of(&history);
        prop_assert!(narrowed(&inside.of(&state), &asked.of(&state)), "{:?}", asked.of(&state));
    }

    /// A first rule for a region takes the place of the purpose's own terms and may be laxer: that is the catalogue's word.
    /// Another rule for the same regions never is.
    #[test]
    fn one_more_rule_for_the_same_regions_never_widens(
        asked in asked(), history in history(), which in 0..PURPOSES.len(), rule in regional(4),
    ) {
        let before = recatalogued(&asked, |_| {});
        let after = recatalogued(&asked, |purpose| {
            if *purpose.key == *PURPOSES[which]
                && let Some(first) = purpose.regional.first()
            {
                let mut more = rule.clone();
                more.regions.clone_from(&first.regions);
                purpose.regional.push(more);
            }
        });
        let state = state_of(&history);
        prop_assert!(narrowed(&before.of(&state), &after.of(&state)), "{:?}", after.of(&state));
    }

    #[test]
    fn more_quiet_hours_never_widen(asked in asked(), history in history(), quiet in quiet_hours()) {
        let before = recatalogued(&asked, |_| {});
        let after = recatalogued(&asked, |purpose| {
            let regional = purpose.regional.iter_mut().map(|rule| &mut rule.terms);
            std::iter::once(&mut purpose.terms).chain(regional).for_each(|terms| terms.quiet_hours.push(quiet.clone()));
        });
        let state = state_of(&history);
        prop_assert!(narrowed(&before.of(&state), &after.of(&state)), "{:?}", after.of(&state));
    }

    /// The end of an agreement proves that there was one, so that it makes a subject known; and it is the last word about
    /// where the subject was. It opens nothing else.
    #[test]
    fn the_end_of_an_agreement_opens_nothing_but_makes_known(asked in asked(), history in history(), end in expiry()) {
        let asked = recatalogued(&asked, |purpose| purpose.regional.clear());
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
        if let Some(bound) = most(&asked, |terms| terms.max_staleness) {
            let narrower = asked.max_staleness.map_or(bound, |asked| asked.min(bound));
            asked.freshness.staleness = narrower + Duration::from_nanos(beyond);
            prop_assert_eq!(asked.of(&state).verdict(), Verdict::Deny);
        }
    }

    #[test]
    fn an_older_view_never_widens(mut asked in asked(), history in history(), older in 0..9000_u32) {
        let state = state_of(&history);
        let mut aged = asked.clone();
        aged.freshness.staleness += random::steps(1) * older / 1000;
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
        let Some(until) = decision.valid_until else { return Ok(()) };
        let by_purpose = most(&asked, |terms| terms.max_staleness).expect("what allows is known");
        let bound = asked.max_staleness.map_or(by_purpose, |asked| asked.min(by_purpose));
        let view_taken = asked.now.minus(asked.freshness.staleness);
        prop_assert!(until >= asked.now, "over before it was given");
        prop_assert!(until <= view_taken.plus(bound), "longer than the view is fresh");
        if let Some((_, record)) = decision.record {
            prop_assert!(record.expires_at.is_none_or(|end| until <= end), "longer than the grant");
            let longest = most(&asked, |terms| terms.max_age.unwrap_or(Duration::MAX)).expect("known");
            prop_assert!(until <= record.event_time.plus(longest), "too old");
        }
        // Up to its last millisecond the answer stays what it is, as far as time alone can change it: no window of quiet
        // hours begins, no notice falls out of date.
        let last = until.unix_millis() - 1;
        let quarters = (asked.now.unix_millis()..last).step_by(usize::try_from(QUARTER_MS).expect("small"));
        for moment in quarters.chain([last]).map(Time::from_unix_millis) {
            let mut later = asked.clone();
            later.now = moment.max(asked.now);
            later.freshness.staleness += later.now.since(asked.now);
            prop_assert_eq!(later.of(&state).verdict(), Verdict::Allow, "over at {:?}, before it ends", moment);
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
        prop_assert_eq!(last.reason, Some(decision.reason));
        prop_assert_eq!(last.record, decision.record);
        prop_assert!(last.decided);
        prop_assert_eq!(outcomes.last().map(|outcome| outcome.purpose), Some(None), "the own rules come last");
        prop_assert!(earlier.iter().all(|outcome| !outcome.decided), "only the last decides");
        let regional = catalogue.and_then(|all| all.purpose(&asked.purpose)).is_some_and(|p| !p.regional.is_empty());
        for outcome in &own {
            prop_assert_eq!(!outcome.terms.is_empty(), regional && outcome.rule == "jurisdiction");
        }
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
                by_guardian: defects % 2 == 0,
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
    let restricted = (text(), any_time(), any::<bool>()).prop_map(|(purpose, event_time, restricted)| {
        What::Restricted(Restriction { purpose: purpose.into(), event_time, restricted })
    });
    let day = prop_oneof![any::<i32>(), select(vec![i32::MIN, i32::MAX, -400])].prop_map(Day::from_unix_days);
    let born = (any_time(), day).prop_map(|(event_time, born)| What::Born(Birth { event_time, born }));
    let erased = any_time().prop_map(What::Erased);
    (prop_oneof![6 => said, 1 => erased, 1 => mark, 1 => restricted, 1 => born], vec(text(), 0..2))
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
            time_zone: base.time_zone,
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

/// Quiet hours and nothing else: of a purpose, and of one that it requires.
fn quiet_asked(own: Vec<QuietHours>, required: Vec<QuietHours>, clock: Option<usize>) -> Asked {
    let purpose = |key: &str, quiet_hours: Vec<QuietHours>, requires: &[&str]| {
        let terms = Terms {
            legal_basis: LegalBasis::LegitimateInterest,
            channels: vec!["email".into()],
            requires: requires.iter().map(|key| (*key).into()).collect(),
            quiet_hours,
            ..Terms::default()
        };
        Purpose::new(key, terms)
    };
    Asked {
        catalogue: Some(catalogue_of(vec![purpose("a", own, &["r"]), purpose("r", required, &[])])),
        purpose: "a".to_owned(),
        channel: "email".to_owned(),
        recipient: String::new(),
        sec_gpc: String::new(),
        tcf: String::new(),
        gpp: String::new(),
        jurisdiction: String::new(),
        time_zone: clock.map(|place| &zones()[place]),
        max_staleness: None,
        freshness: Freshness {
            ledger: LedgerStanding::Following,
            staleness: Duration::ZERO,
            token: TokenStanding::Reached,
        },
        now: Time::from_unix_millis(0),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..config() })]

    /// Against a scan, quarter by quarter: everything about these clocks happens on a quarter.
    #[test]
    fn a_denial_by_the_hour_says_the_first_moment_that_permits(
        own in vec(quiet_hours(), 0..4), required in vec(quiet_hours(), 0..3),
        clock in proptest::option::of(0..5_usize), now in 0..(12 * STEP_MS),
    ) {
        let mut asked = quiet_asked(own, required, clock);
        asked.now = Time::from_unix_millis(now);
        let known = What::Said {
            purpose: "ab".into(),
            channel: "email".into(),
            recipient: "".into(),
            record: Record {
                event_time: at_step(0),
                status: Status::Requested,
                legal_basis: LegalBasis::Consent,
                collection: Collection::default(),
                notice: None,
                expires_at: None,
                jurisdiction: "".into(),
                proof: "".into(),
                position: Position(1),
            },
        };
        let state = plain(known).state();
        let decision = asked.of(&state);
        let by_the_hour = [Some(decision.reason), decision.failed_reason].contains(&Some(Reason::QuietHours));
        prop_assume!(by_the_hour);
        let next_quarter = (now / QUARTER_MS + 1) * QUARTER_MS;
        let last = now + 15 * 4 * STEP_MS;
        let mut moments = (next_quarter..=last).step_by(usize::try_from(QUARTER_MS).expect("small"));
        let first = moments.find(|moment| {
            let then = Asked { now: Time::from_unix_millis(*moment), ..asked.clone() };
            then.of(&state).verdict() == Verdict::Allow
        });
        prop_assert_eq!(decision.not_before, first.map(Time::from_unix_millis));
    }
}
