//! Consent rates: who was asked, who agreed, refused and withdrew, by purpose, channel and period.
//!
//! Owns what is counted, how, and what the figures look like as a table, as JSON and as a page. Must not know where the
//! events come from, nor what a decision is made of.
//!
//! Invariants:
//! - The figures are those of the join, whatever order the events come in and however often: what two events say of the
//!   same subject, purpose, channel, recipient and moment is one thing, and a thing belongs to the period it happened in.
//! - P6: no figure, label or error names a subject; as long as fewer subjects than asked for have spoken of a purpose
//!   over a channel, its figures are not there at all, and no total contains them.

mod count;
mod definitions;
mod html;
mod json;
mod period;
mod table;

pub use count::{Counter, Unit};
pub use definitions::DEFINITIONS;
pub use html::html;
pub use json::json;
pub use period::{By, Period, PeriodError, Range};
pub use table::table;

use crate::domain::{Time, Zone};

/// What happened in a period, or in several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Requests that were made.
    pub asked: u64,
    /// Consents that were given.
    pub given: u64,
    /// Consents that were given, and are void by how they were collected.
    pub void: u64,
    /// Consents that were given again.
    pub renewed: u64,
    /// Refusals.
    pub refused: u64,
    /// Withdrawals.
    pub withdrawn: u64,
    /// Objections to a legitimate interest.
    pub objected: u64,
    /// Consents that somebody else took away or found to be invalid.
    pub revoked: u64,
    /// Consents that stood at the beginning.
    pub standing_before: u64,
    /// Consents that stand at the end.
    pub standing: u64,
}

/// The figures of one purpose over one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// The purpose.
    pub purpose: String,
    /// The channel; `*` is all of them at once.
    pub channel: String,
    /// By period; `None` where too few subjects have spoken of it by then.
    pub periods: Vec<Option<Figures>>,
    /// Of all periods that are shown; `None` where none is.
    pub total: Option<Figures>,
}

/// All that is reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// When it was made.
    pub made_at: Time,
    /// The clock by which days begin; `None` is UTC.
    pub zone: Option<&'static Zone>,
    /// How long a period is.
    pub by: By,
    /// What is counted.
    pub unit: Unit,
    /// The periods.
    pub periods: Vec<Period>,
    /// By purpose and channel.
    pub series: Vec<Series>,
    /// By period, of all that is shown.
    pub totals: Vec<Figures>,
    /// Figures are shown as soon as so many subjects have spoken of a purpose over a channel.
    pub min_subjects: u64,
    /// How many are not shown for that.
    pub suppressed: u64,
    /// Subjects that the ledger knows, erased ones included.
    pub subjects: u64,
    /// Events that could not be read.
    pub unreadable: u64,
}

impl Figures {
    /// Of those who answered, the part that agreed.
    #[must_use]
    pub fn opt_in_rate(&self) -> Option<f64> {
        rate(self.given, self.given + self.refused)
    }

    /// Of the consents that stood or were given, the part that was withdrawn.
    #[must_use]
    pub fn withdrawal_rate(&self) -> Option<f64> {
        rate(self.withdrawn, self.standing_before + self.given)
    }

    /// Adds what happened beside it, at the same time.
    pub(self) const fn add_beside(&mut self, other: &Self) {
        self.add_flows(other);
        self.standing_before += other.standing_before;
        self.standing += other.standing;
    }

    /// Adds what happened after it, where `self` is what happened before.
    pub(self) const fn add_after(&mut self, other: &Self) {
        self.add_flows(other);
        self.standing = other.standing;
    }

    const fn add_flows(&mut self, other: &Self) {
        self.asked += other.asked;
        self.given += other.given;
        self.void += other.void;
        self.renewed += other.renewed;
        self.refused += other.refused;
        self.withdrawn += other.withdrawn;
        self.objected += other.objected;
        self.revoked += other.revoked;
    }
}

/// A part of a whole, where there is a whole; at most 1, since a thing may be withdrawn that was never given here.
#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn rate(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 / whole as f64).min(1.0))
}

impl Report {
    /// The name of the clock.
    #[must_use]
    pub fn zone_name(&self) -> &str {
        self.zone.map_or("UTC", Zone::name)
    }

    /// Of all periods and series that are shown.
    #[must_use]
    pub fn total(&self) -> Figures {
        self.series.iter().fold(Figures::default(), |mut total, series| {
            series.total.iter().for_each(|shown| total.add_beside(shown));
            total
        })
    }
}
