//! What the sidecar says about itself: metrics and traces for machines, logs for people.
//!
//! Owns the counters, the histograms, the page that Prometheus scrapes, which answers leave a span, the way of both to a
//! collector, and the shape of a log line. Knows nothing of what the others do: they count here, end their spans here, or
//! register functions that this room calls when it is asked.
//!
//! Invariants:
//! - P6: nothing here names a subject. Labels are purposes of the catalogue and words of closed sets, so that their
//!   number is bounded too. A log line names positions, counts and files; a subject's `Debug` shows its space only.
//! - Neither counting nor leaving a span waits: the path of an answer touches atomics and a queue that it does not wait for.

mod decisions;
mod latency;
pub mod logs;
mod metrics;
pub mod otlp;
mod refusals;
mod trace;
mod traces;

pub use decisions::{PURPOSES_MAX, Row};
pub use latency::Call;
pub use metrics::{CONSENT_EVENTS, Durations, Metrics, MetricsError, TABLE_ROWS_MAX};
pub use refusals::{Refusal, Wire};
pub use trace::TraceParent;
pub use traces::{Sampling, Span, Timing, Told, Traces};
