//! Envoy's check with a real Envoy: what is asked, what is answered, and what is left of both.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/envoy.rs"]
mod envoy;
#[path = "support/sidecar.rs"]
mod sidecar;

use consentd::evidence::Archive;
use consentd::evidence::record::CallKind;
use data_encoding::BASE64URL_NOPAD;
use envoy::{Asks, Client, Envoy, Listener, Upstream, typed};
use ring::hmac;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};
use sidecar::{Home, Sidecar, append, catalogue, eventually, given, said, token_at, withdrawn, write_file};

/// A question that stands in headers.
const HEADERS: [(&str, &str); 3] = [
    ("ext_authz.subject", "header:x-user"),
    ("ext_authz.purpose", "header:x-purpose, value:newsletter"),
    ("ext_authz.channel", "header:x-channel, value:email"),
];

/// The name of the evidence in an answer's headers.
fn evidence_id(headers: &[(String, String)]) -> String {
    let found = headers.iter().find(|(name, _)| name == "x-consentd-evidence-id");
    found.map(|(_, value)| value.clone()).expect("evidence")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_allow_passes_and_a_deny_says_why_over_tcp_and_a_unix_socket() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    home.append(&withdrawn("crm:2"));
    let sidecar = Sidecar::ready(&home, &HEADERS).await;
    let upstream = Upstream::start().await;
    let listeners = [Listener::new("tcp", Asks::Tcp(sidecar.tcp)), Listener::new("uds", Asks::Uds(home.uds()))];
    let envoy = Envoy::start(&listeners, &upstream).await;
    let mut answered: Vec<(String, &str)> = Vec::new();
    for listener in ["tcp", "uds"] {
        let allowed = envoy.get(listener, &format!("/{listener}/allowed"), &[("x-user", "crm:1")]).await;
        assert_eq!(allowed.reached("x-consentd-verdict"), ["ALLOW"], "{allowed:?}");
        assert_eq!(allowed.reached("x-consentd-reason"), ["CONSENT"]);
        assert_eq!(allowed.reached("x-consentd-ledger-token").len(), 1);
        let until = &allowed.reached("x-consentd-valid-until")[0];
        let until = chrono::DateTime::parse_from_rfc3339(until).expect("RFC 3339").timestamp_millis();
        assert!(until > sidecar::now_ms(), "{until}");
        let id = evidence_id(&allowed.upstream());
        assert!(allowed.headers.iter().all(|(name, _)| !name.starts_with("x-consentd-")), "the client is told nothing");
        // What other filters and the access log see is the same.
        let logged = &envoy.logged(&format!("/{listener}/allowed"), 1).await[0];
        assert_eq!((&logged["verdict"], &logged["reason"]), (&json!("ALLOW"), &json!("CONSENT")), "{logged}");
        assert_eq!((&logged["evidence_id"], &logged["purpose"]), (&json!(id), &json!("newsletter")), "{logged}");
        answered.push((id, "CONSENT"));

        for (user, reason) in [("crm:2", "WITHDRAWN"), ("crm:3", "UNKNOWN_SUBJECT")] {
            let path = format!("/{listener}/{user}");
            let denied = envoy.get(listener, &path, &[("x-user", user)]).await;
            assert_eq!(denied.denied(), reason);
            let body = denied.json();
            assert_eq!((&body["purpose"], &body["channel"]), (&json!("newsletter"), &json!("email")));
            assert!(!denied.body.contains("crm") && !format!("{:?}", denied.headers).contains("crm:"), "{denied:?}");
            let id = evidence_id(&denied.headers);
            let logged = &envoy.logged(&path, 1).await[0];
            assert_eq!((&logged["reason"], &logged["evidence_id"]), (&json!(reason), &json!(id)), "{logged}");
            answered.push((id, reason));
        }
        let malformed = envoy.get(listener, "/", &[]).await;
        assert_eq!(malformed.denied(), "MALFORMED_QUESTION");
        assert_eq!(malformed.json()["field"], "subject");
        let unknown = envoy.get(listener, "/", &[("x-user", "crm:1"), ("x-purpose", "unheard.of")]).await;
        assert_eq!(unknown.denied(), "UNKNOWN_PURPOSE");
        assert_eq!(envoy.count(listener, "error").await, 0);
        assert_eq!((envoy.count(listener, "ok").await, envoy.count(listener, "denied").await), (1, 4));
    }
    sidecar.stop().await;
    let archive = Archive::open(&home.data().join("evidence")).expect("a log");
    for (id, reason) in answered {
        let record = archive.find(&id.parse().expect("an id")).expect("readable").expect("there");
        let kept: Vec<&str> = record.reasons().map(|kept| kept.as_str_name()).collect();
        assert_eq!((record.call(), kept), (CallKind::ExtAuthz, vec![format!("REASON_{reason}").as_str()]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_of_ours_that_a_client_sends_reach_nobody() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    let sidecar = Sidecar::ready(&home, &HEADERS).await;
    let upstream = Upstream::start().await;
    let asks = Asks::Tcp(sidecar.tcp);
    let listeners = [
        Listener::new("joined", asks.clone()),
        Listener::new("raw", asks.clone()).filter(json!({"encode_raw_headers": true})),
        Listener::new("strict", asks).filter(json!({"validate_mutations": true})),
    ];
    let envoy = Envoy::start(&listeners, &upstream).await;
    let forged = [
        ("x-user", "crm:1"),
        ("x-consentd-verdict", "FORGED"),
        ("X-Consentd-Evidence-Id", "FORGED"),
        ("x-consentd-evidence-id", "FORGED"),
        ("x-consentd-failed-purpose", "FORGED"),
        ("X-CONSENTD-ADMIN", "FORGED"),
        ("x-other", "kept"),
    ];
    for listener in ["joined", "raw", "strict"] {
        let allowed = envoy.get(listener, "/", &forged).await;
        let reached = allowed.upstream();
        let ours: Vec<&str> =
            reached.iter().map(|(name, _)| &**name).filter(|name| name.starts_with("x-consentd-")).collect();
        let mut expected = ["evidence-id", "ledger-token", "reason", "valid-until", "verdict"]
            .map(|name| format!("x-consentd-{name}"));
        expected.sort();
        let mut ours = ours;
        ours.sort_unstable();
        assert_eq!(ours, expected, "{listener}");
        assert!(reached.iter().all(|(_, value)| !value.contains("FORGED")), "{listener}: {reached:?}");
        assert_eq!(allowed.reached("x-other"), ["kept"]);
    }
    sidecar.stop().await;
}

/// A catalogue whose newsletter honours Global Privacy Control and tolerates a view of so many seconds.
fn strict_catalogue(seconds: u32) -> String {
    let strict = format!(r#""key":"newsletter","honoursGpc":true,"maxStaleness":"{seconds}s","#);
    catalogue(1).replace(r#""key":"newsletter","#, &strict)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn global_privacy_control_is_read_as_its_specification_says() {
    let home = Home::new();
    home.append(&strict_catalogue(30));
    home.append(&given("crm:1"));
    let sidecar = Sidecar::ready(&home, &HEADERS).await;
    let upstream = Upstream::start().await;
    let asks = Asks::Tcp(sidecar.tcp);
    let raw = json!({"encode_raw_headers": true});
    let listeners = [Listener::new("joined", asks.clone()), Listener::new("raw", asks).filter(raw)];
    let envoy = Envoy::start(&listeners, &upstream).await;
    for listener in ["joined", "raw"] {
        for (values, is_signal) in [
            (&["1"][..], true),
            (&["  1 "], true),
            (&["0", "1"], true),
            (&["1", "0"], true),
            (&["1", "1"], true),
            (&["0, 1"], true),
            (&[], false),
            (&["0"], false),
            (&["true"], false),
            (&["11"], false),
            (&[""], false),
            (&["\"1\""], false),
        ] {
            let headers: Vec<(&str, &str)> =
                values.iter().map(|value| ("Sec-GPC", *value)).chain([("x-user", "crm:1")]).collect();
            let response = envoy.get(listener, "/", &headers).await;
            if is_signal {
                assert_eq!(response.denied(), "SIGNAL_GPC", "{listener}: {values:?}");
            } else {
                assert_eq!(response.reached("x-consentd-reason"), ["CONSENT"], "{listener}: {values:?}");
            }
        }
    }
    sidecar.stop().await;
}

/// A token as an identity provider signs it, and Envoy's filter that checks it.
struct Issuer(hmac::Key, Vec<u8>);

impl Issuer {
    fn new() -> Self {
        let key = b"0123456789abcdef0123456789abcdef".to_vec();
        Self(hmac::Key::new(hmac::HMAC_SHA256, &key), key)
    }

    /// The value of an `Authorization` header.
    fn bearer(&self, claims: &Value) -> String {
        let head = json!({"alg": "HS256", "typ": "JWT", "kid": "1"});
        let encode = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let text = format!("{}.{}", encode(&head), encode(claims));
        let signature = BASE64URL_NOPAD.encode(hmac::sign(&self.0, text.as_bytes()).as_ref());
        format!("Bearer {text}.{signature}")
    }

    fn filter(&self) -> Value {
        let jwks = json!({"keys": [{"kty": "oct", "alg": "HS256", "kid": "1", "k": BASE64URL_NOPAD.encode(&self.1)}]});
        let provider = json!({
            "issuer": "test",
            "local_jwks": {"inline_string": jwks.to_string()},
            "payload_in_metadata": "jwt_payload",
            "claim_to_headers": [{"header_name": "x-token-uid", "claim_name": "uid"}],
        });
        let requires = json!({"requires_any": {"requirements": [{"provider_name": "test"}, {"allow_missing": {}}]}});
        let config =
            json!({"providers": {"test": provider}, "rules": [{"match": {"prefix": "/"}, "requires": requires}]});
        typed("envoy.filters.http.jwt_authn", "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication", &config)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subject_comes_from_a_token_that_envoy_has_checked() {
    let home = Home::with_catalogue();
    home.append(&given("crm:ayse"));
    home.append(&given("crm:42"));
    let settings = [
        ("ext_authz.subject_space", "crm"),
        ("ext_authz.subject", "metadata:envoy.filters.http.jwt_authn/jwt_payload/uid, header:x-user"),
        ("ext_authz.purpose", "extension:purpose"),
        (
            "ext_authz.channel",
            "metadata:envoy.filters.http.jwt_authn/jwt_payload/https:%2F%2Ftest%2Fchannel, value:email",
        ),
    ];
    let sidecar = Sidecar::ready(&home, &settings).await;
    let upstream = Upstream::start().await;
    let issuer = Issuer::new();
    let listener = Listener::new("jwt", Asks::Tcp(sidecar.tcp))
        .before(issuer.filter())
        .filter(json!({"metadata_context_namespaces": ["envoy.filters.http.jwt_authn"]}))
        .extensions(json!({"purpose": "newsletter"}));
    let envoy = Envoy::start(&[listener], &upstream).await;
    for (claims, reason) in [
        (json!({"iss": "test", "uid": "ayse"}), "CONSENT"),
        (json!({"iss": "test", "uid": 42}), "CONSENT"),
        (json!({"iss": "test", "uid": "somebody"}), "UNKNOWN_SUBJECT"),
        (json!({"iss": "test", "uid": "ayse", "https://test/channel": "sms"}), "NO_CONSENT"),
        // A number that is larger than a double can tell apart, and things that are no name at all.
        (json!({"iss": "test", "uid": 12_345_678_901_234_567_u64}), "MALFORMED_QUESTION"),
        (json!({"iss": "test", "uid": ["ayse"]}), "MALFORMED_QUESTION"),
        (json!({"iss": "test", "uid": ""}), "MALFORMED_QUESTION"),
    ] {
        // The token's word counts before the header's, also where it says nothing that can be taken.
        let headers = [("authorization", &*issuer.bearer(&claims)), ("x-user", "ayse")];
        let response = envoy.get("jwt", "/", &headers).await;
        if reason == "CONSENT" {
            assert_eq!(response.reached("x-consentd-reason"), [reason], "{claims}");
        } else {
            assert_eq!(response.denied(), reason, "{claims}");
        }
    }
    let without = envoy.get("jwt", "/", &[("x-user", "ayse")]).await;
    assert_eq!(without.reached("x-consentd-reason"), ["CONSENT"]);
    let forged = format!("{}A", issuer.bearer(&json!({"iss": "test", "uid": "ayse"})));
    assert_eq!(envoy.get("jwt", "/", &[("authorization", &forged)]).await.status, 401, "Envoy's own answer");
    sidecar.stop().await;
}

/// The way for proxies that hand no metadata on, such as Istio's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_envoy_hands_on_as_a_header_cannot_be_forged() {
    let home = Home::with_catalogue();
    home.append(&given("crm:ayse"));
    let settings = [
        ("ext_authz.subject_space", "crm"),
        ("ext_authz.subject", "header:x-token-uid"),
        ("ext_authz.purpose", "value:newsletter"),
        ("ext_authz.channel", "value:email"),
    ];
    let sidecar = Sidecar::ready(&home, &settings).await;
    let upstream = Upstream::start().await;
    let issuer = Issuer::new();
    let listener = Listener::new("jwt", Asks::Tcp(sidecar.tcp)).before(issuer.filter());
    let envoy = Envoy::start(&[listener], &upstream).await;
    let token = |uid: &str| issuer.bearer(&json!({"iss": "test", "uid": uid}));
    let allowed = envoy.get("jwt", "/", &[("authorization", &token("ayse")), ("x-token-uid", "x")]).await;
    assert_eq!(allowed.reached("x-consentd-reason"), ["CONSENT"]);
    let other = envoy.get("jwt", "/", &[("authorization", &token("ali")), ("X-Token-Uid", "ayse")]).await;
    assert_eq!(other.denied(), "UNKNOWN_SUBJECT");
    let without = envoy.get("jwt", "/", &[("x-token-uid", "ayse")]).await;
    assert_eq!(without.denied(), "MALFORMED_QUESTION");
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_comes_from_path_query_headers_and_route() {
    let home = Home::with_catalogue();
    home.append(&said("crm:1", "newsletter.weekly", "sms", "GIVEN", sidecar::now_ms() - 60_000));
    home.append(&said("crm:şeker@example.org", "newsletter.weekly", "sms", "GIVEN", sidecar::now_ms() - 60_000));
    let settings = [
        ("ext_authz.subject", "path:/users/{subject}/**, query:user, header:x-user"),
        ("ext_authz.purpose", "extension:purpose"),
        ("ext_authz.channel", "query:via, extension:channel"),
        ("ext_authz.jurisdiction", "header:x-country"),
        ("ext_authz.recipient", "header:x-recipient"),
    ];
    let sidecar = Sidecar::ready(&home, &settings).await;
    let upstream = Upstream::start().await;
    let asks = Asks::Tcp(sidecar.tcp);
    let extensions = json!({"purpose": "newsletter.weekly", "channel": "sms"});
    let listeners = [
        Listener::new("joined", asks.clone()).extensions(extensions.clone()),
        Listener::new("raw", asks.clone()).extensions(extensions).filter(json!({"encode_raw_headers": true})),
        Listener::new("bare", asks),
    ];
    let envoy = Envoy::start(&listeners, &upstream).await;
    for listener in ["joined", "raw"] {
        for (path, headers, reason) in [
            ("/users/crm:1", &[][..], "CONSENT"),
            ("/users/crm%3A1/orders/7?user=crm:2", &[("x-user", "crm:3")], "CONSENT"),
            ("/orders?user=crm:1", &[("x-user", "crm:3")], "CONSENT"),
            ("/orders?user=crm%3A%C5%9Feker%40example.org", &[], "CONSENT"),
            ("/orders", &[("x-user", "crm:1")], "CONSENT"),
            ("/orders?via=sms", &[("x-user", "crm:1"), ("x-country", "TR")], "CONSENT"),
            ("/orders?via=email", &[("x-user", "crm:1")], "NO_CONSENT"),
            ("/users/crm:3", &[("x-user", "crm:1")], "UNKNOWN_SUBJECT"),
            ("/orders?user=crm:3", &[("x-user", "crm:1")], "UNKNOWN_SUBJECT"),
            ("/orders", &[("x-user", "crm:1"), ("x-recipient", "acme")], "NO_CONSENT"),
            // Present and ambiguous is never passed over.
            ("/users/crm:1/../crm:3", &[], "MALFORMED_QUESTION"),
            ("/users//crm:1", &[("x-user", "crm:1")], "MALFORMED_QUESTION"),
            ("/orders?user=crm:1&user=crm:3", &[], "MALFORMED_QUESTION"),
            ("/orders?user=crm:1&%75ser=crm:3", &[], "MALFORMED_QUESTION"),
            ("/orders?user=%ff", &[("x-user", "crm:1")], "MALFORMED_QUESTION"),
            ("/orders", &[("x-user", "crm:1"), ("x-user", "crm:3")], "MALFORMED_QUESTION"),
            ("/orders", &[("x-user", "crm:1"), ("x-country", "Turkey")], "MALFORMED_QUESTION"),
            ("/orders", &[("x-user", "1")], "MALFORMED_QUESTION"),
        ] {
            let response = envoy.get(listener, path, headers).await;
            if reason == "CONSENT" {
                assert_eq!(response.reached("x-consentd-reason"), [reason], "{listener}: {path} {headers:?}");
            } else {
                assert_eq!(response.denied(), reason, "{listener}: {path} {headers:?}");
            }
        }
    }
    // Where the route says nothing, there is no purpose, and none is made up.
    assert_eq!(envoy.get("bare", "/users/crm:1", &[]).await.json()["field"], "purpose");
    // Bytes that are no text: Envoy replaces them in the joined form, and hands them on in the other.
    for (listener, reason) in [("joined", "UNKNOWN_SUBJECT"), ("raw", "MALFORMED_QUESTION")] {
        let response = envoy.client(listener).await.get_bytes("/orders", &[("x-user", b"crm:\xff1")]).await;
        assert_eq!(response.denied(), reason, "{listener}");
    }
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_is_too_old_denies_until_the_ledger_is_back() {
    let home = Home::new();
    let (folder, elsewhere) = (home.path("ledger"), home.path("elsewhere"));
    std::fs::create_dir(&folder).expect("made");
    write_file(&elsewhere, b"not a folder");
    let ledger = folder.join("events.jsonl");
    append(&ledger, format!("{}\n{}\n", strict_catalogue(2), given("crm:1")).as_bytes());
    let settings = [&HEADERS[..], &[("ledger.file", ledger.to_str().expect("UTF-8"))]].concat();
    let sidecar = Sidecar::ready(&home, &settings).await;
    let upstream = Upstream::start().await;
    let listeners =
        [Listener::new("closed", Asks::Tcp(sidecar.tcp)), Listener::new("open", Asks::Tcp(sidecar.tcp)).open()];
    let envoy = Envoy::start(&listeners, &upstream).await;
    let until = async |status: u16| {
        let look = async || (envoy.get("open", "/", &[("x-user", "crm:1")]).await.status == status).then_some(());
        eventually("the answer changes", look).await;
    };
    until(200).await;
    let exchange = || renameat_with(CWD, &folder, CWD, &elsewhere, RenameFlags::EXCHANGE).expect("exchanged");
    exchange();
    until(403).await;
    for listener in ["closed", "open"] {
        assert_eq!(envoy.get(listener, "/", &[("x-user", "crm:1")]).await.denied(), "STALE", "{listener}");
        assert_eq!(envoy.count(listener, "error").await, 0, "{listener}: a denial is no error");
    }
    exchange();
    until(200).await;
    append(&ledger, format!("{}\n", withdrawn("crm:1")).as_bytes());
    until(403).await;
    assert_eq!(envoy.get("open", "/", &[("x-user", "crm:1")]).await.denied(), "WITHDRAWN");
    sidecar.stop().await;
}

/// A writer's token in a header: the answer rests on a view that holds what was written, or says that it does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_waited_for_within_envoys_deadline() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    let settings = [
        &HEADERS[..],
        &[
            ("ext_authz.at_least_as_fresh", "header:x-token"),
            ("ledger.poll_interval", "1s"),
            ("replica.max_wait", "4s"),
        ],
    ]
    .concat();
    let sidecar = Sidecar::ready(&home, &settings).await;
    let upstream = Upstream::start().await;
    let asks = Asks::Tcp(sidecar.tcp);
    let listeners = [Listener::new("hurried", asks.clone()).hurried(), Listener::new("patient", asks)];
    let envoy = Envoy::start(&listeners, &upstream).await;
    let allowed = envoy.get("patient", "/", &[("x-user", "crm:1")]).await;
    let token = allowed.reached("x-consentd-ledger-token").remove(0);
    let after = token_at(&token, home.append(&withdrawn("crm:1")));
    let response = envoy.get("patient", "/", &[("x-user", "crm:1"), ("x-token", &after)]).await;
    assert_eq!(response.denied(), "WITHDRAWN");
    let beyond = token_at(&token, std::fs::metadata(home.ledger()).expect("there").len() + 1000);
    // Of the 200 ms that Envoy gives by default, a busy machine may take the last 40 for something else; not every time.
    let mut stale = 0;
    for _ in 0..10 {
        let response = envoy.get("hurried", "/", &[("x-user", "crm:1"), ("x-token", &beyond)]).await;
        assert_eq!(response.status, 403);
        stale += u32::from(response.header("x-consentd-reason") == Some("STALE"));
    }
    assert!(stale > 0, "no answer within Envoy's deadline: {} timeouts", envoy.count("hurried", "timeout").await);
    sidecar.stop().await;
}

/// An Envoy that asks a sidecar that was told nothing about its questions is denied in so many words.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_without_a_mapping_denies_even_those_who_fail_open() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    let sidecar = Sidecar::ready(&home, &[]).await;
    let upstream = Upstream::start().await;
    let envoy = Envoy::start(&[Listener::new("open", Asks::Tcp(sidecar.tcp)).open()], &upstream).await;
    assert_eq!(envoy.get("open", "/", &[("x-user", "crm:1")]).await.denied(), "NOT_CONFIGURED");
    sidecar.stop().await;
}

/// A message that is too large for the sidecar, which any client can make with a long header, is denied and no error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_too_large_is_denied_even_for_those_who_fail_open() {
    let home = Home::with_catalogue();
    home.append(&given("crm:1"));
    let settings = [&HEADERS[..], &[("server.max_message_bytes", "64KiB")]].concat();
    let sidecar = Sidecar::ready(&home, &settings).await;
    let upstream = Upstream::start().await;
    let listener = Listener::new("open", Asks::Tcp(sidecar.tcp)).open().manager(json!({"max_request_headers_kb": 512}));
    let envoy = Envoy::start(&[listener], &upstream).await;
    let large = "x".repeat(100 << 10);
    let mut client: Client = envoy.client("open").await;
    let response = client.get("/", &[("x-user", "crm:1"), ("x-large", &large)]).await;
    assert_eq!(response.denied(), "MALFORMED_QUESTION");
    let response = client.get("/", &[("x-user", "crm:1")]).await;
    assert_eq!(response.reached("x-consentd-reason"), ["CONSENT"], "the connection is none the worse for it");
    assert_eq!(envoy.count("open", "error").await, 0);
    sidecar.stop().await;
}
