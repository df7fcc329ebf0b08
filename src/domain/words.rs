//! The field's words as closed sets: verdict, reason, status, legal basis.

mod advice;

/// Declares a fieldless enum together with its list of values and their upper-case names.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name as the wire, metrics and people spell it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The value that [`as_str`](Self::as_str) names, in either case.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str().eq_ignore_ascii_case(name))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words! {
    /// May the data be processed?
    Verdict {
        /// No, and the reason says why.
        Deny = "DENY",
        /// Yes, until the answer's `valid_until`.
        Allow = "ALLOW",
    }
}

words! {
    /// Why an answer is what it is: one value for every way it can come about.
    Reason {
        /// Allowed by a valid consent.
        Consent = "CONSENT",
        /// Allowed by a valid explicit consent.
        ExplicitConsent = "EXPLICIT_CONSENT",
        /// Allowed by a legitimate interest without an objection.
        LegitimateInterest = "LEGITIMATE_INTEREST",
        /// Allowed because a contract needs it.
        Contract = "CONTRACT",
        /// Allowed because a law demands it.
        LegalObligation = "LEGAL_OBLIGATION",
        /// Allowed to protect a life.
        VitalInterest = "VITAL_INTEREST",
        /// Allowed as a public task.
        PublicTask = "PUBLIC_TASK",

        /// No catalogue was published yet.
        NoCatalogue = "NO_CATALOGUE",
        /// The catalogue does not name this purpose.
        UnknownPurpose = "UNKNOWN_PURPOSE",
        /// The catalogue does not name this channel.
        UnknownChannel = "UNKNOWN_CHANNEL",
        /// The purpose does not use this channel.
        ChannelNotUsed = "CHANNEL_NOT_USED",
        /// The catalogue forbids the purpose where the subject is.
        Prohibited = "PROHIBITED",

        /// The view is older than allowed, or did not reach the asked token in time.
        Stale = "STALE",
        /// The asked token is of another ledger.
        ForeignToken = "FOREIGN_TOKEN",
        /// The local copy is still being built.
        ReplicaBuilding = "REPLICA_BUILDING",
        /// The ledger was truncated, replaced or rewritten.
        LedgerBroken = "LEDGER_BROKEN",
        /// The local store cannot be read.
        StoreUnavailable = "STORE_UNAVAILABLE",

        /// Everything about the subject was erased, and nothing newer permits this.
        Erased = "ERASED",
        /// An event about the subject could not be read.
        UnreadableRecord = "UNREADABLE_RECORD",
        /// The ledger holds no agreement with the subject, nor a request to it.
        UnknownSubject = "UNKNOWN_SUBJECT",
        /// The subject had the processing of its data restricted.
        Restricted = "RESTRICTED",
        /// The subject is too young for the purpose.
        Minor = "MINOR",
        /// The subject's age is not on record, and the catalogue demands it.
        AgeUnknown = "AGE_UNKNOWN",

        /// The question carries a Global Privacy Control signal.
        SignalGpc = "SIGNAL_GPC",
        /// The question carries a signal that cannot be read.
        SignalUnreadable = "SIGNAL_UNREADABLE",
        /// The TCF string does not permit this.
        SignalTcf = "SIGNAL_TCF",
        /// The GPP string opts out of this.
        SignalGpp = "SIGNAL_GPP",

        /// The subject refused.
        Refused = "REFUSED",
        /// The subject withdrew.
        Withdrawn = "WITHDRAWN",
        /// The consent was revoked.
        Revoked = "REVOKED",
        /// The consent was found invalid.
        Invalidated = "INVALIDATED",
        /// The subject objected.
        Objected = "OBJECTED",

        /// No consent for this purpose, channel and recipient.
        NoConsent = "NO_CONSENT",
        /// The consent is dated in the future.
        NotYetEffective = "NOT_YET_EFFECTIVE",
        /// The consent has expired.
        Expired = "EXPIRED",
        /// The consent is older than the catalogue lets one be.
        TooOld = "TOO_OLD",
        /// The record rests on another legal basis than the purpose demands.
        LegalBasisMismatch = "LEGAL_BASIS_MISMATCH",
        /// The consent must be explicit and is not.
        NotExplicit = "NOT_EXPLICIT",
        /// The box was ticked beforehand.
        PreTicked = "PRE_TICKED",
        /// The consent was inferred from inaction.
        Passive = "PASSIVE",
        /// The consent was a condition of a service.
        Bundled = "BUNDLED",
        /// The consent was obtained by a deceptive design.
        DarkPattern = "DARK_PATTERN",
        /// No notice is on record.
        NoticeMissing = "NOTICE_MISSING",
        /// The notice shown is older than the last material version.
        NoticeOutdated = "NOTICE_OUTDATED",
        /// Given by somebody too young to give it, and not by a guardian.
        GuardianMissing = "GUARDIAN_MISSING",
        /// Refusing was penalised, or agreeing was paid for.
        Penalised = "PENALISED",
        /// Asked for jointly with other purposes or recipients.
        NotSpecific = "NOT_SPECIFIC",
        /// Given under pressure or a clear imbalance of power.
        Coerced = "COERCED",
        /// The subject was not told who processes what, why and how.
        NotInformed = "NOT_INFORMED",
        /// The subject was not told that and how it can withdraw.
        WithdrawalUntold = "WITHDRAWAL_UNTOLD",
        /// Collected by a method that the purpose does not accept.
        MethodNotAccepted = "METHOD_NOT_ACCEPTED",
        /// No proof of the collection is on record, and the purpose demands one.
        ProofMissing = "PROOF_MISSING",

        /// A required purpose is denied.
        RequiredPurposeDenied = "REQUIRED_PURPOSE_DENIED",
        /// The subject may not be reached at this hour.
        QuietHours = "QUIET_HOURS",
        /// The hour matters, and the subject's time zone is not known.
        TimeZoneUnknown = "TIME_ZONE_UNKNOWN",

        /// Evidence could not be written.
        EvidenceUnavailable = "EVIDENCE_UNAVAILABLE",
    }
}

impl Reason {
    /// The verdict, which the reason alone determines.
    #[must_use]
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::Consent
            | Self::ExplicitConsent
            | Self::LegitimateInterest
            | Self::Contract
            | Self::LegalObligation
            | Self::VitalInterest
            | Self::PublicTask => Verdict::Allow,
            Self::NoCatalogue
            | Self::UnknownPurpose
            | Self::UnknownChannel
            | Self::ChannelNotUsed
            | Self::Prohibited
            | Self::Stale
            | Self::ForeignToken
            | Self::ReplicaBuilding
            | Self::LedgerBroken
            | Self::StoreUnavailable
            | Self::Erased
            | Self::UnreadableRecord
            | Self::UnknownSubject
            | Self::Restricted
            | Self::Minor
            | Self::AgeUnknown
            | Self::SignalGpc
            | Self::SignalUnreadable
            | Self::SignalTcf
            | Self::SignalGpp
            | Self::Refused
            | Self::Withdrawn
            | Self::Revoked
            | Self::Invalidated
            | Self::Objected
            | Self::NoConsent
            | Self::NotYetEffective
            | Self::Expired
            | Self::TooOld
            | Self::LegalBasisMismatch
            | Self::NotExplicit
            | Self::PreTicked
            | Self::Passive
            | Self::Bundled
            | Self::DarkPattern
            | Self::NoticeMissing
            | Self::NoticeOutdated
            | Self::GuardianMissing
            | Self::Penalised
            | Self::NotSpecific
            | Self::Coerced
            | Self::NotInformed
            | Self::WithdrawalUntold
            | Self::MethodNotAccepted
            | Self::ProofMissing
            | Self::RequiredPurposeDenied
            | Self::QuietHours
            | Self::TimeZoneUnknown
            | Self::EvidenceUnavailable => Verdict::Deny,
        }
    }

    /// The reason as a sentence for people.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Consent => "the subject has given a valid consent",
            Self::ExplicitConsent => "the subject has given a valid explicit consent",
            Self::LegitimateInterest => "there is a legitimate interest, and the subject has not objected",
            Self::Contract => "a contract with the subject needs it",
            Self::LegalObligation => "a law demands it",
            Self::VitalInterest => "a vital interest demands it",
            Self::PublicTask => "a task in the public interest demands it",
            Self::NoCatalogue => "no catalogue was published yet",
            Self::UnknownPurpose => "the catalogue does not name this purpose",
            Self::UnknownChannel => "the catalogue does not name this channel",
            Self::ChannelNotUsed => "the purpose does not use this channel",
            Self::Prohibited => "the catalogue forbids this purpose where the subject is",
            Self::Stale => "the view of the ledger is older than allowed",
            Self::ForeignToken => "the token asked for is of another ledger",
            Self::ReplicaBuilding => "the local copy of the ledger is still being built",
            Self::LedgerBroken => "the ledger was truncated, replaced or rewritten",
            Self::StoreUnavailable => "the local store cannot be read",
            Self::Erased => "the subject was erased and has not agreed to this since",
            Self::UnreadableRecord => "a ledger event about the subject cannot be read, and may have been a refusal",
            Self::UnknownSubject => "the ledger holds no agreement with the subject",
            Self::Restricted => "the subject had the processing of its data restricted",
            Self::Minor => "the subject is too young for this purpose",
            Self::AgeUnknown => "the subject's age is not on record, and the catalogue demands it",
            Self::SignalGpc => "the question carries a Global Privacy Control signal",
            Self::SignalUnreadable => "the question carries a signal that cannot be read",
            Self::SignalTcf => "the TCF string that came with the question does not permit this",
            Self::SignalGpp => "the GPP string that came with the question opts out of this",
            Self::Refused => "the subject refused",
            Self::Withdrawn => "the subject withdrew",
            Self::Revoked => "the consent was revoked",
            Self::Invalidated => "the consent was found to be invalid",
            Self::Objected => "the subject objected",
            Self::NoConsent => "no consent for this purpose, channel and recipient is on record",
            Self::NotYetEffective => "the consent is dated in the future",
            Self::Expired => "the consent has expired",
            Self::TooOld => "the consent is older than the catalogue lets one be",
            Self::LegalBasisMismatch => "the record rests on another legal basis than the purpose demands",
            Self::NotExplicit => "the consent must be explicit, and is not",
            Self::PreTicked => "the consent was collected by a box ticked beforehand",
            Self::Passive => "the consent was inferred from inaction",
            Self::Bundled => "the consent was a condition of a service",
            Self::DarkPattern => "the consent was obtained by a deceptive design",
            Self::NoticeMissing => "the subject was not shown the notice that the purpose demands",
            Self::NoticeOutdated => "the subject was shown a notice that is out of date",
            Self::GuardianMissing => "the consent was given by somebody too young to give it, and not by a guardian",
            Self::Penalised => "refusing was penalised, or agreeing was paid for",
            Self::NotSpecific => "the consent was asked for jointly with other purposes or recipients",
            Self::Coerced => "the consent was given under pressure or a clear imbalance of power",
            Self::NotInformed => "the subject was not told who processes what, why and how",
            Self::WithdrawalUntold => "the subject was not told that and how it can withdraw",
            Self::MethodNotAccepted => "the consent was collected by a method that the purpose does not accept",
            Self::ProofMissing => "no proof of the collection is on record, and the purpose demands one",
            Self::RequiredPurposeDenied => "a purpose that this one requires is denied",
            Self::QuietHours => "the subject may not be reached over this channel at this hour",
            Self::TimeZoneUnknown => "the hour matters, and the subject's time zone is not known",
            Self::EvidenceUnavailable => "evidence of the answer could not be written",
        }
    }

    /// The place in [`ALL`](Self::ALL), for tables with a row a reason.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

words! {
    /// The state of a consent. Source: W3C DPV, `ConsentStatus`.
    Status {
        /// The subject was asked and has not answered.
        Requested = "REQUESTED",
        /// The subject agreed.
        Given = "GIVEN",
        /// The subject agreed again.
        Renewed = "RENEWED",
        /// The subject said no.
        Refused = "REFUSED",
        /// The subject took an agreement back.
        Withdrawn = "WITHDRAWN",
        /// Somebody else took it back, such as an authority.
        Revoked = "REVOKED",
        /// Its time is over.
        Expired = "EXPIRED",
        /// It was found never to have been valid.
        Invalidated = "INVALIDATED",
    }
}

/// Which of a slot's registers a status is kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// Agreements, and their end by time.
    Grant,
    /// Everything that says no.
    Refusal,
    /// Asked, not answered.
    Request,
}

impl Status {
    /// The register that keeps this status.
    #[must_use]
    pub const fn register(self) -> Register {
        match self {
            Self::Given | Self::Renewed | Self::Expired => Register::Grant,
            Self::Refused | Self::Withdrawn | Self::Revoked | Self::Invalidated => Register::Refusal,
            Self::Requested => Register::Request,
        }
    }
}

words! {
    /// The ground on which data is processed. Source: GDPR Art. 6 and 9, KVKK Art. 5 and 6.
    LegalBasis {
        /// Consent.
        Consent = "CONSENT",
        /// Explicit consent, as special categories need it.
        ExplicitConsent = "EXPLICIT_CONSENT",
        /// A legitimate interest, which an objection ends.
        LegitimateInterest = "LEGITIMATE_INTEREST",
        /// A contract with the subject.
        Contract = "CONTRACT",
        /// A legal obligation.
        LegalObligation = "LEGAL_OBLIGATION",
        /// A vital interest.
        VitalInterest = "VITAL_INTEREST",
        /// A task in the public interest.
        PublicTask = "PUBLIC_TASK",
    }
}

impl LegalBasis {
    /// Whether processing needs a consent on record.
    #[must_use]
    pub const fn needs_consent(self) -> bool {
        matches!(self, Self::Consent | Self::ExplicitConsent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_read_back() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_name(reason.as_str()), Some(*reason));
            assert_eq!(Reason::ALL.get(reason.index()), Some(reason));
        }
        assert_eq!(Reason::from_name("no_such_reason"), None);
    }

    #[test]
    fn seven_reasons_allow_one_for_each_legal_basis() {
        let allowing: Vec<&str> = Reason::ALL
            .iter()
            .filter(|reason| reason.verdict() == Verdict::Allow)
            .map(|reason| reason.as_str())
            .collect();
        let bases: Vec<&str> = LegalBasis::ALL.iter().map(|basis| basis.as_str()).collect();
        assert_eq!(allowing, bases);
    }
}
