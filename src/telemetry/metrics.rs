//! The metrics of one sidecar, and the page that shows them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter, MeterProvider as _};
use opentelemetry_sdk::metrics::{Instrument, SdkMeterProvider, Stream};
use prometheus::proto::MetricFamily;
use prometheus::{Registry, TextEncoder};

use super::decisions::{Decisions, PURPOSES_MAX, Row};
use super::latency::{Call, Latencies};
use super::refusals::{Refusal, Refusals, Wire};
use crate::domain::Reason;

const DECISIONS: &str = "consentd_decisions_total";
/// What subjects have said, by purpose, channel and status.
pub const CONSENT_EVENTS: &str = "consentd_consent_events_total";
/// Rows of a table that is shown whole.
pub const TABLE_ROWS_MAX: usize = 5000;

/// The metrics of one sidecar; clones share them. Two sidecars in one process have two, which do not mix.
#[derive(Clone)]
pub struct Metrics(Arc<Shared>);

struct Shared {
    decisions: Arc<Decisions>,
    refusals: Arc<Refusals>,
    latencies: Latencies,
    registry: Registry,
    meter: Meter,
    /// Held because the instruments end with it.
    _provider: SdkMeterProvider,
}

/// Times that things take. Counting one looks its place up and takes a lock: for what happens hundreds of times a second, not
/// hundreds of thousands.
#[derive(Debug, Clone)]
pub struct Durations(Histogram<f64>);

/// Why metrics cannot be set up or shown.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The exporter could not be set up.
    #[error("the metrics exporter cannot be set up")]
    Exporter(#[from] opentelemetry_sdk::error::OTelSdkError),
    /// The page could not be written.
    #[error("the metrics page cannot be written")]
    Encoding(#[from] prometheus::Error),
}

impl Durations {
    /// Counts one.
    pub fn took(&self, elapsed: Duration) {
        self.0.record(elapsed.as_secs_f64(), &[]);
    }
}

impl Metrics {
    /// Sets up metrics without any purpose.
    ///
    /// # Errors
    /// If the exporter cannot be set up.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        // Names are given in full, with their units: who looks for one in the source must find it.
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_units()
            .without_counter_suffixes()
            .without_target_info()
            .scope_info_enabled(false)
            .build()?;
        let provider = SdkMeterProvider::builder().with_reader(exporter).with_view(limit_of_tables).build();
        let meter = provider.meter("consentd");
        let decisions = Arc::new(Decisions::new());
        let shown = Arc::clone(&decisions);
        meter
            .u64_observable_counter(DECISIONS)
            .with_description("Answers, by verdict, reason and purpose.")
            .with_callback(move |observer| {
                for line in shown.lines() {
                    let labels = [
                        KeyValue::new("verdict", line.reason.verdict().as_str()),
                        KeyValue::new("reason", line.reason.as_str()),
                        KeyValue::new("purpose", String::from(line.purpose)),
                    ];
                    observer.observe(line.count, &labels);
                }
            })
            .build();
        let refusals = Arc::new(Refusals::default());
        let shown = Arc::clone(&refusals);
        meter
            .u64_observable_counter("consentd_refused_total")
            .with_description("What was not answered because of who asked, by wire and why.")
            .with_callback(move |observer| {
                for (wire, why, count) in shown.lines() {
                    observer
                        .observe(count, &[KeyValue::new("wire", wire.as_str()), KeyValue::new("why", why.as_str())]);
                }
            })
            .build();
        meter
            .u64_observable_gauge("consentd_build_info")
            .with_description("Always 1; the label is the version.")
            .with_callback(|observer| observer.observe(1, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]))
            .build();
        let latencies = Latencies::default();
        Ok(Self(Arc::new(Shared { decisions, refusals, latencies, registry, meter, _provider: provider })))
    }

    /// Gives these purposes, the catalogue's, counts of their own; the first [`PURPOSES_MAX`] of them. Those that stay
    /// keep their counts, all others are counted together.
    pub fn set_purposes(&self, purposes: &[&str]) {
        self.0.decisions.set_purposes(purposes);
    }

    /// Counts one answer.
    #[inline]
    pub fn answered(&self, purpose: &str, reason: Reason) {
        self.0.decisions.add(purpose, reason);
    }

    /// How many answers each reason has had, in the order of [`Reason::ALL`]. Falls where a new catalogue drops a purpose.
    #[must_use]
    pub fn by_reason(&self) -> [u64; Reason::ALL.len()] {
        self.0.decisions.by_reason()
    }

    /// The counts of one purpose, for a batch or for many questions of one purpose.
    #[must_use]
    pub fn row(&self, purpose: &str) -> Row {
        self.0.decisions.row(purpose)
    }

    /// Counts how long a call took.
    #[inline]
    pub fn took(&self, call: Call, elapsed: Duration) {
        self.0.latencies.record(call, elapsed);
    }

    /// Counts what was not answered because of who asked.
    pub fn refused(&self, wire: Wire, why: Refusal) {
        self.0.refusals.add(wire, why);
    }

    /// Shows a value that can rise and fall. The name begins with `consentd_` and ends with its unit where it has one;
    /// each name is registered once. The function is called while the page is written: it must not block, nor render.
    pub fn observe_gauge(
        &self,
        name: &'static str,
        help: &'static str,
        unit: &'static str,
        value: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        debug_assert!(name.starts_with("consentd_"), "{name}");
        let builder = self.0.meter.f64_observable_gauge(name).with_description(help).with_unit(unit);
        builder.with_callback(move |observer| observer.observe(value(), &[])).build();
    }

    /// Shows several values under one name, told apart by one label, like [`observe_gauge`](Self::observe_gauge). The
    /// label's values are literals, so that nothing personal can be one.
    pub fn observe_gauges(
        &self,
        name: &'static str,
        help: &'static str,
        unit: &'static str,
        label: &'static str,
        values: impl Fn() -> Vec<(&'static str, f64)> + Send + Sync + 'static,
    ) {
        debug_assert!(name.starts_with("consentd_"), "{name}");
        let builder = self.0.meter.f64_observable_gauge(name).with_description(help).with_unit(unit);
        let observe = move |observer: &dyn opentelemetry::metrics::AsyncInstrument<f64>| {
            for (word, value) in values() {
                observer.observe(value, &[KeyValue::new(label, word)]);
            }
        };
        builder.with_callback(observe).build();
    }

    /// Shows a value that only rises, like [`observe_gauge`](Self::observe_gauge); its name ends with `_total`.
    pub fn observe_counter(
        &self,
        name: &'static str,
        help: &'static str,
        unit: &'static str,
        value: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        debug_assert!(name.starts_with("consentd_") && name.ends_with("_total"), "{name}");
        let builder = self.0.meter.u64_observable_counter(name).with_description(help).with_unit(unit);
        builder.with_callback(move |observer| observer.observe(value(), &[])).build();
    }

    /// Shows several values that only rise under one name, told apart by one label, like
    /// [`observe_gauges`](Self::observe_gauges); the name ends with `_total`.
    pub fn observe_counters(
        &self,
        name: &'static str,
        help: &'static str,
        unit: &'static str,
        label: &'static str,
        values: impl Fn() -> Vec<(&'static str, u64)> + Send + Sync + 'static,
    ) {
        debug_assert!(name.starts_with("consentd_") && name.ends_with("_total"), "{name}");
        let builder = self.0.meter.u64_observable_counter(name).with_description(help).with_unit(unit);
        let observe = move |observer: &dyn opentelemetry::metrics::AsyncInstrument<u64>| {
            for (word, value) in values() {
                observer.observe(value, &[KeyValue::new(label, word)]);
            }
        };
        builder.with_callback(observe).build();
    }

    /// Shows many values that only rise under one name, told apart by several labels, at most
    /// [`TABLE_ROWS_MAX`] of them; the name ends with `_total`. Unlike those of the other figures the labels' values are
    /// words of the catalogue: whoever gives them sees to it that nothing personal can be one.
    pub fn observe_table<const LABELS: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; LABELS],
        rows: impl Fn() -> Vec<([String; LABELS], u64)> + Send + Sync + 'static,
    ) {
        debug_assert!(name.starts_with("consentd_") && name.ends_with("_total"), "{name}");
        let builder = self.0.meter.u64_observable_counter(name).with_description(help);
        let observe = move |observer: &dyn opentelemetry::metrics::AsyncInstrument<u64>| {
            for (values, count) in rows() {
                let values = labels.into_iter().zip(values).map(|(label, value)| KeyValue::new(label, value));
                observer.observe(count, &values.collect::<Vec<_>>());
            }
        };
        builder.with_callback(observe).build();
    }

    /// Times that things take, in seconds; the name ends with `_seconds`. The bounds are those of the buckets, ascending.
    #[must_use]
    pub fn durations(&self, name: &'static str, help: &'static str, bounds: &[f64]) -> Durations {
        debug_assert!(name.starts_with("consentd_") && name.ends_with("_seconds"), "{name}");
        let builder = self.0.meter.f64_histogram(name).with_description(help).with_unit("s");
        Durations(builder.with_boundaries(bounds.to_vec()).build())
    }

    /// The page for Prometheus with the metrics whose names are wanted, like [`render`](Self::render).
    ///
    /// # Errors
    /// If a metric cannot be written as text.
    pub fn render_those(&self, is_wanted: impl Fn(&str) -> bool) -> Result<String, MetricsError> {
        let families: Vec<MetricFamily> =
            self.families().into_iter().filter(|family| is_wanted(family.name())).collect();
        Ok(TextEncoder::new().encode_to_string(&families)?)
    }

    /// The page for Prometheus. Its media type is [`prometheus::TEXT_FORMAT`].
    ///
    /// # Errors
    /// If a metric cannot be written as text.
    pub fn render(&self) -> Result<String, MetricsError> {
        Ok(TextEncoder::new().encode_to_string(&self.families())?)
    }

    /// All that is counted, by name.
    pub(super) fn families(&self) -> Vec<MetricFamily> {
        let mut families = self.0.registry.gather();
        families.push(self.0.latencies.family());
        families.sort_by(|one, other| one.name().cmp(other.name()));
        families
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// The SDK folds all series past the 2000th of a name into one, unless it is told how many there can be.
fn limit_of_tables(instrument: &Instrument) -> Option<Stream> {
    let limit = match instrument.name() {
        DECISIONS => (PURPOSES_MAX + 2) * Reason::ALL.len() + 1,
        CONSENT_EVENTS => TABLE_ROWS_MAX + 1,
        _ => return None,
    };
    Stream::builder().with_cardinality_limit(limit).build().ok()
}

#[cfg(test)]
mod tests;
