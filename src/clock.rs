//! The one source of time. Wall time never goes back, and ages are measured on a clock that counts suspended time too.
//!
//! A wall clock set back would revive consents that have expired: the worst thing this software can do. So wall time is
//! carried forward from the greatest value seen by the boot clock, which nobody can set; a wall clock set forward is
//! believed at once, because that can only deny more.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::domain::Time;

/// A source of time; clones share it.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    System {
        /// Greatest known offset of wall time to the boot clock, in milliseconds.
        offset_ms: AtomicI64,
    },
    Manual {
        wall_ms: AtomicI64,
        boot_ms: AtomicU64,
    },
}

/// A point on the boot clock: time since the machine started, suspended time included. Only spans have a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct BootTime(u64);

impl BootTime {
    /// From milliseconds of the boot clock.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds of the boot clock.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// The span since an earlier point; zero if that one is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Clock {
    /// The machine's clocks.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Source::System { offset_ms: AtomicI64::new(i64::MIN) }))
    }

    /// A clock that stands still until it is moved, for tests.
    #[must_use]
    pub fn manual(wall: Time) -> Self {
        Self(Arc::new(Source::Manual { wall_ms: AtomicI64::new(wall.unix_millis()), boot_ms: AtomicU64::new(1) }))
    }

    /// Moves a manual clock forward; does nothing to the machine's.
    pub fn advance(&self, span: Duration) {
        if let Source::Manual { wall_ms, boot_ms } = &*self.0 {
            let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
            boot_ms.fetch_add(millis, Ordering::SeqCst);
            wall_ms.fetch_add(i64::try_from(millis).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }

    /// The wall time, which never goes back within a process.
    #[must_use]
    pub fn now(&self) -> Time {
        match &*self.0 {
            Source::System { offset_ms } => {
                let boot = read_millis(ClockId::Boottime);
                let offset = read_millis(ClockId::Realtime).saturating_sub(boot);
                let greatest = offset_ms.fetch_max(offset, Ordering::Relaxed).max(offset);
                Time::from_unix_millis(boot.saturating_add(greatest))
            }
            Source::Manual { wall_ms, .. } => Time::from_unix_millis(wall_ms.load(Ordering::SeqCst)),
        }
    }

    /// The wall time in nanoseconds since 1970, as the machine has it: for showing when something was, never for deciding.
    #[must_use]
    pub fn unix_nanos(&self) -> u64 {
        match &*self.0 {
            Source::System { .. } => {
                let time = clock_gettime(ClockId::Realtime);
                let nanos = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
                u64::try_from(nanos).unwrap_or(0)
            }
            Source::Manual { wall_ms, .. } => {
                u64::try_from(wall_ms.load(Ordering::SeqCst)).unwrap_or(0).saturating_mul(1_000_000)
            }
        }
    }

    /// The boot clock.
    #[must_use]
    pub fn boot(&self) -> BootTime {
        match &*self.0 {
            Source::System { .. } => BootTime(u64::try_from(read_millis(ClockId::Boottime)).unwrap_or(0)),
            Source::Manual { boot_ms, .. } => BootTime(boot_ms.load(Ordering::SeqCst)),
        }
    }
}

fn read_millis(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_does_not_go_back() {
        let clock = Clock::system();
        let first = clock.now();
        // As if the wall clock had once been an hour ahead and was then set back.
        let Source::System { offset_ms } = &*clock.0 else { panic!("a system clock") };
        offset_ms.fetch_add(3_600_000, Ordering::SeqCst);
        let ahead = clock.now();
        assert!(ahead.since(first) >= Duration::from_secs(3_599), "the greater offset holds");
        assert!(clock.now() >= ahead);
    }

    #[test]
    fn a_manual_clock_moves_both_clocks() {
        let clock = Clock::manual(Time::from_unix_millis(1000));
        let (wall, boot) = (clock.now(), clock.boot());
        clock.advance(Duration::from_secs(2));
        assert_eq!(clock.now().since(wall), Duration::from_secs(2));
        assert_eq!(clock.boot().since(boot), Duration::from_secs(2));
    }
}
