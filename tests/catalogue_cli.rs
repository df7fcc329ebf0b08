//! `consentd catalogue …` as a person or a pipeline runs it: the real binary, over real ledgers.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly, and its helpers are tests too"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, and gives its path as an argument.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("text").to_owned()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_consentd"));
        command.args(arguments).env_clear().env("CONSENTD_LEDGER_FILE", self.path("ledger.jsonl"));
        command.env("TMPDIR", self.folder.path()).current_dir(self.folder.path());
        command.stdin(Stdio::null()).output().expect("the binary runs")
    }

    /// The exit code, and what was printed on either side.
    fn told(&self, arguments: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.run(arguments);
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (status.code().expect("an exit code"), text(stdout), text(stderr))
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.told(arguments);
        assert_eq!(code, 0, "{arguments:?}: {out}{err}");
        out
    }

    /// What is left in the folder for temporary files.
    fn left_behind(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("consentd-")).collect()
    }
}

/// A catalogue of one purpose, with the rest of it.
fn newsletter(version: u64, rest: &Value) -> String {
    let mut purpose = json!({"key": "newsletter", "legalBasis": "LEGAL_BASIS_CONSENT", "channels": ["email"]});
    purpose.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
    let channels = json!([{"key": "email"}, {"key": "sms"}]);
    json!({"version": version, "channels": channels, "purposes": [purpose]}).to_string()
}

fn examples() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(root.join("examples/catalogues")).expect("a folder");
    let files = entries.map(|entry| entry.expect("an entry").path());
    let json = files.filter(|path| path.extension().is_some_and(|name| name == "json"));
    json.chain([root.join("examples/shop/catalogue.json")]).collect()
}

#[test]
fn every_example_can_be_published() {
    let place = Place::new();
    for example in examples() {
        let (code, out, err) = place.told(&["catalogue", "check", example.to_str().expect("text")]);
        assert_eq!((code, &*err), (0, ""), "{out}");
        assert!(out.contains("0 errors, "), "{out}");
    }
}

#[test]
fn the_catalogue_of_the_manual_is_in_order() {
    let place = Place::new();
    let (_, rest) = include_str!("../docs/catalogue.md").split_once("```json\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    let out = place.ok(&["catalogue", "check", "--strict", &place.file("manual.json", example)]);
    assert_eq!(out, "0 errors, 0 warnings: version 4, 2 purposes, 2 channels\n");
}

#[test]
fn a_check_says_everything_with_its_line_and_ends_with_1() {
    let place = Place::new();
    let broken = "{\n  \"version\": 1,\n  \"channels\": [{\"key\": \"email\"}],\n  \"purposes\": [\n    \
                  {\"key\": \"a\", \"legalBasis\": \"CONSENT\", \"chanels\": [\"email\"]},\n    \
                  {\"key\": \"b\", \"legalBasis\": \"LEGAL_BASIS_CONSENT\", \"channels\": [\"fax\"], \"requires\": [\"b\"]}]\n}\n";
    let file = place.file("broken.json", broken);
    let (code, out, err) = place.told(&["catalogue", "check", &file]);
    let expected = format!(
        "{file}:5:32: error: purposes[0].legalBasis: must be one of the words of `LegalBasis`, not `\"CONSENT\"`; did you mean \
         `LEGAL_BASIS_CONSENT`?\n\
         {file}:5:54: error: purposes[0].chanels: no such field; did you mean `channels`?\n\
         {file}:6:68: error: purposes[1].channels[0]: purpose `b`: channel `fax` is not among the catalogue's channels\n\
         {file}:6:89: error: purposes[1].requires[0]: `requires` runs in a circle: `b -> b`\n\
         4 errors, 0 warnings: it cannot be published\n"
    );
    assert_eq!((code, out, err), (1, expected, String::new()));
    let (code, out, _) = place.told(&["catalogue", "check", "--json", &file]);
    let told: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &told["ok"], &told["errors"]), (1, &json!(false), &json!(4)));
    assert_eq!(told["findings"][3]["path"], json!("purposes[1].requires[0]"));
    assert_eq!((&told["findings"][3]["line"], &told["findings"][3]["column"]), (&json!(6), &json!(89)));
}

#[test]
fn what_is_doubtful_can_be_published_unless_one_is_strict() {
    let place = Place::new();
    let file = place.file("doubtful.json", &newsletter(1, &json!({})));
    let out = place.ok(&["catalogue", "check", &file]);
    assert!(out.contains("warning: channels[1]: no purpose uses the channel `sms`"), "{out}");
    assert!(out.ends_with("0 errors, 1 warning: version 1, 1 purpose, 2 channels\n"), "{out}");
    assert_eq!(place.told(&["catalogue", "check", "--strict", &file]).0, 1);
    let (code, _, err) = place.told(&["catalogue", "check", "nowhere.json"]);
    assert_eq!(code, 2);
    assert!(err.contains("`nowhere.json` cannot be read"), "{err}");
}

#[test]
fn what_is_wrong_is_not_published() {
    let place = Place::new();
    let quiet = json!({"quietHours": [{"from": "09:00", "until": "09:00"}]});
    let file = place.file("never.json", &newsletter(1, &quiet));
    let (code, out, err) = place.told(&["ledger", "catalogue", &file]);
    assert_eq!((code, &*out), (2, ""));
    assert!(err.contains("error: purposes[0]: could never be allowed, over any channel"), "{err}");
    assert!(err.contains("nothing was written"), "{err}");
    let event = format!(r#"{{"eventId": "c1", "catalogue": {}}}"#, newsletter(1, &quiet));
    let (code, out, err) = place.told(&["ledger", "publish", &place.file("event.json", &event)]);
    assert_eq!((code, &*out), (2, ""));
    assert!(err.contains("could never be allowed") && err.contains("the catalogue of event `c1`"), "{err}");
    assert!(!place.path("ledger.jsonl").exists(), "nothing was written");
    place.ok(&["ledger", "catalogue", &place.file("fine.json", &newsletter(1, &json!({})))]);
}

/// A ledger with a catalogue and three customers: one consented under notice 1, one under notice 2, one objected.
fn shop() -> Place {
    let place = Place::new();
    let first = newsletter(1, &json!({"notice": {"id": "privacy", "materialSince": 2}}));
    place.ok(&["ledger", "catalogue", &place.file("first.json", &first)]);
    for (subject, notice) in [("crm:secret-1", "privacy@1"), ("crm:secret-2", "privacy@2")] {
        place.ok(&["ledger", "grant", subject, "newsletter", "--channel", "email", "--notice", notice]);
    }
    place.ok(&["ledger", "refuse", "crm:secret-3", "newsletter", "--channel", "email"]);
    place
}

#[test]
fn a_diff_says_whose_answers_would_be_wider_and_ends_with_1() {
    let place = shop();
    let wider = place.file("wider.json", &newsletter(2, &json!({"notice": {"id": "privacy", "materialSince": 1}})));
    let (code, out, err) = place.told(&["catalogue", "diff", &wider, "--json"]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(!out.contains("secret") && !err.contains("secret"), "{out}{err}");
    let told: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&told["fromVersion"], &told["toVersion"], &told["subjects"]), (&json!(1), &json!(2), &json!(3)));
    assert_eq!(told["totals"]["denyToAllow"], json!({"answers": 1, "subjects": 1}));
    assert_eq!(told["totals"]["allowToDeny"], json!({"answers": 0, "subjects": 0}));
    let changes = told["changes"].as_array().expect("a list");
    let [change] = changes.as_slice() else { panic!("{changes:?}") };
    let of = |name: &str| change[name].as_str().unwrap_or_default();
    assert_eq!((of("purpose"), of("channel")), ("newsletter", "email"));
    assert_eq!((of("from"), of("to"), of("kind")), ("NOTICE_OUTDATED", "CONSENT", "denyToAllow"));
    assert_eq!(change["sample"][0].as_str().map(str::len), Some(32), "a keyed hash");
    assert_eq!(place.left_behind(), Vec::<String>::new());
    place.ok(&["catalogue", "diff", &wider, "--allow-widening"]);
    assert_eq!(place.told(&["ledger", "tail", "--from-start"]).1.lines().count(), 4, "nothing was published");
}

#[test]
fn a_diff_that_only_narrows_ends_with_0_and_is_told_to_people() {
    let place = shop();
    let strict = json!({"notice": {"id": "privacy", "materialSince": 3}});
    let narrower = place.file("narrower.json", &newsletter(2, &strict));
    let out = place.ok(&["catalogue", "diff", &narrower]);
    for line in [
        "version 1 -> version 2: 3 subjects, 3 questions\n",
        "  DENY -> ALLOW       0 answers of 0 subjects\n",
        "  ALLOW -> DENY       1 answer of 1 subject\n",
        "\nALLOW -> DENY\n  newsletter over email: CONSENT -> NOTICE_OUTDATED, 1 answer of 1 subject\n    ",
    ] {
        assert!(out.contains(line), "`{line}`: {out}");
    }
    let same = place.file("same.json", &newsletter(1, &strict));
    let (code, _, err) = place.told(&["catalogue", "diff", &same]);
    assert_eq!(code, 0);
    assert!(err.contains("version 1 is in force: a catalogue of version 1 would not take its place"), "{err}");
}

#[test]
fn a_diff_asks_where_it_is_told_to_and_names_subjects_under_a_key_that_it_is_given() {
    let place = shop();
    let rule = json!({
        "notice": {"id": "privacy", "materialSince": 2},
        "regional": [{"regions": ["DE"], "notice": {"id": "privacy", "materialSince": 3}}],
    });
    let regional = place.file("regional.json", &newsletter(2, &rule));
    std::fs::write(place.path("subject.key"), [7; 32]).expect("written");
    let arguments = ["catalogue", "diff", &regional, "--json", "--jurisdiction", "DE", "--subject-key", "subject.key"];
    let told: Value = serde_json::from_str(&place.ok(&arguments)).expect("JSON");
    // Nowhere, and as if in Germany.
    assert_eq!(told["questions"], json!(6));
    let again: Value = serde_json::from_str(&place.ok(&arguments)).expect("JSON");
    assert_eq!(told, again, "under the same key a subject has the same name");
    let (code, _, err) = place.told(&["catalogue", "diff", &regional, "--jurisdiction", "Germany"]);
    assert_eq!(code, 2);
    assert!(err.contains("ISO 3166"), "{err}");
}

#[test]
fn a_diff_says_what_keeps_it_from_comparing() {
    let place = Place::new();
    let fine = place.file("fine.json", &newsletter(1, &json!({})));
    let (code, _, err) = place.told(&["catalogue", "diff", &fine]);
    assert_eq!(code, 2);
    assert!(err.contains("there is no ledger at"), "{err}");
    let broken = place.file("broken.json", "{}");
    let place = shop();
    let (code, out, err) = place.told(&["catalogue", "diff", &broken]);
    assert_eq!((code, &*out), (2, ""));
    assert!(err.contains("error: purposes: "), "{err}");
    // What cannot be read is not passed over in silence.
    let place = Place::new();
    place.file("ledger.jsonl", "not a ledger\n");
    let own = newsletter(2, &json!({}));
    let (code, out, err) = place.told(&["catalogue", "diff", &place.file("own.json", &own), "--json"]);
    let told: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &told["subjects"], &told["unreadableEvents"]), (0, &json!(0), &json!(1)));
    assert!(err.contains("1 event of the ledger cannot be read"), "{err}");
    assert_eq!(place.left_behind(), Vec::<String>::new());
}
