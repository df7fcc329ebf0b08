//! Amounts, spans and times as people read them.

use std::time::Duration;

use chrono::DateTime;

use crate::domain::Time;
use crate::html::{grouped, percent};

/// So many of something, such as `1 purpose` and `3 purposes`.
pub(super) fn amount(count: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// An amount of bytes, to a tenth of its unit.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1 << 10 {
        return format!("{count} B");
    }
    let mut tenths = u128::from(count) * 10 / 1024;
    let mut unit = UNITS[0];
    for larger in UNITS.into_iter().skip(1) {
        if tenths < 10_240 {
            break;
        }
        (tenths, unit) = (tenths / 1024, larger);
    }
    let (whole, tenth) = (tenths / 10, tenths % 10);
    if tenth == 0 { format!("{whole} {unit}") } else { format!("{whole}.{tenth} {unit}") }
}

/// A span of time, in the largest unit that leaves it readable.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        // Never known.
        _ if span == Duration::MAX => "unknown".to_owned(),
        0 => format!("{} ms", span.as_millis()),
        1..60 => format!("{:.1} s", span.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// A part of a whole; a dash where there is no whole.
pub(super) fn share(part: u64, whole: u64) -> String {
    if whole == 0 { "–".to_owned() } else { percent(as_f64(part) / as_f64(whole)) }
}

/// The time of day, in UTC.
pub(super) fn clock_time(at: Time, with_seconds: bool) -> String {
    let format = if with_seconds { "%H:%M:%S" } else { "%H:%M" };
    DateTime::from_timestamp_millis(at.unix_millis()).map_or_else(String::new, |at| at.format(format).to_string())
}

#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(super) const fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short_and_say_their_unit() {
        let shown = [0, 1023, 1024, 1536, 67_108_864, 5_368_709_120, u64::MAX].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1 KiB", "1.5 KiB", "64 MiB", "5 GiB", "16777215.9 TiB"]);
        assert_eq!(
            [0, 1, 1000].map(|count| amount(count, "purpose")),
            ["0 purposes", "1 purpose", "1\u{202f}000 purposes"]
        );
        assert_eq!([share(0, 0), share(0, 3), share(1, 3)], ["–", "0.0 %", "33.3 %"]);
    }

    #[test]
    fn spans_are_in_units_that_can_be_read() {
        for (millis, shown) in
            [(7, "7 ms"), (1_250, "1.2 s"), (61_000, "1 min 1 s"), (7_260_000, "2 h 1 min"), (90_000_000, "1 d 1 h")]
        {
            assert_eq!(span(Duration::from_millis(millis)), shown);
        }
        assert_eq!(span(Duration::MAX), "unknown");
    }
}
