//! The bodies of reviews, read within bounds: how much of them is held, of all together, and for how long.
//!
//! Anybody in the cluster reaches the webhook, and API servers must be answered meanwhile. So whoever sends slowly holds no more
//! than what was sent, and what is large has a room of its own, beside which reviews of common size go on.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::{Body as _, Frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// The largest review, in bytes. The API server takes objects of 3 MiB, and wraps them.
pub const BODY_BYTES_MAX: usize = 4 << 20;
/// How much of each body is counted to the room for what is common. A review of a pod with 41 containers takes 71 kB.
const COMMON_BYTES: usize = 128 << 10;
/// What may be held of all bodies together in each of the two rooms, in bytes. A vector that grows takes up to twice as much.
const ROOM_BYTES: usize = 12 << 20;
/// What may be taken up into answers at once, in bytes: a body becomes a multiple of itself there.
const ANSWERED_BYTES: usize = BODY_BYTES_MAX;
/// How long a body may take. The API server sends it at once, and waits for 5 s in all.
const READ_TIMEOUT: Duration = Duration::from_secs(3);

/// The room that bodies have; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Room {
    common: Arc<Semaphore>,
    large: Arc<Semaphore>,
    answered: Arc<Semaphore>,
}

/// A body that was read, with its place.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    places: Vec<OwnedSemaphorePermit>,
}

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unread {
    /// It is larger than any review.
    #[error("the review is larger than 4 MiB")]
    TooLarge,
    /// It did not come in time, or there was no room for it in time.
    #[error("the review did not come within {READ_TIMEOUT:?}")]
    Slow,
    /// Its connection ended.
    #[error("the review did not come as a whole")]
    Gone,
}

impl Room {
    pub(super) fn new() -> Self {
        let [common, large, answered] =
            [ROOM_BYTES, ROOM_BYTES, ANSWERED_BYTES].map(|bytes| Arc::new(Semaphore::new(bytes)));
        Self { common, large, answered }
    }

    /// Reads a body to its end.
    ///
    /// # Errors
    /// If it is too large, or does not come.
    ///
    /// # Cancel safety
    /// When it is dropped, what was read is gone, and so is its place.
    pub(super) async fn read(&self, body: Body) -> Result<Held, Unread> {
        timeout(READ_TIMEOUT, self.collect(body)).await.map_err(|_| Unread::Slow)?
    }

    async fn collect(&self, mut body: Body) -> Result<Held, Unread> {
        let mut held = Held::default();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            // Trailers say nothing here.
            let Ok(piece) = frame.map_err(|_| Unread::Gone).map(Frame::into_data)? else { continue };
            self.take(&mut held, &piece).await?;
        }
        Ok(held)
    }

    async fn take(&self, held: &mut Held, piece: &Bytes) -> Result<(), Unread> {
        let bytes = held.bytes.len().saturating_add(piece.len());
        if bytes > BODY_BYTES_MAX {
            return Err(Unread::TooLarge);
        }
        let room = if bytes > COMMON_BYTES { &self.large } else { &self.common };
        let place = places(room, piece.len()).await?;
        held.bytes.extend_from_slice(piece);
        match held.places.iter_mut().find(|own| Arc::ptr_eq(own.semaphore(), room)) {
            Some(own) => own.merge(place),
            None => held.places.push(place),
        }
        Ok(())
    }

    /// Waits until a body may be taken up into an answer, which is for as long as what is returned lives.
    ///
    /// # Errors
    /// Never while the room is there.
    ///
    /// # Cancel safety
    /// When it is dropped, nobody waits.
    pub(super) async fn answering(&self, held: &Held) -> Result<OwnedSemaphorePermit, Unread> {
        places(&self.answered, held.bytes.len()).await
    }
}

impl Held {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// So many places of a room, in the order of asking.
async fn places(room: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, Unread> {
    // INVARIANT: no piece is larger than a body, which each room has places for. Rooms are never closed.
    let bytes = u32::try_from(bytes).map_err(|_| Unread::TooLarge)?;
    Arc::clone(room).acquire_many_owned(bytes).await.map_err(|_| Unread::Gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(bytes: usize) -> Body {
        Body::from(vec![b' '; bytes])
    }

    #[tokio::test]
    async fn the_largest_is_read_and_its_place_is_given_back() {
        let room = Room::new();
        for _ in 0..8 {
            let held = room.read(sent(BODY_BYTES_MAX)).await.expect("read");
            assert_eq!(held.bytes().len(), BODY_BYTES_MAX);
            assert_eq!(room.large.available_permits(), ROOM_BYTES - BODY_BYTES_MAX);
            let answering = room.answering(&held).await.expect("alone");
            assert_eq!(room.answered.available_permits(), 0);
            drop((held, answering));
        }
        assert_eq!(room.read(sent(BODY_BYTES_MAX + 1)).await.expect_err("too large"), Unread::TooLarge);
        let free = [&room.common, &room.large, &room.answered].map(|room| room.available_permits());
        assert_eq!(free, [ROOM_BYTES, ROOM_BYTES, ANSWERED_BYTES]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_common_is_read_while_all_room_for_what_is_large_is_taken() {
        let room = Room::new();
        let mut large = Vec::new();
        for _ in 0..ROOM_BYTES / BODY_BYTES_MAX {
            large.push(room.read(sent(BODY_BYTES_MAX)).await.expect("read"));
        }
        assert_eq!(room.read(sent(BODY_BYTES_MAX)).await.expect_err("no room"), Unread::Slow);
        assert_eq!(room.read(sent(COMMON_BYTES)).await.expect("read").bytes().len(), COMMON_BYTES);
        large.pop();
        assert!(room.read(sent(BODY_BYTES_MAX)).await.is_ok());
    }
}
