//! What the strings among a call's signals say, each understood once.

use super::Ask;
use super::record::text_is_same;
use crate::domain::{Heard, Signals};
use crate::signals::{Listener, Understood};

/// What the strings of each question say. A call without strings takes no memory for it.
#[derive(Debug, Default)]
pub(super) struct HeardInCall {
    /// From which place on it holds, by place: the questions of a batch mostly share their signals.
    runs: Vec<(usize, Understood)>,
}

impl HeardInCall {
    /// What the strings of these questions say.
    pub(super) fn new(listener: &Listener, asks: &[Ask<'_>]) -> Self {
        let mut heard = Self::default();
        let mut last = Signals::default();
        for (place, ask) in asks.iter().enumerate() {
            let signals = ask.question.signals;
            if text_is_same(signals.tcf, last.tcf) && text_is_same(signals.gpp, last.gpp) {
                continue;
            }
            heard.runs.push((place, listener.understand(&signals)));
            last = signals;
        }
        heard
    }

    /// What the strings of the question at this place say.
    pub(super) fn at(&self, place: usize) -> Heard<'_> {
        let after = self.runs.partition_point(|(from, _)| *from <= place);
        let run = after.checked_sub(1).and_then(|run| self.runs.get(run));
        run.map_or_else(Heard::default, |(_, understood)| understood.heard())
    }
}
