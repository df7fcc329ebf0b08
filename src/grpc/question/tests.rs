//! Every way to be malformed names its field, and repeats no identifier.

use super::*;

fn well_formed() -> v1::Question {
    v1::Question {
        subject: Some(v1::Subject { space: "crm".into(), id: "secret-id".into() }),
        purpose: "marketing.newsletter".into(),
        channel: "email".into(),
        ..v1::Question::default()
    }
}

type Spoil = fn(&mut v1::Question);

#[test]
fn malformed_questions_name_the_field() {
    let cases: [(&str, Spoil); 16] = [
        ("`question.subject`", |q| q.subject = None),
        ("`question.subject.space`", |q| q.subject.as_mut().expect("one").space.clear()),
        ("`question.subject.space`", |q| q.subject.as_mut().expect("one").space = "CRM".into()),
        ("`question.subject.id`", |q| q.subject.as_mut().expect("one").id.clear()),
        ("`question.subject.id`", |q| q.subject.as_mut().expect("one").id = "secret-id".repeat(30)),
        ("`question.purpose`", |q| q.purpose.clear()),
        ("`question.purpose`", |q| q.purpose = "p".repeat(129)),
        ("`question.channel`", |q| q.channel = "e\n".into()),
        ("`question.recipient`", |q| q.recipient = "r".repeat(129)),
        ("`question.jurisdiction`", |q| q.jurisdiction = "Maine".into()),
        ("`question.time_zone`", |q| q.time_zone = "+03:00".into()),
        ("`question.time_zone`", |q| q.time_zone = "secret-id".into()),
        ("`question.signals.tcf`", |q| {
            q.signals = Some(v1::Signals { tcf: "t".repeat(16 * 1024 + 1), ..v1::Signals::default() });
        }),
        ("`question.at_least_as_fresh`", |q| q.at_least_as_fresh = "nonsense".into()),
        ("`question.at_least_as_fresh`", |q| q.at_least_as_fresh = "1".repeat(65)),
        ("`question.max_staleness`", |q| {
            q.max_staleness = Some(pbjson_types::Duration { seconds: -1, nanos: 0 });
        }),
    ];
    for (field, spoil) in cases {
        let mut question = well_formed();
        spoil(&mut question);
        let status = tonic::Status::from(Asked::new(Some(&question)).expect_err(field));
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{field}");
        assert!(status.message().starts_with(field), "{field}: {}", status.message());
        assert!(!status.message().contains("secret-id"), "{}", status.message());
    }
    assert!(Asked::new(None).is_err());
}

#[test]
fn a_purpose_that_no_catalogue_could_name_is_still_well_formed() {
    let question = v1::Question { purpose: "NOT A KEY".into(), channel: "☎".into(), ..well_formed() };
    assert!(Asked::new(Some(&question)).is_ok());
}

#[test]
fn a_batch_question_takes_from_the_context_what_it_does_not_say() {
    let context = v1::Context {
        purpose: "p".into(),
        channel: "email".into(),
        recipient: "acme".into(),
        ..v1::Context::default()
    };
    let subject = well_formed().subject;
    let plain = v1::BatchQuestion { subject: subject.clone(), ..v1::BatchQuestion::default() };
    let own = v1::BatchQuestion { channel: Some("sms".into()), recipient: Some(String::new()), ..plain.clone() };
    let shared = Shared::new(&context).expect("well-formed");
    let questions = [plain.clone(), own];
    let asks = shared.asks(&questions).expect("well-formed");
    let seen: Vec<_> =
        asks.iter().map(|ask| (ask.question.purpose, ask.question.channel, ask.question.recipient)).collect();
    assert_eq!(seen, [("p", "email", "acme"), ("p", "sms", "")]);

    let context = v1::Context { time_zone: "Asia/Tokyo".into(), ..context };
    let shared = Shared::new(&context).expect("well-formed");
    let zone = |name: &str| v1::BatchQuestion { time_zone: Some(name.into()), ..plain.clone() };
    let questions = [plain.clone(), zone("Europe/Istanbul"), zone("")];
    let asks = shared.asks(&questions).expect("well-formed");
    let zones: Vec<_> = asks.iter().map(|ask| ask.question.time_zone.map(crate::domain::Zone::name)).collect();
    assert_eq!(zones, [Some("Asia/Tokyo"), Some("Europe/Istanbul"), None], "an empty one is the catalogue's");
    let status = tonic::Status::from(shared.asks(&[zone("Tokyo")]).expect_err("no zone"));
    assert!(status.message().starts_with("`questions[0].time_zone`"), "{}", status.message());
    let nowhere = v1::Context { time_zone: "Nowhere".into(), ..v1::Context::default() };
    let status = tonic::Status::from(Shared::new(&nowhere).expect_err("no zone"));
    assert!(status.message().starts_with("`context.time_zone`"), "{}", status.message());

    let broken = [plain, v1::BatchQuestion::default()];
    let status = tonic::Status::from(shared.asks(&broken).expect_err("no subject"));
    assert!(status.message().starts_with("`questions[1].subject`"), "{}", status.message());
    let empty = v1::Context::default();
    let status =
        tonic::Status::from(Shared::new(&empty).expect("nothing wrong yet").asks(&questions).expect_err("no purpose"));
    assert!(status.message().starts_with("`questions[0].purpose`"), "{}", status.message());
}
