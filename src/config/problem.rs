//! What can be wrong with a configuration, and where a value came from.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nothing set it.
    Default,
    /// A line of the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1; `None` is the file as a whole.
        line: Option<usize>,
    },
    /// An environment variable, by name.
    Environment(String),
    /// A flag of the command line, by name, such as `--set`.
    Flag(String),
}

impl fmt::Display for Origin {
    /// Control characters are escaped: the text must stay on its line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => {
                write!(f, "{}", one_line(&path.to_string_lossy()))?;
                line.map_or(Ok(()), |line| write!(f, ":{line}"))
            }
            Self::Environment(name) | Self::Flag(name) => f.write_str(&one_line(name)),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, where it is about one.
    pub key: Option<String>,
    /// Where the value came from, or should have come from.
    pub origin: Origin,
    /// What is wrong, without values of unknown keys: they may be secrets that were put in the wrong place.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = &self.key {
            write!(f, "{}: ", one_line(key))?;
        }
        write!(f, "{} ({})", one_line(&self.what), self.origin)
    }
}

/// Everything that is wrong with a configuration; never empty as an error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    /// One line for each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

fn one_line(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_takes_one_line_whatever_it_quotes() {
        let problem = Problem {
            key: Some("a\nb".to_owned()),
            origin: Origin::File { path: "x\ty".into(), line: Some(3) },
            what: "`\u{1b}[2J` is wrong".to_owned(),
        };
        assert_eq!(problem.to_string(), "a\\nb: `\\u{1b}[2J` is wrong (x\\ty:3)");
        let two = Problems(vec![problem.clone(), problem]);
        assert_eq!(two.to_string().lines().count(), 2);
    }
}
