//! Arguments in, exit code out. Each subcommand has a file of its own with its `Args` and its `run`.
//!
//! Exit codes: 0 done (for `ask`: ALLOW, for `health`: ready), 1 a negative answer (for `ask`: DENY, for `health`: not
//! ready), 2 an error, said in one sentence on standard error.

mod ask;
mod bench;
mod catalogue;
mod client;
mod config;
mod config_flags;
mod evidence;
mod explain;
mod health;
mod injector;
mod key_flags;
mod ledger;
mod local;
mod question;
mod quickstart;
mod report;
mod serve;

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::nats::with_causes;

/// May this subject's data be processed for this purpose, over this channel, now?
#[derive(Debug, Parser)]
#[command(name = "consentd", version, max_term_width = 110, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Quickstart(quickstart::Args),
    /// Answer questions until told to stop.
    Serve(Box<serve::Args>),
    /// Ask one question; exit with 0 for ALLOW, 1 for DENY.
    Ask(ask::Args),
    Explain(Box<explain::Args>),
    Health(health::Args),
    /// Check the configuration, or print what is in effect.
    Config(config::Args),
    Catalogue(catalogue::Args),
    Ledger(Box<ledger::Args>),
    Report(Box<report::Args>),
    Evidence(evidence::Evidence),
    Injector(Box<injector::Args>),
    Bench(Box<bench::Args>),
}

/// Why a command failed, as one sentence.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    /// A failure with its sentence.
    pub(crate) fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    /// The error and what caused it, joined by colons.
    fn from(error: E) -> Self {
        Self(with_causes(&error))
    }
}

/// Prints a line. What was done is done, also where nobody reads it to its end.
fn say(line: impl Display) {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => eprintln!("consentd: cannot print: {error}"),
        _ => {}
    }
}

/// How a command ended.
pub(crate) type Outcome = Result<ExitCode, Failure>;

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome: Outcome = match arguments.command {
        Command::Quickstart(args) => quickstart::run(&args),
        Command::Serve(args) => serve::run(*args),
        Command::Ask(args) => ask::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Health(args) => health::run(&args),
        Command::Config(args) => config::run(args),
        Command::Catalogue(args) => catalogue::run(args),
        Command::Ledger(args) => ledger::run(*args),
        Command::Report(args) => report::run(*args),
        Command::Evidence(args) => evidence::run(&args),
        Command::Injector(args) => injector::run(*args),
        Command::Bench(args) => bench::run(*args),
    };
    outcome.unwrap_or_else(|Failure(sentence)| {
        eprintln!("consentd: {sentence}");
        ExitCode::from(2)
    })
}
