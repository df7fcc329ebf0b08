//! The page of the rules and the pages of the example catalogues, held to the program: every rule in its order, every
//! reason under the rule that gives it, and cases that exist and end as the pages say.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly; the exemption of clippy.toml does not reach its helpers"
)]

#[path = "support/golden_case.rs"]
mod golden_case;
#[path = "support/golden_catalogue.rs"]
mod golden_catalogue;
#[path = "support/history.rs"]
mod history;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use consentd::domain::{Reason, rules};
use golden_case::{Case, Prepared};

const SEMANTICS: &str = include_str!("../docs/semantics.md");
const CATALOGUES: &str = include_str!("../examples/catalogues/README.md");

/// The catalogues that are shipped, by the names of their files.
const SHIPPED: [&str; 5] = ["turkiye", "eu", "maine-isp", "california", "worldwide"];

/// A row of a table under a heading.
struct Row {
    heading: String,
    cells: Vec<String>,
}

/// All rows of a page's tables, without their heads, with the nearest heading above.
fn rows(page: &str) -> Vec<Row> {
    let mut heading = String::new();
    let mut rows = Vec::new();
    let mut in_body = false;
    for line in page.lines() {
        if line.starts_with('#') {
            line.trim_start_matches(['#', ' ']).clone_into(&mut heading);
        }
        if line.starts_with("|---") {
            in_body = true;
        } else if let Some(row) = line.strip_prefix('|') {
            if in_body {
                let cells = row.trim_end_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
                rows.push(Row { heading: heading.clone(), cells });
            }
        } else {
            in_body = false;
        }
    }
    rows
}

/// What stands in backticks at the start of a text.
fn code(text: &str) -> Option<&str> {
    text.strip_prefix('`')?.split('`').next()
}

/// Where the links of a text lead.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// The case that a link from a page leads to.
fn linked_case(page: &str, link: &str) -> Prepared {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let path = folder.parent().expect("a folder").join(link);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{page}: `{link}`: {error}"));
    Case::parse(&text).and_then(Case::prepare).unwrap_or_else(|problem| panic!("{page}: `{link}`: {problem}"))
}

#[test]
fn every_rule_has_its_section_in_its_order() {
    let headings = SEMANTICS.lines().filter_map(|line| line.strip_prefix("### "));
    let told: Vec<String> = headings.map(str::to_owned).collect();
    let numbered: Vec<String> = rules().zip(1..).map(|((rule, _), place)| format!("{place}. `{rule}`")).collect();
    assert_eq!(told, numbered, "docs/semantics.md and the rules of the decision");
}

#[test]
fn every_reason_has_a_case_that_ends_in_it_by_its_rule() {
    let mut shown: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for row in rows(SEMANTICS) {
        let Some(reason) = code(&row.cells[0]).and_then(Reason::from_name) else { continue };
        assert!(row.cells[..3].iter().all(|cell| !cell.is_empty()), "{reason}: the row says too little");
        let rule = row.heading.split('`').nth(1).unwrap_or_default().to_owned();
        shown.entry(reason.as_str()).or_default().insert(rule.clone());
        if reason == Reason::EvidenceUnavailable {
            continue;
        }
        let mut cases = links(&row.cells[3]).map(|link| (link, linked_case("docs/semantics.md", link))).peekable();
        assert!(cases.peek().is_some(), "{reason}: the row shows no case");
        for (link, case) in cases {
            let expect = &case.case.expect;
            assert_eq!((expect.reason.as_str(), expect.rule.as_str()), (reason.as_str(), rule.as_str()), "{link}");
            assert!(!case.case.article.is_empty() && !case.case.shows.is_empty(), "{link}");
        }
    }
    let all: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(shown.keys().copied().collect::<BTreeSet<_>>(), all, "docs/semantics.md and the reasons");
    for (reason, rules) in shown {
        assert_eq!(rules.len(), 1, "{reason} stands under {rules:?}");
    }
}

#[test]
fn every_row_of_a_catalogue_is_answered_as_it_says() {
    let mut asked: BTreeMap<String, usize> = BTreeMap::new();
    let mut reasons = BTreeSet::new();
    for row in rows(CATALOGUES) {
        let Some(name) = row.heading.split('`').nth(1).and_then(|file| file.strip_suffix(".json")) else { continue };
        let [question, answer, law, case] = row.cells.as_slice() else { continue };
        let link = links(case).next().unwrap_or_else(|| panic!("{name}: `{question}` shows no case"));
        let case = linked_case("examples/catalogues/README.md", link);
        assert_eq!(case.check(&case.events), Ok(()), "{link}");
        assert_eq!(case.case.catalogue, name, "{link} is asked of another catalogue");
        let expect = &case.case.expect;
        let failed = expect.failed_reason.as_ref().map_or(String::new(), |reason| format!(", `{reason}`"));
        assert_eq!(*answer, format!("{} `{}`{failed}", expect.verdict, expect.reason), "{link}");
        assert!(!law.is_empty(), "{link}: no law");
        reasons.insert(expect.reason.clone());
        *asked.entry(name.to_owned()).or_default() += 1;
    }
    for name in SHIPPED {
        assert!(asked.get(name).is_some_and(|count| *count >= 8), "{name}: {asked:?}");
    }
    assert_eq!(asked.len(), SHIPPED.len(), "{asked:?}");
    assert!(reasons.len() >= 15, "{reasons:?}");
}

/// Each purpose is explained on the page by its key, with its law.
#[test]
fn every_purpose_of_a_catalogue_is_explained() {
    let mut told: BTreeSet<(String, String)> = BTreeSet::new();
    for row in rows(CATALOGUES) {
        let Some(name) = row.heading.split('`').nth(1).and_then(|file| file.strip_suffix(".json")) else { continue };
        if let ([_, _, _], Some(purpose)) = (row.cells.as_slice(), code(&row.cells[0])) {
            assert!(row.cells.iter().all(|cell| !cell.is_empty()), "{name}: `{purpose}`");
            told.insert((name.to_owned(), purpose.to_owned()));
        }
    }
    let mut shipped = BTreeSet::new();
    for name in SHIPPED {
        let catalogue = golden_catalogue::read_catalogue(name, &golden_catalogue::Changes::default());
        let catalogue = catalogue.unwrap_or_else(|problem| panic!("{problem}"));
        shipped.extend(catalogue.purposes().map(|purpose| (name.to_owned(), purpose.key.to_string())));
        for purpose in catalogue.purposes() {
            assert!(!purpose.title.is_empty() && !purpose.description.is_empty(), "{name}: `{}`", purpose.key);
            assert!(purpose.regional.iter().all(|rule| !rule.source.is_empty()), "{name}: `{}`", purpose.key);
        }
    }
    assert_eq!(told, shipped);
}

#[test]
fn every_shipped_catalogue_is_taken_by_a_ledger() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in SHIPPED {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/catalogues").join(name).with_extension("json");
        let run = |words: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_consentd"));
            let command = command.args(["ledger", words[0]]).args(&words[1..]).arg("--ledger");
            let output = command.arg(folder.path().join(name)).env_clear().output().expect("it runs");
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{name}: {words:?}: {told}");
            String::from_utf8(output.stdout).expect("UTF-8")
        };
        let mut check = Command::new(env!("CARGO_BIN_EXE_consentd"));
        let output = check.args(["catalogue", "check"]).arg(&file).env_clear().output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        run(&["catalogue", &file.display().to_string()]);
        let title = serde_json::from_str::<serde_json::Value>(&fs::read_to_string(&file).expect("a file"));
        let title = title.expect("JSON")["title"].as_str().expect("a title").to_owned();
        assert!(run(&["tail", "--json"]).contains(&title), "{name}: the ledger holds another catalogue");
    }
}

#[test]
fn every_shipped_catalogue_is_known_here() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/catalogues");
    let files = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let found: BTreeSet<String> = files
        .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    assert_eq!(found, SHIPPED.map(str::to_owned).into_iter().collect());
}
