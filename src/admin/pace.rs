//! How much processor time the page's thread may take. Niceness is no bound under a quota of a control group, which counts every
//! thread alike: what pages take there is missing where answers are given. So whoever asks for pages without end waits.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

/// One part of a processor in so many, in the long run.
const SHARE: u32 = 20;
/// The processor time that may be taken at once, after a while without pages: some hundred of them.
const AT_ONCE: Duration = Duration::from_millis(100);

/// Whose turn it is, and what is left. To be used by one thread alone, whose processor time it looks at.
#[derive(Debug)]
pub(super) struct Pace(Mutex<Budget>);

/// What is left to take.
#[derive(Debug)]
struct Budget {
    /// When it was last looked at.
    at: Instant,
    /// The processor time that had been taken by then.
    taken: Duration,
    /// What may be taken at once.
    spare: Duration,
    /// What was taken beyond that.
    debt: Duration,
}

impl Pace {
    /// From now on, with all that may be taken at once.
    pub(super) fn new() -> Self {
        let budget = Budget { at: Instant::now(), taken: thread_time(), spare: AT_ONCE, debt: Duration::ZERO };
        Self(Mutex::new(budget))
    }

    /// Waits until something may be done. One goes after the other, in the order in which they came.
    ///
    /// # Cancel safety
    /// Whoever does not wait any more has had no turn.
    pub(super) async fn turn(&self) {
        let mut budget = self.0.lock().await;
        loop {
            let wait = budget.wait(Instant::now(), thread_time());
            if wait.is_zero() {
                return;
            }
            sleep(wait).await;
        }
    }
}

impl Budget {
    /// How long to wait, at a time at which the thread has taken so much.
    fn wait(&mut self, now: Instant, taken: Duration) -> Duration {
        let earned = self.spare + now.saturating_duration_since(self.at) / SHARE;
        let owed = self.debt + taken.saturating_sub(self.taken);
        (self.at, self.taken) = (now, taken);
        self.spare = earned.saturating_sub(owed).min(AT_ONCE);
        self.debt = owed.saturating_sub(earned);
        self.debt * SHARE
    }
}

/// The processor time that this thread has taken.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0));
    seconds + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn what_is_taken_beyond_the_share_is_waited_for() {
        let began = Instant::now();
        let mut budget = Budget { at: began, taken: ms(0), spare: AT_ONCE, debt: ms(0) };
        let mut wait = |after, taken| budget.wait(began + ms(after), ms(taken));
        assert_eq!(wait(0, 60), ms(0), "at once");
        assert_eq!(wait(0, 110), ms(200), "ten more than may be");
        assert_eq!(wait(100, 110), ms(100));
        assert_eq!(wait(200, 110), ms(0));
        assert_eq!(wait(200, 115), ms(100));
        assert_eq!(wait(3_600_000, 115), ms(0), "after an hour");
        assert_eq!(wait(3_600_000, 216), ms(20), "no more than at once was left of it");
    }

    #[tokio::test]
    async fn a_thread_that_never_rests_takes_its_share() {
        let pace = Pace::new();
        let (began, before) = (Instant::now(), thread_time());
        while began.elapsed() < ms(1500) {
            pace.turn().await;
            let turn = thread_time();
            while thread_time().saturating_sub(turn) < ms(5) {}
        }
        let (taken, most) = (thread_time().saturating_sub(before), AT_ONCE + began.elapsed() / SHARE + ms(20));
        assert!(taken > AT_ONCE && taken < most, "{taken:?} of {most:?}");
    }
}
