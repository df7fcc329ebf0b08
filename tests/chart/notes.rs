//! What is said to whoever installed the chart. By Helm 4 alone: what stands in for installing with Helm 3 takes every cluster
//! for one of 1.20.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

use serde_json::{Value, json};

use crate::helm::{Helm, Major};
use crate::objects::{chart, files};

/// The notes to some values.
fn notes(helm: &mut Helm, values: &Value) -> String {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().expect("a file");
    std::fs::write(file.path(), values.to_string()).expect("written");
    helm.notes(&chart(), file.path())
}

/// The lines of notes that are commands.
fn commands(notes: &str) -> Vec<&str> {
    notes.lines().filter_map(|line| line.strip_prefix("     ")).filter(|line| line.starts_with("kubectl")).collect()
}

#[test]
fn notes_have_no_holes() {
    let mut helm = Helm::start(Major::Four);
    for file in files() {
        let notes = helm.notes(&chart(), &file);
        assert!(!notes.contains("<no value>") && !notes.contains("%!") && !notes.contains("<nil>"), "{notes}");
        assert!(
            commands(&notes).iter().all(|line| line.contains("-n privacy ") || line.contains("-n NAMESPACE ")),
            "{notes}"
        );
    }
}

#[test]
fn notes_of_a_webhook_with_its_own_nats() {
    let notes = Helm::start(Major::Four).notes(&chart(), &chart().join("ci/injector-nats-values.yaml"));
    let ledger = "jobs -l app.kubernetes.io/instance=consentd,app.kubernetes.io/component=ledger";
    assert_eq!(
        commands(&notes),
        [
            "kubectl -n NAMESPACE create secret generic consentd --from-file=evidence.key --from-file=nats-ca.crt --from-file=nats.creds --from-file=subject.key",
            "kubectl -n privacy get secret consentd-nats-tls -o jsonpath='{.data.ca\\.crt}' | base64 -d > nats-ca.crt",
            &format!("kubectl -n privacy get {ledger}"),
            &format!("kubectl -n privacy delete {ledger}"),
        ]
    );
    for wanted in [
        "Every namespace whose pods ask needs the Secret `consentd`:",
        "         consentd.io/inject: \"true\"",
        "Its containers find consentd at $CONSENTD_TARGET.",
    ] {
        assert!(notes.lines().any(|line| line == wanted), "no `{wanted}` in\n{notes}");
    }
    assert!(notes.contains("has its keys from the Secret `consentd-operator` of this namespace:"), "{notes}");
}

/// The key by which subjects are told belongs where consentd runs, and nowhere else.
#[test]
fn notes_of_a_service_send_no_key_to_its_callers() {
    let mut helm = Helm::start(Major::Four);
    let ready = |kind: &str| format!("kubectl -n privacy port-forward {kind}/consentd 7312");
    let daemonset = helm.notes(&chart(), &chart().join("ci/daemonset-values.yaml"));
    let secret = "kubectl -n privacy create secret generic consentd --from-file=ca.crt --from-file=client.crt --from-file=client.key --from-file=evidence.key --from-file=subject.key";
    assert_eq!(commands(&daemonset), [secret, &ready("daemonset")]);
    let asked = "Ask at consentd.privacy.svc:7311 over TLS. Whether it is ready, and its metrics:";
    assert!(daemonset.lines().any(|line| line == asked), "{daemonset}");
    let deployment = helm.notes(&chart(), &chart().join("ci/deployment-values.yaml"));
    let secret = "kubectl -n privacy create secret generic consentd --from-file=evidence.key --from-file=subject.key";
    assert_eq!(commands(&deployment), [secret, &ready("deployment")]);
    assert!(deployment.lines().any(|line| line == asked.replace(" over TLS", "")), "{deployment}");
    for notes in [daemonset, deployment] {
        let wanted = "This namespace needs the Secret `consentd`; callers, wherever they are, need none of it:";
        assert!(notes.lines().any(|line| line == wanted), "{notes}");
        assert!(!notes.contains("NAMESPACE"), "{notes}");
    }
    let own = helm.notes(&chart(), &chart().join("ci/deployment-persistent-values.yaml"));
    assert!(commands(&own).contains(&&*ready("statefulset")), "{own}");
}

#[test]
fn notes_of_a_ledger_in_a_file_name_the_workload_that_has_it() {
    let mut helm = Helm::start(Major::Four);
    let publish = |kind: &str| {
        format!(
            "kubectl -n privacy exec -i {kind}/consentd -- /consentd ledger catalogue - --ledger /var/lib/consentd/ledger.jsonl < catalogue.json"
        )
    };
    let trial = helm.notes(&chart(), &chart().join("ci/trial-values.yaml"));
    assert_eq!(commands(&trial)[..1], [publish("statefulset")]);
    let claimed = json!({
        "mode": "deployment", "deployment": {"replicas": 1}, "volume": {"existingClaim": "data"}, "keys": {"secret": ""},
        "config": {"ledger": {"kind": "file", "file": "/var/lib/consentd/ledger.jsonl"}, "evidence": {"ship": "none"}},
    });
    let claimed = notes(&mut helm, &claimed);
    assert_eq!(commands(&claimed)[..1], [publish("deployment")]);
    assert!(!claimed.contains("Secret"), "{claimed}");
}
