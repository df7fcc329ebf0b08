//! Which names an expression of `PromQL` uses: enough of the language to tell metrics, labels and values from functions, words
//! and durations. Whether it is a sound expression is promtool's to say.

#![allow(clippy::panic, clippy::expect_used, reason = "tests may fail loudly")]

/// Words that are no metrics where no parenthesis follows them.
const WORDS: [&str; 10] = ["and", "or", "unless", "offset", "bool", "group_left", "group_right", "atan2", "Inf", "NaN"];
/// What a list of labels follows.
const GROUPINGS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// One selector, or a metric without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) metric: String,
    pub(crate) matchers: Vec<Matcher>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Matcher {
    pub(crate) label: String,
    /// What it is compared with; of a choice of plain words (`A|B`) each, and nothing of another regular expression.
    pub(crate) values: Vec<String>,
}

/// What an expression names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) selectors: Vec<Selector>,
    /// The labels that it groups or matches by.
    pub(crate) grouped: Vec<String>,
}

impl Names {
    pub(crate) fn of(expression: &str) -> Self {
        let mut names = Self::default();
        let mut rest = expression.trim_start();
        while let Some(first) = rest.chars().next() {
            rest = match first {
                '"' => text(rest).1,
                '[' => rest.split_once(']').expect("a range ends").1,
                '{' => panic!("a selector without a metric in `{expression}`"),
                c if c.is_ascii_digit() => rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '.'),
                c if c.is_ascii_alphabetic() || c == '_' => names.word(rest),
                c => rest.get(c.len_utf8()..).unwrap_or_default(),
            }
            .trim_start();
        }
        names
    }

    fn word<'a>(&mut self, rest: &'a str) -> &'a str {
        let (word, rest) = identifier(rest);
        let after = rest.trim_start();
        if let Some(list) = after.strip_prefix('(') {
            if GROUPINGS.contains(&word) {
                let (labels, rest) = list.split_once(')').expect("a list ends");
                self.grouped.extend(labels.split(',').map(|label| label.trim().to_owned()).filter(|l| !l.is_empty()));
                return rest;
            }
            return list;
        }
        // `sum by (a) (…)`: an aggregation.
        if WORDS.contains(&word) || ["by", "without"].contains(&identifier(after).0) {
            return rest;
        }
        let (matchers, rest) = after.strip_prefix('{').map_or((Vec::new(), rest), matchers);
        self.selectors.push(Selector { metric: word.to_owned(), matchers });
        rest
    }
}

/// A word, and what follows it.
fn identifier(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':').unwrap_or(text.len());
    text.split_at(end)
}

/// A text in quotes, and what follows it.
fn text(rest: &str) -> (&str, &str) {
    rest.strip_prefix('"').and_then(|rest| rest.split_once('"')).expect("a text in quotes")
}

fn matchers(mut rest: &str) -> (Vec<Matcher>, &str) {
    let mut matchers = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', ',', '\n']);
        if let Some(rest) = rest.strip_prefix('}') {
            return (matchers, rest);
        }
        let (label, after) = identifier(rest);
        let value = after.trim_start_matches(['=', '!', '~', ' ']);
        let (operator, _) = after.split_at(after.len() - value.len());
        let (value, after) = text(value);
        let is_plain = value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '|');
        let values = match operator.trim() {
            "=~" | "!~" if is_plain => value.split('|').map(str::to_owned).collect(),
            "=~" | "!~" => Vec::new(),
            "=" | "!=" => vec![value.to_owned()],
            other => panic!("`{other}` compares a label?"),
        };
        matchers.push(Matcher { label: label.to_owned(), values });
        rest = after;
    }
}

#[test]
fn names_are_told_from_the_language() {
    let names = Names::of(
        r#"sum by (a, b) (rate(x_total{c="1", d=~"A|B", e!~"f.*"}[5m] offset 1d)) / on (a) group_left () y > 1e9 unless z"#,
    );
    let metrics: Vec<&str> = names.selectors.iter().map(|selector| selector.metric.as_str()).collect();
    assert_eq!(metrics, ["x_total", "y", "z"]);
    assert_eq!(names.grouped, ["a", "b", "a"]);
    let matcher = |label: &str, values: &[&str]| Matcher {
        label: label.to_owned(),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    };
    let expected = [matcher("c", &["1"]), matcher("d", &["A", "B"]), matcher("e", &[])];
    assert_eq!(names.selectors.first().expect("one").matchers, expected);
}
