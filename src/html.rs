//! What the program's pages share: their style, plots of lines, and text that stands for itself in HTML.
//!
//! Must not know what a page shows.
//!
//! Invariants:
//! - A page needs nothing from elsewhere: no fonts, no pictures, no styles.
//! - Nothing is told by colour alone.

pub mod plot;

/// The style of every page: colours in light and dark, plots, tables.
pub const STYLE: &str = include_str!("html/page.css");

/// A count with its thousands apart, by a narrow space that does not break.
#[must_use]
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// A text that stands for itself in HTML.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A part of 1 in hundredths, as people read it.
#[must_use]
pub fn percent(rate: f64) -> String {
    format!("{:.1} %", rate * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_and_words_are_escaped() {
        for (count, shown) in [(0, "0"), (999, "999"), (1000, "1\u{202f}000"), (1_234_567, "1\u{202f}234\u{202f}567")] {
            assert_eq!(grouped(count), shown);
        }
        assert_eq!(escaped("<a href='x'>&\""), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;");
    }
}
