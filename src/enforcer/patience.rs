//! How long a call may wait: what its caller's deadline leaves when the answer's way back is taken off.

use std::time::{Duration, Instant};

/// The part of a caller's deadline that may be spent waiting, for a token or for subjects: the rest is for the answer.
const DEADLINE_SHARE: (u32, u32) = (4, 5);

/// What a caller allows for the whole call, of which a part may be waited.
#[must_use]
pub fn waiting(allowed: Duration) -> Duration {
    let (part, whole) = DEADLINE_SHARE;
    allowed.saturating_mul(part).checked_div(whole).unwrap_or_default()
}

/// The same of a deadline, for a call that was taken up at some time; for ever without one.
#[must_use]
pub fn until(deadline: Option<Instant>, since: Instant) -> Duration {
    deadline.map_or(Duration::MAX, |deadline| waiting(deadline.saturating_duration_since(since)))
}

/// The time that a caller's `grpc-timeout` allows. Source: gRPC over HTTP/2, `Timeout`: at most eight digits and a unit.
#[must_use]
pub fn grpc_timeout(text: &str) -> Option<Duration> {
    let (unit_at, unit) = text.char_indices().next_back()?;
    let is_number = |digits: &&str| (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let digits = text.get(..unit_at).filter(is_number)?;
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

    #[test]
    fn a_fifth_is_left_for_the_way_back() {
        assert_eq!(waiting(Duration::from_millis(200)), Duration::from_millis(160));
        let now = Instant::now();
        assert_eq!(until(Some(now + Duration::from_secs(1)), now), Duration::from_millis(800));
        assert_eq!(until(Some(now), now + Duration::from_secs(1)), Duration::ZERO);
        assert_eq!(until(None, now), Duration::MAX);
    }
}
