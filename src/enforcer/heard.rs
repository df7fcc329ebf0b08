//! What the strings among a call's signals say, each understood once.

use super::record::text_is_same;
use super::{Ask, Call};
use crate::signals::{Listener, Understood};

/// What the strings of each question say. A call whose questions share their signals takes no memory for it.
#[derive(Debug, Default)]
pub(super) struct HeardInCall {
    shared: Understood,
    /// From which place on something else holds, by place: the questions of a batch mostly share their signals.
    runs: Vec<(usize, Understood)>,
}

impl HeardInCall {
    /// What the strings of a call and of its questions say.
    pub(super) fn new(listener: &Listener, call: &Call<'_>, asks: &[Ask<'_>]) -> Self {
        let mut heard = Self { shared: listener.understand(&call.shared.signals), runs: Vec::new() };
        let mut last = call.shared.signals;
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

    /// What the call's own strings say.
    pub(super) const fn shared(&self) -> &Understood {
        &self.shared
    }

    /// What the strings of the question at this place say.
    pub(super) fn at(&self, place: usize) -> &Understood {
        let after = self.runs.partition_point(|(from, _)| *from <= place);
        let run = after.checked_sub(1).and_then(|run| self.runs.get(run));
        run.map_or(&self.shared, |(_, understood)| understood)
    }
}
