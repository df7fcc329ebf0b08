//! What may travel with a question, as far as the rules of two catalogues can tell it apart.
//!
//! A catalogue that looks less at signals allows more, and of that nothing is seen by questions that carry none. So for each
//! thing that a rule looks at there is a signal that says no to that one thing and yes to all others: where one catalogue
//! heeds it and the other does not, the answers differ.

use std::collections::BTreeSet;
use std::fmt;

use crate::domain::catalogue::Terms;
use crate::domain::signal::{Gpp, GppSection, SensitiveData, SmallSet, Tcf, Vendors};
use crate::domain::{Catalogue, Heard, Signals, Time};

/// The policy under which strings are made today. Source: IAB Europe, TCF Policies, version 5.
const TCF_POLICY: u8 = 5;
/// The national section of the Global Privacy Platform.
const US_NATIONAL: u16 = 7;

/// What travels with a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sent {
    /// Nothing.
    Nothing,
    /// `Sec-GPC: 1`.
    Gpc,
    /// A TCF string without consent to one of the framework's purposes.
    NoTcfConsent(u16),
    /// One with an objection to the legitimate interest of one of them.
    NoTcfInterest(u16),
    /// One without one of the framework's special features.
    NoTcfFeature(u16),
    /// One whose subject was shown no vendor.
    NoTcfVendor,
    /// A GPP string that opts out of one thing.
    GppOptOut(&'static str),
}

impl fmt::Display for Sent {
    /// What comes after "with".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Gpc => f.write_str("`Sec-GPC: 1`"),
            Self::NoTcfConsent(purpose) => write!(f, "a TCF string without consent to purpose {purpose}"),
            Self::NoTcfInterest(purpose) => {
                write!(f, "a TCF string that objects to the legitimate interest of purpose {purpose}")
            }
            Self::NoTcfFeature(feature) => write!(f, "a TCF string without special feature {feature}"),
            Self::NoTcfVendor => f.write_str("a TCF string that discloses no vendor"),
            Self::GppOptOut(what) => write!(f, "a GPP string that opts out of {what}"),
        }
    }
}

/// A signal, understood.
#[derive(Debug)]
pub(super) struct Signal {
    pub(super) sent: Sent,
    tcf: Option<Tcf>,
    gpp: Option<Gpp>,
}

impl Signal {
    /// As a question carries it.
    pub(super) fn signals(&self) -> (Signals<'_>, Heard<'_>) {
        // What a string says is at hand; that there is one is said by a text.
        let text = |is_sent: bool| if is_sent { "sent" } else { "" };
        let sec_gpc = if self.sent == Sent::Gpc { "1" } else { "" };
        let signals = Signals { sec_gpc, tcf: text(self.tcf.is_some()), gpp: text(self.gpp.is_some()) };
        (signals, Heard { tcf: self.tcf.as_ref(), gpp: self.gpp.as_ref() })
    }

    /// No signal at all.
    pub(super) const fn nothing() -> Self {
        Self { sent: Sent::Nothing, tcf: None, gpp: None }
    }

    /// A signal for each thing that a rule of these catalogues looks at.
    pub(super) fn all<'c>(catalogues: impl Iterator<Item = &'c Catalogue>, now: Time) -> Vec<Self> {
        let mut all = BTreeSet::new();
        for catalogue in catalogues {
            for purpose in catalogue.purposes() {
                let regional = purpose.regional.iter().map(|rule| &rule.terms);
                std::iter::once(&purpose.terms).chain(regional).for_each(|terms| all.extend(looked_at(terms)));
            }
        }
        all.into_iter().map(|sent| Self::of(sent, now)).collect()
    }

    fn of(sent: Sent, now: Time) -> Self {
        let mut tcf = yes_to_all(now);
        let but = |number: u16| SmallSet::from_bits(!(1_u64.checked_shl(u32::from(number) - 1).unwrap_or(0)));
        let (tcf, gpp) = match sent {
            Sent::Nothing | Sent::Gpc => (None, None),
            Sent::NoTcfConsent(purpose) => {
                tcf.purpose_consents = but(purpose);
                (Some(tcf), None)
            }
            Sent::NoTcfInterest(purpose) => {
                tcf.purpose_interests = but(purpose);
                (Some(tcf), None)
            }
            Sent::NoTcfFeature(feature) => {
                tcf.special_features = but(feature);
                (Some(tcf), None)
            }
            Sent::NoTcfVendor => {
                tcf.disclosed_vendors = Some(Vendors::default());
                (Some(tcf), None)
            }
            Sent::GppOptOut(what) => {
                let section = GppSection {
                    id: US_NATIONAL,
                    sale: what == SALE,
                    sharing: what == SHARING,
                    targeted_advertising: what == TARGETED_ADVERTISING,
                    child: what == CHILD,
                    sensitive_data: SensitiveData::category(what).unwrap_or(SensitiveData::NONE),
                    gpc: what == GPC,
                };
                (None, Some(Gpp { sections: vec![section], ..Gpp::default() }))
            }
        };
        Self { sent, tcf, gpp }
    }
}

const SALE: &str = "the sale of data";
const SHARING: &str = "the sharing of data";
const TARGETED_ADVERTISING: &str = "targeted advertising";
const CHILD: &str = "everything, for a known child";
const GPC: &str = "what the Global Privacy Control is about";

/// Everything that terms look at.
fn looked_at(terms: &Terms) -> Vec<Sent> {
    let mut all = Vec::new();
    if terms.honours_gpc {
        all.push(Sent::Gpc);
    }
    if let Some(rule) = &terms.tcf {
        all.push(Sent::NoTcfVendor);
        all.extend(rule.purposes.iter().flat_map(|number| [Sent::NoTcfConsent(*number), Sent::NoTcfInterest(*number)]));
        all.extend(rule.special_features.iter().copied().map(Sent::NoTcfFeature));
    }
    if let Some(rule) = &terms.gpp {
        all.push(Sent::GppOptOut(CHILD));
        let flags = [
            (rule.sale, SALE),
            (rule.sharing, SHARING),
            (rule.targeted_advertising, TARGETED_ADVERTISING),
            (rule.gpc, GPC),
        ];
        all.extend(flags.into_iter().filter_map(|(is_looked_at, what)| is_looked_at.then_some(Sent::GppOptOut(what))));
        let named = |name: &&&'static str| rule.sensitive_data.iter().any(|own| **own == ***name);
        all.extend(SensitiveData::NAMES.iter().filter(named).map(|name| Sent::GppOptOut(name)));
    }
    all
}

/// A string of now that permits everything to everybody.
fn yes_to_all(now: Time) -> Tcf {
    let (all, everybody) = (SmallSet::from_bits(u64::MAX), Vendors::from_ranges(vec![(1, u16::MAX)]));
    Tcf {
        created: now,
        last_updated: now,
        policy: TCF_POLICY,
        service_specific: true,
        special_features: all,
        purpose_consents: all,
        purpose_interests: all,
        vendor_consents: everybody.clone(),
        vendor_interests: everybody.clone(),
        disclosed_vendors: Some(everybody),
        ..Tcf::default()
    }
}
