//! The arrows between the rooms: every path in `src/` against the table in `ARCHITECTURE.md`.
//!
//! Tests inside `src/` count as well. Comments and strings do not.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/rust_paths.rs"]
mod rust_paths;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rust_paths::{FoundPath, paths_in};

/// What the domain may use of the world.
const DOMAIN_CRATES: [&str; 5] = ["std", "core", "alloc", "thiserror", "serde"];
/// What of `std` the domain may not use: it is pure.
const IMPURE_STD: [&str; 8] = ["env", "fs", "io", "net", "os", "process", "sync", "thread"];
/// Clocks, wherever they are imported from.
const CLOCKS: [&str; 2] = ["Instant", "SystemTime"];

/// Which room may use which.
type Table = BTreeMap<String, BTreeSet<String>>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The table under the heading `Rooms`: the first column names the room, words in backticks in the last what it may use.
fn table(document: &str) -> Table {
    let (_, section) = document.split_once("\n## Rooms\n").unwrap_or_else(|| panic!("there is no heading `Rooms`"));
    let section = section.split("\n## ").next().unwrap_or(section);
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let columns: Vec<&str> = row.trim_end_matches('|').split('|').collect();
        assert_eq!(columns.len(), 3, "a row has three columns: {row}");
        let uses: BTreeSet<String> = columns[2].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        assert_eq!(uses.is_empty(), columns[2].trim() == "nothing", "neither rooms nor `nothing`: {row}");
        (columns[0].trim_end().trim_end_matches('`').to_owned(), uses)
    })
    .collect()
}

fn documented() -> Table {
    table(&read(&root().join("ARCHITECTURE.md")))
}

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap_or_else(|error| panic!("{}: {error}", folder.display())).path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The module that a file below `src/` is, from the crate's root.
fn module_of(file: &Path) -> Vec<String> {
    let words: Vec<String> = file.with_extension("").iter().map(|word| word.to_string_lossy().into_owned()).collect();
    match words.first().map(String::as_str) {
        Some("lib" | "main") if words.len() == 1 => Vec::new(),
        _ => words,
    }
}

/// The room that a file below `src/` stands in; `lib` and `main` are their own.
fn room_of(file: &Path) -> String {
    let first = file.iter().next().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    first.trim_end_matches(".rs").to_owned()
}

/// What is wrong with one file's paths.
fn violations(file: &Path, text: &str, table: &Table, crates: &[String]) -> Vec<String> {
    let room = room_of(file);
    let mut found = Vec::new();
    if text.contains("#[path") {
        found.push("`#[path]` puts a file where this test does not look for it".to_owned());
    }
    let none = BTreeSet::new();
    let allowed = match table.get(&room) {
        Some(allowed) => allowed,
        // The library's root declares the rooms and uses none.
        None if room == "lib" => &none,
        None => return vec![format!("the room `{room}` is not in the table")],
    };
    for path in paths_in(text, &module_of(file)) {
        match path {
            FoundPath::Here { at, segments } => {
                let target = segments.first().map_or("*", String::as_str);
                if target != room && !allowed.contains(target) {
                    found.push(format!(
                        "line {at}: `{room}` uses `{}`, which the table does not allow",
                        segments.join("::")
                    ));
                }
            }
            FoundPath::Outside { at, segments } if room == "domain" => {
                if let Some(problem) = impurity(&segments, crates) {
                    found.push(format!("line {at}: {problem}"));
                }
            }
            FoundPath::Outside { .. } => {}
        }
    }
    found
}

fn impurity(segments: &[String], crates: &[String]) -> Option<String> {
    let path = segments.join("::");
    let first = segments.first()?;
    if crates.contains(first) && !DOMAIN_CRATES.contains(&first.as_str()) {
        return Some(format!("`domain` uses the crate `{first}`: `{path}`"));
    }
    let of_std = ["std", "core", "alloc"].contains(&first.as_str());
    // Shared ownership is no lock: it keeps one text in memory once, and nobody waits for it.
    let shares = segments.iter().map(String::as_str).eq(["std", "sync", "Arc"]);
    let impure = of_std && !shares && segments.get(1).is_some_and(|second| IMPURE_STD.contains(&second.as_str()));
    let clock = segments.iter().any(|segment| CLOCKS.contains(&segment.as_str()));
    (impure || clock).then(|| format!("`domain` is pure and uses `{path}`"))
}

/// The crates that `src/` can name: the dependencies of `Cargo.toml`, and those that every crate has.
fn crates() -> Vec<String> {
    let manifest: toml::Table = read(&root().join("Cargo.toml")).parse().unwrap_or_else(|error| panic!("{error}"));
    let dependencies = manifest["dependencies"].as_table().unwrap_or_else(|| panic!("dependencies: not a table"));
    dependencies.keys().map(|name| name.replace('-', "_")).collect()
}

#[test]
fn every_arrow_is_in_the_table() {
    let (table, crates) = (documented(), crates());
    let src = root().join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 10, "only {} files were found", files.len());
    let mut problems = Vec::new();
    for file in files {
        let below = file.strip_prefix(&src).unwrap_or(&file);
        let found = violations(below, &read(&file), &table, &crates);
        problems.extend(found.into_iter().map(|problem| format!("src/{}: {problem}", below.display())));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_table_has_no_circle_and_names_only_rooms() {
    let mut left = documented();
    assert!(left.len() >= 17, "only {} rooms were read", left.len());
    for (room, uses) in &left {
        for other in uses {
            assert!(left.contains_key(other), "`{room}` may use `{other}`, which is no room");
        }
    }
    while !left.is_empty() {
        let free: Vec<String> = left
            .iter()
            .filter(|(_, uses)| uses.iter().all(|o| !left.contains_key(o)))
            .map(|(r, _)| r.clone())
            .collect();
        assert!(!free.is_empty(), "a circle runs through {:?}", left.keys());
        left.retain(|room, _| !free.contains(room));
    }
}

#[test]
fn a_forbidden_arrow_is_seen_however_it_is_written() {
    let table = documented();
    let seen = |file: &str, text: &str| violations(Path::new(file), text, &table, &crates());
    for (file, text) in [
        ("domain/decide.rs", "use crate::clock::Clock;"),
        ("domain.rs", "use crate::{domain::Time, clock::Clock};"),
        ("domain.rs", "pub use crate::{\n    domain::{Time, words::{self, Reason}},\n    evidence::log,\n};"),
        ("domain/words.rs", "fn f() -> u8 { crate::clock::read() }"),
        ("domain/words.rs", "use super::super::clock::Clock;"),
        ("domain/words.rs", "use super::{super::clock, Time};"),
        ("domain/words.rs", "mod tests { mod deep { use super::super::super::super::clock; } }"),
        ("domain.rs", "mod tests { use super::super::clock; }"),
        ("domain.rs", "use super::*;"),
        ("domain.rs", "use crate::*;"),
        ("domain.rs", "use crate as house; fn f() { house::clock::read() }"),
        ("domain.rs", "use crate::{self as house};"),
        ("domain.rs", "macro_rules! m { () => { $crate::clock::read() } }"),
        ("domain.rs", "impl From<crate::proto::v1::Subject> for Time {}"),
        ("domain.rs", "use r#crate::x; use crate::r#clock::Clock;"),
        ("domain.rs", "const A: char = '\"'; use crate::clock; const B: char = '\"';"),
        ("domain.rs", "fn f<'a>(a: &'a str) -> &'a str { crate::clock::x(a) }"),
        ("grpc/service.rs", "use crate::replica::Replica;"),
        ("grpc.rs", "#[cfg(test)]\nmod tests { use crate::evidence::Log; }"),
        ("evidence.rs", "use crate::ledger::Token;"),
        ("ledger/file.rs", "use crate::replica::Replica;"),
        ("cli/ask.rs", "use crate::enforcer::Enforcer;"),
        ("main.rs", "fn main() { consentd::app::run() }"),
        ("lib.rs", "pub use crate::domain::decide;"),
        ("attic.rs", ""),
        ("domain.rs", "#[path = \"../elsewhere.rs\"] mod elsewhere;"),
        ("domain.rs", "use tokio::sync::Mutex;"),
        ("domain.rs", "#[derive(prost::Message)] struct A;"),
        ("domain.rs", "fn f() { let _ = ::ring::hmac::sign; }"),
        ("domain.rs", "use std::{fs, fmt};"),
        ("domain.rs", "use std::time::{Duration, Instant};"),
    ] {
        assert!(!seen(file, text).is_empty(), "not seen in src/{file}: {text}");
    }
    for (file, text) in [
        ("domain/decide.rs", "use super::catalogue::Purpose; use crate::domain::Time; use self::inner::X;"),
        ("domain.rs", "//! Not [`crate::clock`].\n/* nor crate::clock /* nested */ crate::ledger */\nuse std::fmt;"),
        ("domain.rs", "const A: &str = \"crate::clock::Clock\"; const B: &str = r#\"use crate::\"ledger\";\"#;"),
        ("domain.rs", "pub(crate) fn f() {} pub(in crate::domain) fn g() {} pub(super) fn h() {}"),
        ("domain/words.rs", "mod tests { use super::*; use super::super::time::Time; }"),
        ("clock.rs", "use crate::domain::Time; use rustix::time::clock_gettime; use std::sync::Arc;"),
        ("grpc.rs", "use crate::{enforcer::Enforcer, proto::v1 as wire};"),
        ("main.rs", "fn main() { consentd::cli::main() }"),
        ("lib.rs", "pub mod domain;"),
    ] {
        assert_eq!(seen(file, text), Vec::<String>::new(), "src/{file}: {text}");
    }
}
