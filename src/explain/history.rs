//! Where the past is read from: the ledger, one subject at a time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::sync::{OnceCell, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout_at;

use crate::domain::Position;
use crate::ledger::file::{FileHistory, Needles};
use crate::ledger::nats::{self, Beginning, ReadError, SubjectReader};
use crate::ledger::{BATCH_EVENTS_MAX, LedgerId, SubjectHasher};
use crate::replica::{Past, TooMuch};

/// The ledger, to be looked into; clones share it. One subject is read at a time: a file is read from its beginning, and
/// answers are not to wait for that.
#[derive(Debug, Clone)]
pub struct History {
    ledger: Arc<Ledger>,
    turn: Arc<Semaphore>,
}

#[derive(Debug)]
enum Ledger {
    File(PathBuf),
    Nats {
        config: Box<nats::Config>,
        /// For single look-ups, so that not each of them connects.
        reader: Box<OnceCell<SubjectReader>>,
    },
}

/// What was read of one subject.
#[derive(Debug)]
pub struct Read {
    /// What was said of it.
    pub past: Past,
    /// Which ledger it is.
    pub ledger: LedgerId,
    /// How far it was read.
    pub end: Position,
    /// Up to where a state may have been ahead of the view that was asked about: what a follower applies at once.
    pub ahead: Position,
}

/// Why the ledger was not read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// It cannot be.
    #[error("the ledger cannot be read: {0}")]
    Unread(String),
    /// The time was over.
    #[error(
        "reading the ledger took longer than the call allows; allow more time, or use `consentd explain --evidence`"
    )]
    TooLate,
    /// It has more than is read for one question.
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
}

impl History {
    /// A file ledger.
    #[must_use]
    pub fn of_file(path: impl Into<PathBuf>) -> Self {
        Self::new(Ledger::File(path.into()))
    }

    /// A central ledger.
    #[must_use]
    pub fn of_nats(config: nats::Config) -> Self {
        Self::new(Ledger::Nats { config: Box::new(config), reader: Box::default() })
    }

    fn new(ledger: Ledger) -> Self {
        Self { ledger: Arc::new(ledger), turn: Arc::new(Semaphore::new(1)) }
    }

    /// All that the ledger says about a subject, given as `space:id`, and about those linked to it. `asked` is the
    /// position of a view that is asked about.
    ///
    /// # Errors
    /// If that cannot be read until then.
    ///
    /// # Cancel safety
    /// The reading of a file ends within a mebibyte after it is dropped.
    pub async fn read(&self, subject: &str, asked: Position, until: Instant) -> Result<Read, HistoryError> {
        let Ok(Ok(turn)) = timeout_at(until.into(), Arc::clone(&self.turn).acquire_owned()).await else {
            return Err(HistoryError::TooLate);
        };
        match &*self.ledger {
            Ledger::File(path) => {
                let gone = Gone::default();
                let (path, subject, flag) = (path.clone(), subject.to_owned(), Arc::clone(&gone.0));
                let goes_on = move || !flag.load(Ordering::Relaxed) && Instant::now() < until;
                let reading = spawn_blocking(move || {
                    // Held until the thread has ended, which may be a mebibyte after nobody waits for it any more.
                    let _turn = turn;
                    read_file(&path, &subject, asked, &goes_on)
                });
                let read = timeout_at(until.into(), reading).await.map_err(|_| HistoryError::TooLate)?;
                read.map_err(|error| HistoryError::Unread(error.to_string()))?
            }
            Ledger::Nats { config, .. } => {
                let reading = read_nats(config, subject, asked, until);
                timeout_at(until.into(), reading).await.map_err(|_| HistoryError::TooLate)?
            }
        }
    }

    /// Who wrote the event at a position, where the ledger says so and can be read until then.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub async fn source(&self, position: Position, until: Instant) -> Option<String> {
        match &*self.ledger {
            Ledger::File(path) => {
                let path = path.clone();
                let look = move || FileHistory::open(&path).ok()??.source(position).ok()?;
                timeout_at(until.into(), spawn_blocking(look)).await.ok()?.ok()?
            }
            Ledger::Nats { config, reader } => {
                let patience = until.saturating_duration_since(Instant::now());
                let begin = || async { SubjectReader::begin(config, patience).await.map(|(reader, _)| reader) };
                let looking = async { reader.get_or_try_init(begin).await.ok()?.source(position).await };
                timeout_at(until.into(), looking).await.ok()?
            }
        }
    }
}

/// Tells a thread that nobody waits for it any more.
#[derive(Debug, Default)]
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads a file until nobody is found any more who is linked: once for whoever is linked to nobody, and once more where
/// there are links.
fn read_file(path: &Path, subject: &str, asked: Position, goes_on: &impl Fn() -> bool) -> Result<Read, HistoryError> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::Interrupted => HistoryError::TooLate,
        _ => HistoryError::Unread(error.to_string()),
    };
    let file = FileHistory::open(path).map_err(failed)?;
    let file = file.ok_or_else(|| HistoryError::Unread("it is still empty".to_owned()))?;
    // Nothing of it is kept: any key will do.
    let mut past = Past::new(SubjectHasher::new(&[0; 32]), subject);
    while past.wanted().next().is_some() {
        let needles = Needles::of_subjects(past.wanted().map(|(_, text)| text));
        file.read(needles.as_ref(), goes_on, |delivery| past.take(delivery)).map_err(failed)?;
        past.end_pass()?;
    }
    let ahead = file.after_lines(asked, BATCH_EVENTS_MAX).map_err(failed)?;
    Ok(Read { past, ledger: file.ledger(), end: file.end(), ahead })
}

async fn read_nats(
    config: &nats::Config,
    subject: &str,
    asked: Position,
    until: Instant,
) -> Result<Read, HistoryError> {
    let unread = |error: &dyn std::error::Error| HistoryError::Unread(crate::nats::with_causes(error));
    let patience = until.saturating_duration_since(Instant::now());
    let (reader, beginning) = SubjectReader::begin(config, patience).await.map_err(|error| unread(&error))?;
    let Beginning { ledger, resume, catalogues } = beginning;
    let end = resume.map_or(Position(0), |resume| resume.place.position);
    let mut past = Past::new(reader.hasher().clone(), subject);
    for delivery in catalogues {
        past.take(delivery);
    }
    loop {
        let wanted: Vec<_> = past.wanted().map(|(key, _)| key).collect();
        if wanted.is_empty() {
            break;
        }
        for key in wanted {
            let deliveries = reader.subject(key, end, until.into()).await.map_err(|error| match error {
                ReadError::TooLate(_) => HistoryError::TooLate,
                ReadError::TooMuch => HistoryError::TooMuch(TooMuch),
                ReadError::Disconnected => unread(&error),
            })?;
            for delivery in deliveries {
                past.take(delivery);
            }
        }
        past.end_pass()?;
    }
    let ahead = Position(asked.0.saturating_add(BATCH_EVENTS_MAX as u64).min(end.0));
    Ok(Read { past, ledger, end, ahead })
}
