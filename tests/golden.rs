//! Golden cases: every file under `tests/cases` is asked, in every order of its events, and must be answered as it says.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/golden_case.rs"]
mod golden_case;
#[path = "support/golden_catalogue.rs"]
mod golden_catalogue;
#[path = "support/history.rs"]
mod history;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use consentd::domain::{Position, Reason};
use golden_case::{Case, Prepared};
use golden_catalogue::folder;
use history::{Happening, What};

/// Fewer files than this means that some were lost.
const FILES_MIN: usize = 500;

/// Reasons that `decide` never gives.
const NOT_DECIDED: [(Reason, &str); 1] =
    [(Reason::EvidenceUnavailable, "the enforcer gives it when an answer's evidence cannot be written")];

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.unwrap_or_else(|error| panic!("{}: {error}", folder.display())).path();
        if path.is_dir() {
            files(&path, into);
        } else {
            assert_eq!(path.extension().and_then(|e| e.to_str()), Some("toml"), "{}: not a case", path.display());
            into.push(path);
        }
    }
}

/// Every case with its path below `tests/cases`, by path.
fn cases() -> BTreeMap<String, Prepared> {
    let root = folder("cases");
    let mut paths = Vec::new();
    files(&root, &mut paths);
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string());
        let prepared = text.and_then(|text| Case::parse(&text)).and_then(Case::prepare);
        (name.clone(), prepared.unwrap_or_else(|problem| panic!("{name}: {problem}")))
    };
    paths.into_iter().map(read).collect()
}

/// All orders of up to five things, and 200 of more.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let mut all = vec![(0..count).collect::<Vec<_>>()];
    if count <= 5 {
        for at in 0..count {
            let longer = |order: &Vec<usize>| (at..count).map(|with| swapped(order, at, with)).collect::<Vec<_>>();
            all = all.iter().flat_map(longer).collect();
        }
        return all;
    }
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    while all.len() < 200 {
        let mut order = all[all.len() - 1].clone();
        for at in (1..count).rev() {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            order.swap(at, usize::try_from(random % (at as u64 + 1)).unwrap_or(0));
        }
        all.push(order);
    }
    all
}

fn swapped(order: &[usize], a: usize, b: usize) -> Vec<usize> {
    let mut order = order.to_vec();
    order.swap(a, b);
    order
}

/// The events, and each a second time: as delivered again, and where it is a record, as written again further on.
fn doubled(events: &[(String, Happening)]) -> Vec<(String, Happening)> {
    let again = events.iter().cloned().map(|(identifier, mut happening)| {
        if let What::Said { record, .. } = &mut happening.what {
            record.position = Position(record.position.0 + 1000);
        }
        (identifier, happening)
    });
    events.iter().cloned().chain(again).collect()
}

#[test]
fn every_case_is_answered_as_it_says_in_every_order_of_its_events_and_with_duplicates() {
    let mut failures = Vec::new();
    for (name, case) in cases() {
        let twice = doubled(&case.events);
        let check = || -> Result<(), String> {
            case.check(&case.events)?;
            for order in orders(case.events.len()) {
                let reordered = order.iter().map(|place| &case.events[*place]);
                case.check(reordered).map_err(|problem| format!("  in order {order:?}\n{problem}"))?;
            }
            for order in orders(twice.len()) {
                let reordered = order.iter().map(|place| &twice[*place]);
                case.check(reordered).map_err(|problem| format!("  doubled, in order {order:?}\n{problem}"))?;
            }
            Ok(())
        };
        if let Err(problem) = check() {
            failures.push(format!("tests/cases/{name}\n{problem}"));
        }
    }
    assert!(failures.is_empty(), "{} cases failed\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn no_reason_is_unreachable() {
    let reached: BTreeSet<Reason> =
        cases().values().filter_map(|case| Reason::from_name(&case.case.expect.reason)).collect();
    for reason in Reason::ALL {
        match NOT_DECIDED.iter().find(|(exception, _)| exception == reason) {
            Some((_, why)) => assert!(!reached.contains(reason), "{reason} is given by a case, though {why}"),
            None => assert!(reached.contains(reason), "no case shows {reason}"),
        }
    }
}

#[test]
fn the_cases_are_many_and_each_says_what_it_shows() {
    let cases = cases();
    assert!(cases.len() >= FILES_MIN, "only {} cases were found", cases.len());
    let mut titles = BTreeMap::new();
    for (name, case) in &cases {
        let case = &case.case;
        if let Some(other) = titles.insert(case.title.clone(), name) {
            panic!("{name} and {other} share the title `{}`", case.title);
        }
        assert!(case.title.len() >= 15, "{name}: the title says too little");
        assert!(case.shows.split_whitespace().count() >= 6, "{name}: `shows` is not a sentence");
        assert!(!case.article.trim().is_empty(), "{name}: names no law or standard");
    }
}

/// A small case, with one line replaced.
fn edited(from: &str, to: &str) -> Result<Prepared, String> {
    const CASE: &str = r#"
        title = "A case for the loader's own test"
        shows = "Consent given in the shop is enough for the newsletter by mail."
        article = "GDPR Art. 6(1)(a)"
        catalogue = "shop"
        now = 2026-06-01T12:00:00Z
        [[event]]
        what = "given"
        at = 2026-03-01T10:00:00Z
        purpose = "marketing.newsletter"
        channel = "email"
        [question]
        purpose = "marketing.newsletter"
        channel = "email"
        [expect]
        verdict = "ALLOW"
        reason = "CONSENT"
        rule = "allow"
        status = "GIVEN"
        valid_until = 2026-06-01T12:00:29Z
    "#;
    assert!(CASE.contains(from), "`{from}` is not in the case");
    Case::parse(&CASE.replacen(from, to, 1)).and_then(Case::prepare)
}

fn problem_of(from: &str, to: &str) -> String {
    match edited(from, to) {
        Ok(case) => case.check(&case.events).err().unwrap_or_default(),
        Err(problem) => problem,
    }
}

#[test]
fn a_wrong_expectation_fails_with_the_rules_that_were_looked_at() {
    let sound = edited("[question]", "[question]").expect("a sound case");
    assert_eq!(sound.check(&sound.events), Ok(()));
    let problem = problem_of("\"given\"", "\"withdrawn\"");
    for part in ["expected ALLOW CONSENT by rule allow", "answered DENY WITHDRAWN by rule refusal", "decides refusal"] {
        assert!(problem.contains(part), "`{part}` is missing in\n{problem}");
    }
    for (from, to) in [
        ("\"GIVEN\"", "\"RENEWED\""),
        ("12:00:29Z", "12:00:30Z"),
        ("rule = \"allow\"", "rule = \"consent\""),
        ("status = \"GIVEN\"", ""),
        ("valid_until = 2026-06-01T12:00:29Z", ""),
        ("[expect]", "[expect]\nfailed_purpose = \"marketing\""),
        ("[expect]", "[expect]\nnotice = \"privacy 2\""),
        ("[expect]", "[expect]\nfailed_reason = \"NO_CONSENT\""),
        ("[expect]", "[expect]\nnot_before = 2026-06-02T05:00:00Z"),
        ("[expect]", "[expect]\ndetail = \"the TCF string is damaged or of an unknown form\""),
    ] {
        assert!(problem_of(from, to).contains("decides allow"), "`{to}` for `{from}`");
    }
}

#[test]
fn a_misspelt_key_or_word_fails() {
    for (from, to, part) in [
        ("catalogue = \"shop\"", "catalog = \"shop\"", "unknown field `catalog`"),
        ("channel = \"email\"", "chanel = \"email\"", "unknown field `chanel`"),
        ("status = \"GIVEN\"", "state = \"GIVEN\"", "unknown field `state`"),
        ("what = \"given\"", "what = \"gave\"", "`gave` is not known"),
        ("what = \"given\"", "what = \"erased\"", "`purpose` means nothing"),
        ("what = \"given\"", "what = \"given\"\ndefects = [\"preticked\"]", "`preticked` is not a defect"),
        ("[question]", "[question]\nmax_staleness = \"30\"", "`30` is not a span"),
        ("[question]", "[view]\nledger = \"fine\"\n[question]", "`fine` is not known"),
        ("\"CONSENT\"", "\"CONSENTED\"", "`CONSENTED` is not known"),
        ("\"shop\"", "\"shoe\"", "catalogue `shoe`"),
        ("[[event]]", "[[change]]\nkey = \"new\"\n[[event]]", "names no channel"),
    ] {
        let problem = problem_of(from, to);
        assert!(problem.contains(part), "`{part}` is missing in\n{problem}");
    }
}
