//! What a person sees: steps, aligned lines, and colour where a terminal shows it.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use crate::domain::Verdict;

/// Standard output, as a page of numbered steps.
#[derive(Debug)]
pub(super) struct Page {
    out: io::Stdout,
    colour: bool,
    steps: u32,
}

impl Page {
    /// A page in colour where standard output is a terminal and nobody asked for none.
    pub(super) fn new() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        // Source: no-color.org.
        let plain = set("NO_COLOR").is_some() || set("TERM").is_some_and(|term| term == "dumb");
        Self { out: io::stdout(), colour: !plain && io::stdout().is_terminal(), steps: 0 }
    }

    /// Begins a step.
    pub(super) fn step(&mut self, title: &str) -> io::Result<()> {
        self.steps += 1;
        let title = self.painted("1", &format!("{}  {title}", self.steps));
        writeln!(self.out.lock(), "\n{title}")
    }

    /// A line of its own.
    pub(super) fn line(&self, text: impl Display) -> io::Result<()> {
        writeln!(self.out.lock(), "{text}")
    }

    /// A line within a step.
    pub(super) fn say(&self, text: impl Display) -> io::Result<()> {
        writeln!(self.out.lock(), "   {text}")
    }

    /// A named value within a step.
    pub(super) fn fact(&self, name: &str, value: impl Display) -> io::Result<()> {
        writeln!(self.out.lock(), "   {name:<18}{value}")
    }

    /// A verdict, five columns wide.
    pub(super) fn verdict(&self, verdict: Verdict) -> String {
        let colour = match verdict {
            Verdict::Allow => "32",
            Verdict::Deny => "31",
        };
        self.painted(colour, &format!("{verdict:<5}"))
    }

    fn painted(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A span in milliseconds, as exact as a person can use.
pub(super) fn millis(span: Duration) -> String {
    let millis = span.as_secs_f64() * 1000.0;
    if millis < 10.0 { format!("{millis:.1} ms") } else { format!("{millis:.0} ms") }
}

/// A count of something.
pub(super) fn plural(count: u64, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}
