//! Which catalogue is in force.

use std::sync::Arc;

use crate::domain::{Catalogue, Time};

/// The catalogue in force, with its event time.
#[derive(Debug, Default)]
pub(super) struct InForce(Option<(Arc<Catalogue>, Time)>);

impl InForce {
    /// The catalogue.
    pub(super) fn catalogue(&self) -> Option<Arc<Catalogue>> {
        self.0.as_ref().map(|(catalogue, _)| Arc::clone(catalogue))
    }

    /// The same, to be looked at.
    pub(super) fn known(&self) -> Option<&Catalogue> {
        self.0.as_ref().map(|(catalogue, _)| &**catalogue)
    }

    /// Takes a catalogue of the ledger; whether it is in force now. The greatest version decides, whatever order they
    /// come in; of one version published twice the later, and that is said aloud.
    pub(super) fn consider(&mut self, catalogue: &Catalogue, event_time: Time) -> bool {
        let version = catalogue.version();
        if let Some((have, time)) = &self.0 {
            if have.version() == version && **have != *catalogue {
                tracing::error!(version, "two different catalogues have one version; the later by event time counts");
            }
            if (version, event_time) <= (have.version(), *time) {
                return false;
            }
        }
        self.0 = Some((Arc::new(catalogue.clone()), event_time));
        true
    }
}
