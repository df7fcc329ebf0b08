//! Spans of time and amounts of bytes as people write them: always with a unit.

use std::time::Duration;

/// Units of time, longest first, in milliseconds.
const TIME_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Units of size, in bytes. Decimal and binary ones are told apart, as in IEC 80000-13.
const SIZE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1000),
    ("B", 1),
];

/// Reads a span such as `250ms`, `1m30s` or `7d`: whole numbers with units, longer units first, each at most once.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let malformed = || format!("`{text}` is not a duration such as `250ms`, `2s`, `1m30s` or `7d`");
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("`{text}` has no unit, write `{text}ms`, `{text}s` or `{text}m`"));
    }
    let mut millis: u64 = 0;
    let mut units = TIME_UNITS.iter();
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = split_number(rest).ok_or_else(malformed)?;
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at_checked(letters).ok_or_else(malformed)?;
        // The iterator is not rewound, so that each unit must be shorter than the one before.
        let (_, factor) = units.find(|(name, _)| *name == unit).ok_or_else(malformed)?;
        millis = number
            .checked_mul(*factor)
            .and_then(|part| millis.checked_add(part))
            .ok_or_else(|| format!("`{text}` is too long"))?;
        rest = after;
    }
    if text.is_empty() { Err(malformed()) } else { Ok(Duration::from_millis(millis)) }
}

/// Writes a span as [`parse_duration`] reads it; what is below a millisecond is cut.
pub(super) fn format_duration(span: Duration) -> String {
    let mut rest = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, factor) in TIME_UNITS {
        if rest >= factor {
            text += &(rest / factor).to_string();
            text += unit;
            rest %= factor;
        }
    }
    text
}

/// Reads an amount of bytes such as `64MiB`, `10MB` or `512KiB`: a whole number with a unit.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let malformed = || format!("`{text}` is not a size such as `512KiB`, `64MiB` or `10MB`");
    let (number, unit) = split_number(text).ok_or_else(malformed)?;
    if unit.is_empty() {
        return Err(format!("`{text}` has no unit, write `{text}B`, `{text}KiB` or `{text}MiB`"));
    }
    let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(malformed)?;
    number.checked_mul(*factor).ok_or_else(|| format!("`{text}` is too large"))
}

/// Writes an amount of bytes as [`parse_size`] reads it, in the largest unit that divides it.
pub(super) fn format_size(bytes: u64) -> String {
    let unit = SIZE_UNITS.iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    let (name, factor) = unit.unwrap_or(&("B", 1));
    format!("{}{name}", bytes / factor)
}

/// The number that a text begins with, and what follows it.
fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_back() {
        for (text, millis) in [
            ("0s", 0),
            ("250ms", 250),
            ("2s", 2000),
            ("1m30s", 90_000),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
            ("1d1h1m1s1ms", 90_061_001),
        ] {
            let span = Duration::from_millis(millis);
            assert_eq!(parse_duration(text), Ok(span), "{text}");
            assert_eq!(format_duration(span), text);
        }
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
    }

    #[test]
    fn durations_without_a_unit_or_out_of_shape_are_refused() {
        assert_eq!(parse_duration("5"), Err("`5` has no unit, write `5ms`, `5s` or `5m`".to_owned()));
        for text in ["", "s", "1.5s", "-1s", "1 s", "1s1m", "1s1s", "1S", "1w", "1s ", "ı", "5sı", "1h30"] {
            assert!(parse_duration(text).is_err(), "`{text}` was taken");
        }
        assert_eq!(parse_duration("213503982335d"), Err("`213503982335d` is too long".to_owned()));
        assert!(parse_duration("99999999999999999999s").is_err());
    }

    #[test]
    fn sizes_are_read_and_written_back() {
        for (text, bytes) in
            [("0B", 0), ("1B", 1), ("512KiB", 524_288), ("64MiB", 67_108_864), ("10MB", 10_000_000), ("3GiB", 3 << 30)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
            assert_eq!(format_size(bytes), text);
        }
    }

    #[test]
    fn sizes_without_a_unit_or_out_of_shape_are_refused() {
        assert_eq!(parse_size("64"), Err("`64` has no unit, write `64B`, `64KiB` or `64MiB`".to_owned()));
        for text in ["", "MiB", "1.5MiB", "-1B", "1 MiB", "1mib", "1M", "1MiB2KiB"] {
            assert!(parse_size(text).is_err(), "`{text}` was taken");
        }
        assert_eq!(parse_size("99999999999GiB"), Err("`99999999999GiB` is too large".to_owned()));
    }
}
