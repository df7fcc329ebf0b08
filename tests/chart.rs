//! The chart, rendered by real Helm of both major versions: what every file of values comes to.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "chart/authority.rs"]
mod authority;
#[path = "chart/consequences.rs"]
mod consequences;
#[path = "support/helm.rs"]
mod helm;
#[path = "chart/names.rs"]
mod names;
#[path = "chart/notes.rs"]
mod notes;
#[path = "chart/objects.rs"]
mod objects;
#[path = "chart/references.rs"]
mod references;
#[path = "chart/restricted.rs"]
mod restricted;
#[path = "chart/values.rs"]
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use data_encoding::BASE64;
use helm::{Helm, Major, NAMESPACE};
use objects::{chart, files, named, of_kind, pods, text};
use serde_json::{Value, json};

/// The versions of Kubernetes that the chart is for, and that there are schemas of: native sidecars are on since the first.
const KUBERNETES: [&str; 9] =
    ["1.29.0", "1.30.0", "1.31.0", "1.32.0", "1.33.0", "1.34.0", "1.35.0", "1.36.0", "1.37.0"];
/// The kinds that are of no schema of Kubernetes; theirs, cut down, are in `tests/chart/kinds.json`.
const FOREIGN: [&str; 4] = ["Certificate", "Issuer", "PodMonitor", "PrometheusRule"];

/// What every file of values comes to, by the file's name.
fn rendered(major: Major, kubernetes: &str) -> BTreeMap<String, Vec<Value>> {
    let mut helm = Helm::start(major);
    let render = |file: PathBuf| {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        let objects = helm.template_file(&chart(), kubernetes, &file);
        (name.clone(), objects.unwrap_or_else(|error| panic!("{name}: {error}")))
    };
    files().into_iter().map(render).collect()
}

/// The newest, by Helm 4.
fn latest() -> BTreeMap<String, Vec<Value>> {
    rendered(Major::Four, KUBERNETES[KUBERNETES.len() - 1])
}

#[test]
fn both_major_versions_of_helm_are_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    std::fs::create_dir(folder.path().join("templates")).expect("made");
    write("Chart.yaml", "apiVersion: v2\nname: told\nversion: 0.1.0\n");
    write("templates/told.yaml", "helm: {{ .Capabilities.HelmVersion.Version }}\n");
    for (major, version) in Major::BOTH.into_iter().zip(["v3.20", "v4.1"]) {
        let told = Helm::start(major).template(folder.path(), "1.29.0", &json!({})).expect("rendered");
        assert_eq!(told, [json!({"helm": version})]);
    }
}

#[test]
fn both_render_every_file_of_values_alike() {
    let [three, four] = Major::BOTH.map(|major| rendered(major, "1.31.0"));
    assert!(three.len() > 7, "{:?}", three.keys());
    for (name, one) in three {
        let mut pair = [one, four[&name].clone()];
        for objects in &mut pair {
            objects.iter_mut().for_each(without_what_is_made_anew);
            // Each sorts kinds that are not Kubernetes' own in its own way.
            objects.sort_by_key(named);
        }
        let [one, other] = pair;
        assert_eq!(one, other, "{name}");
        let names: BTreeSet<String> = one.iter().map(named).collect();
        assert_eq!(names.len(), one.len(), "{name}: two objects have one name");
    }
}

/// Takes out certificates that Helm made: without a cluster to keep them in, every rendering has others.
fn without_what_is_made_anew(object: &mut Value) {
    if object["type"] == "kubernetes.io/tls" {
        object["data"] = json!({});
        for mark in ["consentd.io/renew-after", "consentd.io/ends"] {
            object["metadata"]["annotations"][mark] = json!("");
        }
    }
    // Of the certificate that Helm made, besides the settings.
    if object["metadata"]["name"] == "consentd-nats" && object["kind"] == "StatefulSet" {
        object["spec"]["template"]["metadata"]["annotations"]["checksum/config"] = json!("");
    }
    for webhook in object["webhooks"].as_array_mut().into_iter().flatten() {
        if webhook["clientConfig"]["caBundle"].is_string() {
            webhook["clientConfig"]["caBundle"] = json!("");
        }
    }
}

#[test]
fn both_find_nothing_to_say_against_it() {
    for major in Major::BOTH {
        let mut helm = Helm::start(major);
        for file in files() {
            let values = helm::objects(&read(&file)).remove(0);
            let found = helm.lint(&chart(), &values);
            assert!(found.is_empty(), "{major:?}, {}: {found:?}", file.display());
        }
        assert!(!helm.lint(&chart(), &json!({"mode": "none"})).is_empty(), "{major:?} looks at nothing");
    }
}

#[test]
fn every_object_is_valid_in_every_version_of_kubernetes() {
    let mut lines = Vec::new();
    let mut whats = Vec::new();
    for kubernetes in KUBERNETES {
        for (file, objects) in rendered(Major::Four, kubernetes) {
            for object in objects.into_iter().filter(|object| !FOREIGN.contains(&text(object, "/kind"))) {
                whats.push(format!("{kubernetes} {file} {}", named(&object)));
                lines.push(json!({"kubernetes": kubernetes, "object": object}).to_string());
            }
        }
    }
    assert!(lines.len() > 500, "{}", lines.len());
    // That it would be found: a misspelt field, and one of the wrong type.
    whats.extend(["a broken one".to_owned(), "a broken one".to_owned()]);
    let broken = |field: &str| {
        json!({"kubernetes": "1.29.0", "object": {"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "x"}, "spec": {field: 1}}})
    };
    lines.extend(["sessionAffinty", "clusterIP"].map(|field| broken(field).to_string()));

    let told = validated(lines);
    assert_eq!(told.len(), whats.len());
    for (what, told) in whats.iter().zip(&told) {
        assert_eq!(told == "ok", what != "a broken one", "{what}: {told}");
    }
}

#[test]
fn every_object_of_others_is_as_their_definitions_want() {
    let kinds: Value = serde_json::from_str(include_str!("chart/kinds.json")).expect("JSON");
    let all: Vec<Value> = latest().into_values().flatten().collect();
    for kind in FOREIGN {
        let mut objects: Vec<Value> = of_kind(&all, kind).cloned().collect();
        assert!(!objects.is_empty(), "there is no {kind}");
        for object in &objects {
            assert_eq!(object["apiVersion"], kinds[kind]["apiVersion"], "{kind}");
        }
        // That it would be found.
        let mut broken = objects[0].clone();
        broken["spec"]["unheardOf"] = json!(1);
        objects.push(broken);
        let specs = objects.iter().map(|object| &object["spec"]);
        let lines = std::iter::once(&kinds[kind]["spec"]).chain(specs).map(Value::to_string).collect();
        let told = foreign("schema.py", lines);
        assert_eq!(told.len(), objects.len(), "{kind}");
        let (broken, whole) = told.split_last().expect("some");
        assert!(broken != "ok" && whole.iter().all(|told| told == "ok"), "{kind}: {told:?}");
    }
}

/// What `kubernetes-validate` says of objects, strictly.
fn validated(lines: Vec<String>) -> Vec<String> {
    foreign("kubernetes.py", lines)
}

/// What a program in Python says of lines, a line each.
fn foreign(program: &str, lines: Vec<String>) -> Vec<String> {
    let mut command = Command::new(helm::tools().join("bin/python"));
    command.arg(objects::root().join("tests/foreign").join(program)).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut input = child.stdin.take().expect("piped");
    // A thread of its own: it answers while it is still being told.
    let writing = std::thread::spawn(move || input.write_all((lines.join("\n") + "\n").as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writing.join().expect("no panic").expect("told");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
}

#[test]
fn every_pod_passes_the_restricted_standard_of_pod_security() {
    for (file, objects) in latest() {
        let pods = pods(&objects);
        assert!(!pods.is_empty(), "{file}");
        for (name, pod) in pods {
            let found = restricted::violations(pod);
            assert!(found.is_empty(), "{file}: {name}: {found:?}");
        }
    }
}

#[test]
fn what_an_object_names_is_there() {
    for (file, objects) in latest() {
        let found = references::dangling(&objects);
        assert!(found.is_empty(), "{file}:\n{}", found.join("\n"));
    }
}

#[test]
fn nothing_has_a_right_or_a_token() {
    for (file, objects) in latest() {
        for kind in ["Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"] {
            assert_eq!(of_kind(&objects, kind).count(), 0, "{file}");
        }
        for account in of_kind(&objects, "ServiceAccount") {
            assert_eq!(account["automountServiceAccountToken"], json!(false), "{file}");
        }
        for (name, pod) in pods(&objects) {
            assert_eq!(pod["automountServiceAccountToken"], json!(false), "{file}: {name}");
        }
    }
}

#[test]
fn the_program_takes_every_configuration() {
    let mut count = 0;
    for (file, objects) in latest() {
        let config = of_kind(&objects, "ConfigMap").find_map(|map| map["data"]["consentd.toml"].as_str());
        let Some(config) = config else { continue };
        let output = run_with(config, "consentd.toml", &["config", "check", "--config"]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{file}: {told}\n{config}");
        // Whoever reaches a port is let in where there is no certificate, and that is said.
        assert_eq!(told.contains("server.tcp: "), file == "deployment-values.yaml", "{file}: {told}");
        count += 1;
    }
    assert_eq!(count, 4);
}

#[test]
fn the_webhook_takes_all_settings_and_is_asked_where_it_answers() {
    let mut count = 0;
    for (file, objects) in latest() {
        let settings = of_kind(&objects, "ConfigMap").find_map(|map| map["data"]["injector.toml"].as_str());
        let Some(settings) = settings else { continue };
        count += 1;
        let output = run_with(settings, "injector.toml", &["injector", "--check", "--config"]);
        assert!(output.status.success(), "{file}: {}\n{settings}", String::from_utf8_lossy(&output.stderr));
        let webhook = of_kind(&objects, "MutatingWebhookConfiguration").next().expect("a webhook");
        assert_eq!(text(webhook, "/webhooks/0/clientConfig/service/path"), consentd::injector::PATH, "{file}");
        let [wanted, got] = [settings, &settings.replace("ledger.kind", "ledger.knid")]
            .map(|text| run_with(text, "injector.toml", &["injector", "--check", "--config"]).status.success());
        assert!(wanted && !got, "{file}: a wrong key is taken");
    }
    assert!(count > 3, "{count}");
}

/// What the webhook makes of a pod, with the settings that were rendered: the names on which the chart relies are its own.
#[test]
fn a_sidecar_of_the_webhook_is_scraped_and_has_the_keys_of_the_chart() {
    let objects = &latest()["injector-cert-manager-values.yaml"];
    let settings = of_kind(objects, "ConfigMap").find_map(|map| map["data"]["injector.toml"].as_str());
    let patch = Value::Array(patch_by(settings.expect("settings"))).to_string();
    let monitor =
        of_kind(objects, "PodMonitor").find(|monitor| named(monitor).ends_with("-sidecars")).expect("a monitor");
    for wanted in [
        format!("\"name\":\"{}\"", text(monitor, "/spec/podMetricsEndpoints/0/port")),
        "\"secretName\":\"consentd\"".to_owned(),
        "\"image\":\"ghcr.io/consentd/consentd:0.1.0\"".to_owned(),
        "\"memory\":\"128Mi\"".to_owned(),
    ] {
        assert!(patch.contains(&wanted), "no {wanted} in {patch}");
    }
}

/// What the webhook adds to a pod by these settings.
fn patch_by(settings: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("injector.toml");
    std::fs::write(&file, settings).expect("written");
    let settings = consentd::injector::Settings::load(&file).expect("valid").settings;
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "mailer", "annotations": {"consentd.io/inject": "true"}},
        "spec": {"containers": [{"name": "app", "image": "mailer"}]}});
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "1", "operation": "CREATE", "namespace": "shop", "object": pod,
        "kind": {"group": "", "version": "v1", "kind": "Pod"}, "resource": {"group": "", "version": "v1", "resource": "pods"}}});
    let answered = consentd::injector::answer(&settings, review.to_string().as_bytes()).expect("readable");
    let answered: Value = serde_json::from_slice(&answered.body).expect("JSON");
    let patch = BASE64.decode(text(&answered, "/response/patch").as_bytes()).expect("base64");
    serde_json::from_slice(&patch).expect("a list")
}

/// The container that a pod gets by these settings.
fn sidecar_by(settings: &str) -> Value {
    let patch = patch_by(settings);
    let added = patch.iter().find(|addition| addition["path"] == "/spec/initContainers").expect("a container");
    added["value"][0].clone()
}

/// Runs the program with a file of this text, named behind the arguments.
fn run_with(text: &str, name: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(name);
    std::fs::write(&file, text).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_consentd"));
    command.args(arguments).arg(file).env_clear().output().expect("it runs")
}

#[test]
fn values_become_toml_without_a_change() {
    let config = json!({
        "ledger": {"url": "tls://nats.example:4222"},
        "server": {"max_batch": 10_000, "max_connections": 1_000_000, "request_timeout": "750ms"},
        "telemetry": {"trace_ratio": 0.000_01, "otlp_endpoint": "https://collector:4317"},
        "log": {"level": "warn,consentd::replica=debug", "format": "json"},
        "authzen": {"enabled": true, "resource_type": "a \"quoted\" <type> \\ ü"},
        "callers": [{"name": "mailer", "spiffe": "spiffe://a/b", "purposes": ["*"], "channels": ["email"], "uid": 4_000_000_000_u32}],
        "evidence": {"ship": "nats"},
    });
    for major in Major::BOTH {
        let values = json!({"mode": "daemonset", "config": config});
        let objects = Helm::start(major).template(&chart(), "1.30.0", &values).expect("rendered");
        let map = of_kind(&objects, "ConfigMap").next().expect("a map");
        let read: Value = toml::from_str(text(map, "/data/consentd.toml")).expect("TOML");
        for (section, keys) in config.as_object().expect("tables") {
            let Some(keys) = keys.as_object() else {
                assert_eq!(read[section], *keys, "{section}");
                continue;
            };
            for (key, value) in keys {
                assert_eq!(read[section][key], *value, "{section}.{key}");
            }
        }
        let output = run_with(text(map, "/data/consentd.toml"), "consentd.toml", &["config", "check", "--config"]);
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn shipped_evidence_has_the_key_of_the_secret_unless_it_is_said() {
    let secret = Some("/etc/consentd/keys/evidence.key");
    let mut helm = Helm::start(Major::Four);
    for (mode, file) in [("daemonset", "consentd.toml"), ("injector", "injector.toml")] {
        for (evidence, wanted) in [
            (json!({"ship": "nats"}), secret),
            (json!({"ship": "nats", "key_file": "/etc/consentd/keys/own.key"}), Some("/etc/consentd/keys/own.key")),
            (json!({"ship": "nats", "key_file": "off"}), Some("off")),
            (json!({"ship": "none"}), None),
        ] {
            let config = json!({"ledger": {"url": "tls://nats.example:4222"}, "evidence": evidence});
            let values = json!({"mode": mode, "config": config, "allow": {"lostEvidence": true}});
            let objects = helm.template(&chart(), "1.30.0", &values).expect("rendered");
            let pointer = format!("/data/{file}");
            let map = of_kind(&objects, "ConfigMap").find(|map| map.pointer(&pointer).is_some()).expect("a map");
            let read: Value = toml::from_str(text(map, &pointer)).expect("TOML");
            let config = if mode == "injector" { &read["config"] } else { &read };
            assert_eq!(config["evidence"]["key_file"].as_str(), wanted, "{mode} {evidence}");
        }
    }
}

#[test]
fn a_certificate_of_helm_is_for_the_service_and_by_the_authority_that_the_api_server_is_told() {
    let objects = &latest()["injector-values.yaml"];
    let secret = of_kind(objects, "Secret").next().expect("a Secret");
    let decode = |name: &str| BASE64.decode(secret["data"][name].as_str().expect(name).as_bytes()).expect("base64");
    let webhook = &of_kind(objects, "MutatingWebhookConfiguration").next().expect("a webhook")["webhooks"][0];
    let bundle = text(webhook, "/clientConfig/caBundle");
    assert_eq!(BASE64.decode(bundle.as_bytes()).expect("base64"), decode("ca.crt"));

    let service = text(webhook, "/clientConfig/service/name");
    let host = format!("{service}.{NAMESPACE}.svc");
    handshake(&decode("tls.crt"), &decode("tls.key"), &decode("ca.crt"), &host).expect("the API server's handshake");
    handshake(&decode("tls.crt"), &decode("tls.key"), &decode("ca.crt"), "other.svc").expect_err("another name");
}

/// Shakes hands in memory: a server with this certificate, and a client that trusts this authority and asks for this host.
fn handshake(cert: &[u8], key: &[u8], authority: &[u8], host: &str) -> Result<(), tokio_rustls::rustls::Error> {
    use std::sync::Arc;
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, crypto};

    let provider = Arc::new(crypto::ring::default_provider());
    let chain = CertificateDer::pem_slice_iter(cert).collect::<Result<Vec<_>, _>>().expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(key).expect("PEM");
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let server = server.expect("versions").with_no_client_auth().with_single_cert(chain, key)?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority).expect("PEM")).expect("an authority");
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let client = client.expect("versions").with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).expect("written");
        server.read_tls(&mut wire.as_slice()).expect("read");
        server.process_new_packets()?;
        wire.clear();
        server.write_tls(&mut wire).expect("written");
        client.read_tls(&mut wire.as_slice()).expect("read");
        client.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn rules_and_dashboard_are_those_of_the_files() {
    let objects = &latest()["injector-cert-manager-values.yaml"];
    let read = |path: &str| std::fs::read_to_string(chart().join(path)).expect("readable");
    let rule = of_kind(objects, "PrometheusRule").next().expect("rules");
    assert_eq!([rule["spec"].clone()], *helm::objects(&read("rules/consentd.yaml")));
    let dashboard = of_kind(objects, "ConfigMap").find_map(|map| map["data"]["consentd.json"].as_str());
    let [shown, written]: [Value; 2] = [dashboard.expect("a dashboard"), &read("dashboards/consentd.json")]
        .map(|text| serde_json::from_str(text).expect("JSON"));
    assert_eq!(shown, written);
}

#[test]
fn a_chart_is_not_installed_where_there_are_no_native_sidecars() {
    for major in Major::BOTH {
        let file = chart().join("ci/injector-values.yaml");
        let error = Helm::start(major).template_file(&chart(), "1.28.9", &file).expect_err("refused");
        assert!(error.contains("incompatible with Kubernetes v1.28.9"), "{error}");
    }
}

#[test]
fn what_changes_in_the_configuration_makes_pods_anew_and_nothing_else_does() {
    let mut helm = Helm::start(Major::Four);
    let mut marks = |values: Value| -> BTreeMap<String, Value> {
        let objects = helm.template(&chart(), "1.31.0", &values).expect("rendered");
        let mark = |(name, _): (String, &Value)| {
            let object = objects.iter().find(|object| named(object) == name).expect("there");
            (name, object["spec"]["template"].clone())
        };
        pods(&objects).into_iter().map(mark).collect()
    };
    let values =
        |url: &str, replicas: u64| json!({"config": {"ledger": {"url": url}}, "injector": {"replicas": replicas}});
    let first = marks(values("tls://a:4222", 2));
    assert_eq!(first, marks(values("tls://a:4222", 3)));
    assert_ne!(first, marks(values("tls://b:4222", 2)));
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("readable")
}
