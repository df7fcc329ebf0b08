//! Bits of a text in URL-safe base 64, the first of each character the highest.

use super::Unreadable;
use crate::domain::signal::{SmallSet, Vendors};

/// Reads fields from a text, one after the other.
#[derive(Debug, Clone)]
pub(super) struct Bits<'a> {
    text: &'a [u8],
    /// The next bit.
    at: usize,
}

impl<'a> Bits<'a> {
    /// Of a text that is not empty and has no character outside the alphabet.
    pub(super) fn new(text: &'a str) -> Result<Self, Unreadable> {
        if text.is_empty() {
            return Err(Unreadable::Empty);
        }
        if !text.bytes().all(|character| sextet(character).is_some()) {
            return Err(Unreadable::Character);
        }
        Ok(Self { text: text.as_bytes(), at: 0 })
    }

    /// How many bits there are, read or not.
    pub(super) const fn len(&self) -> usize {
        self.text.len() * 6
    }

    /// The next bits as a number; at most 64.
    pub(super) fn take(&mut self, count: u32) -> Result<u64, Unreadable> {
        let mut value = 0_u64;
        let mut wanted = count.min(64);
        while wanted > 0 {
            let character = self.text.get(self.at / 6).copied().and_then(sextet).ok_or(Unreadable::Cut)?;
            // INVARIANT: below 6, as a remainder of 6.
            let used = u32::try_from(self.at % 6).unwrap_or_default();
            let now = wanted.min(6 - used);
            let part = (u64::from(character) >> (6 - used - now)) & ((1 << now) - 1);
            value = (value << now) | part;
            self.at += now as usize;
            wanted -= now;
        }
        Ok(value)
    }

    /// The next bit.
    pub(super) fn flag(&mut self) -> Result<bool, Unreadable> {
        Ok(self.take(1)? == 1)
    }

    /// The next bits as a number; at most 16.
    pub(super) fn number(&mut self, count: u32) -> Result<u16, Unreadable> {
        u16::try_from(self.take(count)?).map_err(|_| Unreadable::Value)
    }

    /// The next bits as a set, of which the first stands for 1; at most 64.
    pub(super) fn set(&mut self, count: u32) -> Result<SmallSet, Unreadable> {
        Ok(SmallSet::from_bits(self.mirrored(count)?))
    }

    fn mirrored(&mut self, count: u32) -> Result<u64, Unreadable> {
        let bits = self.take(count)?.reverse_bits();
        Ok(bits.checked_shr(64 - count.min(64)).unwrap_or(0))
    }

    /// Two capitals.
    pub(super) fn letters(&mut self) -> Result<[u8; 2], Unreadable> {
        let mut letter = || match u8::try_from(self.take(6)?) {
            Ok(place) if place < 26 => Ok(b'A' + place),
            Ok(_) | Err(_) => Err(Unreadable::Value),
        };
        Ok([letter()?, letter()?])
    }

    /// Vendors as the framework writes them: the greatest number, then a bit for each or ranges.
    /// Source: Consent string format, "Vendor Consent Section".
    pub(super) fn vendors(&mut self) -> Result<Vendors, Unreadable> {
        let greatest = self.number(16)?;
        if self.flag()? {
            return self.ranges(greatest);
        }
        let mut words = Vec::with_capacity(usize::from(greatest.div_ceil(64)).min(self.len() / 64 + 1));
        let mut left = u32::from(greatest);
        while left > 0 {
            let now = left.min(64);
            words.push(self.mirrored(now)?);
            left -= now;
        }
        Ok(Vendors::from_bits(words))
    }

    /// Ranges of vendors, none beyond the greatest.
    pub(super) fn ranges(&mut self, greatest: u16) -> Result<Vendors, Unreadable> {
        let entries = self.number(12)?;
        let mut ranges = Vec::new();
        for _ in 0..entries {
            let is_range = self.flag()?;
            let first = self.number(16)?;
            let last = if is_range { self.number(16)? } else { first };
            if first == 0 || last < first || last > greatest {
                return Err(Unreadable::Range);
            }
            ranges.push((first, last));
        }
        Ok(Vendors::from_ranges(ranges))
    }

    /// A number of at least 1 in Fibonacci's code. Source: Global Privacy Platform String, "Fibonacci Encoding".
    pub(super) fn fibonacci(&mut self) -> Result<u16, Unreadable> {
        let (mut weight, mut next) = (1_u32, 2_u32);
        let (mut sum, mut last) = (0_u32, false);
        loop {
            let bit = self.flag()?;
            if bit && last {
                return u16::try_from(sum).map_err(|_| Unreadable::Range);
            }
            if bit {
                sum = sum.checked_add(weight).ok_or(Unreadable::Range)?;
            }
            last = bit;
            (weight, next) = (next, weight.checked_add(next).ok_or(Unreadable::Range)?);
        }
    }

    /// Whether nothing but zeros is left. Encoders fill up to whole characters and whole bytes.
    pub(super) fn rest_is_padding(mut self) -> bool {
        while self.at < self.len() {
            let now = u32::try_from(self.len() - self.at).unwrap_or(u32::MAX).min(64);
            if self.take(now) != Ok(0) {
                return false;
            }
        }
        true
    }

    /// That nothing but zeros is left.
    pub(super) fn end(self) -> Result<(), Unreadable> {
        self.rest_is_padding().then_some(()).ok_or(Unreadable::Trailing)
    }
}

/// The six bits of a character. Source: RFC 4648, section 5.
const fn sextet(character: u8) -> Option<u8> {
    match character {
        b'A'..=b'Z' => Some(character - b'A'),
        b'a'..=b'z' => Some(character - b'a' + 26),
        b'0'..=b'9' => Some(character - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text of these bits, filled up with zeros.
    fn text(bits: &str) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let digits: Vec<u8> = bits.bytes().filter(|digit| *digit != b' ').map(|digit| digit - b'0').collect();
        let character = |six: &[u8]| {
            let value = (0..6).fold(0, |value, place| value << 1 | six.get(place).copied().unwrap_or(0));
            char::from(ALPHABET[usize::from(value)])
        };
        digits.chunks(6).map(character).collect()
    }

    #[test]
    fn fields_cross_the_borders_of_characters() {
        let text = text("101 0111000111100001111100000111111");
        let mut bits = Bits::new(&text).expect("in the alphabet");
        assert_eq!(bits.take(3), Ok(0b101));
        assert_eq!(bits.take(10), Ok(0b01_1100_0111));
        assert_eq!(bits.take(21), Ok(0b1_0000_1111_1000_0011_1111));
        assert!(bits.clone().rest_is_padding());
        assert_eq!(bits.take(3), Err(Unreadable::Cut));
    }

    #[test]
    fn sixty_four_bits_are_read_at_once_and_no_more() {
        let text = text(&"1".repeat(70));
        let mut bits = Bits::new(&text).expect("in the alphabet");
        assert_eq!(bits.take(64), Ok(u64::MAX));
        assert_eq!(bits.clone().end(), Err(Unreadable::Trailing));
        assert_eq!(bits.take(8), Ok(0b1111_1100));
        assert_eq!(bits.take(0), Ok(0));
        assert_eq!(bits.end(), Ok(()));
    }

    #[test]
    fn sets_begin_at_one() {
        let text = text("1010 0001");
        let mut bits = Bits::new(&text).expect("in the alphabet");
        assert_eq!(bits.set(8).map(|set| set.iter().collect::<Vec<_>>()), Ok(vec![1, 3, 8]));
        assert_eq!(bits.set(0).map(|set| set.iter().count()), Ok(0));
    }

    #[test]
    fn what_is_not_in_the_alphabet_is_refused() {
        for text in ["CP=", "C P", "CP+A", "CP/A", "ÇA", "C\0"] {
            assert_eq!(Bits::new(text).err(), Some(Unreadable::Character), "{text:?}");
        }
        assert_eq!(Bits::new("").err(), Some(Unreadable::Empty));
    }

    #[test]
    fn fibonacci_codes_are_those_of_the_specification() {
        let codes = [("11", 1), ("011", 2), ("0011", 3), ("1011", 4), ("00011", 5), ("10011", 6), ("01011", 7)];
        for (code, number) in codes {
            let text = text(code);
            assert_eq!(Bits::new(&text).expect("in the alphabet").fibonacci(), Ok(number), "{code}");
        }
        let never_ends = text(&"0".repeat(400));
        assert_eq!(Bits::new(&never_ends).expect("in the alphabet").fibonacci(), Err(Unreadable::Range));
        let cut = text("000001");
        assert_eq!(Bits::new(&cut).expect("in the alphabet").fibonacci(), Err(Unreadable::Cut));
    }

    #[test]
    fn vendors_out_of_bounds_are_refused() {
        let number = |value: u16| format!("{value:016b}");
        let ranges = |greatest: u16, is_range: &str, numbers: &[u16]| {
            let numbers: String = numbers.iter().map(|value| number(*value)).collect();
            text(&format!("{}1 000000000001 {is_range}{numbers}", number(greatest)))
        };
        let read = |text: &str| Bits::new(text).expect("in the alphabet").vendors();
        let vendors = |numbers: &[u16]| Ok(numbers.iter().copied().collect::<Vendors>());
        assert_eq!(read(&ranges(9, "1", &[2, 4])), vendors(&[2, 3, 4]));
        assert_eq!(read(&ranges(9, "0", &[9])), vendors(&[9]));
        assert_eq!(read(&ranges(9, "0", &[10])), Err(Unreadable::Range));
        assert_eq!(read(&ranges(9, "1", &[2, 10])), Err(Unreadable::Range));
        assert_eq!(read(&ranges(9, "1", &[4, 2])), Err(Unreadable::Range));
        assert_eq!(read(&ranges(9, "0", &[0])), Err(Unreadable::Range));
        assert_eq!(read(&text(&format!("{}0 101", number(3)))), vendors(&[1, 3]));
        assert_eq!(read(&text(&format!("{}0 101", number(65535)))), Err(Unreadable::Cut));
    }
}
