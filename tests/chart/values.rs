//! Every value does something: another one comes to other objects, or is refused with a sentence.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

use serde_json::{Value, json};

use crate::helm::{self, Helm, Major};
use crate::objects::{chart, files};
use crate::{read, without_what_is_made_anew};

/// Values that need another of their kind, by the end of their names.
fn another(name: &str, value: &Value) -> Value {
    let digest = format!("sha256:{}", "1".repeat(64));
    let purposes = json!([{"key": "a", "legalBasis": "LEGAL_BASIS_CONSENT", "channels": ["email"]}]);
    let special = [
        ("config", json!({"log": {"format": "json"}})),
        ("catalogue", json!({"version": 9, "channels": [{"key": "email"}], "purposes": purposes})),
        ("mode", json!("daemonset")),
        (".digest", json!(digest)),
        (".pullPolicy", json!("Never")),
        (".onError", json!("allow")),
        (".startup", json!("live")),
        (".failurePolicy", json!("Ignore")),
        ("certificates.kind", json!("cert-manager")),
        (".caBundle", json!("-----BEGIN CERTIFICATE-----\n")),
        ("issuer.kind", json!("Issuer")),
        (".interval", json!("10s")),
        (".size", json!("30Gi")),
        ("injector.resources", json!({"requests": {"cpu": "1m"}, "limits": {"memory": "1Gi"}})),
        ("limits.memory", json!("700Mi")),
        ("requests.memory", json!("65Mi")),
        ("requests.cpu", json!("51m")),
        ("nats.replicas", json!(5)),
        ("certificates.days", json!(2000)),
        ("listenAddress", json!("::")),
        ("imagePullSecrets", json!([{"name": "another"}])),
        (".namespaceRequirements", json!([{"key": "another", "operator": "Exists"}])),
        (".users", json!([{"nkey": format!("U{}", "B".repeat(55)), "role": "writer"}])),
        (".callers", json!([{"podSelector": {}}])),
        (".metrics", json!([{"podSelector": {}}])),
        (".ledgerClients", json!([{"podSelector": {}}])),
        (".extraEgress", json!([{"ports": [{"port": 1}]}])),
        ("tolerations", json!([{"key": "another", "operator": "Exists"}])),
        ("affinity", json!({"podAntiAffinity": {}})),
        (
            "topologySpreadConstraints",
            json!([{"maxSkew": 2, "topologyKey": "another", "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"another": "one"}}}]),
        ),
    ];
    let special = special.into_iter().find(|(end, _)| name == *end || end.contains('.') && name.ends_with(end));
    special.map_or_else(
        || match value {
            Value::Bool(is) => json!(!is),
            Value::Number(number) => json!(number.as_u64().expect("a whole number") + 1),
            Value::String(_) => json!("another"),
            Value::Object(fields) if fields.is_empty() => json!({"example.com/another": "one"}),
            other => panic!("nothing else is known for {name}: {other}"),
        },
        |(_, value)| value,
    )
}

/// The names of all values that stand for themselves, with what they are.
fn leaves(name: &str, value: &Value, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(fields) if !fields.is_empty() && name != "config" => {
            for (key, inner) in fields {
                leaves(&if name.is_empty() { key.clone() } else { format!("{name}.{key}") }, inner, found);
            }
        }
        _ => found.push((name.to_owned(), value.clone())),
    }
}

/// The values with one of them set.
fn with(values: &Value, name: &str, value: Value) -> Value {
    let mut values = values.clone();
    let mut at = &mut values;
    for part in name.split('.') {
        at = &mut at[part];
    }
    // Maps of values are merged.
    match (at, value) {
        (Value::Object(fields), Value::Object(more)) => fields.extend(more),
        (at, value) => *at = value,
    }
    values
}

fn rendered(helm: &mut Helm, values: &Value) -> Result<Vec<Value>, String> {
    let mut objects = helm.template(&chart(), "1.31.0", values)?;
    for object in &mut objects {
        // How long a certificate lives is seen by when it is made anew, on whichever day.
        let annotations = &object["metadata"]["annotations"];
        let days = annotations["consentd.io/renew-after"].as_str().and_then(|after| after.parse::<u64>().ok());
        without_what_is_made_anew(object);
        if let Some(seconds) = days {
            object["metadata"]["annotations"]["days"] = json!((seconds + 43_200) / 86_400);
        }
    }
    Ok(objects)
}

#[test]
fn every_value_does_something() {
    let mut helm = Helm::start(Major::Four);
    let mut all = Vec::new();
    leaves("", &helm::objects(&read(&chart().join("values.yaml"))).remove(0), &mut all);
    assert!(all.len() >= 80, "{}", all.len());
    let mut bases: Vec<(Value, Vec<Value>)> = Vec::new();
    // No example gives evidence up.
    let lost = json!({"mode": "deployment", "allow": {"lostEvidence": true},
        "config": {"ledger": {"url": "tls://nats.example:4222"}, "evidence": {"ship": "none"}}});
    let examples = files().into_iter().map(|file| helm::objects(&read(&file)).remove(0));
    for values in examples.chain([lost]) {
        let objects = rendered(&mut helm, &values).expect("rendered");
        assert_eq!(rendered(&mut helm, &values).expect("rendered"), objects, "another each time: {values}");
        bases.push((values, objects));
    }
    let mut idle = Vec::new();
    for (name, default) in all {
        let does = bases.iter().any(|(values, objects)| {
            // What an example sets itself is changed from there.
            let own = values.pointer(&format!("/{}", name.replace('.', "/"))).unwrap_or(&default);
            let value = another(&name, if own.is_boolean() { own } else { &default });
            if *own == value {
                return false;
            }
            match rendered(&mut helm, &with(values, &name, value)) {
                Ok(changed) => changed != *objects,
                Err(error) => {
                    assert!(error.contains("these values cannot be"), "{name}: {error}");
                    true
                }
            }
        });
        if !does {
            idle.push(name);
        }
    }
    assert!(idle.is_empty(), "nothing changes with {idle:?}");
}
