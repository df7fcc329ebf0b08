//! What a central ledger has already, told by the marks of its messages.
//!
//! All of it is read, once for each part of an import. To ask for each event by itself costs a round trip each, and needs
//! a proof that nothing is missing; a pass over the stream costs some hundred thousand messages a second and needs none,
//! since a message that is not found is only written again.

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use tokio_stream::StreamExt as _;

use super::subject::About;
use super::tail::EVENTS;
use super::{NatsLedger, TailError, content_mark, payload};
use crate::ledger::Mark;
use crate::proto::v1;

impl NatsLedger {
    /// The marks of the messages that say an event.
    #[must_use]
    pub fn marks(&self, event: &v1::LedgerEvent) -> Vec<Mark> {
        let payload = payload(event);
        let about = About::of(event, self.hasher());
        about.into_iter().map(|about| content_mark(&about.to_string(), &payload)).collect()
    }

    /// Tells the marks of all messages that are there now.
    ///
    /// # Errors
    /// If the stream is not given to this account.
    ///
    /// # Cancel safety
    /// Nothing is left behind when it is dropped.
    pub async fn each_mark(&self, each: &mut dyn FnMut(Mark)) -> Result<(), TailError> {
        let unread = |problem: &dyn std::fmt::Display| TailError::Unread {
            stream: self.stream().to_owned(),
            problem: problem.to_string(),
        };
        let stream = self.context().get_stream(self.stream()).await.map_err(|error| unread(&error))?;
        let last = stream.cached_info().state.last_sequence;
        let all = pull::OrderedConfig {
            deliver_policy: DeliverPolicy::All,
            filter_subjects: EVENTS.map(str::to_owned).to_vec(),
            ..pull::OrderedConfig::default()
        };
        let consumer = stream.create_consumer(all).await.map_err(|error| unread(&error))?;
        if consumer.cached_info().num_pending == 0 {
            return Ok(());
        }
        let mut messages = consumer.messages().await.map_err(|error| unread(&error))?;
        while let Some(message) = messages.next().await {
            let message = message.map_err(|error| unread(&error))?;
            each(content_mark(&message.subject, &message.payload));
            let info = message.info().map_err(|error| unread(&error))?;
            if info.pending == 0 || info.stream_sequence >= last {
                return Ok(());
            }
        }
        Err(unread(&"its messages ended"))
    }
}
