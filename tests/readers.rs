//! The three pages for readers, read as they are meant to be: every command is run, in order, with the real program, and what
//! a page shows is what comes. What cannot be run here is named with its reason.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly; the exemption of clippy.toml does not reach its helpers"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use consentd::domain::{Reason, Verdict};

#[path = "support/reader.rs"]
mod reader;

use reader::{Plan, Reader, blocks};

const DEVELOPER: &str = "docs/pipeline-developer.md";
const ENGINEER: &str = "docs/platform-engineer.md";
const OFFICER: &str = "docs/privacy-officer.md";

/// Why a block may be left alone.
const NOT_RUN: [&str; 3] = ["needs a cluster", "needs servers of NATS", "cannot be undone"];

/// A page, read when it is tested: an edit of the text compiles nothing.
fn page(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("read")
}

#[test]
fn a_pipeline_developer_gets_an_answer() {
    assert!(Reader::of(DEVELOPER).read(&page(DEVELOPER)) >= 10);
}

#[test]
fn a_platform_engineer_runs_it() {
    assert!(Reader::of(ENGINEER).read(&page(ENGINEER)) >= 10);
}

#[test]
fn a_privacy_officer_proves_why_a_message_was_sent() {
    assert!(Reader::of(OFFICER).read(&page(OFFICER)) >= 10);
}

#[test]
fn what_is_not_run_has_a_reason_that_is_one() {
    for path in [DEVELOPER, ENGINEER, OFFICER] {
        for block in blocks(&page(path)) {
            match &block.plan {
                Plan::NotRun { why } => {
                    assert!(NOT_RUN.contains(&why.as_str()), "{path}:{}: not run because `{why}`?", block.line);
                }
                Plan::Shown => assert_ne!(block.language, "sh", "{path}:{}: commands are run", block.line),
                _ => {}
            }
        }
    }
}

#[test]
fn a_developer_is_told_what_to_do_with_each_reason_once() {
    let text = page(DEVELOPER);
    let (_, told) = text.split_once("\n## What your code does with an answer\n").expect("the section");
    let (told, _) = told.split_once("\n## ").expect("the next one");
    let rows: Vec<&str> = told.lines().filter(|line| line.starts_with("| ") && line.contains('`')).collect();
    let mut seen = BTreeSet::new();
    for row in &rows {
        let reasons = row.split('`').skip(1).step_by(2);
        let is_reason = |word: &&str| word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        for word in reasons.filter(is_reason) {
            let reason = Reason::from_name(word).unwrap_or_else(|| panic!("`{word}` is no reason"));
            assert!(seen.insert(reason), "{word} is there twice");
            assert_eq!(reason.verdict() == Verdict::Allow, row.starts_with("| goes on"), "{word}: {row}");
        }
    }
    assert_eq!(seen, Reason::ALL.iter().copied().collect());
}
