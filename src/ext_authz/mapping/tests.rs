use pbjson_types::value::Kind;
use pbjson_types::{ListValue, Struct, Value};

use super::*;
use crate::proto::foreign::envoy::config::core::v3::{HeaderMap, HeaderValue, Metadata};
use crate::proto::foreign::envoy::service::auth::v3::AttributeContext;
use crate::proto::foreign::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};

/// The subject by these sources, `value:p` and `value:c` for purpose and channel.
fn mapping(subject: &str) -> Mapping {
    let parse = |text: &str, field| Sources::parse(text, field).expect("sources");
    Mapping {
        subject_space: Some("crm".to_owned()),
        subject: parse(subject, Field::Subject),
        purpose: parse("value:p", Field::Purpose),
        channel: parse("value:c", Field::Channel),
        recipient: Sources::default(),
        jurisdiction: Sources::default(),
        time_zone: Sources::default(),
        sec_gpc: parse("header:sec-gpc", Field::SecGpc),
        tcf: Sources::default(),
        gpp: Sources::default(),
        at_least_as_fresh: Sources::default(),
    }
}

fn request(path: &str, headers: &[(&str, &str)]) -> AttributeContext {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let http = HttpRequest { headers, path: path.to_owned(), header_map: None };
    AttributeContext { request: Some(Request { http: Some(http) }), ..AttributeContext::default() }
}

/// The same with the headers as `encode_raw_headers` sends them.
fn raw(path: &str, headers: &[(&str, &[u8])]) -> AttributeContext {
    let header = |(name, value): &(&str, &[u8])| HeaderValue {
        key: (*name).to_owned(),
        value: String::new(),
        raw_value: value.to_vec(),
    };
    let header_map = Some(HeaderMap { headers: headers.iter().map(header).collect() });
    let http = HttpRequest { header_map, path: path.to_owned(), ..HttpRequest::default() };
    AttributeContext { request: Some(Request { http: Some(http) }), ..AttributeContext::default() }
}

fn with_metadata(filter: &str, fields: Struct) -> AttributeContext {
    let filter_metadata = [(filter.to_owned(), fields)].into();
    AttributeContext { metadata_context: Some(Metadata { filter_metadata }), ..AttributeContext::default() }
}

fn object<const N: usize>(fields: [(&str, Kind); N]) -> Struct {
    let field = |(name, kind): (&str, Kind)| (name.to_owned(), Value { kind: Some(kind) });
    Struct { fields: fields.into_iter().map(field).collect() }
}

/// The subject that a request is about, or what is wrong.
fn subject(mapping: &Mapping, context: &AttributeContext) -> Result<String, String> {
    let mapped = mapping.read(&Attributes::new(context)).map_err(|malformed| malformed.to_string())?;
    let asked = mapped.asked().map_err(|malformed| malformed.to_string())?;
    Ok(format!("{}:{}", asked.ask.space, asked.ask.id))
}

fn sec_gpc_of(context: &AttributeContext) -> String {
    let mapping = mapping("value:1");
    let mapped = mapping.read(&Attributes::new(context)).expect("a question");
    mapped.asked().expect("a question").ask.question.signals.sec_gpc.to_owned()
}

const MISSING: &str = "`subject` is missing: none of its sources is there";
const SEVERAL: &str = "`subject` has several values";

#[test]
fn the_first_source_that_is_there_decides_even_if_it_cannot_be_read() {
    let mapping = mapping("path:/users/{subject}/**, query:user, header:x-user");
    for (path, headers, expected) in [
        ("/users/1/cart?user=2", &[("x-user", "3")][..], Ok("crm:1")),
        ("/cart?user=2", &[("x-user", "3")], Ok("crm:2")),
        ("/cart?users=2", &[("x-user", "3")], Ok("crm:3")),
        ("/cart", &[("x-users", "3")], Err(MISSING)),
        ("/cart?user=2&user=2", &[("x-user", "3")], Err(SEVERAL)),
        ("/cart?user=", &[("x-user", "3")], Err("`subject` is there and empty")),
        ("/cart?user", &[("x-user", "3")], Err("`subject` is there and empty")),
        ("/cart?user=%zz", &[("x-user", "3")], Err("`subject` is badly percent-encoded, or not UTF-8 text")),
        (
            "/cart/../users/1?user=2",
            &[],
            Err("`subject` stands in a path that servers read differently, with empty, dotted or escaped segments"),
        ),
        (
            "/cart?a=b;user=2",
            &[("x-user", "3")],
            Err("`subject` stands in a query that servers read differently, with a semicolon or a hash"),
        ),
        ("/cart?a=b;c=d", &[("x-user", "3")], Ok("crm:3")),
        ("/cart?%75ser=2", &[("x-user", "3")], Ok("crm:2")),
        ("/cart?User=2", &[("x-user", "3")], Ok("crm:3")),
    ] {
        let found = subject(&mapping, &request(path, headers));
        assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{path}");
    }
}

#[test]
fn queries_are_decoded_once_as_forms_are() {
    let mapping = mapping("query:user");
    for (query, expected) in
        [("user=a%40b", "crm:a@b"), ("user=a+b", "crm:a b"), ("user=%2541", "crm:%41"), ("x&user=a=b", "crm:a=b")]
    {
        assert_eq!(subject(&mapping, &request(&format!("/?{query}"), &[])), Ok(expected.to_owned()));
    }
}

#[test]
fn a_header_with_a_comma_is_several_in_either_form() {
    let mapping = mapping("header:X-User");
    assert_eq!(subject(&mapping, &request("/", &[("x-user", "1")])), Ok("crm:1".to_owned()));
    assert_eq!(subject(&mapping, &raw("/", &[("X-User", b"1"), ("x-other", b"2")])), Ok("crm:1".to_owned()));
    for context in [
        request("/", &[("x-user", "1,2")]),
        request("/", &[("x-user", "1,1")]),
        request("/", &[("x-user", ",1")]),
        raw("/", &[("x-user", b"1, 2")]),
        raw("/", &[("x-user", b"1"), ("X-USER", b"1")]),
    ] {
        assert_eq!(subject(&mapping, &context), Err(SEVERAL.to_owned()), "{context:?}");
    }
    let latin1 = raw("/", &[("x-user", b"ay\xfee")]);
    assert_eq!(subject(&mapping, &latin1), Err("`subject` is not UTF-8 text".to_owned()));
    assert_eq!(subject(&mapping, &request("/", &[("x-user", "")])), Err("`subject` is there and empty".to_owned()));
    // Nobody sends both forms; where somebody does, both count.
    let mut both = request("/", &[("x-user", "1")]);
    let http = both.request.as_mut().and_then(|request| request.http.as_mut()).expect("a request");
    http.header_map = raw("/", &[("x-user", b"2")]).request.and_then(|request| request.http?.header_map);
    assert_eq!(subject(&mapping, &both), Err(SEVERAL.to_owned()));
}

#[test]
fn metadata_is_text_or_a_whole_number_that_is_exact() {
    let mapping = mapping("metadata:jwt/payload/sub, value:nobody");
    let token = |sub| with_metadata("jwt", object([("payload", Kind::StructValue(object([("sub", sub)])))]));
    let list = Kind::ListValue(ListValue { values: vec![Value { kind: Some(Kind::StringValue("1".to_owned())) }] });
    let scalar = Err("`subject` is metadata of another kind than text or a whole number".to_owned());
    let inexact = Err("`subject` is a number that is not whole, or too large to be exact".to_owned());
    for (sub, expected) in [
        (Kind::StringValue("ayse".to_owned()), Ok("crm:ayse".to_owned())),
        (Kind::NumberValue(42.0), Ok("crm:42".to_owned())),
        (Kind::NumberValue(9_007_199_254_740_991.0), Ok("crm:9007199254740991".to_owned())),
        (Kind::NumberValue(9_007_199_254_740_992.0), inexact.clone()),
        (Kind::NumberValue(1.5), inexact.clone()),
        (Kind::NumberValue(f64::NAN), inexact.clone()),
        (Kind::NumberValue(f64::INFINITY), inexact),
        (Kind::BoolValue(true), scalar.clone()),
        (Kind::NullValue(0), scalar.clone()),
        (Kind::StructValue(Struct::default()), scalar.clone()),
        (list, scalar.clone()),
    ] {
        assert_eq!(subject(&mapping, &token(sub.clone())), expected, "{sub:?}");
    }
    let nobody = Ok("crm:nobody".to_owned());
    assert_eq!(subject(&mapping, &with_metadata("other", object([]))), nobody);
    assert_eq!(subject(&mapping, &with_metadata("jwt", object([]))), nobody);
    assert_eq!(subject(&mapping, &with_metadata("jwt", object([("payload", Kind::StructValue(object([])))]))), nobody);
    let text = with_metadata("jwt", object([("payload", Kind::StringValue("sub".to_owned()))]));
    assert_eq!(subject(&mapping, &text), scalar);
}

#[test]
fn a_subject_without_a_space_of_its_own_brings_one() {
    let mapping = Mapping { subject_space: None, ..mapping("header:x-user") };
    for (value, expected) in [
        ("crm:42", Ok("crm:42")),
        ("device:aa:bb", Ok("device:aa:bb")),
        ("42", Err("`subject` is not written `space:id`, and has no space of its own")),
        (
            "CRM:42",
            Err("`subject.space` is malformed: space: 1 to 64 characters of a-z, 0-9, `_`, `-` and `.` are allowed"),
        ),
        ("crm:", Err("`subject.id` is malformed: id: 1 to 256 bytes without control characters are allowed")),
    ] {
        let found = subject(&mapping, &request("/", &[("x-user", value)]));
        assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{value}");
    }
}

#[test]
fn one_header_that_is_exactly_1_is_enough_for_privacy_control() {
    for (value, expected) in [
        ("1", "1"),
        ("0,1", "1"),
        ("1, 0", "1"),
        ("0", ""),
        ("true", ""),
        ("11", ""),
        ("\"1\"", ""),
        ("", ""),
        ("1;a", ""),
    ] {
        assert_eq!(sec_gpc_of(&request("/", &[("sec-gpc", value)])), expected, "{value:?}");
        assert_eq!(sec_gpc_of(&raw("/", &[("Sec-GPC", value.as_bytes())])), expected, "{value:?}");
    }
    assert_eq!(sec_gpc_of(&raw("/", &[("sec-gpc", b"\xff"), ("sec-gpc", b"1")])), "1");
    assert_eq!(sec_gpc_of(&raw("/", &[("sec-gpc", b"\xff")])), "");
    assert_eq!(sec_gpc_of(&request("/", &[])), "");
}

#[test]
fn a_signal_counts_wherever_it_stands() {
    let sources = |text, field| Sources::parse(text, field).expect("sources");
    let mapping = Mapping {
        sec_gpc: sources("header:sec-gpc, query:gpc", Field::SecGpc),
        tcf: sources("header:x-tcf, query:tcf", Field::Tcf),
        ..mapping("value:1")
    };
    let signals = |context: &AttributeContext| {
        let mapped = mapping.read(&Attributes::new(context)).map_err(|malformed| malformed.to_string())?;
        Ok::<_, String>((mapped.sec_gpc, mapped.tcf.into_owned()))
    };
    assert_eq!(signals(&request("/?gpc=1", &[("sec-gpc", "0")])), Ok(("1", String::new())));
    assert_eq!(signals(&request("/?tcf=A", &[("x-tcf", "")])), Ok(("", "A".to_owned())));
    assert_eq!(signals(&request("/?tcf=A", &[("x-tcf", "A")])), Ok(("", "A".to_owned())));
    assert_eq!(signals(&request("/?tcf=A", &[("x-tcf", "B")])), Err("`tcf` has several values".to_owned()));
    assert_eq!(
        signals(&request("/?gpc=%zz", &[])),
        Err("`sec_gpc` is badly percent-encoded, or not UTF-8 text".to_owned())
    );
}

#[test]
fn every_part_of_the_question_has_its_place() {
    let sources = |text, field| Sources::parse(text, field).expect("sources");
    let token = "1lcsnTCThK0gEyri5GTtF";
    let mapping = Mapping {
        purpose: sources("extension:purpose", Field::Purpose),
        channel: sources("path:/{channel}", Field::Channel),
        recipient: sources("header:x-recipient", Field::Recipient),
        jurisdiction: sources("query:country", Field::Jurisdiction),
        time_zone: sources("header:x-zone", Field::TimeZone),
        gpp: sources("header:x-gpp", Field::Gpp),
        at_least_as_fresh: sources("header:x-token", Field::AtLeastAsFresh),
        ..mapping("header:x-user")
    };
    let headers = [
        ("x-user", "7"),
        ("x-recipient", "acme"),
        ("x-gpp", "DBAA"),
        ("x-token", token),
        ("x-zone", "Europe/Istanbul"),
    ];
    let mut context = request("/email?country=TR", &headers);
    context.context_extensions.insert("purpose".to_owned(), "marketing".to_owned());
    let attributes = Attributes::new(&context);
    let mapped = mapping.read(&attributes).expect("a question");
    let asked = mapped.asked().expect("a question");
    let signals = Signals { gpp: "DBAA", ..Signals::default() };
    let question = Question {
        purpose: "marketing",
        channel: "email",
        recipient: "acme",
        jurisdiction: "TR",
        signals,
        heard: Heard::default(),
        max_staleness: None,
        time_zone: wellformed::time_zone("", "Europe/Istanbul").expect("known"),
    };
    assert_eq!(asked.ask.question, question);
    assert_eq!(asked.at_least_as_fresh.map(|(_, text)| text), Some(token));

    for (header, value, problem) in [
        ("x-token", "nonsense", "`at_least_as_fresh` is "),
        ("x-zone", "Europe/Ankara", "`time_zone` is not an IANA time zone"),
        ("x-recipient", "a\u{1}b", "`recipient` has control characters"),
        ("x-gpp", &*"x".repeat(16 * 1024 + 1), "`signals.gpp` is longer than 16384 bytes"),
    ] {
        let mut context = context.clone();
        let http = context.request.as_mut().and_then(|request| request.http.as_mut()).expect("a request");
        http.headers.insert(header.to_owned(), value.to_owned());
        let attributes = Attributes::new(&context);
        let mapped = mapping.read(&attributes).expect("read");
        let malformed = mapped.asked().expect_err("malformed").to_string();
        assert!(malformed.starts_with(problem), "{malformed}");
    }
}
