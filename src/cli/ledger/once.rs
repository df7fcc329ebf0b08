//! Whether a catalogue is in the ledger already, for whoever publishes the same one again: a pipeline, a chart.

use std::time::Duration;

use super::place::Place;
use crate::cli::Failure;
use crate::domain::{Catalogue, Event, EventBody, Time};
use crate::ledger::file::{FileHistory, Needles};
use crate::ledger::nats::SubjectReader;
use crate::ledger::{Delivery, LedgerId, Token};

/// How long a server may take to tell all catalogues of a ledger, of which there are few.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// What publishing a catalogue once comes to.
#[derive(Debug)]
pub(super) enum Once {
    /// It is in force already, behind this token.
    There(Token),
    /// It is new.
    New,
}

/// A catalogue of the ledger.
struct Published {
    token: Token,
    time: Time,
    catalogue: Catalogue,
}

/// Looks whether the ledger has a catalogue.
///
/// # Errors
/// If another one of its version or a greater version is in force, so that it would never be, or the ledger cannot be read.
pub(super) fn look(place: &Place, catalogue: &Catalogue) -> Result<Once, Failure> {
    // As a replica has it: the greatest version is in force, and of one version the later by event time.
    let in_force = published(place)?.into_iter().max_by_key(|one| (one.catalogue.version(), one.time));
    let version = catalogue.version();
    match in_force {
        Some(one) if one.catalogue == *catalogue => Ok(Once::There(one.token)),
        Some(one) if one.catalogue.version() == version => Err(Failure::new(format!(
            "the ledger has another catalogue of version {version}, and nothing was written; give this one the version {}",
            version.saturating_add(1)
        ))),
        Some(one) if one.catalogue.version() > version => Err(Failure::new(format!(
            "version {} is in force: a catalogue of version {version} would not take its place, and nothing was written; \
             give it a greater one",
            one.catalogue.version()
        ))),
        Some(_) | None => Ok(Once::New),
    }
}

/// Every catalogue of a ledger that can be read.
fn published(place: &Place) -> Result<Vec<Published>, Failure> {
    let (ledger, deliveries) = match place {
        Place::File(path) if !path.exists() => return Ok(Vec::new()),
        Place::File(path) => {
            let Some(history) = FileHistory::open(path)? else { return Ok(Vec::new()) };
            let mut deliveries = Vec::new();
            history.read(Needles::of_subjects([]).as_ref(), || true, |delivery| deliveries.push(delivery))?;
            (history.ledger(), deliveries)
        }
        Place::Nats(config) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (_, beginning) = runtime.block_on(SubjectReader::begin(config, READ_WITHIN))?;
            (beginning.ledger, beginning.catalogues)
        }
    };
    Ok(deliveries.into_iter().filter_map(|delivery| of(ledger, delivery)).collect())
}

fn of(ledger: LedgerId, Delivery { position, event }: Delivery) -> Option<Published> {
    match event.ok()? {
        Event { body: EventBody::Catalogue(catalogue), event_time: time, .. } => {
            Some(Published { token: Token { ledger, position }, time, catalogue: *catalogue })
        }
        _ => None,
    }
}
