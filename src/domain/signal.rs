//! What signals say that travel as strings. They are decoded elsewhere, and only ever narrow what is allowed.

use std::collections::BTreeSet;

/// What a TCF string says. Source: IAB Europe, Transparency and Consent String, version 2.3.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tcf {
    /// The framework's purposes that were consented to.
    pub purpose_consents: BTreeSet<u16>,
    /// The purposes whose legitimate interest was told and not objected to.
    pub purpose_interests: BTreeSet<u16>,
    /// The special features that were opted in.
    pub special_features: BTreeSet<u16>,
    /// The vendors that were consented to.
    pub vendor_consents: BTreeSet<u16>,
    /// The vendors whose legitimate interest was told and not objected to.
    pub vendor_interests: BTreeSet<u16>,
    /// The vendors that the subject was shown; `None` where the string does not say.
    pub disclosed_vendors: Option<BTreeSet<u16>>,
    /// What the publisher does not let vendors do.
    pub restrictions: Vec<TcfRestriction>,
}

/// What a publisher does not let some vendors do for one purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcfRestriction {
    /// The framework's purpose.
    pub purpose: u16,
    /// What they must not do.
    pub kind: TcfRestrictionKind,
    /// Whom it is about.
    pub vendors: BTreeSet<u16>,
}

/// Kinds of publisher restrictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcfRestrictionKind {
    /// The purpose is not allowed at all.
    NotAllowed,
    /// Only with consent.
    RequireConsent,
    /// Only by legitimate interest.
    RequireLegitimateInterest,
}

/// What a GPP string opts out of. Source: IAB Tech Lab, Global Privacy Platform.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gpp {
    /// The sections of the United States in it, national or a state's.
    pub sections: Vec<GppSection>,
}

/// One section of the United States: what was opted out of; `true` where the string says so.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GppSection {
    /// The section's number.
    pub id: u16,
    /// The sale of data.
    pub sale: bool,
    /// The sharing of data.
    pub sharing: bool,
    /// Targeted advertising.
    pub targeted_advertising: bool,
    /// Categories of sensitive data, by name, that were opted out of or not consented to.
    pub sensitive_data: BTreeSet<&'static str>,
    /// The Global Privacy Control of the browser.
    pub gpc: bool,
}
