//! GPP strings. Source: IAB Tech Lab, Global Privacy Platform String, version 1.0.

use super::bits::Bits;
use super::{STRING_BYTES_MAX, Unreadable, sections, tcf};
use crate::domain::signal::Gpp;

/// What the header's first six bits say.
const HEADER: u64 = 3;
/// The version of the header.
const VERSION: u64 = 1;

/// Sections that are told apart here.
const TCF_EU_1: u16 = 1;
const TCF_EU_2: u16 = 2;
const TCF_CANADA: u16 = 5;

/// Reads a GPP string.
///
/// Every section of the European Union and of the United States is read, or the whole string is not. Sections of a
/// number that is not known are named in [`Gpp::unknown`].
///
/// # Errors
/// If any part of it cannot be read.
pub fn read(text: &str) -> Result<Gpp, Unreadable> {
    if text.len() > STRING_BYTES_MAX {
        return Err(Unreadable::TooLong);
    }
    let mut parts = text.split('~');
    let ids = read_header(parts.next().unwrap_or_default(), text)?;
    let mut gpp = Gpp::default();
    for id in ids {
        let section = parts.next().ok_or(Unreadable::Sections)?;
        if section.is_empty() {
            return Err(Unreadable::Empty);
        }
        match id {
            TCF_EU_2 => gpp.tcf = Some(Box::new(tcf::read(section)?)),
            // A framework that was replaced, and one of a country that nothing here is mapped to.
            TCF_EU_1 | TCF_CANADA => section.split('.').try_for_each(|segment| Bits::new(segment).map(drop))?,
            _ => match sections::read(id, section) {
                Some(read) => gpp.sections.push(read?),
                None => gpp.unknown.push(id),
            },
        }
    }
    if parts.next().is_some() {
        return Err(Unreadable::Sections);
    }
    Ok(gpp)
}

/// The sections that the header names, ascending, each once.
fn read_header(header: &str, text: &str) -> Result<Vec<u16>, Unreadable> {
    let mut bits = Bits::new(header)?;
    if bits.take(6)? != HEADER || bits.take(6)? != VERSION {
        return Err(Unreadable::Version);
    }
    let present = text.bytes().filter(|byte| *byte == b'~').count();
    let mut ids = Vec::new();
    let mut last = 0_u16;
    let entries = bits.take(12)?;
    for _ in 0..entries {
        let is_range = bits.flag()?;
        let first = last.checked_add(bits.fibonacci()?).ok_or(Unreadable::Range)?;
        last = if is_range { first.checked_add(bits.fibonacci()?).ok_or(Unreadable::Range)? } else { first };
        if ids.len() + usize::from(last - first) >= present {
            return Err(Unreadable::Sections);
        }
        ids.extend(first..=last);
    }
    bits.end()?;
    Ok(ids)
}
