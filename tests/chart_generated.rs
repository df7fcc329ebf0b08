//! What is made of other files: the schema of the chart's values and its README. Run with `UPDATE=1` it writes them anew; then run
//! it once more, for Helm may have read them before.
//!
//! The shape of the chart's own values is written in values.schema.json by hand; their descriptions come from the comments in
//! values.yaml, the shape of `config` from `consentd config schema`, and that of `catalogue` from docs/catalogue.schema.json.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "chart/commented.rs"]
mod commented;
#[path = "support/helm.rs"]
mod helm;
#[path = "chart/objects.rs"]
mod objects;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use commented::{Commented, commented};
use helm::{Helm, Major};
use objects::{chart, root};
use serde_json::{Value, json};

/// Between these lines of the README stand the values.
const MARKS: [&str; 2] =
    ["<!-- Values, made by tests/chart_generated.rs of values.yaml -->\n", "<!-- End of values -->\n"];

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Holds a file to what it must be, or writes it.
fn hold(path: &Path, wanted: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, wanted).expect("written");
    }
    assert!(read(path) == wanted, "{} is not what it is made of; run this test with UPDATE=1", path.display());
}

fn values() -> Vec<Commented> {
    commented(&read(&chart().join("values.yaml")))
}

/// A schema to stand within another: without its own name, its references led to its new place.
fn within(mut schema: Value, place: &str) -> Value {
    let object = schema.as_object_mut().expect("an object");
    object.retain(|key, _| !["$id", "$schema", "title"].contains(&&**key));
    let text = schema.to_string().replace("\"#/$defs/", &format!("\"#/$defs/{place}/$defs/"));
    serde_json::from_str(&text).expect("JSON")
}

fn printed(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_consentd")).args(arguments).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_schema_of_the_configuration_is_the_one_that_the_program_prints() {
    hold(&root().join("docs/config.schema.json"), &printed(&["config", "schema"]));
}

#[test]
fn the_schema_of_values_says_what_the_program_and_the_comments_say() {
    let path = chart().join("values.schema.json");
    let mut schema: Value = serde_json::from_str(&read(&path)).expect("JSON");
    let parse = |text: &str| serde_json::from_str(text).expect("JSON");
    schema["$defs"]["config"] = within(parse(&printed(&["config", "schema"])), "config");
    schema["$defs"]["catalogue"] = within(parse(&printed(&["catalogue", "schema"])), "catalogue");
    for value in values() {
        let place = format!("/properties/{}", value.name.replace('.', "/properties/"));
        let property = schema.pointer_mut(&place).unwrap_or_else(|| panic!("no {} in the schema", value.name));
        property["description"] = json!(value.comment);
    }
    hold(&path, &format!("{schema:#}\n"));
}

#[test]
fn every_value_has_a_description_and_is_in_the_schema_and_no_others_are() {
    let schema: Value = serde_json::from_str(&read(&chart().join("values.schema.json"))).expect("JSON");
    let described: BTreeSet<String> = values().into_iter().map(|value| value.name).collect();
    let mut open = vec![(String::new(), &schema)];
    let mut known = BTreeSet::new();
    while let Some((name, schema)) = open.pop() {
        // What a description stands on is described as a whole.
        match schema["properties"].as_object() {
            Some(properties) if !described.contains(&name) => {
                let below = |inner: &String| if name.is_empty() { inner.clone() } else { format!("{name}.{inner}") };
                open.extend(properties.iter().map(|(inner, schema)| (below(inner), schema)));
                assert_eq!(schema["additionalProperties"], json!(false), "{name} takes anything");
            }
            _ => drop(known.insert(name)),
        }
    }
    // For charts above this one, by Helm's own rule.
    known.remove("global");
    assert_eq!(described, known);
    let defaults = helm::objects(&read(&chart().join("values.yaml"))).remove(0);
    for name in &described {
        let value = defaults.pointer(&format!("/{}", name.replace('.', "/")));
        assert!(value.is_some(), "{name} has no default");
    }
}

#[test]
fn the_readme_lists_every_value_with_its_default() {
    let path = chart().join("README.md");
    let text = read(&path);
    let [begin, end] = MARKS;
    let (head, rest) = text.split_once(begin).expect("a place for the values");
    let (_, tail) = rest.split_once(end).expect("an end of the values");
    let defaults = helm::objects(&read(&chart().join("values.yaml"))).remove(0);
    let row = |value: Commented| {
        let default = &defaults.pointer(&format!("/{}", value.name.replace('.', "/"))).expect("a default").to_string();
        format!("| `{}` | {} | `{default}` |\n", value.name, value.comment.replace('|', "\\|"))
    };
    let rows: String = values().into_iter().map(row).collect();
    hold(&path, &format!("{head}{begin}\n| value | what | default |\n|---|---|---|\n{rows}\n{end}{tail}"));
}

/// Helm reads patterns with RE2, and so the schemas must.
#[test]
fn both_helms_refuse_what_the_schema_does_not_know() {
    let unknown = [
        json!({"replicas": 2}),
        json!({"injector": {"replica": 2}}),
        json!({"injector": {"replicas": "2"}}),
        json!({"injector": {"webhook": {"failurePolicy": "fail"}}}),
        json!({"mode": "sidecar"}),
        json!({"certificates": {"kind": "vault"}}),
        json!({"nats": {"replicas": 1}}),
        json!({"nats": {"users": [{"nkey": "SUAOPENSEED", "role": "operator"}]}}),
        json!({"volume": {"size": "1GiB"}}),
        json!({"config": {"servr": {}}}),
        json!({"config": {"server": {"max_batch": 0}}}),
        json!({"config": {"server": {"max_batch": 1.5}}}),
        json!({"config": {"server": {"request_timeout": "5"}}}),
        json!({"config": {"server": {"request_timeout": "1s1h"}}}),
        json!({"config": {"replica": {"max_wait": 500}}}),
        json!({"config": {"evidence": {"stage": "flushed"}}}),
        json!({"config": {"evidence": {"segment_bytes": "64mib"}}}),
        json!({"config": {"telemetry": {"trace_ratio": 1.5}}}),
        json!({"config": {"callers": [{"spiffe": "spiffe://a/b"}]}}),
        json!({"config": {"log": {"level": ""}}}),
        json!({"catalogue": {"version": 1, "channels": [{"key": "email"}], "purposes": []}}),
        json!({"catalogue": {"version": 1, "channels": [{"key": "E-Mail"}], "purposes": [
            {"key": "a", "legalBasis": "LEGAL_BASIS_CONSENT", "channels": ["email"]}]}}),
    ];
    for major in Major::BOTH {
        let mut helm = Helm::start(major);
        for values in &unknown {
            let mut whole = json!({"config": {"ledger": {"url": "tls://nats.example:4222"}}});
            merge(&mut whole, values);
            let told = helm.template(&chart(), "1.31.0", &whole);
            let error = told.err().unwrap_or_else(|| panic!("{major:?} takes {values}"));
            assert!(error.contains("don't meet the specifications of the schema"), "{major:?}, {values}: {error}");
        }
    }
}

fn merge(one: &mut Value, other: &Value) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            for (key, value) in other {
                merge(one.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (one, other) => *one = other.clone(),
    }
}

/// The schema takes whatever the program takes: every key at its default.
#[test]
fn every_default_of_the_program_is_taken() {
    let told = printed(&["config", "print", "--set", "ledger.file=/var/lib/consentd/ledger.jsonl"]);
    let mut config: Value = toml::from_str(&told).expect("TOML");
    // What the mode decides.
    config.as_object_mut().expect("tables").remove("data_dir");
    for (table, keys) in [
        ("server", &["tcp", "uds", "uds_mode", "tls_cert_file", "tls_key_file"][..]),
        ("admin", &["tcp", "plaintext"]),
        ("replica", &["key_file"]),
    ] {
        config[table].as_object_mut().expect("a table").retain(|key, _| !keys.contains(&&**key));
    }
    let values = json!({"mode": "deployment", "config": config, "volume": {"persistent": true, "size": "10Gi"},
        "deployment": {"replicas": 1}});
    for major in Major::BOTH {
        let objects = Helm::start(major).template(&chart(), "1.31.0", &values);
        assert!(objects.is_ok(), "{major:?}: {}", objects.expect_err("an error"));
    }
}
