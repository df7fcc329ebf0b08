//! Values that cannot be together: each is refused with its sentence, by both Helms, before anything is installed.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/helm.rs"]
mod helm;
#[path = "chart/objects.rs"]
mod objects;

use helm::{Helm, Major};
use objects::chart;
use serde_json::{Value, json};

/// What is wrong with each, in part of a sentence.
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn refused() -> Vec<(Value, &'static str)> {
    let ledger = |more: Value| {
        let mut ledger = json!({"url": "tls://nats.example:4222"});
        merge(&mut ledger, &more);
        ledger
    };
    let with = |mode: &str, more: Value| {
        let mut values = json!({"mode": mode, "config": {"ledger": ledger(json!({}))}});
        merge(&mut values, &more);
        values
    };
    let file = |more: Value| {
        let mut values = json!({"mode": "deployment", "deployment": {"replicas": 1}, "volume": {"persistent": true},
            "config": {"ledger": {"kind": "file", "file": "/var/lib/consentd/ledger.jsonl"}, "evidence": {"ship": "none"}}});
        merge(&mut values, &more);
        values
    };
    let nats = |more: Value| {
        let mut values = json!({"nats": {"enabled": true}});
        merge(&mut values, &more);
        values
    };
    let catalogue = json!({"version": 1, "channels": [{"key": "email"}],
        "purposes": [{"key": "a", "legalBasis": "LEGAL_BASIS_CONSENT", "channels": ["email"]}]});
    let user = json!([{"nkey": format!("U{}", "A".repeat(55)), "role": "sidecar"}]);
    vec![
        // Where the ledger is.
        (json!({}), "nothing says where the ledger is"),
        (json!({"config": {"ledger": {"url": "off"}}}), "nothing says where the ledger is"),
        (
            nats(json!({"nats": {"anonymous": true}, "config": {"ledger": ledger(json!({}))}})),
            "nats.enabled and config.ledger.url both say where the ledger is",
        ),
        (
            nats(
                json!({"nats": {"anonymous": true}, "config": {"ledger": {"creds_file": "/etc/consentd/keys/nats.creds"}}}),
            ),
            "config.ledger names files for another NATS",
        ),
        (
            json!({"mode": "daemonset", "config": {"ledger": {"kind": "file", "file": "/var/lib/consentd/l.jsonl"}}}),
            "config.ledger.kind `file` gives every pod of mode `daemonset` a ledger of its own",
        ),
        (json!({"config": {"ledger": {"kind": "file"}}}), "gives every pod of mode `injector` a ledger of its own"),
        (file(json!({"deployment": {"replicas": 2}})), "config.ledger.kind `file` is one file"),
        (file(json!({"volume": {"persistent": false}})), "config.ledger.kind `file` would be gone with its pod"),
        (
            file(json!({"config": {"ledger": {"file": "/tmp/ledger.jsonl"}}})),
            "config.ledger.file must be on the volume",
        ),
        (file(json!({"catalogue": catalogue})), "catalogue cannot be published to a ledger in a file"),
        (
            with("injector", json!({"config": {"ledger": {"kind": "file"}}})),
            "config.ledger.kind is `file`, and yet a NATS is named",
        ),
        (with("injector", json!({"keys": {"secret": ""}})), "a ledger on NATS needs its subject key"),
        // Plain text beyond the node.
        (
            with("injector", json!({"config": {"ledger": {"url": "nats://nats.example:4222"}}})),
            "config.ledger.url speaks plain text beyond the node",
        ),
        (
            with("injector", json!({"config": {"ledger": {"url": "tls://a:4222,nats://b:4222"}}})),
            "config.ledger.url speaks plain text beyond the node",
        ),
        // What is switched off is as if it were not there.
        (
            with("injector", json!({"config": {"ledger": {"url": "nats://n:4222", "tls_ca_file": "off"}}})),
            "config.ledger.url speaks plain text beyond the node",
        ),
        (
            with("injector", json!({"config": {"evidence": {"ship_url": "nats://b:4222", "ship_tls_ca_file": "off"}}})),
            "config.evidence.ship_url speaks plain text beyond the node",
        ),
        (
            with("injector", json!({"keys": {"secret": ""}, "config": {"ledger": {"subject_key_file": "off"}}})),
            "a ledger on NATS needs its subject key",
        ),
        (
            with("injector", json!({"config": {"evidence": {"ship": "nats", "ship_url": "nats://b:4222"}}})),
            "config.evidence.ship_url speaks plain text beyond the node",
        ),
        (
            with("deployment", json!({"certificates": {"kind": "none"}})),
            "questions would cross the network in plain text",
        ),
        (
            with("daemonset", json!({"config": {"server": {"plaintext": true}}})),
            "config.server.plaintext allows plain text",
        ),
        // The servers of NATS.
        (nats(json!({})), "nats.users is empty: whoever reaches the servers could rewrite the ledger"),
        (nats(json!({"nats": {"anonymous": true, "users": user}})), "nats.anonymous lets everybody in"),
        (
            nats(json!({"mode": "deployment", "nats": {"anonymous": true}, "certificates": {"kind": "none"},
                "config": {"server": {"plaintext": true}}})),
            "the NATS of nats.enabled has no certificate",
        ),
        (
            nats(
                json!({"nats": {"anonymous": true}, "certificates": {"kind": "secret", "secret": "a", "caBundle": "-----BEGIN CERTIFICATE-----"}}),
            ),
            "the servers of nats.enabled have other names",
        ),
        (
            nats(json!({"nats": {"anonymous": true, "tlsSecret": "nats-tls"}, "allow": {"plaintextLedger": true}})),
            "allow.plaintextLedger speaks without TLS, and nats.tlsSecret names a certificate",
        ),
        (with("injector", json!({"nats": {"users": user}})), "are of the servers that nats.enabled runs here"),
        // Evidence.
        (with("injector", json!({"config": {"evidence": {"ship": "none"}}})), "evidence would be lost with each pod"),
        (with("daemonset", json!({"config": {"evidence": {"ship": "none"}}})), "evidence would be lost with each pod"),
        (
            with("deployment", json!({"config": {"evidence": {"ship": "none"}}})),
            "a persistent volume (volume.persistent)",
        ),
        (
            file(json!({"config": {"evidence": {"ship": "nats"}}})),
            "config.evidence.ship is `nats` and the ledger is on none",
        ),
        (with("injector", json!({"volume": {"size": "200Mi"}})), "volume.size `200Mi` does not hold the evidence"),
        (
            with("deployment", json!({"config": {"evidence": {"max_unshipped_bytes": "1GiB"}}})),
            "volume.size `1Gi` does not hold the evidence, 1543503872 bytes",
        ),
        (
            with("injector", json!({"config": {"evidence": {"max_shipped_bytes": "257MiB"}}})),
            "volume.size `1Gi` does not hold the evidence, 1007681536 bytes",
        ),
        (
            with("daemonset", json!({"config": {"evidence": {"max_shipped_bytes": "off"}}})),
            "config.evidence.max_shipped_bytes is `off`, and what was shipped would fill the volume",
        ),
        // What is asked for, and its limits.
        (
            with("injector", json!({"resources": {"requests": {"memory": "256Mi"}}})),
            "resources.requests.memory `256Mi` is more than its limit `128Mi`",
        ),
        (
            with(
                "injector",
                json!({"injector": {"resources": {"requests": {"cpu": "1.5"}, "limits": {"cpu": "1499m"}}}}),
            ),
            "injector.resources.requests.cpu `1.5` is more than its limit `1499m`",
        ),
        (
            nats(json!({"nats": {"anonymous": true, "resources": {"requests": {"memory": 600_000_000}}}})),
            "is more than its limit `512Mi`",
        ),
        // Labels.
        (
            with("injector", json!({"commonLabels": {"app.kubernetes.io/component": "privacy"}})),
            "commonLabels has `app.kubernetes.io/component`, which is the chart's own label",
        ),
        (
            with("injector", json!({"podLabels": {"app.kubernetes.io/part-of": "shop"}})),
            "podLabels has `app.kubernetes.io/part-of`, which is the chart's own label",
        ),
        (
            with("injector", json!({"prometheusRule": {"labels": {"team": "a"}}, "commonLabels": {"team": "b"}})),
            "prometheusRule.labels has `team`, which commonLabels has too",
        ),
        // Volumes.
        (
            with("daemonset", json!({"volume": {"persistent": true}})),
            "volume.persistent, volume.existingClaim and volume.storageClass are of mode `deployment`",
        ),
        (with("deployment", json!({"volume": {"existingClaim": "data"}})), "volume.existingClaim is one volume"),
        (
            with(
                "deployment",
                json!({"volume": {"existingClaim": "data", "persistent": true}, "deployment": {"replicas": 1}}),
            ),
            "volume.persistent makes volumes, and volume.existingClaim names one",
        ),
        // Certificates.
        (
            with("injector", json!({"certificates": {"kind": "none"}})),
            "the API server speaks to a webhook over TLS only",
        ),
        (
            with(
                "deployment",
                json!({"certificates": {"kind": "none"}, "config": {"server": {"plaintext": true,
                "tls_client_ca_file": "/etc/consentd/keys/ca.crt"}}}),
            ),
            "config.server.tls_client_ca_file asks callers for certificates",
        ),
        (
            with("deployment", json!({"certificates": {"kind": "secret"}})),
            "certificates.kind is `secret`: certificates.secret must name it",
        ),
        (
            with("injector", json!({"certificates": {"kind": "secret", "secret": "a"}})),
            "certificates.caBundle must hold the authority",
        ),
        (
            with("injector", json!({"certificates": {"secret": "a"}})),
            "are of certificates.kind `secret`, not of `self`",
        ),
        (
            with("injector", json!({"certificates": {"issuer": {"name": "mesh"}}})),
            "certificates.issuer is of certificates.kind `cert-manager`, not of `self`",
        ),
        // Files.
        (
            with("injector", json!({"config": {"ledger": {"creds_file": "/run/secrets/nats.creds"}}})),
            "config.ledger.creds_file is `/run/secrets/nats.creds`, which is on no volume",
        ),
        (
            with("injector", json!({"config": {"ledger": {"creds_file": "/etc/consentd/keys/../../passwd"}}})),
            "config.ledger.creds_file is `/etc/consentd/keys/../../passwd`, which is on no volume",
        ),
        (
            with("injector", json!({"config": {"telemetry": {"otlp_ca_file": "/etc/consentd/tls/ca.crt"}}})),
            "config.telemetry.otlp_ca_file is `/etc/consentd/tls/ca.crt`, which is on no volume",
        ),
        (
            file(
                json!({"keys": {"secret": ""}, "config": {"telemetry": {"otlp_ca_file": "/etc/consentd/keys/ca.crt"}}}),
            ),
            "config.telemetry.otlp_ca_file is in the Secret, and keys.secret names none",
        ),
        // What the mode decides, and how a pod ends.
        (
            with("injector", json!({"config": {"server": {"tcp": "0.0.0.0:7311"}}})),
            "config.server.tcp is decided by the mode `injector`",
        ),
        (
            with("injector", json!({"config": {"server": {"plaintext": true}}})),
            "config.server.plaintext is decided by the mode `injector`",
        ),
        (
            with("deployment", json!({"config": {"data_dir": "/data"}})),
            "config.data_dir is decided by the mode `deployment`",
        ),
        (
            with("deployment", json!({"config": {"server": {"drain_timeout": "1m30s500ms"}}})),
            "terminationGracePeriodSeconds must be above 116, which",
        ),
    ]
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

/// The sentences that the chart knows, in the longest part without anything put in.
fn sentences() -> Vec<String> {
    let text = std::fs::read_to_string(chart().join("templates/_checks.tpl")).expect("readable");
    let lines = text.lines().filter_map(|line| line.split_once("append $wrong"));
    let longest = |(_, said): (&str, &str)| {
        let said = said.split('"').nth(1).expect("a sentence");
        let parts = said.split("%s").flat_map(|part| part.split("%v")).flat_map(|part| part.split("%d"));
        parts.max_by_key(|part| part.len()).expect("a part").to_owned()
    };
    lines.map(longest).collect()
}

#[test]
fn what_cannot_be_is_refused_with_its_sentence() {
    let mut told = Vec::new();
    for major in Major::BOTH {
        let mut helm = Helm::start(major);
        for (values, sentence) in refused() {
            let rendered = helm.template(&chart(), "1.31.0", &values);
            let error = rendered
                .err()
                .unwrap_or_else(|| panic!("{major:?} takes what must be refused: {sentence}\n{values:#}"));
            assert!(error.contains("these values cannot be:") && error.contains(sentence), "{sentence}:\n{error}");
            told.push(error);
        }
    }
    let untold: Vec<String> = sentences()
        .into_iter()
        .filter(|sentence| !told.iter().any(|error| error.contains(sentence.as_str())))
        .collect();
    assert!(untold.is_empty(), "no case is refused with these: {untold:#?}");
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let values =
        json!({"mode": "deployment", "certificates": {"kind": "none"}, "config": {"evidence": {"ship": "none"}}});
    for major in Major::BOTH {
        let error = Helm::start(major).template(&chart(), "1.31.0", &values).expect_err("refused");
        for sentence in ["nothing says where", "in plain text", "evidence would be lost"] {
            assert!(error.contains(&format!("\n  - {sentence}")) || error.contains(sentence), "{error}");
        }
        assert_eq!(error.matches("\n  - ").count(), 3, "{error}");
    }
}

/// The same values with the one word that allows it.
#[test]
fn what_is_asked_for_aloud_is_given() {
    let plain = json!({"mode": "deployment", "config": {"ledger": {"url": "nats://n:4222"}, "server": {"plaintext": true},
        "evidence": {"ship": "none"}}, "certificates": {"kind": "none"}, "allow": {"plaintextLedger": true, "lostEvidence": true}});
    let anonymous = json!({"nats": {"enabled": true, "anonymous": true}, "allow": {"plaintextLedger": true}});
    let off = json!({"mode": "deployment", "nats": {"enabled": true, "anonymous": true}, "certificates": {"kind": "none"},
        "allow": {"plaintextLedger": true}, "config": {"ledger": {"creds_file": "off", "tls_ca_file": "off"},
        "server": {"plaintext": true, "tls_client_ca_file": "off"}}});
    for values in [plain, anonymous, off] {
        let rendered = Helm::start(Major::Four).template(&chart(), "1.31.0", &values);
        assert!(rendered.is_ok(), "{}", rendered.expect_err("an error"));
    }
}
