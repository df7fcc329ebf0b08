//! Finding one's way in rendered objects.

#![allow(dead_code, reason = "each test file takes what it needs")]
#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

use std::path::{Path, PathBuf};

use serde_json::Value;

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The chart.
pub(crate) fn chart() -> PathBuf {
    root().join("helm/consentd")
}

/// The files of values that are shipped as examples.
pub(crate) fn files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(chart().join("ci")).expect("a folder");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// The text at a place.
pub(crate) fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no text at {pointer}: {value:#}"))
}

/// Kind and name.
pub(crate) fn named(object: &Value) -> String {
    format!("{} {}", text(object, "/kind"), text(object, "/metadata/name"))
}

/// The objects of a kind.
pub(crate) fn of_kind<'v>(objects: &'v [Value], kind: &str) -> impl Iterator<Item = &'v Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

/// The pods that workloads make, each with the workload's kind and name.
pub(crate) fn pods(objects: &[Value]) -> Vec<(String, &Value)> {
    let pod = |object| Value::pointer(object, "/spec/template/spec").map(|pod| (named(object), pod));
    objects.iter().filter_map(pod).collect()
}

/// All containers of a pod, those that run before the others too.
pub(crate) fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|kind| pod[kind].as_array().into_iter().flatten())
}
