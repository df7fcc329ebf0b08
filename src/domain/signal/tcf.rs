//! What a TCF string says, and what it permits.

use std::time::Duration;

use super::detail::{Barred, SignalDetail};
use super::sets::{SmallSet, Vendors};
use crate::domain::catalogue::TcfRule;
use crate::domain::time::Time;
use crate::domain::words::LegalBasis;

/// 2023-10-01T00:00:00Z. Source: Consent string format, version 2.2, "Managing conflicting string versions": what was
/// created after 30 September 2023 under a policy before version 4 is invalid.
const POLICY_4_SINCE: Time = Time::from_unix_millis(1_696_118_400_000);
/// 2026-03-01T00:00:00Z. Source: IAB Europe, transition to TCF 2.3: what was created after 28 February 2026 without
/// the vendors disclosed is invalid; what was created before stays valid.
const DISCLOSED_SINCE: Time = Time::from_unix_millis(1_772_323_200_000);
/// How far ahead a string may be dated: it tells days, and clocks differ.
const AHEAD_MAX: Duration = Duration::from_hours(24);

/// What a TCF string says. Source: IAB Europe, Transparency and Consent String, versions 2.2 and 2.3.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tcf {
    /// When it was made.
    pub created: Time,
    /// When it was last changed.
    pub last_updated: Time,
    /// The consent management platform that made it.
    pub cmp: u16,
    /// The version of the Global Vendor List it was made with.
    pub vendor_list: u16,
    /// The version of the framework's policies it was made under.
    pub policy: u8,
    /// Whether it speaks for one service, or group of services, only; one that does not is invalid.
    pub service_specific: bool,
    /// The special features that were opted in.
    pub special_features: SmallSet,
    /// The framework's purposes that were consented to.
    pub purpose_consents: SmallSet,
    /// The purposes whose legitimate interest was told and not objected to.
    pub purpose_interests: SmallSet,
    /// Whether purpose 1 was not disclosed at all, because the publisher's law does not ask for it. That is no consent.
    pub purpose_one_untold: bool,
    /// The country whose law the publisher is under, as two capitals.
    pub publisher_country: [u8; 2],
    /// The vendors that were consented to.
    pub vendor_consents: Vendors,
    /// The vendors whose legitimate interest was told and not objected to.
    pub vendor_interests: Vendors,
    /// What the publisher does not let vendors do.
    pub restrictions: Vec<TcfRestriction>,
    /// The vendors that the subject was shown; `None` where the string does not say.
    pub disclosed_vendors: Option<Vendors>,
    /// What was said to the publisher itself; `None` where the string does not say.
    pub publisher: Option<PublisherTc>,
}

/// What was said to the publisher itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PublisherTc {
    /// The framework's purposes that were consented to.
    pub consents: SmallSet,
    /// The purposes whose legitimate interest was told and not objected to.
    pub interests: SmallSet,
    /// The publisher's own purposes that were consented to.
    pub custom_consents: SmallSet,
    /// The publisher's own purposes whose legitimate interest was told and not objected to.
    pub custom_interests: SmallSet,
}

/// What a publisher does not let some vendors do for one purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcfRestriction {
    /// The framework's purpose.
    pub purpose: u16,
    /// What they must not do.
    pub kind: TcfRestrictionKind,
    /// Whom it is about.
    pub vendors: Vendors,
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

/// Why a string that can be read counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcfFlaw {
    /// It speaks for all services, which was abolished.
    NotServiceSpecific,
    /// It was made under policies that had been replaced.
    PolicyReplaced,
    /// It must say which vendors were disclosed, and does not.
    NothingDisclosed,
    /// It is dated in the future.
    DatedAhead,
}

/// On which ground a purpose may be permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ground {
    Consent,
    Interest,
}

impl Tcf {
    /// Why it counts for nothing, if it does.
    #[must_use]
    pub fn flaw(&self, now: Time) -> Option<TcfFlaw> {
        let dated = self.created.max(self.last_updated);
        if !self.service_specific {
            Some(TcfFlaw::NotServiceSpecific)
        } else if self.policy < 4 && dated >= POLICY_4_SINCE {
            Some(TcfFlaw::PolicyReplaced)
        } else if self.disclosed_vendors.is_none() && dated >= DISCLOSED_SINCE {
            Some(TcfFlaw::NothingDisclosed)
        } else if dated > now.plus(AHEAD_MAX) {
            Some(TcfFlaw::DatedAhead)
        } else {
            None
        }
    }

    /// What keeps a vendor, or the publisher itself where there is none, from what a rule demands; `None` if nothing
    /// does.
    #[must_use]
    pub fn bars(&self, rule: &TcfRule, basis: LegalBasis, vendor: Option<u16>) -> Option<SignalDetail> {
        if let Some(vendor) = vendor
            && self.disclosed_vendors.as_ref().is_some_and(|shown| !shown.contains(vendor))
        {
            return Some(SignalDetail::NotDisclosed { vendor });
        }
        if let Some(feature) = rule.special_features.iter().find(|feature| !self.special_features.contains(**feature)) {
            return Some(SignalDetail::SpecialFeature { feature: *feature });
        }
        rule.purposes.iter().find_map(|purpose| {
            let why = match vendor {
                Some(vendor) => self.bars_vendor(*purpose, basis, vendor),
                None => self.bars_publisher(*purpose, basis),
            }?;
            Some(SignalDetail::Purpose { purpose: *purpose, vendor, why })
        })
    }

    fn bars_vendor(&self, purpose: u16, basis: LegalBasis, vendor: u16) -> Option<Barred> {
        let restricted = |kind| {
            let touching = |have: &&TcfRestriction| have.purpose == purpose && have.kind == kind;
            self.restrictions.iter().filter(touching).any(|have| have.vendors.contains(vendor))
        };
        if restricted(TcfRestrictionKind::NotAllowed) {
            return Some(Barred::ByPublisher);
        }
        let interest_required = restricted(TcfRestrictionKind::RequireLegitimateInterest);
        let consent_required = restricted(TcfRestrictionKind::RequireConsent);
        if interest_required && consent_required {
            return Some(Barred::ByPublisher);
        }
        match ground(purpose, basis) {
            Ground::Consent if interest_required => Some(Barred::InterestRequired),
            Ground::Interest if !consent_required => {
                let told = [
                    (self.purpose_interests.contains(purpose), Barred::NoInterest),
                    (self.vendor_interests.contains(vendor), Barred::NoVendorInterest),
                ];
                first_missing(told)
            }
            Ground::Consent | Ground::Interest => {
                let given = [
                    (self.purpose_consents.contains(purpose), Barred::NoConsent),
                    (self.vendor_consents.contains(vendor), Barred::NoVendorConsent),
                ];
                first_missing(given)
            }
        }
    }

    fn bars_publisher(&self, purpose: u16, basis: LegalBasis) -> Option<Barred> {
        let core = PublisherTc {
            consents: self.purpose_consents,
            interests: self.purpose_interests,
            ..PublisherTc::default()
        };
        let said = self.publisher.unwrap_or(core);
        match ground(purpose, basis) {
            Ground::Consent => first_missing([(said.consents.contains(purpose), Barred::NoConsent)]),
            Ground::Interest => first_missing([(said.interests.contains(purpose), Barred::NoInterest)]),
        }
    }

    /// What it takes in memory beside itself, in bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let restriction = |have: &TcfRestriction| size_of::<TcfRestriction>() + have.vendors.heap_bytes();
        self.vendor_consents.heap_bytes()
            + self.vendor_interests.heap_bytes()
            + self.disclosed_vendors.as_ref().map_or(0, Vendors::heap_bytes)
            + self.restrictions.iter().map(restriction).sum::<usize>()
    }
}

/// The ground of a framework's purpose under a purpose of ours. A legitimate interest carries neither purpose 1, which
/// always needs consent, nor 3 to 6, for which it was abolished. Source: TCF Policies since version 4; Consent string
/// format, `PurposesLITransparency`. The framework knows no other ground than these two.
const fn ground(purpose: u16, basis: LegalBasis) -> Ground {
    match (basis, purpose) {
        (LegalBasis::LegitimateInterest, 2 | 7..) => Ground::Interest,
        (
            LegalBasis::LegitimateInterest
            | LegalBasis::Consent
            | LegalBasis::ExplicitConsent
            | LegalBasis::Contract
            | LegalBasis::LegalObligation
            | LegalBasis::VitalInterest
            | LegalBasis::PublicTask,
            _,
        ) => Ground::Consent,
    }
}

fn first_missing<const N: usize>(needed: [(bool, Barred); N]) -> Option<Barred> {
    needed.into_iter().find_map(|(there, why)| (!there).then_some(why))
}
