//! Percent-encoding. Source: RFC 3986, section 2.1.

use std::borrow::Cow;

/// A text with its escapes undone; nothing where one is malformed, or what comes out is not UTF-8.
pub(super) fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (escape, after) = rest.split_at_checked(2)?;
        bytes.extend(data_encoding::HEXLOWER_PERMISSIVE.decode(escape).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// The same in a form, where a plus is a blank. Source: WHATWG URL, section 5.1.
pub(super) fn decode_form(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('+') {
        return decode(text);
    }
    decode(&text.replace('+', " ")).map(|decoded| Cow::Owned(decoded.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_once() {
        for (text, decoded) in [
            ("", Some("")),
            ("crm:42", Some("crm:42")),
            ("ay%C5%9fe", Some("ayşe")),
            ("%2541", Some("%41")),
            ("a+b", Some("a+b")),
            ("%", None),
            ("%4", None),
            ("%zz", None),
            ("%+1", None),
            ("%ff", None),
            ("%ş1", None),
        ] {
            assert_eq!(decode(text).as_deref(), decoded, "{text}");
        }
        assert_eq!(decode_form("a+b%2Bc").as_deref(), Some("a b+c"));
        assert_eq!(decode_form("a+%zz"), None);
    }
}
