//! `consentd config`: whether the configuration is right, what is in effect, and what it may be.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Subcommand;

use super::config_flags::ConfigFlags;
use super::{Outcome, say};
use crate::config::{Config, Problems, schema};
use crate::machine::Machine;

/// Check the configuration, or print what is in effect or possible.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say everything that is wrong; exit with 0 if nothing is, with 1 if something is.
    Check(ConfigFlags),
    /// Print every key with its meaning, its value in effect and where that came from, as a configuration file.
    Print(ConfigFlags),
    /// Print the JSON Schema (draft 2020-12) of a configuration file, or of whatever becomes one, such as values of a chart.
    Schema,
}

/// Runs the command.
pub(super) fn run(args: Args) -> Outcome {
    match args.command {
        Command::Check(flags) => {
            let (effective, result) = Config::examine(&flags.into_sources());
            let code = report(result.map(|loaded| loaded.warnings))?;
            if code == ExitCode::SUCCESS {
                let (set, all) = (effective.count_set(), effective.keys().count());
                writeln!(std::io::stdout(), "the configuration is valid: {set} of {all} keys are set")?;
            }
            Ok(code)
        }
        Command::Print(flags) => {
            let (effective, result) = Config::examine(&flags.into_sources());
            let settled = result.as_ref().ok().map(|loaded| loaded.config.settle(&Machine::look()));
            let shown = settled.as_ref().map_or(effective.clone(), |settled| effective.settled(settled));
            write!(std::io::stdout(), "{shown}")?;
            let of_machine = settled.map(|settled| settled.warnings).unwrap_or_default();
            report(result.map(|loaded| [loaded.warnings, of_machine].concat()))
        }
        Command::Schema => {
            say(format_args!("{:#}", schema()));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Writes problems or warnings to standard error.
fn report(result: Result<Vec<String>, Problems>) -> Outcome {
    let mut err = std::io::stderr().lock();
    match result {
        Ok(warnings) => {
            for warning in warnings {
                writeln!(err, "warning: {warning}")?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            writeln!(err, "{problems}")?;
            Ok(ExitCode::from(1))
        }
    }
}
