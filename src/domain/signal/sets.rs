//! Sets of numbers as the strings carry them, in no more memory than the string took.

use std::fmt;

/// Numbers from 1 to 64: purposes, special features.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct SmallSet(u64);

impl SmallSet {
    /// From bits, of which the lowest stands for 1.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Whether a number is in it.
    #[must_use]
    pub fn contains(self, number: u16) -> bool {
        number.checked_sub(1).and_then(|place| self.0.checked_shr(place.into())).is_some_and(|bits| bits & 1 == 1)
    }

    /// The numbers, in order.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        (1..=64).filter(move |number| self.contains(*number))
    }
}

impl fmt::Debug for SmallSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Vendors, by their numbers from 1 to 65535. Two are equal if they hold the same vendors, however they came.
#[derive(Clone)]
pub struct Vendors(Form);

/// Both forms in which strings carry vendors: neither takes much more than its part of the string.
#[derive(Clone)]
enum Form {
    /// The lowest bit of the first word stands for 1.
    Bits(Box<[u64]>),
    /// First and last of each range, in order, apart from each other.
    Ranges(Box<[(u16, u16)]>),
}

impl Vendors {
    /// From bits, of which the lowest of the first word stands for 1. What lies beyond 65535 is dropped.
    #[must_use]
    pub fn from_bits(mut words: Vec<u64>) -> Self {
        words.truncate(WORDS_MAX);
        if let Some(last) = words.get_mut(WORDS_MAX - 1) {
            *last &= u64::MAX >> 1;
        }
        Self(Form::Bits(words.into_boxed_slice()))
    }

    /// From the first and last of each range, in any order. A range that ends before it begins is empty, and 0 is no
    /// vendor.
    #[must_use]
    pub fn from_ranges(mut ranges: Vec<(u16, u16)>) -> Self {
        ranges.retain_mut(|(first, last)| {
            *first = (*first).max(1);
            first <= last
        });
        ranges.sort_unstable();
        let mut apart: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match apart.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                Some(_) | None => apart.push((first, last)),
            }
        }
        Self(Form::Ranges(apart.into_boxed_slice()))
    }

    /// Whether a vendor is in it.
    #[must_use]
    pub fn contains(&self, vendor: u16) -> bool {
        match &self.0 {
            Form::Bits(words) => vendor.checked_sub(1).is_some_and(|place| {
                words.get(usize::from(place / 64)).is_some_and(|word| (word >> (place % 64)) & 1 == 1)
            }),
            Form::Ranges(ranges) => {
                let after = ranges.partition_point(|(first, _)| *first <= vendor);
                let range = after.checked_sub(1).and_then(|place| ranges.get(place));
                range.is_some_and(|(_, last)| vendor <= *last)
            }
        }
    }

    /// The vendors, in order.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        let (words, ranges): (&[u64], &[(u16, u16)]) = match &self.0 {
            Form::Bits(words) => (words, &[]),
            Form::Ranges(ranges) => (&[], ranges),
        };
        let of_bits = words.iter().zip(0_u16..).flat_map(|(word, place)| {
            (0..64).filter(move |bit| (word >> bit) & 1 == 1).map(move |bit| place * 64 + bit + 1)
        });
        of_bits.chain(ranges.iter().flat_map(|(first, last)| *first..=*last))
    }

    /// What it takes in memory beside itself, in bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Form::Bits(words) => size_of_val(&**words),
            Form::Ranges(ranges) => size_of_val(&**ranges),
        }
    }
}

/// Words for 65535 vendors.
const WORDS_MAX: usize = 1024;

impl Default for Vendors {
    fn default() -> Self {
        Self(Form::Ranges(Box::default()))
    }
}

impl FromIterator<u16> for Vendors {
    fn from_iter<I: IntoIterator<Item = u16>>(vendors: I) -> Self {
        Self::from_ranges(vendors.into_iter().map(|vendor| (vendor, vendor)).collect())
    }
}

impl PartialEq for Vendors {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Vendors {}

impl fmt::Debug for Vendors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_sets_count_from_one() {
        let set = SmallSet::from_bits(1 | 1 << 2 | 1 << 63);
        assert_eq!(set.iter().collect::<Vec<_>>(), [1, 3, 64]);
        for number in [0, 2, 63, 65, 66, 128, 129, u16::MAX] {
            assert!(!set.contains(number), "{number}");
        }
    }

    #[test]
    fn vendors_are_the_same_in_both_forms() {
        let numbers = [1_u16, 2, 3, 64, 65, 128, 1000];
        let mut words = vec![0_u64; 16];
        for number in numbers {
            words[usize::from((number - 1) / 64)] |= 1 << ((number - 1) % 64);
        }
        let bits = Vendors::from_bits(words);
        let ranges: Vendors = numbers.into_iter().rev().collect();
        assert_eq!(bits, ranges);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), numbers);
        for number in 0..=1100 {
            assert_eq!(bits.contains(number), numbers.contains(&number), "{number}");
            assert_eq!(ranges.contains(number), numbers.contains(&number), "{number}");
        }
        assert_ne!(ranges, Vendors::default());
    }

    #[test]
    fn ranges_are_merged_and_reach_to_both_ends() {
        let merged = Vendors::from_ranges(vec![(7, 9), (1, 3), (4, 5), (8, 8), (20, 19), (0, 0), (65534, 65535)]);
        assert_eq!(merged.iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 7, 8, 9, 65534, 65535]);
        assert_eq!(merged.heap_bytes(), 3 * 4);
        let all = Vendors::from_ranges(vec![(0, u16::MAX)]);
        assert_eq!(all.iter().count(), 65535);
        assert!(!all.contains(0) && all.contains(1) && all.contains(u16::MAX));
        let too_many = Vendors::from_bits(vec![u64::MAX; 2000]);
        assert_eq!(too_many, all);
        assert_eq!(too_many.iter().last(), Some(u16::MAX));
    }
}
