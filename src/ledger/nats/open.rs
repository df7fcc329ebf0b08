//! Opening the central ledger: the key, the connection, and whether this stream is one to rely on.

use std::io;
use std::path::{Path, PathBuf};

use async_nats::jetstream::{Context, context::ContextBuilder};

use super::{Config, SUBJECT_KEY_CHECK, kept_stream, ledger_id, subject_key_check};
use crate::ledger::{LedgerId, SubjectHasher, load_secret};
use crate::nats::{ConnectError, Fault, Seen, StreamError, connect};

/// A ledger that is there and can be relied on.
#[derive(Debug, Clone)]
pub struct Opened {
    /// For requests to its stream.
    pub context: Context,
    /// The stream as it was when it was looked at.
    pub seen: Seen,
    /// Which ledger it is.
    pub ledger: LedgerId,
    /// The names of its subjects.
    pub hasher: SubjectHasher,
}

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The subject key cannot be read.
    #[error(
        "the subject key `{}` cannot be read; copy it from where the ledger was made, or make a new ledger with \
         `consentd ledger init --make-subject-key`", path.display()
    )]
    Key {
        /// Its file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// There is no such stream, or nothing is known of it.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// It would lose or change what it acknowledges.
    #[error("the ledger `{stream}` cannot be relied on: {}", sentences(.faults))]
    Faults {
        /// The stream.
        stream: String,
        /// All that is wrong with it.
        faults: Vec<Fault>,
    },
    /// It was made under another subject key.
    #[error(
        "the ledger `{stream}` was made with another subject key than `{}`; copy the file from where it was made",
        path.display()
    )]
    OtherKey {
        /// The stream.
        stream: String,
        /// The file of the key that is not its own.
        path: PathBuf,
    },
    /// It does not say under which subject key it was made.
    #[error(
        "the stream `{stream}` was not made by `consentd ledger init`, which says in it which subject key is its own"
    )]
    NoKey {
        /// The stream.
        stream: String,
    },
}

/// Faults as one sentence.
fn sentences(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The names of subjects under the key in a file.
///
/// # Errors
/// If the file cannot be read, or is no key. It is never made here.
pub fn subject_key(path: &Path) -> Result<SubjectHasher, OpenError> {
    let secret = load_secret(path).map_err(|source| OpenError::Key { path: path.to_owned(), source })?;
    Ok(SubjectHasher::new(&secret))
}

/// Connects, and looks at the ledger's stream.
///
/// # Errors
/// If there is no connection or no stream, or the stream is of another key or loses what it acknowledges.
///
/// # Cancel safety
/// Nothing is left behind when it is dropped.
pub async fn open(config: &Config) -> Result<Opened, OpenError> {
    let hasher = subject_key(&config.subject_key_file)?;
    let client = connect(&config.connection).await?;
    let context = ContextBuilder::new().timeout(config.connection.request_timeout).build(client);
    let kept = kept_stream(&config.stream, &hasher);
    let seen = kept.look(&context).await?;
    let stream = || config.stream.clone();
    match seen.metadata(SUBJECT_KEY_CHECK) {
        None => return Err(OpenError::NoKey { stream: stream() }),
        Some(check) if check != subject_key_check(&hasher) => {
            return Err(OpenError::OtherKey { stream: stream(), path: config.subject_key_file.clone() });
        }
        Some(_) => {}
    }
    let faults = seen.faults(&kept);
    if !faults.is_empty() {
        return Err(OpenError::Faults { stream: stream(), faults });
    }
    Ok(Opened { context, ledger: ledger_id(&seen.info), seen, hasher })
}
