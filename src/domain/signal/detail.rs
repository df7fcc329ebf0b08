//! What exactly in a signal denied, in words for people.

use std::fmt;

use super::gpp::section_name;
use super::tcf::TcfFlaw;

/// What in a signal denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalDetail {
    /// The TCF string cannot be read.
    UnreadableTcf,
    /// The GPP string cannot be read.
    UnreadableGpp,
    /// The TCF string can be read and counts for nothing.
    Flawed(TcfFlaw),
    /// The catalogue gives the recipient no number in the Global Vendor List, so that no string can speak of it.
    NoVendor,
    /// The subject was not shown this vendor.
    NotDisclosed {
        /// The vendor.
        vendor: u16,
    },
    /// A special feature was not opted in.
    SpecialFeature {
        /// The feature.
        feature: u16,
    },
    /// A purpose of the framework is not permitted.
    Purpose {
        /// The purpose.
        purpose: u16,
        /// To whom; `None` is the publisher.
        vendor: Option<u16>,
        /// Why.
        why: Barred,
    },
    /// The GPP string has a section that nobody here can read.
    UnknownSection {
        /// The section.
        section: u16,
    },
    /// A section of the GPP string opts out.
    OptedOut {
        /// The section.
        section: u16,
        /// Of what.
        what: OptOut,
    },
}

/// Why a purpose of the framework is not permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barred {
    /// The purpose was not consented to.
    NoConsent,
    /// The vendor was not consented to.
    NoVendorConsent,
    /// The purpose's legitimate interest was not told, or was objected to.
    NoInterest,
    /// The vendor's legitimate interest was not told, or was objected to.
    NoVendorInterest,
    /// The publisher does not let the vendor.
    ByPublisher,
    /// The publisher lets the vendor by legitimate interest only.
    InterestRequired,
}

/// What a section opts out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptOut {
    /// The sale of data.
    Sale,
    /// The sharing of data.
    Sharing,
    /// Targeted advertising.
    TargetedAdvertising,
    /// Any processing of a known child's data.
    Child,
    /// A category of sensitive data, by its name.
    SensitiveData(&'static str),
    /// The Global Privacy Control is on.
    Gpc,
    /// The catalogue names a category of sensitive data that no section has.
    UnknownCategory,
}

impl fmt::Display for SignalDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnreadableTcf => f.write_str("the TCF string is damaged or of an unknown form"),
            Self::UnreadableGpp => f.write_str("the GPP string is damaged or of an unknown form"),
            Self::Flawed(flaw) => write!(f, "the TCF string counts for nothing: {flaw}"),
            Self::NoVendor => f.write_str("the catalogue gives the recipient no TCF vendor number"),
            Self::NotDisclosed { vendor } => write!(f, "the subject was not shown vendor {vendor}"),
            Self::SpecialFeature { feature } => write!(f, "special feature {feature} was not opted in"),
            Self::Purpose { purpose, vendor: Some(vendor), why } => {
                write!(f, "TCF purpose {purpose} is not permitted to vendor {vendor}: {why}")
            }
            Self::Purpose { purpose, vendor: None, why } => {
                write!(f, "TCF purpose {purpose} is not permitted to the publisher: {why}")
            }
            Self::UnknownSection { section } => {
                write!(f, "section {section} of the GPP string is not known to this version")
            }
            Self::OptedOut { section, what } => match section_name(*section) {
                Some(name) => write!(f, "section {name} of the GPP string: {what}"),
                None => write!(f, "section {section} of the GPP string: {what}"),
            },
        }
    }
}

impl fmt::Display for TcfFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotServiceSpecific => "it speaks for all services, which the framework has abolished",
            Self::PolicyReplaced => "it was made under policies that had been replaced",
            Self::NothingDisclosed => "it does not say which vendors were disclosed, as it must since 1 March 2026",
            Self::DatedAhead => "it is dated in the future",
        })
    }
}

impl fmt::Display for Barred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoConsent => "the purpose was not consented to",
            Self::NoVendorConsent => "the vendor was not consented to",
            Self::NoInterest => "the purpose's legitimate interest was not told, or was objected to",
            Self::NoVendorInterest => "the vendor's legitimate interest was not told, or was objected to",
            Self::ByPublisher => "the publisher does not allow it",
            Self::InterestRequired => "the publisher allows it by legitimate interest only",
        })
    }
}

impl fmt::Display for OptOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sale => f.write_str("the sale of data was opted out of, or could not be"),
            Self::Sharing => f.write_str("the sharing of data was opted out of, or could not be"),
            Self::TargetedAdvertising => f.write_str("targeted advertising was opted out of, or could not be"),
            Self::Child => f.write_str("the subject is a known child, and nobody has consented"),
            Self::SensitiveData(category) => write!(f, "`{category}` was opted out of, or not consented to"),
            Self::Gpc => f.write_str("the Global Privacy Control is on"),
            Self::UnknownCategory => f.write_str("the catalogue names a category of sensitive data that is not known"),
        }
    }
}
