//! Log lines, as text for people or as JSON for machines, on standard error.
//!
//! P6: a line never names a subject. Our own lines name positions, counts, files and reasons; other libraries know no
//! rule about that, so that their lines stop at [`FOREIGN_LEVEL_MAX`], whatever level is asked for: below it they print
//! headers and contents.

use std::io::{self, IsTerminal as _};

use chrono::{DateTime, SecondsFormat};
use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::clock::Clock;

/// The most that is logged of what is not ours.
pub const FOREIGN_LEVEL_MAX: LevelFilter = LevelFilter::INFO;

/// What our own targets begin with. The filter compares prefixes: without the colons `consentdx` would be ours too.
const OWN: &str = "consentd::";

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why logging cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The directives are malformed.
    #[error("`{0}` is not a level, nor levels by target such as `info,consentd::replica=debug`")]
    Directives(String),
    /// Something in this process logs already.
    #[error("logging has begun already")]
    Begun(#[from] tracing_subscriber::util::TryInitError),
}

/// Begins logging to standard error, for the whole process and once. What others log through the `log` crate, such as
/// the store's failed flushes, is taken along.
///
/// # Errors
/// If the directives are malformed, or logging has begun already.
pub fn init(directives: &str, format: Format, clock: &Clock) -> Result<(), LogsError> {
    // Source: no-color.org: any value that is not empty.
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let ansi = !plain && io::stderr().is_terminal();
    subscriber(directives, format, ansi, clock, io::stderr)?.try_init()?;
    Ok(())
}

/// What [`init`] sets up, with a writer of its own.
fn subscriber<W>(
    directives: &str,
    format: Format,
    ansi: bool,
    clock: &Clock,
    writer: W,
) -> Result<impl Subscriber + for<'span> LookupSpan<'span> + Send + Sync + use<W>, LogsError>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let filter = filter(directives)?;
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_timer(WallTime(clock.clone()))
        // It would be said on standard error, and panic where that is what fails.
        .log_internal_errors(false);
    let layer = match format {
        Format::Text => layer.with_ansi(ansi).boxed(),
        Format::Json => layer.json().flatten_event(true).boxed(),
    };
    Ok(tracing_subscriber::registry().with(layer.with_filter(filter)))
}

/// The directives, with the bound on what is not ours.
fn filter(directives: &str) -> Result<Targets, LogsError> {
    let asked: Targets = directives.parse().map_err(|_| LogsError::Directives(directives.to_owned()))?;
    let default = asked.default_level().unwrap_or(LevelFilter::OFF);
    let bounded = asked.iter().map(|(target, level)| {
        // The crate as a whole, as people name it.
        let target = if target == "consentd" { OWN } else { target };
        (target.to_owned(), if target.starts_with(OWN) { level } else { level.min(FOREIGN_LEVEL_MAX) })
    });
    Ok(Targets::new().with_default(default.min(FOREIGN_LEVEL_MAX)).with_target(OWN, default).with_targets(bounded))
}

/// RFC 3339 in UTC, by the clock that evidence is dated by.
struct WallTime(Clock);

impl FormatTime for WallTime {
    fn format_time(&self, w: &mut Writer<'_>) -> std::fmt::Result {
        let time = DateTime::from_timestamp_millis(self.0.now().unix_millis()).unwrap_or_default();
        w.write_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::domain::{Subject, Time};

    /// What was written.
    #[derive(Debug, Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(directives: &str, format: Format, log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let clock = Clock::manual(Time::from_unix_millis(1_700_000_000_123));
        let subscriber = subscriber(directives, format, false, &clock, move || writer.clone()).expect("directives");
        tracing::subscriber::with_default(subscriber, log);
        let bytes = lines.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn a_line_of_text_has_time_level_and_target() {
        let text = logged("info", Format::Text, || tracing::info!(position = 7, "caught up"));
        assert_eq!(text, "2023-11-14T22:13:20.123Z  INFO consentd::telemetry::logs::tests: caught up position=7\n");
    }

    #[test]
    fn a_line_of_json_is_one_object() {
        let text = logged("info", Format::Json, || tracing::warn!(position = 7, file = "a\nb", "line\nbreak"));
        assert_eq!(text.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            line,
            serde_json::json!({
                "timestamp": "2023-11-14T22:13:20.123Z",
                "level": "WARN",
                "message": "line\nbreak",
                "position": 7,
                "file": "a\nb",
                "target": "consentd::telemetry::logs::tests",
            })
        );
    }

    #[test]
    fn what_is_not_ours_stops_at_info_whatever_is_asked_for() {
        for directives in ["trace", "trace,h2=trace", "consentd=trace", "info,consentdx=trace,h2::codec=debug"] {
            let text = logged(directives, Format::Text, || {
                tracing::debug!(target: "h2::codec", "headers");
                tracing::trace!(target: "consentdx", "contents");
            });
            assert_eq!(text, "", "{directives}");
        }
        let text = logged("trace", Format::Text, || {
            tracing::trace!("ours");
            tracing::info!(target: "h2::codec", "started");
        });
        assert_eq!(text.lines().count(), 2, "{text}");
        let ours = logged("off,consentd=debug", Format::Text, || tracing::debug!("ours"));
        assert_eq!(ours.lines().count(), 1, "{ours}");
        let quiet = logged("off,consentd::telemetry=debug,h2=error", Format::Text, || {
            tracing::debug!("ours");
            tracing::trace!("ours, too fine");
            tracing::warn!(target: "h2::codec", "not asked for");
        });
        assert_eq!(quiet.lines().count(), 1, "{quiet}");
    }

    #[test]
    fn a_subject_is_not_named() {
        let subject = Subject::parse("crm:ayse@example.org").expect("well-formed");
        let text = logged("trace", Format::Text, || tracing::info!(?subject, "seen"));
        assert!(text.ends_with("seen subject=Subject(crm:…)\n"), "{text}");
    }

    #[test]
    fn malformed_directives_are_refused() {
        let error = filter("info,a=b").expect_err("refused").to_string();
        assert_eq!(error, "`info,a=b` is not a level, nor levels by target such as `info,consentd::replica=debug`");
        for directives in ["off", "INFO", "info,consentd::replica=debug", "warn,h2=off", "a-b_c::d=trace"] {
            assert!(filter(directives).is_ok(), "{directives}");
        }
    }
}
