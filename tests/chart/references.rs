//! What objects name of each other: whether it is in the same rendering.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

use serde_json::Value;

use crate::objects::{containers, named, of_kind, pods, text};

/// Everything that is named and is not there. Secrets that the user brings are told by their names in the files of values.
pub(crate) fn dangling(objects: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, pod) in pods(objects) {
        volumes(objects, &name, pod, &mut found);
        let account = text(pod, "/serviceAccountName");
        if !has(objects, "ServiceAccount", account) {
            found.push(format!("{name}: no ServiceAccount {account}"));
        }
        for container in containers(pod) {
            mounts(&name, pod, container, &mut found);
        }
    }
    for workload in objects.iter().filter(|object| object["spec"]["selector"]["matchLabels"].is_object()) {
        let template = &workload["spec"]["template"]["metadata"]["labels"];
        if template.is_object() && !matches(&workload["spec"]["selector"]["matchLabels"], template) {
            found.push(format!("{}: its selector does not choose its own pods", named(workload)));
        }
    }
    for service in of_kind(objects, "Service") {
        selected(objects, service, &service["spec"]["selector"], &mut found);
        for port in service["spec"]["ports"].as_array().into_iter().flatten() {
            port_of(objects, service, &service["spec"]["selector"], &port["targetPort"], &mut found);
        }
    }
    for set in of_kind(objects, "StatefulSet") {
        if !has(objects, "Service", text(set, "/spec/serviceName")) {
            found.push(format!("{}: no Service {}", named(set), set["spec"]["serviceName"]));
        }
    }
    for budget in of_kind(objects, "PodDisruptionBudget") {
        selected(objects, budget, &budget["spec"]["selector"]["matchLabels"], &mut found);
    }
    for policy in of_kind(objects, "NetworkPolicy") {
        policy_of(objects, policy, &mut found);
    }
    if of_kind(objects, "NetworkPolicy").next().is_some() {
        for workload in objects.iter().filter(|object| object["spec"]["template"]["spec"].is_object()) {
            let labels = &workload["spec"]["template"]["metadata"]["labels"];
            let mut policies = of_kind(objects, "NetworkPolicy");
            if !policies.any(|policy| matches(&policy["spec"]["podSelector"]["matchLabels"], labels)) {
                found.push(format!("{}: no NetworkPolicy chooses its pods", named(workload)));
            }
        }
    }
    for monitor in of_kind(objects, "PodMonitor") {
        let labels = &monitor["spec"]["selector"]["matchLabels"];
        // Without labels it is for the pods that the webhook changes, of which none is here.
        if labels.is_object() {
            selected(objects, monitor, labels, &mut found);
            port_of(objects, monitor, labels, &monitor["spec"]["podMetricsEndpoints"][0]["port"], &mut found);
        }
    }
    for configuration in of_kind(objects, "MutatingWebhookConfiguration") {
        let service = &configuration["webhooks"][0]["clientConfig"]["service"];
        let there = of_kind(objects, "Service").find(|other| other["metadata"]["name"] == service["name"]);
        let listens = there.is_some_and(|there| there["spec"]["ports"][0]["port"] == service["port"]);
        if !listens {
            found.push(format!("{}: no Service {service}", named(configuration)));
        }
    }
    for certificate in of_kind(objects, "Certificate") {
        let issuer = &certificate["spec"]["issuerRef"];
        if issuer["kind"] == "Issuer" && !has(objects, "Issuer", text(issuer, "/name")) {
            found.push(format!("{}: no Issuer {issuer}", named(certificate)));
        }
    }
    found
}

fn has(objects: &[Value], kind: &str, name: &str) -> bool {
    of_kind(objects, kind).any(|object| object["metadata"]["name"] == name)
}

/// Secrets that are rendered, that cert-manager makes, or that the user brings.
fn has_secret(objects: &[Value], name: &str) -> bool {
    const BROUGHT: [&str; 4] = ["consentd", "consentd-operator", "consent-keys", "injector-tls"];
    let is_made = of_kind(objects, "Certificate").any(|certificate| certificate["spec"]["secretName"] == name);
    is_made || has(objects, "Secret", name) || BROUGHT.contains(&name)
}

fn volumes(objects: &[Value], name: &str, pod: &Value, found: &mut Vec<String>) {
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        let sources = volume["projected"]["sources"].as_array().cloned().unwrap_or_default();
        let mut secrets: Vec<&str> = sources.iter().filter_map(|source| source["secret"]["name"].as_str()).collect();
        secrets.extend(volume["secret"]["secretName"].as_str());
        for secret in secrets {
            if !has_secret(objects, secret) {
                found.push(format!("{name}: no Secret {secret}"));
            }
        }
        if volume["projected"].is_object() && sources.is_empty() {
            found.push(format!("{name}: a projected volume of nothing"));
        }
        if let Some(map) = volume["configMap"]["name"].as_str()
            && !has(objects, "ConfigMap", map)
        {
            found.push(format!("{name}: no ConfigMap {map}"));
        }
    }
    let claims = objects.iter().filter(|object| named(object) == name);
    let claims = claims.flat_map(|object| object["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten());
    let own: Vec<&str> = pod["volumes"].as_array().into_iter().flatten().map(|volume| text(volume, "/name")).collect();
    let claimed: Vec<&str> = claims.map(|claim| text(claim, "/metadata/name")).collect();
    for container in containers(pod) {
        for mount in container["volumeMounts"].as_array().into_iter().flatten() {
            let volume = text(mount, "/name");
            if !own.contains(&volume) && !claimed.contains(&volume) {
                found.push(format!("{name}: no volume {volume}"));
            }
        }
    }
}

/// Paths in arguments must be on a volume, and probes at a port of the container.
fn mounts(name: &str, pod: &Value, container: &Value, found: &mut Vec<String>) {
    let mounts: Vec<&str> =
        container["volumeMounts"].as_array().into_iter().flatten().map(|mount| text(mount, "/mountPath")).collect();
    for argument in container["args"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let path = argument.split_once('=').map_or(argument, |(_, path)| path);
        if path.starts_with('/') && !mounts.iter().any(|mount| path.starts_with(&format!("{mount}/"))) {
            found.push(format!("{name}: nothing is mounted for {argument}"));
        }
    }
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let port = &container[probe]["httpGet"]["port"];
        let ports = container["ports"].as_array().into_iter().flatten();
        if port.is_string() && !ports.into_iter().any(|own| own["name"] == *port) {
            found.push(format!("{name}: {probe} at no port of its own, {port}"));
        }
    }
    // A Job ends; all others are probed.
    if pod["restartPolicy"] != "Never" && container["readinessProbe"].is_null() {
        found.push(format!("{name}: nobody knows whether {} is ready", container["name"]));
    }
}

fn matches(selector: &Value, labels: &Value) -> bool {
    selector.as_object().is_some_and(|wanted| wanted.iter().all(|(key, value)| labels[key] == *value))
}

fn templates<'v>(objects: &'v [Value], selector: &Value) -> Vec<&'v Value> {
    let template = |object| Value::pointer(object, "/spec/template");
    let all = objects.iter().filter_map(template);
    all.filter(|template| matches(selector, &template["metadata"]["labels"])).collect()
}

/// Exactly the pods of one workload.
fn selected(objects: &[Value], by: &Value, selector: &Value, found: &mut Vec<String>) {
    let count = templates(objects, selector).len();
    if count != 1 {
        found.push(format!("{}: chooses pods of {count} workloads", named(by)));
    }
}

fn port_of(objects: &[Value], by: &Value, selector: &Value, port: &Value, found: &mut Vec<String>) {
    for template in templates(objects, selector) {
        let mut ports =
            containers(&template["spec"]).flat_map(|container| container["ports"].as_array().into_iter().flatten());
        if !ports.any(|own| own["name"] == *port) {
            found.push(format!("{}: no port {port}", named(by)));
        }
    }
}

fn policy_of(objects: &[Value], policy: &Value, found: &mut Vec<String>) {
    let selector = &policy["spec"]["podSelector"]["matchLabels"];
    selected(objects, policy, selector, found);
    for rule in policy["spec"]["ingress"].as_array().into_iter().flatten() {
        for port in rule["ports"].as_array().into_iter().flatten() {
            port_of(objects, policy, selector, &port["port"], found);
        }
    }
}

#[test]
fn what_is_not_there_is_found() {
    let pod = serde_json::json!({"kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "c"}}, "spec": {"serviceAccountName": "none",
            "containers": [{"name": "x", "args": ["--config=/etc/x"], "volumeMounts": [{"name": "v", "mountPath": "/m"}],
                "readinessProbe": {"httpGet": {"port": "admin"}}}],
            "volumes": [{"name": "w", "secret": {"secretName": "s"}}, {"name": "u", "configMap": {"name": "m"}}]}}}});
    let service = serde_json::json!({"kind": "Service", "metadata": {"name": "s"},
        "spec": {"selector": {"a": "z"}, "ports": [{"port": 1, "targetPort": "web"}]}});
    let policy = serde_json::json!({"kind": "NetworkPolicy", "metadata": {"name": "n"},
        "spec": {"podSelector": {"matchLabels": {"a": "y"}}}});
    let found = dangling(&[pod, service, policy]);
    for what in [
        "no Secret s",
        "no ConfigMap m",
        "no ServiceAccount none",
        "no volume v",
        "nothing is mounted for --config=/etc/x",
        "readinessProbe at no port",
        "does not choose its own pods",
        "chooses pods of 0 workloads",
        "Deployment d: no NetworkPolicy chooses its pods",
    ] {
        assert!(found.iter().any(|found| found.contains(what)), "{what}: {found:?}");
    }
}
