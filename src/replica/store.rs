//! The projection in sled: a cache of the ledger that survives a restart and can be thrown away at any time.
//!
//! sled checks its own pages, but where one is damaged it may fall back to an older version of it without a word, and a
//! single stale page would be a lost withdrawal. So the store carries a proof of its own: every entry is summed into one
//! of [`BUCKETS`] buckets, the buckets are summed into the root, and the root lies in the same batch as position and
//! ledger. Opening checks the buckets against the root (a few milliseconds); a bucket's entries are checked when it is
//! first touched, or by [`Store::verify_all`] in the background, whichever comes first.
//!
//! ```text
//! key                          value (all framed as in `codec`, but for the buckets' sums)
//! r                            root: ledger, position, mark, key check, sum over the buckets
//! b <bucket: u16 BE>           the bucket's sum, 16 bytes LE, then CRC-32 of key and sum, u32 LE
//! c <version: u64 BE>          a catalogue
//! q <position: u64 BE>         a quarantined event
//! s <subject key: 16 bytes>    a subject's state
//! ```
//!
//! What sled does by panicking is caught and becomes an error; so is everything else, and any error means: set the
//! folder aside and rebuild.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use ring::digest;

use super::codec::{self, CodecError, Root, StoredQuarantine};
use super::texts::Texts;
use crate::domain::{Catalogue, SubjectKey, SubjectState, Time};

/// Subjects are spread over this many buckets by the first 12 bits of their key.
const SUBJECT_BUCKETS: usize = 4096;
/// The bucket of everything that is not a subject.
const OTHER_BUCKET: usize = SUBJECT_BUCKETS;
/// All buckets.
const BUCKETS: usize = SUBJECT_BUCKETS + 1;
/// Entries in one sled batch: measured with 400,000 subjects, 2,000 at once cost 1.4 GiB of memory, 64 cost 50 MiB.
const BATCH_ENTRIES: usize = 64;
/// sled looks at how much it keeps of its pages once it has counted 64 accesses in one of 256 parts of them, and until then
/// keeps all that was read: whatever its cache may take, some 40 MB with a hundred thousand subjects. So a page that was just
/// read is asked for so often again. Measured: 52 MB become 21, and look-ups take no longer.
const TOUCHES: usize = 3;
/// The entries after which a scan is in another page, at most: sled splits one of more than 16.
const PAGE_ENTRIES: usize = 8;
/// Quarantined events that are kept for people to look at; all are counted.
const QUARANTINE_KEPT: u64 = 1000;

const ROOT_KEY: &[u8] = b"r";

/// Why the store cannot be used. Whatever it is, the store is rebuilt.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum StoreError {
    #[error("sled: {0}")]
    Sled(#[from] sled::Error),
    #[error("sled panicked: {0}")]
    Panic(String),
    #[error("a stored value is damaged: {0}")]
    Codec(#[from] CodecError),
    #[error("the sums of the store do not match its content: {0}")]
    Sum(&'static str),
    #[error("the store was built under another key")]
    OtherKey,
    #[error("the store was built from another ledger")]
    OtherLedger,
    #[error("a lock of the store is poisoned")]
    Poisoned,
}

/// An open store.
pub(super) struct Store {
    db: sled::Db,
    /// Held while entries are written or a bucket is checked, so that a check never sees half a write.
    sums: Mutex<Sums>,
    /// Buckets whose entries were checked against their sum, or written from nothing, since opening.
    checked: Vec<AtomicBool>,
    texts: Texts,
}

/// The sums as they are in the store.
struct Sums {
    buckets: Vec<u128>,
    root: u128,
}

/// What is written in one go.
#[derive(Default)]
pub(super) struct Changes {
    /// What is new about subjects, each once; joined into what is stored.
    pub(super) states: Vec<(SubjectKey, SubjectState)>,
    /// New catalogues with their event times.
    pub(super) catalogues: Vec<(Catalogue, Time)>,
    /// New quarantined events, by position.
    pub(super) quarantined: Vec<(u64, StoredQuarantine)>,
}

impl Store {
    /// Opens the store in a folder and checks that its sums match its root. `None` where nothing was stored yet.
    ///
    /// # Errors
    /// If sled cannot open it, or anything in it is not what was written.
    pub(super) fn open(
        folder: &Path,
        cache_bytes: u64,
        key_check: [u8; 8],
    ) -> Result<(Self, Option<Root>), StoreError> {
        caught(|| {
            let db = sled::Config::new()
                .path(folder)
                .cache_capacity(cache_bytes)
                .mode(sled::Mode::LowSpace)
                .flush_every_ms(Some(1000))
                .open()?;
            let Some(value) = db.get(ROOT_KEY)? else {
                if !db.is_empty() {
                    return Err(StoreError::Sum("there are entries, but no root"));
                }
                let buckets = vec![0; BUCKETS];
                let sums = Sums { root: root_of(&buckets), buckets };
                let checked = (0..BUCKETS).map(|_| AtomicBool::new(true)).collect();
                return Ok((Self { db, sums: Mutex::new(sums), checked, texts: Texts::default() }, None));
            };
            let root = codec::decode_root(ROOT_KEY, &value)?;
            if root.key_check != key_check {
                return Err(StoreError::OtherKey);
            }
            let mut buckets = Vec::with_capacity(BUCKETS);
            for bucket in 0..BUCKETS {
                let key = bucket_key(bucket);
                buckets.push(db.get(key)?.map_or(Ok(0), |value| decode_sum(&key, &value))?);
            }
            let sum = root_of(&buckets);
            if root.sum != sum.to_le_bytes() {
                return Err(StoreError::Sum("buckets and root differ"));
            }
            let checked = (0..BUCKETS).map(|_| AtomicBool::new(false)).collect();
            let sums = Mutex::new(Sums { buckets, root: sum });
            Ok((Self { db, sums, checked, texts: Texts::default() }, Some(root)))
        })
    }

    /// A subject's own state; `None` where nothing is stored.
    ///
    /// # Errors
    /// If it, or anything in its bucket, is not what was written.
    pub(super) fn get(&self, key: SubjectKey) -> Result<Option<SubjectState>, StoreError> {
        caught(|| {
            self.check_bucket(subject_bucket(key))?;
            let stored = subject_entry(key);
            let value = self.db.get(stored)?;
            self.touch(&stored)?;
            Ok(value.map(|value| codec::decode_state(&stored, &value, &self.texts)).transpose()?)
        })
    }

    /// The subjects that something is stored of, in the order of their keys, behind one of them.
    ///
    /// # Errors
    /// If sled fails.
    pub(super) fn subjects_after(
        &self,
        after: Option<SubjectKey>,
        count_max: usize,
    ) -> Result<Vec<SubjectKey>, StoreError> {
        caught(|| {
            let from = after.map_or(Bound::Included(vec![b's']), |key| Bound::Excluded(subject_entry(key).to_vec()));
            let mut keys = Vec::new();
            for entry in self.db.range((from, Bound::Excluded(vec![b's' + 1]))).keys().take(count_max) {
                let key = entry?;
                let bytes = key.strip_prefix(b"s").and_then(|bytes| bytes.try_into().ok());
                keys.push(SubjectKey(bytes.ok_or(StoreError::Sum("a subject's key has another length"))?));
            }
            Ok(keys)
        })
    }

    /// The same state with its texts shared with all that are read from here.
    pub(super) fn share_texts(&self, state: &SubjectState) -> SubjectState {
        let mut parts = state.to_parts();
        self.texts.share(&mut parts);
        SubjectState::from_parts(parts)
    }

    /// Every catalogue stored, with its event time.
    ///
    /// # Errors
    /// If anything is not what was written.
    pub(super) fn catalogues(&self) -> Result<Vec<(Catalogue, Time)>, StoreError> {
        caught(|| {
            self.check_bucket(OTHER_BUCKET)?;
            let mut all = Vec::new();
            for entry in self.db.scan_prefix(b"c") {
                let (key, value) = entry?;
                all.push(codec::decode_catalogue(&key, &value)?);
            }
            Ok(all)
        })
    }

    /// Joins changes into what is stored, then writes the root. Each sled batch carries sums and root for what it writes;
    /// all but the last leave position and mark as they were, so that a crash in between leaves a store that is sound
    /// and merely behind: events are idempotent.
    ///
    /// Gives the states as they are now, and fills in the sum and the count of the root.
    ///
    /// # Errors
    /// If sled fails, or what is replaced was damaged.
    pub(super) fn commit(
        &self,
        changes: Changes,
        before: &Root,
        after: &mut Root,
    ) -> Result<Vec<(SubjectKey, SubjectState)>, StoreError> {
        caught(|| {
            let mut entries: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
            for (catalogue, time) in &changes.catalogues {
                let key = numbered(b'c', catalogue.version());
                entries.insert(key.to_vec(), codec::encode_catalogue(&key, catalogue, *time));
            }
            for (kept, (position, entry)) in (before.quarantined..).zip(&changes.quarantined) {
                if kept < QUARANTINE_KEPT {
                    let key = numbered(b'q', *position);
                    entries.insert(key.to_vec(), codec::encode_quarantine(&key, entry));
                }
            }
            let mut states = changes.states;
            // Neighbours in the tree share pages: in order, a big commit costs half.
            states.sort_unstable_by_key(|(key, _)| *key);
            if !entries.is_empty() {
                self.check_bucket(OTHER_BUCKET)?;
            }
            let touched: BTreeSet<usize> = states.iter().map(|(key, _)| subject_bucket(*key)).collect();
            for bucket in touched {
                self.check_bucket(bucket)?;
            }

            let mut root = before.clone();
            let mut entries = entries.into_iter().peekable();
            let mut rest = states.as_mut_slice();
            loop {
                let mut writing = Writing::new(self, &root)?;
                for (key, value) in entries.by_ref().take(BATCH_ENTRIES) {
                    writing.put(&key, OTHER_BUCKET, &value)?;
                }
                // INVARIANT: one entry a key, or the sums would count the replaced value twice.
                let (now, later) = rest.split_at_mut(rest.len().min(BATCH_ENTRIES));
                for (key, state) in now {
                    writing.join(*key, state)?;
                }
                rest = later;
                let last = rest.is_empty() && entries.peek().is_none();
                if last {
                    root = after.clone();
                }
                writing.finish(&mut root)?;
                if last {
                    *after = root;
                    return Ok(states);
                }
            }
        })
    }

    /// Checks every bucket that was not checked yet. Stops early, without an error, once `stop` says so.
    ///
    /// # Errors
    /// If a bucket's entries are not what was written.
    pub(super) fn verify_all(&self, stop: &dyn Fn() -> bool) -> Result<(), StoreError> {
        caught(|| {
            for bucket in 0..BUCKETS {
                if stop() {
                    return Ok(());
                }
                self.check_bucket(bucket)?;
            }
            Ok(())
        })
    }

    /// Hands what is buffered to the kernel. sled's flush is no fsync on Linux, and need not be one here.
    ///
    /// # Errors
    /// If sled fails.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        caught(|| {
            self.db.flush()?;
            Ok(())
        })
    }

    /// Checks a bucket's entries against its sum, once.
    fn check_bucket(&self, bucket: usize) -> Result<(), StoreError> {
        let checked = self.checked.get(bucket).ok_or(StoreError::Sum("no such bucket"))?;
        if checked.load(Ordering::Acquire) {
            return Ok(());
        }
        let sums = self.lock()?;
        let mut sum = 0u128;
        let mut add = |entry: sled::Result<(sled::IVec, sled::IVec)>| -> Result<(), StoreError> {
            let (key, value) = entry?;
            sum = sum.wrapping_add(entry_sum(&key, &value));
            Ok(())
        };
        if bucket == OTHER_BUCKET {
            for entry in self.db.scan_prefix(b"c").chain(self.db.scan_prefix(b"q")) {
                add(entry)?;
            }
        } else {
            for (place, entry) in self.db.range(bucket_start(bucket)..bucket_start(bucket + 1)).enumerate() {
                if let (true, Ok((key, _))) = (place.is_multiple_of(PAGE_ENTRIES), &entry) {
                    self.touch(key)?;
                }
                add(entry)?;
            }
        }
        if sums.buckets.get(bucket) != Some(&sum) {
            return Err(StoreError::Sum("entries and bucket differ"));
        }
        checked.store(true, Ordering::Release);
        Ok(())
    }

    /// Has sled look at how much it keeps: see [`TOUCHES`].
    fn touch(&self, key: &[u8]) -> Result<(), StoreError> {
        for _ in 0..TOUCHES {
            self.db.get(key)?;
        }
        Ok(())
    }

    fn lock(&self) -> Result<MutexGuard<'_, Sums>, StoreError> {
        self.sums.lock().map_err(|_| StoreError::Poisoned)
    }
}

/// One sled batch that is being put together, with what it does to the sums. The sums are locked meanwhile.
struct Writing<'a> {
    store: &'a Store,
    sums: MutexGuard<'a, Sums>,
    batch: sled::Batch,
    /// What is added to each bucket's sum.
    changed: BTreeMap<usize, u128>,
    subjects: u64,
}

impl<'a> Writing<'a> {
    fn new(store: &'a Store, root: &Root) -> Result<Self, StoreError> {
        let (batch, changed) = (sled::Batch::default(), BTreeMap::new());
        Ok(Self { store, sums: store.lock()?, batch, changed, subjects: root.subjects })
    }

    /// Writes an entry as it is.
    fn put(&mut self, key: &[u8], bucket: usize, value: &[u8]) -> Result<(), StoreError> {
        let had = self.store.db.get(key)?;
        self.replace(key, bucket, had.as_deref(), value);
        Ok(())
    }

    /// Joins what is new about a subject into what is stored, and makes `state` the whole.
    fn join(&mut self, key: SubjectKey, state: &mut SubjectState) -> Result<(), StoreError> {
        let stored = subject_entry(key);
        let had = self.store.db.get(stored)?;
        self.store.touch(&stored)?;
        match &had {
            None => self.subjects += 1,
            Some(had) => state.join(codec::decode_state(&stored, had, &self.store.texts)?),
        }
        let value = codec::encode_state(&stored, state);
        // What was delivered before changes nothing.
        if had.as_deref() != Some(value.as_slice()) {
            self.replace(&stored, subject_bucket(key), had.as_deref(), &value);
        }
        Ok(())
    }

    fn replace(&mut self, key: &[u8], bucket: usize, had: Option<&[u8]>, value: &[u8]) {
        let delta = entry_sum(key, value).wrapping_sub(had.map_or(0, |had| entry_sum(key, had)));
        let sum = self.changed.entry(bucket).or_default();
        *sum = sum.wrapping_add(delta);
        self.batch.insert(key, value);
    }

    /// Writes the batch, with a root whose sum and count it fills in.
    fn finish(mut self, root: &mut Root) -> Result<(), StoreError> {
        let mut root_sum = self.sums.root;
        let mut new_sums = Vec::with_capacity(self.changed.len());
        for (bucket, delta) in self.changed {
            let old = self.sums.buckets.get(bucket).copied().unwrap_or_default();
            let new = old.wrapping_add(delta);
            root_sum = root_sum.wrapping_sub(bucket_sum(bucket, old)).wrapping_add(bucket_sum(bucket, new));
            let key = bucket_key(bucket);
            self.batch.insert(&key, encode_sum(&key, new));
            new_sums.push((bucket, new));
        }
        root.sum = root_sum.to_le_bytes().to_vec();
        root.subjects = self.subjects;
        self.batch.insert(ROOT_KEY, codec::encode_root(ROOT_KEY, root));
        self.store.db.apply_batch(self.batch)?;
        self.sums.root = root_sum;
        for (bucket, new) in new_sums {
            if let Some(sum) = self.sums.buckets.get_mut(bucket) {
                *sum = new;
            }
        }
        Ok(())
    }
}

/// Runs what touches sled; a panic in it becomes an error.
fn caught<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    // What the closure leaves behind after a panic is never used again: any error condemns the store.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("without a message");
        Err(StoreError::Panic(text.to_owned()))
    })
}

fn subject_entry(key: SubjectKey) -> [u8; 17] {
    let mut entry = [b's'; 17];
    for (to, from) in entry.iter_mut().skip(1).zip(key.0) {
        *to = from;
    }
    entry
}

fn numbered(prefix: u8, number: u64) -> [u8; 9] {
    let mut key = [prefix; 9];
    for (to, from) in key.iter_mut().skip(1).zip(number.to_be_bytes()) {
        *to = from;
    }
    key
}

/// The bucket of a subject: the first 12 bits of its key.
fn subject_bucket(key: SubjectKey) -> usize {
    let [first, second, ..] = key.0;
    (usize::from(first) << 4) | (usize::from(second) >> 4)
}

/// The least key of a subject bucket; of the one past the last, a key above all subjects.
fn bucket_start(bucket: usize) -> Vec<u8> {
    let Ok(bits) = u16::try_from(bucket << 4) else { return vec![b's' + 1] };
    let [first, second] = bits.to_be_bytes();
    vec![b's', first, second]
}

fn bucket_key(bucket: usize) -> [u8; 3] {
    let [first, second] = u16::try_from(bucket).unwrap_or(u16::MAX).to_be_bytes();
    [b'b', first, second]
}

fn encode_sum(key: &[u8], sum: u128) -> Vec<u8> {
    let mut value = sum.to_le_bytes().to_vec();
    value.extend_from_slice(&sum_checksum(key, &value).to_le_bytes());
    value
}

fn decode_sum(key: &[u8], value: &[u8]) -> Result<u128, StoreError> {
    let parts = value.split_first_chunk::<16>().and_then(|(sum, crc)| Some((sum, crc.first_chunk::<4>()?)));
    let (sum, crc) = parts.ok_or(StoreError::Sum("a bucket's sum is cut short"))?;
    if value.len() != 20 || u32::from_le_bytes(*crc) != sum_checksum(key, sum) {
        return Err(StoreError::Sum("a bucket's sum is damaged"));
    }
    Ok(u128::from_le_bytes(*sum))
}

fn sum_checksum(key: &[u8], sum: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key);
    crc.update(sum);
    crc.finalize()
}

/// What one entry adds to its bucket.
fn entry_sum(key: &[u8], value: &[u8]) -> u128 {
    let mut context = digest::Context::new(&digest::SHA256);
    // Keys of one kind have one length, and the first byte tells the kind: no two (key, value) run together.
    context.update(key);
    context.update(value);
    first_16(context.finish().as_ref())
}

/// What one bucket adds to the root.
fn bucket_sum(bucket: usize, sum: u128) -> u128 {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&bucket_key(bucket));
    context.update(&sum.to_le_bytes());
    first_16(context.finish().as_ref())
}

fn root_of(buckets: &[u128]) -> u128 {
    buckets.iter().enumerate().fold(0, |root, (bucket, sum)| root.wrapping_add(bucket_sum(bucket, *sum)))
}

fn first_16(bytes: &[u8]) -> u128 {
    bytes.first_chunk::<16>().map_or(0, |chunk| u128::from_le_bytes(*chunk))
}

#[cfg(test)]
mod tests;
