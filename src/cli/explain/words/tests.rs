use super::*;
use crate::domain;

#[test]
fn every_rule_has_words_in_turkish_and_there_are_no_others() {
    for (name, description) in domain::rules() {
        let turkish = rules::turkish(name).unwrap_or_else(|| panic!("the rule `{name}` has no words in Turkish"));
        assert_ne!(turkish, description);
        assert_eq!(rule(Language::En, name, description), description);
    }
    assert_eq!(rule(Language::Tr, "unheard_of", "as it came"), "as it came");
}

#[test]
fn every_reason_has_a_sentence_of_its_own_and_advice_in_both_languages() {
    for language in [Language::En, Language::Tr] {
        let mut sentences: Vec<&str> = Reason::ALL.iter().map(|reason| super::reason(language, *reason)).collect();
        sentences.sort_unstable();
        sentences.dedup();
        assert_eq!(sentences.len(), Reason::ALL.len(), "two reasons share a sentence");
        for reason in Reason::ALL {
            let advice = advice(language, *reason);
            assert!(advice.ends_with('.') && advice.len() > 20, "{reason}: {advice}");
        }
    }
    for reason in Reason::ALL {
        assert_ne!(super::reason(Language::En, *reason), super::reason(Language::Tr, *reason), "{reason}");
        assert_ne!(advice(Language::En, *reason), advice(Language::Tr, *reason), "{reason}");
    }
}

#[test]
fn the_environment_names_the_language() {
    for (locale, language) in [
        ("tr_TR.UTF-8", Language::Tr),
        ("tr", Language::Tr),
        ("TR-tr", Language::Tr),
        ("trv_TW", Language::En),
        ("en_GB.UTF-8", Language::En),
        ("C", Language::En),
        ("", Language::En),
    ] {
        assert_eq!(Language::of_locale(locale), language, "{locale}");
    }
}
