//! The rule of the hours at which subjects are left alone, by their own clocks.
//!
//! A window begins when the clock first reads its beginning, and ends when the clock reads its end for good: where a
//! clock is changed, the window is the longest of what it could mean.

use std::ops::ControlFlow;

use super::Finding;
use super::facts::Facts;
use super::requires::each_required;
use crate::domain::catalogue::QuietHours;
use crate::domain::text::same;
use crate::domain::time::{DAY_MS, Time};
use crate::domain::words::Reason;
use crate::domain::zone::Zone;

const MINUTE_MS: i64 = 60_000;
/// How far ahead the end of windows that follow each other is looked for: windows come again every week, and those that
/// leave no gap in two weeks seldom ever do.
const AHEAD_MAX_MS: i64 = 15 * DAY_MS;
/// Within so much of a change of the clock windows are found by readings, elsewhere by sums.
const NEAR_CHANGE_MS: i64 = 3 * DAY_MS;

/// None is running. When the next begins is noted in the facts, as an ALLOW must end by then.
pub(super) fn quiet_hours<'a>(facts: &Facts<'a>) -> Option<Finding<'a>> {
    let (mut is_quiet, mut next) = (false, Time::MAX);
    for clocked in windows(facts) {
        let Some((rule, zone)) = clocked else { return Some(Finding::of(Reason::TimeZoneUnknown)) };
        let reading = Reading::of(zone, facts.now);
        is_quiet = is_quiet || reading.quiet_until(rule).is_some();
        next = next.min(reading.next_beginning(rule));
    }
    facts.open_until.set(next);
    is_quiet.then(|| Finding { not_before: first_open(facts), ..Finding::of(Reason::QuietHours) })
}

/// The first time at which neither this purpose nor one that it requires has quiet hours. `None` where that is not
/// within two weeks, or where a clock is not known.
pub(super) fn first_open(facts: &Facts<'_>) -> Option<Time> {
    let mut time = facts.now;
    while time.unix_millis().saturating_sub(facts.now.unix_millis()) <= AHEAD_MAX_MS {
        let mut open = after_windows(facts, time);
        each_required(facts, |required| {
            open = open.and_then(|open| after_windows(required, open));
            if open.is_some() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        match open? {
            open if open == time => return Some(time),
            open => time = open,
        }
    }
    None
}

/// When the windows of one purpose that run at a time have ended; the time itself where none runs, and nothing where a
/// clock is not known.
fn after_windows(facts: &Facts<'_>, time: Time) -> Option<Time> {
    let mut end = time;
    for clocked in windows(facts) {
        let (rule, zone) = clocked?;
        end = end.max(Reading::of(zone, time).quiet_until(rule).unwrap_or(time));
    }
    Some(end)
}

/// The quiet hours of the question's channel, each with the clock it goes by where one is known: the question's, else
/// that of its region, else the rule's own.
fn windows<'a>(facts: &Facts<'a>) -> impl Iterator<Item = Option<(&'a QuietHours, &'a Zone)>> + use<'a> {
    let all = facts.terms.map_or(&[][..], |terms| &terms.quiet_hours);
    let question = facts.question;
    let known = if all.is_empty() {
        None
    } else {
        let of_region = || facts.catalogue.and_then(|catalogue| catalogue.zone_of(question.jurisdiction));
        question.time_zone.or_else(of_region)
    };
    let holds = move |rule: &&QuietHours| {
        rule.channels.is_empty() || rule.channels.iter().any(|channel| same(channel, question.channel))
    };
    all.iter().filter(holds).map(move |rule| Some((rule, known.or(rule.zone)?)))
}

/// What a clock reads at a time.
struct Reading<'z> {
    zone: &'z Zone,
    time: i64,
    /// Days since 1970-01-01.
    day: i64,
    /// Milliseconds since that day's midnight.
    of_day: i64,
    /// Whether the clock is changed within a few days.
    near_change: bool,
    /// When it is changed next.
    next_change: Time,
}

impl<'z> Reading<'z> {
    fn of(zone: &'z Zone, time: Time) -> Self {
        let stretch = zone.stretch_at(time);
        let time = time.unix_millis();
        let reading = time.saturating_add(stretch.offset_ms);
        let near_change = time.saturating_sub(stretch.from.unix_millis()) < NEAR_CHANGE_MS
            || stretch.until.unix_millis().saturating_sub(time) < NEAR_CHANGE_MS;
        let (day, of_day) = (reading.div_euclid(DAY_MS), reading.rem_euclid(DAY_MS));
        Self { zone, time, day, of_day, near_change, next_change: stretch.until }
    }

    /// When the rule's window that runs now has ended.
    fn quiet_until(&self, rule: &QuietHours) -> Option<Time> {
        if self.near_change {
            let running = (-2..=1).filter_map(|days| self.window(rule, days));
            let running =
                running.filter(|(begins, ends)| (begins.unix_millis()..ends.unix_millis()).contains(&self.time));
            return running.map(|(_, ends)| ends).max();
        }
        let (from, until) = (i64::from(rule.from) * MINUTE_MS, i64::from(rule.until) * MINUTE_MS);
        let over_midnight = until <= from;
        let ends = if begins_on(rule, self.day) && self.of_day >= from && (over_midnight || self.of_day < until) {
            until + if over_midnight { DAY_MS } else { 0 }
        } else if over_midnight && self.of_day < until && begins_on(rule, self.day.saturating_sub(1)) {
            until
        } else {
            return None;
        };
        Some(self.at(ends))
    }

    /// When the rule's next window begins.
    fn next_beginning(&self, rule: &QuietHours) -> Time {
        let from = i64::from(rule.from) * MINUTE_MS;
        // Every rule has a day, so that one of the next eight begins a window; one that a change of the clock swallows
        // is followed by another.
        let begins = |days: i64| {
            let by_sum = self.at(days * DAY_MS + from);
            if self.near_change || by_sum >= self.next_change {
                return self.window(rule, days).map(|(begins, _)| begins);
            }
            begins_on(rule, self.day.saturating_add(days)).then_some(by_sum)
        };
        let first = if self.near_change { -1 } else { 0 };
        (first..=8).filter_map(begins).find(|begins| begins.unix_millis() > self.time).unwrap_or(Time::MAX)
    }

    /// The window that begins so many days after today, as times.
    fn window(&self, rule: &QuietHours, days: i64) -> Option<(Time, Time)> {
        let day = self.day.saturating_add(days);
        if !begins_on(rule, day) {
            return None;
        }
        let midnight = day.saturating_mul(DAY_MS);
        let reading = |minute: u16, days: i64| midnight.saturating_add(i64::from(minute) * MINUTE_MS + days * DAY_MS);
        let begins = self.zone.first_at(reading(rule.from, 0));
        let ends = self.zone.for_good_at(reading(rule.until, i64::from(rule.until <= rule.from)));
        (begins < ends).then_some((begins, ends))
    }

    /// The time so many milliseconds after today's midnight, where no change of the clock is near.
    const fn at(&self, of_day: i64) -> Time {
        Time::from_unix_millis(self.time.saturating_sub(self.of_day).saturating_add(of_day))
    }
}

/// Whether a window begins on a day since 1970-01-01, which was a Thursday.
fn begins_on(rule: &QuietHours, day: i64) -> bool {
    let weekday = usize::try_from(day.saturating_add(3).rem_euclid(7)).unwrap_or(0);
    rule.days.get(weekday).copied().unwrap_or(true)
}
