//! `consentd catalogue check`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{counted, read};
use crate::cli::{Outcome, say};
use crate::document::{Checked, Severity, check};

/// Which file, and how it is told.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The catalogue in JSON, or `-` for standard input.
    file: PathBuf,
    /// Take what is only doubtful for wrong.
    #[arg(long)]
    strict: bool,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let checked = check(&read(&args.file)?);
    let (errors, warnings) = (checked.count(Severity::Error), checked.count(Severity::Warning));
    let is_fine = errors == 0 && !(args.strict && warnings > 0);
    if args.json {
        say(serde_json::json!({
            "file": args.file.display().to_string(),
            "ok": is_fine,
            "errors": errors,
            "warnings": warnings,
            "findings": checked.findings,
        }));
    } else {
        for finding in &checked.findings {
            say(format_args!("{}:{finding}", args.file.display()));
        }
        say(summary(&checked, errors, warnings));
    }
    Ok(ExitCode::from(u8::from(!is_fine)))
}

/// The last line: what there is, or how much is wrong.
fn summary(checked: &Checked, errors: usize, warnings: usize) -> String {
    let found = format!("{}, {}", counted(errors, "error"), counted(warnings, "warning"));
    let Some((_, catalogue)) = &checked.catalogue else { return format!("{found}: it cannot be published") };
    let purposes = counted(catalogue.purposes().count(), "purpose");
    let channels = counted(catalogue.channels().count(), "channel");
    format!("{found}: version {}, {purposes}, {channels}", catalogue.version())
}
