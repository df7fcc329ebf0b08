//! TCF strings. Source: IAB Europe and IAB Tech Lab, Consent string and vendor list formats, versions 2.2 and 2.3.

use super::bits::Bits;
use super::{STRING_BYTES_MAX, Unreadable};
use crate::domain::Time;
use crate::domain::signal::{PublisherTc, Tcf, TcfRestriction, TcfRestrictionKind, Vendors};

/// The version of the encoding.
const VERSION: u64 = 2;

/// Segments behind the core, by their types.
const DISCLOSED_VENDORS: u64 = 1;
const ALLOWED_VENDORS: u64 = 2;
const PUBLISHER_TC: u64 = 3;

/// Reads a TCF string.
///
/// # Errors
/// If any part of it cannot be read.
pub fn read(text: &str) -> Result<Tcf, Unreadable> {
    if text.len() > STRING_BYTES_MAX {
        return Err(Unreadable::TooLong);
    }
    let mut segments = text.split('.');
    let mut tcf = read_core(segments.next().unwrap_or_default())?;
    let mut allowed_vendors = None;
    for segment in segments {
        let mut bits = Bits::new(segment)?;
        let once = match bits.take(3)? {
            DISCLOSED_VENDORS => tcf.disclosed_vendors.replace(bits.vendors()?).is_none(),
            // Whom the publisher lets act outside this string: abolished, and read for its form only.
            ALLOWED_VENDORS => allowed_vendors.replace(bits.vendors()?).is_none(),
            PUBLISHER_TC => tcf.publisher.replace(read_publisher(&mut bits)?).is_none(),
            _ => false,
        };
        if !once {
            return Err(Unreadable::Segment);
        }
        bits.end()?;
    }
    Ok(tcf)
}

fn read_core(segment: &str) -> Result<Tcf, Unreadable> {
    let mut bits = Bits::new(segment)?;
    if bits.take(6)? != VERSION {
        return Err(Unreadable::Version);
    }
    let created = time(&mut bits)?;
    let last_updated = time(&mut bits)?;
    let cmp = bits.number(12)?;
    let _cmp_version = bits.take(12)?;
    let _consent_screen = bits.take(6)?;
    let _consent_language = bits.letters()?;
    let vendor_list = bits.number(12)?;
    let policy = u8::try_from(bits.take(6)?).map_err(|_| Unreadable::Value)?;
    let service_specific = bits.flag()?;
    let _non_standard_texts = bits.flag()?;
    let tcf = Tcf {
        created,
        last_updated,
        cmp,
        vendor_list,
        policy,
        service_specific,
        special_features: bits.set(12)?,
        purpose_consents: bits.set(24)?,
        purpose_interests: bits.set(24)?,
        purpose_one_untold: bits.flag()?,
        publisher_country: bits.letters()?,
        vendor_consents: bits.vendors()?,
        vendor_interests: bits.vendors()?,
        restrictions: read_restrictions(&mut bits)?,
        disclosed_vendors: None,
        publisher: None,
    };
    bits.end()?;
    Ok(tcf)
}

/// A time in tenths of a second.
fn time(bits: &mut Bits<'_>) -> Result<Time, Unreadable> {
    let tenths = i64::try_from(bits.take(36)?).map_err(|_| Unreadable::Value)?;
    Ok(Time::from_unix_millis(tenths.saturating_mul(100)))
}

fn read_restrictions(bits: &mut Bits<'_>) -> Result<Vec<TcfRestriction>, Unreadable> {
    let count = bits.take(12)?;
    let mut restrictions = Vec::new();
    for _ in 0..count {
        let purpose = bits.number(6)?;
        let kind = match bits.take(2)? {
            0 => TcfRestrictionKind::NotAllowed,
            1 => TcfRestrictionKind::RequireConsent,
            2 => TcfRestrictionKind::RequireLegitimateInterest,
            _ => return Err(Unreadable::Value),
        };
        let vendors: Vendors = bits.ranges(u16::MAX)?;
        restrictions.push(TcfRestriction { purpose, kind, vendors });
    }
    Ok(restrictions)
}

fn read_publisher(bits: &mut Bits<'_>) -> Result<PublisherTc, Unreadable> {
    let consents = bits.set(24)?;
    let interests = bits.set(24)?;
    let custom = u32::from(bits.number(6)?);
    Ok(PublisherTc { consents, interests, custom_consents: bits.set(custom)?, custom_interests: bits.set(custom)? })
}
