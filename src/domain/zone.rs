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

    /// Seconds east of UTC at a time.
    #[must_use]
    pub fn offset_at(&self, time: Time) -> i32 {
        let later = self.changes.partition_point(|(at, _)| *at <= time);
        later.checked_sub(1).and_then(|last| self.changes.get(last)).map_or(self.before, |(_, offset)| *offset)
    }
}
