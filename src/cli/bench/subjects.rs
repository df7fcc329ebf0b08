//! Whom a run asks about: a numbered pattern or a file, in an order that looks random and is the same in every run.

use std::path::PathBuf;
use std::str::FromStr;

use crate::cli::Failure;
use crate::domain::Subject;
use crate::proto::v1;

/// The most subjects of a run. They are kept as encoded requests: some 60 bytes each.
pub(super) const SUBJECTS_MAX: u64 = 2_000_000;

/// Where the subjects come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subjects {
    /// A text with a range of numbers in it, such as `crm:{1..1000}`.
    Numbered { before: String, first: u64, last: u64, after: String },
    /// A file with one `space:id` a line.
    File(PathBuf),
}

impl FromStr for Subjects {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((before, rest)) = text.split_once('{') else {
            return Ok(Self::File(text.into()));
        };
        let malformed = || "write it as `crm:{1..1000}`, or name a file with one `space:id` a line".to_owned();
        let (range, after) = rest.split_once('}').ok_or_else(malformed)?;
        let (first, last) = range.split_once("..").ok_or_else(malformed)?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| malformed());
        let (first, last) = (number(first)?, number(last)?);
        if last < first {
            return Err(format!("the range `{range}` is empty"));
        }
        if last - first >= SUBJECTS_MAX {
            return Err(format!("the range `{range}` has more than {SUBJECTS_MAX} subjects"));
        }
        Ok(Self::Numbered { before: before.to_owned(), first, last, after: after.to_owned() })
    }
}

impl Subjects {
    /// The subjects `crm:1` to `crm:count`, as a synthetic ledger has them.
    pub(super) fn synthetic(count: u64) -> Self {
        Self::Numbered { before: "crm:".to_owned(), first: 1, last: count.max(1), after: String::new() }
    }

    /// The subjects themselves, shuffled: neighbours in the ledger must not be neighbours in the questions.
    ///
    /// # Errors
    /// If the file cannot be read, has too many lines or none, or a line is no subject.
    pub(super) fn gather(&self) -> Result<Vec<v1::Subject>, Failure> {
        let mut subjects = match self {
            Self::Numbered { before, first, last, after } => (*first..=*last)
                .map(|number| wire(&format!("{before}{number}{after}")))
                .collect::<Result<Vec<_>, _>>()?,
            Self::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    Failure::new(format!("cannot read the subjects in `{}`: {error}", path.display()))
                })?;
                let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
                lines.map(wire).collect::<Result<Vec<_>, _>>()?
            }
        };
        if subjects.is_empty() {
            return Err(Failure::new("there are no subjects to ask about"));
        }
        if u64::try_from(subjects.len()).unwrap_or(u64::MAX) > SUBJECTS_MAX {
            return Err(Failure::new(format!("there are more than {SUBJECTS_MAX} subjects")));
        }
        shuffle(&mut subjects);
        Ok(subjects)
    }
}

fn wire(text: &str) -> Result<v1::Subject, Failure> {
    let subject = Subject::parse(text)?;
    Ok(v1::Subject { space: subject.space().to_owned(), id: subject.expose_id().to_owned() })
}

/// Fisher and Yates' shuffle with a fixed seed.
fn shuffle<T>(items: &mut [T]) {
    // Source: Marsaglia, "Xorshift RNGs", 2003.
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    for place in (1..items.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let other = usize::try_from(state % (place as u64 + 1)).unwrap_or(0);
        items.swap(place, other);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_pattern_names_each_number_once() {
        let subjects: Subjects = "crm:x{8..11}y".parse().expect("a pattern");
        let ids: Vec<String> = subjects.gather().expect("subjects").into_iter().map(|subject| subject.id).collect();
        assert_eq!(ids.iter().map(String::as_str).collect::<BTreeSet<_>>(), ["x10y", "x11y", "x8y", "x9y"].into());
        assert_eq!(ids.len(), 4);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for wrong in ["crm:{1..", "crm:{1}", "crm:{2..1}", "crm:{a..b}", "crm:{0..2000000}", "crm:{-1..2}"] {
            assert!(wrong.parse::<Subjects>().is_err(), "`{wrong}` was taken");
        }
        let no_space: Subjects = "{1..2}".parse().expect("a pattern");
        assert!(no_space.gather().is_err(), "a subject has a space");
    }

    #[test]
    fn the_order_is_mixed_and_repeats() {
        let mut one: Vec<u32> = (0..1000).collect();
        let sorted = one.clone();
        shuffle(&mut one);
        let mut other = sorted.clone();
        shuffle(&mut other);
        assert_eq!(one, other);
        assert!(one.iter().zip(&sorted).filter(|(a, b)| a == b).count() < 20, "hardly anything stays in its place");
        one.sort_unstable();
        assert_eq!(one, sorted, "nothing is lost");
    }
}
