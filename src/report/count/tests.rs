use chrono::DateTime;

use super::*;
use crate::domain::{Collection, Position, Subject};

/// A Monday.
const NOW: &str = "2026-11-23T12:00:00Z";

fn at(text: &str) -> Time {
    let text = if text.len() == 10 { format!("{text}T12:00:00Z") } else { text.to_owned() };
    Time::from_unix_millis(DateTime::parse_from_rfc3339(&text).expect("a time").timestamp_millis())
}

fn subject(id: &str) -> Subject {
    Subject::new("crm", id).expect("well-formed")
}

fn event(time: &str, body: EventBody) -> Delivery {
    let event = Event { event_id: "e".into(), event_time: at(time), supersedes: Vec::new(), body };
    Delivery { position: Position(1), event: Ok(event) }
}

fn consent(id: &str, purpose: &str, channel: &str, status: Status) -> ConsentEvent {
    ConsentEvent {
        subject: subject(id),
        purpose: purpose.into(),
        channel: channel.into(),
        recipient: "".into(),
        status,
        legal_basis: LegalBasis::Consent,
        collection: Collection::default(),
        notice: None,
        jurisdiction: "".into(),
        expires_at: None,
        proof: "".into(),
    }
}

fn said(time: &str, id: &str, channel: &str, status: Status) -> Delivery {
    event(time, EventBody::Consent(Box::new(consent(id, "news", channel, status))))
}

fn link(time: &str, one: &str, other: &str, unlinked: bool) -> Delivery {
    event(time, EventBody::Link { subject: subject(one), linked: subject(other), unlinked })
}

fn reported(unit: Unit, events: Vec<Delivery>) -> Report {
    let mut counter = Counter::new(unit, None, None);
    for event in events {
        counter.take(event);
    }
    counter.report(Range::default(), By::Month, None, 0, at(NOW)).expect("periods")
}

/// The figures of one series, by month: given, refused, withdrawn, standing.
fn shown(report: &Report, channel: &str) -> Vec<[u64; 4]> {
    let series = report.series.iter().find(|series| series.channel == channel).expect("a series");
    let figures = |figures: &Option<Figures>| {
        let Figures { given, refused, withdrawn, standing, .. } = figures.expect("shown");
        [given, refused, withdrawn, standing]
    };
    series.periods.iter().map(figures).collect()
}

fn history() -> Vec<Delivery> {
    vec![
        said("2026-09-01", "1", "email", Status::Given),
        said("2026-09-02", "2", "email", Status::Given),
        said("2026-09-03", "3", "email", Status::Refused),
        said("2026-10-05", "1", "email", Status::Withdrawn),
        said("2026-10-06", "3", "email", Status::Given),
        said("2026-11-01", "2", "*", Status::Withdrawn),
        said("2026-11-02", "2", "email", Status::Renewed),
    ]
}

#[test]
fn figures_are_those_of_the_month_in_whatever_order_and_however_often_events_come() {
    let expected = vec![[2, 1, 0, 2], [1, 0, 1, 2], [0, 0, 0, 2]];
    let mut twice = history();
    twice.reverse();
    twice.extend(history());
    for events in [history(), twice] {
        let report = reported(Unit::Identifiers, events);
        assert_eq!(shown(&report, "email"), expected);
        assert_eq!(shown(&report, "*"), [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]]);
        assert_eq!(
            report.periods.iter().map(|period| &*period.label).collect::<Vec<_>>(),
            ["2026-09", "2026-10", "2026-11"]
        );
        let [september, october, november] = report.totals[..] else { panic!("{:?}", report.totals) };
        assert_eq!(september.opt_in_rate(), Some(2.0 / 3.0));
        assert_eq!(october.withdrawal_rate(), Some(1.0 / 3.0), "two stood and one was given");
        assert_eq!((november.renewed, november.opt_in_rate(), november.standing), (1, None, 2));
    }
}

#[test]
fn a_consent_stands_until_it_is_refused_anywhere_above_or_ends_and_not_at_all_where_it_is_void() {
    let grant = |id: &str, change: fn(&mut ConsentEvent)| {
        let mut consent = consent(id, "news.weekly", "email", Status::Given);
        change(&mut consent);
        event("2026-09-01", EventBody::Consent(Box::new(consent)))
    };
    let void = grant("1", |consent| consent.collection.defects = Defects::PRE_TICKED);
    let ending = grant("2", |consent| consent.expires_at = Some(at("2026-10-15")));
    let over = grant("3", |_| ());
    let objected = grant("4", |consent| {
        consent.legal_basis = LegalBasis::LegitimateInterest;
        consent.status = Status::Withdrawn;
    });
    let contract = grant("5", |consent| consent.legal_basis = LegalBasis::Contract);
    let elsewhere = grant("6", |consent| consent.recipient = "partner".into());
    let events = vec![
        void,
        ending,
        over,
        objected,
        contract,
        elsewhere,
        // Of the purpose above, over all channels; for everybody, and for the controller only.
        said("2026-11-02", "3", "*", Status::Withdrawn),
        said("2026-11-02", "6", "email", Status::Withdrawn),
    ];
    let report = reported(Unit::Identifiers, events);
    let series = report.series.iter().find(|series| series.purpose == "news.weekly").expect("a series");
    let standing: Vec<u64> = series.periods.iter().flatten().map(|figures| figures.standing).collect();
    assert_eq!(standing, [3, 2, 1], "the end, the withdrawal above; the partner's stays");
    let Figures { given, void, objected, withdrawn, .. } = series.total.expect("shown");
    assert_eq!((given, void, objected, withdrawn), (3, 1, 1, 0));
}

#[test]
fn what_is_erased_is_not_counted_and_what_is_dated_ahead_counts_as_the_domain_has_it() {
    let erasure = event("2026-10-01", EventBody::Erasure { subject: subject("1") });
    let events = vec![
        said("2026-09-01", "1", "email", Status::Given),
        erasure,
        said("2026-10-02", "1", "email", Status::Given),
        // A withdrawal counts at once, a consent waits.
        said("2026-11-02", "2", "email", Status::Given),
        said("2027-01-01", "2", "email", Status::Withdrawn),
        said("2027-01-01", "3", "email", Status::Given),
    ];
    let report = reported(Unit::Identifiers, events);
    assert_eq!(report.periods.len(), 2, "September is not there any more");
    assert_eq!(shown(&report, "email"), [[1, 0, 0, 1], [1, 0, 0, 1]]);
}

#[test]
fn people_are_their_linked_identifiers_as_last_said() {
    let events = || {
        vec![
            said("2026-09-01", "1", "email", Status::Given),
            said("2026-09-01", "2", "email", Status::Given),
            said("2026-10-02", "3", "email", Status::Withdrawn),
            said("2026-10-02", "4", "email", Status::Withdrawn),
            link("2026-10-01", "1", "2", false),
            link("2026-10-01", "2", "3", false),
            link("2026-10-02", "4", "3", true),
            link("2026-10-01", "4", "3", false),
        ]
    };
    let report = reported(Unit::People, events());
    assert_eq!(report.subjects, 2);
    assert_eq!(shown(&report, "email"), [[1, 0, 0, 1], [0, 0, 2, 0], [0, 0, 0, 0]]);
    let report = reported(Unit::Identifiers, events());
    assert_eq!(report.subjects, 4);
    assert_eq!(shown(&report, "email"), [[2, 0, 0, 2], [0, 0, 2, 2], [0, 0, 0, 2]]);
}

#[test]
fn few_subjects_are_neither_shown_nor_in_any_total() {
    let many = |status: Status, month: &str, count: usize| {
        (0..count).map(move |id| said(month, &format!("{id}"), "email", status)).collect::<Vec<_>>()
    };
    let mut counter = Counter::new(Unit::Identifiers, None, None);
    let sms = said("2026-09-01", "7", "sms", Status::Given);
    let first = many(Status::Given, "2026-09-01", 4);
    let others = many(Status::Given, "2026-10-01", 10);
    let events = [first, others, many(Status::Withdrawn, "2026-11-01", 3), vec![sms]].concat();
    for event in events {
        counter.take(event);
    }
    let report = counter.report(Range::default(), By::Month, None, 10, at(NOW)).expect("periods");
    let [email, sms] = &report.series[..] else { panic!("{:?}", report.series) };
    // Few who speak among many are shown; a few who are all there are, are not.
    assert_eq!(email.periods.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, true]);
    let total = email.total.expect("shown");
    assert_eq!((total.given, total.withdrawn, total.standing_before, total.standing), (10, 3, 4, 7));
    assert_eq!((&sms.periods[..], sms.total), (&[None, None, None][..], None));
    assert_eq!((report.suppressed, report.total().given, report.totals[0]), (4, 10, Figures::default()));
}

#[test]
fn only_what_is_asked_about_is_counted_and_a_range_remembers_what_stood_before() {
    let mut counter = Counter::new(Unit::Identifiers, Some("news".to_owned()), Some("email".to_owned()));
    let other = event("2026-10-01", EventBody::Consent(Box::new(consent("9", "newsletter", "email", Status::Given))));
    let sms = said("2026-10-01", "9", "sms", Status::Given);
    history().into_iter().chain([other, sms]).for_each(|event| counter.take(event));
    let range = Range { from: "2026-10-10".parse().ok(), to: "2026-11-01".parse().ok() };
    let report = counter.report(range, By::Month, None, 0, at(NOW)).expect("periods");
    assert_eq!(report.series.len(), 1);
    // On the first of November the one who withdrew from all channels has not come back yet.
    assert_eq!(shown(&report, "email"), [[0, 0, 0, 2], [0, 0, 0, 1]]);
    assert_eq!(report.totals[0].standing_before, 2);
}

#[test]
fn unreadable_events_are_said() {
    let unreadable = crate::domain::Unreadable {
        event_id: "@1".into(),
        subjects: Vec::new(),
        keys: Vec::new(),
        event_time: None,
        problem: "no".into(),
    };
    let mut counter = Counter::new(Unit::Identifiers, None, None);
    counter.take(Delivery { position: Position(1), event: Err(unreadable) });
    let report = counter.report(Range::default(), By::Day, None, 0, at(NOW)).expect("today");
    assert_eq!((report.unreadable, report.series.len(), report.periods.len()), (1, 0, 1));
}
