//! One subscription for all answers: a question has a number of its own in the subject that it is answered to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::{Client, SubscribeError};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::answer::{Answer, Partial, Stray};

/// Messages of one answer that may wait to be read. An answer that overflows it is lost and asked for again.
const WAITING_MAX: usize = 2048;

/// Where answers come in.
#[derive(Debug)]
pub(super) struct Inbox {
    prefix: Arc<str>,
    open: Arc<Mutex<Open>>,
    receiving: AbortHandle,
}

/// The questions that wait for an answer.
#[derive(Debug, Default)]
struct Open {
    next: u64,
    questions: HashMap<u64, mpsc::Sender<async_nats::Message>>,
}

/// One question. Dropped, what still comes in for it is thrown away.
#[derive(Debug)]
pub(super) struct Question {
    number: u64,
    prefix: Arc<str>,
    open: Arc<Mutex<Open>>,
    came: mpsc::Receiver<async_nats::Message>,
}

impl Inbox {
    /// Subscribes.
    pub(super) async fn open(client: &Client) -> Result<Self, SubscribeError> {
        let prefix: Arc<str> = client.new_inbox().into();
        let mut subscriber = client.subscribe(format!("{prefix}.*")).await?;
        let open = Arc::new(Mutex::new(Open::default()));
        let questions = Arc::clone(&open);
        let receiving = tokio::spawn(async move {
            while let Some(message) = tokio_stream::StreamExt::next(&mut subscriber).await {
                let number = message.subject.rsplit('.').next().and_then(|number| number.parse().ok());
                let Some(number) = number else { continue };
                let mut open = lock(&questions);
                // One that cannot take it has lost a message: its end comes never, and it is asked again.
                if open.questions.get(&number).is_some_and(|question| question.try_send(message).is_err()) {
                    open.questions.remove(&number);
                }
            }
        });
        Ok(Self { prefix, open, receiving: receiving.abort_handle() })
    }

    /// Makes room for an answer.
    pub(super) fn question(&self) -> Question {
        let (came, receiver) = mpsc::channel(WAITING_MAX);
        let mut open = lock(&self.open);
        let number = open.next;
        open.next = open.next.wrapping_add(1);
        open.questions.insert(number, came);
        Question { number, prefix: Arc::clone(&self.prefix), open: Arc::clone(&self.open), came: receiver }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.receiving.abort();
    }
}

impl Question {
    /// Where it is answered to.
    pub(super) fn reply_subject(&self) -> String {
        format!("{}.{}", self.prefix, self.number)
    }

    /// Waits for the whole answer.
    pub(super) async fn answer(&mut self) -> Result<Answer, Stray> {
        let mut partial = Partial::default();
        while let Some(message) = self.came.recv().await {
            if let Some(answer) = partial.take(message)? {
                return Ok(answer);
            }
        }
        Err(Stray::Lost)
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        lock(&self.open).questions.remove(&self.number);
    }
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    // What a panic elsewhere left here is still a map of questions.
    open.lock().unwrap_or_else(PoisonError::into_inner)
}
