//! What a run found, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::drive::Plan;
use super::tally::Tally;
use super::{as_f64, grouped, whole};
use crate::domain::{Reason, Verdict};

/// A run's figures. Their names are what programs read: they do not change.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    /// `unary`, `batch` or `stream`.
    pub(super) call: &'static str,
    /// Where the server answered.
    pub(super) address: String,
    /// `closed`, or `open`: latency then counts from when a call was due.
    #[serde(rename = "loop")]
    pub(super) kind: &'static str,
    pub(super) in_flight: usize,
    pub(super) connections: usize,
    /// The rate that was asked for, of an open loop.
    pub(super) target_calls_per_second: Option<f64>,
    /// From the end of the warm-up until the last answer.
    pub(super) seconds: f64,
    /// Calls begun, or due.
    pub(super) calls: u64,
    pub(super) calls_answered: u64,
    pub(super) calls_failed: u64,
    /// Calls that had no answer ten seconds after the end.
    pub(super) calls_unanswered: u64,
    pub(super) calls_per_second: f64,
    pub(super) questions: u64,
    pub(super) answers: u64,
    pub(super) answers_per_second: f64,
    /// Answers that came without the name of their evidence.
    pub(super) answers_without_evidence: u64,
    pub(super) latency: Latency,
    pub(super) verdicts: BTreeMap<&'static str, u64>,
    pub(super) reasons: BTreeMap<&'static str, u64>,
    /// What was said of calls that failed.
    pub(super) errors: BTreeMap<String, u64>,
    /// How many calls took at most so long, where that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) histogram: Vec<Step>,
}

/// Latencies in microseconds; zeros where nothing was answered.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Latency {
    pub(super) p50_us: f64,
    pub(super) p90_us: f64,
    pub(super) p99_us: f64,
    pub(super) p99_9_us: f64,
    pub(super) max_us: f64,
    pub(super) mean_us: f64,
}

/// One step of the distribution.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Step {
    pub(super) percentile: f64,
    pub(super) latency_us: f64,
    pub(super) calls: u64,
}

impl Report {
    /// The figures of a run, with the distribution if that is asked for.
    pub(super) fn new(plan: &Plan, tally: &Tally, histogram: bool) -> Self {
        let seconds = tally.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        let counts = &tally.counts;
        let mut reasons = BTreeMap::new();
        for (reason, count) in counts.reasons() {
            let name = Reason::try_from(reason).map_or("UNKNOWN", Reason::as_str);
            *reasons.entry(name).or_default() += count;
        }
        let denied = counts.answers - counts.allowed;
        let verdicts = [(Verdict::Allow, counts.allowed), (Verdict::Deny, denied)];
        Self {
            call: plan.call.as_str(),
            address: plan.address.to_string(),
            kind: if plan.rate.is_some() { "open" } else { "closed" },
            in_flight: plan.in_flight,
            connections: plan.connections,
            target_calls_per_second: plan.rate,
            seconds,
            calls: tally.begun,
            calls_answered: tally.answered,
            calls_failed: tally.failures(),
            calls_unanswered: tally.unanswered(),
            calls_per_second: as_f64(tally.answered) / seconds,
            questions: tally.asked,
            answers: counts.answers,
            answers_per_second: as_f64(counts.answers) / seconds,
            answers_without_evidence: counts.unevidenced,
            latency: Latency::of(tally),
            verdicts: verdicts.into_iter().map(|(verdict, count)| (verdict.as_str(), count)).collect(),
            reasons,
            errors: tally.errors.clone(),
            histogram: if histogram { steps(tally) } else { Vec::new() },
        }
    }

    /// Whether every question has an answer.
    pub(super) fn is_complete(&self) -> bool {
        self.calls > 0 && self.calls_answered == self.calls
    }

    /// The report for a person.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let target = match self.target_calls_per_second {
            Some(rate) => format!("open loop at {} calls/s", grouped(whole(rate))),
            None => format!("closed loop, {} in flight", self.in_flight),
        };
        let Self { call, connections, seconds, address, .. } = self;
        let plural = if *connections == 1 { "" } else { "s" };
        writeln!(out, "{call}, {target}, {connections} connection{plural}, {seconds:.1} s, {address}")?;
        let rate = |count: u64, rate: f64| format!("{:>14}  {:>12} /s", grouped(count), grouped(whole(rate)));
        writeln!(out, "  calls    {}", rate(self.calls_answered, self.calls_per_second))?;
        writeln!(out, "  answers  {}", rate(self.answers, self.answers_per_second))?;
        let Latency { p50_us, p90_us, p99_us, p99_9_us, max_us, .. } = self.latency;
        let [p50, p90, p99, p99_9, max] = [p50_us, p90_us, p99_us, p99_9_us, max_us].map(micros);
        writeln!(out, "  latency   p50 {p50}   p90 {p90}   p99 {p99}   p99.9 {p99_9}   max {max}")?;
        for (verdict, count) in &self.verdicts {
            writeln!(out, "  {verdict:<8} {:>14}  {:>12}", grouped(*count), share(*count, self.answers))?;
        }
        for (reason, count) in &self.reasons {
            writeln!(out, "    {reason:<24} {:>14}", grouped(*count))?;
        }
        if self.answers_without_evidence > 0 {
            writeln!(out, "  {} answers came without evidence", grouped(self.answers_without_evidence))?;
        }
        if self.calls_unanswered > 0 {
            writeln!(out, "  {} calls were not answered", grouped(self.calls_unanswered))?;
        }
        for (error, count) in &self.errors {
            writeln!(out, "  {} calls failed: {error}", grouped(*count))?;
        }
        if !self.histogram.is_empty() {
            writeln!(out, "\n  percentile      latency           calls")?;
        }
        for Step { percentile, latency_us, calls } in &self.histogram {
            writeln!(out, "  {percentile:>10.4}  {:>11}  {:>14}", micros(*latency_us), grouped(*calls))?;
        }
        Ok(())
    }
}

impl Latency {
    fn of(tally: &Tally) -> Self {
        let latency = &tally.latency;
        let at = |quantile| as_f64(latency.value_at_quantile(quantile)) / 1000.0;
        Self {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            max_us: as_f64(latency.max()) / 1000.0,
            mean_us: latency.mean() / 1000.0,
        }
    }
}

fn steps(tally: &Tally) -> Vec<Step> {
    let mut calls = 0;
    let step = |value: hdrhistogram::iterators::IterationValue<u64>| {
        calls += value.count_since_last_iteration();
        Step {
            percentile: value.quantile_iterated_to() * 100.0,
            latency_us: as_f64(value.value_iterated_to()) / 1000.0,
            calls,
        }
    };
    tally.latency.iter_quantiles(1).map(step).collect()
}

/// A time in the unit that reads best.
pub(super) fn micros(micros: f64) -> String {
    let span = Duration::from_secs_f64(micros.max(0.0) / 1e6);
    if span < Duration::from_millis(1) {
        format!("{micros:.0} µs")
    } else if span < Duration::from_secs(1) {
        format!("{:.2} ms", micros / 1e3)
    } else {
        format!("{:.2} s", micros / 1e6)
    }
}

fn share(part: u64, whole: u64) -> String {
    if whole == 0 { String::new() } else { format!("{:.1} %", 100.0 * as_f64(part) / as_f64(whole)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_the_unit_that_reads_best() {
        for (time, text) in [(0.0, "0 µs"), (87.4, "87 µs"), (1234.0, "1.23 ms"), (2_500_000.0, "2.50 s")] {
            assert_eq!(micros(time), text);
        }
        assert_eq!(share(1, 8), "12.5 %");
        assert_eq!(share(0, 0), "");
    }
}
