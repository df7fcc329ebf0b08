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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_is_left_for_the_way_back() {
        assert_eq!(waiting(Duration::from_millis(200)), Duration::from_millis(160));
        let now = Instant::now();
        assert_eq!(until(Some(now + Duration::from_secs(1)), now), Duration::from_millis(800));
        assert_eq!(until(Some(now), now + Duration::from_secs(1)), Duration::ZERO);
        assert_eq!(until(None, now), Duration::MAX);
    }
}
