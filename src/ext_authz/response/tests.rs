use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::sample::select;

use super::*;

const PURPOSE: &str = "marketing.\"news\"";

fn answer(reason: Reason) -> Answer {
    Answer {
        reason,
        legal_basis: None,
        status: None,
        valid_until: Some(Time::from_unix_millis(1_795_219_200_123)),
        failed_purpose: None,
        failed_reason: None,
        not_before: None,
        notice: None,
        record_position: None,
    }
}

fn seen(token: &str) -> Seen {
    Seen { catalogue_version: 1, token: token.into(), staleness: Duration::ZERO, answered_at: Time::default() }
}

fn question() -> Question<'static> {
    Question {
        purpose: PURPOSE,
        channel: "email",
        recipient: "",
        jurisdiction: "",
        signals: crate::domain::Signals::default(),
        heard: crate::domain::Heard::default(),
        max_staleness: None,
        time_zone: None,
    }
}

fn evidence() -> EvidenceId {
    "8028b02de82838d3/2026-11/291".parse().expect("an id")
}

/// The response to a request with headers of these names.
fn answered(answer: &Answer, token: &str, names: &[&str]) -> CheckResponse {
    let seen = seen(token);
    let told = Told::answer(std::slice::from_ref(answer), &seen, Some(evidence()), &question());
    told.into_response(names.iter().copied())
}

fn headers(options: &[HeaderValueOption]) -> Vec<(&str, &str)> {
    options.iter().map(pair).collect()
}

fn pair(option: &HeaderValueOption) -> (&str, &str) {
    assert_eq!(option.append_action(), HeaderAppendAction::OverwriteIfExistsOrAdd);
    let header = option.header.as_ref().expect("a header");
    assert!(header.raw_value.is_empty());
    (&*header.key, &*header.value)
}

/// Whether Envoy lets the request through, which an explicit response must say in both of its places.
fn allows(response: &CheckResponse) -> bool {
    let code = response.status.as_ref().expect("a status").code;
    match response.http_response.as_ref().expect("an explicit response") {
        HttpResponse::OkResponse(_) => assert_eq!(code, 0, "{response:?}"),
        HttpResponse::DeniedResponse(denied) => {
            assert_eq!(code, 7, "{response:?}");
            assert_eq!(denied.status.as_ref().map(HttpStatus::code), Some(StatusCode::Forbidden), "{response:?}");
        }
    }
    code == 0
}

#[test]
fn an_allow_sets_our_headers_and_removes_those_that_it_does_not_set() {
    let names = ["x-user", "X-Consentd-Verdict", "x-consentd-admin", "X-CONSENTD-other", "x-consentdish", "x"];
    let response = answered(&answer(Reason::Consent), "token", &names);
    assert!(allows(&response));
    let Some(HttpResponse::OkResponse(ok)) = &response.http_response else { panic!("{response:?}") };
    assert_eq!(
        headers(&ok.headers),
        [
            ("x-consentd-verdict", "ALLOW"),
            ("x-consentd-reason", "CONSENT"),
            ("x-consentd-evidence-id", "8028b02de82838d3/2026-11/291"),
            ("x-consentd-ledger-token", "token"),
            ("x-consentd-valid-until", "2026-11-21T00:00:00.123Z"),
        ]
    );
    assert_eq!(ok.headers_to_remove, ["x-consentd-admin", "X-CONSENTD-other"]);
    let metadata = &response.dynamic_metadata.as_ref().expect("metadata").fields;
    let text = |name: &str| match &metadata.get(name)?.kind {
        Some(Kind::StringValue(text)) => Some(text.clone()),
        other => panic!("{other:?}"),
    };
    assert_eq!(text("purpose").as_deref(), Some(PURPOSE));
    assert_eq!(text("evidence_id").as_deref(), Some("8028b02de82838d3/2026-11/291"));
}

#[test]
fn what_is_not_set_is_removed_also_where_it_is_one_of_ours() {
    let without = Answer { valid_until: None, ..answer(Reason::Contract) };
    let response = answered(&without, "", &["x-consentd-valid-until", "x-consentd-ledger-token"]);
    assert!(allows(&response));
    let Some(HttpResponse::OkResponse(ok)) = &response.http_response else { panic!("{response:?}") };
    assert_eq!(ok.headers_to_remove, ["x-consentd-valid-until", "x-consentd-ledger-token"]);
}

fn denied_with(answer: &Answer) -> (Vec<(String, String)>, String) {
    let response = answered(answer, "token", &[]);
    assert!(!allows(&response));
    let Some(HttpResponse::DeniedResponse(denied)) = response.http_response else { panic!("{response:?}") };
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    (headers(&denied.headers).into_iter().map(owned).collect(), denied.body.clone())
}

#[test]
fn a_denial_says_why_in_headers_and_body() {
    let response = answered(&answer(Reason::Withdrawn), "token", &[]);
    assert!(!allows(&response));
    let Some(HttpResponse::DeniedResponse(denied)) = &response.http_response else { panic!("{response:?}") };
    let told = headers(&denied.headers);
    for header in [
        ("x-consentd-verdict", "DENY"),
        ("x-consentd-reason", "WITHDRAWN"),
        ("content-type", "application/json"),
        ("cache-control", "no-store"),
    ] {
        assert!(told.contains(&header), "{told:?}");
    }
    assert_eq!(
        denied.body,
        r#"{"verdict":"DENY","reason":"WITHDRAWN","evidence_id":"8028b02de82838d3/2026-11/291","purpose":"marketing.\"news\"","channel":"email"}"#
    );
    let later = Answer { not_before: Some(Time::from_unix_millis(1_795_219_200_123)), ..answer(Reason::QuietHours) };
    let (told, body) = denied_with(&later);
    assert!(told.contains(&("x-consentd-not-before".to_owned(), "2026-11-21T00:00:00.123Z".to_owned())), "{told:?}");
    assert!(body.contains(r#""not_before":"2026-11-21T00:00:00.123Z""#), "{body}");
    let required = Answer {
        failed_purpose: Some("iys".into()),
        failed_reason: Some(Reason::Withdrawn),
        ..answer(Reason::RequiredPurposeDenied)
    };
    let (_, body) = denied_with(&required);
    assert!(body.contains(r#""failed_purpose":"iys","failed_reason":"WITHDRAWN""#), "{body}");
    let refusal = Refusal::Malformed(Malformed::new("subject", "is missing"));
    let response = Told::refusal(&refusal).into_response(std::iter::empty());
    assert!(!allows(&response));
    let Some(HttpResponse::DeniedResponse(denied)) = &response.http_response else { panic!("{response:?}") };
    assert_eq!(
        denied.body,
        r#"{"verdict":"DENY","reason":"MALFORMED_QUESTION","field":"subject","problem":"is missing"}"#
    );
}

/// Texts that somebody else wrote, as they may come.
fn foreign() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), Just("a\r\nx-injected: 1".to_owned()), Just("\u{0}ş\"\\".to_owned())]
}

fn refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        Just(Refusal::NotConfigured),
        Just(Refusal::CallerNotPermitted),
        Just(Refusal::NotInTime),
        Just(Refusal::Defect),
        (foreign(), foreign()).prop_map(|(field, problem)| Refusal::Malformed(Malformed { field, problem })),
    ]
}

proptest! {
    #[test]
    fn only_an_allow_with_evidence_lets_a_request_through(
        reasons in vec(select(Reason::ALL), 0..3),
        is_evidenced in any::<bool>(),
        valid_until in option::of(any::<i64>()),
        (purpose, channel, failed) in (foreign(), foreign(), option::of(foreign())),
        names in vec(prop_oneof![foreign(), foreign().prop_map(|name| format!("X-Consentd-{name}"))], 0..4),
    ) {
        let answers: Vec<Answer> = reasons
            .iter()
            .map(|reason| Answer {
                valid_until: valid_until.map(Time::from_unix_millis),
                failed_purpose: failed.as_deref().map(Box::from),
                ..answer(*reason)
            })
            .collect();
        let asked = Question { purpose: &purpose, channel: &channel, ..question() };
        let evidence = is_evidenced.then(evidence);
        let seen = seen("token");
        let response = Told::answer(&answers, &seen, evidence, &asked).into_response(names.iter().map(String::as_str));
        let may = matches!(&*reasons, [reason] if reason.verdict() == Verdict::Allow) && is_evidenced;
        assert_eq!(allows(&response), may);
        check_told(&response);
        if let Some(HttpResponse::OkResponse(ok)) = &response.http_response {
            for name in names.iter().filter(|name| name.starts_with("X-Consentd-")) {
                let is_set = headers(&ok.headers).iter().any(|(set, _)| set.eq_ignore_ascii_case(name));
                assert!(is_set != ok.headers_to_remove.contains(name), "{name:?}");
            }
        }
    }

    #[test]
    fn no_refusal_lets_a_request_through(refusal in refusal()) {
        let response = Told::refusal(&refusal).into_response(std::iter::empty());
        assert!(!allows(&response));
        check_told(&response);
        let Some(HttpResponse::DeniedResponse(denied)) = &response.http_response else { panic!("{response:?}") };
        let body: serde_json::Value = serde_json::from_str(&denied.body).expect("JSON");
        assert_eq!(body["reason"], refusal.reason());
        assert!(REFUSALS.contains(&refusal.reason()) && Reason::from_name(refusal.reason()).is_none());
    }
}

/// No header can hold what would end it, and a body is JSON that agrees with them.
fn check_told(response: &CheckResponse) {
    let (options, body) = match response.http_response.as_ref().expect("a response") {
        HttpResponse::OkResponse(ok) => (&ok.headers, None),
        HttpResponse::DeniedResponse(denied) => (&denied.headers, Some(&denied.body)),
    };
    let told = headers(options);
    for (name, value) in &told {
        assert!(value.bytes().all(|byte| byte.is_ascii_graphic()), "`{name}`: {value:?}");
        assert!(!value.is_empty(), "`{name}`");
    }
    if let Some(body) = body {
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["verdict"], "DENY");
        assert!(told.contains(&("x-consentd-reason", body["reason"].as_str().expect("a reason"))));
    }
}
