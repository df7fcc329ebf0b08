//! The central ledger's commands and its writer, against real NATS servers.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly, and its helpers are tests too"
)]

#[path = "support/nats.rs"]
#[allow(dead_code, reason = "each test uses its part")]
mod nats;
#[path = "support/relay.rs"]
mod relay;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream::Stream};
use consentd::ledger::nats::subject::{About, CATALOGUE, Kind};
use consentd::ledger::nats::{self as ledger, Config, NatsLedger, OpenError, WriteError};
use consentd::ledger::{SubjectHasher, Token, codec, load_secret};
use consentd::proto::v1;
use nats::{Certificates, Cluster, NatsServer, Options};
use prost::Message as _;
use relay::{Link, Relay};
use serde_json::{Value, json};

/// A folder with a subject key, and a server or cluster.
struct Shop {
    folder: tempfile::TempDir,
    url: String,
    flags: Vec<String>,
}

impl Shop {
    fn new(url: String) -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), url, flags: Vec::new() }
    }

    /// With its streams made.
    fn made(url: String) -> Self {
        let shop = Self::new(url);
        shop.ok(&["init", "--make-subject-key"]);
        shop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).expect("written");
        self.path(name).display().to_string()
    }

    fn key_file(&self) -> PathBuf {
        self.path("subject.key")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_consentd"));
        command.arg("ledger").args(arguments).args(["--ledger", &self.url]).args(&self.flags);
        command.env("CONSENTD_LEDGER_SUBJECT_KEY_FILE", self.key_file()).env_remove("RUST_BACKTRACE");
        command.output().expect("the binary runs")
    }

    /// What a command that must succeed prints.
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// The sentence of a command that must end with an error, having printed nothing else.
    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let told = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{arguments:?} half-said something");
        assert!(told.starts_with("consentd: ") && !told.contains("panicked"), "{told}");
        told
    }

    fn config(&self) -> Config {
        let mut connection = consentd::nats::Config::new(self.url.parse().expect("addresses"));
        connection.request_timeout = Duration::from_millis(500);
        connection.connect_timeout = Duration::from_secs(2);
        Config { connection, stream: ledger::DEFAULT_STREAM.to_owned(), subject_key_file: self.key_file() }
    }

    fn hasher(&self) -> SubjectHasher {
        SubjectHasher::new(&load_secret(&self.key_file()).expect("the key"))
    }

    async fn context(&self) -> jetstream::Context {
        jetstream::new(consentd::nats::connect(&self.config().connection).await.expect("connected"))
    }

    async fn stream(&self) -> Stream {
        self.context().await.get_stream(ledger::DEFAULT_STREAM).await.expect("the stream")
    }
}

/// What the stream holds: subject, message id and event of each message.
async fn messages(stream: &Stream) -> Vec<(String, String, v1::LedgerEvent)> {
    let last = stream.get_info().await.expect("info").state.last_sequence;
    let mut messages = Vec::new();
    for sequence in 1..=last {
        let message = stream.get_raw_message(sequence).await.expect("a message");
        let id = message.headers.get("Nats-Msg-Id").expect("an id").to_string();
        let event = v1::LedgerEvent::decode(message.payload).expect("an event");
        messages.push((message.subject.to_string(), id, event));
    }
    messages
}

fn erasure(id: &str) -> v1::LedgerEvent {
    let subject = Some(v1::Subject { space: "crm".to_owned(), id: id.to_owned() });
    v1::LedgerEvent {
        event_id: format!("event-{id}"),
        event_time: Some(pbjson_types::Timestamp { seconds: 1_767_607_200, nanos: 0 }),
        event: Some(v1::ledger_event::Event::Erasure(v1::ErasureEvent { subject })),
        ..v1::LedgerEvent::default()
    }
}

fn link(one: &str, other: &str) -> v1::LedgerEvent {
    let subject = |id: &str| Some(v1::Subject { space: "crm".to_owned(), id: id.to_owned() });
    let link = v1::LinkEvent { subject: subject(one), linked: subject(other), unlinked: false };
    v1::LedgerEvent { event: Some(v1::ledger_event::Event::Link(link)), ..erasure(one) }
}

#[test]
fn init_makes_the_streams_once_and_checks_them_after() {
    let server = NatsServer::start(&Options::default());
    let shop = Shop::new(server.url());
    let told = shop.fails(&["init"]);
    assert!(told.contains("subject.key` cannot be read") && told.contains("--make-subject-key"), "{told}");
    let told = shop.ok(&["init", "--make-subject-key"]);
    for line in [
        format!("made the stream `CONSENT_LEDGER` on `{}`: 1 replica, keeps what it acknowledges", server.url()),
        format!("made the stream `CONSENT_EVIDENCE` on `{}`: 1 replica", server.url()),
        "not seen: whether the servers flush to their disks before they acknowledge".to_owned(),
        "a server alone keeps the only copy".to_owned(),
    ] {
        assert!(told.contains(&line), "`{line}` is not in:\n{told}");
    }
    let told: Value = serde_json::from_str(&shop.ok(&["init", "--json"])).expect("JSON");
    assert_eq!(
        told["streams"],
        json!([
            {"name": "CONSENT_LEDGER", "made": false, "replicas": 1},
            {"name": "CONSENT_EVIDENCE", "made": false, "replicas": 1},
        ])
    );

    // Another machine, without the key and with another one.
    let key = std::fs::read(shop.key_file()).expect("the key");
    std::fs::remove_file(shop.key_file()).expect("removed");
    let told = shop.fails(&["init", "--make-subject-key"]);
    assert!(told.contains("is there already and has a subject key; copy it to"), "{told}");
    assert!(!shop.key_file().exists(), "a second key was made");
    std::fs::write(shop.key_file(), [7; 32]).expect("written");
    let told = shop.fails(&["init"]);
    assert!(told.contains("its subject key is another than"), "{told}");
    let told = shop.fails(&["erase", "crm:1"]);
    assert!(told.contains("was made with another subject key than"), "{told}");
    std::fs::write(shop.key_file(), key).expect("written");
    shop.ok(&["erase", "crm:1"]);

    // The environment names it as well, and before a file.
    let mut command = Command::new(env!("CARGO_BIN_EXE_consentd"));
    command.args(["ledger", "erase", "crm:2", "--json"]).env("CONSENTD_LEDGER_URL", server.url());
    command.env("CONSENTD_LEDGER_FILE", shop.path("other")).env("CONSENTD_LEDGER_SUBJECT_KEY_FILE", shop.key_file());
    let told: Value = serde_json::from_slice(&command.output().expect("it runs").stdout).expect("JSON");
    assert_eq!(told["position"], 2);
    command.env("CONSENTD_LEDGER_URL", "nats://ayse:hunter2@localhost:4222");
    let told = String::from_utf8(command.output().expect("it runs").stderr).expect("text");
    assert!(told.contains("holds a user or a password") && !told.contains("hunter2"), "{told}");
}

/// Changes to the settings of a good stream, each with the sentence that must name it.
fn bad_settings() -> Vec<(Value, &'static str)> {
    vec![
        (json!({"retention": "workqueue", "allow_direct": false}), "its retention is `workqueue`"),
        (json!({"retention": "interest"}), "its retention is `interest`"),
        (json!({"storage": "memory"}), "it is kept in memory"),
        (json!({"max_age": 86_400_000_000_000_u64}), "it removes messages after 86400 s"),
        (json!({"discard": "old"}), "it drops its oldest messages"),
        (json!({"max_msgs_per_subject": 5}), "no more than 5 messages of a subject"),
        (json!({"no_ack": true}), "it acknowledges nothing"),
        (json!({"deny_delete": false}), "single messages can be deleted"),
        (json!({"deny_purge": false}), "it can be purged"),
        (json!({"deny_purge": false, "allow_rollup_hdrs": true}), "a message can remove all before it"),
        (json!({"allow_msg_ttl": true}), "messages can be given an end"),
        (json!({"allow_msg_ttl": true, "subject_delete_marker_ttl": 1_000_000_000, "deny_purge": false}), "by itself"),
        (json!({"allow_msg_counter": true, "discard": "old"}), "(`allow_msg_counter`)"),
        (json!({"allow_msg_schedules": true, "deny_purge": false, "discard": "old"}), "(`allow_msg_schedules`)"),
        (json!({"persist_mode": "async"}), "acknowledges before it has written"),
        (json!({"subject_transform": {"src": ">", "dest": "x.>"}}), "(`subject_transform`)"),
        (json!({"sources": [{"name": "OTHER"}]}), "it copies from other streams (`sources`)"),
        (json!({"mirror": {"name": "OTHER"}, "subjects": []}), "it copies from other streams (`mirror`)"),
        (json!({"republish": {"src": ">", "dest": "copy.>"}}), "it sends a copy of each message, identifiers included"),
        (json!({"subjects": ["consent.ledger.>", "more.>"]}), "`more.>` and must take `consent.ledger.>` alone"),
        (json!({"first_seq": 100}), "its first message has the number 100"),
        (json!({"duplicate_window": 1_000_000_000}), "for 1 s only (`duplicate_window`)"),
        (json!({"allow_batched": true}), "the setting `allow_batched`, which this version does not know"),
        (json!({"metadata": {}}), "it does not say which subject key is its own"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn init_and_writers_refuse_each_setting_that_loses_or_rewrites_events() {
    let server = NatsServer::start(&Options::default());
    let shop = Shop::made(server.url());
    let context = shop.context().await;
    let good: Value = context.request("STREAM.INFO.CONSENT_LEDGER", &()).await.expect("info");
    let good = good["config"].as_object().expect("settings").clone();
    for (change, sentence) in bad_settings() {
        context.delete_stream(ledger::DEFAULT_STREAM).await.expect("deleted");
        let mut settings = good.clone();
        settings.extend(change.as_object().expect("settings").clone());
        let made: Value = context.request("STREAM.CREATE.CONSENT_LEDGER", &settings).await.expect("asked");
        assert!(made.get("error").is_none(), "the server refuses {change}: {made}");
        let told = shop.fails(&["init"]);
        assert!(told.contains(sentence), "{change}: {told}");
        // A writer says the same, and writes nothing.
        let written = NatsLedger::open(&shop.config()).await;
        assert!(matches!(written, Err(OpenError::Faults { .. } | OpenError::NoKey { .. })), "{change}: {written:?}");
    }

    // All that is wrong is said at once.
    context.delete_stream(ledger::DEFAULT_STREAM).await.expect("deleted");
    let mut settings = good.clone();
    settings.extend(json!({"max_age": 86_400_000_000_000_u64, "discard": "old"}).as_object().expect("one").clone());
    let _: Value = context.request("STREAM.CREATE.CONSENT_LEDGER", &settings).await.expect("asked");
    let told = shop.fails(&["init", "--replicas", "3"]);
    for sentence in ["after 86400 s", "drops its oldest", "on 1 servers and not on 3"] {
        assert!(told.contains(sentence), "{sentence}: {told}");
    }
    // And a hole is seen, which nobody can make with the right settings.
    context.delete_stream(ledger::DEFAULT_STREAM).await.expect("deleted");
    let mut settings = good;
    settings.insert("deny_delete".to_owned(), false.into());
    let _: Value = context.request("STREAM.CREATE.CONSENT_LEDGER", &settings).await.expect("asked");
    for id in ["1", "2", "3"] {
        context.publish(CATALOGUE, id.into()).await.expect("sent").await.expect("acknowledged");
    }
    shop.stream().await.delete_message(2).await.expect("deleted");
    assert!(shop.fails(&["init"]).contains("1 messages are missing inside it"));
}

#[test]
fn init_sees_how_servers_flush_where_it_may_ask() {
    let accounts = "accounts { $SYS { users: [ { user: sys, password: sys } ] }\n\
                    SHOP { jetstream: enabled, users: [ { user: shop, password: shop } ] } }";
    let start =
        |sync_interval| NatsServer::start(&Options { sync_interval, more: accounts.to_owned(), ..Options::default() });
    let (safe, unsafe_) = (start(Some("always")), start(None));
    let mut shop = Shop::new(safe.url());
    let system = shop.write("sys", "sys:sys");
    let user = shop.write("shop", "shop:shop");
    shop.flags = vec!["--nats-creds".to_owned(), user.clone()];
    let told = shop.ok(&["init", "--make-subject-key", "--system-creds", &system]);
    assert!(told.contains("made the stream `CONSENT_LEDGER`") && !told.contains("not seen"), "{told}");
    let told = shop.fails(&["init", "--system-creds", &user]);
    assert!(told.contains("no server answers what only the system account may ask"), "{told}");

    shop.url = unsafe_.url();
    let told = shop.fails(&["init", "--system-creds", &system]);
    assert!(told.contains("acknowledges what is not on its disk for up to 120 s"), "{told}");
    assert!(told.contains("set `jetstream { sync_interval: always }`"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_verb_writes_its_event_under_the_keyed_hash_of_its_subject() {
    let server = NatsServer::start(&Options::default());
    let shop = Shop::made(server.url());
    let catalogue = r#"{"version":1,"channels":[{"key":"email"}],
        "purposes":[{"key":"marketing","legalBasis":"LEGAL_BASIS_CONSENT","channels":["email"]}]}"#;
    let catalogue = shop.write("catalogue.json", catalogue);
    shop.ok(&["catalogue", &catalogue]);
    let told = shop.ok(&["grant", "crm:ayse", "marketing", "--channel", "email", "--event-id", "e1"]);
    assert!(told.starts_with("crm:ayse  marketing over email: given (consent)\n  at_least_as_fresh: 1"), "{told}");
    shop.ok(&["withdraw", "crm:ayse", "marketing"]);
    shop.ok(&["refuse", "crm:ayse", "marketing", "--channel", "sms"]);
    shop.ok(&["object", "crm:ayse", "profiling"]);
    shop.ok(&["link", "crm:ayse", "device:9"]);
    let told: Value = serde_json::from_str(&shop.ok(&["erase", "crm:ayse", "--json"])).expect("JSON");
    let event = shop.write("event.json", r#"{"eventId":"p1","erasure":{"subject":{"space":"device","id":"9"}}}"#);
    shop.ok(&["publish", &event]);

    let stream = shop.stream().await;
    let written = messages(&stream).await;
    let hasher = shop.hasher();
    let (ayse, device) = (hasher.key("crm:ayse"), hasher.key("device:9"));
    let about: Vec<About> = written.iter().filter_map(|(subject, ..)| About::parse(subject)).collect();
    assert_eq!(
        about,
        [
            About::Catalogue,
            About::Subject(ayse, Kind::Consent),
            About::Subject(ayse, Kind::Consent),
            About::Subject(ayse, Kind::Consent),
            About::Subject(ayse, Kind::Consent),
            About::Subject(ayse, Kind::Link),
            About::Subject(device, Kind::Link),
            About::Subject(ayse, Kind::Erasure),
            About::Subject(device, Kind::Erasure),
        ]
    );
    // The two messages of the link say one event, and are two to the server.
    assert_eq!(written[5].2, written[6].2);
    let ids: BTreeSet<&String> = written.iter().map(|(_, id, _)| id).collect();
    assert_eq!(ids.len(), written.len());
    // P6: what is not a payload leads back to nobody.
    for (subject, id, _) in &written {
        assert!(!subject.contains("ayse") && !id.contains("ayse"), "{subject} {id}");
    }
    let token: Token = told["token"].as_str().expect("a token").parse().expect("a token");
    assert_eq!((token.position.0, told["position"].as_u64()), (8, Some(8)));
    assert_eq!(token.ledger, ledger::ledger_id(&stream.get_info().await.expect("info")));
}

/// Beats lie between the events, and bytes that are no event may too.
#[tokio::test(flavor = "multi_thread")]
async fn tail_shows_the_last_events_and_goes_on_with_what_comes() {
    let server = NatsServer::start(&Options::default());
    let shop = Shop::made(server.url());
    assert_eq!(shop.ok(&["tail"]), "", "nothing is there");
    assert_eq!(shop.ok(&["tail", "--from-start"]), "");
    shop.ok(&["grant", "crm:1", "marketing", "--channel", "email", "--source", "shop"]);
    shop.ok(&["link", "crm:1", "device:9"]);
    let context = shop.context().await;
    let publish = async |subject: String, payload: &'static str| {
        context.publish(subject, payload.into()).await.expect("sent").await.expect("acknowledged");
    };
    let about = About::Subject(shop.hasher().key("crm:2"), Kind::Consent).to_string();
    publish(about, "no event").await;
    for _ in 0..600 {
        publish(ledger::BEATS.to_owned(), "").await;
    }
    shop.ok(&["restrict", "crm:1", "--purpose", "marketing"]);
    shop.ok(&["born", "crm:1", "--date", "2011-04"]);
    shop.ok(&["erase", "crm:1"]);

    let all = shop.ok(&["tail", "--from-start"]);
    let lines: Vec<&str> = all.lines().collect();
    let [grant, link, unreadable, restriction, birth, erasure] = lines[..] else { panic!("{all}") };
    assert!(restriction.ends_with("crm:1  marketing is restricted"), "{restriction}");
    assert!(birth.ends_with("crm:1  date of birth recorded"), "{birth}");
    assert!(grant.contains("crm:1") && grant.ends_with("[shop]"), "{grant}");
    assert!(link.contains("crm:1") && link.contains("device:9"), "{link}");
    assert!(unreadable.contains("UNREADABLE `@4`, about the subject under the key "), "{unreadable}");
    assert!(erasure.contains("crm:1"), "{erasure}");
    assert_eq!(shop.ok(&["tail"]), all);
    assert_eq!(shop.ok(&["tail", "-n", "2"]), format!("{birth}\n{erasure}\n"), "beats do not count");
    assert_eq!(shop.ok(&["tail", "-n", "0"]), "");
    let told = shop.ok(&["tail", "-n", "1", "--json"]);
    let told: Value = serde_json::from_str(told.trim_end()).expect("JSON");
    assert_eq!(told["event"]["erasure"]["subject"], json!({"space": "crm", "id": "1"}));
    let token: Token = told["token"].as_str().expect("a token").parse().expect("a token");
    assert_eq!(Some(token.position.0), told["position"].as_u64());

    let mut following = Command::new(env!("CARGO_BIN_EXE_consentd"));
    following.args(["ledger", "tail", "--follow", "-n", "1", "--ledger", &shop.url]);
    following.arg("--subject-key").arg(shop.key_file()).stdout(Stdio::piped());
    let mut following = following.spawn().expect("the binary runs");
    let mut lines = BufReader::new(following.stdout.take().expect("piped")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), erasure);
    shop.ok(&["grant", "crm:3", "marketing", "--channel", "email"]);
    assert!(lines.next().expect("a line").expect("text").contains("crm:3"));
    following.kill().expect("killed");
    following.wait().expect("ended");
}

#[test]
fn what_is_not_an_event_is_refused_and_nothing_is_written() {
    let server = NatsServer::start(&Options::default());
    let shop = Shop::made(server.url());
    let two = format!(
        "{}\n{{\"eventId\":\"bad\",\"erasure\":{{\"subject\":{{\"space\":\"CRM\",\"id\":\"7\"}}}}}}",
        r#"{"eventId":"good","erasure":{"subject":{"space":"crm","id":"7"}}}"#
    );
    let two = shop.write("two.json", &two);
    assert!(shop.fails(&["publish", &two]).contains("event 2: "));
    assert!(shop.fails(&["grant", "crm:1", "Marketing", "--channel", "email"]).contains("consent.purpose: must be"));
    assert!(shop.fails(&["erase", "crm:1", "--at", "2999-01-01T00:00:00Z"]).contains("dated in the future"));
    // The server takes a mebibyte at most.
    let purposes: Vec<Value> = (0..40_000)
        .map(|n| json!({"key": format!("purpose.of.a.long.name.{n}"), "legalBasis": "LEGAL_BASIS_CONSENT", "channels": ["email"]}))
        .collect();
    let catalogue = json!({"version": 1, "channels": [{"key": "email"}], "purposes": purposes});
    let catalogue = shop.write("catalogue.json", &catalogue.to_string());
    let told = shop.fails(&["catalogue", &catalogue]);
    assert!(told.contains("and the server takes 1048576; raise its `max_payload`"), "{told}");
    let told: Value = serde_json::from_str(&shop.ok(&["erase", "crm:1", "--json"])).expect("JSON");
    assert_eq!(told["position"], 1, "something was written before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_said_to_be_and_nothing_else_is() {
    let mut server = NatsServer::start(&Options::default());
    let shop = Shop::made(server.url());
    let ledger = NatsLedger::open(&shop.config()).await.expect("open").with_patience(Duration::from_secs(1));

    // Without an answer the outcome is unknown. When the same is written again, it stands there once.
    server.stop();
    let written = ledger.append(&[erasure("1"), link("2", "3")]).await;
    assert!(matches!(written, Err(WriteError::Unknown { written: 0, of: 2, .. })), "{written:?}");
    server.cont();
    let tokens = ledger.append(&[erasure("1"), link("2", "3")]).await.expect("written");
    assert_eq!(tokens.iter().map(|token| token.position.0).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(messages(&shop.stream().await).await.len(), 3);

    // Where nobody takes the subjects, nothing was written, and that is said.
    shop.context().await.delete_stream(ledger::DEFAULT_STREAM).await.expect("deleted");
    let written = ledger.append(&[erasure("4")]).await;
    let Err(WriteError::Away { written: 0, .. }) = &written else { panic!("{written:?}") };
    assert!(written.expect_err("an error").to_string().ends_with("nothing was written"));
    assert!(shop.fails(&["erase", "crm:4"]).contains("there is no stream `CONSENT_LEDGER` on the server"));

    server.kill();
    let told = shop.fails(&["erase", "crm:4"]);
    assert!(told.contains("nobody listens there; is the NATS server running?"), "{told}");
    let csv = shop.write("a.csv", "subject,purpose,channel,status,event_time\n");
    assert!(shop.fails(&["import", &csv]).contains("nobody listens there"));
    // A ledger made anew is another one, and is not written to as if it were the first.
    server.restart();
    shop.ok(&["init"]);
    let token: Value = serde_json::from_str(&shop.ok(&["erase", "crm:4", "--json"])).expect("JSON");
    let token: Token = token["token"].as_str().expect("a token").parse().expect("a token");
    assert_ne!(token.ledger, ledger.id());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_slow_stalls_or_is_cut_loses_and_doubles_nothing() {
    let server = NatsServer::start(&Options::default());
    let shop = Shop::made(server.url());
    let relay = Relay::start(server.port);
    let mut config = shop.config();
    config.connection.servers = format!("nats://127.0.0.1:{}", relay.port).parse().expect("an address");
    let ledger = NatsLedger::open(&config).await.expect("open");
    let events = |from: usize, to: usize| (from..to).map(|n| erasure(&n.to_string())).collect::<Vec<_>>();

    relay.set_both(Link { delay: Duration::from_millis(50), ..Link::default() });
    ledger.append(&events(0, 5)).await.expect("written, slowly");
    // Longer than one attempt, shorter than the writer's patience.
    for break_it in [|relay: &Relay| relay.set_both(Link::stalled()), Relay::cut] {
        break_it(&relay);
        let (writer, batch) = (ledger.clone(), events(5, 25));
        let writing = tokio::spawn(async move { writer.append(&batch).await });
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert!(!writing.is_finished(), "{:?}", writing.await);
        relay.mend();
        let tokens = writing.await.expect("it ends").expect("written");
        assert_eq!(tokens.iter().map(|token| token.position.0).collect::<Vec<_>>(), (6..26).collect::<Vec<_>>());
    }
    assert_eq!(messages(&shop.stream().await).await.len(), 25);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_ledger_refuses_what_is_new_and_says_how_much_it_took() {
    let server = NatsServer::start(&Options::default());
    let shop = Shop::made(server.url());
    let context = shop.context().await;
    let mut info: Value = context.request("STREAM.INFO.CONSENT_LEDGER", &()).await.expect("info");
    info["config"]["max_bytes"] = json!(2000);
    let made: Value = context.request("STREAM.UPDATE.CONSENT_LEDGER", &info["config"]).await.expect("asked");
    assert!(made.get("error").is_none(), "{made}");
    let ledger = NatsLedger::open(&shop.config()).await.expect("a bound that refuses loses nothing");
    let events: Vec<v1::LedgerEvent> = (0..100).map(|n| erasure(&n.to_string())).collect();
    let written = ledger.append(&events).await;
    let Err(WriteError::Refused { written: some, of: 100, .. }) = written else { panic!("{written:?}") };
    assert_eq!(messages(&shop.stream().await).await.len(), some);
    assert!(some > 0);
    let told = shop.fails(&["erase", "crm:1"]);
    assert!(told.contains("takes no event: ") && told.contains("nothing was written"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_events_of_one_id_are_both_kept_and_one_event_written_twice_is_kept_once() {
    let server = NatsServer::start(&Options::default());
    let shop = Shop::made(server.url());
    let ledger = NatsLedger::open(&shop.config()).await.expect("open");
    let first = ledger.append(&[erasure("1")]).await.expect("written");
    assert_eq!(ledger.append(&[erasure("1")]).await.expect("written"), first);
    let mut other = erasure("1");
    other.event_time = Some(pbjson_types::Timestamp { seconds: 1_767_607_201, nanos: 0 });
    let second = ledger.append(&[other]).await.expect("written");
    assert_eq!((first[0].position.0, second[0].position.0), (1, 2));
}

/// What an operator has once the servers, their last events or the subject key are lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_events_brings_back_what_is_missing_and_fills_a_ledger_under_another_key() {
    let server = NatsServer::start(&Options::default());
    let shop = Shop::made(server.url());
    shop.ok(&["grant", "crm:1", "marketing", "--channel", "email", "--source", "shop"]);
    shop.ok(&["link", "crm:1", "device:9"]);
    shop.ok(&["withdraw", "crm:1", "marketing"]);
    shop.ok(&["erase", "crm:2"]);
    let copy = shop.path("copy.jsonl").display().to_string();
    let lines = shop.ok(&["tail", "--from-start", "--events"]);
    shop.write("copy.jsonl", &lines);
    assert_eq!(lines.lines().count(), 4, "a link is one event: {lines}");

    // Into the same ledger: nothing is missing. Into one that was set back to before the withdrawal: only what is.
    let again: Value = serde_json::from_str(&shop.ok(&["import", &copy, "--json"])).expect("JSON");
    assert_eq!((&again["written"], &again["known"]), (&json!(0), &json!(4)), "{again}");
    let older = NatsServer::start(&Options::default());
    let restored = Shop::made(older.url());
    let before: String = lines.lines().take(2).flat_map(|line| [line, "\n"]).collect();
    restored.ok(&["import", &restored.write("older.jsonl", &before)]);
    let last = restored.ok(&["tail", "-n", "1"]);
    assert!(last.contains("device:9"), "the last event that is left: {last}");
    let mended: Value = serde_json::from_str(&restored.ok(&["import", &copy, "--json"])).expect("JSON");
    assert_eq!((&mended["written"], &mended["known"]), (&json!(2), &json!(2)), "{mended}");

    // The restored ledger has another key than the first, and says the same.
    assert_ne!(std::fs::read(restored.key_file()).expect("a key"), std::fs::read(shop.key_file()).expect("a key"));
    let events = async |shop: &Shop| -> Vec<v1::LedgerEvent> {
        messages(&shop.stream().await).await.into_iter().map(|(_, _, event)| event).collect()
    };
    assert_eq!(events(&restored).await, events(&shop).await);
    let second = shop.fails(&["init", "--stream", "CONSENT_LEDGER_2"]);
    assert!(second.contains("overlap"), "{second}");

    // What cannot be read is not left out in silence, and whom it is about is not told.
    let about = About::Subject(shop.hasher().key("crm:2"), Kind::Consent).to_string();
    let context = shop.context().await;
    context.publish(about, "no event".into()).await.expect("sent").await.expect("acknowledged");
    let copied = shop.run(&["tail", "--from-start", "--events"]);
    assert_eq!(copied.status.code(), Some(1), "{copied:?}");
    assert_eq!(String::from_utf8_lossy(&copied.stdout), lines, "the rest is there");
    let told = String::from_utf8_lossy(&copied.stderr);
    let position = shop.stream().await.get_info().await.expect("info").state.last_sequence;
    assert!(told.contains(&format!("the event at {position} cannot be read: ")), "{told}");
    assert!(
        told.ends_with("not in the copy, because they cannot be read: 1; `consentd ledger tail` shows them\n"),
        "{told}"
    );
    assert!(!told.contains("crm:"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn import_writes_thousands_of_rows() {
    const ROWS: usize = 5000;
    let server = NatsServer::start(&Options::default());
    let shop = Shop::made(server.url());
    let rows = (0..ROWS).map(|n| format!("crm:{n},marketing,email,given,2026-01-05T10:00:00Z\n"));
    let text: String = std::iter::once("subject,purpose,channel,status,event_time\n".to_owned())
        .chain(rows)
        .chain(std::iter::once("crm:x,marketing,email,perhaps,2026-01-05T10:00:00Z\n".to_owned()))
        .collect();
    let file = shop.write("export.csv", &text);
    let counts = |arguments: &[&str]| {
        let output = shop.run(&[&["import", &file, "--json"], arguments].concat());
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        ["rows", "written", "known"].map(|name| told[name].as_u64().expect("a number"))
    };
    let stream = shop.stream().await;
    let messages = async || stream.get_info().await.expect("info").state.messages;
    assert_eq!(counts(&[]), [5001, 0, 0], "one bad row");
    assert_eq!(messages().await, 0);
    assert_eq!(counts(&["--accept-good-rows"]), [5001, 5000, 0]);
    assert_eq!(messages().await, ROWS as u64);
    // Again: every message is found in the stream, and none is even sent.
    assert_eq!(counts(&["--accept-good-rows"]), [5001, 0, 5000]);
    assert_eq!(messages().await, ROWS as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_completes_the_half_of_a_link() {
    let server = NatsServer::start(&Options::default());
    let shop = Shop::made(server.url());
    let events = [erasure("1"), link("2", "3")];
    let lines = events.each_ref().map(|event| codec::encode_line(event).expect("a text"));
    let file = shop.write("events.jsonl", &lines.join("\n"));
    // The message about one of the two, as a writer has left it that was killed between them.
    let hasher = SubjectHasher::new(&load_secret(&shop.key_file()).expect("a key"));
    let (subject, payload) = (About::of(&events[1], &hasher)[0].to_string(), ledger::payload(&events[1]));
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Msg-Id", ledger::message_id(&subject, &payload));
    let context = shop.context().await;
    let sent = context.publish_with_headers(subject, headers, payload.into()).await.expect("sent");
    sent.await.expect("written");
    NatsLedger::open(&shop.config()).await.expect("open").append(&events[..1]).await.expect("written");
    let stream = shop.stream().await;
    assert_eq!(messages(&stream).await.len(), 2);
    let told: Value = serde_json::from_str(&shop.ok(&["import", &file, "--json"])).expect("JSON");
    assert_eq!((told["written"].as_u64(), told["known"].as_u64()), (Some(1), Some(1)));
    let told: Value = serde_json::from_str(&shop.ok(&["import", &file, "--json"])).expect("JSON");
    assert_eq!((told["written"].as_u64(), told["known"].as_u64()), (Some(0), Some(2)));
    assert_eq!(messages(&stream).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_three_keeps_three_copies_and_writes_go_on_without_its_leader() {
    let mut cluster = Cluster::start(3);
    let mut shop = Shop::new(cluster.urls());
    let with_tls = |certificates: &Certificates, ca: PathBuf| {
        let files =
            [("--tls-ca", ca), ("--tls-cert", certificates.client_cert()), ("--tls-key", certificates.client_key())];
        files.into_iter().flat_map(|(flag, file)| [flag.to_owned(), file.display().to_string()]).collect::<Vec<_>>()
    };
    let other = Certificates::make();
    shop.flags = with_tls(&cluster.certificates, other.ca());
    let told = shop.fails(&["init", "--make-subject-key"]);
    assert!(
        told.contains("is not signed by an authority in") && told.contains(&other.ca().display().to_string()),
        "{told}"
    );
    shop.flags = with_tls(&cluster.certificates, cluster.certificates.ca());
    let told = shop.fails(&["init", "--make-subject-key", "--replicas", "1"]);
    assert!(told.contains("would be lost with the disk of one server"), "{told}");
    let told = shop.ok(&["init", "--make-subject-key"]);
    assert!(told.contains("3 replicas") && !told.contains("only copy"), "{told}");
    shop.ok(&["erase", "crm:1"]);

    let mut config = shop.config();
    config.connection.tls = cluster.certificates.tls();
    config.connection.request_timeout = Duration::from_secs(2);
    let ledger = NatsLedger::open(&config).await.expect("open");
    let client = consentd::nats::connect(&config.connection).await.expect("connected");
    let stream = jetstream::new(client).get_stream(ledger::DEFAULT_STREAM).await.expect("the stream");
    let leader = stream.cached_info().cluster.as_ref().and_then(|cluster| cluster.leader.clone()).expect("a leader");
    let events: Vec<v1::LedgerEvent> = (0..500).map(|n| erasure(&n.to_string())).collect();
    let writing = tokio::spawn(async move {
        let mut tokens = Vec::new();
        for events in events.chunks(50) {
            tokens.extend(ledger.append(events).await.expect("written, leader or not"));
        }
        tokens
    });
    tokio::time::sleep(Duration::from_millis(30)).await;
    cluster.node(&leader).kill();
    let started = Instant::now();
    let tokens = writing.await.expect("it ends");
    assert!(started.elapsed() < Duration::from_mins(1));
    // Everything acknowledged is there, once, where the token says.
    let positions: BTreeSet<u64> = tokens.iter().map(|token| token.position.0).collect();
    assert_eq!((tokens.len(), positions.len()), (500, 500));
    for (number, token) in tokens.iter().enumerate() {
        let message = stream.get_raw_message(token.position.0).await.expect("it is there");
        let event = v1::LedgerEvent::decode(message.payload).expect("an event");
        assert_eq!(event, erasure(&number.to_string()));
    }
}

#[test]
fn a_new_catalogue_is_compared_over_the_stream_beside_whoever_follows_it() {
    let server = NatsServer::start(&Options::default());
    let shop = Shop::made(server.url());
    let catalogue = |version: u64, since: u32| {
        let notice = json!({"id": "privacy", "materialSince": since});
        let purpose =
            json!({"key": "newsletter", "legalBasis": "LEGAL_BASIS_CONSENT", "channels": ["email"], "notice": notice});
        json!({"version": version, "channels": [{"key": "email"}], "purposes": [purpose]}).to_string()
    };
    shop.ok(&["catalogue", &shop.write("one.json", &catalogue(1, 2))]);
    shop.ok(&["grant", "crm:secret", "newsletter", "--channel", "email", "--notice", "privacy@1"]);
    let new = shop.write("two.json", &catalogue(2, 1));
    let mut command = Command::new(env!("CARGO_BIN_EXE_consentd"));
    command
        .args(["catalogue", "diff", &new, "--json", "--ledger", &shop.url])
        .arg("--subject-key")
        .arg(shop.key_file());
    let output = command.output().expect("the binary runs");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(told["totals"]["denyToAllow"], json!({"answers": 1, "subjects": 1}));
    let key = data_encoding::HEXLOWER.encode(&shop.hasher().key("crm:secret").0);
    assert_eq!(told["changes"][0]["sample"], json!([key]), "the name that the ledger itself has for the subject");
}
