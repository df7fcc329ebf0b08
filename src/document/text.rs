//! Lines and columns of a text.

/// A place in a text: the bytes before it.
pub(super) type Offset = usize;

/// Where a part of a text begins; its beginning for what is not a part of it.
pub(super) fn offset_of(text: &str, part: &str) -> Offset {
    let offset = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
    if offset <= text.len() { offset } else { 0 }
}

/// A text whose lines are known.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    text: &'a str,
    /// Where each line begins.
    begins: Vec<Offset>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let begins = std::iter::once(0).chain(text.match_indices('\n').map(|(newline, _)| newline + 1)).collect();
        Self { text, begins }
    }

    /// The line and the character of a place, from 1.
    pub(super) fn line_and_column(&self, offset: Offset) -> (usize, usize) {
        let line = self.begins.partition_point(|begins| *begins <= offset);
        let begins = line.checked_sub(1).and_then(|last| self.begins.get(last)).copied().unwrap_or(0);
        (line, 1 + self.between(begins, offset).chars().count())
    }

    /// The place of a line and a column that count bytes from 1, as `serde_json` does.
    pub(super) fn offset_at(&self, line: usize, column: usize) -> Offset {
        let begins = line.checked_sub(1).and_then(|line| self.begins.get(line)).copied();
        begins.map_or(self.text.len(), |begins| (begins + column.saturating_sub(1)).min(self.text.len()))
    }

    /// What stands between two places, without a character that the second is in the middle of.
    fn between(&self, from: Offset, until: Offset) -> &'a str {
        let whole = (from..=until.min(self.text.len())).rev().find_map(|end| self.text.get(from..end));
        whole.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_as_editors_tell_them() {
        let text = "ab\n  ğü: x\n";
        assert_eq!(offset_of(text, text.get(10..).expect("within")), 10);
        assert_eq!(offset_of(text, &"elsewhere".repeat(2)), 0);
        let lines = Lines::new(text);
        assert_eq!(lines.line_and_column(10), (2, 6), "characters, not bytes");
        assert_eq!(lines.line_and_column(6), (2, 3), "in the middle of a character");
        assert_eq!(lines.line_and_column(0), (1, 1));
        assert_eq!(lines.line_and_column(999), (3, 1));
        assert_eq!(lines.offset_at(1, 2), 1);
        assert_eq!(lines.offset_at(2, 1), 3);
        assert_eq!(lines.offset_at(9, 9), text.len());
    }
}
