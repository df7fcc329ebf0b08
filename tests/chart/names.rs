//! How long names may be, by what Kubernetes makes of them.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

use serde_json::{Value, json};

use crate::helm::{Helm, Major};
use crate::objects::{chart, files, named, of_kind, text};

/// The longest name of a release. Source: Helm, `chartutil.ValidateReleaseName`.
const RELEASE_CHARS_MAX: usize = 53;
/// The longest value of a label, and the longest part of a name of the DNS. Source: Kubernetes, "Labels and Selectors"; RFC 1123.
const LABEL_CHARS_MAX: usize = 63;
/// What a `StatefulSet` adds to its name in the label `controller-revision-hash`: a hyphen and a hash of up to ten digits.
const REVISION_CHARS: usize = 11;
/// The longest common name of a certificate. Source: RFC 5280, `ub-common-name`.
const COMMON_NAME_CHARS_MAX: usize = 64;

/// The longest name of an object of a kind.
fn longest(kind: &str) -> usize {
    match kind {
        // Its name is a value of its pods' label `job-name`.
        "Job" | "Service" => LABEL_CHARS_MAX,
        "StatefulSet" => LABEL_CHARS_MAX - REVISION_CHARS,
        // Of the DNS, with dots; what is made of one is cut.
        _ => 253,
    }
}

fn labels(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(fields) => {
            let own = fields.iter().filter(|(key, _)| *key == "labels" || *key == "matchLabels");
            let own = own.flat_map(|(_, labels)| labels.as_object().into_iter().flatten());
            let own = own.filter_map(|(_, value)| value.as_str());
            own.chain(fields.values().flat_map(labels)).collect()
        }
        Value::Array(items) => items.iter().flat_map(labels).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn names_fit_whatever_the_release_is_called() {
    let release = format!("{}-x", "r".repeat(RELEASE_CHARS_MAX - 2));
    let mut helm = Helm::start(Major::Four);
    let mut kinds = std::collections::BTreeSet::new();
    for file in files() {
        let objects = helm.template_named(&release, &chart(), &file).expect("rendered");
        for object in &objects {
            let (kind, name) = (text(object, "/kind"), text(object, "/metadata/name"));
            kinds.insert(kind.to_owned());
            assert!(name.len() <= longest(kind), "{} has {}, of {}", named(object), name.len(), longest(kind));
            for label in labels(object) {
                assert!(label.len() <= LABEL_CHARS_MAX, "{}: {label}", named(object));
            }
        }
        for certificate in of_kind(&objects, "Certificate") {
            let common = certificate["spec"]["commonName"].as_str().unwrap_or_default();
            assert!(common.len() <= COMMON_NAME_CHARS_MAX, "{common}");
        }
    }
    for kind in ["Job", "Service", "StatefulSet", "Certificate"] {
        assert!(kinds.contains(kind), "no {kind} was looked at: {kinds:?}");
    }
}

#[test]
fn a_name_that_is_too_long_is_refused_by_the_schema() {
    let mut helm = Helm::start(Major::Four);
    for key in ["fullnameOverride", "nameOverride"] {
        for (chars, is_right) in [(45, true), (46, false)] {
            let mut values = json!({"config": {"ledger": {"url": "tls://n:4222"}}});
            values[key] = json!("n".repeat(chars));
            let rendered = helm.template(&chart(), "1.31.0", &values);
            assert_eq!(rendered.is_ok(), is_right, "{key} of {chars}: {rendered:?}");
        }
    }
}
