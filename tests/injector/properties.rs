//! What holds for every pod, and for what is none.

use std::sync::LazyLock;

use consentd::injector::{self, Outcome, Settings};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use crate::admission::{answer, applied, patch_of, settings};

const NAMES: [&str; 6] = ["app", "worker", "consentd", "istio-proxy", "linkerd-init", "a"];
const PATHS: [&str; 12] = [
    "/run",
    "/run/",
    "/run/consentd",
    "/run/consentd/",
    "/var/run",
    "/var/run/consentd/x",
    "/",
    "run/../run/consentd",
    "/tmp",
    "/run/consentd-x",
    "",
    "/etc/consentd/keys",
];
const VOLUMES: [&str; 6] = ["consentd-socket", "consentd-data", "consentd-keys", "consentd-no-token", "run", "x"];
const ANNOTATIONS: [(&str, &[&str]); 11] = [
    ("consentd.io/inject", &["true", "true", "true", "true", "true", "true", "true", "false", "yes"]),
    ("consentd.io/injected", &["0.1.0", ""]),
    ("consentd.io/containers", &["app", "app,worker", "worker, app", "istio-proxy", "nobody", ","]),
    ("consentd.io/startup", &["ready", "live", "x"]),
    ("consentd.io/log-level", &["debug", "$(X)"]),
    ("consentd.io/admin-port", &["9312", "7312", "0", "65536"]),
    ("consentd.io/cpu-request", &["100m", "-1"]),
    ("consentd.io/memory-limit", &["128Mi", "1Ki"]),
    ("consentd.io/other", &["x"]),
    ("example.org/other", &["x"]),
    ("kubernetes.io/config.mirror", &["x"]),
];

static SETTINGS: LazyLock<Settings> = LazyLock::new(|| settings(""));

/// Nothing, `null`, or a value.
fn perhaps(value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Option<Value>> {
    prop_oneof![3 => Just(None), 1 => Just(Some(Value::Null)), 6 => value.prop_map(Some)].boxed()
}

fn list(element: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Option<Value>> {
    perhaps(prop::collection::vec(element, 0..3).prop_map(Value::Array))
}

/// An object of the fields that have a value.
fn object(fields: Vec<(&'static str, Option<Value>)>) -> Value {
    Value::Object(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

fn mount() -> impl Strategy<Value = Value> {
    (select(&VOLUMES), select(&PATHS), perhaps(any::<bool>().prop_map(Value::Bool))).prop_map(
        |(volume, path, read_only)| {
            object(vec![("name", Some(json!(volume))), ("mountPath", Some(json!(path))), ("readOnly", read_only)])
        },
    )
}

fn container() -> impl Strategy<Value = Value> {
    let variable = select(&["CONSENTD_TARGET", "A", "B"]).prop_map(|name| json!({"name": name, "value": "v"}));
    let port = select(&[7312, 8080, 9312]).prop_map(|port| json!({"containerPort": port}));
    let amount = prop_oneof![Just(json!("1")), Just(json!("1Gi")), Just(json!(2)), Just(json!("x"))];
    let resources = (amount.clone(), amount).prop_map(
        |(cpu, disk)| json!({"limits": {"cpu": cpu, "memory": "1Gi", "ephemeral-storage": disk}, "requests": null}),
    );
    let restart = perhaps(select(&["Always", "x"]).prop_map(Value::from));
    (select(&NAMES), list(mount()), list(variable), list(port), perhaps(resources), restart).prop_map(
        |(name, mounts, env, ports, resources, restart)| {
            object(vec![
                ("name", Some(json!(name))),
                ("volumeMounts", mounts),
                ("env", env),
                ("ports", ports),
                ("resources", resources),
                ("restartPolicy", restart),
                ("image", Some(json!({"kept": "as it is"}))),
            ])
        },
    )
}

fn volume() -> impl Strategy<Value = Value> {
    let kind = select(&["emptyDir", "secret", "configMap", "hostPath"]);
    (select(&VOLUMES), kind).prop_map(|(name, kind)| json!({"name": name, kind: {}}))
}

fn annotations() -> impl Strategy<Value = Value> {
    let all = ANNOTATIONS.iter().enumerate().map(|(at, (name, values))| {
        let value = select(*values).prop_map(move |value| Some(((*name).to_owned(), json!(value))));
        let weights = if at == 0 { (1, 19) } else { (7, 1) };
        prop_oneof![weights.0 => Just(None), weights.1 => value]
    });
    all.collect::<Vec<_>>().prop_map(|all| Value::Object(all.into_iter().flatten().collect()))
}

fn pod() -> impl Strategy<Value = Value> {
    let spec = (
        list(container()),
        list(container()),
        list(volume()),
        perhaps(any::<bool>().prop_map(Value::Bool)),
        prop_oneof![9 => Just(None), 1 => Just(Some(json!({"name": "windows"})))],
        prop_oneof![5 => Just(None), 1 => Just(Some(json!({"limits": {"cpu": "1"}})))],
    );
    (perhaps(annotations()), spec).prop_map(|(annotations, (containers, inits, volumes, host, os, resources))| {
        let metadata = object(vec![("name", Some(json!("p"))), ("annotations", annotations)]);
        let spec = object(vec![
            ("containers", containers),
            ("initContainers", inits),
            ("volumes", volumes),
            ("hostNetwork", host),
            ("os", os),
            ("resources", resources),
            ("subdomain", Some(json!("kept"))),
        ]);
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    })
}

/// Any JSON, with names that a pod has.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        select(&["true", "consentd", "/run/consentd", "Always"]).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    let names = select(&[
        "metadata",
        "spec",
        "annotations",
        "containers",
        "initContainers",
        "volumes",
        "name",
        "volumeMounts",
        "env",
        "consentd.io/inject",
    ]);
    leaf.prop_recursive(6, 64, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((names.clone(), inner), 0..5).prop_map(|fields| Value::Object(
                fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            )),
        ]
    })
}

fn reviewed(object: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "operation": "CREATE",
            "namespace": "n",
            "object": object,
        },
    })
}

/// Whether everything of one value is in another: fields by name, elements in their order.
fn is_kept(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            before.iter().all(|(name, value)| after.get(name).is_some_and(|other| is_kept(value, other)))
        }
        (Value::Array(before), Value::Array(after)) => {
            let mut rest = after.iter();
            before.iter().all(|value| rest.any(|other| is_kept(value, other)))
        }
        // A list that was not there may be there now.
        (Value::Null, Value::Array(_)) => true,
        _ => before == after,
    }
}

fn elements<'v>(pod: &'v Value, list: &str) -> &'v [Value] {
    pod["spec"][list].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// What a pod has besides what a sidecar is made of.
fn without_additions(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let is_ours = |element: &Value| {
        let named = |name: &str| element["name"] == name;
        named("consentd") || VOLUMES.iter().take(4).any(|volume| named(volume)) || named("CONSENTD_TARGET")
    };
    let spec = pod["spec"].as_object_mut().expect("an object");
    prune(spec, is_ours);
    if let Some(annotations) = pod["metadata"]["annotations"].as_object_mut() {
        annotations.remove("consentd.io/injected");
    }
    pod
}

/// Takes elements out of every list of a pod and of its containers; lists that are empty then are as if they were not.
fn prune(fields: &mut Map<String, Value>, is_ours: impl Fn(&Value) -> bool + Copy) {
    for value in fields.values_mut() {
        if let Value::Array(list) = value {
            list.retain(|element| !is_ours(element));
            for element in list.iter_mut().filter_map(Value::as_object_mut) {
                prune(element, is_ours);
            }
        }
    }
    fields.retain(|_, value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()));
}

fn check(pod: &Value) -> Result<Outcome, TestCaseError> {
    let first = answer(&SETTINGS, &reviewed(pod));
    let response = &first.answer["response"];
    let patch = patch_of(response);
    prop_assert_eq!(&response["allowed"], &json!(first.outcome != Outcome::Refused));
    prop_assert_eq!(patch.is_empty(), first.outcome != Outcome::Injected);
    let asked = pod["metadata"]["annotations"]["consentd.io/inject"].as_str();
    if asked == Some("true") {
        prop_assert_ne!(first.outcome, Outcome::NotAsked);
    } else {
        prop_assert!(patch.is_empty());
    }
    if first.outcome != Outcome::Injected {
        return Ok(first.outcome);
    }
    let after = applied(pod, &patch);
    prop_assert!(is_kept(pod, &after), "{}\n{}", pod, after);
    prop_assert_eq!(without_additions(pod), without_additions(&after));

    let again = answer(&SETTINGS, &reviewed(&after));
    prop_assert_eq!(again.outcome, Outcome::Complete, "{}: {}", again.why, after);

    let inits = elements(&after, "initContainers");
    let at = inits.iter().position(|container| container["name"] == "consentd").expect("a sidecar");
    let named = pod["metadata"]["annotations"]["consentd.io/containers"].as_str();
    let is_mesh = |name: &str| name.starts_with("istio-") || name.starts_with("linkerd-");
    for container in inits[at + 1..].iter().chain(elements(&after, "containers")) {
        let name = container["name"].as_str().expect("a name");
        let asks = named.map_or(!is_mesh(name), |named| named.split(',').any(|other| other.trim() == name));
        let list = |field: &str| container[field].as_array().cloned().unwrap_or_default();
        let shown = list("volumeMounts").iter().any(|mount| mount["name"] == "consentd-socket");
        let told = list("env").iter().any(|variable| variable["name"] == "CONSENTD_TARGET");
        prop_assert!(!asks || shown && told, "{} of {}", name, after);
    }
    for name in VOLUMES.iter().take(4) {
        let count = elements(&after, "volumes").iter().filter(|volume| volume["name"] == *name).count();
        let before = elements(pod, "volumes").iter().filter(|volume| volume["name"] == *name).count();
        prop_assert!(
            count == before.max(1) || inits[at]["image"] != "ghcr.io/consentd/consentd:0.1.0",
            "{} of {}",
            name,
            after
        );
    }
    Ok(first.outcome)
}

#[test]
fn every_pod_is_completed_once_and_nothing_of_it_is_touched() {
    let mut injected = 0;
    let config = ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let counted = std::cell::RefCell::new(&mut injected);
    let ran = runner.run(&pod(), |pod| {
        let outcome = check(&pod)?;
        **counted.borrow_mut() += usize::from(outcome == Outcome::Injected);
        Ok(())
    });
    ran.unwrap_or_else(|why| panic!("{why}"));
    assert!(injected > 200, "only {injected} pods were injected");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_is_reviewed_is_answered(object in anything()) {
        let answered = answer(&SETTINGS, &reviewed(&object));
        prop_assert_eq!(&answered.answer["response"]["uid"], &json!("u"));
    }

    #[test]
    fn whatever_comes_makes_nothing_fail(bytes in prop::collection::vec(any::<u8>(), 0..200), review in anything()) {
        let _ = injector::answer(&SETTINGS, &bytes);
        let _ = injector::answer(&SETTINGS, review.to_string().as_bytes());
    }
}
