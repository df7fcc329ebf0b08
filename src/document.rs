//! A catalogue as people write it: a text with lines, before it is published.
//!
//! Owns where each thing of a catalogue stands in its text, everything that is wrong or doubtful about it ([`check()`]), and
//! its [`schema()`], and what a taxonomy of others becomes as one ([`from_fideslang()`]). Must not know where a catalogue is published, nor whom it is about.
//!
//! Invariants:
//! - What [`check()`] finds no error in is what the ledger takes: the readers of the ledger itself have the last word.
//! - All that is wrong is told at once, each with its line, and nothing is told twice.

mod check;
mod fideslang;
mod finding;
mod iso3166;
mod messages;
mod outline;
mod reachable;
mod rules;
mod schema;
mod text;

pub use check::{Checked, check};
pub use fideslang::{Fideslang, FideslangError, LeftOut, Purposes, from_fideslang};
pub use finding::{Finding, Severity};
pub use schema::schema;

#[cfg(test)]
mod tests;
