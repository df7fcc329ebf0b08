//! What the sidecar says about itself, to a collector and in its log.

use std::time::Duration;

use tracing_subscriber::filter::LevelFilter;

use super::PATH_BYTES_MAX;
use crate::config::keys::{self, Log, LogFormat, Telemetry};
use crate::config::reader::{Reader, quote, text};
use crate::config::schema::Shape;
use crate::config::sources::Raw;

impl Telemetry {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let otlp_endpoint =
            reader.collector_or_off("telemetry.otlp_endpoint", "The collector that traces and metrics are sent to.");
        let otlp_timeout = reader.duration(
            "telemetry.otlp_timeout",
            "How long the collector may take to take one request; no answer waits for it.",
            keys::DEFAULT_OTLP_TIMEOUT,
            Duration::from_millis(100)..=Duration::from_mins(1),
        );
        let mut file = |key, meaning| reader.path_or_off(key, meaning, PATH_BYTES_MAX, None);
        let otlp_headers_file = file(
            "telemetry.otlp_headers_file",
            "Headers for the collector, such as a token: `name: value`, a line each. Read anew for each request.",
        );
        let otlp_ca_file = file(
            "telemetry.otlp_ca_file",
            "The authorities of the collector's certificate, in PEM; \"off\": those of the system.",
        );
        let (endpoint, ca) = ("telemetry.otlp_endpoint", "telemetry.otlp_ca_file");
        let is_tls = otlp_endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("https://"));
        if otlp_ca_file.is_some() && !is_tls && reader.is_sound(endpoint) {
            reader.problem(ca, format!("is of no use where {endpoint} does not begin with `https://`"));
        }
        Self {
            otlp_endpoint,
            otlp_timeout,
            otlp_headers_file,
            otlp_ca_file,
            trace_ratio: reader.share_or_off(
                "telemetry.trace_ratio",
                "The share of answers that leave a span where their callers bring no trace; \"off\" is no spans at all, \
                 also of denials and slow answers.",
                Some(keys::DEFAULT_TRACE_RATIO),
            ),
            slow_answer: reader.duration_or_off(
                "telemetry.slow_answer",
                "Answers that take longer leave a span, whatever the share.",
                Some(keys::DEFAULT_SLOW_ANSWER),
                Duration::from_millis(1)..=Duration::from_mins(1),
            ),
            kept_per_second: reader.count(
                "telemetry.kept_per_second",
                "The most spans a second for denials and slow answers that are not sampled.",
                keys::DEFAULT_KEPT_PER_SECOND,
                0..=1_000_000,
            ),
            metrics_interval: reader.duration_or_off(
                "telemetry.metrics_interval",
                "How often metrics are sent to the collector.",
                Some(keys::DEFAULT_METRICS_INTERVAL),
                Duration::from_secs(1)..=Duration::from_hours(1),
            ),
        }
    }
}

impl Log {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            level: reader.value(
                "log.level",
                "What is logged: a level, and levels by target after commas.",
                ("such as \"info\" or \"warn,consentd::replica=debug\"", Shape::Text),
                keys::DEFAULT_LOG_LEVEL.to_owned(),
                parse_directives,
                |level| quote(level),
            ),
            format: reader.choice(
                "log.format",
                "How a line of the log looks.",
                LogFormat::Text,
                &[("text", LogFormat::Text), ("json", LogFormat::Json)],
            ),
        }
    }
}

/// Checks directives more strictly than the filter does, which takes a misspelt level for the name of a target and then
/// logs nothing else.
fn parse_directives(raw: &Raw) -> Result<String, String> {
    let text = text(raw)?;
    for directive in text.split(',') {
        let (target, level) = directive.split_once('=').unwrap_or(("consentd", directive));
        let is_target = target.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'-'));
        if level.parse::<LevelFilter>().is_err() || level.is_empty() {
            return Err(format!("`{level}` is not a level: off, error, warn, info, debug or trace"));
        }
        if target.is_empty() || !is_target {
            return Err(format!("`{target}` is not a target such as `consentd::replica`"));
        }
    }
    Ok(text.to_owned())
}
