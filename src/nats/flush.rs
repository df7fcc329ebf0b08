//! Whether servers flush to their disks before they acknowledge. It is a setting of each server, which only the system
//! account of NATS may see.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout};
use tokio_stream::StreamExt as _;

use super::{Config, ConnectError, connect};

/// How long the answer of one more server is waited for.
const QUIET: Duration = Duration::from_millis(500);
/// How long answers are collected.
const COLLECT_MAX: Duration = Duration::from_secs(5);

/// How a server flushes what streams acknowledge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flush {
    /// The server's name.
    pub server: String,
    /// Whether it flushes before it acknowledges.
    pub always: bool,
    /// Otherwise the longest time that acknowledged data is not on its disk.
    pub interval: Duration,
}

/// Why it cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No server answers.
    #[error("no server answers what only the system account may ask; look whether these are its credentials")]
    NoAnswer,
    /// The connection failed.
    #[error("the servers cannot be asked: {0}")]
    Client(String),
}

/// Asks every server that has streams, as the system account, whose credentials the configuration names.
///
/// # Errors
/// If no server answers.
///
/// # Cancel safety
/// Nothing is left behind when it is dropped.
pub async fn flushes(system: &Config) -> Result<Vec<Flush>, FlushError> {
    let failed = |error: &dyn std::fmt::Display| FlushError::Client(error.to_string());
    let client = connect(system).await?;
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.map_err(|error| failed(&error))?;
    let asked = client.publish_with_reply("$SYS.REQ.SERVER.PING.VARZ", inbox, "{}".into()).await;
    asked.map_err(|error| failed(&error))?;
    client.flush().await.map_err(|error| failed(&error))?;
    let mut found = Vec::new();
    let until = Instant::now() + COLLECT_MAX;
    while Instant::now() < until {
        let Ok(Some(answer)) = timeout(QUIET, answers.next()).await else { break };
        let said: Value = serde_json::from_slice(&answer.payload).unwrap_or(Value::Null);
        found.extend(flush(&said));
    }
    if found.is_empty() { Err(FlushError::NoAnswer) } else { Ok(found) }
}

/// What one server says; nothing of one that keeps no streams.
fn flush(said: &Value) -> Option<Flush> {
    let config = said.pointer("/data/jetstream/config")?;
    let server = said.pointer("/server/name")?.as_str()?.to_owned();
    let always = config.get("sync_always").and_then(Value::as_bool).unwrap_or(false);
    let interval = Duration::from_nanos(config.get("sync_interval").and_then(Value::as_u64).unwrap_or(0));
    Some(Flush { server, always, interval })
}
