//! A wrong ALLOW is the worst answer: whatever becomes of a request on its way, a decision is only ever true for a
//! question that stands in it whole, and that is allowed.
//!
//! Requests are spoilt in thousands of ways, in their values and in their bytes, and read a second time here, slowly and
//! by other means.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/http.rs"]
mod http;
#[path = "support/sidecar.rs"]
mod sidecar;

use std::fmt;

use http::{Got, Http};
use hyper::{StatusCode, Version};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};
use sidecar::{Home, Random, Sidecar, given, withdrawn};

const CASES: u64 = 12_000;

/// Texts that could stand in a request.
const TEXTS: [&str; 16] = [
    "",
    "1",
    "2",
    "crm",
    "CRM",
    "email",
    "sms",
    "*",
    "purpose",
    "newsletter",
    "newsletter.weekly",
    "billing",
    "unheard.of",
    "0s",
    "partner.example",
    "true",
];

/// JSON with its members as they stand there, also those that are there twice.
#[derive(Debug, Clone, PartialEq)]
enum Tree {
    Text(String),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
    Other,
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Tree;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
                Ok(Tree::Text(text.to_owned()))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
                Ok(Tree::Other)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
                Ok(Tree::Other)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
                Ok(Tree::Other)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
                Ok(Tree::Other)
            }
            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Other)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Tree::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Tree::Object(members))
            }
        }
        reader.deserialize_any(Any)
    }
}

/// Something in it is not as it must be.
struct Wrong;

impl Tree {
    fn member(&self, name: &str) -> Result<Option<&Self>, Wrong> {
        let Self::Object(members) = self else { return Err(Wrong) };
        let mut named = members.iter().filter(|(own, _)| own == name).map(|(_, value)| value);
        let first = named.next();
        if named.next().is_some() { Err(Wrong) } else { Ok(first) }
    }

    fn text(&self, name: &str) -> Result<Option<&str>, Wrong> {
        match self.member(name)? {
            None => Ok(None),
            Some(Self::Text(text)) => Ok(Some(text)),
            Some(_) => Err(Wrong),
        }
    }

    fn required(&self, name: &str) -> Result<&str, Wrong> {
        self.text(name)?.ok_or(Wrong)
    }
}

/// Whether an evaluation, with these defaults, asks what is allowed. Written to be plain, not to be fast.
fn may_be_allowed(own: &Tree, defaults: Option<&Tree>) -> Result<bool, Wrong> {
    let entity = |name| -> Result<Option<&Tree>, Wrong> {
        match (own.member(name)?, defaults) {
            (None, Some(defaults)) => defaults.member(name),
            (found, _) => Ok(found),
        }
    };
    let subject = entity("subject")?.ok_or(Wrong)?;
    let action = entity("action")?.ok_or(Wrong)?;
    let resource = entity("resource")?.ok_or(Wrong)?;
    let mut places: Vec<&Tree> = entity("context")?.into_iter().collect();
    for one in [subject, action, resource] {
        places.extend(one.member("properties")?);
    }
    let mut recipient = "";
    for place in places {
        for word in ["jurisdiction", "time_zone", "sec_gpc", "tcf", "gpp", "max_staleness", "at_least_as_fresh"] {
            place.text(word)?;
        }
        recipient = place.text("recipient")?.unwrap_or(recipient);
    }
    let (space, id) = (subject.required("type")?, subject.required("id")?);
    let (kind, purpose, channel) = (resource.required("type")?, resource.required("id")?, action.required("name")?);
    Ok(match (kind, purpose, channel) {
        ("purpose", "newsletter", "email") => (space, id, recipient) == ("crm", "1", ""),
        // On the contract, whoever it is.
        ("purpose", "billing", "email" | "sms") => !space.is_empty() && !id.is_empty(),
        _ => false,
    })
}

/// A request that is allowed.
fn whole() -> Value {
    json!({
        "subject": {"type": "crm", "id": "1", "properties": {"tier": "gold"}},
        "action": {"name": "email"},
        "resource": {"type": "purpose", "id": "newsletter"},
        "context": {"jurisdiction": "TR", "max_staleness": "30s"},
    })
}

/// A request with one to four evaluations, each with some of the entities.
fn several(random: &mut Random) -> Value {
    let mut request = whole();
    let mut list = Vec::new();
    for _ in 0..=random.below(4) {
        let mut own = Map::new();
        for name in ["subject", "action", "resource", "context"] {
            if random.below(3) == 0 {
                own.insert(name.to_owned(), request[name].clone());
            }
        }
        list.push(Value::Object(own));
    }
    request["evaluations"] = Value::Array(list);
    let semantic = random.pick(&["execute_all", "deny_on_first_deny", "permit_on_first_permit"]);
    request["options"] = json!({"evaluations_semantic": semantic});
    request
}

/// Something that may stand anywhere, likely to be taken for something else.
fn anything(random: &mut Random) -> Value {
    match random.below(9) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(1),
        3 => json!([]),
        4 => json!({}),
        5 => json!([random.pick(&TEXTS), random.pick(&TEXTS)]),
        6 => json!({"type": random.pick(&TEXTS), "id": random.pick(&TEXTS), "name": random.pick(&TEXTS)}),
        _ => json!(random.pick(&TEXTS)),
    }
}

/// Changes one thing somewhere in a value.
fn spoil(random: &mut Random, value: &mut Value) {
    const NAMES: [&str; 18] = [
        "subject",
        "action",
        "resource",
        "context",
        "type",
        "id",
        "name",
        "properties",
        "recipient",
        "sec_gpc",
        "at_least_as_fresh",
        "max_staleness",
        "jurisdiction",
        "time_zone",
        "evaluations",
        "options",
        "Subject",
        "foo",
    ];
    let deeper = random.below(3) > 0;
    match value {
        Value::Object(members) if deeper && !members.is_empty() => {
            let place = random.below(members.len());
            spoil(random, members.values_mut().nth(place).expect("a member"));
        }
        Value::Array(items) if deeper && !items.is_empty() => {
            let place = random.below(items.len());
            spoil(random, &mut items[place]);
        }
        Value::Object(members) => match random.below(3) {
            0 if !members.is_empty() => {
                let place = random.below(members.len());
                let name = members.keys().nth(place).expect("a member").clone();
                members.remove(&name);
            }
            1 => _ = members.insert(random.pick(&NAMES).to_owned(), anything(random)),
            _ => *value = anything(random),
        },
        // Mostly with something that it could be.
        other if random.below(3) > 0 => *other = json!(random.pick(&TEXTS)),
        other => *other = anything(random),
    }
}

/// Changes bytes: one, or a piece that is cut out or put in twice.
fn spoil_bytes(random: &mut Random, bytes: &mut Vec<u8>) {
    let at = random.below(bytes.len());
    let end = at + random.below((bytes.len() - at).min(40)) + 1;
    match random.below(5) {
        0 => bytes[at] = u8::try_from(random.below(256)).expect("a byte"),
        1 => bytes.truncate(at),
        2 => drop(bytes.drain(at..end)),
        3 => {
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        _ => {
            // A whole member twice, with another value.
            let text = String::from_utf8_lossy(bytes).into_owned();
            let (name, value) = random.pick(&[("id", "2"), ("id", "newsletter"), ("name", "sms"), ("type", "crm")]);
            let twice = text.replacen(&format!("\"{name}\":"), &format!("\"{name}\":\"{value}\",\"{name}\":"), 1);
            *bytes = twice.into_bytes();
        }
    }
}

/// The decisions of a response, one for each evaluation that it reports.
fn reported(got: &Got) -> Vec<bool> {
    if got.status != StatusCode::OK {
        assert!(got.json().is_string(), "{got:?}");
        return Vec::new();
    }
    let body = got.json();
    match body.get("evaluations") {
        None => vec![body["decision"].as_bool().expect("a decision")],
        Some(items) => {
            let items = items.as_array().expect("a list");
            items.iter().map(|own| own["decision"].as_bool().expect("a decision")).collect()
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_but_a_whole_question_that_is_allowed_is_ever_true() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    home.append(&given("crm:2"));
    home.append(&withdrawn("crm:2"));
    let sidecar = Sidecar::ready(&home, &[("authzen.enabled", "true")]).await;
    let mut http = Http::tcp(sidecar.tcp, Version::HTTP_11).await;
    let (mut allowed, mut denied, mut refused) = (0, 0, 0);
    let mut random = Random::seeded("authzen_properties");
    for case in 0..CASES {
        let path = random.pick(&["/access/v1/evaluation", "/access/v1/evaluations"]);
        let mut value = if random.below(2) == 0 { whole() } else { several(&mut random) };
        for _ in 0..random.below(3) {
            spoil(&mut random, &mut value);
        }
        let mut body = value.to_string().into_bytes();
        if random.below(3) == 0 {
            spoil_bytes(&mut random, &mut body);
        }
        let got = http.ask("POST", path, &[("content-type", "application/json")], &body).await;
        let shown = String::from_utf8_lossy(&body);
        let decisions = reported(&got);

        let tree: Option<Tree> = serde_json::from_slice(&body).ok();
        let list = tree.as_ref().and_then(|tree| match tree.member("evaluations") {
            Ok(Some(Tree::List(items))) if path.ends_with('s') && !items.is_empty() => Some(items),
            _ => None,
        });
        for (place, decision) in decisions.iter().enumerate() {
            let whole = tree.as_ref().unwrap_or_else(|| panic!("case {case}: no JSON was answered: {shown}"));
            let may_be = match list {
                None => may_be_allowed(whole, None),
                Some(items) => may_be_allowed(&items[place], Some(whole)),
            };
            let may_be = may_be.unwrap_or(false);
            assert!(may_be || !decision, "case {case}: {path} {shown}: evaluation {place} is true: {got:?}");
            *(if *decision { &mut allowed } else { &mut denied }) += 1;
        }
        refused += u64::from(decisions.is_empty());
    }
    // The test says something only where there is something of each.
    assert!(allowed > CASES / 10 && denied > CASES / 20 && refused > CASES / 10, "{allowed} {denied} {refused}");
    sidecar.stop().await;
}
