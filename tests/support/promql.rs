//! Which names an expression of `PromQL` uses: enough of the language to tell metrics, labels and values from functions, words
//! and durations. Whether it is a sound expression is promtool's to say.

#![allow(clippy::panic, clippy::expect_used, reason = "tests may fail loudly")]

/// Words that are no metrics where no parenthesis follows them.
const WORDS: [&str; 10] = ["and", "or", "unless", "offset", "bool", "group_left", "group_right", "atan2", "Inf", "NaN"];
/// What a list of labels follows.
const GROUPINGS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// What makes one series of many. The last argument is what is aggregated.
const AGGREGATIONS: [&str; 8] = ["sum", "max", "min", "avg", "count", "group", "topk", "bottomk"];
/// Of those, what leaves series as they are.
const CHOICES: [&str; 2] = ["topk", "bottomk"];

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

/// The labels that the series of an expression are told apart by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Left {
    /// Those of the metric, but for these, of which it takes one value.
    Own(Selector),
    /// These: nothing else is left by an aggregation.
    By(Vec<String>),
}

impl Left {
    /// Of an expression whose operands, where there are two, keep the labels of the first, or of the other if that is a number
    /// or if it says so (`group_right`).
    pub(crate) fn of(expression: &str) -> Self {
        let (first, rest) = operand(expression.trim());
        if let Some((_, many)) = rest.split_once("group_right") {
            return Self::of(many.trim_start().strip_prefix("()").expect("nothing is added"));
        }
        if first.trim().parse::<f64>().is_ok() {
            return Self::of(rest.trim_start_matches(|c: char| !c.is_ascii_alphabetic() && c != '('));
        }
        let first = first.trim();
        if let Some(inner) = first.strip_prefix('(') {
            return Self::of(inner.strip_suffix(')').expect("a parenthesis ends"));
        }
        let (word, after) = identifier(first);
        let after = after.trim_start();
        if AGGREGATIONS.contains(&word) && !CHOICES.contains(&word) {
            let list = after.strip_prefix("by").map(|list| list.trim_start().trim_start_matches('('));
            let list = list.and_then(|list| Some(list.split_once(')')?.0)).unwrap_or_default();
            return Self::By(list.split(',').map(|label| label.trim().to_owned()).filter(|l| !l.is_empty()).collect());
        }
        let Some(arguments) = after.strip_prefix('(') else {
            let names = Names::of(first);
            return Self::Own(names.selectors.into_iter().next().expect("a metric"));
        };
        let mut last = arguments.strip_suffix(')').expect("a call ends");
        while let (_, Some(next)) = split_at_top(last, |rest| rest.starts_with(',')) {
            last = next.strip_prefix(',').unwrap_or_default();
        }
        match Self::of(last) {
            // A quantile takes the bounds away.
            Self::By(labels) if word == "histogram_quantile" => {
                Self::By(labels.into_iter().filter(|label| label != "le").collect())
            }
            left => left,
        }
    }
}

/// The first operand of an expression, and what follows it.
fn operand(expression: &str) -> (&str, &str) {
    let is_operator = |rest: &str| {
        let is_word = ["and ", "or ", "unless "].iter().any(|word| rest.starts_with(word));
        is_word || rest.starts_with(['+', '-', '*', '/', '<', '>', '=', '!'])
    };
    // An operator stands behind a space, which a part of a word or of a number does not.
    let (first, rest) = split_at_top(expression, |rest| rest.strip_prefix(' ').is_some_and(is_operator));
    (first, rest.unwrap_or_default())
}

/// Divides a text where something begins that stands in no parentheses and no quotes.
fn split_at_top(text: &str, begins: impl Fn(&str) -> bool) -> (&str, Option<&str>) {
    let (mut depth, mut is_quoted) = (0_usize, false);
    for (place, character) in text.char_indices() {
        let (before, rest) = text.split_at(place);
        if depth == 0 && !is_quoted && begins(rest) {
            return (before, Some(rest));
        }
        match character {
            '"' => is_quoted = !is_quoted,
            '(' | '[' | '{' if !is_quoted => depth += 1,
            ')' | ']' | '}' if !is_quoted => depth -= 1,
            _ => {}
        }
    }
    (text, None)
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

#[test]
fn what_is_left_of_labels_is_what_the_outermost_aggregation_leaves() {
    for (expression, labels) in [
        ("sum by (a, b) (rate(x{c=\"1\"}[5m]))", &["a", "b"][..]),
        ("max by (a) (sum by (a, b) (x)) > 0", &["a"]),
        ("sum(x)", &[]),
        ("histogram_quantile(0.5, sum by (call, le) (rate(x[5m])))", &["call"]),
        ("topk(50, sum by (a) (increase(x[1h])) > 0)", &["a"]),
        ("sum by (a) (x) / on () group_left () sum(x)", &["a"]),
        ("(sum by (a) (x{b=\"(\"}) - 1) * 2", &["a"]),
    ] {
        let wanted = Left::By(labels.iter().map(|label| (*label).to_owned()).collect());
        assert_eq!(Left::of(expression), wanted, "{expression}");
    }
    for expression in ["x", "1 - x", "rate(x[5m])", "max by (a) (y) - on (a) group_right () x", "(x - time()) / y"] {
        assert!(matches!(Left::of(expression), Left::Own(selector) if selector.metric == "x"), "{expression}");
    }
}
