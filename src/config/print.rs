//! The configuration in effect as TOML: each key under its meaning, its limits and the source of its value.

use std::fmt;

use super::Effective;
use super::problem::Origin;
use super::reader::Entry;
use super::sources::variable;

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# The configuration in effect. Order of sources: this file, environment, flags; the later wins.")?;
        // Keys without a section come first in TOML, whatever order they were declared in.
        let (bare, sectioned): (Vec<&Entry>, Vec<&Entry>) = self.0.iter().partition(|entry| !entry.key.contains('.'));
        let mut section = "";
        for entry in bare.into_iter().chain(sectioned) {
            let (own, name) = entry.key.rsplit_once('.').unwrap_or(("", entry.key));
            if own != section {
                section = own;
                writeln!(f, "\n[{section}]")?;
            }
            write_entry(f, entry, name)?;
        }
        Ok(())
    }
}

fn write_entry(f: &mut fmt::Formatter<'_>, entry: &Entry, name: &str) -> fmt::Result {
    writeln!(f, "\n# {}\n# {}. {}.", entry.meaning, capitalised(&entry.limits), variable(entry.key))?;
    if let Some(here) = &entry.here {
        writeln!(f, "# Here: {here}")?;
    }
    match (&entry.value, &entry.origin) {
        (Some(value), Origin::Default) => writeln!(f, "{name} = {value}"),
        (Some(value), origin) => writeln!(f, "# Set by: {origin}\n{name} = {value}"),
        (None, Origin::Default) => writeln!(f, "# Missing:\n# {name} ="),
        (None, origin) => writeln!(f, "# Wrong, set by: {origin}\n# {name} ="),
    }
}

pub(super) fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
