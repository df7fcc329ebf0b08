//! Times and spans as protobuf has them.

use std::time::Duration;

use crate::domain::Time;

/// The longest span that protobuf allows, in seconds: 10,000 years.
const DURATION_SECONDS_MAX: u64 = 315_576_000_000;

/// A time as protobuf has it.
#[must_use]
pub fn timestamp(time: Time) -> pbjson_types::Timestamp {
    let millis = time.unix_millis();
    pbjson_types::Timestamp {
        seconds: millis.div_euclid(1000),
        nanos: i32::try_from(millis.rem_euclid(1000)).unwrap_or(0) * 1_000_000,
    }
}

/// A span as protobuf has it, cut at the longest it allows.
#[must_use]
pub fn duration(span: Duration) -> pbjson_types::Duration {
    let seconds = span.as_secs().min(DURATION_SECONDS_MAX);
    pbjson_types::Duration {
        seconds: i64::try_from(seconds).unwrap_or(i64::MAX),
        nanos: i32::try_from(span.subsec_nanos()).unwrap_or(0),
    }
}

/// A span that came over the wire; `None` if it is negative or malformed.
#[must_use]
pub fn span(duration: &pbjson_types::Duration) -> Option<Duration> {
    let nanos = u32::try_from(duration.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(duration.seconds).ok()?, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_round_down() {
        let time = timestamp(Time::from_unix_millis(-1));
        assert_eq!((time.seconds, time.nanos), (-1, 999_000_000));
    }

    #[test]
    fn spans_come_back_and_malformed_ones_do_not() {
        let long = Duration::from_millis(1_234_567);
        assert_eq!(span(&duration(long)), Some(long));
        assert_eq!(duration(Duration::MAX).seconds, 315_576_000_000);
        assert_eq!(span(&pbjson_types::Duration { seconds: -1, nanos: 0 }), None);
        assert_eq!(span(&pbjson_types::Duration { seconds: 0, nanos: -1 }), None);
        assert_eq!(span(&pbjson_types::Duration { seconds: 0, nanos: 1_000_000_000 }), None);
    }
}
