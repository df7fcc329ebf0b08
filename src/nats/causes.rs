//! What went wrong, as one sentence.

use std::error::Error;

/// An error and what caused it, joined by colons. What a sentence says already is not said again: some errors have the
/// text of their cause in their own.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut sentence = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !sentence.contains(&text) {
            sentence = format!("{sentence}: {text}");
        }
        source = cause.source();
    }
    sentence
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{says}")]
    struct Outer {
        says: &'static str,
        source: io::Error,
    }

    #[test]
    fn each_cause_is_said_once() {
        let outer = |says| Outer { says, source: io::Error::other("the disk is full") };
        assert_eq!(with_causes(&outer("nothing was written")), "nothing was written: the disk is full");
        assert_eq!(with_causes(&outer("failed: the disk is full")), "failed: the disk is full");
    }
}
