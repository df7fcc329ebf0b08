//! Names: an installation, a month, and one piece of evidence.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, NaiveDate};

use crate::domain::Time;

/// The random name of one evidence directory, made once: 8 bytes, shown as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance(pub(super) [u8; 8]);

/// A calendar month in UTC, shown as `2026-11`. Evidence is kept, keyed and signed by the month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct YearMonth {
    year: u16,
    month: u8,
}

/// Names one record of evidence, `<instance>/<YYYY-MM>/<index>`, and with `#k` the k-th subject of a batch, from 0.
///
/// An id is given once. Only a power loss in the stage `written` can take records back whose ids were given; the next
/// records then have the same ids, and what was lost is counted and kept aside where bytes of it remain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EvidenceId {
    /// Which evidence directory.
    pub instance: Instance,
    /// Which month's log.
    pub month: YearMonth,
    /// The place in that log, from 0.
    pub index: u64,
    /// Which subject of a batch; none names the whole record.
    pub question: Option<u32>,
}

/// Why a text names no evidence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not three parts in their form.
    #[error("`{0}` is not an evidence id such as `0123456789abcdef/2026-11/42` or `0123456789abcdef/2026-11/42#7`")]
    Id(String),
    /// Not a month.
    #[error("`{0}` is not a month such as `2026-11`")]
    Month(String),
    /// Not an instance.
    #[error("`{0}` is not an instance: 16 hexadecimal digits")]
    Instance(String),
}

impl EvidenceId {
    /// The same record, naming its k-th subject.
    #[must_use]
    pub fn of_question(self, question: u32) -> Self {
        Self { question: Some(question), ..self }
    }
}

impl YearMonth {
    /// The month that a time is in, held between the years 0 and 9999.
    #[must_use]
    pub fn of(time: Time) -> Self {
        match DateTime::from_timestamp_millis(time.unix_millis()) {
            Some(date) if date.year() < 0 => Self { year: 0, month: 1 },
            Some(date) if date.year() <= 9999 => {
                Self { year: u16::try_from(date.year()).unwrap_or(0), month: u8::try_from(date.month()).unwrap_or(1) }
            }
            _ if time.unix_millis() < 0 => Self { year: 0, month: 1 },
            _ => Self { year: 9999, month: 12 },
        }
    }

    /// A month from its numbers, if they make one.
    #[must_use]
    pub fn new(year: u16, month: u8) -> Option<Self> {
        (year <= 9999 && (1..=12).contains(&month)).then_some(Self { year, month })
    }

    /// The year, 0 to 9999.
    #[must_use]
    pub const fn year(self) -> u16 {
        self.year
    }

    /// The month of the year, 1 to 12.
    #[must_use]
    pub const fn month(self) -> u8 {
        self.month
    }

    /// The first moment that is no longer in this month; the last month there is never ends.
    #[must_use]
    pub fn ends(self) -> Time {
        let (year, month) = if self.month == 12 { (self.year + 1, 1) } else { (self.year, self.month + 1) };
        if year > 9999 {
            return Time::MAX;
        }
        NaiveDate::from_ymd_opt(i32::from(year), u32::from(month), 1)
            .and_then(|date| date.and_hms_opt(0, 0, 0))
            .map_or(Time::MAX, |start| Time::from_unix_millis(start.and_utc().timestamp_millis()))
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl FromStr for Instance {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        match u64::from_str_radix(text, 16) {
            Ok(value) if digits => Ok(Self(value.to_be_bytes())),
            _ => Err(IdError::Instance(text.to_owned())),
        }
    }
}

impl fmt::Display for YearMonth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl FromStr for YearMonth {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.split_once('-')
            .filter(|(year, month)| year.len() == 4 && month.len() == 2)
            .and_then(|(year, month)| Self::new(digits(year)?, digits(month)?))
            .ok_or_else(|| IdError::Month(text.to_owned()))
    }
}

impl fmt::Display for EvidenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.instance, self.month, self.index)?;
        match self.question {
            Some(question) => write!(f, "#{question}"),
            None => Ok(()),
        }
    }
}

impl FromStr for EvidenceId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let malformed = || IdError::Id(text.to_owned());
        let (record, question) = match text.split_once('#') {
            Some((record, question)) => (record, Some(digits(question).ok_or_else(malformed)?)),
            None => (text, None),
        };
        let mut parts = record.split('/');
        let (Some(instance), Some(month), Some(index), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed());
        };
        let index = digits(index).ok_or_else(malformed)?;
        Ok(Self { instance: instance.parse()?, month: month.parse()?, index, question })
    }
}

/// A number written in digits only: `FromStr` alone would take a sign.
fn digits<N: FromStr>(text: &str) -> Option<N> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back() {
        for text in ["00123456789abcde/2026-11/0", "ffffffffffffffff/0000-01/18446744073709551615#4294967295"] {
            let id: EvidenceId = text.parse().expect("well-formed");
            assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn malformed_ids_are_refused() {
        for text in [
            "",
            "0123456789abcdef/2026-11",
            "0123456789abcdef/2026-11/1/2",
            "0123456789abcdef/2026-13/1",
            "0123456789abcdef/26-11/1",
            "0123456789abcdef/2026-11/+1",
            "0123456789abcdef/2026-11/",
            "0123456789abcdef/2026-11/1#",
            "0123456789ABCDEF/2026-11/1",
            "123456789abcdef/2026-11/1",
            "+123456789abcdef/2026-11/1",
        ] {
            assert!(text.parse::<EvidenceId>().is_err(), "`{text}` was taken");
        }
    }

    #[test]
    fn months_end_where_the_next_begins() {
        let december = YearMonth::new(2026, 12).expect("a month");
        let end = december.ends();
        assert_eq!(YearMonth::of(end), YearMonth::new(2027, 1).expect("a month"));
        assert_eq!(YearMonth::of(Time::from_unix_millis(end.unix_millis() - 1)), december);
        assert_eq!(YearMonth::of(Time::MAX).to_string(), "9999-12");
        assert_eq!(YearMonth::of(Time::from_unix_millis(i64::MIN)).to_string(), "0000-01");
        assert_eq!(YearMonth::of(Time::MAX).ends(), Time::MAX);
    }
}
