//! What the sidecar says about itself: metrics for machines, logs for people.
//!
//! Owns the counters, the histograms, the page that Prometheus scrapes and the shape of a log line. Knows nothing of
//! what the others do: they count here, or register functions that this room calls when it is asked.
//!
//! Invariants:
//! - P6: nothing here names a subject. Labels are purposes of the catalogue and words of closed sets, so that their
//!   number is bounded too. A log line names positions, counts and files; a subject's `Debug` shows its space only.
//! - Counting never waits: the path of an answer touches atomics and nothing else.

mod decisions;
mod latency;
pub mod logs;
mod metrics;
mod refusals;
mod trace;

pub use decisions::{PURPOSES_MAX, Row};
pub use latency::Call;
pub use metrics::{Metrics, MetricsError};
pub use refusals::{Refusal, Wire};
pub use trace::TraceParent;
