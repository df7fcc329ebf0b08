//! `consentd catalogue schema`.

use std::process::ExitCode;

use crate::cli::{Outcome, say};
use crate::document::schema;

pub(super) fn run() -> Outcome {
    say(serde_json::to_string_pretty(&schema())?);
    Ok(ExitCode::SUCCESS)
}
