//! Reviews of many shapes of pods, each with what is to become of it in a file beside it that a person can read.
//!
//! `UPDATE_EXPECTED=1` writes those files anew; what changed in them is then read by whoever changed it.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly; the exemption of clippy.toml does not reach its helpers"
)]

#[path = "support/admission.rs"]
mod admission;
#[path = "injector/properties.rs"]
mod properties;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use admission::{Reviewed, applied, folder, patch_of, review, settings, shapes};
use consentd::injector::{ANNOTATIONS, Outcome, Settings};
use serde_json::{Value, json};

const DOCUMENT: &str = include_str!("../docs/injector.md");
/// The shape whose container is shown whole; those of others are shown by what differs.
const PLAIN: &str = "plain";

/// The sidecar in a patch, where it has one.
fn sidecar(patch: &[Value]) -> Option<&Value> {
    let is_it = |value: &&Value| value["name"] == "consentd";
    patch.iter().find_map(|addition| {
        let value = &addition["value"];
        Some(value).filter(is_it).or_else(|| value.as_array()?.iter().find(is_it))
    })
}

/// What is said of a pod, for people.
fn told(reviewed: &Reviewed, plain: &Value) -> String {
    let mut text = format!("{}\n", reviewed.outcome.as_str());
    let response = &reviewed.answer["response"];
    for part in reviewed.why.split("; ").filter(|part| !part.is_empty()) {
        writeln!(text, "  {part}").expect("written");
    }
    for warning in response["warnings"].as_array().into_iter().flatten() {
        writeln!(text, "warning: {}", warning.as_str().expect("a text")).expect("written");
    }
    for addition in patch_of(response) {
        let (path, value) = (addition["path"].as_str().expect("a path"), &addition["value"]);
        match sidecar(std::slice::from_ref(&addition)) {
            None => writeln!(text, "+ {path}\n      {value}").expect("written"),
            Some(container) => {
                writeln!(text, "+ {path}").expect("written");
                let shown = if container == plain {
                    "the container of `plain`\n".to_owned()
                } else {
                    differing(container, plain)
                };
                for line in shown.lines() {
                    writeln!(text, "      {line}").expect("written");
                }
            }
        }
    }
    text
}

/// A container by its fields, those that are the plain one's left out; variables by their names.
fn differing(container: &Value, plain: &Value) -> String {
    let (own, others) = (fields(container), fields(plain));
    let mut text = if others.is_empty() { String::new() } else { "the container of `plain`, but\n".to_owned() };
    for (name, value) in &own {
        if others.get(name) != Some(value) {
            writeln!(text, "  {name}: {value}").expect("written");
        }
    }
    for name in others.keys().filter(|name| !own.contains_key(*name)) {
        writeln!(text, "  without {name}").expect("written");
    }
    text
}

fn fields(container: &Value) -> BTreeMap<String, Value> {
    let fields = container.as_object().into_iter().flatten();
    let (env, others): (Vec<_>, Vec<_>) = fields.partition(|(name, _)| *name == "env");
    let variables = env.into_iter().flat_map(|(_, list)| list.as_array().expect("a list"));
    let variable = |it: &Value| (format!("env {}", it["name"].as_str().expect("a name")), it["value"].clone());
    let others = others.into_iter().map(|(name, value)| (name.clone(), value.clone()));
    others.chain(variables.map(variable)).collect()
}

#[test]
fn every_shape_gets_what_is_expected() {
    let settings = settings("");
    let plain = review(&settings, PLAIN);
    let plain = sidecar(&patch_of(&plain.answer["response"])).expect("a sidecar").clone();
    let update = std::env::var_os("UPDATE_EXPECTED").is_some();
    let mut wrong = Vec::new();
    for shape in shapes() {
        let reviewed = review(&settings, &shape);
        let told = told(&reviewed, if shape == PLAIN { &Value::Null } else { &plain });
        let path = folder().join(format!("{shape}.expected"));
        if update {
            fs::write(&path, &told).expect("written");
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if told != expected {
            wrong.push(format!("{shape}: expected\n{expected}but got\n{told}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn there_are_shapes_of_every_kind() {
    let settings = settings("");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut asked = String::new();
    for shape in shapes() {
        *counts.entry(review(&settings, &shape).outcome.as_str()).or_default() += 1;
        asked += &fs::read_to_string(admission::path(&shape)).expect("read");
    }
    assert!(counts.values().sum::<usize>() >= 120, "{counts:?}");
    assert!(counts["injected"] >= 60, "{counts:?}");
    for outcome in
        Outcome::ALL.into_iter().filter(|outcome| ![Outcome::Unreadable, Outcome::Unanswered].contains(outcome))
    {
        assert!(counts.contains_key(outcome.as_str()), "no shape is {}", outcome.as_str());
    }
    for annotation in ANNOTATIONS {
        assert!(asked.contains(&format!("\"{annotation}\"")), "no shape has `{annotation}`");
    }
}

#[test]
fn a_second_review_finds_nothing_to_do() {
    let settings = settings("");
    for shape in shapes() {
        let first = review(&settings, &shape);
        let patch = patch_of(&first.answer["response"]);
        if patch.is_empty() {
            continue;
        }
        let mut again = first.request.clone();
        again["request"]["object"] = applied(&first.request["request"]["object"], &patch);
        let second = admission::answer(&settings, &again);
        assert_eq!(second.outcome, Outcome::Complete, "{shape}: {}", second.why);
        assert_eq!(second.answer["response"]["patch"], Value::Null, "{shape}");
    }
}

#[test]
fn what_cannot_be_had_is_let_through_where_that_is_wanted() {
    let (closed, open) = (settings(""), settings("on_error = \"allow\"\n"));
    for shape in shapes() {
        let (refused, let_through) = (review(&closed, &shape), review(&open, &shape));
        if refused.outcome != Outcome::Refused {
            assert_eq!(refused.answer, let_through.answer, "{shape}");
            continue;
        }
        let (no, yes) = (&refused.answer["response"], &let_through.answer["response"]);
        assert_eq!(no["allowed"], json!(false), "{shape}");
        assert_eq!(no["status"]["message"], json!(refused.why), "{shape}");
        assert!(no.get("patch").is_none() && yes.get("patch").is_none(), "{shape}");
        assert_eq!(let_through.outcome, Outcome::LetThrough, "{shape}");
        assert_eq!(yes["allowed"], json!(true), "{shape}");
        assert_eq!(yes["auditAnnotations"]["not-injected"], json!(refused.why), "{shape}");
        let warning = yes["warnings"][0].as_str().expect("a warning");
        assert!(warning.starts_with("consentd was not added to the pod: "), "{warning}");
        assert!(warning.chars().count() <= 256, "{warning}");
    }
}

#[test]
fn an_answer_is_about_what_was_asked() {
    let settings = settings("");
    for shape in shapes() {
        let Reviewed { request, answer, .. } = review(&settings, &shape);
        assert_eq!(answer["apiVersion"], "admission.k8s.io/v1", "{shape}");
        assert_eq!(answer["kind"], "AdmissionReview", "{shape}");
        assert_eq!(answer["response"]["uid"], request["request"]["uid"], "{shape}");
        assert!(answer["response"]["allowed"].is_boolean(), "{shape}");
    }
}

#[test]
fn what_is_no_review_is_an_error() {
    let settings = settings("");
    let plain: Value = serde_json::from_slice(&fs::read(folder().join("plain.json")).expect("read")).expect("JSON");
    let with = |key: &str, value: Value| {
        let mut review = plain.clone();
        review[key] = value;
        review.to_string()
    };
    for (body, why) in [
        (String::new(), "the body is not a review of `admission.k8s.io/v1`: EOF"),
        ("[]".to_owned(), "the body is not a review of `admission.k8s.io/v1`: "),
        ("{}".to_owned(), "the body is `` of ``, not `AdmissionReview` of `admission.k8s.io/v1`"),
        (
            with("apiVersion", json!("admission.k8s.io/v1beta1")),
            "the body is `AdmissionReview` of `admission.k8s.io/v1beta1`, not ",
        ),
        (with("kind", json!("ConversionReview")), "the body is `ConversionReview` of "),
        (with("request", Value::Null), "the review has no request"),
        (
            with("request", json!({"operation": "CREATE"})),
            "the body is not a review of `admission.k8s.io/v1`: missing field `uid`",
        ),
    ] {
        let error = consentd::injector::answer(&settings, body.as_bytes()).expect_err("no review").to_string();
        assert!(error.starts_with(why), "{body}: {error}");
    }
}

#[test]
fn every_annotation_is_told() {
    let (_, told) = DOCUMENT.split_once("\n## What a pod can say\n").expect("a section");
    let rows = told.split("\n## ").next().expect("its text").lines().filter_map(|line| line.strip_prefix("| `"));
    let told: Vec<&str> = rows.filter_map(|row| row.split_once('`').map(|(name, _)| name)).collect();
    let (mut told, mut known) = (told, ANNOTATIONS.to_vec());
    told.sort_unstable();
    known.sort_unstable();
    assert_eq!(told, known, "docs/injector.md");
}

/// The table of what is refused has every sentence that a shape is refused with, and no other.
#[test]
fn every_refusal_is_told() {
    let (_, told) = DOCUMENT.split_once("\n## What it refuses\n").expect("a section");
    let rows = told.split("\n## ").next().expect("its text").lines().filter_map(|line| line.strip_prefix("| "));
    let rows: Vec<&str> = rows.filter_map(|row| row.split_once(" | ").map(|(says, _)| says)).skip(1).collect();
    assert!(rows.len() > 15, "{rows:?}");
    let settings = settings("");
    let refused: Vec<String> = shapes()
        .iter()
        .map(|shape| review(&settings, shape))
        .filter(|reviewed| reviewed.outcome == Outcome::Refused)
        .flat_map(|reviewed| reviewed.why.split("; ").map(str::to_owned).collect::<Vec<_>>())
        .collect();
    for sentence in &refused {
        assert!(rows.iter().any(|row| is_told(row, sentence)), "docs/injector.md has no row for: {sentence}");
    }
    for row in rows {
        assert!(refused.iter().any(|sentence| is_told(row, sentence)), "nothing is refused with: {row}");
    }
}

/// Whether a row is of a sentence: all its parts in their order, the first at the beginning.
fn is_told(row: &str, sentence: &str) -> bool {
    let mut rest = Some(sentence);
    for (at, part) in row.split('…').map(str::trim).enumerate() {
        let found = rest.and_then(|rest| {
            rest.find(part).filter(|place| at > 0 || *place == 0).map(|place| &rest[place + part.len()..])
        });
        rest = found;
    }
    rest.is_some()
}

/// The document shows a pod before and after, and the settings that it is for.
#[test]
fn the_pod_in_the_document_is_what_comes_of_it() {
    let blocks = |language: &str| -> Vec<String> {
        let begin = format!("```{language}\n");
        DOCUMENT
            .split(&begin)
            .skip(1)
            .filter_map(|rest| rest.split_once("```").map(|(block, _)| block.to_owned()))
            .collect()
    };
    let yaml = blocks("yaml");
    let pods: Vec<Value> = yaml.iter().map(|block| from_yaml(block)).collect();
    let [before, after] = pods.as_slice() else { panic!("{} pods", pods.len()) };
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), blocks("toml").first().expect("settings")).expect("written");
    let settings = Settings::load(file.path()).unwrap_or_else(|problems| panic!("{problems}")).settings;
    let mut request = review(&settings, PLAIN).request;
    request["request"]["object"] = before.clone();
    let answered = admission::answer(&settings, &request);
    let mut made = applied(before, &patch_of(&answered.answer["response"]));
    let variables = made["spec"]["initContainers"][0]["env"].as_array_mut().expect("variables");
    variables.sort_by_key(|variable| variable["name"].to_string());
    assert_eq!(made, *after, "{made:#}");
}

/// YAML read by a reader that is not ours.
fn from_yaml(text: &str) -> Value {
    let reader = "import json, sys, yaml; json.dump(yaml.safe_load(sys.argv[1]), sys.stdout)";
    let output = Command::new(admission::python()).args(["-c", reader, text]).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Others apply the patches, and validate the pods that come of it.
#[test]
fn others_apply_each_patch_and_find_a_valid_pod() {
    let python = admission::python();
    let settings = settings("");
    let work = tempfile::tempdir().expect("a folder");
    for shape in shapes() {
        let Reviewed { request, answer, .. } = review(&settings, &shape);
        let pair = json!({ "request": request["request"], "response": answer["response"] });
        fs::write(work.path().join(format!("{}.json", shape.replace('/', "-"))), pair.to_string()).expect("written");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/admission/check.py");
    let output = Command::new(python).arg(script).arg(work.path()).output().expect("it runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    // `restricted`, `patched` and `validated` are counted, so that nothing was checked of nothing.
    let count = |word: &str| {
        let line = out.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
        line.and_then(|count| count.parse::<usize>().ok()).unwrap_or_else(|| panic!("no {word}: {out}"))
    };
    assert!(count("patched") >= 60 && count("validated") >= 500 && count("restricted") >= 1, "{out}");
    assert!(count("newest") >= 37, "{out}");
}
