//! What one subject's things come to: what happened when, and from when to when each consent stood.

use super::{Cell, Thing, What};
use crate::domain::Time;
use crate::domain::catalogue::{ANY, is_self_or_ancestor};
use crate::report::{Figures, Period};

/// What one subject's things come to, by what they are said about.
#[derive(Debug, Default)]
pub(super) struct One {
    pub(super) happened: Vec<(u32, Happened)>,
}

/// What happened about one thing.
#[derive(Debug)]
pub(super) struct Happened {
    /// When it was first spoken of: 0 is before the first period, then the periods from 1 on.
    pub(super) first: usize,
    /// By period.
    pub(super) figures: Vec<(usize, Figures)>,
    /// When consents began (+1) and ended (-1) to stand, in the same way.
    pub(super) changes: Vec<(usize, i64)>,
}

/// What things come to that are in order: by what they are about, then by time.
pub(super) fn of(things: &[Thing], known: &[Cell], periods: &[Period], now: Time) -> One {
    let mut one = One::default();
    for about in things.chunk_by(|thing, next| thing.cell == next.cell) {
        let Some(Thing { cell, at, .. }) = about.first().copied() else { continue };
        let mut happened = Happened { first: place(at, periods), figures: Vec::new(), changes: Vec::new() };
        for thing in about {
            if let Some(period) = period_of(thing.at, periods) {
                happened.count(period, thing.what);
            }
        }
        for (begins, ends) in stood(about, things, cell, known, now) {
            let (first, behind) = (place(begins, periods), place(ends, periods));
            if first < behind {
                happened.changes.push((first, 1));
                if behind <= periods.len() {
                    happened.changes.push((behind, -1));
                }
            }
        }
        one.happened.push((cell, happened));
    }
    one
}

/// From when to when a consent stood.
fn stood(about: &[Thing], all: &[Thing], cell: u32, known: &[Cell], now: Time) -> Vec<(Time, Time)> {
    let mut refusals: Vec<Time> = all
        .iter()
        .filter(|thing| thing.what.is_refusal() && reaches(thing.cell, cell, known))
        // One that is dated ahead counts at once.
        .map(|thing| thing.at.min(now))
        .collect();
    refusals.sort_unstable();
    let grants: Vec<&Thing> = about.iter().filter(|thing| thing.what.is_grant()).collect();
    let mut spans: Vec<(Time, Time)> = Vec::new();
    for (number, grant) in grants.iter().enumerate() {
        // Of two at one moment the one that permits less is kept; they are in that order.
        let next = grants.get(number + 1).map_or(Time::MAX, |next| next.at);
        if next == grant.at || !matches!(grant.what, What::Given | What::Renewed) {
            continue;
        }
        let refused = refusals.get(refusals.partition_point(|at| *at < grant.at)).copied().unwrap_or(Time::MAX);
        let ends = next.min(refused).min(grant.ends);
        match spans.last_mut() {
            Some((_, last)) if *last == grant.at => *last = ends,
            _ => spans.push((grant.at, ends)),
        }
    }
    spans.retain(|(begins, ends)| begins < ends && *begins <= now);
    spans
}

/// Whether a refusal of one thing reaches another: the purpose itself or one below, its channel or all, its recipient or
/// all.
fn reaches(refused: u32, cell: u32, known: &[Cell]) -> bool {
    if refused == cell {
        return true;
    }
    let get = |cell: u32| usize::try_from(cell).ok().and_then(|cell| known.get(cell));
    let (Some(refused), Some(cell)) = (get(refused), get(cell)) else { return false };
    is_self_or_ancestor(&refused.purpose, &cell.purpose)
        && (refused.channel == cell.channel || &*refused.channel == ANY)
        && (refused.recipient == cell.recipient || &*refused.recipient == ANY)
}

/// The period of a time, if it is one of these.
fn period_of(time: Time, periods: &[Period]) -> Option<usize> {
    let behind = periods.partition_point(|period| period.begins <= time);
    let place = behind.checked_sub(1)?;
    periods.get(place).filter(|period| time < period.ends).map(|_| place)
}

/// 0 before the first period, then the number of the period from 1 on, and one more behind the last.
fn place(time: Time, periods: &[Period]) -> usize {
    periods.partition_point(|period| period.begins <= time)
        + usize::from(periods.last().is_some_and(|last| time >= last.ends))
}

impl What {
    const fn is_refusal(self) -> bool {
        matches!(self, Self::Refused | Self::Withdrawn | Self::Objected | Self::Revoked)
    }

    const fn is_grant(self) -> bool {
        matches!(self, Self::Given | Self::Renewed | Self::Void | Self::Expired)
    }
}

impl Happened {
    fn count(&mut self, period: usize, what: What) {
        let figures = match self.figures.last_mut() {
            Some((last, figures)) if *last == period => figures,
            _ => &mut self.figures.push_mut((period, Figures::default())).1,
        };
        let count = match what {
            What::Asked => &mut figures.asked,
            What::Given => &mut figures.given,
            What::Renewed => &mut figures.renewed,
            What::Void => &mut figures.void,
            What::Expired => return,
            What::Refused => &mut figures.refused,
            What::Withdrawn => &mut figures.withdrawn,
            What::Objected => &mut figures.objected,
            What::Revoked => &mut figures.revoked,
        };
        *count += 1;
    }
}
