//! What one can do about an answer.

use super::Reason;

impl Reason {
    /// What one can do about it, in a sentence or two.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Consent | Self::ExplicitConsent => {
                "Rely on it until the time given, and ask again after it. Make withdrawing as easy as agreeing was."
            }
            Self::LegitimateInterest => {
                "Rely on it until the time given. Record an objection as soon as it comes: it ends this."
            }
            Self::Contract | Self::LegalObligation | Self::VitalInterest | Self::PublicTask => {
                "No consent is needed. Do only what this ground covers; anything else is a purpose of its own."
            }
            Self::NoCatalogue => "Publish a catalogue: `consentd ledger catalogue FILE`.",
            Self::UnknownPurpose | Self::UnknownChannel | Self::ChannelNotUsed => {
                "Check the spelling in the question, or publish a catalogue that allows for it."
            }
            Self::Prohibited => "Leave it. No consent helps where the catalogue forbids the purpose.",
            Self::Stale | Self::ReplicaBuilding => {
                "Ask again in a moment. If it stays, look at the sidecar's /readyz: it does not keep up with the ledger."
            }
            Self::ForeignToken => "Drop the token, or take one from an answer of this ledger.",
            Self::LedgerBroken | Self::StoreUnavailable | Self::EvidenceUnavailable => {
                "Nobody can be allowed anything until this is mended: see /readyz and the operator's handbook."
            }
            Self::Erased => "Do not process. Only if the subject agrees anew, of its own accord, may this change.",
            Self::UnreadableRecord => {
                "Find the event with `consentd ledger tail`, and write a readable one that supersedes it."
            }
            Self::UnknownSubject => {
                "Check the identifier. If nobody was ever asked, ask for consent, or import what was collected elsewhere."
            }
            Self::Restricted => {
                "Store the data and leave it alone until the restriction is lifted and the subject was told so."
            }
            Self::Minor => "Do not process: the catalogue does not allow it at this age, whoever agrees.",
            Self::AgeUnknown => "Record when the subject was born (`consentd ledger born`), as exactly as it is known.",
            Self::SignalGpc | Self::SignalTcf | Self::SignalGpp => {
                "Respect the choice that the browser or the consent tool sends. Do not ask the subject to take it back."
            }
            Self::SignalUnreadable => "Send the string whole and as it was issued, or mend what issues it.",
            Self::Refused | Self::Withdrawn | Self::Objected => {
                "Stop. Only the subject can change this, by agreeing anew; do not press it to."
            }
            Self::Revoked | Self::Invalidated => {
                "Stop. Find out why it was taken away before anybody is asked for a new consent."
            }
            Self::NoConsent => {
                "Ask for consent to this very purpose, channel and recipient. A consent to something else does not cover it."
            }
            Self::NotYetEffective => "Wait until its time, or correct the event's time where it is wrong.",
            Self::Expired | Self::TooOld => "Ask the subject to renew its consent. Until then, stop.",
            Self::LegalBasisMismatch => {
                "Look at what was collected: a record of another ground is no consent. Ask for one, or mend the catalogue."
            }
            Self::NotExplicit => "Ask for an explicit consent, in words that name the special category of data.",
            Self::PreTicked
            | Self::Passive
            | Self::Bundled
            | Self::DarkPattern
            | Self::Penalised
            | Self::NotSpecific
            | Self::Coerced
            | Self::NotInformed
            | Self::WithdrawalUntold => {
                "Such a consent is void. Mend how it is collected, then ask anew; do not rely on the old one."
            }
            Self::NoticeMissing | Self::NoticeOutdated => {
                "Show the notice named above, in the subject's language, and ask anew."
            }
            Self::GuardianMissing => {
                "Ask the holder of parental responsibility, and record that the consent came from there."
            }
            Self::MethodNotAccepted => "Ask anew by a method that the catalogue accepts for this purpose.",
            Self::ProofMissing => "Record where the proof of the collection lies, or ask anew and keep it this time.",
            Self::RequiredPurposeDenied => "Resolve the required purpose first: explain it by its own name.",
            Self::QuietHours => "Wait until the time given above.",
            Self::TimeZoneUnknown => {
                "Send the subject's time zone with the question, or give the catalogue one for the region."
            }
        }
    }
}
