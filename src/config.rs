//! The one typed configuration: a TOML file, then the environment, then flags, checked as a whole before anything starts.
//!
//! Owns the keys: their names, meanings, defaults, limits and where each value came from. Knows nothing of what the
//! values do; `app` hands each room its part. Reads its sources and nothing else: no path in it is opened, no address
//! bound.
//!
//! Invariants:
//! - A [`Config`] that exists has passed every check. All that is wrong is reported together, each with its key and its
//!   source; nothing wrong is replaced by a default.
//! - Every key is declared once, in [`keys`], with its meaning: file, environment, flags, checks and `config print`
//!   come from that one declaration.
//! - No key holds a secret, only paths to files that do, and values of unknown keys are never repeated.

mod callers;
pub mod keys;
mod print;
mod problem;
mod reader;
mod schema;
mod settled;
mod sources;
mod units;

pub use keys::{
    Admin, Authzen, CacheBytes, CentralLedger, Evidence, EvidenceStage, Ledger, LedgerKind, Log, LogFormat, NatsServer,
    PageAsks, Replica, ReplicaMode, Server, Ship, ShipKind, Telemetry, Workers,
};
pub use problem::{Origin, Problem, Problems};
pub use schema::schema;
pub use settled::Settled;
pub use sources::{CONFIG_BYTES_MAX, CONFIG_VARIABLE, ENVIRONMENT_PREFIX, Flag, Sources, TARGET_VARIABLE, variable};
pub use units::parse_duration;

use std::path::PathBuf;

use crate::access::Rule;
use crate::ext_authz::Mapping;
use reader::{Entry, Reader};
use sources::Settings;

/// The configuration of a sidecar.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The folder that everything the sidecar writes is in.
    pub data_dir: PathBuf,
    /// How questions reach it.
    pub server: Server,
    /// Who may ask; without any, whoever reaches a listener.
    pub callers: Vec<Rule>,
    /// How questions are understood that come as AuthZEN.
    pub authzen: Authzen,
    /// The local page: metrics and readiness.
    pub admin: Admin,
    /// What it follows.
    pub ledger: Ledger,
    /// Its copy of the ledger.
    pub replica: Replica,
    /// The record of its answers.
    pub evidence: Evidence,
    /// What it sends to a collector.
    pub telemetry: Telemetry,
    /// Where a check of Envoy says what it asks; `None` denies them all.
    pub ext_authz: Option<Mapping>,
    /// What it says about itself.
    pub log: Log,
}

/// A configuration that passed, and what is worth saying about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is allowed and yet deserves a second look; one sentence each, for the log.
    pub warnings: Vec<String>,
    effective: Effective,
}

impl Loaded {
    /// The configuration in effect, with what each value means and where it came from.
    #[must_use]
    pub const fn effective(&self) -> &Effective {
        &self.effective
    }
}

/// Every key with the value in effect. Its display is TOML that gives the same configuration when it is read as a file;
/// a value that is missing or wrong stands there as a comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective(Vec<Entry>);

/// A key with the value in effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InEffect<'a> {
    /// The key.
    pub key: &'static str,
    /// What it does.
    pub meaning: &'static str,
    /// The value as TOML; empty where it is missing or wrong.
    pub value: &'a str,
    /// What it comes to here, for people, where it is left to the machine.
    pub here: Option<&'a str>,
    /// What set it.
    pub origin: &'a Origin,
}

impl Effective {
    /// The same, with what it comes to on a machine beside what depends on it.
    #[must_use]
    pub fn settled(&self, settled: &Settled) -> Self {
        let mut entries = self.0.clone();
        for (key, here) in settled.shown() {
            for entry in entries.iter_mut().filter(|entry| entry.key == *key) {
                entry.here = Some(here.clone());
            }
        }
        Self(entries)
    }

    /// How many keys some source has set.
    #[must_use]
    pub fn count_set(&self) -> usize {
        self.0.iter().filter(|entry| entry.origin != Origin::Default).count()
    }

    /// All keys with their values, in the order of declaration.
    pub fn values(&self) -> impl Iterator<Item = InEffect<'_>> {
        self.0.iter().map(|entry| InEffect {
            key: entry.key,
            meaning: entry.meaning,
            value: entry.value.as_deref().unwrap_or_default(),
            here: entry.here.as_deref(),
            origin: &entry.origin,
        })
    }

    /// All keys and their environment variables, in the order of declaration.
    pub fn keys(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.0.iter().map(|entry| (entry.key, sources::variable(entry.key)))
    }
}

impl Config {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
        Self::examine(sources).1
    }

    /// Like [`load`](Self::load), and shows what is in effect also where something is wrong.
    pub fn examine(sources: &Sources) -> (Effective, Result<Loaded, Problems>) {
        let mut problems = Vec::new();
        let settings = Settings::gather(sources, &mut problems);
        let mut reader = Reader::new(settings, problems);
        let config = Self::read(&mut reader);
        let (entries, problems) = reader.finish();
        let effective = Effective(entries);
        let result = if problems.is_empty() {
            let warnings = config.warnings();
            Ok(Loaded { config, warnings, effective: effective.clone() })
        } else {
            Err(Problems(problems))
        };
        (effective, result)
    }

    /// Where a sidecar of these sources listens, for one who only wants to reach it: what else is wrong with them, such
    /// as a key that the sidecar was given as a flag, is not asked.
    ///
    /// # Errors
    /// What is wrong with the listeners, or if the file cannot be read.
    pub fn listeners(sources: &Sources) -> Result<(Server, Admin), Problems> {
        let mut problems = Vec::new();
        let settings = Settings::gather(sources, &mut problems);
        let mut reader = Reader::new(settings, problems);
        let Self { server, admin, .. } = Self::read(&mut reader);
        let (_, mut problems) = reader.finish();
        let is_theirs = |key: &str| key.starts_with("server.") || key.starts_with("admin.");
        problems.retain(|problem| problem.key.as_deref().is_none_or(is_theirs));
        if problems.is_empty() { Ok((server, admin)) } else { Err(Problems(problems)) }
    }
}

#[cfg(test)]
mod tests;
