//! `consentd catalogue from-fideslang`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{name, read};
use crate::cli::{Failure, Outcome, say};
use crate::document::{Fideslang, FideslangError, Purposes, from_fideslang};
use crate::domain::LegalBasis;

/// Which taxonomy, and what it does not say.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The taxonomy in YAML or JSON, or `-` for standard input.
    file: PathBuf,
    /// The channels that the purposes use, such as `web` or `email,sms`.
    #[arg(long, value_name = "KEY", value_delimiter = ',', required = true)]
    channels: Vec<String>,
    /// The ground of every purpose, such as `consent`.
    #[arg(long, default_value = "consent", value_parser = parse_basis)]
    basis: LegalBasis,
    /// The catalogue's version; the greatest that was published decides.
    #[arg(long, default_value_t = 1)]
    version: u64,
    /// The catalogue's title.
    #[arg(long, default_value = "", hide_default_value = true)]
    title: String,
}

pub(super) fn run(args: &Args) -> Outcome {
    let besides = Purposes {
        version: args.version,
        title: args.title.clone(),
        legal_basis: args.basis,
        channels: args.channels.clone(),
    };
    match from_fideslang(&read(&args.file)?, &besides) {
        Ok(Fideslang { catalogue, left_out }) => {
            for left_out in left_out {
                eprintln!("left out `{}`: {}", left_out.key, left_out.why);
            }
            say(serde_json::to_string_pretty(&catalogue)?);
            Ok(ExitCode::SUCCESS)
        }
        Err(FideslangError::Entries(problems)) => {
            for problem in problems {
                eprintln!("{}: {problem}", name(&args.file));
            }
            Ok(ExitCode::from(1))
        }
        Err(error) => Err(Failure::new(format!("{}: {error}", name(&args.file)))),
    }
}

fn parse_basis(name: &str) -> Result<LegalBasis, String> {
    LegalBasis::from_name(name).ok_or_else(|| {
        let names: Vec<String> = LegalBasis::ALL.iter().map(|basis| basis.as_str().to_lowercase()).collect();
        format!("the legal bases are {}", names.join(", "))
    })
}
