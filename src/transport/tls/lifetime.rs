//! From when to when a certificate is good: the one thing about our own that rustls does not look at.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime};

use crate::domain::Time;

/// Tags of DER. Source: X.690, 8.
const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`, the version.
const VERSION: u8 = 0xa0;
/// The longest before its end that a certificate should have been replaced: a week is time for a person to act.
const NOTICE_MAX: Duration = Duration::from_hours(7 * 24);
/// A certificate of an hour is replaced after half of it: what has less than a fifth left was not.
const NOTICE_SHARE: u32 = 5;

/// From when to when a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transport) struct Lifetime {
    pub(in crate::transport) begins: Time,
    pub(in crate::transport) ends: Time,
}

impl Lifetime {
    /// That of a certificate in DER; `None` if it is none. Source: RFC 5280, 4.1.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let (certificate, _) = expect(certificate, SEQUENCE)?;
        let (mut fields, _) = expect(certificate, SEQUENCE)?;
        if let Some((_, rest)) = expect(fields, VERSION) {
            fields = rest;
        }
        // The serial number, the signature's algorithm, the issuer.
        for _ in 0..3 {
            (_, _, fields) = element(fields)?;
        }
        let (validity, _) = expect(fields, SEQUENCE)?;
        let (begins, rest) = time(validity)?;
        let (ends, _) = time(rest)?;
        Some(Self { begins, ends })
    }

    /// When it ends, for people.
    pub(super) fn end_text(&self) -> String {
        DateTime::from_timestamp_millis(self.ends.unix_millis()).map_or_else(String::new, |end| end.to_rfc3339())
    }

    /// Whether it should have been replaced by now.
    pub(super) fn is_near_its_end(&self, now: Time) -> bool {
        let whole = self.ends.since(self.begins);
        self.ends.since(now) < NOTICE_MAX.min(whole / NOTICE_SHARE)
    }
}

/// The tag of the first element, what is in it, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        // The length stands in that many bytes; no certificate needs more than four.
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn expect(bytes: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    element(bytes).filter(|(tag, ..)| *tag == wanted).map(|(_, content, rest)| (content, rest))
}

fn time(bytes: &[u8]) -> Option<(Time, &[u8])> {
    let (tag, text, rest) = element(bytes)?;
    let text = std::str::from_utf8(text).ok()?;
    let text = match tag {
        GENERALIZED_TIME => text.to_owned(),
        // Source: RFC 5280, 4.1.2.5.1: years from 50 on are of the twentieth century.
        UTC_TIME if text.as_bytes().first()? >= &b'5' => format!("19{text}"),
        UTC_TIME => format!("20{text}"),
        _ => return None,
    };
    let time = NaiveDateTime::parse_from_str(&text, "%Y%m%d%H%M%SZ").ok()?;
    Some((Time::from_unix_millis(time.and_utc().timestamp_millis()), rest))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(from: i32, until: i32) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("names");
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        params.self_signed(&KeyPair::generate().expect("a key")).expect("signed").der().to_vec()
    }

    fn year(year: i32) -> Time {
        Time::from_unix_millis(date_time_ymd(year, 1, 1).unix_timestamp() * 1000)
    }

    #[test]
    fn both_ways_of_writing_a_time_are_read() {
        for (from, until) in [(1975, 2049), (2025, 2026), (2049, 2050), (2050, 2051), (1999, 9999)] {
            let lifetime = Lifetime::of(&certificate(from, until)).expect("a certificate");
            assert_eq!(lifetime, Lifetime { begins: year(from), ends: year(until) });
        }
    }

    #[test]
    fn what_is_cut_short_is_no_certificate() {
        let whole = certificate(2025, 2026);
        for length in 0..whole.len() {
            assert_eq!(Lifetime::of(whole.get(..length).expect("shorter")), None, "{length} bytes");
        }
        assert_eq!(Lifetime::of(b"\x30\x80\x00\x00"), None, "DER has no indefinite lengths");
    }

    #[test]
    fn the_end_is_near_in_its_last_fifth_and_at_most_a_week_before() {
        let hours = |hours: i64| Time::from_unix_millis(hours * 3_600_000);
        let short = Lifetime { begins: hours(0), ends: hours(10) };
        assert!(!short.is_near_its_end(hours(7)));
        assert!(short.is_near_its_end(hours(9)));
        assert!(short.is_near_its_end(hours(11)));
        let long = Lifetime { begins: hours(0), ends: hours(24 * 365) };
        assert!(!long.is_near_its_end(hours(24 * 357)));
        assert!(long.is_near_its_end(hours(24 * 359)));
    }
}
