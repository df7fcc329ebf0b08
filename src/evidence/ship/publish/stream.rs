//! What the stream is to the shipper: whether it is the one that acknowledged before, whether what is under our name in it
//! is ours, and what may be removed here because it is there.

use std::time::Instant;

use async_nats::jetstream;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};

use super::{Halt, PATROL_INTERVAL, Shipper, rewound};
use crate::evidence::batch::{Incoming, Place, subject};
use crate::evidence::central;
use crate::evidence::files::Cause;
use crate::evidence::ship::{backlog, retention, trim};
use crate::nats::with_causes;

impl Shipper<'_> {
    /// Goes back to the first record that is kept: the stream has nothing of what an earlier one acknowledged, and nothing
    /// may be removed here on that one's word.
    fn begin_again(&mut self) -> Result<(), Cause> {
        self.heads.clear();
        self.ends.clear();
        let Some(first) = backlog::first_place(&self.shared.layout, self.sender.instance)? else { return Ok(()) };
        // Not what an earlier stream has not had acknowledged in its turn.
        let is_later = |again: &Place| (again.month, again.index) > (self.acknowledged.month, self.acknowledged.index);
        self.again_until = self.again_until.filter(is_later).or(Some(self.acknowledged));
        self.acknowledged = first;
        self.backlog.go_to(first);
        Ok(())
    }

    /// The stream, if it keeps what it acknowledges. Ships again what it does not have if it is another one than before.
    pub(super) async fn recognise(&mut self, context: &jetstream::Context) -> Result<Stream<()>, Halt> {
        let name = &self.config.stream;
        let made = self.stream_made(context).await?;
        if self.stream_made != 0 && self.stream_made != made {
            self.begin_again()?;
            let Place { month, index, .. } = self.acknowledged;
            tracing::error!(
                stream = name, %month, index,
                "the evidence stream was made anew; what is still kept here is shipped again"
            );
        }
        self.stream_made = made;
        self.store()?;
        let found = context.get_stream_no_info(name).await;
        found.map_err(|error| Halt::Trouble(with_causes(&error)))
    }

    /// When the stream was made that keeps what it acknowledges, in nanoseconds since 1970.
    pub(super) async fn stream_made(&self, context: &jetstream::Context) -> Result<i128, Halt> {
        let name = &self.config.stream;
        let kept = central::kept_stream(name);
        let seen = kept.look(context).await.map_err(|error| Halt::Trouble(with_causes(&error)))?;
        let faults: Vec<String> = seen.faults(&kept).iter().map(ToString::to_string).collect();
        if !faults.is_empty() {
            return Err(Halt::Trouble(format!("the stream `{name}` would lose evidence: {}", faults.join("; "))));
        }
        Ok(seen.info.created.unix_timestamp_nanos())
    }

    /// Looks whether the last message under our name is ours, and what may be removed.
    pub(super) async fn patrol(&mut self, stream: &Stream<()>) -> Result<(), Halt> {
        self.patrolled_at = Instant::now();
        let last = match stream.get_last_raw_message_by_subject(&subject(self.sender.instance)).await {
            Ok(last) => last,
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return Ok(()),
            Err(error) => {
                return Err(Halt::Trouble(format!("the evidence stream cannot be read: {}", with_causes(&error))));
            }
        };
        let foreign = |why: String| Halt::Rewound(rewound(&format!("message {} under its name {why}", last.sequence)));
        let message = Incoming::read(&last.payload).map_err(|why| foreign(format!("cannot be read: {why}")))?;
        if message.instance != self.sender.instance || message.public != self.sender.public {
            return Err(foreign("is signed by another key".to_owned()));
        }
        let end = message.end();
        // A head of a month that is over says nothing of the chain.
        let is_known = message.count == 0 && end.chain == [0; 32] || self.ends.contains(&end);
        if !is_known {
            backlog::holds(&self.shared.layout, self.sender.instance, &end)?;
        }
        self.remove_old()
    }

    fn remove_old(&mut self) -> Result<(), Halt> {
        let Some(keep) = self.config.keep_shipped else { return Ok(()) };
        // What the device says must not be behind what is removed.
        self.store()?;
        let shipped = retention::Shipped { acknowledged: self.acknowledged, heads: &self.heads };
        let now = self.shared.clock.now();
        retention::remove(&self.shared.layout, self.sender.instance, &shipped, keep, now)?;
        Ok(())
    }

    /// Removes what is more than may be kept here. Where that fails shipping goes on, and it is tried again.
    pub(super) fn trim(&mut self) -> Result<(), Halt> {
        let Some(bytes_max) = self.config.max_shipped_bytes else { return Ok(()) };
        self.trimmed_at = Instant::now();
        // What the device says must not be behind what is removed.
        self.store()?;
        let trim = trim::Trim {
            layout: &self.shared.layout,
            instance: self.sender.instance,
            public: &self.sender.public,
            shipped: retention::Shipped { acknowledged: self.acknowledged, heads: &self.heads },
            built: &|month| self.core.built(month),
        };
        match trim.down_to(bytes_max) {
            Ok(kept) => self.outlet.set_kept(kept),
            Err(cause) => {
                // What it found out about may have taken reading everything.
                self.trimmed_at = Instant::now() + PATROL_INTERVAL;
                if self.outlet.cannot_remove(&cause.to_string()) {
                    tracing::error!(%cause, "evidence that was shipped cannot be removed here; the disk fills");
                }
            }
        }
        Ok(())
    }
}

/// Noticed while it is shipped to: the next session begins again with it.
pub(super) fn made_anew() -> Halt {
    Halt::Trouble("the evidence stream was made anew".to_owned())
}
