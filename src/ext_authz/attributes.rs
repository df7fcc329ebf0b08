//! What Envoy says about a request, read at the places that sources name. Nothing is guessed: a value that could be two
//! things is a problem.

use std::borrow::Cow;
use std::collections::HashMap;

use pbjson_types::value::Kind;
use pbjson_types::{Struct, Value};

use super::source::Source;
use super::{percent, template};
use crate::proto::foreign::envoy::service::auth::v3::AttributeContext;
use crate::proto::foreign::envoy::service::auth::v3::attribute_context::HttpRequest;

/// Why a value that is there cannot be taken, as the end of a sentence. Never repeats the value.
pub(super) type Problem = &'static str;

const NOT_TEXT: Problem = "is not UTF-8 text";
const BADLY_ENCODED: Problem = "is badly percent-encoded, or not UTF-8 text";
const AMBIGUOUS_PATH: Problem =
    "stands in a path that servers read differently, with empty, dotted or escaped segments";
const AMBIGUOUS_QUERY: Problem = "stands in a query that servers read differently, with a semicolon or a hash";
const NOT_A_SCALAR: Problem = "is metadata of another kind than text or a whole number";
const INEXACT: Problem = "is a number that is not whole, or too large to be exact";
/// Up to here every whole number has a double of its own. Source: IEEE 754.
const EXACT_MAX: f64 = 9_007_199_254_740_991.0;

/// A request as Envoy describes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes<'a> {
    http: Option<&'a HttpRequest>,
    extensions: &'a HashMap<String, String>,
    metadata: Option<&'a HashMap<String, Struct>>,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(context: &'a AttributeContext) -> Self {
        Self {
            http: context.request.as_ref().and_then(|request| request.http.as_ref()),
            extensions: &context.context_extensions,
            metadata: context.metadata_context.as_ref().map(|metadata| &metadata.filter_metadata),
        }
    }

    /// Shows every value that stands at a source.
    pub(super) fn each(&self, source: &'a Source, mut see: impl FnMut(Result<Cow<'a, str>, Problem>)) {
        match source {
            Source::Header(name) => self.each_header(name, |value| see(value.map(Cow::Borrowed))),
            Source::Query(name) => self.each_parameter(name, see),
            Source::Path(template) => match template.find(self.target().0) {
                Ok(found) => found.into_iter().for_each(|value| see(Ok(value))),
                Err(template::Ambiguous) => see(Err(AMBIGUOUS_PATH)),
            },
            Source::Metadata { filter, keys } => {
                let fields = self.metadata.and_then(|metadata| metadata.get(filter));
                if let Some(value) = fields.and_then(|fields| descend(fields, keys).transpose()) {
                    see(value.and_then(scalar));
                }
            }
            Source::Extension(key) => self.extensions.get(key).into_iter().for_each(|value| see(Ok(value.into()))),
            Source::Value(text) => see(Ok(text.into())),
        }
    }

    /// The values of a header. Envoy joins those of a header that came several times with commas, so that one with a comma
    /// is several, in whichever form it comes.
    pub(super) fn each_header(&self, name: &str, mut see: impl FnMut(Result<&'a str, Problem>)) {
        let Some(http) = self.http else { return };
        let joined = http.headers.get(name).map(|text| Ok(text.as_str()));
        let raw = http.header_map.iter().flat_map(|map| &map.headers);
        let raw = raw.filter(|header| header.key.eq_ignore_ascii_case(name)).map(|header| {
            let bytes = if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value };
            std::str::from_utf8(bytes)
        });
        for text in joined.into_iter().chain(raw) {
            match text {
                Ok(text) => text.split(',').for_each(|value| see(Ok(value.trim_matches([' ', '\t'])))),
                Err(_) => see(Err(NOT_TEXT)),
            }
        }
    }

    /// The names of all headers, as they came.
    pub(super) fn header_names(&self) -> impl Iterator<Item = &'a str> {
        let raw = self.http.and_then(|http| http.header_map.as_ref()).into_iter().flat_map(|map| &map.headers);
        let joined = self.http.into_iter().flat_map(|http| http.headers.keys());
        joined.map(String::as_str).chain(raw.map(|header| header.key.as_str()))
    }

    /// The parameters of the query by this name. Source: WHATWG URL, section 5.1.
    fn each_parameter(&self, name: &str, mut see: impl FnMut(Result<Cow<'a, str>, Problem>)) {
        let (_, query) = self.target();
        // A name that cannot be decoded is not this one, for anybody.
        let is_this = |text: &str| percent::decode_form(text).is_some_and(|text| text == name);
        for pair in query.split('&') {
            let (own, value) = pair.split_once('=').unwrap_or((pair, ""));
            if pair.contains([';', '#']) {
                // There are servers for which a semicolon separates, and none sees what is behind a hash.
                let names = pair.split([';', '#']).map(|part| part.split_once('=').map_or(part, |(name, _)| name));
                if names.chain([own]).any(is_this) {
                    see(Err(AMBIGUOUS_QUERY));
                }
            } else if is_this(own) {
                see(percent::decode_form(value).ok_or(BADLY_ENCODED));
            }
        }
    }

    /// Path and query.
    fn target(&self) -> (&'a str, &'a str) {
        let target = self.http.map_or("", |http| &http.path);
        target.split_once('?').unwrap_or((target, ""))
    }
}

/// What stands at the end of a way down; a problem where there is no way.
fn descend<'a>(fields: &'a Struct, keys: &[String]) -> Result<Option<&'a Value>, Problem> {
    let mut fields = fields;
    let mut found: Option<&Value> = None;
    for key in keys {
        if let Some(value) = found {
            let Some(Kind::StructValue(inner)) = &value.kind else { return Err(NOT_A_SCALAR) };
            fields = inner;
        }
        found = fields.fields.get(key);
        if found.is_none() {
            return Ok(None);
        }
    }
    Ok(found)
}

/// The text of a value. Numbers in metadata are doubles, whatever they were in a token.
fn scalar(value: &Value) -> Result<Cow<'_, str>, Problem> {
    match &value.kind {
        Some(Kind::StringValue(text)) => Ok(text.into()),
        Some(Kind::NumberValue(number)) => whole(*number).map(|number| number.to_string().into()),
        _ => Err(NOT_A_SCALAR),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the number is whole, and no larger than an i64 is exact")]
fn whole(number: f64) -> Result<i64, Problem> {
    if number.fract() == 0.0 && number.abs() <= EXACT_MAX { Ok(number as i64) } else { Err(INEXACT) }
}
