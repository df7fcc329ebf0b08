//! The ledger's commands as a person or program runs them: the real binary, several at once.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, and its helpers are tests too"
)]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use consentd::domain::{Defects, EventBody, Position};
use consentd::ledger::{Token, codec};

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

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_consentd"));
        command.arg("ledger").args(arguments).env("CONSENTD_LEDGER_FILE", self.ledger());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary runs")
    }

    /// What a command that must succeed prints.
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// The exit code and the sentence of a command that must not succeed.
    fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?} succeeded");
        (output.status.code().expect("an exit code"), String::from_utf8(output.stderr).expect("text"))
    }

    fn start_publishing(&self) -> Child {
        self.command(&["publish", "-"]).stdin(Stdio::piped()).spawn().expect("the binary runs")
    }
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).expect("it is read").lines().map(ToOwned::to_owned).collect()
}

fn erasure(id: &str) -> String {
    format!(
        "{{\"eventId\":\"{id}\",\"eventTime\":\"2026-01-05T10:00:00Z\",\"erasure\":{{\"subject\":{{\"space\":\"crm\",\
         \"id\":\"{id}\"}}}}}}\n"
    )
}

#[test]
fn each_verb_writes_an_event_that_the_ledger_reads() {
    let shop = Shop::new();
    let catalogue = r#"{"version":1,"channels":[{"key":"email"}],
        "purposes":[{"key":"marketing","legalBasis":"LEGAL_BASIS_CONSENT","channels":["email"]}]}"#;
    std::fs::write(shop.path("catalogue.json"), catalogue).expect("it is written");
    shop.ok(&["catalogue", shop.path("catalogue.json").to_str().expect("text")]);
    let told = shop.ok(&[
        "grant",
        "crm:42",
        "marketing",
        "--channel",
        "email",
        "--notice",
        "privacy@3/tr",
        "--jurisdiction",
        "TR",
        "--pre-ticked",
        "--method",
        "web_form",
        "--at",
        "2026-01-05T10:00:00Z",
        "--expires",
        "2027-01-05T10:00:00Z",
        "--event-id",
        "e1",
    ]);
    assert!(told.starts_with("crm:42  marketing over email: given (consent)\n  at_least_as_fresh: 1"), "{told}");
    shop.ok(&["withdraw", "crm:42", "marketing"]);
    shop.ok(&["refuse", "crm:42", "marketing", "--recipient", "", "--channel", "sms"]);
    shop.ok(&["object", "crm:42", "profiling"]);
    shop.ok(&["link", "crm:42", "device:9"]);
    shop.ok(&["link", "crm:42", "device:9", "--undo"]);
    shop.ok(&["restrict", "crm:42"]);
    let told = shop.ok(&["unrestrict", "crm:42", "--purpose", "marketing"]);
    assert!(told.starts_with("crm:42  marketing is no longer restricted\n"), "{told}");
    shop.ok(&["born", "crm:42", "--date", "2011-04"]);
    let told = shop.ok(&["erase", "crm:42", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    let token: Token = told["token"].as_str().expect("a token").parse().expect("a token");
    let size = std::fs::metadata(shop.ledger()).expect("it is there").len();
    assert_eq!((token.position.0, told["position"].as_u64()), (size, Some(size)));

    let events: Vec<_> = lines(&shop.ledger())
        .iter()
        .map(|line| codec::decode(line.as_bytes(), Position(0)).expect("readable"))
        .collect();
    let kinds: Vec<String> = events
        .iter()
        .map(|event| match &event.body {
            EventBody::Catalogue(catalogue) => format!("catalogue {}", catalogue.version()),
            EventBody::Consent(c) => {
                format!(
                    "{} {} {} `{}` {} {}",
                    c.subject.expose(),
                    c.purpose,
                    c.channel,
                    c.recipient,
                    c.status,
                    c.legal_basis
                )
            }
            EventBody::Link { unlinked, .. } => format!("link {unlinked}"),
            EventBody::Erasure { .. } => "erasure".to_owned(),
            EventBody::Restriction { subject, purpose, lifted } => {
                format!("restriction {} `{purpose}` {lifted}", subject.expose())
            }
            EventBody::Birth { subject, born } => format!("birth {} {}", subject.expose(), born.unix_days()),
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "catalogue 1",
            "crm:42 marketing email `` GIVEN CONSENT",
            "crm:42 marketing * `*` WITHDRAWN CONSENT",
            "crm:42 marketing sms `` REFUSED CONSENT",
            "crm:42 profiling * `*` REFUSED LEGITIMATE_INTEREST",
            "link false",
            "link true",
            "restriction crm:42 `` false",
            "restriction crm:42 `marketing` true",
            // 30 April 2011: the latest day of what is known.
            "birth crm:42 15094",
            "erasure",
        ]
    );
    let ids: BTreeSet<&str> = events.iter().map(|event| &*event.event_id).collect();
    assert!(ids.len() == events.len() && ids.contains("e1"));
}

#[test]
fn every_fact_of_collection_can_be_said() {
    let shop = Shop::new();
    let facts = [
        ("--pre-ticked", Defects::PRE_TICKED),
        ("--passive", Defects::PASSIVE),
        ("--bundled", Defects::BUNDLED),
        ("--dark-pattern", Defects::DARK_PATTERN),
        ("--penalised", Defects::PENALISED),
        ("--not-specific", Defects::NOT_SPECIFIC),
        ("--coerced", Defects::COERCED),
        ("--not-informed", Defects::NOT_INFORMED),
        ("--withdrawal-untold", Defects::WITHDRAWAL_UNTOLD),
        ("--by-guardian", Defects::NONE),
    ];
    for (flag, _) in facts {
        shop.ok(&["grant", "crm:42", "marketing", "--channel", "email", flag]);
    }
    for (line, (flag, defects)) in lines(&shop.ledger()).iter().zip(facts) {
        let event = codec::decode(line.as_bytes(), Position(0)).expect("readable");
        let EventBody::Consent(grant) = &event.body else { panic!("{event:?}") };
        assert_eq!(grant.collection.defects, defects, "{flag}");
        assert_eq!(grant.collection.by_guardian, flag == "--by-guardian", "{flag}");
    }
}

#[test]
fn what_is_not_an_event_is_refused_and_nothing_is_written() {
    let shop = Shop::new();
    shop.ok(&["erase", "crm:1"]);
    let before = lines(&shop.ledger());
    for (arguments, sentence) in [
        (&["grant", "crm:42", "marketing"][..], "--channel"),
        (&["grant", "crm:42", "Marketing", "--channel", "email"], "consent.purpose: must be"),
        (&["grant", "crm:42", "marketing", "--channel", "email", "--recipient", "*"], "refusals only"),
        (&["grant", "42", "marketing", "--channel", "email"], "a subject is written `space:id`"),
        (&["grant", "crm:42", "marketing", "--channel", "email", "--basis", "love"], "the legal bases are"),
        (&["grant", "crm:42", "marketing", "--channel", "email", "--notice", "privacy"], "a notice is written"),
        (&["erase", "crm:42", "--at", "2999-01-01T00:00:00Z"], "dated in the future"),
        (&["object", "crm:42", "marketing", "--basis", "contract"], "legitimate interest"),
        (&["link", "crm:42", "crm:42"], "must be another identifier"),
        (&["restrict", "crm:42", "--purpose", "Marketing"], "restriction.purpose: must be"),
        (&["born", "crm:42", "--date", "23.4.2011"], "birth.born: must be a year, a month or a day"),
        (&["born", "crm:42", "--date", "2011-02-30"], "birth.born: must be a year, a month or a day"),
        (&["publish", "/nonexistent"], "cannot be read"),
        (&["publish"], "holds no event"),
    ] {
        let (code, told) = shop.fails(arguments);
        assert!(code == 2 && told.contains(sentence), "{arguments:?}: {code}: {told}");
    }
    assert_eq!(lines(&shop.ledger()), before);
    shop.ok(&["erase", "crm:42", "--at", "2999-01-01T00:00:00Z", "--allow-future"]);
}

#[test]
fn racing_processes_lose_and_mix_nothing() {
    const PROCESSES: usize = 8;
    const BATCHES: usize = 5;
    let shop = Shop::new();
    // A writer that died within a line, first.
    std::fs::write(shop.ledger(), "{\"eventId\":\"torn").expect("it is written");
    for batch in 0..BATCHES {
        let mut children: Vec<Child> = (0..PROCESSES).map(|_| shop.start_publishing()).collect();
        for (process, child) in children.iter_mut().enumerate() {
            let events: String = (0..20).map(|n| erasure(&format!("{batch}-{process}-{n}"))).collect();
            let mut input = child.stdin.take().expect("an input");
            input.write_all(events.as_bytes()).expect("it is taken");
        }
        for child in children {
            let output = child.wait_with_output().expect("it ends");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    let lines = lines(&shop.ledger());
    assert_eq!(lines[0], "{\"eventId\":\"torn");
    let ids: Vec<_> =
        lines[1..].iter().map(|line| codec::decode(line.as_bytes(), Position(0)).expect("readable").event_id).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), PROCESSES * BATCHES * 20);
    assert_eq!(ids.len(), PROCESSES * BATCHES * 20);
    for batch in ids.chunks(20) {
        let first = batch[0].strip_suffix("-0").expect("a batch stays together");
        let expected: Vec<Box<str>> = (0..20).map(|n| format!("{first}-{n}").into()).collect();
        assert_eq!(batch, expected);
    }
    let told = shop.ok(&["tail", "--from-start"]);
    let unreadable: Vec<&str> = told.lines().filter(|line| line.contains("UNREADABLE")).collect();
    assert_eq!(unreadable.len(), 1);
    assert!(unreadable[0].contains("UNREADABLE `@17`, about nobody that can be told"), "{unreadable:?}");
}

/// As `consentd ledger publish events.jsonl | head -n 1` has it.
#[test]
fn what_nobody_reads_to_its_end_is_done_all_the_same() {
    let shop = Shop::new();
    let events: String = (0..2000).map(|number| erasure(&number.to_string())).collect();
    let file = shop.path("events.jsonl");
    std::fs::write(&file, events).expect("it is written");
    let mut child = shop.command(&["publish", file.to_str().expect("UTF-8")]).spawn().expect("the binary runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ended");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), told.lines().count()), (Some(0), 1), "only that the ledger was made: {told}");
    assert_eq!(shop.ok(&["tail", "-n", "5000"]).lines().count(), 2000);
}

#[test]
fn tail_shows_the_last_events_and_those_that_cannot_be_read() {
    let shop = Shop::new();
    for id in 0..30 {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(shop.ledger()).expect("it opens");
        file.write_all(erasure(&id.to_string()).as_bytes()).expect("it is written");
    }
    let mut file = std::fs::OpenOptions::new().append(true).open(shop.ledger()).expect("it opens");
    file.write_all(b"{\"eventId\":\"bad\",\"portability\":{\"subject\":{\"space\":\"crm\",\"id\":\"7\"}}}\n{\"half")
        .expect("it is written");
    let told = shop.ok(&["tail"]);
    assert_eq!(told.lines().count(), 10);
    let last = told.lines().last().expect("a line");
    assert!(last.contains("UNREADABLE `bad`, about crm:7: a field that is not known"), "{last}");
    assert!(told.lines().next().expect("a line").contains("crm:21  erased"), "{told}");
    assert_eq!(shop.ok(&["tail", "-n", "0"]), "");
    let all: Vec<serde_json::Value> = shop
        .ok(&["tail", "--from-start", "--json"])
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(all.len(), 31);
    assert_eq!(all[3]["event"]["eventId"], "3");
    assert_eq!(all[30]["unreadable"]["subjects"][0], "crm:7");
    assert!(all[30]["token"].as_str().expect("a token").parse::<Token>().is_ok());
    let copied = shop.run(&["tail", "--from-start", "--events"]);
    assert_eq!(copied.status.code(), Some(1), "a copy that lacks something is none: {copied:?}");
    let copy: Vec<serde_json::Value> =
        String::from_utf8_lossy(&copied.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let events: Vec<&serde_json::Value> = all[..30].iter().map(|told| &told["event"]).collect();
    assert_eq!(copy.iter().collect::<Vec<_>>(), events);
}

#[test]
fn a_catalogue_is_published_once_however_often_that_is_asked_for() {
    let shop = Shop::new();
    let write = |version: u64, purpose: &str| {
        let text = format!(
            r#"{{"version":{version},"channels":[{{"key":"email"}}],
            "purposes":[{{"key":"{purpose}","legalBasis":"LEGAL_BASIS_CONSENT","channels":["email"]}}]}}"#
        );
        std::fs::write(shop.path("catalogue.json"), text).expect("it is written");
        shop.path("catalogue.json").to_str().expect("text").to_owned()
    };
    let file = write(2, "a");
    let first = shop.ok(&["catalogue", "--once", &file]);
    assert!(first.starts_with("catalogue version 2 with 1 purposes\n"), "{first}");
    let token = first.lines().nth(1).expect("a token").to_owned();
    let again = shop.ok(&["catalogue", "--once", &file]);
    assert_eq!(again, format!("catalogue version 2 is in force already; nothing was written\n{token}\n"));
    let again: serde_json::Value =
        serde_json::from_str(&shop.ok(&["catalogue", "--once", &file, "--json"])).expect("JSON");
    assert_eq!(again["written"], false);

    let (_, told) = shop.fails(&["catalogue", "--once", &write(2, "b")]);
    assert!(told.contains("the ledger has another catalogue of version 2") && told.contains("the version 3"), "{told}");
    let (_, told) = shop.fails(&["catalogue", "--once", &write(1, "b")]);
    assert!(told.contains("version 2 is in force: a catalogue of version 1 would not take its place"), "{told}");
    assert_eq!(lines(&shop.ledger()).len(), 1, "what was refused was written");
    shop.ok(&["catalogue", "--once", &write(3, "b")]);
    assert_eq!(lines(&shop.ledger()).len(), 2);
    // Of one version the later by event time is in force, and that is the one to compare with.
    shop.ok(&["catalogue", &write(3, "c")]);
    let again = shop.ok(&["catalogue", "--once", &write(3, "c")]);
    assert!(again.starts_with("catalogue version 3 is in force already"), "{again}");
}
