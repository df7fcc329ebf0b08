//! Quiet hours, found by reading clocks quarter by quarter.

use consentd::domain::catalogue::QuietHours;
use consentd::domain::{Terms, Time, Zone};

use crate::random::{Asked, QUARTER_MS};

const DAY: i64 = 24 * 4;
/// How many quarters around a reading clocks are looked at: more than any is from UTC.
const AROUND: i64 = 27 * 4;

/// Every window of the question's channel around now, as times; `None` where a clock is not known.
pub(crate) fn windows(asked: &Asked, terms: &[&Terms]) -> Option<Vec<(Time, Time)>> {
    let mut all = Vec::new();
    for rule in terms.iter().flat_map(|terms| &terms.quiet_hours) {
        let about_this = rule.channels.is_empty() || rule.channels.iter().any(|channel| **channel == *asked.channel);
        if about_this {
            all.extend(windows_of(rule, clock(asked, rule)?, asked.now));
        }
    }
    Some(all)
}

fn clock(asked: &Asked, rule: &QuietHours) -> Option<&'static Zone> {
    let country = asked.jurisdiction.split('-').next();
    let regions = asked.catalogue.as_ref().map_or(&[][..], |catalogue| catalogue.regions());
    let of =
        |name: Option<&str>| regions.iter().find(|region| Some(&*region.key) == name).and_then(|region| region.zone);
    asked.time_zone.or_else(|| of(Some(&asked.jurisdiction))).or_else(|| of(country)).or(rule.zone)
}

fn windows_of(rule: &QuietHours, zone: &Zone, now: Time) -> Vec<(Time, Time)> {
    let today = now.unix_millis().div_euclid(QUARTER_MS * DAY);
    let mut windows = Vec::new();
    for day in today - 3..today + 19 {
        // 1970-01-01 was a Thursday.
        let weekday = usize::try_from((day + 3).rem_euclid(7)).expect("0 to 6");
        if !rule.days[weekday] {
            continue;
        }
        let from = day * DAY + i64::from(rule.from) / 15;
        let mut until = day * DAY + i64::from(rule.until) / 15;
        if until <= from && rule.until <= rule.from {
            until += DAY;
        }
        // It begins when the clock first shows its beginning, and ends when the clock never shows less than its end.
        let begins =
            (from - AROUND..=from + AROUND).find(|quarter| reads(zone, *quarter) >= from).expect("clocks go on");
        let ends = (until - AROUND..until + AROUND).rev().find(|quarter| reads(zone, *quarter) < until);
        let ends = ends.expect("clocks go on") + 1;
        windows.push((Time::from_unix_millis(begins * QUARTER_MS), Time::from_unix_millis(ends * QUARTER_MS)));
    }
    windows.retain(|(begins, ends)| begins < ends);
    windows
}

/// What the clock reads at a quarter of UTC, in quarters.
fn reads(zone: &Zone, quarter: i64) -> i64 {
    quarter + i64::from(zone.offset_at(Time::from_unix_millis(quarter * QUARTER_MS))) / 900
}

/// The first time from now on that no window holds, if that is within fifteen days.
pub(crate) fn first_outside(windows: &[(Time, Time)], now: Time) -> Option<Time> {
    let mut time = now;
    while let Some((_, ends)) = windows.iter().find(|(begins, ends)| *begins <= time && time < *ends) {
        time = *ends;
    }
    (time.unix_millis() - now.unix_millis() <= 15 * DAY * QUARTER_MS).then_some(time)
}
