//! The local page: what Prometheus, probes and people look at.
//!
//! Must not know how questions are answered, and shows no personal data.
//!
//! ```text
//! /metrics   the metrics, for Prometheus
//! /readyz    200 when ready, else 503 and why, a line each
//! /livez     200 as long as this process can answer at all
//! ```

mod listener;
mod probes;

pub use listener::serve;
pub use probes::probes;
