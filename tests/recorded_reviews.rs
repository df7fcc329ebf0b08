//! Reviews as a real API server sent them (`tests/cluster/recorded/`): asked again, about what it made of the answer, there is
//! nothing to do. What each gets at first stands beside those of `tests/injector.rs`, which reads them too.

#![allow(
    clippy::expect_used,
    reason = "a test may fail loudly; the exemption of clippy.toml does not reach its helpers"
)]

#[path = "support/admission.rs"]
mod admission;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use admission::{answer, applied, patch_of, settings};
use consentd::injector::Outcome;
use serde_json::{Value, json};

/// The recorded reviews, by name.
fn recorded() -> BTreeMap<String, Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/recorded");
    let paths = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let reviews = paths.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let named = reviews.map(|path| {
        let name = path.file_stem().expect("a name").to_str().expect("UTF-8").to_owned();
        (name, serde_json::from_slice(&fs::read(&path).expect("read")).expect("JSON"))
    });
    named.collect()
}

/// Between two reviews of one pod the API server fills in what a webhook left open, as it did in `reinvoked-2` and
/// `limit-range-2` for somebody else's sidecar.
#[test]
fn asked_again_about_what_the_api_server_made_of_it_there_is_nothing_to_do() {
    let settings = settings("");
    let mut count = 0;
    for (name, mut review) in recorded() {
        let first = answer(&settings, &review);
        if first.outcome != Outcome::Injected {
            continue;
        }
        count += 1;
        let pod = &mut review["request"]["object"];
        *pod = applied(pod, &patch_of(&first.answer["response"]));
        let inits = pod["spec"]["initContainers"].as_array_mut().expect("a list");
        let own = inits.iter_mut().find(|container| container["name"] == "consentd").expect("a sidecar");
        own["imagePullPolicy"] = json!("Always");
        own["terminationMessagePath"] = json!("/dev/termination-log");
        own["resources"]["limits"]["cpu"] = json!("1");
        let mounts = own["volumeMounts"].as_array_mut().expect("a list");
        mounts.push(json!({ "name": "somebody-elses", "mountPath": "/somewhere", "readOnly": true }));
        let second = answer(&settings, &review);
        assert_eq!(second.outcome, Outcome::Complete, "{name}: {}", second.why);
        assert_eq!(second.answer["response"].get("patch"), None, "{name}");
    }
    assert!(count >= 30, "{count}");
}

#[test]
fn a_label_counts_where_no_annotation_says_what_is_asked() {
    let settings = settings("");
    let mut review = recorded().remove("ask-by-label").expect("a review");
    let alone = answer(&settings, &review);
    assert_eq!(alone.why, "the label `consentd.io/inject` asks for nothing: make it an annotation");
    for (word, outcome) in [("true", Outcome::Injected), ("false", Outcome::NotAsked)] {
        review["request"]["object"]["metadata"]["annotations"] = json!({ "consentd.io/inject": word });
        let reviewed = answer(&settings, &review);
        assert_eq!(reviewed.outcome, outcome, "{word}: {}", reviewed.why);
    }
}
