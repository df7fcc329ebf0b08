//! Which ledger the verbs speak to: a file, or a stream on NATS.

use std::path::{Path, PathBuf};

use crate::cli::Failure;
use crate::ledger::LedgerWriter;
use crate::ledger::file::FileLedger;
use crate::ledger::nats::{self, DEFAULT_STREAM, NatsWriter};
use crate::nats::{Config, Tls};

/// Where the ledger is, and how its servers are spoken to.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Which ledger")]
pub(in crate::cli) struct PlaceArgs {
    /// The ledger: a file's path (writing creates it; its folder must be there), or the servers of a central one,
    /// `nats://host:4222,…` or `tls://…` [env: `CONSENTD_LEDGER_URL`, or else `CONSENTD_LEDGER_FILE`]
    #[arg(long, global = true, value_name = "PATH|URL")]
    ledger: Option<String>,
    /// On NATS: the stream.
    #[arg(long, global = true, env = "CONSENTD_LEDGER_STREAM", default_value = DEFAULT_STREAM, value_name = "NAME")]
    stream: String,
    /// On NATS: the file of the subject key, the same for all writers and sidecars.
    #[arg(long, global = true, env = "CONSENTD_LEDGER_SUBJECT_KEY_FILE", value_name = "FILE")]
    subject_key: Option<PathBuf>,
    /// On NATS: a file that says who writes: credentials (`.creds`), the seed of an nkey, `user:password`, or a token.
    #[arg(long, global = true, env = "CONSENTD_LEDGER_CREDS_FILE", value_name = "FILE")]
    nats_creds: Option<PathBuf>,
    /// On NATS: the certificates of the authorities that the servers' may be signed by, in PEM.
    #[arg(long, global = true, env = "CONSENTD_LEDGER_TLS_CA_FILE", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// On NATS: this client's certificate, in PEM.
    #[arg(long, global = true, env = "CONSENTD_LEDGER_TLS_CERT_FILE", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// On NATS: its key, in PEM.
    #[arg(long, global = true, env = "CONSENTD_LEDGER_TLS_KEY_FILE", value_name = "FILE")]
    tls_key: Option<PathBuf>,
}

/// A ledger.
#[derive(Debug)]
pub(in crate::cli) enum Place {
    File(PathBuf),
    Nats(nats::Config),
}

/// A ledger, open for writing.
#[derive(Debug)]
pub(in crate::cli) enum Opened {
    File(FileLedger),
    Nats(Box<NatsWriter>),
}

impl PlaceArgs {
    /// As other flags say it: the ledger, the stream, the subject key, who reads, and the files of TLS.
    pub(in crate::cli) fn new(
        ledger: Option<String>,
        stream: Option<String>,
        subject_key: Option<PathBuf>,
        nats_creds: Option<PathBuf>,
        [tls_ca, tls_cert, tls_key]: [Option<PathBuf>; 3],
    ) -> Self {
        let stream = stream.unwrap_or_else(|| DEFAULT_STREAM.to_owned());
        Self { ledger, stream, subject_key, nats_creds, tls_ca, tls_cert, tls_key }
    }

    /// Which ledger the arguments and the environment name.
    pub(in crate::cli) fn place(&self) -> Result<Place, Failure> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let named = self.ledger.clone().or_else(|| variable("CONSENTD_LEDGER_URL"));
        let named = named.or_else(|| variable("CONSENTD_LEDGER_FILE")).ok_or_else(|| {
            Failure::new("which ledger? give `--ledger PATH` or `--ledger nats://HOST`, or set CONSENTD_LEDGER_FILE")
        })?;
        if !named.contains("://") {
            return Ok(Place::File(named.into()));
        }
        let subject_key_file = self.subject_key.clone().ok_or_else(|| {
            Failure::new(
                "a ledger on NATS needs its subject key; give `--subject-key FILE`, the same as every sidecar's",
            )
        })?;
        let mut connection = Config::new(named.parse()?);
        connection.credentials.clone_from(&self.nats_creds);
        let (ca, cert, key) = (self.tls_ca.clone(), self.tls_cert.clone(), self.tls_key.clone());
        connection.tls = Tls { ca, cert, key };
        "consentd ledger".clone_into(&mut connection.name);
        Ok(Place::Nats(nats::Config { connection, stream: self.stream.clone(), subject_key_file }))
    }
}

impl PlaceArgs {
    /// The file of the subject key, where one is given.
    pub(in crate::cli) fn subject_key(&self) -> Option<&Path> {
        self.subject_key.as_deref()
    }
}

impl Place {
    /// The ledger's file, if it is one.
    pub(in crate::cli) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Nats(_) => None,
        }
    }

    /// Opens the ledger for writing, and says so when that made it.
    pub(in crate::cli) fn open(&self) -> Result<Opened, Failure> {
        match self {
            Self::File(path) => {
                let ledger = FileLedger::open(path)?;
                if ledger.is_new() {
                    eprintln!("created the ledger `{}`", path.display());
                }
                Ok(Opened::File(ledger))
            }
            Self::Nats(config) => Ok(Opened::Nats(Box::new(NatsWriter::open(config)?))),
        }
    }
}

impl Opened {
    /// What is written with.
    pub(in crate::cli) fn writer(&mut self) -> &mut dyn LedgerWriter {
        match self {
            Self::File(ledger) => ledger,
            Self::Nats(ledger) => &mut **ledger,
        }
    }

    /// Says what another writer left in a file, once something was written behind it.
    pub(in crate::cli) fn warn_if_healed(&self) {
        if let Self::File(ledger) = self
            && ledger.healed()
        {
            eprintln!(
                "the ledger ended within a line, which a writer that died must have left; it was ended, and is shown by \
                 `consentd ledger tail`"
            );
        }
    }
}
