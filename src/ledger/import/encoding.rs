//! The encodings of what is imported.

use std::borrow::Cow;

use super::Rejection;
use super::rows::BOM;

/// How an input's text is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// With or without a byte order mark.
    #[default]
    Utf8,
    /// What spreadsheets in Turkish save where they are not told to use UTF-8.
    Windows1254,
}

/// Why an input is no text that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoText {
    /// It is in UTF-16.
    #[error("the input is in UTF-16; save it as \"CSV UTF-8\"")]
    Utf16,
    /// It is a spreadsheet's own file, or another archive.
    #[error("the input is a workbook or an archive, not a text; save the sheet as \"CSV UTF-8\"")]
    Archive,
    /// It is compressed.
    #[error("the input is compressed; uncompress it first")]
    Compressed,
    /// It says that it is in UTF-8.
    #[error("the input begins with the mark of UTF-8, and `windows-1254` was asked for")]
    Utf8,
}

/// What the bytes from 0x80 to 0x9F are, where they are anything. From 0xA0 on they are the characters of the same
/// number, but for six. Source: WHATWG Encoding Standard, index windows-1254.
const FROM_80: [Option<char>; 32] = [
    Some('\u{20ac}'),
    None,
    Some('\u{201a}'),
    Some('\u{192}'),
    Some('\u{201e}'),
    Some('\u{2026}'),
    Some('\u{2020}'),
    Some('\u{2021}'),
    Some('\u{2c6}'),
    Some('\u{2030}'),
    Some('\u{160}'),
    Some('\u{2039}'),
    Some('\u{152}'),
    None,
    None,
    None,
    None,
    Some('\u{2018}'),
    Some('\u{2019}'),
    Some('\u{201c}'),
    Some('\u{201d}'),
    Some('\u{2022}'),
    Some('\u{2013}'),
    Some('\u{2014}'),
    Some('\u{2dc}'),
    Some('\u{2122}'),
    Some('\u{161}'),
    Some('\u{203a}'),
    Some('\u{153}'),
    None,
    None,
    Some('\u{178}'),
];

impl Encoding {
    /// Looks at the first bytes of an input.
    ///
    /// # Errors
    /// If they tell that it is something else.
    pub(super) fn check(self, first: &[u8]) -> Result<(), NoText> {
        match first {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Err(NoText::Utf16),
            [b'P', b'K', 3, 4, ..] | [0xd0, 0xcf, 0x11, 0xe0, ..] => Err(NoText::Archive),
            [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => Err(NoText::Compressed),
            _ if self == Self::Windows1254 && first.starts_with(BOM) => Err(NoText::Utf8),
            _ => Ok(()),
        }
    }

    /// The text of a row.
    ///
    /// # Errors
    /// If it is none in this encoding.
    pub(super) fn text(self, bytes: &[u8]) -> Result<Cow<'_, str>, Rejection> {
        match self {
            Self::Utf8 => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| {
                Rejection::of("not UTF-8; what a spreadsheet in Turkish has saved is often `--encoding windows-1254`")
            }),
            Self::Windows1254 => {
                let text: Option<String> = bytes.iter().map(|byte| windows_1254(*byte)).collect();
                text.map(Cow::Owned).ok_or_else(|| Rejection::of("not Windows-1254; is it UTF-8?"))
            }
        }
    }
}

fn windows_1254(byte: u8) -> Option<char> {
    match byte {
        0x80..=0x9f => FROM_80.get(usize::from(byte - 0x80)).copied().flatten(),
        0xd0 => Some('Ğ'),
        0xdd => Some('İ'),
        0xde => Some('Ş'),
        0xf0 => Some('ğ'),
        0xfd => Some('ı'),
        0xfe => Some('ş'),
        _ => Some(char::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_1254_is_what_others_take_it_for() {
        // Every byte that Python's `cp1254` decodes, and what to: written by it.
        let python = include_str!("encoding/cp1254.txt");
        let mut count = 0;
        for line in python.lines() {
            let (byte, code) = line.split_once(' ').expect("two columns");
            let byte = u8::from_str_radix(byte, 16).expect("a byte");
            let code = u32::from_str_radix(code, 16).ok().and_then(char::from_u32);
            assert_eq!(windows_1254(byte), code, "{byte:#x}");
            count += usize::from(code.is_some());
        }
        assert_eq!(count, 249);
    }

    #[test]
    fn what_is_no_text_is_named() {
        let check = |first: &[u8]| Encoding::Utf8.check(first);
        assert_eq!(check(b"\xff\xfea\0"), Err(NoText::Utf16));
        assert_eq!(check(b"PK\x03\x04"), Err(NoText::Archive));
        assert_eq!(check(b"\x1f\x8b\x08\0"), Err(NoText::Compressed));
        assert_eq!(check(b"\xef\xbb\xbfa"), Ok(()));
        assert_eq!(Encoding::Windows1254.check(b"\xef\xbb\xbfa"), Err(NoText::Utf8));
        assert_eq!(check(b""), Ok(()));
    }
}
