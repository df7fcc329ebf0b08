//! Tables of customer databases.

use super::*;
use crate::ledger::import::crm::{Mapping, MappingError};

const MAPPING: &str = r#"
source = "crm-export"
ignore = ["Ad Soyad"]
blank = ["-"]

[time]
zone = "Europe/Istanbul"
formats = ["%d.%m.%Y %H:%M", "%d.%m.%Y"]

[[identifier]]
space = "crm"
column = "Müşteri No"

[[identifier]]
space = "email_sha256"
column = "E-posta"
form = "email"
hash = "sha256"

[[identifier]]
space = "phone"
column = "Telefon"
form = "phone"

[links]
time = { column = "Kayıt Tarihi" }

[[consent]]
purpose = "marketing.newsletter"
channel = "email"
status = { column = "E-posta İzni", values = { E = "given", H = "withdrawn", "" = "nothing" } }
time = { column = "İzin Tarihi", or = "01.01.2020" }
method = { column = "Kanal", values = { web = "web_form", magaza = "paper", "" = "" } }
notice_id = "aydinlatma"
notice_version = 3
notice_language = "tr"
jurisdiction = "TR"
facts = { pre_ticked = { column = "Kutu", values = { "önceden" = true, "" = false } } }

[[consent]]
about = "phone"
purpose = "marketing.calls"
channel = { column = "Telefon Kanalı", values = { arama = "call", sms = "sms", "" = "" } }
status = { column = "Telefon İzni", values = { E = "given", H = "refused", "" = "nothing" } }
time = { column = "İzin Tarihi", or = "01.01.2020" }
legal_basis = "explicit_consent"
"#;

const HEADER: &str = "Müşteri No;Ad Soyad;E-posta;Telefon;Kayıt Tarihi;E-posta İzni;İzin Tarihi;Kanal;Kutu;Telefon Kanalı;Telefon İzni\n";

fn mapping() -> Mapping {
    Mapping::parse(MAPPING).expect("a mapping")
}

fn told(events: &[Event]) -> Vec<String> {
    let one = |event: &Event| {
        let at = chrono::DateTime::from_timestamp_millis(event.event_time.unix_millis()).expect("a time");
        let at = at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
        match &event.body {
            EventBody::Consent(c) => format!("{at} {} {} {} {}", c.subject.expose(), c.purpose, c.channel, c.status),
            EventBody::Link { subject, linked, .. } => format!("{at} {} = {}", subject.expose(), linked.expose()),
            other => panic!("{other:?}"),
        }
    };
    events.iter().map(one).collect()
}

#[test]
fn a_row_says_several_things() {
    let rows = "42;Ayşe Yılmaz;Ayse@Example.com;0532 123 45 67;03.02.2021 14:30;E;05.01.2026;web;;arama;H\n\
                43;Can Öz;-;;03.02.2021 14:30;H;05.01.2026;;;;\n\
                44;;;;;;;;;;\n";
    let (events, kept) = run(Format::Crm(&mapping()), [HEADER, rows].concat());
    assert_eq!(kept.told(), []);
    let hash = "9b00b0b820caf9556ca074ae455f87d32be94b9543993df0b71176d755f720f7";
    assert_eq!(
        told(&events),
        [
            format!("2021-02-03T11:30:00Z crm:42 = email_sha256:{hash}"),
            "2021-02-03T11:30:00Z crm:42 = phone:+905321234567".to_owned(),
            // The consent from the beginning of its day, the refusals until its end.
            "2026-01-04T21:00:00Z crm:42 marketing.newsletter email GIVEN".to_owned(),
            "2026-01-05T20:59:59.999Z phone:+905321234567 marketing.calls call REFUSED".to_owned(),
            "2026-01-05T20:59:59.999Z crm:43 marketing.newsletter email WITHDRAWN".to_owned(),
        ]
    );
    assert_eq!(kept.made, [(1, 4), (2, 1), (3, 0)]);
    let EventBody::Consent(given) = &events[2].body else { panic!("{events:?}") };
    let notice = given.notice.as_ref().expect("a notice");
    assert_eq!((&*notice.id, notice.version, &*notice.language), ("aydinlatma", 3, "tr"));
    assert_eq!((&*given.collection.method, &*given.jurisdiction), ("web_form", "TR"));
    let EventBody::Consent(refused) = &events[3].body else { panic!("{events:?}") };
    assert_eq!(refused.legal_basis, crate::domain::LegalBasis::ExplicitConsent);
}

#[test]
fn identifiers_of_several_subjects_are_counted() {
    let row = |number: u32, email: &str, phone: &str| format!("{number};x;{email};{phone};03.02.2021;;;;;;\n");
    let rows = [
        row(1, "info@example.com", "5321234567"),
        row(2, "INFO@example.com", ""),
        row(3, "info@example.com", "0532 123 45 67"),
        row(4, "d@example.com", "5321234568"),
        row(4, "d@example.com", "5321234568"),
    ];
    let mapping = mapping();
    let input = Cursor::new([HEADER, &rows.concat()].concat());
    let checked = check(input, options(Format::Crm(&mapping)), &mut Kept::default()).expect("it is read");
    assert_eq!((checked.counts.rejected, checked.shared), (0, 2), "an address and a number, whoever spelt them how");
}

#[test]
fn what_the_mapping_does_not_name_is_refused() {
    let row = |cells: &str| format!("{cells}\n");
    let bad = [
        (
            ";x;a@example.com;;03.02.2021;E;05.01.2026;;;;",
            "column `Müşteri No`: blank, and a row is about its first identifier",
        ),
        ("1;x;;;;Evet;05.01.2026;;;;", "column `E-posta İzni`: must be a value that the mapping names, not `Evet`"),
        ("1;x;a@b;;03.02.2021;E;05.01.2026;;;;", "column `E-posta`: is not an e-mail address, not `a@b`"),
        (
            "1;x;;12;03.02.2021;E;05.01.2026;;;;",
            "column `Telefon`: does not tell its country; write it as `+905321234567`, not `12`",
        ),
        (
            "1;x;;;;E;2026-01-05;;;;",
            "column `İzin Tarihi`: must be a time as the mapping's `formats` have it, not `2026-01-05`",
        ),
        ("1;x;a@example.com;;;E;05.01.2026;;;;", "links.time: blank"),
        ("1;x;;;;;;;;arama;H", "consent 2: about: must be an identifier of the row; it is blank"),
        (
            "1;x;;5321234567;03.02.2021;;;;;;E",
            "consent 2: channel: missing; only a refusal may leave it out, and is then of all channels; it is blank",
        ),
        ("1;x;;;;E;05.01.2026;;evet;;", "column `Kutu`: must be a value that the mapping names, not `evet`"),
        ("1;x;;;;E;05.01.2027;;;;", "event_time: lies in the future"),
        ("1;x;;;;E", "6 fields, where the header names 11"),
    ];
    // On 5 January 2026, at noon.
    let latest = Some(Time::from_unix_millis(1_767_614_400_000));
    let (mapping, input) = (mapping(), bad.map(|(cells, _)| row(cells)).concat());
    let options = Options { latest_event_time: latest, ..options(Format::Crm(&mapping)) };
    let good = "2;x;;;;H;05.01.2026;;;;\n";
    let (events, kept) = run_with(options, [HEADER, &input, good].concat());
    // A refusal of today is of today, though the end of the day is ahead.
    assert_eq!(told(&events), ["2026-01-05T20:59:59.999Z crm:2 marketing.newsletter email WITHDRAWN"]);
    let reasons: Vec<&str> = kept.told().iter().map(|(_, _, reason)| *reason).collect();
    assert_eq!(reasons, bad.map(|(_, reason)| reason));
    assert!(kept.rejected.iter().all(|(_, rejection)| !rejection.without_values.contains("a@b")));

    for (header, sentence) in [
        (HEADER.replace("Ad Soyad", "Ad;Soyad"), "the mapping says nothing of columns `Ad`, `Soyad`; map them"),
        (HEADER.replace("Kutu;", ""), "there is no column `Kutu`"),
        (HEADER.replace("Kutu", "Kanal"), "column `Kanal` stands twice"),
    ] {
        let refused = check(Cursor::new(&header), options, &mut Kept::default()).expect_err("refused").to_string();
        assert!(refused.starts_with(sentence), "{refused}");
    }
}

#[test]
fn a_mapping_tells_all_that_is_wrong_with_it() {
    let broken = MAPPING
        .replace("Europe/Istanbul", "Europe/Ankara")
        .replace("\"%d.%m.%Y\"]", "\"gg.aa.yyyy\"]")
        .replace("form = \"phone\"", "form = \"telefon\"")
        .replace("sha256\"\n\n", "md5\"\n\n")
        .replace("E = \"given\", H = \"withdrawn\"", "E = \"evet\", H = \"withdrawn\"")
        .replace("explicit_consent", "love")
        .replace("about = \"phone\"", "about = \"device\"")
        .replace("pre_ticked", "preticked");
    let Err(MappingError::Problems(problems)) = Mapping::parse(&broken) else { panic!("taken") };
    let starts = [
        "time.zone: `Europe/Ankara` is no time zone",
        "time.formats: `gg.aa.yyyy` is no pattern",
        "identifier 2: hash: must be `sha256`, not `md5`",
        "identifier 3: form: must be `text`, `lower`, `email` or `phone`, not `telefon`",
        "consent 1: status: `evet` is no status",
        "consent 1: facts: `preticked` is none",
        "consent 2: legal_basis: `love` is no legal basis",
        "consent 2: about: no identifier is of the space `device`",
    ];
    assert_eq!(problems.len(), starts.len(), "{problems:#?}");
    for (problem, start) in problems.iter().zip(starts) {
        assert!(problem.starts_with(start), "{problem}");
    }
    for (text, sentence) in [
        (MAPPING.replace("ignore =", "ignored ="), "unknown field `ignored`"),
        (MAPPING.replace("[links]\ntime = { column = \"Kayıt Tarihi\" }", ""), "`links.time` must say since when"),
        (MAPPING.replace("or = \"01.01.2020\"", "or = \"2020\""), "`2020` is no time"),
        (String::new(), "missing field `time`"),
    ] {
        let refused = Mapping::parse(&text).expect_err("refused").to_string();
        assert!(refused.contains(sentence), "{refused}");
    }
}
