//! `consentd catalogue …`: a catalogue before it is published.

mod check;
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
    /// Print the JSON Schema of a catalogue, for editors.
    Schema,
}

/// Runs a verb.
pub(crate) fn run(args: Args) -> Outcome {
    match args.verb {
        Verb::Check(args) => check::run(&args),
        Verb::Schema => schema::run(),
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

/// What a file is called.
pub(super) fn name(file: &Path) -> String {
    if file == Path::new("-") { "standard input".to_owned() } else { format!("`{}`", file.display()) }
}
