//! Points in time. Time is always an argument here: nothing in this room reads a clock.

use std::time::Duration;

/// A point in time: milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(i64);

impl Time {
    /// The latest time there is, for "never".
    pub const MAX: Self = Self(i64::MAX);

    /// From milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_unix_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn unix_millis(self) -> i64 {
        self.0
    }

    /// This time moved later by a span; saturates at [`Time::MAX`].
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// This time moved earlier by a span; saturates.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }

    /// The span from an earlier time to this one; zero if that one is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let millis = self.0.saturating_sub(earlier.0);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }

    /// The earliest day that is not yet over everywhere on earth: that of the clocks twelve hours behind UTC.
    #[must_use]
    pub fn earliest_day_on_earth(self) -> Day {
        let days = self.0.saturating_sub(12 * 3_600_000).div_euclid(DAY_MS);
        Day(i32::try_from(days).unwrap_or(if days < 0 { i32::MIN } else { i32::MAX }))
    }
}

/// Milliseconds of a day.
pub(super) const DAY_MS: i64 = 86_400_000;

/// A day of the Gregorian calendar, as days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i32);

impl Day {
    /// From days since 1970-01-01.
    #[must_use]
    pub const fn from_unix_days(days: i32) -> Self {
        Self(days)
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub const fn unix_days(self) -> i32 {
        self.0
    }

    /// The same day so many years later; of 29 February, in a year without one, 1 March.
    #[must_use]
    pub fn anniversary(self, years: u8) -> Self {
        let (year, month, day) = date_of(i64::from(self.0));
        let year = year + i64::from(years);
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let (month, day) = if (month, day) == (2, 29) && !is_leap { (3, 1) } else { (month, day) };
        Self(i32::try_from(days_to(year, month, day)).unwrap_or(i32::MAX))
    }
}

/// Days of 400 years of the Gregorian calendar.
const ERA_DAYS: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;

/// Year, month and day. Source: Howard Hinnant, chrono-Compatible Low-Level Date Algorithms, `civil_from_days`. Years
/// begin in March there, so that a leap day is the last.
const fn date_of(unix_days: i64) -> (i64, i64, i64) {
    let days = unix_days + EPOCH_DAYS;
    let (era, of_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + (month <= 2) as i64;
    (year, month, day)
}

/// Days since 1970-01-01. Source: the same, `days_from_civil`.
const fn days_to(year: i64, month: i64, day: i64) -> i64 {
    let year = year - (month <= 2) as i64;
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let march_month = (month + 9) % 12;
    let of_year = (153 * march_month + 2) / 5 + day - 1;
    era * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH_DAYS
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(year: i64, month: i64, day: i64) -> Day {
        Day::from_unix_days(i32::try_from(days_to(year, month, day)).expect("near"))
    }

    #[test]
    fn dates_are_those_of_the_gregorian_calendar() {
        let mut counted = days_to(1599, 12, 31);
        for year in 1600..2401_i64 {
            for month in 1..13_i64 {
                let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
                let last = match month {
                    2 => 28 + i64::from(is_leap),
                    4 | 6 | 9 | 11 => 30,
                    _ => 31,
                };
                for day in 1..=last {
                    counted += 1;
                    assert_eq!(days_to(year, month, day), counted, "{year}-{month}-{day}");
                    assert_eq!(date_of(counted), (year, month, day));
                }
            }
        }
        assert_eq!(days_to(1970, 1, 1), 0);
    }

    #[test]
    fn a_leap_day_has_its_anniversary_on_the_first_of_march() {
        assert_eq!(day(2008, 2, 29).anniversary(16), day(2024, 2, 29));
        assert_eq!(day(2008, 2, 29).anniversary(18), day(2026, 3, 1));
        assert_eq!(day(2010, 6, 1).anniversary(16), day(2026, 6, 1));
        assert_eq!(Day::from_unix_days(i32::MAX).anniversary(99), Day::from_unix_days(i32::MAX));
    }

    #[test]
    fn a_day_is_over_when_it_is_over_twelve_hours_behind_utc() {
        let noon = Time::from_unix_millis(20_000 * DAY_MS + 12 * 3_600_000);
        assert_eq!(noon.earliest_day_on_earth(), Day::from_unix_days(20_000));
        assert_eq!(noon.minus(Duration::from_millis(1)).earliest_day_on_earth(), Day::from_unix_days(19_999));
        assert_eq!(Time::from_unix_millis(i64::MIN).earliest_day_on_earth(), Day::from_unix_days(i32::MIN));
    }

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        assert_eq!(Time::MAX.plus(Duration::from_secs(1)), Time::MAX);
        assert_eq!(Time::from_unix_millis(5).plus(Duration::MAX), Time::MAX);
        assert_eq!(Time::from_unix_millis(5).since(Time::from_unix_millis(9)), Duration::ZERO);
        assert_eq!(Time::from_unix_millis(9).since(Time::from_unix_millis(5)), Duration::from_millis(4));
    }
}
