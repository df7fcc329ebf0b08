//! Where readers find the key of a month, and what is told where there is none.

use std::path::PathBuf;

use super::{Month, Salt, SharedSecret, load_instance};
use crate::evidence::archive::folder_of;
use crate::evidence::files::{Cause, Layout};
use crate::evidence::id::{Instance, YearMonth};

/// Where the keys of months are looked for besides the folder of the log.
#[derive(Debug, Clone, Default)]
pub struct KeyPlaces {
    /// Another evidence folder, or one into which that of many was collected.
    pub folder: Option<PathBuf>,
    /// The file of the shared secret, by which a salt becomes a key.
    pub secret: Option<PathBuf>,
}

/// Why a month's key is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoKey {
    /// There is neither a key nor a salt.
    #[error(
        "there is no key of {month} in `{}`: it was destroyed, or this folder was collected and the key is with its \
         sidecar; give the sidecar's evidence folder with --keys", .folder.display()
    )]
    Absent {
        /// The month.
        month: YearMonth,
        /// The evidence folder.
        folder: PathBuf,
    },
    /// There is a salt, and the secret that belongs to it was not given.
    #[error(
        "the key of {month} is made of `{}` and of the secret that its sidecars share; give the file of that secret with \
         --key-file", .salt.display()
    )]
    NoSecret {
        /// The month.
        month: YearMonth,
        /// The salt.
        salt: PathBuf,
    },
    /// It cannot be read, or the secret that was given is another than the month's.
    #[error(transparent)]
    Unusable(#[from] Cause),
}

impl KeyPlaces {
    /// An instance's month with its key.
    pub(in crate::evidence) fn month(
        &self,
        own: &Layout,
        instance: Instance,
        month: YearMonth,
        public: impl Fn() -> Result<[u8; 32], Cause>,
    ) -> Result<Month, NoKey> {
        let given = self.folder.as_ref().map(|folder| Layout::new(&folder_of(folder, instance)));
        let layouts = || given.iter().chain([own]);
        if let Some(given) = &given {
            match load_instance(given)? {
                Some(found) if found == instance => {}
                found => {
                    let whose = found.map_or_else(|| "no sidecar".to_owned(), |found| format!("the sidecar {found}"));
                    let what = format!("`{}` is the evidence of {whose}, and not of {instance}", given.dir().display());
                    return Err(Cause::new(what).into());
                }
            }
        }
        for layout in layouts() {
            if let Some(found) = Month::load(layout, month)? {
                return Ok(found);
            }
        }
        for layout in layouts().filter(|layout| layout.salt(month).exists()) {
            let Some(salt) = Salt::load(layout, instance, month, &public()?)? else { continue };
            let Some(secret) = &self.secret else {
                return Err(NoKey::NoSecret { month, salt: layout.salt(month) });
            };
            return Ok(Month::of_salt(layout, month, &salt, &SharedSecret::load(secret)?)?);
        }
        Err(NoKey::Absent { month, folder: own.dir().to_owned() })
    }
}
