//! The rules of which terms are made, each read from its message.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::Duration;

use super::place::Place;
use super::terms::texts;
use crate::domain::Zone;
use crate::domain::catalogue::{Acceptance, GppRule, MinorRule, MinorTreatment, QuietHours, TcfRule, UnknownAge};
use crate::domain::signal::SensitiveData;
use crate::ledger::codec::METHOD_BYTES_MAX;
use crate::ledger::codec::problem::Problems;
use crate::proto::v1;
use crate::zones;

/// The days of the week, Monday first, as a catalogue names them.
pub(super) const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A span that is longer than nothing.
pub(super) fn span(problems: &mut Problems, place: &Place<'_>, span: pbjson_types::Duration) -> Option<Duration> {
    // Another count of nanoseconds would have another text, and so another length when it is read back.
    let is_canonical = (0..1_000_000_000).contains(&span.nanos);
    let made = Duration::try_from(span).ok().filter(|span| is_canonical && !span.is_zero());
    if made.is_none() {
        problems.add(place.to_string(), "must be longer than zero");
    }
    made
}

pub(super) fn acceptance(problems: &mut Problems, place: &Place<'_>, rule: v1::Acceptance) -> Acceptance {
    let place = place.field("methods");
    for (index, method) in rule.methods.iter().enumerate() {
        name(problems, &place.at(index), method, METHOD_BYTES_MAX);
    }
    twice(problems, &place, &rule.methods);
    Acceptance { methods: texts(rule.methods), proof_required: rule.proof_required }
}

pub(super) fn minors(problems: &mut Problems, place: &Place<'_>, rule: v1::MinorRule) -> Option<MinorRule> {
    let under = u8::try_from(rule.under).ok();
    if under.is_none() {
        problems.add(place.field("under").to_string(), "is no age that anybody has had");
    }
    let treatment = match v1::MinorTreatment::try_from(rule.treatment) {
        Ok(v1::MinorTreatment::Deny) => Some(MinorTreatment::Deny),
        Ok(v1::MinorTreatment::Guardian) => Some(MinorTreatment::Guardian),
        Ok(v1::MinorTreatment::Unspecified) | Err(_) => {
            problems.add(place.field("treatment").to_string(), "missing, or not known to this version");
            None
        }
    };
    let unknown_age = match v1::UnknownAge::try_from(rule.unknown_age) {
        Ok(v1::UnknownAge::Unspecified | v1::UnknownAge::Deny) => Some(UnknownAge::Deny),
        Ok(v1::UnknownAge::Adult) => Some(UnknownAge::Adult),
        Err(_) => {
            problems.add(place.field("unknown_age").to_string(), "not known to this version");
            None
        }
    };
    Some(MinorRule { under: under?, treatment: treatment?, unknown_age: unknown_age? })
}

pub(super) fn quiet_hours(problems: &mut Problems, place: &Place<'_>, hours: v1::QuietHours) -> QuietHours {
    let days = days(problems, &place.field("days"), &hours.days);
    let zone = zone(problems, &place.field("time_zone"), &hours.time_zone);
    let from = minute(problems, &place.field("from"), &hours.from);
    let until = minute(problems, &place.field("until"), &hours.until);
    let (from, until) = (from.unwrap_or_default(), until.unwrap_or_default());
    QuietHours { channels: texts(hours.channels), from, until, days, zone }
}

/// The clock of an IANA name; empty is none.
pub(super) fn zone(problems: &mut Problems, place: &Place<'_>, name: &str) -> Option<&'static Zone> {
    if name.is_empty() {
        return None;
    }
    let zone = zones::find(name);
    if zone.is_none() {
        let meant = zones::like(name).unwrap_or("Europe/Istanbul");
        problems.add_value(place.to_string(), format!("must be an IANA time zone, such as `{meant}`"), name);
    }
    zone
}

pub(super) fn tcf(problems: &mut Problems, place: &Place<'_>, rule: v1::TcfRule) -> TcfRule {
    let mut numbers = |field, numbers: Vec<u32>| {
        twice(problems, &place.field(field), &numbers);
        // What is greater than any number of the framework stays so.
        numbers.into_iter().map(|number| u16::try_from(number).unwrap_or(u16::MAX)).collect()
    };
    TcfRule {
        purposes: numbers("purposes", rule.purposes),
        special_features: numbers("special_features", rule.special_features),
    }
}

pub(super) fn gpp(problems: &mut Problems, place: &Place<'_>, rule: v1::GppRule) -> GppRule {
    let place = place.field("sensitive_data");
    for (index, category) in rule.sensitive_data.iter().enumerate() {
        if category.is_empty() {
            problems.add(place.at(index).to_string(), "missing");
        } else if SensitiveData::category(category).is_none() {
            // Of one that no section has no string could speak, and the purpose would be denied by every string.
            let known = SensitiveData::NAMES.join("`, `");
            problems.add_value(place.at(index).to_string(), format!("must be one of `{known}`"), category);
        }
    }
    twice(problems, &place, &rule.sensitive_data);
    GppRule {
        sale: rule.sale,
        sharing: rule.sharing,
        targeted_advertising: rule.targeted_advertising,
        sensitive_data: texts(rule.sensitive_data),
        gpc: rule.gpc,
    }
}

/// A text that says something, within a length.
pub(super) fn name(problems: &mut Problems, place: &Place<'_>, text: &str, bytes_max: usize) {
    if text.is_empty() {
        problems.add(place.to_string(), "missing");
    } else if text.len() > bytes_max {
        problems.add(place.to_string(), format!("longer than {bytes_max} bytes"));
    } else if text.chars().any(char::is_control) {
        problems.add(place.to_string(), "control characters are not allowed");
    }
}

/// Notes elements of a list that stand in it before.
pub(super) fn twice<T: Ord + Display>(problems: &mut Problems, place: &Place<'_>, list: &[T]) {
    let mut before = BTreeSet::new();
    for (index, element) in list.iter().enumerate() {
        if !before.insert(element) {
            problems.add_value(place.at(index).to_string(), "must stand once in its list", &element.to_string());
        }
    }
}

fn days(problems: &mut Problems, place: &Place<'_>, names: &[String]) -> [bool; 7] {
    twice(problems, place, names);
    for (index, name) in names.iter().enumerate().filter(|(_, name)| !DAYS.contains(&name.as_str())) {
        problems.add_value(place.at(index).to_string(), format!("must be one of `{}`", DAYS.join("`, `")), name);
    }
    let is_meant = |day| names.is_empty() || names.iter().any(|name| name == day);
    let days = DAYS.map(is_meant);
    // Where no name is known that is the problem, not that there is no day.
    if days.contains(&true) { days } else { [true; 7] }
}

/// The minutes after midnight of a text such as `21:00`.
fn minute(problems: &mut Problems, place: &Place<'_>, text: &str) -> Option<u16> {
    let number = |digits: &str, below: u16| {
        let is_plain = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit());
        digits.parse::<u16>().ok().filter(|number| is_plain && *number < below)
    };
    let read = |(hour, minute)| Some(number(hour, 24)? * 60 + number(minute, 60)?);
    let minute = text.split_once(':').and_then(read);
    if minute.is_none() {
        problems.add_value(place.to_string(), "must be a time of day from `00:00` to `23:59`, such as `21:00`", text);
    }
    minute
}
