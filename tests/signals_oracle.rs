//! Our reading of TCF and GPP strings against that of the standards' own libraries: `@iabtcf/core` and `@iabgpp/cmpapi` write
//! hundreds of random models, damage the strings, and read them. What they refuse must be refused here; what is read here
//! must say, field by field, what they say.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail loudly")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use consentd::domain::signal::{Gpp, GppSection, SmallSet, Tcf, TcfRestrictionKind, Vendors, section_name};
use consentd::signals::{read_gpp, read_tcf};
use serde_json::{Value, json};

/// Where `make test` put the libraries.
fn modules() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a folder");
    let found = target.join("node-clients/node_modules");
    assert!(found.exists(), "`{}` is not here; `make test` gets it, and runs every test", found.display());
    found
}

/// What the libraries wrote and read, a line a string.
fn oracle(seed: u32, count: u32) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign/signals.js");
    let mut node = Command::new("node");
    node.arg(script).args([seed.to_string(), count.to_string()]).env("NODE_PATH", modules());
    let output = node.output().expect("node runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("text");
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn small(set: SmallSet) -> Vec<u16> {
    set.iter().collect()
}

fn vendors(set: &Vendors) -> Vec<u16> {
    set.iter().collect()
}

/// As the script shows it.
fn shown_tcf(tcf: &Tcf) -> Value {
    let mut restrictions: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
    for restriction in &tcf.restrictions {
        let kind = match restriction.kind {
            TcfRestrictionKind::NotAllowed => 0,
            TcfRestrictionKind::RequireConsent => 1,
            TcfRestrictionKind::RequireLegitimateInterest => 2,
        };
        let name = format!("{} {kind}", restriction.purpose);
        let vendors: Vec<u16> = restriction.vendors.iter().collect();
        if !vendors.is_empty() {
            restrictions.entry(name).or_default().extend(vendors);
        }
    }
    json!({
        "version": 2,
        "created": tcf.created.unix_millis(),
        "last_updated": tcf.last_updated.unix_millis(),
        "cmp": tcf.cmp,
        "vendor_list": tcf.vendor_list,
        "policy": tcf.policy,
        "service_specific": tcf.service_specific,
        "special_features": small(tcf.special_features),
        "purpose_consents": small(tcf.purpose_consents),
        "purpose_interests": small(tcf.purpose_interests),
        "purpose_one_untold": tcf.purpose_one_untold,
        "publisher_country": String::from_utf8_lossy(&tcf.publisher_country),
        "vendor_consents": vendors(&tcf.vendor_consents),
        "vendor_interests": vendors(&tcf.vendor_interests),
        "restrictions": restrictions,
        "disclosed_vendors": tcf.disclosed_vendors.as_ref().map(vendors),
        "publisher": tcf.publisher.map(|publisher| json!({
            "consents": small(publisher.consents),
            "interests": small(publisher.interests),
            "custom_consents": small(publisher.custom_consents),
            "custom_interests": small(publisher.custom_interests),
        })),
    })
}

fn shown_section(section: &GppSection) -> Value {
    json!({
        "sale": section.sale,
        "sharing": section.sharing,
        "targeted_advertising": section.targeted_advertising,
        "child": section.child,
        "sensitive_data": section.sensitive_data.names().collect::<BTreeSet<_>>(),
        "gpc": section.gpc,
    })
}

fn shown_gpp(gpp: &Gpp) -> Value {
    let sections: BTreeMap<&str, Value> = gpp
        .sections
        .iter()
        .map(|section| (section_name(section.id).expect("a known section"), shown_section(section)))
        .collect();
    // The library is silent about sections that it does not know; here they deny what is mapped to GPP.
    json!({ "tcf": gpp.tcf.as_deref().map(shown_tcf), "sections": sections })
}

fn read(kind: &str, text: &str) -> Option<Value> {
    match kind {
        "tcf" => read_tcf(text).ok().as_ref().map(shown_tcf),
        "gpp" => read_gpp(text).ok().as_ref().map(shown_gpp),
        other => panic!("`{other}` is no kind"),
    }
}

/// The fields in which two readings differ.
fn differences(path: &str, ours: &Value, theirs: &Value, into: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(own), Value::Object(other)) => {
            let keys: BTreeSet<&String> = own.keys().chain(other.keys()).collect();
            for key in keys {
                let (own, other) = (own.get(key).unwrap_or(&Value::Null), other.get(key).unwrap_or(&Value::Null));
                differences(&format!("{path}.{key}"), own, other, into);
            }
        }
        _ if ours != theirs => into.push(format!("{path}: {ours} here, {theirs} there")),
        _ => {}
    }
}

#[test]
fn strings_of_random_models_are_read_as_the_standards_own_libraries_read_them() {
    let (mut whole, mut damaged_read, mut damaged_refused, mut stricter) = (0, 0, 0, 0);
    let mut sections: BTreeSet<String> = BTreeSet::new();
    let mut problems = Vec::new();
    for line in oracle(20_261_122, 300) {
        let (kind, text) = (line["kind"].as_str().expect("a kind"), line["text"].as_str().expect("a text"));
        let (theirs, damaged) = (&line["says"], line["damaged"] == true);
        let ours = read(kind, text);
        sections.extend(theirs["sections"].as_object().into_iter().flat_map(|have| have.keys().cloned()));
        match (ours, theirs) {
            (None, Value::Null) => damaged_refused += 1,
            (None, _) if damaged => stricter += 1,
            (None, _) => problems.push(format!(
                "{kind} {text}\n    refused: {:?} {:?}",
                read_tcf(text).err(),
                read_gpp(text).err()
            )),
            (Some(ours), Value::Null) => problems.push(format!("{kind} {text}\n    read, and there refused: {ours}")),
            (Some(ours), theirs) => {
                let mut differ = Vec::new();
                differences("", &ours, theirs, &mut differ);
                if !differ.is_empty() {
                    problems.push(format!("{kind} {text}\n    {}", differ.join("\n    ")));
                }
                if damaged {
                    damaged_read += 1;
                } else {
                    whole += 1;
                }
            }
        }
    }
    assert!(problems.is_empty(), "{} of them:\n{}", problems.len(), problems[..problems.len().min(8)].join("\n"));
    assert_eq!(whole, 600 + 13, "every string of a model was read, and every published one but that of version 1");
    assert!(damaged_refused > 300 && damaged_read > 100, "{damaged_refused} refused, {damaged_read} read");
    assert_eq!(sections.len(), 22, "every section of the United States was among them: {sections:?}");
    eprintln!(
        "{whole} whole; damaged: {damaged_read} read alike, {damaged_refused} refused by both, {stricter} here only"
    );
}
