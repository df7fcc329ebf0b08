//! Amounts as Kubernetes writes them: `50m` of a processor, `48Mi` of memory.
//!
//! Source: k8s.io/apimachinery, `resource.Quantity`: a decimal number, then a suffix or an exponent.

use std::fmt;

/// Decimal and binary suffixes, with their factors in billionths.
const SUFFIXES: [(&str, u128); 16] = [
    ("Ei", (1 << 60) * NANOS),
    ("Pi", (1 << 50) * NANOS),
    ("Ti", (1 << 40) * NANOS),
    ("Gi", (1 << 30) * NANOS),
    ("Mi", (1 << 20) * NANOS),
    ("Ki", (1 << 10) * NANOS),
    ("E", 1_000_000_000_000_000_000 * NANOS),
    ("P", 1_000_000_000_000_000 * NANOS),
    ("T", 1_000_000_000_000 * NANOS),
    ("G", 1_000_000_000 * NANOS),
    ("M", 1_000_000 * NANOS),
    ("k", 1000 * NANOS),
    ("m", 1_000_000),
    ("u", 1000),
    ("n", 1),
    ("", NANOS),
];
const NANOS: u128 = 1_000_000_000;
/// The most digits on either side of the point. Kubernetes keeps 18 in all; nobody asks for a quintillion bytes.
const DIGITS_MAX: usize = 15;

/// An amount, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Quantity {
    text: String,
    nanos: u128,
}

impl Quantity {
    /// Reads an amount that is not negative.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an amount such as `50m`, `0.5`, `48Mi` or `1Gi`");
        let (number, factor) = split(text).ok_or_else(wrong)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = [whole, fraction].concat();
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number || whole.len() > DIGITS_MAX || fraction.len() > DIGITS_MAX {
            return Err(wrong());
        }
        let scale = u32::try_from(fraction.len()).ok().and_then(|places| 10_u128.checked_pow(places));
        let nanos = digits.parse::<u128>().ok().zip(scale).and_then(|(number, scale)| {
            // What is below a billionth counts as one, as with Kubernetes.
            Some(number.checked_mul(factor)?.div_ceil(scale))
        });
        Ok(Self { text: text.to_owned(), nanos: nanos.ok_or_else(wrong)? })
    }

    /// As it was written.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is less than another.
    pub(super) const fn is_less_than(&self, other: &Self) -> bool {
        self.nanos < other.nanos
    }

    /// Whether it is as much as another, however the two are written.
    pub(super) const fn is_as_much_as(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }

    /// Whether it is nothing.
    pub(super) const fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// As whole bytes, or the most that there can be.
    pub(super) fn bytes(&self) -> u64 {
        u64::try_from(self.nanos / NANOS).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The number, and what one of it is in billionths.
fn split(text: &str) -> Option<(&str, u128)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(end)?;
    if let Some((_, factor)) = SUFFIXES.iter().find(|(name, _)| *name == suffix) {
        return Some((number, *factor));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    let places: u32 = exponent.strip_prefix('+').unwrap_or(exponent).parse().ok()?;
    Some((number, 10_u128.checked_pow(places)?.checked_mul(NANOS)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(text: &str) -> u128 {
        Quantity::parse(text).unwrap_or_else(|what| panic!("{what}")).nanos
    }

    #[test]
    fn amounts_are_read_as_kubernetes_reads_them() {
        for (text, other) in [
            ("1", "1000m"),
            ("0.5", "500m"),
            (".5", "0.5"),
            ("1.", "1"),
            ("50m", "0.05"),
            ("1Ki", "1024"),
            ("1k", "1000"),
            ("1.5Gi", "1536Mi"),
            ("1e3", "1k"),
            ("1E3", "1k"),
            ("2e+6", "2M"),
            ("1E", "1000P"),
            ("100u", "0.1m"),
            ("1n", "0.0000000001"),
        ] {
            assert_eq!(nanos(text), nanos(other), "{text} and {other}");
        }
        assert!(Quantity::parse("0.05G").expect("sound").is_less_than(&Quantity::parse("48Mi").expect("sound")));
        assert_eq!(Quantity::parse("1Gi").expect("sound").bytes(), 1 << 30);
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in [
            "",
            ".",
            "m",
            "-1",
            "+1",
            "1 Mi",
            "1MiB",
            "1mi",
            "1K",
            "1.2.3",
            "1e",
            "1e-3",
            "1e99",
            "٣",
            "9999999999999999",
        ] {
            assert!(Quantity::parse(text).is_err(), "`{text}` was taken");
        }
    }
}
