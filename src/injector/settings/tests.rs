use super::*;

const LEAST: &str = "image = \"consentd:1\"\n[config.ledger]\nkind = \"nats\"\nurl = \"tls://nats:4222\"\nsubject_key_file = \"/etc/consentd/keys/subject.key\"\n[config.evidence]\nship = \"nats\"\n";

fn parse(text: &str) -> Result<Loaded, Problems> {
    Settings::parse(Path::new("injector.toml"), text)
}

fn problems(text: &str) -> Vec<String> {
    let problems = parse(text).expect_err("refused");
    problems.0.iter().map(ToString::to_string).collect()
}

#[test]
fn the_least_gives_the_defaults() {
    let Loaded { settings, warnings } = parse(LEAST).expect("valid");
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(settings.on_error, OnError::Deny);
    assert_eq!(settings.startup, Startup::Ready);
    assert_eq!(settings.secret.as_deref(), Some("consentd"));
    assert_eq!(settings.admin, "0.0.0.0:7312".parse().expect("an address"));
    assert_eq!(settings.image_pull_policy, "IfNotPresent");
    let amounts = |amounts: &Resources| {
        amounts.iter().map(|(name, amount)| format!("{name} {amount}")).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(amounts(&settings.requests), "cpu 50m, memory 64Mi");
    assert_eq!(amounts(&settings.limits), "memory 128Mi");
    assert_eq!(
        settings.config.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(),
        [
            "CONSENTD_EVIDENCE_KEY_FILE=/etc/consentd/keys/evidence.key",
            "CONSENTD_EVIDENCE_MAX_SHIPPED_BYTES=268435456B",
            "CONSENTD_EVIDENCE_MAX_UNSHIPPED_BYTES=536870912B",
            "CONSENTD_EVIDENCE_SHIP=nats",
            "CONSENTD_EVIDENCE_SHIP_WAIT=20s",
            "CONSENTD_LEDGER_KIND=nats",
            "CONSENTD_LEDGER_SUBJECT_KEY_FILE=/etc/consentd/keys/subject.key",
            "CONSENTD_LEDGER_URL=tls://nats:4222",
        ]
    );
}

#[test]
fn what_is_shipped_is_waited_for_as_long_as_is_said_and_else_for_most_of_the_grace_period() {
    let wait = |text: &str| parse(text).expect("valid").settings.config.get("CONSENTD_EVIDENCE_SHIP_WAIT").cloned();
    assert_eq!(wait(LEAST).as_deref(), Some("20s"));
    assert_eq!(wait(&format!("{LEAST}ship_wait = \"7s\"\n")).as_deref(), Some("7s"));
    assert_eq!(wait(&LEAST.replace("ship = \"nats\"", "ship = \"none\"")), None);
}

#[test]
fn amounts_that_were_taken_out_do_not_come_back() {
    let amounts = |text: &str| {
        let settings = parse(&format!("{LEAST}{text}")).expect("valid").settings;
        [settings.requests, settings.limits].map(|amounts| amounts.len())
    };
    assert_eq!(amounts(""), [2, 1]);
    assert_eq!(amounts("[resources.limits]\n"), [2, 0]);
    assert_eq!(amounts("[resources.requests]\n[resources.limits]\n"), [0, 0]);
    // More than the limit that holds where nothing is said.
    assert_eq!(amounts("[resources.requests]\nmemory = \"256Mi\"\n[resources.limits]\n"), [1, 0]);
}

#[test]
fn everything_that_is_wrong_is_said_at_once_with_its_line() {
    let text = "image_pull_policy = \"Sometimes\"\non_error = \"ignore\"\nstartup = 1\ndata_size = \"1 Gi\"\nsecret = \"Consentd!\"\nadmin = \"127.0.0.1:7312\"\nimages = \"x\"\n[resources.requests]\ncpu = 2\nmemory = \"1.5Q\"\ngpu = 1\n[resources.limits]\ncpu = \"1500m\"\n[config]\nserver.uds = \"/tmp/x\"\nledger.kindd = \"nats\"\nledger.poll_interval = \"5\"\nx = 1979-05-27\n\"a.b\" = 1\n";
    let said = problems(text);
    for wanted in [
        "image: must be set: the image of the sidecar, such as `ghcr.io/consentd/consentd:0.1.0` (injector.toml)",
        "image_pull_policy: `Sometimes` is not `Always` or `IfNotPresent` or `Never` (injector.toml:1)",
        "on_error: `ignore` is not `deny` or `allow` (injector.toml:2)",
        "startup: must be a text in quotes (injector.toml:3)",
        "data_size: `1 Gi` is not an amount such as `50m`, `0.5`, `48Mi` or `1Gi` (injector.toml:4)",
        "secret: `Consentd!` is not the name of a Secret, nor empty for none (injector.toml:5)",
        "admin: `127.0.0.1:7312` is not an address and port that is reached from outside the pod, such as `0.0.0.0:7312` (injector.toml:6)",
        "images: is no key of these settings (injector.toml:7)",
        "resources.requests.memory: `1.5Q` is not an amount such as `50m`, `0.5`, `48Mi` or `1Gi` (injector.toml:10)",
        "resources.requests.gpu: is no key of these settings (injector.toml:11)",
        "resources.limits.cpu: is less than what is requested (injector.toml:13)",
        "config.server.uds: is for the webhook to set; take it out (injector.toml:15)",
        "config.ledger.poll_interval: `5` has no unit, write `5ms`, `5s` or `5m` (injector.toml:17)",
        "config.x: is of a kind that no key takes (injector.toml:18)",
    ] {
        assert!(said.iter().any(|problem| problem == wanted), "`{wanted}` is not in {said:#?}");
    }
    for wanted in ["config.ledger.kindd: ", "config.\"a.b\": ", "config.ledger.file: must be set"] {
        assert!(said.iter().any(|problem| problem.starts_with(wanted)), "`{wanted}` is not in {said:#?}");
    }
    assert_eq!(said.len(), 17, "{said:#?}");
}

#[test]
fn a_file_that_is_no_toml_is_told_by_its_line_and_not_repeated() {
    let said = problems(&format!("{LEAST}secret = hunter2\n"));
    assert!(said.iter().any(|problem| problem.ends_with("(injector.toml:8)")), "{said:#?}");
    assert!(said.iter().all(|problem| !problem.contains("hunter2")), "{said:#?}");
}

#[test]
fn a_path_must_lead_into_the_pod() {
    let file = |line: &str| format!("{LEAST}[config.replica]\nkey_file = \"{line}\"\n");
    assert!(parse(&file("/var/lib/consentd/subject.key")).is_ok());
    for wrong in ["/etc/ssl/key", "subject.key", "/etc/consentd/keys/../../ssl/key", "/etc/consentd/keysx"] {
        let said = problems(&file(wrong));
        let wanted = format!(
            "config.replica.key_file: `{wrong}` is not in the pod: files of the Secret are in `/etc/consentd/keys`"
        );
        assert_eq!(said, [format!("{wanted} (injector.toml:9)")]);
    }
    let said = problems(&format!("secret = \"\"\n{LEAST}"));
    assert_eq!(
        said,
        [
            "config.ledger.subject_key_file: is in `/etc/consentd/keys`, and secret names no Secret to be there (injector.toml:6)"
        ]
    );
}

#[test]
fn evidence_that_waits_and_that_is_kept_must_fit_into_its_volume() {
    let said = problems(&format!("data_size = \"256Mi\"\n{LEAST}"));
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(said.iter().all(|problem| problem.starts_with("data_size: `256Mi` does not hold ")), "{said:#?}");
    assert!(parse(&format!("data_size = \"256Mi\"\n{LEAST}segment_bytes = \"4MiB\"\n")).is_ok());
    for too_much in
        ["max_unshipped_bytes = \"1GiB\"", "max_unshipped_bytes = \"513MiB\"", "max_shipped_bytes = \"257MiB\""]
    {
        let said = problems(&format!("{LEAST}{too_much}\n"));
        assert_eq!(said.len(), 1, "{said:#?}");
        assert!(said.iter().all(|problem| problem.starts_with("data_size: `1Gi` does not hold ")), "{said:#?}");
    }
    assert!(parse(&format!("{LEAST}max_unshipped_bytes = \"513MiB\"\nmax_shipped_bytes = \"255MiB\"\n")).is_ok());
    let said = problems(&format!("{LEAST}max_shipped_bytes = \"off\"\n"));
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(
        said.iter().all(|problem| problem.contains("max_shipped_bytes: is `off`, and what was shipped would fill"))
    );
}

#[test]
fn what_loses_evidence_or_consent_with_the_pod_is_warned_of() {
    let text = "image = \"c\"\nsecret = \"\"\n[config]\nledger.file = \"/var/lib/consentd/ledger.jsonl\"\n";
    let warnings = parse(text).expect("valid").warnings;
    assert_eq!(warnings.len(), 2, "{warnings:#?}");
    assert!(warnings.iter().any(|warning| warning.starts_with("config.evidence.ship: ")), "{warnings:#?}");
}

#[test]
fn a_list_of_callers_is_the_same_in_the_environment() {
    let callers =
        "[[config.callers]]\nname = \"mailer\"\nuid = 1000\npurposes = [\"marketing\"]\nchannels = [\"email\"]\n";
    let settings = parse(&format!("{LEAST}{callers}")).expect("valid").settings;
    let spelt = settings.config.get("CONSENTD_CALLERS").expect("set");
    assert_eq!(spelt.lines().count(), 1, "{spelt}");
    let environment = settings.config.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let config = Config::load(&Sources { environment, ..Sources::default() }).expect("valid").config;
    assert_eq!(config.callers.len(), 1);
    assert_eq!(config.callers.first().map(|rule| rule.name.as_str()), Some("mailer"));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let said = Settings::load(Path::new("/nonexistent/injector.toml")).expect_err("refused").to_string();
    assert_eq!(said, "cannot be read: No such file or directory (os error 2) (/nonexistent/injector.toml)");
}

#[test]
fn evidence_that_is_shipped_has_a_key_that_outlives_the_pod_unless_it_is_said() {
    let key = |text: &str| {
        let Loaded { settings, warnings } = parse(text).expect("valid");
        (settings.config.get("CONSENTD_EVIDENCE_KEY_FILE").cloned(), warnings)
    };
    let own = format!("{LEAST}key_file = \"/etc/consentd/keys/other.key\"\n");
    assert_eq!(key(&own), (Some("/etc/consentd/keys/other.key".to_owned()), vec![]));
    let (set, warnings) = key(&format!("{LEAST}key_file = \"off\"\n"));
    assert_eq!(set.as_deref(), Some("off"));
    assert!(warnings.iter().any(|warning| warning.starts_with("config.evidence.key_file: is `off`")), "{warnings:?}");
    // What stays in the pod needs none.
    assert_eq!(key(&LEAST.replace("ship = \"nats\"", "ship = \"none\"")).0, None);
    // Where there is no Secret there is nothing to take it from.
    let bare = LEAST.replace("/etc/consentd/keys/subject.key", "/var/lib/consentd/subject.key");
    let (set, warnings) = key(&format!("secret = \"\"\n{bare}"));
    assert_eq!(set, None);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}
