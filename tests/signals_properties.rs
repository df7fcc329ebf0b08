//! What must hold of every string: it only narrows, the more it says yes the more it permits, and what it permits is what a
//! slow reading of the standard permits.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

use std::collections::BTreeSet;

use consentd::domain::catalogue::{GppRule, Recipient, TcfRule};
use consentd::domain::signal::{
    Gpp, GppSection, PublisherTc, SensitiveData, SmallSet, Tcf, TcfRestriction, TcfRestrictionKind, Vendors,
};
use consentd::domain::{
    Catalogue, CatalogueParts, Collection, Decision, Freshness, Heard, LedgerStanding, LegalBasis, Position, Purpose,
    Question, Reason, Record, Signals, Status, SubjectState, SubjectView, Terms, Time, TokenStanding, Verdict, decide,
};
use proptest::prelude::*;

/// 2026-06-01T12:00:00Z.
const NOW: Time = Time::from_unix_millis(1_780_315_200_000);
/// The vendors that strings here speak of, and the recipient's.
const VENDORS: u16 = 4;
const OURS: u16 = 2;

fn small() -> impl Strategy<Value = SmallSet> {
    (0_u64..1 << 11).prop_map(SmallSet::from_bits)
}

fn vendors() -> impl Strategy<Value = Vendors> {
    prop::collection::vec(1..=VENDORS, 0..4).prop_map(|numbers| numbers.into_iter().collect())
}

fn restriction() -> impl Strategy<Value = TcfRestriction> {
    let kind = prop::sample::select(vec![
        TcfRestrictionKind::NotAllowed,
        TcfRestrictionKind::RequireConsent,
        TcfRestrictionKind::RequireLegitimateInterest,
    ]);
    (1_u16..=11, kind, vendors()).prop_map(|(purpose, kind, vendors)| TcfRestriction { purpose, kind, vendors })
}

fn tcf() -> impl Strategy<Value = Tcf> {
    let publisher = (small(), small()).prop_map(|(consents, interests)| PublisherTc {
        consents,
        interests,
        ..PublisherTc::default()
    });
    let sets = (small(), small(), small(), vendors(), vendors());
    let rest = (prop::collection::vec(restriction(), 0..3), prop::option::weighted(0.7, vendors()));
    // A day before and a day after the segment of disclosed vendors became mandatory, and one long before.
    let date = prop::sample::select(vec![1_772_236_800_000, 1_772_323_200_000, 1_690_000_000_000]);
    (sets, rest, prop::option::of(publisher), date, 2_u8..6, prop::bool::weighted(0.95)).prop_map(
        |(
            (features, consents, interests, given, told),
            (restrictions, disclosed),
            publisher,
            date,
            policy,
            specific,
        )| {
            Tcf {
                created: Time::from_unix_millis(date),
                last_updated: Time::from_unix_millis(date),
                policy,
                service_specific: specific,
                special_features: features,
                purpose_consents: consents,
                purpose_interests: interests,
                vendor_consents: given,
                vendor_interests: told,
                restrictions,
                disclosed_vendors: disclosed,
                publisher,
                ..Tcf::default()
            }
        },
    )
}

fn rule() -> impl Strategy<Value = TcfRule> {
    let numbers = |last: u16, most| prop::collection::btree_set(1..=last, 0..most);
    (numbers(11, 3), numbers(2, 2)).prop_map(|(purposes, special_features)| TcfRule {
        purposes: purposes.into_iter().collect(),
        special_features: special_features.into_iter().collect(),
    })
}

/// What a slow reading of the standard permits.
fn permits(tcf: &Tcf, rule: &TcfRule, basis: LegalBasis, vendor: Option<u16>) -> bool {
    let all = |vendors: &Vendors| vendors.iter().collect::<BTreeSet<u16>>();
    let day = tcf.created.unix_millis() / 86_400_000;
    // 2023-10-01 and 2026-03-01, in days.
    let counts =
        tcf.service_specific && (tcf.policy >= 4 || day < 19_631) && (tcf.disclosed_vendors.is_some() || day < 20_513);
    let disclosed =
        vendor.is_none_or(|vendor| tcf.disclosed_vendors.as_ref().is_none_or(|list| all(list).contains(&vendor)));
    let opted_in = rule.special_features.iter().all(|feature| tcf.special_features.contains(*feature));
    let each = rule.purposes.iter().all(|purpose| {
        let restricted = |kind: TcfRestrictionKind| {
            vendor.is_some_and(|vendor| {
                tcf.restrictions
                    .iter()
                    .any(|one| one.purpose == *purpose && one.kind == kind && all(&one.vendors).contains(&vendor))
            })
        };
        let (by_consent, by_interest) = match (vendor, tcf.publisher) {
            (Some(vendor), _) => (
                tcf.purpose_consents.contains(*purpose) && all(&tcf.vendor_consents).contains(&vendor),
                tcf.purpose_interests.contains(*purpose) && all(&tcf.vendor_interests).contains(&vendor),
            ),
            (None, Some(publisher)) => (publisher.consents.contains(*purpose), publisher.interests.contains(*purpose)),
            (None, None) => (tcf.purpose_consents.contains(*purpose), tcf.purpose_interests.contains(*purpose)),
        };
        let rests_on_interest = basis == LegalBasis::LegitimateInterest && ![1, 3, 4, 5, 6].contains(purpose);
        let consent_only = restricted(TcfRestrictionKind::RequireConsent);
        let interest_only = restricted(TcfRestrictionKind::RequireLegitimateInterest);
        if restricted(TcfRestrictionKind::NotAllowed) || consent_only && interest_only {
            false
        } else if rests_on_interest && !consent_only {
            by_interest
        } else {
            by_consent && (!interest_only || rests_on_interest)
        }
    });
    counts && disclosed && opted_in && each
}

fn section() -> impl Strategy<Value = GppSection> {
    let bits = prop::array::uniform5(prop::bool::weighted(0.3));
    (7_u16..28, bits, prop::collection::vec(0_usize..16, 0..3)).prop_map(|(id, bits, categories)| GppSection {
        id,
        sale: bits[0],
        sharing: bits[1],
        targeted_advertising: bits[2],
        child: bits[3] && bits[4],
        sensitive_data: categories.into_iter().fold(SensitiveData::NONE, |all, one| all.with(SensitiveData::at(one))),
        gpc: bits[4],
    })
}

fn gpp_rule() -> impl Strategy<Value = GppRule> {
    let bits = prop::array::uniform4(any::<bool>());
    let names = prop::sample::subsequence(SensitiveData::NAMES.to_vec(), 0..3);
    (bits, names).prop_map(|(bits, names)| GppRule {
        sale: bits[0],
        sharing: bits[1],
        targeted_advertising: bits[2],
        gpc: bits[3],
        sensitive_data: names.into_iter().map(Into::into).collect(),
    })
}

fn opts_out(gpp: &Gpp, rule: &GppRule) -> bool {
    !gpp.unknown.is_empty()
        || gpp.sections.iter().any(|section| {
            let names: BTreeSet<&str> = section.sensitive_data.names().collect();
            section.child
                || rule.sale && section.sale
                || rule.sharing && section.sharing
                || rule.targeted_advertising && section.targeted_advertising
                || rule.gpc && section.gpc
                || rule.sensitive_data.iter().any(|name| names.contains(&**name))
        })
}

/// What is compared of an answer: also until when it may be relied on.
type Answered = (Verdict, Reason, &'static str, Option<Time>);

/// The answer about a purpose that is allowed but for the strings, or, of somebody unknown, denied.
fn answer(terms: Terms, recipient: &str, heard: Heard<'_>, is_known: bool) -> Answered {
    let terms = Terms { channels: vec!["web".into()], ..terms };
    let parts = CatalogueParts {
        version: 1,
        channels: vec![("web".into(), "".into())],
        purposes: vec![Purpose::new("ads", terms)],
        recipients: vec![Recipient { key: "ours".into(), title: "".into(), tcf_vendor: Some(OURS) }],
        ..CatalogueParts::default()
    };
    let catalogue = Catalogue::new(parts).expect("a catalogue");
    let question = Question {
        purpose: "ads",
        channel: "web",
        recipient,
        jurisdiction: "",
        signals: Signals {
            sec_gpc: "",
            tcf: if heard.tcf.is_some() { "sent" } else { "" },
            gpp: if heard.gpp.is_some() { "sent" } else { "" },
        },
        heard,
        max_staleness: None,
        time_zone: None,
    };
    let freshness = Freshness {
        ledger: LedgerStanding::Following,
        staleness: std::time::Duration::ZERO,
        token: TokenStanding::Reached,
    };
    let agreed = Record {
        event_time: Time::from_unix_millis(NOW.unix_millis() - 1),
        status: Status::Given,
        legal_basis: LegalBasis::ExplicitConsent,
        collection: Collection::default(),
        notice: None,
        expires_at: None,
        jurisdiction: "".into(),
        proof: "".into(),
        position: Position(1),
    };
    let state =
        if is_known { SubjectState::of_record("ads", "web", recipient, agreed) } else { SubjectState::default() };
    let decision: Decision<'_> = decide(&question, SubjectView::State(&state), Some(&catalogue), &freshness, NOW);
    (decision.verdict(), decision.reason, decision.rule, decision.valid_until)
}

/// What is answered without a string.
fn silent(terms: &Terms, recipient: &str, is_known: bool) -> Answered {
    let silent = answer(terms.clone(), recipient, Heard::default(), is_known);
    let wanted = if is_known { Verdict::Allow } else { Verdict::Deny };
    assert!(silent.0 == wanted && silent.2 != "signals", "nothing was sent: {silent:?}");
    silent
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_tcf_string_permits_what_a_slow_reading_of_the_standard_permits(
        tcf in tcf(), rule in rule(), basis in prop::sample::select(LegalBasis::ALL.to_vec()),
        to_us in any::<bool>(), in_gpp in any::<bool>(), is_known in any::<bool>(),
    ) {
        let (recipient, vendor) = if to_us { ("", None) } else { ("ours", Some(OURS)) };
        let permitted = permits(&tcf, &rule, basis, vendor);
        let gpp = Gpp { tcf: Some(Box::new(tcf.clone())), ..Gpp::default() };
        let heard = if in_gpp { Heard { tcf: None, gpp: Some(&gpp) } } else { Heard { tcf: Some(&tcf), gpp: None } };
        let terms = Terms { legal_basis: basis, tcf: Some(rule), ..Terms::default() };
        let without = silent(&terms, recipient, is_known);
        let with = answer(terms.clone(), recipient, heard, is_known);
        if permitted {
            prop_assert_eq!(with, without, "what permits changes nothing");
        } else {
            prop_assert_eq!(with, (Verdict::Deny, Reason::SignalTcf, "signals", None));
        }
        let unmapped = answer(Terms { tcf: None, ..terms }, recipient, heard, is_known);
        prop_assert_eq!(unmapped, without, "what is not mapped changes nothing");
    }

    #[test]
    fn a_gpp_string_denies_what_a_section_opts_out_of_and_nothing_else(
        sections in prop::collection::vec(section(), 0..3), unknown in prop::option::weighted(0.1, 28_u16..60), rule in gpp_rule(),
        is_known in any::<bool>(),
    ) {
        let gpp = Gpp { tcf: None, sections, unknown: unknown.into_iter().collect() };
        let heard = Heard { tcf: None, gpp: Some(&gpp) };
        let terms = Terms { gpp: Some(rule.clone()), ..Terms::default() };
        let without = silent(&terms, "", is_known);
        let denied = (Verdict::Deny, Reason::SignalGpp, "signals", None);
        let wanted = if opts_out(&gpp, &rule) { denied } else { without };
        prop_assert_eq!(answer(terms.clone(), "", heard, is_known), wanted);
        prop_assert_eq!(answer(Terms { gpp: None, ..terms }, "", heard, is_known), without);
    }

    #[test]
    fn more_consent_never_permits_less(tcf in tcf(), rule in rule(), more in small(), vendor in 1..=VENDORS) {
        let shown = |set: SmallSet| set.iter().chain(more.iter()).fold(0_u64, |bits, number| bits | 1 << (number - 1));
        let with = |vendors: &Vendors| vendors.iter().chain([vendor]).collect::<Vendors>();
        let greater = Tcf {
            special_features: SmallSet::from_bits(shown(tcf.special_features)),
            purpose_consents: SmallSet::from_bits(shown(tcf.purpose_consents)),
            purpose_interests: SmallSet::from_bits(shown(tcf.purpose_interests)),
            vendor_consents: with(&tcf.vendor_consents),
            vendor_interests: with(&tcf.vendor_interests),
            disclosed_vendors: tcf.disclosed_vendors.as_ref().map(with),
            ..tcf.clone()
        };
        for basis in [LegalBasis::Consent, LegalBasis::LegitimateInterest] {
            if tcf.bars(&rule, basis, Some(OURS)).is_none() {
                prop_assert_eq!(greater.bars(&rule, basis, Some(OURS)), None);
            }
        }
    }
}
