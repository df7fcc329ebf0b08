//! Clocks of places: at which offset from UTC each stands, and when that changes. The tables come from elsewhere.

use super::time::Time;

/// A time zone by its IANA name, with every change of its offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    name: Box<str>,
    /// Seconds east of UTC before the first change.
    before: i32,
    /// When the offset changes, and to how many seconds east of UTC, by time.
    changes: Vec<(Time, i32)>,
}

/// A stretch of time in which a clock is not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) from: Time,
    pub(super) until: Time,
    pub(super) offset_ms: i64,
}

/// No clock is further from UTC: 26 hours, which is beyond what has ever been.
const OFFSET_MAX_MS: i64 = 26 * 3_600_000;

impl Zone {
    /// A zone from its offset before any change, and its changes, by time.
    #[must_use]
    pub fn new(name: &str, before: i32, changes: Vec<(Time, i32)>) -> Self {
        debug_assert!(changes.is_sorted(), "changes come by time");
        Self { name: name.into(), before, changes }
    }

    /// Its IANA name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The stretch of time around a time in which the clock is not changed.
    pub(super) fn stretch_at(&self, time: Time) -> Stretch {
        self.stretch(self.changes.partition_point(|(at, _)| *at <= time))
    }

    /// The stretch that ends at the change at this place.
    fn stretch(&self, place: usize) -> Stretch {
        let begins = place.checked_sub(1).and_then(|last| self.changes.get(last));
        Stretch {
            from: begins.map_or(Time::from_unix_millis(i64::MIN), |(at, _)| *at),
            until: self.changes.get(place).map_or(Time::MAX, |(at, _)| *at),
            offset_ms: i64::from(begins.map_or(self.before, |(_, offset)| *offset)) * 1000,
        }
    }

    /// The first time at which the clock reads this or later; where the reading is left out, the moment of the change.
    /// Readings are in milliseconds, as if they were UTC.
    pub(super) fn first_at(&self, reading: i64) -> Time {
        let near = Time::from_unix_millis(reading.saturating_sub(OFFSET_MAX_MS));
        let first = self.changes.partition_point(|(at, _)| *at <= near);
        let reached = |stretch: Stretch| {
            let time = Time::from_unix_millis(reading.saturating_sub(stretch.offset_ms)).max(stretch.from);
            (time < stretch.until || stretch.until == Time::MAX).then_some(time)
        };
        (first..=self.changes.len()).find_map(|place| reached(self.stretch(place))).unwrap_or(Time::MAX)
    }

    /// The first time from which on the clock reads this or later for good; where the reading comes twice, the second.
    pub(super) fn for_good_at(&self, reading: i64) -> Time {
        let far = Time::from_unix_millis(reading.saturating_add(OFFSET_MAX_MS));
        let last = self.changes.partition_point(|(at, _)| *at <= far);
        let left = |stretch: Stretch| {
            let time = Time::from_unix_millis(reading.saturating_sub(stretch.offset_ms)).min(stretch.until);
            (time > stretch.from).then_some(time)
        };
        (0..=last).rev().find_map(|place| left(self.stretch(place))).unwrap_or(Time::from_unix_millis(i64::MIN))
    }

    /// Seconds east of UTC at a time.
    #[must_use]
    pub fn offset_at(&self, time: Time) -> i32 {
        let later = self.changes.partition_point(|(at, _)| *at <= time);
        later.checked_sub(1).and_then(|last| self.changes.get(last)).map_or(self.before, |(_, offset)| *offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    /// An hour ahead, two from hour 100 to hour 200.
    fn zone() -> Zone {
        let at = |hour: i64, offset| (Time::from_unix_millis(hour * HOUR), offset);
        Zone::new("Test/Summer", 3600, vec![at(100, 7200), at(200, 3600)])
    }

    fn utc(hours: f64) -> Time {
        #[allow(clippy::cast_possible_truncation, reason = "quarters of hours")]
        Time::from_unix_millis((hours * 4.0) as i64 * HOUR / 4)
    }

    #[test]
    fn a_reading_that_is_left_out_is_the_moment_of_the_change() {
        // The clock goes from 101:00 to 102:00.
        for reading in [101 * HOUR, 101 * HOUR + HOUR / 2, 102 * HOUR] {
            assert_eq!(zone().first_at(reading), utc(100.0));
            assert_eq!(zone().for_good_at(reading), utc(100.0));
        }
    }

    #[test]
    fn a_reading_that_comes_twice_begins_early_and_ends_late() {
        // The clock goes from 202:00 back to 201:00.
        let reading = 201 * HOUR + HOUR / 2;
        assert_eq!(zone().first_at(reading), utc(199.5));
        assert_eq!(zone().for_good_at(reading), utc(200.5));
    }

    #[test]
    fn any_other_reading_comes_once() {
        for reading in [5, 50, 100, 103, 150, 200, 203, 900] {
            assert_eq!(zone().first_at(reading * HOUR), zone().for_good_at(reading * HOUR));
        }
        for reading in [i64::MIN, i64::MAX] {
            assert!(zone().first_at(reading) <= zone().for_good_at(reading));
        }
    }
}
