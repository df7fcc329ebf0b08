//! The requests of a run, encoded before it begins and sent over and over.

use std::sync::atomic::{AtomicUsize, Ordering};

use clap::ValueEnum;
use prost::Message;
use prost::bytes::Bytes;
use tonic::codegen::http::uri::PathAndQuery;

use super::check;
use super::wire::{Counts, Unreadable};
use crate::config::keys::DEFAULT_AUTHZEN_RESOURCE_TYPE;
use crate::proto::v1;

/// Which call is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Call {
    /// One question a call.
    Unary,
    /// `--batch` questions a call.
    Batch,
    /// One stream a connection, with `--batch` questions a message.
    Stream,
    /// One check of Envoy a call, with the question in the headers `x-subject`, `x-purpose` and `x-channel`.
    Check,
    /// One question a request, as AuthZEN's evaluation in JSON over HTTP/2; the sidecar needs `authzen.enabled`.
    Authzen,
}

impl Call {
    /// Its name, as the flag has it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::Batch => "batch",
            Self::Stream => "stream",
            Self::Check => "check",
            Self::Authzen => "authzen",
        }
    }

    /// Whether there is one question in a call.
    pub(super) const fn is_single(self) -> bool {
        matches!(self, Self::Unary | Self::Check | Self::Authzen)
    }

    /// Counts the answers of a response.
    ///
    /// # Errors
    /// If it is none.
    pub(super) fn count(self, counts: &mut Counts, response: &[u8]) -> Result<u64, Unreadable> {
        match self {
            Self::Unary | Self::Batch | Self::Stream => counts.add(response),
            Self::Check => check::count(counts, response),
            Self::Authzen => counts.add_decision(response),
        }
    }

    /// Its path on the wire.
    pub(super) const fn path(self) -> PathAndQuery {
        PathAndQuery::from_static(match self {
            Self::Unary => "/consent.v1.EnforcementService/MayProcess",
            Self::Batch => "/consent.v1.EnforcementService/MayProcessBatch",
            Self::Stream => "/consent.v1.EnforcementService/MayProcessStream",
            Self::Check => "/envoy.service.auth.v3.Authorization/Check",
            Self::Authzen => "/access/v1/evaluation",
        })
    }
}

/// What is asked about every subject.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Asked {
    /// The purpose asked for.
    #[arg(long, default_value = super::ledger::PURPOSE)]
    pub(super) purpose: String,
    /// The channel asked for.
    #[arg(long, default_value = super::ledger::CHANNEL)]
    pub(super) channel: String,
}

/// Encoded requests. Handing one out copies nothing.
#[derive(Debug)]
pub(super) struct Load {
    messages: Vec<Bytes>,
    questions: u64,
    next: AtomicUsize,
}

impl Load {
    /// Requests about all the subjects, in their order, each with the same number of questions: the last begins the
    /// subjects anew to be full. `batch` is without meaning where a call has one question.
    pub(super) fn new(call: Call, asked: &Asked, subjects: &[v1::Subject], batch: usize) -> Self {
        let questions = if call.is_single() { 1 } else { batch.max(1) };
        let mut text = Vec::new();
        let mut ends = Vec::new();
        let mut encode = |message: &dyn Fn(&mut Vec<u8>)| {
            message(&mut text);
            ends.push(text.len());
        };
        if call.is_single() {
            for subject in subjects {
                encode(&|text| match call {
                    Call::Check => check::request(asked, subject).encode_raw(text),
                    Call::Authzen => text.extend(evaluation(asked, subject).to_string().into_bytes()),
                    Call::Unary | Call::Batch | Call::Stream => single(asked, subject).encode_raw(text),
                });
            }
        } else {
            let count = subjects.len().div_ceil(questions);
            for first in (0..count).map(|message| message * questions) {
                let places = (first..first + questions).map(|place| place % subjects.len());
                let message = many(asked, places.filter_map(|place| subjects.get(place)));
                encode(&|text| message.encode_raw(text));
            }
        }
        let text = Bytes::from(text);
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let messages = starts.zip(&ends).map(|(start, end)| text.slice(start..*end)).collect();
        Self { messages, questions: questions as u64, next: AtomicUsize::new(0) }
    }

    /// The next request.
    pub(super) fn next(&self) -> Bytes {
        let place = self.next.fetch_add(1, Ordering::Relaxed) % self.messages.len().max(1);
        self.messages.get(place).cloned().unwrap_or_default()
    }

    /// How many requests there are before they repeat.
    pub(super) const fn len(&self) -> usize {
        self.messages.len()
    }

    /// The number of questions in each request.
    pub(super) const fn questions(&self) -> u64 {
        self.questions
    }
}

fn single(asked: &Asked, subject: &v1::Subject) -> v1::MayProcessRequest {
    v1::MayProcessRequest {
        question: Some(v1::Question {
            subject: Some(subject.clone()),
            purpose: asked.purpose.clone(),
            channel: asked.channel.clone(),
            ..v1::Question::default()
        }),
    }
}

fn evaluation(asked: &Asked, subject: &v1::Subject) -> serde_json::Value {
    serde_json::json!({
        "subject": {"type": subject.space, "id": subject.id},
        "action": {"name": asked.channel},
        "resource": {"type": DEFAULT_AUTHZEN_RESOURCE_TYPE, "id": asked.purpose},
    })
}

/// A batch. A message of a stream has the same fields under the same numbers, and every one may carry the context.
fn many<'a>(asked: &Asked, subjects: impl Iterator<Item = &'a v1::Subject>) -> v1::MayProcessBatchRequest {
    v1::MayProcessBatchRequest {
        context: Some(v1::Context {
            purpose: asked.purpose.clone(),
            channel: asked.channel.clone(),
            ..v1::Context::default()
        }),
        questions: subjects
            .map(|subject| v1::BatchQuestion { subject: Some(subject.clone()), ..v1::BatchQuestion::default() })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subjects(count: usize) -> Vec<v1::Subject> {
        (0..count).map(|id| v1::Subject { space: "crm".to_owned(), id: id.to_string() }).collect()
    }

    fn asked() -> Asked {
        Asked { purpose: "marketing".to_owned(), channel: "email".to_owned() }
    }

    #[test]
    fn every_subject_is_asked_about_once_before_any_is_again() {
        let load = Load::new(Call::Unary, &asked(), &subjects(3), 1000);
        assert_eq!((load.len(), load.questions()), (3, 1));
        let ids: Vec<String> = (0..4)
            .map(|_| v1::MayProcessRequest::decode(load.next()).expect("a request").question.expect("a question"))
            .map(|question| question.subject.expect("a subject").id)
            .collect();
        assert_eq!(ids, ["0", "1", "2", "0"]);
    }

    #[test]
    fn batches_are_full_and_streams_read_the_same_bytes() {
        let load = Load::new(Call::Stream, &asked(), &subjects(5), 2);
        assert_eq!((load.len(), load.questions()), (3, 2));
        let messages: Vec<v1::MayProcessStreamRequest> =
            (0..3).map(|_| v1::MayProcessStreamRequest::decode(load.next()).expect("a message")).collect();
        let ids: Vec<&str> = messages
            .iter()
            .flat_map(|message| &message.questions)
            .map(|question| question.subject.as_ref().expect("a subject").id.as_str())
            .collect();
        assert_eq!(ids, ["0", "1", "2", "3", "4", "0"]);
        assert!(messages.iter().all(|message| message.context.is_some()));
    }
}
