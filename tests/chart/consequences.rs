//! What follows from single values, where an example has none of them.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

use serde_json::{Value, json};

use crate::helm::{Helm, Major};
use crate::objects::{chart, containers, named, of_kind, pods};
use crate::{run_with, sidecar_by};

fn rendered(values: &Value) -> Vec<Value> {
    let rendered = Helm::start(Major::Four).template(&chart(), "1.31.0", values);
    rendered.unwrap_or_else(|error| panic!("{error}\n{values:#}"))
}

/// A limit that the values take out is out: in the settings, for the webhook that reads them, and in the pod.
#[test]
fn a_limit_that_is_taken_out_does_not_come_back() {
    for (memory, limits) in [(json!("128Mi"), json!({"memory": "128Mi"})), (Value::Null, Value::Null)] {
        let values = json!({"config": {"ledger": {"url": "tls://n:4222"}}, "resources": {
            "requests": {"memory": if memory.is_null() { "256Mi" } else { "64Mi" }}, "limits": {"memory": memory}}});
        let objects = rendered(&values);
        let map = of_kind(&objects, "ConfigMap").find_map(|map| map["data"]["injector.toml"].as_str());
        let settings = map.expect("settings");
        let output = run_with(settings, "injector.toml", &["injector", "--check", "--config"]);
        assert!(output.status.success(), "{}\n{settings}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(sidecar_by(settings)["resources"]["limits"], limits, "{settings}");
    }
}

#[test]
fn a_collector_without_a_port_is_reached_at_that_of_its_scheme() {
    for (endpoint, port) in [
        ("http://collector.observability:4317", Some(4317)),
        ("http://collector.observability", Some(80)),
        ("https://collector.observability", Some(443)),
        ("https://collector.observability/v1", Some(443)),
        ("https://collector.observability:4319/", Some(4319)),
        ("https://[2001:db8::7]", Some(443)),
        ("https://[2001:db8::7]:4318", Some(4318)),
        ("off", None),
    ] {
        let values = json!({"mode": "daemonset", "config": {"ledger": {"url": "tls://n:4222"},
            "telemetry": {"otlp_endpoint": endpoint}}});
        let objects = rendered(&values);
        let policy = of_kind(&objects, "NetworkPolicy").next().expect("a policy");
        let rules = policy["spec"]["egress"].as_array().expect("rules");
        let ports = rules.iter().flat_map(|rule| rule["ports"].as_array().into_iter().flatten());
        let ports: Vec<u64> = ports.filter_map(|port| port["port"].as_u64()).filter(|port| *port != 53).collect();
        let mut wanted: Vec<u64> = [4222].into_iter().chain(port).collect();
        wanted.sort_by_key(ToString::to_string);
        assert_eq!(ports, wanted, "{endpoint}");
    }
}

#[test]
fn what_is_switched_off_is_no_argument_of_the_job() {
    let values = json!({"nats": {"enabled": true, "anonymous": true}, "allow": {"plaintextLedger": true},
        "config": {"ledger": {"creds_file": "off", "tls_ca_file": "off", "subject_key_file": "off"}}});
    let objects = rendered(&values);
    let job = of_kind(&objects, "Job").next().expect("a Job");
    assert_eq!(
        job["spec"]["template"]["spec"]["containers"][0]["args"],
        json!([
            "ledger",
            "init",
            "--ledger=nats://consentd-nats.privacy.svc:4222",
            "--subject-key=/etc/consentd/keys/subject.key"
        ])
    );
}

/// Kubernetes waits for one second unless it is told otherwise, which a node that is busy needs for itself.
#[test]
fn every_probe_has_time() {
    let mut count = 0;
    for objects in crate::latest().into_values() {
        for (name, pod) in pods(&objects) {
            for container in containers(pod) {
                for kind in ["startupProbe", "readinessProbe", "livenessProbe"] {
                    let Some(probe) = container[kind].as_object() else { continue };
                    count += 1;
                    assert_eq!(probe["timeoutSeconds"], json!(5), "{name}: {kind}");
                }
            }
        }
    }
    assert!(count > 20, "{count}");
}

/// Labels that two values have are one label.
#[test]
fn a_label_of_pods_may_be_one_of_all_objects() {
    let values = json!({"config": {"ledger": {"url": "tls://n:4222"}}, "commonLabels": {"team": "all"},
        "podLabels": {"team": "pods"}, "podAnnotations": {"checksum/catalogue": "mine"}, "nats": {"enabled": false}});
    let objects = rendered(&values);
    let deployment = of_kind(&objects, "Deployment").next().expect("a Deployment");
    assert_eq!(deployment["metadata"]["labels"]["team"], "all", "{}", named(deployment));
    assert_eq!(deployment["spec"]["template"]["metadata"]["labels"]["team"], "pods");
}
