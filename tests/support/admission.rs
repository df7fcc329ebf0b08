//! Reviews of pods as the API server sends them, their answers, and what comes of a pod.

#![allow(dead_code, reason = "each test file takes what it needs")]
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use consentd::injector::{self, Loaded, Outcome, Settings};
use data_encoding::BASE64;
use serde_json::Value;

/// A review and what it was answered.
pub(crate) struct Reviewed {
    pub(crate) request: Value,
    pub(crate) answer: Value,
    pub(crate) outcome: Outcome,
    pub(crate) why: String,
}

/// Where the reviews are.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/admission")
}

/// What the names of reviews begin with that a real API server has asked.
const RECORDED: &str = "recorded/";

/// The file of a review.
pub(crate) fn path(shape: &str) -> PathBuf {
    let folder = match shape.strip_prefix(RECORDED) {
        Some(_) => folder().with_file_name("cluster"),
        None => folder(),
    };
    folder.join(format!("{shape}.json"))
}

/// The names of the reviews, in order: those written for these tests, then those that a real API server has asked.
pub(crate) fn shapes() -> Vec<String> {
    let names_in = |prefix: &str| {
        let entries = fs::read_dir(path(&format!("{prefix}x")).parent().expect("a folder")).expect("a folder");
        let reviews = entries.map(|entry| entry.expect("an entry").path());
        let reviews = reviews.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        let name = |path: PathBuf| format!("{prefix}{}", path.file_stem().expect("a name").to_str().expect("UTF-8"));
        let mut names: Vec<String> = reviews.map(name).collect();
        names.sort();
        names
    };
    [names_in(""), names_in(RECORDED)].concat()
}

/// The settings of these tests, with keys of which each replaces the one of its name.
pub(crate) fn settings(keys: &str) -> Settings {
    let text = fs::read_to_string(folder().join("injector.toml")).expect("read");
    let replaced = |line: &&str| keys.lines().all(|key| key.split('=').next() != line.split('=').next());
    let kept: Vec<&str> = text.lines().filter(replaced).collect();
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), format!("{keys}{}\n", kept.join("\n"))).expect("written");
    let Loaded { settings, warnings } = Settings::load(file.path()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(warnings, Vec::<String>::new());
    settings
}

/// The answer to a review of these tests.
pub(crate) fn review(settings: &Settings, shape: &str) -> Reviewed {
    let bytes = fs::read(path(shape)).expect("read");
    answer(settings, &serde_json::from_slice(&bytes).expect("JSON"))
}

/// The answer to a review.
pub(crate) fn answer(settings: &Settings, request: &Value) -> Reviewed {
    let answered = injector::answer(settings, request.to_string().as_bytes()).expect("a review");
    let answer = serde_json::from_slice(&answered.body).expect("JSON");
    Reviewed { request: request.clone(), answer, outcome: answered.outcome, why: answered.why }
}

/// The patch of a response; empty where there is none.
pub(crate) fn patch_of(response: &Value) -> Vec<Value> {
    let Some(text) = response["patch"].as_str() else { return Vec::new() };
    assert_eq!(response["patchType"], "JSONPatch");
    serde_json::from_slice(&BASE64.decode(text.as_bytes()).expect("base64")).expect("a list")
}

/// What additions make of a document. Source: RFC 6902, 4.1. Others apply them too, in `check.py`.
pub(crate) fn applied(document: &Value, additions: &[Value]) -> Value {
    let mut document = document.clone();
    for addition in additions {
        assert_eq!(addition["op"], "add", "{addition}");
        let at = addition["path"].as_str().expect("a path");
        let (list, name) = at.rsplit_once('/').expect("a place");
        let name = name.replace("~1", "/").replace("~0", "~");
        match document.pointer_mut(list).unwrap_or_else(|| panic!("no {list} for {at}")) {
            Value::Array(elements) if name == "-" => elements.push(addition["value"].clone()),
            Value::Array(elements) => elements.insert(name.parse().expect("a place"), addition["value"].clone()),
            Value::Object(fields) => _ = fields.insert(name, addition["value"].clone()),
            other => panic!("{at}: nothing can be added to {other}"),
        }
    }
    document
}

/// A Python that has what `tests/requirements.admission.txt` pins.
pub(crate) fn python() -> PathBuf {
    let tools = Command::new(".ci/python-tools").arg("admission").current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let tools = tools.expect("it runs");
    assert!(tools.status.success(), "{}", String::from_utf8_lossy(&tools.stderr));
    Path::new(String::from_utf8(tools.stdout).expect("UTF-8").trim()).join("python")
}
