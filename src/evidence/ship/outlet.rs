//! What the answering path and the shipper know of each other: counts and two flags, no lock.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::domain::Time;

/// How much evidence waits to leave, and whether more is taken.
#[derive(Debug)]
pub(in crate::evidence) struct Outlet {
    bytes_max: u64,
    /// Bytes that had not been acknowledged when the log was opened.
    before: u64,
    /// Bytes acknowledged since.
    acknowledged: AtomicU64,
    full: AtomicBool,
    fault: OnceLock<String>,
    records: AtomicU64,
    sent_bytes: AtomicU64,
    /// When the oldest record that waits was answered, in milliseconds since 1970; `NOBODY` where none does.
    oldest_ms: AtomicI64,
    trouble: Mutex<Option<String>>,
    /// Bytes that the stream has and that are kept here; 0 where there is no bound on them.
    kept: AtomicU64,
    kept_max: Option<u64>,
    /// Why nothing could be removed when that was tried last.
    unremoved: Mutex<Option<String>>,
}

const NOBODY: i64 = i64::MIN;

/// How shipping stands, for readiness and metrics. The totals are of this process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shipping {
    /// Bytes of the log that the central stream has not acknowledged.
    pub unshipped_bytes: u64,
    /// How many of them there may be.
    pub unshipped_bytes_max: u64,
    /// Bytes of evidence that the central stream has and that are kept here, the tree's included; nothing where there is no
    /// bound on them.
    pub shipped_bytes: Option<u64>,
    /// How many of them are kept.
    pub shipped_bytes_max: Option<u64>,
    /// Records that the central stream has acknowledged.
    pub records: u64,
    /// Bytes of messages that it has acknowledged.
    pub sent_bytes: u64,
    /// How long ago the oldest record that waits was answered; zero where none does.
    pub oldest: Duration,
    /// Why nothing leaves now, in a sentence.
    pub trouble: Option<String>,
    /// Why no answer is allowed, in a sentence: the bound is reached, or the log is not the one that was shipped.
    pub withheld: Option<String>,
}

impl Outlet {
    pub(super) fn new(bytes_max: u64, before: u64, kept_max: Option<u64>) -> Self {
        Self {
            bytes_max,
            before,
            acknowledged: AtomicU64::new(0),
            full: AtomicBool::new(before >= bytes_max),
            fault: OnceLock::new(),
            records: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            oldest_ms: AtomicI64::new(NOBODY),
            trouble: Mutex::new(None),
            kept: AtomicU64::new(0),
            kept_max,
            unremoved: Mutex::new(None),
        }
    }

    /// Notes how many bytes are kept here that the stream has.
    pub(super) fn set_kept(&self, bytes: u64) {
        self.kept.store(bytes, Ordering::Relaxed);
        self.unremoved.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Notes why nothing can be removed; says whether that is new.
    pub(super) fn cannot_remove(&self, why: &str) -> bool {
        let mut unremoved = self.unremoved.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = unremoved.as_deref() != Some(why);
        *unremoved = Some(why.to_owned());
        is_new
    }

    /// Whether a record may be appended to a log that has written so many bytes since it was opened. Cheap, and never
    /// waits.
    pub(in crate::evidence) fn admits(&self, written: u64) -> bool {
        if self.fault.get().is_some() {
            return false;
        }
        let unshipped = self.unshipped(written);
        if self.full.load(Ordering::Relaxed) {
            return self.open_again(unshipped);
        }
        if unshipped < self.bytes_max {
            return true;
        }
        // The last acknowledgement may come right now: whoever comes next looks again.
        if !self.full.swap(true, Ordering::Relaxed) {
            tracing::error!(
                bytes_max = self.bytes_max,
                trouble = self.trouble().unwrap_or_default(),
                "too much evidence waits to be shipped; every answer is a DENY until it has left"
            );
        }
        false
    }

    fn unshipped(&self, written: u64) -> u64 {
        self.before.saturating_add(written).saturating_sub(self.acknowledged.load(Ordering::Relaxed))
    }

    /// A batch was acknowledged. `written` as in [`admits`](Self::admits).
    pub(super) fn acknowledge(&self, records: u64, log_bytes: u64, sent_bytes: u64, written: u64) {
        self.acknowledged.fetch_add(log_bytes, Ordering::Relaxed);
        self.records.fetch_add(records, Ordering::Relaxed);
        self.sent_bytes.fetch_add(sent_bytes, Ordering::Relaxed);
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.open_again(self.unshipped(written));
    }

    /// Takes evidence again if enough has left; says whether it has.
    fn open_again(&self, unshipped: u64) -> bool {
        let is_open = self.has_room(unshipped);
        if is_open && self.full.swap(false, Ordering::Relaxed) {
            tracing::info!("evidence has been shipped again; answers are no longer withheld");
        }
        is_open
    }

    /// Not at the bound itself, where it would open and close with every batch.
    const fn has_room(&self, unshipped: u64) -> bool {
        unshipped <= self.bytes_max - self.bytes_max / 8
    }

    /// Notes when the oldest record that waits was answered.
    pub(super) fn waits_since(&self, oldest_ms: Option<i64>) {
        self.oldest_ms.store(oldest_ms.unwrap_or(NOBODY), Ordering::Relaxed);
    }

    /// Whether it is known since when the oldest record waits.
    pub(super) fn knows_oldest(&self) -> bool {
        self.oldest_ms.load(Ordering::Relaxed) != NOBODY
    }

    /// Notes why nothing leaves; says whether that is new.
    pub(super) fn set_trouble(&self, why: &str) -> bool {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = trouble.as_deref() != Some(why);
        *trouble = Some(why.to_owned());
        is_new
    }

    /// Why nothing leaves now, if so.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The log is not the one that was shipped; this lasts until the process ends.
    pub(super) fn set_fault(&self, why: String) {
        tracing::error!(why, "the evidence log is not the one that was shipped; every answer is a DENY");
        let _ = self.fault.set(why);
    }

    /// How shipping stands.
    pub(in crate::evidence) fn shown(&self, written: u64, now: Time) -> Shipping {
        let unshipped_bytes = self.unshipped(written);
        let trouble = self.trouble();
        let oldest = match self.oldest_ms.load(Ordering::Relaxed) {
            NOBODY => Duration::ZERO,
            millis => now.since(Time::from_unix_millis(millis)),
        };
        let is_full = self.full.load(Ordering::Relaxed) && !self.has_room(unshipped_bytes);
        let full = is_full.then(|| {
            format!(
                "{unshipped_bytes} bytes of evidence have not been shipped, which reached \
                 evidence.max_unshipped_bytes ({}); {}; answers are allowed again by themselves once enough has left",
                self.bytes_max,
                trouble.as_deref().unwrap_or("it is leaving now"),
            )
        });
        let withheld = self.fault.get().cloned().or(full);
        Shipping {
            unshipped_bytes,
            unshipped_bytes_max: self.bytes_max,
            shipped_bytes: self.kept_max.map(|_| self.kept.load(Ordering::Relaxed)),
            shipped_bytes_max: self.kept_max,
            records: self.records.load(Ordering::Relaxed),
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            oldest,
            trouble,
            withheld,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_closes_at_the_bound_and_opens_below_it() {
        let outlet = Outlet::new(1000, 200, None);
        assert!(outlet.admits(799));
        assert!(!outlet.admits(800), "1000 bytes wait");
        let shown = outlet.shown(800, Time::from_unix_millis(0));
        assert_eq!(shown.unshipped_bytes, 1000);
        let why = shown.withheld.expect("it is full");
        assert!(why.contains("evidence.max_unshipped_bytes (1000)"), "{why}");
        outlet.acknowledge(1, 100, 10, 800);
        assert!(!outlet.admits(800), "a little room is not enough");
        outlet.acknowledge(1, 100, 10, 800);
        assert!(outlet.admits(800));
        assert_eq!(outlet.shown(800, Time::from_unix_millis(0)).withheld, None);
    }

    #[test]
    fn it_opens_again_also_where_the_last_acknowledgement_came_before_it_closed() {
        let outlet = Outlet::new(1000, 1000, None);
        outlet.acknowledge(1, 1000, 10, 0);
        // As one leaves it that had looked before that.
        outlet.full.store(true, Ordering::Relaxed);
        assert_eq!(outlet.shown(0, Time::from_unix_millis(0)).withheld, None);
        assert!(outlet.admits(0));
    }

    #[test]
    fn a_fault_lasts() {
        let outlet = Outlet::new(1000, 0, None);
        outlet.set_fault("it was rewound".to_owned());
        assert!(!outlet.admits(0));
        outlet.acknowledge(1, 0, 0, 0);
        assert!(!outlet.admits(0));
        assert_eq!(outlet.shown(0, Time::from_unix_millis(0)).withheld.as_deref(), Some("it was rewound"));
    }

    #[test]
    fn the_age_of_the_oldest_is_told() {
        let outlet = Outlet::new(1000, 0, None);
        assert_eq!(outlet.shown(0, Time::from_unix_millis(5000)).oldest, Duration::ZERO);
        outlet.waits_since(Some(2000));
        assert_eq!(outlet.shown(0, Time::from_unix_millis(5000)).oldest, Duration::from_secs(3));
        assert!(outlet.set_trouble("away"));
        assert!(!outlet.set_trouble("away"), "said once");
    }
}
