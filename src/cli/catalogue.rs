//! `consentd catalogue …`: a catalogue before it is published.

mod check;
mod diff;
mod from_fideslang;
mod schema;

use std::io::Read as _;
use std::path::Path;

use clap::Subcommand;

use super::{Failure, Outcome};

/// Look at a catalogue before it is published.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say everything that is wrong with a catalogue or doubtful about it, each with its line.
    ///
    /// Exit code 0: it can be published. 1: it cannot. 2: the file cannot be read.
    Check(check::Args),
    /// Say whose answers a catalogue would change, before it is published.
    ///
    /// Reads the ledger into a copy of its own, under a temporary folder, and asks for every subject on it every purpose
    /// over every channel, once of the catalogue in force and once of the new one. A sidecar that runs is not touched.
    ///
    /// Exit code 0: nothing that is denied would be allowed. 1: something would. 2: an error.
    Diff(Box<diff::Args>),
    /// Print the JSON Schema of a catalogue, for editors.
    Schema,
    /// Print a catalogue whose purposes are the data uses of a taxonomy of fideslang.
    ///
    /// Every purpose demands a consent of its own, unless another ground is given. Exit code 0: it can be published. 1:
    /// entries are no data uses, and nothing is printed. 2: the file cannot be read.
    FromFideslang(from_fideslang::Args),
}

/// Runs a verb.
pub(crate) fn run(args: Args) -> Outcome {
    match args.verb {
        Verb::Check(args) => check::run(&args),
        Verb::Diff(args) => diff::run(&args),
        Verb::Schema => schema::run(),
        Verb::FromFideslang(args) => from_fideslang::run(&args),
    }
}

/// The text of a file, or of standard input.
pub(super) fn read(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text))
    };
    read.map_err(|error| Failure::new(format!("{} cannot be read: {error}", name(file))))?;
    Ok(text)
}

/// A number of things.
fn counted(count: impl TryInto<u64>, one: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// What a file is called.
pub(super) fn name(file: &Path) -> String {
    if file == Path::new("-") { "standard input".to_owned() } else { format!("`{}`", file.display()) }
}
