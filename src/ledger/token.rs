//! The opaque text that a caller carries to ask for "at least this fresh".
//!
//! A token is the character `1` (the format's version) and, in unpadded URL-safe base64: 8 bytes of the ledger's id, the
//! position as 0 to 8 big-endian bytes without leading zeros, and a CRC-32 of all that, version character included.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};

use crate::domain::Position;

const VERSION: u8 = b'1';
/// The longest token: 1 + base64 of 8 + 8 + 4 bytes.
const TOKEN_BYTES_MAX: usize = 28;

/// Which ledger it is. Of a file: the first 8 bytes of the SHA-256 of its first line that is not blank, newline included.
/// On NATS: [`super::nats::ledger_id`] of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LedgerId(pub [u8; 8]);

/// A position in a ledger, as callers carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    /// The ledger.
    pub ledger: LedgerId,
    /// The position.
    pub position: Position,
}

/// Why a text is not a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It has another form.
    #[error("not a ledger token")]
    Malformed,
    /// It is of a version that this program does not know.
    #[error("a ledger token of another version")]
    Version,
    /// Its check value is wrong: it was cut or changed on the way.
    #[error("a damaged ledger token")]
    Damaged,
}

impl fmt::Display for LedgerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let position = self.position.0.to_be_bytes();
        let zeros = position.iter().take_while(|byte| **byte == 0).count();
        let mut bytes = self.ledger.0.to_vec();
        bytes.extend(position.iter().skip(zeros));
        bytes.extend(check_value(&bytes).to_be_bytes());
        write!(f, "{}{}", char::from(VERSION), BASE64URL_NOPAD.encode(&bytes))
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let (version, rest) = text.as_bytes().split_first().ok_or(TokenError::Malformed)?;
        let bytes = BASE64URL_NOPAD.decode(rest).map_err(|_| TokenError::Malformed)?;
        if *version != VERSION {
            return Err(TokenError::Version);
        }
        let (body, check) = bytes.split_last_chunk::<4>().ok_or(TokenError::Malformed)?;
        let (ledger, position) = body.split_first_chunk::<8>().ok_or(TokenError::Malformed)?;
        if check_value(body) != u32::from_be_bytes(*check) {
            return Err(TokenError::Damaged);
        }
        // One position has one text.
        if position.len() > 8 || position.first() == Some(&0) {
            return Err(TokenError::Malformed);
        }
        let position = position.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
        Ok(Self { ledger: LedgerId(*ledger), position: Position(position) })
    }
}

fn check_value(body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[VERSION]);
    crc.update(body);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(ledger: [u8; 8], position: u64) -> Token {
        Token { ledger: LedgerId(ledger), position: Position(position) }
    }

    #[test]
    fn the_format_does_not_change() {
        // Callers keep tokens across upgrades.
        assert_eq!(token([1, 2, 3, 4, 5, 6, 7, 8], 1_234_567).to_string(), "1AQIDBAUGBwgS1ofEDLqH");
        assert_eq!(token([0; 8], 0).to_string().parse(), Ok(token([0; 8], 0)));
        assert_eq!(token([255; 8], u64::MAX).to_string().len(), TOKEN_BYTES_MAX);
    }

    #[test]
    fn other_texts_are_refused() {
        let good = token([7; 8], 300).to_string();
        assert_eq!("".parse::<Token>(), Err(TokenError::Malformed));
        assert_eq!("1".parse::<Token>(), Err(TokenError::Malformed));
        assert_eq!("1AAAA".parse::<Token>(), Err(TokenError::Malformed));
        assert_eq!(format!("{good}=").parse::<Token>(), Err(TokenError::Malformed));
        assert_eq!(format!("2{}", &good[1..]).parse::<Token>(), Err(TokenError::Version));
        assert_eq!("é".repeat(20).parse::<Token>(), Err(TokenError::Malformed));
        // The same position with a leading zero byte and a right check value is still another text.
        let mut bytes = vec![7; 8];
        bytes.extend([0, 1, 44]);
        bytes.extend(check_value(&bytes).to_be_bytes());
        let padded = format!("1{}", BASE64URL_NOPAD.encode(&bytes));
        assert_eq!(padded.parse::<Token>(), Err(TokenError::Malformed));
    }

    proptest! {
        #[test]
        fn tokens_read_back(ledger: [u8; 8], position: u64) {
            let token = token(ledger, position);
            let text = token.to_string();
            prop_assert!(text.len() <= TOKEN_BYTES_MAX);
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            prop_assert_eq!(text.parse(), Ok(token));
        }

        #[test]
        fn a_changed_or_cut_token_is_refused(ledger: [u8; 8], position: u64, place: prop::sample::Index, other in "[A-Za-z0-9_-]") {
            let text = token(ledger, position).to_string();
            let place = place.index(text.len());
            let mut changed = text.clone();
            changed.replace_range(place..=place, &other);
            if changed != text {
                prop_assert!(changed.parse::<Token>().is_err());
            }
            prop_assert!(text[..place].parse::<Token>().is_err());
        }
    }
}
