//! The example shop, as it stands in `examples/shop`, brought into a ledger; and the customers who are asked about.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::io::Cursor;
use std::path::Path;

use chrono::{DateTime, Days, NaiveDate, SecondsFormat};

use crate::cli::Failure;
use crate::cli::ledger::{new_event_id, timestamp};
use crate::clock::Clock;
use crate::domain::{Reason, Time};
use crate::ledger::file::FileLedger;
use crate::ledger::import::{self, Counts, Encoding, Format, Observer, Options, Phase, RawRow, Rejection};
use crate::proto::v1;

const CATALOGUE: &str = include_str!("../../../examples/shop/catalogue.json");
const CUSTOMERS: &str = include_str!("../../../examples/shop/customers.csv");
/// The columns that hold times.
const TIMES: [&str; 2] = ["event_time", "expires_at"];

/// A question, the answer that it must get, and what that shows in a few words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub(super) subject: &'static str,
    pub(super) purpose: &'static str,
    pub(super) channel: &'static str,
    pub(super) reason: Reason,
    pub(super) shows: &'static str,
}

/// The customer whose withdrawal is waited for without a token.
pub(super) const NEWSLETTER: Case =
    case("crm:1001", "marketing.newsletter", "email", Reason::Consent, "KVKK consent and İYS permission");
/// The one whose withdrawal is asked for with its token.
pub(super) const MAINE: Case =
    case("crm:1003", "isp.usage_data", "web", Reason::Consent, "Maine: opted in (35-A § 9301)");
/// Everybody who is asked about.
pub(super) const CASES: [Case; 11] = [
    NEWSLETTER,
    case("crm:1001", "marketing.sms", "sms", Reason::NoConsent, "consent is specific: no texts"),
    case("crm:1002", "marketing.newsletter", "email", Reason::Withdrawn, "unsubscribed; İYS still says yes"),
    case("crm:1005", "marketing.newsletter", "email", Reason::PreTicked, "a box ticked beforehand is void"),
    MAINE,
    case("crm:1004", "isp.usage_data", "web", Reason::NoConsent, "Maine: asked, never answered"),
    case("crm:1006", "health.lens_prescription", "web", Reason::ExplicitConsent, "health data, explicit consent"),
    case("crm:1007", "marketing.recommendations", "web", Reason::Objected, "objected (GDPR 21)"),
    case("crm:1007", "service.fraud", "web", Reason::LegitimateInterest, "objected to that, not to this"),
    case("crm:1008", "advertising.targeted", "web", Reason::TooOld, "agreed more than 395 days ago"),
    case("crm:9999", "marketing.newsletter", "email", Reason::UnknownSubject, "nobody we know: DENY, no error"),
];

const fn case(
    subject: &'static str,
    purpose: &'static str,
    channel: &'static str,
    reason: Reason,
    shows: &'static str,
) -> Case {
    Case { subject, purpose, channel, reason, shows }
}

/// What was brought into the ledger.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Imported {
    pub(super) records: u64,
    pub(super) customers: usize,
    pub(super) purposes: usize,
    /// By how many days all times were moved.
    pub(super) days: i64,
}

/// Publishes the example's catalogue and imports its customers' records into a ledger.
///
/// The example has fixed dates, and answers depend on the age of a consent. So all its times are moved by the same
/// number of days, which keeps their order and distances, such that the newest record is of yesterday (UTC): the
/// example then gives the same answers whatever the machine's clock says.
pub(super) fn bring_into(ledger: &Path, clock: &Clock) -> Result<Imported, Failure> {
    let catalogue: v1::Catalogue = serde_json::from_str(CATALOGUE)?;
    let purposes = catalogue.purposes.len();
    let event = v1::LedgerEvent {
        event_id: new_event_id()?,
        event_time: Some(timestamp(clock.now())),
        source: "quickstart".to_owned(),
        supersedes: Vec::new(),
        event: Some(v1::ledger_event::Event::Catalogue(catalogue)),
    };
    let mut ledger = FileLedger::open(ledger)?;
    ledger.append(&[event])?;
    let Moved { text, days, customers } = moved(CUSTOMERS, clock.now())?;
    let options = Options { format: Format::Csv, encoding: Encoding::Utf8, latest_event_time: Some(clock.now()) };
    let Counts { written: records, .. } = import::import(Cursor::new(text), options, &mut ledger, &mut Strict)?;
    Ok(Imported { records, customers, purposes, days })
}

/// The customers' records with their times moved.
struct Moved {
    text: String,
    days: i64,
    customers: usize,
}

/// Moves the times of CSV in which nothing is quoted, as it is in the example.
fn moved(text: &str, now: Time) -> Result<Moved, Failure> {
    let (header, rows) = text.split_once('\n').unwrap_or_default();
    let columns: Vec<&str> = header.trim_end().split(',').collect();
    let rows = || rows.lines().map(|row| columns.iter().copied().zip(row.split(',')));
    let values =
        |name: &'static str| rows().flatten().filter(move |(column, _)| *column == name).map(|(_, value)| value);
    let newest = values("event_time").filter_map(date).max();
    let yesterday = DateTime::from_timestamp_millis(now.unix_millis()).map(|now| now.date_naive() - Days::new(1));
    let (Some(newest), Some(yesterday)) = (newest, yesterday) else {
        return Err(Failure::new("the example cannot be dated by this machine's clock"));
    };
    let days = (yesterday - newest).num_days();
    let mut moved = header.to_owned();
    for row in rows() {
        let fields = row.map(|(column, value)| if TIMES.contains(&column) { later(value, days) } else { value.into() });
        moved.push('\n');
        moved.push_str(&fields.collect::<Vec<Cow<'_, str>>>().join(","));
    }
    Ok(Moved { text: moved, days, customers: values("subject").collect::<BTreeSet<_>>().len() })
}

fn date(time: &str) -> Option<NaiveDate> {
    DateTime::parse_from_rfc3339(time).ok().map(|time| time.to_utc().date_naive())
}

/// A time so many days later; what is no time stays as it is, and the import says so.
fn later(time: &str, days: i64) -> Cow<'_, str> {
    let moved =
        DateTime::parse_from_rfc3339(time).ok().and_then(|time| time.checked_add_signed(chrono::Duration::days(days)));
    moved.map_or(time.into(), |time| time.to_utc().to_rfc3339_opts(SecondsFormat::AutoSi, true).into())
}

/// Takes every row, or none further: a row of the example that is not an event is a defect.
struct Strict;

impl Observer for Strict {
    fn rejected(&mut self, row: &RawRow, rejection: &Rejection) -> io::Result<()> {
        Err(io::Error::other(format!("row {} of the example: {}", row.number, rejection.reason)))
    }

    fn progress(&mut self, _: Phase, _: Counts) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../examples/shop/README.md");

    fn times(text: &str) -> Vec<i64> {
        let mut rows = text.lines().map(|row| row.split(',').collect::<Vec<_>>());
        let header = rows.next().expect("a header");
        let column = header.iter().position(|name| *name == "event_time").expect("there");
        rows.map(|row| DateTime::parse_from_rfc3339(row[column]).expect("a time").timestamp()).collect()
    }

    #[test]
    fn whatever_the_clock_says_the_newest_record_is_of_yesterday_and_distances_stay() {
        for now in ["1999-03-01T00:00:00Z", "2026-11-01T23:59:59Z", "2044-02-29T12:00:00Z"] {
            let now = DateTime::parse_from_rfc3339(now).expect("a time");
            let moved = moved(CUSTOMERS, Time::from_unix_millis(now.timestamp_millis())).expect("moved");
            let (before, after) = (times(CUSTOMERS), times(&moved.text));
            assert_eq!(before.len(), after.len());
            let seconds = moved.days * 86_400;
            assert!(before.iter().zip(&after).all(|(before, after)| before + seconds == *after), "{now}");
            let newest = DateTime::from_timestamp(*after.iter().max().expect("some"), 0).expect("a time");
            assert_eq!(newest.date_naive() + Days::new(1), now.date_naive());
        }
    }

    #[test]
    fn every_case_is_one_that_the_page_of_the_example_promises() {
        for Case { subject, purpose, channel, reason, .. } in CASES {
            let row = format!("| `{subject}` | `{purpose}` | `{channel}` | {} | `{reason}` |", reason.verdict());
            assert!(PAGE.contains(&row) || subject == "crm:9999", "{row}");
        }
        assert!(!CUSTOMERS.contains('"'), "nothing is quoted");
        assert!(!CUSTOMERS.contains("crm:9999"), "somebody is known by that name");
    }

    #[test]
    fn the_whole_example_is_imported_on_a_machine_with_any_clock() {
        let folder = tempfile::tempdir().expect("a folder");
        for (year, seconds) in [(1990, 631_152_000), (2060, 2_840_140_800)] {
            let clock = Clock::manual(Time::from_unix_millis(seconds * 1000));
            let imported = bring_into(&folder.path().join(format!("{year}.jsonl")), &clock)
                .unwrap_or_else(|Failure(sentence)| panic!("{year}: {sentence}"));
            assert_eq!((imported.records, imported.customers, imported.purposes), (901, 300, 12));
        }
    }
}
