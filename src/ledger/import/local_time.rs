//! Times as people and spreadsheets write them: on the clock of some place, often without the hour.
//!
//! Where a text stands for a span and not for a moment, the side that permits less is taken: a consent is as old as it can
//! be and a refusal as late, so that of a consent and a refusal of the same day the refusal counts.

use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, NaiveTime};

use crate::domain::{Time, Zone};

/// How the times of an input are written.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    pub(super) zone: &'static Zone,
    pub(super) formats: Vec<Form>,
}

/// How one time is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// `2026-01-05T10:00:00Z`.
    Rfc3339,
    /// Seconds since 1970.
    Unix,
    /// Milliseconds since 1970.
    UnixMillis,
    /// As `strftime` has it, such as `%d.%m.%Y %H:%M`.
    Pattern(String),
}

/// Which end of a span is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Earliest,
    Latest,
}

/// A time that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) time: Time,
    /// Whether the text named a day and no hour.
    pub(super) is_day: bool,
}

/// A moment, or a time of some clock.
enum Written {
    Moment(Time),
    Local(NaiveDateTime),
    Day(NaiveDate),
}

impl Form {
    /// The form that a text names.
    ///
    /// # Errors
    /// If it is no pattern.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "rfc3339" => Ok(Self::Rfc3339),
            "unix" => Ok(Self::Unix),
            "unix_ms" => Ok(Self::UnixMillis),
            pattern if StrftimeItems::new(pattern).any(|item| item == Item::Error) || !pattern.contains('%') => {
                Err(format!("`{pattern}` is no pattern such as `%d.%m.%Y %H:%M`, nor `rfc3339`, `unix` or `unix_ms`"))
            }
            pattern => Ok(Self::Pattern(pattern.to_owned())),
        }
    }

    fn read(&self, text: &str) -> Option<Written> {
        match self {
            Self::Rfc3339 => DateTime::parse_from_rfc3339(text).ok().map(|at| moment(at.timestamp_millis())),
            Self::Unix => text.parse::<i64>().ok()?.checked_mul(1000).map(moment),
            Self::UnixMillis => text.parse().ok().map(moment),
            Self::Pattern(pattern) => DateTime::parse_from_str(text, pattern)
                .map(|at| moment(at.timestamp_millis()))
                .or_else(|_| NaiveDateTime::parse_from_str(text, pattern).map(Written::Local))
                .or_else(|_| NaiveDate::parse_from_str(text, pattern).map(Written::Day))
                .ok(),
        }
    }
}

impl Reader {
    /// The time that a text names.
    pub(super) fn read(&self, text: &str, side: Side) -> Option<Read> {
        let written = self.formats.iter().find_map(|form| form.read(text.trim()))?;
        let time = match (&written, side) {
            (Written::Moment(time), _) => Some(*time),
            (Written::Local(local), _) => self.on_clock(*local, side),
            (Written::Day(day), Side::Earliest) => self.on_clock(day.and_time(NaiveTime::MIN), side),
            (Written::Day(day), Side::Latest) => {
                let next = self.on_clock(day.checked_add_days(Days::new(1))?.and_time(NaiveTime::MIN), Side::Earliest);
                next.map(|next| Time::from_unix_millis(next.unix_millis() - 1))
            }
        };
        time.map(|time| Read { time, is_day: matches!(written, Written::Day(_)) })
    }

    /// When a clock showed a time: once; where it was set back, twice; where it was set forward, never, and then it is
    /// read with the offsets on either side.
    fn on_clock(&self, local: NaiveDateTime, side: Side) -> Option<Time> {
        const DAY_MS: i64 = 86_400_000;
        let as_utc = local.and_utc().timestamp_millis();
        let around = [-DAY_MS, DAY_MS].map(|by| self.zone.offset_at(Time::from_unix_millis(as_utc + by)));
        let read = around.map(|offset| (offset, Time::from_unix_millis(as_utc - i64::from(offset) * 1000)));
        let shown = read.iter().filter(|(offset, time)| self.zone.offset_at(*time) == *offset).map(|(_, time)| *time);
        let shown: Vec<Time> = shown.collect();
        let all = if shown.is_empty() { read.map(|(_, time)| time).to_vec() } else { shown };
        match side {
            Side::Earliest => all.into_iter().min(),
            Side::Latest => all.into_iter().max(),
        }
    }
}

const fn moment(millis: i64) -> Written {
    Written::Moment(Time::from_unix_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(zone: &str, form: &str, text: &str, side: Side) -> Option<String> {
        let zone = crate::zones::find(zone).expect("a zone");
        let reader = Reader { zone, formats: vec![Form::parse(form).expect("a form")] };
        let read = reader.read(text, side)?;
        Some(DateTime::from_timestamp_millis(read.time.unix_millis())?.to_rfc3339())
    }

    #[test]
    fn a_time_is_read_on_the_clock_of_its_place() {
        let read = |text| read("Europe/Istanbul", "%Y-%m-%d %H:%M:%S", text, Side::Earliest);
        assert_eq!(read("2018-02-10 09:50:02").as_deref(), Some("2018-02-10T06:50:02+00:00"));
        // Until 2016 Türkiye had a winter time.
        assert_eq!(read("2015-01-10 09:50:02").as_deref(), Some("2015-01-10T07:50:02+00:00"));
        assert_eq!(read("2015-07-10 09:50:02").as_deref(), Some("2015-07-10T06:50:02+00:00"));
        assert_eq!(read("2015-02-30 09:50:02"), None);
        assert_eq!(read("10.02.2018"), None);
    }

    #[test]
    fn what_is_not_one_moment_is_read_so_that_it_permits_less() {
        let day = |side| read("Europe/Istanbul", "%d.%m.%Y", "05.01.2026", side);
        assert_eq!(day(Side::Earliest).as_deref(), Some("2026-01-04T21:00:00+00:00"));
        assert_eq!(day(Side::Latest).as_deref(), Some("2026-01-05T20:59:59.999+00:00"));
        // 2025-10-26, 02:30 was twice in Berlin; 2025-03-30, 02:30 never.
        let berlin = |text, side| read("Europe/Berlin", "%Y-%m-%d %H:%M", text, side);
        assert_eq!(berlin("2025-10-26 02:30", Side::Earliest).as_deref(), Some("2025-10-26T00:30:00+00:00"));
        assert_eq!(berlin("2025-10-26 02:30", Side::Latest).as_deref(), Some("2025-10-26T01:30:00+00:00"));
        assert_eq!(berlin("2025-03-30 02:30", Side::Earliest).as_deref(), Some("2025-03-30T00:30:00+00:00"));
        assert_eq!(berlin("2025-03-30 02:30", Side::Latest).as_deref(), Some("2025-03-30T01:30:00+00:00"));
    }

    #[test]
    fn a_moment_needs_no_place() {
        for (form, text) in [
            ("rfc3339", "2026-01-05T10:00:00+03:00"),
            ("unix", "1767596400"),
            ("unix_ms", "1767596400000"),
            ("%Y-%m-%dT%H:%M:%S%z", "2026-01-05T10:00:00+0300"),
        ] {
            let read = read("America/New_York", form, text, Side::Latest);
            assert_eq!(read.as_deref(), Some("2026-01-05T07:00:00+00:00"), "{form}");
        }
        for form in ["%Q", "dd.mm.yyyy", ""] {
            assert!(Form::parse(form).is_err(), "{form}");
        }
    }
}
