//! The documents say what the program does: names that exist, all of them, commands that parse, links that lead somewhere.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly; the exemption of clippy.toml does not reach its helpers"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use consentd::config::{CONFIG_VARIABLE, Config, Sources, TARGET_VARIABLE};
use consentd::domain::{Position, Reason, Verdict};
use consentd::ledger::LedgerFault;

const OPERATIONS: &str = include_str!("../docs/operations.md");
const PROTOCOL: &str = include_str!("../docs/protocol.md");
const MESH: &str = include_str!("../docs/mesh.md");
const LEDGER: &str = include_str!("../docs/ledger.md");
const README: &str = include_str!("../README.md");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every document for users, by its path.
fn documents() -> Vec<(PathBuf, String)> {
    let examples =
        ["shop", "nats", "envoy", "clients", "catalogues"].map(|example| format!("examples/{example}/README.md"));
    let clients = ["python", "node", "go", "java", "rust"].map(|own| format!("examples/clients/{own}/README.md"));
    let listed =
        ["README", "ARCHITECTURE", "CHANGELOG", "benches/README", "helm/consentd/README", "tests/cluster/README"];
    let listed = listed.into_iter().map(|name| format!("{name}.md"));
    let listed = listed.chain(examples).chain(clients);
    let mut paths: Vec<PathBuf> = listed.map(|path| root().join(path)).collect();
    for folder in ["docs", "docs/adr"] {
        let entries = fs::read_dir(root().join(folder)).expect("a folder");
        let files = entries.map(|entry| entry.expect("an entry").path());
        paths.extend(files.filter(|path| path.extension().is_some_and(|name| name == "md")));
    }
    paths.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

/// What stands between backticks on one line, outside of blocks of code.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    let mut in_block = false;
    text.lines()
        .filter(move |line| {
            let is_fence = line.trim_start().starts_with("```");
            in_block ^= is_fence;
            !in_block && !is_fence
        })
        .flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// The first column of the tables, where it is one word of code.
fn first_cells(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |").map(|(cell, _)| cell))
}

/// The part of a document under a heading, up to the next of the same depth or above.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no `{heading}`"));
    let depth = heading.bytes().take_while(|byte| *byte == b'#').count();
    let ends = (1..=depth).filter_map(|depth| rest.find(&format!("\n{} ", "#".repeat(depth))));
    ends.min().and_then(|end| rest.get(..end)).unwrap_or(rest)
}

fn set<'a>(words: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
    words.into_iter().collect()
}

/// The quickstart, ended with the test.
struct Quickstart {
    child: Child,
    page: String,
}

impl Quickstart {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_consentd"));
        command.args(["quickstart", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0"]).current_dir(folder).env_clear();
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let mut page = String::new();
        for line in out.lines().map_while(Result::ok) {
            page.push_str(&line);
            page.push('\n');
            if line.starts_with("Serving on ") {
                break;
            }
        }
        assert!(page.contains("\nServing on "), "{page}");
        Self { child, page }
    }

    /// The metrics, as a scrape gets them.
    fn metrics(&self) -> String {
        let (_, rest) = self.page.split_once("metrics           http://").expect("the page names it");
        let address = rest.split('/').next().expect("an address");
        let mut stream = TcpStream::connect(address).expect("it listens");
        let request = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("asked");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("answered");
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        page
    }
}

impl Drop for Quickstart {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn metrics_and_the_quickstart_are_as_they_are_shown() {
    let home = tempfile::tempdir().expect("a folder");
    let quickstart = Quickstart::start(home.path());
    let page = quickstart.metrics();
    let shown = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let told = first_cells(section(OPERATIONS, "## Metrics"));
    assert_eq!(set(told), set(shown), "docs/operations.md and /metrics");
    // `tests/injector_server.rs` compares this section with the webhook's page.
    let webhook = set(first_cells(section(OPERATIONS, "## Metrics of the webhook")));
    for (path, text) in documents() {
        for metric in spans(&text).filter(|span| span.starts_with("consentd_")) {
            let name = metric.split(['{', ' ']).next().expect("a name");
            let is_shown = webhook.contains(name) || page.contains(&format!("# TYPE {name} "));
            assert!(is_shown, "{}: `{metric}`", path.display());
        }
    }

    // What it writes, and nothing that is not told.
    let data = home.path().join("consentd-quickstart/data");
    let mut written = BTreeSet::new();
    for folder in ["", "evidence/"] {
        for entry in fs::read_dir(data.join(folder)).expect("a folder").map(|entry| entry.expect("an entry")) {
            let slash = if entry.path().is_dir() { "/" } else { "" };
            written.insert(format!("{folder}{}{slash}", entry.file_name().to_str().expect("UTF-8")));
        }
    }
    written.remove("evidence/");
    let told = section(OPERATIONS, "## What it writes");
    let told: BTreeSet<&str> = told.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(written.len() >= 8, "{written:?}");
    for path in &written {
        assert!(told.contains(path.as_str()), "docs/operations.md, what it writes, lacks `{path}`: {told:?}");
    }

    // The README shows a real run: what does not differ between runs must be in this one, line by line.
    let (_, block) = README.split_once("```text\n").expect("a block");
    let (block, _) = block.split_once("```").expect("its end");
    let is_step = |line: &str| line.as_bytes().first().is_some_and(u8::is_ascii_digit);
    let lines: Vec<&str> = block.lines().filter(|line| is_step(line) || line.starts_with("   crm:")).collect();
    assert!(lines.len() > 12, "{lines:?}");
    for line in lines {
        assert!(quickstart.page.contains(&format!("\n{line}\n")), "`{line}` is not in:\n{}", quickstart.page);
    }
}

#[test]
fn every_reason_is_told_under_its_verdict() {
    let (allow, deny) = PROTOCOL.split_once("\n### DENY").expect("denials");
    let (_, allow) = allow.split_once("\n### ALLOW").expect("allows");
    for (verdict, told) in [(Verdict::Allow, allow), (Verdict::Deny, deny)] {
        let reasons = Reason::ALL.iter().filter(|reason| reason.verdict() == verdict).map(|reason| reason.as_str());
        assert_eq!(set(first_cells(told)), set(reasons), "docs/protocol.md, {verdict}");
    }
}

/// Of each reason, who acts on it.
#[test]
fn every_reason_has_somebody_to_act_on_it() {
    let told = section(OPERATIONS, "## Reasons");
    assert_eq!(set(first_cells(told)), set(Reason::ALL.iter().map(|reason| reason.as_str())), "docs/operations.md");
    let who = ["operator", "caller", "writer", "privacy", "nobody", "by `failed_reason`"];
    for row in told.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [_, acts, what] = cells.as_slice() else { panic!("not a row of the table: {row}") };
        assert!(acts.split(", ").all(|one| who.contains(&one)) && what.len() > 10, "{row}");
    }
}

#[test]
fn every_refusal_of_a_check_is_told() {
    let told = first_cells(section(MESH, "## What Envoy is answered")).filter(|cell| !cell.starts_with("x-consentd-"));
    assert_eq!(set(told), set(consentd::ext_authz::REFUSALS), "docs/mesh.md");
}

#[test]
fn every_ledger_fault_is_told() {
    let ledger = || String::new();
    let position = Position(0);
    let faults = [
        LedgerFault::Truncated { ledger: ledger(), size: 0, position },
        LedgerFault::Replaced { ledger: ledger() },
        LedgerFault::Rewritten { ledger: ledger(), position },
        LedgerFault::Removed { ledger: ledger(), position },
        LedgerFault::Rewound { ledger: ledger(), last: position, position },
        LedgerFault::Gap { ledger: ledger(), position },
        LedgerFault::OtherSubjectKey { ledger: ledger(), problem: String::new() },
        LedgerFault::Settings { ledger: ledger(), problem: String::new() },
        LedgerFault::Unfollowed { ledger: ledger(), problem: String::new() },
    ];
    // A new fault does not compile here, and then stands in the list above as well.
    for fault in &faults {
        match fault {
            LedgerFault::Truncated { .. }
            | LedgerFault::Replaced { .. }
            | LedgerFault::Rewritten { .. }
            | LedgerFault::Removed { .. }
            | LedgerFault::Rewound { .. }
            | LedgerFault::Gap { .. }
            | LedgerFault::OtherSubjectKey { .. }
            | LedgerFault::Settings { .. }
            | LedgerFault::Unfollowed { .. } => {}
        }
    }
    assert_eq!(set(first_cells(section(OPERATIONS, "## Ledger faults"))), set(faults.iter().map(LedgerFault::name)));
}

/// What names of files end in that begin like a key: `ledger.jsonl`, `log.vkey`, `replica.opening`, `evidence.key`.
const FILE_ENDINGS: [&str; 4] = ["jsonl", "vkey", "opening", "key"];

#[test]
fn every_key_of_the_configuration_that_is_named_exists() {
    let (effective, _) = Config::examine(&Sources::default());
    let keys: Vec<(&str, String)> = effective.keys().collect();
    let sections = set(keys.iter().filter_map(|(key, _)| key.split_once('.').map(|(section, _)| section)));
    // No keys: what is said to callers, and the webhook's flags.
    let help = Command::new(env!("CARGO_BIN_EXE_consentd")).args(["injector", "--help"]).output().expect("it runs");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    let of_the_webhook = help.split("[env: ").skip(1).filter_map(|rest| rest.split(['=', ']']).next());
    let others: Vec<&str> = of_the_webhook.chain([CONFIG_VARIABLE, TARGET_VARIABLE]).collect();
    assert!(others.len() > 8, "{help}");
    let mut named = 0;
    for (path, text) in documents() {
        // `replica.mode = "on_demand"` names a key as well.
        for span in spans(&text).map(|span| span.split_once(" = ").map_or(span, |(key, _)| key)) {
            // As the chart's values have it.
            let in_chart = span.strip_prefix("config.");
            let span = in_chart.unwrap_or(span);
            assert!(
                in_chart.is_none() || span.contains('.') || sections.contains(span),
                "{}: `{span}`",
                path.display()
            );
            let is_key = span.split_once('.').is_some_and(|(section, key)| {
                sections.contains(section)
                    && !FILE_ENDINGS.contains(&key)
                    && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            });
            if is_key {
                named += 1;
                assert!(keys.iter().any(|(key, _)| *key == span), "{}: `{span}`", path.display());
            } else if span.starts_with("CONSENTD_") && span.len() > "CONSENTD_".len() {
                let name = span.split('=').next().unwrap_or(span);
                let is_known = others.contains(&name) || keys.iter().any(|(_, variable)| variable == name);
                assert!(is_known, "{}: `{span}`", path.display());
            }
        }
    }
    assert!(named > 10, "{named} keys were found");
}

/// Why the program does not take a command line, if it does not.
fn refused(line: &str, folder: &Path) -> Option<String> {
    let at = folder.display().to_string();
    // Where the output goes is the shell's matter.
    let line = line.split(" | ").next().unwrap_or(line);
    let line = line.split(" >").next().unwrap_or(line);
    let line = line.replace("/var/lib/consentd", &at).replace("/srv/consent", &at);
    let mut words: Vec<&str> = line.split_whitespace().skip(1).collect();
    match words.as_slice() {
        // What would go on running, or look for servers, is only parsed; help is shown once all before it was understood.
        ["serve" | "quickstart" | "bench" | "injector", ..] | ["evidence", "init" | "collect", ..] => {
            words.push("--help");
        }
        // Nobody listens there: what is asked here reaches no sidecar of this machine.
        ["ask" | "explain", ..] if !words.contains(&"--address") => words.extend(["--address", "127.0.0.1:1"]),
        _ => {}
    }
    let output = Command::new(env!("CARGO_BIN_EXE_consentd"))
        .args(&words)
        .current_dir(folder)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    // Our own sentences begin with the program's name; these are of who reads the arguments.
    (stderr.starts_with("error: ") || stderr.contains("Usage: ")).then_some(stderr)
}

#[test]
fn every_command_that_is_shown_is_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut count = 0;
    for (path, text) in documents() {
        let text = text.replace("\\\n", " ");
        for line in text.lines().map(str::trim).filter(|line| line.starts_with("consentd ") && !line.ends_with('.')) {
            // A line of prose that was wrapped there, or one that a shell completes, as tests/readers.rs has it do.
            if line.contains('`') || line.contains("\"$") || !is_in_block(&text, line) {
                continue;
            }
            count += 1;
            if let Some(why) = refused(line, folder.path()) {
                panic!("{}: `{line}`: {why}", path.display());
            }
        }
        for span in spans(&text).filter(|span| span.starts_with("consentd ")) {
            let is_word = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase());
            let words: Vec<&str> = span.split(' ').skip(1).take_while(is_word).collect();
            let help = format!("consentd {} --help", words.join(" "));
            let output =
                Command::new(env!("CARGO_BIN_EXE_consentd")).args(&words).arg("--help").output().expect("it runs");
            assert!(output.status.success(), "{}: `{span}`: `{help}` fails", path.display());
            count += 1;
        }
    }
    assert!(count > 30, "{count} commands were found");
    for wrong in [
        "consentd ask crm:1 p --chanel web",
        "consentd ledger forget crm:1",
        "consentd serve --leger x",
        "consentd evidence collect --form nats://nats-1:4222 --into x",
    ] {
        assert!(refused(wrong, folder.path()).is_some(), "`{wrong}` is taken");
    }
}

fn is_in_block(text: &str, wanted: &str) -> bool {
    text.split("```").skip(1).step_by(2).any(|block| block.lines().any(|line| line.trim() == wanted))
}

#[test]
fn every_column_of_an_import_is_told() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_consentd")).args(["ledger", "import", "--help"]).output().expect("it runs");
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    let (_, columns) = help.split_once("CSV columns: ").expect("columns");
    let (columns, _) = columns.split_once(".\n").expect("their end");
    let columns = columns.split('`').skip(1).step_by(2).filter(|word| *word != "space:id");
    let told = section(LEDGER, "## Importing");
    let mut count = 0;
    for column in columns {
        count += 1;
        assert!(spans(told).any(|span| span == column), "docs/ledger.md does not tell of `{column}`");
    }
    assert_eq!(count, 28, "{help}");
}

/// The messages of a source's log lines, with their level.
fn log_events(source: &str) -> Vec<(&'static str, &str)> {
    let (source, _) = source.split_once("#[cfg(test)]\nmod tests {").unwrap_or((source, ""));
    let mut events = Vec::new();
    for level in ["info", "warn", "error"] {
        for rest in source.split(&format!("tracing::{level}!(")).skip(1) {
            let mut depth = 1_u32;
            let end = rest.find(|c| {
                depth = match c {
                    '(' => depth + 1,
                    ')' => depth - 1,
                    _ => depth,
                };
                depth == 0
            });
            let call = end.and_then(|end| rest.get(..end)).expect("a call ends");
            // The message is the last thing in it.
            let message = call.rsplit('"').nth(1).expect("a message");
            // A line is looked for by its message: what differs from one to the next belongs in a field.
            assert!(!message.contains('{'), "`{message}` is no message that can be looked for");
            events.push((level, message));
        }
    }
    events
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|name| name == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn every_log_event_is_told_with_its_level() {
    let mut paths = Vec::new();
    sources(&root().join("src"), &mut paths);
    let texts: Vec<String> = paths.iter().map(|path| read(path)).collect();
    let logged: BTreeSet<String> = texts
        .iter()
        .flat_map(|text| log_events(text))
        .map(|(level, message)| format!("| {level} | `{message}` |"))
        .collect();
    let told: BTreeSet<String> = section(OPERATIONS, "## Log events")
        .lines()
        .filter_map(|line| line.split_once("` |").map(|(start, _)| format!("{start}` |")))
        .collect();
    assert_eq!(told, logged);
}

/// The name by which a heading is linked to. Source: as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).flat_map(char::to_lowercase).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut count = 0;
    for (path, text) in documents() {
        let here = path.parent().expect("a folder");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("https://") {
                continue;
            }
            count += 1;
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let to = if file.is_empty() { path.clone() } else { here.join(file) };
            assert!(to.exists(), "{}: `{target}`", path.display());
            if !heading.is_empty() {
                let text = read(&to);
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                let found = headings.any(|line| anchor(line.trim_start_matches('#')) == heading);
                assert!(found, "{}: `{target}` has no such heading", path.display());
            }
        }
    }
    assert!(count > 30, "{count} links were found");
}

fn files_under(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.map(|path| if path.is_dir() { files_under(&path) } else { 1 }).sum()
}

/// "More than 600 cases", and not so many more that it should say another hundred.
#[test]
fn the_readme_counts_the_cases() {
    let (_, said) = README.split_once("More than ").expect("a count");
    let said: usize = said.split(' ').next().and_then(|number| number.parse().ok()).expect("a number");
    let cases = files_under(&root().join("tests/cases"));
    assert!((said + 1..=said + 100).contains(&cases), "README.md says more than {said}, and there are {cases}");
}

/// Whoever looks for a page finds it from the first one.
#[test]
fn the_readme_leads_to_every_page() {
    for (path, _) in documents() {
        let own = path.strip_prefix(root()).expect("within the repository").to_str().expect("UTF-8");
        // Others lead there: the page of decisions, and that of the clients.
        let is_within = own.starts_with("docs/adr/") || own.starts_with("examples/clients/");
        let is_known = own == "README.md" || is_within || README.contains(&format!("]({own}"));
        assert!(is_known, "README.md does not lead to {own}");
    }
}
