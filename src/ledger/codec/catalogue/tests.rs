//! Every field in, every field out, and what each rule says of what it refuses.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::catalogue::{
    Acceptance, GppRule, MinorRule, MinorTreatment, NoticeRule, QuietHours, TcfRule, Terms, UnknownAge,
};
use crate::domain::{LegalBasis, Time};
use crate::zones;

/// A document in which every field says something.
const FULL: &str = r#"{
  "version": "7", "title": "Everything",
  "channels": [{"key": "email", "title": "E-mail"}, {"key": "sms"}, {"key": "call"}],
  "defaultMaxStaleness": "20s",
  "notices": [
    {"id": "privacy", "title": "Aydınlatma metni", "versions": [
      {"version": 2, "material": true, "effectiveAt": "2026-03-01T00:00:00Z", "languages": ["tr", "en-GB"], "url": "https://example.org/2"},
      {"version": 1, "languages": ["tr"]}]},
    {"id": "minors", "versions": [{"version": 4, "material": true}]}],
  "regions": [
    {"key": "EU", "title": "European Union", "members": ["DE", "FR"]},
    {"key": "TR", "timeZone": "Europe/Istanbul"}],
  "recipients": [{"key": "acme", "title": "Acme", "tcfVendor": 755}, {"key": "plain"}],
  "purposes": [
    {"key": "iys", "legalBasis": "LEGAL_BASIS_CONSENT", "channels": ["email", "sms", "call"]},
    {"key": "marketing", "title": "Marketing", "description": "Offers", "legalBasis": "LEGAL_BASIS_LEGITIMATE_INTEREST",
     "channels": ["email", "sms", "call"], "maxAge": "31536000s", "maxStaleness": "5s",
     "notice": {"id": "privacy"}, "honoursGpc": true,
     "accepts": {"methods": ["web_form"], "proofRequired": true},
     "minors": {"under": 16, "treatment": "MINOR_TREATMENT_GUARDIAN", "unknownAge": "UNKNOWN_AGE_ADULT"},
     "quietHours": [{"channels": ["call"], "from": "21:00", "until": "08:30", "days": ["mon", "sun"], "timeZone": "Europe/Berlin"}],
     "tcf": {"purposes": [2, 7], "specialFeatures": [1]},
     "gpp": {"sale": true, "sensitiveData": ["health"], "gpc": true},
     "regional": [
       {"regions": ["EU"], "source": "GDPR Art. 9", "legalBasis": "LEGAL_BASIS_EXPLICIT_CONSENT", "channels": ["email"],
        "maxAge": "60s", "maxStaleness": "1s", "coveredByParent": true, "specialCategory": true,
        "notice": {"id": "minors", "materialSince": 3}, "requires": ["iys"], "honoursGpc": false,
        "accepts": {}, "minors": {"under": 18, "treatment": "MINOR_TREATMENT_DENY"}, "despiteRestriction": true,
        "quietHours": [{"from": "00:00", "until": "00:00", "days": ["sat"]}],
        "tcf": {"purposes": [1]}, "gpp": {"sharing": true, "targetedAdvertising": true}},
       {"regions": ["TR", "US-ME"], "source": "6563", "requires": ["iys"]},
       {"regions": ["CN"], "prohibited": true}]}]}"#;

fn wire(text: &str) -> v1::Catalogue {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn read(text: &str) -> Catalogue {
    read_catalogue(wire(text)).unwrap_or_else(|error| panic!("{error}"))
}

fn marketing(catalogue: &Catalogue) -> &Purpose {
    catalogue.purpose("marketing").expect("it is there")
}

fn boxed(texts: &[&str]) -> Vec<Box<str>> {
    texts.iter().map(|text| (*text).into()).collect()
}

fn privacy() -> NoticeRule {
    let second = Time::from_unix_millis(1_772_323_200_000);
    let versions = vec![
        NoticeVersion { version: 1, material: false, effective_at: None },
        NoticeVersion { version: 2, material: true, effective_at: Some(second) },
    ];
    NoticeRule { id: "privacy".into(), material_since: 0, versions }
}

fn own() -> Terms {
    Terms {
        prohibited: false,
        legal_basis: LegalBasis::LegitimateInterest,
        channels: boxed(&["email", "sms", "call"]),
        max_age: Some(Duration::from_hours(365 * 24)),
        max_staleness: Duration::from_secs(5),
        covered_by_parent: false,
        special_category: false,
        notice: Some(privacy()),
        requires: Vec::new(),
        honours_gpc: true,
        accepts: Acceptance { methods: boxed(&["web_form"]), proof_required: true },
        minors: Some(MinorRule { under: 16, treatment: MinorTreatment::Guardian, unknown_age: UnknownAge::Adult }),
        despite_restriction: false,
        quiet_hours: vec![QuietHours {
            channels: boxed(&["call"]),
            from: 21 * 60,
            until: 8 * 60 + 30,
            days: [true, false, false, false, false, false, true],
            zone: zones::find("Europe/Berlin"),
        }],
        tcf: Some(TcfRule { purposes: vec![2, 7], special_features: vec![1] }),
        gpp: Some(GppRule { sale: true, sensitive_data: boxed(&["health"]), gpc: true, ..GppRule::default() }),
    }
}

#[test]
fn what_a_purpose_says_is_read_whole() {
    let catalogue = read(FULL);
    let purpose = marketing(&catalogue);
    assert_eq!((catalogue.version(), catalogue.title()), (7, "Everything"));
    assert_eq!((&*purpose.title, &*purpose.description), ("Marketing", "Offers"));
    assert_eq!(purpose.terms, own());
    let plain = Terms { max_staleness: Duration::from_secs(20), channels: own().channels, ..Terms::default() };
    assert_eq!(catalogue.purpose("iys").expect("it is there").terms, plain, "nothing said is nothing demanded");
    let istanbul = zones::find("Europe/Istanbul");
    let group = Region { key: "EU".into(), title: "European Union".into(), members: boxed(&["DE", "FR"]), zone: None };
    let clock = Region { key: "TR".into(), title: "".into(), members: Vec::new(), zone: istanbul };
    assert_eq!(catalogue.regions(), [group, clock]);
    let acme = Recipient { key: "acme".into(), title: "Acme".into(), tcf_vendor: Some(755) };
    let plain = Recipient { key: "plain".into(), title: "".into(), tcf_vendor: None };
    assert_eq!(catalogue.recipients(), [acme, plain]);
}

#[test]
fn a_region_changes_what_it_says_and_keeps_the_rest() {
    let catalogue = read(FULL);
    let [eu, tr, cn] = &*marketing(&catalogue).regional else { panic!("three rules") };
    let whole_day = QuietHours {
        channels: Vec::new(),
        from: 0,
        until: 0,
        days: [false, false, false, false, false, true, false],
        zone: None,
    };
    let versions = vec![NoticeVersion { version: 4, material: true, effective_at: None }];
    assert_eq!((&*eu.regions, &*eu.source), (&*boxed(&["EU"]), "GDPR Art. 9"));
    assert_eq!(
        eu.terms,
        Terms {
            prohibited: false,
            legal_basis: LegalBasis::ExplicitConsent,
            channels: boxed(&["email"]),
            max_age: Some(Duration::from_mins(1)),
            max_staleness: Duration::from_secs(1),
            covered_by_parent: true,
            special_category: true,
            notice: Some(NoticeRule { id: "minors".into(), material_since: 3, versions }),
            requires: boxed(&["iys"]),
            honours_gpc: false,
            accepts: Acceptance::default(),
            minors: Some(MinorRule { under: 18, treatment: MinorTreatment::Deny, unknown_age: UnknownAge::Deny }),
            despite_restriction: true,
            quiet_hours: [own().quiet_hours, vec![whole_day]].concat(),
            tcf: Some(TcfRule { purposes: vec![1], special_features: Vec::new() }),
            gpp: Some(GppRule { sharing: true, targeted_advertising: true, ..GppRule::default() }),
        }
    );
    assert_eq!(&*tr.regions, &*boxed(&["TR", "US-ME"]));
    assert_eq!(tr.terms, Terms { requires: boxed(&["iys"]), ..own() }, "all else is the purpose's own");
    assert_eq!(cn.terms, Terms { prohibited: true, ..own() });
}

#[test]
fn what_is_required_everywhere_is_not_required_twice() {
    let twice = FULL.replacen(r#""honoursGpc": true,"#, r#""honoursGpc": true, "requires": ["iys"],"#, 1);
    let catalogue = read(&twice);
    for rule in &marketing(&catalogue).regional {
        assert_eq!(rule.terms.requires, boxed(&["iys"]), "{}", rule.source);
    }
}

#[test]
fn each_rule_refuses_and_names_its_place() {
    let cases = [
        (r#""20s""#, r#""0s""#, "default_max_staleness: must be longer than zero"),
        (r#""31536000s""#, r#""-5s""#, "purposes[1].max_age: must be longer than zero"),
        (r#""60s""#, r#""0s""#, "purposes[1].regional[0].max_age: must be longer than zero"),
        (r#""LEGAL_BASIS_EXPLICIT_CONSENT""#, "0", "purposes[1].regional[0].legal_basis: missing"),
        (
            r#"["TR", "US-ME"]"#,
            "[]",
            "purposes[1].regional[1].regions: purpose `marketing`: a regional rule names no region",
        ),
        (
            r#"{"id": "privacy"}"#,
            r#"{"id": "privaci"}"#,
            "purposes[1].notice.id: must be one of the catalogue's notices",
        ),
        (r#"{"id": "privacy"}"#, "{}", "purposes[1].notice.id: purpose `marketing`: the notice it demands has no id"),
        (r#""web_form""#, r#""""#, "purposes[1].accepts.methods[0]: missing"),
        (r#""web_form""#, r#""a","a""#, "purposes[1].accepts.methods[1]: must stand once in its list, not `a`"),
        (r#""under": 16"#, r#""under": 100"#, "purposes[1].minors.under: purpose `marketing`: an age of 100 years"),
        (r#""under": 16"#, r#""under": 272"#, "purposes[1].minors.under: is no age"),
        (r#""under": 16"#, r#""under": 0"#, "purposes[1].minors.under: purpose `marketing`: an age of 0 years"),
        (r#""MINOR_TREATMENT_DENY""#, "0", "purposes[1].regional[0].minors.treatment: missing"),
        (r#""21:00""#, r#""24:00""#, "purposes[1].quiet_hours[0].from: must be a time of day"),
        (r#""21:00""#, r#""9:00""#, "purposes[1].quiet_hours[0].from: must be a time of day"),
        (r#""21:00""#, r#""+9:00""#, "purposes[1].quiet_hours[0].from: must be a time of day"),
        (r#""08:30""#, r#""08:60""#, "purposes[1].quiet_hours[0].until: must be a time of day"),
        (r#""08:30""#, r#""08:3०""#, "purposes[1].quiet_hours[0].until: must be a time of day"),
        (r#"["mon", "sun"]"#, r#"["Mon"]"#, "purposes[1].quiet_hours[0].days[0]: must be one of `mon`"),
        (r#"["mon", "sun"]"#, r#"["mon", "mon"]"#, "purposes[1].quiet_hours[0].days[1]: must stand once"),
        (r#""Europe/Berlin""#, r#""Europe/Berln""#, "such as `Europe/Berlin`, not `Europe/Berln`"),
        (r#""Europe/Istanbul""#, r#""+03:00""#, "regions[1].time_zone: must be an IANA time zone"),
        ("[2, 7]", "[2, 12]", "purposes[1].tcf.purposes[1]: purpose `marketing`: the TCF has no purpose 12"),
        ("[2, 7]", "[0]", "purposes[1].tcf.purposes[0]: purpose `marketing`: the TCF has no purpose 0"),
        ("[2, 7]", "[65538]", "purposes[1].tcf.purposes[0]: purpose `marketing`: the TCF has no purpose"),
        ("[2, 7]", "[7, 7]", "purposes[1].tcf.purposes[1]: must stand once"),
        (
            r#""specialFeatures": [1]"#,
            r#""specialFeatures": [3]"#,
            "purposes[1].tcf.special_features[0]: purpose `marketing`: the TCF has no special feature 3",
        ),
        (r#"["health"]"#, r#"[""]"#, "purposes[1].gpp.sensitive_data[0]: missing"),
        (
            r#"["health"]"#,
            r#"["Health"]"#,
            "purposes[1].gpp.sensitive_data[0]: must be one of `racial_or_ethnic_origin`",
        ),
        ("755", "65536", "recipients[0].tcf_vendor: must be a number of the Global Vendor List"),
        (r#"{"version": 1, "#, r#"{"version": 2, "#, "notices[0].versions[1].version: must be another"),
        (r#"{"version": 1, "#, r#"{"#, "notices[0].versions[1].version: must be at least 1"),
        (r#"[{"version": 4, "material": true}]"#, "[]", "notices[1].versions: missing"),
        (r#""id": "minors", "versions""#, r#""id": "privacy", "versions""#, "notices[1].id: must be another"),
        (r#"["tr", "en-GB"]"#, r#"["tr", "en_GB"]"#, "notices[0].versions[0].languages[1]: must be a BCP 47 tag"),
        ("2026-03-01", "1969-03-01", "notices[0].versions[0].effective_at: must be after 1970"),
    ];
    for (from, to, sentence) in cases {
        assert_eq!(FULL.matches(from).count(), 1, "`{from}` stands once");
        let error = read_catalogue(wire(&FULL.replace(from, to))).expect_err(to).to_string();
        assert!(error.contains(sentence), "`{from}` as `{to}`: {error}");
    }
}

#[test]
fn a_word_of_a_newer_version_is_refused() {
    let mut newer = wire(FULL);
    let rule = newer.purposes[1].minors.as_mut().expect("it is there");
    (rule.treatment, rule.unknown_age) = (9, 9);
    let error = read_catalogue(newer).expect_err("not known").to_string();
    assert!(error.contains("purposes[1].minors.treatment: missing, or not known"), "{error}");
    assert!(error.contains("purposes[1].minors.unknown_age: not known"), "{error}");
}

#[test]
fn a_notice_is_only_looked_for_where_the_document_has_notices() {
    let alone = r#"{"version": 1, "channels": [{"key": "email"}], "purposes": [{"key": "a", "channels": ["email"],
        "legalBasis": "LEGAL_BASIS_CONSENT", "notice": {"id": "elsewhere"}}]}"#;
    assert_eq!(read(alone).purposes().count(), 1);
    let marked = FULL.replace(r#"{"id": "privacy"}"#, r#"{"id": "elsewhere", "materialSince": 2}"#);
    let rule = marketing(&read(&marked)).terms.notice.clone();
    assert_eq!(rule, Some(NoticeRule { id: "elsewhere".into(), material_since: 2, versions: Vec::new() }));
}

#[test]
fn all_problems_are_told_at_once_and_an_event_says_where_the_catalogue_stands() {
    let broken = FULL.replace("21:00", "25:00").replace("[2, 7]", "[99]").replace("Europe/Istanbul", "Nowhere");
    let error = read_catalogue(wire(&broken)).expect_err("broken");
    let fields: Vec<&str> = error.problems().iter().map(|problem| &*problem.field).collect();
    assert_eq!(fields, ["purposes[1].quiet_hours[0].from", "regions[1].time_zone", "purposes[1].tcf.purposes[0]"]);
    let mut problems = Problems::default();
    let _ = of_event(&mut problems, wire(&broken));
    let error = problems.into_result(Some(())).expect_err("broken");
    assert_eq!(
        error.problems().first().map(|problem| &*problem.field),
        Some("catalogue.purposes[1].quiet_hours[0].from")
    );
}

#[test]
fn too_many_are_refused_before_they_are_multiplied() {
    let rule = r#"{"regions": ["CN"], "prohibited": true}"#;
    let many = FULL.replace(rule, &vec![rule; REGIONAL_RULES_MAX].join(","));
    let error = read_catalogue(wire(&many)).expect_err("too many").to_string();
    assert!(error.contains("purposes[1].regional: purpose `marketing` has more than"), "{error}");
    let hours = r#"{"from": "00:00", "until": "00:00", "days": ["sat"]}"#;
    let many = FULL.replace(hours, &vec![hours; 65].join(","));
    let error = read_catalogue(wire(&many)).expect_err("too many").to_string();
    assert!(error.contains("purposes[1].regional[0].quiet_hours: more than 64"), "{error}");
}

#[test]
fn a_stored_catalogue_is_read_as_it_was() {
    let catalogue = read(FULL);
    assert_eq!(decode_catalogue(&encode_catalogue(&catalogue)), Ok(catalogue));
    assert!(matches!(decode_catalogue(&[0xff]), Err(StoredCatalogueError::Message(_))));
    assert!(matches!(decode_catalogue(&[]), Err(StoredCatalogueError::Invalid(_))));
}

/// Draws of which documents are made; where they end, every list ends and every field is absent.
struct Draws(std::vec::IntoIter<u8>);

impl Draws {
    fn below(&mut self, bound: u8) -> u8 {
        self.0.next().unwrap_or(0) % bound
    }

    fn is(&mut self) -> bool {
        self.below(2) == 1
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.is().then(|| make(self))
    }

    fn list<T>(&mut self, longest: u8, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(longest + 1)).map(|_| make(self)).collect()
    }

    fn some_of(&mut self, words: &[&str]) -> Vec<String> {
        words.iter().filter(|_| self.is()).map(|word| (*word).to_owned()).collect()
    }

    fn channels(&mut self) -> Vec<String> {
        self.some_of(&["email", "sms", "call"])
    }

    fn span(&mut self) -> pbjson_types::Duration {
        pbjson_types::Duration { seconds: self.below(200).into(), nanos: 1 + i32::from(self.below(200)) }
    }

    fn notice(&mut self) -> v1::NoticeRule {
        let id = ["privacy", "minors"][usize::from(self.is())].to_owned();
        v1::NoticeRule { id, material_since: self.below(3).into() }
    }

    fn accepts(&mut self) -> v1::Acceptance {
        v1::Acceptance { methods: self.some_of(&["web_form", "call_centre"]), proof_required: self.is() }
    }

    fn minors(&mut self) -> v1::MinorRule {
        let (under, treatment) = (1 + u32::from(self.below(99)), 1 + i32::from(self.below(2)));
        v1::MinorRule { under, treatment, unknown_age: self.below(3).into() }
    }

    fn quiet_hours(&mut self) -> v1::QuietHours {
        let mut time = || format!("{:02}:{:02}", self.below(24), self.below(60));
        let (from, until) = (time(), time());
        let zone = ["", "Europe/Istanbul", "America/New_York"][usize::from(self.below(3))];
        let days = self.some_of(&rules::DAYS);
        v1::QuietHours { channels: self.channels(), from, until, days, time_zone: zone.to_owned() }
    }

    fn tcf(&mut self) -> v1::TcfRule {
        v1::TcfRule {
            purposes: (1..=11).filter(|_| self.is()).collect(),
            special_features: (1..=2).filter(|_| self.is()).collect(),
        }
    }

    fn gpp(&mut self) -> v1::GppRule {
        v1::GppRule {
            sale: self.is(),
            sharing: self.is(),
            targeted_advertising: self.is(),
            sensitive_data: self.some_of(&["health", "precise_geolocation"]),
            gpc: self.is(),
        }
    }

    fn basis(&mut self) -> i32 {
        // Explicit consent, legal obligation, vital interest, public task: those that carry every kind of data.
        [2, 5, 6, 7][usize::from(self.below(4))]
    }

    fn regional(&mut self) -> v1::RegionalRule {
        v1::RegionalRule {
            regions: [vec!["TR".to_owned()], self.some_of(&["EU", "US-ME"])].concat(),
            source: "law".to_owned(),
            prohibited: self.is(),
            legal_basis: self.maybe(Self::basis),
            channels: self.channels(),
            max_age: self.maybe(Self::span),
            max_staleness: self.maybe(Self::span),
            covered_by_parent: self.maybe(Self::is),
            special_category: self.maybe(Self::is),
            notice: self.maybe(Self::notice),
            requires: self.some_of(&["p0", "other"]),
            honours_gpc: self.maybe(Self::is),
            accepts: self.maybe(Self::accepts),
            minors: self.maybe(Self::minors),
            despite_restriction: self.maybe(Self::is),
            quiet_hours: self.list(2, Self::quiet_hours),
            tcf: self.maybe(Self::tcf),
            gpp: self.maybe(Self::gpp),
        }
    }

    fn purpose(&mut self, key: &str) -> v1::Purpose {
        v1::Purpose {
            key: key.to_owned(),
            title: "t".to_owned(),
            description: "d".to_owned(),
            legal_basis: self.basis(),
            channels: [vec!["post".to_owned()], self.channels()].concat(),
            max_age: self.maybe(Self::span),
            max_staleness: self.maybe(Self::span),
            covered_by_parent: self.is(),
            special_category: self.is(),
            notice: self.maybe(Self::notice),
            requires: self.some_of(&["p0"]),
            honours_gpc: self.is(),
            accepts: self.maybe(Self::accepts),
            minors: self.maybe(Self::minors),
            despite_restriction: self.is(),
            quiet_hours: self.list(2, Self::quiet_hours),
            tcf: self.maybe(Self::tcf),
            gpp: self.maybe(Self::gpp),
            regional: self.list(4, Self::regional),
        }
    }

    fn catalogue(&mut self) -> v1::Catalogue {
        let plain = |key: &str| v1::Purpose {
            key: key.to_owned(),
            legal_basis: v1::LegalBasis::Consent.into(),
            channels: vec!["email".to_owned()],
            ..v1::Purpose::default()
        };
        let mut notices = wire(FULL).notices;
        // Without a list of notices none has versions here.
        if self.below(4) == 0 {
            notices.clear();
        }
        let purposes = vec![plain("p0"), plain("other"), self.purpose("p1"), self.purpose("p1.child")];
        let channels =
            ["email", "sms", "call", "post"].map(|key| v1::Channel { key: key.to_owned(), ..Default::default() });
        v1::Catalogue {
            version: 1 + u64::from(self.below(200)),
            title: "t".to_owned(),
            channels: channels.to_vec(),
            purposes,
            default_max_staleness: self.maybe(Self::span),
            notices,
            regions: wire(FULL).regions,
            recipients: wire(FULL).recipients,
        }
    }
}

proptest! {
    #[test]
    fn every_catalogue_comes_back_from_its_bytes(draws in proptest::collection::vec(any::<u8>(), 0..600)) {
        let catalogue = read_catalogue(Draws(draws.into_iter()).catalogue()).expect("well-formed");
        prop_assert_eq!(decode_catalogue(&encode_catalogue(&catalogue)).expect("the same"), catalogue);
    }
}
