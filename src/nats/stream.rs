//! A stream that keeps what it acknowledged: making one, and what is wrong with one that would lose or rewrite it.
//!
//! Settings are read as the server says them and not through the client's types, which drop what they do not know: a
//! setting that nobody here knows is a fault too, because it may be the next way to lose a message.

use async_nats::jetstream::{Context, stream};
use serde_json::{Map, Value, json};

use super::fault::Fault;

/// For how long the server knows the ids of messages: 2 min, what servers have by default.
const DUPLICATE_WINDOW_NANOS: u64 = 120_000_000_000;
/// The server's code for a stream that is not there.
const STREAM_NOT_FOUND: u64 = 10_059;

/// How a stream must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptStream {
    /// Its name.
    pub name: String,
    /// What it is for, in its settings.
    pub description: &'static str,
    /// The subjects that it takes, and no others.
    pub subjects: &'static str,
    /// On how many servers it must lie. `None`: as it is, but never on one of several.
    pub replicas: Option<u64>,
    /// Whether an operator may remove its oldest messages, as the end of a retention period asks. Otherwise nothing can
    /// be removed but the stream as a whole.
    pub may_purge: bool,
    /// What its metadata says when it is made.
    pub metadata: Vec<(&'static str, String)>,
}

/// A stream as the server says it is.
#[derive(Debug, Clone)]
pub struct Seen {
    /// As the client reads it.
    pub info: stream::Info,
    said: Value,
}

/// Why nothing is known of a stream, or none was made.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// There is none.
    #[error("there is no stream `{0}` on the server; `consentd ledger init` makes it")]
    Missing(String),
    /// Nobody answers for streams.
    #[error(
        "the server says nothing of the stream `{name}`: {problem}; does it have JetStream, has its cluster a leader, \
         and may this account ask for `$JS.API.STREAM.>`?"
    )]
    Silent {
        /// Which.
        name: String,
        /// What the client says.
        problem: String,
    },
    /// The server does not do it.
    #[error("the server refuses the stream `{name}`: {problem}")]
    Refused {
        /// Which.
        name: String,
        /// What the server says.
        problem: String,
    },
}

impl KeptStream {
    /// Looks at the stream on the server.
    ///
    /// # Errors
    /// If there is none, or it cannot be told.
    ///
    /// # Cancel safety
    /// Nothing is left behind when it is dropped.
    pub async fn look(&self, context: &Context) -> Result<Seen, StreamError> {
        self.ask(context, "INFO", &Value::Null).await
    }

    /// Makes the stream on so many servers. Of several that make it at once all see the one that was made.
    ///
    /// # Errors
    /// If the server does not make it.
    ///
    /// # Cancel safety
    /// It may have been made when it is dropped.
    pub async fn make(&self, context: &Context, replicas: u64) -> Result<Seen, StreamError> {
        let metadata: Map<String, Value> =
            self.metadata.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into())).collect();
        let settings = json!({
            "name": self.name,
            "description": self.description,
            "subjects": [self.subjects],
            "metadata": metadata,
            "num_replicas": replicas,
            "storage": "file",
            "retention": "limits",
            "discard": "new",
            "max_age": 0,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_msgs_per_subject": -1,
            "max_msg_size": -1,
            "max_consumers": -1,
            "duplicate_window": DUPLICATE_WINDOW_NANOS,
            "deny_delete": true,
            "deny_purge": !self.may_purge,
            "allow_direct": true,
        });
        self.ask(context, "CREATE", &settings).await
    }

    async fn ask(&self, context: &Context, verb: &str, body: &Value) -> Result<Seen, StreamError> {
        let name = || self.name.clone();
        let silent = |problem: String| StreamError::Silent { name: name(), problem };
        let said: Value = context
            .request(format!("STREAM.{verb}.{}", self.name), body)
            .await
            .map_err(|error| silent(error.to_string()))?;
        if let Some(error) = said.get("error") {
            if error.get("err_code").and_then(Value::as_u64) == Some(STREAM_NOT_FOUND) {
                return Err(StreamError::Missing(name()));
            }
            let problem = error.get("description").and_then(Value::as_str).unwrap_or("without saying why");
            return Err(StreamError::Refused { name: name(), problem: problem.to_owned() });
        }
        let info = serde_json::from_value(said.clone()).map_err(|error| silent(format!("not understood, {error}")))?;
        Ok(Seen { info, said })
    }
}

impl Seen {
    /// All that is wrong with the stream; empty where it keeps what it acknowledges.
    #[must_use]
    pub fn faults(&self, kept: &KeptStream) -> Vec<Fault> {
        super::fault::faults(&self.said, kept)
    }

    /// Whether the stream's leader answered, as far as the answer tells; one that is no leader any more and does not
    /// know it answers like the leader. Where there is no leader every copy answers, and says so. Whoever answers leaves
    /// itself out of the copies it lists, so that a leader among them did not answer; and a server that has not joined
    /// the others yet lists none and calls itself the leader.
    #[must_use]
    pub fn is_from_leader(&self) -> bool {
        let is_one = self.info.config.num_replicas <= 1;
        let Some(cluster) = &self.info.cluster else { return is_one };
        let others = &cluster.replicas;
        let is_leader = |leader: &String| !leader.is_empty() && others.iter().all(|other| other.name != *leader);
        cluster.leader.as_ref().is_some_and(is_leader) && (is_one || !others.is_empty())
    }

    /// What its metadata says under a name.
    #[must_use]
    pub fn metadata(&self, name: &str) -> Option<&str> {
        self.info.config.metadata.get(name).map(String::as_str)
    }

    /// The names of the servers that it lies on.
    #[must_use]
    pub fn servers(&self) -> Vec<String> {
        let Some(cluster) = &self.info.cluster else { return Vec::new() };
        let replicas = cluster.replicas.iter().map(|peer| peer.name.clone());
        cluster.leader.clone().into_iter().chain(replicas).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(replicas: u64, cluster: &Value) -> Seen {
        let mut said = json!({
            "config": {"name": "S", "subjects": ["s.>"], "retention": "limits", "max_consumers": -1, "max_msgs": -1,
                "max_bytes": -1, "max_age": 0, "max_msgs_per_subject": -1, "max_msg_size": -1, "storage": "file",
                "discard": "new", "num_replicas": replicas, "duplicate_window": 120_000_000_000_u64},
            "created": "2026-01-01T00:00:00Z",
            "state": {"messages": 0, "bytes": 0, "first_seq": 0, "first_ts": "2026-01-01T00:00:00Z", "last_seq": 0,
                "last_ts": "2026-01-01T00:00:00Z", "consumer_count": 0},
        });
        if !cluster.is_null() {
            said["cluster"] = cluster.clone();
        }
        Seen { info: serde_json::from_value(said.clone()).expect("a stream"), said }
    }

    #[test]
    fn it_is_told_whether_the_leader_answered() {
        let others = |names: &[&str]| -> Vec<Value> {
            names.iter().map(|name| json!({"name": name, "current": true, "active": 0})).collect()
        };
        let cluster = |leader, names: &[&str]| json!({"name": "c", "leader": leader, "replicas": others(names)});
        assert!(seen(1, &Value::Null).is_from_leader(), "a server without a cluster");
        assert!(seen(1, &cluster("n0", &[])).is_from_leader(), "the only copy");
        assert!(seen(3, &cluster("n0", &["n1", "n2"])).is_from_leader());
        assert!(seen(3, &cluster("n0", &["n1"])).is_from_leader(), "one was removed");
        for (cluster, who) in [
            (Value::Null, "one who says nothing of the others"),
            (cluster("n0", &["n0", "n1"]), "another"),
            (cluster("", &["n0", "n1", "n2"]), "one without a leader"),
            (json!({"name": "c", "replicas": others(&["n1", "n2"])}), "one without a leader"),
            (cluster("n0", &[]), "one who has not joined the others"),
        ] {
            assert!(!seen(3, &cluster).is_from_leader(), "{who}");
        }
        assert!(!seen(1, &cluster("", &[])).is_from_leader(), "the only copy is away");
    }
}
