//! Metrics: what the page for Prometheus shows, under the same names, sent each interval.
//!
//! They are read where the page reads them, so that nothing is counted twice and both always agree.

use std::sync::atomic::Ordering;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum,
};
use prometheus::proto::{self, MetricFamily, MetricType};
use tonic::transport::Channel;

use super::sender::Sender;
use super::{Way, spans, value};
use crate::clock::Clock;
use crate::telemetry::metrics::Metrics;

/// Sends metrics.
#[derive(Debug)]
pub(super) struct Figures {
    client: MetricsServiceClient<Channel>,
    sender: Sender,
    way: Way,
    metrics: Metrics,
    clock: Clock,
    interval: Duration,
    /// Since when is counted, on the wall clock.
    since_ns: u64,
}

impl Figures {
    pub(super) fn new(way: Way, metrics: Metrics, clock: Clock, interval: Duration) -> Self {
        let sender = Sender::new("metrics", way.timeout);
        let client = MetricsServiceClient::new(way.channel.clone());
        let since_ns = clock.unix_nanos();
        Self { client, sender, way, metrics, clock, interval, since_ns }
    }

    /// Sends the metrics each interval. Ends never.
    pub(super) async fn run(&mut self) {
        loop {
            tokio::time::sleep(self.interval).await;
            self.push().await;
        }
    }

    /// Sends the metrics as they are now. What is not taken is not sent again: the next push says it all.
    pub(super) async fn push(&mut self) {
        let at = At { since_ns: self.since_ns, now_ns: self.clock.unix_nanos() };
        let metrics = self.metrics.families().iter().filter_map(|family| metric(family, at)).collect();
        let scope_metrics = vec![ScopeMetrics { scope: Some(spans::scope()), metrics, ..ScopeMetrics::default() }];
        let resource = Some(self.way.resource.clone());
        let resource_metrics = vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }];
        let message = ExportMetricsServiceRequest { resource_metrics };
        let client = &mut self.client;
        let sent = self.sender.send(message, self.way.headers.now(), async |request| client.export(request).await);
        if sent.await.is_err() {
            self.way.counts.failed_metrics.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The span of time that was counted in.
#[derive(Debug, Clone, Copy)]
struct At {
    since_ns: u64,
    now_ns: u64,
}

/// One metric of the page; none where it has no series yet, or is of a kind that the page never has.
fn metric(family: &MetricFamily, at: At) -> Option<Metric> {
    let series = family.get_metric();
    if series.is_empty() {
        return None;
    }
    let cumulative = AggregationTemporality::Cumulative.into();
    let data = match family.get_field_type() {
        MetricType::COUNTER => Data::Sum(Sum {
            data_points: series.iter().map(|one| point(one, whole(one.get_counter().get_value()), at)).collect(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        MetricType::GAUGE => Data::Gauge(Gauge {
            data_points: series
                .iter()
                .map(|one| point(one, Value::AsDouble(one.get_gauge().get_value()), at))
                .collect(),
        }),
        MetricType::HISTOGRAM => Data::Histogram(Histogram {
            data_points: series.iter().map(|one| distribution(one, at)).collect(),
            aggregation_temporality: cumulative,
        }),
        MetricType::SUMMARY | MetricType::UNTYPED => return None,
    };
    let name = family.name().to_owned();
    let unit = unit(&name).to_owned();
    Some(Metric { name, description: family.help().to_owned(), unit, metadata: Vec::new(), data: Some(data) })
}

/// The unit, which the name ends with. Source: UCUM, as OpenTelemetry uses it.
fn unit(name: &str) -> &'static str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    if name.ends_with("_seconds") {
        "s"
    } else if name.ends_with("_bytes") || name.ends_with("_bytes_max") {
        "By"
    } else {
        "1"
    }
}

fn point(series: &proto::Metric, value: Value, at: At) -> NumberDataPoint {
    NumberDataPoint {
        attributes: labels(series),
        start_time_unix_nano: at.since_ns,
        time_unix_nano: at.now_ns,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

/// A count, which the page has as a floating-point number.
#[allow(clippy::cast_possible_truncation, reason = "the conversion saturates, and counts stay far below 2^53")]
const fn whole(count: f64) -> Value {
    Value::AsInt(count as i64)
}

fn distribution(series: &proto::Metric, at: At) -> HistogramDataPoint {
    let histogram = series.get_histogram();
    let count = histogram.get_sample_count();
    let mut below = 0;
    let mut bucket_counts = Vec::new();
    // Those of the page count all that is below; these what is between.
    for cumulative in histogram.get_bucket().iter().map(proto::Bucket::cumulative_count).chain([count]) {
        bucket_counts.push(cumulative.saturating_sub(below));
        below = cumulative;
    }
    HistogramDataPoint {
        attributes: labels(series),
        start_time_unix_nano: at.since_ns,
        time_unix_nano: at.now_ns,
        count,
        sum: Some(histogram.get_sample_sum()),
        bucket_counts,
        explicit_bounds: histogram.get_bucket().iter().map(proto::Bucket::upper_bound).collect(),
        ..HistogramDataPoint::default()
    }
}

fn labels(series: &proto::Metric) -> Vec<KeyValue> {
    series.get_label().iter().map(|label| value::text(label.name(), label.value())).collect()
}
