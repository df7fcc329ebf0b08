//! Days, weeks and months, by the clock of a place.

use chrono::{DateTime, Datelike as _, Days, Months, NaiveDate};

use crate::domain::{Time, Zone};

/// The most periods of a report: more than can be looked at.
const PERIODS_MAX: usize = 1000;

/// How long a period is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A day.
    Day,
    /// A week, from Monday on.
    Week,
    /// A calendar month.
    Month,
}

/// One period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Period {
    /// Such as `2026-11-22`, `2026-W47`, `2026-11`.
    pub label: String,
    /// Its first day.
    pub first: NaiveDate,
    /// Its last day.
    pub last: NaiveDate,
    /// When it begins.
    pub begins: Time,
    /// When the next one begins.
    pub ends: Time,
}

/// From which day to which, both included; where one is missing the ledger decides, and the present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Range {
    /// The first day.
    pub from: Option<NaiveDate>,
    /// The last day.
    pub to: Option<NaiveDate>,
}

/// Why there are no periods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    /// The first day is behind the last.
    #[error("the report would begin on {0} and end on {1}; `--from` must not be after `--to`, nor after today")]
    Backwards(NaiveDate, NaiveDate),
    /// There would be too many.
    #[error(
        "the report would have more than {PERIODS_MAX} periods; choose longer ones with `--by`, or a later `--from`"
    )]
    TooMany,
}

impl Period {
    /// Whether the range cuts it short, or the present.
    #[must_use]
    pub fn is_partial(&self, by: By) -> bool {
        self.first != by.first(self.first) || by.next(self.first).pred_opt() != Some(self.last)
    }
}

/// The periods of a range. `earliest` is when the first thing happened.
pub(super) fn periods(
    range: Range,
    by: By,
    zone: Option<&Zone>,
    earliest: Option<Time>,
    now: Time,
) -> Result<Vec<Period>, PeriodError> {
    let today = day_of(now, zone);
    // What is dated ahead has not happened yet.
    let to = range.to.map_or(today, |to| to.min(today));
    let from = range.from.unwrap_or_else(|| by.first(earliest.map_or(to, |earliest| day_of(earliest, zone).min(to))));
    if from > to {
        return Err(PeriodError::Backwards(from, to));
    }
    let mut periods = Vec::new();
    let mut first = from;
    while first <= to {
        if periods.len() == PERIODS_MAX {
            return Err(PeriodError::TooMany);
        }
        let next = by.next(first);
        let last = next.pred_opt().unwrap_or(first).min(to);
        let behind = last.succ_opt().unwrap_or(last);
        let (begins, ends) = (midnight(first, zone), midnight(behind, zone));
        periods.push(Period { label: by.label(first), first, last, begins, ends });
        first = next;
    }
    Ok(periods)
}

impl By {
    /// The first day of the period that a day is in.
    fn first(self, day: NaiveDate) -> NaiveDate {
        match self {
            Self::Day => day,
            Self::Week => day.checked_sub_days(Days::new(day.weekday().num_days_from_monday().into())).unwrap_or(day),
            Self::Month => day.with_day(1).unwrap_or(day),
        }
    }

    /// The first day of the next period.
    fn next(self, day: NaiveDate) -> NaiveDate {
        let first = self.first(day);
        let next = match self {
            Self::Day => first.succ_opt(),
            Self::Week => first.checked_add_days(Days::new(7)),
            Self::Month => first.checked_add_months(Months::new(1)),
        };
        next.unwrap_or(NaiveDate::MAX)
    }

    fn label(self, day: NaiveDate) -> String {
        match self {
            Self::Day => day.to_string(),
            Self::Week => format!("{}-W{:02}", day.iso_week().year(), day.iso_week().week()),
            Self::Month => format!("{}-{:02}", day.year(), day.month()),
        }
    }

    /// A period, as a word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

/// The day of a time; times beyond the calendar are its first or its last.
pub(super) fn day_of(time: Time, zone: Option<&Zone>) -> NaiveDate {
    let offset = i64::from(zone.map_or(0, |zone| zone.offset_at(time))) * 1000;
    let local = DateTime::from_timestamp_millis(time.unix_millis().saturating_add(offset));
    let beyond = if time.unix_millis() < 0 { NaiveDate::MIN } else { NaiveDate::MAX };
    local.map_or(beyond, |local| local.date_naive())
}

/// When a day begins; where midnight is skipped, the moment of that.
fn midnight(day: NaiveDate, zone: Option<&Zone>) -> Time {
    let local = day.and_hms_opt(0, 0, 0).map_or(i64::MAX, |at| at.and_utc().timestamp_millis());
    let Some(zone) = zone else { return Time::from_unix_millis(local) };
    let at = |offset: i32| Time::from_unix_millis(local.saturating_sub(i64::from(offset) * 1000));
    // The offset that holds there is the one that holds at the moment which it leads to.
    let guess = at(zone.offset_at(Time::from_unix_millis(local)));
    at(zone.offset_at(guess))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zones;

    fn day(text: &str) -> NaiveDate {
        text.parse().expect("a day")
    }

    fn at(text: &str) -> Time {
        Time::from_unix_millis(DateTime::parse_from_rfc3339(text).expect("a time").timestamp_millis())
    }

    fn labels(range: Range, by: By, earliest: &str, now: &str) -> Vec<String> {
        let periods = periods(range, by, None, Some(at(earliest)), at(now)).expect("periods");
        periods.into_iter().map(|period| period.label).collect()
    }

    #[test]
    fn periods_run_from_the_first_event_to_today() {
        let (first, now) = ("2026-09-30T12:00:00Z", "2026-11-02T00:00:00Z");
        assert_eq!(labels(Range::default(), By::Month, first, now), ["2026-09", "2026-10", "2026-11"]);
        let weeks = labels(Range { from: Some(day("2026-10-15")), to: None }, By::Week, first, now);
        assert_eq!(weeks, ["2026-W42", "2026-W43", "2026-W44", "2026-W45"]);
        let days = Range { from: Some(day("2026-12-30")), to: Some(day("2027-01-01")) };
        assert_eq!(labels(days, By::Day, first, "2027-03-01T00:00:00Z"), ["2026-12-30", "2026-12-31", "2027-01-01"]);
        let week = Range { from: Some(day("2027-01-01")), to: Some(day("2027-01-01")) };
        assert_eq!(labels(week, By::Week, first, "2027-03-01T00:00:00Z"), ["2026-W53"], "the week's own year");
    }

    #[test]
    fn periods_are_contiguous_and_begin_at_midnight_of_the_place() {
        let berlin = zones::find("Europe/Berlin");
        let range = Range { from: Some(day("2026-03-28")), to: Some(day("2026-03-30")) };
        let days = periods(range, By::Day, berlin, None, at("2026-12-01T00:00:00Z")).expect("periods");
        let begins: Vec<Time> = days.iter().map(|period| period.begins).collect();
        // The clocks went forward on the 29th.
        assert_eq!(begins, [at("2026-03-27T23:00:00Z"), at("2026-03-28T23:00:00Z"), at("2026-03-29T22:00:00Z")]);
        assert!(days.windows(2).all(|pair| pair[0].ends == pair[1].begins));
        assert_eq!(day_of(at("2026-03-29T22:00:00Z"), berlin), day("2026-03-30"));
    }

    #[test]
    fn a_range_that_is_none_is_refused() {
        let now = at("2026-11-02T00:00:00Z");
        let backwards = Range { from: Some(day("2026-12-01")), to: None };
        let refused = periods(backwards, By::Day, None, None, now).expect_err("refused");
        assert_eq!(refused, PeriodError::Backwards(day("2026-12-01"), day("2026-11-02")));
        let long = Range { from: Some(day("2000-01-01")), to: None };
        assert_eq!(periods(long, By::Day, None, None, now), Err(PeriodError::TooMany));
        let cut = Range { from: Some(day("2026-10-15")), to: None };
        let months = periods(cut, By::Month, None, None, now).expect("periods");
        assert_eq!(months.iter().map(|month| month.is_partial(By::Month)).collect::<Vec<_>>(), [true, true]);
    }
}
