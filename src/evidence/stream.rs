//! The central stream of evidence: its settings, and what is wrong with a stream that has others.

use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, ErrorCode};

use super::batch::{SUBJECT_PREFIX, SUBJECTS};

/// The name of the stream, unless another one is given.
pub const DEFAULT_STREAM: &str = "CONSENT_EVIDENCE";
/// For how long the server knows the ids of messages, so that a batch sent again is not kept twice: 2 min, as servers
/// have it by default. A reader drops what comes twice later by its indices.
const DUPLICATE_WINDOW: std::time::Duration = std::time::Duration::from_mins(2);

/// Why the stream of evidence cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// There is none of this name.
    #[error("there is no stream `{0}`; `consentd evidence init` makes it")]
    Missing(String),
    /// Its settings lose evidence that was acknowledged.
    #[error("the stream `{name}` would lose evidence: {}; `nats stream edit {name}` changes it", .faults.join("; "))]
    Settings {
        /// The stream.
        name: String,
        /// What is wrong, each in a sentence.
        faults: Vec<String>,
    },
    /// The server did not say, or did not do it.
    #[error("the stream `{name}` cannot be {deed}: {problem}")]
    Server {
        /// The stream.
        name: String,
        /// What was to be done.
        deed: &'static str,
        /// What the server said.
        problem: String,
    },
}

/// The settings of the stream: everything is kept, on disk, until an operator removes it.
fn wanted(name: &str, replicas: usize) -> Config {
    Config {
        name: name.to_owned(),
        description: Some("the evidence of consentd's answers; `consentd evidence collect` reads it".to_owned()),
        subjects: vec![SUBJECTS.to_owned()],
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        num_replicas: replicas,
        duplicate_window: DUPLICATE_WINDOW,
        max_messages: -1,
        max_bytes: -1,
        max_messages_per_subject: -1,
        max_message_size: -1,
        deny_delete: true,
        ..Config::default()
    }
}

/// Makes the stream, or checks the one there is; says whether it was made.
///
/// # Errors
/// If the server refuses, or the stream that is there would lose acknowledged evidence.
pub async fn ensure(context: &jetstream::Context, name: &str, replicas: usize) -> Result<bool, StreamError> {
    match find(context, name).await {
        Ok(_) => Ok(false),
        Err(StreamError::Missing(_)) => {
            let made = context.create_stream(wanted(name, replicas)).await;
            made.map(|_| true).map_err(|error| server(name, "made", &error))
        }
        Err(error) => Err(error),
    }
}

/// The stream, if it keeps what it acknowledges.
pub(super) async fn find(context: &jetstream::Context, name: &str) -> Result<jetstream::stream::Stream, StreamError> {
    let stream = find_any(context, name).await?;
    let faults = faults(stream.cached_info());
    if faults.is_empty() { Ok(stream) } else { Err(StreamError::Settings { name: name.to_owned(), faults }) }
}

/// The stream, whatever its settings: what is in it can be read.
pub(super) async fn find_any(
    context: &jetstream::Context,
    name: &str,
) -> Result<jetstream::stream::Stream, StreamError> {
    use jetstream::context::GetStreamErrorKind::JetStream;
    context.get_stream(name).await.map_err(|error| match error.kind() {
        JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => StreamError::Missing(name.to_owned()),
        _ => server(name, "looked at", &error),
    })
}

fn server(name: &str, deed: &'static str, error: &dyn std::error::Error) -> StreamError {
    let mut problem = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !problem.contains(&cause_text) {
            problem = format!("{problem}: {cause_text}");
        }
        source = cause.source();
    }
    StreamError::Server { name: name.to_owned(), deed, problem }
}

/// What in a stream's settings loses evidence that was acknowledged, or takes none.
fn faults(info: &Info) -> Vec<String> {
    let config = &info.config;
    let mut faults = Vec::new();
    let mut fault = |is_wrong: bool, what: &str| {
        if is_wrong {
            faults.push(what.to_owned());
        }
    };
    let takes = config.subjects.iter().any(|subject| {
        [SUBJECTS, "consent.evidence.>"].contains(&subject.as_str()) || ["consent.>", ">"].contains(&subject.as_str())
    });
    fault(!takes, &format!("it does not take `{SUBJECT_PREFIX}.*`"));
    fault(config.retention != RetentionPolicy::Limits, "it removes what was read, for its retention is not `limits`");
    fault(config.storage != StorageType::File, "it is kept in memory");
    let bounded = config.max_bytes > 0 || config.max_messages > 0;
    fault(
        bounded && config.discard != DiscardPolicy::New,
        "it removes the oldest when it is full, for `discard` is not `new`",
    );
    fault(config.max_messages_per_subject > 0, "it keeps a number of messages for each sidecar and removes older ones");
    fault(config.no_ack, "it acknowledges nothing");
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(config: &Config) -> Info {
        let time = "2026-11-22T00:00:00Z";
        let state = serde_json::json!({ "messages": 0, "bytes": 0, "first_seq": 0, "first_ts": time, "last_seq": 0,
            "last_ts": time, "consumer_count": 0 });
        let info = serde_json::json!({ "config": config, "created": time, "state": state,
            "total": 0, "offset": 0, "limit": 0 });
        serde_json::from_value(info).expect("an info")
    }

    #[test]
    fn what_loses_evidence_is_named() {
        let good = wanted("E", 3);
        assert_eq!(faults(&info(&good)), Vec::<String>::new());
        let bad = |change: fn(&mut Config)| {
            let mut config = good.clone();
            change(&mut config);
            faults(&info(&config)).join("; ")
        };
        assert!(bad(|config| config.subjects = vec!["other.>".to_owned()]).contains("does not take"));
        assert!(bad(|config| config.retention = RetentionPolicy::WorkQueue).contains("removes what was read"));
        assert!(bad(|config| config.storage = StorageType::Memory).contains("memory"));
        assert!(bad(|config| config.max_messages_per_subject = 5).contains("each sidecar"));
        assert!(bad(|config| config.no_ack = true).contains("acknowledges nothing"));
        let full = |config: &mut Config| {
            config.max_bytes = 1 << 30;
            config.discard = DiscardPolicy::Old;
        };
        assert!(bad(full).contains("`discard`"));
        assert_eq!(bad(|config| config.max_bytes = 1 << 30), "");
    }
}
