//! The codes of countries, and of the states of one: what is well-formed and names no place makes a rule that never holds.

/// ISO 3166-1, alpha-2, and `XK`, which the European Union uses for Kosovo.
const COUNTRIES: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT \
    BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK \
    FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE \
    JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ \
    MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO \
    RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW \
    TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW";
/// ISO 3166-2:US without the country.
const STATES: &str = "AL AK AZ AR CA CO CT DE FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH \
    OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY DC AS GU MP PR UM VI";
/// What is written for a country, and its code.
const MEANT: [(&str, &str); 3] = [("UK", "GB"), ("EL", "GR"), ("EN", "GB")];

/// Why a well-formed code names no place, as the end of a sentence; `None` if it does.
pub(super) fn is_no_place(code: &str) -> Option<String> {
    let (country, subdivision) = code.split_once('-').map_or((code, None), |(country, rest)| (country, Some(rest)));
    if !COUNTRIES.split(' ').any(|known| known == country) {
        let meant = MEANT.iter().find(|(written, _)| *written == country).map(|(_, meant)| meant);
        let hint = meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
        return Some(format!("`{country}` is no country of ISO 3166 and no group among `regions`{hint}"));
    }
    let is_unknown = |state: &&str| country == "US" && !STATES.split(' ').any(|known| known == *state);
    subdivision.filter(is_unknown).map(|state| format!("`{state}` is no state of the United States"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_from_what_only_looks_like_one() {
        assert_eq!(COUNTRIES.split(' ').count(), 250);
        assert_eq!(STATES.split(' ').count(), 57);
        for code in ["TR", "TR-34", "US", "US-ME", "US-DC", "GB", "XK", "DE-BY"] {
            assert_eq!(is_no_place(code), None, "{code}");
        }
        for (code, hint) in
            [("UK", "did you mean `GB`"), ("EU", "no group"), ("US-XX", "no state"), ("TU-1", "no country")]
        {
            let said = is_no_place(code).unwrap_or_else(|| panic!("`{code}` was taken"));
            assert!(said.contains(hint), "{said}");
        }
    }
}
