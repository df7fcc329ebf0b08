//! How long loads took: counts in buckets of a quarter of a power of two, so that a time is told to a fifth.

use std::time::Duration;

/// Buckets: four for each power of two of microseconds, up to more than an hour.
const BUCKETS: usize = 4 * 32;

/// How long something took, since the start.
#[derive(Debug)]
pub(super) struct Took([u64; BUCKETS]);

impl Default for Took {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl Took {
    /// Counts one.
    pub(super) fn count(&mut self, span: Duration) {
        let micros = u32::try_from(span.as_micros()).unwrap_or(u32::MAX);
        if let Some(count) = self.0.get_mut(bucket(micros)) {
            *count += 1;
        }
    }

    /// The time within which this many of 1000 took place; zero where there were none.
    pub(super) fn within(&self, per_mille: u64) -> Duration {
        let total: u64 = self.0.iter().sum();
        let wanted = (total * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (bucket, count) in self.0.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_micros(bound(bucket));
            }
        }
        Duration::ZERO
    }
}

/// The bucket of a time: its highest bit, and the two bits behind that.
fn bucket(micros: u32) -> usize {
    // Below four there are no two bits behind the highest: those times share buckets with nobody else.
    let power = micros.max(4).ilog2();
    let quarter = micros.max(4) >> (power - 2) & 3;
    usize::try_from(4 * power + quarter).unwrap_or(BUCKETS - 1)
}

/// The greatest time in a bucket, in microseconds.
fn bound(bucket: usize) -> u64 {
    let (power, quarter) = (bucket / 4, bucket as u64 % 4);
    ((5 + quarter) << power >> 2).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_within_its_bound_and_near_it() {
        for micros in (4..5000).chain([65_535, 65_536, 1_000_000, u32::MAX]) {
            let bound = bound(bucket(micros));
            assert!(bound >= u64::from(micros) && bound <= u64::from(micros) * 5 / 4, "{micros}: {bound}");
        }
    }

    #[test]
    fn shares_are_told() {
        let mut took = Took::default();
        assert_eq!(took.within(500), Duration::ZERO);
        for micros in 1..=100 {
            took.count(Duration::from_micros(micros * 10));
        }
        let near = |span: Duration, micros: u64| {
            (micros..=micros * 5 / 4).contains(&u64::try_from(span.as_micros()).expect("short"))
        };
        assert!(near(took.within(500), 500), "{:?}", took.within(500));
        assert!(near(took.within(990), 990), "{:?}", took.within(990));
    }
}
