//! Who is young, counted by years on the calendar.

use chrono::{Datelike, Days, NaiveDate};
use consentd::domain::catalogue::{MinorRule, MinorTreatment, UnknownAge};
use consentd::domain::{Birth, Day, Reason, Time};

/// Whether somebody born on a day is younger than so many years, anywhere on earth.
pub(crate) fn is_younger(born: Day, years: u8, at: Time) -> bool {
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).expect("a day");
    let born = epoch + chrono::TimeDelta::days(i64::from(born.unix_days()));
    let year = born.year() + i32::from(years);
    let birthday = NaiveDate::from_ymd_opt(year, born.month(), born.day())
        .unwrap_or_else(|| NaiveDate::from_ymd_opt(year, 3, 1).expect("a day"));
    let day_after = birthday.checked_add_days(Days::new(1)).and_then(|day| day.and_hms_opt(0, 0, 0)).expect("near");
    // Midnight is last where the clocks are twelve hours behind.
    at.unix_millis() < day_after.and_utc().timestamp_millis() + 12 * 3_600_000
}

pub(crate) fn has_guardian(rule: MinorRule) -> bool {
    rule.treatment == MinorTreatment::Guardian
}

/// Why the rule denies by age alone.
pub(crate) fn minor_reason(rule: MinorRule, birth: Option<Birth>, now: Time, guardian: bool) -> Option<Reason> {
    match birth {
        Some(birth) if !has_guardian(rule) && is_younger(birth.born, rule.under, now) => Some(Reason::Minor),
        None if rule.unknown_age == UnknownAge::Deny && !(has_guardian(rule) && guardian) => Some(Reason::AgeUnknown),
        _ => None,
    }
}
