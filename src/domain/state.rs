//! What is known about a subject: a join semilattice, so that neither the order of events nor their repetition matters.
//!
//! Each (purpose, channel, recipient) has a [`Slot`] with three registers, and each register keeps the one record that
//! outranks all others ever joined into it. An erasure is a time below which records are dropped, whenever they come.

use std::cmp::{Ordering, Reverse};

use super::event::{Collection, Notice, Position};
use super::subject::SubjectKey;
use super::text::Text;
use super::time::{Day, Time};
use super::words::{LegalBasis, Register, Status};

/// One kept record: what a subject said, where it lies in the ledger, and what `decide` needs of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When it happened.
    pub event_time: Time,
    /// What was said.
    pub status: Status,
    /// On which ground.
    pub legal_basis: LegalBasis,
    /// How it was obtained.
    pub collection: Collection,
    /// What the subject was shown.
    pub notice: Option<Notice>,
    /// When it ends by itself.
    pub expires_at: Option<Time>,
    /// Where the subject was, ISO 3166.
    pub jurisdiction: Text,
    /// Where the proof lies.
    pub proof: Text,
    /// Where its event lies; of repeated events the first.
    pub position: Position,
}

impl Record {
    /// What decides between two records, the greater wins: the later; at equal times what has ended before what lasts,
    /// a void collection before a clean one, the subject's own word before a guardian's, no proof before one, no notice
    /// or an older one before a newer, a ground that is no consent before a consent and that before an explicit one, an
    /// earlier end before a later.
    pub(super) fn precedence(&self) -> impl Ord + use<> {
        let ground = match self.legal_basis {
            LegalBasis::ExplicitConsent => 0_u8,
            LegalBasis::Consent => 1,
            LegalBasis::LegitimateInterest
            | LegalBasis::Contract
            | LegalBasis::LegalObligation
            | LegalBasis::VitalInterest
            | LegalBasis::PublicTask => 2,
        };
        (
            self.event_time,
            self.status == Status::Expired,
            self.collection.defects,
            !self.collection.by_guardian,
            self.proof.is_empty(),
            Reverse(self.notice.as_ref().map(|notice| notice.version)),
            ground,
            Reverse(self.expires_at.unwrap_or(Time::MAX)),
        )
    }

    /// The total order in which the greatest record is kept: by precedence, then by content; of equal contents the
    /// first in the ledger.
    fn rank(&self, other: &Self) -> Ordering {
        self.precedence()
            .cmp(&other.precedence())
            .then_with(|| self.status.cmp(&other.status))
            .then_with(|| self.legal_basis.cmp(&other.legal_basis))
            .then_with(|| self.notice.cmp(&other.notice))
            .then_with(|| self.collection.cmp(&other.collection))
            .then_with(|| self.jurisdiction.cmp(&other.jurisdiction))
            .then_with(|| self.proof.cmp(&other.proof))
            .then_with(|| other.position.cmp(&self.position))
    }
}

/// All that is known about one purpose, channel and recipient of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The purpose.
    pub purpose: Text,
    /// The channel, or `*`.
    pub channel: Text,
    /// The recipient; empty is the controller, `*` all.
    pub recipient: Text,
    /// The latest agreement, or its end by time.
    pub grant: Option<Box<Record>>,
    /// The latest refusal.
    pub refusal: Option<Box<Record>>,
    /// The latest request that was made of the subject.
    pub request: Option<Box<Record>>,
}

impl Slot {
    fn key(&self) -> (&str, &str, &str) {
        (&self.purpose, &self.channel, &self.recipient)
    }

    fn registers_mut(&mut self) -> [&mut Option<Box<Record>>; 3] {
        [&mut self.grant, &mut self.refusal, &mut self.request]
    }

    fn is_empty(&self) -> bool {
        self.grant.is_none() && self.refusal.is_none() && self.request.is_none()
    }
}

/// An event about the subject that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnreadableMark {
    /// Its id, or `@` and its position.
    pub event_id: Box<str>,
    /// Where it lies.
    pub position: Position,
    /// When it happened, where that could be told.
    pub event_time: Option<Time>,
}

/// A link to another identifier, or its undoing; the later decides, at equal times the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// The other identifier.
    pub other: SubjectKey,
    /// When it was said.
    pub event_time: Time,
    /// Whether they are one person.
    pub linked: bool,
}

/// A restriction of processing, or its end; the later decides, at equal times the restriction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Restriction {
    /// What for, with all below it; empty is every purpose.
    pub purpose: Text,
    /// When it was said.
    pub event_time: Time,
    /// Whether processing is restricted.
    pub restricted: bool,
}

/// When the subject was born; what was said later decides, at equal times the later birth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Birth {
    /// When it was said.
    pub event_time: Time,
    /// The latest day it can have been.
    pub born: Day,
}

/// All that the ledger says about one identifier, or, joined, about a person.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubjectState {
    erased_at: Option<Time>,
    slots: Vec<Slot>,
    unreadable: Vec<UnreadableMark>,
    superseded: Vec<Box<str>>,
    links: Vec<Link>,
    restrictions: Vec<Restriction>,
    birth: Option<Birth>,
}

/// The parts of a [`SubjectState`], for storing it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StateParts {
    /// The time of the latest erasure.
    pub erased_at: Option<Time>,
    /// What is kept, in any order.
    pub slots: Vec<Slot>,
    /// What could not be read.
    pub unreadable: Vec<UnreadableMark>,
    /// Ids of unreadable events that others replaced.
    pub superseded: Vec<Box<str>>,
    /// Links, in any order.
    pub links: Vec<Link>,
    /// Restrictions, in any order.
    pub restrictions: Vec<Restriction>,
    /// When the subject was born.
    pub birth: Option<Birth>,
}

impl SubjectState {
    /// A state of one record.
    #[must_use]
    pub fn of_record(purpose: &str, channel: &str, recipient: &str, record: Record) -> Self {
        let mut slot = Slot {
            purpose: purpose.into(),
            channel: channel.into(),
            recipient: recipient.into(),
            grant: None,
            refusal: None,
            request: None,
        };
        let register = match record.status.register() {
            Register::Grant => &mut slot.grant,
            Register::Refusal => &mut slot.refusal,
            Register::Request => &mut slot.request,
        };
        *register = Some(Box::new(record));
        Self { slots: vec![slot], ..Self::default() }
    }

    /// A state of one erasure.
    #[must_use]
    pub fn of_erasure(at: Time) -> Self {
        Self { erased_at: Some(at), ..Self::default() }
    }

    /// A state of one event that could not be read.
    #[must_use]
    pub fn of_unreadable(mark: UnreadableMark) -> Self {
        Self { unreadable: vec![mark], ..Self::default() }
    }

    /// A state of one link or its undoing.
    #[must_use]
    pub fn of_link(link: Link) -> Self {
        Self { links: vec![link], ..Self::default() }
    }

    /// A state of one restriction or its end.
    #[must_use]
    pub fn of_restriction(restriction: Restriction) -> Self {
        Self { restrictions: vec![restriction], ..Self::default() }
    }

    /// A state of one birth.
    #[must_use]
    pub fn of_birth(birth: Birth) -> Self {
        Self { birth: Some(birth), ..Self::default() }
    }

    /// The same state, saying as well that these unreadable events are replaced.
    #[must_use]
    pub fn superseding(mut self, ids: &[Box<str>]) -> Self {
        self.join(Self { superseded: sorted(ids.to_vec()), ..Self::default() });
        self
    }

    /// A state from its stored parts, in any order.
    #[must_use]
    pub fn from_parts(parts: StateParts) -> Self {
        let mut state = Self { erased_at: parts.erased_at, superseded: sorted(parts.superseded), ..Self::default() };
        state.join(Self { unreadable: sorted(parts.unreadable), ..Self::default() });
        for slot in parts.slots {
            state.join_slot(slot);
        }
        for link in parts.links {
            state.join_link(link);
        }
        for restriction in parts.restrictions {
            state.join_restriction(restriction);
        }
        state.birth = parts.birth;
        state.drop_what_is_gone();
        state
    }

    /// The parts, for storing; in canonical order, so that equal states give equal parts.
    #[must_use]
    pub fn to_parts(&self) -> StateParts {
        StateParts {
            erased_at: self.erased_at,
            slots: self.slots.clone(),
            unreadable: self.unreadable.clone(),
            superseded: self.superseded.clone(),
            links: self.links.clone(),
            restrictions: self.restrictions.clone(),
            birth: self.birth,
        }
    }

    /// Joins another state into this one: commutative, associative, idempotent.
    pub fn join(&mut self, other: Self) {
        self.erased_at = self.erased_at.max(other.erased_at);
        for slot in other.slots {
            self.join_slot(slot);
        }
        for link in other.links {
            self.join_link(link);
        }
        for restriction in other.restrictions {
            self.join_restriction(restriction);
        }
        self.birth = self.birth.max(other.birth);
        merge_sorted(&mut self.unreadable, other.unreadable);
        merge_sorted(&mut self.superseded, other.superseded);
        self.drop_what_is_gone();
    }

    /// The state of a person whose identifiers have these states, in any order: their join, but for the birth. What is
    /// said later about one identifier corrects what was said of it before; two identifiers do not correct each other,
    /// and the youngest decides.
    #[must_use]
    pub fn of_person(identifiers: impl IntoIterator<Item = Self>) -> Self {
        let mut person = Self::default();
        let mut births = Vec::new();
        for identifier in identifiers {
            births.extend(identifier.birth);
            person.join(identifier);
        }
        let is_kept = |birth: &Birth| person.erased_at.is_none_or(|erased_at| birth.event_time > erased_at);
        person.birth = births.into_iter().filter(is_kept).max_by_key(|birth| (birth.born, birth.event_time));
        person
    }

    /// The time of the latest erasure, if there was one.
    #[must_use]
    pub const fn erased_at(&self) -> Option<Time> {
        self.erased_at
    }

    /// What is kept, ordered by purpose, channel and recipient.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Events that could not be read and that nothing replaced.
    #[must_use]
    pub fn unreadable(&self) -> &[UnreadableMark] {
        &self.unreadable
    }

    /// The identifiers that are the same person.
    pub fn linked(&self) -> impl Iterator<Item = SubjectKey> {
        self.links.iter().filter(|link| link.linked).map(|link| link.other)
    }

    /// Every identifier that was ever linked, links that were taken back included.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Restrictions of processing and their ends, by purpose.
    #[must_use]
    pub fn restrictions(&self) -> &[Restriction] {
        &self.restrictions
    }

    /// When the subject was born, where that was said.
    #[must_use]
    pub const fn birth(&self) -> Option<Birth> {
        self.birth
    }

    /// Whether the ledger says nothing at all about this identifier.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.erased_at.is_none()
            && self.slots.is_empty()
            && self.unreadable.is_empty()
            && self.superseded.is_empty()
            && self.links.is_empty()
            && self.restrictions.is_empty()
            && self.birth.is_none()
    }

    /// About how many bytes of memory it takes. Texts count as shared, but for proofs, which are each their own.
    #[must_use]
    pub fn weight(&self) -> usize {
        let record = |record: &Record| size_of::<Record>() + record.proof.len();
        let slot = |slot: &Slot| {
            let kept = [&slot.grant, &slot.refusal, &slot.request];
            size_of::<Slot>() + kept.into_iter().flatten().map(|kept| record(kept)).sum::<usize>()
        };
        let ids = self.superseded.iter().map(|id| id.len() + size_of::<Box<str>>()).sum::<usize>();
        size_of::<Self>()
            + self.slots.iter().map(slot).sum::<usize>()
            + ids
            + self.unreadable.len() * (size_of::<UnreadableMark>() + 32)
            + self.links.len() * size_of::<Link>()
            + self.restrictions.len() * size_of::<Restriction>()
    }

    fn join_slot(&mut self, slot: Slot) {
        match self.slots.binary_search_by(|have| have.key().cmp(&slot.key())) {
            Err(place) => self.slots.insert(place, slot),
            Ok(place) => {
                let Some(have) = self.slots.get_mut(place) else { return };
                let Slot { grant, refusal, request, .. } = slot;
                for (have, new) in have.registers_mut().into_iter().zip([grant, refusal, request]) {
                    if let Some(new) = new
                        && have.as_ref().is_none_or(|have| new.rank(have) == Ordering::Greater)
                    {
                        *have = Some(new);
                    }
                }
            }
        }
    }

    fn join_link(&mut self, link: Link) {
        match self.links.binary_search_by(|have| have.other.cmp(&link.other)) {
            Err(place) => self.links.insert(place, link),
            Ok(place) => {
                if let Some(have) = self.links.get_mut(place) {
                    *have = (*have).max(link);
                }
            }
        }
    }

    fn join_restriction(&mut self, restriction: Restriction) {
        match self.restrictions.binary_search_by(|have| have.purpose.cmp(&restriction.purpose)) {
            Err(place) => self.restrictions.insert(place, restriction),
            Ok(place) => {
                if let Some(have) = self.restrictions.get_mut(place)
                    && *have < restriction
                {
                    *have = restriction;
                }
            }
        }
    }

    /// Drops what an erasure covers and the marks of what was replaced. Both are kept as facts, so that what comes
    /// late is dropped as well.
    fn drop_what_is_gone(&mut self) {
        if let Some(erased_at) = self.erased_at {
            for slot in &mut self.slots {
                for register in slot.registers_mut() {
                    if register.as_ref().is_some_and(|record| record.event_time <= erased_at) {
                        *register = None;
                    }
                }
            }
            self.slots.retain(|slot| !slot.is_empty());
            // A restriction stays: it is an order about the data, and to drop it could only permit more.
            self.birth = self.birth.filter(|birth| birth.event_time > erased_at);
            self.unreadable.retain(|mark| mark.event_time.is_none_or(|time| time > erased_at));
        }
        let superseded = &self.superseded;
        if superseded.is_empty() {
            return;
        }
        self.unreadable.retain(|mark| {
            let by_position = format!("@{}", mark.position.0);
            !superseded.iter().any(|id| *id == mark.event_id || **id == *by_position)
        });
    }
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort_unstable();
    items.dedup();
    items
}

fn merge_sorted<T: Ord>(into: &mut Vec<T>, from: Vec<T>) {
    for item in from {
        if let Err(place) = into.binary_search(&item) {
            into.insert(place, item);
        }
    }
}
