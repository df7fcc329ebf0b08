//! Declares the keys of Envoy's checks: where in a request's attributes each part of the question stands.

use crate::config::keys;
use crate::config::reader::{OFF, Reader, quote, text};
use crate::config::schema::Shape;
use crate::domain::Subject;
use crate::ext_authz::{Field, Mapping, Sources};

const SPACE: &str = "ext_authz.subject_space";
const SUBJECT: &str = "ext_authz.subject";
const PURPOSE: &str = "ext_authz.purpose";
const CHANNEL: &str = "ext_authz.channel";

/// The mapping, where one is given and nothing of it is missing.
pub(super) fn read(reader: &mut Reader) -> Option<Mapping> {
    let subject = reader.sources(
        Field::Subject,
        SUBJECT,
        "Where a check of Envoy says whom it is about, such as \"header:x-user-id\" or \"path:/users/{subject}/**\".",
        OFF,
    );
    let subject_space = space(reader);
    let mut sources = |field, key, meaning| reader.sources(field, key, meaning, OFF);
    let mapping = Mapping {
        subject_space,
        subject,
        purpose: sources(
            Field::Purpose,
            PURPOSE,
            "For what, such as \"extension:purpose\", which the route's configuration sets.",
        ),
        channel: sources(Field::Channel, CHANNEL, "Over which channel, such as \"value:web\"."),
        recipient: sources(
            Field::Recipient,
            "ext_authz.recipient",
            "For whom; where it is not there, for the controller itself.",
        ),
        jurisdiction: sources(
            Field::Jurisdiction,
            "ext_authz.jurisdiction",
            "Where the subject is, ISO 3166; where it is not there, unknown.",
        ),
        time_zone: sources(
            Field::TimeZone,
            "ext_authz.time_zone",
            "Where the subject's clock is, an IANA name; where it is not there, the catalogue's for the jurisdiction.",
        ),
        tcf: sources(Field::Tcf, "ext_authz.tcf", "An IAB TCF string; any source that has one counts."),
        gpp: sources(Field::Gpp, "ext_authz.gpp", "An IAB GPP string; any source that has one counts."),
        at_least_as_fresh: sources(
            Field::AtLeastAsFresh,
            "ext_authz.at_least_as_fresh",
            "The ledger token that the view must have reached.",
        ),
        sec_gpc: reader.sources(
            Field::SecGpc,
            "ext_authz.sec_gpc",
            "Global Privacy Control; any source that says 1 counts.",
            keys::DEFAULT_EXT_AUTHZ_SEC_GPC,
        ),
    };
    check(reader, &mapping).then_some(mapping)
}

fn space(reader: &mut Reader) -> Option<String> {
    let parse = |raw: &_| match text(raw)? {
        OFF => Ok(None),
        space if Subject::check(space, "id").is_ok() => Ok(Some(space.to_owned())),
        space => Err(format!("`{space}` is not a space: 1 to 64 characters of a-z, 0-9, `_`, `-` and `.`")),
    };
    reader.value(
        SPACE,
        "The subject's space, where the source gives the id alone; \"off\": it gives `space:id`.",
        ("a name such as \"crm\", or \"off\"", Shape::Pattern("[a-z0-9_.-]{1,64}")),
        None,
        parse,
        |space| quote(space.as_deref().unwrap_or(OFF)),
    )
}

/// Whether the mapping is one. Without any of its keys there is none, and nothing is wrong.
fn check(reader: &mut Reader, mapping: &Mapping) -> bool {
    let Mapping {
        subject_space,
        subject,
        purpose,
        channel,
        recipient,
        jurisdiction,
        time_zone,
        tcf,
        gpp,
        at_least_as_fresh,
        sec_gpc: _,
    } = mapping;
    let needed = [(SUBJECT, subject), (PURPOSE, purpose), (CHANNEL, channel)];
    let others = [recipient, jurisdiction, time_zone, tcf, gpp, at_least_as_fresh];
    let is_any_set = subject_space.is_some()
        || needed.iter().any(|(_, sources)| !sources.is_empty())
        || others.into_iter().any(|sources| !sources.is_empty());
    if !is_any_set {
        return false;
    }
    for (key, sources) in needed {
        if sources.is_empty() && reader.is_sound(key) {
            reader.problem(key, "must be set where any other key of ext_authz is");
        }
    }
    if let Some(problem) = wrong_value(subject, subject_space.as_deref()) {
        reader.problem(SUBJECT, problem);
    }
    needed.iter().all(|(_, sources)| !sources.is_empty())
}

/// What is wrong with a subject that the configuration itself gives.
fn wrong_value(subject: &Sources, space: Option<&str>) -> Option<String> {
    subject.values().find_map(|text| {
        let checked = match space {
            Some(space) => Subject::check(space, text),
            None => Subject::parse(text).map(drop),
        };
        checked.err().map(|error| format!("`value:{text}`: {error}"))
    })
}
