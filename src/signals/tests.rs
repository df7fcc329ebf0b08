use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::domain::signal::{GppSection, SensitiveData};

/// Made by the framework's own library: everything that a string can have.
const FULL_TCF: &str = "CPaCkUAPaF3QAnOALhFRR_EtONUvvIgNCTLO1bwAo8Njw_2q_atwAAABGgAUAcgB1B3SpAAgABAA.fAkdhaaRZJN5oAAA";
const DISCLOSED: &str = "IDKQA4AAgAKAGQAygAAA";
const PUBLISHER: &str = "YAAAAAAAAAAA";
const CORE: &str = "CQSbk4AQSbk4ANwAAAENAwCgAAAAAAAAAAYgACPAAAAA";

fn only_section(text: &str) -> Result<GppSection, Unreadable> {
    let gpp = read_gpp(text)?;
    assert_eq!((gpp.sections.len(), gpp.tcf, gpp.unknown), (1, None, Vec::new()), "{text}");
    Ok(gpp.sections[0])
}

/// A section of these bits behind the header of the national section alone.
fn national(bits: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits: Vec<u8> = bits.bytes().filter(|bit| *bit != b' ').map(|bit| bit - b'0').collect();
    let character =
        |six: &[u8]| char::from(ALPHABET[(0..6).fold(0, |all, at| all << 1 | usize::from(*six.get(at).unwrap_or(&0)))]);
    format!("DBABL~{}", bits.chunks(6).map(character).collect::<String>())
}

#[test]
fn segments_may_come_in_any_order_and_each_once() {
    let one = read_tcf(&format!("{CORE}.{DISCLOSED}.{PUBLISHER}")).expect("readable");
    assert_eq!(read_tcf(&format!("{CORE}.{PUBLISHER}.{DISCLOSED}")), Ok(one.clone()));
    assert!(one.disclosed_vendors.is_some() && one.publisher.is_some());
    assert_eq!(read_tcf(&format!("{CORE}.{DISCLOSED}.{DISCLOSED}")), Err(Unreadable::Segment));
    assert_eq!(read_tcf(&format!("{CORE}.{CORE}")), Err(Unreadable::Segment), "a core that comes later is none");
    assert_eq!(read_tcf(&format!("{DISCLOSED}.{CORE}")), Err(Unreadable::Version), "the core comes first");
    assert_eq!(read_tcf(&format!("{CORE}.")), Err(Unreadable::Empty));
    assert_eq!(read_tcf(""), Err(Unreadable::Empty));
    for unknown in ["gAAA", "oAAA", "wAAA", "_AAA"] {
        assert_eq!(read_tcf(&format!("{CORE}.{unknown}")), Err(Unreadable::Segment), "{unknown}");
    }
}

#[test]
fn no_beginning_of_a_string_is_read_but_at_the_end_of_a_segment() {
    for text in [FULL_TCF, &format!("{CORE}.{DISCLOSED}.{PUBLISHER}")] {
        assert!(read_tcf(text).is_ok(), "{text}");
        for end in 0..text.len() {
            let cut = text.get(..end).expect("a boundary");
            // Encoders fill up with zeros, so that characters may be missing without anything being lost.
            let rest = text.get(end..).and_then(|rest| rest.split('.').next()).unwrap_or_default();
            let only_padding = rest.len() < 4 && rest.bytes().all(|byte| byte == b'A');
            assert!(read_tcf(cut).is_err() || only_padding, "{cut}");
        }
    }
}

#[test]
fn a_string_that_is_too_long_is_not_looked_at() {
    let long = "A".repeat(STRING_BYTES_MAX + 1);
    assert_eq!(read_tcf(&long), Err(Unreadable::TooLong));
    assert_eq!(read_gpp(&long), Err(Unreadable::TooLong));
    assert_eq!(read_tcf(&long[1..]), Err(Unreadable::Version));
}

#[test]
fn the_national_section_is_read_in_all_three_forms_it_had() {
    let notices = "00 01 01 01 00 00";
    let first = national(&format!("000001 {notices} 10 01 10 {} 0000 00 10 00 00", "10".repeat(12)));
    let second = national(&format!("000010 {notices} 10 01 10 {} 000000 00 10 00 00", "10".repeat(16)));
    let between = national(&format!("000001 {notices} 10 01 10 {} 000000 00 10 00 00", "10".repeat(15) + "01"));
    let sharing = GppSection { id: 7, sharing: true, ..GppSection::default() };
    assert_eq!(only_section(&first), Ok(sharing));
    assert_eq!(only_section(&second), Ok(sharing));
    let transgender = SensitiveData::category("transgender_or_nonbinary_status").expect("known");
    assert_eq!(only_section(&between), Ok(GppSection { sensitive_data: transgender, ..sharing }));
    // The second form is as long as it is: cut to the first's length it is neither.
    assert_eq!(only_section(&second[..16]), Err(Unreadable::Cut));
}

#[test]
fn values_that_the_standard_does_not_have_are_refused() {
    let with = |sale: &str, covered: &str| {
        let sensitive = "00".repeat(16);
        national(&format!("000010 00 01 01 01 00 00 {sale} 10 10 {sensitive} 000000 00 {covered} 00 00"))
    };
    assert_eq!(only_section(&with("10", "01")).map(|section| section.sale), Ok(false));
    assert_eq!(only_section(&with("11", "01")), Err(Unreadable::Value));
    assert_eq!(only_section(&with("10", "00")), Err(Unreadable::Value));
    assert_eq!(only_section(&with("10", "11")), Err(Unreadable::Value));
    let third = with("10", "01").replace("~C", "~D");
    assert_eq!(only_section(&third), Err(Unreadable::Version));
}

#[test]
fn the_second_part_of_a_section_is_what_it_must_be() {
    let california = "DBABBg~BUkAAACA";
    for (text, gpc) in [
        ("", Ok(false)),
        (".YA", Ok(true)),
        (".QA", Ok(false)),
        (".AA", Err(Unreadable::Segment)),
        (".YB", Err(Unreadable::Trailing)),
        (".", Err(Unreadable::Empty)),
        (".YA.YA", Err(Unreadable::Character)),
    ] {
        let whole = format!("{california}{text}");
        assert_eq!(only_section(&whole).map(|section| section.gpc), gpc, "{whole}");
    }
    // Virginia has none.
    assert_eq!(read_gpp("DBABRg~BACmqiA.YA").err(), Some(Unreadable::Segment));
}

#[test]
fn the_oldest_section_is_four_letters() {
    let sale = |text: &str| only_section(&format!("DBABTA~{text}")).map(|section| (section.sale, section.sharing));
    assert_eq!(sale("1YNN"), Ok((false, false)));
    assert_eq!(sale("1---"), Ok((false, false)));
    assert_eq!(sale("1YYN"), Ok((true, true)));
    assert_eq!(sale("1N-N"), Ok((true, true)), "nobody was told");
    assert_eq!(sale("2YNN"), Err(Unreadable::Version));
    for text in ["1YN", "1YNNN", "1yNN", "1YÖ"] {
        assert_eq!(sale(text), Err(Unreadable::Value), "{text}");
    }
}

#[test]
fn the_header_names_what_is_there() {
    assert_eq!(read_gpp("DBAA").map(|gpp| gpp.sections.len()), Ok(0));
    assert_eq!(read_gpp("DBAA~1YNN"), Err(Unreadable::Sections));
    assert_eq!(read_gpp("DBABTA"), Err(Unreadable::Sections));
    assert_eq!(read_gpp("DBABTA~"), Err(Unreadable::Empty));
    assert_eq!(read_gpp("DBABTA~1YNN~1YNN"), Err(Unreadable::Sections));
    assert_eq!(read_gpp("DCABTA~1YNN"), Err(Unreadable::Version));
    assert_eq!(read_gpp("CBABTA~1YNN"), Err(Unreadable::Version));
    assert_eq!(read_gpp(CORE), Err(Unreadable::Version), "a TCF string is no GPP string");
    assert_eq!(read_gpp("DBABKY~anything").map(|gpp| gpp.unknown), Ok(vec![28]));
    // Canada's framework: its place in the header counts, its content does not.
    let canadian = read_gpp("DBABjw~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA~1YYN").expect("readable");
    assert_eq!(canadian.sections, [GppSection { id: 6, sale: true, sharing: true, ..GppSection::default() }]);
    // A range of sixty thousand sections, of which none is there.
    assert_eq!(read_gpp("DBABzBECT~1YNN"), Err(Unreadable::Sections));
}

#[test]
fn what_was_understood_is_remembered_also_that_it_was_not() {
    use crate::domain::Signals;
    static NAMED: AtomicUsize = AtomicUsize::new(0);
    let listener = Listener::new(REMEMBERED_BYTES, |text| {
        NAMED.fetch_add(1, Ordering::Relaxed);
        [u8::try_from(text.len() % 251).unwrap_or_default(); 16]
    });
    let signals = Signals { sec_gpc: "", tcf: FULL_TCF, gpp: "DBABTA~1YNN" };
    let (first, second) = (listener.understand(&signals), listener.understand(&signals));
    let same = |a: Option<&crate::domain::Tcf>, b: Option<&crate::domain::Tcf>| match (a, b) {
        (Some(a), Some(b)) => std::ptr::eq(a, b),
        _ => false,
    };
    assert!(same(first.heard().tcf, second.heard().tcf), "the very same");
    assert_eq!(first.heard().gpp, read_gpp(signals.gpp).ok().as_ref());
    let unreadable = Signals { tcf: "CPX", ..Signals::default() };
    assert_eq!(listener.understand(&unreadable).heard(), crate::domain::Heard::default());
    assert_eq!(listener.understand(&unreadable).heard(), crate::domain::Heard::default());
    assert_eq!(listener.remembered(), 3);
    let named = |text: &str| Some([u8::try_from(text.len() % 251).expect("a byte"); 16]);
    for understood in [&first, &second] {
        assert_eq!(understood.tcf_fingerprint(), named(FULL_TCF));
        assert_eq!(understood.gpp_fingerprint(), named(signals.gpp));
    }
    let understood = listener.understand(&unreadable);
    assert_eq!(understood.tcf_fingerprint(), named("CPX"), "what cannot be read is named too");
    assert_eq!(understood.gpp_fingerprint(), None);
    assert_eq!(NAMED.load(Ordering::Relaxed), 3, "each text once");
}

#[test]
fn what_is_remembered_is_bounded() {
    use crate::domain::Signals;
    let listener = Listener::new(REMEMBERED_BYTES, |_| [0; 16]);
    let filler = "A".repeat(8_000);
    for number in 0..4_000 {
        let text = format!("{filler}{number}");
        assert_eq!(listener.understand(&Signals { tcf: &text, gpp: &text, ..Signals::default() }).heard().tcf, None);
    }
    // 64 MB of texts went through.
    assert!(listener.remembered_bytes() <= 16 * 1024 * 1024, "{}", listener.remembered_bytes());
    assert!(listener.remembered() > 100, "{}", listener.remembered());
}

/// Texts that look like strings, and texts that do not.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-Za-z0-9_-]{0,400}",
        "C[A-Za-z0-9_-]{30,200}(\\.[IYQ][A-Za-z0-9_-]{0,200}){0,3}",
        "DBA[A-Z][A-Za-z0-9_-]{0,6}(~[A-DB][A-Za-z0-9_-]{0,40}(\\.[A-Za-z0-9_-]{1,4})?){0,4}",
        "(\\PC|[.~]){0,40}",
        // A readable string with some of its characters changed.
        (
            prop::sample::select(vec![FULL_TCF, "DBACNYA~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA~1YNN"]),
            prop::collection::vec((any::<prop::sample::Index>(), "[A-Za-z0-9_.~-]"), 1..4)
        )
            .prop_map(|(text, changes)| {
                let mut characters: Vec<char> = text.chars().collect();
                for (at, with) in changes {
                    let at = at.index(characters.len());
                    characters[at] = with.chars().next().unwrap_or('A');
                }
                characters.into_iter().collect()
            }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn no_text_leads_to_a_panic_or_to_more_memory_than_a_multiple_of_its_length(text in texts()) {
        if let Ok(tcf) = read_tcf(&text) {
            prop_assert!(tcf.heap_bytes() <= 16 * text.len(), "{} bytes for {}", tcf.heap_bytes(), text.len());
        }
        if let Ok(gpp) = read_gpp(&text) {
            prop_assert!(gpp.heap_bytes() <= 16 * text.len() + 400, "{} bytes for {}", gpp.heap_bytes(), text.len());
        }
    }
}
