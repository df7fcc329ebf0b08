//! Clocks of places by their IANA names, as tables that the decision reads.
//!
//! Owns where the tables come from: the time zone database that is compiled in, so that a static binary on an empty root
//! knows the same clocks as any other, and a replay next year reads the table that the same build read. Must not know
//! what the tables are for.
//!
//! Invariants:
//! - A name has one table, made when it is first asked for and never again: it costs nothing where no catalogue and no
//!   question names a zone.
//! - Only names of the database are kept, however many others are asked for.

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::domain::{Time, Zone};

/// 2100-01-01T00:00:00Z, after which clocks are taken to stand still: no consent is asked about that lies further ahead.
const LAST_SECOND: i64 = 4_102_444_800;
/// How far apart two names may be to be taken for one another, from 0 (nothing in common) to 1.
const ALIKE_MIN: f64 = 0.7;

static BUNDLED: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

static TABLES: LazyLock<HashMap<String, OnceLock<Option<Zone>>>> = LazyLock::new(|| {
    let names = BUNDLED.available().map(|name| name.as_str().to_owned());
    names.filter(|name| is_place(name)).map(|name| (name, OnceLock::new())).collect()
});

/// The clock of an IANA name such as `Europe/Istanbul`, written as the database writes it; `None` for any other text.
/// Names of old (`Asia/Calcutta`) have the clock of the place they became.
#[must_use]
pub fn find(name: &str) -> Option<&'static Zone> {
    let (name, table) = TABLES.get_key_value(name)?;
    table.get_or_init(|| self::table(name)).as_ref()
}

/// The known name that is most like a text, for "did you mean".
#[must_use]
pub fn like(text: &str) -> Option<&'static str> {
    let wanted = text.to_ascii_lowercase();
    let alike = |name: &str| strsim::jaro_winkler(&name.to_ascii_lowercase(), &wanted);
    let scored = TABLES.keys().map(|name| (alike(name), name.as_str())).filter(|(score, _)| *score >= ALIKE_MIN);
    scored.max_by(|(a, x), (b, y)| a.total_cmp(b).then_with(|| y.cmp(x))).map(|(_, name)| name)
}

/// `Factory` is no place: it is what a machine has before anybody told it where it is.
fn is_place(name: &str) -> bool {
    name != "Factory"
}

fn table(name: &str) -> Option<Zone> {
    let zone = BUNDLED.get(name).ok()?;
    let before = offset_at(&zone, Timestamp::UNIX_EPOCH);
    let mut changes = Vec::new();
    let mut offset = before;
    for change in zone.following(Timestamp::UNIX_EPOCH) {
        if change.timestamp().as_second() >= LAST_SECOND {
            break;
        }
        // A change of nothing but the zone's abbreviation is none to a clock.
        if change.offset().seconds() != offset {
            offset = change.offset().seconds();
            changes.push((Time::from_unix_millis(change.timestamp().as_millisecond()), offset));
        }
    }
    Some(Zone::new(name, before, changes))
}

fn offset_at(zone: &TimeZone, time: Timestamp) -> i32 {
    zone.to_offset(time).seconds()
}

#[cfg(test)]
mod tests;
