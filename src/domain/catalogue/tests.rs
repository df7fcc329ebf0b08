//! What a catalogue may be, and what its problems are called.

use super::*;
use crate::domain::words::LegalBasis;

fn purpose(key: &str, requires: &[&str]) -> Purpose {
    let requires = requires.iter().map(|key| (*key).into()).collect();
    Purpose::new(key, Terms { channels: vec!["email".into()], requires, ..Terms::default() })
}

fn build(purposes: Vec<Purpose>) -> Result<Catalogue, CatalogueProblems> {
    let channels = vec![("email".into(), "".into())];
    Catalogue::new(CatalogueParts { version: 1, channels, purposes, ..CatalogueParts::default() })
}

#[test]
fn an_ancestor_ends_at_a_dot() {
    assert!(is_self_or_ancestor("marketing", "marketing"));
    assert!(is_self_or_ancestor("marketing", "marketing.newsletter"));
    assert!(!is_self_or_ancestor("market", "marketing"));
    assert!(!is_self_or_ancestor("marketing.news", "marketing.newsletter"));
    assert!(!is_self_or_ancestor("marketing.newsletter", "marketing"));
}

/// The paths of all problems.
fn paths(built: Result<Catalogue, CatalogueProblems>) -> Vec<String> {
    built.expect_err("something is wrong").into_iter().map(|problem| problem.path).collect()
}

fn only_problem(built: Result<Catalogue, CatalogueProblems>) -> CatalogueError {
    let mut problems = built.expect_err("something is wrong").into_iter();
    let first = problems.next().expect("at least one").problem;
    assert_eq!(problems.next(), None, "besides {first}");
    first
}

#[test]
fn circles_in_requires_are_refused() {
    assert!(build(vec![purpose("a", &["b"]), purpose("b", &[])]).is_ok());
    let circle = build(vec![purpose("a", &["b"]), purpose("b", &["a"])]);
    assert_eq!(paths(circle), ["purposes[0].requires", "purposes[1].requires"]);
    let own = build(vec![purpose("a", &["a"])]);
    assert_eq!(only_problem(own), CatalogueError::RequiresCircle { purpose: "a".to_owned() });
    let missing = build(vec![purpose("a", &[]), purpose("c", &["a", "b"])]);
    assert_eq!(paths(missing), ["purposes[1].requires[1]"]);
}

#[test]
fn a_circle_that_only_a_region_closes_is_refused() {
    let mut b = purpose("b", &[]);
    b.regional = vec![regional(&["TR"], Terms { requires: vec!["a".into()], ..b.terms.clone() })];
    assert_eq!(paths(build(vec![purpose("a", &["b"]), b])), ["purposes[0].requires", "purposes[1].requires"]);
}

#[test]
fn what_is_required_is_listed_once_however_many_paths_lead_to_it() {
    // Sixteen levels of three, each requiring the whole next level: tens of millions of paths, 48 purposes.
    let level = |depth: usize| ["a", "b", "c"].map(|name| format!("{name}{depth}"));
    let mut purposes = Vec::new();
    for depth in 0..16 {
        for key in level(depth) {
            let next = if depth == 15 { Vec::new() } else { level(depth + 1).to_vec() };
            purposes.push(purpose(&key, &next.iter().map(String::as_str).collect::<Vec<_>>()));
        }
    }
    let catalogue = build(purposes).expect("no circle");
    let reach = &catalogue.entry("a0").expect("named").reach;
    assert_eq!(reach.len(), 45, "all below the first level");
    let nearest = reach.first().and_then(|place| catalogue.entry_at(*place)).map(|entry| &*entry.purpose.key);
    assert_eq!(nearest, Some("a1"), "the nearer first");
    assert!(catalogue.entry("a15").expect("named").reach.is_empty());
}

#[test]
fn a_special_category_needs_a_ground_that_can_carry_it() {
    for basis in LegalBasis::ALL {
        let mut special = purpose("health", &[]);
        special.terms = Terms { special_category: true, legal_basis: *basis, ..special.terms };
        let weak = [LegalBasis::Consent, LegalBasis::LegitimateInterest, LegalBasis::Contract].contains(basis);
        assert_eq!(build(vec![special]).is_err(), weak, "{basis}");
    }
}

#[test]
fn malformed_catalogues_are_refused() {
    let parts = |version| CatalogueParts { version, purposes: vec![purpose("a", &[])], ..CatalogueParts::default() };
    assert_eq!(paths(Catalogue::new(parts(0))), ["version", "purposes[0].channels[0]"]);
    assert_eq!(only_problem(build(vec![])), CatalogueError::NoPurposes);
    assert_eq!(
        only_problem(build(vec![purpose("a", &[]), purpose("a", &[])])),
        CatalogueError::Twice { key: "a".to_owned() }
    );
    for key in ["", ".", "a.", "a..b", "A", "a b", "*"] {
        assert_eq!(paths(build(vec![purpose(key, &[])])), ["purposes[0].key"], "`{key}`");
    }
}

fn regional(regions: &[&str], terms: Terms) -> Regional {
    let regions = regions.iter().map(|region| (*region).into()).collect();
    Regional { regions, source: "".into(), terms }
}

fn region(key: &str, members: &[&str]) -> Region {
    let members = members.iter().map(|member| (*member).into()).collect();
    Region { key: key.into(), title: "".into(), members, zone: None }
}

#[test]
fn everything_that_is_wrong_is_told_at_once_each_with_its_place() {
    let mut first = purpose("a", &[]);
    first.terms.max_age = Some(Duration::ZERO);
    let base = first.terms.clone();
    let quiet = QuietHours { channels: vec!["fax".into()], from: 1440, until: 0, days: [false; 7], zone: None };
    first.regional = vec![
        regional(&["TR", "EEA", "Europe"], base.clone()),
        regional(
            &[],
            Terms {
                channels: vec!["email".into(), "post".into()],
                max_staleness: Duration::ZERO,
                requires: vec!["nobody".into()],
                quiet_hours: vec![quiet],
                minors: Some(MinorRule { under: 0, treatment: MinorTreatment::Deny, unknown_age: UnknownAge::Deny }),
                tcf: Some(TcfRule { purposes: vec![1, 12], special_features: vec![3] }),
                notice: Some(NoticeRule { id: "".into(), material_since: 0, versions: Vec::new() }),
                ..base
            },
        ),
    ];
    let zone: &'static crate::domain::Zone = Box::leak(Box::new(crate::domain::Zone::new("UTC", 0, Vec::new())));
    let parts = CatalogueParts {
        version: 1,
        channels: vec![("email".into(), "".into()), ("e mail".into(), "".into())],
        purposes: vec![first, Purpose::new("Second", Terms::default())],
        regions: vec![
            region("EEA", &["DE", "EEA-X", "dE", "DE"]),
            region("nowhere", &[]),
            Region { zone: Some(zone), ..region("EU", &["FR"]) },
        ],
        recipients: ["acme", "acme"]
            .map(|key| Recipient { key: key.into(), title: "".into(), tcf_vendor: None })
            .into(),
        ..CatalogueParts::default()
    };
    assert_eq!(
        paths(Catalogue::new(parts)),
        [
            "channels[1].key",
            "purposes[1].key",
            "regions[0].members[1]",
            "regions[0].members[2]",
            "regions[0].members[3]",
            "regions[1].members",
            "regions[2].time_zone",
            "recipients[1].key",
            "purposes[0].max_age",
            "purposes[0].regional[0].regions[2]",
            "purposes[0].regional[1].regions",
            "purposes[0].regional[1].channels[1]",
            "purposes[0].regional[1].max_staleness",
            "purposes[0].regional[1].notice.id",
            "purposes[0].regional[1].minors.under",
            "purposes[0].regional[1].quiet_hours[0].from",
            "purposes[0].regional[1].quiet_hours[0].days",
            "purposes[0].regional[1].quiet_hours[0].channels[0]",
            "purposes[0].regional[1].tcf.purposes[1]",
            "purposes[0].regional[1].tcf.special_features[0]",
            "purposes[1].channels",
            "purposes[0].regional[1].requires[0]",
        ]
    );
}

/// A purpose with a rule for each of these regions, whose greatest age of a consent is its number of days.
fn by_region(regions: &[&[&str]], groups: Vec<Region>) -> Catalogue {
    let mut purpose = purpose("a", &[]);
    let days = |days: u64| Some(Duration::from_hours(24 * days));
    purpose.terms.max_age = days(100);
    let rules = (1..).zip(regions);
    purpose.regional =
        rules.map(|(n, names)| regional(names, Terms { max_age: days(n), ..purpose.terms.clone() })).collect();
    let channels = vec![("email".into(), "".into())];
    let parts = CatalogueParts { version: 1, channels, purposes: vec![purpose], regions: groups, ..Default::default() };
    Catalogue::new(parts).expect("sound")
}

fn parts(catalogue: &Catalogue, regions: &[&str]) -> u64 {
    catalogue.entry("a").expect("named").terms_in(regions.iter().copied()).parts
}

#[test]
fn what_applies_in_a_region_is_what_names_it_its_country_or_a_group_of_either() {
    let groups = vec![region("EU", &["DE", "FR"]), region("north", &["US-ME", "CA"])];
    let catalogue = by_region(&[&["EU"], &["US"], &["US-ME"], &["north"], &["DE"]], groups);
    for (regions, expected) in [
        (&["TR"][..], 0b00_0001),
        (&["DE"], 0b10_0010),
        (&["FR"], 0b00_0010),
        (&["US-NY"], 0b00_0100),
        (&["US-ME"], 0b01_1100),
        (&["CA-QC"], 0b01_0000),
        // A country or a group alone leaves open where exactly.
        (&["US"], 0b01_1100),
        (&["EU"], 0b10_0010),
        (&["TR", "FR"], 0b00_0011),
        (&["TR", "", "TR"], 0b00_0001),
        // Nothing is known, or what is no place.
        (&[], 0b11_1111),
        (&[""], 0b11_1111),
        (&["somewhere"], 0b11_1111),
        (&["DE", "turkey"], 0b11_1111),
    ] {
        assert_eq!(parts(&catalogue, regions), expected, "{regions:?}");
    }
}

#[test]
fn a_combination_that_was_not_prepared_is_that_of_all() {
    let catalogue = by_region(&[&["DE"], &["FR"], &["IT"], &["ES"]], Vec::new());
    assert_eq!(parts(&catalogue, &["DE", "FR"]), 0b0_0110);
    assert_eq!(parts(&catalogue, &["DE", "FR", "IT"]), 0b1_1111);
    let terms = catalogue.entry("a").expect("named").terms_in(["DE", "FR", "IT"].into_iter());
    assert_eq!(terms.max_age, Some(Duration::from_hours(24)), "the least of all");
    // Of very many regions pairs are not prepared either.
    let codes: Vec<String> = (0..40_u8).map(|n| format!("A{}", char::from(b'A' + n % 26)) + &format!("-{n}")).collect();
    let rules: Vec<[&str; 1]> = codes.iter().map(|code| [code.as_str()]).collect();
    let rules: Vec<&[&str]> = rules.iter().map(|rule| &rule[..]).collect();
    let many = by_region(&rules, Vec::new());
    assert_eq!(parts(&many, &[&codes[3]]), 1 << 4);
    assert_eq!(parts(&many, &[&codes[3], &codes[5]]), (1 << 41) - 1);
}
