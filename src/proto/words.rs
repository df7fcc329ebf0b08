//! The domain's closed sets and the wire's are the same words. The wire has one more value, `UNSPECIFIED`, which every
//! reader must treat as missing.

use crate::domain;
use crate::proto::v1;

/// The wire's value is `UNSPECIFIED`, which no word stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not specified")]
pub struct Unspecified(&'static str);

/// Declares that a domain enum and a wire enum have the same values. Both directions match without a catch-all, so that
/// a value added on one side alone does not compile.
macro_rules! same_words {
    ($word:ident, $wire:ident, $name:literal: $($value:ident,)+) => {
        impl From<domain::$word> for v1::$wire {
            fn from(word: domain::$word) -> Self {
                match word { $(domain::$word::$value => Self::$value,)+ }
            }
        }

        impl TryFrom<v1::$wire> for domain::$word {
            type Error = Unspecified;

            fn try_from(wire: v1::$wire) -> Result<Self, Unspecified> {
                match wire {
                    $(v1::$wire::$value => Ok(Self::$value),)+
                    v1::$wire::Unspecified => Err(Unspecified($name)),
                }
            }
        }
    };
}

same_words!(Verdict, Verdict, "verdict": Deny, Allow,);
same_words!(
    Status,
    ConsentStatus,
    "status":
    Requested,
    Given,
    Renewed,
    Refused,
    Withdrawn,
    Revoked,
    Expired,
    Invalidated,
);
same_words!(
    LegalBasis,
    LegalBasis,
    "legal basis":
    Consent,
    ExplicitConsent,
    LegitimateInterest,
    Contract,
    LegalObligation,
    VitalInterest,
    PublicTask,
);
same_words!(
    Reason,
    Reason,
    "reason":
    Consent,
    ExplicitConsent,
    LegitimateInterest,
    Contract,
    LegalObligation,
    VitalInterest,
    PublicTask,
    NoCatalogue,
    UnknownPurpose,
    UnknownChannel,
    ChannelNotUsed,
    Prohibited,
    Stale,
    ForeignToken,
    ReplicaBuilding,
    LedgerBroken,
    StoreUnavailable,
    Erased,
    UnreadableRecord,
    UnknownSubject,
    Restricted,
    Minor,
    AgeUnknown,
    SignalGpc,
    SignalUnreadable,
    SignalTcf,
    SignalGpp,
    Refused,
    Withdrawn,
    Revoked,
    Invalidated,
    Objected,
    NoConsent,
    NotYetEffective,
    Expired,
    TooOld,
    LegalBasisMismatch,
    NotExplicit,
    PreTicked,
    Passive,
    Bundled,
    DarkPattern,
    NoticeMissing,
    NoticeOutdated,
    GuardianMissing,
    Penalised,
    NotSpecific,
    Coerced,
    NotInformed,
    WithdrawalUntold,
    MethodNotAccepted,
    ProofMissing,
    RequiredPurposeDenied,
    QuietHours,
    TimeZoneUnknown,
    EvidenceUnavailable,
);

#[cfg(test)]
mod tests {
    use super::*;

    /// Every value goes out and comes back, under the same name but for the wire's prefix, and `UNSPECIFIED` is refused.
    macro_rules! check {
        ($word:ident, $wire:ident, $prefix:literal) => {
            let mut wires = Vec::new();
            for word in domain::$word::ALL.iter().copied() {
                let wire = v1::$wire::from(word);
                assert_eq!(domain::$word::try_from(wire), Ok(word));
                assert_eq!(wire.as_str_name(), format!("{}{}", $prefix, word.as_str()));
                assert_ne!(i32::from(wire), 0);
                wires.push(wire);
            }
            wires.sort_unstable();
            wires.dedup();
            assert_eq!(wires.len(), domain::$word::ALL.len(), "two words share a wire value");
            assert!(domain::$word::try_from(v1::$wire::Unspecified).is_err());
        };
    }

    #[test]
    fn every_word_maps_both_ways() {
        check!(Verdict, Verdict, "VERDICT_");
        check!(Status, ConsentStatus, "CONSENT_STATUS_");
        check!(LegalBasis, LegalBasis, "LEGAL_BASIS_");
        check!(Reason, Reason, "REASON_");
    }

    #[test]
    fn a_wire_reason_below_100_allows_and_no_other() {
        for reason in domain::Reason::ALL.iter().copied() {
            let allows = reason.verdict() == domain::Verdict::Allow;
            assert_eq!(i32::from(v1::Reason::from(reason)) < 100, allows, "{reason}");
        }
    }
}
