//! Times as people read them: by the clock on their wall, with its name.

use pbjson_types::Timestamp;

use super::words::Labels;
use crate::cli::local;
use crate::domain::{Time, Zone};

/// The clock that times are read from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clockface(Option<&'static Zone>);

impl Clockface {
    /// That of this machine.
    pub(super) fn of_machine() -> Self {
        Self(local::zone())
    }

    /// A time, such as `22 November 2026, 12:04:05 (Europe/Istanbul, UTC+03:00)`.
    pub(super) fn show(self, time: &Timestamp, labels: &Labels) -> String {
        let at = Time::from_unix_millis(time.seconds.saturating_mul(1000));
        let offset = self.0.map_or(0, |zone| zone.offset_at(at));
        let local = time.seconds.checked_add(i64::from(offset));
        let Some(local) = local.and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0)) else {
            return labels.never.to_owned();
        };
        let month = usize::try_from(chrono::Datelike::month0(&local)).ok().and_then(|month| labels.months.get(month));
        let date =
            format!("{} {} {}", chrono::Datelike::day(&local), month.unwrap_or(&""), chrono::Datelike::year(&local));
        let clock = local.format("%H:%M:%S");
        match self.0 {
            None => format!("{date}, {clock} UTC"),
            Some(zone) => format!("{date}, {clock} ({}, {})", zone.name(), utc(offset)),
        }
    }
}

/// An offset from UTC.
fn utc(seconds: i32) -> String {
    let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.abs() / 60);
    format!("UTC{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::explain::words::Language;
    use crate::zones;

    #[test]
    fn times_are_shown_by_the_clock_of_the_place_and_the_day() {
        let (en, tr) = (Labels::of(Language::En), Labels::of(Language::Tr));
        let at = |seconds| Timestamp { seconds, nanos: 0 };
        let istanbul = Clockface(zones::find("Europe/Istanbul"));
        assert_eq!(istanbul.show(&at(1_795_000_000), tr), "18 Kasım 2026, 14:06:40 (Europe/Istanbul, UTC+03:00)");
        let berlin = Clockface(zones::find("Europe/Berlin"));
        assert_eq!(berlin.show(&at(1_782_864_000), en), "1 July 2026, 02:00:00 (Europe/Berlin, UTC+02:00)");
        assert_eq!(berlin.show(&at(1_767_225_600), en), "1 January 2026, 01:00:00 (Europe/Berlin, UTC+01:00)");
        let newfoundland = Clockface(zones::find("America/St_Johns"));
        assert_eq!(newfoundland.show(&at(0), en), "31 December 1969, 20:30:00 (America/St_Johns, UTC-03:30)");
        assert_eq!(Clockface(zones::find("nowhere")).show(&at(0), en), "1 January 1970, 00:00:00 UTC");
        assert_eq!(istanbul.show(&at(i64::MAX), en), "out of range");
    }
}
