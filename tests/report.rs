//! The report as the command makes it: figures, forms, and the page in a real browser, where one is to be had.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

#[path = "support/wanting.rs"]
mod wanting;

const REPORT: &str = include_str!("../docs/report.md");

/// A ledger of 60 customers of whom nobody is to be found in what is printed.
fn ledger() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let mut lines = String::new();
    let mut number = 0;
    let mut say = |subject: usize, time: &str, channel: &str, status: &str, more: &str| {
        number += 1;
        let _ = writeln!(
            lines,
            r#"{{"eventId":"e{number}","eventTime":"{time}T09:00:00Z","consent":{{"subject":{{"space":"email","id":"ayse.{subject}@example.org"}},"purpose":"marketing.newsletter","channel":"{channel}","status":"CONSENT_STATUS_{status}","legalBasis":"LEGAL_BASIS_CONSENT"{more}}}}}"#
        );
    };
    for subject in 0..60 {
        let month = 1 + subject % 3;
        let status = if subject % 5 == 4 { "REFUSED" } else { "GIVEN" };
        say(subject, &format!("2026-0{month}-{:02}", 1 + subject % 28), "email", status, "");
    }
    for subject in (0..60).step_by(10) {
        say(subject, "2026-03-20", "email", "WITHDRAWN", "");
    }
    say(1, "2026-03-21", "email", "GIVEN", r#","collection":{"preTicked":true}"#);
    say(3, "2026-03-22", "email", "RENEWED", "");
    for subject in 0..3 {
        say(subject, "2026-03-23", "sms", "GIVEN", "");
    }
    std::fs::write(folder.path().join("ledger.jsonl"), lines).expect("written");
    folder
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_consentd"));
    command.arg("report").args(arguments).args(["--ledger", "ledger.jsonl"]).current_dir(folder).env_clear();
    command.output().expect("it runs")
}

fn printed(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The blocks of a document that show what a command prints, with the command.
fn shown(document: &str) -> Vec<(&str, &str)> {
    let blocks = document.split("```console\n").skip(1);
    blocks.filter_map(|block| block.split("```").next()?.strip_prefix("$ ")?.split_once('\n')).collect()
}

#[test]
fn the_document_shows_what_is_printed() {
    let folder = ledger();
    let examples = shown(REPORT);
    assert!(!examples.is_empty());
    for (command, expected) in examples {
        let words: Vec<&str> = command.split(' ').collect();
        let arguments = words.strip_prefix(&["consentd", "report"]).expect("a report");
        let output = Command::new(env!("CARGO_BIN_EXE_consentd"))
            .arg("report")
            .args(arguments)
            .current_dir(folder.path())
            .env_clear()
            .output()
            .expect("it runs");
        let real = String::from_utf8(output.stdout).expect("UTF-8");
        let real: Vec<&str> = real.lines().map(str::trim_end).collect();
        // A document need not show the end, if it says so.
        let shown: Vec<&str> = expected.lines().take_while(|line| *line != "…").collect();
        let is_whole = shown.len() == expected.lines().count();
        assert!(output.status.success() && shown.len() > 1, "`{command}`");
        for (number, line) in shown.iter().enumerate() {
            assert_eq!(real.get(number), Some(line), "`{command}`, line {}", number + 1);
        }
        assert_eq!(is_whole, real.len() == shown.len(), "`{command}` is shown whole, or not");
    }
}

#[test]
fn programs_get_figures_rates_and_definitions() {
    let folder = ledger();
    let arguments =
        ["--format", "json", "--from", "2026-01-01", "--to", "2026-03-31", "--time-zone", "Europe/Istanbul"];
    let report: Value = serde_json::from_str(&printed(folder.path(), &arguments)).expect("JSON");
    let labels: Vec<&str> =
        report["periods"].as_array().expect("periods").iter().filter_map(|period| period["label"].as_str()).collect();
    assert_eq!(labels, ["2026-01", "2026-02", "2026-03"]);
    let email = &report["series"][0];
    assert_eq!((&email["purpose"], &email["channel"]), (&json!("marketing.newsletter"), &json!("email")));
    let total = &email["total"];
    let figures = ["given", "refused", "withdrawn", "void", "renewed", "standing", "opt_in_rate", "withdrawal_rate"];
    let have: Vec<&Value> = figures.iter().map(|figure| &total[*figure]).collect();
    // Six withdrew, two of them before they agreed; and one who had agreed did so again in a way that is void.
    assert_eq!(have, [&json!(48), &json!(12), &json!(6), &json!(1), &json!(1), &json!(43), &json!(0.8), &json!(0.125)]);
    // Three have ever spoken of texts: too few.
    let sms = &report["series"][1];
    assert_eq!(
        (&sms["channel"], &sms["periods"], &sms["total"]),
        (&json!("sms"), &json!([null, null, null]), &Value::Null)
    );
    assert_eq!(
        (&report["suppressed_figures"], &report["totals"][2]["given"]),
        (&json!(1), &email["periods"][2]["given"])
    );
    assert_eq!(report["subjects"], json!(60));
    assert!(report["definitions"]["opt-in rate"].is_string());
    let all: Value =
        serde_json::from_str(&printed(folder.path(), &[&arguments[..], &["--min-subjects", "0"]].concat()))
            .expect("JSON");
    assert_eq!(all["series"][1]["periods"][2]["given"], json!(3));
}

#[test]
fn nobody_is_named_in_any_form() {
    let folder = ledger();
    for format in ["table", "json", "html"] {
        let text = printed(folder.path(), &["--format", format, "--min-subjects", "0", "--people"]);
        assert!(text.contains("marketing.newsletter"), "{format}");
        for word in ["ayse", "example.org", "@"] {
            assert!(!text.replace("@media", "").contains(word), "{format} names `{word}`");
        }
    }
}

#[test]
fn what_cannot_be_reported_is_said() {
    let folder = ledger();
    for (arguments, told) in [
        (&["--time-zone", "Europe/Istambul"][..], "did you mean `Europe/Istanbul`?"),
        (&["--from", "2026-02-01", "--to", "2026-01-01"], "must not be after"),
        (&["--from", "2000-01-01", "--by", "day"], "more than 1000 periods"),
        (&["--format", "html", "--out", "no/such/folder.html"], "cannot write `no/such/folder.html`"),
    ] {
        let output = run(folder.path(), arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(told), "{arguments:?}: {error}");
    }
    std::fs::write(folder.path().join("ledger.jsonl"), "").expect("emptied");
    assert!(printed(folder.path(), &[]).contains("The ledger says nothing of consents in this range."));
}

/// What a page lacks, by Python's own parser: every element closed, nothing from elsewhere, every plot and table named.
const PARSER: &str = r"
import sys
from html.parser import HTMLParser

VOID = {'meta', 'link', 'br', 'img'}

class Page(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.wanted, self.problems = [], set(), set(), []
        self.tables = self.captions = self.plots = 0

    def handle_startendtag(self, tag, attributes):
        self.look(tag, dict(attributes))

    def handle_starttag(self, tag, attributes):
        self.look(tag, dict(attributes))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f'</{tag}> closes something else at {self.getpos()}')

    def look(self, tag, own):
        if 'id' in own:
            if own['id'] in self.ids:
                self.problems.append('the id ' + own['id'] + ' stands twice')
            self.ids.add(own['id'])
        self.wanted.update((own.get('aria-labelledby') or '').split())
        if tag == 'script' or any(name.startswith('on') for name in own):
            self.problems.append(f'a script at {self.getpos()}')
        for name in ('src', 'href', 'xlink:href', 'srcset', 'action'):
            target = own.get(name)
            if target is not None and not target.startswith(('#', 'data:,')):
                self.problems.append(f'{name} leads to {target}')
            if target is not None and target.startswith('#'):
                self.wanted.add(target[1:])
        if tag == 'svg' and own.get('role') == 'img':
            self.plots += 1
        if tag == 'th' and 'scope' not in own:
            self.problems.append(f'a heading without a scope at {self.getpos()}')
        self.tables += tag == 'table'
        self.captions += tag == 'caption'

page = Page()
page.feed(sys.stdin.read())
page.problems += [f'nothing has the id {wanted}' for wanted in page.wanted - page.ids]
page.problems += [f'<{tag}> is not closed' for tag in page.open]
if page.tables != page.captions or page.plots < 4:
    page.problems.append(f'{page.tables} tables, {page.captions} captions, {page.plots} plots')
print('\n'.join(page.problems))
";

fn parsed(page: &str) -> String {
    let mut python = Command::new("python3");
    let spawned = python.args(["-c", PARSER]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = spawned.expect("python3 is needed");
    child.stdin.take().expect("piped").write_all(page.as_bytes()).expect("read");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

#[test]
fn the_page_is_whole_and_needs_nothing_from_elsewhere() {
    let folder = ledger();
    let page = printed(folder.path(), &["--format", "html", "--min-subjects", "0"]);
    assert_eq!(parsed(&page), "");
    let spoiled = page.replacen("</section>", "<img src=\"https://example.org/x\">", 1);
    let problems = parsed(&spoiled);
    assert!(
        problems.contains("leads to https://example.org/x") && problems.contains("closes something else"),
        "{problems}"
    );
}

/// What a page asked for, and what it said on the console, in a real browser; `None` where there is none.
fn browsed(folder: &Path, page: &str) -> Option<(Vec<String>, Vec<String>, String)> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let browser = names.iter().flat_map(|name| std::env::split_paths(&path).map(move |folder| folder.join(name)));
    let browser = browser.into_iter().find(|path| path.is_file())?;
    let (file, log, profile) = (folder.join("page.html"), folder.join("net.json"), folder.join("profile"));
    std::fs::write(&file, page).expect("written");
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--dump-dom"])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--enable-logging=stderr",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--log-net-log={}", log.display()))
        .arg(format!("file://{}", file.display()))
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let log: Value = serde_json::from_slice(&std::fs::read(log).expect("a log")).expect("JSON");
    let begun = &log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"];
    let requests = log["events"].as_array().expect("events").iter().filter(|event| event["type"] == *begun);
    let requests = requests.map(|event| &event["params"]);
    // What the browser asks for by itself has no origin.
    let by_page = requests.filter(|asked| asked["initiator"].as_str().is_some_and(|from| from != "not an origin"));
    let urls = by_page.filter_map(|asked| asked["url"].as_str()).filter(|url| !url.starts_with("data:"));
    let said = String::from_utf8_lossy(&output.stderr);
    let console = said.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect();
    let tree = String::from_utf8(output.stdout).expect("UTF-8");
    Some((urls.map(str::to_owned).collect(), console, tree))
}

#[test]
fn a_real_browser_shows_the_page_asks_for_nothing_and_complains_of_nothing() {
    let folder = ledger();
    let page = printed(folder.path(), &["--format", "html", "--min-subjects", "0"]);
    let Some((requests, console, tree)) = browsed(folder.path(), &page) else {
        wanting::Want::Browser.leave_out("there is no Chromium; see .ci/browser");
        return;
    };
    assert_eq!((requests, console), (vec![], vec![]));
    assert!(tree.contains("id=\"p0-rate-t\"") && tree.trim_end().ends_with("</html>"), "the page is not whole");
    // That would be noticed: with the page's own policy in the way, and without it.
    let spoil = |page: &str| page.replacen("</main>", "<img src=\"http://127.0.0.1:9/x.png\" alt=\"\"></main>", 1);
    let (requests, console, _) = browsed(folder.path(), &spoil(&page)).expect("the same browser");
    assert!(requests.is_empty() && console.len() == 1, "the policy does not hold: {requests:?} {console:?}");
    let open = page.replacen("http-equiv=\"Content-Security-Policy\"", "name=\"x\"", 1);
    let (requests, ..) = browsed(folder.path(), &spoil(&open)).expect("the same browser");
    assert_eq!(requests, ["http://127.0.0.1:9/x.png"]);
}
