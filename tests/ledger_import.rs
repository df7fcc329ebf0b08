//! `consentd ledger import` as a person runs it: the real binary, files as others write them, and a process that dies.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly, and its helpers are tests too"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use consentd::domain::Position;
use consentd::ledger::codec;
use serde_json::Value;

struct Shop {
    folder: tempfile::TempDir,
}

impl Shop {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ledger(&self) -> PathBuf {
        self.path("ledger.jsonl")
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), text).expect("it is written");
        self.path(name).to_str().expect("text").to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_consentd"));
        command.args(["ledger", "import"]).args(arguments).env("CONSENTD_LEDGER_FILE", self.ledger());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary runs")
    }

    /// What an import says that must end with this code: its output, and what it says besides.
    fn ends(&self, code: i32, arguments: &[&str]) -> (String, String) {
        let output = self.run(arguments);
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let (out, err) = (text(output.stdout), text(output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {out}{err}");
        (out, err)
    }

    fn counts(&self, code: i32, arguments: &[&str]) -> [u64; 3] {
        let (out, _) = self.ends(code, &[arguments, &["--json"]].concat());
        let told: Value = serde_json::from_str(out.lines().last().expect("a line")).expect("JSON");
        ["written", "known", "rejected"].map(|name| told[name].as_u64().expect("a number"))
    }

    fn lines(&self, name: &str) -> Vec<String> {
        std::fs::read_to_string(self.path(name)).expect("it is read").lines().map(ToOwned::to_owned).collect()
    }
}

const HEADER: &str = "subject,purpose,channel,status,event_time\n";

/// Longer than anything here takes on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_mins(2);

#[test]
fn one_bad_row_and_nothing_is_written_unless_that_is_asked_for() {
    let shop = Shop::new();
    let input = "subject,purpose,channel,status,event_time\n\
                 crm:1,marketing,email,given,2026-01-05T10:00:00Z\n\
                 crm:2,marketing,email,perhaps-ayse,2026-01-05T10:00:00Z\n\
                 crm:3,marketing,email,given,2999-01-05T10:00:00Z\n\
                 crm:4,marketing,email,withdrawn,2026-01-05T10:00:00Z";
    let file = shop.write("export.csv", input);
    let (out, err) = shop.ends(1, &[&file]);
    assert!(err.contains("row 2 (line 3): status: must be a status") && !err.contains("ayse"), "{err}");
    assert!(out.starts_with("4 rows: 2 rejected, and nothing was written; mend them"), "{out}");
    assert!(!shop.ledger().exists(), "not even an empty ledger");
    let rejects: Vec<Value> =
        shop.lines("export.csv.rejects.jsonl").iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(rejects.iter().map(|row| row["row"].as_u64()).collect::<Vec<_>>(), [Some(2), Some(3)]);
    assert_eq!(rejects[0]["text"], "crm:2,marketing,email,perhaps-ayse,2026-01-05T10:00:00Z");

    assert_eq!(shop.counts(1, &[&file, "--accept-good-rows"]), [2, 0, 2]);
    let written = shop.lines("ledger.jsonl");
    assert_eq!(written.len(), 2);
    // Mended, only what is new is written; and once more, nothing.
    let mended = input.replace("perhaps-ayse", "refused").replace("2999", "2026");
    let file = shop.write("export.csv", mended);
    assert_eq!(shop.counts(0, &[&file]), [2, 2, 0]);
    let before = std::fs::read(shop.ledger()).expect("it is read");
    assert_eq!(shop.counts(0, &[&file]), [0, 4, 0]);
    assert_eq!(std::fs::read(shop.ledger()).expect("it is read"), before);
    // Whatever format it came in.
    let jsonl = shop.write("again.jsonl", &before);
    assert_eq!(shop.counts(0, &[&jsonl]), [0, 4, 0]);

    let ledger = shop.ledger();
    let (_, told) = shop.ends(2, &[&file, "--rejects", ledger.to_str().expect("text")]);
    assert!(told.contains("another file"), "{told}");
    let (_, told) = shop.ends(2, &["/dev/null", "--format", "csv"]);
    assert!(told.contains("the input is empty"), "{told}");
}

#[test]
fn a_process_that_is_killed_leaves_what_the_next_one_completes() {
    const ROWS: usize = 30_000;
    let shop = Shop::new();
    let mut input = HEADER.to_owned();
    for row in 0..ROWS {
        writeln!(input, "crm:{row},marketing,email,given,2026-01-05T10:00:00Z").expect("a text takes it");
    }
    let file = shop.write("export.csv", input);
    for kill in 1..=3 {
        let before = std::fs::metadata(shop.ledger()).map_or(0, |ledger| ledger.len());
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut child = shop.command(&[&file]).spawn().expect("the binary runs");
            while std::fs::metadata(shop.ledger()).map_or(0, |ledger| ledger.len()) <= before {
                assert!(Instant::now() < deadline, "kill {kill}: nothing was written");
                std::thread::sleep(Duration::from_millis(1));
            }
            // It may have ended by itself, where this process was not let run: then it came too late to show anything.
            let _ = child.kill();
            let was_killed = !child.wait().expect("it ends").success();
            if was_killed && shop.lines("ledger.jsonl").len() < ROWS {
                break;
            }
            assert!(Instant::now() < deadline, "kill {kill} came too late, time and again");
            let ledger = std::fs::OpenOptions::new().write(true).open(shop.ledger()).expect("it opens");
            ledger.set_len(before).expect("as it was");
        }
    }
    // As if the last one had died within a line.
    let mut text = std::fs::read(shop.ledger()).expect("it is read");
    if !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    text.extend_from_slice(b"{\"eventId\":\"half");
    std::fs::write(shop.ledger(), text).expect("it is written");

    let [written, known, _] = shop.counts(0, &[&file]);
    assert_eq!(written + known, ROWS as u64);
    assert!(known > 0, "what was written before is known");
    let lines = shop.lines("ledger.jsonl");
    let readable: Vec<_> = lines.iter().filter_map(|line| codec::decode(line.as_bytes(), Position(0)).ok()).collect();
    let ids: BTreeSet<_> = readable.iter().map(|event| &event.event_id).collect();
    assert_eq!((ids.len(), readable.len()), (ROWS, ROWS), "each once");
    let half = lines.len() - readable.len();
    assert!((1..=4).contains(&half), "{half} half lines: one of ours, and at most one of each that was killed");
    // Whom half a line names is denied for it, until the whole one says that it replaces it.
    let replaced: BTreeSet<&Box<str>> = readable.iter().flat_map(|event| &event.supersedes).collect();
    for line in &lines {
        if let Err(unreadable) = codec::decode(line.as_bytes(), Position(0)) {
            let is_nobodys = unreadable.subjects.is_empty() && unreadable.event_id.starts_with('@');
            assert!(is_nobodys || replaced.contains(&unreadable.event_id) || *line == "{\"eventId\":\"half", "{line}");
        }
    }
    assert_eq!(shop.counts(0, &[&file]), [0, ROWS as u64, 0]);
}

#[test]
fn what_can_be_read_only_once_is_imported_too() {
    let shop = Shop::new();
    let rows = format!("{HEADER}crm:1,marketing,email,given,2026-01-05T10:00:00Z\n");
    let mut child = shop.command(&["-", "--format", "csv"]).stdin(Stdio::piped()).spawn().expect("the binary runs");
    child.stdin.take().expect("an input").write_all(rows.as_bytes()).expect("it is taken");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1 rows: 1 events written, 0 already there, 0 rejected\n");
}

#[test]
fn permissions_of_the_iys_are_imported_and_shown_before() {
    let shop = Shop::new();
    let answer = r#"{"after":"1597740617_632c","list":[
        {"consentDate":"2018-02-10 09:50:02","source":"HS_WEB","recipient":"Ayse@Example.com",
         "recipientType":"BIREYSEL","status":"ONAY","type":"EPOSTA","transactionId":"532c"},
        {"consentDate":"2024-02-10 09:50:02","source":"IYS_WEB","recipient":"05813334455",
         "recipientType":"BIREYSEL","status":"RET","type":"ARAMA"}]}"#;
    let file = shop.write("iys.json", answer);
    let (out, _) = shop.ends(0, &[&file, "--format", "iys", "--dry-run"]);
    assert_eq!(
        out,
        "row 1 (line 2):\n  \
         2018-02-10T06:50:02Z  email:ayse@example.com  iys.bireysel over email: given (consent)\n\
         row 2 (line 4):\n  \
         2024-02-10T06:50:02Z  phone:+905813334455  iys.bireysel over call for *: withdrawn (consent)\n\
         2 rows: 2 events, 0 rejected; nothing was written\n"
    );
    assert!(!shop.ledger().exists());
    let (out, _) = shop.ends(0, &[&file, "--format", "iys", "--dry-run=1", "--json"]);
    let rows: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(rows.len(), 2, "one row, and the counts");
    assert_eq!(rows[0]["events"][0]["consent"]["collection"]["method"], "HS_WEB");
    assert_eq!(shop.counts(0, &[&file, "--format", "iys"]), [2, 0, 0]);
    assert_eq!(shop.counts(0, &[&file, "--format", "iys"]), [0, 2, 0]);
    // Under other names they are others.
    let other = ["--format", "iys", "--hash", "--bireysel", "commercial"];
    assert_eq!(shop.counts(0, &[&[&*file], &other[..]].concat()), [2, 0, 0]);
    let last = shop.lines("ledger.jsonl").pop().expect("a line");
    assert!(last.contains("\"space\":\"phone_sha256\"") && last.contains("\"purpose\":\"commercial\""), "{last}");
    let (_, told) = shop.ends(2, &[&file, "--hash"]);
    assert!(told.contains("are for `--format iys`"), "{told}");
}

#[test]
fn a_customer_table_is_imported_by_its_mapping() {
    let shop = Shop::new();
    let mapping = r#"
        encoding = "windows-1254"
        time = { zone = "Europe/Istanbul", formats = ["%d.%m.%Y"] }
        identifier = [
            { space = "crm", column = "No" },
            { space = "email", column = "E-posta", form = "email" },
        ]
        links = { time = { column = "Kayıt" } }
        [[consent]]
        purpose = "marketing"
        channel = "email"
        status = { column = "İzin", values = { Evet = "given", "Hayır" = "withdrawn" } }
        time = { column = "Kayıt" }
    "#;
    let mapping = shop.write("mapping.toml", mapping);
    // `İzin` and `Hayır` as Windows-1254 has them.
    let rows = b"No;E-posta;Kay\xfdt;\xddzin\r\n1;a@example.com;05.01.2026;Evet\r\n2;;05.01.2026;Hay\xfdr\r\n";
    let file = shop.write("müşteri.csv", rows);
    let (out, _) = shop.ends(0, &[&file, "--mapping", &mapping, "--dry-run"]);
    assert_eq!(
        out,
        "row 1 (line 2):\n  \
         2026-01-04T21:00:00Z  crm:1 is the same person as email:a@example.com\n  \
         2026-01-04T21:00:00Z  crm:1  marketing over email: given (consent)\n\
         row 2 (line 3):\n  \
         2026-01-05T20:59:59.999Z  crm:2  marketing over email for *: withdrawn (consent)\n\
         2 rows: 3 events, 0 rejected; nothing was written\n"
    );
    assert_eq!(shop.counts(0, &[&file, "--mapping", &mapping]), [3, 0, 0]);
    assert_eq!(shop.counts(0, &[&file, "--mapping", &mapping]), [0, 3, 0]);

    let (_, told) = shop.ends(2, &[&file, "--mapping", &mapping, "--encoding", "utf-8"]);
    assert!(told.contains("the first row is not UTF-8; what a spreadsheet in Turkish has saved is often"), "{told}");
}

/// The block of a document that is of this language, the first.
fn block<'a>(document: &'a str, language: &str) -> &'a str {
    let (_, rest) = document.split_once(&format!("\n```{language}\n")).expect("a block");
    rest.split_once("```").expect("its end").0
}

#[test]
fn the_example_of_the_documentation_is_what_it_says() {
    let shop = Shop::new();
    let document = include_str!("../docs/import.md");
    let mapping = shop.write("mapping.toml", block(document, "toml"));
    let table = shop.write("table.csv", block(document, "csv"));
    let (out, _) = shop.ends(0, &[&table, "--mapping", &mapping, "--dry-run"]);
    assert_eq!(out, block(document, "text"));
}

#[test]
fn what_is_missing_or_wrong_is_said() {
    let shop = Shop::new();
    let csv = shop.write("a.csv", format!("{HEADER}crm:1,marketing,email,given,2026-01-05T10:00:00Z\n"));
    let broken = shop.write("broken.toml", "[time]\nzone = \"Mars\"\nformats = []\n");
    let workbook = shop.write("a.xlsx", b"PK\x03\x04rest");
    for (arguments, sentence) in [
        (&[&*csv, "--format", "crm"][..], "give `--mapping FILE`"),
        (&[&csv, "--format", "csv", "--mapping", &broken], "`--mapping` is for `--format crm`"),
        (&[&csv, "--mapping", "/nonexistent"], "`/nonexistent` cannot be read"),
        (&[&csv, "--mapping", &broken], "time.zone: `Mars` is no time zone"),
        (&[&csv, "--mapping", &broken], "identifier: there must be one at least"),
        (&[&workbook], "what does it hold? give `--format`"),
        (&[&workbook, "--format", "csv"], "a workbook or an archive, not a text; save the sheet as \"CSV UTF-8\""),
        (&[&csv, "--dry-run", "--accept-good-rows"], "cannot be used with"),
    ] {
        let (_, told) = shop.ends(2, arguments);
        assert!(told.contains(sentence), "{arguments:?}: {told}");
    }
    assert!(!shop.ledger().exists());
}
