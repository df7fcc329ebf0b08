//! The subjects of the ledger's messages: `consent.ledger.<key>.<kind>`.
//!
//! `<key>` is the [`SubjectKey`] of the data subject as 32 lower-case hexadecimal digits, `<kind>` is `consent`, `link`,
//! `erasure`, `restriction` or `birth`. A catalogue, which is about nobody, is `consent.ledger.catalogue.catalogue`. So a message whose payload
//! cannot be read still says whom it is about.

use data_encoding::HEXLOWER;

use crate::domain::SubjectKey;
use crate::ledger::SubjectHasher;
use crate::proto::v1;
use crate::proto::v1::ledger_event::Event;

/// What every subject begins with.
const PREFIX: &str = "consent.ledger.";
/// The subject of catalogues.
pub const CATALOGUE: &str = "consent.ledger.catalogue.catalogue";

/// What a message is about, as its subject says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum About {
    /// A data subject.
    Subject(SubjectKey, Kind),
    /// All: a catalogue.
    Catalogue,
}

/// What is said of a data subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// What it agreed to or refused.
    Consent,
    /// That it is, or is not, the same person as another.
    Link,
    /// That what is known of it is dropped.
    Erasure,
    /// That the processing of its data is restricted, or is not any more.
    Restriction,
    /// When it was born.
    Birth,
}

impl Kind {
    /// Every kind. Whoever reads all that is said of a subject reads these.
    pub const ALL: [Self; 5] = [Self::Consent, Self::Link, Self::Erasure, Self::Restriction, Self::Birth];

    /// The word in the subject.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consent => "consent",
            Self::Link => "link",
            Self::Erasure => "erasure",
            Self::Restriction => "restriction",
            Self::Birth => "birth",
        }
    }
}

impl About {
    /// What a message with this subject is about; nothing where the subject is none of ours.
    #[must_use]
    pub fn parse(subject: &str) -> Option<Self> {
        if subject == CATALOGUE {
            return Some(Self::Catalogue);
        }
        let (key, kind) = subject.strip_prefix(PREFIX)?.split_once('.')?;
        let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind)?;
        // INVARIANT: one key has one text; the decoder takes no capital letters.
        let key = HEXLOWER.decode(key.as_bytes()).ok()?.try_into().ok()?;
        Some(Self::Subject(SubjectKey(key), kind))
    }

    /// The messages that say an event: one, or for a link one for either of its subjects; none where the event has no
    /// body or names nobody, which [`crate::ledger::validate()`] refuses.
    #[must_use]
    pub fn of(event: &v1::LedgerEvent, hasher: &SubjectHasher) -> Vec<Self> {
        let about = |subject: Option<&v1::Subject>, kind| {
            subject.map(|subject| Self::Subject(hasher.key(&format!("{}:{}", subject.space, subject.id)), kind))
        };
        match &event.event {
            Some(Event::Consent(consent)) => about(consent.subject.as_ref(), Kind::Consent).into_iter().collect(),
            Some(Event::Erasure(erasure)) => about(erasure.subject.as_ref(), Kind::Erasure).into_iter().collect(),
            Some(Event::Restriction(said)) => about(said.subject.as_ref(), Kind::Restriction).into_iter().collect(),
            Some(Event::Birth(birth)) => about(birth.subject.as_ref(), Kind::Birth).into_iter().collect(),
            Some(Event::Link(link)) => {
                [&link.subject, &link.linked].into_iter().filter_map(|s| about(s.as_ref(), Kind::Link)).collect()
            }
            Some(Event::Catalogue(_)) => vec![Self::Catalogue],
            None => Vec::new(),
        }
    }
}

impl std::fmt::Display for About {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Subject(key, kind) => write!(f, "{PREFIX}{}.{}", HEXLOWER.encode(&key.0), kind.as_str()),
            Self::Catalogue => f.write_str(CATALOGUE),
        }
    }
}

/// The subjects of all messages about one data subject, as a filter.
#[must_use]
pub fn all_of(key: SubjectKey) -> String {
    format!("{PREFIX}{}.>", HEXLOWER.encode(&key.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_read_back() {
        let key = SubjectKey([0xab; 16]);
        for kind in Kind::ALL {
            let about = About::Subject(key, kind);
            assert_eq!(about.to_string(), format!("consent.ledger.{}.{}", "ab".repeat(16), kind.as_str()));
            assert_eq!(About::parse(&about.to_string()), Some(about));
        }
        assert_eq!(About::parse(&About::Catalogue.to_string()), Some(About::Catalogue));
        assert_eq!(all_of(key), format!("consent.ledger.{}.>", "ab".repeat(16)));
    }

    #[test]
    fn other_subjects_are_nobody_s() {
        let hex = "ab".repeat(16);
        for subject in [
            format!("consent.ledger.{}.consent", hex.to_uppercase()),
            format!("consent.ledger.{hex}.catalogue"),
            format!("consent.ledger.{hex}.consent.more"),
            format!("consent.ledger.{hex}"),
            format!("consent.ledger.{}.consent", "ab".repeat(15)),
            format!("consent.evidence.{hex}.consent"),
            "consent.ledger.catalogue.consent".to_owned(),
            String::new(),
        ] {
            assert_eq!(About::parse(&subject), None, "{subject}");
        }
    }

    #[test]
    fn a_link_is_about_both() {
        let hasher = SubjectHasher::new(&[1; 32]);
        let subject = |id: &str| Some(v1::Subject { space: "crm".to_owned(), id: id.to_owned() });
        let link = v1::LinkEvent { subject: subject("1"), linked: subject("2"), unlinked: false };
        let event = v1::LedgerEvent { event: Some(Event::Link(link)), ..v1::LedgerEvent::default() };
        let expected = ["crm:1", "crm:2"].map(|text| About::Subject(hasher.key(text), Kind::Link));
        assert_eq!(About::of(&event, &hasher), expected);
        assert_eq!(About::of(&v1::LedgerEvent::default(), &hasher), []);
    }
}
