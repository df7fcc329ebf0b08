//! Permissions of the İYS.

use super::*;
use crate::domain::{ConsentEvent, LegalBasis};
use crate::ledger::import::iys;

/// Permissions as the API's answers have them, with every kind of message and recipient.
const LIST: &str = r#"{"after":"1597740617_632c",
 "list":[
  {"consentDate":"2018-02-10 09:50:02","creationDate":"2020-02-10 09:50:02","source":"HS_WEB",
   "recipient":"ornek@Adiniz.com","recipientType":"BIREYSEL","status":"ONAY","type":"EPOSTA","transactionId":"532c"},
  {"consentDate":"2015-01-10 09:30:00","source":"HS_2015","recipient":"+905813334455","recipientType":"BIREYSEL",
   "status":"RET","type":"ARAMA","retailerCode":null,"retailerAccess":[11223344]}, {"creationDate":"2021-06-01 12:00:00",
   "recipient":"0581 333 44 56","recipientType":"TACIR","status":"RET","type":"MESAJ"}
 ]}"#;

fn consents(events: &[Event]) -> Vec<(&ConsentEvent, i64)> {
    let consent = |event| match event {
        &Event { body: EventBody::Consent(ref consent), event_time, .. } => (&**consent, event_time.unix_millis()),
        other => panic!("{other:?}"),
    };
    events.iter().map(consent).collect()
}

fn told(events: &[Event]) -> Vec<String> {
    let one = |(c, at): (&ConsentEvent, i64)| {
        let method = &c.collection.method;
        format!(
            "{} {} {} {} {} {method} `{}` {at}",
            c.subject.expose(),
            c.purpose,
            c.channel,
            c.status,
            c.legal_basis,
            c.proof
        )
    };
    consents(events).into_iter().map(one).collect()
}

const EXPECTED: [&str; 3] = [
    "email:ornek@adiniz.com iys.bireysel email GIVEN CONSENT HS_WEB `iys:532c` 1518245402000",
    // In winter, two hours ahead of UTC until 2016.
    "phone:+905813334455 iys.bireysel call WITHDRAWN CONSENT HS_2015 `` 1420875000000",
    "phone:+905813334456 iys.tacir sms WITHDRAWN LEGITIMATE_INTEREST  `` 1622538000000",
];

#[test]
fn an_answer_of_the_api_is_read_as_it_came() {
    let default = iys::Options::default();
    let (events, kept) = run(Format::Iys(&default), LIST);
    assert_eq!(kept.told(), []);
    assert_eq!(told(&events), EXPECTED);
    assert!(consents(&events).iter().all(|(consent, _)| &*consent.jurisdiction == "TR"));
    let recipients: Vec<&str> = consents(&events).iter().map(|(consent, _)| &*consent.recipient).collect();
    assert_eq!(recipients, ["", "*", "*"], "RET is of everybody");
    // The same as an array, and one after another.
    let (_, list) = LIST.split_once("\"list\":").expect("a list");
    let array = list.trim().strip_suffix('}').expect("an object");
    let lines = array.trim().trim_start_matches('[').trim_end_matches(']').replace("},", "}\n");
    for other in [array, &lines, &format!("\u{feff}{array}")] {
        assert_eq!(run(Format::Iys(&default), other).0, events, "{other}");
    }
}

#[test]
fn a_spreadsheet_of_permissions_says_the_same() {
    let default = iys::Options::default();
    let api = "recipient,recipientType,type,source,status,consentDate,creationDate,transactionId\n\
               ornek@adiniz.com,BIREYSEL,EPOSTA,HS_WEB,ONAY,2018-02-10 09:50:02,,532c\n\
               905813334455,BIREYSEL,ARAMA,HS_2015,RET,2015-01-10 09:30:00,,\n\
               5813334456,TACIR,MESAJ,,RET,,2021-06-01 12:00:00,\n";
    let (events, kept) = run(Format::Iys(&default), api);
    assert_eq!((kept.told(), told(&events)), (vec![], EXPECTED.map(str::to_owned).to_vec()));
    let turkish = "\u{feff}Alıcı;Alıcı Tipi;İzin Türü;İzin Kaynağı;İzin Durumu;İzin Tarihi;Kayıt Tarihi;İşlem No;Bayi Kodu\r\n\
                   ornek@adiniz.com;Bireysel;E-posta;HS_WEB;Onay;10.02.2018 09:50:02;;532c;\r\n\
                   +90 581 333 44 55;Bireysel;Arama;HS_2015;Ret;10.01.2015 09:30;;;7\r\n\
                   5813334456;Tacir;Mesaj;;Ret;;01.06.2021 12:00:00;;\r\n";
    let (events, kept) = run(Format::Iys(&default), turkish);
    assert_eq!((kept.told(), told(&events)), (vec![], EXPECTED.map(str::to_owned).to_vec()));
}

#[test]
fn subjects_can_be_named_by_hashes_and_purposes_chosen() {
    let options = iys::Options {
        phone_space: "phone_sha256".to_owned(),
        email_space: "email_sha256".to_owned(),
        hash: true,
        person: "commercial.messages".to_owned(),
        merchant: "commercial.merchants".to_owned(),
    };
    let (events, _) = run(Format::Iys(&options), LIST);
    let said = consents(&events);
    // As `printf %s ornek@adiniz.com | sha256sum` has it.
    let hash = "05738c7cc57bc137714dd3257cfd6557cea41aaa497b823dc8f2e0bc34961e24";
    assert_eq!(said[0].0.subject.expose(), format!("email_sha256:{hash}"));
    assert!(said[1].0.subject.expose().starts_with("phone_sha256:"));
    assert_eq!([&*said[0].0.purpose, &*said[2].0.purpose], ["commercial.messages", "commercial.merchants"]);
    assert_eq!(said[2].0.legal_basis, LegalBasis::LegitimateInterest);
}

#[test]
fn every_bad_permission_is_named_and_repeats_no_address_on_the_terminal() {
    let good = r#"{"consentDate":"2018-02-10 09:50:02","source":"HS_WEB","recipient":"ayse@example.com","recipientType":"BIREYSEL","status":"ONAY","type":"EPOSTA"}"#;
    let bad = [
        (good.replace("\"ONAY\"", "\"BELKI\""), "status: must be `ONAY` or `RET`, not `BELKI`"),
        (good.replace("EPOSTA", "FAKS"), "type: must be `ARAMA`, `MESAJ` or `EPOSTA`, not `FAKS`"),
        (good.replace("BIREYSEL", ""), "recipientType: must be `BIREYSEL` or `TACIR`; it is missing"),
        (good.replace("ayse@example.com", "ayse"), "recipient: is not an e-mail address, not `ayse`"),
        (good.replace("EPOSTA", "MESAJ"), "recipient: is not a telephone number, not `ayse@example.com`"),
        (
            good.replace("2018-02-10 09:50:02", "dün"),
            "consentDate: must be a time such as `2018-02-10 09:50:02`, not `dün`",
        ),
        (good.replace("2018-02-10 09:50:02", "2099-02-10 09:50:02"), "event_time: lies in the future"),
        (
            good.replace("consentDate", "creationDate"),
            "consentDate: must be a time such as `2018-02-10 09:50:02`; it is missing",
        ),
        (good.replace("HS_WEB", "web sitesi"), "source: must be a code such as `HS_WEB`, not `web sitesi`"),
        (good.replace("\"type\"", "\"status\":\"RET\",\"type\""), "status: stands twice"),
        (good.replace("\"type\"", "\"validUntil\":\"2019\",\"type\""), "a field that is not known, not `validUntil`"),
        (good.replace("\"ONAY\"", "[\"ONAY\"]"), "status: must be a text"),
        ("merhaba".to_owned(), "not the JSON of a permission: expected value at line 1 column 1"),
    ];
    let default = iys::Options::default();
    let lines: Vec<&str> = bad.iter().map(|(line, _)| line.as_str()).collect();
    let (events, kept) = run(Format::Iys(&default), format!("{good}\n{}\n{good}", lines.join("\n")));
    assert_eq!(events.len(), 1, "the good one, said twice");
    let expected: Vec<_> = bad.iter().zip(2..).map(|((_, reason), number)| (number, number, *reason)).collect();
    assert_eq!(kept.told(), expected);
    assert!(kept.rejected.iter().all(|(_, rejection)| !rejection.without_values.contains("ayse")));
    // What was cut off is not whole, wherever it was cut.
    let array = format!("[{good},{good}]");
    for end in 1..array.len() {
        let mut kept = Kept::default();
        let checked = check(Cursor::new(&array[..end]), options(Format::Iys(&default)), &mut kept).expect("it is read");
        assert_eq!(checked.counts.rejected, 1, "{}", &array[..end]);
        assert_eq!(kept.told()[0].2, "the JSON ends early; the input is not whole");
    }
    let header = "recipient;recipientType;type;status;consentDate;kampanya;bitiş\n";
    let refused =
        check(Cursor::new(header), options(Format::Iys(&default)), &mut Kept::default()).expect_err("unknown");
    assert!(
        refused.to_string().starts_with("columns `kampanya`, `bitiş` are not known; the columns are recipient, "),
        "{refused}"
    );
}

#[test]
fn a_permission_and_its_refusal_of_one_second_are_of_one_time() {
    let default = iys::Options::default();
    let rows = "recipient,recipientType,type,status,consentDate\n\
                a@example.com,BIREYSEL,EPOSTA,ONAY,2020-01-05 23:59:59\n\
                a@example.com,BIREYSEL,EPOSTA,RET,2020-01-05 23:59:59\n";
    let (events, _) = run(Format::Iys(&default), rows);
    let said = consents(&events);
    assert_eq!(said[0].1, said[1].1, "and at equal times the refusal wins");
    assert_eq!([said[0].0.status, said[1].0.status], [Status::Given, Status::Withdrawn]);
    // The API tells seconds; what tells no hour is not taken, because it would be either's.
    let (events, kept) = run(Format::Iys(&default), rows.replace(" 23:59:59", ""));
    assert_eq!((events.len(), kept.rejected.len()), (0, 2), "{:?}", kept.told());
}
