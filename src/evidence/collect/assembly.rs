//! Messages that wait: parts of a batch whose other parts have not come, and batches whose predecessors have not.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::evidence::batch::Incoming;
use crate::evidence::id::{Instance, YearMonth};

/// For how long a batch may come before the one that it follows: a sidecar sends what was not acknowledged again within
/// seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many batches may wait, over all instances; with more the oldest is no longer waited for. Half a gigabyte at most.
const WAITING_MAX: usize = 1024;

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// By what they are of, where they begin, and the message that brought them.
    early: BTreeMap<(Instance, YearMonth, u64, u64), Early>,
    parts: BTreeMap<Instance, Parts>,
}

/// A batch, and the message that brought it.
#[derive(Debug)]
pub(super) struct Early {
    pub(super) sequence: u64,
    pub(super) batch: Incoming,
    since: Instant,
}

#[derive(Debug)]
struct Parts {
    sequence: u64,
    pieces: BTreeMap<u32, Incoming>,
}

impl Waiting {
    /// Takes in a message; gives the batch that it completes.
    pub(super) fn assemble(&mut self, sequence: u64, message: Incoming) -> Option<Incoming> {
        if message.parts == 1 {
            return Some(message);
        }
        let instance = message.instance;
        let parts = self.parts.entry(instance).or_insert_with(|| Parts { sequence, pieces: BTreeMap::new() });
        if parts.pieces.values().next().is_some_and(|first| !message.is_part_of(first)) {
            // The other batch is sent again as a whole, or is missing and found to be so.
            *parts = Parts { sequence, pieces: BTreeMap::new() };
        }
        let wanted = usize::try_from(message.parts).unwrap_or(usize::MAX);
        parts.pieces.insert(message.part, message);
        if parts.pieces.len() < wanted {
            return None;
        }
        let mut pieces = self.parts.remove(&instance)?.pieces.into_values();
        let mut whole = pieces.next()?;
        pieces.for_each(|piece| whole.append(&piece));
        Some(whole)
    }

    /// Keeps a batch until what it follows is there.
    pub(super) fn keep(&mut self, sequence: u64, batch: Incoming) {
        let key = (batch.instance, batch.from.month, batch.from.index, sequence);
        self.early.insert(key, Early { sequence, batch, since: Instant::now() });
    }

    /// A batch of a month that begins at or before an index, and so can be taken now.
    pub(super) fn ready(&mut self, instance: Instance, month: YearMonth, index: u64) -> Option<Early> {
        let (key, _) = self.early.range((instance, month, 0, 0)..=(instance, month, index, u64::MAX)).next()?;
        let key = *key;
        self.early.remove(&key)
    }

    /// The first batch of the month whose batch has waited for longest, if that was too long or `all` are given up.
    pub(super) fn overdue(&mut self, all: bool) -> Option<Early> {
        let crowded = self.early.len() > WAITING_MAX;
        let is_over = |early: &&Early| all || crowded || early.since.elapsed() > PATIENCE;
        let oldest = self.early.values().filter(is_over).min_by_key(|early| early.since)?;
        let (instance, month) = (oldest.batch.instance, oldest.batch.from.month);
        self.ready(instance, month, u64::MAX)
    }

    /// The sequence from which the stream must be read again to come by all that waits.
    pub(super) fn first_sequence(&self) -> Option<u64> {
        let early = self.early.values().map(|early| early.sequence);
        early.chain(self.parts.values().map(|parts| parts.sequence)).min()
    }
}
