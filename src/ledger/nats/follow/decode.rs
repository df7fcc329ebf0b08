//! The thread between network and applier: makes events of messages, in their order.
//!
//! The network must not wait for it, and it must not wait for the network: decoding and checking take most of the time of
//! a replay, and have a processor of their own.

use tokio::sync::mpsc;

use super::BEATS;
use super::pull::Placed;
use crate::domain::{Event, EventBody, Position, Subject, SubjectKey, Unreadable};
use crate::ledger::codec::{decode_binary, refuse_binary};
use crate::ledger::nats::subject::{About, Kind};
use crate::ledger::{Delivery, FeedItem, LedgerFault, Place, SubjectHasher};

/// What the network thread hands over.
#[derive(Debug)]
pub(super) enum Raw {
    /// Messages, and the place behind the last of them.
    Messages(Vec<Placed>, Place),
    /// Something to be said in its turn.
    Said(FeedItem),
}

/// Makes events of messages.
#[derive(Debug)]
pub(in crate::ledger::nats) struct Decoder {
    pub(in crate::ledger::nats) hasher: SubjectHasher,
    pub(in crate::ledger::nats) ledger: String,
}

impl Decoder {
    /// The thread's whole life: until there is nothing more to decode, or nobody listens.
    pub(super) fn run(&self, mut raw: mpsc::Receiver<Raw>, items: &mpsc::Sender<FeedItem>) {
        while let Some(raw) = raw.blocking_recv() {
            let item = match raw {
                Raw::Said(item) => item,
                Raw::Messages(messages, place) => {
                    let deliveries = messages.iter().filter_map(|message| self.delivery(message)).collect();
                    FeedItem::Events { deliveries, place }
                }
            };
            let is_last = matches!(item, FeedItem::Broken(_));
            if items.blocking_send(item).is_err() || is_last {
                return;
            }
        }
        // The other thread ends without a word only where it was told to, when nobody listens, or by a defect.
        let fault = LedgerFault::Unfollowed { ledger: self.ledger.clone(), problem: "a defect".to_owned() };
        let _ = items.blocking_send(FeedItem::Broken(fault));
    }

    /// What a message says; nothing of a beat.
    fn delivery(&self, placed: &Placed) -> Option<Delivery> {
        let subject = placed.message.subject.as_str();
        if subject == BEATS {
            return None;
        }
        let position = Position(placed.sequence);
        Some(Delivery { position, event: self.event(subject, &placed.message.payload, position) })
    }

    /// The event of a message, or as much as can be told of it.
    pub(in crate::ledger::nats) fn event(
        &self,
        subject: &str,
        payload: &[u8],
        position: Position,
    ) -> Result<Event, Unreadable> {
        let about = About::parse(subject);
        let key = match about {
            Some(About::Subject(key, _)) => Some(key),
            Some(About::Catalogue) | None => None,
        };
        let event = decode_binary(payload, position, key)?;
        if about.is_some_and(|about| self.is_about(&event, about)) {
            return Ok(event);
        }
        // Whoever looks for a subject's messages by its key would not find this one.
        Err(refuse_binary(payload, position, key, "it stands under the name of somebody else"))
    }

    /// Whether an event stands under the subject that it must stand under.
    fn is_about(&self, event: &Event, about: About) -> bool {
        let is = |subject: &Subject, key: SubjectKey| self.hasher.key(subject.expose()) == key;
        match (about, &event.body) {
            (About::Subject(key, Kind::Consent), EventBody::Consent(consent)) => is(&consent.subject, key),
            (About::Subject(key, Kind::Erasure), EventBody::Erasure { subject })
            | (About::Subject(key, Kind::Restriction), EventBody::Restriction { subject, .. })
            | (About::Subject(key, Kind::Birth), EventBody::Birth { subject, .. }) => is(subject, key),
            (About::Subject(key, Kind::Link), EventBody::Link { subject, linked, .. }) => {
                is(subject, key) || is(linked, key)
            }
            (About::Catalogue, EventBody::Catalogue(_)) => true,
            _ => false,
        }
    }
}
