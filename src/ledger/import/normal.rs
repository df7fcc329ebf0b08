//! One spelling for what is spelled in many ways: whoever asks must name a subject as whoever imported it did, or a refusal
//! is not found.

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};

/// The country of numbers without one: Türkiye.
pub(super) const DEFAULT_COUNTRY: &str = "90";

/// The one spelling of an e-mail address: without blanks around it, in small letters.
///
/// # Errors
/// What is wrong with it. Letters outside ASCII have no small letter that is the same in every language (`I` is `ı` in
/// Turkish), so that an address with them has no one spelling.
pub(super) fn email(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    let (local, domain) = text.rsplit_once('@').ok_or("is not an e-mail address")?;
    if local.is_empty() || !domain.contains('.') || domain.starts_with('.') || domain.ends_with('.') {
        return Err("is not an e-mail address");
    }
    if !text.is_ascii() {
        return Err("has a letter outside ASCII, so that it has no one spelling");
    }
    if text.bytes().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control() || matches!(byte, b',' | b';')) {
        return Err("is not one e-mail address");
    }
    Ok(text.to_ascii_lowercase())
}

/// The one spelling of a telephone number: E.164, such as `+905321234567`. A number without a country is one of `country`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn phone(text: &str, country: &str) -> Result<String, &'static str> {
    let mut digits = String::new();
    let mut has_plus = false;
    for c in text.trim().chars() {
        match c {
            '0'..='9' => digits.push(c),
            '+' if digits.is_empty() && !has_plus => has_plus = true,
            ' ' | '\u{a0}' | '-' | '(' | ')' | '.' | '/' => {}
            _ => return Err("is not a telephone number"),
        }
    }
    let international = if has_plus {
        digits
    } else if let Some(rest) = digits.strip_prefix("00") {
        rest.to_owned()
    } else if let Some(rest) = digits.strip_prefix('0') {
        format!("{country}{rest}")
    } else if country == DEFAULT_COUNTRY && digits.len() == 10 {
        format!("{country}{digits}")
    } else if country == DEFAULT_COUNTRY && digits.len() == 12 && digits.starts_with(DEFAULT_COUNTRY) {
        digits
    } else {
        return Err("does not tell its country; write it as `+905321234567`");
    };
    let is_whole = match international.strip_prefix(DEFAULT_COUNTRY) {
        Some(national) => national.len() == 10 && !national.starts_with('0'),
        None => (8..=15).contains(&international.len()),
    };
    if !is_whole || international.starts_with('0') {
        return Err("is not a telephone number; too long or too short");
    }
    Ok(format!("+{international}"))
}

/// The SHA-256 of a text, in hexadecimal small letters.
pub(super) fn sha256(text: &str) -> String {
    HEXLOWER.encode(digest(&SHA256, text.as_bytes()).as_ref())
}

/// A name as it is compared: without blanks, signs, capitals and the marks of Turkish letters, so that `İzin Durumu`,
/// `IZIN_DURUMU` and `izin durumu` are one.
pub(super) fn folded(name: &str) -> String {
    let folded = |c: char| match c {
        'İ' | 'I' | 'ı' => Some('i'),
        'Ş' | 'ş' => Some('s'),
        'Ğ' | 'ğ' => Some('g'),
        'Ü' | 'ü' => Some('u'),
        'Ö' | 'ö' => Some('o'),
        'Ç' | 'ç' => Some('c'),
        c if c.is_ascii_alphanumeric() => Some(c.to_ascii_lowercase()),
        _ => None,
    };
    name.chars().filter_map(folded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_spelling() {
        for text in [
            "+905321234567",
            "905321234567",
            "05321234567",
            "5321234567",
            "00905321234567",
            "+90 (532) 123-45-67",
            " 0 532 123 45 67 ",
            "0532.123.45.67",
        ] {
            assert_eq!(phone(text, "90").as_deref(), Ok("+905321234567"), "{text}");
        }
        assert_eq!(phone("+4915112345678", "90").as_deref(), Ok("+4915112345678"));
        assert_eq!(phone("015112345678", "49").as_deref(), Ok("+4915112345678"));
        for text in [
            "",
            "532123456",
            "53212345678",
            "+90532123456",
            "+90532123456789",
            "+900532123456",
            "0532 123 45 6x",
            "5321234567/5321234568",
            "++905321234567",
            "532+1234567",
            "+0005321234567",
            "00",
        ] {
            assert!(phone(text, "90").is_err(), "{text}");
        }
        assert!(phone("5321234567", "49").is_err(), "nothing tells that it has no country");
    }

    #[test]
    fn an_address_has_one_spelling() {
        assert_eq!(email(" Ali.Veli@Example.COM\u{a0}").as_deref(), Ok("ali.veli@example.com"));
        for text in
            ["", "ali", "@example.com", "ali@", "ali@example", "a li@example.com", "a@b.c, d@e.f", "İpek@example.com"]
        {
            assert!(email(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_compared_as_people_read_them() {
        assert_eq!(folded("İzin Durumu"), "izindurumu");
        assert_eq!(folded("IZIN_DURUMU"), folded("İzin Durumu"));
        assert_eq!(folded("E-posta"), "eposta");
        assert_eq!(folded("Alıcı"), "alici");
    }

    #[test]
    fn a_hash_is_what_everybody_else_s_is() {
        // As `printf %s ali@example.com | sha256sum` has it.
        assert_eq!(sha256("ali@example.com"), "9d86ec2b59bb107bf110722c28601160b33aee06109ad44a5404231287b5fd29");
    }
}
