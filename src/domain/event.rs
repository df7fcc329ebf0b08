//! What the ledger can say. An event is already validated: what could not be read arrives as [`Unreadable`].

use super::catalogue::Catalogue;
use super::subject::{Subject, SubjectKey};
use super::text::Text;
use super::time::{Day, Time};
use super::words::{LegalBasis, Status};

/// A place in the ledger. It orders delivery, never truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

/// One readable event of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The writer's id for it; a repeated event keeps it.
    pub event_id: Box<str>,
    /// When it happened in the world, which decides.
    pub event_time: Time,
    /// Ids of unreadable events that it replaces.
    pub supersedes: Vec<Box<str>>,
    /// What happened.
    pub body: EventBody,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventBody {
    /// What a subject said, or what became of it.
    Consent(Box<ConsentEvent>),
    /// Two identifiers are one person, or are not.
    Link {
        /// One identifier.
        subject: Subject,
        /// The other.
        linked: Subject,
        /// Whether the link is taken back.
        unlinked: bool,
    },
    /// Everything about the subject up to the event's time is dropped.
    Erasure {
        /// Whose data.
        subject: Subject,
    },
    /// A new catalogue version.
    Catalogue(Box<Catalogue>),
    /// The subject had the processing of its data restricted, or the restriction was lifted.
    Restriction {
        /// Whose data.
        subject: Subject,
        /// What for, with all below it; empty is every purpose.
        purpose: Text,
        /// Whether the restriction is over.
        lifted: bool,
    },
    /// When the subject was born.
    Birth {
        /// Who.
        subject: Subject,
        /// The latest day it can have been.
        born: Day,
    },
}

/// What a subject said about one purpose, channel and recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentEvent {
    /// Who.
    pub subject: Subject,
    /// For what.
    pub purpose: Text,
    /// Over which channel; `*` is all.
    pub channel: Text,
    /// For whom; empty is the controller, `*` is all (refusals only).
    pub recipient: Text,
    /// What was said.
    pub status: Status,
    /// On which ground.
    pub legal_basis: LegalBasis,
    /// How it was obtained.
    pub collection: Collection,
    /// What the subject was shown.
    pub notice: Option<Notice>,
    /// Where the subject is, ISO 3166; empty is unknown.
    pub jurisdiction: Text,
    /// When it ends by itself.
    pub expires_at: Option<Time>,
    /// Where the proof of collection lies.
    pub proof: Text,
}

/// How a status was obtained, with the facts that can void it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Collection {
    /// The facts that void it; empty is a clean collection.
    pub defects: Defects,
    /// Whether a guardian said it for the subject.
    pub by_guardian: bool,
    /// Such as `web_form`, `paper`, `iys`.
    pub method: Text,
}

/// The facts of collection that void a consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Defects(u16);

impl Defects {
    /// No defect.
    pub const NONE: Self = Self(0);
    /// A box ticked beforehand.
    pub const PRE_TICKED: Self = Self(1);
    /// Inferred from inaction.
    pub const PASSIVE: Self = Self(2);
    /// A condition of a service.
    pub const BUNDLED: Self = Self(4);
    /// A deceptive design.
    pub const DARK_PATTERN: Self = Self(8);
    /// Refusing was penalised, or agreeing was paid for.
    pub const PENALISED: Self = Self(16);
    /// Asked for jointly with other purposes or recipients.
    pub const NOT_SPECIFIC: Self = Self(32);
    /// Under pressure or a clear imbalance of power.
    pub const COERCED: Self = Self(64);
    /// The subject was not told who processes what, why and how.
    pub const NOT_INFORMED: Self = Self(128);
    /// The subject was not told that and how it can withdraw.
    pub const WITHDRAWAL_UNTOLD: Self = Self(256);

    /// These and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// `other` if the condition holds, on top of these.
    #[must_use]
    pub const fn with_if(self, condition: bool, other: Self) -> Self {
        if condition { self.with(other) } else { self }
    }

    /// Whether any of `other` is among these.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The bits, as stored.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// From stored bits; unknown ones are kept, so that they compare.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }
}

/// The text that the subject was shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Notice {
    /// Its version; later is greater. First, so that an older notice orders before a newer.
    pub version: u32,
    /// Which.
    pub id: Text,
    /// In which language, BCP 47.
    pub language: Text,
}

/// An event that cannot be read, as far as it can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Its id where that can be told, else `@` and its position.
    pub event_id: Box<str>,
    /// Whom it is about, where that can be told: both, for a link.
    pub subjects: Vec<Subject>,
    /// Whom it is about, where only the keyed hash can be told.
    pub keys: Vec<SubjectKey>,
    /// When it happened, where that can be told.
    pub event_time: Option<Time>,
    /// What is wrong with it, without personal data.
    pub problem: Box<str>,
}
