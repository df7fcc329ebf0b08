//! Taxonomies of fideslang as catalogues: the real binary, an excerpt of the default taxonomy, and entries that are none.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use std::path::Path;
use std::process::{Command, Stdio};

use consentd::ledger::codec::read_catalogue;
use consentd::proto::v1;

/// The exit code, the output, and what is said besides.
fn consentd(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_consentd"));
    let output = command.args(arguments).stdin(Stdio::null()).output().expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}

fn excerpt() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/taxonomies/fideslang.yml").display().to_string()
}

#[test]
fn the_default_taxonomy_becomes_a_catalogue_that_can_be_published() {
    let (code, out, err) =
        consentd(&["catalogue", "from-fideslang", &excerpt(), "--channels", "web,email", "--version", "7"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let wire: v1::Catalogue = serde_json::from_str(&out).expect("the JSON of a catalogue");
    let catalogue = read_catalogue(wire.clone()).expect("it can be published");
    assert_eq!((catalogue.version(), catalogue.purposes().count(), catalogue.channels().count()), (7, 9, 2));
    for purpose in &wire.purposes {
        assert_eq!(purpose.legal_basis(), v1::LegalBasis::Consent, "{}", purpose.key);
        assert!(!purpose.covered_by_parent && !purpose.title.is_empty() && !purpose.description.is_empty());
        assert_eq!(purpose.channels, ["web", "email"]);
    }
    let keys: Vec<&str> = wire.purposes.iter().map(|purpose| purpose.key.as_str()).collect();
    assert_eq!(keys[..3], ["analytics", "analytics.reporting", "analytics.reporting.ad_performance"]);
    assert!(keys.contains(&"marketing.advertising.third_party.targeted"));

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("catalogue.json");
    std::fs::write(&file, &out).expect("it is written");
    let (code, _, _) = consentd(&["catalogue", "check", file.to_str().expect("text")]);
    assert_eq!(code, 0);
    let ledger = folder.path().join("ledger.jsonl");
    let ledger = ["--ledger", ledger.to_str().expect("text")];
    let (code, _, err) = consentd(&[&["ledger", "catalogue", file.to_str().expect("text")], &ledger[..]].concat());
    assert_eq!(code, 0, "{err}");
}

#[test]
fn every_entry_that_is_no_data_use_is_named_and_nothing_is_printed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("taxonomy.yml");
    let taxonomy = "
data_use:
- {fides_key: analytics, name: Analytics, parent_key: null}
- {fides_key: analytics.reporting, name: Reporting}
- {fides_key: marketing, name: Marketing, parent_key: analytics}
- {fides_key: Sales, name: Sales}
- {name: Nameless}
- just a text
- {fides_key: analytics, name: Again}
- {fides_key: share.third_party, name: Share, parent_key: share}
- {fides_key: personalize, name: [a, b]}
- {fides_key: old, active: perhaps}
";
    std::fs::write(&file, taxonomy).expect("it is written");
    let file = file.to_str().expect("text");
    let (code, out, err) = consentd(&["catalogue", "from-fideslang", file, "--channels", "web"]);
    assert_eq!((code, out.as_str()), (1, ""));
    let told: Vec<&str> = err.lines().map(|line| line.split_once(": ").expect("a place").1).collect();
    assert_eq!(told.len(), 9, "{err}");
    for (told, start) in told.iter().zip([
        "entry 2 (`analytics.reporting`): `parent_key` must be `analytics`",
        "entry 3 (`marketing`): `parent_key` must be none",
        "entry 4 (`Sales`): ",
        "entry 5: `fides_key` is missing",
        "entry 6: not the fields of a data use",
        "entry 7 (`analytics`): stands twice",
        "entry 9 (`personalize`): `name` must be a text",
        "entry 10 (`old`): `active` must be true or false",
        "entry 8 (`share.third_party`): its parent `share` is none of the purposes",
    ]) {
        assert!(told.starts_with(start), "{told}");
    }
}

#[test]
fn what_is_not_in_force_is_left_out_and_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("taxonomy.json");
    let taxonomy = r#"[{"fides_key": "essential", "name": "Essential", "is_default": true, "active": true},
        {"fides_key": "collect", "name": "Collect", "active": false},
        {"fides_key": "provide", "name": "Provide", "version_deprecated": "2.0.0", "replaced_by": "essential"}]"#;
    std::fs::write(&file, taxonomy).expect("it is written");
    let file = file.to_str().expect("text");
    let basis = ["--basis", "legitimate_interest", "--title", "Ours"];
    let (code, out, err) =
        consentd(&[&["catalogue", "from-fideslang", file, "--channels", "web"], &basis[..]].concat());
    assert_eq!(code, 0, "{err}");
    let wire: v1::Catalogue = serde_json::from_str(&out).expect("the JSON of a catalogue");
    assert_eq!((wire.purposes.len(), wire.title.as_str()), (1, "Ours"));
    assert_eq!(wire.purposes[0].legal_basis(), v1::LegalBasis::LegitimateInterest);
    assert_eq!(
        err,
        "left out `collect`: it is not active\n\
         left out `provide`: it is deprecated since 2.0.0, and replaced by `essential`\n"
    );
    for (text, sentence) in [
        ("", "no data uses"),
        ("a: [", "neither YAML nor JSON"),
        ("dataset: []", "no data uses"),
        ("[{fides_key: a, fides_key: b}]", "neither YAML nor JSON"),
    ] {
        std::fs::write(file, text).expect("it is written");
        let (code, out, err) = consentd(&["catalogue", "from-fideslang", file, "--channels", "web"]);
        assert!((code, out.as_str()) == (2, "") && err.contains(sentence), "{text}: {code}: {err}");
    }
    std::fs::write(file, taxonomy).expect("it is written");
    let (code, _, err) = consentd(&["catalogue", "from-fideslang", file, "--channels", "E-Mail"]);
    assert!(code == 2 && err.contains("no catalogue that can be published"), "{err}");
    let (code, _, err) = consentd(&["catalogue", "from-fideslang", file]);
    assert!(code == 2 && err.contains("--channels"), "{err}");
}
