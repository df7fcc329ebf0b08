//! Lines and columns of a text.

/// A text in which places are found again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a>(pub(super) &'a str);

/// A place in a text: the bytes before it.
pub(super) type Offset = usize;

impl<'a> Text<'a> {
    /// Where a part of this text begins; the beginning for what is not a part of it.
    pub(super) fn offset_of(self, part: &str) -> Offset {
        let offset = (part.as_ptr() as usize).wrapping_sub(self.0.as_ptr() as usize);
        if offset <= self.0.len() { offset } else { 0 }
    }

    /// The line and the character of a place, from 1.
    pub(super) fn line_and_column(self, offset: Offset) -> (usize, usize) {
        let before = self.before(offset);
        let line_begins = before.rfind('\n').map_or(0, |newline| newline + 1);
        let in_line = before.get(line_begins..).unwrap_or_default();
        (1 + before.matches('\n').count(), 1 + in_line.chars().count())
    }

    /// The place of a line and a column that count bytes from 1, as `serde_json` does.
    pub(super) fn offset_at(self, line: usize, column: usize) -> Offset {
        let begins =
            line.checked_sub(2).map_or(Some(0), |nth| self.0.match_indices('\n').nth(nth).map(|(at, _)| at + 1));
        begins.map_or(self.0.len(), |begins| (begins + column.saturating_sub(1)).min(self.0.len()))
    }

    /// What stands before a place, without a character that the place is in the middle of.
    fn before(self, offset: Offset) -> &'a str {
        let whole = (0..=offset.min(self.0.len())).rev().find_map(|end| self.0.get(..end));
        whole.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_as_editors_tell_them() {
        let text = Text("ab\n  ğü: x\n");
        let part = text.0.get(10..).expect("within");
        assert_eq!(text.offset_of(part), 10);
        assert_eq!(text.line_and_column(10), (2, 6), "characters, not bytes");
        assert_eq!(text.line_and_column(0), (1, 1));
        assert_eq!(text.line_and_column(999), (3, 1));
        assert_eq!(text.offset_of("elsewhere"), 0);
        assert_eq!(text.offset_at(1, 2), 1);
        assert_eq!(text.offset_at(2, 1), 3);
        assert_eq!(text.offset_at(9, 9), text.0.len());
    }
}
