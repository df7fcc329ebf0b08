//! The clock on this machine's wall.

use crate::domain::Zone;
use crate::zones;

/// The time zone of this machine: `TZ`, or else where `/etc/localtime` leads; `None`, which is UTC, where neither names a
/// place.
pub(super) fn zone() -> Option<&'static Zone> {
    let variable = std::env::var("TZ").ok().map(|name| name.trim_start_matches(':').to_owned());
    let named = variable.filter(|name| !name.is_empty()).or_else(|| {
        let link = std::fs::read_link("/etc/localtime").ok()?;
        Some(link.to_str()?.split_once("zoneinfo/")?.1.to_owned())
    });
    zones::find(&named?)
}
