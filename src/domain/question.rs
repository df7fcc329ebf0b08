//! What is asked, and what is known about the view that the answer rests on.

use std::time::Duration;

use super::signal::{Gpp, Tcf};
use super::zone::Zone;

/// A question without its subject, whose state is handed to `decide` beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question<'a> {
    /// For what.
    pub purpose: &'a str,
    /// Over which channel.
    pub channel: &'a str,
    /// For whom; empty is the controller itself.
    pub recipient: &'a str,
    /// Where the subject is, ISO 3166; empty is unknown. Recorded in evidence.
    pub jurisdiction: &'a str,
    /// Signals that came with it.
    pub signals: Signals<'a>,
    /// What the strings among the signals say. One that was sent and is not read here is unreadable, and denies.
    pub heard: Heard<'a>,
    /// How old the view may be, where that is less than the purpose allows.
    pub max_staleness: Option<Duration>,
    /// Where the subject's clock is; `None` leaves it to the catalogue.
    pub time_zone: Option<&'a Zone>,
}

/// Signals that travel with a question; an empty one was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signals<'a> {
    /// The value of `Sec-GPC`.
    pub sec_gpc: &'a str,
    /// An IAB Europe TCF string.
    pub tcf: &'a str,
    /// An IAB GPP string.
    pub gpp: &'a str,
}

/// The signals that came as strings, as far as they could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heard<'a> {
    /// The TCF string.
    pub tcf: Option<&'a Tcf>,
    /// The GPP string.
    pub gpp: Option<&'a Gpp>,
}

/// What is known about the view when the question is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// Whether the ledger can be trusted and was read to its end.
    pub ledger: LedgerStanding,
    /// The time since the view was last known to be complete.
    pub staleness: Duration,
    /// What became of the token that the question asked for.
    pub token: TokenStanding,
}

/// Whether the ledger can be trusted and was read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerStanding {
    /// Read to its end at least once since the start.
    Following,
    /// Not yet read to its end.
    Building,
    /// Truncated, replaced or rewritten.
    Broken,
}

/// What became of the token that a question asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenStanding {
    /// None was asked for, or the view has reached it.
    Reached,
    /// The view did not reach it in time.
    NotReached,
    /// It is of another ledger.
    Foreign,
}

/// Whether a text is empty or has the form of a region's code: two capitals, with an optional subdivision of one to three
/// capitals or digits. Source: ISO 3166-1, ISO 3166-2.
#[must_use]
pub fn is_jurisdiction(code: &str) -> bool {
    let (country, subdivision) = code.split_once('-').map_or((code, None), |(country, rest)| (country, Some(rest)));
    code.is_empty()
        || country.len() == 2
            && country.bytes().all(|b| b.is_ascii_uppercase())
            && subdivision.is_none_or(|rest| {
                (1..=3).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
            })
}
