//! The certificate that Helm makes for the chart's NATS, and renews: who believes whom while servers take it one by one.
//!
//! What a cluster holds is given to the template as values; to read it there is a line of the chart that looks it up.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

use std::path::Path;

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::handshake;
use crate::helm::{Helm, Major};
use crate::objects::{chart, of_kind, text};

const DAY: u64 = 86_400;
const HOST: &str = "consentd-nats-1.consentd-nats-peers.privacy.svc.cluster.local";

/// A chart that prints what the certificate becomes of what there is.
fn probe(folder: &Path) {
    std::fs::create_dir(folder.join("templates")).expect("made");
    std::fs::write(folder.join("Chart.yaml"), "apiVersion: v2\nname: consentd\nversion: 0.1.0\n").expect("written");
    for name in ["_helpers.tpl", "_certificates.tpl"] {
        std::fs::copy(chart().join("templates").join(name), folder.join("templates").join(name)).expect("copied");
    }
    let printed = "made: {{ include \"consentd.natsMade\" (list . .Values.authority .Values.secret) }}\n";
    std::fs::write(folder.join("templates/made.yaml"), printed).expect("written");
}

/// What is made of the Secrets that are there.
fn made(helm: &mut Helm, authority: &Value, secret: &Value, domain: &str) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    probe(folder.path());
    let values = json!({"authority": authority, "secret": secret, "nameOverride": "", "fullnameOverride": "",
        "clusterDomain": domain, "certificates": {"days": 90}, "nats": {"tlsSecret": ""}});
    helm.template(folder.path(), "1.31.0", &values).expect("rendered").remove(0)["made"].clone()
}

fn now() -> u64 {
    consentd::clock::Clock::system().unix_nanos() / 1_000_000_000
}

/// The Secrets as the chart writes them, of what was made.
fn secrets(made: &Value, renew_after: u64, names: &str) -> [Value; 2] {
    let encoded = |name: &str| json!(BASE64.encode(text(made, name).as_bytes()));
    let authority = json!({"metadata": {"annotations": {"consentd.io/ends": made["ends"]}},
        "data": {"tls.crt": encoded("/ca"), "tls.key": encoded("/caKey")}});
    let secret = json!({
        "metadata": {"annotations": {"consentd.io/names": names, "consentd.io/renew-after": renew_after.to_string()}},
        "data": {"ca.crt": encoded("/ca"), "tls.crt": encoded("/cert"), "tls.key": encoded("/key")}});
    [authority, secret]
}

/// Whether whoever believes the authority of one rendering believes the server of another.
fn believes(client: &Value, server: &Value) -> bool {
    let bytes = |of: &Value, name: &str| text(of, name).as_bytes().to_vec();
    handshake(&bytes(server, "/cert"), &bytes(server, "/key"), &bytes(client, "/ca"), HOST).is_ok()
}

#[test]
fn a_renewed_certificate_is_believed_by_servers_and_sidecars_that_know_the_former() {
    let objects = &crate::latest()["injector-nats-values.yaml"];
    // The webhook's own has no wildcard.
    let names = of_kind(objects, "Secret")
        .filter_map(|secret| secret["metadata"]["annotations"]["consentd.io/names"].as_str())
        .find(|names| names.contains('*'))
        .expect("names");
    for major in Major::BOTH {
        let mut helm = Helm::start(major);
        let mut made = |authority: &Value, secret: &Value| made(&mut helm, authority, secret, "cluster.local");
        let first = made(&Value::Null, &Value::Null);
        assert!(believes(&first, &first));
        let ends: u64 = text(&first, "/ends").parse().expect("seconds");
        assert!(ends.abs_diff(now() + 900 * DAY) < 60, "{ends}");

        // Kept to the byte while it is young.
        let [authority, secret] = secrets(&first, now() + DAY, names);
        let kept = made(&authority, &secret);
        for part in ["/ca", "/caKey", "/ends", "/cert", "/key"] {
            assert_eq!(text(&kept, part), text(&first, part), "{part}");
        }

        // Renewed when it is old, by the same authority: whoever knows one knows the other.
        let [authority, secret] = secrets(&first, now() - 1, names);
        let renewed = made(&authority, &secret);
        assert_ne!(renewed["cert"], first["cert"]);
        assert_ne!(renewed["key"], first["key"]);
        assert_eq!(renewed["ca"], first["ca"]);
        assert!(believes(&first, &renewed) && believes(&renewed, &first));
        let after: u64 = text(&renewed, "/renewAfter").parse().expect("seconds");
        assert!(after.abs_diff(now() + 60 * DAY) < 60, "{after}");

        // And when its names are others.
        let [authority, secret] = secrets(&first, now() + DAY, "consentd-nats.elsewhere.svc");
        let renamed = made(&authority, &secret);
        assert_ne!(renamed["cert"], first["cert"]);
        assert!(believes(&first, &renamed));

        // It does not outlive its authority, and is of a new one when that has ended.
        let mut old = first.clone();
        old["ends"] = json!((now() + 9 * DAY + 60).to_string());
        let [authority, secret] = secrets(&old, now() - 1, names);
        let short = made(&authority, &secret);
        let after: u64 = text(&short, "/renewAfter").parse().expect("seconds");
        assert!(after.abs_diff(now() + 6 * DAY) < 60, "{after}");
        old["ends"] = json!(now().to_string());
        let [authority, secret] = secrets(&old, now() + DAY, names);
        let another = made(&authority, &secret);
        assert!(believes(&another, &another) && !believes(&first, &another));

        // An authority that somebody else's Secret names is not that of the certificate.
        let [authority, _] = secrets(&another, now() + DAY, names);
        let [_, secret] = secrets(&first, now() + DAY, names);
        let mended = made(&authority, &secret);
        assert!(believes(&another, &mended) && believes(&mended, &mended));
    }
}

/// Servers read their certificate when they start: another one makes their pods anew, and no pod has the authority's key.
#[test]
fn a_certificate_of_helm_is_in_the_mark_of_the_servers_pods_and_the_authority_is_in_none() {
    let mut helm = Helm::start(Major::Four);
    let mut mark = |values: &Value| {
        let objects = helm.template(&chart(), "1.31.0", values).expect("rendered");
        let set = of_kind(&objects, "StatefulSet").next().expect("servers").clone();
        (objects, set["spec"]["template"]["metadata"]["annotations"]["checksum/config"].clone())
    };
    let own = json!({"nats": {"enabled": true, "anonymous": true}});
    let (objects, first) = mark(&own);
    // Without a cluster each rendering makes another.
    assert_ne!(first, mark(&own).1);
    let authority = of_kind(&objects, "Secret").find(|secret| secret["metadata"]["name"] == "consentd-nats-ca");
    assert!(authority.expect("an authority")["data"]["tls.key"].is_string());
    for (name, pod) in crate::objects::pods(&objects) {
        assert!(!pod["volumes"].to_string().contains("consentd-nats-ca"), "{name}");
    }
    let others = json!({"nats": {"enabled": true, "anonymous": true, "tlsSecret": "theirs"}});
    let (objects, first) = mark(&others);
    assert_eq!(first, mark(&others).1);
    assert!(of_kind(&objects, "Secret").all(|secret| secret["metadata"]["name"] != "consentd-nats-ca"));
}
