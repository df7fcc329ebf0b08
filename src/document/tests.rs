//! What is found in documents, where, and that what is not found here is taken by the ledger.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::ledger::codec::read_catalogue;
use crate::proto::v1;

/// A document in which nothing is wrong or doubtful.
const FINE: &str = r#"{
  "version": "2",
  "channels": [{"key": "email"}, {"key": "sms"}],
  "notices": [{"id": "privacy", "versions": [{"version": 1}, {"version": 2, "material": true}]}],
  "regions": [{"key": "EU", "members": ["DE", "FR"]}, {"key": "TR", "timeZone": "Europe/Istanbul"}],
  "purposes": [
    {"key": "iys", "legalBasis": "LEGAL_BASIS_CONSENT", "channels": ["email", "sms"]},
    {"key": "marketing", "legalBasis": "LEGAL_BASIS_CONSENT", "channels": ["email", "sms"], "notice": {"id": "privacy"},
      "quietHours": [{"from": "21:00", "until": "08:00"}],
      "regional": [
        {"regions": ["TR"], "source": "6563 m. 6", "requires": ["iys"]},
        {"regions": ["EU"], "maxAge": "63072000s"}]},
    {"key": "marketing.post", "legalBasis": "LEGAL_BASIS_CONSENT", "channels": ["email"], "coveredByParent": true}]
}"#;

fn lines(text: &str) -> Vec<String> {
    check(text).findings.iter().map(ToString::to_string).collect()
}

/// The document with one part replaced, which must stand in it once.
fn with(from: &str, to: &str) -> String {
    assert_eq!(FINE.matches(from).count(), 1, "`{from}` stands once");
    FINE.replace(from, to)
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    assert_eq!(lines(FINE), Vec::<String>::new());
    let (wire, catalogue) = check(FINE).catalogue.expect("a catalogue");
    assert_eq!((wire.version, catalogue.version()), (2, 2));
}

#[test]
fn each_finding_has_its_line_and_its_path() {
    let marketing = r#""key": "marketing", "legalBasis": "LEGAL_BASIS_CONSENT", "channels": ["email", "sms"]"#;
    let cases = [
        // What cannot be read.
        (r#""version": "2""#, r#""version": -2"#, "2:14: error: version: must be a whole number from 0, not `-2`"),
        (r#""version": "2","#, r#""versions": "2","#, "2:15: error: versions: no such field; did you mean `version`?"),
        (
            r#"{"key": "sms"}]"#,
            r#"{"kee": "sms"}]"#,
            "3:42: error: channels[1].kee: no such field; did you mean `key`?",
        ),
        (r#"{"key": "sms"}]"#, r#""sms"]"#, "3:34: error: channels[1]: must be an object in braces, not `\"sms\"`"),
        (r#"[{"version": 1}, "#, r#"["v1", "#, "4:46: error: notices[0].versions[0]: must be an object in braces, not"),
        (
            r#""material": true"#,
            r#""material": "yes""#,
            "4:89: error: notices[0].versions[1].material: must be true or false",
        ),
        (r#""63072000s""#, r#""2 years""#, "12:39: error: purposes[1].regional[1].maxAge: must be a span of seconds"),
        (
            r#""63072000s""#,
            r#""--9223372036854775808s""#,
            "12:39: error: purposes[1].regional[1].maxAge: must be a span",
        ),
        (
            r#""63072000s"}]}"#,
            r#""5s", "maxAge": "6s"}]}"#,
            "12:55: error: purposes[1].regional[1].maxAge: stands twice",
        ),
        (
            r#""key": "iys", "legalBasis": "LEGAL_BASIS_CONSENT""#,
            r#""key": "iys", "legalBasis": "consent""#,
            "7:34: error: purposes[0].legalBasis: must be one of the words of `LegalBasis`, not `\"consent\"`; did you mean \
             `LEGAL_BASIS_CONSENT`?",
        ),
        (r#"["DE", "FR"]"#, r#""DE""#, "5:40: error: regions[0].members: must be a list in brackets, not `\"DE\"`"),
        // What says what cannot be meant.
        (r#""21:00""#, r#""9 pm""#, "9:31: error: purposes[1].quietHours[0].from: must be a time of day"),
        (
            r#"["iys"]"#,
            r#"["iis"]"#,
            "11:65: error: purposes[1].regional[0].requires[0]: purpose `marketing` requires `iis`",
        ),
        (
            r#"{"id": "privacy"},"#,
            r#"{"id": "privacy", "materialSince": 3},"#,
            "notice.materialSince: no consent could be informed",
        ),
        (
            r#"{"key": "iys", "#,
            r#"{"key": "iys", "requires": ["marketing"], "#,
            "11:65: error: purposes[1].regional[0].requires[0]: `requires` runs in a circle: `iys -> marketing -> iys`",
        ),
        (
            r#"["TR"]"#,
            r#"["UK"]"#,
            "11:22: error: purposes[1].regional[0].regions[0]: the rule never applies: `UK` is no country",
        ),
        (r#""members": ["DE", "FR"]"#, r#""members": ["DE", "XX"]"#, "regions[0].members[1]: nobody is ever there"),
        (
            r#""coveredByParent": true"#,
            r#""coveredByParent": true, "tcf": {"purposes": [3]}, "legalBasis": 3"#,
            "stands twice",
        ),
        (r#""key": "marketing.post""#, r#""key": "post""#, "error: purposes[2].coveredByParent: `post` has no parent"),
        // What could never be allowed.
        (
            r#""key": "iys", "legalBasis": "LEGAL_BASIS_CONSENT", "channels": ["email", "sms"]"#,
            r#""key": "iys", "legalBasis": "LEGAL_BASIS_CONSENT", "channels": ["sms"]"#,
            "11:9: warning: purposes[1].regional[0]: in `TR` it could never be allowed over `email`: it requires `iys`, and \
             `iys` does not use `email`",
        ),
        (
            r#"{"from": "21:00", "until": "08:00"}"#,
            r#"{"from": "21:00", "until": "21:00"}"#,
            "8:5: error: purposes[1]: could never be allowed, over any channel: over `email`, the quiet hours of `marketing` \
             are all the week",
        ),
        (
            r#""source": "6563 m. 6""#,
            r#""prohibited": true"#,
            "warning: purposes[1]: where neither the question nor the records say",
        ),
        // What changes nothing, or is hardly meant.
        (r#", "maxAge": "63072000s""#, "", "12:9: warning: purposes[1].regional[1]: changes nothing"),
        (
            r#""63072000s""#,
            r#""5s""#,
            "12:39: warning: purposes[1].regional[1].maxAge: a consent lasts 5s, less than the 30s",
        ),
        (
            r#""version": "2","#,
            r#""version": "2", "defaultMaxStaleness": "100000s","#,
            "may be missed for longer than a day",
        ),
        (
            r#"["email"], "coveredByParent""#,
            r#"["email"], "gpp": {}, "coveredByParent""#,
            "purposes[2].gpp: looks at nothing",
        ),
        (
            r#"["email"], "coveredByParent""#,
            r#"["email"], "tcf": {}, "coveredByParent""#,
            "purposes[2].tcf: demands nothing",
        ),
        (
            r#"["EU"]"#,
            r#"["TR"]"#,
            "12:22: warning: purposes[1].regional[1].regions[0]: an earlier rule is for `TR` too",
        ),
        (r#"["EU"]"#, r#"["DE"]"#, "5:15: warning: regions[0]: no rule is for the group `EU`"),
        (
            r#""timeZone": "Europe/Istanbul""#,
            r#""title": "Türkiye""#,
            "9:22: warning: purposes[1].quietHours[0]: without a time zone",
        ),
        (marketing, &format!(r#"{marketing}, "requires": ["iys"]"#), "`iys` is required everywhere"),
        (
            r#"{"id": "privacy"},"#,
            r#"{"id": "elsewhere", "materialSince": 1},"#,
            "4:15: warning: notices[0]: no purpose demands",
        ),
        (
            r#"{"key": "sms"}]"#,
            r#"{"key": "sms"}, {"key": "fax"}]"#,
            "3:50: warning: channels[2]: no purpose uses the channel `fax`",
        ),
    ];
    let missed: Vec<_> = cases
        .into_iter()
        .map(|(from, to, expected)| (to, expected, lines(&with(from, to))))
        .filter(|(_, expected, told)| !told.iter().any(|line| line.contains(expected)))
        .collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn a_purpose_of_the_framework_that_needs_consent_rests_on_no_interest() {
    let text = with(
        r#"{"key": "marketing.post", "legalBasis": "LEGAL_BASIS_CONSENT", "channels": ["email"], "coveredByParent": true}"#,
        r#"{"key": "ads", "legalBasis": "LEGAL_BASIS_LEGITIMATE_INTEREST", "channels": ["email"], "tcf": {"purposes": [2, 3]}}"#,
    );
    let told = lines(&text);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(
        told[0].contains("purposes[2].tcf.purposes[1]: the framework knows purpose 3 by consent alone"),
        "{told:#?}"
    );
}

#[test]
fn all_is_told_at_once_in_the_order_of_the_lines_and_nothing_twice() {
    let text =
        FINE.replace(r#"{"key": "sms"}]"#, r#"{"key": 7}]"#).replace("Europe/Istanbul", "Europe/Istambul").replace(
            r#""legalBasis": "LEGAL_BASIS_CONSENT", "channels": ["email"]"#,
            r#""legalBase": "LEGAL_BASIS_CONSENT", "chanels": ["fax"]"#,
        );
    let told = lines(&text);
    let expected = [
        "3:42: error: channels[1].key: must be a text",
        "5:81: error: regions[1].timeZone: must be an IANA time zone, such as `Europe/Istanbul`",
        "13:44: error: purposes[2].legalBase: no such field; did you mean `legalBasis`?",
        "13:78: error: purposes[2].chanels: no such field; did you mean `channels`?",
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told}");
    }
}

#[test]
fn long_chains_and_wide_ones_are_looked_at_in_no_time() {
    let purpose = |key: String, requires: Vec<String>| json!({"key": key, "legalBasis": "LEGAL_BASIS_CONSENT", "channels": ["email"], "requires": requires});
    let whole =
        |purposes: Vec<Value>| json!({"version": 1, "channels": [{"key": "email"}], "purposes": purposes}).to_string();
    // As long as the document, and so deeper than the domain takes.
    let chain =
        (0..5000).map(|n| purpose(format!("p{n}"), if n == 4999 { vec![] } else { vec![format!("p{}", n + 1)] }));
    let told = lines(&whole(chain.collect()));
    assert!(told.iter().any(|line| line.contains("more than 16 deep")), "{:?}", told.first());
    // Fifteen levels of five, each requiring the whole next level: billions of ways.
    let names = |level: usize| (0..5).map(move |n| format!("l{level}.n{n}")).collect::<Vec<_>>();
    let wide = (0..15).flat_map(|level| {
        let next = if level == 14 { Vec::new() } else { names(level + 1) };
        names(level).into_iter().map(move |key| purpose(key, next.clone()))
    });
    assert_eq!(lines(&whole(wide.collect())), Vec::<String>::new());
}

#[test]
fn what_is_misspelt_is_read_as_what_was_meant() {
    let told = lines(&with(r#""channels": ["email"], "coveredByParent""#, r#""chanels": ["fax"], "coveredByParent""#));
    let fields: Vec<&str> = told.iter().filter_map(|line| line.split(": ").nth(2)).collect();
    assert_eq!(fields, ["purposes[2].chanels", "purposes[2].chanels[0]"], "{told:#?}");
}

#[test]
fn what_is_no_json_has_its_line() {
    assert_eq!(lines("{\n  \"version\": 1,,\n}"), ["2:16: error: this is not JSON: key must be a string"]);
    assert_eq!(lines("")[0].split(':').next(), Some("1"));
    assert!(lines("[]")[0].starts_with("1:1: error: must be an object in braces, not a list"));
    let deep = format!("{{\"purposes\": {}{}}}", "[".repeat(200_000), "]".repeat(200_000));
    assert!(check(&deep).catalogue.is_none());
}

/// Values of every kind, and those that are nearly right.
fn odd() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(-1),
        json!(1.5),
        json!(4_294_967_296_u64),
        json!(""),
        json!("email"),
        json!("7"),
        json!("5s"),
        json!("2026-03-01T00:00:00Z"),
        json!("LEGAL_BASIS_CONSENT"),
        json!([]),
        json!(["email"]),
        json!({}),
        json!([{}]),
    ]
}

/// The pointers of everything in a value.
fn pointers(value: &Value, at: &str, into: &mut Vec<String>) {
    into.push(at.to_owned());
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| pointers(value, &format!("{at}/{name}"), into));
        }
        Value::Array(elements) => {
            let all = elements.iter().enumerate();
            all.for_each(|(index, value)| pointers(value, &format!("{at}/{index}"), into));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

proptest! {
    /// Whatever a document is made, there is an error if and only if the ledger does not take it, but for what the ledger
    /// takes and no law could mean.
    #[test]
    fn what_the_check_takes_the_ledger_takes(places in proptest::collection::vec((any::<usize>(), 0_usize..17), 1..4)) {
        let mut document: Value = serde_json::from_str(FINE).expect("JSON");
        for (place, odd_one) in places {
            let mut all = Vec::new();
            pointers(&document, "", &mut all);
            *document.pointer_mut(&all[place % all.len()]).expect("there") = odd()[odd_one].clone();
        }
        let text = document.to_string();
        let read: Option<v1::Catalogue> = serde_json::from_str(&text).ok();
        let is_taken = read.is_some_and(|wire| read_catalogue(wire).is_ok());
        let checked = check(&text);
        let errors = checked.count(Severity::Error);
        prop_assert_eq!(checked.catalogue.is_some(), errors == 0);
        if !is_taken {
            prop_assert!(errors > 0, "the ledger refuses what the check takes: {}", text);
            prop_assert!(checked.findings.iter().any(|f| f.severity == Severity::Error && !f.path.is_empty()) || !document.is_object(),
                "nobody is told where: {} {:?}", text, checked.findings);
        }
        for finding in &checked.findings {
            prop_assert!(finding.line >= 1 && finding.column >= 1);
        }
    }
}
