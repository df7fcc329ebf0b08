//! A copy of a ledger for the length of one command.
//!
//! A sidecar's own copy cannot be read: its store is locked while it runs, and nothing of it may leave by another way than
//! an answer. A ledger can be read beside any sidecar, a file and a stream alike, and what is built of it is by
//! construction what every sidecar builds (P7).

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom as _, SystemRandom};

use crate::cli::Failure;
use crate::cli::ledger::{new_event_id, place::Place};
use crate::clock::Clock;
use crate::ledger::{SECRET_BYTES, file, load_secret, nats};
use crate::replica::{Config, Replica, Running, SourceFactory};

/// Memory for subjects that were just read.
const CACHE_BYTES: u64 = 8 << 20;
/// Memory for the store's pages.
const STORE_CACHE_BYTES: u64 = 64 << 20;

/// A copy of a ledger, in a folder that goes with it.
pub(super) struct LedgerCopy {
    replica: Replica,
    running: Running,
    folder: PathBuf,
}

impl LedgerCopy {
    /// Begins to read a ledger into a new folder in one that is there. Subjects are named under the key of a file, or under
    /// one that nobody else ever has.
    pub(super) fn start(place: Place, key_file: Option<&Path>, within: &Path, clock: &Clock) -> Result<Self, Failure> {
        let key_file = match &place {
            Place::Nats(config) => Some(config.subject_key_file.as_path()),
            Place::File(_) => key_file,
        };
        let secret = match key_file {
            Some(path) => load_secret(path).map_err(|error| {
                Failure::new(format!("the subject key `{}` cannot be read: {error}", path.display()))
            })?,
            None => random_secret()?,
        };
        if let Some(missing) = place.file().filter(|path| !path.exists()) {
            return Err(Failure::new(format!("there is no ledger at `{}`", missing.display())));
        }
        let folder = within.join(format!("consentd-diff-{}", new_event_id()?));
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map_err(|error| Failure::new(format!("the folder `{}` cannot be made: {error}", folder.display())))?;
        let config = Config {
            folder: folder.join("replica"),
            cache_bytes: CACHE_BYTES,
            store_cache_bytes: STORE_CACHE_BYTES,
            secret,
        };
        let (replica, running) = Replica::start(config, sources(place, clock.clone()), clock.clone())?;
        Ok(Self { replica, running, folder })
    }

    pub(super) const fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Ends it, and takes the folder away.
    pub(super) fn remove(self) {
        self.running.stop();
        drop(self.replica);
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("consentd: the folder `{}` is left behind: {error}", self.folder.display());
        }
    }
}

fn random_secret() -> Result<[u8; SECRET_BYTES], Failure> {
    let mut secret = [0; SECRET_BYTES];
    SystemRandom::new().fill(&mut secret).map_err(|_| Failure::new("the system gives no random numbers"))?;
    Ok(secret)
}

fn sources(place: Place, clock: Clock) -> SourceFactory {
    match place {
        Place::File(path) => {
            Box::new(move || Box::new(file::FileSource::new(file::Config::new(path.clone()), clock.clone())))
        }
        Place::Nats(mut config) => {
            "consentd catalogue diff".clone_into(&mut config.connection.name);
            Box::new(move || {
                Box::new(nats::NatsSource::new(config.clone(), nats::DEFAULT_FRESHNESS_INTERVAL, clock.clone()))
            })
        }
    }
}
