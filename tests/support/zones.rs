//! A few clocks of real places, with their changes from 2020 to 2035, made from the rules that hold there.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use chrono::{Datelike, NaiveDate, Weekday};
use consentd::domain::{Time, Zone};

/// When summer time begins and ends in a year: the moments in milliseconds of UTC.
type Rule = fn(year: i32, winter: i32, summer: i32) -> (i64, i64);

/// Name, seconds east of UTC in winter and in summer, and the rule of the changes.
const ZONES: [(&str, i32, i32, Option<Rule>); 8] = [
    ("UTC", 0, 0, None),
    ("Europe/Istanbul", 3 * 3600, 3 * 3600, None),
    ("Asia/Kolkata", 5 * 3600 + 1800, 5 * 3600 + 1800, None),
    ("Europe/Berlin", 3600, 2 * 3600, Some(european)),
    ("Europe/London", 0, 3600, Some(european)),
    ("America/New_York", -5 * 3600, -4 * 3600, Some(american)),
    ("America/Los_Angeles", -8 * 3600, -7 * 3600, Some(american)),
    ("Australia/Lord_Howe", 10 * 3600 + 1800, 11 * 3600, Some(australian)),
];

/// The clock of this IANA name, if it is among the few.
pub(crate) fn find(name: &str) -> Option<&'static Zone> {
    static ALL: OnceLock<BTreeMap<&str, Zone>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        ZONES.iter().map(|(name, winter, summer, rule)| (*name, made(name, *winter, *summer, *rule))).collect()
    });
    all.get(name)
}

fn made(name: &str, winter: i32, summer: i32, rule: Option<Rule>) -> Zone {
    let mut changes = Vec::new();
    for year in 2020..=2035 {
        if let Some(rule) = rule {
            let (begins, ends) = rule(year, winter, summer);
            changes.push((Time::from_unix_millis(begins), summer));
            changes.push((Time::from_unix_millis(ends), winter));
        }
    }
    changes.sort();
    let before = if changes.first().is_some_and(|(_, offset)| *offset == winter) { summer } else { winter };
    Zone::new(name, before, changes)
}

/// Midnight of the n-th Sunday of a month; -1 is the last.
fn sunday(year: i32, month: u32, n: i32) -> i64 {
    let days = (1..=31).filter_map(|day| NaiveDate::from_ymd_opt(year, month, day));
    let sundays: Vec<NaiveDate> = days.filter(|day| day.weekday() == Weekday::Sun).collect();
    let place = if n < 0 { sundays.len() - 1 } else { usize::try_from(n - 1).unwrap_or(0) };
    sundays[place].and_hms_opt(0, 0, 0).map_or(0, |midnight| midnight.and_utc().timestamp_millis())
}

const HOUR_MS: i64 = 3_600_000;

fn local(midnight: i64, hour: i64, offset: i32) -> i64 {
    midnight + hour * HOUR_MS - i64::from(offset) * 1000
}

/// Everywhere at 01:00 UTC of the last Sundays of March and October. Source: Directive 2000/84/EC.
fn european(year: i32, _: i32, _: i32) -> (i64, i64) {
    (sunday(year, 3, -1) + HOUR_MS, sunday(year, 10, -1) + HOUR_MS)
}

/// At 2:00 local time of the second Sunday of March and the first of November. Source: 15 U.S.C. § 260a.
fn american(year: i32, winter: i32, summer: i32) -> (i64, i64) {
    (local(sunday(year, 3, 2), 2, winter), local(sunday(year, 11, 1), 2, summer))
}

/// At 2:00 local time of the first Sundays of October and April.
fn australian(year: i32, winter: i32, summer: i32) -> (i64, i64) {
    (local(sunday(year, 10, 1), 2, winter), local(sunday(year, 4, 1), 2, summer))
}
