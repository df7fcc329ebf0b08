//! The dashboard and the alarms: sound for Prometheus, made of what the program shows, and going off when they should.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly; the exemption of clippy.toml does not reach its helpers"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use consentd::domain::{Reason, Status, Verdict};
use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

#[path = "support/prometheus.rs"]
mod prometheus;
#[path = "support/promql.rs"]
mod promql;
#[path = "support/sidecar.rs"]
mod sidecar;
#[path = "support/wanting.rs"]
mod wanting;

use prometheus::{Prometheus, promtool};
use promql::{Left, Names};
use sidecar::{Client, Home, Process, eventually, newsletter, reason, until_serving};

const RULES: &str = include_str!("../helm/consentd/rules/consentd.yaml");
const DASHBOARD: &str = include_str!("../helm/consentd/dashboards/consentd.json");
const OPERATIONS: &str = include_str!("../docs/operations.md");
const RUNBOOK: &str = "https://github.com/consentd/consentd/blob/main/docs/operations.md#";

/// What whoever scrapes adds to every series; the last of them is the chart's own.
const OF_THE_TARGET: [&str; 5] = ["namespace", "pod", "instance", "job", "consentd"];
/// Labels whose values are anybody's: of the catalogue, or of a release.
const OPEN: [&str; 3] = ["purpose", "channel", "version"];

/// Metrics that others show, with who does, and which labels of theirs are used.
const OF_OTHERS: [(&str, &str, &[&str]); 7] = [
    ("up", "Prometheus, of each target", &[]),
    ("ALERTS", "Prometheus, of each alarm", &["alertname", "alertstate"]),
    ("container_memory_working_set_bytes", "the kubelet (cAdvisor)", &["container"]),
    ("container_spec_memory_limit_bytes", "the kubelet (cAdvisor)", &["container"]),
    ("container_cpu_usage_seconds_total", "the kubelet (cAdvisor)", &["container"]),
    ("apiserver_admission_webhook_rejection_count", "the API server", &["name", "error_type"]),
    ("apiserver_admission_webhook_fail_open_count", "the API server", &["name", "type"]),
];

/// The labels of a metric, and the values of each that were seen.
type Labels = BTreeMap<String, BTreeSet<String>>;

/// What is shown on a page of metrics, by the name of the series.
fn shown(page: &str) -> BTreeMap<String, Labels> {
    let mut shown: BTreeMap<String, Labels> = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("consentd_")) {
        let (series, _) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let known = shown.entry(name.to_owned()).or_default();
        for label in labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty()) {
            let (label, value) = label.split_once("=\"").expect("a label");
            known.entry(label.to_owned()).or_default().insert(value.trim_end_matches('"').to_owned());
        }
    }
    shown
}

/// The metrics of a real injector that has answered one review, before which it shows no durations.
async fn injector() -> BTreeMap<String, Labels> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name);
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("signed");
    fs::write(file("tls.crt"), certificate.cert.pem()).expect("written");
    fs::write(file("tls.key"), certificate.signing_key.serialize_pem()).expect("written");
    let log = fs::File::create(file("log")).expect("a log");
    let mut child = Command::new(env!("CARGO_BIN_EXE_consentd"))
        .args(["injector", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0"])
        .args(["--tls-cert-file=tls.crt", "--tls-key-file=tls.key", "--config"])
        .arg(root().join("tests/admission/injector.toml"))
        .current_dir(folder.path())
        .env_clear()
        .stderr(log)
        .spawn()
        .expect("it starts");
    let log = || fs::read_to_string(file("log")).expect("a log");
    let addresses = async || {
        let log = log();
        assert!(child.try_wait().expect("a child").is_none(), "the injector ended:\n{log}");
        let address = |name| log.split_once(name)?.1.split_whitespace().next()?.parse::<SocketAddr>().ok();
        Some((address("reviews=")?, address("admin=")?))
    };
    let (reviews, admin) = eventually("the injector listens", addresses).await;
    let review = root().join("tests/admission/plain.json");
    let asked = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--insecure", "--header", "content-type: application/json"])
        .arg("--data-binary")
        .arg(format!("@{}", review.display()))
        .arg(format!("https://{reviews}/inject"))
        .output()
        .expect("curl runs");
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let page = page(admin);
    let _ = child.kill();
    let _ = child.wait();
    let certificate = page.lines().find_map(|line| line.strip_prefix("consentd_tls_begins_timestamp_seconds "));
    assert!(certificate.is_some_and(|begins| begins != "0"), "{page}");
    shown(&page)
}

/// The metrics at an address, as a scrape gets them.
fn page(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").expect("asked");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("answered");
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    page
}

/// A sidecar in a process of its own that is ready, shows its metrics, and answers.
async fn sidecar() -> (Home, Process, Client) {
    let home = Home::with_catalogue();
    let mut process = Process::spawn(&home, &[("admin.tcp", "127.0.0.1:0")]);
    let channel = process.connect().await;
    until_serving(&channel).await;
    (home, process, Client::new(channel))
}

/// Everything that the real program shows.
async fn everything() -> BTreeMap<String, Labels> {
    let (home, _process, mut client) = sidecar().await;
    reason(&mut client, newsletter("crm:1")).await;
    let mut all = shown(&page(home.admin()));
    // What has not occurred is not shown; these sets are closed in the program itself.
    for (metric, label, words) in [
        ("consentd_decisions_total", "reason", Reason::ALL.iter().map(ToString::to_string).collect()),
        ("consentd_decisions_total", "verdict", Verdict::ALL.iter().map(ToString::to_string).collect()),
        ("consentd_consent_events_total", "status", Status::ALL.iter().map(ToString::to_string).collect()),
    ] {
        let labels = all.get_mut(metric).unwrap_or_else(|| panic!("no `{metric}`"));
        assert!(labels.contains_key(label), "`{metric}` has no `{label}`");
        labels.insert(label.to_owned(), words);
    }
    // What both show, such as the certificate, keeps the labels that the sidecar has.
    for (metric, labels) in injector().await {
        all.entry(metric).or_insert(labels);
    }
    all
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The rules of the file, each a map.
fn rules() -> Vec<Yaml> {
    let file = YamlLoader::load_from_str(RULES).expect("YAML");
    let groups = file[0]["groups"].as_vec().expect("groups").iter();
    groups.flat_map(|group| group["rules"].as_vec().expect("rules").clone()).collect()
}

/// The alarms, by their name.
fn alarms() -> BTreeMap<String, Yaml> {
    let named = rules().into_iter().filter_map(|rule| Some((rule["alert"].as_str()?.to_owned(), rule)));
    named.collect()
}

fn dashboard() -> Value {
    serde_json::from_str(DASHBOARD).expect("JSON")
}

/// The panels of the dashboard that show something.
fn panels() -> Vec<Value> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    panels.filter(|panel| panel["type"] != "row").cloned().collect()
}

/// The queries of a panel, with what Grafana puts in, and the legend of each.
fn queries(panel: &Value) -> Vec<(String, String)> {
    let targets = panel["targets"].as_array().expect("targets").iter();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let filled = |target: &Value| {
        let expression = text(&target["expr"]).replace("$__rate_interval", "1m");
        expression.replace("\"$namespace\"", "\".*\"").replace("\"$pod\"", "\".*\"")
    };
    targets.map(|target| (filled(target), text(&target["legendFormat"]))).collect()
}

/// Says which names of an expression the program does not have.
fn unknown(expression: &str, of_ours: &BTreeMap<String, Labels>, recorded: &BTreeMap<String, Names>) -> Vec<String> {
    let mut problems = Vec::new();
    let names = Names::of(expression);
    let mut labels: BTreeSet<&str> = OF_THE_TARGET.into();
    for selector in &names.selectors {
        let metric = selector.metric.as_str();
        let mut own: BTreeSet<&str> = OF_THE_TARGET.into();
        let values = if let Some(values) = of_ours.get(metric) {
            own.extend(values.keys().map(String::as_str));
            Some(values)
        } else if let Some(names) = recorded.get(metric) {
            own.extend(names.grouped.iter().map(String::as_str));
            // What a recording rule groups by keeps the values that the metric has.
            names.selectors.iter().find_map(|selector| of_ours.get(&selector.metric))
        } else if let Some((_, _, labels)) = OF_OTHERS.iter().find(|(name, ..)| *name == metric) {
            own.extend(labels.iter().copied());
            None
        } else {
            problems.push(format!("no metric `{metric}`"));
            continue;
        };
        for matcher in &selector.matchers {
            if !own.contains(matcher.label.as_str()) {
                problems.push(format!("`{metric}` has no label `{}`", matcher.label));
            }
            let known = values.and_then(|values| values.get(&matcher.label)).filter(|values| !values.is_empty());
            let known = known.filter(|_| !OPEN.contains(&&*matcher.label));
            for value in &matcher.values {
                if known.is_some_and(|known| !known.contains(value)) {
                    problems.push(format!("`{metric}` has no `{}` of `{value}`", matcher.label));
                }
            }
        }
        labels.extend(own);
    }
    for label in &names.grouped {
        if !labels.contains(label.as_str()) {
            problems.push(format!("nothing has a label `{label}`"));
        }
    }
    problems
}

/// The labels by which the series of an expression differ: of a sidecar where it is, and what the metric itself has.
fn told_apart(expression: &str, of_ours: &BTreeMap<String, Labels>) -> BTreeSet<String> {
    match Left::of(expression) {
        Left::By(labels) => labels.into_iter().collect(),
        Left::Own(selector) => {
            let own = of_ours.get(&selector.metric).into_iter().flat_map(BTreeMap::keys).cloned();
            let of_target = ["namespace", "pod"].map(str::to_owned);
            let is_one = |label: &String| {
                let mut matchers = selector.matchers.iter();
                matchers.any(|matcher| matcher.label == *label && matcher.values.len() == 1)
            };
            own.chain(of_target).filter(|label| !is_one(label)).collect()
        }
    }
}

/// The labels that a legend names.
fn named(legend: &str) -> BTreeSet<String> {
    legend.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0.to_owned())).collect()
}

/// The series of the histories that the alarms are tried with.
fn histories() -> Vec<(PathBuf, String)> {
    let mut histories = Vec::new();
    for path in cases() {
        let file = YamlLoader::load_from_str(&fs::read_to_string(&path).expect("read")).expect("YAML");
        for test in file[0]["tests"].as_vec().expect("tests") {
            let series = test["input_series"].as_vec().expect("series").iter();
            histories.extend(series.map(|of| (path.clone(), of["series"].as_str().expect("a series").to_owned())));
        }
    }
    histories
}

/// What the recording rules record, with what each names.
fn recorded() -> BTreeMap<String, Names> {
    let rules = rules();
    let record = |rule: &Yaml| Some((rule["record"].as_str()?.to_owned(), Names::of(rule["expr"].as_str()?)));
    let mut recorded: BTreeMap<String, Names> = rules.iter().filter_map(record).collect();
    // One that is made of others has what those have.
    for _ in 0..recorded.len() {
        let before = recorded.clone();
        for names in recorded.values_mut() {
            let of: Vec<&Names> = names.selectors.iter().filter_map(|used| before.get(&used.metric)).collect();
            let (grouped, selectors) =
                of.iter().fold((Vec::new(), Vec::new()), |(mut grouped, mut selectors), names| {
                    grouped.extend(names.grouped.clone());
                    selectors.extend(names.selectors.clone());
                    (grouped, selectors)
                });
            names
                .grouped
                .extend(grouped.into_iter().filter(|label| !names.grouped.contains(label)).collect::<Vec<_>>());
            names
                .selectors
                .extend(selectors.into_iter().filter(|used| !names.selectors.contains(used)).collect::<Vec<_>>());
        }
    }
    recorded
}

#[tokio::test]
async fn every_name_is_one_that_the_program_shows() {
    let (all, recorded) = (everything().await, recorded());
    let mut count = 0;
    for rule in rules() {
        let name = rule["alert"].as_str().or_else(|| rule["record"].as_str()).expect("a name").to_owned();
        let expression = rule["expr"].as_str().expect("an expression");
        assert_eq!(unknown(expression, &all, &recorded), Vec::<String>::new(), "{name}");
        count += 1;
    }
    for panel in panels() {
        for (expression, legend) in queries(&panel) {
            assert_eq!(unknown(&expression, &all, &recorded), Vec::<String>::new(), "{}: {expression}", panel["title"]);
            if panel["type"] != "table" {
                assert_eq!(told_apart(&expression, &all), named(&legend), "{}: {legend}", panel["title"]);
            }
            count += 1;
        }
    }
    for (path, series) in histories() {
        assert_eq!(unknown(&series, &all, &recorded), Vec::<String>::new(), "{}: {series}", path.display());
        count += 1;
    }
    assert!(count > 250, "{count} expressions were found");

    for (wrong, why) in [
        ("rate(consentd_decision_total[5m])", "no metric `consentd_decision_total`"),
        (r#"consentd_decisions_total{reasons="STALE"}"#, "`consentd_decisions_total` has no label `reasons`"),
        (r#"consentd_decisions_total{reason=~"STALE|OLD"}"#, "`consentd_decisions_total` has no `reason` of `OLD`"),
        (r#"consentd:denials:rate5m{reason="OLD"}"#, "`consentd:denials:rate5m` has no `reason` of `OLD`"),
        ("sum by (purpos) (consentd_ready)", "nothing has a label `purpos`"),
        (
            r#"consentd_answer_duration_seconds_bucket{le="0.05"}"#,
            "`consentd_answer_duration_seconds_bucket` has no `le` of `0.05`",
        ),
    ] {
        assert_eq!(unknown(wrong, &all, &recorded), [why], "{wrong}");
    }
}

#[tokio::test]
async fn every_metric_is_on_the_dashboard() {
    let expressions: Vec<String> = panels().iter().flat_map(queries).map(|(expression, _)| expression).collect();
    let used: BTreeSet<String> = expressions
        .iter()
        .flat_map(|expression| Names::of(expression).selectors)
        .map(|selector| selector.metric)
        .collect();
    for metric in everything().await.keys() {
        // Of a histogram the buckets say what its count and sum do.
        let of_histogram = metric.strip_suffix("_count").or_else(|| metric.strip_suffix("_sum"));
        if of_histogram.is_some_and(|name| used.contains(&format!("{name}_bucket"))) {
            continue;
        }
        // The version is for whoever asks for it; the namespaces and pods to choose from are taken from it.
        let is_variable = metric == "consentd_build_info" && DASHBOARD.contains("label_values(consentd_build_info");
        assert!(used.contains(metric) || is_variable, "`{metric}` is on no panel");
    }
}

#[test]
fn the_dashboard_is_one() {
    let dashboard = dashboard();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    let mut titles = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}: the id is taken");
        assert!(titles.insert(title), "two panels are called `{title}`");
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap_or_else(|| panic!("{title}: no `{key}`"));
        assert!(at("w") > 0 && at("h") > 0 && at("x") + at("w") <= 24, "{title}: {}", panel["gridPos"]);
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{title} lies on another panel at {x}, {y}");
            }
        }
    }
    for panel in panels() {
        let title = &panel["title"];
        assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{title}: no description");
        assert!(
            panel["fieldConfig"]["defaults"]["unit"].as_str().is_some_and(|unit| !unit.is_empty()),
            "{title}: unit"
        );
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let targets = panel["targets"].as_array().expect("targets");
        let names: BTreeSet<&str> = targets.iter().filter_map(|target| target["refId"].as_str()).collect();
        assert!(!targets.is_empty() && names.len() == targets.len(), "{title}: {names:?}");
        assert!(targets.iter().all(|target| target["datasource"]["uid"] == "${datasource}"), "{title}");
    }
    let variables = dashboard["templating"]["list"].as_array().expect("variables").iter();
    let variables: Vec<&str> = variables.filter_map(|variable| variable["name"].as_str()).collect();
    assert_eq!(variables, ["datasource", "namespace", "pod"]);
}

/// The types that Grafana itself is written with say what may stand where: of the dashboard as a whole, and of the
/// options of each kind of panel. There is no Grafana to be had here that could draw it.
#[test]
fn the_dashboard_is_of_the_types_that_grafana_reads() {
    const TYPES: &str = "@grafana/schema/dist/types/raw";
    const KINDS: [&str; 5] = ["timeseries", "stat", "table", "state-timeline", "heatmap"];
    let binary = Path::new(env!("CARGO_BIN_EXE_consentd"));
    let modules = binary.ancestors().nth(2).expect("a target folder").join("node-clients-grafana/node_modules");
    assert!(modules.is_dir(), "{} is missing: run `.ci/node-clients grafana`", modules.display());

    let folder = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::symlink(&modules, folder.path().join("node_modules")).expect("linked");
    // In JSON a value of an enumeration is its text.
    let mut source = format!(
        "import * as whole from './node_modules/{TYPES}/dashboard/x/types.gen';\n\
         type Plain<T> = T extends string ? `${{T}}` : T extends number | boolean | null | undefined ? T\n\
         : T extends Array<infer U> ? Array<Plain<U>> : T extends object ? {{[K in keyof T]: Plain<T[K]>}} : T;\n\
         export const dashboard: Plain<whole.Dashboard> = {DASHBOARD};\n"
    );
    for kind in KINDS {
        let name = kind.replace('-', "");
        let line =
            format!("import * as {name} from './node_modules/{TYPES}/composable/{name}/panelcfg/x/types.gen';\n");
        source.insert_str(0, &line);
    }
    for panel in panels() {
        let kind = panel["type"].as_str().filter(|kind| KINDS.contains(kind)).expect("a kind").replace('-', "");
        let (id, options) = (&panel["id"], &panel["options"]);
        let options = format!("export const options{id}: Plain<Partial<{kind}.Options>> = {options};\n");
        source.push_str(&options);
        if let Some(custom) = panel.pointer("/fieldConfig/defaults/custom") {
            let custom = format!("export const custom{id}: Plain<Partial<{kind}.FieldConfig>> = {custom};\n");
            source.push_str(&custom);
        }
    }
    let check = |source: &str| {
        fs::write(folder.path().join("check.ts"), source).expect("written");
        let mut command = Command::new("node");
        command.arg("node_modules/typescript/bin/tsc").args(["--noEmit", "--strict", "--skipLibCheck"]);
        command.args(["--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler", "check.ts"]);
        let output = command.current_dir(folder.path()).output().expect("node runs");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    assert_eq!(check(&source), "");
    let wrong = source.replacen("\"displayMode\":\"list\"", "\"displayMode\":\"lists\"", 1);
    assert!(check(&wrong).contains("\"lists\"' is not assignable"), "a wrong option is taken");
}

#[test]
fn promtool_takes_every_rule_and_every_query() {
    let Some(said) = promtool(&["check", "rules", "helm/consentd/rules/consentd.yaml"], root()) else { return };
    assert!(said.contains(&format!("{} rules found", rules().len())), "{said}");

    let folder = tempfile::tempdir().expect("a folder");
    let mut file = "groups:\n- name: queries\n  rules:\n".to_owned();
    let queries: Vec<String> = panels().iter().flat_map(queries).map(|(expression, _)| expression).collect();
    for (query, index) in queries.iter().zip(0..) {
        let quoted = serde_json::to_string(query).expect("a text");
        let rule = format!("  - record: query:{index}\n    expr: {quoted}\n");
        file.push_str(&rule);
    }
    fs::write(folder.path().join("queries.yaml"), file).expect("written");
    let said = promtool(&["check", "rules", "queries.yaml"], folder.path()).expect("there");
    assert!(said.contains(&format!("{} rules found", queries.len())), "{said}");
}

#[test]
fn every_alarm_tells_how_bad_it_is_what_to_do_and_where_to_read_on() {
    let alarms = alarms();
    assert!(alarms.len() > 25, "{:?}", alarms.keys());
    for (name, alarm) in &alarms {
        let severity = alarm["labels"]["severity"].as_str().expect("a severity");
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity}");
        let told = |key: &str| alarm["annotations"][key].as_str().unwrap_or_else(|| panic!("{name}: no {key}"));
        assert!(told("summary").len() < 160 && !told("summary").ends_with('.'), "{name}: {}", told("summary"));
        assert!(told("description").ends_with('.'), "{name}: {}", told("description"));
        assert_eq!(told("runbook_url"), format!("{RUNBOOK}{}", name.to_lowercase()), "{name}");
        let heading = format!("\n### {name}\n\n*{severity}.* ");
        assert!(OPERATIONS.contains(&heading), "docs/operations.md does not tell of {name} and how bad it is");
    }
    let (_, told) = OPERATIONS.split_once("\n## Alarms\n").expect("alarms are told of");
    let (told, _) = told.split_once("\n## ").expect("another section");
    for name in told.lines().filter_map(|line| line.strip_prefix("### ")) {
        assert!(alarms.contains_key(name), "docs/operations.md tells of {name}, which is no alarm");
    }
}

fn cases() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("tests/alarms")).expect("a folder");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    paths
}

/// Each alarm is expected somewhere, and in the same history there is a moment when it is not. Which of both is right is
/// promtool's to say, in the test after this one.
#[test]
fn every_alarm_is_seen_going_off_and_silent() {
    let (mut going_off, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for path in cases() {
        let file = YamlLoader::load_from_str(&fs::read_to_string(&path).expect("read")).expect("YAML");
        for test in file[0]["tests"].as_vec().expect("tests") {
            let questions = test["promql_expr_test"].as_vec().expect("questions");
            let expected: Vec<String> = questions
                .iter()
                .map(|question| {
                    let samples = question["exp_samples"].as_vec().expect("what is expected").iter();
                    samples.map(|sample| sample["labels"].as_str().expect("labels")).collect::<Vec<_>>().join("\n")
                })
                .collect();
            for name in alarms().into_keys() {
                let is_in = |expected: &&String| expected.contains(&format!("alertname=\"{name}\""));
                if expected.iter().any(|expected| is_in(&expected)) {
                    if !expected.iter().all(|expected| is_in(&expected)) {
                        silent.insert(name.clone());
                    }
                    going_off.insert(name);
                }
            }
        }
    }
    let all: BTreeSet<String> = alarms().into_keys().collect();
    assert_eq!(going_off, all, "going off");
    assert_eq!(silent, all, "silent");
}

#[test]
fn every_alarm_goes_off_when_it_should_and_not_when_it_should_not() {
    for path in cases() {
        let path = path.to_str().expect("UTF-8");
        let Some(said) = promtool(&["test", "rules", path], root()) else { return };
        assert!(said.contains("SUCCESS"), "{said}");
    }
}

/// Panels that show nothing for a sidecar that is alone, has no TLS, ships nothing and was well so far.
const EMPTY: [(&str, &str); 9] = [
    ("Unshipped evidence", "nothing is shipped"),
    ("Alarms that fire now", "none does"),
    ("Certificate, time left", "there is no TLS"),
    ("Certificate, share of its life left", "there is no TLS"),
    ("Memory", "the kubelet shows it"),
    ("CPU", "the kubelet shows it"),
    ("Reviews by outcome", "the injector shows it"),
    ("Duration of a review", "the injector shows it"),
    ("What the API server says", "the API server shows it"),
];

/// The real Prometheus with the real rules, but for the times that an alarm waits, reads a real sidecar that is well, then
/// one whose ledger is gone, then none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_prometheus_sees_a_ledger_go_and_a_sidecar_end() {
    let waiting = |line: &str| line.trim_start().starts_with("for: ") || line.trim_start().starts_with("interval: ");
    let rewrite = |line: &str| match line.split_once(": ") {
        Some((key, _)) if waiting(line) => format!("{key}: 2s\n"),
        _ => format!("{line}\n"),
    };
    let rules: String = RULES.lines().map(rewrite).collect();
    assert!(rules.matches("for: 2s\n").count() > 20, "{rules}");

    let (home, mut process, mut client) = sidecar().await;
    let Some(mut prometheus) = Prometheus::start(&rules, home.admin()) else { return };
    let asking = tokio::spawn(async move {
        loop {
            reason(&mut client, newsletter("crm:1")).await;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    home.append(&sidecar::said("crm:1", "newsletter", "email", "GIVEN", sidecar::now_ms()));
    // Two looks make a rate; the rules have been evaluated a few times by then.
    prometheus.until("answers are counted", |prometheus| {
        let seen = prometheus.query("count_over_time(consentd_ready{pod=\"a\"}[1m])");
        let count = seen.first()?.pointer("/value/1")?.as_str()?.parse::<f64>().ok()?;
        (count >= 6.0).then_some(())
    });
    assert_eq!(prometheus.firing(), Vec::<String>::new(), "all is well");
    for panel in panels() {
        let title = panel["title"].as_str().expect("a title");
        let shows = queries(&panel).iter().any(|(expression, _)| !prometheus.query(expression).is_empty());
        assert_eq!(shows, EMPTY.iter().all(|(empty, _)| *empty != title), "`{title}` shows something: {shows}");
    }

    fs::remove_file(home.ledger()).expect("removed");
    let alert = prometheus.until("the ledger's alarm", |server| server.alert("ConsentdLedgerBroken", "firing"));
    let told = |alert: &Value, key: &str| alert["annotations"][key].as_str().expect("told").to_owned();
    assert_eq!(told(&alert, "summary"), "consentd a cannot trust its ledger, and denies everything");
    let denied = prometheus.until("the answers' alarm", |server| server.alert("ConsentdDeniesByItself", "firing"));
    assert_eq!(denied.pointer("/labels/reason"), Some(&Value::from("LEDGER_BROKEN")));
    assert!(told(&denied, "summary").ends_with("% of what it is asked with LEDGER_BROKEN"), "{denied}");
    assert_eq!(prometheus.alert("ConsentdNotReady", "firing"), None, "one cause is one alarm");

    asking.abort();
    process.kill();
    prometheus.until("its alarm waits", |server| server.alert("ConsentdDown", "pending"));
    let down = prometheus.until("its alarm goes off", |server| server.alert("ConsentdDown", "firing"));
    assert_eq!(told(&down, "summary"), "consentd a cannot be reached");
    assert_eq!(down.pointer("/labels/severity"), Some(&Value::from("critical")));
}
