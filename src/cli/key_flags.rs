//! The flags by which a command that names a subject finds the keys of months of evidence.

use std::path::PathBuf;

use crate::evidence::KeyPlaces;

/// Where the keys of months are found besides the folder of the evidence.
#[derive(Debug, clap::Args)]
pub(super) struct KeyFlags {
    /// The evidence folder that has the months' keys, where that is another: keys never leave their sidecar.
    #[arg(long, value_name = "FOLDER", requires = "dir")]
    keys: Option<PathBuf>,
    /// The secret that sidecars share, `evidence.key_file`: with the salts that were collected it gives the months' keys.
    #[arg(long, value_name = "FILE", env = "CONSENTD_EVIDENCE_KEY_FILE")]
    key_file: Option<PathBuf>,
}

impl KeyFlags {
    /// The places.
    pub(super) fn places(&self) -> KeyPlaces {
        KeyPlaces { folder: self.keys.clone(), secret: self.key_file.clone() }
    }
}
