//! The values of a chart with the comments above them.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

/// A value that has a comment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Commented {
    /// Its path, with dots.
    pub(crate) name: String,
    /// What stands above it, on one line.
    pub(crate) comment: String,
}

/// Every value with a comment directly above it, in order. What is below one is described by it.
pub(crate) fn commented(text: &str) -> Vec<Commented> {
    let mut found: Vec<Commented> = Vec::new();
    let mut path: Vec<(usize, &str)> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim_start();
        let depth = line.len() - trimmed.len();
        if let Some(said) = trimmed.strip_prefix('#') {
            comment.push(said.trim());
            continue;
        }
        let key = trimmed.split_once(':').map(|(key, _)| key).filter(|key| !key.starts_with('-'));
        if let Some(key) = key {
            path.retain(|(outer, _)| *outer < depth);
            path.push((depth, key));
            let name = path.iter().map(|(_, key)| *key).collect::<Vec<_>>().join(".");
            let is_described = found.iter().any(|outer| name.starts_with(&format!("{}.", outer.name)));
            assert!(!is_described || comment.is_empty(), "{name}: described, and so is what it is in");
            if !comment.is_empty() {
                found.push(Commented { name, comment: comment.join(" ") });
            }
        }
        comment.clear();
    }
    found
}

#[test]
fn comments_belong_to_what_is_below_them() {
    let text =
        "# The file.\n\n# One\n# more.\none: 1\ntwo:\n  # Inner.\n  three: {}\n  # Whole.\n  four:\n    five: 5\n";
    let told: Vec<(String, String)> = commented(text).into_iter().map(|value| (value.name, value.comment)).collect();
    let told: Vec<(&str, &str)> = told.iter().map(|(name, comment)| (&**name, &**comment)).collect();
    assert_eq!(told, [("one", "One more."), ("two.three", "Inner."), ("two.four", "Whole.")]);
}
