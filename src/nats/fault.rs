//! What in a stream loses, rewrites or refuses messages. Source: the stream settings of nats-server 2.15.

use std::time::Duration;

use serde_json::{Map, Value};

use super::stream::KeptStream;

/// The shortest window within which a message that is sent again must be known: longer than any writer tries again.
pub(crate) const DUPLICATE_WINDOW_MIN: Duration = Duration::from_mins(1);

/// Settings that can do no harm, or that a rule below looks at. Any other is a fault.
const KNOWN: [&str; 38] = [
    "name",
    "description",
    "subjects",
    "retention",
    "max_consumers",
    "max_msgs",
    "max_bytes",
    "max_age",
    "max_msgs_per_subject",
    "max_msg_size",
    "discard",
    "discard_new_per_subject",
    "storage",
    "num_replicas",
    "no_ack",
    "template_owner",
    "duplicate_window",
    "placement",
    "mirror",
    "sources",
    "compression",
    "first_seq",
    "subject_transform",
    "republish",
    "sealed",
    "deny_delete",
    "deny_purge",
    "allow_rollup_hdrs",
    "allow_direct",
    "mirror_direct",
    "consumer_limits",
    "metadata",
    "allow_msg_ttl",
    "subject_delete_marker_ttl",
    "allow_msg_schedules",
    "allow_msg_counter",
    "persist_mode",
    "allow_atomic",
];

/// One thing that is wrong with a stream, and what an operator does about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Another retention than by limits.
    #[error("its retention is `{0}`, which removes messages once they were read; it must be `limits`")]
    Retention(String),
    /// In memory.
    #[error("it is kept in memory and gone when its servers stop; make it again with `file` storage")]
    Memory,
    /// Messages expire.
    #[error("it removes messages after {} s (`max_age`); set that to 0", .0.as_secs_f64())]
    Age(Duration),
    /// Old messages make room for new ones.
    #[error("at a limit it drops its oldest messages; set `discard` to `new`, so that it refuses new ones instead")]
    DiscardsOld,
    /// A subject keeps so many.
    #[error("it keeps no more than {0} messages of a subject (`max_msgs_per_subject`); set that to -1")]
    PerSubject(i64),
    /// Nothing is acknowledged.
    #[error("it acknowledges nothing (`no_ack`); nobody could tell whether anything was written")]
    NoAck,
    /// It takes nothing more.
    #[error("it is sealed and takes nothing more; make a new one")]
    Sealed,
    /// Single messages can be deleted.
    #[error("single messages can be deleted from it; set `deny_delete`")]
    Delete,
    /// It can be emptied.
    #[error("it can be purged; set `deny_purge`")]
    Purge,
    /// A header removes what is before.
    #[error("a message can remove all before it (`allow_rollup_hdrs`); it must not")]
    Rollup,
    /// Messages expire one by one.
    #[error("messages can be given an end (`allow_msg_ttl`), which cannot be taken back; make it again without")]
    MessageTtl,
    /// Another setting by which the server writes, changes or drops messages by itself.
    #[error("the server may write or change messages in it by itself (`{0}`); make it again without")]
    Rewrites(String),
    /// The ack comes before the write.
    #[error("it acknowledges before it has written (`persist_mode: async`), which cannot be changed; make it again")]
    AcksEarly,
    /// It takes what another stream says.
    #[error("it copies from other streams (`{0}`); it must take only what is written to it")]
    Copies(String),
    /// Messages leave it.
    #[error("it sends a copy of each message, identifiers included, to other subjects (`republish`); it must not")]
    Republishes,
    /// It does not begin with the first message.
    #[error("its first message has the number {0} and not 1; what was before is lost, or was never there")]
    Begins(u64),
    /// Messages are missing inside.
    #[error("{0} messages are missing inside it; restore it from a backup")]
    Holes(u64),
    /// Other subjects.
    #[error("it takes the subjects {has} and must take `{wanted}` alone")]
    Subjects {
        /// Those that it takes.
        has: String,
        /// Those that it must take.
        wanted: String,
    },
    /// One copy among several servers.
    #[error("it lies on one server of a cluster, and is lost with that server's disk; give it 3 replicas")]
    OneReplica,
    /// Another number of copies than was asked for.
    #[error("it lies on {has} servers and not on {wanted} (`num_replicas`)")]
    Replicas {
        /// On how many.
        has: u64,
        /// On how many it must.
        wanted: u64,
    },
    /// It is being moved.
    #[error("it is being moved between servers; wait until that is done")]
    Moving,
    /// The window of message ids is too short.
    #[error(
        "it knows a message that is sent again for {} s only (`duplicate_window`); set that to 2 minutes",
        .0.as_secs_f64()
    )]
    Window(Duration),
    /// A setting of a newer server.
    #[error("it has the setting `{0}`, which this version does not know and which may lose messages; use a newer one")]
    Unknown(String),
}

/// All faults of a stream that the server described so.
pub(super) fn faults(said: &Value, kept: &KeptStream) -> Vec<Fault> {
    let none = Map::new();
    let config = Settings(said.get("config").and_then(Value::as_object).unwrap_or(&none));
    let mut faults = config.faults(kept);
    faults.extend(state_faults(said.get("state").unwrap_or(&Value::Null), kept));
    let cluster = said.get("cluster").unwrap_or(&Value::Null);
    let replicas = config.number("num_replicas").max(1).unsigned_abs();
    let in_cluster = cluster.get("name").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
    match kept.replicas {
        _ if replicas == 1 && in_cluster => faults.push(Fault::OneReplica),
        Some(wanted) if wanted != replicas => faults.push(Fault::Replicas { has: replicas, wanted }),
        _ => {}
    }
    if cluster.get("desired").is_some_and(|desired| !desired.is_null()) {
        faults.push(Fault::Moving);
    }
    faults
}

fn state_faults(state: &Value, kept: &KeptStream) -> Vec<Fault> {
    let number = |name: &str| state.get(name).and_then(Value::as_u64).unwrap_or(0);
    let (first, last, messages) = (number("first_seq"), number("last_seq"), number("messages"));
    let mut faults = Vec::new();
    if first > 1 && !kept.may_purge {
        faults.push(Fault::Begins(first));
    }
    let span = if messages == 0 { 0 } else { (last + 1).saturating_sub(first) };
    let missing = span.saturating_sub(messages).max(number("num_deleted"));
    if missing > 0 {
        faults.push(Fault::Holes(missing));
    }
    faults
}

/// A stream's settings as the server says them.
struct Settings<'a>(&'a Map<String, Value>);

impl Settings<'_> {
    fn faults(&self, kept: &KeptStream) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut check = |is_wrong: bool, fault: fn() -> Fault| {
            if is_wrong {
                faults.push(fault());
            }
        };
        check(self.text("storage") != "file", || Fault::Memory);
        check(self.text("discard") != "new", || Fault::DiscardsOld);
        check(self.is_on("no_ack"), || Fault::NoAck);
        check(self.is_on("sealed"), || Fault::Sealed);
        check(!self.is_on("deny_delete"), || Fault::Delete);
        check(!self.is_on("deny_purge") && !kept.may_purge, || Fault::Purge);
        check(self.is_on("allow_rollup_hdrs"), || Fault::Rollup);
        check(self.is_on("allow_msg_ttl"), || Fault::MessageTtl);
        check(self.is_there("republish"), || Fault::Republishes);
        check(!matches!(self.text("persist_mode"), "" | "default"), || Fault::AcksEarly);
        if self.text("retention") != "limits" {
            faults.push(Fault::Retention(self.text("retention").to_owned()));
        }
        let age = self.nanos("max_age");
        if !age.is_zero() {
            faults.push(Fault::Age(age));
        }
        let per_subject = self.number("max_msgs_per_subject");
        if per_subject > 0 {
            faults.push(Fault::PerSubject(per_subject));
        }
        let window = self.nanos("duplicate_window");
        if window < DUPLICATE_WINDOW_MIN {
            faults.push(Fault::Window(window));
        }
        let subjects: Vec<&str> =
            self.0.get("subjects").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        if subjects != [kept.subjects] {
            let has = subjects.iter().map(|subject| format!("`{subject}`")).collect::<Vec<_>>().join(", ");
            faults.push(Fault::Subjects { has, wanted: kept.subjects.to_owned() });
        }
        for name in ["subject_delete_marker_ttl", "allow_msg_schedules", "allow_msg_counter", "subject_transform"] {
            if self.is_there(name) {
                faults.push(Fault::Rewrites(name.to_owned()));
            }
        }
        for name in ["mirror", "sources"] {
            if self.is_there(name) {
                faults.push(Fault::Copies(name.to_owned()));
            }
        }
        let unknown = self.0.keys().filter(|name| !KNOWN.contains(&name.as_str()) && self.is_there(name));
        faults.extend(unknown.map(|name| Fault::Unknown(name.clone())));
        faults
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn number(&self, name: &str) -> i64 {
        self.0.get(name).and_then(Value::as_i64).unwrap_or(0)
    }

    fn nanos(&self, name: &str) -> Duration {
        Duration::from_nanos(self.0.get(name).and_then(Value::as_u64).unwrap_or(0))
    }

    fn is_on(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// Whether it says anything but its absence.
    fn is_there(&self, name: &str) -> bool {
        match self.0.get(name) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::Array(items)) => !items.is_empty(),
            Some(Value::Number(number)) => number.as_i64() != Some(0),
            Some(Value::Bool(true) | Value::String(_) | Value::Object(_)) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kept() -> KeptStream {
        KeptStream {
            name: "S".to_owned(),
            description: "",
            subjects: "s.>",
            replicas: Some(3),
            may_purge: false,
            metadata: Vec::new(),
        }
    }

    fn good() -> Value {
        json!({
            "config": {"name": "S", "subjects": ["s.>"], "retention": "limits", "max_msgs": -1, "storage": "file",
                "discard": "new", "num_replicas": 3, "duplicate_window": 120_000_000_000_u64, "deny_delete": true,
                "deny_purge": true, "allow_direct": true, "allow_atomic": true, "allow_batched": false},
            "state": {"first_seq": 1, "last_seq": 9, "messages": 9},
            "cluster": {"name": "c", "leader": "n0", "replicas": []},
        })
    }

    /// The faults of a good stream with one value set.
    fn with(pointer: &str, value: Value) -> Vec<Fault> {
        let mut said = good();
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        said.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object").insert(name.to_owned(), value);
        faults(&said, &kept())
    }

    #[test]
    fn a_good_stream_has_none_and_an_empty_one_neither() {
        assert_eq!(faults(&good(), &kept()), []);
        assert_eq!(with("/state", json!({"first_seq": 0, "last_seq": 0, "messages": 0})), []);
        assert_eq!(with("/config/max_bytes", json!(1_000_000)), [], "a bound that refuses loses nothing");
    }

    #[test]
    fn what_a_server_seldom_says_is_a_fault_too() {
        assert_eq!(with("/config/sealed", json!(true)), [Fault::Sealed]);
        assert_eq!(with("/config/num_replicas", json!(1)), [Fault::OneReplica]);
        assert_eq!(with("/config/num_replicas", json!(2)), [Fault::Replicas { has: 2, wanted: 3 }]);
        assert_eq!(with("/cluster/desired", json!({"num_replicas": 1})), [Fault::Moving]);
        assert_eq!(with("/config/persist_mode", json!("sometimes")), [Fault::AcksEarly]);
        assert_eq!(with("/config/forget_after", json!("1h")), [Fault::Unknown("forget_after".to_owned())]);
        assert_eq!(with("/config/forget_after", json!(0)), []);
        assert_eq!(with("/state/num_deleted", json!(2)), [Fault::Holes(2)]);
        assert_eq!(with("/state/messages", json!(8)), [Fault::Holes(1)]);
        assert_eq!(with("/state/first_seq", json!(4)).first(), Some(&Fault::Begins(4)));
        // A server that says nothing is not believed to keep anything.
        assert!(faults(&Value::Null, &kept()).len() > 4);
    }

    #[test]
    fn what_is_purged_by_age_may_begin_later() {
        let purged = KeptStream { may_purge: true, ..kept() };
        let mut said = good();
        said["state"] = json!({"first_seq": 4, "last_seq": 9, "messages": 6});
        said["config"]["deny_purge"] = json!(false);
        assert_eq!(faults(&said, &purged), []);
        assert_eq!(faults(&said, &kept()), [Fault::Purge, Fault::Begins(4)]);
    }
}
