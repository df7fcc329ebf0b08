//! The deadline of a call of gRPC, as its headers have it.

use std::time::Duration;

/// The time that a caller gives a call, of a `grpc-timeout`. Source: gRPC over HTTP/2, `Timeout`: at most eight digits and
/// a unit.
#[must_use]
pub fn grpc_timeout(text: &str) -> Option<Duration> {
    let (unit_at, unit) = text.char_indices().next_back()?;
    let digits = text.get(..unit_at).filter(|digits| (1..=8).contains(&digits.len()))?;
    // The sign that `parse` takes is not one of the digits.
    digits.bytes().all(|digit| digit.is_ascii_digit()).then_some(())?;
    let value: u64 = digits.parse().ok()?;
    match unit {
        'H' => Some(Duration::from_hours(value)),
        'M' => Some(Duration::from_mins(value)),
        'S' => Some(Duration::from_secs(value)),
        'm' => Some(Duration::from_millis(value)),
        'u' => Some(Duration::from_micros(value)),
        'n' => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_read_as_grpc_writes_them() {
        assert_eq!(grpc_timeout("200m"), Some(Duration::from_millis(200)));
        assert_eq!(grpc_timeout("99999999H"), Some(Duration::from_hours(99_999_999)));
        for malformed in ["", "m", "1", "1x", "-1m", "+1m", "123456789m", "1 m"] {
            assert_eq!(grpc_timeout(malformed), None, "{malformed}");
        }
    }
}
